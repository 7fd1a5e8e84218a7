//! Whoever comes from Python finds what they know by its name there: as the name of an item, or as
//! a `#[doc(alias)]`, which the search of the documentation answers to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Crate, type (`-`: no type's, `*`: of whatever type), Python's names that must be found there.
///
/// A crate that is not there is passed over. Left out, for there is nothing that they could name:
/// `set_executable` (a spawn runs the running file), `set_forkserver_preload`, `get_logger` and
/// `log_to_stderr` (see the feature `tracing`), `copy` and `synchronized` of `sharedctypes`, and
/// `acquire` and `release` of a condition, whose lock has them.
const NAMES: &[(&str, &str, &str)] = &[
    // multiprocessing
    (
        "process",
        "-",
        "Process active_children current_process parent_process cpu_count freeze_support \
         get_context get_start_method set_start_method",
    ),
    (
        "process",
        "Process",
        "target start join is_alive terminate kill interrupt close name daemon pid ident exitcode \
         sentinel",
    ),
    (
        "process",
        "*",
        "run args authkey get_all_start_methods fork spawn forkserver",
    ),
    ("process", "Builder", "name daemon"),
    (
        "lock",
        "Lock",
        "multiprocessing.Lock acquire release locked __enter__",
    ),
    (
        "rlock",
        "RLock",
        "multiprocessing.RLock acquire release locked __enter__",
    ),
    (
        "semaphore",
        "Semaphore",
        "acquire release get_value locked __enter__",
    ),
    (
        "semaphore",
        "-",
        "multiprocessing.Semaphore multiprocessing.BoundedSemaphore",
    ),
    ("condition", "-", "multiprocessing.Condition"),
    ("condition", "Condition", "wait wait_for notify notify_all"),
    ("event", "-", "multiprocessing.Event"),
    ("event", "Event", "is_set set clear wait"),
    ("barrier", "-", "multiprocessing.Barrier BrokenBarrierError"),
    (
        "barrier",
        "Barrier",
        "wait reset abort parties n_waiting broken action",
    ),
    (
        "queue",
        "-",
        "multiprocessing.Queue multiprocessing.SimpleQueue multiprocessing.JoinableQueue \
         queue.Empty queue.Full queue.ShutDown",
    ),
    (
        "queue",
        "Queue",
        "maxsize put put_nowait get get_nowait qsize empty full close join_thread \
         cancel_join_thread",
    ),
    ("queue", "SimpleQueue", "put get empty close"),
    (
        "queue",
        "JoinableQueue",
        "put put_nowait get get_nowait qsize empty full close task_done join",
    ),
    // multiprocessing.connection
    (
        "pipe",
        "-",
        "multiprocessing.Pipe Connection BufferTooShort",
    ),
    ("pipe", "Pipe", "duplex"),
    (
        "pipe",
        "Connection",
        "send recv poll close closed readable writable send_bytes recv_bytes recv_bytes_into \
         fileno",
    ),
    (
        "pipe",
        "Sender",
        "send close closed writable send_bytes fileno",
    ),
    (
        "pipe",
        "Receiver",
        "recv poll close closed readable recv_bytes recv_bytes_into fileno",
    ),
    (
        "pipe",
        "-",
        "multiprocessing.connection.Listener multiprocessing.connection.Client \
         AuthenticationError EOFError BrokenPipeError",
    ),
    ("pipe", "Listener", "accept close address last_accepted"),
    ("pipe", "*", "authkey"),
    ("message", "-", "multiprocessing.connection.wait"),
    ("message", "*", "object_list sentinel"),
    // multiprocessing.sharedctypes, multiprocessing.shared_memory
    (
        "value",
        "-",
        "multiprocessing.Value multiprocessing.Array multiprocessing.RawValue \
         multiprocessing.RawArray multiprocessing.shared_memory.SharedMemory \
         multiprocessing.shared_memory.ShareableList",
    ),
    ("value", "Value", "value get_lock get_obj acquire"),
    ("value", "Array", "get_lock get_obj acquire"),
    ("value", "FixedString", "value raw"),
    ("value", "SharedMemory", "buf name size close unlink"),
    ("value", "ShareableList", "count index unlink"),
    // multiprocessing.reduction, multiprocessing.util
    ("parcel", "*", "send_handle recv_handle DupFd"),
    (
        "process",
        "*",
        "Finalize exitpriority register_after_fork atexit",
    ),
    // multiprocessing.pool
    (
        "pool",
        "*",
        "Pool apply apply_async map map_async imap imap_unordered starmap starmap_async close \
         terminate join initializer initargs maxtasksperchild callback error_callback chunksize \
         AsyncResult get wait ready successful TimeoutError",
    ),
    // multiprocessing.managers
    (
        "manager",
        "*",
        "Manager SyncManager BaseManager BaseProxy start connect shutdown serve_forever register \
         address authkey Queue JoinableQueue Event Lock RLock Semaphore BoundedSemaphore Condition \
         Barrier Pool list dict set Value Array Namespace",
    ),
];

/// Of each type of a crate (`-`: outside of any) the names of its public items, aliases among them.
type Names = BTreeMap<String, BTreeSet<String>>;

