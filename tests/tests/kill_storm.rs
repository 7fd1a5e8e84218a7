//! Killed at random: producers and consumers of one queue get SIGKILL at any moment, hundreds
//! of times, and are replaced. Nobody hangs, nothing is torn or had twice, and nothing is lost
//! but what a dead consumer may have had in its hands.
//!
//! `KILLS=24000 SEED=7 cargo test --release -p multiproc-tests --test kill_storm` for more, and
//! `SOAK_SECONDS=300` for a long soak.

use common::*;
use multiproc_core::deadline::Deadline;
use multiproc_process::{Process, StartError, test};
use multiproc_queue::codec::Bytes;
use multiproc_queue::{JoinableQueue, Queue};
use multiproc_ring::{Ring, Settings, Wait};
use multiproc_segment::Shared;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

test::main! {
    #[timeout(3600)]
    a_storm_over_a_queue_loses_at_most_what_the_dead_had_in_hand,
    #[timeout(3600)]
    a_storm_logged_inside_the_claim_loses_nothing,
    #[timeout(3600)]
    soak_no_wakeup_is_eaten,
}

const PRODUCERS: usize = 3;
const CONSUMERS: usize = 3;
/// Numbers that one producer has for a round.
const NUMBERS: usize = 1 << 20;
/// Kills per round: each has a fresh queue and a fresh log.
const ROUND: u64 = 100;

/// What became of each number of one producer.
type Log = Shared<[AtomicU8; NUMBERS]>;

/// The producer is about to put it.
const TRIED: u8 = 1;
/// Its put has returned.
const RETURNED: u8 = 2;
/// It was had once (so many times).
const GOT: u8 = 16;

/// What a storm goes over.
#[derive(Clone)]
enum Road {
    Queue(Queue<Vec<u8>, Bytes>),
    /// The ring below, where one can log between having a record and releasing it.
    Ring(Ring),
}

const CAPACITY: usize = 32;

impl Road {
    fn queue() -> Self {
        let options = Queue::<Vec<u8>>::options().capacity(CAPACITY);
        Road::Queue(options.codec::<Bytes>().build().unwrap())
    }

    fn ring() -> Self {
        let settings = Settings {
            capacity: CAPACITY as u32,
            ..Settings::default()
        };
        Road::Ring(Ring::anonymous("storm", &settings).unwrap())
    }

