//! Many clients, odd clients and hostile ones; forks, threads and TCP.

mod common;

use common::*;
use multiproc_manager::{
    CallError, Dict, FetchError, List, Manager, Queue, RemoteError, Server, managed,
};
use multiproc_pipe::Address;
use multiproc_process::{Process, join_all, test};
use multiproc_segment::Shared;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

test::main! {
    #[timeout(600)]
    eight_clients_agree_with_a_model,
    threads_of_a_process_call_at_the_same_time,
    a_program_with_threads_starts_a_server_and_registers_there,
    a_fork_with_live_proxies_in_both,
    proxies_moved_into_children_belong_to_them,
    proxies_travel_by_name_and_over_tcp,
    objects_given_to_methods_and_returned_by_them,
    files_in_a_dict,
    another_item_type_is_refused_by_both_names,
    names_are_published_found_and_withdrawn,
    another_program_over_each_kind_of_address,
    a_wrong_key_is_refused_and_the_server_lives_on,
    garbage_and_half_open_connections_hurt_nobody_else,
    #[timeout(120)]
    a_thousand_idle_connections,
    one_who_never_reads_hurts_nobody_else,
    limits_are_kept,
    a_message_that_is_too_large_is_refused_whole,
    ten_thousand_objects_made_and_dropped,
    lists_do_what_vectors_do,
    a_method_that_is_slow_keeps_only_its_own_callers,
    a_guard_in_a_forked_child_releases_nothing,
    proxies_are_for_all_threads,
}

/// A cheap generator of numbers.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % sides
    }
}

/// 8 processes with mixed operations; each has its own keys, whose values a model knows, and all
/// share some counters, whose sums are known. `MULTIPROC_MANAGER_OPERATIONS=100000` for more.
fn eight_clients_agree_with_a_model() -> Outcome {
    let operations = std::env::var("MULTIPROC_MANAGER_OPERATIONS");
    let operations: u64 = operations.map_or(Ok(4_000), |n| n.parse())?;
    let manager = Manager::start()?;
    let dict = manager.dict::<(u64, u64), u64>()?;
    let counters = manager.dict::<u64, u64>()?;
    let list = manager.list::<u64>()?;
    let queue = manager.queue::<u64>()?;
    let lock = manager.lock()?;
    let value = manager.value(0_u64)?;
    let sums: Vec<Shared<AtomicU64>> = (0..6).map(|_| shared(0)).collect();
    let add = |which: usize, n: u64| sums[which].fetch_add(n, SeqCst);
    let begun = Instant::now();
    let clients = Process::start_each(0..8_u64, |me| -> Outcome {
        let mut dice = Dice(me + 1);
        let mut model = HashMap::new();
        for n in 0..operations {
            let key = dice.roll(50);
            match dice.roll(12) {
                0 | 1 => assert_eq!(dict.insert((me, key), n)?, model.insert(key, n)),
                2 | 3 => assert_eq!(dict.get(&(me, key))?, model.get(&key).copied()),
                4 => assert_eq!(dict.remove(&(me, key))?, model.remove(&key)),
                5 => {
                    counters.fetch_add(&(key % 4), 1)?;
                    add(0, 1);
                }
                6 => {
                    counters.update(&4, |n| Some(n.unwrap_or(0) + key))?;
                    add(1, key);
                }
                7 => {
                    list.push(key)?;
                    add(2, key);
                }
                8 => {
                    if let Some(last) = list.pop()? {
                        add(3, last);
                    }
                }
                9 => {
                    queue.put(key)?;
                    add(4, key);
                }
                10 => {
                    if let Ok(item) = queue.try_get() {
                        add(5, item);
                    }
                }
                _ => {
                    let _held = lock.lock()?;
                    value.set(value.get()? + 1)?; // right under the lock
                    counters.fetch_add(&5, 1)?;
                }
            }
        }
        let mine = dict
            .items()?
            .into_iter()
            .filter(|((whose, _), _)| *whose == me);
        let mine: HashMap<u64, u64> = mine.map(|((_, key), n)| (key, n)).collect();
        assert_eq!(mine, model);
        Ok(())
    })?;
    join_all(clients)?;
    let all = 8 * operations;
    println!("{all} operations in {:?}", begun.elapsed());
    let sum = |which: usize| sums[which].load(SeqCst);
    let counted: u64 = (0..4).map(|n| counters.get(&n).unwrap().unwrap_or(0)).sum();
    assert_eq!(counted, sum(0));
    assert_eq!(counters.get(&4)?.unwrap_or(0), sum(1));
    assert_eq!(list.to_vec()?.iter().sum::<u64>(), sum(2) - sum(3));
    let mut left = 0;
    while let Ok(item) = queue.try_get() {
        left += item;
    }
    assert_eq!(left, sum(4) - sum(5));
    assert_eq!(Some(value.get()?), counters.get(&5)?);
    Ok(())
}

