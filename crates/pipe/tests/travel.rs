//! Connections, handles, files and sockets sent over connections: the receiver has them then.

use common::*;
use multiproc_parcel::Descriptor;
use multiproc_pipe::codec::Bytes;
use multiproc_pipe::{
    Connection, Pipe, Receiver, RecvError, RecvTimeoutError, SendError, Sender, TryRecvError,
    TrySendError,
};
use multiproc_process::{Exit, Process, StartError, test};
use multiproc_queue::{JoinableQueue, Queue, SimpleQueue};
use multiproc_segment::Shared;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read, Seek, SeekFrom, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

test::main! {
    a_file_is_written_by_whom_it_was_sent_to,
    numbers_above_two_hundred_and_fifty_six_travel,
    a_message_without_its_descriptor_is_an_error,
    descriptors_of_one_message_are_taken_once_each,
    a_connection_and_sockets_of_all_families_work_where_they_were_sent,
    only_the_writing_end_then_only_the_reading_end,
    an_end_works_through_several_hands,
    queues_and_shared_objects_travel_over_connections,
    a_byte_connection_travels,
    a_connection_of_other_types_is_refused_by_both_names,
    a_queue_is_no_connection,
    a_message_goes_before_the_death_of_its_sender_and_its_descriptors_too,
    an_end_whose_sender_died_is_an_error_and_the_stream_ends,
    descriptors_stay_with_their_messages_between_plain_ones,
    descriptors_wait_for_room_and_all_come,
    who_waits_for_room_for_descriptors_sleeps,
    too_many_descriptors_are_refused_and_harm_nobody,
    without_a_courier_handles_are_refused_and_the_rest_goes,
    a_sender_without_descriptors_left_gets_its_message_back,
    a_receiver_without_descriptors_left_loses_nothing,
    a_pipe_that_cannot_be_made_says_why_and_leaves_nothing,
    outside_of_a_message_a_connection_is_refused,
    an_end_can_be_sent_through_its_own_pipe,
    nothing_leaks_in_either_process,
    nothing_leaks_where_messages_are_left_behind,
    a_receiver_killed_with_an_end_in_its_hands_closes_it,
}

fn mappings() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.contains("/memfd:")).count()
}

/// A file without a name.
fn scratch_file() -> File {
    // SAFETY: a fresh descriptor, owned by the file.
    unsafe {
        let fd = libc::memfd_create(c"scratch".as_ptr(), libc::MFD_CLOEXEC);
        assert!(fd >= 0);
        File::from_raw_fd(fd)
    }
}

fn a_file_is_written_by_whom_it_was_sent_to() -> Outcome {
    let (here, there) = Pipe::<(String, Descriptor<File>), u64>::duplex()?;
    let child = start(move || {
        let (text, Descriptor(mut file)) = there.recv().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        there.send(file.stream_position().unwrap()).unwrap();
    });
    // Made after the fork: it can come by the message alone.
    let mut file = scratch_file();
    here.send(("foo".into(), Descriptor(file.try_clone()?)))?;
    assert_eq!(here.recv()?, 3);
    ends_well(&child);
    let mut text = String::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_string(&mut text)?;
    assert_eq!(text, "foo");
    Ok(())
}

/// P16
fn numbers_above_two_hundred_and_fifty_six_travel() -> Outcome {
    let (here, there) = Pipe::<Vec<Descriptor<File>>>::duplex()?;
    let child = start(move || {
        // The receiver's low numbers are taken, too.
        let _taken: Vec<_> = (0..300).map(|_| File::open("/dev/null").unwrap()).collect();
        for Descriptor(mut file) in there.recv().unwrap() {
            assert!(file.as_raw_fd() > 256);
            write!(file, "fd {}", file.as_raw_fd() > 256).unwrap();
        }
    });
    let mut taken = Vec::new();
    while taken
        .last()
        .is_none_or(|file: &File| file.as_raw_fd() <= 256)
    {
        taken.push(scratch_file());
    }
    let mut high = taken.pop().unwrap();
    assert!(high.as_raw_fd() > 256);
    here.send(vec![Descriptor(high.try_clone()?)])?;
    ends_well(&child);
    let mut text = String::new();
    high.seek(SeekFrom::Start(0))?;
    high.read_to_string(&mut text)?;
    assert_eq!(text, "fd true");
    Ok(())
}

