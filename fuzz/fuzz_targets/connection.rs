//! Any bytes as what the reader of a connection sees: its memory, what lies with its courier, and
//! the messages (numbers, texts, handles) that are decoded. The input is a list of steps: a byte
//! that says which, and what it needs.
#![no_main]

mod behind;

use behind::behind;
use libfuzzer_sys::fuzz_target;
use multiproc_core::fd::send_with;
use multiproc_parcel::Descriptor;
use multiproc_pipe::{Connection, Pipe, Receiver, Sender, wait};
use multiproc_queue::{Consumer, JoinableQueue, Producer, Queue};
use multiproc_ring::{Ring, Wait};
use multiproc_segment::Shared;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

#[derive(Serialize, Deserialize)]
enum Message {
    Number(u64),
    Text(String),
    Many(Vec<Message>),
    File(Descriptor<File>),
    Sender(Sender<u32>),
    Receiver(Receiver<u32>),
    Whole(Connection<u32, String>),
    Queue(Queue<u8>),
    Jobs(JoinableQueue<u8>),
    Producer(Producer<u8>),
    Consumer(Consumer<u8>),
    Word(Shared<AtomicU32>),
}

/// Bytes for messages: small, so that garbage hits something.
const RESERVE: usize = 64 << 10;

/// What steps take from the input.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn number(&mut self) -> u64 {
        (0..8).fold(0, |n, _| n << 8 | u64::from(self.byte().unwrap_or(0)))
    }

    fn bytes(&mut self) -> Vec<u8> {
        let most = usize::from(self.byte().unwrap_or(0));
        let (taken, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        taken.to_vec()
    }
}

/// Descriptors that messages may bring: of the right kinds, and others.
struct Menu(Vec<OwnedFd>);

impl Menu {
    fn new() -> Self {
        let mut all: Vec<OwnedFd> = Vec::new();
        let mut enclosed = |value: &dyn Fn() -> Result<Vec<u8>, postcard::Error>| {
            let (bytes, parcel) = multiproc_parcel::pack(value);
            bytes.expect("it travels");
            all.extend(parcel.into_descriptors());
        };
        let (here, there) = Pipe::<u32, String>::duplex().expect("a pipe");
        enclosed(&|| postcard::to_allocvec(&(&here, &there)));
        let queue = Queue::<u8>::bounded(4).expect("a queue");
        let (producer, consumer) = (queue.producer(), queue.consumer());
        let ends = (producer.expect("an end"), consumer.expect("an end"));
        enclosed(&|| postcard::to_allocvec(&(&queue, &ends)));
        let word = Shared::new(AtomicU32::new(0)).expect("a word");
        enclosed(&|| postcard::to_allocvec(&word));
        all.push(File::open("/dev/null").expect("/dev/null").into());
        all.push(UnixStream::pair().expect("sockets").0.into());
        Menu(all)
    }

    /// Those that the bytes choose.
    fn choose(&self, bytes: &[u8]) -> Vec<OwnedFd> {
        let chosen = bytes.iter().map(|b| usize::from(*b) % self.0.len());
        chosen
            .map(|at| self.0[at].try_clone().expect("a descriptor"))
            .collect()
    }
}

thread_local! {
    static MENU: Menu = Menu::new();
}

fn message(kind: u8) -> Message {
    match kind % 11 {
        0 => Message::Number(u64::from(kind)),
        1 => Message::File(Descriptor(File::open("/dev/null").expect("/dev/null"))),
        2 => Message::Sender(Pipe::simplex().expect("a pipe").1),
        3 => Message::Receiver(Pipe::simplex().expect("a pipe").0),
        4 => Message::Whole(Pipe::duplex().expect("a pipe").0),
        5 => Message::Queue(Queue::bounded(2).expect("a queue")),
        6 => Message::Jobs(Queue::bounded(2).expect("a queue").into()),
        7 => Message::Producer(Queue::bounded(2).expect("a queue").split().0),
        8 => Message::Consumer(Queue::bounded(2).expect("a queue").split().1),
        9 => Message::Word(Shared::new(AtomicU32::new(3)).expect("a word")),
        _ => Message::Many(vec![Message::Number(1), Message::Text("two".into())]),
    }
}

