//! Listener and Client, over every kind of address; friends, strangers and stallers.

use common::*;
use multiproc_pipe::{
    AcceptError, Address, BindError, Client, ConnectError, Connection, HandshakeError, Listener,
    ListenerOptions, RecvError, SendError, TryRecvError,
};
use multiproc_process::{Process, join_all, test};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::PathBuf;
use std::time::Duration;

test::main! {
    a_client_talks_to_a_listener_over_each_kind_of_address,
    an_address_in_use_is_refused_over_each_kind,
    a_closed_listener_accepts_nobody_and_leaves_nothing,
    text_that_is_no_address_is_refused,
    nobody_there_is_not_found,
    the_wrong_key_is_an_error_on_both_sides_and_the_listener_lives_on,
    a_key_on_one_side_alone_is_an_error,
    other_message_types_are_refused_and_both_are_named,
    a_fresh_connection_polls_what_was_sent_at_once,
    who_stalls_in_the_handshake_keeps_nobody_waiting,
    who_stalls_for_too_long_is_told_so,
    garbage_in_the_handshake_is_an_error_and_no_more,
    a_client_killed_in_the_handshake_is_an_error_and_no_more,
    a_listener_that_dies_in_the_handshake_is_an_error,
    a_socket_file_left_by_a_killed_listener_is_replaced,
    another_user_is_refused_unless_allowed,
    large_messages_and_many_over_tcp,
    over_tcp_the_peers_death_is_the_end_of_the_stream,
    #[timeout(300)]
    over_tcp_two_processes_share_an_end_and_nothing_interleaves,
    over_tcp_a_timeout_is_no_end_and_a_handle_does_not_travel,
    a_connection_from_a_listener_travels_on,
    the_listener_knows_from_where,
    close_ends_an_accept_of_another_thread,
    messages_above_the_listeners_limit_are_refused,
    who_sends_can_ask_what_was_not_received,
    a_listener_that_moves_into_a_child_keeps_its_socket_file,
}

fn temporary(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("multiproc-test-{}-{name}", std::process::id()))
}

fn each_address(name: &str) -> [Address; 3] {
    [
        Address::Path(temporary(name)),
        Address::Abstract(format!("multiproc-test-{}-{name}", std::process::id()).into()),
        "127.0.0.1:0".parse().unwrap(),
    ]
}

fn keyed(key: &str) -> ListenerOptions {
    Listener::options().key(key)
}

type Words = Connection<String>;

fn a_client_talks_to_a_listener_over_each_kind_of_address() -> Outcome {
    for address in each_address("talk") {
        for key in [None, Some("secret")] {
            let options = key.map_or(Listener::options(), keyed);
            let listener = options.bind(&address)?;
            let address = listener.address().clone();
            let child = Process::start(|| {
                let server: Words = options.connect(&address).unwrap();
                server.send("hello".into()).unwrap();
                assert_eq!(server.recv().unwrap(), "HELLO");
                assert_eq!(server.recv(), Err(RecvError::Closed));
            })?;
            let client: Words = listener.accept()?;
            let text = client.recv()?;
            client.send(text.to_uppercase())?;
            drop(client);
            ends_well(&child);
        }
    }
    Ok(())
}

fn an_address_in_use_is_refused_over_each_kind() -> Outcome {
    for address in each_address("in-use") {
        let first = Listener::bind(&address)?;
        let again = Listener::bind(first.address());
        assert!(matches!(again, Err(BindError::InUse(_))), "{again:?}");
        first.close();
        Listener::bind(first.address())?;
    }
    Ok(())
}

fn a_closed_listener_accepts_nobody_and_leaves_nothing() -> Outcome {
    let path = temporary("closed");
    let listener = Listener::bind(path.clone())?;
    assert!(path.exists());
    // A forked child that drops its copy removes nothing.
    let child = Process::start(|| drop(Listener::bind(Address::Abstract(b"x-multiproc".into()))))?;
    ends_well(&child);
    assert!(path.exists());
    listener.close();
    listener.close();
    assert!(!path.exists());
    let refused = listener.accept::<String, String>();
    assert!(matches!(refused, Err(AcceptError::Closed)));
    Ok(())
}

fn text_that_is_no_address_is_refused() -> Outcome {
    for bad in ["", "nowhere", "@", "host:port:x"] {
        assert!(
            matches!(Listener::bind(bad), Err(BindError::Address(_))),
            "{bad:?}"
        );
        let refused = Client::connect::<String, String>(bad);
        assert!(matches!(refused, Err(ConnectError::Address(_))), "{bad:?}");
    }
    Ok(())
}

