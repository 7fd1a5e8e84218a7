//! The programs in `examples/` that have a pool, run as a user runs them, twenty times as fast.

mod running;

use running::{run, start, start_with};
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

/// What stands behind `head` in the lines that begin with it.
fn of<'a>(lines: &'a [String], head: &str) -> Vec<&'a str> {
    let with_it = lines.iter().filter_map(|line| line.strip_prefix(head));
    with_it.collect()
}

/// Of the lines with `middle` in them: what stands before and behind it.
fn around<'a>(lines: &'a [String], middle: &str) -> Vec<(&'a str, &'a str)> {
    let with_it = lines.iter().filter_map(|line| line.split_once(middle));
    with_it.collect()
}

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

#[test]
fn pool_basic() {
    let lines = run("pool_basic", &[]);
    assert_eq!(
        (lines.len(), &lines[0][..], &lines[5][..]),
        (6, "start", "end")
    );
    let mut tasks = around(&lines, ": child process ");
    tasks.sort_unstable();
    let (numbers, pids): (Vec<_>, BTreeSet<_>) = tasks.into_iter().unzip();
    assert_eq!(numbers, ["0", "1", "2", "3"]);
    assert!(pids.len() <= 4);
}

#[test]
fn pool_apply_serial_is_strictly_in_turn() {
    let begun = Instant::now();
    let lines = run("pool_apply_serial", &[]);
    assert!(
        begun.elapsed() >= Duration::from_millis(600),
        "six times 2 s, scaled"
    );
    for (n, lines) in (1..=6).zip(lines.chunks(3)) {
        assert!(
            lines[0].starts_with(&format!("running {n} in ")),
            "{lines:?}"
        );
        assert_eq!(
            lines[1..],
            [format!("done {n}"), format!("result {}", n * n)]
        );
    }
    assert_eq!(lines.len(), 18);
}

#[test]
fn pool_results() {
    let begun = Instant::now();
    let lines = run("pool_results", &[]);
    assert!(
        begun.elapsed() >= Duration::from_millis(450),
        "three waves of 3 s, scaled"
    );
    let tasks = around(&lines, " in ");
    let pids: BTreeSet<_> = tasks.iter().map(|(_, pid)| pid).collect();
    assert_eq!(tasks.len(), 10);
    assert!(pids.len() <= 4, "{lines:#?}");
    assert_eq!(
        lines.last().unwrap(),
        "[0, 1, 4, 9, 16, 25, 36, 49, 64, 81]"
    );
}

/// Eight tasks ran in at most four workers, and what came of them was told in the parent.
fn assert_eight_tasks(lines: &[String]) {
    let (pid, _) = around(lines, " finish....")[0];
    assert_eq!(lines.last().unwrap(), &format!("{pid} finish...."));
    let runs = around(lines, " runs task ");
    let workers: BTreeSet<_> = runs.iter().map(|(worker, _)| *worker).collect();
    assert_eq!(runs.len(), 8);
    assert!(workers.len() <= 4 && !workers.contains(pid), "{lines:#?}");

    let mut told = of(lines, &format!("{pid} callback: "));
    told.sort_unstable();
    let mut ran: Vec<_> = runs.into_iter().filter(|(_, task)| *task != "6").collect();
    ran.sort_by_key(|(_, task)| *task);
    let expected = ran
        .into_iter()
        .map(|(worker, task)| format!("task {task} from {worker}"));
    assert_eq!(told, expected.collect::<Vec<_>>());

    let errors = of(lines, &format!("{pid} error callback: "));
    assert_eq!(errors.len(), 1, "{lines:#?}");
    assert!(errors[0].ends_with("task 6 fails on purpose"), "{errors:?}");
}

#[test]
fn pool_async() {
    let begun = Instant::now();
    let lines = run("pool_async", &[]);
    assert!(
        begun.elapsed() >= Duration::from_millis(200),
        "two waves of 2 s, scaled"
    );
    assert_eight_tasks(&lines);
}

