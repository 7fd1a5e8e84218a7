//! Pipes: ends that several share, the end of the stream, messages that carry handles.

use crate::report::Report;
use crate::scenario::{Plan, Scenario};
use crate::storm::{Consumer, Dice, InHand, PATIENCE, Producer, Road, STEPS, fill, spin, storm};
use multiproc_core::step;
use multiproc_parcel::Descriptor;
use multiproc_pipe::codec::Bytes;
use multiproc_pipe::{Pipe, Receiver, RecvTimeoutError, Sender, TryRecvError, wait};
use multiproc_process::{Exit, Process, StartError};
use multiproc_queue::Queue;
use multiproc_segment::Shared;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fs;
use std::io::{PipeReader, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

type Tx = Sender<Vec<u8>, Bytes>;
type Rx = Receiver<Vec<u8>, Bytes>;

fn pipe(bytes: usize) -> (Rx, Tx) {
    let pipe = Pipe::<Vec<u8>>::options().bytes(bytes).codec::<Bytes>();
    pipe.simplex().expect("a pipe")
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Half of the kills: several senders and receivers on one pipe, each message had once and in
/// order. The other half: the end of the stream, which comes after the last sender's death and
/// not before; the recoveries are those.
pub(crate) struct Pipes;

impl Scenario for Pipes {
    fn name(&self) -> &'static str {
        "pipe"
    }

    fn run(&self, plan: &Plan, report: &mut Report) {
        let half = Plan {
            kills: plan.kills / 2,
            ..*plan
        };
        storm::<Shares>(&half, report);
        report.recoveries.clear();
        let mut dice = Dice::new(plan.seed);
        while report.kills < plan.kills && report.hangs == 0 && report.broken.is_empty() {
            end_of_stream(&mut dice, report);
        }
    }
}

// ---- shared ends ----

struct Shares {
    rx: Rx,
    tx: Tx,
}

impl Road for Shares {
    const IN_HAND: InHand = InHand::Goes { copies: 1 };
    const ORDERED: bool = true;

    fn new() -> Self {
        let (rx, tx) = pipe(32 << 10);
        Shares { rx, tx }
    }

    fn produce(&self, producer: &mut Producer<'_, Self>) -> Result<(), String> {
        let len = 8 + match producer.dice.below(64) {
            0 => producer.dice.below(100_000),
            1..8 => producer.dice.below(4_000),
            _ => producer.dice.below(100),
        } as usize;
        if producer.dice.once_in(4) {
            if producer.dice.once_in(4) {
                self.tx.send_loan(len).map_err(text)?.fill(0xff); // thought better of it
            }
            let number = producer.number();
            let mut loan = self.tx.send_loan(len).map_err(text)?;
            fill(number, &mut loan);
            loan.commit();
            producer.returned(number);
            return Ok(());
        }
        let (number, message) = producer.next(len);
        self.tx.send(message).map_err(text)?;
        producer.returned(number);
        Ok(())
    }

    fn consume(&self, consumer: &mut Consumer<'_, Self>) -> Result<(), String> {
        let message = match consumer.dice.below(8) {
            0 => {
                let time = Duration::from_micros(consumer.dice.below(300));
                match self.rx.recv_timeout(time) {
                    Err(RecvTimeoutError::Timeout) => return Ok(()),
                    other => other.map_err(text)?,
                }
            }
            1 | 2 => {
                wait([&self.rx], None).map_err(text)?;
                match self.rx.try_recv() {
                    Err(TryRecvError::Empty) => return Ok(()), // another was faster
                    other => other.map_err(text)?,
                }
            }
            3 => {
                self.rx.recv_loan().map_err(text)?.give_back();
                return Ok(());
            }
            _ => self.rx.recv().map_err(text)?,
        };
        consumer.got(&message, false);
        consumer.released();
        Ok(())
    }

    fn len(&self) -> usize {
        usize::from(self.rx.poll(Duration::ZERO).unwrap_or(true))
    }

    fn entered(&self) -> Option<usize> {
        None
    }

    fn drain(&self, consumer: &mut Consumer<'_, Self>) -> Result<(), String> {
        loop {
            match self.rx.try_recv() {
                Ok(message) => consumer.got(&message, false),
                Err(TryRecvError::Empty) => return Ok(()),
                Err(other) => return Err(text(other)),
            }
        }
    }
}

// ---- the end of the stream ----

const MOST_SENDERS: usize = 3;

fn words<const N: usize>() -> Shared<[AtomicU64; N]> {
    Shared::new([const { AtomicU64::new(0) }; N]).expect("shared memory")
}

fn start<R: multiproc_process::ExitValue>(f: impl FnOnce() -> R) -> Process {
    let started = Process::builder().daemon(true).start(f);
    started.map_err(StartError::from).expect("a process")
}

/// Sends numbers until it dies: by somebody's hand, or at its step of that number.
fn send_for_ever(who: usize, tx: &Tx, sent: &AtomicU64, dice: &mut Dice, step: Option<u64>) {
    if let Some(step) = step {
        step::arm(step);
    }
    for number in 0_u64.. {
        let mut message = vec![who as u8; 16 + dice.below(2_000) as usize];
        message[..8].copy_from_slice(&number.to_le_bytes());
        if tx.send(message).is_err() {
            return;
        }
        sent.store(number + 1, SeqCst);
        if dice.once_in(64) {
            // As it may be: another end like this one, used in its place.
            drop(tx.clone());
        }
    }
}

/// Receives until the end of the stream; what it has seen of each sender.
fn receive_all(rx: &Rx, dice: &mut Dice) -> Result<[u64; MOST_SENDERS], String> {
    let mut next = [0; MOST_SENDERS];
    loop {
        let message = match dice.below(3) {
            0 => {
                wait([rx], None).map_err(text)?;
                match rx.try_recv() {
                    Err(TryRecvError::Closed) => return Ok(next),
                    other => other.map_err(text)?,
                }
            }
            1 => match rx.recv_timeout(Duration::from_micros(dice.below(2_000))) {
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Closed) => return Ok(next),
                other => other.map_err(text)?,
            },
            _ => match rx.recv() {
                Err(multiproc_pipe::RecvError::Closed) => return Ok(next),
                other => other.map_err(text)?,
            },
        };
        let who = usize::from(*message.last().ok_or("an empty message")?);
        let number = message.first_chunk().map(|word| u64::from_le_bytes(*word));
        let whole = message[8..].iter().all(|b| usize::from(*b) == who);
        match next.get_mut(who) {
            Some(next) if whole && number == Some(*next) => *next += 1,
            _ => return Err(format!("{number:?} of sender {who} came after {next:?}")),
        }
    }
}

