use crate::address::{Address, Listening, Socket};
use crate::codec::{Codec, Serde};
use crate::connection::Connection;
use crate::ends::{Receiver, Sender};
use crate::error::{AcceptError, AcceptTimeoutError, BindError, ConnectError, CreateError};
use crate::handshake::{Answer, ClientHello, HandshakeError, Hello, Line, Terms};
use crate::options::{Pipe, message_tag};
use crate::stream;
use multiproc_core::deadline::Deadline;
use multiproc_core::{fd, handover, step};
use multiproc_message::ends::{Reader, Writer};
use multiproc_parcel as parcel;
use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

mod options;

pub use options::ListenerOptions;
use options::options;

/// Handshakes at a time; who comes beyond waits in the system's queue.
const MOST_AT_A_TIME: usize = 64;

/// Waits for programs that were started apart, at an address.
///
/// What [`Listener::accept`] gives is a [`Connection`] like any other: over a Unix address the
/// data goes through shared memory and the socket is done with after the handshake; over TCP it
/// stays on the socket.
///
/// ```rust,standalone_crate
/// use multiproc_pipe::{Client, Connection, Listener};
/// use multiproc_process::Process;
///
/// let listener = Listener::options().key(b"secret").bind_anywhere()?;
/// let address = listener.address().clone();
/// let client = Process::start(move || {
///     let server = Client::options().key(b"secret").connect::<String, u32>(&address).unwrap();
///     server.send("forty-two".into()).unwrap();
///     assert_eq!(server.recv(), Ok(42));
/// })?;
/// let connection: Connection<u32, String> = listener.accept()?;
/// assert_eq!(connection.recv()?, "forty-two");
/// connection.send(42)?;
/// assert!(client.join()?.success());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "multiprocessing.connection.Listener")]
pub struct Listener {
    listening: Mutex<Option<State>>,
    /// Set before the lock is waited for: an accept that sleeps gives it up at the next slice.
    closed: AtomicBool,
    address: Address,
    terms: Terms,
    patience: Duration,
    max_message: Option<usize>,
    /// The socket file that goes with this listener, in the process that made it.
    file: Option<(PathBuf, u32)>,
}

struct State {
    socket: Listening,
    pending: Vec<Pending>,
    last_accepted: Option<SocketAddr>,
}

/// A handshake on its way.
struct Pending {
    line: Line,
    hello: Hello,
    from: Option<SocketAddr>,
    deadline: Deadline,
    /// What was offered (over TCP no pipe) for which messages; the client has not said that it
    /// has it.
    offered: Option<(Option<Halves>, (String, String))>,
}

/// What this side sends and receives, by name.
fn types<S, R>() -> (String, String)
where
    Serde: Codec<S> + Codec<R>,
{
    (message_tag::<S, Serde>(), message_tag::<R, Serde>())
}

/// Connects to a [`Listener`].
#[derive(Debug)]
#[doc(alias = "multiprocessing.connection.Client")]
pub enum Client {}

impl Client {
    /// Connects to who listens there, without a key. *Blocks until* the handshake is over, at
    /// most 10 seconds. *Wakes when* the listener answers. *If a peer dies*: an error, at once.
    ///
    /// # Errors
    ///
    /// [`ConnectError`].
    pub fn connect<S, R>(
        address: impl TryInto<Address, Error: Into<ConnectError>>,
    ) -> Result<Connection<S, R>, ConnectError>
    where
        Serde: Codec<S> + Codec<R>,
    {
        options().connect(address)
    }

    /// With a key, or another timeout.
    pub fn options() -> ListenerOptions {
        options()
    }
}

impl Listener {
    /// Listens there, without a key: on a Unix address for processes of the same user.
    ///
    /// Never blocks.
    ///
    /// # Errors
    ///
    /// [`BindError`].
    pub fn bind<A>(address: A) -> Result<Self, BindError>
    where
        A: TryInto<Address>,
        BindError: From<A::Error>,
    {
        options().bind(address)
    }

    /// With a key, for other users, or another timeout.
    pub fn options() -> ListenerOptions {
        options()
    }

