//! What the toolkit tells the subscriber of the package `tracing`: rare things that somebody who
//! looks for a fault wants to know. With the feature `tracing` off, nothing of this is there.
//!
//! Told is what *has* happened, after the toolkit's own locks are free again: a subscriber is user
//! code, and may be slow, panic, or use the toolkit itself.

#[cfg(feature = "tracing")]
#[doc(hidden)]
pub use tracing;

/// An event with the target `multiproc`: a level (`warn`, `debug`), then what the macro of that
/// name takes. Without the feature `tracing` nothing, and nothing in it is evaluated.
#[cfg(feature = "tracing")]
#[doc(hidden)]
#[macro_export]
macro_rules! trace {
    ($level:ident, $($told:tt)+) => {
        $crate::trace::tracing::$level!(target: "multiproc", $($told)+)
    };
}

/// Nothing: the feature `tracing` is off.
#[cfg(not(feature = "tracing"))]
#[doc(hidden)]
#[macro_export]
macro_rules! trace {
    ($($told:tt)+) => {};
}
