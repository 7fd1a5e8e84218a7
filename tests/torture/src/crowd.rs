//! A crowd that plays one game with a lock or a synchroniser: one player after the other is
//! killed and replaced, and the others have to go on.

use crate::ledger::Ledger;
use crate::report::Report;
use crate::scenario::Plan;
use crate::storm::{Dice, PATIENCE, STEPS, spin};
use multiproc_core::identity::Identity;
use multiproc_core::step;
use multiproc_process::{Process, StartError};
use multiproc_segment::{Shareable, Shared};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

pub(crate) const MOST_PLAYERS: usize = 6;
/// Ledgers that a game may have.
const LEDGERS: usize = 2;

/// What a recovery may take. Some take longer where the machine is busy; not half of them.
const PROMISED: Duration = Duration::from_millis(100);

/// A word for each player.
pub(crate) type Each = [AtomicU64; MOST_PLAYERS];

pub(crate) const fn each() -> Each {
    [const { AtomicU64::new(0) }; MOST_PLAYERS]
}

/// What the players do together.
pub(crate) trait Game: Sized {
    const PLAYERS: usize;
    /// Kills per round: each has a fresh game.
    const ROUND: u64 = 250;

    fn new() -> Self;

    /// One turn. Errors are broken promises.
    fn play(&self, me: &mut Player<'_>) -> Result<(), String>;

    /// Can nobody go on without this player?
    fn is_needed(&self, _who: usize) -> bool {
        false
    }

    /// The parent's part, again and again while it waits for anything.
    fn tend(&self, _table: &Table) -> Result<(), String> {
        Ok(())
    }

    /// What somebody has to do whenever a player has died (and was not replaced yet).
    fn bury(&self, _table: &Table, _who: usize) -> Result<(), String> {
        Ok(())
    }

    /// What the others' going on is measured by.
    fn progress(&self, table: &Table) -> u64 {
        table.words.ledgers.iter().map(Ledger::entries).sum()
    }

    /// Do the survivors go on after that death? Where it was one with something in its hands, that
    /// has to be had by another one.
    fn go_on(&self, table: &Table, death: &Death) -> bool {
        match death.inside {
            Some((ledger, entries)) => table.words.ledgers[ledger].entries() > entries,
            None => self.progress(table) > death.progress,
        }
    }

    /// How long it took, where that can be said. They go on.
    fn recovery(&self, table: &Table, death: &Death) -> Option<u64> {
        let (ledger, entries) = death.inside?;
        let next = table.words.ledgers[ledger].stamp(entries + 1)?;
        next.checked_sub(death.at)
    }

    /// Gets players to end who wait for others, again and again until all have.
    fn stop(&self, _table: &Table) {}

    /// All have ended: is all as it should be?
    fn over(&self, table: &Table, report: &mut Report) -> Result<(), String>;
}

/// What all share, whatever the game.
#[derive(Shareable)]
#[repr(C)]
pub(crate) struct Words {
    pub(crate) ledgers: [Ledger; LEDGERS],
    /// The step (plus 1) to die at.
    fatal: Each,
    /// The ledger (plus 1) of what the player has in its hands.
    inside: Each,
    /// Entries in that ledger when it took it, and when that was.
    seen: Each,
    since: Each,
    stop: AtomicU64,
    pub(crate) lost: AtomicU64,
    pub(crate) duplicated: AtomicU64,
    pub(crate) torn: AtomicU64,
    /// Two had at the same time what only one can have.
    pub(crate) together: AtomicU64,
    /// Times that one was told of a death.
    pub(crate) told: AtomicU64,
}

pub(crate) struct Table {
    pub(crate) words: Shared<Words>,
    /// Time is counted from here, by all processes.
    begun: Instant,
}

/// One who has died.
pub(crate) struct Death {
    pub(crate) who: usize,
    /// When it died, at the earliest; 0: nobody knows.
    pub(crate) at: u64,
    /// When it was killed, or (at a step) found dead.
    pub(crate) noticed: u64,
    /// The ledger of what it had in its hands, and the entries there when it took that.
    pub(crate) inside: Option<(usize, u64)>,
    /// [`Game::progress`], when it was surely dead.
    pub(crate) progress: u64,
}

impl Table {
    fn new() -> Self {
        let words = Words {
            ledgers: [const { Ledger::new() }; LEDGERS],
            fatal: each(),
            inside: each(),
            seen: each(),
            since: each(),
            stop: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            duplicated: AtomicU64::new(0),
            torn: AtomicU64::new(0),
            together: AtomicU64::new(0),
            told: AtomicU64::new(0),
        };
        Table {
            words: Shared::new(words).expect("shared memory"),
            begun: Instant::now(),
        }
    }

