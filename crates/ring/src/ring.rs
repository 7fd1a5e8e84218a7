//! A ring in a segment: made, opened, attached, and what it says of itself.

mod messages;
mod watching;

use crate::area::Area;
use crate::flow::Flow;
use crate::record::{MOST_RESERVE, UNIT};
use crate::state::State;
use crate::tasks::{Tasks, TasksLost};
use multiproc_core::courier::Courier;
use multiproc_core::deadline::Deadline;
use multiproc_core::ends::Ends;
use multiproc_core::fd::Ticker;
use multiproc_segment::{CreateError, Kind, Naming, OpenError, Segment, Shareable};
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

pub use crate::flow::Wait;
pub use messages::{Claim, Reservation};

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
    /// With a courier, a socket that carries descriptors and rings for `poll`? It costs one
    /// descriptor.
    pub courier: bool,
}

/// What lies in a ring's segment; both sides of an opening must agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    rings: usize,
    /// Is there memory for the bytes of tasks?
    tasks: bool,
}

impl Shape {
    const QUEUE: Self = Self {
        rings: 1,
        tasks: true,
    };

    fn pipe(rings: usize) -> Self {
        Self {
            rings,
            tasks: false,
        }
    }

    /// Bytes of the body that `reserve` for each area of bytes takes.
    fn body(self, reserve: usize) -> usize {
        self.rings * (DATA_AT + self.areas() * reserve)
    }

    fn areas(self) -> usize {
        if self.tasks { 2 } else { 1 }
    }

    /// The reserve of each area in a body of this size; `None`: no such size.
    fn reserve(self, body: usize) -> Option<usize> {
        let reserve = (body / self.rings).checked_sub(DATA_AT)? / self.areas();
        let sound = (4096..=MOST_RESERVE).contains(&reserve) && reserve.is_multiple_of(4096);
        (sound && self.body(reserve) == body).then_some(reserve)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            capacity: i32::MAX as u32,
            bytes: usize::MAX,
            reserve: 4 << 30,
            naming: Naming::new(),
            max_deliveries: 0,
            courier: true,
        }
    }
}

fn new_courier() -> Result<Arc<Courier>, CreateError> {
    Courier::new()
        .map(Arc::new)
        .map_err(|e| match e.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE) => CreateError::NoDescriptors,
            _ => CreateError::Io(e),
        })
}

