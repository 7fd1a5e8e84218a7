//! lock_api's traits on a robust lock.
//!
//! lock_api has no way to say that an owner died: so there are two raw locks. One panics,
//! the other grants.
#![allow(unsafe_code)]

use lock_api::{GuardNoSend, RawMutex, RawMutexTimed};
use multiproc_core::deadline::Deadline;
use multiproc_core::guarded::PlainData;
use multiproc_core::holder::ThreadLock;
use multiproc_segment::Shareable;
use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

mod sealed {
    /// Our raw locks: none has a safe method that unlocks.
    pub trait Ours: lock_api::RawMutex {}
}
use sealed::Ours;

/// The lock, and whether a holder died.
#[repr(C)]
#[derive(Shareable)]
struct Raw {
    lock: ThreadLock,
    /// 1 = a holder died, and nobody has said `mended`. Written by the holder only.
    damaged: AtomicU32,
}

impl Raw {
    const fn new() -> Self {
        Self {
            lock: ThreadLock::new(),
            damaged: AtomicU32::new(0),
        }
    }

    /// Notes what the lock says, before anything else is done with it.
    #[inline]
    fn note(&self, owner_died: bool) {
        if owner_died {
            self.damaged.store(1, Relaxed);
        }
    }

    /// True when the lock was taken; else it timed out.
    #[inline]
    fn acquire(&self, deadline: Deadline) -> bool {
        match self.lock.acquire(deadline) {
            Ok(owner_died) => {
                self.note(owner_died);
                true
            }
            Err(_) => false,
        }
    }

    #[inline]
    fn try_acquire(&self) -> bool {
        match self.lock.try_acquire() {
            Some(owner_died) => {
                self.note(owner_died);
                true
            }
            None => false,
        }
    }

