//! Values, arrays, raw memory and lists that processes share.
//!
//! ```rust,standalone_crate
//! use multiproc_process::Process;
//! use multiproc_value::{Array, Value};
//!
//! let total = Value::new(0_u64)?;
//! let squares = Array::<u64>::zeroed(4)?;
//! let child = Process::start(|| {
//!     *total.lock().unwrap() += 1; // a get and a set would lose what others add
//!     for (n, square) in squares.lock().unwrap().iter_mut().enumerate() {
//!         *square = (n * n) as u64;
//!     }
//! })?;
//! child.join()?.ok()?;
//! assert_eq!(total.get().unwrap(), 1);
//! assert_eq!(squares.to_vec().unwrap(), [0, 1, 4, 9]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | type | is |
//! |---|---|
//! | [`Value`] | one piece of plain data, with its lock; by name, too |
//! | [`Array`] | a slice of it, of a length known at run time |
//! | [`RawValue`], [`RawArray`] | the same without a lock: copies that may be torn |
//! | [`FixedString`] | text, as plain data |
//! | [`SharedMemory`] | raw bytes by name |
//! | [`ShareableList`] | numbers, texts and bytes, one slot each |
//!
//! What is [`Plain`] says zerocopy. For one number without a lock there is
//! `Shared<AtomicU64>`; for data and locks in one struct of yours, `Shared` of that struct.
//!
//! # One lock for several
//!
//! A value or an array that is made with a given lock is locked by that one, and by no other:
//! so what belongs together changes together.
//!
//! ```
//! use multiproc_lock::Mutex;
//! use multiproc_segment::Shared;
//! use multiproc_value::{Array, Value};
//!
//! let books = Shared::new(Mutex::new(()))?;
//! let under = Value::<i64>::options().lock(&books);
//! let (from, to) = (under.build(100)?, under.build(0)?);
//! let journal = Array::<i64>::options().lock(&books).zeroed(10)?;
//!
//! let mut held = books.lock().unwrap();
//! *from.under(&mut held)? -= 30;
//! *to.under(&mut held)? += 30;
//! journal.under(&mut held)?[0] = 30;
//! drop(held);
//!
//! assert_eq!(from.get().unwrap() + to.get().unwrap(), 100); // each takes the same lock
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Who holds the lock goes through `under` (or [`both`]); their `get`, `set` and `lock` would
//! wait for it for ever. A guard of another lock is refused.
//!
//! # As messages
//!
//! Each of these goes through a queue or a connection, and the receiver has the same object:
//! forked before it was made, or not at all. With a value or an array goes the lock that was
//! given to it. What has a name keeps it.
//!
//! # States
//!
//! The data under a lock is *in order* → *in work* (somebody holds the lock) → in order, when
//! the guard is dropped. If the holder ends without that: *in doubt*. From then on every `lock`,
//! `get` and `set`, in whatever process, gives `OwnerDied` with the guard and does nothing else,
//! until a guard's [`mended`](Guard::mended) says that the data is in order again.
//!
//! # Invariants
//!
//! 1. Plain data is read and written by the holder of its lock, and by nobody else. The raw
//!    types and [`SharedMemory`] have no lock and give no references: they copy, by atomic
//!    accesses to whole words.
//! 2. How many items there are says the size of the segment, of which each process has its own
//!    checked copy: no number in shared memory becomes an index unchecked.
//! 3. Bytes are checked to be a `T` after the lock was taken, each time, where not all bytes
//!    are. Where all are, this costs nothing.
//! 4. Memory is zeroed when it is made, and allocated: touching it cannot fail later.
//!
//! # If a process dies here
//!
//! * in `get`, `set`, or with a guard: the lock is free at once (the kernel frees it), the data
//!   in doubt. Also after a `get`, which wrote nothing: the lock does not tell the two apart.
//! * between the last write and the release: in doubt, though it was done.
//! * in `mended`: in doubt still, or in order.
//! * in a raw `set` or `write_at`: some words are new, some old; nobody is told.
//! * in [`ShareableList::set`]: the item is the old or the new one; nobody needs to be told.
//! * while it waits: nobody notices.
//!
//! Names are removed by `unlink` alone, as everywhere, unless they were made `temporary`.
//!
//! # Trust
//!
//! A peer can write anything into what it was given. `get`, `set`, and all that has no lock,
//! take any bytes: garbage where a `bool` should be is [`LockError::Corrupted`]. A guard gives
//! a reference, and so assumes that while it lives nobody writes without the lock.
#![deny(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod array;
mod cells;
mod error;
mod guard;
mod item;
mod iter;
mod list;
mod memory;
mod options;
mod place;
mod raw;
mod text;
mod travel;
mod value;
mod words;

pub use array::Array;
pub use cells::{Guarded, Plain, both};
pub use error::{
    CreateError, Handed, ItemError, LockError, LockTimeoutError, NoSuchItem, OpenError,
    OpenOrCreateError, OutOfRange, TryLockError, UnderError, UnlinkError,
};
pub use guard::Guard;
pub use item::{GetItemError, IndexOfError, Item, SetItemError};
pub use iter::{Indexed, Iter};
pub use list::ShareableList;
pub use memory::SharedMemory;
pub use options::Options;
pub use raw::{RawArray, RawValue};
pub use text::{FixedString, TextError};
pub use value::Value;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
