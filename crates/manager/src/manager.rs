//! Managers and servers: started, connected to, shut down.

use crate::barrier::Barrier;
use crate::builder::{Builder, News, Seat};
use crate::condition::Condition;
use crate::dict::Dict;
use crate::error::{
    CallError, Failed, Failure, MemoryError, PublishError, ServeError, ShutDownError, StartError,
};
use crate::event::Event;
use crate::handle::{Handle, Proxy};
use crate::lock::{Lock, RLock};
use crate::namespace::Namespace;
use crate::own::Types;
use crate::pool::Pool;
use crate::queue::{JoinableQueue, Queue};
use crate::remote::{Remote, Route, Where, random, unexpected};
use crate::semaphore::{BoundedSemaphore, Semaphore};
use crate::sequence::{Array, List, Value};
use crate::server::{Core, Limits, serve};
use crate::set::Set;
use crate::stored::store;
use crate::wire::{Answer, Ask, Make, Numbers};
use multiproc_core::{fork, handover};
use multiproc_pipe::{Address, Listener};
use multiproc_process::{ExitHook, Process};
use multiproc_value::{Item, ShareableList, SharedMemory};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// How long a server may take to end in order.
const GRACE: Duration = Duration::from_secs(3);
/// How long a client may take for its handshake: others wait while many take long.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// A server in this process: for programs that serve others, which [connect](Manager::connect).
///
/// ```rust,standalone_crate
/// use multiproc_manager::{Dict, Manager, Server};
/// use multiproc_process::Process;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = Server::builder().key("secret").bind("127.0.0.1:0")?;
/// let address = server.address().clone();
/// let program = Process::start(move || server.serve_forever())?;
///
/// let one = Manager::connect(&address, "secret")?;
/// let config = one.dict::<String, u32>()?;
/// config.insert("workers".to_owned(), 4)?;
/// one.publish("config", &config)?;
///
/// let other = Manager::connect(&address, "secret")?;
/// let found: Dict<String, u32> = other.find("config")?.expect("it was published");
/// assert_eq!(found.get("workers")?, Some(4));
/// # program.terminate()?;
/// # let _ = program.join()?;
/// # Ok(())
/// # }
/// ```
#[doc(alias = "BaseManager")]
#[doc(alias = "get_server")]
pub struct Server {
    core: Arc<Core>,
    listener: Listener,
}

impl Server {
    /// Options; [`Builder::bind`] makes the server.
    pub fn builder() -> Builder {
        Builder::new()
    }

    pub(crate) fn new(
        address: Option<Address>,
        key: Option<Vec<u8>>,
        limits: Limits,
        types: Types,
        any_user: bool,
        owner: u128,
    ) -> Result<Self, ServeError> {
        let mut options = Listener::options()
            .handshake_timeout(HANDSHAKE)
            .max_message(limits.message);
        if let Some(key) = &key {
            options = options.key(key);
        }
        if any_user {
            options = options.any_user();
        }
        let listener = match address {
            Some(Address::Tcp(_)) if key.is_none() => {
                return Err(ServeError::NoKey);
            }
            Some(address) => options.bind(address)?,
            None => options.bind_anywhere()?,
        };
        let route = Route {
            place: Where::of(listener.address()),
            key,
        };
        let core = Core::new(random()?, owner, limits, types, route);
        Ok(Self {
            core: Arc::new(core),
            listener,
        })
    }

    pub(crate) fn route(&self) -> &Route {
        self.core.myself.route()
    }

    /// Where it listens: with the port, where the system has chosen one.
    pub fn address(&self) -> &Address {
        self.listener.address()
    }

    /// Serves all who connect.
    ///
    /// *Blocks until* it is shut down. *Wakes when* somebody connects. *If a peer dies*: what it
    /// held comes back, and the server goes on.
    ///
    /// # Errors
    ///
    /// [`ServeError`].
    pub fn serve_forever(&self) -> Result<(), ServeError> {
        serve(&self.core, &self.listener)
    }

    /// Stops it, from another thread: it accepts nobody any more, and its clients get an error. Does
    /// not wait for them.
    #[doc(alias = "shutdown")]
    pub fn shut_down(&self) {
        self.core.stopping.store(true, Relaxed);
        self.listener.close();
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("address", self.address())
            .finish_non_exhaustive()
    }
}

