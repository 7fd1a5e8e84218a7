//! What a keeper is given at its start, by fork or in a letter.

use crate::board::Board;
use multiproc_message::ends::{RingParts, no_de, no_ser};
use multiproc_process::{Code, Descriptor, ExitValue, Functions};
use multiproc_ring::Ring;
use multiproc_segment::Shared;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::any::Any;
use std::os::unix::net::UnixStream;

/// Everything that workers need.
#[derive(Serialize, Deserialize)]
pub(crate) struct Setup {
    pub(crate) workers: usize,
    /// Tasks (or chunks of them) after which a worker is replaced.
    pub(crate) most_tasks: Option<u64>,
    pub(crate) board: Shared<Board>,
    pub(crate) tasks: Way,
    pub(crate) answers: Way,
    pub(crate) functions: Functions,
    pub(crate) initializer: Option<Initializer>,
    /// Commands come from there, and word that all is well goes there.
    pub(crate) control: Descriptor<UnixStream>,
}

/// A ring as a message.
#[derive(Clone)]
pub(crate) struct Way(pub(crate) Ring);

impl Serialize for Way {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RingParts::enclose(&self.0)
            .map_err(no_ser)?
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Way {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let parts = RingParts::deserialize(deserializer)?;
        parts.ring().map(Way).map_err(no_de)
    }
}

/// A function that each worker runs first, with its argument.
pub(crate) struct Initializer(Box<dyn Begin>);

/// An initializer whose types are forgotten.
trait Begin: Send {
    /// Runs it, in a worker: what it returns, as an exit code.
    fn begin(self: Box<Self>) -> i32;

    /// Its functions' name and its encoded argument.
    fn encode(&self) -> Result<(Code, Vec<u8>), String>;

    fn functions(&self) -> &Functions;
}

struct Plain<I, R> {
    f: fn(I) -> R,
    argument: I,
    functions: Functions,
}

impl<I, R> Begin for Plain<I, R>
where
    I: Serialize + DeserializeOwned + Send + 'static,
    R: ExitValue + 'static,
{
    fn begin(self: Box<Self>) -> i32 {
        (self.f)(self.argument).exit_code()
    }

    fn encode(&self) -> Result<(Code, Vec<u8>), String> {
        let code = self.functions.name(decode::<I, R>, self.f);
        let code = code.ok_or("the initializer is not part of the program's own file")?;
        let bytes = postcard::to_allocvec(&self.argument);
        let why =
            |e: postcard::Error| multiproc_parcel::take_reason().unwrap_or_else(|| e.to_string());
        Ok((code, bytes.map_err(why)?))
    }

    fn functions(&self) -> &Functions {
        &self.functions
    }
}

/// An initializer that is being decoded.
struct Arriving {
    functions: Functions,
    bytes: Vec<u8>,
    arrived: Option<Result<Initializer, String>>,
}

fn decode<I, R>(f: fn(I) -> R, arriving: &mut dyn Any)
where
    I: Serialize + DeserializeOwned + Send + 'static,
    R: ExitValue + 'static,
{
    if let Some(arriving) = arriving.downcast_mut::<Arriving>() {
        let argument = postcard::from_bytes::<I>(&arriving.bytes);
        let functions = arriving.functions.clone();
        let arrived = argument.map(|argument| Initializer::new(functions, f, argument));
        arriving.arrived = Some(arrived.map_err(|e| e.to_string()));
    }
}

impl Initializer {
    pub(crate) fn new<I, R>(functions: Functions, f: fn(I) -> R, argument: I) -> Self
    where
        I: Serialize + DeserializeOwned + Send + 'static,
        R: ExitValue + 'static,
    {
        Self(Box::new(Plain {
            f,
            argument,
            functions,
        }))
    }

    /// Runs it, in a worker.
    pub(crate) fn begin(self) -> i32 {
        self.0.begin()
    }
}

impl Serialize for Initializer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (code, bytes) = self.0.encode().map_err(no_ser)?;
        (self.0.functions(), code, bytes).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Initializer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (functions, code, bytes) = <(Functions, Code, Vec<u8>)>::deserialize(deserializer)?;
        let mut arriving = Arriving {
            functions: functions.clone(),
            bytes,
            arrived: None,
        };
        functions.call(code, &mut arriving).map_err(no_de)?;
        arriving
            .arrived
            .unwrap_or_else(|| Err("another function came".to_owned()))
            .map_err(no_de)
    }
}
