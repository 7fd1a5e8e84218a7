//! Who am I, and who started me.

use crate::house::house;
use crate::process::{JoinError, JoinTimeoutError};
use multiproc_core::deadline::Deadline;
use multiproc_core::fd::wait_readable;
use std::fmt;
use std::io;
use std::num::NonZero;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// A process's own view of itself.
#[derive(Clone, Debug)]
pub(crate) struct Me {
    pub(crate) name: String,
    /// `1:2` for the second child of the first child; empty in the main process.
    pub(crate) number: String,
    pub(crate) daemon: bool,
    pub(crate) parent: Option<Parent>,
}

impl Default for Me {
    fn default() -> Self {
        Me {
            name: "MainProcess".to_owned(),
            number: String::new(),
            daemon: false,
            parent: None,
        }
    }
}

/// This process. From [`current`].
#[derive(Clone, Debug)]
pub struct Current {
    me: Arc<Me>,
    pid: u32,
}

/// The process that is running: its pid, its name, whether it is a daemon.
///
/// ```
/// let me = multiproc_process::current();
/// assert_eq!(me.pid(), std::process::id());
/// assert_eq!(me.name(), "MainProcess");
/// assert!(!me.is_daemon());
/// ```
#[doc(alias = "current_process")]
pub fn current() -> Current {
    Current {
        me: house(|house| house.me()),
        pid: crate::sys::pid(),
    }
}

impl Current {
    /// The process id.
    #[doc(alias = "ident")]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// `MainProcess`, or the name that this process was started under.
    pub fn name(&self) -> &str {
        &self.me.name
    }

    /// Whether it was started as a daemon: it ends with its parent, and may not have children
    /// (but one that [sees to its own end](crate::Builder::even_in_daemon)).
    #[doc(alias = "daemon")]
    pub fn is_daemon(&self) -> bool {
        self.me.daemon
    }

    /// The secret that this process shares with its children and they with theirs: 32 random
    /// bytes, made at first use.
    ///
    /// Fails only where the system gives no random bytes.
    pub fn authkey(&self) -> io::Result<AuthKey> {
        house(|house| house.authkey())
    }

    /// Replaces the secret, for this process and the children that it starts from now on.
    pub fn set_authkey(&self, key: AuthKey) {
        house(|house| house.authkey = Some(key));
    }
}

/// A secret shared by a process and its descendants. `Debug` does not show it.
#[derive(Clone)]
pub struct AuthKey(Arc<[u8]>);

impl AuthKey {
    /// A key of your own, for [`Current::set_authkey`].
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        AuthKey(bytes.into().into())
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn random() -> io::Result<Self> {
        let mut bytes = [0; 32];
        crate::sys::random(&mut bytes)?;
        Ok(AuthKey::new(bytes))
    }
}

/// Compares in a time that depends on the lengths only.
impl PartialEq for AuthKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.len() == other.0.len()
            && self
                .0
                .iter()
                .zip(&*other.0)
                .fold(0, |seen, (a, b)| seen | (a ^ b))
                == 0
    }
}

impl Eq for AuthKey {}

impl fmt::Debug for AuthKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuthKey({} bytes)", self.0.len())
    }
}

/// The process that started this one. From [`parent`].
#[derive(Clone, Debug)]
pub struct Parent {
    pub(crate) pid: u32,
    pub(crate) name: String,
    pub(crate) pidfd: Arc<OwnedFd>,
}

/// The process that started this one, alive or not; `None` in the main process.
#[doc(alias = "parent_process")]
pub fn parent() -> Option<Parent> {
    house(|house| house.me().parent.clone())
}

impl Parent {
    /// Its process id. Once it is dead, the system may give that number to somebody else; this
    /// handle is not fooled.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The name that it goes by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it still runs. Does not block; a parent that nobody has collected yet counts as
    /// dead.
    pub fn is_alive(&self) -> bool {
        matches!(wait_readable(self.pidfd.as_fd(), Deadline::NOW), Ok(false))
    }

    /// Waits for the parent's end. Its exit code belongs to its own parent, so there is none
    /// here.
    ///
    /// *Blocks until* the parent has ended. *Wakes when* the kernel reports its end. *If a peer
    /// dies*: that is what it waits for.
    pub fn join(&self) -> Result<(), JoinError> {
        wait_readable(self.pidfd.as_fd(), Deadline::NEVER)
            .map(drop)
            .map_err(JoinError::System)
    }

    /// The same, for no longer than `timeout`.
    ///
    /// *Blocks until* the parent has ended or the time is up. *Wakes when* the kernel reports
    /// its end. *If a peer dies*: that is what it waits for.
    #[must_use = "the parent may still be alive"]
    pub fn join_timeout(&self, timeout: Duration) -> Result<(), JoinTimeoutError> {
        match wait_readable(self.pidfd.as_fd(), Deadline::after(timeout)) {
            Ok(true) => Ok(()),
            Ok(false) => Err(JoinTimeoutError::Timeout),
            Err(error) => Err(JoinError::System(error).into()),
        }
    }

    /// A descriptor that is readable once the parent has ended, for `poll` and the like.
    pub fn sentinel(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl AsFd for Parent {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.sentinel()
    }
}

/// How many processors this process may use: those of its affinity mask, and no more than its
/// control group's quota.
///
/// Python's `cpu_count` counts the whole machine; its `process_cpu_count` is nearer to this
/// one. 1 where the system does not say.
#[doc(alias = "process_cpu_count")]
pub fn cpu_count() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}