/// Makes objects in a server process, and gives proxies for them.
///
/// ```rust,standalone_crate
/// use multiproc_manager::Manager;
/// use multiproc_process::{Process, join_all};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let manager = Manager::start()?;
/// let (dict, list) = (manager.dict::<u32, u32>()?, manager.list::<u32>()?);
/// let children = Process::start_each(0..4, |_| {
///     let me = std::process::id();
///     dict.insert(me, me).unwrap();
///     list.push(1).unwrap();
/// })?;
/// join_all(children)?;
/// assert_eq!((dict.len()?, list.to_vec()?), (4, vec![1; 4]));
/// manager.shut_down()?;
/// # Ok(())
/// # }
/// ```
///
/// Who [starts](Manager::start) it owns the server, which ends with this value. In a forked child
/// the copy makes objects, too, and its drop does nothing; a manager that is moved into a child
/// ends its server when the process ends that started it.
#[doc(alias = "SyncManager")]
#[doc(alias = "SharedMemoryManager")]
pub struct Manager {
    remote: Arc<Remote>,
    owner: Option<Owner>,
}

struct Owner {
    number: u128,
    process: Process,
    generation: u64,
    hook: Option<ExitHook>,
}

impl Manager {
    /// Starts a server: [`Builder::start`] without options.
    ///
    /// *Blocks until* the server serves. *Wakes when* it says so. *If a peer dies*: an error.
    ///
    /// # Errors
    ///
    /// [`StartError`]; nothing is left behind.
    #[doc(alias = "multiprocessing.Manager")]
    pub fn start() -> Result<Self, StartError> {
        Self::builder().start()
    }

    /// Options; [`Builder::start`] starts the server.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Starts a server by spawning a process that runs `serve`, also in a program with several
    /// threads. That function registers what the server is to know:
    ///
    /// ```no_run
    /// # use multiproc_manager::{Manager, Seat, ServeError, managed};
    /// # #[derive(Default)] struct Counter(i64);
    /// # impl Counter { fn add(&mut self, n: i64) -> i64 { self.0 += n; self.0 } }
    /// # managed! { proxy CounterProxy for Counter { fn add(&mut self, n: i64) -> i64; } }
    /// fn serve(seat: Seat) -> Result<(), ServeError> {
    ///     seat.serve_with(|server| server.register(Counter::default))
    /// }
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// multiproc_process::entry();
    /// let manager = Manager::start_with(serve)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// *Blocks until* the server serves. *Wakes when* it says so. *If a peer dies*: an error.
    ///
    /// # Errors
    ///
    /// [`StartError`]; nothing is left behind.
    pub fn start_with(serve: fn(Seat) -> Result<(), ServeError>) -> Result<Self, StartError> {
        let builder = Builder::new();
        let (news, seat) = builder.seat()?;
        builder.spawn(Process::builder().daemon(true), news, seat, serve)
    }

    pub(crate) fn of(process: Process, news: News, number: u128) -> Result<Self, StartError> {
        let told = news.recv();
        let route = match told {
            Ok(Ok(route)) => route,
            failed => {
                let _ = process.join_timeout(GRACE);
                let _ = process.kill();
                let _ = process.join();
                return Err(match failed {
                    Ok(Err(why)) => StartError::Server(why),
                    _ => StartError::Died,
                });
            }
        };
        let remote = Remote::connect(route).inspect_err(|_| {
            let _ = process.kill();
            let _ = process.join();
        })?;
        let hook = {
            let (remote, process) = (remote.clone(), process.clone());
            // Before the children are joined, and the server terminated as a daemon.
            multiproc_process::at_exit_with_priority(1, move || {
                let _ = end(&remote, number, &process);
            })
        };
        Ok(Self {
            remote,
            owner: Some(Owner {
                number,
                process,
                generation: fork::generation(),
                hook: Some(hook),
            }),
        })
    }

    /// Connects to a server at this address. *Blocks until* it answers. *Wakes when* it does. *If
    /// a peer dies*: an error.
    ///
    /// # Errors
    ///
    /// [`CallError`]: nobody is there, or the key is another one.
    pub fn connect<A>(address: A, key: impl AsRef<[u8]>) -> Result<Self, CallError>
    where
        A: TryInto<Address, Error: fmt::Display>,
    {
        Self::connect_to(address, Some(key.as_ref().to_vec()))
    }

