//! A peer that does what it likes with the memory and the courier of a connection: who shares it
//! gets messages or errors, within a watchdog. No panic, no crash, no wait beyond its time.
//!
//! `SEEDS=10000` for more, and `SEED=n` with `SEEDS=1` for one of them again.

use common::*;
use multiproc_core::fd::send_with;
use multiproc_parcel::Descriptor;
use multiproc_pipe::codec::Bytes;
use multiproc_pipe::{
    Connection, Pipe, Receiver, RecvTimeoutError, SendTimeoutError, Sender, TryRecvError, wait,
};
use multiproc_process::{Exit, test};
use multiproc_queue::Queue;
use multiproc_segment::Shared;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

test::main! {
    #[timeout(3600)]
    a_vandal_on_a_connection_gives_messages_or_errors,
    #[timeout(3600)]
    a_vandal_on_a_byte_connection_gives_messages_or_errors,
    a_full_courier_that_blocks_keeps_nobody,
    a_courier_that_is_always_readable_keeps_nobody_and_no_processor,
    a_deposit_that_is_never_asked_for_harms_no_other,
    descriptors_that_nobody_asked_for_are_closed,
    a_label_with_too_many_tokens_is_harmless,
    a_memory_that_is_none_is_refused,
    a_table_that_stays_locked_is_an_error,
}

/// What is behind an end: its memory and its courier.
struct Behind {
    words: &'static [AtomicU64],
    courier: OwnedFd,
}

/// Bytes of a segment's header, which has its own tests.
const HEADER: usize = 256;

fn behind(end: &impl Serialize) -> Behind {
    let (bytes, parcel) = multiproc_parcel::pack(|| postcard::to_allocvec(end));
    bytes.unwrap();
    // Enclosed in this order; the end that travels goes with the parcel again.
    let mut descriptors = parcel.descriptors().iter();
    let memory = descriptors.next().unwrap();
    let courier = descriptors.next().unwrap().try_clone().unwrap();
    let len = File::from(memory.try_clone().unwrap())
        .metadata()
        .unwrap()
        .len() as usize;
    // SAFETY: a mapping of our own, which is never unmapped; all use of it is atomic.
    let words = unsafe {
        let at = libc::mmap(
            std::ptr::null_mut(),
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_NORESERVE,
            memory.as_raw_fd(),
            0,
        );
        assert_ne!(at, libc::MAP_FAILED);
        std::slice::from_raw_parts(at.cast::<AtomicU64>(), len / 8)
    };
    Behind {
        words: &words[HEADER / 8..],
        courier,
    }
}

/// A value that may mean something.
fn garbage(dice: &mut Dice) -> u64 {
    match dice.below(7) {
        0 => dice.below(16),
        1 => dice.below(1 << 20),
        2 => dice.roll(),
        3 => 1 << 63 | dice.below(64) << 32 | dice.below(1 << 16),
        4 => 5 << 61 | dice.below(64) << 32 | dice.below(1 << 16), // with descriptors
        5 => 3 << 62 | dice.below(1 << 13),
        _ => u64::MAX,
    }
}

fn null() -> OwnedFd {
    File::open("/dev/null").unwrap().into()
}

/// Writes over the memory and puts anything into the courier.
fn vandal(behind: &Behind, seed: u64) {
    let mut dice = Dice::new(seed);
    let words = behind.words.len() as u64;
    // Where records lie: behind the words that steer and the tables.
    let records = 1 << 13;
    for _ in 0..60 {
        match dice.below(4) {
            0 | 1 => {
                let word = match dice.below(4) {
                    0 | 1 => dice.below(64),
                    2 => dice.below(words.min(records)),
                    _ => dice.below(words.min(2 * records)),
                };
                behind.words[word as usize].store(garbage(&mut dice), Relaxed);
            }
            2 => {
                let bytes = garbage(&mut dice).to_ne_bytes();
                let len = 8 - dice.below(9).min(8) as usize * (dice.below(2) as usize);
                let fds = [null(), behind.courier.try_clone().unwrap(), null()];
                let fds: Vec<RawFd> = fds[..dice.below(4) as usize]
                    .iter()
                    .map(AsRawFd::as_raw_fd)
                    .collect();
                let _ = send_with(behind.courier.as_fd(), &bytes[..len], &fds);
            }
            _ => options(behind.courier.as_fd(), &mut dice),
        }
        (0..dice.below(2_000)).for_each(|_| std::hint::spin_loop());
    }
}

