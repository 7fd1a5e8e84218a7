use crate::area::Area;
use crate::error::{GetError, PutError};
use crate::flow::{Claimed, Flow, Reserved};
use crate::record::{MOST_RESERVE, UNIT};
use crate::state::State;
use crate::tasks::{Tasks, TasksLost};
use multiproc_core::deadline::Deadline;
use multiproc_core::ends::Ends;
use multiproc_segment::{CreateError, Kind, Naming, OpenError, Segment, Shareable};
use std::fmt;
use std::sync::atomic::Ordering::Relaxed;

pub use crate::flow::Wait;

/// What a ring's segment begins with.
#[derive(Shareable)]
#[shareable(crate = multiproc_segment)]
#[repr(C)]
struct Body {
    state: State,
    writers: Ends,
    readers: Ends,
    tasks: Tasks,
}

/// Sizes of a ring to be made.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Records that may be queued at a time; at least 1.
    pub capacity: u32,
    /// Bytes that queued records may take (8 and up to 7 more for each included); one that
    /// is larger enters alone, when nothing is queued. `usize::MAX`: no limit of its own.
    pub bytes: usize,
    /// Bytes of address space for the records, half of which one record may take. Memory is
    /// used as records need it. At most 8 GiB.
    pub reserve: usize,
    /// Mode, owner and lifetime of a named ring.
    pub naming: Naming,
    /// Deliveries of a task after which it becomes a dead letter; 0: never.
    pub max_deliveries: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            capacity: i32::MAX as u32,
            bytes: usize::MAX,
            reserve: 4 << 30,
            naming: Naming::new(),
            max_deliveries: 0,
        }
    }
}

/// Bytes allocated at once; more as records need it.
const FIRST_WINDOW: usize = 32 << 10;
/// Records begin on a page of their own.
const DATA_AT: usize = (multiproc_segment::HEADER_BYTES + size_of::<Body>()).next_multiple_of(4096)
    - multiproc_segment::HEADER_BYTES;

/// A ring of byte records in a segment; a handle, to be cloned freely.
#[derive(Clone)]
pub struct Ring {
    area: Area,
    /// Where the bytes of tasks lie that were taken.
    claims: Area,
}

/// Room for one record, written in place. Dropped without [`Reservation::commit`], it was
/// never there.
#[must_use = "a reservation that is dropped puts nothing"]
#[allow(missing_debug_implementations)]
pub struct Reservation<'a>(Reserved<'a, &'a Area>);

/// The next record, read in place. Dropped without [`Claim::release`], it stays the next.
#[must_use = "a claim that is dropped gets nothing"]
#[allow(missing_debug_implementations)]
pub struct Claim<'a>(Claimed<'a, &'a Area>);

impl Ring {
    fn kind(tag: &str) -> Kind {
        Kind {
            tag: tag.to_owned(),
            fixed: size_of::<Body>(),
            align: align_of::<Body>(),
        }
    }

    fn make(
        settings: &Settings,
        segment: impl FnOnce(usize, usize, &dyn Fn(&Segment)) -> Result<Segment, CreateError>,
    ) -> Result<Self, CreateError> {
        let reserve = settings.reserve.next_multiple_of(4096);
        if reserve > MOST_RESERVE {
            return Err(CreateError::TooLarge {
                bytes: settings.reserve,
            });
        }
        if reserve == 0 || settings.capacity == 0 || settings.bytes == 0 {
            return Err(CreateError::ZeroSize);
        }
        let window = FIRST_WINDOW.min(reserve);
        let (capacity, deliveries) = (settings.capacity, settings.max_deliveries);
        // A record of no bytes and the header behind it fit in any ring.
        let cap = (settings.bytes / UNIT * UNIT).max(2 * UNIT) as u64;
        let segment = segment(DATA_AT + 2 * reserve, DATA_AT + window, &|segment| {
            let body = segment.body().cast::<Body>();
            // SAFETY: the body has room (DATA_AT is behind it) and alignment; nobody else
            // sees it yet. Large, so it is built in place: the ends' tables are all zero in
            // a fresh segment, as `Ends::new` is.
            unsafe {
                (&raw mut (*body).state).write(State::new(capacity, cap, window as u64));
                (*body).tasks.max_deliveries.store(deliveries, Relaxed);
                (*body).settle();
            }
        })?;
        Ok(Self::over(segment))
    }

    /// Makes an anonymous ring for records that `tag` describes.
    ///
    /// # Errors
    ///
    /// [`CreateError`].
    pub fn anonymous(tag: &str, settings: &Settings) -> Result<Self, CreateError> {
        let kind = Self::kind(tag);
        Self::make(settings, |body, resident, init| {
            Segment::anonymous(kind, body, resident, init)
        })
    }

    /// Makes a ring under a name.
    ///
    /// # Errors
    ///
    /// [`CreateError`], among them `AlreadyExists`.
    pub fn create(name: &str, tag: &str, settings: &Settings) -> Result<Self, CreateError> {
        let kind = Self::kind(tag);
        Self::make(settings, |body, resident, init| {
            Segment::create(name, &settings.naming, kind, body, resident, init)
        })
    }

