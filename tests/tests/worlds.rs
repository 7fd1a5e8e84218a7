//! One body, several worlds: what the crates' own tests show between a process and the children
//! it forks holds between it and children that are started anew or come from a server, too. The
//! children's bodies are plain functions, the handles are their arguments.

use multiproc_barrier::Barrier;
use multiproc_condition::Condition;
use multiproc_core::step;
use multiproc_event::Event;
use multiproc_lock::{Lock, Mutex, OwnerDied, RwLock};
use multiproc_parcel::Descriptor;
use multiproc_pipe::{Client, Connection, Listener, Pipe, Receiver, RecvError, Sender};
use multiproc_process::{Context, ExitValue, Process, StartMethod, test};
use multiproc_queue::{Consumer, GetError, JoinableQueue, Producer, Queue, SimpleQueue};
use multiproc_rlock::RLock;
use multiproc_segment::{Shareable, Shared};
use multiproc_semaphore::Semaphore;
use multiproc_value::{Array, ShareableList, SharedMemory, Value};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

type Outcome = Result<(), Box<dyn std::error::Error>>;

test::main! {
    a_queue_fills_from_children,
    registered_ends_move_into_children_and_their_end_is_the_end_of_the_stream,
    a_killed_producer_is_the_end_of_the_stream,
    tasks_are_done_by_children_and_redelivered_when_one_dies,
    a_pipe_echoes,
    a_connection_closed_by_a_kill_is_the_end_of_the_stream,
    a_lock_is_passed_on_to_a_grandchild_of_another_kind,
    a_mutex_whose_holder_was_killed_says_so,
    a_semaphore_gets_the_permits_of_the_dead_back,
    an_rlock_belongs_to_its_process,
    readers_and_writers_exclude_each_other,
    an_event_starts_them_all,
    a_condition_wakes_a_child,
    a_barrier_holds_children_in_step_and_breaks_when_one_dies,
    a_users_struct_travels_as_one_object,
    values_arrays_lists_and_raw_memory_are_shared,
    files_and_sockets_are_arguments,
    children_connect_to_a_listener,
    named_objects_are_found,
}

/// Runs it in each world.
fn in_each_world(body: impl Fn(Context)) {
    for method in StartMethod::ALL {
        println!("by {method}");
        body(Context::new(method));
    }
}

/// Starts a child that has a copy of the handles.
fn start<A, R>(world: Context, f: fn(A) -> R, arguments: A) -> Process
where
    A: Serialize + DeserializeOwned,
    R: ExitValue,
{
    match world.start(f, arguments) {
        Ok(child) => child,
        Err(refused) => panic!("{refused}"),
    }
}

fn ends_well(child: Process) {
    child.join().unwrap().ok().unwrap();
}

fn is_killed(child: Process) {
    assert_eq!(child.join().unwrap().signal(), Some(libc::SIGKILL));
}

fn die() -> ! {
    step::arm(0);
    step::at("here");
    unreachable!("killed");
}

fn shared<T: Shareable>(value: T) -> Shared<T> {
    Shared::new(value).unwrap()
}

const PATIENCE: Duration = Duration::from_secs(30);

fn a_queue_fills_from_children() {
    fn put((queue, from): (Queue<u64>, u64)) {
        (from..from + 1_000).for_each(|n| queue.put(n).unwrap());
    }
    in_each_world(|world| {
        let queue = Queue::bounded(50).unwrap();
        let children = [0, 1_000, 2_000].map(|from| start(world, put, (queue.clone(), from)));
        let sum: u64 = (0..3_000).map(|_| queue.get().unwrap()).sum();
        assert_eq!(sum, 2_999 * 3_000 / 2);
        children.into_iter().for_each(ends_well);
        assert!(queue.is_empty());
    });
}

fn registered_ends_move_into_children_and_their_end_is_the_end_of_the_stream() {
    fn produce(tx: Producer<String>) {
        (0..100).for_each(|n| tx.put(n.to_string()).unwrap());
    }
    fn consume((rx, total): (Consumer<String>, Value<u64>)) {
        let sum: u64 = rx.iter().map(|n| n.unwrap().parse::<u64>().unwrap()).sum();
        *total.lock().unwrap() += sum;
    }
    in_each_world(|world| {
        let total = Value::new(0_u64).unwrap();
        let (tx, rx) = Queue::bounded(10).unwrap().split();
        let consumers = [0; 2].map(|_| start(world, consume, (rx.clone(), total.clone())));
        let producers = [0; 2].map(|_| start(world, produce, tx.clone()));
        drop((tx, rx));
        producers.into_iter().for_each(ends_well);
        consumers.into_iter().for_each(ends_well);
        assert_eq!(total.get().unwrap(), 2 * 99 * 100 / 2);
    });
}

