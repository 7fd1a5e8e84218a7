//! A pool of worker processes that the server keeps, for all its clients.
//!
//! The pool is one of `multiproc-pool`, in the server's process, and all that it is asked to run is
//! one function: [`run`], with a client's function by its number, and arguments that neither the
//! server nor the pool decode. The numbers are sealed with the server's own; so what another
//! program says, or another build, is no function ([`PoolError::OtherProgram`]).
//!
//! # If a process dies here
//!
//! * a worker: as in any pool. The client gets [`TaskError::WorkerLost`].
//! * a client that waits: its thread in the server gives up within a slice. A task that was given to
//!   the pool is done all the same; the items of a map that were not are not.
//! * the server: the keeper of the workers sees it, and ends with them. Clients: `ServerGone`.

use crate::error::{CallError, Failed, Failure};
use crate::handle::Handle;
use crate::remote::unexpected;
use crate::server::{self, Object, caller::Caller};
use crate::stored::{Blob, why};
use crate::wire::{Answer, Call, Patience};
use multiproc_core::deadline::Deadline;
use multiproc_core::wait::SLICE;
use multiproc_parcel::{self as parcel, Descriptor};
use multiproc_pool::{
    AsyncResult, BasicPool, Closing, GetTimeoutError, JoinError, SubmitError, TaskError, Tasks,
};
use multiproc_process::{Code, Functions};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::time::Duration;
use thiserror::Error;

/// What a pool, or a result of its, can be asked for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum PoolCall {
    Workers,
    /// Run it, and wait for its result.
    Apply(Work),
    /// Run it; the result becomes an object.
    Begin(Work),
    Map(Vec<Work>),
    Close,
    Terminate,
    /// The result of what was begun.
    Get(Patience),
}

/// Arguments or a result, as bytes, and the descriptors of handles in them.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Packed {
    bytes: Blob,
    descriptors: Vec<Descriptor<OwnedFd>>,
}

/// A call of a client's function.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Work {
    /// Of the server: its seal.
    nonce: u128,
    code: Code,
    input: Packed,
}

pub(crate) type Outcome<T> = Result<T, Why>;

/// Why there is no value.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Why {
    Task(TaskError),
    OtherProgram,
}

fn pack<T: Serialize>(value: &T) -> Result<(Packed, parcel::Parcel), String> {
    let (bytes, parcel) = parcel::pack(|| postcard::to_allocvec(value));
    let bytes = bytes.map_err(|e| why(&e))?.into();
    if parcel.tokens() > 0 {
        // It would belong to the server on its way.
        return Err("a registered end cannot be sent through a manager".into());
    }
    let copies = parcel.descriptors().iter().map(OwnedFd::try_clone);
    let descriptors = copies
        .map(|fd| fd.map(Descriptor))
        .collect::<Result<_, _>>();
    let descriptors = descriptors.map_err(|e| format!("no descriptor left: {e}"))?;
    Ok((Packed { bytes, descriptors }, parcel))
}

fn unpack<T: DeserializeOwned>(packed: Packed) -> Result<T, String> {
    let descriptors = packed.descriptors.into_iter().map(|d| d.0).collect();
    let value = parcel::unpack(descriptors, || postcard::from_bytes(&packed.bytes.0));
    value.map_err(|e| why(&e))
}

/// A call in its worker.
struct Job {
    input: Option<Packed>,
    output: Outcome<Packed>,
}

fn via<A: DeserializeOwned, R: Serialize>(f: fn(A) -> R, job: &mut dyn Any) {
    if let Some(job) = job.downcast_mut::<Job>()
        && let Some(input) = job.input.take()
    {
        let result = unpack(input).and_then(|arguments| pack(&f(arguments)));
        job.output = match result {
            Ok((packed, parcel)) => {
                // It is as good as there: whoever reads the answer has it.
                parcel.sent();
                Ok(packed)
            }
            Err(why) => Err(Why::Task(TaskError::NotSerialisable(why))),
        };
    }
}

