//! Messages and bytes, as they went and as they come; large ones; polling.

use crate::made::{bytes_pipe, bytes_simplex};
use common::*;
use multiproc_pipe::codec::Bytes;
use multiproc_pipe::{
    BufferTooShort, Connection, Pipe, RecvBytesError, RecvBytesIntoError, RecvError, SendError,
};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Thing {
    pub(crate) name: String,
    pub(crate) parts: Vec<(u32, f64)>,
    pub(crate) more: Option<Box<Thing>>,
}

fn thing() -> Thing {
    let inner = Thing {
        name: String::new(),
        parts: vec![],
        more: None,
    };
    Thing {
        name: "a thing".into(),
        parts: (0..100).map(|n| (n, f64::from(n) / 3.0)).collect(),
        more: Some(Box::new(inner)),
    }
}

/// P1
pub(crate) fn an_object_and_bytes_come_back_as_they_went() -> Outcome {
    let (here, there) = Pipe::<Thing>::duplex()?;
    let (bytes_here, bytes_there) = bytes_pipe();
    let echo = start(move || {
        there.send(there.recv().unwrap()).unwrap();
        let got = bytes_there.recv().unwrap();
        bytes_there.send_bytes(&got).unwrap();
    });
    here.send(thing())?;
    assert_eq!(here.recv()?, thing());
    bytes_here.send_bytes(b"\0hello\xff")?;
    assert_eq!(bytes_here.recv_bytes(100)?, b"\0hello\xff");
    ends_well(&echo);
    Ok(())
}

/// P2
pub(crate) fn recv_bytes_into_fills_the_front_and_leaves_the_rest() -> Outcome {
    let (here, there) = bytes_pipe();
    let child = start(move || {
        there.send_bytes(b"twelve bytes").unwrap();
        there.send_bytes(b"").unwrap();
    });
    let mut buffer = [0x55; 40];
    assert_eq!(here.recv_bytes_into(&mut buffer)?, 12);
    assert_eq!(&buffer[..12], b"twelve bytes");
    assert_eq!(buffer[12..], [0x55; 28]);
    assert_eq!(here.recv_bytes_into(&mut buffer[..0])?, 0);
    // An exact fit, and a part of a buffer, in the place of Python's offset.
    ends_well(&child);
    let (here, there) = bytes_pipe();
    there.send_bytes(b"abc")?;
    there.send_bytes(b"abc")?;
    assert_eq!(here.recv_bytes_into(&mut buffer[..3])?, 3);
    assert_eq!(here.recv_bytes_into(&mut buffer[20..])?, 3);
    assert_eq!(
        (&buffer[..4], &buffer[19..24]),
        (&b"abcl"[..], &b"\x55abc\x55"[..])
    );
    Ok(())
}