fn threads_of_a_process_call_at_the_same_time() -> Outcome {
    let manager = Manager::start()?;
    let dict = manager.dict::<u64, u64>()?;
    let queue = manager.queue::<u64>()?;
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| queue.get().unwrap());
        for n in 0..8 {
            let dict = &dict;
            scope.spawn(move || {
                for _ in 0..200 {
                    dict.fetch_add(&0, 1).unwrap();
                    dict.insert(n, n).unwrap();
                }
                // Thread by thread: who holds it is not the process.
            });
        }
        queue.put(7).unwrap();
        assert_eq!(waiting.join().unwrap(), 7);
    });
    // What a thread made and left outlives it.
    let list = std::thread::scope(|scope| {
        let made = scope.spawn(|| {
            let list = manager.list::<u8>().unwrap();
            list.push(1).unwrap();
            list
        });
        made.join().unwrap()
    });
    assert_eq!(list.to_vec()?, [1]);
    assert_eq!(dict.len()?, 8);
    let rlock = manager.rlock()?;
    let _held = rlock.lock()?;
    assert!(rlock.try_acquire()?);
    rlock.release()?;
    std::thread::scope(|scope| {
        let other = scope.spawn(|| (rlock.try_acquire().unwrap(), rlock.release().is_err()));
        assert_eq!(other.join().unwrap(), (false, true));
    });
    Ok(())
}

#[derive(Default)]
struct Register {
    lists: Vec<List<u32>>,
}

impl Register {
    fn keep(&mut self, list: List<u32>) -> u32 {
        self.lists.push(list);
        self.lists.len() as u32
    }

    fn first(&self) -> Option<List<u32>> {
        self.lists.first().cloned()
    }

    fn forget(&mut self) {
        self.lists.clear();
    }

    fn total(&self) -> Result<u32, String> {
        let sum = |list: &List<u32>| Ok(list.to_vec()?.iter().sum::<u32>());
        let sums: Result<Vec<u32>, CallError> = self.lists.iter().map(sum).collect();
        Ok(sums.map_err(|e| e.to_string())?.iter().sum())
    }

    fn nap(&self, millis: u64) {
        std::thread::sleep(Duration::from_millis(millis));
    }
}

managed! {
    proxy RegisterProxy for Register {
        fn keep(&mut self, list: List<u32>) -> u32;
        fn first(&self) -> Option<List<u32>>;
        fn forget(&mut self);
        fn total(&self) -> Result<u32, String>;
        fn nap(&self, millis: u64);
    }
}

fn serve_registers(seat: multiproc_manager::Seat) -> Result<(), multiproc_manager::ServeError> {
    seat.serve_with(|server| server.register(Register::default))
}

fn a_program_with_threads_starts_a_server_and_registers_there() -> Outcome {
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| -> Outcome {
        scope.spawn(move || stopped.recv());
        let manager = Manager::start()?; // spawned, as there are two threads
        let list = manager.list::<u32>()?;
        list.push(1)?;
        assert_eq!(list.to_vec()?, [1]);
        manager.shut_down()?;
        let refused = Manager::builder().register(Register::default).start();
        assert!(refused.unwrap_err().to_string().contains("thread"));
        let manager = Manager::start_with(serve_registers)?;
        let register = manager.make::<RegisterProxy>()?;
        assert_eq!(register.first()?, None);
        let process = manager.process().unwrap().clone();
        drop(manager);
        assert_eq!(process.exit_code(), Some(0));
        drop(stop);
        Ok(())
    })
}

