//! Plain functions in processes of their own: one body, by each start method that fits it.

mod apart;

use apart::*;
use common::*;
use multiproc_core::fork::HeldHere;
use multiproc_core::{deadline::Deadline, fd::wait_readable};
use multiproc_parcel::Descriptor;
use multiproc_process::{
    Context, Exit, JoinTimeoutError, Process, StartError, StartMethod, active_children, at_exit,
    current, parent, test,
};
use std::collections::BTreeSet;
use std::io::{PipeReader, Read, Write, pipe};
use std::os::fd::AsFd;
use std::time::Duration;

test::main! {
    a_function_runs_on_its_arguments,
    every_exit_is_told,
    a_panic_is_told_and_is_exit_code_1,
    a_child_knows_itself_and_its_parent,
    names_count_from_generation_to_generation,
    it_sees_its_parent_end,
    it_is_listed_and_collected,
    the_sentinel_is_ready_when_it_has_ended,
    it_can_be_ended,
    it_starts_among_threads_and_from_one,
    a_held_guard_is_no_hindrance,
    a_daemon_may_start_nothing_by_any_method,
    methods_nest_in_any_mix,
    the_environment_and_the_arguments_of_the_program_are_there,
    addresses_are_drawn_anew,
    exit_hooks_run_in_it,
    a_hundred_at_once,
    a_program_that_was_replaced_runs_on,
}

fn a_function_runs_on_its_arguments() -> Outcome {
    assert_eq!(Process::spawn(add, (1, 2))?.join()?, Exit::Code(3));
    for method in StartMethod::ALL {
        let child = Context::new(method).start(add, (20, 22))?;
        assert_eq!(child.join()?, Exit::Code(42), "{method}");
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

/// X5
fn it_sees_its_parent_end() -> Outcome {
    for method in APART {
        let (report, writer) = pipe()?;
        let middle = Process::builder().name("middle").start(move || {
            let started = Context::new(method).start(
                |Descriptor(mut out): Out| {
                    let above = parent().unwrap();
                    let early = above.join_timeout(Duration::ZERO);
                    assert!(matches!(early, Err(JoinTimeoutError::Timeout)));
                    write!(out, "{} alive {}, ", above.name(), above.is_alive()).unwrap();
                    above.join_timeout(Duration::from_secs(30)).unwrap();
                    above.join().unwrap();
                    write!(out, "alive {}", above.is_alive()).unwrap();
                },
                Descriptor(writer),
            );
            drop(started.unwrap());
            for_ever()
        })?;
        let expected = "middle alive true, ";
        let mut first = vec![0; expected.len()];
        (&report).read_exact(&mut first)?;
        assert_eq!(first, expected.as_bytes());
        middle.terminate()?;
        assert_eq!(middle.join()?, Exit::Signal(15));
        assert_eq!(all_of(report), "alive false", "{method}");
    }
    Ok(())
}

fn it_is_listed_and_collected() -> Outcome {
    for method in APART {
        let (waits, go) = pipe()?;
        let child = Context::new(method).start(wait_at, Descriptor(waits))?;
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
        let child = Context::new(method).start(wait_at, Descriptor(waits))?;
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
    let other = std::thread::spawn(move || wait_at(Descriptor(waits)));
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
                    // But one that sees to its own end.
                    let builder = Process::builder().even_in_daemon();
                    match builder.start_in(method, add, (1, 2)) {
                        Ok(child) => assert_eq!(child.join().unwrap(), Exit::Code(3)),
                        Err(refused) => {
                            assert_eq!(method, StartMethod::Fork);
                            assert!(matches!(refused.why, StartError::InDaemon));
                        }
                    }
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
                    wait_at(waits);
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
