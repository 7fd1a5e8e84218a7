//! Borders, capacities, and waits for room and for messages.

use crate::made::{MOMENT, bytes_pipe, bytes_simplex};
use common::*;
use multiproc_pipe::codec::Bytes;
use multiproc_pipe::{
    CreateError, Pipe, RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError,
    TrySendError,
};
use std::time::{Duration, Instant};

pub(crate) fn borders_hold_for_every_length_around_the_edges() -> Outcome {
    let edges = [0_usize, 8, 64, 4096, 32 << 10, 64 << 10, 1 << 20];
    let lens: Vec<usize> = edges
        .into_iter()
        .flat_map(|edge| (0..20).map(move |n| (edge + n).saturating_sub(10)))
        .collect();
    let (here, there) = bytes_pipe();
    let lens = &lens;
    let child = start(move || {
        for (n, len) in lens.iter().enumerate() {
            there.send(vec![n as u8; *len]).unwrap();
        }
        for (n, len) in lens.iter().enumerate() {
            there.send_bytes(&vec![n as u8; *len]).unwrap();
        }
    });
    let mut again = vec![1, 2, 3];
    for (n, len) in lens.iter().enumerate() {
        assert_eq!(here.recv()?, vec![n as u8; *len]);
    }
    for (n, len) in lens.iter().enumerate() {
        here.recv_into_vec(&mut again)?;
        assert_eq!(again, vec![n as u8; *len]);
    }
    ends_well(&child);
    assert_eq!(here.recv(), Err(RecvError::Closed));
    Ok(())
}

pub(crate) fn a_message_larger_than_the_pipe_enters_alone() -> Outcome {
    let (rx, tx) = bytes_simplex(1_000);
    tx.send(pattern(1, 5_000))?;
    assert!(matches!(
        tx.try_send(pattern(2, 8)),
        Err(TrySendError::Full(_))
    ));
    assert_eq!(number_of(&rx.recv()?), 1);
    tx.send(pattern(2, 8))?;
    assert!(matches!(
        tx.try_send(pattern(3, 5_000)),
        Err(TrySendError::Full(_))
    ));
    assert_eq!(number_of(&rx.recv()?), 2);
    tx.try_send(pattern(3, 5_000))?;
    assert_eq!(number_of(&rx.recv()?), 3);
    Ok(())
}

pub(crate) fn a_message_that_can_never_fit_comes_back() -> Outcome {
    let pipe = Pipe::<Vec<u8>>::options()
        .reserve(64 << 10)
        .codec::<Bytes>();
    let (rx, tx) = pipe.simplex()?;
    let too_large = tx.send(pattern(1, 40_000)).unwrap_err();
    assert!(matches!(
        too_large,
        SendError::TooLarge { bytes: 40_000, .. }
    ));
    assert_eq!(number_of(&too_large.into_message()), 1);
    assert!(matches!(
        tx.send_loan(40_000),
        Err(SendError::TooLarge { .. })
    ));
    tx.send(pattern(2, 30_000))?;
    assert_eq!(number_of(&rx.recv()?), 2);
    Ok(())
}

pub(crate) fn capacity_counts_messages() -> Outcome {
    let (rx, tx) = Pipe::<u32>::options().capacity(2).simplex()?;
    tx.try_send(1)?;
    tx.try_send(2)?;
    assert!(matches!(tx.try_send(3), Err(TrySendError::Full(3))));
    assert_eq!(rx.recv()?, 1);
    tx.try_send(3)?;
    assert_eq!((rx.recv()?, rx.recv()?), (2, 3));
    Ok(())
}

pub(crate) fn a_full_pipe_makes_sends_wait_as_long_as_they_say() -> Outcome {
    let (rx, tx) = Pipe::<u32>::options().capacity(1).simplex()?;
    tx.send(1)?;
    assert!(matches!(tx.try_send(2), Err(TrySendError::Full(2))));
    let zero = tx.send_timeout(2, Duration::ZERO);
    assert!(matches!(zero, Err(SendTimeoutError::Timeout(2))));
    let begun = Instant::now();
    let late = tx.send_timeout(2, MOMENT);
    assert!(matches!(late, Err(SendTimeoutError::Timeout(2))));
    assert!(begun.elapsed() >= MOMENT - Duration::from_millis(1));
    // For ever, until there is room.
    let child = start(|| tx.send(2).unwrap());
    blocked(&child);
    assert_eq!(rx.recv()?, 1);
    ends_well(&child);
    assert_eq!(rx.recv()?, 2);
    Ok(())
}

pub(crate) fn an_empty_pipe_makes_receives_wait_as_long_as_they_say() -> Outcome {
    let (rx, tx) = Pipe::<u32>::simplex()?;
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    let zero = rx.recv_timeout(Duration::ZERO);
    assert_eq!(zero, Err(RecvTimeoutError::Timeout));
    let begun = Instant::now();
    assert_eq!(rx.recv_timeout(MOMENT), Err(RecvTimeoutError::Timeout));
    assert!(begun.elapsed() >= MOMENT - Duration::from_millis(1));
    let child = start(|| assert_eq!(rx.recv_timeout(Duration::MAX), Ok(9)));
    blocked(&child);
    tx.send(9)?;
    ends_well(&child);
    Ok(())
}

pub(crate) fn bounds_of_nothing_are_refused() -> Outcome {
    let options = Pipe::<u32>::options;
    for refused in [
        options().capacity(0),
        options().bytes(0),
        options().reserve(0),
    ] {
        assert!(matches!(refused.simplex(), Err(CreateError::ZeroSize)));
        assert!(matches!(refused.duplex(), Err(CreateError::ZeroSize)));
    }
    let huge = options().reserve(usize::MAX / 4);
    assert!(matches!(huge.duplex(), Err(CreateError::TooLarge { .. })));
    Ok(())
}

extern "C" fn ignore(_: i32) {}

pub(crate) fn signals_neither_end_nor_stretch_a_wait() -> Outcome {
    let (rx, tx) = Pipe::<u32>::options().capacity(1).simplex()?;
    on_signal(libc::SIGUSR1, ignore);
    let runs = Counter::new();
    let child = start(|| {
        runs.count();
        let begun = Instant::now();
        let wait = Duration::from_millis(200);
        assert_eq!(rx.recv_timeout(wait), Err(RecvTimeoutError::Timeout));
        assert!(begun.elapsed() >= wait - Duration::from_millis(1));
        assert!(!rx.poll(wait).unwrap());
        runs.count();
        assert_eq!(rx.recv(), Ok(1));
    });
    runs.reach(1);
    while runs.get() < 2 {
        send_signal(&child, libc::SIGUSR1);
        std::thread::yield_now();
    }
    blocked(&child);
    (0..20).for_each(|_| send_signal(&child, libc::SIGUSR1));
    blocked(&child);
    tx.send(1)?;
    ends_well(&child);
    Ok(())
}
