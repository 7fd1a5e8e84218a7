//! Names: made at once or not at all, one for all who race, removed by `unlink` alone.

use common::{Name, Outcome, for_ever, in_bare_fork};
use multiproc_process::{Exit, Process, test};
use multiproc_segment::{
    CreateError, Kind, NameError, Naming, OpenError, Segment, Shared, UnlinkError, unlink,
};
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};

test::main! {
    a_name_that_is_too_long_is_refused,
    the_longest_name_is_a_name,
    empty_names_slashes_and_nuls_are_refused_by_every_call,
    a_name_is_created_opened_and_unlinked,
    a_name_that_exists_is_refused_and_left_as_it_was,
    what_is_not_there_is_not_found,
    open_or_create_makes_it_once,
    the_mode_is_as_asked_whatever_the_umask,
    names_are_0600_unless_asked_otherwise,
    another_user_is_refused,
    a_member_of_the_group_opens_what_is_0660,
    owner_and_group_are_as_asked,
    what_may_not_be_given_away_is_not_made,
    of_all_who_race_to_create_one_makes_it,
    all_who_race_to_open_or_create_get_the_same_object,
    a_name_is_whole_as_soon_as_it_can_be_opened,
    a_creator_killed_while_initialising_leaves_no_name,
    an_init_that_panics_leaves_no_name,
    dropping_and_exiting_never_unlink,
    an_unlinked_object_lives_with_its_handles,
    a_name_can_be_made_again_after_unlink,
}

/// A refusal happens before anything is touched: by then the value has not even been made.
fn a_name_that_is_too_long_is_refused() {
    let name = "x".repeat(246);
    let error = Shared::create(&name, AtomicU32::new(0)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a name has at most 245 bytes, and this one has 246"
    );
    let too_long = NameError::TooLong {
        bytes: 246,
        max: 245,
    };
    assert!(matches!(error, CreateError::Name(e) if e == too_long));
    let error = Shared::<AtomicU32>::open(&name).unwrap_err();
    assert!(matches!(error, OpenError::Name(e) if e == too_long));
    assert!(matches!(unlink(&name), Err(UnlinkError::Name(e)) if e == too_long));
}

fn the_longest_name_is_a_name() -> Outcome {
    let stem = test::unique("long");
    let name = format!("{stem}{}", "x".repeat(245 - stem.len()));
    let made = Shared::create(&name, AtomicU32::new(7))?;
    unlink(&name)?;
    assert_eq!(made.load(Relaxed), 7);
    Ok(())
}

fn empty_names_slashes_and_nuls_are_refused_by_every_call() {
    let bad = [
        ("", "a name cannot be empty"),
        ("a/b", "a name cannot contain a slash: \"a/b\""),
        ("/a", "a name cannot contain a slash: \"/a\""),
        ("../a", "a name cannot contain a slash: \"../a\""),
        ("a\0b", "a name cannot contain a NUL character: \"a\\0b\""),
    ];
    for (name, sentence) in bad {
        let create = Shared::create(name, AtomicU32::new(0)).unwrap_err();
        let open = Shared::<AtomicU32>::open(name).unwrap_err();
        let either = Shared::open_or_create(name, || -> AtomicU32 { panic!("made a value") });
        let removed = unlink(name).unwrap_err();
        assert_eq!(create.to_string(), sentence);
        assert_eq!(open.to_string(), sentence);
        assert_eq!(either.unwrap_err().to_string(), sentence);
        assert_eq!(removed.to_string(), sentence);
    }
}

fn a_name_is_created_opened_and_unlinked() -> Outcome {
    // Dots, blanks and letters of any script are characters like others.
    for stem in ["plain", ".", "..", "with blank", "straße-名前", "-rf"] {
        let name = Name::new(stem);
        let made = Shared::create(&name, AtomicU32::new(1))?;
        let child = Process::start(|| {
            Shared::<AtomicU32>::open(&name)
                .unwrap()
                .fetch_add(1, Relaxed);
        })?;
        child.join()?.ok()?;
        assert_eq!(made.load(Relaxed), 2);
        Shared::<AtomicU32>::unlink(&name)?;
        assert!(!name.is_there());
    }
    Ok(())
}

