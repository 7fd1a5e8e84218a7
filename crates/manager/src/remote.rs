//! A server as one of its clients sees it: connections, one per call that goes on at a time.
//!
//! A call takes an idle connection (the one used last, so that a thread that calls again has its
//! own), or opens one. A forked child's first call opens its own; what it has of its parent's it
//! lets go without touching the other side.
//!
//! All connections of a process name the same *account*: what the process holds in the server
//! (references, locks, permits) is let go when the last of them is gone.
//!
//! If the server dies here: a call that sent its request, or waits for the answer, hears of it
//! within 100 ms (over TCP: when the kernel says so) and returns [`CallError::ServerGone`].
//! If this process dies: its account ends.

use crate::error::{CallError, Failed, Failure};
use crate::wire::{Answer, Ask, Hello, Request};
use multiproc_core::fork;
use multiproc_core::identity::Identity;
use multiproc_core::step;
use multiproc_pipe::{Address, Client, ConnectError, Connection, HandshakeError, SendError};
use multiproc_segment::local::Local;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

type Wire = Connection<Request, Answer>;

/// Idle connections that a process keeps to one server.
const MOST_IDLE: usize = 32;

/// A random number.
pub(crate) fn random() -> std::io::Result<u128> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    Ok(u128::from_ne_bytes(bytes))
}

/// The account of this process, with any server: generation and number.
static ACCOUNT: Local<(u64, u128)> = Local::new((0, 0));
/// The servers to which this process has connections.
static REMOTES: Local<Vec<Arc<Remote>>> = Local::new(Vec::new());

/// The account of this process.
pub(crate) fn account() -> std::io::Result<u128> {
    Identity::me(); // from now on forks are noticed
    let drawn = random()?;
    let now = fork::generation();
    Ok(ACCOUNT.with(|(generation, account)| {
        if *generation != now {
            (*generation, *account) = (now, drawn);
        }
        *account
    }))
}

/// Where a server is, and what opens it.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Route {
    pub(crate) place: Where,
    pub(crate) key: Option<Vec<u8>>,
}

/// An address, as part of a message.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Where {
    Path(PathBuf),
    Abstract(Vec<u8>),
    Tcp(SocketAddr),
}

impl Where {
    pub(crate) fn of(address: &Address) -> Self {
        match address {
            // A message may arrive where another folder is the current one.
            Address::Path(path) => {
                Self::Path(std::path::absolute(path).unwrap_or_else(|_| path.clone()))
            }
            Address::Abstract(name) => Self::Abstract(name.clone()),
            Address::Tcp(address) => Self::Tcp(*address),
            other => unreachable!("{other} is none of the three kinds of addresses"),
        }
    }

    pub(crate) fn address(&self) -> Address {
        match self {
            Self::Path(path) => Address::Path(path.clone()),
            Self::Abstract(name) => Address::Abstract(name.clone()),
            Self::Tcp(address) => Address::Tcp(*address),
        }
    }
}

/// A server.
pub(crate) struct Remote {
    nonce: u128,
    route: Route,
    here: Local<Here>,
}

/// What belongs to one process, the one of that generation.
struct Here {
    generation: u64,
    idle: Vec<Wire>,
    /// Said by the next call, as no connection was idle.
    later: Vec<Request>,
}

impl Here {
    /// The connections of another process, if this is a forked child that finds them.
    fn settle(&mut self) -> Vec<Wire> {
        let now = fork::generation();
        if self.generation == now {
            return Vec::new();
        }
        self.generation = now;
        self.later.clear();
        std::mem::take(&mut self.idle)
    }
}

/// Handshakes, and then greetings, that may come to nothing (a server that is very busy gives them
/// up) before the server is taken for unreachable.
const ATTEMPTS: u32 = 5;

