//! A storm over a road: three producers and three consumers, of whom one after the other is
//! killed and replaced, and the books about every message.

use crate::remains::{self, Remains};
use crate::report::Report;
use crate::resources::memory;
use crate::scenario::Plan;
use multiproc_core::step;
use multiproc_process::{Process, StartError};
use multiproc_segment::Shared;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

pub(crate) use common::{Dice, spin};

pub(crate) const PRODUCERS: usize = 3;
pub(crate) const CONSUMERS: usize = 3;
/// Numbers that one producer has for a round.
const NUMBERS: u64 = 1 << 20;
/// Kills per round: each has a fresh road and fresh books.
const ROUND: u64 = 100;
/// The watchdog: who makes nobody move for so long hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Steps that one who is to die at a named one may pass before.
pub(crate) const STEPS: u64 = 60;
/// What memory a road may keep when it is empty.
const MAY_KEEP: u64 = 17 << 20;

/// Polls until `done`; false when the watchdog barks.
pub(crate) fn until(mut done: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    while !done() {
        if begun.elapsed() > PATIENCE {
            return false;
        }
        std::thread::yield_now();
    }
    true
}

/// What becomes of a message whose consumer is killed with it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum InHand {
    /// Another consumer gets it.
    Comes,
    /// It is gone, once it was released. Who gets one has so many copies of it on its heap.
    Goes { copies: usize },
}

/// How messages go from producers to consumers.
pub(crate) trait Road: Sized + Sync {
    /// What becomes of a message whose consumer is killed with it.
    const IN_HAND: InHand;
    /// Messages of one producer come in their order.
    const ORDERED: bool;

    fn new() -> Self;

    /// Puts the next message or messages.
    fn produce(&self, producer: &mut Producer<'_, Self>) -> Result<(), String>;

    /// Takes the next message or messages, and tells the books.
    fn consume(&self, consumer: &mut Consumer<'_, Self>) -> Result<(), String>;

    /// What is queued now.
    fn len(&self) -> usize;

    /// Messages that were ever queued, where it can be told.
    fn entered(&self) -> Option<usize>;

    /// After the storm: takes all that is left, as many as there have to be.
    fn drain(&self, consumer: &mut Consumer<'_, Self>) -> Result<(), String>;
}

/// What became of each number of one producer.
type Log = Shared<[AtomicU8; NUMBERS as usize]>;
/// The producer is about to put it.
const TRIED: u8 = 1;
/// Its put has returned.
const RETURNED: u8 = 2;
/// It was had once (so many times).
const GOT: u8 = 16;

/// All that the processes of a storm share.
pub(crate) struct Storm<R> {
    road: R,
    logs: Vec<Log>,
    /// By producer: the next number.
    next: Shared<[AtomicU64; PRODUCERS]>,
    /// By consumer: the number (plus 1) that it has written down and may not have released.
    in_hand: Shared<[AtomicU64; CONSUMERS]>,
    /// By consumer: its heap.
    remains: Vec<Remains>,
    /// Consumers on whose heap a message was not found that they had just got.
    blind: Shared<AtomicU64>,
    /// By participant: the step (plus 1) to die at.
    fatal: Shared<[AtomicU64; PRODUCERS + CONSUMERS]>,
    /// Messages had, by anybody.
    progress: Shared<AtomicU64>,
    torn: Shared<AtomicU64>,
    disordered: Shared<AtomicU64>,
    /// Second deliveries that were not said to be any.
    unsaid: Shared<AtomicU64>,
    stop: Shared<AtomicU64>,
    /// Who is slow: 0 nobody, 1 the consumers, 2 the producers.
    slow: Shared<AtomicU64>,
}

fn shared<const N: usize>() -> Shared<[AtomicU64; N]> {
    Shared::new([const { AtomicU64::new(0) }; N]).expect("shared memory")
}

fn counter() -> Shared<AtomicU64> {
    Shared::new(AtomicU64::new(0)).expect("shared memory")
}

const NUMBER_BITS: u32 = 22;
const LEN_BITS: u32 = 25;
const _: () = assert!(NUMBERS * PRODUCERS as u64 <= 1 << NUMBER_BITS);

/// The first word of a message: its number, its length, and 17 bits that stand for both, so that
/// what is left of one word and of another is taken for none.
fn first_word(number: u64, len: usize) -> u64 {
    let both = (len as u64) << NUMBER_BITS | number;
    let check = both.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (NUMBER_BITS + LEN_BITS);
    check << (NUMBER_BITS + LEN_BITS) | both
}

/// Bytes (at least 8) that tell their number, and whether they are whole.
pub(crate) fn fill(number: u64, bytes: &mut [u8]) {
    assert!(bytes.len() < 1 << LEN_BITS);
    let word = first_word(number, bytes.len());
    bytes[..8].copy_from_slice(&word.to_le_bytes());
    bytes[8..].fill((number % 251) as u8);
}

/// The number and the length of the whole message that these bytes begin with, if they do.
fn message_in(bytes: &[u8]) -> Option<(u64, usize)> {
    let word = u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?);
    let number = word % (1 << NUMBER_BITS);
    let len = (word >> NUMBER_BITS) as usize % (1 << LEN_BITS);
    if word != first_word(number, len) || number >= NUMBERS * PRODUCERS as u64 {
        return None;
    }
    let filling = bytes.get(8..len)?;
    let whole = filling.iter().all(|b| *b == (number % 251) as u8);
    whole.then_some((number, len))
}

/// The number of a message, if it is whole.
fn number_of(bytes: &[u8]) -> Option<u64> {
    let (number, len) = message_in(bytes)?;
    (len == bytes.len()).then_some(number)
}

/// The numbers of the whole messages on a heap, by their places: those at the beginning of a
/// block, and those that follow one without a gap.
fn messages_on(heap: &[u8]) -> BTreeMap<usize, u64> {
    let mut found = BTreeMap::new();
    for block in (0..heap.len()).step_by(remains::BLOCK) {
        let mut at = block;
        while let Some((number, len)) = message_in(&heap[at..])
            && found.insert(at, number).is_none()
        {
            at += len;
        }
    }
    found
}

fn copies_on(heap: &[u8], number: u64) -> usize {
    let all = messages_on(heap).into_values();
    all.filter(|n| *n == number).count()
}

impl<R> Storm<R> {
    fn entry(&self, number: u64) -> &AtomicU8 {
        &self.logs[(number / NUMBERS) as usize][(number % NUMBERS) as usize]
    }

    /// Dies at the step that was chosen, if one was.
    fn arm(&self, who: usize) {
        match self.fatal[who].load(SeqCst) {
            0 => {}
            step => {
                self.fatal[who].store(0, SeqCst);
                step::arm(step - 1);
            }
        }
    }

    fn nearly_out_of_numbers(&self) -> bool {
        self.next.iter().any(|n| n.load(SeqCst) > NUMBERS / 10 * 9)
    }
}

/// One who puts: its numbers and its dice.
pub(crate) struct Producer<'s, R> {
    storm: &'s Storm<R>,
    who: usize,
    pub(crate) dice: Dice,
}

impl<R> Producer<'_, R> {
    /// The next message and its number: written in the books as tried.
    pub(crate) fn next(&mut self, len: usize) -> (u64, Vec<u8>) {
        let number = self.number();
        let mut message = vec![0; len.max(8)];
        fill(number, &mut message);
        (number, message)
    }