/// Whoever has a socket can set what all see who have it.
fn options(courier: BorrowedFd<'_>, dice: &mut Dice) {
    let fd = courier.as_raw_fd();
    let one: libc::c_int = dice.below(3) as libc::c_int;
    let set = |option: libc::c_int| {
        let len = size_of_val(&one) as libc::socklen_t;
        // SAFETY: a number of our own, of that size.
        unsafe {
            libc::setsockopt(fd, libc::SOL_SOCKET, option, (&raw const one).cast(), len);
        }
    };
    const SO_PASSPIDFD: libc::c_int = 76;
    match dice.below(8) {
        0 => set(libc::SO_PASSCRED),
        1 => set(SO_PASSPIDFD),
        2 => set(libc::SO_PEEK_OFF),
        3 => set(libc::SO_TIMESTAMP),
        4 => set(libc::SO_SNDBUF),
        5 => {
            // SAFETY: flags of a descriptor of ours.
            unsafe { libc::fcntl(fd, libc::F_SETFL, 0) };
        }
        6 => {
            let how = [libc::SHUT_RD, libc::SHUT_WR][dice.below(2) as usize];
            if dice.below(8) == 0 {
                // SAFETY: a socket of ours.
                unsafe { libc::shutdown(fd, how) };
            }
        }
        _ => {
            let mut buffer = [0; 8];
            // SAFETY: receives into that buffer.
            unsafe {
                libc::recv(
                    fd,
                    buffer.as_mut_ptr().cast(),
                    buffer.len(),
                    libc::MSG_DONTWAIT,
                );
            }
        }
    }
}

#[derive(Serialize, Deserialize)]
enum Message {
    Text(String),
    Many(Vec<(u32, Option<Box<Message>>)>),
    File(Descriptor<File>),
    End(Sender<u32>),
    Whole(Connection<u32, String>),
    Queue(Queue<u8>),
    Word(Shared<AtomicU32>),
}

fn message(dice: &mut Dice) -> Message {
    match dice.below(8) {
        0 => Message::File(Descriptor(null().into())),
        1 => Message::End(Pipe::simplex().unwrap().1),
        2 => Message::Whole(Pipe::duplex().unwrap().0),
        3 => Message::Queue(Queue::bounded(3).unwrap()),
        4 => Message::Word(Shared::new(AtomicU32::new(1)).unwrap()),
        5 => Message::Many((0..dice.below(50) as u32).map(|n| (n, None)).collect()),
        _ => Message::Text("x".repeat(dice.below(3_000) as usize)),
    }
}

/// Uses what arrived, as far as it lets itself be used.
fn use_it(message: Message) {
    match message {
        Message::Text(text) => assert!(text.len() < 1 << 30),
        Message::Many(all) => assert!(all.len() < 1 << 30),
        Message::File(Descriptor(file)) => drop(file.metadata()),
        Message::End(end) => drop(end.try_send(1)),
        Message::Whole(end) => {
            let _ = (end.try_send(1), end.try_recv());
        }
        Message::Queue(queue) => {
            let _ = (queue.try_put(1), queue.try_get(), queue.len());
        }
        Message::Word(word) => drop(word.fetch_add(1, Relaxed)),
    }
}

/// Uses a connection in every way, never waiting for long; whatever comes is right.
fn user(end: &Connection<Message>, seed: u64) {
    let mut dice = Dice::new(seed);
    let time = Duration::from_micros(300);
    for _ in 0..40 {
        match dice.below(8) {
            0 | 1 => drop(end.try_send(message(&mut dice))),
            2 => drop(end.send_timeout(message(&mut dice), time)),
            3 | 4 => match end.try_recv() {
                Ok(message) => use_it(message),
                Err(error) => assert!(!error.to_string().is_empty()),
            },
            5 => {
                if let Ok(message) = end.recv_timeout(time) {
                    use_it(message);
                }
            }
            6 => {
                let _ = end.poll(time);
                let _ = wait([end], Some(time));
            }
            // Seldom: a table whose lock is said to be held by somebody who lives costs a second.
            _ if dice.below(4) == 0 => {
                let another = end.clone();
                let _ = another.is_closed();
            }
            _ => drop(format!("{end:?}")),
        }
    }
}

fn a_vandal_on_a_connection_gives_messages_or_errors() {
    let (seeds, first) = (setting("SEEDS", 100), setting("SEED", 1));
    for seed in first..first + seeds {
        let pipe = Pipe::<Message>::options().bytes(64 << 10).duplex();
        let (here, there) = pipe.unwrap();
        let [one, other] = [behind(here.sender()), behind(there.sender())];
        let users = [
            start(|| user(&here, seed)),
            start(|| user(&there, seed + 7)),
        ];
        let vandals = [
            start(|| vandal(&one, seed)),
            start(|| vandal(&other, seed + 1)),
        ];
        for child in users.iter().chain(&vandals) {
            match child.join_timeout(4 * PATIENCE) {
                Ok(Exit::Code(0)) => {}
                other => panic!("SEED={seed}: {child:?}: {other:?}"),
            }
        }
        for behind in [one, other] {
            unmap(&behind);
        }
    }
    println!("{seeds} seeds from {first}");
}

