//! Text of a fixed capacity, as plain data.

use std::fmt;
use std::str::{FromStr, Utf8Error};
use thiserror::Error;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Up to `N` bytes of text, plain data for a [`crate::Value`], an [`crate::Array`] or a field
/// of your own struct.
///
/// Two views, as C's character arrays have them: [`FixedString::value`] ends before the first
/// NUL, [`FixedString::raw`] is all `N` bytes. What is shorter is filled up with NULs. Any
/// bytes are one, so it may hold bytes that are no UTF-8: [`FixedString::as_str`] says so.
///
/// ```
/// use multiproc_value::{FixedString, Value};
///
/// let name = Value::new(FixedString::<8>::new("hello")?)?;
/// assert_eq!(name.get().unwrap().as_str()?, "hello");
/// assert_eq!(name.get().unwrap().raw(), b"hello\0\0\0");
/// name.lock().unwrap().set_value(b"bye")?;
/// assert_eq!(name.get().unwrap(), "bye");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "create_string_buffer")]
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(transparent)]
pub struct FixedString<const N: usize>([u8; N]);

/// Text that does not fit. Nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TextError {
    /// Longer than the capacity.
    #[error("a text of {bytes} bytes does not fit: there is room for {most}")]
    TooLong {
        /// Bytes of the text.
        bytes: usize,
        /// Bytes there is room for.
        most: usize,
    },
    /// A NUL in it, which would end the value there.
    #[error("a text with a NUL character would end there (at byte {at})")]
    Nul {
        /// Where.
        at: usize,
    },
}

impl<const N: usize> FixedString<N> {
    /// No text: `N` NULs.
    pub const EMPTY: Self = Self([0; N]);

    /// This text.
    ///
    /// # Errors
    ///
    /// [`TextError`]: it is too long, or has a NUL in it.
    pub fn new(text: &str) -> Result<Self, TextError> {
        let mut new = Self::EMPTY;
        new.set_value(text.as_bytes())?;
        Ok(new)
    }

    /// All `N` bytes.
    pub const fn from_raw(raw: [u8; N]) -> Self {
        Self(raw)
    }

    /// The bytes before the first NUL: all, if there is none.
    pub fn value(&self) -> &[u8] {
        let end = self.0.iter().position(|byte| *byte == 0);
        &self.0[..end.unwrap_or(N)]
    }

    /// Overwrites all: these bytes, then NULs.
    ///
    /// # Errors
    ///
    /// [`TextError`]; nothing changed.
    pub fn set_value(&mut self, value: &[u8]) -> Result<(), TextError> {
        if value.len() > N {
            return Err(TextError::TooLong {
                bytes: value.len(),
                most: N,
            });
        }
        if let Some(at) = value.iter().position(|byte| *byte == 0) {
            return Err(TextError::Nul { at });
        }
        let (text, rest) = self.0.split_at_mut(value.len());
        text.copy_from_slice(value);
        rest.fill(0);
        Ok(())
    }

    /// All `N` bytes.
    pub const fn raw(&self) -> &[u8; N] {
        &self.0
    }

    /// All `N` bytes.
    pub const fn raw_mut(&mut self) -> &mut [u8; N] {
        &mut self.0
    }

    /// [`FixedString::value`] as text.
    ///
    /// # Errors
    ///
    /// It is no UTF-8.
    pub fn as_str(&self) -> Result<&str, Utf8Error> {
        std::str::from_utf8(self.value())
    }
}

impl<const N: usize> Default for FixedString<N> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl<const N: usize> FromStr for FixedString<N> {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        Self::new(text)
    }
}

impl<const N: usize> TryFrom<&str> for FixedString<N> {
    type Error = TextError;

    fn try_from(text: &str) -> Result<Self, TextError> {
        Self::new(text)
    }
}

/// By its value.
impl<const N: usize> PartialEq<str> for FixedString<N> {
    fn eq(&self, text: &str) -> bool {
        self.value() == text.as_bytes()
    }
}

/// By its value.
impl<const N: usize> PartialEq<&str> for FixedString<N> {
    fn eq(&self, text: &&str) -> bool {
        self == *text
    }
}

/// Its value; U+FFFD for what is no UTF-8.
impl<const N: usize> fmt::Display for FixedString<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&String::from_utf8_lossy(self.value()), f)
    }
}

impl<const N: usize> fmt::Debug for FixedString<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&String::from_utf8_lossy(self.value()), f)
    }
}
