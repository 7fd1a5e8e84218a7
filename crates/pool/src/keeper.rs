//! The keeper: a process with one thread that forks the workers, and others in their place when
//! they end. The pool's owner may have threads, and so could not.
//!
//! ```text
//!   owner ── commands ──▶ keeper ── fork ──▶ worker, worker, …
//!     ▲                     │                   │
//!     └──── answers' ring ◀─┴───────────────────┘
//! ```
//!
//! It sleeps until a command comes, a worker or the owner ends, or a task's time is over. What a
//! dead worker had, it finds in the worker's slot, and tells the owner through the answers' ring.
//!
//! # If a process dies here
//!
//! * a worker: that is what the keeper is for.
//! * the keeper: its workers are daemons, which the kernel kills with it. The owner, whoever waits
//!   there, looks once a slice.
//! * the owner: the keeper's descriptor of it tells; the keeper leaves, and the workers with it.
//!
//! # Lost, or still there?
//!
//! A worker notes its task in its slot under the ring's get lock, before it gives the record up. So
//! if the number of that record is still the one at the head, the record is still there. If it is
//! not, and no other worker's slot has the task either, it is lost, or has its answer already; the
//! owner knows which, as the answer stands before what the keeper says.

use crate::board::{CORRUPTED, HINDERED, Left, RUNNING, STARTING, STOPPED};
use crate::record::{AnswerHead, Kind, write_exit};
use crate::setup::{Initializer, Setup};
use crate::worker::{Captured, Workplace, work};
use multiproc_core::deadline::Deadline;
use multiproc_core::step;
use multiproc_process::{Descriptor, Exit, Parent, Process, StartError, parent};
use multiproc_ring::Wait;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::sync::atomic::Ordering::Acquire;
use std::time::Duration;

/// A command: which, and for which task.
pub(crate) const COMMAND_BYTES: usize = 9;
/// Everything is done; end when the workers have.
pub(crate) const FINISH: u8 = 1;
/// End at once.
pub(crate) const STOP: u8 = 2;
/// Kill the worker that runs this task, if one does.
pub(crate) const CANCEL: u8 = 3;

/// The first byte that the keeper writes: all workers are there. Any other begins a sentence.
pub(crate) const STARTED: u8 = 0;
pub(crate) const NOT_STARTED: u8 = 1;

/// How often a worker may end in its initializer, one after the other in the same place.
const PATIENCE: u32 = 8;
/// Before a worker is started where the last one ended in its initializer twice, or where the
/// system refused.
const PAUSE: Duration = Duration::from_millis(50);
/// Refusals of the system, one after the other, while no worker lives.
const MOST_REFUSALS: u32 = 100;

/// The keeper's function, for a pool of plain functions.
pub(crate) fn keep(setup: Box<Setup>) -> i32 {
    keep_with(*setup, None)
}

/// The same, for a pool around a closure.
pub(crate) fn keep_with(setup: Setup, captured: Option<Captured<'_>>) -> i32 {
    step!("pool keeper: begins");
    let Descriptor(control) = setup.control;
    let (Some(owner), Ok((bell, clock))) = (parent(), UnixDatagram::pair()) else {
        return 1;
    };
    if bell.set_nonblocking(true).is_err() || clock.set_nonblocking(true).is_err() {
        return 1;
    }
    let keeper = Keeper {
        workplace: Workplace {
            board: setup.board,
            tasks: setup.tasks.0,
            answers: setup.answers.0,
            functions: setup.functions,
            most_tasks: setup.most_tasks,
            clock,
        },
        captured,
        mine: RefCell::new(Some(Mine {
            control,
            owner,
            bell,
            initializer: setup.initializer,
            places: (0..setup.workers).map(|_| Place::default()).collect(),
            started: 0,
            refused: 0,
            timed: false,
            finishing: false,
        })),
    };
    keeper.live()
}

struct Keeper<'f> {
    workplace: Workplace,
    captured: Option<Captured<'f>>,
    /// What workers, being copies, drop first.
    mine: RefCell<Option<Mine>>,
}

/// What the keeper alone needs.
struct Mine {
    control: UnixStream,
    owner: Parent,
    bell: UnixDatagram,
    initializer: Option<Initializer>,
    places: Vec<Place>,
    /// Workers so far.
    started: u64,
    /// How often the system refused, one after the other.
    refused: u32,
    /// Some task's time is limited.
    timed: bool,
    finishing: bool,
}

