//! Threads of one process.

use common::*;
use multiproc_pipe::{Pipe, RecvError, SendError};

fn thread_id() -> u32 {
    // SAFETY: only asks.
    unsafe { libc::gettid() as u32 }
}

pub(crate) fn close_wakes_a_thread_that_receives_on_the_same_end() -> Outcome {
    let (here, _there) = Pipe::<u32>::duplex()?;
    std::thread::scope(|scope| {
        let (tid, here) = (std::sync::mpsc::channel(), &here);
        let waiter = scope.spawn(move || {
            tid.0.send(thread_id()).unwrap();
            here.recv()
        });
        let waiting = tid.1.recv().unwrap();
        until("the thread to block", || sleeps_on_futex(waiting));
        here.close();
        assert_eq!(waiter.join().unwrap(), Err(RecvError::Closed));
    });
    Ok(())
}

pub(crate) fn close_wakes_a_thread_that_sends_on_the_same_end() -> Outcome {
    let (_rx, tx) = Pipe::<u32>::options().capacity(1).simplex()?;
    tx.send(1)?;
    std::thread::scope(|scope| {
        let (tid, tx) = (std::sync::mpsc::channel(), &tx);
        let waiter = scope.spawn(move || {
            tid.0.send(thread_id()).unwrap();
            tx.send(2)
        });
        let waiting = tid.1.recv().unwrap();
        until("the thread to block", || sleeps_on_futex(waiting));
        tx.close();
        let refused = waiter.join().unwrap();
        assert!(matches!(refused, Err(SendError::Closed(2))));
    });
    Ok(())
}

pub(crate) fn threads_can_have_the_halves() -> Outcome {
    let (here, there) = Pipe::<u32>::duplex()?;
    let echo = start(move || {
        for n in &there {
            there.send(n.unwrap()).unwrap();
        }
    });
    let (rx, tx) = here.split();
    let sum = std::thread::scope(|scope| {
        scope.spawn(move || (0..10_000).for_each(|n| tx.send(n).unwrap()));
        let sum = scope.spawn(move || rx.iter().map(|n| u64::from(n.unwrap())).sum::<u64>());
        sum.join().unwrap()
    });
    assert_eq!(sum, 10_000 * 9_999 / 2);
    ends_well(&echo);
    Ok(())
}

pub(crate) fn handles_are_send_sync_and_debug() {
    fn check<T: Send + Sync + std::fmt::Debug + Clone>(value: &T) -> String {
        format!("{value:?}")
    }
    let (here, there) = Pipe::<u32, String>::duplex().unwrap();
    assert!(check(&here).contains("Connection"));
    there.close();
    assert!(check(&there).contains("closed: true"));
    let (rx, tx) = Pipe::<u32>::simplex().unwrap();
    assert!(check(&rx).contains("closed: false"));
    assert!(check(&tx).contains("closed: false"));
    assert!(format!("{:?}", Pipe::<u32>::options().bytes(77)).contains("77"));
}
