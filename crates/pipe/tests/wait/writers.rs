//! Writers that are in the middle of it.

use crate::waits::{MOMENT, nothing, wait_for};
use common::*;
use multiproc_pipe::codec::Bytes;
use multiproc_pipe::{Pipe, Source, wait};
use std::io::Write;
use std::time::{Duration, Instant};

pub(crate) fn a_loan_that_is_written_keeps_nobody_from_the_rest() -> Outcome {
    let (rx, tx) = Pipe::<Vec<u8>>::options().codec::<Bytes>().simplex()?;
    let (other, other_tx) = Pipe::<u32>::simplex()?;
    let (reader, mut writer) = std::io::pipe()?;
    let (holds, go) = (Counter::new(), Counter::new());
    let child = start(|| {
        let loan = tx.send_loan(100).unwrap();
        holds.count();
        go.reach(1);
        loan.commit();
    });
    holds.reach(1);
    let sources = [
        Source::from(&rx),
        Source::from(&other),
        Source::descriptor(&reader),
    ];
    let begun = Instant::now();
    nothing(&sources);
    assert!(begun.elapsed() >= MOMENT - Duration::from_millis(1));
    assert!(wait([&rx], Some(Duration::ZERO))?.is_empty());
    writer.write_all(b"x")?;
    assert_eq!(wait_for(&sources), [2]);
    let waiter = start(|| assert_eq!(wait([&rx, &rx], None).unwrap(), [0, 1]));
    let other_waiter = start(|| assert_eq!(wait_for(&sources[..2]), [1]));
    other_tx.send(1)?;
    ends_well(&other_waiter);
    go.count();
    ends_well(&waiter);
    assert_eq!(wait_for(&sources), [0, 1, 2]);
    ends_well(&child);
    Ok(())
}

pub(crate) fn a_writer_stopped_in_the_middle_keeps_nobody_from_the_timeout() -> Outcome {
    let (rx, tx) = Pipe::<Vec<u8>>::options().codec::<Bytes>().simplex()?;
    let holds = Counter::new();
    let child = start(|| {
        let loan = tx.send_loan(100).unwrap();
        holds.count();
        holds.reach(2);
        loan.commit();
    });
    holds.reach(1);
    send_signal(&child, libc::SIGSTOP);
    let begun = Instant::now();
    assert!(wait([&rx], Some(3 * MOMENT))?.is_empty());
    assert!(begun.elapsed() >= 3 * MOMENT - Duration::from_millis(1));
    // Killed where it stands, it is out of the way.
    kill(&child);
    nothing(&[Source::from(&rx)]);
    tx.send_bytes(b"x")?;
    assert_eq!(wait_for(&[Source::from(&rx)]), [0]);
    Ok(())
}

pub(crate) fn a_writer_that_waits_for_room_does_not_hide_what_is_there() -> Outcome {
    let (rx, tx) = Pipe::<u32>::options().capacity(1).simplex()?;
    tx.send(1)?;
    let child = start(|| tx.send(2));
    blocked(&child);
    for expected in [1, 2] {
        assert_eq!(wait_for(&[Source::from(&rx)]), [0]);
        assert_eq!(rx.recv()?, expected);
    }
    ends_well(&child);
    nothing(&[Source::from(&rx)]);
    Ok(())
}