fn a_fork_with_live_proxies_in_both() -> Outcome {
    let manager = Manager::start()?;
    let list = manager.list::<u32>()?;
    let dict = manager.dict::<u32, List<u32>>()?;
    dict.insert(0, &list)?;
    // Grandchildren, too; each drops what it inherited, and makes its own.
    let children = Process::start_each(0..4, |n| -> Outcome {
        let grandchild = Process::start(|| -> Outcome {
            let own = manager.list()?;
            own.push(n)?;
            dict.insert(n + 10, &own)?;
            Ok(())
        })?;
        list.push(n)?;
        let inner = dict.get(&0)?.unwrap();
        assert_eq!(inner, list);
        drop(inner);
        join_all([grandchild])?;
        Ok(())
    })?;
    for n in 0..100 {
        list.push(100 + n)?;
    }
    join_all(children)?;
    assert_eq!(list.len()?, 104);
    assert_eq!(dict.len()?, 5);
    assert_eq!(dict.get(&12)?.unwrap().to_vec()?, [2]);
    // A copy of the manager in a child that it drops shuts nothing down.
    let child = Process::start(move || drop(manager))?;
    ends_well(&child);
    assert_eq!(list.len()?, 104);
    Ok(())
}

fn proxies_moved_into_children_belong_to_them() -> Outcome {
    let manager = Manager::start()?;
    let go = manager.event()?;
    let done = manager.queue::<Vec<u32>>()?;
    let list = manager.list::<u32>()?;
    list.push(1)?;
    let child = {
        let (go, done) = (&go, &done);
        Process::start(move || {
            go.wait().unwrap();
            done.put(list.to_vec().unwrap()).unwrap();
        })?
    };
    // This process has it no more, and the child has not used it so far.
    objects(&manager, 3);
    go.set()?;
    assert_eq!(done.get()?, [1]);
    ends_well(&child);
    objects(&manager, 2);
    // To a child that dies without having used it.
    go.clear()?;
    let list = manager.list::<u32>()?;
    let child = {
        let go = &go;
        Process::start(move || {
            go.wait().unwrap();
            drop(list);
        })?
    };
    objects(&manager, 3);
    child.kill()?;
    let _ = child.join()?;
    objects(&manager, 2);
    Ok(())
}

fn proxies_travel_by_name_and_over_tcp() -> Outcome {
    let manager = Manager::start()?;
    let list = manager.list::<u32>()?;
    // Through a queue that was opened by name, through which no descriptor travels.
    let name = test::unique("manager-post");
    let post = multiproc_queue::Queue::<List<u32>>::create(&name)?;
    let child = Process::start(|| {
        let post = multiproc_queue::Queue::<List<u32>>::open(&name).unwrap();
        post.get().unwrap().push(5).unwrap();
    })?;
    post.put(list.clone())?;
    ends_well(&child);
    multiproc_queue::Queue::<List<u32>>::unlink(&name)?;
    // Through a connection over TCP.
    let listener = multiproc_pipe::Listener::bind("127.0.0.1:0")?;
    let address = listener.address().clone();
    let child = Process::start(|| {
        let line = multiproc_pipe::Client::connect::<List<u32>, List<u32>>(&address).unwrap();
        line.recv().unwrap().push(6).unwrap();
    })?;
    let line = listener.accept::<List<u32>, List<u32>>()?;
    line.send(list.clone())?;
    ends_well(&child);
    assert_eq!(list.to_vec()?, [5, 6]);
    // One that was not sent is given back, one that was never in a message refused.
    let full = multiproc_queue::Queue::<List<u32>>::bounded(1)?;
    full.put(list.clone())?;
    let back = full.try_put(list.clone()).unwrap_err().into_message();
    assert_eq!(back, full.get()?);
    drop(back);
    let bytes = postcard::to_allocvec(&list);
    assert!(bytes.is_err());
    drop((list, post));
    objects(&manager, 0);
    Ok(())
}

