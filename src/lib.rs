//! Python's `multiprocessing` for Rust: processes, and what they share.
//!
//! ```rust,standalone_crate
//! use multiproc::{self as mp, Process, Queue};
//!
//! fn main() -> mp::Result {
//!     let (tx, rx) = Queue::<String>::bounded(100)?.split();
//!     let producer = Process::start(move || -> mp::Result {
//!         for i in 0..1_000 { tx.put(format!("m{i}"))?; }
//!         Ok(())
//!     })?; // `tx` belongs to the child now
//!     let consumer = Process::start(move || -> mp::Result {
//!         for message in rx { println!("got {}", message?); }
//!         Ok(())
//!     })?; // the loop ends by itself, also after a kill -9
//!     mp::join_all([producer, consumer])
//! }
//! ```
//!
//! Any participant may be killed with SIGKILL at any instruction: nobody else hangs,
//! nothing committed is lost, and no data is torn unnoticed.
//!
//! # What is where
//!
//! | crate | holds |
//! |---|---|
//! | [`process`] | [`Process`], start methods ([`Context`], [`entry`]), exit codes, daemons, the test runner [`test`](mod@test) |
//! | [`queue`] | [`Queue`], its registered ends, [`SimpleQueue`], [`JoinableQueue`], codecs |
//! | [`pipe`] | [`Pipe`], [`Connection`], [`Sender`], [`Receiver`]; [`Listener`], [`Client`]; [`wait`] for many things at a time |
//! | [`pool`] | [`Pool`], [`AsyncResult`], pools around closures ([`CapturingPool`]) |
//! | [`lock`], [`rlock`] | [`Lock`], [`Mutex`], [`RwLock`]; [`RLock`], [`ReentrantMutex`] |
//! | [`semaphore`], [`event`], [`condition`], [`barrier`] | the type of that name |
//! | [`manager`] | [`Manager`], [`Server`]: dicts, lists and your own types in a process that serves them |
//! | [`value`] | [`Value`], [`Array`], [`SharedMemory`], [`ShareableList`], [`FixedString`] |
//! | [`segment`] | [`Shared<T>`](Shared), names, [`Shareable`](trait@Shareable) |
//! | [`descriptor`] | files, sockets, pipes as parts of messages; [`Descriptor`] |
//! | [`ring`], [`core`] | what these are built on: records, waits, robust locks |
//!
//! Every handle is itself a message: a `Queue` goes through a `Connection`, a `Value` through a
//! `Queue`, and works where it arrives.
//!
//! # Several producers and consumers, in a program with threads
//!
//! Each has an end of its own, a clone. A loop over a consumer ends when *every* producer's end is
//! dropped or its process dead: the parent's own, too. [`Process::start`] forks, and so needs a
//! process with one thread; [`Process::spawn`] starts the program anew and runs a plain function there,
//! with one argument (a tuple, for more) that serde can write, ends and other handles in it.
//!
//! ```rust,standalone_crate
//! use multiproc::{self as mp, Consumer, Process, Producer, Queue};
//!
//! fn produce((n, tx): (u32, Producer<u32>)) -> mp::Result {
//!     for i in 0..100 { tx.put(100 * n + i)?; }
//!     Ok(())
//! }
//! fn consume(rx: Consumer<u32>) -> mp::Result {
//!     for number in rx { println!("{} got {}", mp::current().name(), number?); }
//!     Ok(())
//! }
//!
//! fn main() -> mp::Result {
//!     mp::entry(); // the first line: here a spawned child turns off, and does not come back
//!     let _thread = std::thread::spawn(|| println!("whatever threads do"));
//!     let (tx, rx) = Queue::<u32>::bounded(10)?.split();
//!     let mut children = Vec::new();
//!     for n in 0..3 { children.push(Process::spawn(produce, (n, tx.clone()))?); }
//!     for _ in 0..2 { children.push(Process::spawn(consume, rx.clone())?); }
//!     drop((tx, rx)); // or the consumers wait for this process, which waits for them
//!     mp::join_all(children)
//! }
//! ```
//!
//! # Two programs that meet at a queue
//!
//! ```rust,standalone_crate
//! use multiproc::{self as mp, Process, Queue};
//! use serde::{Deserialize, Serialize};
//! use std::time::Duration;
//!
//! #[derive(Serialize, Deserialize, Debug)]
//! struct Job { id: u32, path: String }
//!
//! fn program_one(name: &str) -> mp::Result {
//!     let jobs = Queue::<Job>::options().capacity(1_000).mode(0o660).create(name)?;
//!     for job in &jobs { println!("{:?}", job?); }
//!     Ok(())
//! }
//! fn program_two(name: &str) -> mp::Result {
//!     let jobs = Queue::<Job>::open(name)?; // another item type is refused, saying both
//!     jobs.put_timeout(Job { id: 1, path: "a.txt".into() }, Duration::from_secs(1))?;
//!     Ok(())
//! }
//!
//! # fn main() -> mp::Result {
//! # let name = format!("facade-doc-{}", std::process::id());
//! # let one = Process::start(|| program_one(&name))?;
//! # while let Err(mp::segment::OpenError::NotFound(_)) = Queue::<Job>::open(&name) {
//! #     std::thread::yield_now();
//! # }
//! # program_two(&name)?;
//! # Queue::<Job>::open(&name)?.shut_down();
//! # Queue::<Job>::unlink(&name)?;
//! # mp::join_all([one])
//! # }
//! ```
//!
//! # A work queue that one can wait for
//!
//! ```rust,standalone_crate
//! use multiproc::{self as mp, JoinableQueue, Process};
//!
//! fn main() -> mp::Result {
//!     let jobs = JoinableQueue::<u32>::unbounded()?;
//!     let _workers = Process::builder().daemon(true).start_each(0..4, |_| -> mp::Result {
//!         loop {
//!             let job = jobs.get_task()?; // done on drop; redelivered if this process dies
//!             println!("{} does {}", mp::current().name(), *job);
//!         }
//!     })?;
//!     for n in 0..20 { jobs.put(n)?; }
//!     Ok(jobs.join()?)
//! }
//! ```
//!
//! # Ping-pong through a pipe
//!
//! `Pipe::<Request, Reply>` where the two directions differ.
//!
//! ```rust,standalone_crate
//! use multiproc::{self as mp, Pipe, Process};
//!
//! fn main() -> mp::Result {
//!     let (left, right) = Pipe::<u32>::duplex()?;
//!     let echo = Process::start(move || -> mp::Result {
//!         for n in &right { right.send(n? + 1)?; } // ends when `left` is gone
//!         Ok(())
//!     })?;
//!     let mut n = 0;
//!     while n < 1_000 { left.send(n)?; n = left.recv()?; }
//!     drop(left);
//!     mp::join_all([echo])
//! }
//! ```
//!
//! # A pool of workers
//!
//! Tasks are plain functions; a pool may also be made around a closure that captures, which its
//! workers inherit at their construction. In a program with threads a pool needs [`entry`] as the first
//! line of `main`, and then is made by spawn.
//!
//! ```rust,standalone_crate
//! use multiproc::{self as mp, Pool};
//!
//! fn pool_map() -> mp::Result {
//!     let pool = Pool::new(4)?;
//!     println!("{:?}", pool.map(|n: u64| n * n, 0..10)?);
//!     pool.close().join()?;
//!     let table = vec!["zero", "one", "two"];
//!     let names = Pool::capturing(2, |n: usize| table[n].to_owned())?;
//!     println!("{:?}", names.map([2, 1, 0])?);
//!     names.close().join()
//! }
//! # fn main() -> mp::Result { pool_map() }
//! ```
//!
//! Callbacks run in the parent as results come; `get()` still works, as they only borrow the
//! result.
//!
//! ```rust,standalone_crate
//! use multiproc::{self as mp, Pool};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Page { url: String, text: String }
//! fn fetch(url: String) -> Page { Page { text: format!("<p>{url}"), url } }
//!
//! fn crawler_callback() -> mp::Result {
//!     let pool = Pool::new(4)?;
//!     for url in ["http://a/", "http://b/"] {
//!         pool.apply_async(fetch, url.to_owned())?
//!             .callback(|page| println!("url:{} size:{}", page.url, page.text.len()))
//!             .error_callback(|error| eprintln!("{error}"));
//!     }
//!     pool.close().join()
//! }
//! # fn main() -> mp::Result { crawler_callback() }
//! ```
//!
//! # Waiting for many things at a time
//!
//! Connections, queues, processes, and whatever has a descriptor.
//!
//! ```rust,standalone_crate
//! use multiproc::{self as mp, Pipe, Process, Source};
//!
//! fn main() -> mp::Result {
//!     let (news, sender) = Pipe::<String>::simplex()?;
//!     let child = Process::start(move || -> mp::Result { Ok(sender.send("done".into())?) })?;
//!     let mut ended = false;
//!     while !ended {
//!         for ready in mp::wait([Source::from(&news), Source::descriptor(&child)], None)? {
//!             match ready {
//!                 0 => if let Ok(text) = news.try_recv() { println!("it says {text}") },
//!                 _ => ended = true,
//!             }
//!         }
//!     }
//!     mp::join_all([child])
//! }
//! ```
//!
//! # Locks, semaphores, events
//!
//! ```rust,standalone_crate
//! use multiproc::{self as mp, Event, Lock, Process, Semaphore, Shared};
//!
//! fn lock_printing() -> mp::Result {
//!     let lock = Shared::new(Lock::new())?;
//!     let children = Process::start_each(0..8, |i| -> mp::Result {
//!         let _held = lock.lock()?; // Err(OwnerDied(guard)) if its holder was killed
//!         println!("{i}: one\n{i}: two\n{i}: three");
//!         Ok(())
//!     })?;
//!     mp::join_all(children)
//! }
//!
//! fn semaphore_pool_of_three() -> mp::Result {
//!     let gate = Shared::new(Semaphore::new(3))?;
//!     let children = Process::start_each(0..8, |i| {
//!         let _permit = gate.permit(); // comes back if this process is killed
//!         println!("{i} is inside");
//!     })?;
//!     mp::join_all(children)
//! }
//!
//! fn event_start_gun() -> mp::Result {
//!     let go = Shared::new(Event::new())?;
//!     let runners = Process::start_each(1..=6, |lane| {
//!         go.wait();
//!         println!("lane {lane} runs");
//!     })?;
//!     go.set();
//!     mp::join_all(runners)
//! }
//! # fn main() -> mp::Result {
//! #     lock_printing()?;
//! #     semaphore_pool_of_three()?;
//! #     event_start_gun()
//! # }
//! ```
//!
//! # Values and arrays
//!
//! ```rust,standalone_crate
//! use multiproc::{self as mp, Array, Process, Shared, Value};
//! use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
//!
//! fn value_counter() -> mp::Result {
//!     let total = Value::new(0_u64)?;
//!     let hits = Shared::new(AtomicU64::new(0))?; // lock-free: the plain type in a Shared
//!     let children = Process::start_each(0..4, |_| -> mp::Result {
//!         for _ in 0..1_000 {
//!             *total.lock()? += 1; // get() then set() would lose counts
//!             hits.fetch_add(1, Relaxed);
//!         }
//!         Ok(())
//!     })?;
//!     mp::join_all(children)?;
//!     println!("{} {}", total.get()?, hits.load(Relaxed));
//! #   assert_eq!((total.get()?, hits.load(Relaxed)), (4_000, 4_000));
//!     Ok(())
//! }
//!
//! fn array_fill() -> mp::Result {
//!     let squares = Array::<u64>::zeroed(1_000)?;
//!     let fillers = Process::start_each(0..4, |k| -> mp::Result {
//!         let part = k * 250..(k + 1) * 250;
//!         let values: Vec<u64> = part.clone().map(|i| (i * i) as u64).collect();
//!         squares.lock()?[part].copy_from_slice(&values);
//!         Ok(())
//!     })?;
//!     mp::join_all(fillers)?;
//!     println!("{}", squares.lock()?.iter().sum::<u64>());
//! #   assert_eq!(squares.lock()?.iter().sum::<u64>(), 332_833_500);
//!     Ok(())
//! }
//! # fn main() -> mp::Result {
//! #     value_counter()?;
//! #     array_fill()
//! # }
//! ```
//!
//! # A manager's dict and list
//!
//! ```rust,standalone_crate
//! use multiproc::{self as mp, Manager, Process};
//!
//! fn manager_shared() -> mp::Result {
//!     let manager = Manager::start()?;
//!     let (dict, list) = (manager.dict::<u32, u32>()?, manager.list::<u32>()?);
//!     let children = Process::start_each(0..10, |_| -> mp::Result {
//!         let me = mp::current().pid();
//!         dict.insert(me, me)?;
//!         list.push(1)?;
//!         Ok(println!("{:?}", list.to_vec()?))
//!     })?;
//!     mp::join_all(children)?;
//!     println!("{:?} {:?}", dict.to_map()?, list.to_vec()?);
//! #   assert_eq!((dict.to_map()?.len(), list.to_vec()?), (10, vec![1; 10]));
//!     Ok(())
//! }
//! # fn main() -> mp::Result {
//! #     manager_shared()
//! # }
//! ```
//!
//! # Features
//!
//! None is on unless you ask. Who takes single crates finds them there under the same names.
//!
//! | feature | of | brings |
//! |---|---|---|
//! | `interop` | `multiproc` | the next two: memory and events shared with programs that use those packages, both ways |
//! | `shared_memory` | `segment`, `value` | segments of the package `shared_memory` |
//! | `raw_sync` | `event` | events behind the traits of the package `raw_sync` |
//! | `tokio` | `multiproc`, `message`, `pipe`, `queue` | `recv_async`, `send_async`, `get_async`, `put_async`: cancel-safe, without a thread |
//! | `tracing` | `multiproc`, `core`, `lock`, `pipe`, `process`, `queue`, `ring`, `segment` | rare events for the package `tracing`, target `multiproc`: see below |
//! | `steps` | `core`, `segment`, `value` | named steps at which the toolkit's own tests kill a process; not for programs |
//!
//! With `tracing` a subscriber hears, as `warn`: a lock was recovered whose holder died, a task is
//! delivered again, a listener refused a handshake; as `debug`: a process started or ended, a name
//! was created or removed, the slot of a dead end was taken back. Nothing is told on the paths that
//! messages take, and without the feature none of it is compiled. A subscriber runs in the process
//! where it happened, a forked child with its own copy; it should not use the very object that it
//! hears of.
//!
//! Without tokio, connections and queues are descriptors (`AsFd`) for `epoll`, mio and the like:
//! see [`ready`].