/// Some senders, which are killed one after the other, siblings that have inherited everything,
/// and a reader that is told of the end.
fn end_of_stream(dice: &mut Dice, report: &mut Report) {
    let (rx, tx) = pipe(16 << 10);
    let (sent, had) = (words::<MOST_SENDERS>(), words::<MOST_SENDERS>());
    // When the last one was killed, and when the reader heard of it, since `begun`.
    let (killed, told) = (words::<1>(), words::<1>());
    let begun = Instant::now();
    let now = || begun.elapsed().as_nanos() as u64;
    let senders = 1 + dice.below(MOST_SENDERS as u64) as usize;
    let mut children = Vec::new();
    for who in 0..senders {
        let (tx, seed) = (tx.clone(), dice.roll());
        let step = dice.once_in(2).then(|| dice.below(40 * STEPS));
        let sent = &sent;
        children.push(start(move || {
            send_for_ever(who, &tx, &sent[who], &mut Dice::new(seed), step);
        }));
    }
    drop(tx);
    let reader = {
        let (seed, had, told) = (dice.roll(), &had, &told);
        start(move || {
            let next = receive_all(&rx, &mut Dice::new(seed))?;
            told[0].store(now(), SeqCst);
            for (who, next) in next.into_iter().enumerate() {
                had[who].store(next, SeqCst);
            }
            Ok::<(), String>(())
        })
    };
    let sibling = start(|| {
        loop {
            std::thread::park();
        }
    });
    let mut order: Vec<usize> = (0..senders).collect();
    (0..senders).for_each(|at| order.swap(at, dice.below(senders as u64) as usize));
    for (nth, who) in order.iter().enumerate() {
        spin(dice.below(2_000));
        if nth + 1 == senders {
            // One that dies at a step may have died before.
            killed[0].store(now(), SeqCst);
        }
        let _ = children[*who].kill();
        match children[*who].join_timeout(PATIENCE) {
            Ok(Exit::Signal(9)) => report.kills += 1,
            Ok(other) => report.broken.push(format!("a sender ended: {other}")),
            Err(_) => report.hangs += 1,
        }
    }
    match reader.join_timeout(PATIENCE) {
        Ok(Exit::Code(0)) => {}
        Ok(other) => report.broken.push(format!("the reader ended: {other}")),
        Err(_) => {
            report.hangs += 1;
            report
                .broken
                .push("the end of a stream was not told".into());
            drop((reader.kill(), reader.join_timeout(PATIENCE)));
        }
    }
    if !sibling.is_alive() {
        report.broken.push("the sibling ended by itself".into());
    }
    drop((sibling.kill(), sibling.join_timeout(PATIENCE)));
    if report.hangs > 0 || !report.broken.is_empty() {
        return;
    }
    for who in 0..senders {
        let (sent, had) = (sent[who].load(SeqCst), had[who].load(SeqCst));
        // The one that it was at when it died may have gone.
        report.lost += sent.saturating_sub(had);
        report.duplicated += had.saturating_sub(sent + 1);
    }
    let (killed, told) = (killed[0].load(SeqCst), told[0].load(SeqCst));
    report
        .recoveries
        .push(Duration::from_nanos(told.saturating_sub(killed)));
}

