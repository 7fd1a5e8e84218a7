//! What a queue-like contender is, and how one is driven.
//!
//! A [`Channel`] is made before the fork; each side then takes its end of it. The drivers below do the
//! rest, so that every contender is fed, checked and timed by the same lines:
//!
//! - [`one_way`]: senders and receivers run for ever, each receiver counts on a cache line of its own, and the
//!   measurement looks at the counts twice. Nothing but the contender is between the two sides.
//! - [`round_trip`]: one side pings and takes the time of each reply, the other echoes.
//!
//! Every message starts with a word: its number times eight, plus its sender. Receivers check that the
//! numbers of each sender go up and that the length is right.

use crate::sys::{self, Mapping, Outcome, Res, Side};
use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How long the pinger keeps away before each ping where the other side is to be asleep for sure: far beyond
/// anybody's spinning.
pub(crate) const PAUSE: Duration = Duration::from_micros(200);

/// One direction between two processes or threads.
pub(crate) trait Channel: Sized {
    /// The end that sends.
    type Sender<'a>: Sender
    where
        Self: 'a;
    /// The end that receives.
    type Receiver<'a>: Receiver
    where
        Self: 'a;

    /// Makes one for messages of `size` bytes, before the sides start.
    fn create(size: usize) -> Res<Self>;
    /// Called on the sending side, once.
    fn sender(&self) -> Res<Self::Sender<'_>>;
    /// Called on the receiving side, once.
    fn receiver(&self) -> Res<Self::Receiver<'_>>;
}

/// Sends messages, blocking while there is no room.
pub(crate) trait Sender {
    /// Sends one message.
    fn send(&mut self, message: &[u8]) -> Res;
}

/// Receives messages, blocking while there is none.
pub(crate) trait Receiver {
    /// Receives one message and returns its length. Contenders that move a message without copying it write its
    /// first word only.
    fn receive(&mut self, into: &mut [u8]) -> Res<usize>;
}

/// For contenders that know "not now" only: asks again at once for a while, then lets others on this CPU run, without
/// whom there may be no progress.
#[cfg(feature = "peers")]
#[derive(Debug, Default)]
pub(crate) struct Again(u32);

#[cfg(feature = "peers")]
impl Again {
    const SPINS: u32 = 1000;

    /// Between two tries.
    #[inline]
    pub(crate) fn pause(&mut self) {
        if self.0 < Self::SPINS {
            self.0 += 1;
            spin_loop();
        } else {
            std::thread::yield_now();
        }
    }
}

/// How many messages of `size` bytes a contender with a capacity should hold.
pub(crate) fn depth(size: usize) -> usize {
    if size <= 1 << 10 { 1024 } else { 64 }
}

/// What a measurement is asked to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// Bytes per message; 0 where that means nothing.
    pub(crate) size: usize,
    /// Not measured: caches, page faults, the clock frequency.
    pub(crate) warm: Duration,
    /// Measured.
    pub(crate) time: Duration,
    /// Where the two sides are bound to, if they are.
    pub(crate) cpus: Option<[usize; 2]>,
}

impl Run {
    /// The CPU of side 0 or side 1.
    pub(crate) fn cpu(&self, side: usize) -> Option<usize> {
        self.cpus.map(|cpus| cpus[side])
    }
}

/// One producer process, one consumer process; messages per second.
pub(crate) fn one_to_one<C: Channel>(run: &Run) -> Res<Outcome> {
    one_way_forked::<C>(run, 1)
}

/// As [`one_to_one`], for contenders that make something of another size out of a word, and a word out of that.
pub(crate) fn words<C: Channel>(run: &Run) -> Res<Outcome> {
    one_way_forked::<C>(&Run { size: 8, ..*run }, 1)
}

/// As [`words`], between threads of one process.
pub(crate) fn words_threads<C: Channel + Sync + 'static>(run: &Run) -> Res<Outcome> {
    one_way_threads::<C>(&Run { size: 8, ..*run }, 1)
}

/// Two producer processes on one CPU, two consumer processes on the other; messages per second.
pub(crate) fn two_to_two<C: Channel>(run: &Run) -> Res<Outcome> {
    one_way_forked::<C>(run, 2)
}

/// As [`one_to_one`], between threads of one process.
pub(crate) fn one_to_one_threads<C: Channel + Sync + 'static>(run: &Run) -> Res<Outcome> {
    one_way_threads::<C>(run, 1)
}