fn nobody_there_is_not_found() -> Outcome {
    for address in &each_address("nobody")[..2] {
        let refused = Client::connect::<String, String>(address);
        assert!(
            matches!(refused, Err(ConnectError::NotFound(_))),
            "{refused:?}"
        );
    }
    Ok(())
}

fn the_wrong_key_is_an_error_on_both_sides_and_the_listener_lives_on() -> Outcome {
    for address in each_address("wrong-key") {
        let listener = keyed("right").bind(&address)?;
        let address = listener.address();
        let stranger = Process::start(|| {
            let refused = keyed("wrong")
                .connect::<String, String>(address)
                .unwrap_err();
            assert!(refused.to_string().contains("authentication"), "{refused}");
        })?;
        let refused = listener.accept::<String, String>().unwrap_err();
        assert!(
            matches!(
                refused,
                AcceptError::Handshake(HandshakeError::Authentication(_))
            ),
            "{refused}"
        );
        ends_well(&stranger);
        let friend = Process::start(|| {
            drop(keyed("right").connect::<String, String>(address).unwrap());
        })?;
        listener.accept::<String, String>()?;
        ends_well(&friend);
    }
    Ok(())
}

fn a_key_on_one_side_alone_is_an_error() -> Outcome {
    for (there, here) in [(Some("key"), None), (None, Some("key"))] {
        let options = |key: Option<&str>| key.map_or(Listener::options(), keyed);
        let listener = options(there).bind_anywhere()?;
        let address = listener.address();
        let stranger = Process::start(|| {
            let refused = options(here)
                .connect::<String, String>(address)
                .unwrap_err();
            assert!(refused.to_string().contains("authentication"), "{refused}");
        })?;
        assert!(listener.accept::<String, String>().is_err());
        ends_well(&stranger);
    }
    Ok(())
}

fn other_message_types_are_refused_and_both_are_named() -> Outcome {
    let listener = Listener::options().bind_anywhere()?;
    let address = listener.address();
    let stranger = Process::start(|| {
        let refused = Client::connect::<u32, String>(address)
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains("u32") && refused.contains("Vec<u8>"),
            "{refused}"
        );
    })?;
    let refused = listener.accept::<String, Vec<u8>>().unwrap_err();
    assert!(
        matches!(
            refused,
            AcceptError::Handshake(HandshakeError::Types { .. })
        ),
        "{refused}"
    );
    ends_well(&stranger);
    Ok(())
}

fn a_fresh_connection_polls_what_was_sent_at_once() -> Outcome {
    for address in each_address("poll") {
        let listener = Listener::bind(&address)?;
        let address = listener.address();
        let child = Process::start(|| {
            let server: Words = Client::connect(address).unwrap();
            assert!(server.poll(PATIENCE).unwrap());
            assert_eq!(server.recv().unwrap(), "hello");
            assert!(server.poll(PATIENCE).unwrap(), "the end of the stream, too");
            assert_eq!(server.try_recv(), Err(TryRecvError::Closed));
        })?;
        let client: Words = listener.accept()?;
        assert!(!client.poll(Duration::ZERO)?);
        client.send("hello".into())?;
        drop(client);
        ends_well(&child);
    }
    Ok(())
}

