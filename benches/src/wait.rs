//! The group `wait`: many objects, one of which has something; from the send until the waiter knows which.
//!
//! ```text
//! waiter   turn += 1 · wait for any of the objects · take its stamp · how old is it?
//! sender   a new turn? · a millisecond later: the time, as a message to one of them
//! ```

use crate::channel::Run;
use crate::harness::{Contender, Group, Measure, Place, Row};
use crate::sys::{self, Mapping, Outcome, Res, Side};
use multiproc::{self as mp, Pipe};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Release},
};
use std::time::{Duration, Instant};

/// How many there are.
const MANY: usize = 1_000;

/// Before each send: by then the waiter sleeps.
const PAUSE: Duration = Duration::from_millis(1);

/// The group, for sides on a CPU each and for sides that are free.
pub(crate) fn groups() -> Vec<Group> {
    let row = |what, place, contenders| Row {
        what,
        size: 0,
        place,
        unit: "us",
        bases: &["poll(2) of pipes"],
        contenders,
    };
    let is = |who, measure: Measure| Contender { who, measure };
    let mut rows = Vec::new();
    for place in [Place::Pinned, Place::Free] {
        rows.push(row(
            "1,000 idle",
            place,
            vec![
                is("multiproc wait", stamps::<Waited<MANY>>),
                is("multiproc in epoll", stamps::<InEpoll<MANY>>),
                is("poll(2) of pipes", stamps::<Polled<MANY>>),
            ],
        ));
        rows.push(row(
            "one",
            place,
            vec![
                is("multiproc wait", stamps::<Waited<1>>),
                is("multiproc in epoll", stamps::<InEpoll<1>>),
                is("poll(2) of pipes", stamps::<Polled<1>>),
            ],
        ));
    }
    vec![Group {
        name: "wait",
        about: "from a send to one of many until who waits for all of them knows which",
        rows,
    }]
}

/// Many one can wait for.
trait Objects: Sized {
    fn create() -> Res<Self>;
    fn len(&self) -> usize;
    fn send(&self, to: usize, stamp: u64) -> Res;
    /// Waits for one of them, and takes what it has.
    fn wait(&mut self) -> Res<u64>;
}

fn stamps<O: Objects>(run: &Run) -> Res<Outcome> {
    sys::raise_descriptor_limit()?;
    let mut objects = O::create()?;
    let turns = Mapping::new(8)?;
    // SAFETY: the start of the mapping is aligned, and accessed as this atomic only.
    let turn: &AtomicU64 = unsafe { turns.start().cast().as_ref() };
    let objects_there = &objects;
    let _sender = Side::fork(run.cpu(1), || {
        for n in 1.. {
            while turn.load(Acquire) < n {
                std::thread::sleep(PAUSE / 10);
            }
            std::thread::sleep(PAUSE);
            // Another one each time, all over the place.
            let to = n as usize * 7_919 % objects_there.len();
            objects_there.send(to, now())?;
        }
        Ok(())
    })?;
    sys::pin(run.cpu(0))?;
    let mut latency = sys::histogram();
    let begin = Instant::now();
    while begin.elapsed() < run.warm + run.time {
        turn.fetch_add(1, Release);
        let stamp = objects.wait()?;
        let age = now().saturating_sub(stamp);
        if begin.elapsed() >= run.warm {
            latency.record(age)?;
        }
    }
    Ok(Outcome::Latency(latency))
}

/// Nanoseconds, the same in all processes.
fn now() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes a local.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

type Ends = (mp::Receiver<u64>, mp::Sender<u64>);

fn pipes(count: usize) -> Res<Vec<Ends>> {
    let options = Pipe::<u64>::options().reserve(1 << 20);
    (0..count).map(|_| Ok(options.simplex()?)).collect()
}

/// `mp::wait`.
struct Waited<const N: usize>(Vec<Ends>);

impl<const N: usize> Objects for Waited<N> {
    fn create() -> Res<Self> {
        pipes(N).map(Waited)
    }

    fn len(&self) -> usize {
        N
    }

    fn send(&self, to: usize, stamp: u64) -> Res {
        Ok(self.0[to].1.send(stamp)?)
    }

    fn wait(&mut self) -> Res<u64> {
        let ready = mp::wait(self.0.iter().map(|(receiver, _)| receiver), None)?;
        let first = ready.first().ok_or("nobody is ready")?;
        Ok(self.0[*first].0.recv()?)
    }
}

/// An `epoll` over their descriptors.
struct InEpoll<const N: usize>(Vec<Ends>, OwnedFd);

impl<const N: usize> Objects for InEpoll<N> {
    fn create() -> Res<Self> {
        let pipes = pipes(N)?;
        let epoll = sys::epoll()?;
        for (at, (receiver, _)) in pipes.iter().enumerate() {
            sys::epoll_add(&epoll, receiver.as_fd(), at as u64)?;
        }
        Ok(InEpoll(pipes, epoll))
    }

    fn len(&self) -> usize {
        N
    }

    fn send(&self, to: usize, stamp: u64) -> Res {
        Ok(self.0[to].1.send(stamp)?)
    }

    fn wait(&mut self) -> Res<u64> {
        loop {
            let at = sys::epoll_wait(&self.1)? as usize;
            // By level: nothing more comes, and this look arms it again.
            let receiver = &self.0[at].0;
            let mut stamp = None;
            while let Ok(found) = receiver.try_recv() {
                stamp = Some(found);
            }
            if let Some(stamp) = stamp {
                return Ok(stamp);
            }
        }
    }
}

/// `poll(2)` over as many pipes of the system.
struct Polled<const N: usize>(Vec<(File, File)>, Vec<libc::pollfd>);

impl<const N: usize> Objects for Polled<N> {
    fn create() -> Res<Self> {
        let mut pipes = Vec::new();
        let mut polled = Vec::new();
        for _ in 0..N {
            let (read, write) = sys::pipe()?;
            polled.push(libc::pollfd {
                fd: read.as_raw_fd(),
                events: libc::POLLIN,
                revents: 0,
            });
            pipes.push((read.into(), write.into()));
        }
        Ok(Polled(pipes, polled))
    }

    fn len(&self) -> usize {
        N
    }

    fn send(&self, to: usize, stamp: u64) -> Res {
        Ok((&self.0[to].1).write_all(&stamp.to_ne_bytes())?)
    }

    fn wait(&mut self) -> Res<u64> {
        // SAFETY: so many pollfds, of which the kernel writes `revents`.
        sys::check(unsafe { libc::poll(self.1.as_mut_ptr(), self.1.len() as _, -1) })?;
        let ready = self.1.iter().position(|polled| polled.revents != 0);
        let mut stamp = [0; 8];
        (&self.0[ready.ok_or("nobody is ready")?].0).read_exact(&mut stamp)?;
        Ok(u64::from_ne_bytes(stamp))
    }
}
