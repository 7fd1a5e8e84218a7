//! Nobody is killed: nobody may hang either.

use crate::condition::world;
use common::*;
use multiproc_barrier::Barrier;
use multiproc_event::Event;
use multiproc_process::Process;
use std::time::{Duration, Instant};

/// What a soak saw. A wake-up that is lost shows as a wait of a whole slice.
#[derive(Debug, Default)]
struct Soak {
    rounds: u64,
    /// 45 to 60 ms.
    like_a_slice: u64,
    /// All above 20 ms, in ms: those of a busy machine are anything, those of a lost wake-up
    /// just above 50.
    long: Vec<u128>,
}

impl Soak {
    fn note(&mut self, took: Duration) {
        self.rounds += 1;
        self.like_a_slice += u64::from((45..60).contains(&took.as_millis()));
        if took > Duration::from_millis(20) {
            self.long.push(took.as_millis());
        }
    }

    /// A busy machine makes some waits long, too: not many, and not just so long.
    fn over(self, what: &str) {
        println!("{what}: {self:?}");
        let allowed = 3 + self.rounds / 10_000;
        assert!(
            self.like_a_slice <= allowed,
            "{what}: wake-ups are lost: {self:?}"
        );
    }
}

fn soak_time() -> Duration {
    Duration::from_secs(setting("SOAK_SECONDS", 10))
}

pub(crate) fn soak_condition_ping_pong() {
    let w = world();
    let turn = |mine: u64, play: &dyn Fn() -> bool| {
        let mut soak = Soak::default();
        while play() {
            let begun = Instant::now();
            let guard = w.held();
            let (mut guard, _) = w
                .condition
                .wait_for_timeout(guard, PATIENCE, |n| **n % 2 == mine || **n > u64::MAX / 2)
                .unwrap();
            soak.note(begun.elapsed());
            if *guard > u64::MAX / 2 {
                break;
            }
            *guard += 1;
            w.condition.notify_all(&guard);
        }
        soak
    };
    let other = start(|| drop(turn(1, &|| true)));
    let begun = Instant::now();
    let soak = turn(0, &|| begun.elapsed() < soak_time());
    *w.held() = u64::MAX - 1;
    w.notify(usize::MAX);
    ends_well(&other);
    soak.over("condition ping-pong");
}

pub(crate) fn soak_event_pulses() {
    let (ping, pong, stop) = (shared(Event::new()), shared(Event::new()), Counter::new());
    let other = start(|| {
        while stop.get() == 0 {
            ping.wait();
            ping.clear();
            pong.set();
        }
    });
    let (begun, mut soak) = (Instant::now(), Soak::default());
    while begun.elapsed() < soak_time() {
        if soak.rounds % 64 == 0 {
            spin(30); // let it fall asleep now and then
        }
        let sent = Instant::now();
        ping.set();
        assert!(pong.wait_timeout(PATIENCE), "hung after {soak:?}");
        pong.clear();
        soak.note(sent.elapsed());
    }
    stop.set(1);
    ping.set();
    ends_well(&other);
    soak.over("event pulses");
}

pub(crate) fn soak_barrier_of_five() {
    let rounds = setting("ROUNDS", 20_000);
    let b = shared(Barrier::new(5));
    let pass = || {
        let mut soak = Soak::default();
        for _ in 0..rounds {
            let begun = Instant::now();
            assert!(b.wait_timeout(PATIENCE).is_ok(), "hung after {soak:?}");
            soak.note(begun.elapsed());
        }
        soak
    };
    let others: Vec<Process> = (0..4).map(|_| start(|| drop(pass()))).collect();
    let soak = pass();
    others.iter().for_each(ends_well);
    soak.over("barrier of five");
}