/// A socket to that address that has said nothing.
fn raw(address: &Address) -> Box<dyn ReadWrite> {
    match address {
        Address::Path(path) => Box::new(UnixStream::connect(path).unwrap()),
        Address::Abstract(name) => {
            let name = SocketAddr::from_abstract_name(name).unwrap();
            Box::new(UnixStream::connect_addr(&name).unwrap())
        }
        Address::Tcp(address) => Box::new(TcpStream::connect(address).unwrap()),
        other => panic!("{other}"),
    }
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

fn who_stalls_in_the_handshake_keeps_nobody_waiting() -> Outcome {
    for address in each_address("stall") {
        let listener = keyed("key").bind(&address)?;
        let address = listener.address();
        // More of them than handshakes that go on at a time would not fit in; these do.
        let stallers: Vec<_> = (0..20).map(|_| raw(address)).collect();
        let mut half = raw(address);
        half.write_all(&[200, 0, 0, 0, 1, 2])?;
        let friend = Process::start(|| {
            let server: Words = keyed("key").connect(address).unwrap();
            server.send("hello".into()).unwrap();
        })?;
        let client: Words = listener.accept()?;
        assert_eq!(client.recv()?, "hello");
        ends_well(&friend);
        drop(stallers);
    }
    Ok(())
}

fn who_stalls_for_too_long_is_told_so() -> Outcome {
    let patience = Duration::from_millis(50);
    let listener = Listener::options()
        .handshake_timeout(patience)
        .bind_anywhere()?;
    let mut staller = raw(listener.address());
    let refused = listener.accept::<String, String>().unwrap_err();
    assert!(
        matches!(refused, AcceptError::Handshake(HandshakeError::Timeout)),
        "{refused}"
    );
    let mut said = Vec::new();
    staller.read_to_end(&mut said)?;
    assert!(String::from_utf8_lossy(&said).contains("in time"));
    // A listener that says nothing: the client's turn to lose patience.
    let silent = std::net::TcpListener::bind("127.0.0.1:0")?;
    let refused = Client::options()
        .handshake_timeout(patience)
        .connect::<String, String>(silent.local_addr()?)
        .unwrap_err();
    assert!(
        matches!(refused, ConnectError::Handshake(HandshakeError::Timeout)),
        "{refused}"
    );
    Ok(())
}

fn garbage_in_the_handshake_is_an_error_and_no_more() -> Outcome {
    let mut dice = Dice::new(1);
    for address in each_address("garbage") {
        let listener = keyed("key").bind(&address)?;
        for round in 0..50 {
            let mut stranger = raw(listener.address());
            let mut garbage: Vec<u8> = (0..200).map(|_| dice.roll() as u8).collect();
            match round % 4 {
                0 => garbage[..4].copy_from_slice(&[0xff; 4]),
                1 => garbage[..4].copy_from_slice(&[0; 4]),
                2 => garbage[..4].copy_from_slice(&[190, 0, 0, 0]),
                _ => {}
            }
            stranger.write_all(&garbage)?;
            drop(stranger);
            let refused = listener.accept::<String, String>().unwrap_err();
            assert!(matches!(refused, AcceptError::Handshake(_)), "{refused}");
        }
        // And a listener's garbage harms no client.
        let fake = std::net::TcpListener::bind("127.0.0.1:0")?;
        let at = fake.local_addr()?;
        let child = Process::start(|| {
            assert!(Client::connect::<String, String>(at).is_err());
        })?;
        let (mut socket, _) = fake.accept()?;
        socket.write_all(&[57, 0, 0, 0])?;
        socket.write_all(&[7; 57])?;
        ends_well(&child);
    }
    Ok(())
}

fn a_client_killed_in_the_handshake_is_an_error_and_no_more() -> Outcome {
    for address in each_address("killed") {
        let listener = Listener::bind(&address)?;
        let address = listener.address();
        let victim = Process::start(|| {
            let mut socket = raw(address);
            socket.read_exact(&mut [0; 4]).unwrap();
            kill_me();
        })?;
        let refused = listener.accept::<String, String>().unwrap_err();
        assert!(
            matches!(refused, AcceptError::Handshake(HandshakeError::Left)),
            "{refused}"
        );
        assert_eq!(victim.join()?.signal(), Some(9));
        let friend = Process::start(|| drop(Client::connect::<String, String>(address).unwrap()))?;
        listener.accept::<String, String>()?;
        ends_well(&friend);
    }
    Ok(())
}

fn a_listener_that_dies_in_the_handshake_is_an_error() -> Outcome {
    let address = Address::Abstract(format!("multiproc-dies-{}", std::process::id()).into());
    let bound = Counter::new();
    let server = Process::start(|| {
        let name = SocketAddr::from_abstract_name(match &address {
            Address::Abstract(name) => name,
            _ => unreachable!(),
        });
        let listener = std::os::unix::net::UnixListener::bind_addr(&name.unwrap()).unwrap();
        bound.set(1);
        let _client = listener.accept().unwrap();
        kill_me();
    })?;
    bound.reach(1);
    let refused = Client::connect::<String, String>(&address).unwrap_err();
    assert!(matches!(refused, ConnectError::Handshake(_)), "{refused}");
    assert_eq!(server.join()?.signal(), Some(9));
    Ok(())
}

fn a_socket_file_left_by_a_killed_listener_is_replaced() -> Outcome {
    let path = temporary("stale");
    let victim = Process::start(|| {
        std::mem::forget(Listener::bind(path.clone()).unwrap());
        kill_me();
    })?;
    assert_eq!(victim.join()?.signal(), Some(9));
    assert!(path.exists());
    // Several at once: one of them gets it.
    let won = Counter::new();
    let done = Counter::new();
    let racers = Process::start_each(0..4, |_| {
        let listener = Listener::bind(path.clone());
        match &listener {
            Ok(_) => drop(won.count()),
            Err(refused) => assert!(matches!(refused, BindError::InUse(_)), "{refused}"),
        }
        done.count();
        done.reach(4); // holds what it has until all have tried
    })?;
    racers.iter().for_each(ends_well);
    assert_eq!(won.get(), 1);
    assert!(!path.exists());
    Ok(())
}

fn another_user_is_refused_unless_allowed() -> Outcome {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: needs root to become somebody else");
        return Ok(());
    }
    let become_somebody = || nix::unistd::setuid(nix::unistd::Uid::from_raw(54_321)).unwrap();
    for (allowed, options) in [
        (false, Listener::options()),
        (true, Listener::options().any_user()),
    ] {
        let listener = options.bind_anywhere()?;
        let address = listener.address();
        let somebody = Process::start(|| {
            become_somebody();
            let connected = Client::options()
                .any_user()
                .connect::<String, String>(address);
            assert_eq!(connected.is_ok(), allowed, "{connected:?}");
        })?;
        let accepted = listener.accept::<String, String>();
        assert_eq!(accepted.is_ok(), allowed, "{accepted:?}");
        ends_well(&somebody);
    }
    Ok(())
}