/// Says that it has a descriptor, and encloses it only if it has.
struct Claims(u32, Option<OwnedFd>);

impl Serialize for Claims {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.1 {
            Some(fd) => multiproc_parcel::descriptor::serialize(fd, serializer),
            None => self.0.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Claims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fd = multiproc_parcel::descriptor::deserialize(deserializer)?;
        Ok(Claims(0, Some(fd)))
    }
}

/// P17
fn a_message_without_its_descriptor_is_an_error() -> Outcome {
    let (here, there) = Pipe::<Claims>::duplex()?;
    let child = start(move || {
        for index in [0, 1, u32::MAX] {
            there.send(Claims(index, None)).unwrap();
        }
        let null = File::open("/dev/null").unwrap();
        there.send(Claims(0, Some(null.into()))).unwrap();
    });
    for _ in 0..3 {
        let missing = here.recv().map(drop).unwrap_err();
        assert!(matches!(missing, RecvError::Decode(_)));
        assert!(
            missing.to_string().contains("carries no descriptor"),
            "{missing}"
        );
    }
    assert!(here.recv()?.1.is_some());
    ends_well(&child);
    Ok(())
}

fn descriptors_of_one_message_are_taken_once_each() -> Outcome {
    // The second claims what the first has.
    let (here, there) = Pipe::<(Claims, Claims)>::duplex()?;
    let null: OwnedFd = File::open("/dev/null")?.into();
    there.send((Claims(0, Some(null)), Claims(0, None)))?;
    let before = open_descriptors();
    assert!(matches!(here.recv(), Err(RecvError::Decode(_))));
    assert_eq!(open_descriptors(), before, "what nobody took is closed");
    Ok(())
}

type Sockets = (
    Connection<u32>,
    Descriptor<UnixStream>,
    Descriptor<TcpStream>,
    Descriptor<TcpListener>,
    Descriptor<UnixListener>,
    Descriptor<UnixDatagram>,
);

/// P28
fn a_connection_and_sockets_of_all_families_work_where_they_were_sent() -> Outcome {
    let (here, there) = Pipe::<Sockets, u16>::duplex()?;
    let child = start(move || {
        let (pipe, Descriptor(mut unix), Descriptor(mut tcp), listener, unix_listener, datagram) =
            there.recv().unwrap();
        pipe.send(pipe.recv().unwrap() + 1).unwrap();
        unix.write_all(b"unix").unwrap();
        tcp.write_all(b"tcp").unwrap();
        datagram.0.send(b"datagram").unwrap();
        let (mut accepted, _) = listener.0.accept().unwrap();
        accepted.write_all(b"accepted").unwrap();
        let (mut accepted, _) = unix_listener.0.accept().unwrap();
        accepted.write_all(b"accepted, too").unwrap();
    });
    let (pipe, far_pipe) = Pipe::<u32>::duplex()?;
    let (mut unix, far_unix) = UnixStream::pair()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let mut tcp = TcpStream::connect(address)?;
    let far_tcp = listener.accept()?.0;
    let (datagram, far_datagram) = UnixDatagram::pair()?;
    // An abstract name, so that nothing is left.
    use std::os::linux::net::SocketAddrExt;
    let name = format!("multiproc-{}", test::unique("listener"));
    let name = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
    let unix_listener = UnixListener::bind_addr(&name)?;
    let sockets = (
        far_pipe,
        Descriptor(far_unix),
        Descriptor(far_tcp),
        Descriptor(listener),
        Descriptor(unix_listener),
        Descriptor(far_datagram),
    );
    here.send(sockets)?;
    let mut late = TcpStream::connect(address)?;
    let mut unix_late = UnixStream::connect_addr(&name)?;
    pipe.send(41)?;
    assert_eq!(pipe.recv()?, 42);
    // To the end of each: no copy of the other end is left here.
    let mut text = String::new();
    unix.read_to_string(&mut text)?;
    tcp.read_to_string(&mut text)?;
    late.read_to_string(&mut text)?;
    unix_late.read_to_string(&mut text)?;
    assert_eq!(text, "unixtcpacceptedaccepted, too");
    let mut buffer = [0; 20];
    assert_eq!(datagram.recv(&mut buffer)?, 8);
    assert_eq!(pipe.recv(), Err(RecvError::Closed));
    ends_well(&child);
    Ok(())
}