    /// Nanoseconds since the beginning.
    pub(crate) fn now(&self) -> u64 {
        self.begun.elapsed().as_nanos() as u64
    }

    pub(crate) fn stopped(&self) -> bool {
        self.words.stop.load(SeqCst) != 0
    }

    fn death(&self, game: &impl Game, who: usize, killed: u64, noticed: u64) -> Death {
        let ledger = self.words.inside[who].swap(0, SeqCst) as usize;
        let since = self.words.since[who].load(SeqCst);
        let entries = self.words.seen[who].load(SeqCst);
        Death {
            who,
            // It may have taken that after the signal was sent; one that dies at a step, later.
            at: killed.max(if ledger > 0 { since } else { 0 }),
            noticed,
            inside: ledger.checked_sub(1).map(|ledger| (ledger, entries)),
            progress: game.progress(self),
        }
    }
}

/// Waits until `done`, while the game is tended; false when the watchdog barks.
fn until<G: Game>(game: &G, table: &Table, done: impl Fn() -> bool) -> Result<bool, String> {
    let begun = Instant::now();
    while !done() {
        if begun.elapsed() > PATIENCE {
            return Ok(false);
        }
        game.tend(table)?;
        std::thread::yield_now();
    }
    Ok(true)
}

/// One who plays.
pub(crate) struct Player<'t> {
    pub(crate) table: &'t Table,
    pub(crate) who: usize,
    pub(crate) dice: Dice,
    /// [`Identity::to_bits`] of this process.
    pub(crate) identity: u64,
    /// What the game wants to remember from turn to turn; at first 0.
    pub(crate) memory: u64,
    /// By ledger: the last number that this player has written.
    pub(crate) written: [u64; LEDGERS],
}

impl Player<'_> {
    /// From now until [`Player::empty_handed`], others may have to wait for this player:
    /// nobody else enters that ledger, whose entries are these.
    pub(crate) fn has_in_hand(&self, ledger: usize, entries: u64) {
        let words = &self.table.words;
        words.seen[self.who].store(entries, SeqCst);
        words.since[self.who].store(self.table.now(), SeqCst);
        words.inside[self.who].store(ledger as u64 + 1, SeqCst);
    }

    pub(crate) fn empty_handed(&self) {
        self.table.words.inside[self.who].store(0, SeqCst);
    }

    /// Stays for a while where it is, now and then.
    pub(crate) fn linger(&mut self) {
        if self.dice.once_in(8) {
            spin(self.dice.below(20));
        }
    }

    /// Polls until `done`; false if the game is over before.
    pub(crate) fn until(&self, mut done: impl FnMut() -> bool) -> bool {
        while !done() {
            if self.table.stopped() {
                return false;
            }
            std::thread::yield_now();
        }
        true
    }
}

fn life<G: Game>(game: &G, table: &Table, who: usize, seed: u64) -> Result<(), String> {
    let mut me = Player {
        table,
        who,
        dice: Dice::new(seed),
        identity: Identity::me().to_bits(),
        memory: 0,
        written: [0; LEDGERS],
    };
    while !table.stopped() {
        match table.words.fatal[who].swap(0, SeqCst) {
            0 => {}
            step => step::arm(step - 1),
        }
        game.play(&mut me)?;
        if me.dice.once_in(50) {
            spin(me.dice.below(50));
        }
    }
    Ok(())
}

/// A daemon, so that a storm that fails does not wait for it.
fn start<G: Game>(game: &G, table: &Table, who: usize, dice: &mut Dice) -> Process {
    let seed = dice.roll();
    table.words.fatal[who].store(0, SeqCst);
    let started = Process::builder()
        .daemon(true)
        .start(|| life(game, table, who, seed));
    started.map_err(StartError::from).expect("a process")
}