fn a_killed_producer_is_the_end_of_the_stream() {
    fn produce(tx: Producer<u8>) {
        tx.put(1).unwrap();
        die();
    }
    in_each_world(|world| {
        let (tx, rx) = Queue::bounded(10).unwrap().split();
        let child = start(world, produce, tx);
        assert_eq!(rx.get(), Ok(1));
        assert_eq!(rx.get(), Err(GetError::Closed));
        is_killed(child);
    });
}

fn tasks_are_done_by_children_and_redelivered_when_one_dies() {
    fn work((jobs, sum): (JoinableQueue<u64>, Shared<AtomicU64>)) {
        while let Ok(job) = jobs.get_task() {
            if *job == 13 && job.attempt() == 1 {
                die();
            }
            sum.fetch_add(*job, SeqCst);
        }
    }
    in_each_world(|world| {
        let (jobs, sum) = (
            JoinableQueue::unbounded().unwrap(),
            shared(AtomicU64::new(0)),
        );
        (1..=20).for_each(|n| jobs.put(n).unwrap());
        let workers = [0; 2].map(|_| start(world, work, (jobs.clone(), sum.clone())));
        jobs.join().unwrap();
        assert_eq!(sum.load(SeqCst), 210);
        jobs.queue().shut_down();
        let ends = workers.map(|worker| worker.join().unwrap().signal());
        assert_eq!(ends.iter().flatten().count(), 1, "{ends:?}");
    });
}

fn a_pipe_echoes() {
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
        ends_well(child);

        let (rx, tx) = Pipe::simplex().unwrap();
        let (back_rx, back_tx) = Pipe::simplex().unwrap();
        let child = start(world, halves, (rx, back_tx));
        let inner = SimpleQueue::new().unwrap();
        inner.put(9).unwrap();
        tx.send(inner).unwrap();
        assert_eq!(back_rx.recv(), Ok(9));
        assert_eq!(back_rx.recv(), Err(RecvError::Closed));
        ends_well(child);
    });
}

fn a_connection_closed_by_a_kill_is_the_end_of_the_stream() {
    fn dies(right: Connection<u32>) {
        right.send(7).unwrap();
        die();
    }
    in_each_world(|world| {
        let (left, right) = Pipe::<u32>::duplex().unwrap();
        let child = start(world, dies, right);
        assert_eq!(left.recv(), Ok(7));
        assert_eq!(left.recv(), Err(RecvError::Closed));
        is_killed(child);
        assert!(left.send(1).is_err());
    });
}

fn a_lock_is_passed_on_to_a_grandchild_of_another_kind() {
    type Given = (Shared<Lock>, Queue<String>, u8);
    fn release((lock, log, depth): Given) {
        log.put(format!("{depth}")).unwrap();
        if depth == 0 {
            return lock.release().unwrap(); // what its great-grandparent acquired
        }
        let next = Context::new(StartMethod::ALL[usize::from(depth) % 3]);
        let child = start(next, release, (lock, log, depth - 1));
        ends_well(child);
    }
    in_each_world(|world| {
        let (lock, log) = (shared(Lock::new()), Queue::unbounded().unwrap());
        lock.acquire().unwrap();
        ends_well(start(world, release, (lock.clone(), log.clone(), 3)));
        assert!(!lock.locked());
        let told: Vec<String> = (0..4).map(|_| log.get().unwrap()).collect();
        assert_eq!(told, ["3", "2", "1", "0"]);
    });
}

fn a_mutex_whose_holder_was_killed_says_so() {
    fn dies(mutex: Shared<Mutex<u64>>) {
        let mut held = mutex.lock().unwrap();
        *held = 99;
        die();
    }
    in_each_world(|world| {
        let mutex = shared(Mutex::new(1_u64));
        is_killed(start(world, dies, mutex.clone()));
        let Err(OwnerDied(mut held)) = mutex.lock() else {
            panic!("nobody said that the owner died");
        };
        *held = 2;
        held.mended();
        drop(held);
        assert_eq!(*mutex.lock().unwrap(), 2);
    });
}

