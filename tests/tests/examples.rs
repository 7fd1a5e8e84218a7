//! Every program in `examples/`, run as a user runs it, twenty times as fast.
//!
//! Each runs in a process group of its own, so that what it leaves behind is found; a watchdog
//! ends what hangs. Lines are compared in the order that the example promises, as a set elsewhere.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

// ---------------------------------------------------------------------------------------------
// The examples

#[test]
fn producer_consumer() {
    let lines = run("producer_consumer", &[]);
    let (put, got) = (numbered(&lines, " put "), numbered(&lines, " got "));
    assert_eq!(put.len(), 100, "the first 100 messages are shown");
    assert_eq!(put, got, "what is shown as put is shown as got, once each");
    assert_ends_as_the_tutorial(&lines);
    assert_rate_line(&lines, 100_000, 2, 2);
}

#[test]
fn producer_consumer_with_three_of_each() {
    let options = [
        "--messages",
        "20000",
        "--producers",
        "3",
        "--consumers",
        "3",
    ];
    let lines = run("producer_consumer", &options);
    let checked = "checked: every message exactly once, each producer's numbers ascend";
    assert!(
        lines.iter().any(|line| line.starts_with(checked)),
        "{lines:#?}"
    );
    assert_ends_as_the_tutorial(&lines);
    assert_rate_line(&lines, 20_000, 3, 3);
}

#[test]
fn producer_consumer_with_few_messages_shows_them_all() {
    let lines = run(
        "producer_consumer",
        &["--messages", "7", "--producers", "3"],
    );
    assert_eq!(numbered(&lines, " put ").len(), 7);
    assert_eq!(numbered(&lines, " put "), numbered(&lines, " got "));
    assert_rate_line(&lines, 7, 3, 2);
}

#[test]
fn producer_consumer_counts_files_as_wc_does() {
    // Words and counts are written down here, not computed by the code under test.
    let mut poem = String::new();
    for n in 0..5_000 {
        poem += &format!("{n} little  words\tin a row\n\n");
    }
    let (mut lines, mut words, mut bytes) = (10_000, 5_000 * 6, poem.len());

    // White space of other sorts, words that are no UTF-8 in part, and no line feed at the end.
    let odd = b"caf\xc3\xa9 na\xefve\xff end\x0bfeed\x0creturn\r\n\xe2\x80\x94 dash\xe3\x80\x80wide\n \n\xfflast";
    (lines, words, bytes) = (lines + 3, words + 9, bytes + odd.len());

    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("producer_consumer");
    fs::create_dir_all(&folder).expect("a folder for the input");
    let files = ["poem.txt", "odd.txt", "empty.txt"].map(|name| folder.join(name));
    for (file, content) in files.iter().zip([poem.as_bytes(), odd, b""]) {
        fs::write(file, content).expect("an input file");
    }

    let mut options = vec!["--producers", "2", "--consumers", "3", "--input"];
    options.extend(
        files
            .iter()
            .map(|file| file.to_str().expect("a UTF-8 path")),
    );
    let printed = run("producer_consumer", &options);
    let total = format!("{lines} {words} {bytes} total");
    assert!(printed.contains(&total), "{total} is not in {printed:#?}");
    assert_ends_as_the_tutorial(&printed);
    assert_rate_line(&printed, lines + 1, 2, 3);
}

#[test]
fn producer_consumer_says_which_file_is_missing() {
    let ended = start("producer_consumer", &["--input", "/no/such/file"]).wait();
    assert!(!ended.status.success());
    assert!(ended.stderr.contains("/no/such/file"), "{}", ended.stderr);
}

