//! What listener and client say to each other before there is a connection.
//!
//! ```text
//! listener                                     client
//! hello: magic, version, keyed?, nonce   →
//!                                        ←     hello: the same, its nonce, the types of its
//!                                              messages, proof(key, "client", both nonces, types)
//! (user, version, types, proof: right?)
//! welcome: proof(key, "listener", …),    →
//!   the other end of a pipe (its descriptors beside the bytes; over TCP nothing)
//!                                              (proof: right?) takes the end over
//!                                        ←     ready
//! ```
//!
//! or `refused`, with a sentence, in place of `welcome`. A proof is HMAC-SHA256, and compared in
//! constant time. Without a key there are no proofs, and what protects a Unix socket is the
//! kernel's word on who is at the other end.
//!
//! # Invariants
//!
//! 1. Whatever comes is at most [`MOST`] bytes long, and complete before the deadline, or the
//!    handshake is over.
//! 2. The client proves first: a listener answers no stranger's challenge.
//! 3. A client touches the descriptors that it gets only after the proof was right.
//!
//! If a process dies here: the other one reads the end of the stream, and gives up; the pipe that
//! was made for it is gone with it. A listener goes on with the next.

use crate::address::Socket;
use hmac::{Hmac, KeyInit, Mac};
use multiproc_core::deadline::Deadline;
use multiproc_core::fd;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use thiserror::Error;

const MAGIC: [u8; 8] = *b"mproc\0\x01\n";
const VERSION: u16 = 1;
/// The most bytes of one thing said.
const MOST: usize = 16 << 10;

/// Why there was no connection.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The keys are not the same; or one side has one and the other has none.
    #[error("authentication failed: {0}")]
    #[doc(alias = "AuthenticationError")]
    Authentication(&'static str),
    /// The process at the other end belongs to another user.
    #[error("user {found} may not connect, only user {expected}")]
    OtherUser {
        /// Whose it is.
        found: u32,
        /// Whose it would have to be.
        expected: u32,
    },
    /// Something else than a multiproc of this version.
    #[error("the other side does not speak this protocol (version {VERSION})")]
    Protocol,
    /// The two programs want to talk about different things.
    #[error("the other side sends and receives {theirs}, this one {mine}")]
    Types {
        /// What the other side wants.
        theirs: String,
        /// What this one wants.
        mine: String,
    },
    /// The other side refused, with this sentence.
    #[error("refused: {0}")]
    Refused(String),
    /// It said nothing for too long.
    #[error("the other side did not finish the handshake in time")]
    Timeout,
    /// It left.
    #[error("the other side left in the middle of the handshake")]
    Left,
    /// The pipe could not be made, or not taken over.
    #[error("the pipe could not be set up: {0}")]
    Pipe(String),
    /// What the system says.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The key and the types: what a side brings.
#[derive(Clone)]
pub(crate) struct Terms {
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) any_user: bool,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Hello {
    magic: [u8; 8],
    version: u16,
    keyed: bool,
    pub(crate) nonce: [u8; 32],
}

#[derive(Serialize, Deserialize)]
pub(crate) struct ClientHello {
    hello: Hello,
    /// What the client sends, and what it receives.
    pub(crate) types: (String, String),
    proof: [u8; 32],
}

#[derive(Serialize, Deserialize)]
pub(crate) enum Answer {
    Welcome {
        proof: [u8; 32],
        /// The client's end of the pipe; empty over TCP.
        end: Vec<u8>,
    },
    Refused(String),
}

impl Hello {
    pub(crate) fn new(keyed: bool) -> io::Result<Self> {
        let mut nonce = [0; 32];
        getrandom::fill(&mut nonce).map_err(io::Error::other)?;
        Ok(Self {
            magic: MAGIC,
            version: VERSION,
            keyed,
            nonce,
        })
    }

    fn check(&self, keyed: bool) -> Result<(), HandshakeError> {
        if (self.magic, self.version) != (MAGIC, VERSION) {
            return Err(HandshakeError::Protocol);
        }
        match (self.keyed, keyed) {
            (true, false) => Err(HandshakeError::Authentication("the other side has a key")),
            (false, true) => Err(HandshakeError::Authentication("the other side has no key")),
            _ => Ok(()),
        }
    }
}

type Nonces<'a> = (&'a [u8; 32], &'a [u8; 32]);

fn mac(key: &[u8], who: &str, nonces: Nonces<'_>, types: &(String, String)) -> Hmac<Sha256> {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        unreachable!("an HMAC takes a key of any length");
    };
    for part in [
        who.as_bytes(),
        nonces.0,
        nonces.1,
        types.0.as_bytes(),
        types.1.as_bytes(),
    ] {
        mac.update(&(part.len() as u64).to_le_bytes());
        mac.update(part);
    }
    mac
}

