//! Many readers, or one writer; any of them may be killed.
//!
//! ```text
//! gate      a robust lock: a writer has it as long as it writes, a reader while it enters
//! bell      rung by a reader that leaves a place which is waited for
//! dirty     1 = a writer is writing, or died writing and nobody has said `mended`
//! places    one word per reader inside: 0, or its process (| WAITERS; see `word`)
//! high      places from here on were never used
//! ```
//!
//! # Invariants
//!
//! 1. A reader writes itself into a place while it has the gate, and out without it. `high` is
//!    above the place before.
//! 2. A writer gives out `&mut T` when it has the gate and has seen every place empty.
//! 3. Who waits for a place has the gate: so one process at a time sleeps on the bell, and
//!    places only get emptier meanwhile. Who asks for the gate later waits behind it, so a
//!    writer is not starved by readers.
//! 4. `dirty` is set before `&mut T` exists, and cleared when it is gone.
//!
//! # If a process dies here
//!
//! * having the gate: the kernel gives it to the next. Only if `dirty` was set may the data
//!   be half done.
//! * in a place: whoever waits for the place finds its identity dead, and clears it.
//! * having left the place, the bell not rung: who waits looks again within a slice.
#![allow(unsafe_code)]

use crate::error::{AcquireTimeoutError, OwnerDied, TryAcquireError};
use crate::word::{self, WAITERS};
use multiproc_core::deadline::Deadline;
use multiproc_core::fork::HeldHere;
use multiproc_core::guarded::{PlainCell, PlainData};
use multiproc_core::holder::Holder;
use multiproc_core::prim::{AtomicU32, AtomicU64, Ordering::*};
use multiproc_core::robust::{RobustGuard, RobustLock, TimedOut};
use multiproc_core::wait::{self, Slept, Spin};
use multiproc_core::watch::Watch;
use multiproc_core::{const_unless_loom, step, unless_broken};
#[cfg(not(loom))]
use multiproc_segment::Shareable;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

/// Data that many read or one writes, between processes and threads.
///
/// ```rust,standalone_crate
/// use multiproc_lock::RwLock;
/// use multiproc_process::Process;
/// use multiproc_segment::Shared;
///
/// let table = Shared::new(RwLock::new([0_u32; 4]))?;
/// let child = Process::start(|| {
///     table.write().unwrap()[1] = 7;
/// })?;
/// assert!(child.join()?.success());
/// let (one, two) = (table.read().unwrap(), table.read().unwrap());
/// assert_eq!(one[1] + two[1], 14);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Up to `READERS` read guards exist at a time, 64 if not said otherwise
/// ([`RwLock::with_places`]); one more waits for a place. Eight bytes each: `RwLock<()>` takes
/// 568. Entering takes the gate for a moment, so this pays where reading takes long.
///
/// The data is [`PlainData`], as in a [`Mutex`](crate::Mutex), with the same assumption about
/// peers. Not re-entrant: a thread that reads already, and reads again, may wait for a writer
/// that waits for it.
///
/// When a writer dies writing, all who come later get [`OwnerDied`], with a guard, until a
/// writer's [`mended`](RwLockWriteGuard::mended). When a reader dies, nobody is told: a waiting
/// writer finds out and goes on. A writer is a *thread*, a reader belongs to its *process*.
#[repr(C)]
#[cfg_attr(not(loom), derive(Shareable))]
pub struct RwLock<T, const READERS: usize = 64> {
    gate: RobustLock,
    bell: AtomicU32,
    dirty: AtomicU32,
    high: AtomicU32,
    unused: AtomicU32,
    places: [AtomicU64; READERS],
    data: PlainCell<T>,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<RwLock<()>>() == 568);

impl<T: PlainData> RwLock<T> {
    const_unless_loom! {
        /// A free lock around `value`, for 64 readers at a time.
        pub fn new(value: T) -> Self {
            Self::with_places(value)
        }
    }
}

