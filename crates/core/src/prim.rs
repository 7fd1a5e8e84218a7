//! The loom seam: whatever can race comes from here.

#[cfg(not(loom))]
pub use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

#[cfg(loom)]
pub use loom::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

/// One pause of a spinning wait.
#[inline]
pub fn pause() {
    #[cfg(not(loom))]
    std::hint::spin_loop();
    #[cfg(loom)]
    loom::thread::yield_now();
}

/// A `const fn` in a normal build, a plain one under loom (whose atomics are made at run
/// time).
#[macro_export]
macro_rules! const_unless_loom {
    ($(#[$meta:meta])* $vis:vis fn $($rest:tt)*) => {
        #[cfg(not(loom))]
        $(#[$meta])* $vis const fn $($rest)*
        #[cfg(loom)]
        $(#[$meta])* $vis fn $($rest)*
    };
}

/// `good` in every build but a model's that breaks this place on purpose (see
/// `model::must_notice`): the twin that must fail.
#[macro_export]
macro_rules! unless_broken {
    ($place:literal, $good:expr, $bad:expr) => {{
        #[cfg(not(loom))]
        {
            $good
        }
        #[cfg(loom)]
        if $crate::model::is_broken($place) {
            $bad
        } else {
            $good
        }
    }};
}
