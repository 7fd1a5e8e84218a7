//! What a pipe promises, row by row of the list of behaviours, between real processes: messages
//! and their borders, bytes, polling, closing, iteration, loans, several users of one end.

#[path = "../../queue/tests/common/mod.rs"]
mod common;

use common::*;
use multiproc_pipe::codec::{Bytes, Plain};
use multiproc_pipe::{
    BufferTooShort, Connection, CreateError, NotThatSlice, Pipe, Receiver, RecvBytesError,
    RecvError, RecvIntoError, RecvTimeoutError, SendError, SendTimeoutError, Sender, TryRecvError,
    TrySendError,
};
use multiproc_process::{ExitValue, Process, StartError, test};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

test::main! {
    an_object_and_bytes_come_back_as_they_went,
    recv_bytes_into_fills_the_front_and_leaves_the_rest,
    a_short_buffer_gives_the_whole_message_which_is_received,
    poll_says_false_at_once_or_after_its_time_and_true_when_something_came,
    sixteen_mebibytes_echo_while_both_sides_block,
    sixteen_mebibytes_at_a_time_in_both_directions,
    after_the_peer_closed_every_receive_is_the_end,
    the_parent_may_close_its_copy_right_after_start,
    dropping_closes_and_a_closed_end_says_so,
    eight_messages_with_empty_ones_arrive_one_by_one,
    who_only_polled_eats_nothing,
    a_longer_message_than_allowed_ends_receiving_and_not_sending,
    after_close_everything_says_closed_and_closing_again_is_fine,
    #[ignore = "4.5 GiB of memory"]
    #[timeout(300)]
    a_message_above_two_gibibytes_arrives,
    #[ignore = "2 GiB of memory"]
    #[timeout(300)]
    one_gibibyte_through_a_small_pipe,
    two_processes_with_an_end_each_hear_each_other,

    sends_of_two_processes_on_one_end_do_not_mix,
    receives_of_two_processes_on_one_end_share_the_messages,
    both_ends_shared_by_many_lose_and_double_nothing,

    borders_hold_for_every_length_around_the_edges,
    a_message_larger_than_the_pipe_enters_alone,
    a_message_that_can_never_fit_comes_back,
    capacity_counts_messages,
    a_full_pipe_makes_sends_wait_as_long_as_they_say,
    an_empty_pipe_makes_receives_wait_as_long_as_they_say,
    bounds_of_nothing_are_refused,
    signals_neither_end_nor_stretch_a_wait,

    what_cannot_be_encoded_comes_back_and_later_messages_arrive,
    an_encoder_that_panics_harms_its_own_send_only,
    a_decoder_that_fails_costs_one_message,
    plain_data_arrives_in_both_directions,

    reading_and_writing_streams_ignores_borders,
    a_stream_ends_with_its_senders_and_breaks_with_its_receivers,
    what_a_read_left_is_read_before_the_next_message,
    lines_through_a_pipe,

    iteration_ends_with_the_stream_and_stays_ended,
    iteration_goes_on_after_a_message_that_cannot_be_decoded,

    loans_go_in_place_both_ways,
    a_loan_that_is_dropped_sends_nothing_and_one_given_back_stays,
    a_loan_is_a_slice_of_plain_data_where_it_fits,
    while_a_loan_lives_the_others_wait_and_then_go_on,
    no_fork_while_a_loan_is_held,

    close_wakes_a_thread_that_receives_on_the_same_end,
    close_wakes_a_thread_that_sends_on_the_same_end,
    threads_can_have_the_halves,
    handles_are_send_sync_and_debug,
}

type BytesEnd = Connection<Vec<u8>, Vec<u8>, Bytes>;

fn bytes_pipe() -> (BytesEnd, BytesEnd) {
    let pipe = Pipe::<Vec<u8>>::options().codec::<Bytes>().duplex();
    pipe.unwrap()
}

fn bytes_simplex(bytes: usize) -> (Receiver<Vec<u8>, Bytes>, Sender<Vec<u8>, Bytes>) {
    let pipe = Pipe::<Vec<u8>>::options().bytes(bytes).codec::<Bytes>();
    pipe.simplex().unwrap()
}

/// A helper: a daemon, so that a test that fails does not wait for it.
fn start<R: ExitValue>(f: impl FnOnce() -> R) -> Process {
    let helper = Process::builder().daemon(true).start(f);
    helper.map_err(StartError::from).unwrap()
}

const MOMENT: Duration = Duration::from_millis(60);