/// As [`two_to_two`], between threads of one process.
pub(crate) fn two_to_two_threads<C: Channel + Sync + 'static>(run: &Run) -> Res<Outcome> {
    one_way_threads::<C>(run, 2)
}

/// Ping-pong without a pause: both sides stay awake if the contender can.
pub(crate) fn awake<C: Channel>(run: &Run) -> Res<Outcome> {
    round_trip_forked::<C>(run, None)
}

/// Ping-pong where the other side sleeps when the ping comes.
pub(crate) fn asleep<C: Channel>(run: &Run) -> Res<Outcome> {
    round_trip_forked::<C>(run, Some(PAUSE))
}

/// As [`awake`], between threads of one process.
pub(crate) fn awake_threads<C: Channel + Sync + 'static>(run: &Run) -> Res<Outcome> {
    round_trip_threads::<C>(run, None)
}

/// As [`asleep`], between threads of one process.
pub(crate) fn asleep_threads<C: Channel + Sync + 'static>(run: &Run) -> Res<Outcome> {
    round_trip_threads::<C>(run, Some(PAUSE))
}

fn one_way_forked<C: Channel>(run: &Run, pairs: usize) -> Res<Outcome> {
    let size = run.size;
    let channel = C::create(size)?;
    let counters = Counters::new(pairs)?;
    let mut sides = Vec::new();
    for i in 0..pairs {
        sides.push(Side::fork(run.cpu(1), || {
            drain(&channel, size, counters.of(i))
        })?);
    }
    for i in 0..pairs {
        sides.push(Side::fork(run.cpu(0), || flood(&channel, size, i))?);
    }
    Ok(Outcome::Value(counters.rate(run)?))
}

fn one_way_threads<C: Channel + Sync + 'static>(run: &Run, pairs: usize) -> Res<Outcome> {
    let size = run.size;
    let channel: &'static C = Box::leak(Box::new(C::create(size)?));
    let counters: &'static Counters = Box::leak(Box::new(Counters::new(pairs)?));
    for i in 0..pairs {
        let count = counters.of(i);
        sys::thread(run.cpu(1), move || drain(channel, size, count));
    }
    for i in 0..pairs {
        sys::thread(run.cpu(0), move || flood(channel, size, i));
    }
    Ok(Outcome::Value(counters.rate(run)?))
}

fn round_trip_forked<C: Channel>(run: &Run, pause: Option<Duration>) -> Res<Outcome> {
    let (there, back) = (C::create(run.size)?, C::create(run.size)?);
    let _other = Side::fork(run.cpu(1), || echo(&there, &back, run.size))?;
    sys::pin(run.cpu(0))?;
    ping(&there, &back, run, pause)
}

fn round_trip_threads<C: Channel + Sync + 'static>(
    run: &Run,
    pause: Option<Duration>,
) -> Res<Outcome> {
    let size = run.size;
    let ends: &'static (C, C) = Box::leak(Box::new((C::create(size)?, C::create(size)?)));
    sys::thread(run.cpu(1), move || echo(&ends.0, &ends.1, size));
    sys::pin(run.cpu(0))?;
    ping(&ends.0, &ends.1, run, pause)
}

/// Sends for ever.
fn flood<C: Channel>(channel: &C, size: usize, who: usize) -> Res {
    #[inline(always)]
    fn body<S: Sender>(mut sender: S, message: &mut [u8], who: u64) -> Res {
        let mut word = who;
        loop {
            word += 8;
            message[..8].copy_from_slice(&word.to_ne_bytes());
            sender.send(message)?;
        }
    }
    let sender = channel.sender()?;
    match size {
        8 => body(sender, &mut [0; 8], who as u64), // the length is a constant in here
        _ => body(sender, &mut vec![0x5a; size], who as u64),
    }
}

/// Receives and counts for ever.
fn drain<C: Channel>(channel: &C, size: usize, count: &AtomicU64) -> Res {
    #[inline(always)]
    fn body<R: Receiver>(mut receiver: R, into: &mut [u8], count: &AtomicU64) -> Res {
        let mut last = [0; 8];
        let mut received = 0;
        loop {
            let len = receiver.receive(into)?;
            if into.len() > 8 {
                black_box(&mut *into); // all of it counts as read, so no copy is optimised away
            }
            let word = word(into);
            let last = &mut last[word as usize % 8];
            if len != into.len() || word <= *last {
                return Err(format!("got {len} bytes, number {word} after {last}").into());
            }
            *last = word;
            received += 1;
            count.store(received, Relaxed); // nothing else is published by it
        }
    }
    let receiver = channel.receiver()?;
    match size {
        8 => body(receiver, &mut [0; 8], count),
        _ => body(receiver, &mut vec![0; size], count),
    }
}