    /// The next number: written in the books as tried.
    pub(crate) fn number(&mut self) -> u64 {
        let number = self.storm.next[self.who].fetch_add(1, SeqCst);
        if number >= NUMBERS {
            // The parent ends the round before; should it sleep so long, we do, too.
            loop {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        let number = self.who as u64 * NUMBERS + number;
        self.storm.entry(number).fetch_or(TRIED, SeqCst);
        number
    }

    /// The put of that message has returned.
    pub(crate) fn returned(&mut self, number: u64) {
        self.storm.entry(number).fetch_or(RETURNED, SeqCst);
    }
}

/// One who gets.
pub(crate) struct Consumer<'s, R> {
    storm: &'s Storm<R>,
    /// `None`: the one who takes what is left.
    who: Option<usize>,
    last: [Option<u64>; PRODUCERS],
    pub(crate) dice: Dice,
    /// Messages that it had.
    pub(crate) had: u64,
}

impl<'s, R: Road> Consumer<'s, R> {
    fn new(storm: &'s Storm<R>, who: Option<usize>, seed: u64) -> Self {
        Consumer {
            storm,
            who,
            last: [None; PRODUCERS],
            dice: Dice::new(seed),
            had: 0,
        }
    }

    /// Writes a message down that was had; `again` where the road says that it may have been
    /// had before.
    pub(crate) fn got(&mut self, message: &[u8], again: bool) {
        let storm = self.storm;
        let Some(number) = number_of(message) else {
            storm.torn.fetch_add(1, SeqCst);
            return;
        };
        if let InHand::Goes { copies } = R::IN_HAND
            && let Some(who) = self.who
            && self.had == 0
            && copies > copies_on(storm.remains[who].bytes(), number)
        {
            storm.blind.fetch_add(1, SeqCst);
        }
        let last = &mut self.last[(number / NUMBERS) as usize];
        if R::ORDERED && last.replace(number) >= Some(number) {
            storm.disordered.fetch_add(1, SeqCst);
        }
        if R::IN_HAND == InHand::Comes
            && let Some(who) = self.who
        {
            storm.in_hand[who].store(number + 1, SeqCst);
        }
        let before = storm.entry(number).fetch_add(GOT, SeqCst);
        if !R::ORDERED && before >= GOT && !again {
            storm.unsaid.fetch_add(1, SeqCst);
        }
        self.had += 1;
    }