// ---- the rows of the list ----

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Thing {
    name: String,
    parts: Vec<(u32, f64)>,
    more: Option<Box<Thing>>,
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
fn an_object_and_bytes_come_back_as_they_went() -> Outcome {
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
fn recv_bytes_into_fills_the_front_and_leaves_the_rest() -> Outcome {
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
fn a_short_buffer_gives_the_whole_message_which_is_received() -> Outcome {
    let (here, there) = bytes_pipe();
    let child = start(move || {
        there.send(pattern(1, 3000)).unwrap();
        there.send(pattern(2, 10)).unwrap();
    });
    let mut buffer = [7; 100];
    match here.recv_bytes_into(&mut buffer) {
        Err(RecvIntoError::TooShort(BufferTooShort { message, room })) => {
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
fn poll_says_false_at_once_or_after_its_time_and_true_when_something_came() -> Outcome {
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
fn sixteen_mebibytes_echo_while_both_sides_block() -> Outcome {
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

fn sixteen_mebibytes_at_a_time_in_both_directions() -> Outcome {
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

/// P8
fn after_the_peer_closed_every_receive_is_the_end() -> Outcome {
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
fn the_parent_may_close_its_copy_right_after_start() -> Outcome {
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
fn dropping_closes_and_a_closed_end_says_so() -> Outcome {
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

/// P19
fn eight_messages_with_empty_ones_arrive_one_by_one() -> Outcome {
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
fn who_only_polled_eats_nothing() -> Outcome {
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
fn a_longer_message_than_allowed_ends_receiving_and_not_sending() -> Outcome {
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

/// P25
fn after_close_everything_says_closed_and_closing_again_is_fine() -> Outcome {
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

/// P26
fn a_message_above_two_gibibytes_arrives() -> Outcome {
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

fn one_gibibyte_through_a_small_pipe() -> Outcome {
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
fn two_processes_with_an_end_each_hear_each_other() -> Outcome {
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

// ---- several users of one end ----

/// F12
fn sends_of_two_processes_on_one_end_do_not_mix() -> Outcome {
    const EACH: u64 = 60;
    let (here, there) = bytes_pipe();
    // One clones, one borrows: both send on the same side.
    let copy = there.clone();
    let one = start(move || {
        (0..EACH).for_each(|n| copy.send(pattern(n, 200_000)).unwrap());
    });
    let two = start(|| {
        (0..EACH).for_each(|n| there.send(pattern(n + EACH, 200_000)).unwrap());
    });
    let mut next = [0, EACH];
    for _ in 0..2 * EACH {
        let message = here.recv()?;
        assert_eq!(message.len(), 200_000);
        let number = number_of(&message);
        let whose = usize::from(number >= EACH);
        assert_eq!(number, next[whose], "each one's messages keep their order");
        next[whose] += 1;
    }
    ends_well(&one);
    ends_well(&two);
    assert!(!here.poll(Duration::ZERO)?);
    Ok(())
}

fn receives_of_two_processes_on_one_end_share_the_messages() -> Outcome {
    const ALL: u64 = 2_000;
    let (rx, tx) = bytes_simplex(64 << 10);
    let (sums, counts) = (Counter::new(), Counter::new());
    let (sum, count) = (&sums, &counts);
    let reader = |rx: Receiver<Vec<u8>, Bytes>| {
        start(move || {
            let mut last = None;
            for message in &rx {
                let number = number_of(&message.unwrap());
                assert!(last.replace(number) < Some(number));
                sum.add(number);
                count.count();
            }
        })
    };
    let readers = [reader(rx.clone()), reader(rx.clone())];
    drop(rx);
    (1..=ALL).try_for_each(|n| tx.send(pattern(n, 8 + n as usize % 5_000)))?;
    drop(tx);
    readers.iter().for_each(ends_well);
    assert_eq!((counts.get(), sums.get()), (ALL, ALL * (ALL + 1) / 2));
    Ok(())
}

fn both_ends_shared_by_many_lose_and_double_nothing() -> Outcome {
    const EACH: u64 = 1_000;
    let (rx, tx) = bytes_simplex(8 << 10);
    let had = Counter::new();
    let mut all = Vec::new();
    for who in 0..3 {
        let (tx, dice) = (tx.clone(), Dice::new(who));
        all.push(start(move || {
            let mut dice = dice;
            for n in 0..EACH {
                let len = 8 + dice.below(3_000) as usize;
                tx.send(pattern(who * EACH + n, len)).unwrap();
            }
        }));
    }
    drop(tx);
    for _ in 0..3 {
        let (rx, had) = (rx.clone(), had.clone());
        all.push(start(move || {
            let mut last = [None; 3];
            for message in &rx {
                let number = number_of(&message.unwrap());
                let before = last[(number / EACH) as usize].replace(number);
                assert!(before < Some(number));
                had.count();
            }
        }));
    }
    drop(rx);
    all.iter().for_each(ends_well);
    assert_eq!(had.get(), 3 * EACH);
    Ok(())
}

// ---- sizes and waits ----

fn borders_hold_for_every_length_around_the_edges() -> Outcome {
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

fn a_message_larger_than_the_pipe_enters_alone() -> Outcome {
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

fn a_message_that_can_never_fit_comes_back() -> Outcome {
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

fn capacity_counts_messages() -> Outcome {
    let (rx, tx) = Pipe::<u32>::options().capacity(2).simplex()?;
    tx.try_send(1)?;
    tx.try_send(2)?;
    assert!(matches!(tx.try_send(3), Err(TrySendError::Full(3))));
    assert_eq!(rx.recv()?, 1);
    tx.try_send(3)?;
    assert_eq!((rx.recv()?, rx.recv()?), (2, 3));
    Ok(())
}

fn a_full_pipe_makes_sends_wait_as_long_as_they_say() -> Outcome {
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

fn an_empty_pipe_makes_receives_wait_as_long_as_they_say() -> Outcome {
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

fn bounds_of_nothing_are_refused() -> Outcome {
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

fn signals_neither_end_nor_stretch_a_wait() -> Outcome {
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

// ---- codecs ----

/// Refuses to be encoded, panics, or goes through.
#[derive(Debug, PartialEq)]
enum Moody {
    Refuses,
    Panics,
    Goes(u32),
}

impl Serialize for Moody {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Moody::Refuses => Err(serde::ser::Error::custom("not today")),
            Moody::Panics => panic!("in the middle of encoding"),
            Moody::Goes(n) => serializer.serialize_u32(*n),
        }
    }
}

impl<'de> Deserialize<'de> for Moody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u32::deserialize(deserializer)? {
            13 => Err(serde::de::Error::custom("thirteen")),
            n => Ok(Moody::Goes(n)),
        }
    }
}

fn what_cannot_be_encoded_comes_back_and_later_messages_arrive() -> Outcome {
    let (here, there) = Pipe::<Moody>::duplex()?;
    let child = start(move || {
        let refused = there.send(Moody::Refuses).unwrap_err();
        assert!(matches!(refused, SendError::Encode { .. }));
        assert_eq!(refused.into_message(), Moody::Refuses);
        there.send(Moody::Goes(1)).unwrap();
    });
    assert_eq!(here.recv()?, Moody::Goes(1));
    ends_well(&child);
    Ok(())
}

fn an_encoder_that_panics_harms_its_own_send_only() -> Outcome {
    let (here, there) = Pipe::<Moody>::duplex()?;
    let panicked = catch_unwind(AssertUnwindSafe(|| there.send(Moody::Panics)));
    assert!(panicked.is_err());
    let child = start(|| there.send(Moody::Goes(7)));
    assert_eq!(here.recv()?, Moody::Goes(7));
    ends_well(&child);
    Ok(())
}

fn a_decoder_that_fails_costs_one_message() -> Outcome {
    let (here, there) = Pipe::<Moody>::duplex()?;
    let child = start(move || {
        [12, 13, 14]
            .into_iter()
            .try_for_each(|n| there.send(Moody::Goes(n)))
    });
    assert_eq!(here.recv()?, Moody::Goes(12));
    assert!(matches!(here.recv(), Err(RecvError::Decode(_))));
    assert_eq!(here.recv()?, Moody::Goes(14));
    ends_well(&child);
    Ok(())
}

fn plain_data_arrives_in_both_directions() -> Outcome {
    let pipe = Pipe::<[f64; 100], bool>::options().codec::<Plain>();
    let (here, there) = pipe.duplex()?;
    let child = start(move || {
        let all = there.recv().unwrap();
        there.send(all.iter().sum::<f64>() == 4950.0).unwrap();
    });
    here.send(std::array::from_fn(|n| n as f64))?;
    assert!(here.recv()?);
    ends_well(&child);
    Ok(())
}

// ---- streams ----

fn reading_and_writing_streams_ignores_borders() -> Outcome {
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

fn a_stream_ends_with_its_senders_and_breaks_with_its_receivers() -> Outcome {
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

fn what_a_read_left_is_read_before_the_next_message() -> Outcome {
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

fn lines_through_a_pipe() -> Outcome {
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

fn iteration_ends_with_the_stream_and_stays_ended() -> Outcome {
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

fn iteration_goes_on_after_a_message_that_cannot_be_decoded() -> Outcome {
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

// ---- loans ----

fn loans_go_in_place_both_ways() -> Outcome {
    let (here, there) = bytes_pipe();
    let child = start(move || {
        for _ in 0..100 {
            let request = there.recv_loan().unwrap();
            let mut reply = there.send_loan(request.len()).unwrap();
            reply.copy_from_slice(&request);
            reply.reverse();
            reply.commit();
            request.done();
        }
        // Ends of both kinds were held, and nothing is left of that.
        assert_eq!(there.recv(), Err(RecvError::Closed));
    });
    for n in 0..100_usize {
        let mut loan = here.send_loan(n * 100)?;
        for (at, byte) in loan.iter_mut().enumerate() {
            *byte = at as u8;
        }
        loan.commit();
        let reply = here.recv_loan()?;
        assert_eq!(reply.len(), n * 100);
        assert!(reply.iter().rev().enumerate().all(|(at, b)| *b == at as u8));
    }
    drop(here);
    ends_well(&child);
    Ok(())
}

fn a_loan_that_is_dropped_sends_nothing_and_one_given_back_stays() -> Outcome {
    let (rx, tx) = bytes_simplex(1 << 20);
    tx.send_loan(100)?.fill(1);
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    tx.send(pattern(1, 50))?;
    tx.send(pattern(2, 50))?;
    let loan = rx.recv_loan()?;
    assert_eq!(number_of(&loan), 1);
    loan.give_back();
    assert_eq!(number_of(&rx.recv_loan()?), 1);
    // One that dies with a message in its hands leaves it to the others.
    let child = start(|| {
        let loan = rx.recv_loan().unwrap();
        assert_eq!(number_of(&loan), 2);
        kill_me();
    });
    assert_eq!(ends(&child).signal(), Some(9));
    assert_eq!(number_of(&rx.recv()?), 2);
    // And one that dies while it writes leaves nothing.
    let child = start(|| {
        let mut loan = tx.send_loan(100).unwrap();
        loan.fill(3);
        kill_me();
    });
    assert_eq!(ends(&child).signal(), Some(9));
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    tx.send(pattern(4, 8))?;
    assert_eq!(number_of(&rx.recv()?), 4);
    Ok(())
}

fn a_loan_is_a_slice_of_plain_data_where_it_fits() -> Outcome {
    let (rx, tx) = bytes_simplex(1 << 20);
    let child = start(move || {
        let mut loan = tx.send_loan(8 * 100).unwrap();
        for (n, x) in loan.slice_mut::<f64>().unwrap().iter_mut().enumerate() {
            *x = n as f64;
        }
        loan.commit();
        tx.send_bytes(b"seven..").unwrap();
    });
    let loan = rx.recv_loan()?;
    assert_eq!(loan.slice::<f64>()?.iter().sum::<f64>(), 4950.0);
    assert_eq!(loan.slice::<[u8; 16]>()?.len(), 50);
    drop(loan);
    let loan = rx.recv_loan()?;
    assert_eq!(loan.slice::<u32>().unwrap_err(), NotThatSlice);
    drop(loan);
    ends_well(&child);
    Ok(())
}

fn while_a_loan_lives_the_others_wait_and_then_go_on() -> Outcome {
    let (rx, tx) = bytes_simplex(1 << 20);
    tx.send(pattern(1, 10))?;
    tx.send(pattern(2, 10))?;
    let (reads, sends) = (rx.clone(), tx.clone());
    let loan = rx.recv_loan()?;
    let room = tx.send_loan(8)?;
    // No fork while a loan is held: threads are the others here.
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || number_of(&reads.recv().unwrap()));
        let writer = scope.spawn(move || sends.send(pattern(3, 10)).is_ok());
        let waited = Instant::now();
        while waited.elapsed() < MOMENT {
            assert!(!reader.is_finished() && !writer.is_finished());
            std::thread::yield_now();
        }
        drop(room);
        assert_eq!(number_of(&loan), 1);
        drop(loan);
        assert_eq!(reader.join().unwrap(), 2);
        assert!(writer.join().unwrap());
    });
    assert_eq!(number_of(&rx.recv()?), 3);
    Ok(())
}

fn no_fork_while_a_loan_is_held() -> Outcome {
    let (rx, tx) = bytes_simplex(1 << 20);
    tx.send_bytes(b"x")?;
    let room = tx.send_loan(10)?;
    let refused = Process::start(|| ()).map_err(StartError::from);
    assert!(matches!(refused, Err(StartError::HoldsGuard)));
    drop(room);
    let loan = rx.recv_loan()?;
    let refused = Process::start(|| ()).map_err(StartError::from);
    assert!(matches!(refused, Err(StartError::HoldsGuard)));
    drop(loan);
    ends_well(&start(|| ()));
    Ok(())
}

// ---- threads ----

fn thread_id() -> u32 {
    // SAFETY: only asks.
    unsafe { libc::gettid() as u32 }
}

fn close_wakes_a_thread_that_receives_on_the_same_end() -> Outcome {
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

fn close_wakes_a_thread_that_sends_on_the_same_end() -> Outcome {
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

fn threads_can_have_the_halves() -> Outcome {
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

fn handles_are_send_sync_and_debug() {
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