fn connect(route: &Route) -> Result<Wire, CallError> {
    let mut options = Client::options();
    if let Some(key) = &route.key {
        options = options.key(key);
    }
    let mut attempt = 1;
    loop {
        match options.connect(route.place.address()) {
            Ok(wire) => return Ok(wire),
            Err(ConnectError::NotFound(_)) => return Err(CallError::ServerGone),
            // Where it died, nobody listens any more.
            Err(ConnectError::Handshake(
                HandshakeError::Left | HandshakeError::Pipe(_) | HandshakeError::Io(_),
            )) if attempt < ATTEMPTS => attempt += 1,
            Err(other) => return Err(CallError::Connect(other.to_string())),
        }
    }
}

fn hello(route: &Route) -> Result<(Wire, u128), CallError> {
    let mut attempt = 1;
    loop {
        let wire = connect(route)?;
        step!("client: connected");
        let hello = Hello {
            account: account().map_err(|e| CallError::Connect(e.to_string()))?,
            process: Identity::me().to_bits(),
        };
        // Where it is not taken, the answer says why.
        let _ = wire.send(Request::Hello(hello));
        step!("client: hello said");
        match wire.recv() {
            Ok(Answer::Welcome(nonce)) => return Ok((wire, nonce)),
            Ok(Answer::Failed(why)) => return Err(why.into()),
            Ok(_) => return Err(CallError::Connect("it does not answer as a manager".into())),
            // Nothing was asked yet. Where the server has died, the next attempt says so.
            Err(_) if attempt < ATTEMPTS => attempt += 1,
            Err(_) => return Err(CallError::ServerGone),
        }
    }
}

