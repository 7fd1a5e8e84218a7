//! An example, run as a user runs it, twenty times as fast.
//!
//! Each runs in a process group of its own, so that what it leaves behind is found; a watchdog
//! ends what hangs.

// Not every test needs all of this.
#![allow(dead_code)]

use std::fs;
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

/// No example takes this long at the scale used here; one that does is stuck.
const WATCHDOG: Duration = Duration::from_secs(120);

/// Runs an example at a twentieth of its times, checks that it ended well and left no process,
/// and returns the lines that it printed.
pub(crate) fn run(name: &str, options: &[&str]) -> Vec<String> {
    let mut all = vec!["--scale", "0.05"];
    all.extend(options);
    let ended = start(name, &all).wait();
    assert!(
        ended.status.success(),
        "{name} ended with {}\n{}\n{}",
        ended.status,
        ended.stdout,
        ended.stderr
    );
    ended.stdout.lines().map(str::to_owned).collect()
}

/// An example on its way.
pub(crate) struct Running {
    name: String,
    pub(crate) child: Child,
}

/// An example at its end.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

pub(crate) fn start(name: &str, options: &[&str]) -> Running {
    let child = Command::new(program(name))
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
    Running {
        name: name.to_owned(),
        child,
    }
}

impl Running {
    pub(crate) fn wait(mut self) -> Ended {
        let stdout = read_aside(self.child.stdout.take().expect("it is piped"));
        let stderr = read_aside(self.child.stderr.take().expect("it is piped"));
        let group = self.child.id();
        let limit = Instant::now() + WATCHDOG;
        let mut stuck = false;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                break status;
            }
            if !stuck && Instant::now() > limit {
                stuck = true;
                kill_group(group);
            }
            thread::sleep(Duration::from_millis(5));
        };
        // A daemon may still be dying; a second is for ever for that.
        let grace = Instant::now() + Duration::from_secs(1);
        while !members(group).is_empty() && Instant::now() < grace {
            thread::sleep(Duration::from_millis(5));
        }
        let left = members(group);
        kill_group(group);
        let (stdout, stderr) = (
            stdout.join().expect("stdout"),
            stderr.join().expect("stderr"),
        );
        let name = &self.name;
        assert!(
            !stuck,
            "{name} was stuck; it had printed\n{stdout}\n{stderr}"
        );
        assert!(
            left.is_empty(),
            "{name} left the processes {left:?}\n{stdout}\n{stderr}"
        );
        assert_eq!(
            status.signal(),
            None,
            "{name} was killed\n{stdout}\n{stderr}"
        );
        Ended {
            status,
            stdout,
            stderr,
        }
    }
}

/// Reads to the end in a thread of its own: a full pipe must not stop the writer.
fn read_aside(mut stream: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("its output");
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// The living members of a process group. Zombies are dead, whoever has yet to reap them.
fn members(group: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // pid (name) state ppid pgrp …, and the name may hold anything, parentheses too.
        let stat = fs::read(entry.path().join("stat")).unwrap_or_default();
        let stat = String::from_utf8_lossy(&stat);
        let mut fields = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace();
        let (state, pgrp) = (fields.next(), fields.nth(1));
        if pgrp.is_some_and(|pgrp| pgrp == group.to_string()) && !matches!(state, Some("Z" | "X")) {
            found.push(pid);
        }
    }
    found
}

/// Ends what is left of a process group, which may be nothing.
fn kill_group(group: u32) {
    if members(group).is_empty() {
        return;
    }
    let group = i32::try_from(group).expect("a pid");
    // SAFETY: `kill` takes two numbers and touches no memory of ours. The group was made by
    // `start` and has living members, so its number is not another's.
    unsafe { libc::kill(-group, libc::SIGKILL) };
}

/// The example's program, beside this test's own: `<target>/<profile>/examples/NAME`. `cargo test`
/// builds examples before it runs tests; where it was told to leave them out, they are built here.
fn program(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let me = std::env::current_exe().expect("the path of this test");
    let profile = me
        .parent()
        .and_then(Path::parent)
        .expect("<target>/<profile>/deps/<test>");
    let program = profile.join("examples").join(name);
    if program.exists() {
        return program;
    }
    BUILT.get_or_init(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--package", "multiproc", "--examples"]);
        build.args(["--features", "interop,tokio", "--profile"]); // one of them needs each
        match profile.file_name().and_then(|name| name.to_str()) {
            Some("debug") | None => build.arg("dev"),
            Some(other) => build.arg(other),
        };
        build
            .arg("--target-dir")
            .arg(profile.parent().expect("<target>"));
        build
            .arg("--manifest-path")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"));
        assert!(
            build.status().expect("cargo").success(),
            "the examples do not build"
        );
        profile.to_owned()
    });
    assert!(program.exists(), "there is no example {name}");
    program
}