fn a_name_that_exists_is_refused_and_left_as_it_was() -> Outcome {
    let name = Name::new("taken");
    let first = Shared::create(&name, AtomicU32::new(1))?;
    let error = Shared::create(&name, AtomicU32::new(2)).unwrap_err();
    assert!(matches!(&error, CreateError::AlreadyExists(n) if **n == *name));
    assert_eq!(error.to_string(), format!("{:?} exists already", &*name));
    assert_eq!(Shared::<AtomicU32>::open(&name)?.load(Relaxed), 1);
    assert_eq!(first.load(Relaxed), 1);
    // Something else of that name counts, too, and is not followed.
    unlink(&name)?;
    std::os::unix::fs::symlink("/nowhere", name.path())?;
    let error = Shared::create(&name, AtomicU32::new(2)).unwrap_err();
    assert!(matches!(error, CreateError::AlreadyExists(_)));
    Ok(())
}

fn what_is_not_there_is_not_found() {
    let name = Name::new("absent");
    let error = Shared::<AtomicU32>::open(&name).unwrap_err();
    assert!(matches!(&error, OpenError::NotFound(n) if **n == *name));
    assert_eq!(error.to_string(), format!("there is no {:?}", &*name));
    let error = unlink(&name).unwrap_err();
    assert!(matches!(error, UnlinkError::NotFound(n) if *n == *name));
}

fn open_or_create_makes_it_once() -> Outcome {
    let name = Name::new("either");
    let mut made = 0;
    for _ in 0..3 {
        let either = Shared::open_or_create(&name, || {
            made += 1;
            AtomicU32::new(5)
        })?;
        either.fetch_add(1, Relaxed);
    }
    assert_eq!(made, 1);
    assert_eq!(Shared::<AtomicU32>::open(&name)?.load(Relaxed), 8);
    Ok(())
}

fn mode_of(name: &Name) -> u32 {
    std::fs::metadata(name.path()).unwrap().permissions().mode() & 0o7777
}

fn the_mode_is_as_asked_whatever_the_umask() -> Outcome {
    for umask in [0, 0o022, 0o777] {
        // SAFETY: a number; this process runs this test alone.
        unsafe { libc::umask(umask) };
        for mode in [0o600, 0o640, 0o666, 0o400] {
            let name = Name::new("mode");
            let _made = Shared::options()
                .mode(mode)
                .create(&name, AtomicU32::new(0))?;
            assert_eq!(mode_of(&name), mode, "under umask {umask:o}");
        }
        // Set-user-ID and the like are no permissions.
        let name = Name::new("mode");
        let _made = Shared::options()
            .mode(0o7600)
            .create(&name, AtomicU32::new(0))?;
        assert_eq!(mode_of(&name), 0o600);
    }
    Ok(())
}

fn names_are_0600_unless_asked_otherwise() -> Outcome {
    // SAFETY: as above.
    unsafe { libc::umask(0) };
    let name = Name::new("private");
    let _made = Shared::create(&name, AtomicU32::new(0))?;
    assert_eq!(mode_of(&name), 0o600);
    Ok(())
}

