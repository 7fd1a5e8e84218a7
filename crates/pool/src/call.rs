//! A task as its worker runs it: arguments from bytes, the function, results to bytes.
//!
//! Everything of the user's runs under `catch_unwind`: decoding and encoding, too. What went wrong
//! is part of the answer.

use crate::error::TaskError;
use multiproc_message::codec::{Codec, Serde};
use multiproc_parcel::{self as parcel, Parcel};
use multiproc_process::{Code, Functions};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::any::Any;
use std::backtrace::Backtrace;
use std::cell::{Cell, RefCell};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};

/// A call that came to a worker, and its answer.
#[derive(Debug, Default)]
pub(crate) struct Call {
    /// Encoded arguments, so many.
    pub(crate) input: Vec<u8>,
    /// Where they begin.
    pub(crate) from: usize,
    pub(crate) count: usize,
    pub(crate) descriptors: Vec<OwnedFd>,
    /// The answer is written behind what stands here.
    pub(crate) output: Vec<u8>,
    pub(crate) parcel: Parcel,
}

/// Why an argument has no value, as it travels.
#[derive(Debug, Serialize, Deserialize)]
enum Failure {
    Panicked {
        message: String,
        location: String,
        backtrace: String,
    },
    NotSerialisable(String),
}

impl From<Failure> for TaskError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Panicked {
                message,
                location,
                backtrace,
            } => Self::Panicked {
                message,
                location,
                backtrace,
            },
            Failure::NotSerialisable(why) => Self::NotSerialisable(why),
        }
    }
}

const VALUE: u8 = 0;
const FAILURE: u8 = 1;
/// A failure that stands for this argument and all behind it.
const FAILURE_OF_THE_REST: u8 = 2;

/// What stands in the place of a function in the records of a pool around a closure.
pub(crate) const CAPTURED: Code = Code {
    via: 0,
    function: 0,
    seal: 0,
};

/// The name of `f` in records.
pub(crate) fn name<A, R>(functions: &Functions, f: fn(A) -> R) -> Option<Code>
where
    A: Serialize + DeserializeOwned,
    R: Serialize + DeserializeOwned,
{
    functions.name(via::<A, R>, f)
}

/// The name of `f` of two arguments in records.
pub(crate) fn name_pair<A, B, R>(functions: &Functions, f: fn(A, B) -> R) -> Option<Code>
where
    A: Serialize + DeserializeOwned,
    B: Serialize + DeserializeOwned,
    R: Serialize + DeserializeOwned,
{
    functions.name(via_pair::<A, B, R>, f)
}

fn via<A, R>(f: fn(A) -> R, call: &mut dyn Any)
where
    A: Serialize + DeserializeOwned,
    R: Serialize + DeserializeOwned,
{
    if let Some(call) = call.downcast_mut::<Call>() {
        call.run(&f);
    }
}

fn via_pair<A, B, R>(f: fn(A, B) -> R, call: &mut dyn Any)
where
    A: Serialize + DeserializeOwned,
    B: Serialize + DeserializeOwned,
    R: Serialize + DeserializeOwned,
{
    if let Some(call) = call.downcast_mut::<Call>() {
        call.run(&|(a, b)| f(a, b));
    }
}

impl Call {
    /// Runs `f` on each of the arguments and writes the answer.
    pub(crate) fn run<A, R>(&mut self, f: &dyn Fn(A) -> R)
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        let (arguments, unreadable) = self.arguments::<A>();
        let results: Vec<Result<R, Failure>> = arguments
            .into_iter()
            .map(|argument| caught(|| f(argument)))
            .collect();
        let output = &mut self.output;
        let ((), parcel) = parcel::pack(|| {
            for result in &results {
                write(result, output);
            }
        });
        if let Some(failure) = unreadable {
            write_failure(FAILURE_OF_THE_REST, &failure, output);
        }
        self.parcel = parcel;
        // Their destructors are the task's, too.
        let _ = caught(|| drop(results));
    }

    /// The arguments, and why there are no more. Behind one that cannot be read, none can be found.
    fn arguments<A: DeserializeOwned>(&mut self) -> (Vec<A>, Option<Failure>) {
        let mut rest = self.input.get(self.from..).unwrap_or_default();
        let mut arguments = Vec::with_capacity(self.count.min(rest.len().max(1)));
        let descriptors = std::mem::take(&mut self.descriptors);
        let failure = parcel::unpack(descriptors, || {
            for _ in 0..self.count {
                match caught(|| postcard::take_from_bytes::<A>(rest)) {
                    Ok(Ok((argument, after))) => {
                        rest = after;
                        arguments.push(argument);
                    }
                    Ok(Err(error)) => return Some(Failure::NotSerialisable(why(error))),
                    Err(panicked) => return Some(panicked),
                }
            }
            None
        });
        (arguments, failure)
    }
}

