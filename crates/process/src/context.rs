//! Start methods: by which way a process is made, chosen per start, per context, or once for the
//! program.

use crate::exit::ExitValue;
use crate::not_started::{NotAllStarted, NotStarted};
use crate::process::Process;
use crate::start::Builder;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// How a process is made.
///
/// | | the child | may be used | costs about |
/// |---|---|---|---|
/// | `Fork` | a copy of this process | in a process with one thread | a fork |
/// | `Spawn` | the program, started anew | always | a program start |
/// | `ForkServer` | a copy of a fresh, idle process of this program, which is started when first asked | always | a fork; the first one, a program start more |
///
/// The last two need [`entry`](crate::entry) in `main`.
///
/// ```
/// use multiproc_process::StartMethod;
///
/// assert_eq!("forkserver".parse(), Ok(StartMethod::ForkServer));
/// assert!("thread".parse::<StartMethod>().is_err());
/// assert_eq!(StartMethod::ALL[0], StartMethod::Fork); // the default
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub enum StartMethod {
    /// By fork: [`Process::start`] does so.
    #[default]
    Fork,
    /// By running the program anew: [`Process::spawn`] does so.
    Spawn,
    /// By a server that forks.
    #[doc(alias = "forkserver")]
    ForkServer,
}

impl StartMethod {
    /// All there are, the default first.
    #[doc(alias = "get_all_start_methods")]
    pub const ALL: [StartMethod; 3] = [
        StartMethod::Fork,
        StartMethod::Spawn,
        StartMethod::ForkServer,
    ];

    /// Python's word for it.
    pub const fn name(self) -> &'static str {
        match self {
            StartMethod::Fork => "fork",
            StartMethod::Spawn => "spawn",
            StartMethod::ForkServer => "forkserver",
        }
    }

    /// The program's, from now on, whatever it was.
    pub(crate) fn settle(self) {
        SETTLED.store(self as u8 + 1, Relaxed);
    }
}

impl fmt::Display for StartMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for StartMethod {
    type Err = UnknownMethod;

    fn from_str(name: &str) -> Result<Self, UnknownMethod> {
        StartMethod::ALL
            .into_iter()
            .find(|method| method.name() == name)
            .ok_or_else(|| UnknownMethod(name.to_owned()))
    }
}

/// There is no start method of this name.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("there is no start method {0:?}; there are fork, spawn and forkserver")]
pub struct UnknownMethod(pub String);

/// The program's start method has been settled before.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the start method is {0} already; it can be changed by force only")]
pub struct AlreadySet(pub StartMethod);

/// 0: not settled; else the method's number and one. Relaxed: a word without anything behind it.
static SETTLED: AtomicU8 = AtomicU8::new(0);

/// The start method of this program: what [`set_start_method`] said, else `Fork`. In a child, the
/// method that it was started by, where that was told apart ([`Context`], [`Process::spawn`]).
#[doc(alias = "get_start_method")]
pub fn start_method() -> StartMethod {
    match SETTLED.load(Relaxed) {
        0 => StartMethod::default(),
        n => StartMethod::ALL[usize::from(n - 1) % StartMethod::ALL.len()],
    }
}

/// Settles the start method of this program, once: a library that finds it settled leaves it.
pub fn set_start_method(method: StartMethod) -> Result<(), AlreadySet> {
    match SETTLED.compare_exchange(0, method as u8 + 1, Relaxed, Relaxed) {
        Ok(_) => Ok(()),
        Err(_) => Err(AlreadySet(start_method())),
    }
}

/// Settles the start method of this program, also where it was settled before.
pub fn force_start_method(method: StartMethod) {
    method.settle();
}

/// Starts processes by one method, whatever the program's is: what a library takes that is to
/// leave the choice to its caller.
///
/// `Context::default()` follows the program's start method as it is at each start.
///
/// ```standalone_crate
/// use multiproc_process::{Context, StartMethod, entry, join_all};
///
/// fn work(n: i32) -> i32 {
///     n - 1
/// }
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     entry();
///     for method in StartMethod::ALL {
///         let child = Context::new(method).start(work, 1)?;
///         join_all([child])?;
///     }
///     Ok(())
/// }
/// ```
///
/// A context that is bound stays so:
///
/// ```compile_fail
/// # use multiproc_process::{Context, StartMethod};
/// Context::new(StartMethod::Fork).set_start_method(StartMethod::Spawn); // no such method
/// ```
#[doc(alias = "get_context")]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Context {
    method: Option<StartMethod>,
}

impl Context {
    /// Bound to `method`.
    pub const fn new(method: StartMethod) -> Self {
        Context {
            method: Some(method),
        }
    }

    /// The method by which the next process starts.
    pub fn method(self) -> StartMethod {
        self.method.unwrap_or_else(start_method)
    }

    /// Starts a child that runs the function `f` on `arguments`.
    ///
    /// With every method the arguments are handed over: ends of queues and pipes in them are the
    /// child's when it runs, and dropped here. By `Spawn` and `ForkServer` all holds that
    /// [`Process::spawn`] says. A child of the fork server has that server's working directory
    /// and environment, which are this process's when the first one is started; its `getppid` is
    /// the server (its [`parent`](crate::parent) is this process). By `Fork` nothing is encoded,
    /// and all holds that [`Process::start`] says.
    ///
    /// For a name or a daemon see [`Builder::start_in`].
    ///
    /// *Blocks until* the child has its arguments. *Wakes when* it says so. *If a peer dies*: if
    /// the child does, this is an error or (by `Fork`) `join` tells.
    pub fn start<A, R>(self, f: fn(A) -> R, arguments: A) -> Result<Process, NotStarted<A>>
    where
        A: Serialize + DeserializeOwned,
        R: ExitValue,
    {
        Builder::new().start_in(self, f, arguments)
    }

    /// Starts one child per item, as [`Context::start`] does; each runs `f` on its own.
    ///
    /// If one does not start, those before it keep running and come back in the error together
    /// with the item; the items after it are dropped.
    ///
    /// *Blocks*, *wakes* and *if a peer dies*: as there, for each.
    pub fn start_each<I, R>(
        self,
        items: I,
        f: fn(I::Item) -> R,
    ) -> Result<Vec<Process>, NotAllStarted<I::Item>>
    where
        I: IntoIterator,
        I::Item: Serialize + DeserializeOwned,
        R: ExitValue,
    {
        let mut started = Vec::new();
        for item in items {
            match self.start(f, item) {
                Ok(child) => started.push(child),
                Err(NotStarted { why, task: item }) => {
                    return Err(NotAllStarted { why, item, started });
                }
            }
        }
        Ok(started)
    }
}

impl From<StartMethod> for Context {
    fn from(method: StartMethod) -> Self {
        Context::new(method)
    }
}