fn another_user_is_refused() -> Outcome {
    // SAFETY: no arguments.
    if unsafe { libc::geteuid() } != 0 {
        println!("skipped: only root can become somebody else");
        return Ok(());
    }
    let name = Name::new("private");
    let made = Shared::create(&name, AtomicU32::new(0))?;
    let open_to_all = Name::new("open");
    let _public = Shared::options()
        .mode(0o666)
        .create(&open_to_all, AtomicU32::new(0))?;
    let child = Process::start(|| {
        let nobody = 65534;
        // SAFETY: numbers; in the child only.
        unsafe {
            assert_eq!(libc::setgid(nobody), 0);
            assert_eq!(libc::setuid(nobody), 0);
        }
        let error = Shared::<AtomicU32>::open(&name).unwrap_err();
        assert!(
            matches!(&error, OpenError::PermissionDenied(n) if **n == *name),
            "{error}"
        );
        assert_eq!(
            error.to_string(),
            format!("no permission to open {:?}", &*name)
        );
        let error = unlink(&name).unwrap_err();
        assert!(matches!(error, UnlinkError::PermissionDenied(_)), "{error}");
        let error = Shared::create(&name, AtomicU32::new(1)).unwrap_err();
        assert!(matches!(error, CreateError::AlreadyExists(_)), "{error}");
        Shared::<AtomicU32>::open(&open_to_all)
            .unwrap()
            .store(1, Relaxed);
        made.store(1, Relaxed); // what was inherited stays
    })?;
    child.join()?.ok()?;
    assert_eq!(made.load(Relaxed), 1);
    Ok(())
}

fn is_root() -> bool {
    // SAFETY: no arguments.
    let root = unsafe { libc::geteuid() } == 0;
    if !root {
        println!("skipped: only root can become somebody else");
    }
    root
}

/// Another user from here on, in this group and no other. In a child only.
fn become_user(uid: u32, gid: u32) {
    // SAFETY: numbers.
    unsafe {
        assert_eq!(libc::setgroups(0, std::ptr::null()), 0);
        assert_eq!(libc::setgid(gid), 0);
        assert_eq!(libc::setuid(uid), 0);
    }
}

const GROUP: u32 = 54321;
const USER: u32 = 65534;

fn a_member_of_the_group_opens_what_is_0660() -> Outcome {
    if !is_root() {
        return Ok(());
    }
    let name = Name::new("group");
    let options = Shared::<AtomicU32>::options().mode(0o660).group(GROUP);
    let made = options.create(&name, AtomicU32::new(0))?;
    let member = Process::start(|| {
        become_user(USER, GROUP);
        Shared::<AtomicU32>::open(&name).unwrap().store(1, Relaxed);
        let error = unlink(&name).unwrap_err();
        assert!(matches!(error, UnlinkError::PermissionDenied(_)), "{error}");
    })?;
    member.join()?.ok()?;
    let stranger = Process::start(|| {
        become_user(USER, GROUP + 1);
        let error = Shared::<AtomicU32>::open(&name).unwrap_err();
        assert!(matches!(error, OpenError::PermissionDenied(_)), "{error}");
    })?;
    stranger.join()?.ok()?;
    assert_eq!(made.load(Relaxed), 1);
    Ok(())
}

fn owner_and_group_are_as_asked() -> Outcome {
    use std::os::unix::fs::MetadataExt;
    if !is_root() {
        return Ok(());
    }
    let name = Name::new("given");
    let options = Shared::<AtomicU32>::options().owner(USER).group(GROUP);
    let _made = options.mode(0o640).create(&name, AtomicU32::new(0))?;
    let meta = std::fs::metadata(name.path())?;
    assert_eq!((meta.uid(), meta.gid()), (USER, GROUP));
    assert_eq!(mode_of(&name), 0o640);
    let owner = Process::start(|| {
        become_user(USER, GROUP + 1);
        Shared::<AtomicU32>::open(&name).unwrap();
        unlink(&name).unwrap();
    })?;
    owner.join()?.ok()?;
    assert!(!name.is_there());
    Ok(())
}

