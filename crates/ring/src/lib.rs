//! A ring of records in shared memory, for any number of writers and readers in any
//! process, each of whom may be killed at any instruction.
//!
//! ```rust,standalone_crate
//! use multiproc_process::Process;
//! use multiproc_ring::{Ring, Settings, Wait};
//!
//! let ring = Ring::anonymous("demo", &Settings::default())?;
//! let child = Process::start(|| ring.put(b"hello", Wait::FOREVER).map_err(|e| e.to_string()))?;
//! let mut message = Vec::new();
//! ring.get_into(&mut message, Wait::FOREVER)?;
//! assert_eq!(message, b"hello");
//! assert!(child.join()?.success());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The picture
//!
//! ```text
//! state   put  { robust lock, frontier, count, start, top, window, … }
//!         get  { robust lock, head = items | run | offset }
//!         bells, ends of writers and readers
//!
//! data    0        head                     frontier      window         reserve
//!         [ free   ][ rec ][ rec ][ rec ][ 0 ][ free       ][ not allocated ]
//!
//! record  header u64 = COMMIT | JUMP | CARRIES | seq 29 bits | length 32 bits, then the bytes,
//!         padded to 8. With JUMP the low half is the offset (in 8-byte units) at which
//!         the chain goes on.
//! ```
//!
//! Records are never fragmented. Where the next one does not fit, a JUMP leads to offset 0
//! (wrap), or to memory above everything in use (when the reader stands between). A *run*
//! is the stretch between two jumps; writer and reader are at most two runs apart.
//!
//! # Invariants
//!
//! 1. The header at the frontier is 0, and a record takes room for itself and for the
//!    frontier header after it.
//! 2. A record exists from the one store that makes its header non-zero (COMMIT). Before
//!    it, everything behind is in place: the bytes, and the 0 after them.
//! 3. A record is gone from the one store to `head` (RELEASE), the last step of a get.
//! 4. Everything in `put` but the lock is derived: it can be had again by walking the
//!    chain from the frontier as it was last written down. Only the holder of the put lock
//!    writes it; only the holder of the get lock writes `head`.
//! 5. Whoever waits for data (room) has the get (put) lock; the others wait for the lock.
//!
//! # If a process dies here
//!
//! * putting, before COMMIT: its bytes lie beyond the frontier, where nobody looks. The
//!   next writer gets the lock (owner died) and finds a zero header: nothing to do.
//! * after COMMIT: the record counts. The next writer walks the frontier past it. A reader
//!   does not even notice, but perhaps that no bell rang: it looks again within a slice.
//! * waiting for room, or for data: the kernel hands the lock on.
//! * getting, before RELEASE: nothing happened; the next reader gets the record. After:
//!   the record is gone with the reader that took it.
//! * growing: memory was allocated and nobody uses it yet; the next growth allocates the
//!   same range again.
//! * giving memory back (a reader that empties a large ring, under both locks): each store
//!   leaves a ring that works; what was not given back is at the next time.
//! * with a task in hand (taken with a claim): it is delivered again. States and deaths of
//!   claims stand in `tasks.rs`.
//!
//! # Descriptors and `poll`
//!
//! Beside the memory there may be a *courier* ([`multiproc_core::courier`]): a socket in which
//! the descriptors of a record wait until it is read, and that becomes readable when something
//! comes, for those who wait with `poll`. A record with descriptors says so in its header
//! (CARRIES) and begins with their tag; they are deposited before COMMIT and removed after
//! RELEASE. What happens to them when somebody dies stands with the courier, the bells with
//! `flow/watch.rs`.
//!
//! # Waking without being asked costs nothing
//!
//! A reader that wants to sleep marks the *put* lock ([`ask_for_bell`]): the next writer's
//! release fails its fast path, rings and wakes. Writer and reader meet in one word, so
//! no fence is needed, and a release that nobody waits for is one compare-and-swap.
//!
//! [`ask_for_bell`]: multiproc_core::robust::RobustLock::ask_for_bell
//!
//! # Trust
//!
//! A peer may write anything into the segment. Offsets and lengths are checked against our
//! own copy of the reserve before use; garbage is [`Corrupted`](PutError::Corrupted), and
//! every walk is bounded.

#[cfg(not(loom))]
mod area;
mod error;
#[cfg_attr(not(loom), allow(unreachable_pub))] // public for the loom models
mod flow;
mod place;
mod record;
#[cfg(not(loom))]
mod ring;
#[cfg_attr(not(loom), allow(unreachable_pub))] // public for the loom models
mod state;
#[cfg(not(loom))]
mod tasks;

pub use error::{CarryError, GetError, PutError};
#[cfg(loom)]
pub use flow::{Claimed, Flow, Memory, Reserved, Wait};
#[cfg(not(loom))]
pub use ring::{Claim, Reservation, Ring, Settings, Wait};
#[cfg(loom)]
pub use state::State;
#[cfg(not(loom))]
pub use tasks::{MOST_TASKS, MOST_WORKERS, Task, TasksLost};

/// The README is a test, too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