// ---- messages with handles ----

/// Messages that carry queues, descriptors and ends of another pipe: each is had once, with what
/// belongs to it, and nobody's descriptors grow.
pub(crate) struct Handles;

impl Scenario for Handles {
    fn name(&self) -> &'static str {
        "handles"
    }

    fn run(&self, plan: &Plan, report: &mut Report) {
        storm::<Carries>(plan, report);
    }
}

/// An end, or what was left of one when its sender died first.
struct End(Option<Sender<u64>>);

impl Serialize for End {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Some(end) => end.serialize(serializer),
            None => Err(serde::ser::Error::custom("nothing is left of it")),
        }
    }
}

impl<'de> Deserialize<'de> for End {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(End(Sender::deserialize(deserializer).ok()))
    }
}

/// Bytes of a message's body: it stands first, so that the books find it on a dead one's heap.
const BODY: usize = 32;

#[derive(Serialize, Deserialize)]
struct Load {
    body: [u8; BODY],
    queue: Option<Queue<u64>>,
    reader: Option<Descriptor<PipeReader>>,
    end: Option<End>,
}

impl Load {
    fn new(number: u64, dice: &mut Dice, tx: &Sender<u64>) -> Result<Self, String> {
        let mut body = [0; BODY];
        fill(number, &mut body);
        let queue = match dice.once_in(3) {
            false => None,
            true => {
                let queue = Queue::bounded(2).map_err(text)?;
                queue.put(number).map_err(text)?;
                Some(queue)
            }
        };
        let reader = match dice.once_in(3) {
            false => None,
            true => {
                let (reader, mut writer) = std::io::pipe().map_err(text)?;
                writer.write_all(&number.to_le_bytes()).map_err(text)?;
                Some(Descriptor(reader))
            }
        };
        let end = dice.once_in(3).then(|| End(Some(tx.clone())));
        Ok(Load {
            body,
            queue,
            reader,
            end,
        })
    }

