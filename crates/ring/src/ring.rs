use crate::area::Area;
use crate::error::{GetError, PutError};
use crate::flow::{Claimed, Flow, Reserved};
use crate::record::{MOST_RESERVE, UNIT};
use crate::state::State;
use multiproc_core::deadline::Deadline;
use multiproc_core::ends::Ends;
use multiproc_segment::{CreateError, Kind, OpenError, Segment, Shareable};
use std::fmt;

pub use crate::flow::Wait;

/// What a ring's segment begins with.
#[derive(Shareable)]
#[shareable(crate = multiproc_segment)]
#[repr(C)]
struct Body {
    state: State,
    writers: Ends,
    readers: Ends,
}

/// Sizes of a ring to be made.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Records that may be queued at a time; at least 1.
    pub capacity: u32,
    /// Bytes of address space for the records, half of which one record may take. Memory is
    /// used as records need it. At most 8 GiB.
    pub reserve: usize,
    /// Permission bits of a named ring.
    pub mode: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            capacity: i32::MAX as u32,
            reserve: 4 << 30,
            mode: 0o600,
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
        if reserve == 0 || settings.capacity == 0 {
            return Err(CreateError::ZeroSize);
        }
        let window = FIRST_WINDOW.min(reserve);
        let capacity = settings.capacity;
        let segment = segment(DATA_AT + reserve, DATA_AT + window, &|segment| {
            let body = segment.body().cast::<Body>();
            // SAFETY: the body has room (DATA_AT is behind it) and alignment; nobody else
            // sees it yet. Large, so it is built in place: the ends' tables are all zero in
            // a fresh segment, as `Ends::new` is.
            unsafe {
                (&raw mut (*body).state).write(State::new(capacity, window as u64));
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
            Segment::create(name, settings.mode, kind, body, resident, init)
        })
    }

    /// Opens the ring of that name, if `tag` describes its records.
    ///
    /// # Errors
    ///
    /// [`OpenError`] says what was expected and what was found.
    pub fn open(name: &str, tag: &str) -> Result<Self, OpenError> {
        let segment = Segment::open(name, &Self::kind(tag))?;
        if segment.body_bytes() < DATA_AT + 4096 || segment.body_bytes() > DATA_AT + MOST_RESERVE {
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
        let base = segment.body().wrapping_add(DATA_AT);
        let reserve = segment.body_bytes() - DATA_AT;
        Self { area: Area { segment, base, offset: DATA_AT, reserve } }
    }

    #[inline]
    fn flow(&self) -> Flow<'_, &Area> {
        Flow { state: &self.body().state, memory: &self.area }
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
        self.flow().get(wait, |area, at, len| area.read_into(at, len, to))
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
        use std::sync::atomic::Ordering::Relaxed;
        self.body().state.signs.capacity.load(Relaxed) as usize
    }

    /// Records put and not yet reported done.
    pub fn unfinished(&self) -> usize {
        self.flow().unfinished() as usize
    }

    /// Reports one record done. False if that is once too often; then nothing changed.
    #[must_use]
    pub fn task_done(&self) -> bool {
        self.flow().task_done()
    }

    /// *Blocks until* every record put was reported done, or the deadline passes (false).
    /// *Wakes when* the last one is. *If a peer dies* before it reported, nobody does for
    /// it, and the wait goes on.
    #[must_use]
    pub fn join(&self, deadline: Deadline) -> bool {
        self.flow().join(deadline)
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