fn what_may_not_be_given_away_is_not_made() -> Outcome {
    let refused = |name: &Name| {
        let owner = Shared::<AtomicU32>::options().owner(u32::MAX);
        let error = owner.create(name, AtomicU32::new(0)).unwrap_err();
        assert!(matches!(error, CreateError::Owner { uid: u32::MAX, .. }));
        let group = Shared::<AtomicU32>::options().group(u32::MAX);
        let error = group.create(name, AtomicU32::new(0)).unwrap_err();
        assert!(matches!(error, CreateError::Group { gid: u32::MAX, .. }));
        assert!(!name.is_there());
    };
    let name = Name::new("given");
    refused(&name);
    if !is_root() {
        return Ok(());
    }
    let child = Process::start(|| {
        become_user(USER, GROUP);
        let owner = Shared::<AtomicU32>::options().owner(0);
        let error = owner.create(&name, AtomicU32::new(0)).unwrap_err();
        let sentence = error.to_string();
        assert!(
            sentence.starts_with("it cannot be given to user 0: "),
            "{sentence}"
        );
        let group = Shared::<AtomicU32>::options().group(0).temporary(true);
        let error = group.create(&name, AtomicU32::new(0)).unwrap_err();
        let sentence = error.to_string();
        assert!(
            sentence.starts_with("it cannot be given to group 0: "),
            "{sentence}"
        );
        assert!(!name.is_there());
        // A group of one's own is no favour.
        let group = Shared::<AtomicU32>::options().group(GROUP).temporary(true);
        drop(group.create(&name, AtomicU32::new(0)).unwrap());
    })?;
    child.join()?.ok()?;
    Ok(())
}

const RACERS: u32 = 4;
const ROUNDS: usize = 100;

fn of_all_who_race_to_create_one_makes_it() -> Outcome {
    let name = Name::new("race");
    let gate = Shared::new([const { AtomicU32::new(0) }; ROUNDS])?;
    let wins = Shared::new([const { AtomicU32::new(0) }; ROUNDS])?;
    let racers = Process::start_each(0..RACERS, |_| {
        for round in 0..ROUNDS {
            let name = format!("{}-{round}", &*name);
            gate[round].fetch_add(1, AcqRel);
            while gate[round].load(Acquire) < RACERS {
                std::hint::spin_loop();
            }
            match Shared::create(&name, AtomicU32::new(0)) {
                Ok(_) => {
                    wins[round].fetch_add(1, Relaxed);
                }
                Err(CreateError::AlreadyExists(_)) => {}
                Err(other) => panic!("{other}"),
            }
        }
    })?;
    let ends: Vec<Exit> = racers.iter().map(|r| r.join().unwrap()).collect();
    for round in 0..ROUNDS {
        unlink(&format!("{}-{round}", &*name))?;
    }
    assert!(ends.iter().all(|end| end.success()), "{ends:?}");
    assert!(wins.iter().all(|n| n.load(Relaxed) == 1), "{wins:?}");
    Ok(())
}

fn all_who_race_to_open_or_create_get_the_same_object() -> Outcome {
    let name = Name::new("race");
    let gate = Shared::new([const { AtomicU32::new(0) }; ROUNDS])?;
    let racers = Process::start_each(0..RACERS, |_| {
        for round in 0..ROUNDS {
            let name = format!("{}-{round}", &*name);
            gate[round].fetch_add(1, AcqRel);
            while gate[round].load(Acquire) < RACERS {
                std::hint::spin_loop();
            }
            let either = Shared::open_or_create(&name, || AtomicU32::new(0)).unwrap();
            either.fetch_add(1, Relaxed);
        }
    })?;
    let ends: Vec<Exit> = racers.iter().map(|r| r.join().unwrap()).collect();
    let counts: Vec<u32> = (0..ROUNDS)
        .map(|round| {
            let name = format!("{}-{round}", &*name);
            let count = Shared::<AtomicU32>::open(&name).map_or(0, |made| made.load(Relaxed));
            let _ = unlink(&name);
            count
        })
        .collect();
    assert!(ends.iter().all(|end| end.success()), "{ends:?}");
    assert_eq!(counts, vec![RACERS; ROUNDS]);
    Ok(())
}

