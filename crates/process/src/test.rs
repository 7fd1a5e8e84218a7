//! A test harness for code that forks: each test is the only thread of a process of its own.
//!
//! The standard harness runs tests in threads, where [`Process::start`](crate::Process::start)
//! refuses to fork. For this one, say so in `Cargo.toml`
//!
//! ```toml
//! [[test]]
//! name = "workers"
//! harness = false
//! ```
//!
//! and list the tests in `tests/workers.rs`:
//!
//! ```
//! use multiproc_process::{Process, test};
//!
//! fn a_child_answers() -> Result<(), Box<dyn std::error::Error>> {
//!     let child = Process::start(|| 42)?;
//!     assert_eq!(child.join()?.code(), 42);
//!     Ok(())
//! }
//!
//! fn a_child_is_slow() {}
//!
//! test::main! {
//!     a_child_answers,
//!     #[ignore]
//!     #[timeout(300)]
//!     a_child_is_slow,
//! }
//! ```
//!
//! Attributes: `ignore`, `should_panic`, `timeout(seconds)`.
//!
//! # What it does
//!
//! The runner runs its own executable once per test, several at a time, each in its own process
//! group, stdin empty and output caught. A test passes if it returns, and if then
//!
//! - its exit came to an end too: children joined, exit hooks run;
//! - no process that it started is left, wherever it hid: the runner is the subreaper of all,
//!   and knows them by process group and by environment;
//! - nothing that it made in `/dev/shm` is left: with one test at a time every name that begins
//!   with `multiproc.`, with more the names that contain [`unique`]'s.
//!
//! A test that takes longer than its watchdog allows (60 seconds,
//! `MULTIPROC_TEST_TIMEOUT=seconds`, or the attribute) is killed with everything it started.
//!
//! It takes libtest's usual arguments (a filter, `--exact`, `--skip`, `--list`, `--format`,
//! `--nocapture`, `--ignored`, `--include-ignored`, `--test-threads`, `--quiet`), so `cargo
//! test` and cargo-nextest both work.

#[doc(inline)]
pub use crate::__test_main as main;

mod options;
mod running;

use crate::sys;
use multiproc_core::deadline::Deadline;
use multiproc_core::fd::wait_readable;
use options::Options;
use running::{Running, leftover_names, memory_file, reap_orphans, text_of};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::panic::catch_unwind;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Set for the process of one test: the test's name.
const NAME: &str = "MULTIPROC_TEST";
/// Set for the process of one test and so in all that it starts: which run, which test.
const MARK: &str = "MULTIPROC_TEST_MARK";
const TIMEOUT: &str = "MULTIPROC_TEST_TIMEOUT";
/// How long processes that are about to end may take for it.
const LINGER: Duration = Duration::from_secs(2);