impl Terms {
    fn proof(&self, who: &str, nonces: Nonces<'_>, types: &(String, String)) -> [u8; 32] {
        match &self.key {
            Some(key) => mac(key, who, nonces, types).finalize().into_bytes().into(),
            None => [0; 32],
        }
    }

    fn verify(
        &self,
        proof: &[u8; 32],
        who: &str,
        nonces: Nonces<'_>,
        types: &(String, String),
    ) -> Result<(), HandshakeError> {
        match &self.key {
            // Constant time.
            Some(key) => mac(key, who, nonces, types)
                .verify_slice(proof)
                .map_err(|_| HandshakeError::Authentication("the keys are not the same")),
            None => Ok(()),
        }
    }

    /// Client: its answer to the listener's hello.
    pub(crate) fn answer_hello(
        &self,
        theirs: &Hello,
        types: &(String, String),
    ) -> Result<ClientHello, HandshakeError> {
        theirs.check(self.key.is_some())?;
        let hello = Hello::new(self.key.is_some())?;
        let proof = self.proof("client", (&theirs.nonce, &hello.nonce), types);
        Ok(ClientHello {
            hello,
            types: types.clone(),
            proof,
        })
    }

    /// Listener: is this client right? Its own proof, if so.
    pub(crate) fn check_client(
        &self,
        mine: &Hello,
        client: &ClientHello,
        types: &(String, String),
    ) -> Result<[u8; 32], HandshakeError> {
        client.hello.check(self.key.is_some())?;
        let nonces = (&mine.nonce, &client.hello.nonce);
        self.verify(&client.proof, "client", nonces, &client.types)?;
        // What the one sends, the other receives.
        if (&client.types.1, &client.types.0) != (&types.0, &types.1) {
            return Err(HandshakeError::Types {
                theirs: format!("{} and {}", client.types.0, client.types.1),
                mine: format!("{} and {}", types.0, types.1),
            });
        }
        Ok(self.proof("listener", nonces, &client.types))
    }

    /// Client: is this listener right?
    pub(crate) fn check_listener(
        &self,
        theirs: &Hello,
        mine: &ClientHello,
        proof: &[u8; 32],
    ) -> Result<(), HandshakeError> {
        let nonces = (&theirs.nonce, &mine.hello.nonce);
        self.verify(proof, "listener", nonces, &mine.types)
    }

    /// May the user at the other end connect?
    pub(crate) fn check_user(&self, socket: &Socket) -> Result<(), HandshakeError> {
        use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
        let Socket::Unix(stream) = socket else {
            return Ok(());
        };
        let found = getsockopt(stream, PeerCredentials)
            .map_err(io::Error::from)?
            .uid();
        let expected = nix::unistd::geteuid().as_raw();
        match found == expected || self.any_user {
            true => Ok(()),
            false => Err(HandshakeError::OtherUser { found, expected }),
        }
    }
}

/// A socket on which things are said: each with its length before it.
pub(crate) struct Line {
    pub(crate) socket: Socket,
    to_send: Vec<u8>,
    fds_to_send: Vec<OwnedFd>,
    got: Vec<u8>,
    pub(crate) fds: Vec<OwnedFd>,
}

impl Line {
    pub(crate) fn new(socket: Socket) -> io::Result<Self> {
        Ok(Self {
            socket,
            to_send: Vec::new(),
            fds_to_send: Vec::new(),
            got: Vec::new(),
            fds: Vec::new(),
        })
    }

