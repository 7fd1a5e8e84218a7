//! Pipes and their ends, waits for many, listeners, descriptors.

use crate::world::*;
use multiproc_event::Event;
use multiproc_parcel::Descriptor;
use multiproc_pipe::codec::Bytes;
use multiproc_pipe::{
    BufferTooShort, Client, Connection, Listener, Pipe, Receiver, RecvBytesError,
    RecvBytesIntoError, RecvError, SendError, Sender, Source, TryRecvError, wait,
};
use multiproc_process::{Context, StartMethod};
use multiproc_queue::{Queue, SimpleQueue};
use multiproc_segment::Shared;
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, PipeWriter, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

type Wire = Connection<Vec<u8>, Vec<u8>, Bytes>;

fn wire() -> (Wire, Wire) {
    Pipe::options().codec::<Bytes>().duplex().unwrap()
}

pub(crate) fn a_pipe_echoes() {
    fn echo(right: Connection<u32>) {
        for n in &right {
            right.send(n.unwrap() + 1).unwrap();
        }
    }
    fn halves((rx, tx): (Receiver<SimpleQueue<u8>>, Sender<u8>)) {
        tx.send(rx.recv().unwrap().get().unwrap()).unwrap();
    }
    in_each_world(|world| {
        let (left, right) = Pipe::<u32>::duplex().unwrap();
        let child = start(world, echo, right);
        let mut n = 0;
        while n < 1_000 {
            left.send(n).unwrap();
            n = left.recv().unwrap();
        }
        drop(left);
        ends_well(&child);

        let (rx, tx) = Pipe::simplex().unwrap();
        let (back_rx, back_tx) = Pipe::simplex().unwrap();
        let child = start(world, halves, (rx, back_tx));
        let inner = SimpleQueue::new().unwrap();
        inner.put(9).unwrap();
        tx.send(inner).unwrap();
        assert_eq!(back_rx.recv(), Ok(9));
        assert_eq!(back_rx.recv(), Err(RecvError::Closed));
        ends_well(&child);
    });
}

pub(crate) fn bytes_come_back_as_they_went() {
    fn echo(right: Wire) {
        while let Ok(message) = right.recv() {
            right.send_bytes(&message).unwrap();
        }
    }
    in_each_world(|world| {
        let (left, right) = wire();
        let child = start(world, echo, right);
        let large = pattern(1, 16 << 20);
        for message in [&b"one"[..], b"", b"three", b"", &large] {
            left.send_bytes(message).unwrap();
            assert!(left.recv().unwrap() == message);
        }
        left.send_bytes(b"hello").unwrap();
        let mut buffer = [9; 8];
        assert_eq!(left.recv_bytes_into(&mut buffer), Ok(5));
        assert_eq!(&buffer, b"hello\x09\x09\x09");
        left.send_bytes(b"too long").unwrap();
        let error = left.recv_bytes_into(&mut buffer[..3]).unwrap_err();
        let (message, room) = (b"too long".to_vec(), 3);
        assert_eq!(error, BufferTooShort { message, room }.into());
        assert!(matches!(error, RecvBytesIntoError::TooShort(_)));
        left.send_bytes(b"too long").unwrap();
        let error = left.recv_bytes(3).unwrap_err();
        assert_eq!(error, RecvBytesError::TooLong { len: 8, most: 3 });
        assert!(!left.is_readable() && left.is_writable());
        drop(left);
        ends_well(&child);
    });
}

pub(crate) fn lines_come_through_a_stream() {
    fn write(mut tx: Sender<Vec<u8>, Bytes>) {
        writeln!(tx, "one").unwrap();
        write!(tx, "two").unwrap();
        writeln!(tx, ", and a half").unwrap();
    }
    in_each_world(|world| {
        let (rx, tx) = Pipe::options().codec::<Bytes>().simplex().unwrap();
        let child = start(world, write, tx);
        let lines: Result<Vec<_>, _> = BufReader::new(rx).lines().collect();
        assert_eq!(lines.unwrap(), ["one", "two, and a half"]);
        ends_well(&child);
    });
}