/// The one function that the pool itself is given.
fn run(work: Work) -> Outcome<Packed> {
    let mut job = Job {
        input: Some(work.input),
        output: Err(Why::OtherProgram),
    };
    let functions = Functions::with_secret(work.nonce);
    match functions.call(work.code, &mut job) {
        Ok(()) => job.output,
        Err(_) => Err(Why::OtherProgram),
    }
}

fn flat(result: Result<Outcome<Packed>, TaskError>) -> Outcome<Packed> {
    result.unwrap_or_else(|error| Err(Why::Task(error)))
}

enum Stage {
    Open(BasicPool<JoinError>),
    /// What was given before is done.
    Closed {
        _pool: Closing<JoinError>,
    },
    Terminated,
}

/// A pool in its server.
pub(crate) struct Body {
    tasks: Tasks,
    stage: Mutex<Stage>,
    nonce: u128,
}

impl Body {
    pub(crate) fn new(caller: &Caller, workers: u64) -> Result<Self, Failure> {
        let pool = BasicPool::builder()
            .workers(usize::try_from(workers).unwrap_or(usize::MAX))
            .even_in_daemon()
            .build();
        let pool = pool.map_err(|e| Failure::Refused(e.to_string()))?;
        Ok(Self {
            tasks: pool.tasks(),
            stage: Mutex::new(Stage::Open(pool)),
            nonce: caller.core.nonce,
        })
    }

    /// What a client says is checked: the seal that counts is this server's.
    fn seal(&self, mut work: Work) -> Work {
        work.nonce = self.nonce;
        work
    }

    fn begin(&self, work: Work) -> Result<AsyncResult<Outcome<Packed>>, Why> {
        let begun = self.tasks.apply_async(run, self.seal(work));
        begun.map_err(|e| Why::Task(e.without_arguments().into()))
    }

    /// Chunk by chunk, and no more at a time than keep the workers busy.
    fn map(&self, works: Vec<Work>, caller: &Caller) -> Result<Outcome<Vec<Packed>>, Failure> {
        let chunk = works.len().div_ceil(4 * self.tasks.workers()).max(1);
        let works = works.into_iter().map(|work| self.seal(work));
        let mut results = match self.tasks.chunk_size(chunk).imap(run, works) {
            Ok(results) => results,
            Err(error) => return Ok(Err(Why::Task(error.into()))),
        };
        let mut all = Ok(Vec::new());
        while let Some(next) = results.next_timeout(SLICE) {
            let next = match next {
                Err(GetTimeoutError::Timeout) => {
                    caller.check()?;
                    continue;
                }
                Err(GetTimeoutError::Task(error)) => Err(Why::Task(error)),
                Err(other) => return Err(Failure::Refused(other.to_string())),
                Ok(outcome) => outcome,
            };
            match (&mut all, next) {
                (Ok(some), Ok(packed)) => some.push(packed),
                (all @ Ok(_), Err(why)) => *all = Err(why),
                (Err(_), _) => {}
            }
        }
        Ok(all)
    }

    fn close(&self) {
        let mut stage = self.stage.lock();
        *stage = match std::mem::replace(&mut *stage, Stage::Terminated) {
            Stage::Open(pool) => Stage::Closed {
                _pool: pool.close(),
            },
            other => other,
        };
    }

    fn terminate(&self) {
        let stage = std::mem::replace(&mut *self.stage.lock(), Stage::Terminated);
        // A closed one is terminated by being dropped.
        if let Stage::Open(pool) = stage {
            drop(pool.terminate());
        }
    }
}

/// *Blocks until* the result is there or patience is over. *Wakes when* the worker answers. *If a
/// peer dies*: when it is the client, gives up after a slice.
fn wait_for(
    result: &AsyncResult<Outcome<Packed>>,
    patience: Patience,
    caller: &Caller,
) -> Result<Answer, Failure> {
    let deadline = patience.map_or(Deadline::NEVER, Deadline::after);
    loop {
        let slice = deadline.remaining().map_or(SLICE, |left| left.min(SLICE));
        match result.get_timeout(slice) {
            Ok(outcome) => return Ok(Answer::Outcome(outcome)),
            Err(GetTimeoutError::Task(error)) => return Ok(Answer::Outcome(flat(Err(error)))),
            Err(_) if deadline.passed() => return Err(Failure::NotNow),
            Err(_) => caller.check()?,
        }
    }
}

