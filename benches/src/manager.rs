//! The group `manager`: what a call costs that another process does.
//!
//! One client calls as fast as it is answered: sets and gets of a dict of a thousand numbers, puts and gets of a queue,
//! calls per second. *1p1c*: messages per second through the server, from one client to another.
//!
//! Beside it: the same dict and queue within one process, under a mutex; and *bare pipe*, an echo in place of the
//! server, which is the limit for whoever asks through a pipe.

use crate::channel::{self, Channel, Receiver, Run, Sender, depth};
use crate::harness::{Contender, Group, Measure, Place, Row};
#[cfg(feature = "peers")]
use crate::peers::python;
use crate::sys::{self, Outcome, Res, Side};
use multiproc::manager::{Dict, Queue};
use multiproc::{Manager, Pipe};
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::hint::black_box;
use std::time::Instant;

/// Keys of the dict.
const KEYS: u64 = 1_000;

/// The group.
pub(crate) fn groups() -> Vec<Group> {
    let ours = "multiproc";
    let here = "Mutex, one process";
    let bare = "bare pipe";
    let mut rows = Vec::new();
    for place in [Place::Pinned, Place::Free] {
        for (what, contenders) in [
            (
                "dict set",
                [(ours, calls::<Set> as Measure), (here, within::<Set>)],
            ),
            ("dict get", [(ours, calls::<Get>), (here, within::<Get>)]),
            (
                "queue put, get",
                [(ours, calls::<PutGet>), (here, within::<PutGet>)],
            ),
        ] {
            let mut contenders = contenders.to_vec();
            contenders.push((bare, echo));
            rows.push((what, 0, place, "op/s", contenders));
        }
        let one_to_one = vec![(ours, channel::one_to_one::<Managed> as Measure)];
        rows.push(("1p1c", 8, place, "msg/s", one_to_one));
    }
    let rows = rows.into_iter();
    let rows = rows.map(|(what, size, place, unit, contenders)| {
        #[cfg(feature = "peers")]
        let contenders = contenders.into_iter().chain(python::manager(what));
        let contenders = contenders.into_iter();
        Row {
            what,
            size,
            place,
            unit,
            bases: &["python Manager", "bare pipe"],
            contenders: contenders
                .map(|(who, measure)| Contender { who, measure })
                .collect(),
        }
    });
    vec![Group {
        name: "manager",
        about: "calls of one client to a managed dict and a managed queue",
        rows: rows.collect(),
    }]
}

/// What is called, at the server and within one process.
trait Work {
    /// Calls per turn.
    const CALLS: u64;
    fn turn(dict: &Dict<u64, u64>, queue: &Queue<u64>, n: u64) -> Res;
    fn turn_here(dict: &Mutex<HashMap<u64, u64>>, queue: &Mutex<VecDeque<u64>>, n: u64);
}

struct Set;
struct Get;
struct PutGet;

impl Work for Set {
    const CALLS: u64 = 1;

    fn turn(dict: &Dict<u64, u64>, _: &Queue<u64>, n: u64) -> Res {
        dict.insert(n % KEYS, n)?;
        Ok(())
    }

    fn turn_here(dict: &Mutex<HashMap<u64, u64>>, _: &Mutex<VecDeque<u64>>, n: u64) {
        dict.lock().insert(n % KEYS, n);
    }
}

impl Work for Get {
    const CALLS: u64 = 1;

    fn turn(dict: &Dict<u64, u64>, _: &Queue<u64>, n: u64) -> Res {
        match dict.get(&(n % KEYS))? {
            Some(value) if value == n % KEYS => Ok(()),
            other => Err(format!("{other:?} for {}", n % KEYS).into()),
        }
    }

    fn turn_here(dict: &Mutex<HashMap<u64, u64>>, _: &Mutex<VecDeque<u64>>, n: u64) {
        black_box(dict.lock().get(&(n % KEYS)));
    }
}

