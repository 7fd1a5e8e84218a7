//! Synchronisers: permits come back, everybody is woken, and nobody waits for the dead.

use crate::crowd::{Death, Each, Game, MOST_PLAYERS, Player, Table, crowd, each};
use crate::ledger::{News, WIDE};
use crate::locks::scenario;
use crate::report::Report;
use crate::scenario::{Plan, Scenario};
use crate::storm::PATIENCE;
use common::{shared, state_of};
use multiproc_barrier::{Barrier, WaitError as BarrierError};
use multiproc_condition::{Condition, WaitError};
use multiproc_core::identity::Identity;
use multiproc_event::Event;
use multiproc_lock::{AcquireTimeoutError, Mutex, MutexGuard, OwnerDied};
use multiproc_process::{Process, StartError};
use multiproc_segment::{Shareable, Shared};
use multiproc_semaphore::Semaphore;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

const ONE: usize = 0;

scenario! {
    /// `Semaphore`: one to three of three permits, with their guards.
    Semaphores "semaphore" Permits
}

const PERMITS: u32 = 3;
const HOLDERS: usize = 8;

#[derive(Shareable)]
#[repr(C)]
struct Gate {
    permits: Semaphore<HOLDERS>,
    /// Who holds each permit.
    slots: [AtomicU64; PERMITS as usize],
    /// For who holds them all.
    data: [AtomicU64; WIDE],
}

struct Permits(Shared<Gate>);

impl Gate {
    /// Enters its name for `n` permits: there is a slot for each that is had.
    fn enter(&self, me: &Player<'_>, n: u32) -> Vec<&AtomicU64> {
        let mut mine = Vec::new();
        for slot in self.slots.iter().cycle().take(3 * self.slots.len()) {
            let holder = slot.load(SeqCst);
            let alive = Identity::from_bits(holder).is_some_and(Identity::is_alive);
            let taken = || slot.compare_exchange(holder, me.identity, SeqCst, SeqCst);
            if !alive && taken().is_ok() {
                mine.push(slot);
            }
            if mine.len() == n as usize {
                return mine;
            }
        }
        me.table.words.together.fetch_add(1, SeqCst);
        mine
    }
}

impl Game for Permits {
    const PLAYERS: usize = 4;

    fn new() -> Self {
        Permits(shared(Gate {
            permits: Semaphore::sized(PERMITS),
            slots: [const { AtomicU64::new(0) }; PERMITS as usize],
            data: [const { AtomicU64::new(0) }; WIDE],
        }))
    }

    fn play(&self, me: &mut Player<'_>) -> Result<(), String> {
        let gate = &*self.0;
        let n = 1 + me.dice.below(PERMITS.into()) as u32;
        let short = Duration::from_micros(me.dice.below(300));
        let permit = match me.dice.below(8) {
            0 => gate.permits.try_permits(n),
            1 => gate.permits.permits_timeout(n, short),
            _ => Some(gate.permits.permits(n).unwrap()),
        };
        let Some(_permit) = permit else {
            return Ok(());
        };
        me.has_in_hand(ONE, me.table.words.ledgers[ONE].entries());
        let mine = gate.enter(me, n);
        if n == PERMITS {
            me.turn(ONE, &mut &gate.data[..], News::Untold);
        } else {
            me.linger();
        }
        me.empty_handed();
        mine.iter().for_each(|slot| slot.store(0, SeqCst));
        Ok(())
    }

    fn over(&self, _: &Table, _: &mut Report) -> Result<(), String> {
        let permits = &self.0.permits;
        let all = permits.permits_timeout(PERMITS, PATIENCE);
        let all = all.ok_or("at the end a permit is lost")?;
        if permits.value() != 0 {
            return Err("at the end a permit is there twice".into());
        }
        drop(all);
        if permits.value() != PERMITS {
            return Err(format!("at the end there are {} permits", permits.value()));
        }
        let places = HOLDERS as u32;
        permits.release_many(places).map_err(|e| e.to_string())?;
        let each: Vec<_> = (0..HOLDERS).map(|_| permits.try_permit()).collect();
        match each.iter().all(Option::is_some) {
            true => Ok(()),
            false => Err("at the end a place for a permit is lost".into()),
        }
    }
}