/// The root of the workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All `.rs` files below a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// The type that a line `impl<…> … for Type<…> {` is about.
fn impl_type(line: &str) -> Option<&str> {
    let mut rest = line
        .strip_prefix("unsafe ")
        .unwrap_or(line)
        .strip_prefix("impl")?;
    if rest.starts_with('<') {
        let mut depth = 0;
        let end = rest.char_indices().find(|&(at, c)| {
            match c {
                '<' => depth += 1,
                '>' if !rest[..at].ends_with('-') => depth -= 1,
                _ => {}
            }
            depth == 0
        })?;
        rest = &rest[end.0 + 1..];
    }
    let named = rest.split_once(" for ").map_or(rest, |(_, named)| named);
    let named = named.trim_start().trim_start_matches('&');
    let end = named.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
    Some(&named[..end.unwrap_or(named.len())])
}

/// The name of the item that a line begins, and whether it is public by itself.
fn item(line: &str) -> Option<(&str, bool)> {
    let mut words = line.split_whitespace().peekable();
    let public = words.next_if_eq(&"pub").is_some();
    while words
        .next_if(|w| ["const", "unsafe", "async"].contains(w))
        .is_some()
    {}
    let kind = words.next()?;
    if ![
        "fn", "struct", "enum", "type", "trait", "mod", "static", "union",
    ]
    .contains(&kind)
    {
        return None;
    }
    let name = words.next()?;
    let end = name.find(|c: char| !(c.is_alphanumeric() || c == '_'));
    Some((&name[..end.unwrap_or(name.len())], public))
}

/// Reads what `rustfmt` has formatted: items stand in the first column, theirs in the fifth.
fn read_names(file: &Path, names: &mut Names) {
    let text = fs::read_to_string(file).expect("a source");
    let mut block: Option<(String, bool)> = None; // whose, and is it a public trait's?
    let mut aliases = Vec::new();
    for line in text.lines() {
        let indented = line.len() - line.trim_start().len();
        if let Some(alias) = line.trim_start().strip_prefix("#[doc(alias = \"") {
            let alias = alias.split('"').next().unwrap_or_default();
            aliases.push(alias.to_owned());
            // `multiprocessing.Queue` says `Queue`, too.
            aliases.extend(alias.rsplit_once('.').map(|(_, last)| last.to_owned()));
            continue;
        }
        if indented == 0 && line.starts_with('}') {
            block = None;
        }
        if indented == 0
            && let Some(of) = impl_type(line)
        {
            block = Some((of.to_owned(), false));
            aliases.clear();
        }
        let Some((name, public)) = item(line) else {
            // A variant or a field with an alias; or an attribute, a comment, the rest of one.
            let ours = line.trim_start();
            if !aliases.is_empty() && ours.starts_with(|c: char| c.is_alphabetic()) {
                names
                    .entry("-".into())
                    .or_default()
                    .extend(aliases.drain(..));
            }
            continue;
        };
        let of = match (&block, indented) {
            (_, 0) => "-".to_owned(),
            (Some((of, _)), 4) => of.clone(),
            _ => continue,
        };
        let in_trait = indented == 4 && block.as_ref().is_some_and(|(_, of_trait)| *of_trait);
        if public || in_trait {
            let of_it = names.entry(of).or_default();
            of_it.insert(name.to_owned());
            of_it.extend(aliases.iter().cloned());
            if indented == 0 {
                // `Lock` has what is said of `Lock`.
                names
                    .entry(name.to_owned())
                    .or_default()
                    .extend(aliases.iter().cloned());
            }
        }
        aliases.clear();
        if indented == 0 && line.contains("trait ") {
            block = Some((name.to_owned(), public));
        }
    }
}

fn names_of(name: &str) -> Option<Names> {
    let folder = root().join("crates").join(name).join("src");
    if !folder.exists() {
        return None;
    }
    let mut names = Names::new();
    for file in sources(&folder) {
        read_names(&file, &mut names);
    }
    Some(names)
}

#[test]
fn every_name_of_python_is_found() {
    let mut missing = Vec::new();
    for (of, of_type, wanted) in NAMES {
        let Some(names) = names_of(of) else {
            assert!(
                ["pool", "manager"].contains(of),
                "the table names the crate {of}, which is not there"
            );
            continue;
        };
        let found = |name: &str| match *of_type {
            "*" => names.values().any(|names| names.contains(name)),
            of_type => names.get(of_type).is_some_and(|names| names.contains(name)),
        };
        for name in wanted.split_whitespace().filter(|name| !found(name)) {
            missing.push(format!("crates/{of}, {of_type}: {name}"));
        }
    }
    assert!(
        missing.is_empty(),
        "no item of that name, and no #[doc(alias)]:\n{}",
        missing.join("\n")
    );
}

#[test]
fn the_search_finds_nothing_that_is_not_there() {
    let names = names_of("queue").expect("crates/queue");
    assert!(names["Queue"].contains("put"));
    assert!(
        names["Queue"].contains("put_nowait"),
        "an alias of a method"
    );
    assert!(
        names["-"].contains("multiprocessing.Queue"),
        "an alias of a type"
    );
    assert!(
        !names["Queue"].contains("task_done"),
        "that is JoinableQueue's"
    );
    assert!(!names["Queue"].contains("closed"), "a private field");
    assert!(!names["-"].contains("put"), "that is a method");
}