fn unmap(behind: &Behind) {
    let start = behind.words.as_ptr().wrapping_byte_sub(HEADER);
    // SAFETY: mapped by `behind`, whose words nobody uses any more.
    unsafe { libc::munmap(start.cast_mut().cast(), HEADER + 8 * behind.words.len()) };
}

fn a_vandal_on_a_byte_connection_gives_messages_or_errors() {
    type End = Connection<Vec<u8>, Vec<u8>, Bytes>;
    fn user(end: &End, seed: u64) {
        let mut dice = Dice::new(seed);
        let time = Duration::from_micros(300);
        let (mut buffer, mut vec) = ([0; 100], Vec::new());
        for _ in 0..100 {
            let len = dice.below(3_000) as usize;
            // Loans and the rest wait for ever where there is nothing: only after a look.
            let there = end.poll(Duration::ZERO) == Ok(true);
            match dice.below(8) {
                0 | 1 => drop(end.try_send(vec![1; len])),
                2 => drop(end.try_recv()),
                3 => drop(end.recv_timeout(time)),
                4 if there => drop(
                    end.receiver()
                        .try_recv()
                        .map(|got| buffer[0] = got.len() as u8),
                ),
                5 => {
                    if let Ok(got) = end.try_recv() {
                        vec = got;
                    }
                }
                6 => drop(wait([end], Some(time))),
                _ => drop(end.send_timeout(vec![2; len], time)),
            }
            vec.clear();
        }
    }
    let (seeds, first) = (setting("SEEDS", 100), setting("SEED", 1));
    for seed in first..first + seeds {
        let pipe = Pipe::<Vec<u8>>::options().bytes(64 << 10).codec::<Bytes>();
        let (here, there) = pipe.duplex().unwrap();
        let [one, other] = [behind(here.sender()), behind(there.sender())];
        let users = [
            start(|| user(&here, seed)),
            start(|| user(&there, seed + 7)),
        ];
        let vandals = [start(|| vandal(&one, seed)), start(|| vandal(&other, seed))];
        for child in users.iter().chain(&vandals) {
            match child.join_timeout(4 * PATIENCE) {
                Ok(Exit::Code(0)) => {}
                other => panic!("SEED={seed}: {child:?}: {other:?}"),
            }
        }
        for behind in [one, other] {
            unmap(&behind);
        }
    }
}

type Fds = Pipe<Option<Descriptor<OwnedFd>>>;
type FdRx = Receiver<Option<Descriptor<OwnedFd>>>;

fn a_full_courier_that_blocks_keeps_nobody() -> Outcome {
    let (rx, tx) = Fds::simplex()?;
    let behind = behind(&tx);
    // Its sends block from now on, for all who have it; and it is full.
    // SAFETY: flags of a descriptor of ours.
    unsafe { libc::fcntl(behind.courier.as_raw_fd(), libc::F_SETFL, 0) };
    let far = u64::MAX.to_ne_bytes(); // after all deposits that will ever be
    while send_with(behind.courier.as_fd(), &far, &[]).is_ok() {}
    let child = start(|| {
        // Somebody is to be rung for, and a deposit has no room.
        assert!(
            wait([&rx], Some(Duration::from_millis(5)))
                .unwrap()
                .is_empty()
        );
        let late = tx.send_timeout(Some(Descriptor(null())), Duration::from_millis(50));
        assert!(matches!(late, Err(SendTimeoutError::Timeout(_))));
        tx.send(None).unwrap();
        assert!(rx.recv().unwrap().is_none());
    });
    ends_well(&child);
    Ok(())
}

fn processor_time() -> Duration {
    // SAFETY: zeroes are a `rusage`; it is written to that local.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    let time =
        |t: libc::timeval| Duration::from_micros(t.tv_sec as u64 * 1_000_000 + t.tv_usec as u64);
    time(usage.ru_utime) + time(usage.ru_stime)
}

