//! How a process ends: what a child hands out ([`ExitValue`]), and what its parent gets to see
//! ([`Exit`]).

use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::fmt;
use std::io::Write;
use std::process::ExitCode;

/// How a child ended.
///
/// ```
/// use multiproc_process::Exit;
///
/// assert!(Exit::Code(0).success());
/// assert_eq!(Exit::Signal(9).code(), -9); // as Python's `exitcode`
/// assert_eq!(Exit::Signal(9).to_string(), "was killed by signal 9 (SIGKILL)");
/// ```
#[doc(alias = "exitcode")]
#[must_use = "a child that failed is noticed only here; `.ok()?` makes the failure an error"]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Exit {
    /// It ended by itself with this code, 0 to 255.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

impl Exit {
    /// Whether it ended by itself with code 0.
    pub const fn success(self) -> bool {
        matches!(self, Exit::Code(0))
    }

    /// One number, as Python has it: the code, or `-n` after signal `n`.
    #[doc(alias = "exitcode")]
    pub const fn code(self) -> i32 {
        match self {
            Exit::Code(n) => n,
            Exit::Signal(n) => -n,
        }
    }

    /// The signal that ended it, if one did.
    pub const fn signal(self) -> Option<i32> {
        match self {
            Exit::Code(_) => None,
            Exit::Signal(n) => Some(n),
        }
    }

    /// Turns anything but success into an error, for `?`.
    pub const fn ok(self) -> Result<(), ExitError> {
        if self.success() {
            Ok(())
        } else {
            Err(ExitError(self))
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Exit::Code(n) => write!(f, "ended with exit code {n}"),
            Exit::Signal(n) => match nix::sys::signal::Signal::try_from(n) {
                Ok(name) => write!(f, "was killed by signal {n} ({name})"),
                Err(_) => write!(f, "was killed by signal {n}"),
            },
        }
    }
}

/// A child ended, but not with success. From [`Exit::ok`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the child process {0}")]
pub struct ExitError(pub Exit);

/// What a child's function may return: it becomes the exit code.
///
/// | returned | exit code |
/// |---|---|
/// | `()` | 0 |
/// | `i32`, `u8` | that number, of which the system keeps the lowest eight bits |
/// | [`ExitCode`] | that code |
/// | `Ok(x)` | the code of `x` |
/// | `Err(e)` | 1, after `name: Error: {e:?}` on stderr |
/// | a panic | 1, after the panic message on stderr |
/// | `!`, [`Infallible`] | none: it does not return |
///
/// This is `std::process::Termination` with a number to see; implement it for types of your
/// own.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an exit code",
    note = "a child returns `()`, `i32`, `u8`, `ExitCode`, or a `Result` of these with an error that is `Debug`",
    note = "results go through a queue or a pipe, or are what a pool's tasks return"
)]
pub trait ExitValue {
    /// The exit code. Runs in the child, which is also the place to report an error.
    fn exit_code(self) -> i32;
}

impl ExitValue for () {
    fn exit_code(self) -> i32 {
        0
    }
}

impl ExitValue for i32 {
    fn exit_code(self) -> i32 {
        self & 0xff
    }
}

impl ExitValue for u8 {
    fn exit_code(self) -> i32 {
        self.into()
    }
}

impl ExitValue for ExitCode {
    fn exit_code(self) -> i32 {
        // std shows no number, but it compares.
        (0..=u8::MAX)
            .find(|&n| ExitCode::from(n) == self)
            .map_or(1, i32::from)
    }
}

impl ExitValue for Infallible {
    fn exit_code(self) -> i32 {
        match self {}
    }
}

/// Names the type that a function returns: the only way to write `!` in an impl today.
trait Returns {
    type Type;
}

impl<T> Returns for fn() -> T {
    type Type = T;
}

/// `|| loop { … }` and `|| panic!()`: closures that never return.
#[allow(
    private_interfaces,
    reason = "the helper stands for `!` and shows nowhere"
)]
impl ExitValue for <fn() -> ! as Returns>::Type {
    fn exit_code(self) -> i32 {
        self
    }
}

impl<T: ExitValue, E: fmt::Debug> ExitValue for Result<T, E> {
    fn exit_code(self) -> i32 {
        match self {
            Ok(value) => value.exit_code(),
            Err(error) => {
                // A closed stderr is no reason for another exit code.
                let _ = writeln!(
                    std::io::stderr(),
                    "{}: Error: {error:?}",
                    crate::current().name()
                );
                1
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exit_code_is_found() {
        for n in 0..=u8::MAX {
            assert_eq!(ExitCode::from(n).exit_code(), i32::from(n));
        }
        assert_eq!(ExitCode::SUCCESS.exit_code(), 0);
        assert_eq!(ExitCode::FAILURE.exit_code(), 1);
        assert_eq!((-1).exit_code(), 255);
        assert_eq!(Ok::<u8, ()>(7).exit_code(), 7);
    }

    #[test]
    fn exits_read_as_sentences() {
        assert_eq!(
            Exit::Code(3).ok().unwrap_err().to_string(),
            "the child process ended with exit code 3"
        );
        assert_eq!(Exit::Signal(40).to_string(), "was killed by signal 40");
        assert_eq!(Exit::Signal(15).code(), -15);
        assert_eq!(Exit::Signal(15).signal(), Some(15));
    }
}