fn objects_given_to_methods_and_returned_by_them() -> Outcome {
    let manager = Manager::builder().register(Register::default).start()?;
    let register = manager.make::<RegisterProxy>()?;
    for n in 1..=3 {
        let list = manager.list::<u32>()?;
        list.extend([n, n])?;
        assert_eq!(register.keep(list)?, n); // and only the register has it
    }
    objects(&manager, 4);
    assert_eq!(register.total()?, Ok(12));
    let first = register.first()?.unwrap();
    assert_eq!(first.to_vec()?, [1, 1]);
    register.forget()?;
    objects(&manager, 2);
    assert_eq!(first.to_vec()?, [1, 1]);
    drop(first);
    objects(&manager, 1);
    Ok(())
}

fn files_in_a_dict() -> Outcome {
    use multiproc_parcel::Descriptor;
    let manager = Manager::start()?;
    let pipes = manager.dict::<String, Descriptor<std::io::PipeWriter>>()?;
    let queues = manager.dict::<String, multiproc_queue::Queue<u32>>()?;
    let (mut reader, writer) = std::io::pipe()?;
    pipes.insert("one".to_owned(), Descriptor(writer))?;
    let plain = multiproc_queue::Queue::<u32>::unbounded()?;
    queues.insert("plain".to_owned(), &plain)?;
    let child = Process::start(|| -> Outcome {
        for _ in 0..2 {
            let Descriptor(mut pipe) = pipes.get("one")?.unwrap();
            pipe.write_all(b"hello ")?;
        }
        queues.get("plain")?.unwrap().put(5)?;
        Ok(())
    })?;
    ends_well(&child);
    assert_eq!(plain.get()?, 5);
    pipes.clear()?;
    let mut text = String::new();
    reader.read_to_string(&mut text)?; // ends, as nobody has the other end
    assert_eq!(text, "hello hello ");
    // Registered ends are somebody's.
    let ends = manager.list::<multiproc_queue::Producer<u32>>()?;
    let (tx, rx) = multiproc_queue::Queue::<u32>::unbounded()?.split();
    assert!(matches!(ends.push(&tx), Err(CallError::Encode(why)) if why.contains("end")));
    tx.put(1)?; // as it was
    assert_eq!(rx.get()?, 1);
    Ok(())
}

fn another_item_type_is_refused_by_both_names() -> Outcome {
    let manager = Manager::start()?;
    let list = manager.list::<u32>()?;
    manager.publish("list", &list)?;
    let Err(CallError::OtherType { found, expected }) = manager.find::<List<String>>("list") else {
        panic!("it was found");
    };
    assert!(
        found.contains("u32") && expected.contains("String"),
        "{found} {expected}"
    );
    assert!(manager.find::<Dict<u32, u32>>("list").is_err());
    assert_eq!(manager.find::<List<u32>>("list")?, Some(list.clone()));
    // In a message: the receiver's type counts.
    let post = multiproc_queue::Queue::<List<u32>>::unbounded()?;
    post.put(list)?;
    Ok(())
}

fn names_are_published_found_and_withdrawn() -> Outcome {
    let manager = Manager::start()?;
    let queue = manager.queue::<u32>()?;
    manager.publish("jobs", &queue)?;
    assert!(manager.publish("jobs", &queue).is_err());
    queue.put(1)?;
    drop(queue);
    objects(&manager, 1); // the name keeps it
    let found: Queue<u32> = manager.find("jobs")?.unwrap();
    assert_eq!(found.get()?, 1);
    drop(found);
    assert!(manager.withdraw("jobs")? && !manager.withdraw("jobs")?);
    objects(&manager, 0);
    assert_eq!(manager.find::<Queue<u32>>("jobs")?, None);
    Ok(())
}

