//! Connections and queues in an event loop of the user's own: real `epoll`, by level and by edge.
//! None of these loops has a timer: what it sleeps over, it never hears of, and the watchdog does.
#![allow(
    clippy::result_large_err,
    reason = "what did not start comes back whole"
)]

use common::{Counter, Dice, Outcome, PATIENCE, ends_well, kill, send_signal, until};
use multiproc_parcel::Descriptor;
use multiproc_pipe::{
    Connection, Pipe, Receiver, Sender, TryRecvError, codec::Bytes, codec::Codec,
};
use multiproc_process::{Process, test};
use multiproc_queue::{Queue, TryGetError};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use std::io::PipeReader;
use std::os::fd::AsFd;
use std::thread::sleep;
use std::time::{Duration, Instant};

test::main! {
    what_was_there_before_is_readable,
    nothing_is_not_readable_and_something_is,
    bells_that_nobody_answered_are_taken_away_by_the_look,
    a_message_behind_one_with_descriptors_is_readable,
    a_message_behind_more_descriptors_than_the_kernel_keeps_is_readable,
    by_level_no_message_is_slept_over,
    by_edge_no_message_is_slept_over,
    processes_that_share_an_end_sleep_over_nothing,
    by_edge_processes_that_share_an_end_sleep_over_nothing,
    one_loop_and_a_hundred_children,
    a_writer_that_holds_a_loan_keeps_nobody_and_is_heard_of,
    a_writer_that_is_stopped_in_the_middle_keeps_nobody,
    the_end_of_the_stream_is_readable,
    every_close_is_heard_of_whoever_looks_meanwhile,
    a_killed_peer_is_found_by_looking_every_now_and_then,
    killed_writers_cost_a_look_and_no_message,
    queues_and_consumers_too,
    what_cannot_ring_is_readable_every_now_and_then,
    over_tcp_it_is_the_socket,
    who_never_asked_for_the_descriptor_pays_nothing,
}

/// An `epoll` with a watchdog instead of a timer.
struct Loop(Epoll);

impl Loop {
    fn new() -> Loop {
        Loop(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap())
    }

    fn over(fd: impl AsFd, flags: EpollFlags) -> Loop {
        let events = Loop::new();
        events.add(fd, flags, 0);
        events
    }

    fn add(&self, fd: impl AsFd, flags: EpollFlags, data: u64) {
        let event = EpollEvent::new(EpollFlags::EPOLLIN | flags, data);
        self.0.add(fd, event).unwrap();
    }