/// P29
fn only_the_writing_end_then_only_the_reading_end() -> Outcome {
    let (here, there) = Pipe::<Result<Sender<String>, Receiver<String>>>::duplex()?;
    let child = start(move || {
        while let Ok(end) = there.recv() {
            match end {
                Ok(tx) => tx.send("spam".into()).unwrap(),
                Err(rx) => assert_eq!(rx.recv().unwrap(), "eggs"),
            }
        }
    });
    let (rx, tx) = Pipe::<String>::simplex()?;
    here.send(Ok(tx))?;
    assert_eq!(rx.recv()?, "spam");
    assert_eq!(rx.recv(), Err(RecvError::Closed));
    let (rx, tx) = Pipe::<String>::simplex()?;
    here.send(Err(rx))?;
    tx.send("eggs".into())?;
    until("the reader to be gone", || {
        matches!(tx.send("spam".into()), Err(SendError::Closed(_)))
    });
    drop(here);
    ends_well(&child);
    Ok(())
}

fn an_end_works_through_several_hands() -> Outcome {
    // L14, for pipes: each passes it on to its own child, the last one uses it.
    const HANDS: usize = 6;
    fn pass_on(depth: usize, from: Receiver<Connection<u64>>) {
        let end = from.recv().unwrap();
        if depth == 0 {
            end.send(end.recv().unwrap() * 2).unwrap();
            return;
        }
        let (rx, tx) = Pipe::simplex().unwrap();
        let next = Process::start(move || pass_on(depth - 1, rx));
        let next = next.map_err(StartError::from).unwrap();
        tx.send(end).unwrap();
        ends_well(&next);
    }
    let (rx, tx) = Pipe::simplex()?;
    let first = Process::start(move || pass_on(HANDS, rx))?;
    let (here, there) = Pipe::<u64>::duplex()?;
    tx.send(there)?;
    here.send(21)?;
    assert_eq!(here.recv()?, 42);
    assert_eq!(here.recv(), Err(RecvError::Closed));
    ends_well(&first);
    Ok(())
}

fn queues_and_shared_objects_travel_over_connections() -> Outcome {
    type All = (
        Shared<AtomicU32>,
        Queue<String>,
        JoinableQueue<u8>,
        SimpleQueue<u8>,
    );
    let (here, there) = Pipe::<All>::duplex()?;
    let child = start(move || {
        let (number, queue, jobs, simple) = there.recv().unwrap();
        number.fetch_add(41, SeqCst);
        queue.put("made it".into()).unwrap();
        simple.put(jobs.get().unwrap()).unwrap();
        jobs.task_done().unwrap();
        there.send((number, queue, jobs, simple)).unwrap();
        there.recv().map(drop).unwrap_err();
    });
    let number = Shared::new(AtomicU32::new(1))?;
    let (queue, jobs) = (Queue::bounded(4)?, JoinableQueue::unbounded()?);
    let simple = SimpleQueue::new()?;
    jobs.put(6)?;
    here.send((
        number.clone(),
        queue.clone(),
        jobs.queue().clone().into(),
        simple,
    ))?;
    assert_eq!(queue.get()?, "made it");
    jobs.join()?;
    assert_eq!(number.load(SeqCst), 42);
    let (number_again, queue_again, _, simple) = here.recv()?;
    assert_eq!(simple.get()?, 6);
    number_again.store(7, SeqCst);
    assert_eq!(number.load(SeqCst), 7, "it is the same one");
    queue_again.put("again".into())?;
    assert_eq!(queue.get()?, "again");
    drop(here);
    ends_well(&child);
    Ok(())
}

fn a_byte_connection_travels() -> Outcome {
    type End = Connection<Vec<u8>, Vec<u8>, Bytes>;
    let (here, there) = Pipe::<End>::duplex()?;
    let child = start(move || {
        let end = there.recv().unwrap();
        let got = end.recv().unwrap();
        end.send_bytes(&got[1..]).unwrap();
    });
    let pipe = Pipe::<Vec<u8>>::options()
        .bytes(4096)
        .codec::<Bytes>()
        .duplex()?;
    here.send(pipe.1)?;
    pipe.0.send(pattern(5, 30_000))?;
    assert_eq!(pipe.0.recv()?, pattern(5, 30_000)[1..]);
    ends_well(&child);
    Ok(())
}

