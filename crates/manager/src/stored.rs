//! Values as the server keeps them: their bytes, and what they enclose.
//!
//! The server knows no user type. A key or value is its postcard bytes, and equal values have
//! equal bytes (not so: `NaN`, `-0.0`, and maps or sets with another order). What is more than
//! bytes goes beside them: descriptors, and the numbers of managed objects that handles in the
//! value refer to, so that whoever keeps the value keeps those objects.

use crate::error::CallError;
use crate::handle::Handle;
use crate::remote::Remote;
use multiproc_parcel::{self as parcel, Descriptor};
use serde::de::{DeserializeOwned, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Borrow;
use std::cell::Cell;
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Bytes that many places may keep.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Blob(pub(crate) Arc<[u8]>);

impl Borrow<[u8]> for Blob {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Blob;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob(bytes.into()))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

/// A value. Two are equal if their bytes are: a handle's bytes name its object.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Stored {
    pub(crate) bytes: Blob,
    enclosed: Option<Box<Enclosed>>,
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Enclosed {
    objects: Vec<u64>,
    descriptors: Vec<Descriptor<Arc<OwnedFd>>>,
}

impl Stored {
    /// A value that encloses nothing.
    pub(crate) fn plain(bytes: impl Into<Blob>) -> Self {
        Self {
            bytes: bytes.into(),
            enclosed: None,
        }
    }

    /// The managed objects that handles in it refer to, each as often as it is referred to.
    pub(crate) fn objects(&self) -> &[u64] {
        self.enclosed.as_ref().map_or(&[], |e| &e.objects)
    }
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes.fmt(f)
    }
}

/// What this thread does with a value of this server.
#[derive(Default)]
enum Desk {
    #[default]
    Closed,
    /// Encodes it; the objects so far.
    Storing(Arc<Remote>, Vec<u64>),
    /// Decodes it; the objects that came with it and that no handle has taken.
    Fetching(Arc<Remote>, Vec<u64>),
}

thread_local! {
    static DESK: Cell<Desk> = const { Cell::new(Desk::Closed) };
}

/// Puts the desk back as it was, also when a codec panics.
struct Restore(Option<Desk>);

impl Restore {
    fn after(desk: Desk) -> Self {
        // A thread that is just ending has no desk: handles cannot travel from there.
        Self(DESK.try_with(|cell| cell.replace(desk)).ok())
    }

    /// What lies on the desk now.
    fn clear(mut self) -> Desk {
        match self.0.take() {
            Some(before) => DESK
                .try_with(|cell| cell.replace(before))
                .unwrap_or_default(),
            None => Desk::Closed,
        }
    }
}

impl Drop for Restore {
    fn drop(&mut self) {
        if let Some(before) = self.0.take() {
            let _ = DESK.try_with(|cell| cell.set(before));
        }
    }
}

fn with_desk<R>(f: impl FnOnce(&mut Desk) -> R) -> R {
    let mut desk = DESK.try_with(Cell::take).unwrap_or_default();
    let result = f(&mut desk);
    let _ = DESK.try_with(|cell| cell.set(desk));
    result
}

/// Where a handle that is being encoded goes.
pub(crate) enum Goes {
    /// Into an object of its own server.
    Home,
    /// Into an object of another server.
    Abroad,
    /// Into a message.
    Travelling,
}

/// A handle of this server's object is being encoded.
pub(crate) fn encloses(remote: &Remote, object: u64) -> Goes {
    with_desk(|desk| match desk {
        Desk::Storing(server, objects) if server.is(remote) => {
            objects.push(object);
            Goes::Home
        }
        Desk::Storing(..) => Goes::Abroad,
        _ => Goes::Travelling,
    })
}

/// A handle of this object is being decoded from a value of its own server: the server, if the
/// value brought a reference to the object.
pub(crate) fn brings(object: u64) -> Option<Arc<Remote>> {
    with_desk(|desk| match desk {
        Desk::Fetching(server, objects) => {
            let at = objects.iter().position(|n| *n == object)?;
            objects.swap_remove(at);
            Some(server.clone())
        }
        _ => None,
    })
}

/// postcard keeps no reason of a handle's that would not travel.
pub(crate) fn why(error: &postcard::Error) -> String {
    parcel::take_reason().unwrap_or_else(|| error.to_string())
}

/// The bytes of a key, or of anything that may hold no handle.
pub(crate) fn key<T: Serialize + ?Sized>(value: &T) -> Result<Blob, CallError> {
    match postcard::to_allocvec(value) {
        Ok(bytes) => Ok(bytes.into()),
        Err(e) => Err(CallError::Encode(why(&e))),
    }
}

/// A value for this server.
pub(crate) fn store<T: Serialize + ?Sized>(
    remote: &Arc<Remote>,
    value: &T,
) -> Result<Stored, CallError> {
    let desk = Restore::after(Desk::Storing(remote.clone(), Vec::new()));
    let (bytes, parcel) = parcel::pack(|| postcard::to_allocvec(value));
    let Desk::Storing(_, objects) = desk.clear() else {
        return Err(CallError::Encode("an encoder left its desk".into()));
    };
    let bytes = bytes.map_err(|e| CallError::Encode(why(&e)))?.into();
    if parcel.is_empty() && objects.is_empty() {
        return Ok(Stored {
            bytes,
            enclosed: None,
        });
    }
    if parcel.tokens() > 0 {
        // It would arrive once, and then be closed for all who read the value after that.
        return Err(CallError::Encode(
            "a registered end belongs to one process and cannot be kept by a manager".into(),
        ));
    }
    let descriptors = parcel.into_descriptors();
    let descriptors = descriptors.into_iter().map(|fd| Descriptor(Arc::new(fd)));
    Ok(Stored {
        bytes,
        enclosed: Some(Box::new(Enclosed {
            objects,
            descriptors: descriptors.collect(),
        })),
    })
}

/// The value that came from this server. Each object in it is counted for this process, and
/// either a handle has the count then, or it is given back.
pub(crate) fn fetch<T: DeserializeOwned>(
    remote: &Arc<Remote>,
    stored: &Stored,
) -> Result<T, CallError> {
    let decode = || postcard::from_bytes(&stored.bytes.0);
    let Some(enclosed) = &stored.enclosed else {
        return decode().map_err(|e| CallError::Decode(why(&e)));
    };
    let duplicate = |Descriptor(fd): &Descriptor<Arc<OwnedFd>>| fd.try_clone();
    let descriptors: Result<Vec<_>, _> = enclosed.descriptors.iter().map(duplicate).collect();
    let desk = Restore::after(Desk::Fetching(remote.clone(), enclosed.objects.clone()));
    let value = descriptors.map(|fds| parcel::unpack(fds, decode));
    if let Desk::Fetching(remote, rest) = desk.clear() {
        for object in rest {
            drop(Handle::counted(remote.clone(), object));
        }
    }
    value
        .map_err(|e| CallError::Decode(format!("no descriptor left: {e}")))?
        .map_err(|e| CallError::Decode(why(&e)))
}