/// postcard keeps no reason of a handle's that does not travel.
fn why(error: postcard::Error) -> String {
    parcel::take_reason().unwrap_or_else(|| error.to_string())
}

/// Appends one result; where it cannot be encoded, why.
fn write<R: Serialize + DeserializeOwned>(result: &Result<R, Failure>, to: &mut Vec<u8>) {
    let begin = to.len();
    let encoded = match result {
        Ok(value) => {
            to.push(VALUE);
            caught(|| Serde::encode(value, to))
                .and_then(|encoded| encoded.map_err(Failure::NotSerialisable))
        }
        Err(failure) => {
            write_failure(FAILURE, failure, to);
            Ok(())
        }
    };
    if let Err(failure) = encoded {
        to.truncate(begin);
        write_failure(FAILURE, &failure, to);
    }
}

fn write_failure(tag: u8, failure: &Failure, to: &mut Vec<u8>) {
    to.push(tag);
    // Texts always encode.
    let _ = Serde::encode(failure, to);
}

/// The results in an answer, as its owner reads them: exactly `count`.
pub(crate) fn results<R: DeserializeOwned>(
    mut rest: &[u8],
    descriptors: Vec<OwnedFd>,
    count: usize,
) -> Vec<Result<R, TaskError>> {
    let mut results = Vec::with_capacity(count.min(rest.len()));
    let failure = parcel::unpack(descriptors, || {
        for _ in 0..count {
            match one(rest) {
                Ok((result, after)) => {
                    rest = after;
                    results.push(result);
                }
                // Where the next one begins, nobody knows.
                Err(error) => return Some(error),
            }
        }
        None
    });
    if let Some(error) = failure {
        results.resize_with(count, || Err(error.clone()));
    }
    results
}

/// The next result, and what stands behind it; or why there are no more.
#[allow(clippy::type_complexity)]
fn one<R: DeserializeOwned>(bytes: &[u8]) -> Result<(Result<R, TaskError>, &[u8]), TaskError> {
    let unreadable = |e| TaskError::NotSerialisable(why(e));
    let failure = |rest| postcard::take_from_bytes::<Failure>(rest).map_err(unreadable);
    match bytes.split_first() {
        Some((&VALUE, rest)) => {
            let decoded = catch_unwind(|| postcard::take_from_bytes::<R>(rest));
            let decoded = decoded.map_err(|panic| {
                let said = said(&*panic);
                std::mem::forget(panic);
                TaskError::NotSerialisable(format!("decoding it panicked: {said}"))
            })?;
            let (value, rest) = decoded.map_err(unreadable)?;
            Ok((Ok(value), rest))
        }
        Some((&FAILURE, rest)) => {
            let (failure, rest) = failure(rest)?;
            Ok((Err(failure.into()), rest))
        }
        Some((&FAILURE_OF_THE_REST, rest)) => Err(failure(rest)?.0.into()),
        _ => Err(TaskError::NotSerialisable(
            "the answer is too short".to_owned(),
        )),
    }
}

/// What a panic said, if that was a text.
pub(crate) fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "(something that is no text)".to_owned())
}

thread_local! {
    /// A task runs on this thread.
    static AT_WORK: Cell<bool> = const { Cell::new(false) };
    /// What the hook saw of its panic.
    static SEEN: RefCell<Option<(String, String)>> = const { RefCell::new(None) };
}

/// Runs `f`; its panic is a failure, and is not printed.
fn caught<R>(f: impl FnOnce() -> R) -> Result<R, Failure> {
    AT_WORK.set(true);
    let result = catch_unwind(AssertUnwindSafe(f));
    AT_WORK.set(false);
    result.map_err(|panic| {
        let message = said(&*panic);
        // Its destructor might panic again.
        std::mem::forget(panic);
        let (location, backtrace) = SEEN.take().unwrap_or_default();
        Failure::Panicked {
            message,
            location,
            backtrace,
        }
    })
}

/// Keeps what a task's panic says for the answer; everybody else's is printed as ever.
pub(crate) fn note_panics() {
    let before = std::panic::take_hook();
    let quiet = std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value == "0");
    std::panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
        if !AT_WORK.get() {
            return before(info);
        }
        let location = info.location().map(ToString::to_string).unwrap_or_default();
        let backtrace = match quiet {
            true => String::new(),
            false => Backtrace::force_capture().to_string(),
        };
        SEEN.set(Some((location, backtrace)));
    }));
}