/// What decoding as `To` says of an encoded `value`.
fn decoded_as<To: for<'de> Deserialize<'de>>(value: &impl Serialize) -> Result<To, String> {
    let (bytes, parcel) = multiproc_parcel::pack(|| postcard::to_allocvec(value));
    let bytes = bytes.map_err(|e| e.to_string())?;
    multiproc_parcel::unpack(parcel.into_descriptors(), || {
        let value = postcard::from_bytes::<To>(&bytes);
        value.map_err(|e| multiproc_parcel::take_reason().unwrap_or_else(|| e.to_string()))
    })
}

fn a_connection_of_other_types_is_refused_by_both_names() -> Outcome {
    let (here, there) = Pipe::<u32, String>::duplex()?;
    assert!(decoded_as::<Connection<u32, String>>(&here).is_ok());
    assert!(decoded_as::<Connection<String, u32>>(&there).is_ok());
    let why = decoded_as::<Connection<u64, String>>(&here).unwrap_err();
    assert!(why.contains("u64") && why.contains("u32"), "{why}");
    // The other way round.
    assert!(decoded_as::<Connection<String, u32>>(&here).is_err());
    assert!(decoded_as::<Connection<u32, String>>(&there).is_err());
    // A half, as the same half only.
    assert!(decoded_as::<Sender<u32>>(here.sender()).is_ok());
    assert!(decoded_as::<Sender<String>>(here.sender()).is_err());
    assert!(decoded_as::<Receiver<String>>(here.receiver()).is_ok());
    assert!(decoded_as::<Receiver<u32>>(here.receiver()).is_err());
    // Another codec.
    let (rx, _tx) = Pipe::<Vec<u8>>::simplex()?;
    assert!(decoded_as::<Receiver<Vec<u8>, Bytes>>(&rx).is_err());
    // The ends of those that were refused are closed again: one is left on each side.
    drop(there);
    assert_eq!(here.recv_timeout(PATIENCE), Err(RecvTimeoutError::Closed));
    Ok(())
}

fn a_queue_is_no_connection() -> Outcome {
    let queue = Queue::<u32>::bounded(4)?;
    assert!(decoded_as::<Sender<u32>>(&queue.producer()?).is_err());
    let (rx, tx) = Pipe::<u32>::simplex()?;
    assert!(decoded_as::<multiproc_queue::Producer<u32>>(&tx).is_err());
    assert!(decoded_as::<Queue<u32>>(&rx).is_err());
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty), "still open");
    Ok(())
}

fn a_message_goes_before_the_death_of_its_sender_and_its_descriptors_too() -> Outcome {
    let (here, there) = Pipe::<(Queue<u32>, Descriptor<PipeWriter>)>::duplex()?;
    let (mut reader, writer) = std::io::pipe()?;
    let child = {
        let writer = writer.try_clone()?;
        start(move || {
            let queue = Queue::unbounded().unwrap();
            queue.put(7).unwrap();
            there.send((queue, Descriptor(writer))).unwrap();
            kill_me();
        })
    };
    drop(writer);
    assert_eq!(ends(&child), Exit::Signal(9));
    let (queue, Descriptor(mut writer)) = here.recv()?;
    assert_eq!(queue.get()?, 7);
    writer.write_all(b"still open")?;
    drop(writer);
    let mut text = String::new();
    reader.read_to_string(&mut text)?;
    assert_eq!(text, "still open");
    assert!(matches!(here.recv(), Err(RecvError::Closed)));
    Ok(())
}