fn another_program_over_each_kind_of_address() -> Outcome {
    let path = format!("/tmp/{}", test::unique("manager"));
    let name = format!("@{}", test::unique("manager"));
    for address in [&*path, &*name, "127.0.0.1:0", "[::1]:0"] {
        let server = Server::builder().key("secret").register(Register::default);
        let server = match server.bind(address) {
            Ok(server) => server,
            // A machine without that kind of network.
            Err(why) if address.starts_with('[') => {
                println!("{why}");
                continue;
            }
            Err(why) => return Err(why.into()),
        };
        let address = server.address().clone();
        let program = Process::builder()
            .daemon(true)
            .start(move || server.serve_forever())?;
        let manager = Manager::connect(&address, "secret")?;
        let register = manager.make::<RegisterProxy>()?;
        let list = manager.list::<u32>()?;
        register.keep(list.clone())?;
        let dict = manager.dict::<String, Queue<u32>>()?;
        dict.insert("q".to_owned(), manager.queue()?)?;
        let client = Process::start(|| -> Outcome {
            let manager = Manager::connect(&address, "secret")?;
            list.push(1)?;
            let queue = dict.get("q")?.unwrap();
            queue.put(7)?;
            assert!(matches!(
                manager.shut_down(),
                Err(multiproc_manager::ShutDownError::NotOwner)
            ));
            Ok(())
        })?;
        ends_well(&client);
        assert_eq!(dict.get("q")?.unwrap().get()?, 7);
        assert_eq!(register.total()?, Ok(1));
        // A big one, both ways.
        let big = manager.value(vec![7_u8; 3 << 20])?;
        assert_eq!(big.get()?.len(), 3 << 20);
        drop((register, list, dict, big));
        objects(&manager, 0);
        program.terminate()?;
        let _ = program.join()?;
        assert_eq!(manager.list::<u8>().err(), Some(CallError::ServerGone));
        if let Address::Path(path) = &address {
            std::fs::remove_file(path)?; // terminated, it could not
        }
    }
    assert!(Server::builder().bind("127.0.0.1:0").is_err()); // no key
    Ok(())
}

fn a_wrong_key_is_refused_and_the_server_lives_on() -> Outcome {
    let server = Server::builder().key("right").bind("127.0.0.1:0")?;
    let address = server.address().clone();
    let _program = Process::builder()
        .daemon(true)
        .start(move || server.serve_forever())?;
    for wrong in ["wrong", "", "right "] {
        let refused = Manager::connect(&address, wrong).unwrap_err();
        assert!(matches!(&refused, CallError::Connect(_)), "{refused}");
    }
    assert!(Manager::connect_without_key(&address).is_err());
    let manager = Manager::connect(&address, "right")?;
    manager.list::<u8>()?.push(1)?;
    assert!(Manager::connect("127.0.0.1:1", "right").is_err());
    assert!(Manager::connect("no address", "right").is_err());
    Ok(())
}

fn raw(address: &Address) -> Box<dyn ReadWrite> {
    match address {
        Address::Tcp(address) => Box::new(TcpStream::connect::<SocketAddr>(*address).unwrap()),
        Address::Abstract(name) => {
            let name = std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap();
            Box::new(UnixStream::connect_addr(&name).unwrap())
        }
        other => panic!("{other}"),
    }
}

trait ReadWrite: Read + Write {}

impl<T: Read + Write> ReadWrite for T {}

fn garbage_and_half_open_connections_hurt_nobody_else() -> Outcome {
    let name = format!("@{}", test::unique("manager"));
    for address in [&*name, "127.0.0.1:0"] {
        let server = Server::builder().key("secret").bind(address)?;
        let address = server.address().clone();
        let _program = Process::builder()
            .daemon(true)
            .start(move || server.serve_forever())?;
        let manager = Manager::connect(&address, "secret")?;
        let list = manager.list::<u8>()?;
        let mut open = Vec::new();
        let mut dice = Dice(5);
        for n in 0..40 {
            let mut socket = raw(&address);
            match n % 4 {
                // Nothing at all.
                0 => {}
                1 => {
                    let garbage: Vec<u8> = (0..1000).map(|_| dice.roll(256) as u8).collect();
                    let _ = socket.write_all(&garbage);
                }
                // A length that is never kept.
                2 => {
                    let _ = socket.write_all(&u32::MAX.to_le_bytes());
                }
                _ => {
                    let _ = socket.write_all(&[100, 0, 0, 0, 1, 2, 3]);
                }
            }
            open.push(socket);
            list.push(n)?;
        }
        assert_eq!(list.len()?, 40);
        // A new one gets in while they are open.
        let late = Process::start(|| -> Outcome {
            let manager = Manager::connect(&address, "secret")?;
            manager.list::<u8>()?.push(1)?;
            list.push(1)?;
            Ok(())
        })?;
        ends_well(&late);
        assert_eq!(list.len()?, 41);
    }
    Ok(())
}