    /// What was had is released.
    pub(crate) fn released(&mut self) {
        if let Some(who) = self.who {
            self.storm.in_hand[who].store(0, SeqCst);
            self.storm.progress.fetch_add(1, SeqCst);
        }
    }
}

impl<R: Road> Storm<R> {
    fn new() -> Self {
        let log = |_| Shared::new([const { AtomicU8::new(0) }; NUMBERS as usize]);
        let logs = (0..PRODUCERS).map(log).collect::<Result<_, _>>();
        Storm {
            road: R::new(),
            logs: logs.expect("shared memory"),
            next: shared(),
            in_hand: shared(),
            remains: (0..CONSUMERS).map(|_| Remains::new()).collect(),
            blind: counter(),
            fatal: shared(),
            progress: counter(),
            torn: counter(),
            disordered: counter(),
            unsaid: counter(),
            stop: counter(),
            slow: counter(),
        }
    }

    fn produce(&self, who: usize, seed: u64) -> Result<(), String> {
        let mut producer = Producer {
            storm: self,
            who,
            dice: Dice::new(seed),
        };
        while self.stop.load(SeqCst) == 0 {
            self.arm(who);
            self.road.produce(&mut producer)?;
            let slow = self.slow.load(SeqCst) == 2;
            if slow || producer.dice.once_in(50) {
                spin(producer.dice.below(200));
            }
        }
        Ok(())
    }

    fn consume(&self, who: usize, seed: u64) -> Result<(), String> {
        let mut consumer = Consumer::new(self, Some(who - PRODUCERS), seed);
        if R::IN_HAND != InHand::Comes {
            self.remains[who - PRODUCERS].inhabit();
        }
        loop {
            self.arm(who);
            self.road.consume(&mut consumer)?;
            let slow = self.slow.load(SeqCst) == 1;
            if slow || consumer.dice.once_in(50) {
                spin(consumer.dice.below(200));
            }
        }
    }