/// Uses what came, as far as it lets itself be used without waiting.
fn use_it(message: Message) {
    match message {
        Message::Number(n) => drop(std::hint::black_box(n)),
        Message::Text(text) => drop(std::hint::black_box(text.len())),
        Message::Many(all) => all.into_iter().for_each(use_it),
        Message::File(Descriptor(file)) => drop(file.metadata()),
        Message::Sender(end) => drop(end.try_send(1)),
        Message::Receiver(end) => {
            let _ = (end.try_recv(), end.poll(Duration::ZERO));
        }
        Message::Whole(end) => {
            let _ = (end.try_send(1), end.try_recv(), end.is_closed());
        }
        Message::Queue(queue) => {
            let _ = (queue.try_put(1), queue.try_get(), queue.len());
        }
        Message::Jobs(queue) => {
            let _ = (queue.try_put(1), queue.try_get_task().map(drop));
        }
        Message::Producer(end) => drop(end.try_put(1)),
        Message::Consumer(end) => drop(end.try_get()),
        Message::Word(word) => drop(word.fetch_add(1, Relaxed)),
    }
}

fn scribble(ring: &Ring, word: usize, value: u64) {
    let words = ring.segment().body_bytes() / 8;
    let at = ring.segment().body().wrapping_add(word % words * 8);
    // SAFETY: inside the body, which is 8-aligned and lives as long as the ring; others see it as
    // atomics, too.
    unsafe { &*at.cast::<AtomicU64>() }.store(value, Relaxed);
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let options = Pipe::<Message>::options().bytes(32 << 10).reserve(RESERVE);
    let (rx, tx) = options.simplex().expect("a pipe");
    let (ring, courier) = behind(&tx);
    let mut others = Vec::new();
    let mut steps = 0;
    while let Some(step) = input.byte() {
        steps += 1;
        if steps > 100 {
            break;
        }
        match step % 14 {
            // Any bytes as a message, as a writer would put them.
            0 | 1 => drop(ring.put(&input.bytes(), Wait::NOT)),
            // The same with descriptors, of which some are said to be tokens.
            2 | 3 => {
                let (bytes, which) = (input.bytes(), input.bytes());
                let fds = MENU.with(|menu| menu.choose(&which[..which.len().min(8)]));
                let tokens = usize::from(input.byte().unwrap_or(0));
                let _ = ring.put_carrying(&bytes, &fds, tokens, Wait::NOT);
            }
            // A sound message, changed in one place, with its own descriptors or others.
            4 | 5 => {
                let sound = message(input.byte().unwrap_or(0));
                let (bytes, parcel) = multiproc_parcel::pack(|| postcard::to_allocvec(&sound));
                let Ok(mut bytes) = bytes else { continue };
                let tokens = parcel.tokens();
                let mut fds = parcel.into_descriptors();
                let change = input.byte().unwrap_or(0);
                if change & 1 != 0 && !bytes.is_empty() {
                    let at = input.byte().unwrap_or(0) as usize % bytes.len();
                    bytes[at] = input.byte().unwrap_or(0);
                }
                if change & 2 != 0 && !fds.is_empty() {
                    let at = input.byte().unwrap_or(0) as usize % fds.len();
                    let other = MENU.with(|menu| menu.choose(&[change]));
                    fds[at] = other.into_iter().next().expect("one");
                }
                let _ = ring.put_carrying(&bytes, &fds, tokens, Wait::NOT);
            }
            // A word of the memory: mostly those that steer, the tables and the first records.
            6 => {
                let at = input.number();
                let word = match at & 3 {
                    0 | 1 => at >> 2 & 0x7f,
                    2 => at >> 2 & 0x1fff,
                    _ => at >> 2,
                };
                scribble(&ring, word as usize, input.number());
            }
            // A datagram.
            7 => {
                let tag = match input.byte().unwrap_or(0) % 3 {
                    0 => input.number(),
                    _ => u64::from(input.byte().unwrap_or(0)),
                };
                let (len, which) = (input.byte().unwrap_or(0) % 9, input.bytes());
                let fds = MENU.with(|menu| menu.choose(&which[..which.len().min(8)]));
                let fds: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
                let bytes = &tag.to_ne_bytes()[..len.into()];
                let _ = send_with(courier.as_fd(), bytes, &fds);
            }
            8 | 9 => {
                if let Ok(message) = rx.try_recv() {
                    use_it(message);
                }
            }
            10 => drop(rx.poll(Duration::ZERO)),
            11 => drop(wait([&rx], Some(Duration::ZERO))),
            12 => drop(tx.try_send(message(input.byte().unwrap_or(0)))),
            _ => match input.byte().unwrap_or(0) % 4 {
                0 if others.len() < 4 => others.push(rx.clone()),
                1 => drop(others.pop()),
                2 => drop(format!("{rx:?} {tx:?}")),
                _ => drop(rx.as_fd()),
            },
        }
    }
    for _ in 0..100 {
        match rx.try_recv() {
            Ok(message) => use_it(message),
            Err(error) => {
                assert!(!error.to_string().is_empty());
                break;
            }
        }
    }
});
