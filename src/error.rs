use multiproc_barrier as barrier;
use multiproc_condition as condition;
use multiproc_lock as lock;
use multiproc_manager as manager;
use multiproc_pipe as pipe;
use multiproc_pool as pool;
use multiproc_process as process;
use multiproc_queue as queue;
use multiproc_rlock as rlock;
use multiproc_segment as segment;
use multiproc_semaphore as semaphore;
use multiproc_value as value;
use std::fmt;
use thiserror::Error;

/// Any error of the toolkit, so that `?` works in `main` and in children. A message, item
/// or closure that the original error handed back is dropped; match on the original
/// where you want it.
///
/// Its `Debug` is its sentence: that is what `main` prints.
#[doc(alias = "ProcessError")]
#[derive(Error)]
#[error(transparent)]
#[non_exhaustive]
#[allow(missing_docs)] // each variant is the error of that name
pub enum Error {
    CreateSegment(#[from] segment::CreateError),
    OpenSegment(#[from] segment::OpenError),
    OpenOrCreateSegment(#[from] segment::OpenOrCreateError),
    Unlink(#[from] segment::UnlinkError),
    Allocate(#[from] segment::AllocateError),
    CreateQueue(#[from] queue::CreateError),
    OpenOrCreateQueue(#[from] queue::OpenOrCreateError),
    Register(#[from] queue::RegisterError),
    Put(queue::PutError<()>),
    TryPut(queue::TryPutError<()>),
    PutTimeout(queue::PutTimeoutError<()>),
    Get(#[from] queue::GetError),
    TryGet(#[from] queue::TryGetError),
    GetTimeout(#[from] queue::GetTimeoutError),
    PutMany(queue::PutManyError<()>),
    Send(pipe::SendError<()>),
    TrySend(pipe::TrySendError<()>),
    SendTimeout(pipe::SendTimeoutError<()>),
    Recv(#[from] pipe::RecvError),
    TryRecv(#[from] pipe::TryRecvError),
    RecvTimeout(#[from] pipe::RecvTimeoutError),
    RecvBytes(#[from] pipe::RecvBytesError),
    RecvBytesInto(#[from] pipe::RecvBytesIntoError),
    BufferTooShort(#[from] pipe::BufferTooShort),
    NotThatSlice(#[from] pipe::NotThatSlice),
    Wait(#[from] pipe::WaitError),
    Bind(#[from] pipe::BindError),
    Accept(#[from] pipe::AcceptError),
    AcceptTimeout(#[from] pipe::AcceptTimeoutError),
    Connect(#[from] pipe::ConnectError),
    Handshake(#[from] pipe::HandshakeError),
    InvalidAddress(#[from] pipe::InvalidAddress),
    TaskDone(#[from] queue::TaskDoneError),
    JoinTasks(#[from] queue::JoinError),
    JoinTasksTimeout(#[from] queue::JoinTimeoutError),
    CreatePool(#[from] pool::CreateError),
    Submit(pool::SubmitError<()>),
    Task(#[from] pool::TaskError),
    GetResultTimeout(#[from] pool::GetTimeoutError),
    ResultNotReady(#[from] pool::NotReady),
    PoolEnded(#[from] pool::Ended),
    JoinPool(#[from] pool::JoinError),
    Start(#[from] process::StartError),
    JoinProcess(#[from] process::JoinError),
    JoinProcessTimeout(#[from] process::JoinTimeoutError),
    JoinAll(#[from] process::JoinAllError),
    Signal(#[from] process::SignalError),
    CloseProcess(#[from] process::CloseError),
    StartMethodIsSet(#[from] process::AlreadySet),
    StartMethod(#[from] process::UnknownMethod),
    Exit(#[from] process::ExitError),
    OwnerDied(lock::OwnerDied<()>),
    TryAcquire(lock::TryAcquireError<()>),
    AcquireTimeout(lock::AcquireTimeoutError<()>),
    NotHeld(#[from] lock::NotHeld),
    ReleaseRLock(#[from] rlock::ReleaseError),
    SemaphoreValue(#[from] semaphore::ValueError),
    AcquireMany(#[from] semaphore::AcquireManyError),
    ReleaseSemaphore(#[from] semaphore::ReleaseError),
    BarrierParties(#[from] barrier::PartiesError),
    BrokenBarrier(#[from] barrier::BrokenBarrier),
    WaitBarrier(barrier::WaitError<String>),
    WaitCondition(condition::WaitError<()>),
    LockValue(value::LockError<()>),
    TryLockValue(value::TryLockError<()>),
    LockValueTimeout(value::LockTimeoutError<()>),
    Item(value::ItemError<()>),
    Under(#[from] value::UnderError),
    OutOfRange(#[from] value::OutOfRange),
    NoSuchItem(#[from] value::NoSuchItem),
    GetItem(#[from] value::GetItemError),
    SetItem(#[from] value::SetItemError),
    IndexOf(#[from] value::IndexOfError),
    Text(#[from] value::TextError),
    StartManager(#[from] manager::StartError),
    ShutDownManager(#[from] manager::ShutDownError),
    ServeManager(#[from] manager::ServeError),
    CallManager(#[from] manager::CallError),
    RemoteMethod(#[from] manager::RemoteError),
    ManagedMemory(#[from] manager::MemoryError),
    PublishManaged(#[from] manager::PublishError),
    ManagedIndex(#[from] manager::IndexError),
    FetchManaged(#[from] manager::FetchError),
    IterateManaged(#[from] manager::IterError),
    GetManaged(#[from] manager::GetError),
    TryGetManaged(#[from] manager::TryGetError),
    GetManagedTimeout(#[from] manager::GetTimeoutError),
    PutManaged(manager::PutError<()>),
    TryPutManaged(manager::TryPutError<()>),
    PutManagedTimeout(manager::PutTimeoutError<()>),
    ManagedTaskDone(#[from] manager::TaskDoneError),
    ReleaseManagedLock(#[from] manager::ReleaseError),
    ReleaseManagedSemaphore(#[from] manager::ReleasePermitError),
    ManagedCondition(#[from] manager::ConditionError),
    ManagedBarrier(#[from] manager::BarrierError),
    ManagedPool(#[from] manager::PoolError),
    Io(#[from] std::io::Error),
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sentence = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            // Many tell their cause themselves.
            let why = cause.to_string();
            if !sentence.ends_with(&why) {
                sentence = format!("{sentence}: {why}");
            }
            source = cause.source();
        }
        f.write_str(&sentence)
    }
}

macro_rules! drops_message {
    ($($krate:ident::$name:ident => $variant:ident)*) => {$(
        impl<T> From<$krate::$name<T>> for Error {
            fn from(error: $krate::$name<T>) -> Self {
                Self::$variant(error.without_message())
            }
        }
    )*};
}
drops_message! {
    queue::PutError => Put
    queue::TryPutError => TryPut
    queue::PutTimeoutError => PutTimeout
    pipe::SendError => Send
    pipe::TrySendError => TrySend
    pipe::SendTimeoutError => SendTimeout
}

macro_rules! drops_item {
    ($($name:ident => $variant:ident)*) => {$(
        impl<T> From<manager::$name<T>> for Error {
            fn from(error: manager::$name<T>) -> Self {
                Self::$variant(error.without_item())
            }
        }
    )*};
}
drops_item! {
    PutError => PutManaged
    TryPutError => TryPutManaged
    PutTimeoutError => PutManagedTimeout
}

impl<T> From<queue::PutManyError<T>> for Error {
    fn from(error: queue::PutManyError<T>) -> Self {
        Self::PutMany(queue::PutManyError {
            put: error.put,
            rest: Vec::new(),
            why: error.why,
        })
    }
}

macro_rules! drops_guard {
    ($($krate:ident::$name:ident => $variant:ident)*) => {$(
        impl<G> From<$krate::$name<G>> for Error {
            fn from(error: $krate::$name<G>) -> Self {
                Self::$variant(error.without_guard())
            }
        }
    )*};
}
drops_guard! {
    lock::OwnerDied => OwnerDied
    lock::TryAcquireError => TryAcquire
    lock::AcquireTimeoutError => AcquireTimeout
    condition::WaitError => WaitCondition
}

macro_rules! drops_value_guard {
    ($($name:ident => $variant:ident)*) => {$(
        impl<G: value::Handed> From<value::$name<G>> for Error {
            fn from(error: value::$name<G>) -> Self {
                Self::$variant(error.without_guard())
            }
        }
    )*};
}
drops_value_guard! {
    LockError => LockValue
    TryLockError => TryLockValue
    LockTimeoutError => LockValueTimeout
    ItemError => Item
}

impl<A> From<pool::SubmitError<A>> for Error {
    fn from(error: pool::SubmitError<A>) -> Self {
        Self::Submit(error.without_arguments())
    }
}

/// The action's error becomes its sentence.
impl<E: fmt::Display> From<barrier::WaitError<E>> for Error {
    fn from(error: barrier::WaitError<E>) -> Self {
        Self::WaitBarrier(error.in_words())
    }
}

impl<F> From<process::NotStarted<F>> for Error {
    fn from(error: process::NotStarted<F>) -> Self {
        Self::Start(error.why)
    }
}

impl<I> From<process::NotAllStarted<I>> for Error {
    fn from(error: process::NotAllStarted<I>) -> Self {
        Self::Start(error.why)
    }
}

/// What most functions of the toolkit's users return.
pub type Result<T = (), E = Error> = std::result::Result<T, E>;

#[cfg(test)]
mod tests {
    use super::*;

    fn becomes_ours<E: Into<Error>>() {}

    #[test]
    fn causes_are_told_and_none_is_told_twice() {
        let threads = pool::CreateError::Keeper(process::StartError::Threads(2));
        let told = format!("{:?}", Error::from(threads));
        assert_eq!(told.matches("2 threads run").count(), 1, "{told}");
        let refused = process::StartError::System(std::io::Error::other("no more"));
        let told = format!("{:?}", Error::from(refused));
        assert!(told.ends_with(": no more"), "{told}");
    }

    #[test]
    fn every_error_of_queues_and_pipes_becomes_ours_whatever_the_message() {
        struct Message;
        becomes_ours::<queue::PutError<Message>>();
        becomes_ours::<queue::TryPutError<Message>>();
        becomes_ours::<queue::PutTimeoutError<Message>>();
        becomes_ours::<queue::PutManyError<Message>>();
        becomes_ours::<queue::GetError>();
        becomes_ours::<queue::TryGetError>();
        becomes_ours::<queue::GetTimeoutError>();
        becomes_ours::<pipe::CreateError>();
        becomes_ours::<pipe::RegisterError>();
        becomes_ours::<pipe::SendError<Message>>();
        becomes_ours::<pipe::TrySendError<Message>>();
        becomes_ours::<pipe::SendTimeoutError<Message>>();
        becomes_ours::<pipe::RecvError>();
        becomes_ours::<pipe::TryRecvError>();
        becomes_ours::<pipe::RecvTimeoutError>();
        becomes_ours::<pipe::RecvBytesError>();
        becomes_ours::<pipe::RecvBytesIntoError>();
        becomes_ours::<pipe::BufferTooShort>();
        becomes_ours::<pipe::NotThatSlice>();
        becomes_ours::<pipe::WaitError>();
        becomes_ours::<pipe::BindError>();
        becomes_ours::<pipe::AcceptError>();
        becomes_ours::<pipe::AcceptTimeoutError>();
        becomes_ours::<pipe::ConnectError>();
        becomes_ours::<pipe::HandshakeError>();
        becomes_ours::<pipe::InvalidAddress>();
    }

    #[test]
    fn every_error_of_pools_becomes_ours_whatever_the_arguments() {
        struct Arguments;
        becomes_ours::<pool::SubmitError<Arguments>>();
        becomes_ours::<pool::CreateError>();
        becomes_ours::<pool::TaskError>();
        becomes_ours::<pool::GetTimeoutError>();
        becomes_ours::<pool::NotReady>();
        becomes_ours::<pool::Ended>();
        becomes_ours::<pool::JoinError>();
    }

    #[test]
    fn every_error_of_managers_becomes_ours_whatever_the_item() {
        struct Item;
        becomes_ours::<manager::StartError>();
        becomes_ours::<manager::ShutDownError>();
        becomes_ours::<manager::ServeError>();
        becomes_ours::<manager::CallError>();
        becomes_ours::<manager::RemoteError>();
        becomes_ours::<manager::MemoryError>();
        becomes_ours::<manager::PublishError>();
        becomes_ours::<manager::IndexError>();
        becomes_ours::<manager::FetchError>();
        becomes_ours::<manager::IterError>();
        becomes_ours::<manager::GetError>();
        becomes_ours::<manager::TryGetError>();
        becomes_ours::<manager::GetTimeoutError>();
        becomes_ours::<manager::PutError<Item>>();
        becomes_ours::<manager::TryPutError<Item>>();
        becomes_ours::<manager::PutTimeoutError<Item>>();
        becomes_ours::<manager::TaskDoneError>();
        becomes_ours::<manager::ReleaseError>();
        becomes_ours::<manager::ReleasePermitError>();
        becomes_ours::<manager::ConditionError>();
        becomes_ours::<manager::BarrierError>();
        becomes_ours::<manager::PoolError>();
        becomes_ours::<manager::BindError>();
        becomes_ours::<manager::ConnectError>();
        becomes_ours::<manager::InvalidAddress>();
    }
}
