//! A reference to a managed object, and how it travels.
//!
//! # The states of a reference
//!
//! The server counts references by who has them:
//!
//! ```text
//!   a process's account ──serialised──▶ a ticket of that account ──decoded──▶ another's account
//!         │     │  ▲                        (lingers a minute when the sender ends)
//!         │     │  └── get ──┐
//!         │     └─── put ──▶ a managed container
//!         └─ moved into a forked child ──▶ the heir, until it claims it ──▶ the child's account
//! ```
//!
//! and an object that nobody outside refers to is gone, also where objects refer to each other in
//! circles.
//!
//! In a forked child a handle is not counted yet; its first use claims it, which succeeds as long
//! as anybody keeps the object.

use crate::error::{CallError, Failed};
use crate::remote::{Remote, Route, unexpected};
use crate::stored::{self, Goes};
use crate::wire::{Answer, Ask, Call, Request};
use multiproc_core::identity::Identity;
use multiproc_core::{fork, handover, step};
use multiproc_parcel as parcel;
use multiproc_segment::type_tag;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// One counted reference to an object of a server.
#[doc(hidden)]
pub struct Handle {
    pub(crate) remote: Arc<Remote>,
    pub(crate) object: u64,
    /// The generation (that is, the process) for which it is counted; 0: for none. Relaxed: a
    /// number without memory behind it.
    counted: AtomicU64,
}

impl Handle {
    /// A reference that the server has counted for this process.
    pub(crate) fn counted(remote: Arc<Remote>, object: u64) -> Self {
        Self {
            remote,
            object,
            counted: AtomicU64::new(fork::generation()),
        }
    }

    /// A reference that came in a message. Where it cannot be claimed now, its first use says so.
    fn arrived(remote: Arc<Remote>, object: u64, ticket: u64) -> Self {
        let handle = Self {
            remote,
            object,
            counted: AtomicU64::new(0),
        };
        let _ = handle.claim(Some(ticket));
        handle
    }

    fn is_counted(&self) -> bool {
        self.counted.load(Relaxed) == fork::generation()
    }

    fn claim(&self, ticket: Option<u64>) -> Result<(), Failed> {
        let before = self.counted.load(Relaxed);
        let object = self.object;
        self.remote.ask(Ask::Claim { object, ticket })?;
        let now = fork::generation();
        let counted = &self.counted;
        if counted
            .compare_exchange(before, now, Relaxed, Relaxed)
            .is_err()
        {
            // Another thread was faster.
            self.remote.tell(Request::Release(object));
        }
        Ok(())
    }

    #[inline]
    pub(crate) fn call(&self, call: Call) -> Result<Answer, Failed> {
        if !self.is_counted() {
            self.claim(None)?;
        }
        let object = self.object;
        self.remote.call(Request::Call { object, call })
    }

    fn travel(&self) -> Result<Place, String> {
        match stored::encloses(&self.remote, self.object) {
            Goes::Home => return Ok(Place::Home(self.object)),
            Goes::Abroad => {
                return Err("an object of another manager cannot be kept by this one".into());
            }
            Goes::Travelling => {}
        }
        let sentence = |e: Failed| CallError::from(e).to_string();
        if !self.is_counted() {
            self.claim(None).map_err(sentence)?;
        }
        let answer = self.remote.ask(Ask::Travel(self.object));
        let Answer::Number(ticket) = answer.map_err(sentence)? else {
            return Err(sentence(unexpected()));
        };
        step!("proxy: ticket drawn");
        let remote = self.remote.clone();
        let undo = move || remote.tell(Request::TakeBack(ticket));
        parcel::on_return(undo).map_err(|e| {
            self.remote.tell(Request::TakeBack(ticket));
            e.to_string()
        })?;
        Ok(Place::There {
            nonce: self.remote.nonce(),
            route: self.remote.route().clone(),
            object: self.object,
            ticket,
        })
    }

    fn arrive(place: Place) -> Result<Self, &'static str> {
        match place {
            Place::Home(object) => match stored::brings(object) {
                Some(remote) => Ok(Self::counted(remote, object)),
                None => Err("a handle of a managed object came without its object"),
            },
            Place::There {
                nonce,
                route,
                object,
                ticket,
            } => Ok(Self::arrived(Remote::known(nonce, route), object, ticket)),
        }
    }

    pub(crate) fn number(&self) -> (u128, u64) {
        (self.remote.nonce(), self.object)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Some(heir) = handover::child() {
            // Moved into a child that is being forked: the reference becomes the child's.
            if (self.is_counted() || self.claim(None).is_ok())
                && let Some(heir) = Identity::of(heir)
            {
                let (object, heir) = (self.object, heir.to_bits());
                self.remote.tell(Request::HandOver { object, heir });
            }
        } else if self.is_counted() {
            self.remote.tell(Request::Release(self.object));
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "object {} of {:?}", self.object, self.remote)
    }
}