    /// Opens the ring of that name, if `tag` describes its records.
    ///
    /// # Errors
    ///
    /// [`OpenError`] says what was expected and what was found.
    pub fn open(name: &str, tag: &str) -> Result<Self, OpenError> {
        let segment = Segment::open(name, &Self::kind(tag))?;
        if segment.body_bytes() < DATA_AT + 2 * 4096
            || segment.body_bytes() > DATA_AT + 2 * MOST_RESERVE
        {
            return Err(OpenError::Size {
                name: name.into(),
                expected: (DATA_AT + 4096) as u64,
                found: segment.body_bytes() as u64,
            });
        }
        Ok(Self::over(segment))
    }

    #[inline]
    fn body(&self) -> &Body {
        // SAFETY: written by `make`, or checked by kind and size. Alive with the segment.
        // A peer may write any bits: all fields are atomics.
        unsafe { &*self.area.base.wrapping_sub(DATA_AT).cast::<Body>() }
    }

    fn over(segment: Segment) -> Self {
        // Half for records, half for the bytes of tasks; both sparse.
        let reserve = (segment.body_bytes() - DATA_AT) / 2;
        // Inside the body, which has room for it (see `make` and `open`).
        let tasks = segment
            .body()
            .wrapping_add(std::mem::offset_of!(Body, tasks))
            .cast();
        let part = |offset| Area {
            tasks,
            base: segment.body().wrapping_add(offset),
            segment: segment.clone(),
            offset,
            reserve,
        };
        Self {
            area: part(DATA_AT),
            claims: part(DATA_AT + reserve),
        }
    }