fn one(rings: Vec<Ring>) -> Ring {
    let mut rings = rings.into_iter();
    let (Some(ring), None) = (rings.next(), rings.next()) else {
        unreachable!("a queue's shape has one ring");
    };
    ring
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
    place: (u8, u8),
    /// Others may have opened it by name, without a courier to ring.
    named: bool,
}

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
        shape: Shape,
        segment: impl FnOnce(usize, usize, &dyn Fn(&Segment)) -> Result<Segment, CreateError>,
    ) -> Result<Vec<Self>, CreateError> {
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
        let couriers = (0..shape.rings).map(|_| settings.courier.then(new_courier).transpose());
        let couriers: Vec<_> = couriers.collect::<Result<_, _>>()?;
        let body_bytes = shape.body(reserve);
        let stride = body_bytes / shape.rings;
        let segment = segment(body_bytes, DATA_AT + window, &|segment| {
            for nth in 0..shape.rings {
                let body = segment.body().wrapping_add(nth * stride).cast::<Body>();
                // SAFETY: the body has room (DATA_AT is behind it, once for each ring) and
                // alignment; nobody else sees it yet. Large, so it is built in place: the
                // ends' tables are all zero in a fresh segment, as `Ends::new` is.
                unsafe {
                    (&raw mut (*body).state).write(State::new(capacity, cap, window as u64));
                    (*body).tasks.max_deliveries.store(deliveries, Relaxed);
                    (*body).settle();
                }
            }
        })?;
        Ok(Self::over(&segment, shape, reserve, couriers))
    }

    /// Makes an anonymous ring for records that `tag` describes.
    ///
    /// # Errors
    ///
    /// [`CreateError`].
    pub fn anonymous(tag: &str, settings: &Settings) -> Result<Self, CreateError> {
        Self::anonymous_shape(tag, settings, Shape::QUEUE).map(one)
    }

    /// Makes an anonymous segment with so many rings (1 or 2) that take no tasks.
    ///
    /// # Errors
    ///
    /// [`CreateError`].
    pub fn pipe(tag: &str, settings: &Settings, rings: usize) -> Result<Vec<Self>, CreateError> {
        Self::anonymous_shape(tag, settings, Shape::pipe(rings))
    }

    fn anonymous_shape(
        tag: &str,
        settings: &Settings,
        shape: Shape,
    ) -> Result<Vec<Self>, CreateError> {
        let kind = Self::kind(tag);
        Self::make(settings, shape, |body, resident, init| {
            // The first ring's part is resident; the others' are allocated here.
            let mut short = None;
            let segment = Segment::anonymous(kind, body, resident, |segment| {
                let stride = body / shape.rings;
                let rest = (1..shape.rings).map(|nth| segment.allocate(nth * stride, resident));
                match rest.collect::<Result<Vec<()>, _>>() {
                    Ok(_) => init(segment),
                    Err(_) => short = Some(resident),
                }
            })?;
            match short {
                None => Ok(segment),
                Some(bytes) => Err(CreateError::NoSpace { bytes }),
            }
        })
    }

    /// Makes a ring under a name.
    ///
    /// # Errors
    ///
    /// [`CreateError`], among them `AlreadyExists`.
    pub fn create(name: &str, tag: &str, settings: &Settings) -> Result<Self, CreateError> {
        let kind = Self::kind(tag);
        Self::make(settings, Shape::QUEUE, |body, resident, init| {
            Segment::create(name, &settings.naming, kind, body, resident, init)
        })
        .map(one)
        .map(|ring| Self {
            named: true,
            ..ring
        })
    }

    /// Opens the ring of that name, if `tag` describes its records.
    ///
    /// # Errors
    ///
    /// [`OpenError`] says what was expected and what was found.
    pub fn open(name: &str, tag: &str) -> Result<Self, OpenError> {
        let segment = Segment::open(name, &Self::kind(tag))?;
        Self::checked(&segment, name, Shape::QUEUE, vec![None]).map(one)
    }

    /// The ring whose descriptors these are: its segment's, and its courier's if it has one;
    /// `place` is what [`Ring::place`] says.
    ///
    /// # Errors
    ///
    /// [`OpenError`] says what was expected and what was found.
    pub fn attach(
        segment: OwnedFd,
        courier: Option<OwnedFd>,
        tag: &str,
        (nth, of): (u8, u8),
    ) -> Result<Self, OpenError> {
        const NAME: &str = "(received)";
        let refused = |source| OpenError::Io {
            name: NAME.into(),
            source,
        };
        let shape = match of {
            0 => Shape::QUEUE,
            of => Shape::pipe(of.into()),
        };
        let segment = Segment::attach(segment.into(), NAME, &Self::kind(tag))?;
        let courier = courier.map(Courier::from_descriptor).transpose();
        let courier = courier.map_err(refused)?.map(Arc::new);
        let mut couriers = vec![None; shape.rings];
        let absent = || refused(io::ErrorKind::InvalidInput.into());
        *couriers.get_mut(usize::from(nth)).ok_or_else(absent)? = courier;
        let mut rings = Self::checked(&segment, NAME, shape, couriers)?;
        Ok(rings.swap_remove(nth.into()))
    }

    /// Which of its segment's rings it is, of how many; 0 of 0 for one that takes tasks.
    pub fn place(&self) -> (u8, u8) {
        self.place
    }

    fn checked(
        segment: &Segment,
        name: &str,
        shape: Shape,
        couriers: Vec<Option<Arc<Courier>>>,
    ) -> Result<Vec<Self>, OpenError> {
        match shape.reserve(segment.body_bytes()) {
            Some(reserve) => Ok(Self::over(segment, shape, reserve, couriers)),
            None => Err(OpenError::Size {
                name: name.into(),
                expected: shape.body(4096) as u64,
                found: segment.body_bytes() as u64,
            }),
        }
    }

    #[inline]
    fn body(&self) -> &Body {
        // SAFETY: written by `make`, or checked by kind, size and shape. Alive with the segment.
        // A peer may write any bits: all fields are atomics.
        unsafe { &*self.area.base.wrapping_sub(DATA_AT).cast::<Body>() }
    }

    fn over(
        segment: &Segment,
        shape: Shape,
        reserve: usize,
        couriers: Vec<Option<Arc<Courier>>>,
    ) -> Vec<Self> {
        let stride = shape.body(reserve) / shape.rings;
        let ring = |(nth, courier): (usize, Option<Arc<Courier>>)| {
            let at = nth * stride;
            let ticker = Arc::new(Ticker::new());
            // Inside the body, which has room for it (see `make` and `Shape::reserve`).
            let tasks = segment.body();
            let tasks = tasks.wrapping_add(at + std::mem::offset_of!(Body, tasks));
            let part = |offset, reserve| Area {
                tasks: tasks.cast(),
                base: segment.body().wrapping_add(offset),
                segment: segment.clone(),
                offset,
                reserve,
                courier: courier.clone(),
                ticker: ticker.clone(),
            };
            // Half for records, half for the bytes of tasks; both sparse.
            let for_claims = if shape.tasks { reserve } else { 0 };
            Self {
                area: part(at + DATA_AT, reserve),
                claims: part(at + DATA_AT + reserve, for_claims),
                place: if shape.tasks {
                    (0, 0)
                } else {
                    (nth as u8, shape.rings as u8)
                },
                named: false,
            }
        };
        couriers.into_iter().enumerate().map(ring).collect()
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

    /// Is there a record to be had? As `!is_empty`, and also for one whose writer was stopped as
    /// soon as it was there.
    pub fn has_next(&self) -> bool {
        self.flow().has_next()
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
    /// claim, others get them, and one that was delivered too often becomes a dead letter; if it had taken them without, they are lost:
    ///
    /// # Errors
    ///
    /// [`TasksLost`] when nothing else is unfinished. Then they are written off: the next
    /// join does not tell of them again.
    pub fn join(&self, deadline: Deadline) -> Result<bool, TasksLost> {
        let lost = || {
            self.bury_the_over_delivered();
            self.write_off_lost()
        };
        self.flow().join(deadline, &|| self.tasks().done(), &lost)
    }

    /// Ends the ring for everybody: puts fail, what is queued can still be had.
    pub fn shut_down(&self) {
        self.flow().shut_down();
    }

    /// Was it ended for everybody?
    pub fn is_shut_down(&self) -> bool {
        self.body().state.signs.shut.load(Acquire) != 0 // PAIRS shut
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