/// What a message says in place of a handle.
#[derive(Serialize, Deserialize)]
enum Place {
    /// In a value that its own server keeps: its number. The value has the reference.
    Home(u64),
    There {
        nonce: u128,
        route: Route,
        object: u64,
        ticket: u64,
    },
}

/// A handle of a managed object: what can be published by name, stored in containers, and sent.
#[doc(alias = "BaseProxy")]
pub trait Proxy: Sized {
    #[doc(hidden)]
    fn handle(&self) -> &Arc<Handle>;
    #[doc(hidden)]
    fn of(handle: Arc<Handle>) -> Self;
    /// What it is called, with its item types: opening it with others is refused.
    #[doc(hidden)]
    fn tag() -> String;
}

/// How an item type is called in tags.
#[doc(hidden)]
pub fn item_tag<T>() -> String {
    format!("{} ({} bytes)", type_tag::<T>(), size_of::<T>())
}

#[doc(hidden)]
pub fn tag_of(kind: &str, items: &[String]) -> String {
    match items {
        [] => kind.to_owned(),
        _ => format!("{kind}<{}>", items.join(", ")),
    }
}

#[doc(hidden)]
pub fn serialize<P: Proxy, S: Serializer>(proxy: &P, serializer: S) -> Result<S::Ok, S::Error> {
    let place = proxy.handle().travel();
    let place = place.map_err(|why| parcel::refuse(why, |why| ser::Error::custom(why)))?;
    (P::tag(), place).serialize(serializer)
}

#[doc(hidden)]
pub fn deserialize<'de, P: Proxy, D: Deserializer<'de>>(deserializer: D) -> Result<P, D::Error> {
    let (tag, place) = <(String, Place)>::deserialize(deserializer)?;
    let mine = P::tag();
    // First: the reference comes into the account, whatever it is then found to be.
    let handle = Handle::arrive(place);
    let handle = handle.map_err(|why| parcel::refuse(why, |why| de::Error::custom(why)))?;
    if tag != mine {
        let why = format!("{tag} came where {mine} was expected");
        return Err(parcel::refuse(why, |why| de::Error::custom(why)));
    }
    Ok(P::of(Arc::new(handle)))
}

/// A proxy type: a clonable handle that is a message, and equal to another of the same object.
#[doc(hidden)]
#[macro_export]
macro_rules! proxy {
    ($(#[$meta:meta])* $vis:vis $name:ident<$($param:ident),*>, $kind:expr) => {
        $(#[$meta])*
        $vis struct $name<$($param),*> {
            handle: ::std::sync::Arc<$crate::private::Handle>,
            types: ::std::marker::PhantomData<fn($($param),*) -> ($($param,)*)>,
        }

        impl<$($param),*> $crate::Proxy for $name<$($param),*> {
            fn handle(&self) -> &::std::sync::Arc<$crate::private::Handle> {
                &self.handle
            }

            fn of(handle: ::std::sync::Arc<$crate::private::Handle>) -> Self {
                Self { handle, types: ::std::marker::PhantomData }
            }

            fn tag() -> ::std::string::String {
                $crate::private::tag_of($kind, &[$($crate::private::item_tag::<$param>()),*])
            }
        }

        impl<$($param),*> ::std::clone::Clone for $name<$($param),*> {
            fn clone(&self) -> Self {
                $crate::Proxy::of(self.handle.clone())
            }
        }

        /// By identity: both are handles of the same object.
        impl<$($param),*> ::std::cmp::PartialEq for $name<$($param),*> {
            fn eq(&self, other: &Self) -> bool {
                $crate::private::same(&self.handle, &other.handle)
            }
        }

        impl<$($param),*> ::std::cmp::Eq for $name<$($param),*> {}

        impl<$($param),*> ::std::hash::Hash for $name<$($param),*> {
            fn hash<H: ::std::hash::Hasher>(&self, state: &mut H) {
                $crate::private::hash(&self.handle, state);
            }
        }

        impl<$($param),*> ::std::fmt::Debug for $name<$($param),*> {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                write!(f, concat!(stringify!($name), "({:?})"), self.handle)
            }
        }

        impl<$($param),*> $crate::private::Serialize for $name<$($param),*> {
            fn serialize<S: $crate::private::Serializer>(
                &self,
                serializer: S,
            ) -> ::std::result::Result<S::Ok, S::Error> {
                $crate::private::serialize(self, serializer)
            }
        }

        impl<'de, $($param),*> $crate::private::Deserialize<'de> for $name<$($param),*> {
            fn deserialize<D: $crate::private::Deserializer<'de>>(
                deserializer: D,
            ) -> ::std::result::Result<Self, D::Error> {
                $crate::private::deserialize(deserializer)
            }
        }
    };
}

#[doc(hidden)]
pub fn same(one: &Handle, other: &Handle) -> bool {
    one.number() == other.number()
}

#[doc(hidden)]
pub fn hash<H: std::hash::Hasher>(handle: &Handle, state: &mut H) {
    std::hash::Hash::hash(&handle.number(), state);
}
