//! Names looked at from outside: what is there, whose it is, who has it; and nobody is disturbed.

use common::{Name, Outcome, own_small_dev_shm};
use multiproc_process::{Process, test};
use multiproc_segment::{Content, HEADER_BYTES, Look, Naming, OpenError, Shared, list, look};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};

test::main! {
    what_is_there_is_listed_by_name,
    everybody_who_maps_it_is_attached,
    what_is_no_object_is_told_and_not_followed,
    what_may_not_be_read_is_told,
    the_absent_and_the_unnameable_are_errors,
    a_look_reads_and_touches_nothing,
    sparse_objects_stay_sparse,
}

fn what_is_there_is_listed_by_name() -> Outcome {
    let (a, b) = (Name::new("a"), Name::new("b"));
    let options = Shared::<[AtomicU32; 3]>::options().mode(0o640);
    let _b = options.create(&b, [const { AtomicU32::new(0) }; 3])?;
    let temporary = Shared::<AtomicU64>::options().temporary(true);
    let _a = temporary.create(&a, AtomicU64::new(0))?;
    let ours = |name: &str| [&*a, &*b].contains(&name);
    let listed: Vec<_> = list()?.into_iter().filter(|n| ours(&n.name)).collect();
    let [first, second] = &listed[..] else {
        panic!("{listed:?}")
    };
    assert_eq!((&*first.name, &*second.name), (&*a, &*b));
    let (one, two) = (first.header().unwrap(), second.header().unwrap());
    assert!(first.temporary && !second.temporary);
    assert!(!first.stale && !second.stale);
    assert_eq!((&*one.kind.tag, one.body), ("AtomicU64", 8));
    assert_eq!((&*two.kind.tag, two.body), ("[AtomicU32; 3]", 12));
    assert_eq!((first.mode, second.mode), (0o600, 0o640));
    assert_eq!(second.bytes, HEADER_BYTES as u64 + 12);
    assert!(second.memory >= 4096);
    // SAFETY: no arguments.
    let me = unsafe { (libc::geteuid(), libc::getegid()) };
    assert_eq!((second.owner, second.group), me);
    Ok(())
}

fn everybody_who_maps_it_is_attached() -> Outcome {
    let name = Name::new("attached");
    let made = Shared::create(&name, AtomicU32::new(0))?;
    let pids = |name: &Name| -> Vec<u32> {
        let attached = look(name).unwrap().attached;
        attached.iter().map(|attachment| attachment.pid).collect()
    };
    let me = std::process::id();
    assert_eq!(pids(&name), [me]);
    let seen = look(&name)?;
    let [range] = &seen.attached[0].at[..] else {
        panic!("{seen:?}")
    };
    assert!(range.contains(&(made.segment().body() as u64)));
    let child = Process::start(|| {
        while made.load(Acquire) == 0 {
            std::thread::yield_now();
        }
    })?;
    let mut expected = vec![me, child.pid()];
    expected.sort_unstable();
    assert_eq!(pids(&name), expected);
    made.store(1, Release);
    child.join()?.ok()?;
    assert_eq!(pids(&name), [me]);
    drop(made);
    assert!(pids(&name).is_empty());
    Ok(())
}

fn what_is_no_object_is_told_and_not_followed() -> Outcome {
    let (text, fifo, link, folder) = (
        Name::new("text"),
        Name::new("fifo"),
        Name::new("link"),
        Name::new("folder"),
    );
    std::fs::write(text.path(), "x".repeat(1000))?;
    let path = std::ffi::CString::new(fifo.path().into_os_string().into_encoded_bytes())?;
    // SAFETY: a C string and a number.
    common::ok(unsafe { libc::mkfifo(path.as_ptr(), 0o600) })?;
    std::os::unix::fs::symlink("/proc/self/mem", link.path())?;
    std::fs::create_dir(folder.path())?;
    for name in [&text, &fifo, &link, &folder] {
        let seen = look(name)?;
        assert!(matches!(seen.content, Content::NotAnObject(_)), "{seen:?}");
        let error = Look::at(name).unwrap_err();
        assert!(matches!(error, OpenError::NotASegment { .. }), "{error}");
    }
    list()?;
    Ok(())
}