    /// Connects to a server that has no key. *Blocks*, *wakes* and *if a peer dies*: as
    /// [`Manager::connect`].
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn connect_without_key<A>(address: A) -> Result<Self, CallError>
    where
        A: TryInto<Address, Error: fmt::Display>,
    {
        Self::connect_to(address, None)
    }

    fn connect_to<A>(address: A, key: Option<Vec<u8>>) -> Result<Self, CallError>
    where
        A: TryInto<Address, Error: fmt::Display>,
    {
        let address = address.try_into();
        let address = address.map_err(|e| CallError::Connect(e.to_string()))?;
        let place = Where::of(&address);
        let remote = Remote::connect(Route { place, key })?;
        Ok(Self {
            remote,
            owner: None,
        })
    }

    /// Shuts the server down: everybody who calls it gets an error from then on, and the shared
    /// memory that it made loses its names. Dropping the manager does the same.
    ///
    /// *Blocks until* the server's process has ended, for at most some seconds, after which it is
    /// killed. *Wakes when* it ends. *If a peer dies*: when it is the server, that is an error.
    ///
    /// # Errors
    ///
    /// [`ShutDownError`].
    #[doc(alias = "shutdown")]
    pub fn shut_down(mut self) -> Result<(), ShutDownError> {
        self.stop()
    }

    fn stop(&mut self) -> Result<(), ShutDownError> {
        let mine = |owner: &Owner| owner.generation == fork::generation();
        let Some(mut owner) = self.owner.take().filter(mine) else {
            return Err(ShutDownError::NotOwner);
        };
        if let Some(hook) = owner.hook.take() {
            hook.cancel();
        }
        end(&self.remote, owner.number, &owner.process)
    }

    /// Where the server listens.
    pub fn address(&self) -> Address {
        self.remote.route().place.address()
    }

    /// The key of the server, if it has one: who has both can [connect](Manager::connect).
    pub fn key(&self) -> Option<&[u8]> {
        self.remote.route().key.as_deref()
    }

    /// The server's process, if it was started here.
    pub fn process(&self) -> Option<&Process> {
        self.owner.as_ref().map(|owner| &owner.process)
    }

    /// What the server has at this moment.
    pub fn numbers(&self) -> Result<Numbers, CallError> {
        match self.remote.ask(Ask::Numbers)? {
            Answer::Numbers(numbers) => Ok(numbers),
            _ => Err(unexpected().into()),
        }
    }

    fn handle(&self, what: Make, tag: String) -> Result<Arc<Handle>, CallError> {
        match self.remote.ask(Ask::Make { what, tag })? {
            Answer::Number(object) => Ok(Arc::new(Handle::counted(self.remote.clone(), object))),
            _ => Err(unexpected().into()),
        }
    }

    fn new_object<P: Proxy>(&self, what: Make) -> Result<P, CallError> {
        self.handle(what, P::tag()).map(P::of)
    }

    /// A new, empty dict.
    pub fn dict<K, V>(&self) -> Result<Dict<K, V>, CallError> {
        self.new_object(Make::Dict)
    }

    /// A new, empty list.
    pub fn list<T>(&self) -> Result<List<T>, CallError> {
        self.new_object(Make::List {
            items: Vec::new(),
            fixed: false,
        })
    }

    /// A new, empty set.
    pub fn set<T>(&self) -> Result<Set<T>, CallError> {
        self.new_object(Make::Set)
    }

    /// A new, empty namespace.
    #[doc(alias = "Namespace")]
    pub fn namespace(&self) -> Result<Namespace, CallError> {
        self.new_object(Make::Dict)
    }

    /// A new queue of any number of items.
    #[doc(alias = "Queue")]
    pub fn queue<T>(&self) -> Result<Queue<T>, CallError> {
        self.new_object(Make::Queue { capacity: None })
    }

    /// A new queue of at most so many items (at least one).
    #[doc(alias = "maxsize")]
    pub fn bounded_queue<T>(&self, capacity: usize) -> Result<Queue<T>, CallError> {
        let capacity = Some(capacity.max(1) as u64);
        self.new_object(Make::Queue { capacity })
    }

