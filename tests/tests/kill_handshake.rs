//! Killed at every step of a handshake: a client (a listener) dies by SIGKILL at the first named
//! step, then one at the second, and so on until one comes through. The other side gets an error
//! or a connection that says that its peer is gone, and never hangs; a listener goes on.

use common::{PATIENCE, open_descriptors};
use multiproc_core::step;
use multiproc_pipe::{Address, Connection, Listener, ListenerOptions};
use multiproc_process::{Process, test};
use multiproc_segment::Shared;
use multiproc_tests::{at_each_step, came_through};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Instant;

test::main! {
    #[timeout(120)]
    a_client_killed_at_each_step,
    #[timeout(120)]
    a_listener_killed_at_each_step,
}

type Words = Connection<String>;

fn options() -> ListenerOptions {
    Listener::options().key("secret")
}

fn addresses() -> [Address; 2] {
    let name = format!("multiproc-kill-handshake-{}", std::process::id());
    [
        Address::Abstract(name.into()),
        "127.0.0.1:0".parse().unwrap(),
    ]
}

fn a_client_killed_at_each_step() {
    for address in addresses() {
        let listener = options().bind(&address).unwrap();
        let address = listener.address();
        at_each_step(5, |n| {
            let before = open_descriptors();
            let victim = Process::start(|| {
                step::arm(n);
                let server: Words = options().connect(address).unwrap();
                step::disarm();
                assert_eq!(server.recv().unwrap(), "hello");
            });
            let victim = victim.unwrap();
            // Whether it came through or not, this comes back.
            let accepted = listener.accept_timeout::<String, String>(PATIENCE);
            let through = match accepted {
                Ok(client) => {
                    // A client that died with the connection in hand: its end tells.
                    let _ = client.send("hello".into());
                    assert!(client.recv_timeout(PATIENCE).is_err());
                    came_through(&victim)
                }
                Err(why) => {
                    assert!(!came_through(&victim), "{why}");
                    false
                }
            };
            drop(victim);
            assert_eq!(open_descriptors(), before, "descriptors after step {n}");
            // The listener goes on.
            let friend = Process::start(|| {
                drop(options().connect::<String, String>(address).unwrap());
            });
            let friend = friend.unwrap();
            drop(listener.accept_timeout::<String, String>(PATIENCE).unwrap());
            assert!(came_through(&friend));
            through
        });
    }
}

fn a_listener_killed_at_each_step() {
    for address in addresses() {
        at_each_step(5, |n| {
            let port = Shared::new(AtomicU32::new(0)).unwrap();
            let before = open_descriptors();
            let victim = Process::start(|| {
                let listener = options().bind(&address).unwrap();
                match listener.address() {
                    Address::Tcp(tcp) => port.store(tcp.port().into(), SeqCst),
                    _ => port.store(1, SeqCst),
                }
                step::arm(n);
                let client: Words = listener.accept().unwrap();
                step::disarm();
                client.send("hello".into()).unwrap();
            });
            let victim = victim.unwrap();
            let begun = Instant::now();
            while port.load(SeqCst) == 0 {
                assert!(begun.elapsed() < PATIENCE);
                std::thread::yield_now();
            }
            let to = match &address {
                Address::Tcp(tcp) => Address::Tcp((tcp.ip(), port.load(SeqCst) as u16).into()),
                other => other.clone(),
            };
            match options().connect::<String, String>(&to) {
                Ok(server) => {
                    // Either it came through, or its end of the connection went with it.
                    let heard = server.recv_timeout(PATIENCE);
                    assert_eq!(heard.is_ok(), came_through(&victim), "{heard:?}");
                    drop(victim);
                    drop(server);
                    assert_eq!(open_descriptors(), before, "descriptors after step {n}");
                    heard.is_ok()
                }
                Err(why) => {
                    assert!(!came_through(&victim), "{why}");
                    drop(victim);
                    assert_eq!(open_descriptors(), before, "descriptors after step {n}");
                    false
                }
            }
        });
    }
}
