//! The group `pool`: tasks for two workers.
//!
//! Of a map's workers each has a CPU, and the owner runs where the scheduler likes; those of an apply are on the CPU
//! that the owner has not, as only one of them works. The base of an apply is what its message and its answer would
//! take alone: a number there and back through pipes.

use crate::channel::{self, Counters, PAUSE, Run};
use crate::harness::{Contender, Group, Measure, Place, Row};
#[cfg(feature = "peers")]
use crate::peers::python;
use crate::pipe;
use crate::sys::{self, Outcome, Res, Side};
use multiproc::{Pool, Shared};
use std::hint::black_box;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Relaxed, SeqCst},
};
use std::time::{Duration, Instant};

const WORKERS: usize = 2;

/// Items of one map.
const MANY: u64 = 20_000;
/// The same, where each takes its time.
const FEW: u64 = 200;

/// The group, for sides on a CPU each and for sides that are free.
pub(crate) fn groups() -> Vec<Group> {
    let row = |what, size, place, unit, bases, contenders| Row {
        what,
        size,
        place,
        unit,
        bases,
        contenders,
    };
    let is = |who, measure: Measure| Contender { who, measure };
    let mut rows = Vec::new();
    for place in [Place::Pinned, Place::Free] {
        let pipe = pipe::number();
        let alone = |measure: Option<Measure>| {
            measure.map(|measure| Contender {
                who: pipe.who,
                measure,
            })
        };
        let mut awake = vec![is("multiproc", |run| apply(run, None))];
        awake.extend(alone(pipe.awake));
        let mut asleep = vec![is("multiproc", |run| apply(run, Some(PAUSE)))];
        asleep.extend(alone(pipe.asleep));
        let mut single = vec![
            is("multiproc", |run| map(run, Some(1), MANY, next)),
            is("rayon", |run| rayon_pool::map(run, Some(1), MANY, next)),
        ];
        let mut chunks = vec![
            is("multiproc", |run| map(run, None, MANY, next)),
            is("rayon", |run| rayon_pool::map(run, None, MANY, next)),
        ];
        for (row, measure) in [&mut awake, &mut asleep, &mut single, &mut chunks]
            .into_iter()
            .zip(python())
        {
            row.push(is("python Pool", measure));
        }
        let long = vec![
            is("multiproc", |run| map(run, None, FEW, grind)),
            is("rayon", |run| rayon_pool::map(run, None, FEW, grind)),
            is("two bare forks", |run| forks(run, 2)),
            is("one process", |run| forks(run, 1)),
        ];
        let peers = &["rayon", "python Pool"];
        let limits = &["two bare forks", "one process"];
        rows.extend([
            row(
                "apply, awake",
                8,
                place,
                "us",
                &["multiproc Pipe", "python Pool"],
                awake,
            ),
            row(
                "apply, asleep",
                8,
                place,
                "us",
                &["multiproc Pipe", "python Pool"],
                asleep,
            ),
            row("map, chunk 1", 0, place, "tasks/s", peers, single),
            row("map, default chunk", 0, place, "tasks/s", peers, chunks),
            row("map, 100 us each", 0, place, "tasks/s", limits, long),
        ]);
    }
    vec![Group {
        name: "pool",
        about: "tasks for two workers, and their results",
        rows,
    }]
}

/// Python's part in the rows about what a task takes, if there is a `python3`.
#[cfg(feature = "peers")]
fn python() -> Vec<Measure> {
    match python::is_there() {
        true => vec![
            |run| python::pool_apply(run, Duration::ZERO),
            |run| python::pool_apply(run, PAUSE),
            |run| python::pool_map(run, 1),
            |run| python::pool_map(run, 0),
        ],
        false => Vec::new(),
    }
}

#[cfg(not(feature = "peers"))]
fn python() -> Vec<Measure> {
    Vec::new()
}

/// Hardly anything to do.
fn next(n: u64) -> u64 {
    n + 1
}