    /// A new queue of any number of items, whose end one can wait for.
    #[doc(alias = "JoinableQueue")]
    pub fn joinable_queue<T>(&self) -> Result<JoinableQueue<T>, CallError> {
        self.new_object(Make::Queue { capacity: None })
    }

    /// A new queue of at most so many items (at least one), whose end one can wait for.
    pub fn bounded_joinable_queue<T>(
        &self,
        capacity: usize,
    ) -> Result<JoinableQueue<T>, CallError> {
        let capacity = Some(capacity.max(1) as u64);
        self.new_object(Make::Queue { capacity })
    }

    /// A new pool of so many worker processes, children of the server: see [`Pool`]. *Blocks
    /// until* they are started. *Wakes when* they are. *If a peer dies*: an error.
    ///
    /// # Errors
    ///
    /// [`CallError::Refused`] says why the server has started none: above all, its program does
    /// not begin with [`entry`](multiproc_process::entry()).
    #[doc(alias = "Pool")]
    pub fn pool(&self, workers: usize) -> Result<Pool, CallError> {
        let workers = workers as u64;
        self.new_object(Make::Pool { workers })
    }

    /// A new event, not set.
    #[doc(alias = "Event")]
    pub fn event(&self) -> Result<Event, CallError> {
        self.new_object(Make::Event)
    }

    /// A new lock, free.
    #[doc(alias = "Lock")]
    pub fn lock(&self) -> Result<Lock, CallError> {
        self.new_object(Make::Lock { recursive: false })
    }

    /// A new recursive lock, free.
    #[doc(alias = "RLock")]
    pub fn rlock(&self) -> Result<RLock, CallError> {
        self.new_object(Make::Lock { recursive: true })
    }

    /// A new semaphore of this value (at most 2^31 - 1).
    #[doc(alias = "Semaphore")]
    pub fn semaphore(&self, value: u32) -> Result<Semaphore, CallError> {
        let bounded = false;
        self.new_object(Make::Semaphore { value, bounded })
    }

    /// A new semaphore of this value (at most 2^31 - 1), which is its bound.
    #[doc(alias = "BoundedSemaphore")]
    pub fn bounded_semaphore(&self, value: u32) -> Result<BoundedSemaphore, CallError> {
        let bounded = true;
        self.new_object(Make::Semaphore { value, bounded })
    }

    /// A new condition, over a recursive lock of its own.
    #[doc(alias = "Condition")]
    pub fn condition(&self) -> Result<Condition, CallError> {
        self.new_object(Make::Condition { lock: None })
    }

    /// A new condition over this [`Lock`] or [`RLock`].
    pub fn condition_over(&self, lock: &impl Proxy) -> Result<Condition, CallError> {
        let lock = Some(self.number_of(lock)?);
        self.new_object(Make::Condition { lock })
    }

    /// A new barrier for so many (at least one).
    #[doc(alias = "Barrier")]
    pub fn barrier(&self, parties: u32) -> Result<Barrier, CallError> {
        if parties == 0 {
            return Err(CallError::Refused("a barrier of nobody".into()));
        }
        self.new_object(Make::Barrier { parties })
    }

    fn fixed<T: Serialize, P: Proxy>(&self, items: &[T]) -> Result<P, CallError> {
        let stored = items.iter().map(|item| store(&self.remote, item));
        self.new_object(Make::List {
            items: stored.collect::<Result<_, _>>()?,
            fixed: true,
        })
    }

    /// A new value.
    #[doc(alias = "Value")]
    pub fn value<T: Serialize + DeserializeOwned>(&self, value: T) -> Result<Value<T>, CallError> {
        self.fixed(&[value])
    }

    /// A new array of these items; its length stays.
    #[doc(alias = "Array")]
    pub fn array<T: Serialize + DeserializeOwned>(
        &self,
        items: impl IntoIterator<Item = T>,
    ) -> Result<Array<T>, CallError> {
        self.fixed(&items.into_iter().collect::<Vec<_>>())
    }

    /// A new object of a type that was [registered](Builder::register), behind the proxy that
    /// [`managed!`](crate::managed!) made.
    pub fn make<P: Proxy>(&self) -> Result<P, CallError> {
        self.new_object(Make::Own(P::tag()))
    }