/// P4
pub(crate) fn a_short_buffer_gives_the_whole_message_which_is_received() -> Outcome {
    let (here, there) = bytes_pipe();
    let child = start(move || {
        there.send(pattern(1, 3000)).unwrap();
        there.send(pattern(2, 10)).unwrap();
    });
    let mut buffer = [7; 100];
    match here.recv_bytes_into(&mut buffer) {
        Err(RecvBytesIntoError::TooShort(BufferTooShort { message, room })) => {
            assert_eq!((message, room), (pattern(1, 3000), 100));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(buffer, [7; 100], "nothing is written into a short buffer");
    assert_eq!(here.recv_bytes_into(&mut buffer)?, 10);
    assert_eq!(number_of(&buffer[..10]), 2);
    ends_well(&child);
    Ok(())
}

/// P5
pub(crate) fn poll_says_false_at_once_or_after_its_time_and_true_when_something_came() -> Outcome {
    let (here, there) = Pipe::<u32>::duplex()?;
    let begun = Instant::now();
    assert!(!here.poll(Duration::ZERO)?);
    assert!(begun.elapsed() < PATIENCE);
    let begun = Instant::now();
    assert!(!here.poll(Duration::from_millis(100))?);
    assert!(begun.elapsed() >= Duration::from_millis(99));
    let child = start(move || {
        there.send(5).unwrap();
        there.recv().map(drop)
    });
    assert!(here.poll(Duration::MAX)?);
    assert!(here.poll(Duration::ZERO)?, "a poll takes nothing");
    assert_eq!(here.recv()?, 5);
    assert!(!here.poll(Duration::ZERO)?);
    here.send(1)?;
    ends_well(&child);
    // The end of the stream is something to receive, too.
    assert!(here.poll(Duration::MAX)?);
    assert!(here.poll(Duration::ZERO)?);
    assert_eq!(here.recv(), Err(RecvError::Closed));
    here.close();
    assert_eq!(here.poll(Duration::ZERO), Err(RecvError::Closed));
    Ok(())
}

/// P7
pub(crate) fn sixteen_mebibytes_echo_while_both_sides_block() -> Outcome {
    let (here, there) = bytes_pipe();
    let echo = start(move || {
        while let Ok(message) = there.recv() {
            there.send(message).unwrap();
        }
    });
    for number in 0..3 {
        here.send(pattern(number, 16 << 20))?;
        let back = here.recv()?;
        assert_eq!((number_of(&back), back.len()), (number, 16 << 20));
    }
    drop(here);
    ends_well(&echo);
    Ok(())
}

pub(crate) fn sixteen_mebibytes_at_a_time_in_both_directions() -> Outcome {
    // Each sends before it receives, which a socket could not take.
    let (here, there) = bytes_pipe();
    let other = start(move || {
        for number in 0..5 {
            there.send(pattern(number, 16 << 20)).unwrap();
            assert_eq!(number_of(&there.recv().unwrap()), number + 100);
        }
    });
    for number in 0..5 {
        here.send(pattern(number + 100, 16 << 20))?;
        assert_eq!(number_of(&here.recv()?), number);
    }
    ends_well(&other);
    Ok(())
}

/// P19
pub(crate) fn eight_messages_with_empty_ones_arrive_one_by_one() -> Outcome {
    let texts = ["hello", "", "a", "b", "", "bye", "", "lop"];
    let (here, there) = bytes_pipe();
    let had = Counter::new();
    let child = start(|| {
        let there = there;
        for (n, text) in texts.iter().enumerate() {
            there.send_bytes(text.as_bytes()).unwrap();
            // The next one when this one is had: so they really come one by one.
            had.reach(n as u64 + 1);
        }
    });
    for text in texts {
        assert!(here.poll(Duration::from_secs(20))?);
        assert_eq!(here.recv()?, text.as_bytes());
        assert!(!here.poll(Duration::ZERO)?);
        had.count();
    }
    ends_well(&child);
    // All at once keep their borders, too.
    let (here, there) = bytes_pipe();
    let child = start(move || {
        for text in texts {
            there.send_bytes(text.as_bytes()).unwrap();
        }
    });
    ends_well(&child);
    for text in texts {
        assert_eq!(here.recv_bytes(5)?, text.as_bytes());
    }
    assert_eq!(here.recv(), Err(RecvError::Closed));
    Ok(())
}

/// P20
pub(crate) fn who_only_polled_eats_nothing() -> Outcome {
    let (here, there) = bytes_pipe();
    let (polled, go) = (Counter::new(), Counter::new());
    // Borrowed: the poller's own end on the same side as ours.
    let poller = start(|| {
        while go.get() == 0 {
            if here.poll(Duration::from_millis(5)).unwrap() {
                polled.count();
            }
        }
        // It leaves while something can be had.
        assert!(here.poll(Duration::ZERO).unwrap());
    });
    let sender = start(move || {
        for number in 0..100 {
            there
                .send(pattern(number, 1 + 50 * number as usize))
                .unwrap();
        }
        there.recv().map(drop)
    });
    polled.reach(1);
    for number in 0..99 {
        let message = here.recv()?;
        assert_eq!(number_of(&message), number);
    }
    go.count();
    ends_well(&poller);
    assert_eq!(number_of(&here.recv()?), 99);
    here.send_bytes(b"thanks")?;
    ends_well(&sender);
    Ok(())
}

/// P22
pub(crate) fn a_longer_message_than_allowed_ends_receiving_and_not_sending() -> Outcome {
    let (here, there) = bytes_pipe();
    let child = start(move || {
        there.send_bytes(b"just right").unwrap();
        there.send_bytes(b"one too long").unwrap();
        // Refused already, where the other side was fast.
        let _ = there.send_bytes(b"never had");
        assert_eq!(there.recv().unwrap(), b"still heard");
        // The other side receives no more.
        until("the pipe to break", || there.send_bytes(b"x").is_err());
        assert!(matches!(there.send_bytes(b"x"), Err(SendError::Closed(()))));
    });
    assert_eq!(here.recv_bytes(10)?, b"just right");
    assert_eq!(
        here.recv_bytes(11),
        Err(RecvBytesError::TooLong { len: 12, most: 11 })
    );
    assert!(!here.is_readable() && here.is_writable() && !here.is_closed());
    assert_eq!(here.recv(), Err(RecvError::Closed));
    assert_eq!(here.recv_bytes(100), Err(RecvError::Closed.into()));
    here.send_bytes(b"still heard")?;
    ends_well(&child);
    // One direction: nothing is left of the end.
    let (rx, tx) = bytes_simplex(1000);
    tx.send_bytes(b"too long")?;
    assert!(matches!(
        rx.recv_bytes(0),
        Err(RecvBytesError::TooLong { len: 8, most: 0 })
    ));
    assert!(rx.is_closed());
    assert!(matches!(tx.send_bytes(b"x"), Err(SendError::Closed(()))));
    Ok(())
}

/// P26
pub(crate) fn a_message_above_two_gibibytes_arrives() -> Outcome {
    let len = (1 << 31) + 5;
    let pipe = Pipe::<Vec<u8>>::options()
        .bytes(1 << 20)
        .reserve(8 << 30)
        .codec::<Bytes>();
    let (rx, tx) = pipe.simplex()?;
    let child = start(move || {
        let mut loan = tx.send_loan(len).unwrap();
        for (n, page) in loan.chunks_mut(4096).enumerate() {
            page[0] = n as u8 ^ 0x5a;
        }
        loan.commit();
        tx.send_bytes(b"and a small one").unwrap();
    });
    {
        let loan = rx.recv_loan()?;
        assert_eq!(loan.len(), len);
        for (n, page) in loan.chunks(4096).enumerate() {
            assert_eq!(page[0], n as u8 ^ 0x5a);
        }
    }
    assert_eq!(rx.recv()?, b"and a small one");
    ends_well(&child);
    Ok(())
}

pub(crate) fn one_gibibyte_through_a_small_pipe() -> Outcome {
    let (rx, tx) = bytes_simplex(64 << 10);
    let begun = Instant::now();
    let child = start(move || {
        let mut message = vec![0; 1 << 30];
        for (n, page) in message.chunks_mut(4096).enumerate() {
            page[..4].copy_from_slice(&(n as u32).to_le_bytes());
        }
        tx.send_bytes(b"before").unwrap();
        tx.send(message).unwrap();
        tx.send_bytes(b"after").unwrap();
    });
    assert_eq!(rx.recv()?, b"before");
    let message = rx.recv()?;
    assert_eq!(message.len(), 1 << 30);
    for (n, page) in message.chunks(4096).enumerate() {
        assert_eq!(page[..4], (n as u32).to_le_bytes());
        assert!(page[4..].iter().all(|b| *b == 0));
    }
    drop(message);
    assert_eq!(rx.recv()?, b"after");
    assert_eq!(rx.recv(), Err(RecvError::Closed));
    ends_well(&child);
    println!("1 GiB through 64 KiB in {:?}", begun.elapsed());
    Ok(())
}

/// P32
pub(crate) fn two_processes_with_an_end_each_hear_each_other() -> Outcome {
    let (left, right) = Pipe::<String>::duplex()?;
    let speak = |end: Connection<String>, mine: &'static str, theirs: &'static str| {
        start(move || {
            end.send(mine.into()).unwrap();
            assert_eq!(end.recv().unwrap(), theirs);
        })
    };
    let one = speak(left, "hello from the left", "hello from the right");
    let two = speak(right, "hello from the right", "hello from the left");
    ends_well(&one);
    ends_well(&two);
    Ok(())
}