impl<T, const READERS: usize> RwLock<T, READERS> {
    const_unless_loom! {
        /// A free lock around `value`, for `READERS` readers at a time: `RwLock::<_, 8>::…`.
        pub fn with_places(value: T) -> Self
        where
            T: PlainData,
        {
            const { assert!(READERS > 0, "a RwLock needs a place for a reader") };
            Self {
                gate: RobustLock::new(),
                bell: AtomicU32::new(0),
                dirty: AtomicU32::new(0),
                high: AtomicU32::new(0),
                unused: AtomicU32::new(0),
                #[cfg(not(loom))]
                places: [const { AtomicU64::new(0) }; READERS],
                #[cfg(loom)]
                places: std::array::from_fn(|_| AtomicU64::new(0)),
                data: PlainCell::new(value),
            }
        }
    }

    /// Takes the lock for reading. *Blocks until* nobody writes or waits to write, and a place
    /// is free. *Wakes when* the writer, or a reader where places are short, releases. *If a
    /// peer dies*: a writer's lock is free at once, and the next ones are told; a reader's place
    /// is free within a slice (50 ms), as a rule after a millisecond.
    ///
    /// # Errors
    ///
    /// [`OwnerDied`] hands the guard over: a writer died writing.
    pub fn read(
        &self,
    ) -> Result<RwLockReadGuard<'_, T, READERS>, OwnerDied<RwLockReadGuard<'_, T, READERS>>> {
        loop {
            // A wait without a deadline does not time out.
            if let Ok(place) = self.enter(Deadline::NEVER) {
                return self.reading(place);
            }
        }
    }

    /// Takes the lock for reading if that is possible at once. Never blocks (but for a reader
    /// that is just entering).
    ///
    /// # Errors
    ///
    /// [`TryAcquireError::Held`], or [`TryAcquireError::OwnerDied`] with the guard.
    pub fn try_read(
        &self,
    ) -> Result<RwLockReadGuard<'_, T, READERS>, TryAcquireError<RwLockReadGuard<'_, T, READERS>>>
    {
        match self.enter(Deadline::NOW) {
            Ok(place) => Ok(self.reading(place)?),
            Err(TimedOut) => Err(TryAcquireError::Held),
        }
    }

    /// Takes the lock for reading within `timeout`. *Blocks until* then at most; *wakes* and
    /// *if a peer dies*: as [`RwLock::read`].
    ///
    /// # Errors
    ///
    /// [`AcquireTimeoutError::Timeout`], or [`AcquireTimeoutError::OwnerDied`] with the guard.
    pub fn read_timeout(
        &self,
        timeout: Duration,
    ) -> Result<RwLockReadGuard<'_, T, READERS>, AcquireTimeoutError<RwLockReadGuard<'_, T, READERS>>>
    {
        match self.enter(Deadline::after(timeout)) {
            Ok(place) => Ok(self.reading(place)?),
            Err(TimedOut) => Err(AcquireTimeoutError::Timeout),
        }
    }

    /// Takes the lock for writing. *Blocks until* nobody reads or writes. *Wakes when* they
    /// release. *If a peer dies*: as [`RwLock::read`].
    ///
    /// # Errors
    ///
    /// [`OwnerDied`] hands the guard over: a writer died writing.
    pub fn write(
        &self,
    ) -> Result<RwLockWriteGuard<'_, T, READERS>, OwnerDied<RwLockWriteGuard<'_, T, READERS>>> {
        loop {
            // A wait without a deadline does not time out.
            if let Ok(gate) = self.have_alone(Deadline::NEVER) {
                return self.writing(gate);
            }
        }
    }

    /// Takes the lock for writing if that is possible at once. Never blocks.
    ///
    /// # Errors
    ///
    /// [`TryAcquireError::Held`], or [`TryAcquireError::OwnerDied`] with the guard.
    pub fn try_write(
        &self,
    ) -> Result<RwLockWriteGuard<'_, T, READERS>, TryAcquireError<RwLockWriteGuard<'_, T, READERS>>>
    {
        match self.have_alone(Deadline::NOW) {
            Ok(gate) => Ok(self.writing(gate)?),
            Err(TimedOut) => Err(TryAcquireError::Held),
        }
    }