scenario! {
    /// `Event`: one sets it phase by phase, the others wait, each time for all of them.
    Events "event" Phases
}

#[derive(Shareable)]
#[repr(C)]
struct Pulse {
    /// One for the even phases and one for the odd.
    events: [Event; 2],
    phase: AtomicU64,
    /// By waiter: 0 is not there, 1 wants in, else it waits from this phase (plus 2) on.
    present: Each,
    /// By waiter: the phase (plus 1) that it was last woken in.
    woken: Each,
    /// By waiter: its process.
    pids: Each,
    /// Written before each phase.
    data: [AtomicU64; 2],
    /// The longest that a `set` took, in nanoseconds.
    longest: AtomicU64,
    /// Single pulses, and those after which somebody slept on for about a slice.
    pulses: AtomicU64,
    late: AtomicU64,
}

struct Phases(Shared<Pulse>);

const SETTER: usize = 0;
/// After so long, who sleeps looks around by itself, in nanoseconds.
const SLICE: u64 = 50_000_000;
const WANTS_IN: u64 = 1;
const FROM: u64 = 2;

/// How all are woken in a phase.
#[derive(PartialEq, Eq)]
enum Way {
    /// Set until all have gone on.
    Set,
    /// Set and at once cleared, again and again: also for those who do not wait yet.
    Pulses,
    /// Set and at once cleared, once, when all are asleep.
    Pulse,
}

impl Way {
    fn of(phase: u64) -> Self {
        match phase % 5 {
            0 | 1 => Way::Set,
            2 | 3 => Way::Pulses,
            _ => Way::Pulse,
        }
    }
}

impl Pulse {
    fn set(&self, me: &Player<'_>, event: &Event) {
        let begun = me.table.now();
        event.set();
        self.longest.fetch_max(me.table.now() - begun, SeqCst);
    }

    /// Those who take part in that phase and were not woken in it yet.
    fn still_waiting(&self, phase: u64) -> impl Iterator<Item = usize> {
        (SETTER + 1..MOST_PLAYERS).filter(move |who| {
            let from = self.present[*who].load(SeqCst);
            let takes_part = from >= FROM && from - FROM <= phase;
            takes_part && self.woken[*who].load(SeqCst) <= phase
        })
    }

    /// A phase; begun anew by the next setter if this one dies in it.
    fn let_go(&self, me: &mut Player<'_>) {
        let phase = self.phase.load(SeqCst);
        for present in &self.present {
            let _ = present.compare_exchange(WANTS_IN, FROM + phase, SeqCst, SeqCst);
        }
        for word in &self.data {
            word.store(phase, SeqCst);
            me.linger();
        }
        let event = &self.events[phase as usize % 2];
        let all_woken = || self.still_waiting(phase).next().is_none();
        let all_asleep = || {
            let pid = |who: usize| self.pids[who].load(SeqCst);
            self.still_waiting(phase)
                .all(|who| state_of(pid(who) as u32) == Some('S'))
        };
        let ended = match Way::of(phase) {
            Way::Set => {
                self.set(me, event);
                !me.until(all_woken)
            }
            Way::Pulses => !me.until(|| {
                self.set(me, event);
                event.clear();
                all_woken()
            }),
            Way::Pulse => {
                let ended = !me.until(all_asleep);
                self.set(me, event);
                event.clear();
                let begun = me.table.now();
                let ended = ended || !me.until(all_woken);
                let late = me.table.now() - begun > SLICE / 2;
                self.pulses.fetch_add(1, SeqCst);
                self.late.fetch_add(late.into(), SeqCst);
                ended
            }
        };
        if !ended {
            event.clear();
            self.phase.store(phase + 1, SeqCst);
        }
    }

    fn wait(&self, me: &mut Player<'_>) {
        if me.memory == 0 {
            let present = &self.present[me.who];
            self.pids[me.who].store(std::process::id().into(), SeqCst);
            present.store(WANTS_IN, SeqCst);
            if !me.until(|| present.load(SeqCst) >= FROM) {
                return;
            }
            me.memory = present.load(SeqCst);
        }
        let phase = me.memory - FROM;
        let event = &self.events[phase as usize % 2];
        match Way::of(phase) != Way::Pulse && me.dice.once_in(4) {
            true => while !event.wait_timeout(Duration::from_micros(me.dice.below(2_000))) {},
            false => event.wait(),
        }
        if me.table.stopped() {
            return;
        }
        let torn = self.data.iter().any(|word| word.load(SeqCst) != phase);
        me.table.words.torn.fetch_add(u64::from(torn), SeqCst);
        me.memory += 1;
        self.woken[me.who].store(phase + 1, SeqCst);
    }
}