/// Raises the limit of descriptors; as many as this process may have now.
fn many_descriptors(wanted: u64) -> u64 {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let _ = setrlimit(Resource::RLIMIT_NOFILE, wanted.max(soft).min(hard), hard);
    getrlimit(Resource::RLIMIT_NOFILE).unwrap().0
}

fn cpu_of(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let rest = &stat[stat.rfind(')').unwrap() + 1..];
    let fields: Vec<u64> = rest
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|n| n.parse().unwrap())
        .collect();
    Duration::from_millis((fields[0] + fields[1]) * 10)
}

fn a_thousand_idle_connections() -> Outcome {
    let connections = 1_000;
    let allowed = many_descriptors(16_384);
    if allowed < 8_192 {
        println!("skipped: only {allowed} descriptors are allowed");
        return Ok(());
    }
    let manager = Manager::start()?;
    let event = manager.event()?;
    let server = manager.process().unwrap().pid();
    // One call per thread at a time: so many connections.
    let clients = Process::start_each(0..4, |_| {
        std::thread::scope(|scope| {
            for _ in 0..connections / 4 {
                scope.spawn(|| event.wait().unwrap());
            }
        });
    })?;
    until("all to be connected", || {
        manager.numbers().unwrap().connections > connections
    });
    let list = manager.list::<u32>()?;
    let (before, begun) = (cpu_of(server), Instant::now());
    for n in 0..2_000 {
        list.push(n)?;
    }
    println!(
        "2,000 calls beside {connections} waiting ones: {:?}",
        begun.elapsed()
    );
    std::thread::sleep(Duration::from_secs(1));
    let used = (cpu_of(server) - before).as_secs_f64() / begun.elapsed().as_secs_f64();
    println!("the server used {:.0} % of a processor", 100.0 * used);
    event.set()?;
    join_all(clients)?;
    until("all to be gone", || {
        manager.numbers().unwrap().connections == 1
    });
    Ok(())
}

fn one_who_never_reads_hurts_nobody_else() -> Outcome {
    let server = Server::builder().key("secret").bind("127.0.0.1:0")?;
    let tcp = server.address().clone();
    let _program = Process::builder()
        .daemon(true)
        .start(move || server.serve_forever())?;
    let local = Manager::start()?;
    for manager in [Manager::connect(&tcp, "secret")?, local] {
        let value = manager.value(vec![1_u8; 1 << 20])?;
        let list = manager.list::<u32>()?;
        let asked = shared(0);
        let silent = Process::start(|| {
            std::thread::scope(|scope| {
                for _ in 0..20 {
                    scope.spawn(|| {
                        asked.fetch_add(1, SeqCst);
                        let _ = value.get();
                    });
                }
                // Stopped in the middle of its answers.
                while asked.load(SeqCst) < 20 {
                    std::thread::yield_now();
                }
                let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGSTOP);
            });
        })?;
        reaches(&asked, 20);
        for n in 0..1_000 {
            list.push(n)?;
        }
        assert_eq!(value.get()?.len(), 1 << 20);
        silent.kill()?;
        let _ = silent.join()?;
        assert_eq!(list.len()?, 1_000);
    }
    Ok(())
}

fn limits_are_kept() -> Outcome {
    let manager = Manager::builder()
        .max_clients(3)
        .max_connections(5)
        .start()?;
    let event = manager.event()?;
    let here = shared(0);
    let clients = Process::start_each(0..2, |_| {
        event.is_set().unwrap();
        here.fetch_add(1, SeqCst);
        event.wait().unwrap();
    })?;
    reaches(&here, 2);
    let refused = Process::start(|| {
        assert!(
            matches!(event.is_set(), Err(CallError::Refused(why)) if why.contains("3 clients"))
        );
    })?;
    ends_well(&refused);
    // Connections of this process, too: one for each call at a time. Two of five are the others'.
    std::thread::scope(|scope| -> Outcome {
        let waits: Vec<_> = (0..10)
            .map(|_| scope.spawn(|| event.wait_timeout(Duration::from_secs(1))))
            .collect();
        let waits: Vec<_> = waits.into_iter().map(|wait| wait.join().unwrap()).collect();
        let (waited, refused): (Vec<_>, Vec<_>) = waits.into_iter().partition(Result::is_ok);
        // (One refused late may find a connection that is idle again.)
        assert!(
            waited.len() >= 3 && !refused.is_empty(),
            "{waited:?} {refused:?}"
        );
        for why in refused {
            let Err(CallError::Refused(why)) = &why else {
                panic!("{why:?}");
            };
            assert!(why.contains("connections"), "{why}");
        }
        Ok(())
    })?;
    event.set()?;
    join_all(clients)?;
    Ok(())
}

