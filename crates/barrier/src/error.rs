use std::convert::Infallible;
use thiserror::Error;

/// No barrier is for so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PartiesError {
    /// For nobody.
    #[error("a barrier is for at least 1 party")]
    Zero,
    /// More than it has places for.
    #[error("{parties} parties, and places for {places}")]
    TooMany {
        /// Parties asked for.
        parties: usize,
        /// Places of the type.
        places: usize,
    },
}

/// The barrier is broken, or was broken while this call waited: by a timeout, an abort, a
/// reset, an action that failed, or the death of somebody who waited. Until
/// [`Barrier::reset`](crate::Barrier::reset), every wait says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[doc(alias = "BrokenBarrierError")]
#[error("the barrier is broken")]
pub struct BrokenBarrier;

/// Why [`Barrier::wait_with`](crate::Barrier::wait_with) did not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WaitError<E> {
    /// The barrier is broken.
    #[error("the barrier is broken")]
    Broken,
    /// This call's action failed, and the barrier is broken for the others.
    #[error("the action failed: {0}")]
    Action(E),
}

impl<E> WaitError<E> {
    /// The action's error, if that was the reason.
    pub fn into_action(self) -> Option<E> {
        match self {
            Self::Broken => None,
            Self::Action(error) => Some(error),
        }
    }

    /// The same with the action's error as a sentence.
    pub fn in_words(self) -> WaitError<String>
    where
        E: std::fmt::Display,
    {
        match self {
            Self::Broken => WaitError::Broken,
            Self::Action(error) => WaitError::Action(error.to_string()),
        }
    }
}

impl<E> From<BrokenBarrier> for WaitError<E> {
    fn from(_: BrokenBarrier) -> Self {
        Self::Broken
    }
}

impl From<WaitError<Infallible>> for BrokenBarrier {
    fn from(_: WaitError<Infallible>) -> Self {
        Self
    }
}

/// What an action may return: nothing, or a `Result`.
pub trait Outcome {
    /// How it can fail.
    type Error;
    /// As a `Result`.
    ///
    /// # Errors
    ///
    /// The action's own.
    fn into_result(self) -> Result<(), Self::Error>;
}

impl Outcome for () {
    type Error = Infallible;
    fn into_result(self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl<E> Outcome for Result<(), E> {
    type Error = E;
    fn into_result(self) -> Self {
        self
    }
}
