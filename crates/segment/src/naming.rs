use crate::error::CreateError;
use crate::temporary::MARK;
use std::fs::{File, Permissions};
use std::os::unix::fs::{PermissionsExt, fchown};

/// How a named object is to be made: who may open it, and for how long its name lives.
///
/// ```
/// use multiproc_segment::{Naming, Segment, Kind};
/// # let name = format!("naming-doc-{}", std::process::id());
/// let kind = Kind { tag: "demo".into(), fixed: 8, align: 8 };
/// let shared = Naming::new().mode(0o660).temporary(true);
/// let made = Segment::create(&name, &shared, kind.clone(), 8, 8, |_| ())?;
/// assert!(made.is_temporary());
/// drop(made);
/// assert!(Segment::open(&name, &kind).is_err()); // gone with its last handle
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a naming does nothing until something is made with it"]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Naming {
    mode: u32,
    owner: Option<u32>,
    group: Option<u32>,
    temporary: bool,
}

impl Naming {
    /// For this user alone (0600), until somebody removes the name.
    pub const fn new() -> Self {
        Self {
            mode: 0o600,
            owner: None,
            group: None,
            temporary: false,
        }
    }

    /// Permission bits: exactly these, whatever the umask. Whoever uses an object needs to
    /// read and write; bits above 0777 are no permissions, and left out.
    pub const fn mode(mut self, mode: u32) -> Self {
        self.mode = mode & 0o777;
        self
    }

    /// The user, by number, that it belongs to, in place of this process's. Takes the
    /// privilege to give files away.
    pub const fn owner(mut self, uid: u32) -> Self {
        self.owner = Some(uid);
        self
    }

    /// The group, by number, that it belongs to, in place of this process's. One that this
    /// process is a member of, or any with the privilege to give files away.
    pub const fn group(mut self, gid: u32) -> Self {
        self.group = Some(gid);
        self
    }

    /// The name goes when the last process that has the object open lets go of it, and, if
    /// that one was killed, at the next look: by whoever opens or makes the name, or by
    /// [`remove_stale`](crate::remove_stale). Without it, a name lives until
    /// [`unlink`](crate::unlink).
    ///
    /// A forked child has open what its parent had, until it ends, drops its handles or calls
    /// `exec`; who maps the file by other means does not count. Only the owner of a name can
    /// remove it: where another user is the last one, it stays, is found by nobody, and goes when
    /// the owner looks.
    ///
    /// The file has its sticky bit set, by which everybody knows; nobody but the owner can change
    /// that (and should not, while it is in use).
    pub const fn temporary(mut self, temporary: bool) -> Self {
        self.temporary = temporary;
        self
    }

    pub(crate) fn is_temporary(&self) -> bool {
        self.temporary
    }

    /// Gives a file that has no name yet its owner, group and mode. In this order: a change
    /// of owner may take permission bits away.
    pub(crate) fn apply(&self, file: &File) -> Result<(), CreateError> {
        // The highest number means "leave it" to the system.
        let refused = |id| match id {
            u32::MAX => Err(std::io::ErrorKind::InvalidInput.into()),
            _ => Ok(()),
        };
        if let Some(uid) = self.owner {
            refused(uid)
                .and_then(|()| fchown(file, Some(uid), None))
                .map_err(|source| CreateError::Owner { uid, source })?;
            crate::step::at("create: owner set");
        }
        if let Some(gid) = self.group {
            refused(gid)
                .and_then(|()| fchown(file, None, Some(gid)))
                .map_err(|source| CreateError::Group { gid, source })?;
            crate::step::at("create: group set");
        }
        let mark = if self.temporary { MARK } else { 0 };
        file.set_permissions(Permissions::from_mode(self.mode | mark))
            .map_err(CreateError::Io)
    }
}

impl Default for Naming {
    fn default() -> Self {
        Self::new()
    }
}

/// What every kind of options says of the name to be: `mode`, `owner`, `group`, `temporary`, each
/// for the [`Naming`] in a field of the options.
#[doc(hidden)]
#[macro_export]
macro_rules! naming_options {
    ($($field:ident).+) => {
        /// Permission bits of what is made by name: exactly these, whatever the umask. 0600 by
        /// default.
        pub fn mode(mut self, mode: u32) -> Self {
            self.$($field).+ = self.$($field).+.mode(mode);
            self
        }

        /// The user, by number, that a named object belongs to. Takes the privilege to give files
        /// away.
        pub fn owner(mut self, uid: u32) -> Self {
            self.$($field).+ = self.$($field).+.owner(uid);
            self
        }

        /// The group, by number, that a named object belongs to: one of this process's own, or any
        /// with that privilege.
        pub fn group(mut self, gid: u32) -> Self {
            self.$($field).+ = self.$($field).+.group(gid);
            self
        }

        /// The name goes with the last process that has the object open, and if that one was
        /// killed, at the next look: see [`Naming::temporary`]. Without it, it lives until
        /// `unlink`.
        ///
        /// [`Naming::temporary`]: multiproc_segment::Naming::temporary
        pub fn temporary(mut self, temporary: bool) -> Self {
            self.$($field).+ = self.$($field).+.temporary(temporary);
            self
        }
    };
}