/// A whole scenario: rounds of kills over fresh games.
pub(crate) fn crowd<G: Game>(plan: &Plan, report: &mut Report) {
    let mut dice = Dice::new(plan.seed);
    let mut told = 0;
    while report.kills < plan.kills && report.hangs == 0 && report.broken.is_empty() {
        let (game, table) = (G::new(), Table::new());
        let mut all: Vec<Process> = (0..G::PLAYERS)
            .map(|who| start(&game, &table, who, &mut dice))
            .collect();
        let kills = G::ROUND.min(plan.kills - report.kills);
        let mut result = kill(&game, &table, &mut all, kills, &mut dice, report);
        if result.is_ok() {
            result = end(&game, &table, &all, report);
        }
        if let Err(why) = result {
            report.broken.push(why);
            all.iter().for_each(|child| drop(child.kill()));
            all.iter()
                .for_each(|child| drop(child.join_timeout(PATIENCE)));
        }
        let words = &table.words;
        report.lost += words.lost.load(SeqCst);
        report.duplicated += words.duplicated.load(SeqCst);
        report.torn += words.torn.load(SeqCst);
        told += words.told.load(SeqCst);
        let together = words.together.load(SeqCst);
        if together > 0 {
            let why = format!("{together} times two had what only one can have");
            report.broken.push(why);
        }
    }
    let measured = report.recoveries.len();
    report.recoveries.sort();
    let median = report.recoveries.get(measured / 2);
    if median.is_some_and(|time| *time > PROMISED) {
        let late = format!("half of {measured} recoveries took longer than {PROMISED:?}");
        report.broken.push(late);
    }
    report.notes.push(format!(
        "{measured} recoveries measured, {told} times told of a death"
    ));
}

fn kill<G: Game>(
    game: &G,
    table: &Table,
    all: &mut [Process],
    kills: u64,
    dice: &mut Dice,
    report: &mut Report,
) -> Result<(), String> {
    for _ in 0..kills {
        let who = dice.below(G::PLAYERS as u64) as usize;
        let (at_a_step, wait) = (dice.once_in(2), dice.below(1_500));
        let child = &all[who];
        let (killed, noticed);
        if at_a_step {
            table.words.fatal[who].store(1 + dice.below(STEPS), SeqCst);
            if !until(game, table, || !child.is_alive())? {
                report.hangs += 1;
                return Err(format!("{child:?} reached no step"));
            }
            (killed, noticed) = (0, table.now());
        } else {
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_micros(wait) {
                game.tend(table)?;
            }
            if let Some(code) = child.exit_code() {
                return Err(format!("{child:?} ended by itself: {code}"));
            }
            killed = table.now();
            noticed = killed;
            let _ = child.kill();
        }
        let exit = child.join_timeout(PATIENCE).map(|exit| exit.code());
        if exit.as_ref().ok() != Some(&-9) {
            return Err(format!("{child:?} did not die by SIGKILL: {exit:?}"));
        }
        let dead = child.pid();
        let death = table.death(game, who, killed, noticed);
        game.bury(table, who)?;
        let needed = game.is_needed(who);
        if needed {
            all[who] = start(game, table, who, dice);
        }
        if !until(game, table, || game.go_on(table, &death))? {
            report.hangs += 1;
            let inside = death.inside;
            return Err(format!(
                "nobody went on after player {who} ({dead}) had died; in its hands: {inside:?}"
            ));
        }
        let time = game.recovery(table, &death);
        report.recoveries.extend(time.map(Duration::from_nanos));
        report.kills += 1;
        if !needed {
            all[who] = start(game, table, who, dice);
        }
    }
    Ok(())
}

/// Nobody is killed any more: all come to their end.
fn end<G: Game>(
    game: &G,
    table: &Table,
    all: &[Process],
    report: &mut Report,
) -> Result<(), String> {
    table.words.stop.store(1, SeqCst);
    for child in all {
        let ended = until(game, table, || {
            game.stop(table);
            !child.is_alive()
        })?;
        if !ended {
            report.hangs += 1;
            return Err(format!("{child:?} does not end"));
        }
        match child.join_timeout(PATIENCE).map(|exit| exit.code()) {
            Ok(0) => {}
            other => return Err(format!("{child:?} ended with {other:?}")),
        }
    }
    game.over(table, report)
}
