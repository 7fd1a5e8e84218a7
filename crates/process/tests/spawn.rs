//! Plain functions in processes of their own: one body, by each start method that fits it.

use multiproc_core::fork::HeldHere;
use multiproc_core::{deadline::Deadline, fd::wait_readable};
use multiproc_parcel::Descriptor;
use multiproc_process::{
    Context, Exit, JoinTimeoutError, Process, StartError, StartMethod, active_children, at_exit,
    current, join_all, parent, test,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::{AsFd, AsRawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

type Outcome = Result<(), Box<dyn std::error::Error>>;

test::main! {
    a_function_runs_on_its_arguments,
    generic_functions_and_empty_closures_are_functions,
    large_arguments_arrive_whole,
    descriptors_travel_with_the_arguments,
    every_exit_is_told,
    a_panic_is_told_and_is_exit_code_1,
    a_child_knows_itself_and_its_parent,
    names_count_from_generation_to_generation,
    it_is_listed_and_collected,
    the_sentinel_is_ready_when_it_has_ended,
    it_can_be_ended,
    it_starts_among_threads_and_from_one,
    a_held_guard_is_no_hindrance,
    only_what_is_given_is_inherited,
    without_closefrom_only_what_is_given_is_inherited,
    later_children_hold_no_more_descriptors,
    the_arguments_are_dropped_here_before_it_runs,
    a_panic_while_dropping_the_arguments_goes_on_and_the_child_runs,
    arguments_that_cannot_be_encoded_come_back,
    arguments_that_cannot_be_decoded_come_back,
    a_panic_while_decoding_gives_the_arguments_back,
    a_daemon_may_start_nothing_by_any_method,
    methods_nest_in_any_mix,
    the_environment_and_the_arguments_of_the_program_are_there,
    addresses_are_drawn_anew,
    exit_hooks_run_in_it,
    a_hundred_at_once,
    #[timeout(120)]
    want_of_descriptors_is_an_error_that_leaves_nothing,
    no_descriptor_is_left_open,
    a_program_that_was_replaced_runs_on,
}

const APART: [StartMethod; 2] = [StartMethod::Spawn, StartMethod::ForkServer];

fn lines(reader: PipeReader) -> Vec<String> {
    BufReader::new(reader)
        .lines()
        .map_while(Result::ok)
        .collect()
}

fn all_of(mut reader: PipeReader) -> String {
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    text
}

type Out = Descriptor<PipeWriter>;

fn told() -> (PipeReader, Out) {
    let (reader, writer) = pipe().unwrap();
    (reader, Descriptor(writer))
}

fn for_ever() -> ! {
    loop {
        std::thread::park();
    }
}

fn add((a, b): (i32, i32)) -> i32 {
    a + b
}

fn a_function_runs_on_its_arguments() -> Outcome {
    assert_eq!(Process::spawn(add, (1, 2))?.join()?, Exit::Code(3));
    for method in StartMethod::ALL {
        let child = Context::new(method).start(add, (20, 22))?;
        assert_eq!(child.join()?, Exit::Code(42), "{method}");
    }
    Ok(())
}

fn size_of_it<T: Serialize>(_: T) -> u8 {
    size_of::<T>() as u8
}

fn generic_functions_and_empty_closures_are_functions() -> Outcome {
    for method in StartMethod::ALL {
        let context = Context::new(method);
        assert_eq!(context.start(size_of_it, 1_u16)?.join()?, Exit::Code(2));
        assert_eq!(context.start(size_of_it::<u64>, 1)?.join()?, Exit::Code(8));
        let child = context.start(|text: String| text.len() as u8, "five!".into())?;
        assert_eq!(child.join()?, Exit::Code(5));
        let children = context.start_each([3, 4, 5], |n: i32| n)?;
        for (child, n) in children.iter().zip(3..) {
            assert_eq!(child.join()?, Exit::Code(n));
        }
    }
    Ok(())
}

fn large_arguments_arrive_whole() -> Outcome {
    let large: Vec<u64> = (0..1_000_000).collect();
    for method in APART {
        let child = Context::new(method).start(
            |large: Vec<u64>| i32::from(!large.iter().copied().eq(0..1_000_000)),
            large.clone(),
        )?;
        child.join()?.ok()?;
    }
    Ok(())
}

fn relay((inputs, output): (Vec<Descriptor<PipeReader>>, Out)) {
    for mut input in inputs {
        std::io::copy(&mut input.0, &mut &output.0).unwrap();
    }
}

fn descriptors_travel_with_the_arguments() -> Outcome {
    for method in StartMethod::ALL {
        for count in [1, 300] {
            let (result, output) = told();
            let mut inputs = Vec::new();
            for n in 0..count {
                let (reader, mut writer) = pipe()?;
                write!(writer, "{n},")?;
                inputs.push(Descriptor(reader));
            }
            let child = Context::new(method).start(relay, (inputs, output))?;
            let expected: String = (0..count).map(|n| format!("{n},")).collect();
            assert_eq!(all_of(result), expected, "{method}");
            child.join()?.ok()?;
        }
    }
    Ok(())
}

fn end_as(how: i32) -> i32 {
    match how {
        -1 => std::process::abort(),
        -2 => std::process::exit(9),
        n => n,
    }
}

fn every_exit_is_told() -> Outcome {
    for method in StartMethod::ALL {
        let context = Context::new(method);
        for (how, exit) in [
            (0, Exit::Code(0)),
            (3, Exit::Code(3)),
            (300, Exit::Code(44)),
            (-2, Exit::Code(9)),
            (-1, Exit::Signal(6)),
        ] {
            let child = context.start(end_as, how)?;
            assert_eq!(child.join()?, exit, "{method}");
            assert_eq!(child.exit_code(), Some(exit.code()));
            assert_eq!(child.try_join()?, Some(exit));
            child.close()?;
        }
        let failed = context.start(|text: String| text.parse::<i32>(), "x1".into())?;
        assert_eq!(failed.join()?, Exit::Code(1));
    }
    Ok(())
}

fn a_panic_is_told_and_is_exit_code_1() -> Outcome {
    for method in StartMethod::ALL {
        let (reader, output) = told();
        let child = Process::builder().name("teller").start_in(
            method,
            |output: Out| {
                nix::unistd::dup2_stderr(output.0).unwrap();
                if true {
                    panic!("the reason is {}", 17);
                }
            },
            output,
        )?;
        let text = all_of(reader);
        assert!(
            text.contains("the reason is 17") && text.contains("teller"),
            "{text}"
        );
        assert_eq!(child.join()?, Exit::Code(1));
    }
    Ok(())
}

/// X2, X4, X28
fn a_child_knows_itself_and_its_parent() -> Outcome {
    let key = current().authkey()?.as_bytes().to_vec();
    let us = std::process::id();
    for method in APART {
        let child = Process::builder().name("it").daemon(true).start_in(
            method,
            |(us, key, method): (u32, Vec<u8>, StartMethod)| {
                let (me, above) = (current(), parent().unwrap());
                assert_eq!((me.name(), me.pid()), ("it", std::process::id()));
                assert!(me.is_daemon());
                assert_eq!(me.authkey().unwrap().as_bytes(), key);
                assert_eq!((above.pid(), above.name()), (us, "MainProcess"));
                assert!(above.is_alive());
                assert_eq!(nix::unistd::gettid(), nix::unistd::getpid());
                assert_eq!(multiproc_process::start_method(), method);
                assert_ne!(std::process::id(), us);
                assert_eq!(std::io::stdin().read(&mut [0; 8]).unwrap(), 0);
            },
            (us, key.clone(), method),
        )?;
        child.join()?.ok()?;
    }
    Ok(())
}

fn names_count_from_generation_to_generation() -> Outcome {
    let (report, output) = told();
    let child = Process::spawn(
        |output: Out| {
            for method in StartMethod::ALL {
                let say = |output: Out| writeln!(&output.0, "{}", current().name());
                let copy = Descriptor(output.0.try_clone().unwrap());
                let child = Context::new(method).start(say, copy).unwrap();
                child.join().unwrap().ok().unwrap();
            }
        },
        output,
    )?;
    assert_eq!(child.name(), "Process-1");
    assert_eq!(lines(report), ["Process-1:1", "Process-1:2", "Process-1:3"]);
    child.join()?.ok()?;
    Ok(())
}

/// Ends when the pipe does.
fn wait_for_end(input: Descriptor<PipeReader>) {
    let _ = (&input.0).read(&mut [0]);
}

fn it_is_listed_and_collected() -> Outcome {
    for method in APART {
        let (waits, go) = pipe()?;
        let child = Context::new(method).start(wait_for_end, Descriptor(waits))?;
        assert!(child.is_alive());
        assert_eq!((child.exit_code(), child.try_join()?), (None, None));
        let listed: Vec<_> = active_children().iter().map(Process::pid).collect();
        assert_eq!(listed, [child.pid()]);
        let early = child.join_timeout(Duration::from_millis(20));
        assert!(matches!(early, Err(JoinTimeoutError::Timeout)));
        drop(go);
        child.join()?.ok()?;
        assert!(!child.is_alive() && active_children().is_empty());
        assert!(!std::path::Path::new(&format!("/proc/{}", child.pid())).exists());
    }
    Ok(())
}

/// X10
fn the_sentinel_is_ready_when_it_has_ended() -> Outcome {
    for method in APART {
        let (waits, go) = pipe()?;
        let child = Context::new(method).start(wait_for_end, Descriptor(waits))?;
        let soon = Deadline::after(Duration::from_millis(20));
        assert!(!wait_readable(child.sentinel(), soon)?);
        drop(go);
        let patience = Deadline::after(Duration::from_secs(20));
        assert!(wait_readable(child.as_fd(), patience)?);
        assert!(!child.is_alive());
        child.join()?.ok()?;
    }
    Ok(())
}

/// X7
fn it_can_be_ended() -> Outcome {
    for method in APART {
        let context = Context::new(method);
        let start = || context.start(|()| for_ever(), ());
        let child = start()?;
        child.kill()?;
        assert_eq!(child.join()?, Exit::Signal(9));
        child.kill()?;
        let child = start()?;
        child.terminate()?;
        assert_eq!(child.join()?, Exit::Signal(15));
        // The server ignores this one, its children do not.
        let child = start()?;
        child.interrupt()?;
        assert_eq!(child.join()?, Exit::Signal(2));
    }
    Ok(())
}

fn it_starts_among_threads_and_from_one() -> Outcome {
    let (waits, go) = pipe()?;
    let other = std::thread::spawn(move || wait_for_end(Descriptor(waits)));
    for method in APART {
        let context = Context::new(method);
        assert_eq!(context.start(add, (1, 2))?.join()?, Exit::Code(3));
        let threads: Vec<_> = (0..4)
            .map(|n| {
                std::thread::spawn(move || {
                    let child = context.start(add, (n, n)).map_err(StartError::from);
                    assert_eq!(child.unwrap().join().unwrap(), Exit::Code(2 * n));
                })
            })
            .collect();
        for thread in threads {
            thread.join().map_err(|_| "a thread failed")?;
        }
    }
    let refused = Context::new(StartMethod::Fork).start(add, (1, 2));
    let refused = refused.expect_err("two threads");
    assert!(matches!(refused.why, StartError::Threads(2)));
    assert_eq!(refused.task, (1, 2));
    drop(go);
    other.join().map_err(|_| "the thread failed")?;
    Ok(())
}

fn a_held_guard_is_no_hindrance() -> Outcome {
    let _held = HeldHere::new();
    for method in APART {
        assert_eq!(
            Context::new(method).start(add, (1, 2))?.join()?,
            Exit::Code(3)
        );
    }
    Ok(())
}

/// What the descriptors of this process above stdio are.
fn descriptors() -> Vec<String> {
    let mut found: Vec<_> = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .flatten()
        .filter_map(|entry| {
            let number: i32 = entry.file_name().to_str()?.parse().ok()?;
            let target = std::fs::read_link(entry.path()).ok()?;
            (number > 2).then(|| target.to_string_lossy().into_owned())
        })
        // Not the directory that is being read.
        .filter(|target| !target.ends_with("/fd"))
        .collect();
    found.sort();
    found
}

/// X13
fn only_what_is_given_is_inherited() -> Outcome {
    // What foreign code left open for everybody.
    let stray = std::fs::File::open("/proc/self/status")?;
    // SAFETY: flags of our own descriptor.
    unsafe { libc::fcntl(stray.as_raw_fd(), libc::F_SETFD, 0) };
    for method in APART {
        let (report, output) = told();
        let child = Context::new(method).start(
            |output: Out| {
                for one in descriptors() {
                    writeln!(&output.0, "{one}").unwrap();
                }
            },
            output,
        )?;
        let found = lines(report);
        let pipes = found.iter().filter(|one| one.starts_with("pipe:")).count();
        let pidfds = found.iter().filter(|one| one.contains("pidfd")).count();
        // What it was given, and its parent's descriptor.
        assert_eq!(
            (pipes, pidfds, found.len()),
            (1, 1, 2),
            "{method}: {found:?}"
        );
        child.join()?.ok()?;
    }
    drop(stray);
    Ok(())
}

fn without_closefrom_only_what_is_given_is_inherited() -> Outcome {
    // SAFETY: one thread.
    unsafe { std::env::set_var("MULTIPROC_NO_CLOSEFROM", "1") };
    only_what_is_given_is_inherited()
}

/// X13
fn later_children_hold_no_more_descriptors() -> Outcome {
    for method in APART {
        let mut kept = Vec::new();
        let mut counts = BTreeSet::new();
        for _ in 0..10 {
            let (report, output) = told();
            let (waits, go) = pipe()?;
            let child = Context::new(method).start(
                |(output, waits): (Out, Descriptor<PipeReader>)| {
                    write!(&output.0, "{}", descriptors().len()).unwrap();
                    drop(output);
                    wait_for_end(waits);
                },
                (output, Descriptor(waits)),
            )?;
            counts.insert(all_of(report));
            kept.push((child, go));
        }
        assert_eq!(counts.len(), 1, "{method}: {counts:?}");
        for (child, go) in kept {
            drop(go);
            child.join()?.ok()?;
        }
    }
    Ok(())
}

/// An argument that tells when it is dropped in the process that made it.
#[derive(Serialize, Deserialize)]
struct Tells {
    maker: u32,
    to: Out,
    panics: bool,
}

impl Drop for Tells {
    fn drop(&mut self) {
        if std::process::id() == self.maker {
            let _ = self.to.0.write_all(b"dropped ");
            if self.panics {
                panic!("this destructor fails");
            }
        }
    }
}

fn tell_that_it_ran(tells: Tells) {
    (&tells.to.0).write_all(b"ran").unwrap();
}

fn the_arguments_are_dropped_here_before_it_runs() -> Outcome {
    for method in StartMethod::ALL {
        for _ in 0..20 {
            let (report, to) = told();
            let maker = std::process::id();
            let panics = false;
            let tells = Tells { maker, to, panics };
            let child = Context::new(method).start(tell_that_it_ran, tells)?;
            assert_eq!(all_of(report), "dropped ran", "{method}");
            child.join()?.ok()?;
        }
    }
    Ok(())
}

fn a_panic_while_dropping_the_arguments_goes_on_and_the_child_runs() -> Outcome {
    for method in StartMethod::ALL {
        let (report, to) = told();
        let maker = std::process::id();
        let panics = true;
        let caught = catch_unwind(AssertUnwindSafe(|| {
            let tells = Tells { maker, to, panics };
            let started = Context::new(method).start(tell_that_it_ran, tells);
            started.map_err(StartError::from)
        }));
        let panic = caught.expect_err("the panic goes on");
        assert_eq!(panic.downcast_ref(), Some(&"this destructor fails"));
        assert_eq!(all_of(report), "dropped ran", "{method}");
        join_all(active_children())?;
    }
    Ok(())
}

/// Fails to be encoded, fails to be decoded, or panics then, as it says.
#[derive(Debug, PartialEq)]
struct Difficult(u8);

impl Serialize for Difficult {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            0 => Err(serde::ser::Error::custom("it is difficult")),
            n => serializer.serialize_u8(n),
        }
    }
}

