//! Programs that call `entry`, that do not, and that do so too late: this executable, run again
//! with a role, as if its `main` were somebody else's.

use common::{Outcome, for_ever};
use multiproc_process::test::{self, Test};
use multiproc_process::{
    Context, Exit, ExitValue, Process, StartError, StartMethod, active_children, after_fork, entry,
};
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

const ROLE: &str = "MULTIPROC_TEST_ROLE";
/// Says to a program's children what they do before their entry.
const BEFORE: &str = "MULTIPROC_TEST_BEFORE";

fn main() -> ExitCode {
    let role = std::env::var(ROLE).unwrap_or_default();
    if !role.is_empty() {
        return match play(&role) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{role}: {error}");
                ExitCode::FAILURE
            }
        };
    }
    macro_rules! tests {
        ($($name:ident)*) => { [$(Test::new(stringify!($name), || $name().exit_code())),*] };
    }
    test::run(&tests! {
        a_program_without_entry_is_told_so_and_starts_nothing
        a_child_that_passes_by_its_entry_starts_nothing_and_is_an_error
        a_child_that_ends_before_its_entry_is_an_error
        a_child_that_closes_the_line_is_an_error_not_a_hang
        a_program_run_by_a_spawned_process_is_not_spawned
        entry_may_be_called_again
        threads_before_the_entry_do_no_harm
        a_program_with_borrowed_rights_is_told_so
        hooks_before_the_entry_are_for_the_servers_children_too
    })
}

fn five(_: ()) -> i32 {
    5
}

fn set(name: &str, value: &str) {
    // SAFETY: these programs have one thread when they do this.
    unsafe { std::env::set_var(name, value) };
}

/// What a child of a program like this does that does not reach its entry.
fn before_the_entry() {
    match std::env::var(BEFORE).as_deref() {
        Ok("start") => {
            // The child of a program that forgot the hook: what it starts would start more.
            let forked = Process::start(|| 5).map_err(StartError::from);
            assert!(matches!(forked, Err(StartError::NoEntry)), "{forked:?}");
            for method in StartMethod::ALL {
                let refused = Context::new(method).start(five, ()).expect_err("no entry");
                assert!(matches!(refused.why, StartError::NoEntry), "{refused:?}");
            }
            std::process::exit(7);
        }
        Ok("abort") => std::process::abort(),
        Ok("exit") => std::process::exit(8),
        Ok("close") => {
            // SAFETY: no descriptor above stdio is in use here.
            unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
            for_ever()
        }
        Ok("thread") => {
            std::thread::spawn(|| for_ever());
        }
        _ => {}
    }
}