impl Game for Phases {
    const PLAYERS: usize = 4;

    fn new() -> Self {
        Phases(shared(Pulse {
            events: [const { Event::new() }; 2],
            phase: AtomicU64::new(0),
            present: each(),
            woken: each(),
            pids: each(),
            data: [const { AtomicU64::new(0) }; 2],
            longest: AtomicU64::new(0),
            pulses: AtomicU64::new(0),
            late: AtomicU64::new(0),
        }))
    }

    fn play(&self, me: &mut Player<'_>) -> Result<(), String> {
        match me.who {
            SETTER => self.0.let_go(me),
            _ => self.0.wait(me),
        }
        Ok(())
    }

    fn is_needed(&self, who: usize) -> bool {
        who == SETTER
    }

    fn bury(&self, _: &Table, who: usize) -> Result<(), String> {
        self.0.present[who].store(0, SeqCst);
        self.0.woken[who].store(0, SeqCst);
        Ok(())
    }

    fn progress(&self, _: &Table) -> u64 {
        self.0.phase.load(SeqCst)
    }

    fn go_on(&self, table: &Table, death: &Death) -> bool {
        self.progress(table) >= death.progress + 2
    }

    /// Until all survivors were woken twice; a new setter has to start first.
    fn recovery(&self, table: &Table, death: &Death) -> Option<u64> {
        (death.who != SETTER).then(|| table.now() - death.noticed)
    }

    fn stop(&self, _: &Table) {
        self.0.events.iter().for_each(Event::set);
    }

    fn over(&self, _: &Table, report: &mut Report) -> Result<(), String> {
        let longest = Duration::from_nanos(self.0.longest.load(SeqCst));
        let phases = self.0.phase.load(SeqCst);
        let (pulses, late) = (self.0.pulses.load(SeqCst), self.0.late.load(SeqCst));
        report.notes.push(format!(
            "{phases} phases, {late} of {pulses} pulses woke late, the longest set {longest:?}"
        ));
        // On a busy machine a few are late.
        match pulses > 20 && late > pulses / 2 {
            true => Err("pulses wake nobody: who waits finds out by itself".into()),
            false => Ok(()),
        }
    }
}

scenario! {
    /// `Condition`: a number goes round; who is next is woken alone, one of two that wait.
    Conditions "condition" Round
}

/// Places that the number comes to; at each there are two players.
const PLACES: usize = 3;

#[derive(Shareable)]
#[repr(C)]
struct Baton {
    number: Mutex<[u64; WIDE]>,
    turns: [Condition<4>; PLACES],
}

struct Round(Shared<Baton>);

type Held<'a> = MutexGuard<'a, [u64; WIDE]>;

impl Baton {
    fn next(&self, held: &Held<'_>) -> &Condition<4> {
        &self.turns[held[0] as usize % PLACES]
    }

    /// Who is told of a death does what the dead one may have left undone: the numbers, and to
    /// wake the next one.
    fn mend<'a>(&self, table: &Table, mut held: Held<'a>) -> Held<'a> {
        table.words.told.fetch_add(1, SeqCst);
        table.mend(ONE, &mut held[..]);
        held.mended();
        self.next(&held).notify(&held, 1);
        held
    }

    fn lock<'a>(&'a self, table: &Table) -> Result<Held<'a>, String> {
        match self.number.lock_timeout(PATIENCE) {
            Ok(held) => Ok(held),
            Err(AcquireTimeoutError::OwnerDied(held)) => Ok(self.mend(table, held)),
            Err(other) => Err(other.to_string()),
        }
    }
}

impl Game for Round {
    const PLAYERS: usize = 2 * PLACES;

    fn new() -> Self {
        Round(shared(Baton {
            number: Mutex::new([0; WIDE]),
            turns: [const { Condition::sized() }; PLACES],
        }))
    }