fn an_end_whose_sender_died_is_an_error_and_the_stream_ends() -> Outcome {
    let (here, there) = Pipe::<Sender<u32>>::duplex()?;
    let (rx, tx) = Pipe::<u32>::simplex()?;
    let child = start(move || {
        tx.send(1).unwrap();
        there.send(tx).unwrap();
        kill_me();
    });
    assert_eq!(ends(&child), Exit::Signal(9));
    assert_eq!(rx.recv()?, 1);
    assert_eq!(rx.recv(), Err(RecvError::Closed));
    let before = open_descriptors();
    let refused = here.recv().unwrap_err();
    assert!(refused.to_string().contains("closed"), "{refused}");
    assert!(matches!(refused, RecvError::Decode(_)));
    assert_eq!(open_descriptors(), before);
    assert!(matches!(here.recv(), Err(RecvError::Closed)));
    Ok(())
}

fn numbered(n: usize) -> (usize, Option<Descriptor<PipeReader>>) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    write!(writer, "{n}").unwrap();
    (n, Some(Descriptor(reader)))
}

/// The number of a message; its descriptor, if it has one, must be its own.
fn is_its_own((n, reader): (usize, Option<Descriptor<PipeReader>>)) -> usize {
    if let Some(Descriptor(mut reader)) = reader {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, n.to_string());
    }
    n
}

fn descriptors_stay_with_their_messages_between_plain_ones() -> Outcome {
    const EACH: usize = 500;
    let (rx, tx) = Pipe::<(usize, Option<Descriptor<PipeReader>>)>::simplex()?;
    let had = Counter::new();
    let mut all: Vec<Process> = (0..2)
        .map(|_| {
            let (rx, had) = (rx.clone(), had.clone());
            start(move || {
                for message in &rx {
                    had.add(is_its_own(message.unwrap()) as u64);
                }
            })
        })
        .collect();
    drop(rx);
    for who in 0..2 {
        let tx = tx.clone();
        all.push(start(move || {
            for n in 1..=EACH {
                let with = (n + who) % 3 == 0;
                let message = if with { numbered(n) } else { (n, None) };
                tx.send(message).unwrap();
            }
        }));
    }
    drop(tx);
    all.iter().for_each(ends_well);
    assert_eq!(had.get() as usize, EACH * (EACH + 1));
    Ok(())
}

fn descriptors_wait_for_room_and_all_come() -> Outcome {
    let (rx, tx) = Pipe::<(usize, Option<Descriptor<PipeReader>>)>::simplex()?;
    let refused = (1..).find(|n| tx.try_send(numbered(*n)).is_err()).unwrap();
    println!("{refused} on their way");
    let reader = start(move || {
        for (n, message) in rx.iter().enumerate() {
            assert_eq!(is_its_own(message.unwrap()), n + 1);
        }
    });
    (refused..3_000).try_for_each(|n| tx.send(numbered(n)))?;
    drop(tx);
    ends_well(&reader);
    Ok(())
}

fn who_waits_for_room_for_descriptors_sleeps() -> Outcome {
    let (rx, tx) = Pipe::<(usize, Option<Descriptor<PipeReader>>)>::simplex()?;
    let full = (1..).find(|n| tx.try_send(numbered(*n)).is_err()).unwrap();
    let child = start(|| tx.send(numbered(full)).map_err(|e| e.without_message()));
    blocked(&child);
    let before = cpu_of(child.pid());
    let begun = std::time::Instant::now();
    while begun.elapsed() < std::time::Duration::from_secs(1) {
        std::thread::yield_now();
    }
    let spent = cpu_of(child.pid()) - before;
    assert!(spent.as_millis() < 300, "{spent:?} of a second");
    for n in 1..=full {
        assert_eq!(is_its_own(rx.recv()?), n);
    }
    ends_well(&child);
    Ok(())
}

fn too_many_descriptors_are_refused_and_harm_nobody() -> Outcome {
    let (rx, tx) = Pipe::<Vec<Descriptor<OwnedFd>>>::simplex()?;
    let null: OwnedFd = File::open("/dev/null")?.into();
    let many = |n: usize| -> Vec<_> {
        let copies = (0..n).map(|_| Descriptor(null.as_fd().try_clone_to_owned().unwrap()));
        copies.collect()
    };
    let refused = tx.send(many(254)).unwrap_err();
    assert!(refused.to_string().contains("253"), "{refused}");
    assert_eq!(refused.into_message().len(), 254);
    tx.send(many(253))?;
    assert_eq!(rx.recv()?.len(), 253);
    assert!(matches!(rx.try_recv(), Err(TryRecvError::Empty)));
    Ok(())
}