    /// Is everything that came the message's own?
    fn check_whole(self) -> Result<(), String> {
        let number = u64::from_le_bytes(*self.body.first_chunk().ok_or("a short body")?);
        if let Some(queue) = self.queue {
            // Its number is in the first word, under what the books have added.
            let found = queue.try_get().map_err(text)?;
            let mut expected = [0; BODY];
            fill(found, &mut expected);
            if expected != self.body {
                return Err(format!("the queue of {found} came with {number:#x}"));
            }
        }
        if let Some(Descriptor(mut reader)) = self.reader {
            let (mut found, mut expected) = (Vec::new(), [0; BODY]);
            reader.read_to_end(&mut found).map_err(text)?;
            let found = found.first_chunk().ok_or("an empty descriptor")?;
            fill(u64::from_le_bytes(*found), &mut expected);
            if expected != self.body {
                return Err(format!("the wrong descriptor came with {number:#x}"));
            }
        }
        if let Some(End(Some(end))) = self.end {
            if end.is_closed() {
                return Err("an end came closed".into());
            }
            let _ = end.try_send(number);
        }
        Ok(())
    }
}

struct Carries {
    rx: Receiver<Load>,
    tx: Sender<Load>,
    /// Whose ends travel.
    inner_rx: Receiver<u64>,
    inner: Sender<u64>,
}

/// Descriptors that this process has open.
fn descriptors() -> u64 {
    fs::read_dir("/proc/self/fd").map_or(0, |all| all.count() as u64)
}

thread_local! {
    /// Those at first.
    static AT_FIRST: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// They do not grow.
fn watch_descriptors(dice: &mut Dice) -> Result<(), String> {
    if !dice.once_in(32) {
        return Ok(());
    }
    let (first, now) = (AT_FIRST.get(), descriptors());
    if first == 0 {
        AT_FIRST.set(now);
    } else if now > first + 16 {
        return Err(format!("{now} descriptors are open, {first} at first"));
    }
    Ok(())
}

impl Road for Carries {
    // In the buffer that is decoded.
    const IN_HAND: InHand = InHand::Goes { copies: 1 };
    const ORDERED: bool = true;

    fn new() -> Self {
        let pipe = Pipe::<Load>::options().capacity(8).simplex();
        let (rx, tx) = pipe.expect("a pipe");
        let (inner_rx, inner) = Pipe::options().capacity(64).simplex().expect("a pipe");
        Carries {
            rx,
            tx,
            inner_rx,
            inner,
        }
    }

    fn produce(&self, producer: &mut Producer<'_, Self>) -> Result<(), String> {
        watch_descriptors(&mut producer.dice)?;
        let number = producer.number();
        let load = Load::new(number, &mut producer.dice, &self.inner)?;
        self.tx.send(load).map_err(text)?;
        producer.returned(number);
        Ok(())
    }

    fn consume(&self, consumer: &mut Consumer<'_, Self>) -> Result<(), String> {
        watch_descriptors(&mut consumer.dice)?;
        let load = match consumer.dice.once_in(4) {
            true => {
                wait([&self.rx], None).map_err(text)?;
                match self.rx.try_recv() {
                    Err(TryRecvError::Empty) => return Ok(()), // another was faster
                    other => other.map_err(text)?,
                }
            }
            false => self.rx.recv().map_err(text)?,
        };
        consumer.got(&load.body, false);
        load.check_whole()?;
        let _ = self.inner_rx.try_recv();
        consumer.released();
        Ok(())
    }

    fn len(&self) -> usize {
        usize::from(self.rx.poll(Duration::ZERO).unwrap_or(true))
    }

    fn entered(&self) -> Option<usize> {
        None
    }

    fn drain(&self, consumer: &mut Consumer<'_, Self>) -> Result<(), String> {
        loop {
            match self.rx.try_recv() {
                Ok(load) => {
                    consumer.got(&load.body, false);
                    load.check_whole()?;
                }
                Err(TryRecvError::Empty) => break,
                Err(other) => return Err(text(other)),
            }
        }
        // No end was lost with a message: all places but a few are free again.
        let all: Vec<_> = (0..500).map(|_| self.inner.clone()).collect();
        match all.iter().all(|end| !end.is_closed()) {
            true => Ok(()),
            false => Err("ends that were lost with their messages are still open".into()),
        }
    }
}