impl<'de> Deserialize<'de> for Difficult {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u8::deserialize(deserializer)? {
            1 => Err(serde::de::Error::custom("it is difficult")),
            2 => panic!("it is too difficult"),
            n => Ok(Difficult(n)),
        }
    }
}

/// How a start fails with it: the error, and what came back.
fn fails(method: StartMethod, difficult: Difficult) -> (StartError, Difficult) {
    let refused = Context::new(method).start(|_: Difficult| (), difficult);
    let refused = refused.expect_err("it is difficult");
    assert!(active_children().is_empty());
    (refused.why, refused.task)
}

fn arguments_that_cannot_be_encoded_come_back() -> Outcome {
    for method in APART {
        let (why, back) = fails(method, Difficult(0));
        assert!(matches!(why, StartError::Arguments(_)), "{why:?}");
        assert_eq!(back, Difficult(0));
    }
    Ok(())
}

fn arguments_that_cannot_be_decoded_come_back() -> Outcome {
    for method in APART {
        let (why, back) = fails(method, Difficult(1));
        assert!(matches!(why, StartError::Refused(_)), "{why:?}");
        assert!(why.to_string().contains("decode"), "{why}");
        assert_eq!(back, Difficult(1));
    }
    Ok(())
}

fn a_panic_while_decoding_gives_the_arguments_back() -> Outcome {
    for method in APART {
        let (why, back) = fails(method, Difficult(2));
        assert!(why.to_string().contains("panicked"), "{why}");
        assert_eq!(back, Difficult(2));
        let child = Context::new(method).start(|_: Difficult| (), Difficult(3))?;
        child.join()?.ok()?;
    }
    Ok(())
}

