//! The end of the stream, and ends that are closed.

use crate::made::{MOMENT, bytes_pipe};
use crate::messages::Thing;
use common::*;
use multiproc_pipe::{
    Pipe, RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError,
};
use std::time::Duration;

/// P8
pub(crate) fn after_the_peer_closed_every_receive_is_the_end() -> Outcome {
    let (here, there) = bytes_pipe();
    let child = start(move || {
        there.send_bytes(b"last").unwrap();
        there.close();
        there.recv().is_err() as i32 - 1
    });
    assert_eq!(here.recv()?, b"last");
    assert_eq!(here.recv(), Err(RecvError::Closed));
    assert_eq!(here.try_recv(), Err(TryRecvError::Closed));
    let timed = here.recv_timeout(Duration::from_secs(60));
    assert_eq!(timed, Err(RecvTimeoutError::Closed));
    assert_eq!(here.recv_bytes(10), Err(RecvError::Closed.into()));
    let mut buffer = [0; 4];
    assert_eq!(
        here.recv_bytes_into(&mut buffer),
        Err(RecvError::Closed.into())
    );
    assert_eq!(here.recv_into_vec(&mut Vec::new()), Err(RecvError::Closed));
    assert!(matches!(here.recv_loan(), Err(RecvError::Closed)));
    ends_well(&child);
    // The typed one.
    let (here, there) = Pipe::<Thing>::duplex()?;
    let child = start(move || drop(there));
    assert_eq!(here.recv(), Err(RecvError::Closed));
    ends_well(&child);
    Ok(())
}

/// P11
pub(crate) fn the_parent_may_close_its_copy_right_after_start() -> Outcome {
    for _ in 0..50 {
        let (here, there) = Pipe::<u32>::duplex()?;
        let copy = there.clone();
        let child = start(move || {
            while let Ok(n) = there.recv() {
                there.send(n + 1).unwrap();
            }
        });
        copy.close();
        assert!(copy.is_closed());
        here.send(1)?;
        assert_eq!(here.recv()?, 2);
        drop(here);
        ends_well(&child);
    }
    Ok(())
}

/// P14
pub(crate) fn dropping_closes_and_a_closed_end_says_so() -> Outcome {
    let (here, there) = Pipe::<u32>::duplex()?;
    assert!(!here.is_closed() && here.is_readable() && here.is_writable());
    there.send(1)?;
    {
        let _guard = there;
    }
    assert_eq!(here.recv()?, 1);
    assert_eq!(here.recv(), Err(RecvError::Closed));
    assert!(!here.is_closed(), "the other one was closed, not this one");
    here.close();
    assert!(here.is_closed() && !here.is_readable() && !here.is_writable());
    assert_eq!(here.recv(), Err(RecvError::Closed));
    Ok(())
}

/// P25
pub(crate) fn after_close_everything_says_closed_and_closing_again_is_fine() -> Outcome {
    let (here, there) = bytes_pipe();
    there.send_bytes(b"unread")?;
    here.close();
    here.close();
    assert!(here.is_closed());
    assert_eq!(
        here.send(b"back".to_vec()).map_err(SendError::into_message),
        Err(b"back".to_vec())
    );
    assert!(matches!(here.send(vec![]), Err(SendError::Closed(_))));
    assert!(matches!(
        here.try_send(vec![]),
        Err(TrySendError::Closed(_))
    ));
    assert!(matches!(
        here.send_timeout(vec![], MOMENT),
        Err(SendTimeoutError::Closed(_))
    ));
    assert!(matches!(here.send_bytes(b""), Err(SendError::Closed(()))));
    assert!(matches!(here.send_loan(1), Err(SendError::Closed(()))));
    assert_eq!(here.recv(), Err(RecvError::Closed));
    assert_eq!(here.try_recv(), Err(TryRecvError::Closed));
    assert_eq!(here.recv_timeout(MOMENT), Err(RecvTimeoutError::Closed));
    assert!(matches!(here.recv_loan(), Err(RecvError::Closed)));
    assert_eq!(here.poll(MOMENT), Err(RecvError::Closed));
    assert_eq!(here.iter().count(), 0);
    let sentence = here.recv().unwrap_err().to_string();
    assert!(
        sentence.starts_with("the connection is closed"),
        "{sentence}"
    );
    assert!(
        here.clone().is_closed(),
        "a clone of a closed end is closed"
    );
    // Closing one end twice does not close another one.
    let (rx, tx) = Pipe::<u8>::simplex()?;
    let other = tx.clone();
    tx.close();
    tx.close();
    drop(tx);
    other.send(3)?;
    assert_eq!(rx.recv()?, 3);
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    Ok(())
}
