//! Identity: who is alive, and nobody is declared dead who is.

mod board;

use common::{Outcome, bare_fork, for_ever, in_bare_fork, ok, status_of};
use multiproc_core::fork::{generation, on_child, thread_count};
use multiproc_core::identity::Identity;
use multiproc_process::{Process, test};
use multiproc_segment::Shared;
use std::fs::File;
use std::sync::atomic::{AtomicU32, Ordering::*};

test::main! {
    a_child_is_alive_until_it_has_ended,
    a_zombie_is_dead,
    a_stopped_process_is_alive,
    a_reused_pid_is_somebody_else,
    a_pid_really_given_again_is_somebody_else,
    a_forked_child_has_an_identity_of_its_own,
    a_process_whose_first_thread_has_ended_is_alive,
    the_living_are_alive_when_no_descriptor_is_left,
    a_process_hidden_from_us_is_not_dead,
    a_name_with_brackets_and_blanks_is_read,
    hooks_run_once_in_every_child,
    threads_are_counted,
}

fn identity(child: &Process) -> Identity {
    Identity::of(child.pid()).expect("it runs")
}

fn wait_without_collecting(pid: u32) {
    // SAFETY: zeroes are a `siginfo_t`; our own child.
    unsafe {
        let mut info = std::mem::zeroed();
        ok(libc::waitid(
            libc::P_PID,
            pid,
            &mut info,
            libc::WEXITED | libc::WNOWAIT,
        ))
        .unwrap();
    }
}

fn a_child_is_alive_until_it_has_ended() -> Outcome {
    let child = Process::start(|| for_ever())?;
    let id = identity(&child);
    assert_eq!(id.pid(), child.pid());
    assert!(id.is_alive());
    assert_eq!(Identity::from_bits(id.to_bits()), Some(id));
    child.kill()?;
    assert!(!child.join()?.success());
    assert!(!id.is_alive());
    assert_eq!(Identity::of(id.pid()), None);
    Ok(())
}

fn a_zombie_is_dead() -> Outcome {
    let child = bare_fork(|| ())?;
    wait_without_collecting(child as u32);
    let id = Identity::of(child as u32).expect("a zombie still has its entry");
    assert!(!id.is_alive());
    assert_eq!(status_of(child)?, 0);
    assert!(!id.is_alive());
    Ok(())
}

fn a_stopped_process_is_alive() -> Outcome {
    let child = Process::start(|| for_ever())?;
    let id = identity(&child);
    // SAFETY: zeroes are a `siginfo_t`; our own child.
    unsafe {
        ok(libc::kill(child.pid() as i32, libc::SIGSTOP))?;
        let mut info = std::mem::zeroed();
        let flags = libc::WSTOPPED | libc::WNOWAIT;
        ok(libc::waitid(libc::P_PID, child.pid(), &mut info, flags))?;
    }
    assert!(id.is_alive());
    child.kill()?;
    assert!(!child.join()?.success());
    Ok(())
}

fn a_reused_pid_is_somebody_else() -> Outcome {
    let child = Process::start(|| for_ever())?;
    let id = identity(&child);
    // Who had this pid at another time.
    for other in [id.to_bits() ^ 1, id.to_bits() - 100, id.to_bits() + 100] {
        let other = Identity::from_bits(other).unwrap();
        assert_eq!(other.pid(), id.pid());
        assert!(!other.is_alive());
    }
    child.kill()?;
    assert!(!child.join()?.success());
    Ok(())
}

fn a_pid_really_given_again_is_somebody_else() -> Outcome {
    let first = Process::start(|| ())?;
    // Before it is collected its entry is there.
    let Some(id) = Identity::of(first.pid()) else {
        return Ok(()); // collected already: nothing to compare with
    };
    first.join()?.ok()?;
    // Start times count in clock ticks: the next one must be another.
    std::thread::sleep(std::time::Duration::from_millis(30));
    let next = (id.pid() - 1).to_string();
    if let Err(error) = std::fs::write("/proc/sys/kernel/ns_last_pid", next) {
        println!("skipped: the next pid cannot be chosen here: {error}");
        return Ok(());
    }
    let second = Process::start(|| for_ever())?;
    let same_pid = second.pid() == id.pid();
    let (old, new) = (id.is_alive(), identity(&second).is_alive());
    second.kill()?;
    assert!(!second.join()?.success());
    if !same_pid {
        println!("skipped: somebody else was faster");
        return Ok(());
    }
    assert!(!old && new);
    Ok(())
}

fn a_forked_child_has_an_identity_of_its_own() -> Outcome {
    let me = Identity::me();
    let before = generation();
    let end = in_bare_fork(|| {
        assert_ne!(Identity::me(), me);
        assert_eq!(Identity::me().pid(), std::process::id());
        assert_ne!(generation(), before);
        assert!(me.is_alive());
    })?;
    assert_eq!(end, 0);
    assert_eq!(Identity::me(), me);
    assert_eq!(generation(), before);
    Ok(())
}

