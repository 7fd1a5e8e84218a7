//! Every program in `examples/`, run as a user runs it, twenty times as fast.
//!
//! Lines are compared in the order that the example promises, as a set elsewhere. Those with pools
//! and managers are in `examples_pool.rs` and `examples_manager.rs`; `running` has what runs them.

mod running;

use running::{run, start};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
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
fn joinable_queue() {
    let lines = run("joinable_queue", &[]);
    let end = lines
        .iter()
        .position(|line| line == "all 20 tasks are done")
        .unwrap_or_else(|| panic!("{lines:#?}"));
    let (mut tasks, mut workers) = (Vec::new(), Vec::new());
    for line in &lines[..end] {
        let words: Vec<_> = line.split(' ').collect();
        let ["task", task, "done", "by", pid] = words[..] else {
            panic!("{lines:#?}");
        };
        tasks.push(task.parse::<u32>().expect("a number"));
        workers.push(pid);
    }
    tasks.sort_unstable();
    assert_eq!(tasks, (0..20).collect::<Vec<_>>(), "each task, once");
    workers.sort_unstable();
    workers.dedup();
    assert!((1..=4).contains(&workers.len()), "{workers:?}");
    assert_eq!(
        lines[end + 1..],
        [
            "task 20 is in work",
            "its worker was killed by signal 9 (SIGKILL)",
            "task 20 comes again, attempt 2",
            "join returned, 0 unfinished",
        ]
    );
}

#[test]
fn pipe_two_processes() {
    let mut lines = run("pipe_two_processes", &[]);
    lines.sort();
    assert_eq!(
        lines,
        [
            "p1 recv: this message is from p2",
            "p2 recv: this message is from p1"
        ]
    );
}

#[test]
fn pipe_two_processes_receives_after_its_pause() {
    let started = Instant::now();
    run("pipe_two_processes", &[]);
    assert!(
        started.elapsed() >= Duration::from_millis(40),
        "0.8 s, scaled"
    );
}

#[test]
fn pipe_names() {
    let mut lines = run("pipe_names", &[]);
    lines.sort();
    assert_eq!(lines, ["Rex meets the cat Tom", "Tom meets the dog Rex"]);
}

#[test]
fn rpc_server() {
    let lines = run("rpc_server", &["--clients", "3", "--requests", "4"]);
    let of = |who: &str| -> Vec<&str> {
        lines
            .iter()
            .filter_map(|line| line.strip_prefix(who))
            .collect()
    };
    assert_eq!(
        of("client 1: "),
        [
            "0 + 1 is Number(1)",
            r#"100 / 0 is Refused("100 / 0 is no number")"#,
            r#"client 1 reversed is Text("1 tneilc")"#,
            "3 + 1 is Number(4)",
        ]
    );
    assert_eq!(of("client 2: ")[1], "100 / 1 is Number(100)");
    assert_eq!(of("client 3: ").len(), 4);
    let end = ["is gone", "ended with exit code 0"];
    assert_eq!(of("client 1 "), end);
    assert_eq!(of("client 2 "), end);
    let killed = ["is killed", "is gone", "was killed by signal 9 (SIGKILL)"];
    assert_eq!(of("client 3 "), killed);
    assert_eq!(
        lines.last().map(String::as_str),
        Some("12 requests of 3 clients served")
    );
}

#[test]
fn rpc_listener() {
    let mut lines = run("rpc_listener", &[]);
    assert_eq!(lines.pop().as_deref(), Some("server: done"));
    lines.sort();
    assert_eq!(
        lines[..4],
        [
            "client: Number(144)",
            "client: Number(144)",
            "client: Text(\"HELLO\")",
            "client: Text(\"HELLO\")",
        ]
    );
    assert!(lines[4].starts_with("client: refused: authentication failed"));
    assert!(lines[5].starts_with("server: turned away: authentication failed"));
}