fn large_messages_and_many_over_tcp() -> Outcome {
    let listener = Listener::bind("127.0.0.1:0")?;
    let address = listener.address();
    let echo = Process::start(|| {
        let server: Connection<Vec<u8>> = Client::connect(address).unwrap();
        for message in &server {
            server.send(message.unwrap()).unwrap();
        }
    })?;
    let client: Connection<Vec<u8>> = listener.accept()?;
    for len in [0, 1, 1_000, 100_000, 16 << 20] {
        let message = pattern(len as u64, len);
        client.send(message.clone())?;
        assert!(client.recv()? == message, "{len}");
    }
    for n in 0..20_000_u64 {
        client.send(n.to_le_bytes().to_vec())?;
        assert_eq!(client.recv()?, n.to_le_bytes());
    }
    drop(client);
    ends_well(&echo);
    Ok(())
}

fn over_tcp_the_peers_death_is_the_end_of_the_stream() -> Outcome {
    let listener = Listener::bind("127.0.0.1:0")?;
    let address = listener.address();
    let victim = Process::start(|| {
        let server: Words = Client::connect(address).unwrap();
        server.send("last words".into()).unwrap();
        kill_me();
    })?;
    let client: Words = listener.accept()?;
    assert_eq!(client.recv()?, "last words");
    assert_eq!(client.recv(), Err(RecvError::Closed));
    while client.send("x".into()).is_ok() {}
    assert_eq!(victim.join()?.signal(), Some(9));
    Ok(())
}

fn over_tcp_two_processes_share_an_end_and_nothing_interleaves() -> Outcome {
    let listener = Listener::bind("127.0.0.1:0")?;
    let address = listener.address();
    let sender = Process::start(|| {
        let server: Connection<Vec<u8>> = Client::connect(address).unwrap();
        let children = Process::start_each(0..2, |n: u8| {
            (0..200).for_each(|_| server.send(vec![n; 200_000]).unwrap());
        });
        // However long they take: 80 MB, encoded and decoded byte by byte.
        join_all(children.unwrap()).unwrap();
    })?;
    let client: Connection<Vec<u8>> = listener.accept()?;
    for _ in 0..400 {
        let message = client.recv()?;
        assert_eq!(message.len(), 200_000);
        assert!(message.iter().all(|byte| *byte == message[0]));
    }
    ends_well(&sender);
    Ok(())
}

fn over_tcp_a_timeout_is_no_end_and_a_handle_does_not_travel() -> Outcome {
    let listener = Listener::bind("127.0.0.1:0")?;
    let address = listener.address();
    let (done, go) = (Counter::new(), Counter::new());
    let sender = Process::start(|| {
        let server: Words = Client::connect(address).unwrap();
        go.reach(1);
        server.send("late".into()).unwrap();
        done.reach(1);
    })?;
    let client: Words = listener.accept()?;
    assert_eq!(client.try_recv(), Err(TryRecvError::Empty));
    assert!(client.recv_timeout(Duration::from_millis(20)).is_err());
    go.set(1);
    assert_eq!(client.recv()?, "late");
    done.set(1);
    ends_well(&sender);

    type Handles = Connection<multiproc_pipe::Sender<u8>>;
    let sender = Process::start(|| {
        let server: Handles = Client::connect(address).unwrap();
        let (_rx, tx) = multiproc_pipe::Pipe::<u8>::simplex().unwrap();
        let refused = server.send(tx).unwrap_err();
        assert!(refused.to_string().contains("cannot travel"), "{refused}");
    })?;
    let _client: Handles = listener.accept()?;
    ends_well(&sender);
    Ok(())
}