    /// Shared memory of so many bytes, whose name goes with the server: who has it open keeps
    /// it. For processes of the server's machine.
    ///
    /// # Errors
    ///
    /// [`MemoryError`].
    #[doc(alias = "SharedMemory")]
    pub fn shared_memory(&self, size: usize) -> Result<SharedMemory, MemoryError> {
        let name = self.text(Ask::Memory(size as u64))?;
        Ok(SharedMemory::open(&name)?)
    }

    /// A list in shared memory, whose name goes with the server. The name comes with it: others
    /// open it by that. For processes of the server's machine.
    ///
    /// # Errors
    ///
    /// [`MemoryError`].
    #[doc(alias = "ShareableList")]
    pub fn shareable_list(
        &self,
        items: impl IntoIterator<Item = Item>,
    ) -> Result<(String, ShareableList), MemoryError> {
        let items = items.into_iter().collect();
        let name = self.text(Ask::ShareableList(items))?;
        let list = ShareableList::open(&name)?;
        Ok((name, list))
    }

    fn text(&self, ask: Ask) -> Result<String, CallError> {
        match self.remote.ask(ask)? {
            Answer::Text(text) => Ok(text),
            _ => Err(unexpected().into()),
        }
    }

    fn number_of(&self, proxy: &impl Proxy) -> Result<u64, CallError> {
        match proxy.handle().remote.is(&self.remote) {
            true => Ok(proxy.handle().object),
            false => Err(CallError::Refused("it is another manager's object".into())),
        }
    }

    /// Gives an object a name, by which other programs [find](Manager::find) it. The name keeps
    /// it, until it is [withdrawn](Manager::withdraw).
    ///
    /// # Errors
    ///
    /// [`PublishError`].
    pub fn publish(&self, name: &str, proxy: &impl Proxy) -> Result<(), PublishError> {
        let object = self.number_of(proxy)?;
        let name = name.to_owned();
        let answer = self.remote.ask(Ask::Publish {
            name: name.clone(),
            object,
        });
        match answer.map_err(CallError::from)? {
            Answer::Flag(true) => Ok(()),
            Answer::Flag(false) => Err(PublishError::Taken(name)),
            _ => Err(CallError::from(unexpected()).into()),
        }
    }

    /// Takes a name back. True if it was there.
    pub fn withdraw(&self, name: &str) -> Result<bool, CallError> {
        match self.remote.ask(Ask::Withdraw(name.to_owned()))? {
            Answer::Flag(was_there) => Ok(was_there),
            _ => Err(unexpected().into()),
        }
    }

    /// The object that somebody published under this name; `None` if nobody has.
    ///
    /// # Errors
    ///
    /// [`CallError::OtherType`] names both types, if it is another than `P` is for.
    pub fn find<P: Proxy>(&self, name: &str) -> Result<Option<P>, CallError> {
        let (name, tag) = (name.to_owned(), P::tag());
        match self.remote.ask(Ask::Find { name, tag }) {
            Ok(Answer::Number(object)) => {
                let handle = Handle::counted(self.remote.clone(), object);
                Ok(Some(P::of(Arc::new(handle))))
            }
            Err(Failed::There(Failure::NotNow)) => Ok(None),
            Ok(_) => Err(unexpected().into()),
            Err(other) => Err(other.into()),
        }
    }
}

/// Ends a server that is a child of this process.
fn end(remote: &Remote, owner: u128, process: &Process) -> Result<(), ShutDownError> {
    // Where that does not work out, it ends otherwise.
    let _ = remote.ask(Ask::Shutdown(owner));
    remote.forget();
    let exit = match process.join_timeout(GRACE) {
        Ok(exit) => exit,
        Err(_) => {
            let _ = process.kill();
            process.join()?
        }
    };
    match exit.success() {
        true => Ok(()),
        false => Err(ShutDownError::Exit(exit)),
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        if handover::is_on() {
            // Moved into a child, which cannot own another's child: the server ends when this
            // process does, or is killed.
            self.owner = None;
        }
        let _ = self.stop();
    }
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager")
            .field("server", &self.remote)
            .field("process", &self.process())
            .finish()
    }
}