    #[inline]
    pub(crate) fn flow(&self) -> Flow<'_, &Area> {
        Flow {
            state: &self.body().state,
            memory: &self.area,
        }
    }

    pub(crate) fn tasks(&self) -> &Tasks {
        &self.body().tasks
    }

    pub(crate) fn area(&self) -> &Area {
        &self.area
    }

    pub(crate) fn claims(&self) -> &Area {
        &self.claims
    }

    /// Room for a record of `len` bytes, to be written in place. *Blocks until* there is
    /// room, the deadline passes or the wait is in vain. *Wakes when* a reader releases a
    /// record. *If a peer dies* in the middle of a put, nothing of it is seen.
    ///
    /// # Errors
    ///
    /// See [`PutError`].
    #[inline]
    pub fn reserve(&self, len: usize, wait: Wait<'_>) -> Result<Reservation<'_>, PutError> {
        self.flow().reserve(len, wait).map(Reservation)
    }

    /// Puts one record: [`Ring::reserve`], a copy, [`Reservation::commit`].
    ///
    /// # Errors
    ///
    /// See [`PutError`].
    #[inline]
    pub fn put(&self, bytes: &[u8], wait: Wait<'_>) -> Result<(), PutError> {
        self.flow().put(bytes, wait)
    }

    /// Puts several records, one after the other in `bytes`, with these lengths. As many as
    /// fit enter at once, in one step; between such groups other writers may come. *Blocks*,
    /// *wakes* and *if a peer dies*: as [`Ring::reserve`].
    ///
    /// # Errors
    ///
    /// How many were put, and why the next was not.
    ///
    /// # Panics
    ///
    /// If the lengths are more than `bytes`.
    pub fn put_many(
        &self,
        bytes: &[u8],
        lens: &[usize],
        wait: Wait<'_>,
    ) -> Result<(), (usize, PutError)> {
        let all: usize = lens.iter().sum();
        assert!(
            all <= bytes.len(),
            "the lengths are those of the records in `bytes`"
        );
        self.flow().put_many(bytes, lens, wait)
    }

    /// Gets up to `most` records (at least one), appended to `to`, their lengths to `lens`. All
    /// of them are given up in one step. *Blocks*, *wakes* and *if a peer dies*: as
    /// [`Ring::claim`].
    ///
    /// # Errors
    ///
    /// See [`GetError`].
    pub fn get_many(
        &self,
        most: usize,
        to: &mut Vec<u8>,
        lens: &mut Vec<usize>,
        wait: Wait<'_>,
    ) -> Result<usize, GetError> {
        self.flow().get_many(most, wait, |area, at, len| {
            area.append_to(at, len, to);
            lens.push(len);
        })
    }

    /// The next record, to be read in place. *Blocks until* there is one, the deadline
    /// passes, or nothing is left and the wait is in vain. *Wakes when* a writer commits.
    /// *If a peer dies* in the middle of a get, its record is the next again.
    ///
    /// # Errors
    ///
    /// See [`GetError`].
    #[inline]
    pub fn claim(&self, wait: Wait<'_>) -> Result<Claim<'_>, GetError> {
        self.flow().claim(wait).map(Claim)
    }

    /// Gets one record into `to`, whose content it replaces.
    ///
    /// # Errors
    ///
    /// See [`GetError`].
    #[inline]
    pub fn get_into(&self, to: &mut Vec<u8>, wait: Wait<'_>) -> Result<(), GetError> {
        self.flow()
            .get(wait, |area, at, len| area.read_into(at, len, to))
    }

    /// Gets one record into `to`, if it has exactly as many bytes; tells how many it had. It
    /// is consumed in any case.
    ///
    /// # Errors
    ///
    /// See [`GetError`].
    #[inline]
    pub fn get_exact(&self, to: &mut [u8], wait: Wait<'_>) -> Result<usize, GetError> {
        self.flow().get(wait, |area, at, len| {
            if len == to.len() {
                // SAFETY: a record, so checked against the reserve; `to` has exactly so many.
                unsafe { area.read(at, len, to.as_mut_ptr()) }
            }
            len
        })
    }

    /// The most bytes that a record can have.
    pub fn most(&self) -> usize {
        self.flow().most()
    }

    /// Records queued. Exact at the instant at which it looks, stale right after.
    pub fn len(&self) -> usize {
        self.flow().len()
    }

    /// No record queued? As [`Ring::len`].
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Records that may be queued at a time.
    pub fn capacity(&self) -> usize {
        self.body().state.signs.capacity.load(Relaxed) as usize
    }

    /// Tasks that wait to be delivered again, as far as somebody has noticed their holders'
    /// deaths.
    pub fn orphans(&self) -> usize {
        self.tasks().orphans()
    }

    /// Records put and not yet reported done.
    pub fn unfinished(&self) -> usize {
        self.flow().unfinished(&|| self.tasks().done()) as usize
    }

    /// Reports one record done that was got without a claim. False if that is once too
    /// often; then nothing changed.
    #[must_use]
    pub fn task_done(&self) -> bool {
        let done = self.flow().task_done(&|| self.tasks().done());
        if done {
            self.count_report();
            self.flow().report();
        }
        done
    }

    /// *Blocks until* every record put was reported done (true), or the deadline passes
    /// (false). *Wakes when* the last one is. *If a peer dies* that had taken records with a
    /// claim, others get them; if it had taken them without, they are lost:
    ///
    /// # Errors
    ///
    /// [`TasksLost`] when nothing else is unfinished. Then they are written off: the next
    /// join does not tell of them again.
    pub fn join(&self, deadline: Deadline) -> Result<bool, TasksLost> {
        self.flow()
            .join(deadline, &|| self.tasks().done(), &|| self.write_off_lost())
    }

    /// Ends the ring for everybody: puts fail, what is queued can still be had.
    pub fn shut_down(&self) {
        self.flow().shut_down();
    }

    /// Makes everybody who waits look around again.
    pub fn ring_all(&self) {
        self.flow().ring_all();
    }

    /// The table of registered writers.
    pub fn writers(&self) -> &Ends {
        &self.body().writers
    }

    /// The table of registered readers.
    pub fn readers(&self) -> &Ends {
        &self.body().readers
    }

    /// The memory below.
    pub fn segment(&self) -> &Segment {
        &self.area.segment
    }
}

impl Reservation<'_> {
    /// Copies the record's bytes in: exactly as many as were reserved.
    pub fn fill(&mut self, bytes: &[u8]) {
        self.0.fill(bytes);
    }

    /// The record's bytes, to be written in place: begins on an address divisible by 8; what
    /// stands there at first is left over from other records. Nobody else has the memory,
    /// as long as peers keep the protocol.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let (at, len) = (self.0.at(), self.0.len());
        // SAFETY: reserved for us: allocated, inside, and beyond the frontier. A peer that
        // breaks the protocol can change the bytes under us; they are plain bytes.
        unsafe { std::slice::from_raw_parts_mut(self.0.memory().base.add(at), len) }
    }

    /// [`Reservation::bytes_mut`], to be read.
    pub fn bytes(&self) -> &[u8] {
        let (at, len) = (self.0.at(), self.0.len());
        // SAFETY: as in `bytes_mut`.
        unsafe { std::slice::from_raw_parts(self.0.memory().base.add(at), len) }
    }

    /// Makes the record exist, in one step.
    pub fn commit(self) {
        self.0.commit();
    }
}

impl Claim<'_> {
    /// Bytes of the record.
    #[inline]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The record's bytes, in place: begins on an address divisible by 8. Nobody changes
    /// them, as long as peers keep the protocol: what must not change after it was
    /// checked is to be copied first.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: a committed record, checked against the reserve, and ours until released.
        // A peer that breaks the protocol can change the bytes under us; they are plain
        // bytes.
        unsafe { std::slice::from_raw_parts(self.0.memory().base.add(self.0.at()), self.len()) }
    }

    /// Copies the record out, replacing the content of `to`.
    #[inline]
    pub fn read_into(&self, to: &mut Vec<u8>) {
        self.0.memory().read_into(self.0.at(), self.len(), to);
    }

    /// Gives the record up, in one step: from now on it is gone.
    #[inline]
    pub fn release(self) {
        self.0.release();
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring")
            .field("tag", &self.area.segment.kind().tag)
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .field("writers", &self.writers().count_alive())
            .field("readers", &self.readers().count_alive())
            .finish()
    }
}

const _: () = assert!(UNIT == 8 && DATA_AT.is_multiple_of(8));