fn a_connection_from_a_listener_travels_on() -> Outcome {
    let listener = Listener::options().bind_anywhere()?;
    let address = listener.address();
    let (rx, tx) = multiproc_pipe::Pipe::<Words>::simplex()?;
    let worker = Process::start(move || {
        for client in &rx {
            let client = client.unwrap();
            let text: String = client.recv().unwrap();
            client.send(text.to_uppercase()).unwrap();
        }
    })?;
    let clients = Process::start_each(0..3, |_| {
        let server: Words = Client::connect(address).unwrap();
        server.send("hello".into()).unwrap();
        assert_eq!(server.recv().unwrap(), "HELLO");
    })?;
    for _ in 0..3 {
        tx.send(listener.accept()?)?;
    }
    clients.iter().for_each(ends_well);
    drop(tx);
    ends_well(&worker);
    Ok(())
}

fn the_listener_knows_from_where() -> Outcome {
    let listener = Listener::bind("127.0.0.1:0")?;
    assert_eq!(listener.last_accepted(), None);
    let address = listener.address();
    let child = Process::start(|| drop(Client::connect::<u8, u8>(address).unwrap()))?;
    let _client: Connection<u8> = listener.accept()?;
    assert!(listener.last_accepted().unwrap().ip().is_loopback());
    ends_well(&child);
    Ok(())
}

fn close_ends_an_accept_of_another_thread() -> Outcome {
    let listener = Listener::options().bind_anywhere()?;
    std::thread::scope(|scope| {
        let accept = scope.spawn(|| listener.accept::<u8, u8>());
        listener.close();
        let refused = accept.join().unwrap();
        assert!(matches!(refused, Err(AcceptError::Closed)), "{refused:?}");
    });
    Ok(())
}

fn messages_above_the_listeners_limit_are_refused() -> Outcome {
    const MOST: usize = 1 << 20;
    for address in each_address("limit") {
        let listener = Listener::options().max_message(MOST).bind(&address)?;
        let address = listener.address();
        let child = Process::start(|| {
            let server = Client::connect::<Vec<u8>, Vec<u8>>(address).unwrap();
            server.send(vec![1; MOST - 100]).unwrap();
            assert_eq!(server.recv().unwrap().len(), MOST - 100);
            // Over a Unix address the sender is told; over TCP the receiver hangs up.
            let refused = server.send(vec![1; 3 * MOST]);
            match address {
                Address::Tcp(_) => assert!(server.recv().is_err()),
                _ => assert!(matches!(refused, Err(SendError::TooLarge { .. }))),
            }
        })?;
        let client: Connection<Vec<u8>> = listener.accept()?;
        client.send(client.recv()?)?;
        let refused = client.send(vec![1; 3 * MOST]);
        assert!(matches!(refused, Err(SendError::TooLarge { .. })));
        assert!(client.recv().is_err());
        drop(client);
        ends_well(&child);
    }
    Ok(())
}

fn who_sends_can_ask_what_was_not_received() -> Outcome {
    let (left, right) = multiproc_pipe::Pipe::<u32>::duplex()?;
    assert_eq!(left.sender().unreceived(), Some(0));
    left.send(1)?;
    left.send(2)?;
    assert_eq!(left.sender().unreceived(), Some(2));
    let child = Process::start(move || assert_eq!(right.recv(), Ok(1)))?;
    ends_well(&child);
    assert_eq!(left.sender().unreceived(), Some(1));
    Ok(())
}

fn a_listener_that_moves_into_a_child_keeps_its_socket_file() -> Outcome {
    let path = temporary("moves");
    let listener = Listener::bind(path.clone())?;
    let child = Process::start(move || {
        let client: Connection<u8> = listener.accept().unwrap();
        assert_eq!(client.recv(), Ok(7));
    })?;
    Client::connect::<u8, u8>(path.clone())?.send(7)?;
    ends_well(&child);
    // Whoever binds next replaces what the child has left.
    drop(Listener::bind(path.clone())?);
    assert!(!path.exists());
    Ok(())
}