/// Where a worker is, or should be.
#[derive(Default)]
struct Place {
    worker: Option<Process>,
    /// Why it is killed, if it is us.
    killed_for: Option<Kind>,
    /// Workers that ended here in their initializer (or found nothing to take a task with), one
    /// after the other.
    stillborn: u32,
    /// Nobody is started here before.
    not_before: Option<Deadline>,
}

/// What happened.
#[derive(Default)]
struct Heard {
    owner: bool,
    control: bool,
    bell: bool,
    ended: Vec<usize>,
}

/// The keeper's own end.
enum Leave {
    /// As it should.
    Well,
    /// Nobody is left to work for.
    Orphaned,
    /// Because of this, which the owner is told; the first byte is a [`Why`].
    Broken(u8, String),
}

/// In the first byte of what [`Kind::Fatal`] says: the initializer.
pub(crate) const INITIALIZER: u8 = 0;
/// The system.
pub(crate) const SYSTEM: u8 = 1;
/// The shared memory.
const MEMORY: u8 = 2;

impl Keeper<'_> {
    /// To its end: the exit code.
    fn live(&self) -> i32 {
        if let Err(why) = self.start_all() {
            self.stop_all();
            let said = self.with(|mine| {
                let _ = mine.control.write_all(&[NOT_STARTED]);
                mine.control.write_all(why.to_string().as_bytes())
            });
            return i32::from(said.is_err());
        }
        step!("pool keeper: workers started");
        // If nobody reads it, the owner has gone, which is seen at once.
        let _ = self.with(|mine| mine.control.write_all(&[STARTED]));
        let leave = self.serve();
        step!("pool keeper: leaves");
        let code = match leave {
            Leave::Well => 0,
            Leave::Orphaned => 1,
            Leave::Broken(what, why) => {
                let mut answer = head(0, 0, Kind::Fatal);
                answer.push(what);
                answer.extend_from_slice(why.as_bytes());
                self.tell(&answer);
                1
            }
        };
        let places = self.with(|mine| mine.places.len());
        self.workplace.board.enter_phase(STOPPED, places);
        self.stop_all();
        step!("pool keeper: workers stopped");
        code
    }

    fn with<R>(&self, f: impl FnOnce(&mut Mine) -> R) -> R {
        let mut mine = self.mine.borrow_mut();
        f(mine.as_mut().expect("only workers drop it"))
    }

    fn start_all(&self) -> Result<(), StartError> {
        let places = self.with(|mine| mine.places.len());
        (0..places).try_for_each(|place| self.start(place))
    }

    /// Starts a worker.
    fn start(&self, place: usize) -> Result<(), StartError> {
        let slot = &self.workplace.board.slots[place];
        slot.reset();
        let number = self.with(|mine| {
            mine.started += 1;
            mine.started
        });
        step!("pool keeper: about to start a worker");
        let worker = Process::builder()
            .name(format!("PoolWorker-{number}"))
            .daemon(true)
            .start(|| {
                let mine = self.mine.borrow_mut().take();
                let initializer = mine.and_then(|mine| mine.initializer);
                work(&self.workplace, place, initializer, self.captured)
            })?;
        step!("pool keeper: worker started");
        self.with(|mine| mine.places[place].worker = Some(worker));
        Ok(())
    }

    fn stop_all(&self) {
        self.with(|mine| {
            let workers = || mine.places.iter().filter_map(|place| place.worker.as_ref());
            for worker in workers() {
                let _ = worker.kill(); // an error: it has ended
            }
            for worker in workers() {
                let _ = worker.join();
            }
        });
    }

    fn serve(&self) -> Leave {
        loop {
            let Ok(heard) = self.with(|mine| mine.listen(&self.workplace)) else {
                return Leave::Broken(SYSTEM, "its keeper cannot wait for them".to_owned());
            };
            if heard.owner {
                return Leave::Orphaned;
            }
            if heard.bell {
                self.with(Mine::hear_clock);
            }
            if heard.control
                && let Some(leave) = self.obey()
            {
                return leave;
            }
            self.kill_the_late();
            for place in heard.ended {
                if let Some(leave) = self.reap(place) {
                    return leave;
                }
            }
            if let Some(leave) = self.fill() {
                return leave;
            }
            let empty = |mine: &mut Mine| mine.places.iter().all(|place| place.worker.is_none());
            if self.with(|mine| mine.finishing && empty(mine)) {
                return Leave::Well;
            }
        }
    }

    /// Reads a command and does it.
    fn obey(&self) -> Option<Leave> {
        let mut command = [0; COMMAND_BYTES];
        if self
            .with(|mine| mine.control.read_exact(&mut command))
            .is_err()
        {
            return Some(Leave::Orphaned);
        }
        step!("pool keeper: command read");
        let [what, task @ ..] = command;
        match what {
            FINISH => self.with(|mine| mine.finishing = true),
            CANCEL => {
                let task = u64::from_ne_bytes(task);
                let slots = &self.workplace.board.slots;
                let runs = |slot: usize| slots[slot].running().is_some_and(|l| l.task == task);
                let places = self.with(|mine| mine.places.len());
                if let Some(place) = (0..places).find(|place| runs(*place)) {
                    self.kill_for(place, task, Kind::Cancelled);
                }
            }
            _ => return Some(Leave::Well),
        }
        None
    }

    /// Kills the worker there, if it still has this task.
    fn kill_for(&self, place: usize, task: u64, why: Kind) {
        if self.workplace.board.slots[place].doom(task) {
            step!("pool keeper: worker doomed");
            self.with(|mine| {
                let place = &mut mine.places[place];
                place.killed_for = Some(why);
                if let Some(worker) = &place.worker {
                    let _ = worker.kill(); // an error: it has ended
                }
            });
        }
    }

    /// Kills those whose task has had its time.
    fn kill_the_late(&self) {
        if !self.with(|mine| mine.timed) {
            return;
        }
        let now = now();
        for place in 0..self.with(|mine| mine.places.len()) {
            if let Some((due, task)) = self.workplace.board.slots[place].due()
                && due <= now
            {
                self.kill_for(place, task, Kind::TimedOut);
            }
        }
    }

    /// Collects a worker that has ended, and tells the owner what it had.
    fn reap(&self, nth: usize) -> Option<Leave> {
        let exit = self.with(|mine| {
            let exit = mine.places[nth].worker.as_ref()?.try_join();
            match exit {
                Ok(None) => None,
                // Somebody else has collected it.
                Err(_) => Some(Exit::Code(0)),
                Ok(exit) => exit,
            }
        })?;
        step!("pool keeper: worker ended");
        let Workplace { board, tasks, .. } = &self.workplace;
        let slot = &board.slots[nth];
        let state = slot.state.load(Acquire);
        if let Some(left) = slot.running()
            && self.is_lost(nth, left)
        {
            let killed_for = self.with(|mine| mine.places[nth].killed_for);
            let mut answer = head(left.task, left.attempt, killed_for.unwrap_or(Kind::Lost));
            write_exit(exit, &mut answer);
            self.tell(&answer);
            step!("pool keeper: loss told");
        }
        slot.reset();
        let places = self.with(|mine| mine.places.len());
        board.idle.bury(nth, places, || tasks.has_next());
        step!("pool keeper: worker buried");
        self.with(|mine| {
            let place = &mut mine.places[nth];
            place.worker = None;
            place.killed_for = None;
            match state {
                STARTING | HINDERED => {}
                CORRUPTED => return Some(Leave::Broken(MEMORY, String::new())),
                _ => {
                    place.stillborn = 0;
                    return None;
                }
            }
            place.stillborn += 1;
            if place.stillborn > 1 {
                place.not_before = Some(Deadline::after(PAUSE));
            }
            (place.stillborn > PATIENCE).then(|| {
                let (what, doing) = match state {
                    STARTING => (INITIALIZER, "in its initializer"),
                    _ => (SYSTEM, "for want of memory or descriptors"),
                };
                let why = format!("the last of {} {exit}, {doing}", place.stillborn);
                Leave::Broken(what, why)
            })
        })
    }

    /// Did it take its task along? The head is read first: a record that is given up by then
    /// stands in the slot of whoever has it.
    fn is_lost(&self, nth: usize, left: Left) -> bool {
        let Workplace { board, tasks, .. } = &self.workplace;
        if tasks.released() == left.record {
            return false;
        }
        let others = board.slots.iter().enumerate();
        !others.filter(|(other, _)| *other != nth).any(|(_, slot)| {
            slot.running()
                .is_some_and(|had| had.task == left.task && had.attempt == left.attempt)
        })
    }

    /// Starts workers where there are none and should be.
    fn fill(&self) -> Option<Leave> {
        if self.workplace.board.phase() != RUNNING {
            return None;
        }
        let wanting: Vec<usize> = self.with(|mine| {
            let wants = |place: &Place| {
                place.worker.is_none() && place.not_before.is_none_or(Deadline::passed)
            };
            let places = mine.places.iter().enumerate();
            places
                .filter(|(_, place)| wants(place))
                .map(|(nth, _)| nth)
                .collect()
        });
        for place in wanting {
            match self.start(place) {
                Ok(()) => self.with(|mine| {
                    mine.refused = 0;
                    mine.places[place].not_before = None;
                }),
                Err(why) => {
                    let nobody = self.with(|mine| {
                        mine.refused += 1;
                        mine.places[place].not_before = Some(Deadline::after(PAUSE));
                        mine.places.iter().all(|place| place.worker.is_none())
                            && mine.refused > MOST_REFUSALS
                    });
                    if nobody {
                        return Some(Leave::Broken(SYSTEM, why.to_string()));
                    }
                }
            }
        }
        None
    }

    /// Tells the owner. *Blocks until* there is room, or the pool is stopped. *If a peer dies*: the
    /// owner's death ends it.
    fn tell(&self, answer: &[u8]) {
        let board = &self.workplace.board;
        let in_vain = |thorough: bool| {
            board.phase() == STOPPED || thorough && self.with(|mine| !mine.owner.is_alive())
        };
        let wait = Wait {
            deadline: Deadline::NEVER,
            in_vain: &in_vain,
        };
        // An error: nobody reads any more, or the memory is corrupted, which the owner finds out.
        let _ = self.workplace.answers.put(answer, wait);
    }
}