    /// Takes the lock for writing within `timeout`. *Blocks until* then at most; *wakes* and
    /// *if a peer dies*: as [`RwLock::write`].
    ///
    /// # Errors
    ///
    /// [`AcquireTimeoutError::Timeout`], or [`AcquireTimeoutError::OwnerDied`] with the guard.
    pub fn write_timeout(
        &self,
        timeout: Duration,
    ) -> Result<
        RwLockWriteGuard<'_, T, READERS>,
        AcquireTimeoutError<RwLockWriteGuard<'_, T, READERS>>,
    > {
        match self.have_alone(Deadline::after(timeout)) {
            Ok(gate) => Ok(self.writing(gate)?),
            Err(TimedOut) => Err(AcquireTimeoutError::Timeout),
        }
    }

    /// Does anybody read or write? Stale as soon as it is said.
    #[doc(alias = "locked")]
    pub fn is_locked(&self) -> bool {
        self.gate.is_held() || self.readers() > 0
    }

    /// Readers inside, dead ones included until somebody waits for them. Stale as soon as it
    /// is said.
    pub fn readers(&self) -> usize {
        self.places
            .iter()
            .filter(|place| place.load(Relaxed) != 0)
            .count()
    }

    /// The data, of a lock that nobody shares.
    pub fn get_mut(&mut self) -> &mut T {
        self.data.get_mut()
    }

    /// The data, of a lock that nobody shares.
    pub fn into_inner(self) -> T {
        self.data.into_inner()
    }

    /// A place to read in.
    fn enter(&self, deadline: Deadline) -> Result<&AtomicU64, TimedOut> {
        let gate = self.gate.acquire(deadline)?;
        // Acquire. PAIRS place: a reader before us is done with it.
        let mut free = self
            .places
            .iter()
            .position(|place| place.load(Acquire) == 0);
        let mut patience = Patience::new();
        while free.is_none() {
            free = self.places.iter().position(|place| self.is_empty(place));
            if free.is_none() {
                patience.wait(&self.bell, &self.places, deadline)?;
            }
        }
        let Some(at) = free else { return Err(TimedOut) };
        step!("rwlock: about to enter");
        // Relaxed, both: the gate orders them before the next writer's look.
        if self.high.load(Relaxed) <= at as u32 {
            self.high.store(at as u32 + 1, Relaxed);
        }
        self.places[at].store(word::me(), Relaxed);
        step!("rwlock: entered, has the gate");
        drop(gate);
        Ok(&self.places[at])
    }

    /// The places that were ever used; for who has the gate.
    fn used(&self) -> &[AtomicU64] {
        &self.places[..(self.high.load(Relaxed) as usize).min(READERS)]
    }

    /// The gate, and no reader inside.
    fn have_alone(&self, deadline: Deadline) -> Result<RobustGuard<'_>, TimedOut> {
        let gate = self.gate.acquire(deadline)?;
        step!("rwlock: has the gate");
        for place in self.used() {
            let mut patience = Patience::new();
            // Acquire. PAIRS place: what the reader read, it has read.
            let order = unless_broken!("rwlock: see the place empty", Acquire, Relaxed);
            while place.load(order) != 0 && !self.is_empty(place) {
                patience.wait(&self.bell, std::slice::from_ref(place), deadline)?;
            }
        }
        Ok(gate)
    }

    /// Is the place empty, or a dead reader's, and so empty now? Costs a look into /proc.
    fn is_empty(&self, place: &AtomicU64) -> bool {
        let reader = place.load(Acquire); // PAIRS place
        if reader != 0 && !word::is_alive(reader & !WAITERS) {
            step!("rwlock: about to clear a dead reader's place");
            // Relaxed: it only read. Only we clear it: we have the gate, and it is dead.
            place.store(0, Relaxed);
        }
        place.load(Acquire) == 0 // PAIRS place
    }

    fn reading<'a>(
        &'a self,
        place: &'a AtomicU64,
    ) -> Result<RwLockReadGuard<'a, T, READERS>, OwnerDied<RwLockReadGuard<'a, T, READERS>>> {
        // Relaxed: the last writer stored it under the gate, and the next one waits for us.
        let dirty = self.dirty.load(Relaxed) != 0;
        let guard = RwLockReadGuard {
            lock: self,
            place,
            reader: word::me(),
            _held: HeldHere::new(),
        };
        if dirty {
            Err(OwnerDied(guard))
        } else {
            Ok(guard)
        }
    }

    fn writing<'a>(
        &'a self,
        gate: RobustGuard<'a>,
    ) -> Result<RwLockWriteGuard<'a, T, READERS>, OwnerDied<RwLockWriteGuard<'a, T, READERS>>> {
        let damaged = self.dirty.load(Relaxed) != 0;
        // Relaxed: the gate orders it (and the kernel's release of a dead writer's gate).
        self.dirty
            .store(unless_broken!("rwlock: dirty", 1, 0), Relaxed);
        step!("rwlock: dirty");
        let guard = RwLockWriteGuard {
            lock: self,
            damaged,
            _gate: gate,
        };
        if damaged {
            Err(OwnerDied(guard))
        } else {
            Ok(guard)
        }
    }

    /// Ends a slice of all who wait, as time does outside of a model.
    #[cfg(loom)]
    #[doc(hidden)]
    pub fn end_slice(&self) {
        self.bell.fetch_add(1, Release);
        wait::wake_all(&self.bell);
    }
}