fn a_process_whose_first_thread_has_ended_is_alive() -> Outcome {
    let ready = Shared::new(AtomicU32::new(0))?;
    let child = bare_fork(|| {
        std::thread::spawn(|| for_ever());
        ready.store(1, Release);
        // SAFETY: ends this thread alone.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    })?;
    board::until(&ready, 1);
    let pid = child as u32;
    let stat = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    while !stat().contains(") Z ") {
        std::thread::yield_now();
    }
    assert!(Identity::of(pid).unwrap().is_alive());
    // SAFETY: our own child.
    ok(unsafe { libc::kill(child, libc::SIGKILL) })?;
    assert_eq!(status_of(child)?, libc::SIGKILL);
    Ok(())
}

fn the_living_are_alive_when_no_descriptor_is_left() -> Outcome {
    let child = Process::start(|| for_ever())?;
    let dead = Process::start(|| ())?;
    let (id, mut gone) = (identity(&child), Identity::of(dead.pid()));
    dead.join()?.ok()?;
    let limit = libc::rlimit {
        rlim_cur: 64,
        rlim_max: 64,
    };
    // SAFETY: a local.
    ok(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) })?;
    let mut taken = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        taken.push(file);
    }
    let alive = id.is_alive();
    let dead = gone.take().is_none_or(|id| !id.is_alive());
    drop(taken);
    child.kill()?;
    assert!(!child.join()?.success());
    assert!(alive, "declared dead because /proc could not be read");
    assert!(dead);
    Ok(())
}

/// With `hidepid`, /proc does not show other users' processes.
fn a_process_hidden_from_us_is_not_dead() -> Outcome {
    let victim = Process::start(|| for_ever())?;
    let id = identity(&victim);
    let observer = bare_fork(|| {
        // SAFETY: C strings and numbers; the mount namespace is this child's alone.
        let hidden = unsafe {
            let none = std::ptr::null();
            let private = libc::MS_REC | libc::MS_PRIVATE;
            libc::unshare(libc::CLONE_NEWNS) == 0
                && libc::mount(none, c"/".as_ptr(), none, private, none.cast()) == 0
                && libc::mount(
                    c"proc".as_ptr(),
                    c"/proc".as_ptr(),
                    c"proc".as_ptr(),
                    0,
                    c"hidepid=2".as_ptr().cast(),
                ) == 0
                && libc::setgid(65534) == 0
                && libc::setuid(65534) == 0
        };
        if !hidden {
            println!(
                "skipped: processes cannot be hidden: {}",
                std::io::Error::last_os_error()
            );
            return;
        }
        assert!(!std::path::Path::new(&format!("/proc/{}", id.pid())).exists());
        assert!(id.is_alive());
    })?;
    let end = status_of(observer)?;
    victim.kill()?;
    assert!(!victim.join()?.success());
    assert_eq!(end, 0);
    assert!(!id.is_alive());
    Ok(())
}

fn a_name_with_brackets_and_blanks_is_read() -> Outcome {
    let ready = Shared::new(AtomicU32::new(0))?;
    let child = Process::start(|| {
        // SAFETY: a C string of at most 16 bytes.
        unsafe { libc::prctl(libc::PR_SET_NAME, c") Z (1) 2 3".as_ptr()) };
        ready.store(1, Release);
        for_ever()
    })?;
    board::until(&ready, 1);
    let id = identity(&child);
    assert!(id.is_alive());
    child.kill()?;
    assert!(!child.join()?.success());
    assert!(!id.is_alive());
    Ok(())
}

static RAN: AtomicU32 = AtomicU32::new(0);

fn hooks_run_once_in_every_child() -> Outcome {
    fn hook() {
        RAN.fetch_add(1, Relaxed);
    }
    assert!(on_child(hook));
    assert!(on_child(hook)); // the same: kept once
    let end = in_bare_fork(|| {
        assert_eq!(RAN.load(Relaxed), 1);
        assert_eq!(
            in_bare_fork(|| assert_eq!(RAN.load(Relaxed), 2)).unwrap(),
            0
        );
    })?;
    assert_eq!(end, 0);
    assert_eq!(RAN.load(Relaxed), 0);
    Ok(())
}

fn threads_are_counted() {
    assert_eq!(thread_count(), 1);
    let stop = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| board::until(&stop, 1));
        }
        assert_eq!(thread_count(), 4);
        stop.store(1, Release);
    });
    // Threads just joined may still show.
    while thread_count() != 1 {
        std::thread::yield_now();
    }
}
