use crate::error::{NameError, UnlinkError};
use crate::temporary;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

const DIRECTORY: &str = "/dev/shm";
const PREFIX: &str = "multiproc.";
/// Linux' NAME_MAX less our prefix.
const MAX: usize = 255 - PREFIX.len();

/// A checked name.
#[derive(Clone, Debug)]
pub(crate) struct Name(String);

impl Name {
    pub(crate) fn new(name: &str) -> Result<Self, NameError> {
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        if name.contains('/') {
            return Err(NameError::Slash(name.into()));
        }
        if name.contains('\0') {
            return Err(NameError::Nul(name.into()));
        }
        if name.len() > MAX {
            return Err(NameError::TooLong {
                bytes: name.len(),
                max: MAX,
            });
        }
        Ok(Self(name.into()))
    }

    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(format!("{DIRECTORY}/{PREFIX}{}", self.0))
    }

    pub(crate) fn directory() -> &'static str {
        DIRECTORY
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Opens what has this name, to read and write it. Follows no link, waits for nothing.
    pub(crate) fn open(&self) -> io::Result<File> {
        self.open_with(OpenOptions::new().read(true).write(true))
    }

    /// The same, to read it.
    pub(crate) fn open_to_read(&self) -> io::Result<File> {
        self.open_with(OpenOptions::new().read(true))
    }

    fn open_with(&self, options: &mut OpenOptions) -> io::Result<File> {
        options
            .custom_flags(libc::O_CLOEXEC | libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(self.path())
    }

    /// Is it this file's, at this moment?
    pub(crate) fn is_of(&self, file: &File) -> io::Result<bool> {
        let file = file.metadata()?;
        match self.path().symlink_metadata() {
            Ok(named) => Ok((named.dev(), named.ino()) == (file.dev(), file.ino())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Every name that there is.
    pub(crate) fn all() -> io::Result<Vec<Self>> {
        let files = std::fs::read_dir(DIRECTORY)?;
        let names = files.filter_map(|file| {
            let file = file.ok()?.file_name();
            Self::new(file.to_str()?.strip_prefix(PREFIX)?).ok()
        });
        Ok(names.collect())
    }
}

/// Removes a name. Whoever has the object open keeps it; nobody can open it any more.
///
/// Only this call removes the name of what was not made [temporary](crate::Naming::temporary):
/// dropping handles, exiting and dying do not.
///
/// # Errors
///
/// [`UnlinkError`]: the name is not one, nothing has it, or it belongs to another user.
#[doc(alias = "shm_unlink")]
pub fn unlink(name: &str) -> Result<(), UnlinkError> {
    let name = Name::new(name)?;
    let removed = temporary::unlink(&name);
    if removed.is_ok() {
        crate::trace!(debug, name = name.as_str(), "name removed");
    }
    removed.map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => UnlinkError::NotFound(name.0),
        io::ErrorKind::PermissionDenied => UnlinkError::PermissionDenied(name.0),
        _ => UnlinkError::Io {
            name: name.0,
            source,
        },
    })
}