fn a_daemon_may_start_nothing_by_any_method() -> Outcome {
    for method in StartMethod::ALL {
        let daemon = Process::builder().daemon(true);
        let child = daemon.start_in(
            method,
            |()| {
                for method in StartMethod::ALL {
                    let refused = Context::new(method).start(add, (1, 2));
                    let refused = refused.expect_err("in a daemon");
                    assert!(matches!(refused.why, StartError::InDaemon));
                }
            },
            (),
        )?;
        child.join()?.ok()?;
    }
    Ok(())
}

/// Descends through `methods`; each generation adds one to what its child returns.
fn descend(mut methods: Vec<StartMethod>) -> i32 {
    match methods.pop() {
        None => 0,
        Some(method) => match Context::new(method).start(descend, methods) {
            Ok(child) => 1 + child.join().map_or(100, Exit::code),
            Err(refused) => {
                eprintln!("{refused}");
                101
            }
        },
    }
}

fn methods_nest_in_any_mix() -> Outcome {
    for a in StartMethod::ALL {
        for b in StartMethod::ALL {
            for c in StartMethod::ALL {
                let depth = descend(vec![a, b, c]);
                assert_eq!(depth, 3, "{c}, in it {b}, in it {a}");
            }
        }
    }
    Ok(())
}

fn the_environment_and_the_arguments_of_the_program_are_there() -> Outcome {
    // SAFETY: one thread.
    unsafe { std::env::set_var("MULTIPROC_TEST_OF_ENV", "its value") };
    std::env::set_current_dir("/proc/self")?;
    let child = Process::spawn(
        |arguments: Vec<String>| {
            assert!(std::env::args().eq(arguments));
            assert_eq!(std::env::var("MULTIPROC_TEST_OF_ENV").unwrap(), "its value");
            assert!(std::env::current_dir().unwrap().starts_with("/proc"));
        },
        std::env::args().collect(),
    )?;
    child.join()?.ok()?;
    Ok(())
}

