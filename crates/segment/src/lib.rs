//! Shared memory as objects: [`Shared<T>`] is the `Arc` of processes.
//!
//! ```rust,standalone_crate
//! use multiproc_process::Process;
//! use multiproc_segment::Shared;
//! use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
//!
//! let hits = Shared::new(AtomicU64::new(0))?;
//! let child = Process::start(|| {
//!     hits.fetch_add(1, Relaxed);
//! })?;
//! assert!(child.join()?.success());
//! assert_eq!(hits.load(Relaxed), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The picture
//!
//! ```text
//! file      memfd (anonymous, sealed against shrinking and growing)
//!           or /dev/shm/multiproc.NAME (made unlinked, published by linkat)
//!
//! offset 0          256                    256 + resident         256 + body
//!        [ header ][ body, allocated      ][ body, sparse        ]
//!
//! header, rows of eight bytes
//!    0  magic            "multipr\x01"
//!    8  layout version   u32      16  body bytes       u64
//!   24  body alignment   u64      32  fixed-part bytes u64
//!   40  pid namespace    u64      48  tag hash         u64
//!   56  tag length       u64      64..192 the type tag, UTF-8
//! ```
//!
//! # States of a segment
//!
//! *being made* (no name, one process) → *published* (a name, or a handle that a fork
//! inherits) → *unlinked* (no name; lives while somebody maps it) → gone with the last
//! mapping. Inside one process: *mapped once* per inode, whatever the number of handles;
//! *parked* when the last handle goes while a lock in it is still held.
//!
//! A [temporary](Naming::temporary) name is *unlinked* by itself: by whoever lets go as the last
//! one, or, if that one was killed, by the next who looks. What the name is in between, *stale*,
//! nobody can open. That a name is temporary is written on the file (its sticky bit) and not in it.
//! `src/temporary.rs` has the protocol.
//!
//! # Invariants
//!
//! 1. Nobody sees a half-made segment: a name appears by `linkat`, after size, memory,
//!    header and body are in place.
//! 2. The header never changes after publication, and is read once, into a private copy.
//!    Whoever attaches checks the copy against the file and against what it expects.
//! 3. Everything below `256 + resident` is backed by memory that the file owns already
//!    (`fallocate`), so touching it cannot raise SIGBUS when memory is full.
//! 4. One mapping per inode per process, so a lock has one address here.
//! 5. A mapping goes away only when no lock inside is held by this process: the kernel's
//!    robust list may point into it.
//!
//! # If a process dies here
//!
//! While making: the memory goes with its last descriptor; no name was there yet. After
//! `linkat`: the segment is whole. While unlinking: the name is there, or it is not. A
//! forked child that exits or drops its handles unmaps its own view: names that are not
//! temporary are removed by [`unlink`] alone.
//!
//! # Looking from outside
//!
//! [`list`], [`look`] and [`Look`] tell what there is, whose it is, who maps it, and what its
//! bytes are, without taking part: nothing is mapped, no lock is taken, and what is temporary
//! is not kept by it. [`remove_stale`] removes left-over temporary names, and nothing else.
//!
//! # Limits, said openly
//!
//! A named segment cannot be sealed (`O_TMPFILE` files take no seals): whoever may write
//! to the file can truncate it, and the next touch is a SIGBUS. Names are 0600 unless
//! asked otherwise, so that somebody is you. A segment made in another PID namespace is
//! refused, because lock words hold thread ids.
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!("multiproc works on 64-bit Linux: it is built on futexes, memfds and pidfds");

// Lets the derive macro name this crate from inside, too.
extern crate self as multiproc_segment;

mod error;
mod header;
#[cfg(feature = "shared_memory")]
#[cfg_attr(docsrs, doc(cfg(feature = "shared_memory")))]
pub mod interop;
mod list;
pub mod local;
mod mapping;
mod message;
mod name;
mod naming;
pub mod parking;
mod segment;
mod shareable;
mod shared;
#[cfg(feature = "steps")]
pub mod step;
#[cfg(not(feature = "steps"))]
mod step;
mod temporary;
#[doc(hidden)]
pub mod trace;

pub use error::{AllocateError, CreateError, NameError, OpenError, UnlinkError};
pub use header::{HEADER_BYTES, Header, HeaderError, Kind, LAYOUT_VERSION};
pub use list::{Attachment, Content, Look, Named, list, look, remove_stale};
pub use name::unlink;
pub use naming::Naming;
pub use segment::Segment;
pub use shareable::{Shareable, type_tag};
pub use shared::{OpenOrCreateError, Shared, SharedOptions, open_or_create};

pub use multiproc_derive::Shareable;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