fn without_a_courier_handles_are_refused_and_the_rest_goes() -> Outcome {
    type Message = Result<u32, Sender<u32>>;
    let (rx, tx) = Pipe::<Message>::options().without_courier().simplex()?;
    let (inner_rx, inner) = Pipe::<u32>::simplex()?;
    let refused = tx.send(Err(inner)).unwrap_err();
    assert!(refused.to_string().contains("cannot travel"), "{refused}");
    refused.into_message().unwrap_err().send(1)?;
    assert_eq!(inner_rx.recv()?, 1);
    assert_eq!(
        inner_rx.recv_timeout(PATIENCE),
        Err(RecvTimeoutError::Closed)
    );
    tx.send(Ok(3))?;
    assert!(matches!(rx.recv()?, Ok(3)));
    assert!(matches!(rx.try_recv(), Err(TryRecvError::Empty)));
    // A pipe without couriers can be sent through one that has them.
    let (post_rx, post) = Pipe::<Receiver<Message>>::simplex()?;
    let child = start(move || assert!(matches!(post_rx.recv().unwrap().recv(), Ok(Ok(4)))));
    post.send(rx)?;
    tx.send(Ok(4))?;
    ends_well(&child);
    Ok(())
}

fn all_descriptors() -> Vec<File> {
    let mut taken = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        taken.push(file);
    }
    taken
}

fn a_sender_without_descriptors_left_gets_its_message_back() -> Outcome {
    let (rx, tx) = Pipe::<Sender<u32>>::simplex()?;
    let (inner_rx, inner) = Pipe::<u32>::simplex()?;
    limit(libc::RLIMIT_NOFILE, open_descriptors() as u64 + 8);
    let mut taken = all_descriptors();
    // Whatever number of descriptors is missing, the end comes back.
    let mut inner = inner;
    let mut refusals = 0;
    loop {
        match tx.send(inner) {
            Ok(()) => break,
            Err(refused) => {
                assert!(!matches!(refused, SendError::Closed(_)), "{refused}");
                inner = refused.into_message();
                refusals += 1;
            }
        }
        taken.pop().unwrap();
    }
    assert!(refusals > 1, "{refusals}");
    drop(taken);
    let arrived = rx.recv()?;
    arrived.send(9)?;
    assert_eq!(inner_rx.recv()?, 9);
    drop(arrived);
    // Nothing of the refused ones is left.
    assert_eq!(
        inner_rx.recv_timeout(PATIENCE),
        Err(RecvTimeoutError::Closed)
    );
    Ok(())
}

fn a_receiver_without_descriptors_left_loses_nothing() -> Outcome {
    let (rx, tx) = Pipe::<Connection<u32>>::simplex()?;
    let (here, there) = Pipe::<u32>::duplex()?;
    tx.send(there)?;
    limit(libc::RLIMIT_NOFILE, open_descriptors() as u64 + 8);
    let mut taken = all_descriptors();
    let mut refusals = 0;
    let arrived = loop {
        match rx.try_recv() {
            Ok(end) => break end,
            Err(TryRecvError::NoDescriptors) => refusals += 1,
            Err(other) => panic!("{other}"),
        }
        println!("{} are still taken", taken.len());
        taken.pop().unwrap();
    };
    assert!(refusals > 1, "{refusals}");
    drop(taken);
    arrived.send(3)?;
    assert_eq!(here.recv()?, 3);
    Ok(())
}

fn a_pipe_that_cannot_be_made_says_why_and_leaves_nothing() -> Outcome {
    limit(libc::RLIMIT_NOFILE, open_descriptors() as u64 + 8);
    let maps = mappings();
    let mut taken = all_descriptors();
    let before = taken.len();
    let mut refusals = 0;
    let pipe = loop {
        match Pipe::<u32>::duplex() {
            Ok(pipe) => break pipe,
            Err(why) => {
                assert!(
                    matches!(why, multiproc_pipe::CreateError::NoDescriptors),
                    "{why}"
                );
                refusals += 1;
            }
        }
        taken.pop().unwrap();
    };
    assert_eq!(refusals, 3, "one for the memory and two for the couriers");
    drop(pipe);
    taken.extend(all_descriptors());
    assert_eq!(taken.len(), before);
    drop(taken);
    assert_eq!(mappings(), maps);
    Ok(())
}