fn addresses_are_drawn_anew() -> Outcome {
    let random = std::fs::read_to_string("/proc/sys/kernel/randomize_va_space")?;
    let mut seen = BTreeSet::new();
    for _ in 0..8 {
        let (report, output) = told();
        let child = Process::spawn(
            |output: Out| write!(&output.0, "{:p}", add as *const ()).unwrap(),
            output,
        )?;
        seen.insert(all_of(report));
        child.join()?.ok()?;
    }
    if random.trim() == "0" {
        println!("skipped: this system places programs always alike");
    } else {
        assert!(seen.len() > 1, "{seen:?}");
    }
    Ok(())
}

fn exit_hooks_run_in_it() -> Outcome {
    for method in APART {
        for exits in [false, true] {
            let (report, output) = told();
            let child = Context::new(method).start(
                |(output, exits): (Out, bool)| {
                    at_exit(move || (&output.0).write_all(b"bye").unwrap());
                    if exits {
                        std::process::exit(0);
                    }
                },
                (output, exits),
            )?;
            assert_eq!(all_of(report), "bye");
            child.join()?.ok()?;
        }
    }
    Ok(())
}

fn a_hundred_at_once() -> Outcome {
    for method in StartMethod::ALL {
        let (waits, go) = pipe()?;
        let mut children = Vec::new();
        for n in 0..100 {
            let waits = Descriptor(waits.try_clone()?);
            children.push(Context::new(method).start(
                |(waits, n): (Descriptor<PipeReader>, i32)| {
                    wait_for_end(waits);
                    n
                },
                (waits, n),
            )?);
        }
        assert!(children.iter().all(Process::is_alive));
        assert_eq!(active_children().len(), 100);
        (&go).write_all(&[b'!'; 100])?;
        for (n, child) in children.iter().enumerate() {
            assert_eq!(child.join()?, Exit::Code(n as i32), "{method}");
        }
        assert!(active_children().is_empty());
    }
    Ok(())
}

