//! What a new process is told: who it is, and what to run.
//!
//! The function is told by its distance from the program's base, and so is the piece of code that
//! knows the types of its argument and result; the build's identity goes before both. The
//! arguments follow as they were encoded.

use crate::context::StartMethod;
use crate::current::{AuthKey, Me, Parent};
use crate::sys::image::Image;
use serde::{Deserialize, Serialize};
use std::os::fd::OwnedFd;
use std::sync::Arc;

#[derive(Serialize, Deserialize)]
pub(crate) struct Letter<'a> {
    pub(crate) image: &'a [u8],
    /// The code that decodes the arguments and calls the function.
    pub(crate) run: u64,
    pub(crate) function: u64,
    name: &'a str,
    number: &'a str,
    daemon: bool,
    parent: u32,
    parent_name: &'a str,
    authkey: &'a [u8],
    pub(crate) method: StartMethod,
    /// A daemon's bond: the kernel's signal will do.
    pub(crate) from_main_thread: bool,
}

/// What [`Letter`] needs of its writer.
pub(crate) struct Errand<'a> {
    pub(crate) run: u64,
    pub(crate) function: u64,
    pub(crate) me: &'a Me,
    pub(crate) parent_name: &'a str,
    pub(crate) authkey: &'a AuthKey,
    pub(crate) method: StartMethod,
}

/// The letter's bytes, without the arguments, to a child of this process.
pub(crate) fn write(errand: &Errand<'_>) -> Result<Vec<u8>, postcard::Error> {
    let me = errand.me;
    postcard::to_allocvec(&Letter {
        image: Image::ours().identity(),
        run: errand.run,
        function: errand.function,
        name: &me.name,
        number: &me.number,
        daemon: me.daemon,
        parent: std::process::id(),
        parent_name: errand.parent_name,
        authkey: errand.authkey.as_bytes(),
        method: errand.method,
        from_main_thread: crate::sys::is_main_thread(),
    })
}

impl Letter<'_> {
    /// The letter, and the arguments that follow it.
    pub(crate) fn read(bytes: &[u8]) -> Result<(Letter<'_>, &[u8]), postcard::Error> {
        postcard::take_from_bytes(bytes)
    }

    pub(crate) fn me(&self, parent: Arc<OwnedFd>) -> Me {
        Me {
            name: self.name.to_owned(),
            number: self.number.to_owned(),
            daemon: self.daemon,
            parent: Some(Parent {
                pid: self.parent,
                name: self.parent_name.to_owned(),
                pidfd: parent,
            }),
        }
    }

    pub(crate) fn authkey(&self) -> AuthKey {
        AuthKey::new(self.authkey)
    }
}