impl server::Body for Body {
    fn kind(&self) -> &'static str {
        "Pool"
    }

    fn call(&self, call: Call, caller: &Caller) -> Result<Answer, Failure> {
        let Call::Pool(call) = call else {
            return self.not_mine();
        };
        Ok(match call {
            PoolCall::Workers => Answer::Number(self.tasks.workers() as u64),
            PoolCall::Apply(work) => match self.begin(work) {
                Ok(result) => wait_for(&result, None, caller)?,
                Err(why) => Answer::Outcome(Err(why)),
            },
            PoolCall::Begin(work) => match self.begin(work) {
                Ok(result) => {
                    let object = |number| Object {
                        number,
                        tag: "AsyncResult".into(),
                        body: Box::new(Begun(result)),
                    };
                    Answer::Number(caller.core.table.lock().add(caller.account, object))
                }
                Err(why) => Answer::Outcome(Err(why)),
            },
            PoolCall::Map(works) => Answer::Outcomes(self.map(works, caller)?),
            PoolCall::Close => {
                self.close();
                Answer::Done
            }
            PoolCall::Terminate => {
                self.terminate();
                Answer::Done
            }
            PoolCall::Get(_) => return self.not_mine(),
        })
    }
}

/// The result to come, in its server.
struct Begun(AsyncResult<Outcome<Packed>>);

impl server::Body for Begun {
    fn kind(&self) -> &'static str {
        "AsyncResult"
    }

    fn call(&self, call: Call, caller: &Caller) -> Result<Answer, Failure> {
        match call {
            Call::Pool(PoolCall::Get(patience)) => wait_for(&self.0, patience, caller),
            _ => self.not_mine(),
        }
    }
}

proxy! {
    /// A pool of worker processes in the server: from [`Manager::pool`](crate::Manager::pool).
    ///
    /// Every process that has this handle gives it tasks, several at once, too. Tasks are plain
    /// functions of the program that started the server: a process of another one gets
    /// [`PoolError::OtherProgram`]. Handles in arguments and results work, those of managed objects
    /// and of shared memory; registered ends of queues and pipes cannot be sent.
    ///
    /// The server has threads, and so the pool's first process is
    /// [spawned](multiproc_process::Process::spawn): `main` begins with
    /// [`entry`](multiproc_process::entry()). The workers end when nobody refers to the pool any
    /// more, and with the server. A pool of one process alone (`multiproc::Pool`) needs no server,
    /// is faster, and does more.
    ///
    /// ```rust,standalone_crate
    /// use multiproc_manager::Manager;
    /// use multiproc_process::{Process, entry, join_all};
    ///
    /// fn square(n: u64) -> u64 {
    ///     n * n
    /// }
    ///
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     entry();
    ///     let manager = Manager::start()?;
    ///     let pool = manager.pool(2)?;
    ///     let clients = Process::start_each(1..=3, |n| {
    ///         assert_eq!(pool.apply(square, n).unwrap(), n * n);
    ///     })?;
    ///     assert_eq!(pool.map(square, 0..5)?, [0, 1, 4, 9, 16]);
    ///     join_all(clients)?;
    ///     manager.shut_down()?;
    ///     Ok(())
    /// }
    /// ```
    #[doc(alias = "PoolProxy")]
    pub Pool<>, "Pool"
}

