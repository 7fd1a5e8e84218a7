//! Pools of worker processes that survive kill -9.
#![forbid(unsafe_code)]

mod board;
mod call;
mod capturing;
mod error;
mod imap;
mod keeper;
mod owner;
mod pool;
mod record;
mod result;
mod setup;
mod tasks;
mod ticket;
mod worker;

pub use board::MOST_WORKERS;
pub use capturing::{CapturingPool, CapturingTasks};
pub use error::{
    CreateError, Ended, GetTimeoutError, JoinError, NotReady, SubmitError, TaskError,
};
pub use imap::Imap;
pub use pool::{BasicPool, Builder, Closing, Pool};
pub use result::AsyncResult;
pub use tasks::Tasks;
pub use ticket::Progress;
