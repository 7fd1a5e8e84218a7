//! Why a call through a proxy did not do what it says: one small enum per operation, each with
//! [`CallError`] for what can go wrong with any of them.

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use multiproc_pipe::{BindError, ConnectError, InvalidAddress};

/// Why a call did not reach its object, or its answer did not come back.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CallError {
    /// The server was shut down, or died, before it answered. Whether it had done what was asked
    /// is not known, and gone with it.
    #[error("the manager's server is gone")]
    #[doc(alias = "BrokenPipeError")]
    ServerGone,
    /// The server lives, and hung up in the middle of this call: the message was larger than it
    /// takes, over TCP, or the network failed. Whether it has done what was asked is not known.
    #[error("the connection to the manager's server broke in the middle of a call")]
    ConnectionLost,
    /// This process (or thread) has no connection yet, and could not get one.
    #[error("no connection to the manager's server: {0}")]
    Connect(String),
    /// Nothing refers to the object any more, and so it is gone.
    #[error("the managed object is gone")]
    ObjectGone,
    /// The value could not be encoded, or a handle in it cannot travel this way. Nothing was
    /// asked of the server.
    #[error("the value could not be encoded: {0}")]
    Encode(String),
    /// What came back is not of the type of this proxy.
    #[error("the answer could not be decoded: {0}")]
    Decode(String),
    /// The message is larger than the server takes (or, for an answer, gives).
    #[error("a message of {bytes} bytes is too large: at most {most} are taken")]
    TooLarge {
        /// Its bytes.
        bytes: usize,
        /// Bytes that are taken.
        most: usize,
    },
    /// The server will not, for the reason said.
    #[error("the manager refuses: {0}")]
    Refused(String),
    /// Another kind of object, or another item type, is found there.
    #[error("the object is a {found}, not a {expected}")]
    #[doc(alias = "RemoteError")]
    OtherType {
        /// What it is.
        found: String,
        /// What this side takes it for.
        expected: String,
    },
    /// A method of your own type went wrong in the server.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

/// A method of a registered type that gave no result. What a method itself returns as an error
/// comes back as that error, and is not one of these.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum RemoteError {
    /// It panicked in the server, which lives on, with the object as the panic left it.
    #[error("{method} panicked in the server: {message}")]
    Panicked {
        /// The method.
        method: String,
        /// The panic's message.
        message: String,
        /// Where in the server: file, line, and the backtrace of its thread there.
        trace: String,
    },
    /// The type has no exposed method of that name.
    #[error("{type_name} exposes no method {method}")]
    NotExposed {
        /// The registered type.
        type_name: String,
        /// What was called.
        method: String,
    },
    /// The arguments are not those of the method.
    #[error("the arguments of {method} are others: {why}")]
    Arguments {
        /// The method.
        method: String,
        /// The codec's reason.
        why: String,
    },
    /// What the method returned could not be encoded.
    #[error("the result of {method} could not be encoded: {why}")]
    Result {
        /// The method.
        method: String,
        /// The codec's reason.
        why: String,
    },
}

/// What the server says when it does not do what was asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Failure {
    ObjectGone,
    OtherType {
        found: String,
        expected: String,
    },
    Refused(String),
    TooLarge {
        bytes: usize,
        most: usize,
    },
    Remote(RemoteError),
    /// The waiting is over (also: full, empty, taken).
    NotNow,
    /// An index, and the length that it is not below.
    OutOfRange {
        index: u64,
        len: u64,
    },
    /// The lock is not held by the caller; the semaphore is at its bound; too many tasks are done.
    NotHeld,
    /// A sum beyond the type.
    Overflow,
    /// A barrier was broken.
    Broken,
    /// Closed for good.
    Closed,
    /// The size changed in the middle of an iteration.
    Changed,
}

impl From<Failure> for CallError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::ObjectGone => Self::ObjectGone,
            Failure::OtherType { found, expected } => Self::OtherType { found, expected },
            Failure::Refused(why) => Self::Refused(why),
            Failure::TooLarge { bytes, most } => Self::TooLarge { bytes, most },
            Failure::Remote(error) => Self::Remote(error),
            other => Self::Refused(format!("{other:?}")),
        }
    }
}

