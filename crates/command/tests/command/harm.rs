//! It harms nobody, and nobody it.

use crate::run::{command, complained, pid, said, shows};
use common::{Name, Outcome};
use multiproc_lock::Lock;
use multiproc_process::Process;
use multiproc_segment::{Kind, Naming, Segment, Shared};
use multiproc_semaphore::Semaphore;
use std::fs::File;
use std::process::Stdio;
use std::sync::atomic::AtomicU32;

pub(crate) fn it_keeps_nothing_alive_and_attaches_to_nothing() -> Outcome {
    let name = Name::new("unnoticed");
    let temporary = Shared::<AtomicU32>::options().temporary(true);
    let made = temporary.create(&name, AtomicU32::new(0))?;
    let mut top = command(&["top", "--interval", "0.05"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()?;
    for _ in 0..20 {
        shows(&name, &[("attached", &pid().to_string())]);
    }
    drop(made);
    let there = std::path::Path::new(&format!("/dev/shm/multiproc.{}", &*name)).exists();
    top.kill()?;
    top.wait()?;
    assert!(!there);
    Ok(())
}

pub(crate) fn no_garbage_makes_it_crash() -> Outcome {
    let tags = [
        "Lock",
        "Mutex<u64>",
        "RLock",
        "ReentrantMutex<()>",
        "RwLock<u64, 64>",
        "Semaphore<64>",
        "BoundedSemaphore<64>",
        "Event",
        "Condition<64>",
        "Barrier<64>",
        "Queue<u8>",
        "Value<i32> (4 bytes, under its own lock)",
        "Array<char> (4 bytes, under its own lock)",
        "RawArray<bool> of 1 bytes without a lock",
        "a shareable list",
        "AtomicU64",
        "shared memory",
        "AtomicBool",
        "Value<",
        "RwLock",
        "\u{1b}[2J",
    ];
    let mut names = Vec::new();
    for (at, tag) in tags.iter().enumerate() {
        for (with, size) in [
            (0_u8, 24),
            (0xff, 24),
            (0xff, 1 << 16),
            (0x5a, 1 << 16),
            (1, 8),
        ] {
            let name = Name::new(&format!("garbage-{at}-{with}-{size}"));
            let fixed = if size == 8 { 1 } else { size };
            let kind = Kind {
                tag: (*tag).to_owned(),
                fixed,
                align: 8,
            };
            Segment::create(&name, &Naming::new(), kind, size, size, |segment| {
                for at in 0..size {
                    // SAFETY: inside the body, which nobody else sees yet.
                    unsafe { segment.body().add(at).write(with) };
                }
            })?;
            assert!(!said(&["show", &name]).is_empty());
            assert!(said(&["show", "--json", &name]).starts_with('{'));
            names.push(name);
        }
    }
    // Headers of the right length, and files that are shorter than they say.
    let cut = Name::new("cut");
    drop(Shared::create(&cut, Semaphore::new(1))?);
    let file = File::options()
        .write(true)
        .open(format!("/dev/shm/multiproc.{}", &*cut))?;
    file.set_len(300)?;
    shows(&cut, &[("state", "unreadable")]);
    file.set_len(3)?;
    shows(&cut, &[("kind", "(no object)")]);
    said(&["ls"]);
    said(&["ls", "--json"]);
    said(&["top", "--once"]);
    Ok(())
}

pub(crate) fn names_do_not_reach_the_terminal_raw() -> Outcome {
    let name = Name::new("bad\x1b[2J\nname");
    let _made = Shared::create(&name, AtomicU32::new(0))?;
    for words in [
        &["ls"][..],
        &["show", &name],
        &["ls", "--json"],
        &["top", "--once"],
    ] {
        let text = said(words);
        assert!(
            !text.contains('\x1b') && !text.contains("\nname"),
            "{text:?}"
        );
    }
    Ok(())
}

pub(crate) fn another_user_sees_what_it_may() -> Outcome {
    // SAFETY: no arguments.
    if unsafe { libc::geteuid() } != 0 {
        println!("skipped: only root can become somebody else");
        return Ok(());
    }
    let (private, open) = (Name::new("private"), Name::new("open"));
    let _private = Shared::create(&private, Lock::new())?;
    let lock = Shared::options().mode(0o644).create(&open, Lock::new())?;
    lock.acquire().unwrap();
    let child = Process::start(|| {
        // SAFETY: numbers; in the child only.
        unsafe {
            assert_eq!(libc::setgroups(0, std::ptr::null()), 0);
            assert_eq!(libc::setgid(65534), 0);
            assert_eq!(libc::setuid(65534), 0);
        }
        if command(&["--version"]).output().is_err() {
            println!("skipped: the program is not for everybody");
            return;
        }
        shows(&private, &[("kind", "(no permission)"), ("mode", "0600")]);
        shows(&open, &[("state", "held")]);
        let errors = complained(1, &["rm", &open]);
        assert!(errors.contains("no permission to remove"), "{errors}");
    })?;
    child.join()?.ok()?;
    Ok(())
}
