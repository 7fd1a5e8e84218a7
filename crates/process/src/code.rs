//! Functions of this program as numbers that other processes of it call: what a pool of workers
//! writes into shared memory in place of an address.
//!
//! A [`Code`] is where two functions lie, as distances from the image's base, and a *seal* over
//! both, which only [`Functions`] with the same secret makes. Whoever calls checks the seal first.
//! So bytes that a stray process has written where a `Code` should be are an error, and never a
//! jump.
//!
//! If a process dies here: nothing is shared.

use crate::sys;
use crate::sys::image::Image;
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher24;
use std::any::Any;
use std::fmt;
use std::hash::Hasher;
use std::io;

/// Where functions are, and the proof that somebody who knew the secret said so.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Code {
    /// Of the function that knows the other's type.
    pub via: u64,
    /// Of the function to be called.
    pub function: u64,
    /// Over both.
    pub seal: u64,
}

/// This is no function that somebody with the secret named.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the function's number is not one that this program wrote")]
pub struct NotOurs;

/// Names functions and calls them by their names, for those who share its secret: this process, the
/// children that it forks, and those of the same program that it is sent to.
///
/// ```
/// use multiproc_process::Functions;
/// use std::any::Any;
///
/// fn via(double: fn(u32) -> u32, n: &mut dyn Any) {
///     if let Some(n) = n.downcast_mut::<u32>() {
///         *n = double(*n);
///     }
/// }
///
/// let functions = Functions::new()?;
/// let double: fn(u32) -> u32 = |n| 2 * n;
/// let mut code = functions.name(via, double).expect("a function of this program");
/// let mut n = 21_u32;
/// functions.call(code, &mut n)?; // in a forked child, say
/// assert_eq!(n, 42);
///
/// code.function += 1;
/// assert!(functions.call(code, &mut n).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Serialize, Deserialize)]
pub struct Functions {
    secret: (u64, u64),
}

/// A plain function's type: `fn()`, `fn(A)` or `fn(A, B)`, whatever it returns.
///
/// # Safety
///
/// A value of it is a function pointer of Rust's own calling convention, and `address` is its
/// address.
pub unsafe trait FunctionPointer: Copy {
    /// Where the function lies.
    fn address(self) -> *const ();
}

// SAFETY: a function pointer, and its address.
unsafe impl<R> FunctionPointer for fn() -> R {
    fn address(self) -> *const () {
        self as *const ()
    }
}

// SAFETY: a function pointer, and its address.
unsafe impl<A, R> FunctionPointer for fn(A) -> R {
    fn address(self) -> *const () {
        self as *const ()
    }
}

// SAFETY: a function pointer, and its address.
unsafe impl<A, B, R> FunctionPointer for fn(A, B) -> R {
    fn address(self) -> *const () {
        self as *const ()
    }
}

impl Functions {
    /// With a new secret.
    ///
    /// # Errors
    ///
    /// The system gives no random bytes.
    pub fn new() -> io::Result<Self> {
        let mut bytes = [0; 16];
        sys::random(&mut bytes)?;
        let (a, b) = bytes.split_at(8);
        let word = |half: &[u8]| {
            half.iter()
                .fold(0, |word, byte| word << 8 | u64::from(*byte))
        };
        Ok(Self {
            secret: (word(a), word(b)),
        })
    }

    /// With a secret that others of this program know, too.
    pub fn with_secret(secret: u128) -> Self {
        Self {
            secret: ((secret >> 64) as u64, secret as u64),
        }
    }

    /// The name under which `via(function, …)` can be called; `None` if one of the two is not part
    /// of the program's own file.
    pub fn name<F: FunctionPointer>(&self, via: fn(F, &mut dyn Any), function: F) -> Option<Code> {
        let image = Image::ours();
        let via = image.offset(via as *const ())?;
        let function = image.offset(function.address())?;
        Some(Code {
            via,
            function,
            seal: self.seal(via, function),
        })
    }

    /// Calls what was named so: `via(function, argument)`.
    ///
    /// # Errors
    ///
    /// [`NotOurs`]; then nothing was called.
    pub fn call(&self, code: Code, argument: &mut dyn Any) -> Result<(), NotOurs> {
        if self.seal(code.via, code.function) != code.seal {
            return Err(NotOurs);
        }
        let image = Image::ours();
        let via = image.code_at(code.via).ok_or(NotOurs)?;
        let function = image.code_at(code.function).ok_or(NotOurs)?;
        // SAFETY: the seal is right, and covers the build: `Functions::name` wrote both, in this very
        // program, of an `F` that is a function pointer and of an `fn(F, &mut dyn Any)`. Function
        // pointers may stand for each other in a call's arguments, and `via` turns this one back
        // into an `F` by taking it as one.
        let (via, function) = unsafe {
            (
                std::mem::transmute::<*const (), fn(fn(), &mut dyn Any)>(via),
                std::mem::transmute::<*const (), fn()>(function),
            )
        };
        via(function, argument);
        Ok(())
    }

    fn seal(&self, via: u64, function: u64) -> u64 {
        let mut hasher = SipHasher24::new_with_keys(self.secret.0, self.secret.1);
        hasher.write_u64(via);
        hasher.write_u64(function);
        hasher.write(Image::ours().identity());
        hasher.finish()
    }
}

/// Does not show the secret.
impl fmt::Debug for Functions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Functions").finish_non_exhaustive()
    }
}
