//! The examples of managers, run as a user runs them.

mod running;

use running::run;

#[test]
fn manager_shared() {
    let lines = run("manager_shared", &[]);
    assert_eq!(lines.len(), 12, "{lines:#?}");
    let ones = |line: &str| -> usize {
        let inside = line.strip_prefix('[').and_then(|l| l.strip_suffix(']'));
        let items: Vec<_> = inside.expect("a list").split(", ").collect();
        assert!(items.iter().all(|item| *item == "1"), "{line}");
        items.len()
    };
    // Ten lists, each as it was after its own process had appended: of n processes, those that
    // printed n or fewer are at most n.
    let mut lens: Vec<_> = lines[..10].iter().map(|line| ones(line)).collect();
    lens.sort_unstable();
    assert!(lens.iter().zip(1..).all(|(len, n)| *len >= n), "{lens:?}");
    assert_eq!(lens[9], 10, "who appended last saw all");

    let pairs = lines[10]
        .strip_prefix('{')
        .and_then(|l| l.strip_suffix('}'));
    let mut pids = Vec::new();
    for pair in pairs.expect("a dict").split(", ") {
        let (key, value) = pair.split_once(": ").expect("key: value");
        assert_eq!(key, value);
        pids.push(key.parse::<u32>().expect("a pid"));
    }
    pids.dedup();
    assert_eq!(pids.len(), 10, "ten processes: {lines:#?}");
    assert_eq!(ones(&lines[11]), 10);
}

#[test]
fn manager_remote() {
    let lines = run("manager_remote", &[]);
    assert_eq!(lines.len(), 8, "{lines:#?}");
    assert!(
        lines[2].starts_with("worker: ") && lines[2].contains("authentication failed"),
        "{lines:#?}"
    );
    let (before, after) = (&lines[..2], &lines[3..]);
    assert_eq!(before, ["server: serves", "master: left 3 jobs"]);
    let expected = [
        "worker: 1 is done",
        "worker: 2 is done",
        "worker: 3 is done",
        "master: found [(1, 1), (2, 4), (3, 9)]",
        "server: ends",
    ];
    assert_eq!(after, expected);
}

#[test]
fn manager_remote_at_a_path() {
    // Short: an address has 107 bytes at most.
    let path = std::env::temp_dir().join(format!("manager-{}", std::process::id()));
    let lines = run(
        "manager_remote",
        &["--address", path.to_str().expect("UTF-8")],
    );
    assert_eq!(lines.len(), 8, "{lines:#?}");
    assert!(!path.exists(), "the server removes it");
}

#[test]
fn manager_own_type() {
    let lines = run("manager_own_type", &[]);
    assert_eq!(lines[0], "delivered: 42 tea");
    let (buyers, end) = lines[1..].split_at(lines.len() - 6);
    let has = |line: &String| -> u32 {
        let (_, its) = line.split_once(" has ").expect("a buyer's line");
        its.parse().expect("a number")
    };
    assert!((1..=4).contains(&buyers.len()), "{lines:#?}");
    assert_eq!(buyers.iter().map(has).sum::<u32>(), 42);
    let expected = [
        "sold: 42 tea",
        "one more: Err(Only { left: 0 })",
        "coffee: Err(Unknown(\"coffee\"))",
        "price panicked there: nobody has put a price on tea",
        "and again: 1 tea",
    ];
    assert_eq!(end, expected);
}

/// Both kinds of queues as arguments of tasks; Python refuses the plain one.
#[test]
fn pool_manager_queue() {
    let lines = run("pool_manager_queue", &[]);
    let tasks = ["put m1", "put m2", "got m1", "got m2"];
    let mut expected = Vec::new();
    for kind in ["managed", "plain"] {
        expected.extend(tasks.map(str::to_owned));
        expected.push(format!("all done with a {kind} queue"));
    }
    assert_eq!(lines, expected);
}
