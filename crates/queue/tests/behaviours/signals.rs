//! Signals during a wait, and in the middle of a message.

use common::*;
use multiproc_process::Process;
use multiproc_queue::codec::Bytes;
use multiproc_queue::{GetTimeoutError, JoinableQueue, Queue};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

static SIGNALS: AtomicU64 = AtomicU64::new(0);
static HEARD: OnceLock<Counter> = OnceLock::new();

extern "C" fn note(_: i32) {
    SIGNALS.fetch_add(1, Relaxed);
    if let Some(heard) = HEARD.get() {
        heard.count();
    }
}

pub(crate) fn signals_neither_end_nor_stretch_a_wait() -> Outcome {
    let heard = Counter::new();
    HEARD.get_or_init(|| heard.clone());
    on_signal(libc::SIGUSR1, note);
    let empty = Queue::<u64>::bounded(1)?;
    let full = JoinableQueue::<u64>::bounded(1)?;
    full.put(1)?;
    let waiting = [
        Process::start(|| assert_eq!(empty.get(), Ok(5)))?,
        Process::start(|| full.put(2).map(drop))?,
        Process::start(|| full.join())?,
    ];
    for child in &waiting {
        blocked(child);
        let before = heard.get();
        for n in 1..=100 {
            send_signal(child, libc::SIGUSR1);
            heard.reach(before + n);
        }
        assert!(child.is_alive());
        blocked(child);
    }
    empty.put(5)?;
    assert_eq!((full.get()?, full.get()?), (1, 2));
    full.task_done()?;
    full.task_done()?;
    waiting.iter().for_each(ends_well);

    let timeout = Duration::from_millis(200);
    let child = Process::start(|| {
        let begun = Instant::now();
        assert_eq!(empty.get_timeout(timeout), Err(GetTimeoutError::Timeout));
        assert!(begun.elapsed() + Duration::from_millis(1) >= timeout);
    })?;
    // As long as it lives: a deadline that began again with every signal would never come.
    until("the time to be up under signals", || {
        send_signal(&child, libc::SIGUSR1);
        !child.is_alive()
    });
    ends_well(&child);
    Ok(())
}

pub(crate) fn signals_do_not_tear_messages() -> Outcome {
    on_signal(libc::SIGALRM, note);
    let every_millisecond = || {
        // SAFETY: the timer is read from a local.
        unsafe {
            let mut timer: libc::itimerval = std::mem::zeroed();
            timer.it_interval.tv_usec = 300;
            timer.it_value.tv_usec = 300;
            assert_eq!(
                libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut()),
                0
            );
        }
    };
    let options = Queue::<Vec<u8>>::options().capacity(8);
    let (tx, rx) = options.codec::<Bytes>().build()?.split();
    let producers = Process::start_each([tx.clone(), tx], |tx| {
        every_millisecond();
        for number in 0..1_000 {
            let len = if number % 10 == 0 { 300_000 } else { 100 };
            tx.put_bytes(&pattern(number, len)).unwrap();
        }
        assert!(SIGNALS.load(Relaxed) > 0);
    })?;
    let consumer = Process::start(move || {
        every_millisecond();
        let mut sum = 0;
        for message in &rx {
            sum += number_of(&message.unwrap());
        }
        assert_eq!(sum, 999 * 1_000);
        assert!(SIGNALS.load(Relaxed) > 0);
    })?;
    producers.iter().for_each(ends_well);
    ends_well(&consumer);
    Ok(())
}
