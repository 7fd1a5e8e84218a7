//! One mapping per object and process; what is anonymous has no name; what a lock is held in
//! stays.

use common::{Name, Outcome, in_bare_fork};
use multiproc_core::{deadline::Deadline, robust::RobustLock};
use multiproc_process::{Process, test};
use multiproc_segment::{Kind, Segment, Shareable, Shared, unlink};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};

test::main! {
    two_opens_give_one_address,
    a_descriptor_that_came_back_gives_the_same_mapping,
    the_last_handle_unmaps,
    anonymous_objects_are_sealed_and_have_no_name,
    a_child_shares_what_it_inherited,
    a_child_that_drops_its_handles_harms_nobody,
    a_mapping_with_a_held_lock_is_parked_and_used_again,
    a_mapping_is_not_parked_once_its_lock_is_free,
    a_child_need_not_keep_what_its_parent_parked,
    threads_that_open_and_drop_all_find_one_object,
}

fn address<T: Shareable>(shared: &Shared<T>) -> usize {
    shared.segment().body().addr()
}

fn is_mapped(address: usize) -> bool {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().any(|line| {
        let (from, rest) = line.split_once('-').unwrap();
        let to = rest.split(' ').next().unwrap();
        let number = |text| usize::from_str_radix(text, 16).unwrap();
        (number(from)..number(to)).contains(&address)
    })
}

fn two_opens_give_one_address() -> Outcome {
    let name = Name::new("one");
    let made = Shared::create(&name, AtomicU32::new(1))?;
    let a = Shared::<AtomicU32>::open(&name)?;
    let b = Shared::<AtomicU32>::open(&name)?;
    assert_eq!((address(&a), address(&b)), (address(&made), address(&made)));
    assert!(a.segment().same(b.segment()));
    // Also when the one that mapped it has gone.
    let at = address(&a);
    drop((made, a));
    assert_eq!(address(&Shared::<AtomicU32>::open(&name)?), at);
    assert_eq!(b.load(Relaxed), 1);
    Ok(())
}

fn a_descriptor_that_came_back_gives_the_same_mapping() -> Outcome {
    let kind = Kind {
        tag: "test".into(),
        fixed: 8,
        align: 8,
    };
    let made = Segment::anonymous(kind.clone(), 8, 8, |_| ())?;
    let again = File::from(made.as_fd().try_clone_to_owned()?);
    let attached = Segment::attach(again, "inherited", &kind)?;
    assert!(attached.same(&made));
    Ok(())
}

fn the_last_handle_unmaps() -> Outcome {
    let name = Name::new("last");
    let made = Shared::create(&name, AtomicU32::new(1))?;
    let other = Shared::<AtomicU32>::open(&name)?;
    let at = address(&made);
    drop(made);
    assert!(is_mapped(at));
    drop(other);
    assert!(!is_mapped(at));
    Ok(())
}

fn anonymous_objects_are_sealed_and_have_no_name() -> Outcome {
    let made = Shared::new(AtomicU32::new(1))?;
    let fd = made.segment().as_fd().as_raw_fd();
    let target = std::fs::read_link(format!("/proc/self/fd/{fd}"))?;
    assert_eq!(target.to_str(), Some("/memfd:multiproc (deleted)"));
    // SAFETY: a descriptor and a number.
    let seals = common::ok(unsafe { libc::fcntl(fd, libc::F_GET_SEALS) })?;
    assert_eq!(
        seals,
        libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL
    );
    let file = File::from(made.segment().as_fd().try_clone_to_owned()?);
    for bytes in [0, 1, 1 << 20] {
        assert!(file.set_len(bytes).is_err(), "its length was changed");
    }
    // SAFETY: a descriptor and a number.
    let flags = common::ok(unsafe { libc::fcntl(fd, libc::F_GETFD) })?;
    assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
    Ok(())
}

