use crate::area::Area;
use crate::error::{CarryError, GetError, PutError};
use crate::flow::{Claimed, Flow, Reserved};
use crate::record::{self, MOST_RESERVE, Position, UNIT};
use crate::state::State;
use crate::tasks::{Tasks, TasksLost};
use multiproc_core::courier::{Courier, MOST_DESCRIPTORS, Withdrawal};
use multiproc_core::deadline::Deadline;
use multiproc_core::ends::Ends;
use multiproc_core::fd::Ticker;
use multiproc_core::{fd, step};
use multiproc_segment::{CreateError, Kind, Naming, OpenError, Segment, Shareable};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

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

/// Room for one record, written in place. Dropped without [`Reservation::commit`], it was
/// never there.
#[must_use = "a reservation that is dropped puts nothing"]
pub struct Reservation<'a>(Reserved<'a, &'a Area>);

/// The next record, read in place. Dropped without [`Claim::release`], it stays the next.
#[must_use = "a claim that is dropped gets nothing"]
pub struct Claim<'a>(Claimed<'a, &'a Area>);

impl fmt::Debug for Reservation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Reservation");
        shown.field("bytes", &self.0.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Claim<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Claim");
        shown.field("bytes", &self.0.len()).finish_non_exhaustive()
    }
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
    /// *Blocks*, *wakes* and *if a peer dies*: as [`Ring::reserve`].
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
    /// of them are given up in one step. One with descriptors comes alone, if it is the first,
    /// and they are in `fds`. *Blocks*, *wakes* and *if a peer dies*: as
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
        fds: &mut Vec<OwnedFd>,
        wait: Wait<'_>,
    ) -> Result<usize, GetError> {
        self.flow().get_many(most, wait, |area, at, len, tag| {
            if tag.is_some() {
                *fds = self.withdraw(tag)?;
            }
            area.append_to(at, len, to);
            lens.push(len);
            Ok(())
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
    /// *Blocks*, *wakes* and *if a peer dies*: as [`Ring::claim`].
    ///
    /// # Errors
    ///
    /// See [`GetError`].
    #[inline]
    pub fn get_into(&self, to: &mut Vec<u8>, wait: Wait<'_>) -> Result<(), GetError> {
        self.flow().get(wait, |area, at, len, _| {
            area.read_into(at, len, to);
            Ok(())
        })
    }

    /// Puts one record with descriptors, the last `tokens` of which are held on behalf of the
    /// record (see [`multiproc_core::fd::hold`]). *Blocks until* there is room for both; *wakes* and
    /// *if a peer dies*: as [`Ring::reserve`].
    ///
    /// # Errors
    ///
    /// See [`PutError`].
    #[cold]
    pub fn put_carrying(
        &self,
        bytes: &[u8],
        fds: &[OwnedFd],
        tokens: usize,
        wait: Wait<'_>,
    ) -> Result<(), PutError> {
        let refused = |e| Err(PutError::Carry(e));
        let Some(courier) = &self.area.courier else {
            return refused(CarryError::NoCourier);
        };
        if fds.len() > MOST_DESCRIPTORS {
            return refused(CarryError::TooMany(fds.len()));
        }
        let tokens = tokens.min(fds.len()) as u8; // at most 253
        self.flow().put_carrying(
            bytes,
            tokens,
            wait,
            &|tag| match courier.deposit(tag, fds) {
                Ok(()) => Ok(true),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(false),
                Err(e) => match e.raw_os_error() {
                    Some(libc::ETOOMANYREFS) => refused(CarryError::TooManyOnTheirWay),
                    Some(libc::ENOMEM | libc::ENOBUFS) => {
                        Err(PutError::NoMemory { bytes: bytes.len() })
                    }
                    other => refused(CarryError::Refused(other.unwrap_or(0))),
                }
                .map(|()| false),
            },
        )
    }

    /// Gets one record into `to`, and its descriptors into `fds`; replaces the content of
    /// both. Descriptors that went with a process which died taking them are missing.
    ///
    /// *Blocks*, *wakes* and *if a peer dies*: as [`Ring::claim`].
    ///
    /// # Errors
    ///
    /// See [`GetError`].
    #[inline]
    pub fn get_carried(
        &self,
        to: &mut Vec<u8>,
        fds: &mut Vec<OwnedFd>,
        wait: Wait<'_>,
    ) -> Result<(), GetError> {
        fds.clear();
        self.flow().get(wait, |area, at, len, tag| {
            if tag.is_some() {
                *fds = self.withdraw(tag)?;
            }
            area.read_into(at, len, to);
            Ok(())
        })
    }

    /// [`Ring::get_carried`], and `note` of the record's number ([`Ring::released`] as it is now)
    /// and its bytes, just before the record is given up: whoever dies after that has left a note,
    /// and one whose number is that at the head was never given up.
    ///
    /// *Blocks*, *wakes* and *if a peer dies*: as [`Ring::claim`].
    ///
    /// # Errors
    ///
    /// See [`GetError`].
    pub fn get_noted(
        &self,
        to: &mut Vec<u8>,
        fds: &mut Vec<OwnedFd>,
        wait: Wait<'_>,
        note: impl FnOnce(u32, &[u8]),
    ) -> Result<(), GetError> {
        fds.clear();
        let flow = self.flow();
        let guard = flow.lock_get(&wait)?;
        let found = match flow.look_at_once() {
            Some(found) => found,
            None => flow.wait_for_data(wait)?,
        };
        if let label @ Some(_) = flow.tag(found) {
            *fds = self.withdraw(label)?;
        }
        self.area.read_into(found.at(), found.len(), to);
        note(found.position.items, to);
        step!("get: noted");
        flow.end_get(found);
        flow.unlock_get(guard);
        step!("get: end");
        Ok(())
    }

    /// Records given up since the ring was made, modulo 2^32.
    pub fn released(&self) -> u32 {
        // Acquire. PAIRS room: what the readers noted before they gave records up is seen.
        Position::read(self.flow().state.get.head.load(Acquire)).items
    }

    /// Under the get lock: the descriptors with this label. What the tokens among them hold,
    /// this process holds from now on: the record is in its hands, wherever copies of the
    /// descriptors lie.
    #[cold]
    pub(crate) fn withdraw(&self, label: Option<u64>) -> Result<Vec<OwnedFd>, GetError> {
        let (Some(label), Some(courier)) = (label, &self.area.courier) else {
            return Ok(Vec::new());
        };
        let (tag, tokens) = record::read_label(label);
        let mut fds = match courier.look(tag) {
            Ok(fds) => fds,
            Err(Withdrawal::Missing) => return Ok(Vec::new()),
            Err(Withdrawal::NoDescriptors) => return Err(GetError::NoDescriptors),
        };
        step!("get: descriptors copied");
        let others = fds.len().saturating_sub(tokens);
        fd::take_over(&mut fds[others..]).map_err(|_| GetError::NoDescriptors)?;
        step!("get: tokens taken over");
        Ok(fds)
    }

    /// Drops the descriptors of all records, if there are some and `nobody` will get them.
    pub fn drop_descriptors_if(&self, nobody: impl FnOnce() -> bool) {
        if let Some(courier) = &self.area.courier
            && !courier.is_empty()
            && nobody()
        {
            courier.clear();
        }
    }

    /// The socket that becomes readable when an armed bell is rung.
    pub fn courier(&self) -> Option<BorrowedFd<'_>> {
        self.area.courier.as_ref().map(|courier| courier.as_fd())
    }

    /// The same, if everybody who puts rings it: not those who opened a ring by name.
    pub fn bell(&self) -> Option<BorrowedFd<'_>> {
        self.rung().map(|courier| courier.as_fd())
    }

    /// The courier, if everybody who puts has it.
    fn rung(&self) -> Option<&Courier> {
        self.area.courier.as_deref().filter(|_| !self.named)
    }

    /// A number that no other courier of this process ever has.
    pub fn courier_number(&self) -> Option<u64> {
        self.area.courier.as_ref().map(|courier| courier.number())
    }

    /// Arms the courier's bell for the next record. True: nothing is there; the courier becomes
    /// readable when that is no longer so, or an end has changed since. False: look again. With
    /// `quieten`, the courier is not readable any more for what it has told. Never blocks.
    #[must_use]
    pub fn arm_data(&self, quieten: bool) -> bool {
        self.flow().arm_data(quieten)
    }

    /// What to give to [`Ring::arm_room`]; to be asked before the put that finds no room.
    pub fn head_seen(&self) -> u64 {
        self.flow().head_seen()
    }

    /// Arms the courier's bell for the next release of a record. True: none was released
    /// since `seen`. False: look again. Never blocks.
    #[must_use]
    pub fn arm_room(&self, seen: u64) -> bool {
        self.flow().arm_room(seen)
    }

    /// Makes the courier readable.
    pub fn ring_watchers(&self) {
        if let Some(courier) = &self.area.courier {
            courier.ring();
        }
    }

    /// What an event loop of the user's own waits for; and [`Ring::is_watched`] from now on. It
    /// is armed by whoever asks for it.
    ///
    /// # Panics
    ///
    /// Without a courier, if this process can have no more descriptors.
    pub fn watched(&self) -> BorrowedFd<'_> {
        match self.rung() {
            Some(courier) => courier.watched(),
            None => self.area.ticker.as_fd(),
        }
    }

    /// Does an event loop in this process wait for it? Then who finds nothing arms it again.
    #[inline]
    pub fn is_watched(&self) -> bool {
        match self.rung() {
            Some(courier) => courier.is_watched(),
            None => self.area.ticker.is_there(),
        }
    }

    /// Without a courier: what [`Ring::watched`] gave is not readable any more, until its next
    /// tick.
    pub fn quieten_ticker(&self) {
        self.area.ticker.quieten();
    }

    /// Gets one record into `to`, if it has exactly as many bytes; tells how many it had. It
    /// is consumed in any case.
    ///
    /// *Blocks*, *wakes* and *if a peer dies*: as [`Ring::claim`].
    ///
    /// # Errors
    ///
    /// See [`GetError`].
    #[inline]
    pub fn get_exact(&self, to: &mut [u8], wait: Wait<'_>) -> Result<usize, GetError> {
        self.flow().get(wait, |area, at, len, _| {
            if len == to.len() {
                // SAFETY: a record, so checked against the reserve; `to` has exactly so many.
                unsafe { area.read(at, len, to.as_mut_ptr()) }
            }
            Ok(len)
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