#[test]
fn pool_async_one_by_one() {
    let begun = Instant::now();
    let lines = run("pool_async", &["--serial"]);
    assert!(
        begun.elapsed() >= Duration::from_millis(800),
        "eight times 2 s, scaled"
    );
    assert_eight_tasks(&lines);
    for (n, lines) in (1..=8).zip(lines.chunks(2)) {
        assert!(lines[0].ends_with(&format!(" runs task {n}")), "{lines:?}");
        assert!(lines[1].contains(" callback: ") || lines[1].contains(" error callback: "));
    }
}

/// The number of each page by the lines about it, whose size is what it should be.
fn pages(lines: &[&str]) -> Vec<usize> {
    let page = |line: &&str| {
        let (url, size) = line.split_once(" size:").expect("url:… size:…");
        let page = url
            .strip_prefix("url:http://127.0.0.1:")
            .expect("an address");
        let (_, page) = page.split_once('/').expect("a page");
        assert_eq!(size, format!("{page}000"));
        page.parse().expect("a number")
    };
    lines.iter().map(page).collect()
}

#[test]
fn crawler_callback() {
    let file = folder("crawler_callback").join("urls.txt");
    let lines = run("crawler_callback", &["--output", file.to_str().unwrap()]);
    let written = fs::read_to_string(&file).expect("it was asked for");
    let mut found = pages(&written.lines().collect::<Vec<_>>());
    found.sort_unstable();
    assert_eq!(found, [1, 2, 3, 4, 5]);

    let parent = lines.last().unwrap().strip_prefix("parent process ");
    let parent = parent.expect("its pid comes last");
    assert_eq!(
        lines
            .iter()
            .filter(|line| **line == format!("{parent} callback"))
            .count(),
        5
    );
    let fetched = around(&lines, " fetches http://");
    assert_eq!(fetched.len(), 5);
    assert!(fetched.iter().all(|(worker, _)| *worker != parent));
}

#[test]
fn crawler_callback_leaves_no_file_that_nobody_asked_for() {
    let lines = run("crawler_callback", &[]);
    let named = lines.iter().find(|line| line.ends_with(".txt:"));
    let file = named
        .and_then(|line| line.strip_suffix(':'))
        .expect("it says where it wrote");
    assert!(!Path::new(file).exists());
}

#[test]
fn crawler_results() {
    let lines = run("crawler_results", &[]);
    let found: Vec<&str> = lines
        .iter()
        .filter(|line| line.starts_with("url:"))
        .map(String::as_str)
        .collect();
    assert_eq!(pages(&found), [1, 2, 3, 4, 5], "in the order of submission");
    assert!(lines.last().unwrap().starts_with("parent process "));
}

#[test]
fn crawler_results_fetches_what_it_is_told_and_says_what_it_cannot_have() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("its address");
    let server = thread::spawn(move || {
        let (mut visitor, _) = listener.accept().expect("a visitor");
        let mut request = BufReader::new(visitor.try_clone().expect("its socket")).lines();
        assert_eq!(request.next().unwrap().unwrap(), "GET /a/page?x=1 HTTP/1.0");
        while request.next().is_some_and(|line| !line.unwrap().is_empty()) {}
        let answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n\r\n four bytes more";
        visitor.write_all(answer).expect("it listens");
    });
    let page = format!("http://{address}/a/page?x=1");
    let ended = start(
        "crawler_results",
        &["--urls", &page, "https://nowhere.invalid/"],
    )
    .wait();
    server.join().expect("the server");
    assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
    let line = format!("url:{page} size:18");
    assert!(ended.stdout.lines().any(|l| l == line), "{}", ended.stdout);
    let why = "https://nowhere.invalid/: only http:// is spoken here";
    assert!(ended.stderr.lines().any(|l| l == why), "{}", ended.stderr);
}