    /// Puts something behind what is to be said.
    pub(crate) fn say(&mut self, what: &impl Serialize, fds: Vec<OwnedFd>) -> io::Result<()> {
        let bytes = postcard::to_allocvec(what).map_err(io::Error::other)?;
        let len = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        self.to_send.extend_from_slice(&len.to_le_bytes());
        self.to_send.extend_from_slice(&bytes);
        self.fds_to_send.extend(fds);
        Ok(())
    }

    /// Sends as much as goes. True: all of it.
    pub(crate) fn send(&mut self) -> Result<bool, HandshakeError> {
        while !self.to_send.is_empty() {
            let fds: Vec<RawFd> = self.fds_to_send.iter().map(AsRawFd::as_raw_fd).collect();
            match fd::send_with(self.socket.as_fd(), &self.to_send, &fds) {
                Ok(sent) => {
                    self.to_send.drain(..sent);
                    self.fds_to_send.clear();
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) => return Err(left(e)),
            }
        }
        Ok(true)
    }

    /// Receives as much as is there of the next thing said. `None`: not all of it yet.
    pub(crate) fn hear<T: for<'de> Deserialize<'de>>(
        &mut self,
    ) -> Result<Option<T>, HandshakeError> {
        loop {
            let wanted = match self.got.first_chunk::<4>() {
                None => 4,
                Some(len) => match u32::from_le_bytes(*len) as usize {
                    len @ 0..=MOST => 4 + len,
                    _ => return Err(HandshakeError::Protocol),
                },
            };
            if self.got.len() >= wanted && wanted > 4 {
                let said = postcard::from_bytes(&self.got[4..wanted]);
                self.got.clear();
                return said.map(Some).map_err(|_| HandshakeError::Protocol);
            }
            if wanted == self.got.len() {
                return Err(HandshakeError::Protocol); // nothing was said, at length 0
            }
            // Never more than belongs to it: what comes after may be the user's.
            let mut bytes = vec![0; wanted - self.got.len()];
            match fd::recv_with(self.socket.as_fd(), &mut bytes, false) {
                Ok(received) if received.bytes == 0 => return Err(HandshakeError::Left),
                Ok(received) => {
                    self.got.extend_from_slice(&bytes[..received.bytes]);
                    self.fds.extend(received.fds);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(e) => return Err(left(e)),
            }
        }
    }

    /// What to poll for.
    pub(crate) fn events(&self) -> i16 {
        match self.to_send.is_empty() {
            true => libc::POLLIN,
            false => libc::POLLOUT,
        }
    }

    /// Client: *blocks until* all is said and the answer is there, or the deadline passes.
    /// *If a peer dies*: `Left`, at once.
    pub(crate) fn ask<T: for<'de> Deserialize<'de>>(
        &mut self,
        deadline: Deadline,
    ) -> Result<T, HandshakeError> {
        loop {
            if self.send()?
                && let Some(heard) = self.hear()?
            {
                return Ok(heard);
            }
            self.wait(deadline)?;
        }
    }

    /// Client: *blocks until* all is said. *If a peer dies*: `Left`.
    pub(crate) fn finish(&mut self, deadline: Deadline) -> Result<(), HandshakeError> {
        while !self.send()? {
            self.wait(deadline)?;
        }
        Ok(())
    }

    fn wait(&self, deadline: Deadline) -> Result<(), HandshakeError> {
        let mut polled = [libc::pollfd {
            fd: self.socket.as_fd().as_raw_fd(),
            events: self.events(),
            revents: 0,
        }];
        match deadline.remaining() {
            Some(left) if left.is_zero() => Err(HandshakeError::Timeout),
            left => {
                fd::poll(&mut polled, left.unwrap_or(multiproc_core::wait::SLICE))?;
                Ok(())
            }
        }
    }
}

fn left(error: io::Error) -> HandshakeError {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => HandshakeError::Left,
        _ => HandshakeError::Io(error),
    }
}