pub(crate) fn who_only_polled_eats_nothing() {
    fn polls((right, said): (Connection<u8>, Queue<bool>)) {
        for timeout in [Duration::ZERO, MOMENT, PATIENCE] {
            said.put(right.poll(timeout).unwrap()).unwrap();
        }
    }
    fn receives(right: Connection<u8>) {
        assert_eq!(right.try_recv(), Ok(5));
        assert_eq!(right.try_recv(), Err(TryRecvError::Empty));
    }
    in_each_world(|world| {
        let (left, right) = Pipe::duplex().unwrap();
        let said = Queue::unbounded().unwrap();
        let child = start(world, polls, (right.clone(), said.clone()));
        assert_eq!((said.get(), said.get()), (Ok(false), Ok(false)));
        left.send(5).unwrap();
        assert_eq!(said.get(), Ok(true));
        ends_well(&child);
        ends_well(&start(world, receives, right));
    });
}

pub(crate) fn after_one_side_has_closed_the_other_hears_of_it() {
    fn finds_it_closed(right: Connection<u8>) {
        assert_eq!(right.recv(), Ok(1));
        assert_eq!(right.recv(), Err(RecvError::Closed));
        assert!(matches!(right.send(2), Err(SendError::Closed(2))));
    }
    fn closes(right: Connection<u8>) {
        right.send(3).unwrap();
        right.close();
        assert_eq!(right.recv(), Err(RecvError::Closed));
        for_ever();
    }
    in_each_world(|world| {
        let (left, right) = Pipe::duplex().unwrap();
        let child = start(world, finds_it_closed, right);
        left.send(1).unwrap();
        drop(left);
        ends_well(&child);

        let (left, right) = Pipe::duplex().unwrap();
        let child = start(world, closes, right);
        assert_eq!(left.recv(), Ok(3));
        assert_eq!(left.recv(), Err(RecvError::Closed));
        // Who need not wait for room hears of it a little later.
        let refused = std::iter::repeat(4).find_map(|n| left.send(n).err());
        assert!(matches!(refused, Some(SendError::Closed(4))));
        kill(&child);
    });
}

pub(crate) fn sends_of_two_children_on_one_end_do_not_mix() {
    fn send((tx, who): (Sender<Vec<u8>, Bytes>, u64)) {
        for n in 0..20 {
            tx.send_bytes(&pattern(100 * who + n, 200_000)).unwrap();
        }
    }
    in_each_world(|world| {
        let (rx, tx) = Pipe::options().codec::<Bytes>().simplex().unwrap();
        let children = [0, 1].map(|who| start(world, send, (tx.clone(), who)));
        drop(tx);
        let mut next = [0, 100];
        for message in &rx {
            let number = number_of(&message.unwrap());
            let next = &mut next[(number / 100) as usize];
            assert_eq!(number, *next);
            *next += 1;
        }
        assert_eq!(next, [20, 120]);
        children.iter().for_each(ends_well);
    });
}

pub(crate) fn a_connection_closed_by_a_kill_is_the_end_of_the_stream() {
    fn dies(right: Connection<u32>) {
        right.send(7).unwrap();
        die();
    }
    in_each_world(|world| {
        let (left, right) = Pipe::<u32>::duplex().unwrap();
        let child = start(world, dies, right);
        assert_eq!(left.recv(), Ok(7));
        assert_eq!(left.recv(), Err(RecvError::Closed));
        is_killed(&child);
        assert!(left.send(1).is_err());
    });
}