    /// Where it listens: with the port, where the system has chosen one.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// From where the last one accepted had come; `None` over a Unix address.
    pub fn last_accepted(&self) -> Option<SocketAddr> {
        self.lock().as_ref().and_then(|state| state.last_accepted)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<State>> {
        // A panic in another thread's accept leaves a state that works.
        self.listening.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Stops listening, as dropping it does; who has not been accepted is turned away.
    pub fn close(&self) {
        self.closed.store(true, Relaxed);
        if self.lock().take().is_some() {
            self.remove_file();
        }
    }

    fn remove_file(&self) {
        match &self.file {
            // A forked copy removes nothing; nor does who has moved it into a child, that listens
            // there now. (The child leaves the file: whoever binds next replaces it.)
            Some((path, pid)) if *pid == std::process::id() && !handover::is_on() => {
                let _ = fs::remove_file(path);
            }
            _ => {}
        }
    }

    /// The next one that connects. *Blocks until* somebody has, and the handshake is over; several
    /// handshakes go on at a time, so that one who stalls keeps nobody waiting. *Wakes when*
    /// somebody connects. *If a peer dies* in its handshake, that is an error here, and the
    /// listener goes on with the next.
    ///
    /// # Errors
    ///
    /// [`AcceptError`]: of one who came and was not right; call it again for the next.
    pub fn accept<S, R>(&self) -> Result<Connection<S, R>, AcceptError>
    where
        Serde: Codec<S> + Codec<R>,
    {
        loop {
            // Without a deadline there is always somebody, or an error.
            if let Some(connection) = self.accept_by(Deadline::NEVER).inspect_err(tell)? {
                return Ok(connection);
            }
        }
    }

    /// As [`Listener::accept`]. *Blocks until* `timeout` is over, at most. *Wakes when* and *if a
    /// peer dies*: as there.
    ///
    /// # Errors
    ///
    /// [`AcceptTimeoutError`].
    pub fn accept_timeout<S, R>(
        &self,
        timeout: Duration,
    ) -> Result<Connection<S, R>, AcceptTimeoutError>
    where
        Serde: Codec<S> + Codec<R>,
    {
        let accepted = self.accept_by(Deadline::after(timeout));
        let accepted = accepted.inspect_err(tell)?;
        accepted.ok_or(AcceptTimeoutError::Timeout)
    }

    /// `None`: nobody until the deadline.
    fn accept_by<S, R>(&self, deadline: Deadline) -> Result<Option<Connection<S, R>>, AcceptError>
    where
        Serde: Codec<S> + Codec<R>,
    {
        let types = types::<S, R>();
        loop {
            let mut state = self.lock();
            if self.closed.load(Relaxed) {
                return Err(AcceptError::Closed);
            }
            let state = state.as_mut().ok_or(AcceptError::Closed)?;
            self.admit(state)?;
            for index in 0..state.pending.len() {
                let outcome =
                    state.pending[index].go_on::<S, R>(&self.terms, &types, self.max_message);
                let Some(outcome) = outcome.transpose() else {
                    continue;
                };
                let pending = state.pending.swap_remove(index);
                state.last_accepted = pending.from;
                return Ok(Some(match outcome? {
                    Done::Pipe(connection) => *connection,
                    Done::Stream => match pending.line.socket {
                        Socket::Tcp(stream) => stream::connection(stream, self.max_message)
                            .map_err(HandshakeError::Io)?,
                        Socket::Unix(_) => return Err(HandshakeError::Protocol.into()),
                    },
                }));
            }
            if deadline.passed() {
                return Ok(None);
            }
            self.sleep(state, deadline)?;
        }
    }

    /// Takes in who has connected.
    fn admit(&self, state: &mut State) -> Result<(), AcceptError> {
        while state.pending.len() < MOST_AT_A_TIME {
            let (socket, from) = match state.socket.accept() {
                Ok(accepted) => accepted,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                // Gone before it was accepted.
                Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e.into()),
            };
            step!("accept: admitted");
            self.terms.check_user(&socket)?;
            let hello = Hello::new(self.terms.key.is_some())?;
            let mut line = Line::new(socket)?;
            line.say(&hello, Vec::new())?;
            state.pending.push(Pending {
                line,
                hello,
                from,
                deadline: Deadline::after(self.patience),
                offered: None,
            });
        }
        Ok(())
    }

    /// In slices, so that another thread's `close` is noticed.
    fn sleep(&self, state: &State, deadline: Deadline) -> io::Result<()> {
        let pollfd = |fd: BorrowedFd<'_>, events| libc::pollfd {
            fd: fd.as_raw_fd(),
            events,
            revents: 0,
        };
        let room = state.pending.len() < MOST_AT_A_TIME;
        let mut polled = vec![pollfd(
            state.socket.as_fd(),
            if room { libc::POLLIN } else { 0 },
        )];
        let mut until = Deadline::after(multiproc_core::wait::SLICE).sooner(deadline);
        for pending in &state.pending {
            polled.push(pollfd(pending.line.socket.as_fd(), pending.line.events()));
            until = until.sooner(pending.deadline);
        }
        fd::poll(&mut polled, until.remaining().unwrap_or_default()).map(drop)
    }
}

