//! What may go to another thread, or be shared with it, type by type. Whoever adds a public type
//! adds it here: a test looks for it.

use multiproc::codec;
use multiproc::core::{
    courier, deadline, ends, fd, guarded, holder, identity, idle, places, robust,
};
use multiproc::core::{wait, watch};
use multiproc::{
    lock, manager, pipe, pool, process, queue, ring, rlock, segment, semaphore, value,
};
use multiproc_parcel as parcel;
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::fs;
use std::marker::PhantomData;
use std::path::Path;

/// Asks what `T` is: where the trait holds, the constant of the type is found before that of
/// [`Neither`].
struct Of<T>(PhantomData<T>);

trait Neither {
    const SEND: bool = false;
    const SYNC: bool = false;
}

impl<T> Neither for Of<T> {}

impl<T: Send> Of<T> {
    const SEND: bool = true;
}

impl<T: Sync> Of<T> {
    const SYNC: bool = true;
}

fn shows_itself<T: Debug>() {}

macro_rules! types {
    ($($type:ty),* $(,)?) => {
        [$({
            shows_itself::<$type>();
            (stringify!($type), Of::<$type>::SEND, Of::<$type>::SYNC)
        }),*]
    };
}

fn assert_all(types: &[(&str, bool, bool)], send: bool, sync: bool) {
    for (name, is_send, is_sync) in types {
        assert_eq!((*is_send, *is_sync), (send, sync), "{name}: (Send, Sync)");
    }
}

#[test]
fn objects_handles_and_plain_words_belong_to_no_thread() {
    let both = types![
        // Shared objects, as they lie in memory.
        lock::Lock,
        lock::Mutex<u64>,
        lock::RwLock<u64>,
        lock::ApiMutex<lock::RawLock, u64>,
        rlock::RLock,
        rlock::ReentrantMutex<u64>,
        semaphore::Semaphore,
        semaphore::BoundedSemaphore,
        multiproc::Event,
        multiproc::Condition,
        multiproc::Barrier,
        // Handles.
        segment::Shared<multiproc::Event>,
        segment::Segment,
        segment::Look,
        queue::Queue<String>,
        queue::SimpleQueue<String>,
        queue::JoinableQueue<String>,
        queue::Producer<String>,
        queue::Consumer<String>,
        pipe::Connection<String>,
        pipe::Sender<String>,
        pipe::Receiver<String>,
        pipe::IntoIter<String>,
        queue::Iter<'static, String>,
        pipe::Iter<'static, String>,
        pipe::Listener,
        pipe::Client,
        value::Value<u64>,
        value::Array<u64>,
        value::RawValue<u64>,
        value::RawArray<u64>,
        value::SharedMemory,
        value::ShareableList,
        process::Process,
        process::Parent,
        process::Current,
        process::ExitHook,
        ring::Ring,
        pool::Pool,
        pool::BasicPool<u64>,
        pool::Closing<u64>,
        pool::Tasks,
        pool::CapturingPool<u64, u64, u64>,
        pool::CapturingTasks<u64, u64>,
        pool::AsyncResult<u64>,
        pool::Awaited<u64>,
        pool::Imap<std::vec::IntoIter<u64>, u64>,
        manager::Manager,
        manager::Server,
        manager::Dict<String, u64>,
        manager::DictIter<String, u64>,
        manager::Entry<'static, String, u64>,
        manager::List<String>,
        manager::Array<u64>,
        manager::Value<u64>,
        manager::Set<String>,
        manager::SetIter<String>,
        manager::Namespace,
        manager::Queue<String>,
        manager::JoinableQueue<String>,
        manager::Event,
        manager::Lock,
        manager::RLock,
        manager::Semaphore,
        manager::BoundedSemaphore,
        manager::Condition,
        manager::Barrier,
        manager::Pool,
        manager::PoolResult<u64>,
        manager::RemoteIter<u64>,
        manager::Seat,
        process::Functions,
        process::Code,
        // What one says, and is told.
        segment::SharedOptions<multiproc::Event>,
        segment::Naming,
        segment::Kind,
        segment::Header,
        segment::Named,
        segment::Content,
        segment::Attachment,
        queue::QueueOptions<String>,
        pipe::PipeOptions<String>,
        pipe::ListenerOptions,
        pipe::Address,
        value::Options<u64>,
        value::Item,
        value::Iter<'static, value::Array<u64>>,
        value::FixedString<8>,
        process::Builder,
        process::Context,
        process::StartMethod,
        process::Exit,
        process::Fork,
        process::AuthKey,
        process::test::Test,
        process::NotStarted<u64>,
        process::NotAllStarted<u64>,
        ring::Settings,
        ring::TasksLost,
        pipe::NotThatSlice,
        pipe::BufferTooShort,
        pipe::InvalidAddress,
        value::OutOfRange,
        value::NoSuchItem,
        process::UnknownMethod,
        process::AlreadySet,
        lock::NotHeld,
        multiproc::BrokenBarrier,
        lock::OwnerDied<u64>,
        parcel::Descriptor<u64>,
        rlock::Levels,
        multiproc::Error,
        pool::Ended,
        pool::Progress,
        pool::NotReady,
        process::NotOurs,
        manager::Numbers,
        manager::Op,
        // The floor.
        courier::Courier,
        courier::Withdrawal,
        deadline::Deadline,
        ends::Ends,
        ends::End,
        ends::Holders,
        ends::Ticket,
        fd::Received,
        fd::Ticker,
        guarded::PlainCell<u64>,
        holder::Holder,
        holder::ThreadLock,
        identity::Identity,
        idle::Idle<4, 1>,
        places::Place,
        places::Places<4>,
        robust::RobustLock,
        robust::TimedOut,
        robust::LockWord,
        wait::Slept,
        wait::Spin,
        wait::LookAround,
        watch::Watch,
        segment::local::Local<u64>,
        codec::Serde,
        codec::Plain,
        codec::Bytes,
        codec::PutFailure,
        codec::GetFailure,
        lock::RawLock,
        lock::RawLockUnpoisoned,
    ];
    assert_all(&both, true, true);
}

