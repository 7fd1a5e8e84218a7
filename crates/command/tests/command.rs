//! The command beside processes that share things: it says what they do, and they notice nothing.

use multiproc_barrier::Barrier;
use multiproc_condition::Condition;
use multiproc_core::robust::RobustLock;
use multiproc_event::Event;
use multiproc_lock::{Lock, Mutex, RawLock, RwLock};
use multiproc_process::{Exit, Process, test};
use multiproc_queue::Queue;
use multiproc_rlock::{RLock, ReentrantMutex};
use multiproc_segment::{Kind, Naming, Segment, Shareable, Shared, unlink};
use multiproc_semaphore::{BoundedSemaphore, Semaphore};
use multiproc_value::{Array, Item, RawArray, ShareableList, SharedMemory, Value};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering::*};
use std::time::Duration;

type Outcome = Result<(), Box<dyn std::error::Error>>;

test::main! {
    wrong_command_lines_are_refused,
    help_and_version_are_printed,
    what_is_not_there_is_an_error,
    everything_is_listed,
    a_reader_that_leaves_is_no_error,
    locks_tell_who_holds_them,
    a_lock_tells_that_its_owner_died,
    recursive_locks_tell_how_often,
    readers_and_writers_are_told,
    semaphores_tell_their_value_and_permits,
    events_tell_whether_they_are_set_and_awaited,
    conditions_and_barriers_tell_how_many_wait,
    queues_tell_what_is_queued_and_who_is_there,
    a_blocked_reader_waits_and_holds_nothing,
    values_arrays_and_lists_are_shown,
    own_structs_show_their_header,
    names_are_removed_one_by_one,
    stale_names_are_removed,
    it_keeps_nothing_alive_and_attaches_to_nothing,
    no_garbage_makes_it_crash,
    names_do_not_reach_the_terminal_raw,
    another_user_sees_what_it_may,
    top_shows_a_page_once,
    top_goes_on_in_a_pipe_until_told,
    top_ends_with_q_and_leaves_the_terminal_as_it_was,
    top_ends_with_a_signal_and_leaves_the_terminal_as_it_was,
}

fn command(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_multiproc"));
    command.args(words);
    command
}

fn run(words: &[&str]) -> Output {
    command(words).output().unwrap()
}

/// Its output, of a run that worked.
fn said(words: &[&str]) -> String {
    let output = run(words);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{words:?}: {errors}");
    assert!(errors.is_empty(), "{words:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// Its complaint, of a run that ended with this code.
fn complained(code: i32, words: &[&str]) -> String {
    let output = run(words);
    assert_eq!(output.status.code(), Some(code), "{words:?}");
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.starts_with("multiproc: "), "{words:?}: {errors}");
    errors
}

/// `show`, whose line of that name has this value.
#[track_caller]
fn shows(name: &str, lines: &[(&str, &str)]) {
    let shown = said(&["show", name]);
    for (line, value) in lines {
        let expected = format!("{line:<16} {value}");
        // Some processes may be hidden, even from root.
        let and_hidden = format!("{expected} (");
        assert!(
            shown
                .lines()
                .any(|l| l == expected || l.starts_with(&and_hidden)),
            "no {expected:?} in\n{shown}"
        );
    }
}

/// A name of this test alone, removed when the test is over.
struct Name(String);

impl Name {
    fn new(stem: &str) -> Self {
        Self(test::unique(stem))
    }
}

impl std::ops::Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let _ = unlink(&self.0);
    }
}

fn pid() -> u32 {
    std::process::id()
}

fn until(mut done: impl FnMut() -> bool) {
    while !done() {
        std::thread::yield_now(); // the watchdog is the runner's
    }
}

/// A child that holds on to what `f` gives until it is killed.
fn holding<R>(f: impl FnOnce() -> R) -> Process {
    let stage = Shared::new(AtomicU32::new(0)).unwrap();
    let child = {
        let stage = stage.clone();
        Process::start(|| {
            let _kept = f();
            stage.store(1, Release);
            loop {
                std::thread::park();
            }
        })
        .unwrap()
    };
    until(|| stage.load(Acquire) == 1);
    child
}

fn kill(child: Process) {
    child.kill().unwrap();
    assert_eq!(child.join().unwrap(), Exit::Signal(libc::SIGKILL));
}