    /// Puts, if there is room soon.
    fn put(&self, message: Vec<u8>) -> bool {
        const SOON: Duration = Duration::from_millis(20);
        match self {
            Road::Queue(queue) => match queue.put_timeout(message, SOON) {
                Ok(()) => true,
                Err(multiproc_queue::PutTimeoutError::Timeout(_)) => false,
                Err(error) => panic!("{error}"),
            },
            Road::Ring(ring) => {
                let deadline = Deadline::after(SOON);
                match ring.put(
                    &message,
                    Wait {
                        deadline,
                        ..Wait::NOT
                    },
                ) {
                    Ok(()) => true,
                    Err(multiproc_ring::PutError::Full) => false,
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }

    /// Gets, if something comes soon, and logs it: as early as each way allows.
    fn get(&self, log: impl FnOnce(u64), released: impl FnOnce()) -> bool {
        const SOON: Duration = Duration::from_millis(20);
        match self {
            Road::Queue(queue) => match queue.get_timeout(SOON) {
                Ok(message) => log(number_of(&message)),
                Err(multiproc_queue::GetTimeoutError::Timeout) => return false,
                Err(error) => panic!("{error}"),
            },
            Road::Ring(ring) => {
                let deadline = Deadline::after(SOON);
                match ring.claim(Wait {
                    deadline,
                    ..Wait::NOT
                }) {
                    Ok(claim) => {
                        let mut message = Vec::new();
                        claim.read_into(&mut message);
                        log(number_of(&message));
                        claim.release();
                    }
                    Err(multiproc_ring::GetError::Empty) => return false,
                    Err(error) => panic!("{error}"),
                }
            }
        }
        released();
        true
    }

    fn len(&self) -> usize {
        match self {
            Road::Queue(queue) => queue.len(),
            Road::Ring(ring) => ring.len(),
        }
    }
}

/// All that the processes of a storm share.
struct Storm {
    road: Road,
    logs: Vec<Log>,
    /// By consumer: the number (plus 1) that it has logged and may not have released yet.
    in_hand: Shared<[AtomicU64; CONSUMERS]>,
    /// Messages had, by anybody.
    progress: Counter,
    stop_consumers: Counter,
    stop_producers: Counter,
}

/// A number that says who put it.
fn tagged(producer: usize, number: usize) -> u64 {
    (producer * NUMBERS + number) as u64
}

impl Storm {
    fn new(road: Road) -> Self {
        let log = |_| Shared::new([const { AtomicU8::new(0) }; NUMBERS]).unwrap();
        Storm {
            road,
            logs: (0..PRODUCERS).map(log).collect(),
            in_hand: Shared::new([const { AtomicU64::new(0) }; CONSUMERS]).unwrap(),
            progress: Counter::new(),
            stop_consumers: Counter::new(),
            stop_producers: Counter::new(),
        }
    }

    fn entry(&self, tagged: u64) -> &AtomicU8 {
        &self.logs[tagged as usize / NUMBERS][tagged as usize % NUMBERS]
    }

    /// Puts one number after the other, from the first that was never tried.
    fn produce(&self, producer: usize) {
        let log = &self.logs[producer];
        let first = log.iter().position(|entry| entry.load(SeqCst) == 0);
        let mut dice = Dice::new(tagged(producer, first.unwrap_or(0)));
        for number in first.unwrap_or(NUMBERS)..NUMBERS {
            log[number].fetch_or(TRIED, SeqCst);
            let len = match dice.below(8) {
                0 => dice.below(60_000),
                1 => dice.below(4_000),
                _ => 8 + dice.below(100),
            };
            loop {
                if self.stop_producers.get() != 0 {
                    return;
                }
                if self
                    .road
                    .put(pattern(tagged(producer, number), len as usize))
                {
                    break;
                }
            }
            log[number].fetch_or(RETURNED, SeqCst);
        }
    }

    fn consume(&self, consumer: usize) {
        let mut last = [None; PRODUCERS];
        let in_hand = &self.in_hand[consumer];
        while self.stop_consumers.get() == 0 {
            let log = |number: u64| {
                let before = last[number as usize / NUMBERS].replace(number);
                assert!(before < Some(number), "{before:?} before {number}");
                in_hand.store(number + 1, SeqCst);
                self.entry(number).fetch_add(GOT, SeqCst);
            };
            let released = || in_hand.store(0, SeqCst);
            if self.road.get(log, released) {
                self.progress.count();
            }
        }
    }

    /// Starts the participant of that number: producers first. A daemon, so that a test that
    /// fails does not wait for it.
    fn start(&self, who: usize) -> Process {
        let participant = Process::builder().daemon(true).start(|| {
            if who < PRODUCERS {
                self.produce(who);
            } else {
                self.consume(who - PRODUCERS);
            }
        });
        participant.map_err(StartError::from).unwrap()
    }
}

#[derive(Debug, Default)]
struct Figures {
    kills: u64,
    kills_of_consumers: u64,
    put: u64,
    got: u64,
    delivered_to_dead: u64,
    in_doubt: u64,
    slowest_recovery: Duration,
}

/// One round: so many kills, then the reckoning.
fn round(road: Road, kills: u64, dice: &mut Dice, figures: &mut Figures) {
    let exact = matches!(road, Road::Ring(_));
    let storm = Storm::new(road);
    let mut all: Vec<Process> = (0..PRODUCERS + CONSUMERS)
        .map(|who| storm.start(who))
        .collect();
    // Numbers that a killed consumer had logged and perhaps not released: they may come again.
    let mut in_doubt = std::collections::BTreeMap::new();
    let mut consumers_killed = 0;
    storm.progress.reach(1);
    for _ in 0..kills {
        let who = dice.below((PRODUCERS + CONSUMERS) as u64) as usize;
        spin(dice.below(1_500));
        assert!(all[who].is_alive(), "{:?} ended by itself", all[who]);
        let before = storm.progress.get();
        let killed = Instant::now();
        kill(&all[who]);
        until("anybody to get anything after a kill", || {
            storm.progress.get() > before
        });
        figures.slowest_recovery = figures.slowest_recovery.max(killed.elapsed());
        if who >= PRODUCERS {
            consumers_killed += 1;
            let number = storm.in_hand[who - PRODUCERS].swap(0, SeqCst);
            if number != 0 {
                *in_doubt.entry(number - 1).or_insert(0) += 1;
            }
        }
        all[who] = storm.start(who);
    }
    storm.stop_consumers.count();
    all[PRODUCERS..].iter().for_each(ends_well);
    storm.stop_producers.count();
    all[..PRODUCERS].iter().for_each(ends_well);

    // What is left is what `len` says.
    let left = storm.road.len();
    assert!(left <= CAPACITY);
    for at in 0..left {
        let log = |number| {
            storm.entry(number).fetch_add(GOT, SeqCst);
        };
        assert!(storm.road.get(log, || ()), "{at} of {left} were there");
    }
    assert!(!storm.road.get(|_| panic!("more than {left}"), || ()));
    assert_eq!(storm.road.len(), 0);

    let mut missing = 0;
    for number in 0..tagged(PRODUCERS, 0) {
        let entry = storm.entry(number).load(SeqCst);
        let (state, got) = (entry % GOT, u64::from(entry / GOT));
        let again = in_doubt.get(&number).copied().unwrap_or(0);
        let allowed = if exact { 1 + again } else { 1 };
        assert!(
            got <= allowed,
            "message {number}: had {got} times, {again} in doubt"
        );
        assert!(state != 0 || got == 0, "message {number} was never put");
        figures.put += u64::from(state & RETURNED != 0);
        figures.got += u64::from(got > 0);
        missing += u64::from(state & RETURNED != 0 && got == 0);
    }
    // Logged inside the claim, nothing can be missing. Logged after it, a consumer that was
    // killed between the two took one message with it at most.
    let allowed = if exact { 0 } else { consumers_killed };
    assert!(
        missing <= allowed,
        "{missing} missing, {consumers_killed} consumers killed"
    );
    figures.delivered_to_dead += missing;
    figures.in_doubt += in_doubt.len() as u64;
    figures.kills += kills;
    figures.kills_of_consumers += consumers_killed;
}

fn storm(road: fn() -> Road) {
    let (kills, seed) = (setting("KILLS", 300), setting("SEED", 20_240_607));
    println!("SEED={seed} KILLS={kills}");
    let mut dice = Dice::new(seed);
    let mut figures = Figures::default();
    let begun = Instant::now();
    while figures.kills < kills {
        round(
            road(),
            ROUND.min(kills - figures.kills),
            &mut dice,
            &mut figures,
        );
    }
    println!(
        "{figures:#?}\nin {:?}: 0 hangs, 0 torn, 0 twice, 0 lost",
        begun.elapsed()
    );
}

fn a_storm_over_a_queue_loses_at_most_what_the_dead_had_in_hand() {
    storm(Road::queue);
}

fn a_storm_logged_inside_the_claim_loses_nothing() {
    storm(Road::ring);
}

// ---- waiters killed as they are woken ----

const WAITERS: usize = 4;

/// What is killed, how often, and how long the others then waited.
#[derive(Debug, Default)]
struct Soak {
    kills: u64,
    to_dead: u64,
    slowest: Duration,
}

impl Soak {
    fn note(&mut self, since: Instant) {
        self.kills += 1;
        self.slowest = self.slowest.max(since.elapsed());
    }
}

fn daemon(f: impl FnOnce()) -> Process {
    let started = Process::builder().daemon(true).start(f);
    started.map_err(StartError::from).unwrap()
}

/// One message for many who wait, one of whom dies as it comes.
fn getters(dice: &mut Dice, rounds: u64, soak: &mut Soak) {
    let queue = Queue::<u64>::bounded(8).unwrap();
    let had = Counter::new();
    let waiter = || {
        daemon(|| {
            while let Ok(n) = queue.get() {
                had.set(n);
            }
        })
    };
    let mut waiters: Vec<Process> = (0..WAITERS).map(|_| waiter()).collect();
    for n in 1..=rounds {
        waiters.iter().for_each(blocked);
        let who = dice.below(WAITERS as u64) as usize;
        let put = Instant::now();
        queue.put(n).unwrap();
        spin(dice.below(60));
        kill(&waiters[who]);
        until("a message to be had by the waiters who live", || {
            queue.is_empty()
        });
        soak.note(put);
        // A living one that has it says so at once.
        let patience = Instant::now();
        while had.get() != n && patience.elapsed() < Duration::from_secs(1) {
            std::thread::yield_now();
        }
        soak.to_dead += u64::from(had.get() != n);
        waiters[who] = waiter();
    }
    queue.shut_down();
    waiters.iter().for_each(ends_well);
}

/// Room for one of many who wait to put, one of whom dies as it comes.
fn putters(dice: &mut Dice, rounds: u64, soak: &mut Soak) {
    let queue = Queue::<u64>::bounded(1).unwrap();
    let waiter = || daemon(|| while queue.put(1).is_ok() {});
    let mut waiters: Vec<Process> = (0..WAITERS).map(|_| waiter()).collect();
    for _ in 0..rounds {
        waiters.iter().for_each(blocked);
        let who = dice.below(WAITERS as u64) as usize;
        let got = Instant::now();
        assert_eq!(queue.get(), Ok(1));
        spin(dice.below(60));
        kill(&waiters[who]);
        until("a put by the waiters who live", || queue.is_full());
        soak.note(got);
        waiters[who] = waiter();
    }
    queue.shut_down();
    waiters.iter().for_each(ends_well);
}

/// The end of a wait for all tasks, one of the waiters dying as it comes.
fn joiners(dice: &mut Dice, rounds: u64, soak: &mut Soak) {
    let queue = JoinableQueue::<u64>::bounded(1).unwrap();
    for _ in 0..rounds {
        queue.put(1).unwrap();
        let mut waiters: Vec<Process> = (0..WAITERS)
            .map(|_| daemon(|| queue.join().unwrap()))
            .collect();
        waiters.iter().for_each(blocked);
        let victim = waiters.remove(dice.below(WAITERS as u64) as usize);
        queue.get().unwrap();
        let done = Instant::now();
        queue.task_done().unwrap();
        spin(dice.below(60));
        victim.kill().unwrap();
        waiters.iter().for_each(ends_well);
        soak.note(done);
        let _ = ends(&victim);
    }
}

/// Back and forth between two, one of whom is killed and replaced.
fn ping_pong(dice: &mut Dice, rounds: u64, soak: &mut Soak) {
    let (ping, pong) = (
        Queue::<u64>::bounded(4).unwrap(),
        Queue::<u64>::bounded(4).unwrap(),
    );
    let player = || {
        daemon(|| {
            while let Ok(n) = ping.get() {
                if pong.put(n).is_err() {
                    break;
                }
            }
        })
    };
    let mut other = player();
    let mut n = 0;
    for _ in 0..rounds {
        for _ in 0..20 {
            n += 1;
            ping.put(n).unwrap();
            let answer = pong.get_timeout(PATIENCE);
            assert_eq!(answer, Ok(n));
        }
        n += 1;
        let served = Instant::now();
        ping.put(n).unwrap();
        spin(dice.below(40));
        kill(&other);
        other = player();
        // Answered by the dead one, or by the new one; or the dead one took it with it.
        until("the ping to be had", || ping.is_empty());
        let answer = pong.get_timeout(Duration::from_secs(1));
        match answer {
            Ok(answer) => {
                assert_eq!(answer, n);
                soak.note(served);
            }
            Err(_) => {
                soak.kills += 1;
                soak.to_dead += 1;
            }
        }
    }
    ping.shut_down();
    ends_well(&other);
}

fn soak_no_wakeup_is_eaten() {
    let (seconds, seed) = (setting("SOAK_SECONDS", 10), setting("SEED", 20_240_607));
    println!("SEED={seed} SOAK_SECONDS={seconds}");
    let mut dice = Dice::new(seed);
    type Game = fn(&mut Dice, u64, &mut Soak);
    let games: [(&str, Game); 4] = [
        ("get", getters),
        ("put", putters),
        ("join", joiners),
        ("ping-pong", ping_pong),
    ];
    let mut soaks: [Soak; 4] = Default::default();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(seconds) {
        for ((_, game), soak) in games.iter().zip(&mut soaks) {
            game(&mut dice, 20, soak);
        }
    }
    for ((what, _), soak) in games.iter().zip(&soaks) {
        println!("{what}: {soak:?}");
        // Every kill costs the dead one's own message at most, and never two.
        assert!(soak.to_dead <= soak.kills);
        assert!(soak.kills > 0);
    }
}