fn a_semaphore_gets_the_permits_of_the_dead_back() {
    fn dies((gate, inside): (Shared<Semaphore>, Shared<Event>)) {
        let _permit = gate.permit();
        inside.set();
        die();
    }
    in_each_world(|world| {
        let (gate, inside) = (shared(Semaphore::new(1)), shared(Event::new()));
        let child = start(world, dies, (gate.clone(), inside.clone()));
        inside.wait();
        drop(gate.permit());
        is_killed(child);
        assert_eq!(gate.value(), 1);
    });
}

fn an_rlock_belongs_to_its_process() {
    type Given = (Shared<RLock>, Shared<Event>, Queue<bool>);
    fn tries((lock, held, told): Given) {
        held.wait();
        told.put(lock.try_acquire().is_ok()).unwrap();
        told.put(lock.release().is_ok()).unwrap();
    }
    in_each_world(|world| {
        let (lock, held) = (shared(RLock::new()), shared(Event::new()));
        let told = Queue::unbounded().unwrap();
        // Started first: who holds a lock does not fork.
        let child = start(world, tries, (lock.clone(), held.clone(), told.clone()));
        lock.acquire().unwrap();
        lock.acquire().unwrap();
        held.set();
        assert_eq!((told.get(), told.get()), (Ok(false), Ok(false)));
        lock.release().unwrap();
        lock.release().unwrap();
        ends_well(child);
    });
}

fn readers_and_writers_exclude_each_other() {
    fn writes(both: Shared<RwLock<[u64; 2]>>) {
        for _ in 0..500 {
            let mut both = both.write().unwrap();
            both[0] += 1;
            both[1] += 1;
        }
    }
    in_each_world(|world| {
        let both = shared(RwLock::new([0_u64; 2]));
        let writers = [0; 2].map(|_| start(world, writes, both.clone()));
        loop {
            let seen = both.read().unwrap();
            assert_eq!(seen[0], seen[1]);
            if seen[0] == 1_000 {
                break;
            }
        }
        writers.into_iter().for_each(ends_well);
    });
}

fn an_event_starts_them_all() {
    fn runs((go, lanes): (Shared<Event>, Shared<AtomicU64>)) {
        go.wait();
        lanes.fetch_add(1, SeqCst);
    }
    in_each_world(|world| {
        let (go, lanes) = (shared(Event::new()), shared(AtomicU64::new(0)));
        let runners = [0; 3].map(|_| start(world, runs, (go.clone(), lanes.clone())));
        assert_eq!(lanes.load(SeqCst), 0);
        go.set();
        runners.into_iter().for_each(ends_well);
        assert_eq!(lanes.load(SeqCst), 3);
    });
}

#[derive(Shareable)]
#[shareable(crate = multiproc_segment)]
#[repr(C)]
struct Stage {
    step: Mutex<u64>,
    changed: Condition,
}

fn a_condition_wakes_a_child() {
    fn follows(stage: Shared<Stage>) {
        let step = stage.step.lock().unwrap();
        let (step, there) = stage.changed.wait_for(step, |step| **step >= 4).unwrap();
        assert!(there && *step >= 4);
    }
    in_each_world(|world| {
        let stage = shared(Stage {
            step: Mutex::new(0),
            changed: Condition::new(),
        });
        let child = start(world, follows, stage.clone());
        for _ in 0..4 {
            let mut step = stage.step.lock().unwrap();
            *step += 1;
            stage.changed.notify_all(&step);
        }
        ends_well(child);
    });
}

fn a_barrier_holds_children_in_step_and_breaks_when_one_dies() {
    fn steps((barrier, phase): (Shared<Barrier>, Shared<AtomicU64>)) {
        for round in 0..10 {
            barrier.wait().unwrap();
            assert!(phase.fetch_add(1, SeqCst) / 3 == round);
            barrier.wait().unwrap();
        }
    }
    fn dies_waiting(barrier: Shared<Barrier>) {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while barrier.n_waiting() == 0 {
                    std::thread::yield_now();
                }
                die();
            });
            let _ = barrier.wait();
        });
    }
    in_each_world(|world| {
        let (barrier, phase) = (shared(Barrier::new(3)), shared(AtomicU64::new(0)));
        let children = [0; 3].map(|_| start(world, steps, (barrier.clone(), phase.clone())));
        children.into_iter().for_each(ends_well);
        assert_eq!(phase.load(SeqCst), 30);
        is_killed(start(world, dies_waiting, barrier.clone()));
        assert!(barrier.wait().is_err());
    });
}