/// To whoever listens to `tracing`: somebody was not let in.
#[cfg_attr(not(feature = "tracing"), allow(unused_variables))]
fn tell(refused: &AcceptError) {
    if let AcceptError::Handshake(why) = refused {
        multiproc_segment::trace!(warn, %why, "handshake refused");
    }
}

enum Done<S, R> {
    Pipe(Box<Connection<S, R>>),
    /// The socket itself.
    Stream,
}

impl Pending {
    /// As far as it goes without waiting. `None`: not done.
    fn go_on<S, R>(
        &mut self,
        terms: &Terms,
        types: &(String, String),
        max_message: Option<usize>,
    ) -> Result<Option<Done<S, R>>, HandshakeError>
    where
        Serde: Codec<S> + Codec<R>,
    {
        let stepped = match self.step(terms, types, max_message) {
            Ok(None) if self.deadline.passed() => Err(HandshakeError::Timeout),
            other => other,
        };
        if let Err(why) = &stepped {
            // Tell the other side, if it listens; what it hears of a wrong key says no more
            // than that.
            let _ = self.line.say(&Answer::Refused(why.to_string()), Vec::new());
            let _ = self.line.send();
        }
        stepped
    }

    fn step<S, R>(
        &mut self,
        terms: &Terms,
        types: &(String, String),
        max_message: Option<usize>,
    ) -> Result<Option<Done<S, R>>, HandshakeError>
    where
        Serde: Codec<S> + Codec<R>,
    {
        if !self.line.send()? {
            return Ok(None);
        }
        if self.offered.is_none() {
            let Some(client) = self.line.hear::<ClientHello>()? else {
                return Ok(None);
            };
            step!("accept: client heard");
            let proof = terms.check_client(&self.hello, &client, types)?;
            let (mine, end, fds) = match &self.line.socket {
                Socket::Tcp(_) => (None, Vec::new(), Vec::new()),
                Socket::Unix(_) => {
                    let (mine, end, fds) =
                        offer::<S, R>(max_message).map_err(HandshakeError::Pipe)?;
                    (Some(mine), end, fds)
                }
            };
            step!("accept: end made");
            self.line.say(&Answer::Welcome { proof, end }, fds)?;
            self.offered = Some((mine, types.clone()));
            if !self.line.send()? {
                return Ok(None);
            }
            step!("accept: end offered");
        }
        if self.line.hear::<bool>()?.is_none() {
            return Ok(None);
        }
        step!("accept: client is ready");
        match self.offered.take() {
            // Somebody else's accept began this, for other messages.
            Some((_, theirs)) if theirs != *types => Err(HandshakeError::Types {
                theirs: format!("{} and {}", theirs.0, theirs.1),
                mine: format!("{} and {}", types.0, types.1),
            }),
            Some((Some((writer, reader)), _)) => Ok(Some(Done::Pipe(Box::new(Connection::new(
                Sender::new(writer),
                Receiver::new(reader),
            ))))),
            _ => Ok(Some(Done::Stream)),
        }
    }
}

type Halves = (Writer, Reader);

/// A new pipe: this side's end, and the other as a message.
#[allow(clippy::type_complexity)]
fn offer<S, R>(max_message: Option<usize>) -> Result<(Halves, Vec<u8>, Vec<OwnedFd>), String>
where
    Serde: Codec<S> + Codec<R>,
{
    let mut options = Pipe::<S, R>::options();
    if let Some(most) = max_message {
        options = options.max_message(most);
    }
    let pipe = options.duplex();
    let (mine, theirs) = pipe.map_err(|e: CreateError| e.to_string())?;
    let mut end = Vec::new();
    let (encoded, parcel) =
        parcel::pack(|| <Serde as Codec<Connection<R, S>>>::encode(&theirs, &mut end));
    encoded?;
    Ok((mine.into_ends()?, end, parcel.into_descriptors()))
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("address", &self.address)
            .field("keyed", &self.terms.key.is_some())
            .finish_non_exhaustive()
    }
}