/// Something to do for about 100 us.
fn grind(n: u64) -> u64 {
    let mut x = n;
    for _ in 0..80_000 {
        x = black_box(x.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ x >> 29);
    }
    x
}

/// Where workers go: the next one to the next CPU of these.
type Places = Option<(Shared<AtomicU64>, [usize; 2])>;

/// The initializer of workers.
fn begin(places: Places) -> Result<(), String> {
    let Some((next, cpus)) = places else {
        return Ok(());
    };
    let nth = next.fetch_add(1, SeqCst) as usize % cpus.len();
    sys::pin(Some(cpus[nth])).map_err(|error| error.to_string())
}

/// A pool whose workers are on these CPUs.
fn pool(cpus: Option<[usize; 2]>) -> Res<Pool> {
    let places: Places = match cpus {
        Some(cpus) => Some((Shared::new(AtomicU64::new(0))?, cpus)),
        None => None,
    };
    let pool = Pool::builder().workers(WORKERS);
    Ok(pool.initializer(begin, places).build()?)
}

/// One `apply` after the other.
fn apply(run: &Run, pause: Option<Duration>) -> Res<Outcome> {
    let pool = pool(run.cpus.map(|[_, other]| [other; 2]))?;
    sys::pin(run.cpu(0))?;
    channel::timed(run, pause, |number| match pool.apply(next, number)? {
        n if n == number + 1 => Ok(()),
        n => Err(format!("got {n} for {number}").into()),
    })
}

/// One map after the other; tasks per second.
fn map(run: &Run, chunk: Option<usize>, items: u64, f: fn(u64) -> u64) -> Res<Outcome> {
    let pool = pool(run.cpus)?;
    let tasks = match chunk {
        Some(items) => pool.chunk_size(items),
        None => pool.tasks(),
    };
    maps(run, items, f, || Ok(tasks.map(f, 0..items)?))
}

/// Maps until the time is up, and looks at the results.
fn maps(run: &Run, items: u64, f: fn(u64) -> u64, map: impl Fn() -> Res<Vec<u64>>) -> Res<Outcome> {
    let expected: Vec<u64> = (0..items).map(f).collect();
    let begun = Instant::now();
    while begun.elapsed() < run.warm {
        map()?;
    }
    let (begun, mut done) = (Instant::now(), 0);
    loop {
        if map()? != expected {
            return Err("wrong results".into());
        }
        done += items;
        let elapsed = begun.elapsed();
        if elapsed >= run.time {
            return Ok(Outcome::Value(done as f64 / elapsed.as_secs_f64()));
        }
    }
}

/// So many bare processes that do nothing but the work; tasks per second.
fn forks(run: &Run, count: usize) -> Res<Outcome> {
    let counters = Counters::new(count)?;
    let mut sides = Vec::new();
    for side in 0..count {
        let counter = counters.of(side);
        sides.push(Side::fork(run.cpu(side), || {
            for n in 1.. {
                black_box(grind(black_box(n % FEW)));
                counter.store(n, Relaxed);
            }
            Ok(())
        })?);
    }
    Ok(Outcome::Value(counters.rate(run)?))
}

/// The same between threads.
mod rayon_pool {
    use super::*;
    use rayon::prelude::*;

    pub(super) fn map(
        run: &Run,
        chunk: Option<usize>,
        items: u64,
        f: fn(u64) -> u64,
    ) -> Res<Outcome> {
        let cpus = run.cpus;
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(WORKERS)
            .start_handler(move |nth| {
                // An error: it runs where it likes.
                let _ = sys::pin(cpus.map(|cpus| cpus[nth % cpus.len()]));
            })
            .build()?;
        maps(run, items, f, || {
            let items = (0..items as usize).into_par_iter();
            Ok(pool.install(|| match chunk {
                Some(most) => items.with_max_len(most).map(|n| f(n as u64)).collect(),
                None => items.map(|n| f(n as u64)).collect(),
            }))
        })
    }
}