#[test]
fn producer_consumer_fails_but_does_not_hang_when_its_consumer_is_killed() {
    // More than it could send in a minute: without the kill this would meet the watchdog.
    let options = ["--messages", "1000000000", "--consumers", "1"];
    let mut running = start("producer_consumer", &options);
    let mut stdout = BufReader::new(running.child.stdout.take().expect("it is piped"));
    let mut line = String::new();
    let consumer: i32 = loop {
        line.clear();
        let bytes = stdout.read_line(&mut line).expect("its output");
        assert!(bytes > 0, "it ended before it got anything");
        if let Some((pid, _)) = line.split_once(" got ") {
            break pid.parse().expect("a pid");
        }
    };
    // SAFETY: `kill` takes two numbers and touches no memory of ours. The consumer is a child of
    // the example, which still waits for it, so the number is not another's.
    assert_eq!(unsafe { libc::kill(consumer, libc::SIGKILL) }, 0);
    running.child.stdout = Some(stdout.into_inner());
    let ended = running.wait();
    assert!(!ended.status.success(), "{}", ended.stdout);
    assert!(ended.stderr.contains("SIGKILL"), "{}", ended.stderr);
}

#[test]
fn options_that_make_no_sense_are_refused() {
    for options in [
        &["--sclae", "2"][..],
        &["--scale", "fast"],
        &["--scale", "-1"],
        &["--scale"],
    ] {
        let ended = start("process_basic", options).wait();
        assert_eq!(
            ended.status.code(),
            Some(2),
            "{options:?}: {}",
            ended.stderr
        );
        assert!(!ended.stderr.is_empty(), "{options:?}: a sentence");
    }
}

#[test]
fn queue_writer_reader() {
    let lines = run("queue_writer_reader", &[]);
    let at = |line: &str| {
        lines
            .iter()
            .position(|l| l == line)
            .unwrap_or_else(|| panic!("no {line}: {lines:#?}"))
    };
    assert!(at("Put A") < at("Put B") && at("Put B") < at("Put C"));
    assert!(at("Get A") < at("Get B") && at("Get B") < at("Get C"));
    for letter in ["A", "B", "C"] {
        assert!(at(&format!("Put {letter}")) < at(&format!("Get {letter}")));
    }
}

