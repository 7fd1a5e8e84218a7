//! The test runner, run by itself: each test here runs this executable again, as a runner of
//! the small tests below.

use common::for_ever;
use multiproc_process::test::{self, Test};
use multiproc_process::{ExitValue, Process};
use std::process::{Command, ExitCode, Output, Stdio};
use std::time::{Duration, Instant};

const INNER: &str = "MULTIPROC_RUNNER_INNER";

fn main() -> ExitCode {
    if std::env::var_os(INNER).is_some() {
        return test::run(&[
            Test::new("passes", || 0),
            Test::new("panics", || panic!("the reason")),
            Test::new("returns_an_error", || Err::<(), _>("the error").exit_code()),
            Test::new("panics_as_it_should", || panic!("expected")).should_panic(),
            Test::new("should_panic_and_does_not", || 0).should_panic(),
            Test::new("is_ignored", || 0).ignored(),
            Test::new("hangs", hang).timeout(Duration::from_millis(300)),
            Test::new("is_killed", || std::process::abort()),
            Test::new("leaves_a_process", leave_a_process),
            Test::new("leaves_a_process_in_another_session", leave_a_session),
            Test::new("leaves_a_file", leave_a_file),
            Test::new("leaves_a_dying_daemon", || {
                i32::from(Process::builder().daemon(true).start(hang).is_err())
            }),
            Test::new("is_alone", || {
                i32::from(multiproc_core::fork::thread_count() != 1)
            }),
        ]);
    }
    macro_rules! tests {
        ($($name:ident)*) => { [$(Test::new(stringify!($name), || $name().exit_code())),*] };
    }
    test::run(&tests! {
        a_pass_is_exit_code_0
        a_failure_is_exit_code_101_and_shows_its_output
        a_hanging_test_is_killed_with_all_it_started
        a_process_left_behind_is_a_failure
        a_name_left_behind_is_a_failure
        a_death_is_a_failure_that_names_the_signal
        should_panic_turns_a_panic_round
        ignored_tests_run_when_asked
        the_list_is_libtests
        daemons_may_end_with_the_test
        each_test_is_a_single_thread
        nothing_is_caught_without_capture
        an_unknown_argument_is_refused
    })
}

fn hang() -> i32 {
    for_ever()
}