fn limit_descriptors(to: u64) {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, to, most).unwrap();
}

fn want_of_descriptors_is_an_error_that_leaves_nothing() -> Outcome {
    for method in APART {
        // The server, if there is one, has its own limit: this process's at its start.
        Context::new(method).start(add, (0, 0))?.join()?.ok()?;
        let (report, output) = told();
        let next = std::fs::File::open("/dev/null")?.as_raw_fd() as u64;
        let mut given = output;
        let mut few = 0;
        loop {
            limit_descriptors(next + few);
            let started = Context::new(method).start(|out: Out| write!(&out.0, "ran"), given);
            limit_descriptors(1_024);
            match started {
                Ok(child) => {
                    assert_eq!(all_of(report), "ran");
                    child.join()?.ok()?;
                    break;
                }
                Err(refused) => {
                    let why = refused.why.to_string();
                    assert!(
                        matches!(
                            refused.why,
                            StartError::System(_)
                                | StartError::Arguments(_)
                                | StartError::NeverEntered(_)
                                | StartError::Ended(_)
                        ),
                        "{method}, {few}: {why}"
                    );
                    assert!(active_children().is_empty());
                    given = refused.task;
                }
            }
            few += 1;
            assert!(few < 50);
        }
        println!("{method} needs {few} descriptors");
        assert!(few > 2);
    }
    Ok(())
}