/// Makes `fn main` of a test target that runs the named functions, each in a process of its
/// own. See the [module](crate::test).
#[macro_export]
#[doc(hidden)]
macro_rules! __test_main {
    ($($(#[$($attribute:tt)+])* $name:ident),* $(,)?) => {
        fn main() -> ::std::process::ExitCode {
            $crate::test::run(&[$({
                #[allow(unused_mut)]
                let mut test = $crate::test::Test::new(stringify!($name), || $crate::ExitValue::exit_code($name()));
                $($crate::__test_attribute!(test $($attribute)+);)*
                test
            }),*])
        }
    };
}

#[macro_export]
#[doc(hidden)]
macro_rules! __test_attribute {
    ($test:ident ignore $(= $why:literal)?) => {
        $test = $test.ignored()
    };
    ($test:ident should_panic) => {
        $test = $test.should_panic()
    };
    ($test:ident timeout($seconds:literal)) => {
        $test = $test.timeout(::std::time::Duration::from_secs($seconds))
    };
    ($test:ident doc = $text:literal) => {};
}

/// One test: a name and a function. [`main!`] makes them.
#[derive(Clone, Debug)]
pub struct Test {
    name: &'static str,
    body: fn() -> i32,
    ignored: bool,
    should_panic: bool,
    timeout: Option<Duration>,
}

impl Test {
    /// A test that passes if `body` returns 0.
    pub const fn new(name: &'static str, body: fn() -> i32) -> Self {
        Test {
            name,
            body,
            ignored: false,
            should_panic: false,
            timeout: None,
        }
    }

    /// Not run unless asked for.
    #[must_use]
    pub const fn ignored(self) -> Self {
        Test {
            ignored: true,
            ..self
        }
    }

    /// Passes if it panics.
    #[must_use]
    pub const fn should_panic(self) -> Self {
        Test {
            should_panic: true,
            ..self
        }
    }

    /// A watchdog of its own.
    #[must_use]
    pub const fn timeout(self, timeout: Duration) -> Self {
        Test {
            timeout: Some(timeout),
            ..self
        }
    }
}

/// A name that only this test uses: `stem`, with something that tells it from other tests and
/// other runs. What is made in `/dev/shm` under such a name must be gone when the test ends.
pub fn unique(stem: &str) -> String {
    match std::env::var(MARK) {
        Ok(mark) => format!("{mark}-{stem}"),
        Err(_) => format!("{}-{stem}", std::process::id()),
    }
}

/// Runs the tests as the command line says: the whole of a test target's `main`.
///
/// *Blocks until* all of them have ended. *Wakes when* one of them ends. *If a peer dies*: a
/// test that dies has failed. If the runner dies, the kernel kills the tests.
pub fn run(tests: &[Test]) -> ExitCode {
    // A test may spawn: then this is not the test, but its child.
    crate::entry();
    if let Ok(name) = std::env::var(NAME) {
        return match tests.iter().find(|test| test.name == name) {
            Some(test) => run_here(test),
            None => fail(&format!("there is no test `{name}`")),
        };
    }
    let options = match Options::parse(std::env::args_os().skip(1)) {
        Ok(options) => options,
        Err(complaint) => return fail(&complaint),
    };
    let chosen: Vec<&Test> = tests.iter().filter(|test| options.wants(test)).collect();
    if options.list {
        list(&chosen, &options);
        return ExitCode::SUCCESS;
    }
    match Runner::new(options).run(&chosen, tests.len() - chosen.len()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(101),
        Err(error) => fail(&format!("the test runner failed: {error}")),
    }
}

fn fail(complaint: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "error: {complaint}");
    ExitCode::from(101)
}

/// The test's own process.
fn run_here(test: &Test) -> ExitCode {
    match catch_unwind(test.body) {
        Ok(0) if test.should_panic => fail("the test should have panicked"),
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(101),
        Err(_) if test.should_panic => ExitCode::SUCCESS,
        Err(panic) => {
            std::mem::forget(panic);
            ExitCode::from(101)
        }
    }
}

fn list(tests: &[&Test], options: &Options) {
    let mut out = io::stdout().lock();
    for test in tests {
        let _ = writeln!(out, "{}: test", test.name);
    }
    if !options.quiet {
        let s = if tests.len() == 1 { "" } else { "s" };
        let _ = writeln!(out, "\n{} test{s}, 0 benchmarks", tests.len());
    }
}

/// The signal that asked the runner to stop; 0 for none.
static STOPPED_BY: AtomicI32 = AtomicI32::new(0);

extern "C" fn stop(signal: libc::c_int) {
    // Relaxed: one word, looked at by the thread that the signal interrupts.
    STOPPED_BY.store(signal, Relaxed);
}

struct Runner {
    options: Options,
    jobs: usize,
    timeout: Duration,
    running: Vec<Running>,
    failures: Vec<(&'static str, String)>,
    passed: usize,
    started: usize,
}

impl Runner {
    fn new(options: Options) -> Self {
        let jobs = options.jobs.unwrap_or_else(crate::cpu_count);
        let seconds = std::env::var(TIMEOUT)
            .ok()
            .and_then(|seconds| seconds.parse().ok())
            .unwrap_or(60);
        Runner {
            options,
            jobs,
            timeout: Duration::from_secs(seconds),
            running: Vec::new(),
            failures: Vec::new(),
            passed: 0,
            started: 0,
        }
    }

    fn run(mut self, tests: &[&Test], filtered_out: usize) -> io::Result<bool> {
        let begun = Instant::now();
        // SAFETY: numbers only. Orphans of tests become our children, which is how none gets
        // away.
        if unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) } == -1 {
            return Err(io::Error::last_os_error());
        }
        let handler: extern "C" fn(libc::c_int) = stop;
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            // SAFETY: the handler stores one atomic word, nothing else.
            unsafe { libc::signal(signal, handler as libc::sighandler_t) };
        }
        let s = if tests.len() == 1 { "" } else { "s" };
        println!("\nrunning {} test{s}", tests.len());
        let (todo, ignored): (Vec<&Test>, Vec<&Test>) =
            tests.iter().partition(|test| self.options.runs(test));
        for test in &ignored {
            self.say(test.name, "ignored");
        }
        let mut todo = todo.into_iter();
        loop {
            while self.running.len() < self.jobs
                && let Some(test) = todo.next()
            {
                self.launch(test)?;
            }
            if self.running.is_empty() {
                break;
            }
            self.wait()?;
            let signal = STOPPED_BY.load(Relaxed);
            if signal != 0 {
                for running in std::mem::take(&mut self.running) {
                    running.kill_all();
                }
                return Err(io::Error::other(format!("stopped by signal {signal}")));
            }
        }
        self.close(ignored.len(), filtered_out, begun.elapsed());
        Ok(self.failures.is_empty())
    }

    fn launch(&mut self, test: &Test) -> io::Result<()> {
        self.started += 1;
        let mark = format!("test-{}-{}", std::process::id(), self.started);
        let mut command = Command::new("/proc/self/exe");
        command
            .args(std::env::args_os().skip(1))
            .env(NAME, test.name)
            .env(MARK, &mark)
            .stdin(Stdio::null())
            .process_group(0);
        if let Some(program) = std::env::args_os().next() {
            command.arg0(program);
        }
        let output = if self.options.nocapture {
            None
        } else {
            let file = memory_file()?;
            command.stdout(file.try_clone()?).stderr(file.try_clone()?);
            Some(file)
        };
        let parent = sys::pidfd_open(std::process::id())?;
        // SAFETY: what runs between fork and exec makes system calls only.
        unsafe {
            command.pre_exec(move || {
                sys::die_with_parent()?;
                // The runner may have died before that.
                match wait_readable(parent.as_fd(), Deadline::NOW)? {
                    true => Err(io::ErrorKind::BrokenPipe.into()),
                    false => Ok(()),
                }
            })
        };
        let timeout = test.timeout.unwrap_or(self.timeout);
        let shm = leftover_names("multiproc.");
        let pid = command.spawn()?.id();
        self.running.push(Running {
            test: test.clone(),
            pid,
            pidfd: sys::pidfd_open(pid)?,
            mark,
            output,
            deadline: Deadline::after(timeout),
            timeout,
            shm,
        });
        Ok(())
    }

    /// Waits until a test ends or runs out of time, and settles it.
    fn wait(&mut self) -> io::Result<()> {
        let entry = |running: &Running| libc::pollfd {
            fd: running.pidfd.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        let mut polled: Vec<libc::pollfd> = self.running.iter().map(entry).collect();
        let first = self
            .running
            .iter()
            .filter_map(|running| running.deadline.remaining())
            .min();
        let milliseconds = first.map_or(-1, |left| {
            left.as_millis().saturating_add(1).min(i32::MAX as u128) as i32
        });
        // SAFETY: the array is ours and as long as we say. An interruption looks like a time
        // that is up: we look again.
        unsafe {
            libc::poll(
                polled.as_mut_ptr(),
                polled.len() as libc::nfds_t,
                milliseconds,
            )
        };
        for (at, poll) in polled.iter().enumerate().rev() {
            if poll.revents != 0 {
                let running = self.running.remove(at);
                self.settle(running, false)?;
            } else if self.running[at].deadline.passed() {
                let running = self.running.remove(at);
                self.settle(running, true)?;
            }
        }
        Ok(())
    }

    fn settle(&mut self, mut running: Running, late: bool) -> io::Result<()> {
        let mut complaints = Vec::new();
        if late {
            complaints.push(format!(
                "took longer than {:?}, and was killed with all it started:",
                running.timeout
            ));
            complaints.extend(running.processes().iter().map(|left| format!("    {left}")));
            running.kill_all();
            wait_readable(running.pidfd.as_fd(), Deadline::after(LINGER))?;
        }
        match sys::reap(running.pidfd.as_fd())? {
            _ if late => {}
            Some(exit) if exit.success() => {}
            Some(exit) if exit.code() == 101 => complaints.push("failed".to_owned()),
            Some(exit) => complaints.push(format!("its process {exit}")),
            None => complaints.push("its process cannot be killed".to_owned()),
        }
        if !late {
            // Daemons were signalled by the kernel in the same moment in which the test's
            // process ended: let them go.
            let left = running.linger();
            if !left.is_empty() {
                complaints.push("left processes behind, which were killed:".to_owned());
                complaints.extend(left.iter().map(|left| format!("    {left}")));
                running.kill_all();
            }
        }
        reap_orphans(&self.running);
        let mut names = leftover_names(&running.mark);
        if self.jobs == 1 {
            names.extend(
                leftover_names("multiproc.")
                    .difference(&running.shm)
                    .cloned(),
            );
        }
        if !names.is_empty() {
            complaints.push("left in /dev/shm:".to_owned());
            complaints.extend(names.iter().map(|name| format!("    {}", name.display())));
        }
        let output = running.output.take().map_or_else(String::new, text_of);
        let name = running.test.name;
        if complaints.is_empty() {
            self.passed += 1;
            self.say(name, "ok");
            if self.options.show_output && !output.is_empty() {
                println!("---- {name} stdout ----\n{output}");
            }
        } else {
            self.say(name, "FAILED");
            self.failures.push((
                name,
                format!("{output}test {name}: {}\n", complaints.join("\n")),
            ));
        }
        Ok(())
    }

    fn say(&self, name: &str, verdict: &str) {
        if self.options.quiet {
            print!("{}", if verdict == "ok" { "." } else { &verdict[..1] });
            let _ = io::stdout().flush();
        } else {
            println!("test {name} ... {verdict}");
        }
    }

    fn close(&mut self, ignored: usize, filtered_out: usize, took: Duration) {
        self.failures.sort();
        if !self.failures.is_empty() {
            println!("\nfailures:\n");
            for (name, story) in &self.failures {
                println!("---- {name} stdout ----\n{story}");
            }
            println!("\nfailures:");
            for (name, _) in &self.failures {
                println!("    {name}");
            }
        }
        let verdict = if self.failures.is_empty() {
            "ok"
        } else {
            "FAILED"
        };
        println!(
            "\ntest result: {verdict}. {} passed; {} failed; {ignored} ignored; 0 measured; {filtered_out} filtered out; \
             finished in {:.2}s\n",
            self.passed,
            self.failures.len(),
            took.as_secs_f64()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_to_a_process_or_test() {
        assert!(unique("jobs").ends_with("-jobs"));
        assert_ne!(unique("jobs"), "jobs");
    }
}