#[test]
fn echo_server() {
    let lines = run("echo_server", &[]);
    for n in 1..=5 {
        let words = ["HELLO", "HOW ARE YOU", "BYE"].map(|word| format!("{word} FROM {n}"));
        assert_eq!(of(&lines, &format!("client {n}: ")), words);
        assert_eq!(
            of(&lines, &format!("connection {n} ")),
            ["ends after 3 lines"]
        );
        assert!(lines.contains(&format!("accepted connection {n}")));
    }
    // A worker has one client at a time.
    let mut last: Vec<(&str, &str, &str)> = Vec::new();
    for (worker, line) in around(&lines, " has ") {
        let (word, client) = line.split_once(" from ").expect("word from client");
        match last.iter_mut().find(|(seen, ..)| *seen == worker) {
            Some(seen) => {
                assert!(seen.1 == client || seen.2 == "bye", "{lines:#?}");
                *seen = (worker, client, word);
            }
            None => last.push((worker, client, word)),
        }
    }
    assert!(last.len() <= 4, "{lines:#?}");
}

/// Says something and waits for the answer.
fn say(to: &TcpStream, what: &str) -> String {
    let mut to = to;
    writeln!(to, "{what}").expect("it is there");
    let mut answer = String::new();
    let mut from = BufReader::new(to);
    from.read_line(&mut answer).expect("an answer");
    answer.trim_end().to_owned()
}

#[test]
fn echo_server_has_a_fifth_client_wait_for_its_turn() {
    let mut server = start("echo_server", &["--serve", "127.0.0.1:0"]);
    let mut stdout = BufReader::new(server.child.stdout.take().expect("it is piped"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("its output");
    let (_, address) = line
        .trim_end()
        .split_once(" serves at ")
        .expect("its address");

    let connect = |_| TcpStream::connect(address).expect("it accepts");
    let mut busy: Vec<TcpStream> = (0..4).map(connect).collect();
    for (n, client) in busy.iter().enumerate() {
        assert_eq!(say(client, &format!("busy {n}")), format!("BUSY {n}"));
    }
    let fifth = connect(5);
    writeln!(&fifth, "and me?").expect("it is connected");
    fifth
        .set_read_timeout(Some(Duration::from_millis(100)))
        .expect("a limit");
    let waiting = (&fifth)
        .read(&mut [0; 16])
        .expect_err("four others are served");
    assert_eq!(waiting.kind(), std::io::ErrorKind::WouldBlock);

    drop(busy.pop());
    fifth.set_read_timeout(None).expect("no limit");
    let mut answer = String::new();
    BufReader::new(&fifth)
        .read_line(&mut answer)
        .expect("its turn");
    assert_eq!(answer, "AND ME?\n");
    drop((busy, fifth));

    // The program that is made for it.
    let mut client = start_with("echo_client", &["--connect", address], Stdio::piped());
    let mut stdin = client.child.stdin.take().expect("it is piped");
    stdin
        .write_all(b"one line\nand \xc3\xa4nother")
        .expect("it reads");
    drop(stdin);
    let ended = client.wait();
    assert!(ended.status.success(), "{}", ended.stderr);
    assert_eq!(ended.stdout, "ONE LINE\nAND \u{c4}NOTHER\n");

    server.kill();
}

#[test]
fn word_count() {
    let folder = folder("word_count");
    fs::create_dir_all(folder.join("below/target")).expect("a folder");
    for n in 0..40 {
        let text = format!("Word word, n{n}: don't\n");
        fs::write(folder.join(format!("{n}.txt")), text).expect("a file");
    }
    fs::write(
        folder.join("below/odd.bin"),
        b"\xff\xfeWORD\0\xc3\x84rger \xe4\xb8\xad",
    )
    .expect("a file");
    for left_out in ["below/target/x.txt", ".hidden"] {
        fs::write(folder.join(left_out), "not me").expect("a file");
    }
    let folder = folder.to_str().expect("a UTF-8 path");
    let lines = run(
        "word_count",
        &["--folder", folder, "--workers", "3", "--top", "3"],
    );
    assert_eq!(lines[..3], ["      81 word", "      40 don", "      40 t"]);
    // 40 times word word n don t; word, ärger, 中.
    assert_eq!(lines[3], "203 words, 45 of them different, in 41 files");
    assert!(lines[4].starts_with("3 workers ") && lines[4].ends_with(" times as fast"));
}

#[test]
fn word_count_says_which_folder_is_missing() {
    let ended = start("word_count", &["--folder", "/no/such/folder"]).wait();
    assert!(!ended.status.success());
    assert!(ended.stderr.contains("/no/such/folder"), "{}", ended.stderr);
}