fn no_descriptor_is_left_open() -> Outcome {
    for method in APART {
        let context = Context::new(method);
        let round = || -> Outcome {
            context.start(add, (0, 0))?.join()?.ok()?;
            let (report, output) = told();
            let child = context.start(|output: Out| drop(output), output)?;
            assert_eq!(all_of(report), "");
            child.join()?.ok()?;
            fails(method, Difficult(0));
            fails(method, Difficult(1));
            Ok(())
        };
        round()?;
        let before = descriptors();
        for _ in 0..10 {
            round()?;
        }
        assert_eq!(descriptors(), before, "{method}");
    }
    Ok(())
}

const REPLACED: &str = "MULTIPROC_TEST_REPLACED";

/// In a copy of this program, which is then put out of the way.
fn a_program_that_was_replaced_runs_on() -> Outcome {
    if let Some(path) = std::env::var_os(REPLACED) {
        let exe = std::path::PathBuf::from(path);
        for step in ["in place", "replaced", "removed"] {
            match step {
                "replaced" => {
                    let other = exe.with_extension("new");
                    std::fs::write(&other, "#!/bin/false\n")?;
                    std::fs::rename(other, &exe)?;
                }
                "removed" => std::fs::remove_file(&exe)?,
                _ => {}
            }
            assert_eq!(
                Process::spawn(add, (1, 2))?.join()?,
                Exit::Code(3),
                "{step}"
            );
        }
        // A server that is started only now, and a grandchild.
        assert_eq!(
            descend(vec![StartMethod::Spawn, StartMethod::ForkServer]),
            2
        );
        return Ok(());
    }
    let folder = std::env::temp_dir().join(test::unique("replaced"));
    std::fs::create_dir_all(&folder)?;
    let copy = folder.join("program");
    std::fs::copy("/proc/self/exe", &copy)?;
    // The copy's runner would look for tests: it is told which one it is by the environment that
    // this process has.
    let output = std::process::Command::new(&copy)
        .args(std::env::args_os().skip(1))
        .env(REPLACED, &copy)
        .output()?;
    std::fs::remove_dir_all(&folder)?;
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