fn wrong_command_lines_are_refused() {
    assert_eq!(
        complained(2, &["list"]),
        "multiproc: there is no command \"list\" (multiproc --help tells more)\n"
    );
    for words in [
        &[][..],
        &["show"],
        &["rm"],
        &["ls", "--x"],
        &["top", "--interval", "0"],
    ] {
        complained(2, words);
    }
}

fn help_and_version_are_printed() {
    assert!(said(&["--help"]).contains("multiproc top"));
    assert_eq!(said(&["ls", "--help"]), said(&["-h"]));
    assert!(said(&["--version"]).starts_with("multiproc 0."));
}

fn what_is_not_there_is_an_error() {
    let name = Name::new("absent");
    let errors = complained(1, &["show", &name]);
    assert_eq!(errors, format!("multiproc: there is no {:?}\n", &*name));
    complained(1, &["show", "a/b"]);
    complained(1, &["rm", ""]);
}

fn everything_is_listed() -> Outcome {
    let (one, two) = (Name::new("one"), Name::new("two"));
    let _one = Shared::<AtomicU64>::options()
        .mode(0o640)
        .temporary(true)
        .create(&one, AtomicU64::new(5))?;
    let two_held = Queue::<String>::options().capacity(7).create(&two)?;
    two_held.put("x".into())?;
    let listed = said(&["ls"]);
    let row = |name: &str| -> Vec<String> {
        let row = listed.lines().find(|line| line.starts_with(name));
        let row = row.unwrap_or_else(|| panic!("no {name} in\n{listed}"));
        row.split_whitespace().map(str::to_owned).collect()
    };
    assert!(listed.starts_with("NAME"));
    let rest = ["AtomicU64", "264", "4.0K", "0640"];
    assert_eq!(row(&one)[1..5], rest);
    assert_eq!(row(&one)[6].trim_end_matches('+'), "1");
    assert_eq!(row(&one)[7..], ["-", "-", "5;", "temporary"]);
    assert!(row(&two)[1].starts_with("Queue<String>"));
    assert!(row(&two).ends_with(&["1", "of", "7", "queued"].map(str::to_owned)));
    // And for programs.
    let listed = said(&["ls", "--json"]);
    assert!(listed.starts_with("[{\"name\":") && listed.ends_with("}]\n"));
    let object = said(&["show", "--json", &one]);
    assert!(listed.contains(object.trim_end()));
    let me = pid();
    for field in [
        format!(
            "{{\"name\":\"{}\",\"kind\":\"AtomicU64\",\"problem\":null",
            &*one
        ),
        "\"temporary\":true,\"stale\":false,\"bytes\":264,\"body\":8".into(),
        "\"mode\":\"0640\"".into(),
        format!("\"attached\":[{me}]"),
        "\"holders\":[],\"waiting\":null".into(),
        "\"state\":{\"value\":\"5\"}}".into(),
    ] {
        assert!(object.contains(&field), "no {field} in {object}");
    }
    Ok(())
}