impl Mine {
    /// *Blocks until* something happens. *Wakes when* it does. *If a peer dies*: that happened.
    fn listen(&mut self, workplace: &Workplace) -> io::Result<Heard> {
        let mut until = Deadline::NEVER;
        if workplace.board.phase() == RUNNING {
            let waiting = self.places.iter().filter(|place| place.worker.is_none());
            for not_before in waiting.filter_map(|place| place.not_before) {
                until = until.sooner(not_before);
            }
        }
        let mut left = until.remaining();
        if self.timed {
            let now = now();
            let slots = &workplace.board.slots[..self.places.len()];
            let first = slots.iter().filter_map(|slot| slot.due()).min();
            let until_due = first.map(|(due, _)| Duration::from_nanos(due.saturating_sub(now)));
            left = left.into_iter().chain(until_due).min();
            self.timed = first.is_some();
        }
        let timeout = match left {
            None => PollTimeout::NONE,
            // Rounded up: not to look again and again in the last millisecond.
            Some(left) => PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::MAX),
        };
        let workers: Vec<(usize, &Process)> = self
            .places
            .iter()
            .enumerate()
            .filter_map(|(nth, place)| Some((nth, place.worker.as_ref()?)))
            .collect();
        let fixed = [
            self.owner.sentinel(),
            self.control.as_fd(),
            self.bell.as_fd(),
        ];
        let all = fixed
            .into_iter()
            .chain(workers.iter().map(|(_, w)| w.sentinel()));
        let mut fds: Vec<PollFd<'_>> = all.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready = |nth: usize| fds[nth].any().unwrap_or(false);
        Ok(Heard {
            owner: ready(0),
            control: ready(1),
            bell: ready(2),
            ended: (0..workers.len())
                .filter(|nth| ready(nth + fixed.len()))
                .map(|nth| workers[nth].0)
                .collect(),
        })
    }

    /// Tasks with a limit have begun.
    fn hear_clock(&mut self) {
        self.timed = true;
        while self.bell.recv(&mut [0; 8]).is_ok() {}
    }
}

/// On the clock of [`Deadline::since_boot`].
fn now() -> u64 {
    Deadline::after(Duration::from_nanos(1))
        .since_boot()
        .as_nanos() as u64
}

/// The head of an answer.
fn head(task: u64, attempt: u32, kind: Kind) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64);
    AnswerHead {
        task,
        attempt,
        kind,
    }
    .write(&mut bytes);
    bytes
}