fn outside_of_a_message_a_connection_is_refused() -> Outcome {
    let (here, there) = Pipe::<u32>::duplex()?;
    assert!(postcard::to_allocvec(&here).is_err());
    let why = multiproc_parcel::take_reason().unwrap();
    assert!(why.contains("inside a message"), "{why}");
    drop(here);
    assert_eq!(there.recv_timeout(PATIENCE), Err(RecvTimeoutError::Closed));
    Ok(())
}

/// Its own type's ends.
#[derive(Serialize, Deserialize)]
enum Nested {
    End(Sender<Nested>),
    Number(u32),
}

fn an_end_can_be_sent_through_its_own_pipe() -> Outcome {
    let before = open_descriptors();
    {
        let (rx, tx) = Pipe::<Nested>::simplex()?;
        let child = start(move || {
            let Nested::End(own) = rx.recv().unwrap() else {
                panic!("an end was sent");
            };
            own.send(Nested::Number(8)).unwrap();
            drop(own);
            let Nested::Number(8) = rx.recv().unwrap() else {
                panic!("a number was sent");
            };
            assert!(matches!(rx.recv(), Err(RecvError::Closed)));
        });
        tx.send(Nested::End(tx.clone()))?;
        drop(tx);
        ends_well(&child);
        // Nobody takes this one: the socket holds itself, until the kernel finds out.
        let (rx, tx) = Pipe::<Nested>::simplex()?;
        tx.send(Nested::End(tx.clone()))?;
        drop((rx, tx));
    }
    assert_eq!(open_descriptors(), before);
    Ok(())
}

type Load = (Connection<u32>, Queue<u8>, Descriptor<PipeReader>);

fn load() -> Load {
    let reader = numbered(1).1.unwrap();
    let (here, there) = Pipe::duplex().unwrap();
    drop(here);
    (there, Queue::bounded(1).unwrap(), reader)
}

fn nothing_leaks_in_either_process() -> Outcome {
    let (here, there) = Pipe::<Load, (usize, usize)>::duplex()?;
    let other = start(move || {
        while let Ok(load) = there.recv() {
            drop(load);
            there.send((open_descriptors(), mappings())).unwrap();
        }
    });
    let round = || -> Outcome<_> {
        for _ in 0..20 {
            here.send(load())?;
            here.recv()?;
        }
        here.send(load())?;
        let theirs = here.recv()?;
        Ok((theirs, (open_descriptors(), mappings())))
    };
    let first = round()?;
    for _ in 0..20 {
        assert_eq!(round()?, first);
    }
    drop(here);
    ends_well(&other);
    Ok(())
}

fn nothing_leaks_where_messages_are_left_behind() -> Outcome {
    let round = || -> Outcome {
        // Messages that nobody takes.
        let (rx, tx) = Pipe::<Load>::simplex()?;
        for _ in 0..5 {
            tx.send(load())?;
        }
        // One who dies as soon as it has one, and one that dies having sent.
        let child = start(|| {
            let _load = rx.recv().unwrap();
            kill_me();
        });
        assert_eq!(ends(&child), Exit::Signal(9));
        let child = start(|| {
            tx.send(load()).unwrap();
            kill_me();
        });
        assert_eq!(ends(&child), Exit::Signal(9));
        Ok(())
    };
    round()?;
    let before = (open_descriptors(), mappings());
    for _ in 0..20 {
        round()?;
    }
    assert_eq!((open_descriptors(), mappings()), before);
    Ok(())
}

fn a_receiver_killed_with_an_end_in_its_hands_closes_it() -> Outcome {
    let (here, there) = Pipe::<Connection<u32>>::duplex()?;
    let (mine, far) = Pipe::<u32>::duplex()?;
    let child = start(move || {
        let end = there.recv().unwrap();
        end.send(1).unwrap();
        kill_me();
    });
    here.send(far)?;
    assert_eq!(mine.recv()?, 1);
    assert_eq!(mine.recv(), Err(RecvError::Closed));
    assert!(matches!(mine.try_send(1), Err(TrySendError::Closed(1))));
    assert_eq!(ends(&child), Exit::Signal(9));
    Ok(())
}
