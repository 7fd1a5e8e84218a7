//! How messages travel through a ring.
//!
//! ```rust,standalone_crate
//! use multiproc_message::codec::{Codec, Serde};
//! use multiproc_process::Process;
//! use multiproc_ring::{Ring, Settings, Wait};
//!
//! let ring = Ring::anonymous("demo", &Settings::default())?;
//! let child = Process::start(|| {
//!     let message = ("answer".to_owned(), 42_u32);
//!     <Serde as Codec<_>>::put(&ring, &message, Wait::FOREVER).unwrap();
//! })?;
//! let got: (String, u32) = Serde::get(&ring, Wait::FOREVER).unwrap();
//! assert_eq!(got, ("answer".into(), 42));
//! assert!(child.join()?.success());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`codec`] | messages as bytes: serde, plain data, bytes; the descriptors of handles in them |
//! | [`ends`] | registered ends: what the other side hears of them, and how they travel |
//! | [`ready`] | waiting for many things at a time |
//! | `asynchronous` | the same for tasks of tokio (feature `tokio`) |
//! | [`loan`] | bytes written and read in place |
//!
//! If a process dies here: this crate has no state of its own; see `multiproc_ring` for the
//! records and `multiproc_core::courier` for the descriptors.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "tokio")]
#[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
pub mod asynchronous;
pub mod codec;
pub mod ends;
mod error;
pub mod loan;
pub mod ready;

/// For the macros.
#[doc(hidden)]
pub mod private {
    pub use multiproc_ring::{GetError as RingGetError, PutError as RingPutError};
    pub use thiserror::Error;
}

/// The README is a test, too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
