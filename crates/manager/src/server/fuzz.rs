//! For the fuzz target: a server without an address, and one client who says anything.

use super::{Core, Limits};
use crate::own::{Managed, Types};
use crate::remote::{Route, Where, random};
use crate::wire::{Answer, Ask, Hello, Make, Request};
use multiproc_core::identity::Identity;
use multiproc_pipe::{Pipe, Sender};
use serde::{Serialize, Serializer};
use std::sync::Arc;

/// The client's end of the pipe: what is put into the ring behind it is read as requests.
#[doc(hidden)]
#[derive(Debug)]
pub struct Client(Sender<Request>);

impl Serialize for Client {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl Client {
    /// Says who it is, as it should.
    pub fn hello(&self) {
        let hello = Hello {
            account: 1,
            process: Identity::me().to_bits(),
        };
        let _ = self.0.try_send(Request::Hello(hello));
    }

    /// Asks for an object of each kind. They get the numbers from 1 on.
    pub fn furnish(&self, own: &str) {
        for what in [
            Make::Dict,
            Make::List {
                items: Vec::new(),
                fixed: false,
            },
            Make::Set,
            Make::Queue { capacity: Some(2) },
            Make::Event,
            Make::Lock { recursive: false },
            Make::Lock { recursive: true },
            Make::Semaphore {
                value: 1,
                bounded: true,
            },
            Make::Condition { lock: Some(6) },
            Make::Barrier { parties: 2 },
            Make::Own(own.to_owned()),
        ] {
            let tag = String::new();
            let _ = self.0.try_send(Request::Ask(Ask::Make { what, tag }));
        }
    }
}

/// Serves a client until it has said what it says, and gone. How many answers it got.
#[doc(hidden)]
pub fn attend<T: Managed>(make: fn() -> T, bytes: usize, say: impl FnOnce(&Client)) -> usize {
    let limits = Limits {
        clients: 4,
        connections: 4,
        message: bytes,
    };
    let mut types = Types::default();
    types.register(make);
    let nowhere = Route {
        place: Where::Abstract(b"multiproc-nowhere".into()),
        key: None,
    };
    let nonce = random().expect("a random number");
    let core = Arc::new(Core::new(nonce, nonce, limits, types, nowhere));

    let pipe = Pipe::<Request, Answer>::options().bytes(bytes);
    let (client, server) = pipe.reserve(2 * bytes).duplex().expect("a pipe");
    let (answers, client) = client.split();
    let client = Client(client);
    say(&client);
    // It waits for the answers, and would say nothing more.
    drop(client);
    let server = Arc::new(server);
    let its_core = core.clone();
    let thread = std::thread::spawn(move || super::serve::attend(&its_core, &server));
    let count = answers.into_iter().count();
    thread.join().expect("no panic");
    core.chores();
    core.myself.forget();
    count
}