/// How a call ended that did not work out: before the operation sorts it.
pub(crate) enum Failed {
    Call(CallError),
    There(Failure),
}

impl From<CallError> for Failed {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

impl From<Failed> for CallError {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Call(error) => error,
            Failed::There(failure) => failure.into(),
        }
    }
}

macro_rules! errors {
    ($(
        $(#[$meta:meta])*
        $name:ident { $(
            $(#[$vmeta:meta])*
            $variant:ident $({ $($(#[$fmeta:meta])* $field:ident: $ftype:ty),* })? = $failure:pat $(=> $fields:tt)?, $text:literal
        );* $(;)? }
    )*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Error)]
        #[non_exhaustive]
        pub enum $name {
            $(
                $(#[$vmeta])*
                #[error($text)]
                $variant $({ $($(#[$fmeta])* $field: $ftype),* })?,
            )*
            /// As with any call.
            #[error(transparent)]
            Call(#[from] CallError),
        }

        impl From<Failed> for $name {
            fn from(failed: Failed) -> Self {
                match failed {
                    $(Failed::There($failure) => Self::$variant $($fields)?,)*
                    other => Self::Call(other.into()),
                }
            }
        }
    )*};
}

errors! {
    /// Why an item was not reached.
    IndexError {
        /// The list is shorter.
        OutOfRange {
            /// The index asked for.
            index: u64,
            /// The length at that moment.
            len: u64
        } = Failure::OutOfRange { index, len } => { index, len },
            "index {index} is out of range for a length of {len}"
    }
    /// Why nothing was added up.
    FetchError {
        /// The sum does not fit the type. The item is as it was.
        Overflow = Failure::Overflow, "the result does not fit the type";
        /// The list is shorter.
        OutOfRange {
            /// The index asked for.
            index: u64,
            /// The length at that moment.
            len: u64
        } = Failure::OutOfRange { index, len } => { index, len },
            "index {index} is out of range for a length of {len}"
    }
    /// Why an iteration did not go on.
    #[doc(alias = "RuntimeError")]
    IterError {
        /// Keys were added or removed meanwhile.
        Changed = Failure::Changed, "the size changed during the iteration"
    }
    /// Why `get` has no item.
    GetError {
        /// The queue was shut down, and is empty.
        Closed = Failure::Closed, "the queue is closed"
    }
    /// Why `try_get` has no item.
    #[doc(alias = "Empty")]
    TryGetError {
        /// Nothing is in it.
        Empty = Failure::NotNow, "the queue is empty";
        /// The queue was shut down, and is empty.
        Closed = Failure::Closed, "the queue is closed"
    }
    /// Why `get_timeout` has no item.
    #[doc(alias = "Empty")]
    GetTimeoutError {
        /// Nothing came until the deadline.
        Timeout = Failure::NotNow, "the queue was empty until the deadline";
        /// The queue was shut down, and is empty.
        Closed = Failure::Closed, "the queue is closed"
    }
    /// Why no task was marked as done.
    #[doc(alias = "ValueError")]
    TaskDoneError {
        /// More were done than were put.
        TooMany = Failure::NotHeld, "task_done was called more often than items were put"
    }
    /// Why a lock was not released.
    ReleaseError {
        /// Nobody holds it; for a recursive lock, not this thread. It is as it was.
        NotHeld = Failure::NotHeld, "the lock is not held by the caller"
    }
    /// Why a semaphore was not released.
    #[doc(alias = "ValueError")]
    ReleasePermitError {
        /// It would be above its bound. It is as it was.
        TooMany = Failure::NotHeld, "the semaphore would be above its bound"
    }
    /// Why nobody was waited for or notified.
    ConditionError {
        /// Its lock is not held by this thread.
        NotHeld = Failure::NotHeld, "the condition's lock is not held by the caller"
    }
    /// Why a barrier was not passed.
    #[doc(alias = "BrokenBarrierError")]
    BarrierError {
        /// Broken by an abort, a reset, a timeout, an action that failed, or the death of a
        /// process that waited in it.
        Broken = Failure::Broken, "the barrier is broken";
        /// Not all came before the deadline: that broke it.
        Timeout = Failure::NotNow, "not all came to the barrier before the deadline"
    }
}

macro_rules! put_errors {
    ($($(#[$meta:meta])* $name:ident { $($(#[$emeta:meta])* $extra:ident($text:literal))? })*) => {$(
        $(#[$meta])*
        #[derive(Error)]
        #[non_exhaustive]
        pub enum $name<T> {
            $($(#[$emeta])* #[error($text)] $extra(T),)?
            /// The queue was shut down.
            #[error("the queue is closed")]
            Closed(T),
            /// As with any call. After [`CallError::ServerGone`] nobody knows whether the item
            /// was in the queue that is gone.
            #[error("{why}")]
            Call {
                /// The item.
                item: T,
                /// What went wrong.
                why: CallError,
            },
        }

        impl<T> $name<T> {
            /// The item that was not put.
            pub fn into_item(self) -> T {
                match self {
                    $(Self::$extra(item) => item,)?
                    Self::Closed(item) | Self::Call { item, .. } => item,
                }
            }

            /// The error alone; the item is dropped.
            pub fn without_item(self) -> $name<()> {
                match self {
                    $(Self::$extra(_) => $name::$extra(()),)?
                    Self::Closed(_) => $name::Closed(()),
                    Self::Call { why, .. } => $name::Call { item: (), why },
                }
            }

            pub(crate) fn new(item: T, failed: Failed) -> Self {
                match failed {
                    $(Failed::There(Failure::NotNow) => Self::$extra(item),)?
                    Failed::There(Failure::Closed) => Self::Closed(item),
                    other => Self::Call { item, why: other.into() },
                }
            }
        }

        impl<T> std::fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    )*};
}

put_errors! {
    /// Why `put` did not put. The item comes back.
    PutError {}
    /// Why `try_put` did not put. The item comes back.
    #[doc(alias = "Full")]
    TryPutError {
        /// There is no room.
        Full("the queue is full")
    }
    /// Why `put_timeout` did not put. The item comes back.
    #[doc(alias = "Full")]
    PutTimeoutError {
        /// Full until the deadline.
        Timeout("the queue was full until the deadline")
    }
}

/// Why there is no manager.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The server's process did not start. In a program with several threads a server is spawned,
    /// for which `main` has to begin with [`entry`](multiproc_process::entry()), and what was
    /// registered by closures cannot go there: see [`Manager::start_with`](crate::Manager::start_with).
    #[error("the server's process did not start: {0}")]
    Process(#[from] multiproc_process::StartError),
    /// The server could not listen.
    #[error("the server cannot listen: {0}")]
    Bind(String),
    /// The server's process ended before it served.
    #[error("the server's process ended before it served")]
    Died,
    /// The initializer panicked, or the server said another reason.
    #[error("the server did not begin: {0}")]
    Server(String),
    /// What the system says.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The server serves, and this process cannot reach it.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// Why a manager was not shut down in order. It is killed then, if it is this process's child.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ShutDownError {
    /// The server was started by another process, or connected to.
    #[error("only who started the server shuts it down")]
    NotOwner,
    /// It did not end in time, or had ended otherwise before.
    #[error("the server did not end in order: it {0}")]
    Exit(multiproc_process::Exit),
    /// It could not be waited for.
    #[error(transparent)]
    Join(#[from] multiproc_process::JoinError),
}

/// Why a server does not serve, or stopped.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Its address was closed, or cannot be used.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// What the system says.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// Over TCP anybody could connect.
    #[error("a server at a TCP address needs a key")]
    NoKey,
    /// Who started it is not there any more.
    #[error("who started the server is gone")]
    OwnerGone,
}

/// Why there is no shared memory from the manager.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// As with any call: the server could not make it, above all.
    #[error(transparent)]
    Call(#[from] CallError),
    /// It was made, and cannot be opened here: the server is on another machine, perhaps.
    #[error("the memory that the server has made cannot be opened here: {0}")]
    Open(#[from] multiproc_segment::OpenError),
}

/// Why a name was not published.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PublishError {
    /// Something is published under it already.
    #[error("the name {0:?} is taken")]
    Taken(String),
    /// As with any call.
    #[error(transparent)]
    Call(#[from] CallError),
}