impl Work for PutGet {
    const CALLS: u64 = 2;

    fn turn(_: &Dict<u64, u64>, queue: &Queue<u64>, n: u64) -> Res {
        queue.put(n)?;
        match queue.get()? {
            got if got == n => Ok(()),
            got => Err(format!("{got} for {n}").into()),
        }
    }

    fn turn_here(_: &Mutex<HashMap<u64, u64>>, queue: &Mutex<VecDeque<u64>>, n: u64) {
        queue.lock().push_back(n);
        black_box(queue.lock().pop_front());
    }
}

/// Turns for as long as the run says; calls per second.
fn rate(run: &Run, calls: u64, mut turn: impl FnMut(u64) -> Res) -> Res<Outcome> {
    let begin = Instant::now();
    let (mut n, mut from, mut since) = (0, 0, begin);
    loop {
        for _ in 0..16 {
            turn(n)?;
            n += 1;
        }
        if from == 0 && begin.elapsed() >= run.warm {
            (from, since) = (n, Instant::now());
        } else if from > 0 && since.elapsed() >= run.time {
            let turns = (n - from) as f64;
            return Ok(Outcome::Value(
                turns * calls as f64 / since.elapsed().as_secs_f64(),
            ));
        }
    }
}

/// A manager whose server is on a CPU of its own.
fn manager(run: &Run) -> Res<Manager> {
    let cpu = run.cpu(1);
    let pinned = move || sys::pin(cpu).expect("a CPU");
    Ok(Manager::builder().initializer(pinned).start()?)
}

fn calls<W: Work>(run: &Run) -> Res<Outcome> {
    let manager = manager(run)?;
    sys::pin(run.cpu(0))?;
    let (dict, queue) = (manager.dict()?, manager.queue()?);
    dict.extend((0..KEYS).map(|key| (key, key)))?;
    rate(run, W::CALLS, |n| W::turn(&dict, &queue, n))
}

fn within<W: Work>(run: &Run) -> Res<Outcome> {
    sys::pin(run.cpu(0))?;
    let dict = Mutex::new((0..KEYS).map(|key| (key, key)).collect());
    let queue = Mutex::new(VecDeque::new());
    rate(run, W::CALLS, |n| {
        W::turn_here(&dict, &queue, n);
        Ok(())
    })
}

fn echo(run: &Run) -> Res<Outcome> {
    let (here, there) = Pipe::<(u64, u64), u64>::duplex()?;
    let _other = Side::fork(run.cpu(1), || {
        loop {
            let (_, n) = there.recv()?;
            there.send(n)?;
        }
    })?;
    sys::pin(run.cpu(0))?;
    rate(run, 1, |n| {
        here.send((n % KEYS, n))?;
        here.recv()?;
        Ok(())
    })
}

/// A queue in a server, and who has started that.
#[derive(Debug)]
struct Managed(Queue<u64>, #[allow(dead_code)] Manager);

/// Either end of it.
#[derive(Debug)]
struct End<'a>(&'a Queue<u64>);

impl Channel for Managed {
    type Sender<'a> = End<'a>;
    type Receiver<'a> = End<'a>;

    fn create(size: usize) -> Res<Self> {
        let manager = Manager::start()?;
        Ok(Managed(manager.bounded_queue(depth(size))?, manager))
    }

    fn sender(&self) -> Res<End<'_>> {
        Ok(End(&self.0))
    }

    fn receiver(&self) -> Res<End<'_>> {
        Ok(End(&self.0))
    }
}

impl Sender for End<'_> {
    fn send(&mut self, message: &[u8]) -> Res {
        Ok(self.0.put(u64::from_ne_bytes(message.try_into()?))?)
    }
}

impl Receiver for End<'_> {
    fn receive(&mut self, into: &mut [u8]) -> Res<usize> {
        into[..8].copy_from_slice(&self.0.get()?.to_ne_bytes());
        Ok(8)
    }
}
