//! Objects in a server process, and proxies for them that travel.
//!
//! ```rust,standalone_crate
//! use multiproc_manager::Manager;
//! use multiproc_process::{Process, join_all};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let manager = Manager::start()?;
//! let visits = manager.dict::<String, u32>()?;
//! let children = Process::start_each(["a", "b", "a"], |page| {
//!     visits.fetch_add(page, 1).unwrap();
//! })?;
//! join_all(children)?;
//! assert_eq!(visits.get("a")?, Some(2));
//! manager.shut_down()?;
//! # Ok(())
//! # }
//! ```
//!
//! | type | is |
//! |---|---|
//! | [`Manager`] | starts a server, or connects to one; makes objects |
//! | [`Dict`], [`List`], [`Set`], [`Namespace`], [`Value`], [`Array`] | values of anything with serde |
//! | [`Queue`], [`JoinableQueue`] | first in, first out |
//! | [`Pool`] | worker processes of the server, for tasks of all its clients |
//! | [`Lock`], [`RLock`], [`Semaphore`], [`BoundedSemaphore`], [`Event`], [`Condition`], [`Barrier`] | what Python has under these names |
//! | [`managed!`] | the same for a type of your own |
//! | [`Server`] | a server in this process, for programs that connect |
//!
//! # When to take it
//!
//! What lies in shared memory (`multiproc::Queue`, `Value`, `Mutex`, …) needs no server, is
//! faster by one or two orders of magnitude, and survives the death of any process. A manager is
//! for what has no fixed size (dicts, lists, objects of your own), for nesting, and for processes
//! of other machines. All of it lives in one process: when that dies, it is gone, and every call
//! says [`CallError::ServerGone`].
//!
//! # Calls
//!
//! Each call through a proxy is a message to the server and one back, over shared memory where
//! the address is of this machine, over a socket otherwise. A thread that calls has a connection
//! for itself meanwhile; a forked child opens its own. So every one of them *blocks until* the
//! server has answered. It *wakes when* the answer comes. *If a peer dies*: when it is the server,
//! an error within 100 ms; of other clients only what they held is noticed. Methods that wait for
//! more than an answer (`get`, `acquire`, `wait`, …) say so.
//!
//! *Get, change, set* through a proxy loses what others set in between: the best-known trap of
//! managers. `fetch_add`, `update`, `compare_and_set`, `extend`, `entry` and the like are one step
//! for everybody.
//!
//! # References
//!
//! The server counts who refers to an object: processes, values in other objects, messages on
//! their way. An object to which nobody refers is gone; objects that refer only to each other,
//! too. What a process held (references, locks, permits, tasks) is let go when it dies. The states of
//! a reference are drawn in `handle.rs`.
//!
//! # Invariants
//!
//! 1. One call is one step for all others, or says otherwise.
//! 2. The server's own process runs no code of the user's but registered types' methods, and decodes no value
//!    but their arguments: keys and values are bytes to it.
//! 3. One client's thread in the server waits for that client only, and holds no lock while it
//!    does.
//! 4. What a client says is checked: a number of an object that is not there is an error, and a
//!    message that is none ends that connection.
//!
//! # If a process dies here
//!
//! | who | when | then |
//! |---|---|---|
//! | server | any time | every call ends with `ServerGone` within 100 ms, and all objects are gone |
//! | its owner | any time | the server is killed with it |
//! | client | before its call was sent | nothing was asked |
//! | client | after | it is done; an item (permit, lock) that it did not receive goes back |
//! | client | while it waits in the server | its wait is given up within 100 ms; no item and no wake-up goes with it |
//! | client | while it waits for a task of a pool | the task is done, and its result dropped |
//! | client | holding locks, permits, tasks | they are free again (a task is somebody else's) |
//! | client | with a proxy in a message | the object is kept a minute longer for who takes the message |
//!
//! Over TCP the death of a process whose children have inherited its connections is noticed when
//! they end, too.
//!
//! # Costs
//!
//! A call takes about a microsecond where client and server are both awake, each on a processor of
//! its own, and two wake-ups (8 to 10 microseconds) where they have to be woken. Each
//! connection is a thread of the server, a few descriptors and pages; it looks 20 times a second
//! whether its client still lives. A process keeps as many connections as it had threads in
//! calls at the same time, up to 32 of them while they are idle.
//!
//! # Trust
//!
//! Whoever has the key may call anything, and proxies carry the key with them: they are for
//! processes that trust each other. Over TCP nothing is encrypted.

#![forbid(unsafe_code)]

#[macro_use]
mod handle;
mod barrier;
mod builder;
mod condition;
mod dict;
mod error;
mod event;
mod list;
mod lock;
mod manager;
mod namespace;
mod number;
mod ordered;
mod own;
mod pool;
mod queue;
mod remote;
mod retry;
mod semaphore;
mod sequence;
mod server;
mod set;
mod stored;
mod wire;

pub use barrier::Barrier;
pub use builder::{Builder, Seat};
pub use condition::Condition;
pub use dict::{Dict, Entry, Iter as DictIter};
pub use error::{
    BarrierError, BindError, CallError, ConditionError, ConnectError, FetchError, GetError,
    GetTimeoutError, IndexError, InvalidAddress, IterError, MemoryError, PublishError, PutError,
    PutTimeoutError, ReleaseError, ReleasePermitError, RemoteError, ServeError, ShutDownError,
    StartError, TaskDoneError, TryGetError, TryPutError,
};
pub use event::Event;
pub(crate) use handle::Handle;
pub use handle::Proxy;
pub use lock::{Lock, LockGuard, RLock};
pub use manager::{Manager, Server};
pub use namespace::Namespace;
pub use number::{Number, Op};
pub use own::{Arguments, Managed, RemoteIter, Returned};
pub use pool::{Pool, PoolError, PoolResult};
pub use queue::{JoinableQueue, Queue, Task};
pub use semaphore::{BoundedSemaphore, Permit, Semaphore};
pub use sequence::{Array, List, Value};
pub use set::{Iter as SetIter, Set};
pub use wire::Numbers;

/// For what the macros write.
#[doc(hidden)]
pub mod private {
    pub use crate::handle::{Handle, deserialize, hash, item_tag, same, serialize, tag_of};
    pub use crate::own::{call_method, iterate};
    pub use serde::{Deserialize, Deserializer, Serialize, Serializer};
}

/// For the fuzz target.
#[doc(hidden)]
pub mod fuzz {
    pub use crate::server::fuzz::{Client, attend};
}

/// The README is a test, too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
