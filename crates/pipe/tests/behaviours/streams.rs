//! Streams of bytes, and iteration.

use crate::codecs::Moody;
use crate::made::{bytes_pipe, bytes_simplex};
use common::*;
use multiproc_pipe::{Pipe, RecvError};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};

pub(crate) fn reading_and_writing_streams_ignores_borders() -> Outcome {
    let (mut here, mut there) = bytes_pipe();
    let child = start(move || {
        let mut text = String::new();
        let mut request = [0; 9];
        there.read_exact(&mut request).unwrap();
        text.push_str(std::str::from_utf8(&request).unwrap());
        for part in ["one ", "", "two ", "three"] {
            there.write_all(part.as_bytes()).unwrap();
        }
        there.flush().unwrap();
        there.close();
        assert_eq!(text, "a request");
    });
    assert_eq!(here.write(b"")?, 0, "an empty write is no message");
    for part in ["a ", "req", "uest"] {
        here.write_all(part.as_bytes())?;
    }
    let mut text = String::new();
    here.read_to_string(&mut text)?;
    assert_eq!(text, "one two three");
    assert_eq!(here.read(&mut [0; 4])?, 0, "the end stays the end");
    ends_well(&child);
    Ok(())
}

pub(crate) fn a_stream_ends_with_its_senders_and_breaks_with_its_receivers() -> Outcome {
    let (mut rx, mut tx) = bytes_simplex(1 << 20);
    let child = start(move || {
        std::io::copy(&mut &[9; 100_000][..], &mut tx).unwrap();
        kill_me();
    });
    let mut all = Vec::new();
    rx.read_to_end(&mut all)?;
    assert_eq!(all, [9; 100_000]);
    assert_eq!(ends(&child).signal(), Some(9));
    let (rx, mut tx) = bytes_simplex(1 << 20);
    let child = start(move || rx.recv().map(drop));
    tx.write_all(b"x")?;
    ends_well(&child);
    assert_eq!(
        tx.write(b"y").unwrap_err().kind(),
        ErrorKind::BrokenPipe,
        "and no SIGPIPE"
    );
    Ok(())
}

pub(crate) fn what_a_read_left_is_read_before_the_next_message() -> Outcome {
    let (mut rx, tx) = bytes_simplex(1 << 20);
    tx.send_bytes(b"")?;
    tx.send_bytes(b"abcdef")?;
    tx.send_bytes(b"whole")?;
    tx.send_bytes(b"tail")?;
    let mut two = [0; 2];
    assert_eq!(rx.read(&mut [])?, 0);
    rx.read_exact(&mut two)?;
    assert_eq!(&two, b"ab");
    // The other methods receive the next message.
    assert_eq!(rx.recv()?, b"whole");
    let mut rest = [0; 8];
    rx.read_exact(&mut rest)?;
    assert_eq!(&rest, b"cdeftail");
    Ok(())
}

pub(crate) fn lines_through_a_pipe() -> Outcome {
    let (rx, mut tx) = bytes_simplex(4096);
    let child = start(move || {
        for n in 0..10_000 {
            writeln!(tx, "line {n}").unwrap();
        }
    });
    for (n, line) in BufReader::new(rx).lines().enumerate() {
        assert_eq!(line?, format!("line {n}"));
    }
    ends_well(&child);
    Ok(())
}

// ---- iteration ----

pub(crate) fn iteration_ends_with_the_stream_and_stays_ended() -> Outcome {
    let (here, there) = Pipe::<u32>::duplex()?;
    let child = start(move || (0..1_000).for_each(|n| there.send(n).unwrap()));
    let mut iter = here.iter();
    for n in 0..1_000 {
        assert_eq!(iter.next(), Some(Ok(n)));
    }
    assert_eq!((iter.next(), iter.next()), (None, None));
    ends_well(&child);
    assert!(here.iter().next().is_none(), "nothing comes any more");
    Ok(())
}

pub(crate) fn iteration_goes_on_after_a_message_that_cannot_be_decoded() -> Outcome {
    let (rx, tx) = Pipe::<Moody>::simplex()?;
    let child = start(move || {
        [1, 13, 2]
            .into_iter()
            .try_for_each(|n| tx.send(Moody::Goes(n)))
    });
    let all: Vec<_> = rx.iter().collect();
    assert_eq!(all.len(), 3);
    assert_eq!(all[0], Ok(Moody::Goes(1)));
    assert!(matches!(all[1], Err(RecvError::Decode(_))));
    assert_eq!(all[2], Ok(Moody::Goes(2)));
    ends_well(&child);
    Ok(())
}
