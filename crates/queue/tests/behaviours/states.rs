//! Every form in every state: full, empty, closed, shut down, without the other side.

use crate::forms::{MOMENT, every_get, every_put, every_put_is_closed, waits_for_death};
use common::*;
use multiproc_process::{Exit, Process};
use multiproc_queue::{
    Consumer, GetError, GetTimeoutError, PutError, PutTimeoutError, Queue, TryGetError, TryPutError,
};
use std::time::{Duration, Instant};

pub(crate) fn on_a_full_queue_every_put_waits_as_long_as_it_says() -> Outcome {
    let queue = Queue::<u64>::bounded(1)?;
    queue.put(0)?;
    assert!(matches!(queue.try_put(1), Err(TryPutError::Full(1))));
    let begun = Instant::now();
    let late = queue.put_timeout(2, MOMENT);
    assert!(matches!(late, Err(PutTimeoutError::Timeout(2))));
    assert!(begun.elapsed() + Duration::from_millis(1) >= MOMENT);
    let waiting = [
        Process::start(|| queue.put(3).map(drop))?,
        Process::start(|| queue.put_timeout(4, Duration::MAX).map(drop))?,
        Process::start(|| queue.put_timeout(5, PATIENCE).map(drop))?,
    ];
    waiting.iter().for_each(blocked);
    assert!(matches!(queue.try_put(6), Err(TryPutError::Full(6))));
    let mut got: Vec<u64> = (0..4).map(|_| queue.get().unwrap()).collect();
    assert_eq!(got[0], 0);
    got.sort_unstable();
    assert_eq!(got, [0, 3, 4, 5]);
    waiting.iter().for_each(ends_well);
    Ok(())
}

pub(crate) fn on_an_empty_queue_every_get_waits_as_long_as_it_says() -> Outcome {
    let queue = Queue::<u64>::bounded(1)?;
    assert_eq!(queue.try_get(), Err(TryGetError::Empty));
    let begun = Instant::now();
    assert_eq!(queue.get_timeout(MOMENT), Err(GetTimeoutError::Timeout));
    assert!(begun.elapsed() + Duration::from_millis(1) >= MOMENT);
    let got = Counter::new();
    let waiting = [
        Process::start(|| {
            queue.get().map(|_| {
                got.count();
            })
        })?,
        Process::start(|| {
            queue.get_timeout(Duration::MAX).map(|_| {
                got.count();
            })
        })?,
        Process::start(|| {
            queue.get_timeout(PATIENCE).map(|_| {
                got.count();
            })
        })?,
    ];
    waiting.iter().for_each(blocked);
    assert_eq!(queue.try_get(), Err(TryGetError::Empty));
    for n in 0..3 {
        queue.put(n)?;
    }
    waiting.iter().for_each(ends_well);
    assert_eq!(got.get(), 3);
    Ok(())
}

pub(crate) fn every_form_after_close_says_closed() -> Outcome {
    let closed = Err("Closed".to_owned());
    let queue = Queue::<u64>::bounded(10)?;
    queue.put(1)?;
    queue.close();
    for (form, result) in every_get!(queue) {
        assert_eq!(result, closed, "{form}");
    }
    every_put_is_closed(every_put!(queue));
    // The registered ends of a queue that this process has closed.
    let (tx, rx) = Queue::<u64>::bounded(10)?.split();
    tx.put(1)?;
    tx.queue().close();
    every_put_is_closed(every_put!(tx));
    // `split` made two handles on one queue of this process.
    for (form, result) in every_get!(rx) {
        assert_eq!(result, closed, "{form}");
    }
    Ok(())
}

pub(crate) fn after_a_shutdown_puts_say_closed_and_gets_take_what_is_left() -> Outcome {
    let queue = Queue::<u64>::bounded(10)?;
    for n in 0..5 {
        queue.put(n)?;
    }
    ends_well(&Process::start(|| queue.shut_down())?);
    every_put_is_closed(every_put!(queue));
    assert_eq!(queue.len(), 5);
    for (n, (form, result)) in every_get!(queue).into_iter().enumerate() {
        assert_eq!(result, Ok(n as u64), "{form}");
    }
    for (form, result) in every_get!(queue) {
        assert_eq!(result, Err("Closed".to_owned()), "{form}");
    }
    Ok(())
}