fn a_courier_that_is_always_readable_keeps_nobody_and_no_processor() -> Outcome {
    for how in 0..2 {
        let (rx, tx) = Fds::simplex()?;
        let behind = behind(&tx);
        match how {
            0 => {
                // SAFETY: a socket of ours.
                unsafe { libc::shutdown(behind.courier.as_raw_fd(), libc::SHUT_RD) };
            }
            _ => {
                send_with(behind.courier.as_fd(), &u64::MAX.to_ne_bytes(), &[])?;
            }
        }
        let (begun, used) = (Instant::now(), processor_time());
        let time = Duration::from_secs(1);
        assert!(wait([&rx], Some(time))?.is_empty());
        assert!(begun.elapsed() >= time - Duration::from_millis(1));
        let used = processor_time() - used;
        assert!(
            used < time / 2,
            "{used:?} of a processor to wait for nothing"
        );
        // It still hears of what comes.
        let waiter = start(|| assert_eq!(wait([&rx], None).unwrap(), [0]));
        tx.send(None)?;
        ends_well(&waiter);
    }
    Ok(())
}

fn a_deposit_that_is_never_asked_for_harms_no_other() -> Outcome {
    // Datagrams of all kinds before, between and after those of messages.
    let (rx, tx) = Fds::simplex()?;
    let behind = behind(&tx);
    let put = |tag: u64, len: usize, fds: &[RawFd]| {
        let _ = send_with(behind.courier.as_fd(), &tag.to_ne_bytes()[..len], fds);
    };
    let stranger = null();
    let stranger = stranger.as_raw_fd();
    let (mut came, mut refused) = (0, 0);
    for round in 0..200_u64 {
        let tag = [0, 1, round, round + 1, u64::MAX, 1 << 56][round as usize % 6];
        put(tag, [8, 0, 3, 8][round as usize % 4], &[stranger]);
        tx.send(Some(Descriptor(null())))?;
        put(round + 2, 8, &[stranger, stranger]);
        match rx.recv_timeout(PATIENCE) {
            Ok(message) => {
                assert!(message.is_some());
                came += 1;
            }
            // Its own could not be found among the others.
            Err(RecvTimeoutError::Decode(_)) => refused += 1,
            Err(other) => panic!("{other}"),
        }
        if tag == u64::MAX {
            // Taken out by the one who put it in, or nothing after it is ever found.
            while Behind::take(&behind) {}
        }
    }
    println!("{came} came, {refused} did not");
    assert!(came > 0);
    assert!(matches!(rx.try_recv(), Err(TryRecvError::Empty)));
    Ok(())
}

impl Behind {
    /// Takes a datagram out of the courier.
    fn take(&self) -> bool {
        let mut buffer = [0_u8; 8];
        // SAFETY: receives into that buffer.
        let got = unsafe {
            libc::recv(
                self.courier.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                libc::MSG_DONTWAIT,
            )
        };
        got >= 0
    }
}

fn descriptors_that_nobody_asked_for_are_closed() -> Outcome {
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let (rx, tx) = Fds::simplex()?;
    let behind = behind(&tx);
    let stranger = null();
    let many = [stranger.as_raw_fd(); 100];
    let one: libc::c_int = 1;
    for option in [libc::SO_PASSCRED, 76] {
        // SAFETY: a number of our own, of that size. 76: SO_PASSPIDFD, where there is one.
        unsafe {
            libc::setsockopt(
                behind.courier.as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                (&raw const one).cast(),
                4,
            );
        }
    }
    let before = open();
    for round in 1..=50_u64 {
        send_with(behind.courier.as_fd(), &0_u64.to_ne_bytes(), &many)?;
        tx.send(Some(Descriptor(null())))?;
        // More than the message says, under its own tag.
        send_with(behind.courier.as_fd(), &round.to_ne_bytes(), &many)?;
        drop(rx.recv()?);
        assert!(wait([&rx], Some(Duration::ZERO))?.is_empty());
        assert_eq!(open(), before);
    }
    // With few descriptors left, too.
    limit(libc::RLIMIT_NOFILE, open() as u64 + 40);
    for _ in 0..50 {
        send_with(behind.courier.as_fd(), &0_u64.to_ne_bytes(), &many)?;
        tx.send(Some(Descriptor(null())))?;
        drop(rx.recv()?);
        assert_eq!(open(), before);
    }
    Ok(())
}

fn a_label_with_too_many_tokens_is_harmless() -> Outcome {
    let (rx, tx): (FdRx, _) = Fds::simplex()?;
    let behind = behind(&tx);
    let file = scratch();
    for tokens in [0, 1, 2, 200, 255] {
        tx.send(Some(Descriptor(file.try_clone()?)))?;
        // The label is the first word of the record that carries: find it by its shape.
        let label = behind.words[..1 << 14].iter().rev().find(|word| {
            let word = word.load(Relaxed);
            word != 0 && word < 1 << 16 && word == u64::from(tokens_of_last(&behind))
        });
        if let Some(label) = label {
            label.store(label.load(Relaxed) | tokens << 56, Relaxed);
        }
        drop(rx.recv_timeout(PATIENCE)?);
    }
    Ok(())
}