fn sleeper() -> Command {
    let mut command = Command::new("sleep");
    command
        .arg("1000")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

fn leave_a_process() -> i32 {
    i32::from(sleeper().spawn().is_err())
}

fn leave_a_session() -> i32 {
    match Process::start(|| {
        let _ = nix::unistd::setsid();
        i32::from(sleeper().spawn().is_err())
    }) {
        Ok(child) => child.join().map_or(1, |exit| exit.code()),
        Err(_) => 1,
    }
}

fn leave_a_file() -> i32 {
    i32::from(std::fs::write(format!("/dev/shm/multiproc.{}", test::unique("left")), "").is_err())
}

fn run(arguments: &str) -> std::io::Result<Output> {
    Command::new("/proc/self/exe")
        .args(arguments.split_whitespace())
        .env(INNER, "1")
        .env_remove("MULTIPROC_TEST")
        .env_remove("RUST_TEST_THREADS")
        .output()
}

/// Runs the inner tests with these arguments; all must fail, or all pass, and print these
/// texts.
fn expect(arguments: &str, passes: bool, texts: &[&str]) -> std::io::Result<()> {
    let output = run(arguments)?;
    let text = String::from_utf8_lossy(&output.stdout);
    for expected in texts {
        assert!(
            text.contains(expected),
            "`{expected}` is missing in:\n{text}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    assert_eq!(output.status.code(), Some(if passes { 0 } else { 101 }));
    Ok(())
}

fn a_pass_is_exit_code_0() -> std::io::Result<()> {
    expect(
        "--exact passes",
        true,
        &[
            "\nrunning 1 test\ntest passes ... ok\n\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 12 filtered out; finished in ",
        ],
    )
}

fn a_failure_is_exit_code_101_and_shows_its_output() -> std::io::Result<()> {
    expect(
        "panics --exact",
        false,
        &[
            "test panics ... FAILED",
            "---- panics stdout ----",
            "the reason",
            "\nfailures:\n    panics\n",
        ],
    )?;
    expect(
        "returns_an_error",
        false,
        &[
            "MainProcess: Error: \"the error\"",
            "test result: FAILED. 0 passed; 1 failed;",
        ],
    )
}

fn a_hanging_test_is_killed_with_all_it_started() -> std::io::Result<()> {
    let begun = Instant::now();
    expect(
        "hangs",
        false,
        &["test hangs ... FAILED", "took longer than 300ms"],
    )?;
    assert!(begun.elapsed() >= Duration::from_millis(300));
    Ok(())
}

fn a_process_left_behind_is_a_failure() -> std::io::Result<()> {
    expect(
        "leaves_a_process",
        false,
        &[
            "test leaves_a_process ... FAILED",
            "test leaves_a_process_in_another_session ... FAILED",
            "left processes behind",
            "(sleep)",
        ],
    )
}

fn a_name_left_behind_is_a_failure() -> std::io::Result<()> {
    for arguments in [
        "leaves_a_file --test-threads 1",
        "leaves_a_file --test-threads 2",
    ] {
        expect(
            arguments,
            false,
            &[
                "test leaves_a_file ... FAILED",
                "left in /dev/shm:",
                "multiproc.test-",
            ],
        )?;
    }
    for entry in std::fs::read_dir("/dev/shm")?.flatten() {
        let name = entry.file_name();
        if name.to_string_lossy().starts_with("multiproc.test-")
            && name.to_string_lossy().ends_with("-left")
        {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn a_death_is_a_failure_that_names_the_signal() -> std::io::Result<()> {
    expect(
        "is_killed",
        false,
        &["its process was killed by signal 6 (SIGABRT)"],
    )
}

fn should_panic_turns_a_panic_round() -> std::io::Result<()> {
    expect(
        "panics_as_it_should",
        true,
        &["test panics_as_it_should ... ok"],
    )?;
    expect(
        "should_panic_and_does_not",
        false,
        &["the test should have panicked"],
    )
}

fn ignored_tests_run_when_asked() -> std::io::Result<()> {
    expect(
        "is_ignored",
        true,
        &[
            "test is_ignored ... ignored",
            "0 passed; 0 failed; 1 ignored",
        ],
    )?;
    expect(
        "is_ignored --include-ignored",
        true,
        &["test is_ignored ... ok"],
    )?;
    expect(
        "--ignored",
        true,
        &["running 1 test\ntest is_ignored ... ok"],
    )
}

fn the_list_is_libtests() -> std::io::Result<()> {
    expect(
        "--list pass",
        true,
        &["passes: test\n\n1 test, 0 benchmarks\n"],
    )?;
    let terse = run("--list --format terse --ignored")?;
    assert_eq!(String::from_utf8_lossy(&terse.stdout), "is_ignored: test\n");
    let bench = run("--bench --list --format terse")?;
    assert_eq!(String::from_utf8_lossy(&bench.stdout), "");
    Ok(())
}

fn daemons_may_end_with_the_test() -> std::io::Result<()> {
    expect(
        "leaves_a_dying_daemon",
        true,
        &["test leaves_a_dying_daemon ... ok"],
    )
}

fn each_test_is_a_single_thread() -> std::io::Result<()> {
    expect("is_alone", true, &["test is_alone ... ok"])
}

fn nothing_is_caught_without_capture() -> std::io::Result<()> {
    let output = run("panics --exact --nocapture")?;
    assert!(String::from_utf8_lossy(&output.stderr).contains("the reason"));
    Ok(())
}

fn an_unknown_argument_is_refused() -> std::io::Result<()> {
    let output = run("--nonsense")?;
    assert_eq!(output.status.code(), Some(101));
    assert!(String::from_utf8_lossy(&output.stderr).contains("unknown argument `--nonsense`"));
    Ok(())
}