    fn play(&self, me: &mut Player<'_>) -> Result<(), String> {
        let (baton, table) = (&*self.0, me.table);
        let place = me.who % PLACES;
        let mut held = match baton.number.lock() {
            Ok(held) => held,
            Err(OwnerDied(held)) => baton.mend(table, held),
        };
        let is_mine = |held: &mut Held<'_>| held[0] as usize % PLACES == place || table.stopped();
        loop {
            held = match baton.turns[place].wait_for(held, is_mine) {
                Ok((held, _)) => break me.pass_on(baton, held),
                Err(WaitError::OwnerDied(held)) => baton.mend(table, held),
                Err(other) => return Err(other.to_string()),
            };
        }
        Ok(())
    }

    /// All others may sleep: then nobody but us is told of a death. Nobody is woken otherwise.
    fn bury(&self, table: &Table, _: usize) -> Result<(), String> {
        self.0.lock(table).map(drop)
    }

    /// Once round, so that it has come to where the dead one was.
    fn go_on(&self, table: &Table, death: &Death) -> bool {
        self.progress(table) > death.progress + PLACES as u64
    }

    fn recovery(&self, table: &Table, death: &Death) -> Option<u64> {
        Some(table.now() - death.noticed)
    }

    fn stop(&self, table: &Table) {
        if let Ok(held) = self.0.lock(table) {
            self.0.turns.iter().for_each(|turn| turn.notify_all(&held));
        }
    }

    fn over(&self, table: &Table, _: &mut Report) -> Result<(), String> {
        self.stop(table);
        match self.0.turns.iter().map(Condition::waiting).sum() {
            0 => Ok(()),
            n => Err(format!("at the end {n} wait, and all have ended")),
        }
    }
}

impl Player<'_> {
    fn pass_on(&mut self, baton: &Baton, mut held: Held<'_>) {
        if !self.table.stopped() {
            self.turn(ONE, &mut held[..], News::None);
            baton.next(&held).notify(&held, 1);
        }
    }
}

scenario! {
    /// `Barrier`: round after round of four; who dies there breaks it for the others.
    Barriers "barrier" Rounds
}

const PARTIES: usize = 4;
/// Rounds whose indices are remembered.
const INDICES: usize = 64;

#[derive(Shareable)]
#[repr(C)]
struct Track {
    barrier: Barrier<PARTIES>,
    /// Rounds whose last arrival has run its action.
    rounds: AtomicU64,
    /// By player: the round that it is about to wait for.
    about: Each,
    /// By round: the indices that were given, a bit each.
    indices: [AtomicU64; INDICES],
    /// How often the barrier was reset.
    resets: AtomicU64,
    /// By player: the reset that it waits for, and since when.
    out: Each,
    out_since: Each,
    /// When the last player was told that the barrier was broken, before the last reset.
    broken_at: AtomicU64,
    /// When the last round was about to end well.
    over_at: AtomicU64,
    /// Those who waited and were let go, and those of them who slept on for about a slice.
    let_go: AtomicU64,
    late: AtomicU64,
}

struct Rounds(Shared<Track>);

impl Track {
    /// Its first round after its start, or after the barrier was broken, may begin late.
    fn arrive(&self, me: &mut Player<'_>) -> Result<(), String> {
        let resets = self.resets.load(SeqCst);
        let (before, fresh) = (self.rounds.load(SeqCst), me.memory == 0);
        self.about[me.who].store(before + 1, SeqCst);
        me.has_in_hand(ONE, 0);
        let action = || {
            let next = self.rounds.load(SeqCst) + 1;
            self.indices[next as usize % INDICES].store(0, SeqCst);
            self.rounds.store(next, SeqCst);
            self.over_at.store(me.table.now(), SeqCst);
        };
        let arrived = match me.dice.once_in(4) {
            true => self.barrier.wait_with_timeout(PATIENCE, action),
            false => self.barrier.wait_with(action),
        };
        let now = me.table.now();
        me.empty_handed();
        let index = match arrived {
            Ok(index) => index,
            Err(BarrierError::Broken) => {
                me.memory = 0;
                self.out_since[me.who].store(now, SeqCst);
                self.out[me.who].store(resets + 1, SeqCst);
                me.until(|| self.resets.load(SeqCst) > resets);
                return Ok(());
            }
            Err(other) => return Err(other.to_string()),
        };
        me.memory = 1;
        let late = now > self.over_at.load(SeqCst) + SLICE / 2;
        self.late.fetch_add(late.into(), SeqCst);
        self.let_go.fetch_add(1, SeqCst);
        let round = self.rounds.load(SeqCst);
        if !fresh && round != before + 1 {
            return Err(format!("round {round} came after round {before}"));
        }
        let late = |about: &AtomicU64| about.load(SeqCst) < round;
        if self.about[..PARTIES].iter().any(late) {
            return Err(format!("round {round} was over before all were there"));
        }
        let given = self.indices[round as usize % INDICES].fetch_or(1 << index, SeqCst);
        let again = index >= PARTIES || given & 1 << index != 0;
        me.table.words.duplicated.fetch_add(again.into(), SeqCst);
        Ok(())
    }
}

