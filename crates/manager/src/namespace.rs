//! A managed namespace: values of any type under names.

use crate::dict::DictCall;
use crate::error::{CallError, Failed};
use crate::handle::{self, Handle, Proxy};
use crate::remote::unexpected;
use crate::stored::{Blob, fetch, key, store};
use crate::wire::{Answer, Call};
use multiproc_segment::type_tag;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Attributes in the server: values of different types under names.
///
/// Names that begin with `_` stay local: they are kept with this handle and its clones, and do
/// not travel with it.
///
/// ```
/// # use multiproc_manager::Manager;
/// let manager = Manager::start()?;
/// let settings = manager.namespace()?;
/// settings.set("retries", 3_u32)?;
/// settings.set("host", "localhost".to_owned())?;
/// assert_eq!(settings.get::<u32>("retries")?, Some(3));
/// assert!(settings.get::<u64>("retries").is_err()); // says that it is a u32
/// # manager.shut_down()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// *Blocks until* the server answers, as every call through a proxy does. *Wakes when* it does.
/// *If a peer dies*: when it is the server, [`CallError::ServerGone`] within 100 ms.
#[derive(Clone)]
#[doc(alias = "NamespaceProxy")]
pub struct Namespace {
    handle: Arc<Handle>,
    local: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
}

fn is_local(name: &str) -> bool {
    name.starts_with('_')
}

/// What is kept: the type, so that another one is refused, and the value.
fn typed<T>(bytes: &[u8]) -> Result<(), CallError> {
    let tag = postcard::take_from_bytes::<String>(bytes);
    let (found, _) = tag.map_err(|e| CallError::Decode(e.to_string()))?;
    let expected = type_tag::<T>();
    match found == expected {
        true => Ok(()),
        false => Err(CallError::OtherType { found, expected }),
    }
}

impl Namespace {
    fn ask(&self, call: DictCall) -> Result<Answer, Failed> {
        self.handle.call(Call::Dict(call))
    }

    /// A copy of the value of this name; `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`CallError::OtherType`] if it is not a `T`.
    #[doc(alias = "__getattr__")]
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, CallError> {
        if is_local(name) {
            let local = self.local.lock().get(name).cloned();
            let Some(bytes) = local else { return Ok(None) };
            typed::<T>(&bytes)?;
            let value = postcard::from_bytes::<(String, T)>(&bytes);
            let value = value.map_err(|e| CallError::Decode(e.to_string()))?;
            return Ok(Some(value.1));
        }
        let Answer::Item(item) = self.ask(DictCall::Get(key(name)?))? else {
            return Err(unexpected().into());
        };
        let Some(item) = item else { return Ok(None) };
        let as_said = typed::<T>(&item.bytes.0);
        if as_said.is_err() {
            // Gives back what came with it.
            let _ = fetch::<String>(&self.handle.remote, &item);
        }
        as_said?;
        Ok(Some(fetch::<(String, T)>(&self.handle.remote, &item)?.1))
    }

    /// Gives this name a value, in place of any other.
    #[doc(alias = "__setattr__")]
    pub fn set<T: Serialize>(&self, name: &str, value: T) -> Result<(), CallError> {
        let value = (type_tag::<T>(), value);
        if is_local(name) {
            let bytes = key(&value)?.0.to_vec();
            self.local.lock().insert(name.to_owned(), bytes);
            return Ok(());
        }
        let stored = store(&self.handle.remote, &value)?;
        match self.ask(DictCall::Insert(key(name)?, stored))? {
            // What was there is let go.
            Answer::Item(old) => {
                if let Some(old) = old {
                    let _ = fetch::<String>(&self.handle.remote, &old);
                }
                Ok(())
            }
            _ => Err(unexpected().into()),
        }
    }

    /// Removes a name and its value. True if it was there.
    #[doc(alias = "__delattr__")]
    pub fn delete(&self, name: &str) -> Result<bool, CallError> {
        if is_local(name) {
            return Ok(self.local.lock().remove(name).is_some());
        }
        match self.ask(DictCall::Remove(key(name)?))? {
            Answer::Item(Some(old)) => {
                let _ = fetch::<String>(&self.handle.remote, &old);
                Ok(true)
            }
            Answer::Item(None) => Ok(false),
            _ => Err(unexpected().into()),
        }
    }

    /// The names that everybody sees, in the order in which they came.
    pub fn names(&self) -> Result<Vec<String>, CallError> {
        let name = |name: &Blob| {
            let name = postcard::from_bytes(&name.0);
            name.map_err(|e| CallError::Decode(e.to_string()))
        };
        match self.ask(DictCall::Keys)? {
            Answer::Keys(names) => names.iter().map(name).collect(),
            _ => Err(unexpected().into()),
        }
    }
}

impl Proxy for Namespace {
    fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }

    fn of(handle: Arc<Handle>) -> Self {
        Self {
            handle,
            local: Arc::default(),
        }
    }

    fn tag() -> String {
        "Namespace".into()
    }
}

/// By identity: both are handles of the same object.
impl PartialEq for Namespace {
    fn eq(&self, other: &Self) -> bool {
        handle::same(&self.handle, &other.handle)
    }
}

impl Eq for Namespace {}

impl Hash for Namespace {
    fn hash<H: Hasher>(&self, state: &mut H) {
        handle::hash(&self.handle, state);
    }
}

impl Serialize for Namespace {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        handle::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Namespace {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        handle::deserialize(deserializer)
    }
}

/// With the names that everybody sees, if the server answers.
impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.names() {
            Ok(names) => write!(f, "Namespace({})", names.join(", ")),
            Err(why) => write!(f, "Namespace({why})"),
        }
    }
}