/// A wait for places, with the gate in hand.
struct Patience {
    spin: Spin,
    watch: Watch,
}

impl Patience {
    fn new() -> Self {
        Self {
            spin: Spin::new(),
            watch: Watch::new(),
        }
    }

    /// Looks for a moment, then marks the places and sleeps, until one of them is left, a slice
    /// is over, or the deadline passes.
    fn wait(
        &mut self,
        bell: &AtomicU32,
        places: &[AtomicU64],
        deadline: Deadline,
    ) -> Result<(), TimedOut> {
        if deadline.passed() {
            return Err(TimedOut);
        }
        loop {
            // Acquire. PAIRS place-bell: read before the mark is set, so that a ring that
            // belongs to the mark changes it.
            let rung = bell.load(Acquire);
            // Before the marks: a release that nobody has to be woken by makes no system call.
            let left = |place: &AtomicU64| place.load(Relaxed) == 0;
            if places.iter().any(left) {
                return Ok(());
            }
            if !cfg!(loom) && self.spin.back_off() {
                continue;
            }
            for place in places {
                let reader = place.load(Relaxed);
                let mark = unless_broken!("rwlock: mark", WAITERS, 0);
                // Relaxed: the mark orders nothing; who leaves sees it.
                if reader == 0
                    || place
                        .compare_exchange(reader, reader | mark, Relaxed, Relaxed)
                        .is_err()
                {
                    return Ok(()); // left
                }
            }
            self.spin.learn();
            // In a model no slice ends by itself: who died before is seen here, and who dies
            // later is followed by an `end_slice`.
            let dead = |place: &AtomicU64| !word::is_alive(place.load(Relaxed) & !WAITERS);
            if cfg!(loom) && places.iter().any(dead) {
                return Ok(());
            }
            step!("rwlock: about to wait");
            return match self.watch.sleep(bell, rung, deadline) {
                // In a model every wake-up is the end of a slice. Who is woken again and again
                // for nothing is not kept beyond its time.
                Slept::Look if !cfg!(loom) && !deadline.passed() => continue,
                Slept::TimedOut => Err(TimedOut),
                _ => Ok(()),
            };
        }
    }
}

impl<T: PlainData + Default> Default for RwLock<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: PlainData> From<T> for RwLock<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

/// Says who writes and how many read, and does not touch the data.
impl<T, const READERS: usize> fmt::Debug for RwLock<T, READERS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (Holder::of(&self.gate), self.readers()) {
            (Holder::Nobody | Holder::Died, 0) => write!(f, "RwLock(free")?,
            (Holder::Nobody | Holder::Died, 1) => write!(f, "RwLock(read by 1")?,
            (Holder::Nobody | Holder::Died, n) => write!(f, "RwLock(read by {n}")?,
            (writer, 0) => write!(f, "RwLock({writer}")?,
            (writer, n) => write!(f, "RwLock({writer}, which waits for {n} readers")?,
        }
        if self.dirty.load(Relaxed) != 0 && !self.gate.is_held() {
            write!(f, ", not mended")?;
        }
        write!(f, ")")
    }
}