    /// Starts the participant of that number: producers first. A daemon, so that a storm that
    /// fails does not wait for it.
    fn start(&self, who: usize, dice: &mut Dice) -> Process {
        let seed = dice.roll();
        self.fatal[who].store(0, SeqCst);
        let started = Process::builder().daemon(true).start(|| match who {
            0..PRODUCERS => self.produce(who, seed),
            _ => self.consume(who, seed),
        });
        started.map_err(StartError::from).expect("a process")
    }
}

/// A whole scenario: rounds of kills over fresh roads.
pub(crate) fn storm<R: Road>(plan: &Plan, report: &mut Report) {
    let mut dice = Dice::new(plan.seed);
    while report.kills < plan.kills && report.hangs == 0 && report.broken.is_empty() {
        round::<R>(ROUND.min(plan.kills - report.kills), &mut dice, report);
    }
}

fn round<R: Road>(kills: u64, dice: &mut Dice, report: &mut Report) {
    let storm = Storm::<R>::new();
    let memory_before = memory();
    let mut all: Vec<Process> = (0..PRODUCERS + CONSUMERS)
        .map(|who| storm.start(who, dice))
        .collect();
    // Numbers that a killed consumer had written down and perhaps not released: they may come
    // again.
    let mut in_doubt: BTreeMap<u64, u64> = BTreeMap::new();
    // Those that one had copied out and not written down.
    let mut copied: BTreeSet<u64> = BTreeSet::new();
    let mut bury = |who: usize| {
        let Some(consumer) = who.checked_sub(PRODUCERS) else {
            return;
        };
        let number = storm.in_hand[consumer].swap(0, SeqCst);
        if number != 0 {
            *in_doubt.entry(number - 1).or_insert(0) += 1;
        }
        let all = messages_on(storm.remains[consumer].bytes()).into_values();
        copied.extend(all.filter(|number| storm.entry(*number).load(SeqCst) < GOT));
    };
    let mut killed = 0;
    while killed < kills && !storm.nearly_out_of_numbers() {
        if dice.once_in(8) {
            storm.slow.store(dice.below(3), SeqCst);
        }
        let who = dice.below((PRODUCERS + CONSUMERS) as u64) as usize;
        let (at_a_step, wait) = (dice.once_in(2), dice.below(1_500));
        let child = &all[who];
        if at_a_step {
            storm.fatal[who].store(1 + dice.below(STEPS), SeqCst);
            if !until(|| !child.is_alive()) {
                report.hangs += 1;
                report.broken.push(format!("{child:?} reached no step"));
                break;
            }
        } else {
            spin(wait);
            if let Some(code) = child.exit_code() {
                report
                    .broken
                    .push(format!("{child:?} ended by itself: {code}"));
                break;
            }
            let _ = child.kill();
        }
        let before = storm.progress.load(SeqCst);
        let since = Instant::now();
        let exit = child.join_timeout(PATIENCE).map(|exit| exit.code());
        if exit.as_ref().ok() != Some(&-9) {
            report
                .broken
                .push(format!("{child:?} did not die by SIGKILL: {exit:?}"));
            break;
        }
        if !until(|| storm.progress.load(SeqCst) > before) {
            report.hangs += 1;
            report
                .broken
                .push(format!("nobody got anything after {child:?}"));
            break;
        }
        report.recoveries.push(since.elapsed());
        bury(who);
        killed += 1;
        all[who] = storm.start(who, dice);
    }
    report.kills += killed;
    if report.hangs > 0 || !report.broken.is_empty() {
        all.iter().for_each(|child| drop(child.kill()));
        all.iter()
            .for_each(|child| drop(child.join_timeout(PATIENCE)));
        return;
    }
    // The producers stop; the consumers are killed with whatever they are at.
    storm.stop.store(1, SeqCst);
    for child in &all[..PRODUCERS] {
        match child.join_timeout(PATIENCE).map(|exit| exit.code()) {
            Ok(0) => {}
            Ok(code) => report.broken.push(format!("{child:?} ended with {code}")),
            Err(_) => report.hangs += 1,
        }
    }
    for (who, child) in all.iter().enumerate() {
        let _ = child.kill();
        match child.join_timeout(PATIENCE) {
            Ok(_) => bury(who),
            Err(_) => report.hangs += 1,
        }
    }
    if report.hangs > 0 {
        return;
    }
    storm.remains.iter().for_each(Remains::clear);
    // In a thread of its own: the library keeps a buffer per thread, which the next round's
    // consumers would inherit, and use in place of one on their own heap.
    let drained = std::thread::scope(|scope| {
        let drain = || storm.road.drain(&mut Consumer::new(&storm, None, 0));
        scope.spawn(drain).join().expect("no panic")
    });
    if let Err(why) = drained {
        report.broken.push(format!("what was left: {why}"));
    }
    let empty = storm.road.len();
    if empty != 0 {
        report
            .broken
            .push(format!("len() is {empty} after the rest was had"));
    }
    let kept = memory().saturating_sub(memory_before);
    if kept > MAY_KEEP {
        report
            .broken
            .push(format!("{kept} bytes more are in use than at first"));
    }
    reckon(&storm, &in_doubt, &copied, report);
}

/// The books: every message that was put was had, once, or was copied out by a consumer that
/// died with it; and just as many have left the queue.
fn reckon<R: Road>(
    storm: &Storm<R>,
    in_doubt: &BTreeMap<u64, u64>,
    copied: &BTreeSet<u64>,
    report: &mut Report,
) {
    let (mut had, mut to_dead, mut lost) = (0, 0, 0);
    for who in 0..PRODUCERS as u64 {
        for number in 0..storm.next[who as usize].load(SeqCst).min(NUMBERS) {
            let number = who * NUMBERS + number;
            let entry = storm.entry(number).load(SeqCst);
            let (state, got) = (entry % GOT, u64::from(entry / GOT));
            let again = in_doubt.get(&number).copied().unwrap_or(0);
            report.duplicated += got.saturating_sub(1 + again);
            had += u64::from(got > 0);
            if state == 0 && got > 0 {
                report
                    .broken
                    .push(format!("message {number} was had and never put"));
            }
            match got == 0 && copied.contains(&number) && R::IN_HAND != InHand::Comes {
                true => to_dead += 1,
                false => lost += u64::from(got == 0 && state & RETURNED != 0),
            }
        }
    }
    let entered = storm.road.entered().map(|n| n as u64);
    let left = entered.map_or(to_dead + lost, |n| n.saturating_sub(had));
    // What a dead consumer had copied and not released was for others: they never got it.
    let kept_back = to_dead.saturating_sub(left);
    report.lost += lost + kept_back;
    report.delivered_to_dead += to_dead - kept_back;
    if left > to_dead + lost {
        let nobody = left - to_dead - lost;
        report
            .broken
            .push(format!("{nobody} messages left the queue that nobody had"));
    }
    report.torn += storm.torn.load(SeqCst);
    for (what, counter) in [
        (
            "messages of a producer came out of their order",
            &storm.disordered,
        ),
        ("second deliveries said to be the first", &storm.unsaid),
        ("consumers whose heap shows nothing", &storm.blind),
    ] {
        let n = counter.load(SeqCst);
        if n > 0 {
            report.broken.push(format!("{n} {what}"));
        }
    }
}