fn a_message_that_is_too_large_is_refused_whole() -> Outcome {
    let server = Server::builder()
        .key("k")
        .max_message(1 << 20)
        .bind("127.0.0.1:0")?;
    let tcp = server.address().clone();
    let _program = Process::builder()
        .daemon(true)
        .start(move || server.serve_forever())?;
    let local = Manager::builder().max_message(1 << 20).start()?;
    for (manager, is_local) in [(Manager::connect(&tcp, "k")?, false), (local, true)] {
        let list = manager.list::<Vec<u8>>()?;
        list.push(vec![1; 900_000])?;
        list.push(vec![2; 900_000])?;
        let refused = list.push(vec![3; 3 << 20]).unwrap_err();
        match is_local {
            true => assert!(matches!(refused, CallError::TooLarge { .. }), "{refused}"),
            // The server hangs up on it, and that costs nothing else.
            false => {
                assert_eq!(refused, CallError::ConnectionLost);
                assert_eq!(list.len()?, 2);
            }
        }
        // An answer that is too large: the connection lives on.
        if is_local {
            assert!(matches!(list.to_vec(), Err(CallError::TooLarge { .. })));
            assert_eq!(list.len()?, 2);
            assert_eq!(list.get(1)?.unwrap().len(), 900_000);
            let all = list.splice(0..2, []);
            assert!(matches!(
                all,
                Err(multiproc_manager::IndexError::Call(
                    CallError::TooLarge { .. }
                ))
            ));
            assert_eq!(list.pop()?.map(|item| item[0]), Some(2));
        }
    }
    Ok(())
}

fn resident(pid: u32) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
    statm
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        * 4
}

fn ten_thousand_objects_made_and_dropped() -> Outcome {
    let manager = Manager::start()?;
    let server = manager.process().unwrap().pid();
    let round = || -> Outcome {
        let all = manager.list::<List<Vec<u8>>>()?;
        for _ in 0..10_000 {
            let list = manager.list()?;
            list.push(vec![0; 1_000])?;
            all.push(list)?;
        }
        objects(&manager, 10_001);
        drop(all);
        objects(&manager, 0);
        Ok(())
    };
    round()?;
    let first = resident(server);
    for _ in 0..3 {
        round()?;
    }
    let last = resident(server);
    println!("{first} KiB after 10,000 objects, {last} KiB after 40,000");
    assert!(last < first * 3 / 2, "{first} KiB, then {last} KiB");
    Ok(())
}

