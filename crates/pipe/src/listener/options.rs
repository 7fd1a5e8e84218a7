use super::{Listener, State, types};
use crate::address::{Address, Listening, Socket};
use crate::codec::{Codec, Serde};
use crate::connection::Connection;
use crate::error::{BindError, ConnectError};
use crate::handshake::{Answer, HandshakeError, Hello, Line, Terms};
use crate::stream;
use multiproc_core::deadline::Deadline;
use multiproc_core::step;
use multiproc_parcel as parcel;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// How long a handshake may take, unless the options say otherwise.
const PATIENCE: Duration = Duration::from_secs(10);

/// How to listen or connect; see [`Listener::options`] and
/// [`Client::options`](crate::Client::options).
#[derive(Clone)]
#[must_use = "options do nothing until bind or connect"]
pub struct ListenerOptions {
    terms: Terms,
    patience: Duration,
    max_message: Option<usize>,
}

impl fmt::Debug for ListenerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenerOptions")
            .field("keyed", &self.terms.key.is_some())
            .field("any_user", &self.terms.any_user)
            .field("handshake_timeout", &self.patience)
            .finish()
    }
}

pub(super) fn options() -> ListenerOptions {
    ListenerOptions {
        terms: Terms {
            key: None,
            any_user: false,
        },
        patience: PATIENCE,
        max_message: None,
    }
}

impl ListenerOptions {
    /// Both sides must have this key: each proves it to the other (HMAC-SHA256 over a challenge),
    /// and none shows it.
    #[doc(alias = "authkey")]
    pub fn key(mut self, key: impl AsRef<[u8]>) -> Self {
        self.terms.key = Some(key.as_ref().to_vec());
        self
    }

    /// Accepts processes of other users, too (over a Unix address; over TCP nobody can tell).
    /// The memory of the connection is passed to them.
    pub fn any_user(mut self) -> Self {
        self.terms.any_user = true;
        self
    }

    /// How long a handshake may take; 10 seconds by default.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.patience = timeout;
        self
    }

    /// Connections that this side accepts or makes carry messages of at most so many bytes: a
    /// send of a larger one fails (over TCP, it ends the connection where it is received). By
    /// default 2 GiB, over TCP 1 GiB. The memory of a connection over a Unix address is the
    /// listener's, and so is this limit there.
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.max_message = Some(bytes);
        self
    }

    /// Listens there.
    ///
    /// A socket file that a killed listener left behind is replaced; one that somebody listens
    /// on is `InUse`.
    ///
    /// Never blocks.
    ///
    /// # Errors
    ///
    /// [`BindError`].
    pub fn bind<A>(&self, address: A) -> Result<Listener, BindError>
    where
        A: TryInto<Address>,
        BindError: From<A::Error>,
    {
        let mut address = address.try_into()?;
        let io = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse(address.clone()),
            _ => BindError::Io {
                address: address.clone(),
                source,
            },
        };
        let socket = match address.listen(self.terms.any_user) {
            Err(e) if e.kind() == io::ErrorKind::AddrInUse => {
                replace_stale(&address, self.terms.any_user).map_err(io)?
            }
            other => other.map_err(io)?,
        };
        if let Some(local) = socket.local() {
            address = Address::Tcp(local);
        }
        let file = match &address {
            Address::Path(path) => Some((path.clone(), std::process::id())),
            _ => None,
        };
        Ok(Listener {
            listening: Mutex::new(Some(State {
                socket,
                pending: Vec::new(),
                last_accepted: None,
            })),
            closed: AtomicBool::new(false),
            address,
            terms: self.terms.clone(),
            patience: self.patience,
            max_message: self.max_message,
            file,
        })
    }

    /// Listens on an abstract name that nobody else has; see [`Listener::address`].
    ///
    /// Never blocks.
    ///
    /// # Errors
    ///
    /// [`BindError`].
    pub fn bind_anywhere(&self) -> Result<Listener, BindError> {
        let mut random = [0; 16];
        let drawn = getrandom::fill(&mut random).map_err(io::Error::other);
        let name = format!("multiproc-{:032x}", u128::from_ne_bytes(random));
        let address = Address::Abstract(name.into());
        drawn.map_err(|source| BindError::Io {
            address: address.clone(),
            source,
        })?;
        self.bind(address)
    }

    /// Connects to who listens there. *Blocks until* the handshake is over, at most
    /// [its timeout](ListenerOptions::handshake_timeout). *Wakes when* the listener answers. *If
    /// a peer dies*: an error, at once.
    ///
    /// # Errors
    ///
    /// [`ConnectError`].
    #[allow(clippy::type_complexity)]
    pub fn connect<S, R>(
        &self,
        address: impl TryInto<Address, Error: Into<ConnectError>>,
    ) -> Result<Connection<S, R>, ConnectError>
    where
        Serde: Codec<S> + Codec<R>,
    {
        let address = address.try_into().map_err(Into::into)?;
        let socket = address.connect().map_err(|source| match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                ConnectError::NotFound(address.clone())
            }
            _ => ConnectError::Io {
                address: address.clone(),
                source,
            },
        })?;
        Ok(self.shake_hands(socket)?)
    }

    fn shake_hands<S, R>(&self, socket: Socket) -> Result<Connection<S, R>, HandshakeError>
    where
        Serde: Codec<S> + Codec<R>,
    {
        self.terms.check_user(&socket)?;
        let deadline = Deadline::after(self.patience);
        let types = types::<S, R>();
        let mut line = Line::new(socket)?;
        step!("connect: begin");
        let theirs: Hello = line.ask(deadline)?;
        step!("connect: hello heard");
        let mine = self.terms.answer_hello(&theirs, &types)?;
        line.say(&mine, Vec::new())?;
        let answer = line.ask(deadline)?;
        step!("connect: answered");
        let (proof, end) = match answer {
            Answer::Welcome { proof, end } => (proof, end),
            Answer::Refused(why) => return Err(HandshakeError::Refused(why)),
        };
        self.terms.check_listener(&theirs, &mine, &proof)?;
        let fds = std::mem::take(&mut line.fds);
        let connection = match end.is_empty() {
            true => None,
            false => Some(
                parcel::unpack(fds, || <Serde as Codec<Connection<S, R>>>::decode(&end))
                    .map_err(HandshakeError::Pipe)?,
            ),
        };
        step!("connect: end taken over");
        line.say(&true, Vec::new())?;
        line.finish(deadline)?;
        step!("connect: ready");
        match (connection, line.socket) {
            (Some(connection), _) => Ok(connection),
            (None, Socket::Tcp(stream)) => Ok(stream::connection(stream, self.max_message)?),
            (None, Socket::Unix(_)) => Err(HandshakeError::Protocol),
        }
    }
}

/// Listens on a path whose socket nobody listens on any more.
fn replace_stale(address: &Address, any_user: bool) -> io::Result<Listening> {
    let in_use = || io::Error::from(io::ErrorKind::AddrInUse);
    let Address::Path(path) = address else {
        return Err(in_use());
    };
    // One at a time, so that nobody removes what another one has just put there.
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
    let folder = File::open(parent.unwrap_or(Path::new(".")))?;
    folder.lock()?;
    match address.connect() {
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path)?;
            address.listen(any_user)
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => address.listen(any_user),
        _ => Err(in_use()),
    }
}