pub(crate) fn a_sibling_keeps_no_stream_open_and_no_send_waiting() {
    fn sends((tx, sibling): (Sender<u8>, Shared<Event>)) {
        sibling.wait();
        tx.send(1).unwrap();
        die();
    }
    fn receives((rx, sibling): (Receiver<u8>, Shared<Event>)) {
        sibling.wait();
        assert_eq!(rx.recv(), Ok(2));
        die();
    }
    fn stands_by((here, over): (Shared<Event>, Shared<Event>)) {
        here.set();
        over.wait();
    }
    in_each_world(|world| {
        let (here, over) = (shared(Event::new()), shared(Event::new()));
        let (rx, tx) = Pipe::simplex().unwrap();
        let (other_rx, other_tx) = Pipe::options().capacity(1).simplex().unwrap();
        let victims = [
            start(world, sends, (tx, here.clone())),
            start(world, receives, (other_rx, here.clone())),
        ];
        let sibling = start(world, stands_by, (here, over.clone()));
        assert_eq!(rx.recv(), Ok(1));
        assert_eq!(rx.recv(), Err(RecvError::Closed));
        // Full at the latest with the third: a send waits then, until it hears of the death.
        let refused = (2..6).find_map(|n| other_tx.send(n).err());
        assert!(matches!(refused, Some(SendError::Closed(_))));
        victims.iter().for_each(is_killed);
        assert!(sibling.is_alive());
        over.set();
        ends_well(&sibling);
    });
}

#[derive(Serialize, Deserialize)]
enum End {
    Writing(Sender<u32>),
    Reading(Receiver<u32>),
}

pub(crate) fn only_the_writing_end_then_only_the_reading_end() {
    fn uses(post: Receiver<End>) {
        match post.recv().unwrap() {
            End::Writing(tx) => tx.send(1).unwrap(),
            End::Reading(rx) => {
                assert_eq!(rx.recv(), Ok(2));
                assert_eq!(rx.recv(), Err(RecvError::Closed));
            }
        }
    }
    in_each_world(|world| {
        let (rx, tx) = Pipe::simplex().unwrap();
        let (post_rx, post_tx) = Pipe::simplex().unwrap();
        let child = start(world, uses, post_rx);
        post_tx.send(End::Writing(tx)).unwrap();
        assert_eq!(rx.recv(), Ok(1));
        assert_eq!(rx.recv(), Err(RecvError::Closed));
        ends_well(&child);

        let (rx, tx) = Pipe::simplex().unwrap();
        let (post_rx, post_tx) = Pipe::simplex().unwrap();
        let child = start(world, uses, post_rx);
        post_tx.send(End::Reading(rx)).unwrap();
        tx.send(2).unwrap();
        drop(tx);
        ends_well(&child);
    });
}

/// Until all have ended: the messages of each.
fn everything_from(readers: &[Receiver<u32>]) -> Vec<Vec<u32>> {
    let mut got = vec![Vec::new(); readers.len()];
    let mut open: Vec<usize> = (0..readers.len()).collect();
    while !open.is_empty() {
        let ready = wait(open.iter().map(|at| &readers[*at]), Some(PATIENCE)).unwrap();
        assert!(!ready.is_empty(), "nothing came");
        for at in ready.into_iter().rev() {
            match readers[open[at]].try_recv() {
                Ok(n) => got[open[at]].push(n),
                Err(TryRecvError::Closed) => drop(open.swap_remove(at)),
                Err(other) => panic!("said to be ready: {other}"),
            }
        }
    }
    got
}

pub(crate) fn a_wait_hears_of_messages_ends_and_deaths() {
    fn sends((tx, n): (Sender<u32>, u32)) {
        (0..n).for_each(|n| tx.send(n).unwrap());
        if n == 3 {
            die();
        }
    }
    fn waits((readers, told): (Vec<Receiver<u32>>, Queue<Vec<Vec<u32>>>)) {
        told.put(everything_from(&readers)).unwrap();
    }
    in_each_world(|world| {
        let expected: Vec<Vec<u32>> = [10, 0, 3, 10].map(|n| (0..n).collect()).into();
        let crowd = || {
            let (mut readers, mut children) = (Vec::new(), Vec::new());
            for n in [10, 0, 3, 10] {
                let (rx, tx) = Pipe::simplex().unwrap();
                readers.push(rx);
                children.push(start(world, sends, (tx, n)));
            }
            (readers, children)
        };
        let (readers, children) = crowd();
        assert_eq!(everything_from(&readers), expected);
        for (at, child) in children.iter().enumerate() {
            let ended = wait([Source::descriptor(child)], Some(PATIENCE)).unwrap();
            assert_eq!(ended, [0]);
            match at {
                2 => is_killed(child),
                _ => ends_well(child),
            }
        }
        // And in a child, which did not make them.
        let told = Queue::unbounded().unwrap();
        let (readers, children) = crowd();
        ends_well(&start(world, waits, (readers, told.clone())));
        assert_eq!(told.try_get(), Ok(expected));
        drop(
            children
                .into_iter()
                .map(|child| ends(&child))
                .collect::<Vec<_>>(),
        );
    });
}