fn a_child_shares_what_it_inherited() -> Outcome {
    let made = Shared::new([const { AtomicU64::new(0) }; 64])?;
    let child = Process::start(|| {
        for (n, word) in made.iter().enumerate() {
            word.store(n as u64 + 1, Relaxed);
        }
    })?;
    child.join()?.ok()?;
    assert!(
        made.iter()
            .enumerate()
            .all(|(n, word)| word.load(Relaxed) == n as u64 + 1)
    );
    Ok(())
}

fn a_child_that_drops_its_handles_harms_nobody() -> Outcome {
    let name = Name::new("kept");
    let named = Shared::create(&name, AtomicU32::new(1))?;
    let anonymous = Shared::new(AtomicU32::new(1))?;
    let mut handles = Some((named.clone(), anonymous.clone()));
    let end = in_bare_fork(|| {
        let at = address(&anonymous);
        handles = None;
        // SAFETY: the child's own copies, not used again.
        unsafe {
            std::ptr::read(&named);
            std::ptr::read(&anonymous);
        }
        assert!(!is_mapped(at));
    })?;
    assert_eq!(end, 0);
    // And one to which they were moved.
    let copies = (named.clone(), anonymous.clone());
    Process::start(move || drop(copies))?.join()?.ok()?;
    assert!(name.is_there());
    named.store(2, Relaxed);
    anonymous.store(2, Relaxed);
    assert_eq!(Shared::<AtomicU32>::open(&name)?.load(Relaxed), 2);
    Ok(())
}

#[derive(Shareable)]
#[repr(C)]
struct Locked {
    lock: RobustLock,
    word: AtomicU32,
}

const fn locked() -> Locked {
    Locked {
        lock: RobustLock::new(),
        word: AtomicU32::new(0),
    }
}

fn a_mapping_with_a_held_lock_is_parked_and_used_again() -> Outcome {
    let name = Name::new("parked");
    let made = Shared::create(&name, locked())?;
    let at = address(&made);
    std::mem::forget(made.lock.acquire(Deadline::NEVER)?);
    made.word.store(6, Relaxed);
    drop(made);
    assert!(is_mapped(at), "the kernel's list points into it");
    for _ in 0..3 {
        let again = Shared::<Locked>::open(&name)?;
        assert_eq!(address(&again), at);
        assert_eq!(again.word.load(Relaxed), 6);
        assert!(again.lock.try_acquire().is_none(), "held still");
        drop(again);
        assert!(is_mapped(at));
    }
    // Another process finds it held, too. (By hand: the toolkit's fork refuses while we hold
    // a guard, forgotten or not.)
    let end = in_bare_fork(|| {
        let seen = Shared::<Locked>::open(&name).unwrap();
        assert!(seen.lock.try_acquire().is_none());
    })?;
    assert_eq!(end, 0);
    Ok(())
}

fn a_mapping_is_not_parked_once_its_lock_is_free() -> Outcome {
    let made = Shared::new(locked())?;
    let at = address(&made);
    drop(made.lock.acquire(Deadline::NEVER)?);
    drop(made);
    assert!(!is_mapped(at));
    Ok(())
}

fn a_child_need_not_keep_what_its_parent_parked() -> Outcome {
    let made = Shared::new(locked())?;
    let at = address(&made);
    std::mem::forget(made.lock.acquire(Deadline::NEVER)?);
    let end = in_bare_fork(|| {
        assert!(made.lock.try_acquire().is_none(), "it is the parent's");
        // SAFETY: the child's own copy, not used again.
        drop(unsafe { std::ptr::read(&made) });
        assert!(!is_mapped(at));
    })?;
    assert_eq!(end, 0);
    assert!(made.lock.is_held());
    Ok(())
}

fn threads_that_open_and_drop_all_find_one_object() -> Outcome {
    let name = Name::new("threads");
    drop(Shared::create(&name, AtomicU32::new(0))?);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..500 {
                    Shared::<AtomicU32>::open(&name)
                        .unwrap()
                        .fetch_add(1, Relaxed);
                }
            });
        }
    });
    assert_eq!(Shared::<AtomicU32>::open(&name)?.load(Relaxed), 2_000);
    unlink(&name)?;
    Ok(())
}