/// The tag of the deposit at the front, without taking it.
fn tokens_of_last(behind: &Behind) -> u32 {
    let mut buffer = [0_u8; 8];
    // SAFETY: receives into that buffer.
    unsafe {
        libc::recv(
            behind.courier.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            libc::MSG_DONTWAIT | libc::MSG_PEEK,
        );
    }
    u64::from_ne_bytes(buffer) as u32
}

fn scratch() -> OwnedFd {
    use std::os::fd::FromRawFd;
    // SAFETY: a fresh descriptor.
    unsafe {
        let fd = libc::memfd_create(c"scratch".as_ptr(), libc::MFD_CLOEXEC);
        assert!(fd >= 0);
        OwnedFd::from_raw_fd(fd)
    }
}

/// An end as it is written, whose descriptors are others.
struct Forged<'a> {
    end: &'a Connection<u32>,
    with: &'a [OwnedFd],
}

fn a_memory_that_is_none_is_refused() -> Outcome {
    let (end, _other) = Pipe::<u32>::duplex()?;
    let (queue, socket) = (
        Queue::<u32>::bounded(1)?,
        std::os::unix::net::UnixDatagram::pair()?,
    );
    let (queue_bytes, queue_parcel) = multiproc_parcel::pack(|| postcard::to_allocvec(&queue));
    queue_bytes?;
    let menu = [
        null(),
        scratch(),
        socket.0.into(),
        queue_parcel.descriptors()[0].try_clone()?,
        queue_parcel.descriptors()[1].try_clone()?,
        File::open("/proc/self/exe")?.into(),
    ];
    let mut dice = Dice::new(3);
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = open();
    let (mut refused, mut good) = (0, 0);
    for _ in 0..2_000 {
        let forged = Forged {
            end: &end,
            with: &menu,
        };
        match forged.decoded(&mut dice) {
            Ok(arrived) => {
                let _ = (arrived.try_send(1), arrived.try_recv());
                good += 1;
            }
            Err(why) => {
                assert!(!why.is_empty());
                refused += 1;
            }
        }
    }
    println!("{good} were good, {refused} refused");
    assert!(refused > 100 && good > 0);
    assert_eq!(open(), before);
    Ok(())
}

impl Forged<'_> {
    fn decoded(&self, dice: &mut Dice) -> Result<Connection<u32>, String> {
        let (bytes, parcel) = multiproc_parcel::pack(|| postcard::to_allocvec(self.end));
        let mut bytes = bytes.map_err(|e| e.to_string())?;
        let mut fds = parcel.into_descriptors();
        match dice.below(4) {
            0 => {
                let at = dice.below(fds.len() as u64) as usize;
                fds[at] = self.with[dice.below(self.with.len() as u64) as usize]
                    .try_clone()
                    .unwrap();
            }
            1 => fds.truncate(dice.below(fds.len() as u64) as usize),
            2 => {
                let at = dice.below(bytes.len() as u64) as usize;
                bytes[at] = dice.roll() as u8;
            }
            _ => {}
        }
        multiproc_parcel::unpack(fds, || {
            let end = postcard::from_bytes(&bytes);
            end.map_err(|e| multiproc_parcel::take_reason().unwrap_or_else(|| e.to_string()))
        })
    }
}

fn a_table_that_stays_locked_is_an_error() -> Outcome {
    // Both tables' locks say that process 1 holds them, which lives.
    let (rx, tx) = Pipe::<u32>::simplex()?;
    let behind = behind(&tx);
    let me = std::process::id();
    // A table begins with its lock and ends with its slots, in one of which is this process.
    let start = u64::from(me) << 42;
    let owners = |n: &usize| behind.words[*n].load(Relaxed) >> 42 == start >> 42;
    let slots: Vec<usize> = (0..1 << 13).filter(owners).collect();
    assert!(slots.len() >= 2, "{slots:?}");
    for slot in slots {
        // Lock (5 words), registrations and high (1), slots.
        behind.words[slot - 6].store(1, Relaxed);
    }
    let begun = Instant::now();
    let more = tx.clone();
    assert!(more.try_send(1).is_err());
    assert!(rx.clone().try_recv().is_err());
    assert!(begun.elapsed() < PATIENCE);
    // What was there before works.
    tx.send(3)?;
    assert_eq!(rx.recv()?, 3);
    Ok(())
}
