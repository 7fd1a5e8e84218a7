use crate::error::{NameError, UnlinkError};
use std::io;
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
}

/// Removes a name. Whoever has the object open keeps it; nobody can open it any more.
///
/// Only this call removes a name: dropping handles, exiting and dying do not.
///
/// # Errors
///
/// [`UnlinkError`]: the name is not one, nothing has it, or it belongs to another user.
#[doc(alias = "shm_unlink")]
pub fn unlink(name: &str) -> Result<(), UnlinkError> {
    let name = Name::new(name)?;
    std::fs::remove_file(name.path()).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => UnlinkError::NotFound(name.0),
        io::ErrorKind::PermissionDenied => UnlinkError::PermissionDenied(name.0),
        _ => UnlinkError::Io {
            name: name.0,
            source,
        },
    })
}