fn what_may_not_be_read_is_told() -> Outcome {
    // SAFETY: no arguments.
    if unsafe { libc::geteuid() } != 0 {
        println!("skipped: only root can become somebody else");
        return Ok(());
    }
    let name = Name::new("private");
    let _made = Shared::create(&name, AtomicU32::new(0))?;
    let child = Process::start(|| {
        // SAFETY: numbers; in the child only.
        unsafe {
            assert_eq!(libc::setgid(65534), 0);
            assert_eq!(libc::setuid(65534), 0);
        }
        let seen = look(&name).unwrap();
        assert_eq!(
            seen.content,
            Content::Unreadable(std::io::ErrorKind::PermissionDenied)
        );
        assert!(seen.header().is_none() && seen.hidden > 0);
        assert_eq!(seen.mode, 0o600);
        let error = Look::at(&name).unwrap_err();
        assert!(matches!(error, OpenError::PermissionDenied(_)), "{error}");
        list().unwrap();
    })?;
    child.join()?.ok()?;
    Ok(())
}

fn the_absent_and_the_unnameable_are_errors() {
    let absent = Name::new("absent");
    for error in [look(&absent).unwrap_err(), Look::at(&absent).unwrap_err()] {
        assert!(matches!(&error, OpenError::NotFound(n) if **n == *absent));
    }
    for name in ["", "a/b", "..\0", &"x".repeat(300)] {
        assert!(matches!(look(name), Err(OpenError::Name(_))));
        assert!(matches!(Look::at(name), Err(OpenError::Name(_))));
    }
}

fn a_look_reads_and_touches_nothing() -> Outcome {
    let name = Name::new("look");
    let made = Shared::create(&name, [AtomicU64::new(1), AtomicU64::new(2)])?;
    // Reading is all that it needs.
    std::fs::set_permissions(name.path(), PermissionsExt::from_mode(0o400))?;
    let look = Look::at(&name)?;
    assert_eq!(look.header().kind.fixed, 16);
    assert_eq!((look.u64(0)?, look.u64(8)?, look.u32(8)?), (1, 2, 2));
    made[1].store(3, Relaxed);
    assert_eq!(look.u64(8)?, 3);
    for (at, bytes) in [(16, 1), (9, 8), (usize::MAX, 1)] {
        assert!(look.read(at, &mut vec![0; bytes]).is_err());
    }
    // Cut short by somebody: an error, and no signal.
    std::fs::set_permissions(name.path(), PermissionsExt::from_mode(0o600))?;
    std::fs::File::options()
        .write(true)
        .open(name.path())?
        .set_len(260)?;
    assert!(look.u64(8).is_err());
    Ok(())
}

fn sparse_objects_stay_sparse() -> Outcome {
    if own_small_dev_shm(1 << 20).is_err() {
        println!("skipped: no mount namespace of its own");
        return Ok(());
    }
    let kind = multiproc_segment::Kind {
        tag: "sparse".into(),
        fixed: 8,
        align: 8,
    };
    let made =
        multiproc_segment::Segment::create("sparse", &Naming::new(), kind, 1 << 30, 8, |_| ())?;
    let look = Look::at("sparse")?;
    let mut page = [1; 4096];
    for at in (0..64 << 20).step_by(1 << 20) {
        look.read(at + 4096, &mut page)?;
        assert!(page.iter().all(|byte| *byte == 0));
    }
    assert_eq!(made.resident_bytes()?, 4096);
    let meta = std::fs::metadata("/dev/shm/multiproc.sparse")?;
    assert_eq!(meta.blocks() * 512, 4096);
    Ok(())
}