    /// Who is readable, `patience` or not.
    fn within(&self, patience: Duration) -> Vec<u64> {
        let until = Instant::now() + patience;
        let mut events = [EpollEvent::empty(); 16];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let millis = u16::try_from(left.as_millis()).unwrap();
            match self.0.wait(&mut events, millis) {
                Ok(n) => return events[..n].iter().map(|event| event.data()).collect(),
                Err(nix::errno::Errno::EINTR) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Who is readable. Panics where nobody is for long.
    #[track_caller]
    fn wait(&self) -> Vec<u64> {
        let ready = self.within(PATIENCE);
        assert!(!ready.is_empty(), "slept for {PATIENCE:?}");
        ready
    }

    /// The next message: readable may be a little earlier than there.
    #[track_caller]
    fn next<T>(&self, receiver: &Connection<T, T, Bytes>) -> T
    where
        Bytes: Codec<T>,
    {
        loop {
            self.wait();
            match receiver.try_recv() {
                Ok(message) => return message,
                Err(TryRecvError::Empty) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn is_quiet(&self) -> bool {
        self.within(Duration::ZERO).is_empty()
    }
}

const LEVEL: EpollFlags = EpollFlags::empty();
const EDGE: EpollFlags = EpollFlags::EPOLLET;

fn what_was_there_before_is_readable() -> Outcome {
    for flags in [LEVEL, EDGE] {
        let (receiver, sender) = Pipe::<u32>::simplex()?;
        sender.send(1)?;
        sender.send(2)?;
        let events = Loop::over(&receiver, flags);
        events.wait();
        assert_eq!((receiver.recv()?, receiver.recv()?), (1, 2));
        // And so is what was there before it was asked for once more.
        sender.send(3)?;
        Loop::over(&receiver, flags).wait();
    }
    Ok(())
}

fn nothing_is_not_readable_and_something_is() -> Outcome {
    for flags in [LEVEL, EDGE] {
        let (left, right) = Pipe::<u32>::duplex()?;
        let events = Loop::over(&left, flags);
        for n in 0..1_000 {
            assert!(events.is_quiet());
            right.send(n)?;
            events.wait();
            assert_eq!(left.try_recv(), Ok(n));
            assert_eq!(left.try_recv(), Err(TryRecvError::Empty));
        }
        // Timeouts and polls look, too.
        right.send(0)?;
        events.wait();
        left.recv()?;
        assert!(left.recv_timeout(Duration::from_millis(1)).is_err());
        assert!(events.is_quiet());
        right.send(0)?;
        events.wait();
        left.recv()?;
        assert!(!left.poll(Duration::ZERO)?);
        assert!(events.is_quiet());
        right.send(0)?;
        events.wait();
    }
    Ok(())
}

fn bells_that_nobody_answered_are_taken_away_by_the_look() -> Outcome {
    let (receiver, sender) = Pipe::<u32>::simplex()?;
    let events = Loop::over(&receiver, LEVEL);
    for n in 0..2_000 {
        sender.send(n)?;
        assert_eq!(receiver.recv()?, n); // and nobody looks at the bell
        receiver.as_fd(); // arms again
    }
    sender.clone().close();
    events.wait();
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    assert!(events.is_quiet());
    sender.send(1)?;
    events.wait();
    Ok(())
}

type WithPipe = (u64, Option<Descriptor<PipeReader>>);

fn with_pipe(n: u64) -> WithPipe {
    (n, Some(Descriptor(std::io::pipe().unwrap().0)))
}

fn a_message_behind_one_with_descriptors_is_readable() -> Outcome {
    let (receiver, sender) = Pipe::<WithPipe>::simplex()?;
    let events = Loop::over(&receiver, LEVEL);
    for round in 0..100 {
        sender.send(with_pipe(round))?;
        sender.send((round, None))?;
        events.wait();
        assert!(receiver.try_recv()?.1.is_some());
        // The first one's bell went with its descriptors.
        events.wait();
        assert!(receiver.try_recv()?.1.is_none());
        assert!(matches!(receiver.try_recv(), Err(TryRecvError::Empty)));
        assert!(events.is_quiet());
    }
    Ok(())
}

fn a_message_behind_more_descriptors_than_the_kernel_keeps_is_readable() -> Outcome {
    let (receiver, sender) = Pipe::<WithPipe>::simplex()?;
    let events = Loop::over(&receiver, LEVEL);
    let mut sent = 0;
    while sender.try_send(with_pipe(sent)).is_ok() {
        sent += 1;
    }
    (0..3).try_for_each(|_| sender.send((0, None)))?;
    println!("{sent} with descriptors");
    for n in 0..sent + 3 {
        events.wait();
        assert_eq!(receiver.try_recv()?.1.is_some(), n < sent);
    }
    assert!(matches!(receiver.try_recv(), Err(TryRecvError::Empty)));
    assert!(events.is_quiet());
    Ok(())
}

/// Sends so many, some with descriptors, in bursts and alone.
fn send_unevenly(sender: &Sender<WithPipe>, messages: u64, seed: u64) {
    let mut dice = Dice::new(seed);
    for n in 0..messages {
        let message = if dice.below(8) == 0 {
            with_pipe(n)
        } else {
            (n, None)
        };
        sender.send(message).unwrap();
        match dice.below(10) {
            0 => sleep(Duration::from_micros(dice.below(500))),
            1 => std::thread::yield_now(),
            _ => {}
        }
    }
}

/// What a loop gets until the end of the stream. By level it takes one message at a time, by edge
/// all there are.
fn collect(receiver: &Receiver<WithPipe>, flags: EpollFlags) -> u64 {
    let events = Loop::over(receiver, flags);
    let mut got = 0;
    loop {
        events.wait();
        loop {
            match receiver.try_recv() {
                Ok(_) => got += 1,
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Closed) => return got,
                Err(error) => panic!("{error}"),
            }
            if flags == LEVEL {
                break;
            }
        }
    }
}

fn storm(flags: EpollFlags, receivers: u64, senders: u64) -> Outcome {
    const MESSAGES: u64 = 4_000;
    let (receiver, sender) = Pipe::<WithPipe>::simplex()?;
    let got = Counter::new();
    let readers = Process::start_each(0..receivers, |_| {
        let n = collect(&receiver.clone(), flags);
        for _ in 0..n {
            got.count();
        }
    })?;
    let writers: Vec<Process> = (0..senders)
        .map(|seed| {
            let sender = sender.clone();
            let child = Process::start(move || send_unevenly(&sender, MESSAGES, seed + 1));
            Ok(child?)
        })
        .collect::<Outcome<_>>()?;
    drop(sender);
    writers.iter().for_each(ends_well);
    readers.iter().for_each(ends_well);
    assert_eq!(got.get(), senders * MESSAGES);
    Ok(())
}

fn by_level_no_message_is_slept_over() -> Outcome {
    storm(LEVEL, 1, 1)?;
    storm(LEVEL, 1, 3)
}

fn by_edge_no_message_is_slept_over() -> Outcome {
    storm(EDGE, 1, 1)?;
    storm(EDGE, 1, 3)
}

fn processes_that_share_an_end_sleep_over_nothing() -> Outcome {
    storm(LEVEL, 3, 2)
}

fn by_edge_processes_that_share_an_end_sleep_over_nothing() -> Outcome {
    storm(EDGE, 3, 2)
}

fn one_loop_and_a_hundred_children() -> Outcome {
    const CHILDREN: u64 = 100;
    const QUESTIONS: u64 = 20;
    let mut connections: Vec<Option<Connection<u64>>> = Vec::new();
    let mut children = Vec::new();
    for id in 0..CHILDREN {
        let (mine, theirs) = Pipe::<u64>::duplex()?;
        connections.push(Some(mine));
        children.push(Process::start(move || {
            for n in 0..QUESTIONS {
                theirs.send(id * 1_000 + n).unwrap();
                assert_eq!(theirs.recv(), Ok(id * 1_000 + n + 1));
            }
        })?);
    }
    let events = Loop::new();
    for (id, connection) in connections.iter().enumerate() {
        events.add(connection.as_ref().unwrap(), LEVEL, id as u64);
    }
    let (mut open, mut served) = (CHILDREN, 0);
    while open > 0 {
        for id in events.wait() {
            let place = &mut connections[id as usize];
            let Some(connection) = place else { continue };
            match connection.try_recv() {
                Ok(n) => {
                    connection.send(n + 1)?;
                    served += 1;
                }
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Closed) => {
                    events.0.delete(&*connection).unwrap();
                    *place = None;
                    open -= 1;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    assert_eq!(served, CHILDREN * QUESTIONS);
    children.iter().for_each(ends_well);
    Ok(())
}

type ByteEnds = (
    Connection<Vec<u8>, Vec<u8>, Bytes>,
    Connection<Vec<u8>, Vec<u8>, Bytes>,
);

fn byte_pipe() -> Outcome<ByteEnds> {
    let options = Pipe::<Vec<u8>>::options().codec::<Bytes>();
    Ok(options.duplex()?)
}

fn a_writer_that_holds_a_loan_keeps_nobody_and_is_heard_of() -> Outcome {
    let (mine, theirs) = byte_pipe()?;
    let (other, others) = Pipe::<u32>::simplex()?;
    let child = Process::start(move || {
        theirs.send_bytes(b"before").unwrap();
        let mut loan = theirs.send_loan(100).unwrap();
        loan.fill(7);
        // The lock of the writers is held until the other side says so.
        assert_eq!(theirs.recv().unwrap(), b"commit");
        loan.commit();
        assert_eq!(theirs.recv().unwrap(), b"drop");
        drop(theirs.send_loan(100).unwrap());
        theirs.send_bytes(b"after").unwrap();
        theirs.recv().unwrap();
    })?;
    let events = Loop::new();
    events.add(&mine, LEVEL, 1);
    events.add(&other, LEVEL, 2);
    assert_eq!(events.next(&mine), b"before");
    // By now the loan is there, or will be: either way nothing is to be had, and asking for it
    // takes no time.
    let begun = Instant::now();
    let mut looks = 0;
    while begun.elapsed() < Duration::from_millis(200) {
        let asked = Instant::now();
        assert_eq!(mine.try_recv(), Err(TryRecvError::Empty));
        looks += u32::from(asked.elapsed() < Duration::from_millis(10));
        others.send(looks)?;
        assert!(events.wait().contains(&2));
        assert_eq!(other.try_recv()?, looks);
    }
    assert!(looks > 20, "{looks} looks in 200 ms");
    // And there is nothing to do for the loop.
    assert_eq!(other.try_recv(), Err(TryRecvError::Empty));
    let ready = events.within(Duration::from_millis(100));
    assert!(ready.is_empty(), "{ready:?}");
    mine.send_bytes(b"commit")?;
    assert_eq!(events.next(&mine), [7; 100]);
    assert_eq!(mine.try_recv(), Err(TryRecvError::Empty));
    mine.send_bytes(b"drop")?;
    assert_eq!(events.next(&mine), b"after");
    mine.send_bytes(b"end")?;
    ends_well(&child);
    Ok(())
}

fn a_writer_that_is_stopped_in_the_middle_keeps_nobody() -> Outcome {
    let (mine, theirs) = byte_pipe()?;
    let (here, there) = Pipe::<u32>::simplex()?;
    let child = Process::start(move || {
        let loan = theirs.send_loan(10).unwrap();
        there.send(1).unwrap();
        theirs.recv().unwrap();
        loan.commit();
        theirs.recv().unwrap();
    })?;
    let events = Loop::over(&mine, EDGE);
    here.recv()?;
    send_signal(&child, libc::SIGSTOP);
    let begun = Instant::now();
    for _ in 0..1_000 {
        assert_eq!(mine.try_recv(), Err(TryRecvError::Empty));
    }
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    assert!(events.is_quiet());
    send_signal(&child, libc::SIGCONT);
    mine.send_bytes(b"go on")?;
    assert_eq!(events.next(&mine).len(), 10);
    mine.send_bytes(b"end")?;
    ends_well(&child);
    Ok(())
}

fn the_end_of_the_stream_is_readable() -> Outcome {
    for flags in [LEVEL, EDGE] {
        // Closed here; by a child that closes, or just ends; and before anybody asked.
        let (receiver, sender) = Pipe::<u32>::simplex()?;
        let events = Loop::over(&receiver, flags);
        sender.send(1)?;
        drop(sender);
        events.wait();
        assert_eq!(receiver.try_recv(), Ok(1));
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Closed));

        let (receiver, sender) = Pipe::<u32>::simplex()?;
        let events = Loop::over(&receiver, flags);
        let child = Process::start(move || drop(sender))?;
        events.wait();
        until("the end", || {
            receiver.try_recv() == Err(TryRecvError::Closed)
        });
        ends_well(&child);

        let (receiver, sender) = Pipe::<u32>::simplex()?;
        drop(sender);
        Loop::over(&receiver, flags).wait();
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Closed));
    }
    Ok(())
}

/// The race of a close with those who arm: both loops hear of the end, though each look takes
/// bells away.
fn every_close_is_heard_of_whoever_looks_meanwhile() -> Outcome {
    for round in 0..60 {
        let (receiver, sender) = Pipe::<WithPipe>::simplex()?;
        let readers = Process::start_each(0..3, |_| {
            let receiver = receiver.clone();
            assert_eq!(
                collect(&receiver, if round % 2 == 0 { LEVEL } else { EDGE }),
                0
            );
        })?;
        let writers: Vec<Process> = (0..3)
            .map(|n| {
                let sender = sender.clone();
                let child = Process::start(move || {
                    let mut dice = Dice::new(round * 3 + n);
                    sleep(Duration::from_micros(dice.below(2_000)));
                    drop(sender);
                });
                Ok(child?)
            })
            .collect::<Outcome<_>>()?;
        drop(sender);
        writers.iter().for_each(ends_well);
        readers.iter().for_each(ends_well);
    }
    Ok(())
}

fn a_killed_peer_is_found_by_looking_every_now_and_then() -> Outcome {
    let (mine, theirs) = Pipe::<u32>::duplex()?;
    let child = Process::start(move || drop(theirs.recv()))?;
    let events = Loop::over(&mine, LEVEL);
    assert_eq!(mine.try_recv(), Err(TryRecvError::Empty));
    kill(&child);
    let killed = Instant::now();
    loop {
        events.within(Duration::from_millis(50));
        match mine.try_recv() {
            Err(TryRecvError::Closed) => break,
            Err(TryRecvError::Empty) => {}
            other => panic!("{other:?}"),
        }
        assert!(killed.elapsed() < PATIENCE);
    }
    println!("after {:?}", killed.elapsed());
    Ok(())
}

fn killed_writers_cost_a_look_and_no_message() -> Outcome {
    let (receiver, sender) = Pipe::<u64>::simplex()?;
    let events = Loop::over(&receiver, EDGE);
    let mut dice = Dice::new(7);
    let mut late = 0;
    for _ in 0..100 {
        let sent = Counter::new();
        let theirs = sender.clone();
        let victim = Process::start(|| {
            let sender = &theirs;
            for n in 0.. {
                sender.send(n).unwrap();
                sent.count();
                std::thread::yield_now();
            }
        })?;
        sent.reach(1);
        sleep(Duration::from_micros(dice.below(1_000)));
        kill(&victim);
        // Everything that a send had returned for is there, heard of or not.
        let mut got = 0;
        loop {
            let heard = !events.within(Duration::from_millis(20)).is_empty();
            let before = got;
            while let Ok(n) = receiver.try_recv() {
                assert_eq!(n, got);
                got += 1;
            }
            late += u32::from(!heard && got > before);
            if !heard && got == before {
                break;
            }
        }
        assert!(
            got >= sent.get() && got <= sent.get() + 1,
            "{got} {}",
            sent.get()
        );
    }
    println!("{late} of 100 found by a look");
    Ok(())
}

fn queues_and_consumers_too() -> Outcome {
    for flags in [LEVEL, EDGE] {
        let queue = Queue::<u32>::bounded(100)?;
        let events = Loop::over(&queue, flags);
        let writer = Process::start(|| {
            for n in 0..3_000 {
                queue.put(n).unwrap();
                if n % 100 == 0 {
                    sleep(Duration::from_micros(300));
                }
            }
        })?;
        let mut next = 0;
        while next < 3_000 {
            events.wait();
            loop {
                match queue.try_get() {
                    Ok(n) => {
                        assert_eq!(n, next);
                        next += 1;
                    }
                    Err(TryGetError::Empty) => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        ends_well(&writer);
        assert!(events.is_quiet());
        // In groups, too.
        queue.put_many([1, 2, 3])?;
        events.wait();
        assert_eq!(queue.try_get_many(10)?, [1, 2, 3]);
        assert!(queue.try_get_many(10).is_err());
        assert!(events.is_quiet());
        queue.put(4)?;
        events.wait();
        let mut rest = Vec::new();
        queue.drain_into(&mut rest)?;
        queue.drain_into(&mut rest)?;
        assert_eq!((rest, events.is_quiet()), (vec![4], true));
        queue.shut_down();
        events.wait();
        assert_eq!(queue.try_get(), Err(TryGetError::Closed));

        let (tx, rx) = Queue::<u32>::bounded(100)?.split();
        let events = Loop::over(&rx, flags);
        let child = Process::start(move || tx.put(1).unwrap())?;
        events.wait();
        until("the end", || match rx.try_get() {
            Ok(n) => n == 0,
            Err(TryGetError::Empty) => {
                events.wait();
                false
            }
            Err(error) => error == TryGetError::Closed,
        });
        ends_well(&child);
    }
    Ok(())
}

fn what_cannot_ring_is_readable_every_now_and_then() -> Outcome {
    for flags in [LEVEL, EDGE] {
        let options = Pipe::<u32>::options().without_courier();
        let (receiver, sender) = options.simplex()?;
        let events = Loop::over(&receiver, flags);
        let mut looks = 0;
        for n in 0..50 {
            sender.send(n)?;
            loop {
                events.wait();
                looks += 1;
                match receiver.try_recv() {
                    Ok(got) => break assert_eq!(got, n),
                    Err(error) => assert_eq!(error, TryRecvError::Empty),
                }
            }
            assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
        }
        assert!(looks < 10_000, "{looks}");

        let name = test::unique("named");
        let _made = Queue::<u32>::create(&name)?;
        let named = Queue::<u32>::open(&name)?;
        let events = Loop::over(&named, flags);
        Queue::<u32>::open(&name)?.put(1)?;
        events.wait();
        assert_eq!(named.try_get(), Ok(1));
        Queue::<u32>::unlink(&name)?;
    }
    Ok(())
}

fn over_tcp_it_is_the_socket() -> Outcome {
    use multiproc_pipe::{Client, Listener};
    let listener = Listener::options().key(b"key").bind("127.0.0.1:0")?;
    let address = listener.address().clone();
    let child = Process::start(move || {
        let server = Client::options().key(b"key");
        let server = server.connect::<u32, u32>(&address).unwrap();
        (0..100).for_each(|n| server.send(n).unwrap());
        server.recv().unwrap();
    })?;
    let client: Connection<u32, u32> = listener.accept()?;
    let events = Loop::over(&client, LEVEL);
    for n in 0..100 {
        events.wait();
        assert_eq!(client.try_recv(), Ok(n));
    }
    assert!(events.is_quiet());
    client.send(0)?;
    events.wait();
    assert_eq!(client.try_recv(), Err(TryRecvError::Closed));
    ends_well(&child);
    Ok(())
}

fn who_never_asked_for_the_descriptor_pays_nothing() -> Outcome {
    let (receiver, sender) = Pipe::<u32>::simplex()?;
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    sender.send(1)?;
    // The socket beside the ring, found without asking for it: no bell lies in it.
    let couriers = readable_sockets();
    assert_eq!(couriers, 0);
    assert_eq!(receiver.try_recv(), Ok(1));
    let events = Loop::over(&receiver, LEVEL);
    assert!(events.is_quiet());
    sender.send(2)?;
    assert_eq!(readable_sockets(), 1);
    Ok(())
}

/// How many of this process's sockets have something in them.
fn readable_sockets() -> usize {
    let fds = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let numbers = fds.filter_map(|entry| {
        let target = std::fs::read_link(entry.path()).ok()?;
        let number = entry.file_name().to_str()?.parse::<i32>().ok()?;
        target.to_str()?.starts_with("socket:").then_some(number)
    });
    let readable = |number: &i32| {
        let mut polled = libc::pollfd {
            fd: *number,
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one local pollfd.
        unsafe { libc::poll(&mut polled, 1, 0) == 1 }
    };
    numbers.filter(readable).count()
}