#[test]
fn queue_full() {
    let lines = run("queue_full", &[]);
    let expected = [
        "full: false",
        "full: true",
        "m4: full with 3 queued",
        "m4: full with 3 queued after the timeout",
        "got m1",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn simple_queue() {
    let lines = run("simple_queue", &[]);
    assert_eq!(
        lines,
        [
            "empty: true",
            "empty: false",
            "got HELLO",
            "got WORLD",
            "empty: true"
        ]
    );
}

#[test]
fn process_basic() {
    let lines = run("process_basic", &[]);
    assert_eq!(lines.len(), 4, "{lines:#?}");
    let parent = lines[0]
        .strip_prefix("parent process ")
        .and_then(|pid| pid.parse::<u32>().ok());
    let child = lines[2]
        .strip_prefix("child process test (")
        .and_then(|rest| rest.strip_suffix(')'))
        .and_then(|pid| pid.parse::<u32>().ok());
    assert!(
        parent.is_some() && child.is_some() && parent != child,
        "{lines:#?}"
    );
    assert_eq!((lines[1].as_str(), lines[3].as_str()), ("start", "end"));
}

#[test]
fn process_class() {
    let mut lines = run("process_class", &[]);
    lines.sort();
    let expected: Vec<String> = (1..=8).map(|i| format!("Process---Task-{i}")).collect();
    assert_eq!(lines, expected);
}

#[test]
fn process_class_waits_for_the_children_that_it_does_not_join() {
    let started = Instant::now();
    run("process_class", &[]);
    assert!(
        started.elapsed() >= Duration::from_millis(100),
        "it did not wait for its children"
    );
}

#[test]
fn process_many() {
    let started = Instant::now();
    let lines = run("process_many", &[]);
    assert!(
        started.elapsed() >= Duration::from_millis(200),
        "study takes 4 s, scaled"
    );
    let mut names = Vec::new();
    let mut parents = Vec::new();
    let mut children = Vec::new();
    for line in &lines {
        let (name, pids) = line.split_once(": ").expect("name: parent --- child");
        let (parent, child) = pids.split_once(" --- ").expect("parent --- child");
        names.push(name);
        parents.push(parent);
        children.push(child);
    }
    names.sort_unstable();
    assert_eq!(names, ["EAT", "sleep", "study"], "{lines:#?}");
    parents.dedup();
    assert_eq!(parents.len(), 1, "one parent: {lines:#?}");
    children.sort_unstable();
    children.dedup();
    assert_eq!(children.len(), 3, "three children: {lines:#?}");
}

#[test]
fn fork_basic() {
    let lines = run("fork_basic", &[]);
    assert_eq!(
        lines,
        [
            "the new process",
            "Fork test over",
            "The old process",
            "Fork test over"
        ]
    );
}

#[test]
fn isolation() {
    let lines = run("isolation", &[]);
    let without_pids: Vec<String> = lines
        .iter()
        .map(|line| {
            let (who, what) = line.split_once(": ").expect("who pid: what");
            format!("{}: {what}", who.split(' ').next().unwrap_or_default())
        })
        .collect();
    let child = r#"child: 2 ["peter", "jack"]"#;
    assert_eq!(without_pids, [child, child, r#"parent: 1 ["peter"]"#]);
}

// ---------------------------------------------------------------------------------------------
// What several of them promise

/// The numbered messages that lines with `verb` in them name, with how often each is named.
fn numbered<'a>(lines: &'a [String], verb: &str) -> BTreeMap<&'a str, u32> {
    let mut found = BTreeMap::new();
    for line in lines {
        if let Some((_, message)) = line.split_once(verb)
            && message.contains(':')
        {
            *found.entry(message).or_default() += 1;
        }
    }
    assert!(found.values().all(|&times| times == 1), "{found:?}");
    found
}

/// m1, m2, m3 are put and got in order, then `all messages read`, then the last line.
fn assert_ends_as_the_tutorial(lines: &[String]) {
    let of = |verb: &str| -> Vec<&str> {
        let messages = lines.iter().filter_map(|line| line.split_once(verb));
        messages
            .map(|(_, message)| message)
            .filter(|message| message.starts_with('m'))
            .collect()
    };
    assert_eq!(of(" put "), ["m1", "m2", "m3"], "{lines:#?}");
    assert_eq!(of(" got "), ["m1", "m2", "m3"], "{lines:#?}");
    assert_eq!(lines[lines.len() - 2], "all messages read");
}

/// `N messages, P producers, C consumers, X messages/s`
fn assert_rate_line(lines: &[String], messages: usize, producers: usize, consumers: usize) {
    let last = lines.last().expect("a last line");
    let head = format!("{messages} messages, {producers} producers, {consumers} consumers, ");
    let rate = last
        .strip_prefix(&head)
        .and_then(|rest| rest.strip_suffix(" messages/s"));
    let rate: f64 = rate
        .and_then(|rate| rate.parse().ok())
        .unwrap_or_else(|| panic!("{last}"));
    assert!(rate > 0.0, "{last}");
}

// ---------------------------------------------------------------------------------------------
// Running one

/// No example takes this long at the scale used here; one that does is stuck.
const WATCHDOG: Duration = Duration::from_secs(120);

/// Runs an example at a twentieth of its times, checks that it ended well and left no process,
/// and returns the lines that it printed.
fn run(name: &str, options: &[&str]) -> Vec<String> {
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
struct Running {
    name: String,
    child: Child,
}

/// An example at its end.
struct Ended {
    status: ExitStatus,
    stdout: String,
    stderr: String,
}

fn start(name: &str, options: &[&str]) -> Running {
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
    fn wait(mut self) -> Ended {
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
        build.args(["build", "--package", "multiproc", "--examples", "--profile"]);
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