/// Why a pool of a server gave no value. (An `Err` that the task itself returns is a value.)
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PoolError {
    /// The task has none: as in any pool.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// The server's workers are of another program, or another build of it: they do not have the
    /// function.
    #[error("the pool's workers are of another program, and do not have the function")]
    OtherProgram,
    /// The server was not reached, or has not answered.
    #[error(transparent)]
    Call(#[from] CallError),
}

impl From<Failed> for PoolError {
    fn from(failed: Failed) -> Self {
        Self::Call(failed.into())
    }
}

impl From<Why> for PoolError {
    fn from(why: Why) -> Self {
        match why {
            Why::Task(error) => Self::Task(error),
            Why::OtherProgram => Self::OtherProgram,
        }
    }
}

fn value<R: DeserializeOwned>(packed: Packed) -> Result<R, PoolError> {
    unpack(packed).map_err(|why| CallError::Decode(why).into())
}

impl Pool {
    fn code<A, R>(&self, f: fn(A) -> R) -> Result<Code, PoolError>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        let functions = Functions::with_secret(self.handle.remote.nonce());
        let code = functions.name(via::<A, R>, f);
        Ok(code.ok_or(TaskError::from(SubmitError::Function(())))?)
    }

    fn work<A: Serialize>(
        &self,
        code: Code,
        arguments: &A,
    ) -> Result<(Work, parcel::Parcel), PoolError> {
        let (input, parcel) = pack(arguments).map_err(CallError::Encode)?;
        let nonce = self.handle.remote.nonce();
        Ok((Work { nonce, code, input }, parcel))
    }

    fn ask(&self, call: PoolCall) -> Result<Answer, Failed> {
        self.handle.call(Call::Pool(call))
    }

    /// How many workers it has.
    pub fn workers(&self) -> Result<usize, CallError> {
        match self.ask(PoolCall::Workers)? {
            Answer::Number(n) => Ok(n as usize),
            _ => Err(unexpected().into()),
        }
    }

    /// Runs `f` on `arguments` in a worker, and gives what it returns.
    ///
    /// *Blocks until* the result is there. *Wakes when* the worker answers. *If a peer dies*: a
    /// worker, [`TaskError::WorkerLost`]; the server, an error within 100 ms.
    ///
    /// # Errors
    ///
    /// [`PoolError`], where there is no value.
    pub fn apply<A, R>(&self, f: fn(A) -> R, arguments: A) -> Result<R, PoolError>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        let (work, parcel) = self.work(self.code(f)?, &arguments)?;
        match self.ask(PoolCall::Apply(work))? {
            Answer::Outcome(outcome) => {
                let packed = outcome?; // else references in the arguments come back
                parcel.sent();
                value(packed)
            }
            _ => Err(unexpected().into()),
        }
    }

    /// Has `f` run on `arguments` in a worker: waits for the server's answer only.
    ///
    /// *Blocks until* the server has taken it. *Wakes when* it answers. *If a peer dies*: as
    /// [`Pool::apply`].
    ///
    /// # Errors
    ///
    /// [`PoolError`]; above all, the pool has no room for more tasks.
    pub fn apply_async<A, R>(&self, f: fn(A) -> R, arguments: A) -> Result<PoolResult<R>, PoolError>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        let (work, parcel) = self.work(self.code(f)?, &arguments)?;
        match self.ask(PoolCall::Begin(work))? {
            Answer::Number(object) => {
                parcel.sent();
                Ok(PoolResult {
                    result: Handle::counted(self.handle.remote.clone(), object),
                    value: PhantomData,
                })
            }
            Answer::Outcome(Err(why)) => Err(why.into()),
            _ => Err(unexpected().into()),
        }
    }

    /// Runs `f` on each item, in the workers; the results are in the order of the items. All items
    /// go to the server in one message, and all results come back in one:
    /// [`Builder::max_message`](crate::Builder::max_message) is their limit. All are done before
    /// this returns, also where one has no value.
    ///
    /// *Blocks until* all are done. *Wakes when* they are. *If a peer dies*: as [`Pool::apply`].
    ///
    /// # Errors
    ///
    /// The first [`PoolError`], in the order of the items.
    pub fn map<A, R, I>(&self, f: fn(A) -> R, items: I) -> Result<Vec<R>, PoolError>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
        I: IntoIterator<Item = A>,
    {
        let code = self.code(f)?;
        let works = items.into_iter().map(|item| self.work(code, &item));
        let works: Vec<_> = works.collect::<Result<_, _>>()?;
        let (works, parcels): (Vec<_>, Vec<_>) = works.into_iter().unzip();
        match self.ask(PoolCall::Map(works))? {
            Answer::Outcomes(outcomes) => {
                let all = outcomes?;
                parcels.into_iter().for_each(parcel::Parcel::sent);
                all.into_iter().map(value).collect()
            }
            _ => Err(unexpected().into()),
        }
    }

    /// It takes no more tasks, from anybody; those that were given are done.
    pub fn close(&self) -> Result<(), CallError> {
        Ok(self.ask(PoolCall::Close).map(drop)?)
    }

    /// Kills the workers. Tasks that are not done, anybody's, end with
    /// [`PoolEnded`](TaskError::PoolEnded).
    ///
    /// *Blocks until* they have ended. *Wakes when* they have. *If a peer dies*: as [`Pool::apply`].
    pub fn terminate(&self) -> Result<(), CallError> {
        Ok(self.ask(PoolCall::Terminate).map(drop)?)
    }
}

