//! What is left of processes that had one of everything and were killed: the names that they gave
//! to objects, and nothing else. Looked for where nobody else leaves anything: in a /dev/shm and an
//! abstract namespace of the test's own.

use common::{Outcome, for_ever, own_small_dev_shm};
use common::{ends, kill_me, until};
use multiproc_lock::Mutex;
use multiproc_parcel::Descriptor;
use multiproc_pipe::{Client, Connection, Listener, Pipe};
use multiproc_process::{Context, Exit, Process, StartMethod, test};
use multiproc_queue::{JoinableQueue, Queue};
use multiproc_segment::{Shared, list, remove_stale, unlink};
use multiproc_value::{Array, Value};
use std::io::{PipeWriter, Read, Write, pipe};
use std::sync::atomic::AtomicU64;

test::main! {
    of_the_killed_the_names_are_left_that_they_gave,
    of_those_who_ended_too,
}

/// Whoever has it is there.
type Sign = Descriptor<PipeWriter>;

fn stays(_sign: Sign) {
    for_ever()
}

/// Makes one of everything, and ends in the middle of it.
fn has_everything((mut sign, kill): (Sign, bool)) {
    let named = Queue::<u64>::create("queue").unwrap();
    let value = Value::create("value", 1_u32).unwrap();

    // Handles in messages that nobody takes, one of them in its own queue.
    let post = Queue::<Queue<u64>>::unbounded().unwrap();
    post.put(Queue::unbounded().unwrap()).unwrap();
    let (left, right) = Pipe::<Connection<u8>>::duplex().unwrap();
    let (inner, outer) = Pipe::<u8>::duplex().unwrap();
    left.send(inner).unwrap();
    let ends = Queue::<u64>::bounded(4).unwrap().split();
    let tasks = JoinableQueue::<u64>::unbounded().unwrap();
    tasks.put(1).unwrap();
    let task = tasks.get_task().unwrap();
    let array = Array::<u64>::zeroed(1_000).unwrap();

    let listener = Listener::options().bind_anywhere().unwrap();
    let address = listener.address().to_string();
    let client = std::thread::spawn(move || Client::connect::<u8, u8>(address.as_str()).unwrap());
    let server: Connection<u8> = listener.accept().unwrap();
    let client = client.join().unwrap();
    // A daemon of each kind; no fork while a task is held.
    drop(task);
    let daemons = StartMethod::ALL.map(|method| {
        let copy = Descriptor(sign.0.try_clone().unwrap());
        let daemon = Process::builder().daemon(true);
        daemon.start_in(method, stays, copy).unwrap()
    });
    // Behind the daemons: one that is forked has open what its parent had.
    let temporary = Shared::<AtomicU64>::options().temporary(true);
    let temporary = temporary.create("temporary", AtomicU64::new(0)).unwrap();
    let mutex = Shared::new(Mutex::new(0)).unwrap();
    let held = mutex.lock().unwrap();
    sign.0.write_all(b"!").unwrap();
    if kill {
        kill_me();
    }
    drop((held, daemons));
    drop((named, value, temporary, post, right, outer, ends, array));
    drop((server, client, listener));
}

/// Names in the abstract namespace: of sockets that are still open somewhere.
fn abstract_names() -> Vec<String> {
    let sockets = std::fs::read_to_string("/proc/net/unix").unwrap();
    let names = sockets
        .lines()
        .filter_map(|line| line.split(' ').next_back());
    names
        .filter(|name| name.starts_with('@'))
        .map(str::to_owned)
        .collect()
}

fn files() -> Vec<String> {
    let files = std::fs::read_dir("/dev/shm").unwrap().flatten();
    let mut files: Vec<_> = files
        .map(|file| file.file_name().into_string().unwrap())
        .collect();
    files.sort();
    files
}

fn is_alone() -> bool {
    let alone = own_small_dev_shm(64 << 20).is_ok()
        // SAFETY: a number; only this process and its children are concerned.
        && unsafe { libc::unshare(libc::CLONE_NEWNET) } == 0;
    if !alone {
        println!("skipped: no namespaces of its own");
    }
    alone
}

fn leave_names_alone(kill: bool) -> Outcome {
    if !is_alone() {
        return Ok(());
    }
    // The names of this process's own couriers are seen: the look sees something.
    let seen = Queue::<u8>::unbounded()?;
    assert_eq!(abstract_names().len(), 1);
    drop(seen);
    for method in StartMethod::ALL {
        let (mut reader, writer) = pipe()?;
        let given = (Descriptor(writer), kill);
        let refused = Context::new(method).start(has_everything, given);
        let child = refused.map_err(|refused| refused.why)?;
        let end = match kill {
            true => Exit::Signal(libc::SIGKILL),
            false => Exit::Code(0),
        };
        assert_eq!(ends(&child), end, "{method}");
        // Until the last of its daemons has gone.
        let mut signs = Vec::new();
        reader.read_to_end(&mut signs)?;
        assert_eq!(signs, b"!");
        // Its fork server may take another moment.
        until("the last socket to be closed", || {
            abstract_names().is_empty()
        });
        let mut names = vec!["queue", "value"];
        if kill {
            names.insert(1, "temporary");
        }
        let expected: Vec<_> = names
            .iter()
            .map(|name| format!("multiproc.{name}"))
            .collect();
        assert_eq!(files(), expected, "{method}");
        let stale: Vec<_> = list()?.into_iter().filter(|named| named.stale).collect();
        assert_eq!(stale.len(), usize::from(kill));
        assert_eq!(remove_stale()?.len(), usize::from(kill));
        unlink("queue")?;
        unlink("value")?;
        assert!(files().is_empty());
    }
    Ok(())
}

fn of_the_killed_the_names_are_left_that_they_gave() -> Outcome {
    leave_names_alone(true)
}

fn of_those_who_ended_too() -> Outcome {
    leave_names_alone(false)
}