#[derive(Shareable)]
#[shareable(crate = multiproc_segment)]
#[repr(C)]
struct Office {
    door: Lock,
    desks: Semaphore,
    served: Mutex<[u64; 4]>,
}

fn a_users_struct_travels_as_one_object() {
    fn serve((office, desk): (Shared<Office>, usize)) {
        for _ in 0..100 {
            let _desk = office.desks.permit();
            let _door = office.door.lock().unwrap();
            office.served.lock().unwrap()[desk] += 1;
        }
    }
    in_each_world(|world| {
        let office = shared(Office {
            door: Lock::new(),
            desks: Semaphore::new(2),
            served: Mutex::new([0; 4]),
        });
        let clerks = [0, 1, 2].map(|desk| start(world, serve, (office.clone(), desk)));
        clerks.into_iter().for_each(ends_well);
        assert_eq!(*office.served.lock().unwrap(), [100, 100, 100, 0]);
    });
}

type Memories = (Value<i64>, Array<f64>, ShareableList, SharedMemory);

fn values_arrays_lists_and_raw_memory_are_shared() {
    fn change((value, array, list, memory): Memories) {
        *value.lock().unwrap() *= 2;
        array.lock().unwrap().iter_mut().for_each(|x| *x *= 2.0);
        list.set(0, "four").unwrap();
        memory.write_at(0, b"here").unwrap();
    }
    in_each_world(|world| {
        let value = Value::new(21_i64).unwrap();
        let array = Array::from_slice(&[1.0, 2.0, 3.0]).unwrap();
        let list = ShareableList::new(["word".into(), "rest".into()]).unwrap();
        let memory = SharedMemory::anonymous(100).unwrap();
        let given = (value.clone(), array.clone(), list.clone(), memory.clone());
        ends_well(start(world, change, given));
        assert_eq!(value.get().unwrap(), 42);
        assert_eq!(array.lock().unwrap()[..], [2.0, 4.0, 6.0]);
        assert_eq!(list.get(0).unwrap(), "four".into());
        assert_eq!(memory.read_vec(0, 4).unwrap(), b"here");
    });
}

fn files_and_sockets_are_arguments() -> Outcome {
    fn write((Descriptor(mut pipe), Descriptor(mut socket)): Ends) {
        write!(pipe, "by pipe").unwrap();
        write!(socket, "by socket").unwrap();
    }
    type Ends = (
        Descriptor<std::io::PipeWriter>,
        Descriptor<std::os::unix::net::UnixStream>,
    );
    for method in StartMethod::ALL {
        let (mut reader, writer) = std::io::pipe()?;
        let (mut here, there) = std::os::unix::net::UnixStream::pair()?;
        let ends = (Descriptor(writer), Descriptor(there));
        let child = start(Context::new(method), write, ends);
        let (mut by_pipe, mut by_socket) = (String::new(), String::new());
        // Each ends only if no copy of the other end is left here.
        reader.read_to_string(&mut by_pipe)?;
        here.read_to_string(&mut by_socket)?;
        assert_eq!((&by_pipe[..], &by_socket[..]), ("by pipe", "by socket"));
        ends_well(child);
    }
    Ok(())
}

fn children_connect_to_a_listener() {
    fn connect(address: String) {
        let server: Connection<u8> = Client::options()
            .key("secret")
            .connect(address.as_str())
            .unwrap();
        server.send(1).unwrap();
        assert_eq!(server.recv(), Ok(2));
    }
    in_each_world(|world| {
        let listener = Listener::options().key("secret").bind_anywhere().unwrap();
        let child = start(world, connect, listener.address().to_string());
        let client: Connection<u8> = listener.accept_timeout(PATIENCE).unwrap();
        assert_eq!(client.recv(), Ok(1));
        client.send(2).unwrap();
        ends_well(child);
    });
}

fn named_objects_are_found() {
    fn find(name: String) {
        Queue::<u8>::open(&name).unwrap().put(5).unwrap();
    }
    in_each_world(|world| {
        let name = test::unique("worlds");
        let queue = Queue::<u8>::create(&name).unwrap();
        let child = start(world, find, name.clone());
        assert_eq!(queue.get(), Ok(5));
        ends_well(child);
        Queue::<u8>::unlink(&name).unwrap();
    });
}