/// A result to come, in the server: from [`Pool::apply_async`]. It is no message: the process that
/// asked for it gets it. Dropped, it changes nothing: the task is done all the same.
#[doc(alias = "AsyncResult")]
pub struct PoolResult<R> {
    result: Handle,
    value: PhantomData<fn() -> R>,
}

impl<R: DeserializeOwned> PoolResult<R> {
    fn get_by(&self, patience: Patience) -> Result<Option<R>, PoolError> {
        match self.result.call(Call::Pool(PoolCall::Get(patience))) {
            Ok(Answer::Outcome(outcome)) => value(outcome?).map(Some),
            Err(Failed::There(Failure::NotNow)) => Ok(None),
            Err(other) => Err(other.into()),
            Ok(_) => Err(unexpected().into()),
        }
    }

    /// The result.
    ///
    /// *Blocks until* it is there. *Wakes when* the worker answers. *If a peer dies*: as
    /// [`Pool::apply`].
    ///
    /// # Errors
    ///
    /// [`PoolError`], where there is no value.
    pub fn get(self) -> Result<R, PoolError> {
        match self.get_by(None)? {
            Some(value) => Ok(value),
            None => Err(unexpected().into()),
        }
    }

    /// The result, if it comes in time; it can be had once, and asked for again after `None`.
    ///
    /// *Blocks until* it is there, or `timeout` is over. *Wakes when* and *if a peer dies*: as
    /// [`PoolResult::get`].
    ///
    /// # Errors
    ///
    /// [`PoolError`], where there is no value.
    pub fn get_timeout(&self, timeout: Duration) -> Result<Option<R>, PoolError> {
        self.get_by(Some(timeout))
    }
}

impl<R> fmt::Debug for PoolResult<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PoolResult({:?})", self.result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn double(n: u32) -> u32 {
        2 * n
    }

    fn work(nonce: u128, sealed_with: u128) -> Work {
        let functions = Functions::with_secret(sealed_with);
        let code = functions.name(via::<u32, u32>, double as fn(u32) -> u32);
        let (input, parcel) = pack(&21_u32).unwrap();
        parcel.sent();
        Work {
            nonce,
            code: code.unwrap(),
            input,
        }
    }

    #[test]
    fn what_another_program_sealed_is_no_function() {
        assert_eq!(value::<u32>(run(work(7, 7)).unwrap()), Ok(42));
        assert!(matches!(run(work(7, 8)), Err(Why::OtherProgram)));
        let mut other = work(7, 7);
        other.code.function += 1;
        assert!(matches!(run(other), Err(Why::OtherProgram)));
        let error = PoolError::from(Why::OtherProgram).to_string();
        assert!(error.contains("another program"));
    }

    #[test]
    fn arguments_that_are_others_are_an_error_and_no_panic() {
        let mut work = work(7, 7);
        work.input.bytes = Vec::new().into();
        let failed = run(work);
        assert!(matches!(
            failed,
            Err(Why::Task(TaskError::NotSerialisable(_)))
        ));
    }

    #[test]
    fn handles_are_for_all_threads() {
        fn all<T: Send + Sync>() {}
        all::<Pool>();
        all::<PoolResult<u32>>();
        all::<PoolError>();
    }
}