fn a_reader_that_leaves_is_no_error() -> Outcome {
    let mut child = command(&["ls"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    drop(child.stdout.take());
    let output = child.wait_with_output()?;
    assert!(output.status.success() && output.stderr.is_empty());
    Ok(())
}

fn locks_tell_who_holds_them() -> Outcome {
    let name = Name::new("lock");
    let lock = Shared::create(&name, Lock::new())?;
    shows(
        &name,
        &[("state", "free"), ("waiting", "0"), ("mended", "true")],
    );
    lock.acquire().unwrap();
    shows(
        &name,
        &[
            ("state", "held"),
            ("held", &format!("the lock by {}", pid())),
        ],
    );
    let waiter = Process::start(|| drop(lock.acquire()))?;
    until(|| said(&["show", &name]).contains("waiting          1 or more"));
    lock.release()?;
    waiter.join()?.ok()?;

    let name = Name::new("mutex");
    let mutex = Shared::create(&name, Mutex::new([7_u64; 4]))?;
    shows(&name, &[("kind", "Mutex<[u64; 4]>"), ("state", "free")]);
    let child = holding(|| {
        std::mem::forget(mutex.lock().unwrap());
    });
    shows(&name, &[("state", "held"), ("waiting", "0")]);
    let shown = said(&["show", &name]);
    assert!(
        shown.contains(&format!("the lock by {}", child.pid())),
        "{shown}"
    );
    let waiter = Process::start(|| drop(mutex.lock()))?;
    until(|| said(&["show", &name]).contains("waiting          1 or more"));
    kill(child);
    waiter.join()?.ok()?;
    shows(&name, &[("state", "free, not mended"), ("mended", "false")]);

    let name = Name::new("raw");
    let _raw = Shared::create(&name, RawLock::new())?;
    shows(&name, &[("state", "free")]);
    let name = Name::new("robust");
    let robust = Shared::create(&name, RobustLock::new())?;
    let held = robust.try_acquire().unwrap();
    shows(&name, &[("state", "held")]);
    drop(held);
    Ok(())
}

fn a_lock_tells_that_its_owner_died() -> Outcome {
    let name = Name::new("died");
    let mutex = Shared::create(&name, Mutex::new(0_u64))?;
    kill(holding(|| std::mem::forget(mutex.lock().unwrap())));
    shows(&name, &[("state", "free, its owner died")]);
    let name = Name::new("died too");
    let lock = Shared::create(&name, Lock::new())?;
    let child = holding(|| lock.acquire().unwrap());
    let dead = child.pid();
    kill(child);
    shows(
        &name,
        &[
            ("state", "held by a dead process"),
            ("held", &format!("the lock by {dead} (dead)")),
        ],
    );
    // Nothing was repaired by looking.
    assert!(lock.is_locked() && lock.acquire().is_err());
    Ok(())
}

fn recursive_locks_tell_how_often() -> Outcome {
    let name = Name::new("rlock");
    let lock = Shared::create(&name, RLock::new())?;
    shows(&name, &[("state", "free"), ("count", "0")]);
    for _ in 0..3 {
        lock.acquire().unwrap();
    }
    shows(&name, &[("state", "held 3 times"), ("count", "3")]);
    let name = Name::new("reentrant");
    let mutex = Shared::create(&name, ReentrantMutex::new(0_u32))?;
    let _held = mutex.lock().unwrap();
    shows(
        &name,
        &[("kind", "ReentrantMutex<u32>"), ("state", "held 1 times")],
    );
    Ok(())
}

fn readers_and_writers_are_told() -> Outcome {
    let name = Name::new("rwlock");
    let lock = Shared::create(&name, RwLock::new([0_u64; 3]))?;
    shows(&name, &[("state", "free"), ("readers", "0")]);
    let (one, two) = (lock.read().unwrap(), lock.read().unwrap());
    let reading = format!("reading by {}", pid());
    shows(
        &name,
        &[("state", "read by 2"), ("readers", "2"), ("held", &reading)],
    );
    drop((one, two));
    let writing = lock.write().unwrap();
    shows(&name, &[("state", "held"), ("mended", "true")]);
    drop(writing);
    kill(holding(|| std::mem::forget(lock.write().unwrap())));
    shows(
        &name,
        &[
            ("state", "free, its owner died, not mended"),
            ("mended", "false"),
        ],
    );
    let name = Name::new("places");
    let lock = Shared::create(&name, RwLock::<u8, 3>::with_places(0))?;
    let _reading = lock.read().unwrap();
    shows(&name, &[("state", "read by 1")]);
    Ok(())
}

fn semaphores_tell_their_value_and_permits() -> Outcome {
    let name = Name::new("semaphore");
    let semaphore = Shared::create(&name, Semaphore::new(5))?;
    shows(
        &name,
        &[("state", "value 5"), ("permits", "0"), ("waiting", "0")],
    );
    let child = holding(|| std::mem::forget(semaphore.permit()));
    let permits = semaphore.permits(2)?;
    let held = format!("a permit by {}", child.pid());
    shows(
        &name,
        &[("state", "value 2"), ("permits", "3"), ("held", &held)],
    );
    kill(child);
    shows(&name, &[("held", &format!("{held} (dead)"))]);
    drop(permits);
    let name = Name::new("bounded");
    let semaphore = Shared::create(&name, BoundedSemaphore::<3>::sized(1))?;
    semaphore.acquire();
    shows(&name, &[("state", "value 0 of 1"), ("bound", "1")]);
    let waiter = Process::start(|| semaphore.acquire())?;
    until(|| said(&["show", &name]).contains("waiting          1 or more"));
    semaphore.release()?;
    waiter.join()?.ok()?;
    Ok(())
}

fn events_tell_whether_they_are_set_and_awaited() -> Outcome {
    let name = Name::new("event");
    let event = Shared::create(&name, Event::new())?;
    shows(&name, &[("state", "unset"), ("waiting", "0")]);
    let waiter = Process::start(|| event.wait())?;
    until(|| said(&["show", &name]).contains("waiting          1 or more"));
    event.set();
    waiter.join()?.ok()?;
    shows(
        &name,
        &[("state", "set"), ("set", "true"), ("waiting", "0")],
    );
    Ok(())
}

#[derive(Shareable)]
#[repr(C)]
struct Pair {
    mutex: Mutex<u32>,
    stop: AtomicU32,
}

fn conditions_and_barriers_tell_how_many_wait() -> Outcome {
    let name = Name::new("condition");
    let condition = Shared::create(&name, Condition::new())?;
    let mutex = Shared::new(Mutex::new(0_u32))?;
    shows(&name, &[("waiting", "0")]);
    let waiters = Process::start_each(0..3, |_| {
        let held = mutex.lock().unwrap();
        drop(condition.wait(held).unwrap());
    })?;
    until(|| condition.waiting() == 3);
    shows(&name, &[("waiting", "3")]);
    let held = mutex.lock().unwrap();
    condition.notify_all(&held);
    drop(held);
    for waiter in waiters {
        waiter.join()?.ok()?;
    }
    shows(&name, &[("waiting", "0")]);

    let name = Name::new("barrier");
    let barrier = Shared::create(&name, Barrier::<5>::sized(3))?;
    shows(&name, &[("state", "0 of 3 are there"), ("broken", "false")]);
    let waiters = Process::start_each(0..2, |_| barrier.wait().map(drop))?;
    until(|| barrier.waiting() == 2);
    shows(
        &name,
        &[
            ("state", "2 of 3 are there"),
            ("waiting", "2"),
            ("parties", "3"),
        ],
    );
    barrier.wait()?;
    for waiter in waiters {
        waiter.join()?.ok()?;
    }
    shows(&name, &[("state", "0 of 3 are there")]);
    barrier.abort();
    shows(
        &name,
        &[("state", "0 of 3 are there, broken"), ("broken", "true")],
    );
    Ok(())
}

fn queues_tell_what_is_queued_and_who_is_there() -> Outcome {
    let name = Name::new("queue");
    let queue = Queue::<u32>::options().capacity(9).create(&name)?;
    for n in 0..5 {
        queue.put(n)?;
    }
    assert_eq!(queue.get()?, 0);
    shows(
        &name,
        &[
            ("state", "4 of 9 queued"),
            ("queued", "4"),
            ("capacity", "9"),
            ("producers", "[]"),
            ("consumers", "[]"),
            ("waiting", "0"),
            ("shut down", "false"),
        ],
    );
    let producer = queue.producer()?;
    let child = holding(|| std::mem::forget(queue.consumer().unwrap()));
    shows(
        &name,
        &[
            ("producers", &format!("[{}]", pid())),
            ("consumers", &format!("[{}]", child.pid())),
        ],
    );
    kill(child);
    shows(&name, &[("consumers", "[]")]);
    drop(producer);
    queue.shut_down();
    shows(
        &name,
        &[("state", "4 of 9 queued, shut down"), ("producers", "[]")],
    );
    let name = Name::new("unbounded");
    let queue = Queue::<Vec<u8>>::create(&name)?;
    for _ in 0..300 {
        queue.put(vec![0; 1000])?;
    }
    shows(&name, &[("state", "300 queued"), ("capacity", "-")]);
    assert_eq!(queue.len(), 300);
    Ok(())
}

fn a_blocked_reader_waits_and_holds_nothing() -> Outcome {
    let name = Name::new("blocked");
    let queue = Queue::<u32>::options().capacity(1).create(&name)?;
    let readers = Process::start_each(0..2, |_| queue.get().map(drop))?;
    until(|| said(&["show", &name]).contains("waiting          2 or more"));
    assert!(!said(&["show", &name]).contains("held "));
    queue.put(1)?;
    queue.put(2)?;
    for reader in readers {
        reader.join()?.ok()?;
    }
    shows(&name, &[("waiting", "0"), ("state", "0 of 1 queued")]);
    queue.put(3)?;
    let writer = Process::start(|| queue.put(4).map_err(drop))?;
    until(|| said(&["show", &name]).contains("waiting          1 or more"));
    assert_eq!((queue.get()?, queue.get()?), (3, 4));
    writer.join()?.ok()?;
    Ok(())
}

fn values_arrays_and_lists_are_shown() -> Outcome {
    let name = Name::new("value");
    let value = Value::create(&name, -5_i32)?;
    shows(&name, &[("state", "-5, free"), ("items", "-5")]);
    let guard = value.lock().unwrap();
    shows(&name, &[("state", "-5, held")]);
    drop(guard);
    let name = Name::new("array");
    let _array = Array::<f64>::options().create_from_slice(&name, &[1.5; 20])?;
    let items = format!("{}, …", ["1.5"; 16].join(", "));
    shows(
        &name,
        &[
            ("state", "20 items, free"),
            ("length", "20"),
            ("items", &items),
        ],
    );
    let name = Name::new("raw");
    let _raw = RawArray::<u16>::create(&name, 3)?;
    shows(&name, &[("items", "0, 0, 0")]);
    let name = Name::new("list");
    let _list = ShareableList::create(&name, (0..7).map(Item::from))?;
    shows(&name, &[("state", "7 items, free"), ("length", "7")]);
    let name = Name::new("memory");
    let _memory = SharedMemory::create(&name, 5000)?;
    shows(
        &name,
        &[("kind", "shared memory"), ("body", "5000 bytes (4.9K)")],
    );
    let name = Name::new("atomic");
    let _atomic = Shared::create(&name, AtomicI32::new(-1))?;
    shows(&name, &[("state", "-1")]);
    Ok(())
}

fn own_structs_show_their_header() -> Outcome {
    let name = Name::new("own");
    let pair = Shared::create(
        &name,
        Pair {
            mutex: Mutex::new(0),
            stop: AtomicU32::new(0),
        },
    )?;
    let _held = pair.mutex.lock().unwrap();
    shows(
        &name,
        &[
            ("kind", "Pair"),
            ("mode", "0600"),
            ("lives", "until it is removed"),
            ("attached", &pid().to_string()),
        ],
    );
    Ok(())
}

fn names_are_removed_one_by_one() -> Outcome {
    let (one, two, absent) = (Name::new("one"), Name::new("two"), Name::new("absent"));
    let kept = Shared::create(&one, AtomicU32::new(7))?;
    let _two = Shared::<AtomicU32>::options()
        .temporary(true)
        .create(&two, AtomicU32::new(8))?;
    let errors = complained(1, &["rm", &one, &absent, &two]);
    assert_eq!(errors, format!("multiproc: there is no {:?}\n", &*absent));
    for name in [&one, &two] {
        assert!(Shared::<AtomicU32>::open(name).is_err());
    }
    assert_eq!(kept.load(Relaxed), 7);
    drop(Shared::create(&one, AtomicU32::new(9))?);
    assert_eq!(said(&["rm", &one]), "");
    Ok(())
}

/// In a /dev/shm of its own: other tests leave stale names for a moment.
fn stale_names_are_removed() -> Outcome {
    let none = std::ptr::null::<libc::c_char>();
    let private = libc::MS_REC | libc::MS_PRIVATE;
    let (kind, place) = (c"tmpfs".as_ptr(), c"/dev/shm".as_ptr());
    // SAFETY: C strings that outlive the calls; the namespace is this process's alone.
    let alone = unsafe {
        libc::unshare(libc::CLONE_NEWNS) == 0
            && libc::mount(none, c"/".as_ptr(), none, private, none.cast()) == 0
            && libc::mount(kind, place, kind, 0, none.cast()) == 0
    };
    if !alone {
        println!("skipped: no mount namespace of its own");
        return Ok(());
    }
    let temporary = Shared::<AtomicU32>::options().temporary(true);
    let used = temporary.create("used", AtomicU32::new(1))?;
    drop(Shared::create("kept", AtomicU32::new(2))?);
    for name in ["stale", "stale too"] {
        kill(holding(|| {
            temporary.create(name, AtomicU32::new(3)).unwrap()
        }));
    }
    let listed = said(&["ls"]);
    assert_eq!(listed.matches("stale\n").count(), 2, "{listed}");
    shows(
        "stale",
        &[
            ("lives", "stale: temporary, and nobody has it open"),
            ("attached", "nobody"),
        ],
    );
    assert_eq!(said(&["rm", "--stale"]), "stale\nstale too\n");
    assert_eq!(said(&["rm", "--stale"]), "");
    assert_eq!(Shared::<AtomicU32>::open("kept")?.load(Relaxed), 2);
    assert!(
        Shared::<AtomicU32>::open("used")?
            .segment()
            .same(used.segment())
    );
    Ok(())
}

fn it_keeps_nothing_alive_and_attaches_to_nothing() -> Outcome {
    let name = Name::new("unnoticed");
    let temporary = Shared::<AtomicU32>::options().temporary(true);
    let made = temporary.create(&name, AtomicU32::new(0))?;
    let mut top = command(&["top", "--interval", "0.05"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()?;
    for _ in 0..20 {
        shows(&name, &[("attached", &pid().to_string())]);
    }
    drop(made);
    let there = std::path::Path::new(&format!("/dev/shm/multiproc.{}", &*name)).exists();
    top.kill()?;
    top.wait()?;
    assert!(!there);
    Ok(())
}

fn no_garbage_makes_it_crash() -> Outcome {
    let tags = [
        "Lock",
        "Mutex<u64>",
        "RLock",
        "ReentrantMutex<()>",
        "RwLock<u64, 64>",
        "Semaphore<64>",
        "BoundedSemaphore<64>",
        "Event",
        "Condition<64>",
        "Barrier<64>",
        "Queue<u8>",
        "Value<i32> (4 bytes, under its own lock)",
        "Array<char> (4 bytes, under its own lock)",
        "RawArray<bool> of 1 bytes without a lock",
        "a shareable list",
        "AtomicU64",
        "shared memory",
        "AtomicBool",
        "Value<",
        "RwLock",
        "\u{1b}[2J",
    ];
    let mut names = Vec::new();
    for (at, tag) in tags.iter().enumerate() {
        for (with, size) in [
            (0_u8, 24),
            (0xff, 24),
            (0xff, 1 << 16),
            (0x5a, 1 << 16),
            (1, 8),
        ] {
            let name = Name::new(&format!("garbage-{at}-{with}-{size}"));
            let fixed = if size == 8 { 1 } else { size };
            let kind = Kind {
                tag: (*tag).to_owned(),
                fixed,
                align: 8,
            };
            Segment::create(&name, &Naming::new(), kind, size, size, |segment| {
                for at in 0..size {
                    // SAFETY: inside the body, which nobody else sees yet.
                    unsafe { segment.body().add(at).write(with) };
                }
            })?;
            assert!(!said(&["show", &name]).is_empty());
            assert!(said(&["show", "--json", &name]).starts_with('{'));
            names.push(name);
        }
    }
    // Headers of the right length, and files that are shorter than they say.
    let cut = Name::new("cut");
    drop(Shared::create(&cut, Semaphore::new(1))?);
    let file = File::options()
        .write(true)
        .open(format!("/dev/shm/multiproc.{}", &*cut))?;
    file.set_len(300)?;
    shows(&cut, &[("state", "unreadable")]);
    file.set_len(3)?;
    shows(&cut, &[("kind", "(no object)")]);
    said(&["ls"]);
    said(&["ls", "--json"]);
    said(&["top", "--once"]);
    Ok(())
}

fn names_do_not_reach_the_terminal_raw() -> Outcome {
    let name = Name::new("bad\x1b[2J\nname");
    let _made = Shared::create(&name, AtomicU32::new(0))?;
    for words in [
        &["ls"][..],
        &["show", &name],
        &["ls", "--json"],
        &["top", "--once"],
    ] {
        let text = said(words);
        assert!(
            !text.contains('\x1b') && !text.contains("\nname"),
            "{text:?}"
        );
    }
    Ok(())
}

fn another_user_sees_what_it_may() -> Outcome {
    // SAFETY: no arguments.
    if unsafe { libc::geteuid() } != 0 {
        println!("skipped: only root can become somebody else");
        return Ok(());
    }
    let (private, open) = (Name::new("private"), Name::new("open"));
    let _private = Shared::create(&private, Lock::new())?;
    let lock = Shared::options().mode(0o644).create(&open, Lock::new())?;
    lock.acquire().unwrap();
    let child = Process::start(|| {
        // SAFETY: numbers; in the child only.
        unsafe {
            assert_eq!(libc::setgroups(0, std::ptr::null()), 0);
            assert_eq!(libc::setgid(65534), 0);
            assert_eq!(libc::setuid(65534), 0);
        }
        if command(&["--version"]).output().is_err() {
            println!("skipped: the program is not for everybody");
            return;
        }
        shows(&private, &[("kind", "(no permission)"), ("mode", "0600")]);
        shows(&open, &[("state", "held")]);
        let errors = complained(1, &["rm", &open]);
        assert!(errors.contains("no permission to remove"), "{errors}");
    })?;
    child.join()?.ok()?;
    Ok(())
}

fn top_shows_a_page_once() -> Outcome {
    let name = Name::new("top");
    let _made = Shared::create(&name, Event::new())?;
    let page = said(&["top", "--once"]);
    assert!(
        page.contains(" of memory, ") && page.contains(&*name),
        "{page}"
    );
    assert!(!page.contains('\x1b'));
    Ok(())
}

fn top_goes_on_in_a_pipe_until_told() -> Outcome {
    let mut child = command(&["top", "--interval", "0.05"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut text = String::new();
    let mut out = child.stdout.take().unwrap();
    let mut bytes = [0; 4096];
    while text.matches(" of memory, ").count() < 3 {
        let n = out.read(&mut bytes)?;
        text.push_str(&String::from_utf8_lossy(&bytes[..n]));
        assert!(n > 0, "{text}");
    }
    // SAFETY: a signal to our own child.
    unsafe { libc::kill(child.id() as i32, libc::SIGINT) };
    let status = child.wait()?;
    assert!(status.success(), "{status:?}: {:?}", status.signal());
    assert!(!text.contains('\x1b'));
    Ok(())
}

/// Two ends of a terminal of 10 lines.
fn terminal() -> (File, OwnedFd) {
    let (mut ours, mut theirs) = (-1, -1);
    let size = libc::winsize {
        ws_row: 10,
        ws_col: 80,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: locals; what it opens is owned once, here.
    unsafe {
        let none = std::ptr::null_mut::<libc::termios>();
        let name = std::ptr::null_mut();
        assert_eq!(libc::openpty(&mut ours, &mut theirs, name, none, &size), 0);
        (File::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs))
    }
}

fn modes(terminal: &OwnedFd) -> libc::tcflag_t {
    use std::os::fd::AsRawFd;
    // SAFETY: zeroes are a termios, and the call fills in a local.
    unsafe {
        let mut modes: libc::termios = std::mem::zeroed();
        assert_eq!(libc::tcgetattr(terminal.as_raw_fd(), &mut modes), 0);
        modes.c_lflag
    }
}

/// Runs `top` on a terminal, ends it by `end`, and gives what it wrote.
fn on_a_terminal(end: impl FnOnce(&mut File, u32)) -> String {
    let (mut ours, theirs) = terminal();
    let before = modes(&theirs);
    let mut child = command(&["top", "--interval", "0.05"])
        .stdin(theirs.try_clone().unwrap())
        .stdout(theirs.try_clone().unwrap())
        .spawn()
        .unwrap();
    let mut text = String::new();
    let mut bytes = [0; 4096];
    while text.matches(" of memory, ").count() < 2 {
        let n = ours.read(&mut bytes).unwrap();
        text.push_str(&String::from_utf8_lossy(&bytes[..n]));
    }
    assert_ne!(modes(&theirs), before, "keys come one by one");
    end(&mut ours, child.id());
    // It writes while it ends, and a terminal holds little.
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    assert!(status.success(), "{status:?}");
    assert_eq!(modes(&theirs), before);
    let n = ours.read(&mut bytes).unwrap();
    text.push_str(&String::from_utf8_lossy(&bytes[..n]));
    text
}

fn top_ends_with_q_and_leaves_the_terminal_as_it_was() {
    for key in [b"q", b"\x03"] {
        let text = on_a_terminal(|terminal, _| terminal.write_all(key).unwrap());
        assert!(text.starts_with("\x1b[?1049h"), "{text:?}");
        assert!(text.ends_with("\x1b[?1049l"), "{text:?}");
        let page = text.split("\x1b[H").nth(1).unwrap();
        assert!(page.lines().count() <= 10, "{page:?}");
    }
}

fn top_ends_with_a_signal_and_leaves_the_terminal_as_it_was() {
    let text = on_a_terminal(|_, pid| {
        // SAFETY: a signal to our own child.
        unsafe { libc::kill(pid as i32, libc::SIGTERM) };
    });
    assert!(text.ends_with("\x1b[?1049l"), "{text:?}");
}
