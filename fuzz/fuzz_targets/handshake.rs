//! Any bytes as what a stranger says in the handshake, to a listener and to a client.
#![no_main]

use libfuzzer_sys::fuzz_target;
use multiproc_pipe::{Client, Connection, Listener};
use std::io::Write;
use std::net::Shutdown;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::mpsc;
use std::time::Duration;

/// A right hello without a key: what follows is read as an answer.
fn hello() -> Vec<u8> {
    let mut said = 42_u32.to_le_bytes().to_vec();
    said.extend_from_slice(b"mproc\0\x01\n\x01\x00");
    said.extend_from_slice(&[7; 32]);
    said
}

/// The bytes, as they are or as the content of things said.
fn said(bytes: &[u8]) -> Vec<u8> {
    let Some((kind, rest)) = bytes.split_first() else {
        return Vec::new();
    };
    let mut said = if kind & 1 == 0 { Vec::new() } else { hello() };
    match kind & 2 {
        0 => said.extend_from_slice(rest),
        _ => {
            for part in rest.chunks(1 + (kind >> 2) as usize * 4) {
                said.extend_from_slice(&(part.len() as u32).to_le_bytes());
                said.extend_from_slice(part);
            }
        }
    }
    said
}

fn name(side: &str) -> SocketAddr {
    let name = format!("multiproc-fuzz-{}-{side}", std::process::id());
    SocketAddr::from_abstract_name(name).expect("a name")
}

fuzz_target!(|bytes: &[u8]| {
    thread_local! {
        static LISTENER: Listener = Listener::options()
            .handshake_timeout(Duration::from_millis(500))
            .bind(format!("@multiproc-fuzz-{}-listener", std::process::id()).as_str())
            .expect("a listener");
        static FAKE: mpsc::Sender<Vec<u8>> = fake();
    }
    let said = said(bytes);
    LISTENER.with(|listener| {
        let mut stranger = UnixStream::connect_addr(&name("listener")).expect("a socket");
        let _ = stranger.write_all(&said);
        let _ = stranger.shutdown(Shutdown::Write);
        let refused = listener.accept::<u32, String>();
        assert!(refused.is_err(), "a stranger who says no more");
    });
    FAKE.with(|fake| {
        fake.send(said).expect("the fake listener");
        let client: Result<Connection<u32, String>, _> = Client::options()
            .handshake_timeout(Duration::from_millis(500))
            .connect(format!("@multiproc-fuzz-{}-fake", std::process::id()).as_str());
        assert!(client.is_err(), "no descriptors came");
    });
});

/// A listener that says what it is told to.
fn fake() -> mpsc::Sender<Vec<u8>> {
    let (tx, rx) = mpsc::channel::<Vec<u8>>();
    let listener = UnixListener::bind_addr(&name("fake")).expect("a listener");
    std::thread::spawn(move || {
        for said in rx {
            let Ok((mut client, _)) = listener.accept() else {
                break;
            };
            let _ = client.write_all(&said);
            let _ = client.shutdown(Shutdown::Write);
        }
    });
    tx
}
