//! Servers as they are asked for, and as their processes begin.

use crate::error::{ServeError, StartError};
use crate::manager::{Manager, Server};
use crate::own::{Managed, Types};
use crate::remote::{Route, Where, random};
use crate::server::Limits;
use multiproc_core::step;
use multiproc_pipe::{Address, Pipe, Sender};
use multiproc_process::{NotStarted, Process, StartError as ProcessError};
use nix::sys::signal::{SigSet, Signal};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a server is to be like: for [`Manager`]s that start one, and for [`Server`]s.
#[must_use = "this starts nothing until `start` or `bind`"]
pub struct Builder {
    key: Option<Vec<u8>>,
    address: Option<Address>,
    limits: Limits,
    types: Types,
    #[allow(clippy::type_complexity)]
    initializer: Option<Box<dyn FnOnce()>>,
    name: Option<String>,
    any_user: bool,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            key: None,
            address: None,
            limits: Limits {
                clients: 1024,
                connections: 4096,
                message: 64 << 20,
            },
            types: Types::default(),
            initializer: None,
            name: None,
            any_user: false,
        }
    }

    /// Clients need this key; each side proves to the other that it has it, and none shows it. A
    /// manager that is started draws one by itself, and its proxies carry it: so keep both from
    /// strangers.
    #[doc(alias = "authkey")]
    pub fn key(mut self, key: impl AsRef<[u8]>) -> Self {
        self.key = Some(key.as_ref().to_vec());
        self
    }

    /// Where a manager that is [started](Builder::start) listens: for programs that are to
    /// connect by themselves.
    pub fn address(mut self, address: impl Into<Address>) -> Self {
        self.address = Some(address.into());
        self
    }

    /// Its objects can be made by [`Manager::make`]: for each, `make` runs in the server.
    pub fn register<T: Managed>(mut self, make: impl Fn() -> T + Send + Sync + 'static) -> Self {
        self.types.register(make);
        self
    }

    /// Runs in the server's process, before it serves.
    pub fn initializer(mut self, run: impl FnOnce() + 'static) -> Self {
        self.initializer = Some(Box::new(run));
        self
    }

    /// The name of the server's process; by default as [`Process`] has it.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Processes that may be connected at a time; 1,024 by default.
    pub fn max_clients(mut self, most: usize) -> Self {
        self.limits.clients = most;
        self
    }

    /// Connections that there may be at a time, one for each thread that is in a call; 4,096 by
    /// default.
    pub fn max_connections(mut self, most: usize) -> Self {
        self.limits.connections = most;
        self
    }

    /// Bytes of the largest message, 64 MiB by default: a key and a value, or all items of a
    /// list that are got at once.
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.limits.message = bytes;
        self
    }

    /// Serves processes of other users, too (over a Unix address; over TCP nobody can tell).
    pub fn any_user(mut self) -> Self {
        self.any_user = true;
        self
    }

    /// Starts the server in a process of its own, a daemon of this one: it ends with the
    /// [`Manager`], and when this process ends in any way.
    ///
    /// In a process with one thread it is forked; otherwise [spawned](Process::spawn), for which
    /// `main` has to begin with [`entry`](multiproc_process::entry()), and nothing can be
    /// registered here: see [`Manager::start_with`]. SIGINT (Ctrl-C) is left to the program: the
    /// server does not heed it.
    ///
    /// *Blocks until* the server serves. *Wakes when* it says so. *If a peer dies*: an error.
    ///
    /// # Errors
    ///
    /// [`StartError`]; nothing is left behind.
    pub fn start(self) -> Result<Manager, StartError> {
        let plain = self.types.is_empty() && self.initializer.is_none();
        let mut process = Process::builder().daemon(true);
        if let Some(name) = &self.name {
            process = process.name(name);
        }
        let spare = process.clone();
        let (news, seat) = self.seat()?;
        let owner = seat.owner;
        let mut this = Some((self, spare));
        let builder = &mut this;
        // By reference: what the user registered stays the user's, and only the seat goes.
        let forked = process.start(move || match (builder.take(), seat) {
            (Some((builder, _)), seat) => builder.run(seat),
            (None, _) => 1,
        });
        let process = match forked {
            Ok(process) => process,
            Err(NotStarted { why, .. }) => {
                let (builder, process) = this.ok_or(StartError::Died)?;
                if !matches!(why, ProcessError::Threads(_)) || !plain {
                    return Err(why.into());
                }
                let (news, seat) = builder.seat()?;
                return builder.spawn(process, news, seat, |seat| seat.serve());
            }
        };
        Manager::of(process, news, owner)
    }

    pub(crate) fn spawn(
        self,
        process: multiproc_process::Builder,
        news: News,
        seat: Seat,
        serve: fn(Seat) -> Result<(), ServeError>,
    ) -> Result<Manager, StartError> {
        let owner = seat.owner;
        let spawn = multiproc_process::Context::new(multiproc_process::StartMethod::Spawn);
        let spawned = process.start_in(spawn, serve, seat);
        let process = spawned.map_err(|not_started| not_started.why)?;
        Manager::of(process, news, owner)
    }

    /// What the server's process is given.
    pub(crate) fn seat(&self) -> Result<(News, Seat), StartError> {
        let (news, tell) = Pipe::simplex().map_err(std::io::Error::other)?;
        let key = match &self.key {
            Some(key) => key.clone(),
            None => random_key()?,
        };
        let seat = Seat {
            route: self.address.as_ref().map(Where::of),
            key,
            owner: random()?,
            limits: (
                self.limits.clients,
                self.limits.connections,
                self.limits.message,
            ),
            any_user: self.any_user,
            tell,
        };
        Ok((news, seat))
    }

    /// In the server's process.
    fn run(mut self, seat: Seat) -> i32 {
        let initializer = self.initializer.take();
        let seat = match initializer {
            None => seat,
            Some(run) => match catch_unwind(AssertUnwindSafe(run)) {
                Ok(()) => seat,
                Err(panic) => {
                    let why = crate::own::text_of(&*panic);
                    let _ = seat
                        .tell
                        .send(Err(format!("the initializer panicked: {why}")));
                    return 1;
                }
            },
        };
        match seat.serve_types(self.types) {
            Ok(()) => 0,
            Err(_) => 1,
        }
    }

    /// A server in this process, which serves once it is told to: see [`Server`].
    ///
    /// Never blocks.
    ///
    /// # Errors
    ///
    /// [`ServeError`]; above all, somebody listens there. Over TCP a [key](Builder::key) is
    /// asked for.
    pub fn bind<A>(mut self, address: A) -> Result<Server, ServeError>
    where
        A: TryInto<Address>,
        crate::BindError: From<A::Error>,
    {
        let address = address.try_into().map_err(crate::BindError::from)?;
        if let Some(run) = self.initializer.take() {
            run();
        }
        let Self {
            key,
            limits,
            types,
            any_user,
            ..
        } = self;
        Server::new(Some(address), key, limits, types, any_user, random()?)
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("address", &self.address)
            .field("limits", &self.limits)
            .field("types", &self.types.names().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

fn random_key() -> std::io::Result<Vec<u8>> {
    let mut key = vec![0; 32];
    getrandom::fill(&mut key).map_err(std::io::Error::other)?;
    Ok(key)
}

/// Where the server's process says where it serves.
pub(crate) type News = multiproc_pipe::Receiver<Result<Route, String>>;

/// What a server's process is given: its address, key and limits, and where to say that it
/// serves. See [`Manager::start_with`].
#[derive(Serialize, Deserialize)]
#[must_use = "nobody is served until `serve`"]
pub struct Seat {
    route: Option<Where>,
    key: Vec<u8>,
    owner: u128,
    limits: (usize, usize, usize),
    any_user: bool,
    tell: Sender<Result<Route, String>>,
}

impl Seat {
    /// Serves until the manager is shut down. *Blocks until* then. *Wakes when* clients come. *If
    /// a peer dies*: what it held comes back.
    ///
    /// # Errors
    ///
    /// [`ServeError`].
    pub fn serve(self) -> Result<(), ServeError> {
        self.serve_types(Types::default())
    }

    /// As [`Seat::serve`], with types of the user's own, as [`Builder::register`] takes them.
    /// *Blocks*, *wakes* and *if a peer dies*: as there.
    ///
    /// # Errors
    ///
    /// [`ServeError`].
    pub fn serve_with(self, register: impl FnOnce(Builder) -> Builder) -> Result<(), ServeError> {
        let mut builder = register(Builder::new());
        if let Some(run) = builder.initializer.take() {
            run();
        }
        self.serve_types(builder.types)
    }

    fn serve_types(self, types: Types) -> Result<(), ServeError> {
        // Ctrl-C is the program's; who started the server shuts it down.
        let _ = SigSet::from(Signal::SIGINT).thread_block();
        let (clients, connections, message) = self.limits;
        let limits = Limits {
            clients,
            connections,
            message,
        };
        let address = self.route.as_ref().map(Where::address);
        let key = Some(self.key);
        let server = Server::new(address, key, limits, types, self.any_user, self.owner);
        let server = match server {
            Ok(server) => server,
            Err(why) => {
                let _ = self.tell.send(Err(why.to_string()));
                return Err(why);
            }
        };
        step!("server: bound");
        let told = self.tell.send(Ok(server.route().clone()));
        told.map_err(|_| ServeError::OwnerGone)?;
        drop(self.tell);
        step!("server: told");
        server.serve_forever()
    }
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat").finish_non_exhaustive()
    }
}