pub(crate) fn a_shutdown_ends_what_waits() -> Outcome {
    let empty = Queue::<u64>::bounded(1)?;
    let full = Queue::<u64>::bounded(1)?;
    full.put(0)?;
    let readers = Process::start_each(0..3, |_| {
        assert_eq!(empty.get(), Err(GetError::Closed));
    })?;
    let writers = Process::start_each(1..4, |n| {
        assert!(matches!(full.put(n), Err(PutError::Closed(_))));
    })?;
    readers.iter().for_each(blocked);
    writers.iter().for_each(blocked);
    empty.shut_down();
    full.shut_down();
    readers.iter().for_each(ends_well);
    writers.iter().for_each(ends_well);
    assert_eq!(full.get()?, 0);
    assert_eq!(full.get(), Err(GetError::Closed));
    Ok(())
}

pub(crate) fn after_the_producers_died_every_get_takes_what_is_left_and_says_closed() -> Outcome {
    type Get = (&'static str, fn(&Consumer<u64>) -> Result<u64, String>);
    let forms: [Get; 5] = [
        ("get", |rx| rx.get().map_err(|e| format!("{e:?}"))),
        ("try_get", |rx| rx.try_get().map_err(|e| format!("{e:?}"))),
        ("get_timeout(0)", |rx| {
            rx.get_timeout(Duration::ZERO).map_err(|e| format!("{e:?}"))
        }),
        ("get_timeout(a tenth of a slice)", |rx| {
            let short = Duration::from_millis(5);
            rx.get_timeout(short).map_err(|e| format!("{e:?}"))
        }),
        ("get_timeout(for ever)", |rx| {
            rx.get_timeout(Duration::MAX).map_err(|e| format!("{e:?}"))
        }),
    ];
    for (form, get) in forms {
        let (tx, rx) = Queue::<u64>::bounded(5)?.split();
        tx.put(1)?;
        let children = [waits_for_death(tx.clone())?, waits_for_death(tx)?];
        children.iter().for_each(kill);
        assert_eq!(get(&rx), Ok(1), "{form}");
        // Not `Empty`: nobody is there who could ever put.
        assert_eq!(get(&rx), Err("Closed".to_owned()), "{form}");
    }
    Ok(())
}

pub(crate) fn after_the_consumers_died_a_put_that_waits_says_closed() -> Outcome {
    let (tx, rx) = Queue::<u64>::bounded(1)?.split();
    let children = [waits_for_death(rx.clone())?, waits_for_death(rx)?];
    tx.put(0)?;
    let waiting = Process::start(|| matches!(tx.put(1), Err(PutError::Closed(1))) as i32)?;
    blocked(&waiting);
    children.iter().for_each(kill);
    assert_eq!(ends(&waiting), Exit::Code(1));
    assert!(matches!(tx.put(2), Err(PutError::Closed(2))));
    let late = tx.put_timeout(3, Duration::MAX);
    assert!(matches!(late, Err(PutTimeoutError::Closed(3))));
    let late = tx.put_timeout(4, PATIENCE);
    assert!(matches!(late, Err(PutTimeoutError::Closed(4))));
    Ok(())
}

pub(crate) fn a_try_put_and_a_short_put_timeout_on_a_full_queue_notice_dead_consumers() -> Outcome {
    let (tx, rx) = Queue::<u64>::bounded(1)?.split();
    let child = waits_for_death(rx)?;
    tx.put(0)?;
    assert!(matches!(tx.try_put(1), Err(TryPutError::Full(1))));
    kill(&child);
    let short = tx.put_timeout(2, Duration::from_millis(5));
    assert!(
        matches!(short, Err(PutTimeoutError::Closed(2))),
        "{short:?}"
    );
    let now = tx.try_put(3);
    assert!(matches!(now, Err(TryPutError::Closed(3))), "{now:?}");
    Ok(())
}
