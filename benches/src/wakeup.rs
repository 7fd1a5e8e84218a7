//! The group `wakeup`: what it takes to wake one who sleeps on an event, a condition or a semaphore.
//!
//! There and back, as in `queue-roundtrip`: the other side sleeps when the ping comes, and this side by the time of
//! its answer, so a figure is about two wake-ups. The number that is checked travels beside the primitive.

use crate::channel::{self, Channel, Receiver, Sender};
use crate::harness::{Contender, Group, Measure, Place, Row};
use crate::peers;
use crate::sys::Res;
use multiproc::{Condition, Event, Mutex, Semaphore, Shareable, Shared};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The group, for sides on a CPU each and for sides that are free.
pub(crate) fn groups() -> Vec<Group> {
    let rows = [Place::Pinned, Place::Free].map(|place| Row {
        what: "asleep",
        size: 8,
        place,
        unit: "us",
        bases: &["futex", "pipe"],
        contenders: contenders(),
    });
    vec![Group {
        name: "wakeup",
        about: "wake one who sleeps, and be woken by the answer",
        rows: rows.into(),
    }]
}

fn contenders() -> Vec<Contender> {
    let ours: [(&str, Measure); 3] = [
        ("multiproc Event", channel::asleep::<Signal<Event>>),
        ("multiproc Semaphore", channel::asleep::<Signal<Semaphore>>),
        ("multiproc Condition", channel::asleep::<Told>),
    ];
    let bases = peers::all()
        .into_iter()
        .filter(|peer| ["futex", "pipe"].contains(&peer.who));
    let bases = bases.filter_map(|peer| Some((peer.who, peer.asleep?)));
    ours.into_iter()
        .chain(bases)
        .map(|(who, measure)| Contender { who, measure })
        .collect()
}

/// Something that one side raises and the other one takes down again.
trait Flag: Shareable {
    fn lowered() -> Self;
    fn raise(&self) -> Res;
    fn take_down(&self);
}

impl Flag for Event {
    fn lowered() -> Self {
        Event::new()
    }

    fn raise(&self) -> Res {
        self.set();
        Ok(())
    }

    fn take_down(&self) {
        self.wait();
        self.clear();
    }
}

impl Flag for Semaphore {
    fn lowered() -> Self {
        Semaphore::new(0)
    }

    fn raise(&self) -> Res {
        Ok(self.release()?)
    }

    fn take_down(&self) {
        self.acquire();
    }
}

/// A flag, and the number that goes with it.
struct Signal<F>(Shared<F>, Shared<AtomicU64>);

/// Either end of a [`Signal`].
struct SignalEnd<'a, F>(&'a Signal<F>);

impl<F: Flag> Channel for Signal<F> {
    type Sender<'a> = SignalEnd<'a, F>;
    type Receiver<'a> = SignalEnd<'a, F>;

    fn create(_size: usize) -> Res<Self> {
        Ok(Signal(
            Shared::new(F::lowered())?,
            Shared::new(AtomicU64::new(0))?,
        ))
    }

    fn sender(&self) -> Res<SignalEnd<'_, F>> {
        Ok(SignalEnd(self))
    }

    fn receiver(&self) -> Res<SignalEnd<'_, F>> {
        Ok(SignalEnd(self))
    }
}

impl<F: Flag> Sender for SignalEnd<'_, F> {
    fn send(&mut self, message: &[u8]) -> Res {
        // Relaxed: whoever takes the flag down sees what was done before it was raised.
        self.0
            .1
            .store(u64::from_ne_bytes(message.try_into()?), Relaxed);
        self.0.0.raise()
    }
}

impl<F: Flag> Receiver for SignalEnd<'_, F> {
    fn receive(&mut self, into: &mut [u8]) -> Res<usize> {
        self.0.0.take_down();
        into.copy_from_slice(&self.0.1.load(Relaxed).to_ne_bytes());
        Ok(into.len())
    }
}

/// A number under a mutex (0: none), and the news that it has changed.
#[derive(Shareable)]
#[repr(C)]
struct Board {
    number: Mutex<u64>,
    changed: Condition,
}

/// A [`Board`] that two share.
struct Told(Shared<Board>);

/// Either end of a [`Told`].
struct ToldEnd<'a>(&'a Board);

impl Channel for Told {
    type Sender<'a> = ToldEnd<'a>;
    type Receiver<'a> = ToldEnd<'a>;

    fn create(_size: usize) -> Res<Self> {
        let board = Board {
            number: Mutex::new(0),
            changed: Condition::new(),
        };
        Ok(Told(Shared::new(board)?))
    }

    fn sender(&self) -> Res<ToldEnd<'_>> {
        Ok(ToldEnd(&self.0))
    }

    fn receiver(&self) -> Res<ToldEnd<'_>> {
        Ok(ToldEnd(&self.0))
    }
}

impl Sender for ToldEnd<'_> {
    fn send(&mut self, message: &[u8]) -> Res {
        let mut number = self.0.number.lock().map_err(|died| died.to_string())?;
        *number = u64::from_ne_bytes(message.try_into()?);
        self.0.changed.notify(&number, 1);
        Ok(())
    }
}

impl Receiver for ToldEnd<'_> {
    fn receive(&mut self, into: &mut [u8]) -> Res<usize> {
        let number = self.0.number.lock().map_err(|died| died.to_string())?;
        let there = self.0.changed.wait_for(number, |number| **number != 0);
        let (mut number, _) = there.map_err(|error| error.to_string())?;
        into.copy_from_slice(&number.to_ne_bytes());
        *number = 0;
        Ok(into.len())
    }
}