type Ends = (Descriptor<PipeWriter>, Descriptor<UnixStream>);

fn write((Descriptor(mut pipe), Descriptor(mut socket)): Ends) {
    write!(pipe, "by pipe").unwrap();
    write!(socket, "by socket").unwrap();
}

/// What comes out of both, once the other ends have been given away.
fn written_through(give: impl FnOnce(Ends)) {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let (mut here, there) = UnixStream::pair().unwrap();
    give((Descriptor(writer), Descriptor(there)));
    let (mut by_pipe, mut by_socket) = (String::new(), String::new());
    // Each ends only if no copy of the other end is left here.
    reader.read_to_string(&mut by_pipe).unwrap();
    here.read_to_string(&mut by_socket).unwrap();
    assert_eq!((&by_pipe[..], &by_socket[..]), ("by pipe", "by socket"));
}

pub(crate) fn files_and_sockets_are_arguments() {
    in_each_world(|world| {
        written_through(|ends| {
            let child = start(world, write, ends);
            ends_well(&child);
        });
    });
}

pub(crate) fn files_and_sockets_are_messages() {
    fn by_queue(post: Queue<Ends>) {
        write(post.get().unwrap());
    }
    fn by_pipe(post: Receiver<Ends>) {
        write(post.recv().unwrap());
    }
    in_each_world(|world| {
        let queue = Queue::unbounded().unwrap();
        let child = start(world, by_queue, queue.clone());
        written_through(|ends| queue.put(ends).unwrap());
        ends_well(&child);
        let (rx, tx) = Pipe::simplex().unwrap();
        let child = start(world, by_pipe, rx);
        written_through(|ends| tx.send(ends).unwrap());
        ends_well(&child);
    });
}

pub(crate) fn children_connect_to_a_listener() {
    fn connect(address: String) {
        let stranger = Client::options()
            .key("guessed")
            .connect::<u8, u8>(address.as_str());
        assert!(stranger.is_err());
        let server: Connection<u8> = Client::options()
            .key("secret")
            .connect(address.as_str())
            .unwrap();
        server.send(1).unwrap();
        assert_eq!(server.recv(), Ok(2));
    }
    fn answer(client: Connection<u8>) {
        assert_eq!(client.recv(), Ok(1));
        client.send(2).unwrap();
    }
    in_each_world(|world| {
        let listener = Listener::options().key("secret").bind_anywhere().unwrap();
        let child = start(world, connect, listener.address().to_string());
        assert!(listener.accept_timeout::<u8, u8>(PATIENCE).is_err());
        let client: Connection<u8> = listener.accept_timeout(PATIENCE).unwrap();
        // Another child serves it.
        let server = start(world, answer, client);
        ends_well(&child);
        ends_well(&server);
    });
}

pub(crate) fn a_child_listens_for_children_of_another_kind() {
    fn listen((method, log): (StartMethod, Queue<String>)) {
        let listener = Listener::options().bind_anywhere().unwrap();
        let address = listener.address().to_string();
        let client = start(Context::new(method), speak, address);
        let connection: Connection<(), String> = listener.accept_timeout(PATIENCE).unwrap();
        for word in &connection {
            log.put(word.unwrap()).unwrap();
        }
        ends_well(&client);
    }
    fn speak(address: String) {
        let server: Connection<String, ()> = Client::connect(address.as_str()).unwrap();
        server.send("hello".into()).unwrap();
    }
    in_each_world(|world| {
        let log = Queue::unbounded().unwrap();
        let other = StartMethod::ALL[(world.method() as usize + 1) % 3];
        ends_well(&start(world, listen, (other, log.clone())));
        assert_eq!(log.try_get().unwrap(), "hello");
    });
}
