use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr as UnixSocketAddr, UnixListener, UnixStream};
use std::path::PathBuf;
use std::str::FromStr;

/// Where a listener listens.
///
/// As text: `/a/path` or `./a/path` is a path, `@name` an abstract name (Linux: in no file system, open to
/// every user of the machine and told apart by their credentials), `host:port` TCP.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// A Unix socket in the file system.
    Path(PathBuf),
    /// A Unix socket with an abstract name.
    Abstract(Vec<u8>),
    /// TCP.
    Tcp(SocketAddr),
}

/// Text that is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address: a path with a slash, @name or host:port is")]
pub struct InvalidAddress(pub String);

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let invalid = || InvalidAddress(text.to_owned());
        if text.contains('\0') {
            return Err(invalid());
        }
        if let Some(name) = text.strip_prefix('@') {
            return match name.len() {
                1..=107 => Ok(Self::Abstract(name.into())),
                _ => Err(invalid()),
            };
        }
        if text.contains('/') {
            return match text.len() {
                1..=107 => Ok(Self::Path(text.into())),
                _ => Err(invalid()),
            };
        }
        let resolved = text.to_socket_addrs().ok().and_then(|mut all| all.next());
        resolved.map(Self::Tcp).ok_or_else(invalid)
    }
}

impl TryFrom<&str> for Address {
    type Error = InvalidAddress;

    fn try_from(text: &str) -> Result<Self, InvalidAddress> {
        text.parse()
    }
}

impl From<&Address> for Address {
    fn from(address: &Address) -> Self {
        address.clone()
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl From<PathBuf> for Address {
    fn from(path: PathBuf) -> Self {
        Self::Path(path)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Abstract(name) => write!(f, "@{}", OsStr::from_bytes(name).display()),
            Self::Tcp(address) => address.fmt(f),
        }
    }
}

impl Address {
    fn unix(&self) -> io::Result<UnixSocketAddr> {
        match self {
            Self::Path(path) => UnixSocketAddr::from_pathname(path),
            Self::Abstract(name) => UnixSocketAddr::from_abstract_name(name),
            Self::Tcp(_) => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    pub(crate) fn connect(&self) -> io::Result<Socket> {
        Ok(match self {
            Self::Tcp(address) => {
                let stream = TcpStream::connect(address)?;
                stream.set_nodelay(true)?;
                Socket::Tcp(stream)
            }
            unix => Socket::Unix(UnixStream::connect_addr(&unix.unix()?)?),
        })
    }

    /// Listens, not blocking. A socket in the file system is open to its user alone, unless
    /// `any_user`.
    pub(crate) fn listen(&self, any_user: bool) -> io::Result<Listening> {
        Ok(match self {
            Self::Tcp(address) => {
                let listener = TcpListener::bind(address)?;
                listener.set_nonblocking(true)?;
                Listening::Tcp(listener)
            }
            unix => {
                let listener = UnixListener::bind_addr(&unix.unix()?)?;
                if let Self::Path(path) = unix {
                    use std::os::unix::fs::PermissionsExt;
                    // Before this, whoever connects is asked for its user all the same.
                    let mode = if any_user { 0o666 } else { 0o600 };
                    std::fs::set_permissions(path, PermissionsExt::from_mode(mode))?;
                }
                listener.set_nonblocking(true)?;
                Listening::Unix(listener)
            }
        })
    }
}

/// A connected socket, before anything is agreed.
#[derive(Debug)]
pub(crate) enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// A listening one.
#[derive(Debug)]
pub(crate) enum Listening {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Listening {
    /// Who is next; `WouldBlock` where nobody is.
    pub(crate) fn accept(&self) -> io::Result<(Socket, Option<SocketAddr>)> {
        match self {
            Self::Unix(listener) => Ok((Socket::Unix(listener.accept()?.0), None)),
            Self::Tcp(listener) => {
                let (stream, from) = listener.accept()?;
                stream.set_nodelay(true)?;
                Ok((Socket::Tcp(stream), Some(from)))
            }
        }
    }

    /// The address, where the system has chosen a part of it.
    pub(crate) fn local(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }
}

impl AsFd for Listening {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix(listener) => listener.as_fd(),
            Self::Tcp(listener) => listener.as_fd(),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix(stream) => stream.as_fd(),
            Self::Tcp(stream) => stream.as_fd(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_apart_by_their_text() {
        assert_eq!("/tmp/x".parse(), Ok(Address::Path("/tmp/x".into())));
        assert_eq!("./x".parse(), Ok(Address::Path("./x".into())));
        assert_eq!("@x".parse(), Ok(Address::Abstract(b"x".into())));
        let tcp = "127.0.0.1:80".parse::<Address>().unwrap();
        assert_eq!(tcp.to_string(), "127.0.0.1:80");
        for bad in ["", "x", "@", "a\0/b", "host", "1.2.3.4:99999"] {
            assert!(bad.parse::<Address>().is_err(), "{bad:?}");
        }
        assert!("/x".repeat(100).parse::<Address>().is_err());
    }
}