impl Remote {
    /// The server at the end of this route, whichever it is. *Blocks until* it answers. *If a
    /// peer dies*: an error.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub(crate) fn connect(route: Route) -> Result<Arc<Self>, CallError> {
        let (wire, nonce) = hello(&route)?;
        let remote = Self::known(nonce, route);
        remote.put_back(wire);
        Ok(remote)
    }

    /// The server of this number, to which nobody has to be connected yet.
    pub(crate) fn known(nonce: u128, route: Route) -> Arc<Self> {
        REMOTES.with(|remotes| {
            if let Some(known) = remotes.iter().find(|r| r.nonce == nonce) {
                return known.clone();
            }
            let here = Here {
                generation: fork::generation(),
                idle: Vec::new(),
                later: Vec::new(),
            };
            let remote = Arc::new(Self {
                nonce,
                route,
                here: Local::new(here),
            });
            remotes.push(remote.clone());
            remote
        })
    }

    /// It is gone: keep nothing for it.
    pub(crate) fn forget(&self) {
        let remote = REMOTES.with(|remotes| {
            let at = remotes.iter().position(|r| r.nonce == self.nonce);
            at.map(|at| remotes.swap_remove(at))
        });
        let lines = self
            .here
            .with(|here| (here.settle(), std::mem::take(&mut here.idle)));
        self.disown(lines.0);
        drop((remote, lines.1));
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        self.nonce == other.nonce
    }

    pub(crate) fn nonce(&self) -> u128 {
        self.nonce
    }

    pub(crate) fn route(&self) -> &Route {
        &self.route
    }

    fn is_tcp(&self) -> bool {
        matches!(self.route.place, Where::Tcp(_))
    }

    /// Lets go of the parent's connections, in a forked child.
    fn disown(&self, wires: Vec<Wire>) {
        match self.is_tcp() {
            // Dropped, a socket would be shut down for the parent, too.
            true => std::mem::forget(wires),
            false => drop(wires),
        }
    }

    fn take_idle(&self) -> Option<Wire> {
        let (foreign, wire) = self.here.with(|here| (here.settle(), here.idle.pop()));
        self.disown(foreign);
        wire
    }

    fn open(&self) -> Result<Wire, CallError> {
        let (wire, nonce) = hello(&self.route)?;
        match nonce == self.nonce {
            true => Ok(wire),
            // Another one listens at its address now.
            false => Err(CallError::ServerGone),
        }
    }

    fn put_back(&self, wire: Wire) {
        loop {
            let (foreign, later) = self.here.with(|here| {
                let foreign = here.settle();
                (foreign, std::mem::take(&mut here.later))
            });
            self.disown(foreign);
            if later.is_empty() {
                break;
            }
            for request in later {
                if wire.send(request).is_err() {
                    return;
                }
            }
        }
        let surplus = self.here.with(|here| match here.idle.len() {
            0..MOST_IDLE => {
                here.idle.push(wire);
                None
            }
            _ => Some(wire),
        });
        drop(surplus);
    }

    /// Says something that has no answer: now, or with the next call.
    pub(crate) fn tell(&self, request: Request) {
        match self.take_idle() {
            // Not sent: the server is gone, and what it knew with it.
            Some(wire) => {
                if wire.send(request).is_ok() {
                    self.put_back(wire);
                }
            }
            None => self.here.with(|here| here.later.push(request)),
        }
    }

    pub(crate) fn ask(&self, ask: Ask) -> Result<Answer, Failed> {
        self.call(Request::Ask(ask))
    }

    /// *Blocks until* the server answers. *If a peer dies*: when it is the server, an error
    /// within 100 ms.
    pub(crate) fn call(&self, request: Request) -> Result<Answer, Failed> {
        let mut answer = self.exchange(request);
        if matches!(answer, Err(CallError::ServerGone)) {
            // Or only that connection: then another one keeps the account.
            match self.open() {
                Ok(wire) => {
                    self.put_back(wire);
                    answer = Err(CallError::ConnectionLost);
                }
                Err(_) => self.forget(),
            }
        }
        match answer? {
            Answer::Failed(failure) => Err(Failed::There(failure)),
            answer => Ok(answer),
        }
    }

    fn exchange(&self, request: Request) -> Result<Answer, CallError> {
        let wire = match self.take_idle() {
            None => self.send_on(self.open()?, request)?,
            Some(wire) => match wire.send(request) {
                Ok(()) => wire,
                // That connection is no more; nothing was asked on it.
                Err(SendError::Closed(request)) => self.send_on(self.open()?, request)?,
                Err(other) => return Err(self.not_sent(wire, other)),
            },
        };
        step!("client: asked");
        match wire.recv() {
            Ok(answer) => {
                step!("client: answered");
                let takes = matches!(
                    answer,
                    Answer::Item(Some(_)) | Answer::Task { .. } | Answer::Pair(Some(_))
                );
                if self.is_tcp() && takes {
                    let _ = wire.send(Request::Received);
                }
                self.put_back(wire);
                Ok(answer)
            }
            Err(multiproc_pipe::RecvError::Decode(why)) => Err(CallError::Decode(why)),
            Err(_) => Err(CallError::ServerGone),
        }
    }

    fn send_on(&self, wire: Wire, request: Request) -> Result<Wire, CallError> {
        match wire.send(request) {
            Ok(()) => Ok(wire),
            Err(error) => Err(self.not_sent(wire, error)),
        }
    }

    fn not_sent(&self, wire: Wire, error: SendError<Request>) -> CallError {
        match error {
            SendError::Encode { why, .. } => {
                self.put_back(wire);
                CallError::Encode(why)
            }
            SendError::TooLarge { bytes, most, .. } => {
                self.put_back(wire);
                CallError::TooLarge { bytes, most }
            }
            SendError::NoMemory { bytes, .. } => {
                self.put_back(wire);
                CallError::Refused(format!("there is no memory for {bytes} bytes"))
            }
            _ => CallError::ServerGone,
        }
    }
}

/// An answer of a kind that was not asked for: another version of the server, or none.
pub(crate) fn unexpected() -> Failed {
    Failed::There(Failure::Refused(
        "the server's answer is to another question".into(),
    ))
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.route.place.address())
    }
}