/// The programs.
fn play(role: &str) -> Outcome {
    before_the_entry();
    if role == "hooks" {
        after_fork(|| {
            FORKS.fetch_add(1, Relaxed);
        });
    }
    if role == "without" {
        for method in [StartMethod::Spawn, StartMethod::ForkServer] {
            let refused = Context::new(method).start(five, ()).expect_err("no entry");
            assert!(matches!(refused.why, StartError::NoEntry));
            println!("{}", refused.why);
        }
        // Fork needs none.
        assert_eq!(Process::start(|| 5)?.join()?, Exit::Code(5));
        assert!(active_children().is_empty());
        return Ok(());
    }
    entry();
    let spawn = || Process::spawn(five, ()).map_err(StartError::from);
    let never = |expected: Exit| -> Outcome {
        for method in [StartMethod::Spawn, StartMethod::ForkServer] {
            let refused = Context::new(method).start(five, ()).expect_err("it ends");
            match refused.why {
                StartError::NeverEntered(exit) => assert_eq!(exit, expected),
                other => return Err(other.into()),
            }
        }
        assert!(active_children().is_empty());
        Ok(())
    };
    match role {
        "passes by" => {
            set(BEFORE, "start");
            never(Exit::Code(7))
        }
        "ends early" => {
            set(BEFORE, "exit");
            never(Exit::Code(8))?;
            set(BEFORE, "abort");
            never(Exit::Signal(6))
        }
        "closes" => {
            set(BEFORE, "close");
            never(Exit::Signal(9))
        }
        "runs itself" => {
            let child = Process::spawn(
                |()| -> Outcome {
                    // The environment is inherited with all that it says.
                    assert!(std::env::var_os("MULTIPROC_SPAWN").is_some());
                    let mut again = Command::new("/proc/self/exe");
                    again.env(ROLE, "plain").stdin(Stdio::null());
                    // Also where something lies at the number that it names.
                    for number in 0..2 {
                        if number == 1 {
                            let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
                            // SAFETY: these numbers are free here, or ours to replace.
                            unsafe { libc::dup2(std::os::fd::AsRawFd::as_raw_fd(&theirs), 3) };
                            drop(ours);
                        }
                        let output = again.output()?;
                        assert_eq!(output.stdout, b"plain\n");
                        assert!(output.status.success());
                    }
                    Ok(())
                },
                (),
            )?;
            Ok(child.join()?.ok()?)
        }
        "plain" => {
            assert_eq!(spawn()?.join()?, Exit::Code(5));
            println!("plain");
            Ok(())
        }
        "twice" => {
            entry();
            entry();
            assert_eq!(spawn()?.join()?, Exit::Code(5));
            Ok(())
        }
        "threads" => {
            set(BEFORE, "thread");
            assert_eq!(spawn()?.join()?, Exit::Code(5));
            // A server with threads cannot fork, and says so.
            let refused = Context::new(StartMethod::ForkServer).start(five, ());
            let why = refused.expect_err("threads").why.to_string();
            assert!(
                why.contains("fork server") && why.contains("threads"),
                "{why}"
            );
            Ok(())
        }
        "borrows" => {
            for method in [StartMethod::Spawn, StartMethod::ForkServer] {
                let refused = Context::new(method).start(five, ()).expect_err("rights");
                assert!(matches!(refused.why, StartError::BorrowedRights));
            }
            assert_eq!(Process::start(|| 5)?.join()?, Exit::Code(5));
            Ok(())
        }
        "hooks" => {
            for (method, expected) in [
                (StartMethod::Fork, 1),
                (StartMethod::Spawn, 0),
                (StartMethod::ForkServer, 1),
            ] {
                let seen = |()| i32::try_from(FORKS.load(Relaxed)).unwrap();
                let child = Context::new(method).start(seen, ())?;
                assert_eq!(child.join()?, Exit::Code(expected), "{method}");
            }
            Ok(())
        }
        other => Err(other.into()),
    }
}

static FORKS: AtomicU32 = AtomicU32::new(0);

/// What a program of this role prints.
fn run(role: &str) -> Result<String, Box<dyn std::error::Error>> {
    let output = Command::new("/proc/self/exe")
        .env(ROLE, role)
        .stdin(Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{role}: {}, {text}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

/// X26
fn a_program_without_entry_is_told_so_and_starts_nothing() -> Outcome {
    let text = run("without")?;
    assert_eq!(text.matches("`entry()`").count(), 2, "{text}");
    Ok(())
}

/// X26
fn a_child_that_passes_by_its_entry_starts_nothing_and_is_an_error() -> Outcome {
    run("passes by").map(drop)
}

fn a_child_that_ends_before_its_entry_is_an_error() -> Outcome {
    run("ends early").map(drop)
}

fn a_child_that_closes_the_line_is_an_error_not_a_hang() -> Outcome {
    run("closes").map(drop)
}

fn a_program_run_by_a_spawned_process_is_not_spawned() -> Outcome {
    run("runs itself").map(drop)
}

fn entry_may_be_called_again() -> Outcome {
    run("twice").map(drop)
}

fn threads_before_the_entry_do_no_harm() -> Outcome {
    run("threads").map(drop)
}

fn hooks_before_the_entry_are_for_the_servers_children_too() -> Outcome {
    run("hooks").map(drop)
}

fn a_program_with_borrowed_rights_is_told_so() -> Outcome {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: only root can make a program that borrows somebody else's rights");
        return Ok(());
    }
    let folder = std::env::temp_dir().join(test::unique("borrows"));
    std::fs::create_dir_all(&folder)?;
    let copy = folder.join("program");
    std::fs::copy("/proc/self/exe", &copy)?;
    chown(&copy, Some(65_432), Some(65_432))?;
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o4755))?;
    let output = Command::new(&copy)
        .env(ROLE, "borrows")
        .stdin(Stdio::null())
        .output()?;
    std::fs::remove_dir_all(&folder)?;
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    Ok(())
}
