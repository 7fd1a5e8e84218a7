//! What client and server say to each other.
//!
//! A connection carries one request at a time, and its answer; some requests have none. The first
//! is [`Request::Hello`].

use crate::barrier::BarrierCall;
use crate::condition::ConditionCall;
use crate::dict::DictCall;
use crate::error::Failure;
use crate::event::EventCall;
use crate::list::ListCall;
use crate::lock::LockCall;
use crate::pool::{Outcome, Packed, PoolCall};
use crate::queue::QueueCall;
use crate::semaphore::SemaphoreCall;
use crate::set::SetCall;
use crate::stored::{Blob, Stored};
use multiproc_value::Item;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// From a client.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    Hello(Hello),
    Call {
        object: u64,
        call: Call,
    },
    Ask(Ask),
    /// One reference of this process to the object is gone. No answer.
    Release(u64),
    /// One reference of this process to the object is now that process's. No answer.
    HandOver {
        object: u64,
        heir: u64,
    },
    /// The message with this ticket was not sent. No answer.
    TakeBack(u64),
    /// The last answer has been received (over TCP, where the server cannot see it). No answer.
    Received,
}

/// Who connects.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// The account of this process: the same number on all its connections.
    pub(crate) account: u128,
    /// [`Identity`](multiproc_core::identity::Identity) of the process.
    pub(crate) process: u64,
}

/// How long to wait: not at all, so long, or (`None`) for ever.
pub(crate) type Patience = Option<Duration>;

/// What an object is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Call {
    Dict(DictCall),
    List(ListCall),
    Set(SetCall),
    Queue(QueueCall),
    Event(EventCall),
    Lock(LockCall),
    Semaphore(SemaphoreCall),
    Condition(ConditionCall),
    Barrier(BarrierCall),
    Pool(PoolCall),
    /// A method of a registered type.
    Method {
        method: String,
        arguments: Stored,
    },
    /// So many more of an iterator that a method returned.
    Next(u32),
}

/// What the server itself is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// A new object; the tag says what it holds.
    Make {
        what: Make,
        tag: String,
    },
    /// A reference for this process: brought by a message with this ticket, handed over, or to an
    /// object of which it knows the number.
    Claim {
        object: u64,
        ticket: Option<u64>,
    },
    /// A reference for a message.
    Travel(u64),
    Publish {
        name: String,
        object: u64,
    },
    Withdraw(String),
    /// What is published under this name, of this tag.
    Find {
        name: String,
        tag: String,
    },
    /// Shared memory of so many bytes.
    Memory(u64),
    ShareableList(Vec<Item>),
    /// From the owner, who has this number.
    Shutdown(u128),
    Numbers,
}

/// Kinds of objects to be made.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Make {
    Dict,
    List {
        items: Vec<Stored>,
        fixed: bool,
    },
    Set,
    Queue {
        capacity: Option<u64>,
    },
    Event,
    Lock {
        recursive: bool,
    },
    Semaphore {
        value: u32,
        bounded: bool,
    },
    Condition {
        lock: Option<u64>,
    },
    Barrier {
        parties: u32,
    },
    Pool {
        workers: u64,
    },
    /// A registered type.
    Own(String),
}

/// From the server.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// To [`Request::Hello`]: which server this is.
    Welcome(u128),
    Done,
    Flag(bool),
    Number(u64),
    Item(Option<Stored>),
    Items(Vec<Stored>),
    /// All items of a list, and the version that it has.
    Version(u64, Vec<Stored>),
    Key(Option<Blob>),
    Keys(Vec<Blob>),
    Pair(Option<(Blob, Stored)>),
    Pairs(Vec<(Blob, Stored)>),
    /// Some pairs (the values empty for a set), where to go on, and for which size that holds.
    Page {
        pairs: Vec<(Blob, Stored)>,
        next: Option<u64>,
        epoch: u64,
    },
    Task {
        item: Stored,
        number: u64,
        attempt: u32,
    },
    Barrier {
        waiting: u32,
        parties: u32,
        broken: bool,
    },
    Text(String),
    /// Of a task.
    Outcome(Outcome<Packed>),
    /// Of a map.
    Outcomes(Outcome<Vec<Packed>>),
    /// A method returned an iterator, which is this object now.
    Iterator(u64),
    Numbers(Numbers),
    Failed(Failure),
}

/// What a server has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[doc(alias = "number_of_objects")]
pub struct Numbers {
    /// Objects that somebody refers to.
    pub objects: u64,
    /// Processes that are connected.
    pub clients: u64,
    /// Their connections: each has one per thread that is in a call at the same time.
    pub connections: u64,
}
