//! An operation is run once to count its steps, and then once per step by a process that dies by
//! SIGKILL exactly there.

use common::{PATIENCE, ends, ends_well, start};
use multiproc_core::step;
use multiproc_process::{Exit, Process};
use multiproc_queue::Queue;

/// The steps that one operation passes: their names, in order.
#[derive(Debug)]
pub struct Steps(pub Vec<String>);

impl Steps {
    /// The last step of that name: it and all later ones come after what it stands for.
    #[track_caller]
    pub fn since(&self, name: &str) -> u64 {
        self.found(name, self.0.iter().rposition(|step| step == name))
    }

    /// The first step of that name.
    #[track_caller]
    pub fn first(&self, name: &str) -> u64 {
        self.found(name, self.0.iter().position(|step| step == name))
    }

    #[track_caller]
    fn found(&self, name: &str, at: Option<usize>) -> u64 {
        at.unwrap_or_else(|| panic!("no step {name:?} in {:?}", self.0)) as u64
    }

    /// Is there a step of that name?
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|step| step == name)
    }

    /// Panics where one of them is not there.
    #[track_caller]
    pub fn must_have(&self, names: &[&str]) {
        for name in names {
            self.since(name);
        }
    }
}

/// What to do at a step of which number.
#[derive(Clone, Copy, Debug)]
pub enum At {
    /// Nothing: the steps are counted.
    Count,
    /// Die.
    Die(u64),
    /// Stop, until somebody sends SIGCONT.
    Stop(u64),
}

impl At {
    /// From here on, the steps of this process count.
    pub fn begin(self) {
        match self {
            At::Count => step::count_on(),
            At::Die(n) => step::arm(n),
            At::Stop(n) => step::pause(n),
        }
    }
}

/// What a counting process found, told through a queue.
#[derive(Debug)]
pub struct Told(Queue<Vec<String>>);

impl Told {
    /// Nothing was told yet.
    #[expect(clippy::new_without_default, reason = "it maps memory")]
    pub fn new() -> Self {
        Told(Queue::unbounded().unwrap())
    }

    /// Tells what steps this process has passed; no more of them count.
    pub fn tell(&self) {
        step::disarm();
        let names = step::names().into_iter().map(str::to_owned).collect();
        self.0.put(names).unwrap();
    }

    /// What was told, at least one step.
    #[track_caller]
    pub fn heard(&self) -> Steps {
        let steps = Steps(self.0.get_timeout(PATIENCE).unwrap());
        println!("{} steps: {:?}", steps.0.len(), steps.0);
        assert!(!steps.0.is_empty());
        steps
    }

    /// Nobody wants to know.
    pub fn forget(&self) {
        while self.0.try_get().is_ok() {}
    }
}

/// The steps of `act`, in a child that comes through.
#[track_caller]
pub fn steps_of(act: impl FnOnce()) -> Steps {
    let told = Told::new();
    let child = start(|| {
        At::Count.begin();
        act();
        told.tell();
    });
    ends_well(&child);
    told.heard()
}

/// How the fatal step is met: by every run that passes so many steps, or (where the number of
/// steps depends on how long others take) by most.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Count {
    /// By every run.
    Exact,
    /// By most.
    Varies,
}

/// The loop of the kills. `run` makes a world, starts in it a process that [begins](At::begin),
/// acts and [tells](Told::tell), and says how that ended, and what the world is now; `check`
/// looks at the world after a death at the step of that number.
#[track_caller]
pub fn killed_at_each_step<W>(
    count: Count,
    run: impl Fn(At, &Told) -> (Exit, W),
    check: impl Fn(W, u64, &Steps),
) {
    let told = Told::new();
    let (exit, world) = run(At::Count, &told);
    assert_eq!(exit, Exit::Code(0));
    let steps = told.heard();
    drop(world);
    let mut missed = Vec::new();
    for n in 0..steps.0.len() as u64 {
        // On failure, this is the last line of the test's output.
        println!("killed at step {n}, {:?}", steps.0[n as usize]);
        let tries = if count == Count::Exact { 1 } else { 20 };
        let hit = (0..tries).any(|_| {
            let (exit, world) = run(At::Die(n), &told);
            if exit == Exit::Signal(9) {
                check(world, n, &steps);
                return true;
            }
            assert_eq!(exit, Exit::Code(0));
            told.forget();
            false
        });
        if !hit {
            missed.push(n);
        }
    }
    match count {
        Count::Exact => assert!(missed.is_empty(), "not killed at {missed:?}"),
        Count::Varies => assert!(
            missed.len() * 4 <= steps.0.len(),
            "not killed at {missed:?} of {:?}",
            steps.0
        ),
    }
}

/// The same for a world that both sides have. `prepare` makes a fresh one; `act` runs in the
/// process that dies; `meanwhile` in this one, to get a blocking `act` going; `check` looks at the
/// world after a death at the step of that number.
#[track_caller]
pub fn each_step<W>(
    count: Count,
    prepare: impl Fn() -> W,
    act: impl Fn(&W),
    meanwhile: impl Fn(&W, &Process),
    check: impl Fn(W, u64, &Steps),
) {
    let run = |at: At, told: &Told| {
        let world = prepare();
        let child = start(|| {
            at.begin();
            act(&world);
            told.tell();
        });
        meanwhile(&world, &child);
        (ends(&child), world)
    };
    killed_at_each_step(count, run, check);
}

/// The same where nothing happens meanwhile, and the steps are the same each time.
#[track_caller]
pub fn each_exact_step<W>(
    prepare: impl Fn() -> W,
    act: impl Fn(&W),
    check: impl Fn(W, u64, &Steps),
) {
    each_step(Count::Exact, prepare, act, nothing, check);
}

/// What happens meanwhile where nothing does.
pub fn nothing<W>(_: &W, _: &Process) {}
