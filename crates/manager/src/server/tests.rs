//! Clients that say what no proxy says.

use crate::dict::DictCall;
use crate::list::ListCall;
use crate::lock::LockCall;
use crate::manager::{Manager, Server};
use crate::stored::{Blob, Stored};
use crate::wire::{Answer, Ask, Call, Hello, Make, Request};
use multiproc_pipe::{Address, Client, Connection};
use serde::{Deserialize, Serialize, Serializer};
use std::sync::Arc;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

/// Runs `test` beside a server of either kind, which still serves afterwards.
fn served(name: &str, test: impl Fn(&Address)) {
    let name = format!("@multiproc-hostile-{name}-{}", std::process::id());
    for address in [&*name, "127.0.0.1:0"] {
        let server = Arc::new(Server::builder().key("k").bind(address).unwrap());
        let serving = server.clone();
        let thread = std::thread::spawn(move || serving.serve_forever().unwrap());
        let friend = Manager::connect(server.address(), "k").unwrap();
        let list = friend.list::<u32>().unwrap();
        test(server.address());
        list.push(1).unwrap();
        assert_eq!(list.len(), Ok(1));
        server.shut_down();
        thread.join().unwrap();
    }
}

fn wire<S, R>(address: &Address) -> Connection<S, R>
where
    S: Serialize + for<'de> Deserialize<'de> + 'static,
    R: Serialize + for<'de> Deserialize<'de> + 'static,
{
    Client::options().key("k").connect(address).unwrap()
}

fn said_hello(address: &Address) -> Connection<Request, Answer> {
    let wire = wire::<Request, Answer>(address);
    let hello = Hello {
        account: 5,
        process: u64::MAX,
    };
    wire.send(Request::Hello(hello)).unwrap();
    assert!(matches!(wire.recv(), Ok(Answer::Welcome(_))));
    wire
}

fn is_hung_up(wire: &Connection<Request, Answer>) -> bool {
    loop {
        match wire.recv_timeout(PATIENCE) {
            Ok(_) => {}
            Err(why) => return why == multiproc_pipe::RecvTimeoutError::Closed,
        }
    }
}

#[test]
fn who_does_not_say_hello_first_is_hung_up_on() {
    served("hello", |address| {
        for request in [
            Request::Release(1),
            Request::Received,
            Request::Ask(Ask::Numbers),
        ] {
            let wire = wire::<Request, Answer>(address);
            wire.send(request).unwrap();
            assert!(is_hung_up(&wire));
        }
        // Nor does one say it twice.
        let wire = said_hello(address);
        let (account, process) = (6, 0);
        wire.send(Request::Hello(Hello { account, process }))
            .unwrap();
        assert!(is_hung_up(&wire));
    });
}

#[test]
fn numbers_of_nothing_are_refused() {
    served("numbers", |address| {
        let wire = said_hello(address);
        for object in [0, 999, u64::MAX] {
            // What has no answer does nothing.
            wire.send(Request::Release(object)).unwrap();
            wire.send(Request::TakeBack(object)).unwrap();
            let heir = u64::MAX;
            wire.send(Request::HandOver { object, heir }).unwrap();
            for request in [
                Request::Call {
                    object,
                    call: Call::Dict(DictCall::Len),
                },
                Request::Ask(Ask::Claim {
                    object,
                    ticket: Some(object),
                }),
                Request::Ask(Ask::Travel(object)),
                Request::Ask(Ask::Publish {
                    name: "n".into(),
                    object,
                }),
                Request::Ask(Ask::Shutdown(object.into())),
                Request::Ask(Ask::Make {
                    what: Make::Condition { lock: Some(object) },
                    tag: String::new(),
                }),
            ] {
                let said = format!("{request:?}");
                wire.send(request).unwrap();
                let answer = wire.recv().unwrap();
                assert!(matches!(answer, Answer::Failed(_)), "{said}: {answer:?}");
            }
        }
    });
}

#[test]
fn calls_of_another_kind_are_refused() {
    served("kinds", |address| {
        let wire = said_hello(address);
        let ask = |request| {
            wire.send(request).unwrap();
            wire.recv().unwrap()
        };
        let tag = String::new();
        let what = Make::List {
            items: vec![Stored::plain(vec![1])],
            fixed: true,
        };
        let Answer::Number(object) = ask(Request::Ask(Ask::Make { what, tag })) else {
            panic!("no list was made");
        };
        let blob = || Blob::from(vec![0xff; 20]);
        for call in [
            Call::Dict(DictCall::Len),
            Call::Lock(LockCall::Release(1)),
            Call::Next(u32::MAX),
            Call::Method {
                method: "m".into(),
                arguments: Stored::plain(blob()),
            },
            Call::List(ListCall::Push(Stored::plain(blob()))),
            Call::List(ListCall::Splice(u64::MAX, u64::MAX, Vec::new())),
            Call::List(ListCall::Slice(u64::MAX, 0)),
            Call::List(ListCall::Truncate(0)),
            Call::List(ListCall::Set(u64::MAX, Stored::plain(blob()))),
            Call::List(ListCall::Fetch {
                index: 0,
                kind: <u64 as crate::Number>::KIND,
                op: crate::Op::Add,
                by: blob(),
            }),
        ] {
            let said = format!("{call:?}");
            let answer = ask(Request::Call { object, call });
            assert!(matches!(answer, Answer::Failed(_)), "{said}: {answer:?}");
        }
    });
}

/// Something that calls itself a request, and is as large in memory; but what it writes is garbage.
mod garbage {
    use super::*;

    #[derive(Deserialize)]
    pub(super) struct Request {
        pub(super) bytes: Vec<u8>,
        pub(super) _pad: [u64; PAD],
    }

    pub(super) const PAD: usize =
        (size_of::<super::Request>() - size_of::<Vec<u8>>()) / size_of::<u64>();

    impl Serialize for Request {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            use serde::ser::SerializeTuple;
            let mut tuple = serializer.serialize_tuple(self.bytes.len())?;
            for byte in &self.bytes {
                tuple.serialize_element(byte)?;
            }
            tuple.end()
        }
    }
}

#[test]
fn garbage_after_the_handshake_ends_its_connection() {
    served("garbage", |address| {
        let mut dice = 7_u64;
        for round in 0..50 {
            let wire = wire::<garbage::Request, Answer>(address);
            for _ in 0..10 {
                let bytes = (0..round).map(|_| {
                    dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (dice >> 33) as u8
                });
                let request = garbage::Request {
                    bytes: bytes.collect(),
                    _pad: [0; garbage::PAD],
                };
                if wire.send(request).is_err() {
                    break; // hung up
                }
            }
        }
        // A length that is not kept: of a list of so many values.
        let wire = wire::<garbage::Request, Answer>(address);
        let mut bytes = postcard::to_allocvec(&Request::Hello(Hello {
            account: 9,
            process: 9,
        }));
        for claimed in [u64::MAX, 1 << 40] {
            let request = garbage::Request {
                bytes: bytes.unwrap(),
                _pad: [0; garbage::PAD],
            };
            let _ = wire.send(request);
            let call = Call::List(ListCall::Extend(Vec::new()));
            let mut next = postcard::to_allocvec(&Request::Call { object: 1, call }).unwrap();
            next.pop();
            next.extend(postcard::to_allocvec(&claimed).unwrap());
            bytes = Ok(next);
        }
        drop(wire);
    });
}