fn word(message: &[u8]) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&message[..8]);
    u64::from_ne_bytes(word)
}

/// Sends back what it receives, for ever.
fn echo<C: Channel>(there: &C, back: &C, size: usize) -> Res {
    let (mut receiver, mut sender) = (there.receiver()?, back.sender()?);
    let mut message = vec![0; size];
    loop {
        let len = receiver.receive(&mut message)?;
        sender.send(&message[..len])?;
    }
}

/// Times pings until the time is up.
fn ping<C: Channel>(there: &C, back: &C, run: &Run, pause: Option<Duration>) -> Res<Outcome> {
    let (mut sender, mut receiver) = (there.sender()?, back.receiver()?);
    let mut message = vec![0x5a; run.size];
    let mut reply = vec![0; run.size];
    timed(run, pause, |number| {
        message[..8].copy_from_slice(&number.to_ne_bytes());
        sender.send(&message)?;
        let len = receiver.receive(&mut reply)?;
        match len == run.size && word(&reply) == number {
            true => Ok(()),
            false => Err(format!("got {len} bytes, number {} for {number}", word(&reply)).into()),
        }
    })
}

/// Times one call after the other, each with the next number, until the time is up. Where there is a pause, this side
/// is busy for so long before each.
#[inline]
pub(crate) fn timed(
    run: &Run,
    pause: Option<Duration>,
    mut call: impl FnMut(u64) -> Res,
) -> Res<Outcome> {
    let mut latency = sys::histogram();
    let mut number: u64 = 0;
    let begin = Instant::now();
    let mut before = begin;
    loop {
        if let Some(pause) = pause {
            let until = before + pause;
            while before < until {
                spin_loop();
                before = Instant::now();
            }
        }
        number += 8;
        call(number)?;
        let after = Instant::now();
        let age = after - begin;
        if age >= run.warm {
            latency.record((after - before).as_nanos() as u64)?;
        }
        if age >= run.warm + run.time {
            return Ok(Outcome::Latency(latency));
        }
        before = after;
    }
}

/// One count per receiver, far enough apart that they share no cache lines.
#[derive(Debug)]
pub(crate) struct Counters {
    map: Mapping,
    used: usize,
}

// SAFETY: all that is reached through a shared reference are atomics.
unsafe impl Sync for Counters {}

impl Counters {
    const STRIDE: usize = 256;

    pub(crate) fn new(used: usize) -> Res<Self> {
        Ok(Counters {
            map: Mapping::new(used * Self::STRIDE)?,
            used,
        })
    }

    pub(crate) fn of(&self, receiver: usize) -> &AtomicU64 {
        assert!(receiver < self.used);
        // SAFETY: inside the mapping by the line above and `new`; aligned, as the mapping is and the stride keeps
        // it; zeroed or written as an atomic only, also by forked processes; lives as long as `self`.
        unsafe {
            self.map
                .start()
                .add(receiver * Self::STRIDE)
                .cast()
                .as_ref()
        }
    }

    fn sum(&self) -> u64 {
        (0..self.used)
            .map(|receiver| self.of(receiver).load(Relaxed))
            .sum()
    }

    /// Waits for the first message and, unless that is slow, until both sides have touched all memory there is; warms
    /// up; measures.
    pub(crate) fn rate(&self, run: &Run) -> Res<f64> {
        let (laps, slow) = (2 * depth(run.size) as u64, Duration::from_millis(300));
        let begin = Instant::now();
        while self.sum() == 0 || (self.sum() < laps && begin.elapsed() < slow) {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(run.warm);
        let (from, begin) = (self.sum(), Instant::now());
        std::thread::sleep(run.time);
        let (to, end) = (self.sum(), Instant::now());
        if to == from {
            return Err(format!("stalled: nothing arrived in {} ms", run.time.as_millis()).into());
        }
        Ok((to - from) as f64 / (end - begin).as_secs_f64())
    }
}