#[test]
fn named_queue() {
    let lines = run("named_queue", &[]);
    let of = |who: &str| lines.iter().filter(|line| line.starts_with(who)).count();
    assert_eq!((of("reader: "), of("writer: ")), (3, 3), "{lines:#?}");
    assert!(lines.contains(&r#"reader: Job { id: 3, path: "3.txt" }"#.to_owned()));
    let told = lines.iter().find(|line| line.starts_with("stranger: "));
    let told = told.expect("a stranger is told");
    assert!(
        told.contains("Queue<Job>") && told.contains("Queue<String>"),
        "{told}"
    );
    assert!(
        lines
            .last()
            .is_some_and(|line| line.starts_with("unlinked") && line.ends_with("true"))
    );
}

#[test]
fn tokio_server() {
    let lines = run("tokio_server", &[]);
    assert!(lines.iter().any(|line| line.ends_with(" so far")));
    let end = [
        "process 0 was killed by signal 9 (SIGKILL)",
        "99 processes ended well",
        "1000 questions of 100 processes answered by one task",
    ];
    assert!(lines.ends_with(&end.map(str::to_owned)), "{lines:#?}");
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
fn daemon_and_exit_codes() {
    let lines = run("daemon_and_exit_codes", &[]);
    let expected = [
        "it returned: exit code 0",
        "it returned 3: exit code 3",
        "it panicked: exit code 1",
        "it was killed: exit code -9",
        "it says: half done",
        "it has ended: exit code 0",
        "a daemon runs",
        "its parent was killed: exit code -9",
        "the daemon has ended, too",
    ];
    assert_eq!(lines, expected);
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
    assert_eq!(
        without_pids,
        [
            child,
            child,
            r#"parent: 1 ["peter"]"#,
            r#"child: 2 ["peter", "jack"] shared"#,
            r#"child: 3 ["peter", "jack", "jack"] shared"#,
            r#"parent: 3 ["peter", "jack", "jack"] shared"#,
        ]
    );
}

#[test]
fn lock_printing() {
    let lines = run("lock_printing", &[]);
    let (_, locked) = split_at_line(&lines, "with a lock:");
    for block in locked[..24].chunks(3) {
        let who = block[0].split(':').next().expect("block n");
        let expected = ["one", "two", "three"].map(|n| format!("{who}: line {n}"));
        assert_eq!(block, expected);
    }
    let end = [
        "child: releases what the parent acquired",
        "parent: acquired again",
        "parent: one release too many: the lock is not held",
    ];
    assert!(lines.ends_with(&end.map(str::to_owned)), "{lines:#?}");
}

#[test]
fn lock_owner_killed() {
    let lines = run("lock_owner_killed", &[]);
    for said in [
        "its owner died: [70, 0]",
        "mended: [70, 30]",
        "recovered in ",
        "SIGKILL",
    ] {
        assert!(
            lines.iter().any(|line| line.contains(said)),
            "{said}: {lines:#?}"
        );
    }
    let sums = lines.iter().filter(|line| line.ends_with("the sum is 100"));
    assert_eq!(sums.count(), 2, "{lines:#?}");
}

#[test]
fn rlock_nested() {
    let lines = run("rlock_nested", &[]);
    let of = |who: &str| -> Vec<&str> {
        lines
            .iter()
            .filter_map(|line| line.strip_prefix(who))
            .collect()
    };
    let owner = [
        "acquired, level 1",
        "acquired, level 2",
        "acquired, level 3",
        "releases, level 2 is left",
        "releases, level 1 is left",
        "releases, level 0 is left",
    ];
    assert_eq!(of("owner: "), owner);
    assert_eq!(of("other: ")[0], "may not release it");
    assert_eq!(
        lines.last().map(String::as_str),
        Some("other: acquired, level 1")
    );
}

#[test]
fn semaphore_pool_of_three() {
    let lines = run("semaphore_pool_of_three", &[]);
    let (mut inside, mut entered) = (0, 0);
    for line in &lines {
        if line.contains(" is inside, ") {
            entered += 1;
            let now = line.split(' ').nth(3).and_then(|n| n.parse::<u32>().ok());
            assert!(now.is_some_and(|n| n <= 3), "{line}");
        }
        inside += usize::from(line.ends_with(" leaves"));
    }
    assert_eq!((entered, inside), (8, 8), "{lines:#?}");
    for said in [
        "at most 3 at a time",
        "and all 3 permits are here",
        "refused: ",
    ] {
        assert!(
            lines.iter().any(|line| line.starts_with(said)),
            "{said}: {lines:#?}"
        );
    }
}

#[test]
fn event_start_gun() {
    let lines = run("event_start_gun", &[]);
    for heat in ["heat 1: ", "heat 2: "] {
        let of: Vec<&str> = lines
            .iter()
            .filter_map(|line| line.strip_prefix(heat))
            .collect();
        assert_eq!(
            of[..3],
            ["on your marks", "set after half a second? false", "bang"]
        );
        let mut lanes = of[3..].to_vec();
        lanes.sort_unstable();
        let expected: Vec<String> = (1..=6).map(|n| format!("lane {n} runs")).collect();
        assert_eq!(lanes, expected);
    }
}

#[test]
fn condition_steps() {
    let lines = run("condition_steps", &[]);
    let steps: Vec<&String> = lines
        .iter()
        .filter(|line| line.starts_with("step "))
        .collect();
    let expected: Vec<String> = (1..=10).map(|n| format!("step {n}")).collect();
    assert!(steps.into_iter().eq(&expected), "{lines:#?}");
    for said in [
        "at least five: true",
        "all ten: true",
        "an eleventh, in a while: false",
    ] {
        assert!(lines.iter().any(|line| line == said), "{said}: {lines:#?}");
    }
}

#[test]
fn barrier_phases() {
    let lines = run("barrier_phases", &[]);
    for (n, phase) in lines[..18].chunks(6).enumerate() {
        let (last, done) = phase.split_last().expect("six lines");
        assert_eq!(*last, format!("--- all have done phase {} ---", n + 1));
        let mut done = done.to_vec();
        done.sort_unstable();
        let expected: Vec<String> = (1..=5)
            .map(|i| format!("{i} has done phase {}", n + 1))
            .collect();
        assert_eq!(done, expected);
    }
    let broken = lines
        .iter()
        .filter(|line| line.ends_with(": the barrier is broken"));
    assert_eq!(broken.count(), 4, "{lines:#?}");
    let passed = lines.iter().filter(|line| line.ends_with(" passed"));
    assert_eq!(passed.count(), 5, "{lines:#?}");
}

#[test]
fn value_array() {
    let lines = run("value_array", &[]);
    let count = |what: &str| -> u64 {
        let line = lines
            .iter()
            .find_map(|line| line.strip_prefix(what))
            .expect("its line");
        line.trim()
            .split(' ')
            .next()
            .and_then(|n| n.parse().ok())
            .expect("a number")
    };
    let all = count("atomic:");
    assert_eq!(count("with the lock:"), all);
    assert!(count("get, then set:") <= all);
    assert_eq!(
        lines.last().map(String::as_str),
        Some("sum of 1000 squares: 332833500")
    );
}

#[test]
fn shared_struct() {
    let lines = run("shared_struct", &[]);
    assert_eq!(lines[0], "jobs: 50, sum: 450");
    assert!(
        lines.iter().any(|line| line.ends_with(" of 3")),
        "{lines:#?}"
    );
}

#[test]
fn interop() {
    let lines = run("interop", &[]);
    for said in [
        "our memory: written by shared_memory",
        "our mutex in their memory: 3000",
        "our event is set: false",
    ] {
        assert!(lines.iter().any(|line| line == said), "{said}: {lines:#?}");
    }
}

/// The lines before this one, and those after it.
fn split_at_line<'a>(lines: &'a [String], line: &str) -> (&'a [String], &'a [String]) {
    let at = lines
        .iter()
        .position(|l| l == line)
        .unwrap_or_else(|| panic!("{line}: {lines:#?}"));
    (&lines[..at], &lines[at + 1..])
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