fn a_name_is_whole_as_soon_as_it_can_be_opened() -> Outcome {
    const WORDS: usize = 4096;
    let stem = Name::new("whole");
    let names: Vec<String> = (0..50).map(|n| format!("{}-{n}", &*stem)).collect();
    let reader = Process::start(|| {
        for name in &names {
            let seen = loop {
                match Shared::<[AtomicU64; WORDS]>::open(name) {
                    Ok(seen) => break seen,
                    Err(OpenError::NotFound(_)) => std::hint::spin_loop(),
                    Err(other) => panic!("{other}"),
                }
            };
            assert!(seen.iter().all(|word| word.load(Relaxed) == 7), "half made");
        }
    })?;
    for name in &names {
        Shared::create(name, [const { AtomicU64::new(7) }; WORDS])?;
    }
    let end = reader.join()?;
    for name in &names {
        unlink(name)?;
    }
    end.ok()?;
    Ok(())
}

fn kind() -> Kind {
    Kind {
        tag: "AtomicU32".into(),
        fixed: 4,
        align: 4,
    }
}

fn a_creator_killed_while_initialising_leaves_no_name() -> Outcome {
    let name = Name::new("killed");
    let creator = Process::start(|| {
        let _ = Segment::create(&name, &Naming::new(), kind(), 1 << 20, 1 << 20, |segment| {
            // SAFETY: inside the body; a signal to this very process.
            unsafe {
                segment.body().write(1);
                libc::kill(libc::getpid(), libc::SIGKILL);
            }
        });
    })?;
    assert_eq!(creator.join()?, Exit::Signal(libc::SIGKILL));
    assert!(!name.is_there());
    let made = Shared::create(&name, AtomicU32::new(3))?;
    assert_eq!(made.load(Relaxed), 3);
    Ok(())
}

fn an_init_that_panics_leaves_no_name() -> Outcome {
    let name = Name::new("panicked");
    let end = std::panic::catch_unwind(|| {
        Segment::create(&name, &Naming::new(), kind(), 4, 4, |_| {
            panic!("on purpose")
        })
    });
    assert!(end.is_err());
    assert!(!name.is_there());
    Shared::create(&name, AtomicU32::new(3))?;
    Ok(())
}

fn dropping_and_exiting_never_unlink() -> Outcome {
    let name = Name::new("stays");
    let made = Shared::create(&name, AtomicU32::new(1))?;
    // A forked child that drops the handle it inherited, and one that exits with it.
    for drop_it in [true, false] {
        let mut copy = Some(made.clone());
        let end = in_bare_fork(|| {
            if drop_it {
                copy = None;
            }
            made.fetch_add(1, Relaxed);
        })?;
        assert_eq!(end, 0);
    }
    // A killed one.
    let child = Process::start(|| for_ever())?;
    child.kill()?;
    assert_eq!(child.join()?, Exit::Signal(libc::SIGKILL));
    assert_eq!(made.load(Relaxed), 3);
    drop(made);
    assert_eq!(Shared::<AtomicU32>::open(&name)?.load(Relaxed), 3);
    Ok(())
}

fn an_unlinked_object_lives_with_its_handles() -> Outcome {
    let name = Name::new("unlinked");
    let made = Shared::create(&name, AtomicU32::new(1))?;
    unlink(&name)?;
    let child = Process::start(|| made.store(2, Relaxed))?;
    child.join()?.ok()?;
    assert_eq!(made.load(Relaxed), 2);
    assert!(matches!(
        Shared::<AtomicU32>::open(&name),
        Err(OpenError::NotFound(_))
    ));
    Ok(())
}

fn a_name_can_be_made_again_after_unlink() -> Outcome {
    let name = Name::new("again");
    let first = Shared::create(&name, AtomicU32::new(1))?;
    unlink(&name)?;
    let second = Shared::create(&name, AtomicU32::new(2))?;
    assert!(!first.segment().same(second.segment()));
    assert_eq!((first.load(Relaxed), second.load(Relaxed)), (1, 2));
    Ok(())
}