/// A robust lock is released by the thread that holds it, and a forked child owns no guard of its
/// parent's: what is held is counted per thread.
#[test]
fn what_a_thread_holds_stays_with_it() {
    let neither = types![
        pipe::Source<'static>,
        multiproc::core::fork::HeldHere,
        lock::LockGuard<'static>,
        lock::MutexGuard<'static, u64>,
        lock::RwLockReadGuard<'static, u64>,
        lock::RwLockWriteGuard<'static, u64>,
        rlock::RLockGuard<'static>,
        rlock::ReentrantGuard<'static, u64>,
        semaphore::Permit<'static>,
        value::Guard<'static, u64>,
        robust::RobustGuard<'static>,
        queue::Task<'static, String>,
        pipe::WriteLoan<'static>,
        pipe::ReadLoan<'static>,
        ring::Reservation<'static>,
        ring::Claim<'static>,
        ring::Task<'static>,
        ring::Wait<'static>,
        parcel::Parcel,
    ];
    assert_all(&neither, false, false);
}

#[test]
fn a_message_need_not_be_send() {
    // What travels is bytes; the receiver makes a message of its own.
    type Local = std::rc::Rc<u64>;
    let both = types![
        queue::Queue<Local>,
        queue::Producer<Local>,
        queue::Consumer<Local>,
        pipe::Connection<Local>,
        pipe::Sender<Local>,
        pipe::Receiver<Local>,
    ];
    assert_all(&both, true, true);
    // But one that is here stays here.
    let neither = types![
        process::NotStarted<Local>,
        parcel::Descriptor<Local>,
        lock::OwnerDied<Local>
    ];
    assert_all(&neither, false, false);
}

/// Not named above: what is public for models or macros alone, what is hidden, what a feature brings, and a
/// type that is never made.
const NOT_HERE: [&str; 12] = [
    "Arguments",
    "Claimed",
    "Flow",
    "Foreign",
    "Handle",
    "Pipe",
    "RawSyncEvent",
    "Reserved",
    "Returned",
    "RingParts",
    "SlotParts",
    "State",
];

fn public_types(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            public_types(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source");
            let begins = ["pub struct ", "pub enum "];
            let lines = text.lines();
            found.extend(lines.filter_map(|line| {
                let rest = begins.iter().find_map(|begin| line.strip_prefix(begin))?;
                let end = rest.find(|c: char| !c.is_alphanumeric())?;
                Some(rest[..end].to_owned())
            }));
        }
    }
}

#[test]
fn every_public_type_is_named_here() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates");
    let mut types = BTreeSet::new();
    for entry in fs::read_dir(&crates).expect("crates/").flatten() {
        let folder = entry.path().join("src");
        // A command has no types for others.
        if folder.join("lib.rs").exists() {
            public_types(&folder, &mut types);
        }
    }
    let here = include_str!("threads.rs");
    let named: BTreeSet<&str> = here
        .split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .collect();
    let missing: Vec<&String> = types
        .iter()
        .filter(|name| !name.ends_with("Error")) // each is a variant of `multiproc::Error`, or in one
        .filter(|name| !named.contains(name.as_str()))
        .collect();
    assert!(types.len() > 100, "where have the types gone? {types:?}");
    assert!(missing.is_empty(), "not in tests/threads.rs: {missing:?}");
    for name in NOT_HERE {
        assert!(types.contains(name), "{name} is no public type any more");
    }
}