    fn fmt(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{name}({}", self.lock.holder())?;
        if self.damaged.load(Relaxed) != 0 {
            write!(f, ", not mended")?;
        }
        write!(f, ")")
    }
}

macro_rules! raw_lock {
    ($(#[$meta:meta])* $name:ident: $granted:item) => {
        $(#[$meta])*
        #[repr(transparent)]
        #[derive(Shareable)]
        pub struct $name(Raw);

        impl $name {
            /// A free lock.
            pub const fn new() -> Self {
                Self(Raw::new())
            }

            /// Did a holder die, and nobody has said `mended` since?
            pub fn owner_died(&self) -> bool {
                self.0.damaged.load(Relaxed) != 0
            }

            /// What the lock protects is in order again. To be called by its holder, or when
            /// nobody else uses the lock.
            pub fn mended(&self) {
                self.0.damaged.store(0, Relaxed);
            }

            #[inline]
            $granted
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(stringify!($name), f)
            }
        }

        // SAFETY: a robust lock excludes, with acquire and release semantics, all threads of
        // all processes that share it. The state of an acquisition is in the lock's own word;
        // the guard is not `Send`, as the acquiring thread is the one to release. A guard that
        // is forgotten leaves the lock held. A lock that moves is not settled in a segment,
        // and so was never linked anywhere; one that is dropped while held just goes. `granted`
        // panics with the lock released.
        unsafe impl RawMutex for $name {
            #[allow(clippy::declare_interior_mutable_const)]
            const INIT: Self = Self::new();

            type Guard = GuardNoSend;

            #[inline]
            fn lock(&self) -> GuardNoSend {
                // A wait without a deadline does not time out.
                while !self.0.acquire(Deadline::NEVER) {}
                self.granted()
            }

            #[inline]
            fn try_lock(&self) -> Option<GuardNoSend> {
                self.0.try_acquire().then(|| self.granted())
            }

            #[inline]
            unsafe fn unlock(&self, _guard: GuardNoSend) {
                // False in a forked child, with a copy of its parent's guard: not its own.
                self.0.lock.release();
            }

            fn is_locked(&self) -> bool {
                self.0.lock.is_held()
            }
        }

        impl Ours for $name {}

        // SAFETY: as above.
        unsafe impl RawMutexTimed for $name {
            type Duration = Duration;
            type Instant = Instant;

            fn try_lock_for(&self, timeout: Duration) -> Option<GuardNoSend> {
                self.0.acquire(Deadline::after(timeout)).then(|| self.granted())
            }

            fn try_lock_until(&self, timeout: Instant) -> Option<GuardNoSend> {
                self.try_lock_for(timeout.saturating_duration_since(Instant::now()))
            }
        }
    };
}

raw_lock! {
    /// A raw mutex for lock_api whose `lock` panics when a holder died: once, and for all who
    /// come later, until [`mended`](Self::mended). The panic leaves the lock free.
    ///
    /// `lock_api::Mutex<RawLock, T>` works between threads; between processes it is
    /// [`ApiMutex<RawLock, T>`](ApiMutex).
    RawLock:
    fn granted(&self) -> GuardNoSend {
        if self.owner_died() {
            self.0.lock.release();
            panic!("the last holder died holding the lock, and nobody has mended what it protects");
        }
        GuardNoSend::new()
    }
}

raw_lock! {
    /// A raw mutex for lock_api that is granted also when a holder died: then
    /// [`owner_died`](Self::owner_died) says so, until [`mended`](Self::mended).
    ///
    /// `lock_api::Mutex<RawLockUnpoisoned, T>` works between threads; between processes it is
    /// [`ApiMutex<RawLockUnpoisoned, T>`](ApiMutex).
    RawLockUnpoisoned:
    fn granted(&self) -> GuardNoSend {
        GuardNoSend::new()
    }
}

/// A `lock_api::Mutex` in shared memory, which it derefs to: so code that is written for those
/// gets the types and guards that it knows.
///
/// ```rust,standalone_crate
/// use multiproc_lock::{ApiMutex, RawLock};
/// use multiproc_process::Process;
/// use multiproc_segment::Shared;
///
/// fn count<R: lock_api::RawMutex>(counter: &lock_api::Mutex<R, u64>) {
///     *counter.lock() += 1; // knows nothing of processes
/// }
///
/// let counter = Shared::new(ApiMutex::<RawLock, u64>::new(0))?;
/// let child = Process::start(|| count(&counter))?;
/// assert!(child.join()?.success());
/// count(&counter);
/// assert_eq!(*counter.lock(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// For the processes of one program. The compiler lays `lock_api::Mutex` out as it likes, and
/// two programs that meet by a name may disagree where the lock is: it is looked up at every
/// use, and if they do, using it panics.
#[repr(C)]
pub struct ApiMutex<R, T> {
    /// Where the raw lock and the data lie, as the process that made it sees them.
    layout: AtomicU32,
    inner: lock_api::Mutex<R, T>,
}

impl<R: Ours, T: PlainData> ApiMutex<R, T> {
    /// A free mutex around `value`.
    pub const fn new(value: T) -> Self {
        Self {
            layout: AtomicU32::new(0),
            inner: lock_api::Mutex::new(value),
        }
    }
}

impl<R: Ours, T> ApiMutex<R, T> {
    /// The raw lock, for its `owner_died` and `mended`.
    pub fn raw(&self) -> &R {
        // SAFETY: none of ours has a safe method that unlocks; those of RawMutex are unsafe.
        unsafe { self.deref().raw() }
    }

    #[inline]
    fn layout(&self) -> u32 {
        let from = (&raw const self.inner).addr();
        // SAFETY: only its address is taken.
        let raw = std::ptr::from_ref(unsafe { self.inner.raw() }).addr() - from;
        let data = self.inner.data_ptr().addr() - from;
        1 | (raw as u32) << 1 | (data as u32) << 16
    }
}

impl<R: Ours, T> Deref for ApiMutex<R, T> {
    type Target = lock_api::Mutex<R, T>;

    #[inline]
    fn deref(&self) -> &Self::Target {
        // 0: not in a segment. Relaxed: written before anybody else saw it.
        let layout = self.layout.load(Relaxed);
        assert!(
            layout == 0 || layout == self.layout(),
            "this mutex was made by a program that lays it out in another way"
        );
        &self.inner
    }
}

impl<R: Ours, T> fmt::Debug for ApiMutex<R, T>
where
    R: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ApiMutex").field(self.raw()).finish()
    }
}

// SAFETY: any bits are a raw lock of ours and a `T`, neither has an address or anything to
// drop, and all use is by atomics or under the lock. The one thing that is not fixed, the order
// of lock_api's two fields, is written down here and compared at every use.
unsafe impl<R: Ours + Shareable, T: PlainData> Shareable for ApiMutex<R, T> {
    unsafe fn settle(&self) {
        self.layout.store(self.layout(), Relaxed);
        // SAFETY: the caller's promise holds for what lies inside, too.
        unsafe { self.inner.raw().settle() }
    }
}
