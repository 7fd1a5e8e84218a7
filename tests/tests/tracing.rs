//! What a subscriber of the package `tracing` hears (feature `tracing`): rare things, by name, after
//! they have happened, and with no lock of the toolkit held.

use common::PATIENCE;
use multiproc::{
    Client, JoinableQueue, Listener, Lock, Mutex, Process, Queue, RLock, Shared, active_children,
    test,
};
use multiproc_core::step;
use std::fmt::{Debug, Write};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex as StdMutex};
use std::time::Duration;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

test::main! {
    processes_that_start_and_end,
    a_child_whose_handle_was_dropped,
    locks_whose_holders_died,
    #[timeout(120)]
    the_lock_of_a_ring_whose_writer_died,
    the_slot_of_a_dead_end,
    a_task_that_is_delivered_again,
    names_made_and_removed,
    a_handshake_that_is_refused,
    nothing_on_the_paths_that_are_fast,
}

/// Writes down what it is told.
#[derive(Clone, Default)]
struct Ear(Arc<StdMutex<Vec<String>>>);

struct Words(String);

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => self.0.insert_str(0, &format!("{value:?}")),
            name => write!(self.0, " {name}={value:?}").expect("a string"),
        }
    }
}

impl Subscriber for Ear {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "multiproc"
    }

    fn event(&self, event: &Event<'_>) {
        let mut words = Words(String::new());
        event.record(&mut words);
        self.0.lock().unwrap().push(words.0);
        // It may use the toolkit: this one takes the lock around what a process knows of itself.
        let _ = (multiproc::current().name(), active_children());
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

impl Ear {
    /// For all of this process from now on: each test is a process.
    fn open() -> Self {
        let ear = Self::default();
        tracing::subscriber::set_global_default(ear.clone()).expect("the first one");
        ear
    }

    /// What was heard since it was last asked.
    fn heard(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    /// The same, without what is said of processes.
    fn heard_of_objects(&self) -> Vec<String> {
        let mut heard = self.heard();
        heard.retain(|words| !words.starts_with("process "));
        heard
    }
}

/// A child that ends as if killed at the end of `body`: nothing is dropped.
fn killed_after(body: impl FnOnce()) {
    let child = Process::start(|| {
        body();
        // SAFETY: a system call on this very process.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    });
    let exit = child.unwrap().join().unwrap();
    assert_eq!(exit.signal(), Some(libc::SIGKILL));
}

fn processes_that_start_and_end() {
    let ear = Ear::open();
    let child = Process::builder()
        .name("worker")
        .start(|| std::process::ExitCode::from(3))
        .unwrap();
    let pid = child.pid();
    assert_eq!(
        ear.heard(),
        [format!(
            "process started name=\"worker\" pid={pid} daemon=false"
        )]
    );
    assert_eq!(child.join().unwrap().code(), 3);
    let ended = format!("process ended name=\"worker\" pid={pid} code=3");
    assert_eq!(ear.heard(), [ended]);
    // Once.
    assert_eq!(child.exit_code(), Some(3));
    assert!(active_children().is_empty());
    assert_eq!(ear.heard(), [""; 0]);
}

fn a_child_whose_handle_was_dropped() {
    let ear = Ear::open();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(Process::start(move || drop(writer)).unwrap());
    std::io::read_to_string(reader).unwrap();
    // It ends, sooner or later, and then some look at the children finds it.
    while !active_children().is_empty() {
        std::thread::yield_now();
    }
    let heard = ear.heard();
    assert_eq!(heard.len(), 2, "{heard:?}");
    assert!(heard[1].starts_with("process ended name=\"Process-1\""));
    assert!(heard[1].ends_with("code=0"), "{}", heard[1]);
}

fn locks_whose_holders_died() {
    let (mutex, rlock, lock) = (
        Shared::new(Mutex::new(0_u32)).unwrap(),
        Shared::new(RLock::new()).unwrap(),
        Shared::new(Lock::new()).unwrap(),
    );
    let ear = Ear::open();
    killed_after(|| {
        std::mem::forget(mutex.lock());
        std::mem::forget(rlock.lock());
        lock.acquire().unwrap();
    });
    ear.heard();
    drop(mutex.lock().unwrap_err());
    assert_eq!(ear.heard(), ["lock recovered: its holder died"]);
    drop(rlock.lock().unwrap_err());
    assert_eq!(ear.heard(), ["lock recovered: its holder died"]);
    drop(lock.lock().unwrap_err());
    let heard = ear.heard();
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert!(heard[0].starts_with("lock recovered: its holder died pid="));
    // Recovered once; it stays damaged, and that is no news.
    drop(mutex.lock().unwrap_err());
    assert_eq!(ear.heard(), [""; 0]);
}

fn the_lock_of_a_ring_whose_writer_died() {
    let queue = Queue::<u64>::bounded(100).unwrap();
    let ear = Ear::open();
    let mut recovered = 0;
    for n in 0.. {
        let writer = Process::start(|| {
            step::arm(n);
            queue.put(n).unwrap();
            step::disarm();
        });
        let through = writer.unwrap().join().unwrap().success();
        queue.put(n).unwrap();
        while queue.get_timeout(Duration::ZERO).is_ok() {}
        let heard = ear.heard_of_objects();
        recovered += heard.iter().filter(|w| w.starts_with("lock recov")).count();
        if through {
            break;
        }
    }
    assert!(recovered > 0, "nobody was killed with the lock in hand?");
}

fn the_slot_of_a_dead_end() {
    let queue = Queue::<u64>::bounded(1).unwrap();
    let ear = Ear::open();
    killed_after(|| {
        // As many as there can be.
        while let Ok(producer) = queue.producer() {
            std::mem::forget(producer);
        }
    });
    ear.heard();
    let _mine = queue.producer().unwrap();
    assert_eq!(ear.heard(), ["slot of a dead end taken back index=0"]);
}

fn a_task_that_is_delivered_again() {
    let queue = JoinableQueue::<u64>::unbounded().unwrap();
    queue.put(7).unwrap();
    let ear = Ear::open();
    killed_after(|| std::mem::forget(queue.get_task().unwrap()));
    ear.heard();
    let task = queue.get_task_timeout(PATIENCE).unwrap();
    assert_eq!((*task, task.attempt()), (7, 2));
    let heard = ear.heard();
    assert!(
        heard.contains(&"task delivered again attempt=2".to_owned()),
        "{heard:?}"
    );
}

fn names_made_and_removed() {
    let ear = Ear::open();
    let name = test::unique("heard");
    let word = || AtomicU64::new(0);
    let shared = Shared::create(&name, word()).unwrap();
    assert_eq!(ear.heard(), [format!("name created name={name:?}")]);
    // What fails is not told, nor what has no name.
    Shared::create(&name, word()).unwrap_err();
    drop(Shared::new(word()).unwrap());
    assert_eq!(ear.heard(), [""; 0]);
    Shared::<AtomicU64>::unlink(&name).unwrap();
    assert_eq!(ear.heard(), [format!("name removed name={name:?}")]);
    drop(shared);
    assert_eq!(ear.heard(), [""; 0]);

    let options = Shared::<AtomicU64>::options().temporary(true);
    drop(options.create(&name, word()).unwrap());
    let (made, gone) = (
        format!("name created name={name:?}"),
        format!("temporary name removed: nobody had it open name={name:?}"),
    );
    assert_eq!(ear.heard(), [made, gone]);
}

fn a_handshake_that_is_refused() {
    let address = format!("@{}", test::unique("heard"));
    let listener = Listener::options().key("right").bind(&*address).unwrap();
    let ear = Ear::open();
    let stranger = Process::start(|| {
        let options = Client::options().key("wrong");
        options.connect::<u8, u8>(&*address).unwrap_err();
    });
    listener.accept_timeout::<u8, u8>(PATIENCE).unwrap_err();
    stranger.unwrap().join().unwrap().ok().unwrap();
    let heard = ear.heard_of_objects();
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert!(heard[0].starts_with("handshake refused why="), "{heard:?}");
    // Nobody came: that is no refusal.
    listener
        .accept_timeout::<u8, u8>(Duration::ZERO)
        .unwrap_err();
    assert_eq!(ear.heard(), [""; 0]);
}

fn nothing_on_the_paths_that_are_fast() {
    let ear = Ear::open();
    let queue = Queue::<u64>::bounded(10).unwrap();
    let total = Shared::new(Mutex::new(0_u64)).unwrap();
    for n in 0..1_000 {
        queue.put(n).unwrap();
        *total.lock().unwrap() += queue.get().unwrap();
    }
    assert_eq!(*total.lock().unwrap(), 499_500);
    assert_eq!(ear.heard(), [""; 0]);
}