mod error;

pub use error::{Error, Result};

#[doc(inline)]
pub use multiproc_barrier as barrier;
#[doc(inline)]
pub use multiproc_condition as condition;
#[doc(inline)]
pub use multiproc_core as core;
#[doc(inline)]
pub use multiproc_event as event;
#[doc(inline)]
pub use multiproc_lock as lock;
#[doc(inline)]
pub use multiproc_manager as manager;
#[doc(inline)]
pub use multiproc_pipe as pipe;
#[doc(inline)]
pub use multiproc_pool as pool;
#[doc(inline)]
pub use multiproc_process as process;
#[doc(inline)]
pub use multiproc_queue as queue;
#[doc(inline)]
pub use multiproc_ring as ring;
#[doc(inline)]
pub use multiproc_rlock as rlock;
#[doc(inline)]
pub use multiproc_segment as segment;
#[doc(inline)]
pub use multiproc_semaphore as semaphore;
#[doc(inline)]
pub use multiproc_value as value;

pub use multiproc_barrier::{Barrier, BrokenBarrier};
pub use multiproc_condition::Condition;
pub use multiproc_event::Event;
pub use multiproc_lock::{
    AcquireTimeoutError, Lock, Mutex, OwnerDied, PlainData, RwLock, TryAcquireError,
};
pub use multiproc_manager::{Manager, Server, managed};
pub use multiproc_parcel::{Descriptor, descriptor};
pub use multiproc_pipe::ready;
pub use multiproc_pipe::{
    Address, BufferTooShort, Client, Connection, Listener, NotThatSlice, Pipe, ReadLoan, Receiver,
    RecvBytesError, RecvBytesIntoError, RecvError, RecvTimeoutError, SendError, SendTimeoutError,
    Sender, Source, TryRecvError, TrySendError, WaitError, WriteLoan, wait,
};
pub use multiproc_pool::{AsyncResult, Imap, Progress, SubmitError, TaskError, Tasks};
pub use multiproc_process::{
    Builder, Context, Exit, ExitHook, ExitValue, Fork, Process, Run, StartMethod, active_children,
    after_fork, at_exit, at_exit_with_priority, cpu_count, current, entry, force_start_method,
    fork, parent, set_start_method, start_method, test,
};
pub use multiproc_queue::{
    Consumer, GetError, GetTimeoutError, JoinableQueue, Producer, PutError, PutTimeoutError, Queue,
    SimpleQueue, TryGetError, TryPutError, codec,
};
pub use multiproc_rlock::{RLock, ReentrantMutex};
pub use multiproc_segment::{Shareable, Shared, list, remove_stale, unlink};
pub use multiproc_semaphore::{BoundedSemaphore, Semaphore};
pub use multiproc_value::{
    Array, FixedString, Item, RawArray, RawValue, ShareableList, SharedMemory, Value,
};

/// A pool of worker processes: see [`pool::Pool`].
pub type Pool = multiproc_pool::BasicPool<Error>;
/// A pool around a closure: see [`pool::CapturingPool`].
pub type CapturingPool<A, R> = multiproc_pool::CapturingPool<A, R, Error>;

/// Waits for all children, then says which was the first that failed; see
/// [`process::join_all`].
///
/// *Blocks until* every one has ended. *Wakes when* the last one ends. *If a peer dies*: a
/// killed child is one that failed; the wait for the others goes on.
///
/// # Errors
///
/// [`Error::JoinAll`] of the first, in the order given, that did not end with success.
pub fn join_all<I>(children: I) -> Result
where
    I: IntoIterator,
    I::Item: std::borrow::Borrow<Process>,
{
    Ok(multiproc_process::join_all(children)?)
}

/// The README is a test, too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