/// A [`RwLock`] held for reading; released on drop.
#[must_use = "the lock is released when the guard is dropped"]
pub struct RwLockReadGuard<'a, T, const READERS: usize = 64> {
    lock: &'a RwLock<T, READERS>,
    place: &'a AtomicU64,
    /// The process that took the place; a copy of the guard in a forked child has none.
    reader: u64,
    /// Makes the guard neither `Send` nor `Sync`.
    _held: HeldHere,
}

impl<T, const READERS: usize> RwLockReadGuard<'_, T, READERS> {
    /// Did a writer die writing, and no writer has said
    /// [`mended`](RwLockWriteGuard::mended) since?
    pub fn owner_died(&self) -> bool {
        self.lock.dirty.load(Relaxed) != 0
    }
}

impl<T, const READERS: usize> Deref for RwLockReadGuard<'_, T, READERS> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: this guard has a place, so no writer has seen all places empty since, and
        // no `&mut T` exists (Invariant 2); peers keep the protocol (see Mutex). Any bits are
        // a `T`.
        unsafe { &*self.lock.data.get() }
    }
}

impl<T, const READERS: usize> Drop for RwLockReadGuard<'_, T, READERS> {
    fn drop(&mut self) {
        #[cfg(loom)]
        if multiproc_core::model::dead() {
            return;
        }
        if word::me() != self.reader {
            return;
        }
        step!("rwlock: about to leave");
        // Release. PAIRS place: our reads come before the next writer's writes.
        let order = unless_broken!("rwlock: leave", Release, Relaxed);
        let was = self.place.swap(0, order);
        if was & WAITERS != 0 {
            step!("rwlock: left, the bell not rung");
            // Release. PAIRS place-bell.
            self.lock.bell.fetch_add(1, Release);
            wait::wake_one(&self.lock.bell); // one has the gate (Invariant 3)
        }
        step!("rwlock: left");
    }
}

impl<T: fmt::Debug, const READERS: usize> fmt::Debug for RwLockReadGuard<'_, T, READERS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// A [`RwLock`] held for writing; released on drop, by the thread that acquired it.
#[must_use = "the lock is released when the guard is dropped"]
pub struct RwLockWriteGuard<'a, T, const READERS: usize = 64> {
    lock: &'a RwLock<T, READERS>,
    /// A writer before us died, and nobody has said `mended`.
    damaged: bool,
    /// Makes the guard neither `Send` nor `Sync`. Dropped after `dirty` is cleared.
    _gate: RobustGuard<'a>,
}

impl<T, const READERS: usize> RwLockWriteGuard<'_, T, READERS> {
    /// The data is in order again: from the next one on, nobody is told of the death.
    pub fn mended(&mut self) {
        self.damaged = false;
    }

    /// Did a writer die, and nobody has said [`mended`](RwLockWriteGuard::mended) since?
    pub fn owner_died(&self) -> bool {
        self.damaged
    }
}

impl<T, const READERS: usize> Deref for RwLockWriteGuard<'_, T, READERS> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: this guard has the gate, every place was seen empty, and nobody enters
        // without the gate; peers keep the protocol (see Mutex). Any bits are a `T`.
        unsafe { &*self.lock.data.get() }
    }
}

impl<T, const READERS: usize> DerefMut for RwLockWriteGuard<'_, T, READERS> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`; and this guard is borrowed mutably.
        unsafe { &mut *self.lock.data.get() }
    }
}

impl<T, const READERS: usize> Drop for RwLockWriteGuard<'_, T, READERS> {
    fn drop(&mut self) {
        #[cfg(loom)]
        if multiproc_core::model::dead() {
            return;
        }
        // A copy in a forked child has no say.
        if !self.damaged && self.lock.gate.is_mine() {
            step!("rwlock: about to be clean");
            self.lock.dirty.store(0, Relaxed); // the gate orders
            step!("rwlock: clean");
        }
    }
}

impl<T: fmt::Debug, const READERS: usize> fmt::Debug for RwLockWriteGuard<'_, T, READERS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