fn lists_do_what_vectors_do() -> Outcome {
    let manager = Manager::start()?;
    let list = manager.list::<u32>()?;
    let mut model: Vec<u32> = Vec::new();
    let mut dice = Dice(77);
    for n in 0..2_000 {
        let at = dice.roll(model.len() as u64 + 1) as usize;
        let inside = at < model.len();
        match dice.roll(14) {
            0..=3 => {
                list.push(n % 10)?;
                model.push(n % 10);
            }
            4 => assert_eq!(list.pop()?, model.pop()),
            5 => {
                list.insert(at, n)?;
                model.insert(at, n);
            }
            6 if inside => assert_eq!(list.remove(at)?, model.remove(at)),
            7 if inside => assert_eq!(list.set(at, n)?, std::mem::replace(&mut model[at], n)),
            8 => assert_eq!(list.get(at)?, model.get(at).copied()),
            9 => assert_eq!(list.slice(at..)?, model[at..]),
            10 => {
                let others = [n, n + 1];
                assert_eq!(
                    list.splice(at.., others)?,
                    model.splice(at.., others).collect::<Vec<_>>()
                );
            }
            11 => assert_eq!(
                list.index_of(&(n % 10))?,
                model.iter().position(|m| *m == n % 10)
            ),
            12 => assert_eq!(
                list.count(&(n % 10))?,
                model.iter().filter(|m| **m == n % 10).count()
            ),
            _ => {
                list.reverse()?;
                model.reverse();
            }
        }
    }
    assert_eq!(list.to_vec()?, model);
    list.sort()?;
    model.sort();
    assert_eq!(list.to_vec()?, model);
    list.dedup()?;
    model.dedup();
    list.retain(|n| n % 2 == 0)?;
    model.retain(|n| n % 2 == 0);
    assert_eq!(list.iter()?.collect::<Vec<_>>(), model);
    assert!(list.insert(model.len() + 1, 0).is_err());
    assert!(list.slice(model.len() + 1..).is_err() && list.remove(model.len()).is_err());
    assert!(list.set(model.len(), 0).is_err() && list.swap(0, model.len()).is_err());
    assert!(matches!(
        list.fetch_add(model.len(), 1),
        Err(FetchError::OutOfRange { .. })
    ));
    assert!(list.update(model.len(), |n| n).is_err());
    assert_eq!(list.update(0, |n| n + 1)?, model[0] + 1);
    assert!(list.remove_item(&(model[0] + 1))? && !list.contains(&(model[0] + 1))?);
    list.clear()?;
    assert!(list.is_empty()?);
    Ok(())
}

fn a_method_that_is_slow_keeps_only_its_own_callers() -> Outcome {
    let manager = Manager::builder().register(Register::default).start()?;
    let (slow, other) = (
        manager.make::<RegisterProxy>()?,
        manager.make::<RegisterProxy>()?,
    );
    let child = Process::start(|| slow.nap(300).unwrap())?;
    sleeps(&child);
    assert_eq!(other.total()?, Ok(0));
    // One who waits for it and dies.
    let waits = Process::start(|| drop(slow.total()))?;
    sleeps(&waits);
    waits.kill()?;
    let _ = waits.join()?;
    assert_eq!(slow.total()?, Ok(0));
    ends_well(&child);
    assert!(matches!(
        Manager::start()?.make::<RegisterProxy>(),
        Err(CallError::Refused(_)) | Err(CallError::Remote(RemoteError::NotExposed { .. }))
    ));
    Ok(())
}

fn a_guard_in_a_forked_child_releases_nothing() -> Outcome {
    let manager = Manager::start()?;
    let (lock, semaphore) = (manager.lock()?, manager.bounded_semaphore(1)?);
    let jobs = manager.joinable_queue::<u8>()?;
    jobs.put(1)?;
    let held = (lock.lock()?, semaphore.permit()?, jobs.get_task()?);
    let mut held = Some(held);
    // A child has a copy of everything, and drops it.
    let child = Process::start(|| drop(held.take()))?;
    ends_well(&child);
    assert!(lock.is_locked()?);
    assert_eq!(semaphore.value()?, 0);
    assert_eq!(jobs.unfinished()?, 1);
    drop(held);
    assert!(!lock.is_locked()?);
    jobs.join()?;
    Ok(())
}

fn proxies_are_for_all_threads() {
    fn send<T: Send>() {}
    fn sync<T: Send + Sync + Clone>() {}
    use multiproc_manager as mm;
    sync::<mm::Dict<u8, u8>>();
    sync::<mm::List<u8>>();
    sync::<mm::Set<u8>>();
    sync::<mm::Namespace>();
    sync::<mm::Value<u8>>();
    sync::<mm::Array<u8>>();
    sync::<mm::Queue<u8>>();
    sync::<mm::JoinableQueue<u8>>();
    sync::<mm::Event>();
    sync::<mm::Lock>();
    sync::<mm::RLock>();
    sync::<mm::Semaphore>();
    sync::<mm::BoundedSemaphore>();
    sync::<mm::Condition>();
    sync::<mm::Barrier>();
    sync::<RegisterProxy>();
    // Also of what is neither.
    sync::<mm::List<std::rc::Rc<u8>>>();
    send::<mm::Permit>();
    send::<mm::Task<u8>>();
    send::<mm::RemoteIter<u8>>();
    send::<mm::Manager>();
    send::<mm::Server>();
}