impl Game for Rounds {
    const PLAYERS: usize = PARTIES;

    fn new() -> Self {
        Rounds(shared(Track {
            barrier: Barrier::sized(PARTIES),
            rounds: AtomicU64::new(0),
            about: each(),
            indices: [const { AtomicU64::new(0) }; INDICES],
            resets: AtomicU64::new(0),
            out: each(),
            out_since: each(),
            broken_at: AtomicU64::new(0),
            over_at: AtomicU64::new(0),
            let_go: AtomicU64::new(0),
            late: AtomicU64::new(0),
        }))
    }

    fn play(&self, me: &mut Player<'_>) -> Result<(), String> {
        self.0.arrive(me)
    }

    fn is_needed(&self, _: usize) -> bool {
        true
    }

    /// Resets the barrier when all have been told that it is broken.
    fn tend(&self, table: &Table) -> Result<(), String> {
        let track = &*self.0;
        let next = track.resets.load(SeqCst) + 1;
        let out = |out: &AtomicU64| out.load(SeqCst) == next;
        if table.stopped() || !track.out[..PARTIES].iter().all(out) {
            return Ok(());
        }
        if !track.barrier.is_broken() {
            return Err("all were told that it is broken, and it is not".into());
        }
        let since = track.out_since[..PARTIES].iter().map(|at| at.load(SeqCst));
        track.broken_at.store(since.max().unwrap_or(0), SeqCst);
        table.words.told.fetch_add(1, SeqCst);
        track.barrier.reset();
        track.resets.store(next, SeqCst);
        Ok(())
    }

    fn bury(&self, _: &Table, who: usize) -> Result<(), String> {
        self.0.out[who].store(0, SeqCst);
        Ok(())
    }

    fn progress(&self, _: &Table) -> u64 {
        self.0.rounds.load(SeqCst)
    }

    fn go_on(&self, table: &Table, death: &Death) -> bool {
        self.progress(table) >= death.progress + 2
    }

    /// Where those who waited found out: until the last one was told.
    fn recovery(&self, _: &Table, death: &Death) -> Option<u64> {
        let told = self.0.broken_at.swap(0, SeqCst);
        told.checked_sub(death.noticed)
    }

    fn stop(&self, _: &Table) {
        self.0.barrier.abort();
    }

    fn over(&self, _: &Table, _: &mut Report) -> Result<(), String> {
        let (let_go, late) = (self.0.let_go.load(SeqCst), self.0.late.load(SeqCst));
        // On a busy machine a few are late. The last to arrive never is.
        if let_go > 100 && late > let_go / 2 {
            return Err("rounds wake nobody: who waits finds out by itself".into());
        }
        let barrier = &self.0.barrier;
        barrier.reset();
        if (barrier.waiting(), barrier.is_broken()) != (0, false) {
            return Err(format!("not new after a reset: {barrier:?}"));
        }
        let pass = || (0..5).all(|_| barrier.wait_timeout(PATIENCE).is_ok());
        let others: Result<Vec<Process>, _> = (1..PARTIES)
            .map(|_| Process::builder().daemon(true).start(|| i32::from(!pass())))
            .collect();
        let others = others
            .map_err(StartError::from)
            .map_err(|e| e.to_string())?;
        let mut well = pass();
        for other in others {
            let exit = other.join_timeout(PATIENCE).map(|exit| exit.success());
            well &= exit.unwrap_or(false);
        }
        match well {
            true => Ok(()),
            false => Err("at the end the barrier does not work".into()),
        }
    }
}
