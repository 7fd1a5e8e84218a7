//! Temporary names: gone with the last process that has the object open, however it ends, and
//! never before.

use common::{Name, Outcome, for_ever, in_bare_fork, own_small_dev_shm};
use multiproc_core::deadline::Deadline;
use multiproc_core::robust::RobustLock;
use multiproc_process::{Exit, Process, test};
use multiproc_segment::{
    Content, CreateError, HEADER_BYTES, Kind, OpenError, OpenOrCreateError, Segment, Shared, list,
    look, remove_stale, unlink,
};
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::sync::atomic::{AtomicU32, Ordering::*};

test::main! {
    the_last_handle_removes_the_name,
    the_last_process_removes_the_name,
    a_bare_fork_that_drops_its_copy_removes_nothing,
    a_forked_child_keeps_what_its_parent_lets_go,
    a_program_that_was_started_keeps_nothing,
    f16_after_a_kill_the_next_opener_finds_nothing_and_cleans,
    after_a_kill_the_name_can_be_made_again,
    after_a_kill_open_or_create_makes_a_new_one,
    others_keep_what_a_killed_maker_made,
    a_refused_open_harms_nobody,
    a_refused_open_of_what_is_stale_finds_nothing,
    unlinked_and_made_again_the_first_does_not_take_the_second_along,
    what_came_as_a_descriptor_counts,
    a_parked_mapping_counts,
    remove_stale_removes_what_is_stale_and_nothing_else,
    a_look_keeps_nothing_alive,
    garbage_in_a_header_takes_no_name_away,
    garbage_in_a_header_keeps_no_name,
    the_mark_is_the_owners,
    what_another_user_left_is_found_by_nobody,
    another_user_may_be_the_last,
    another_user_to_whom_it_was_sent_keeps_it,
    #[timeout(120)]
    whoever_has_it_open_finds_it_by_its_name,
    #[timeout(180)]
    kills_leave_nothing_behind_and_take_nothing_away,
    of_all_who_race_for_a_stale_name_one_makes_it,
}

type Number = Shared<AtomicU32>;

fn create(name: &str, value: u32) -> Result<Number, CreateError> {
    let options = Number::options().temporary(true);
    options.create(name, AtomicU32::new(value))
}

fn is_not_found(name: &Name) -> bool {
    matches!(Number::open(name), Err(OpenError::NotFound(n)) if *n == **name)
}

/// A child that opens or makes something and is killed when `f` has returned.
fn killed_after<R>(f: impl FnOnce() -> R) -> Outcome {
    let child = Process::start(|| {
        let _kept = f();
        // SAFETY: a signal to this very process.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    })?;
    assert_eq!(child.join()?, Exit::Signal(libc::SIGKILL));
    Ok(())
}

fn the_last_handle_removes_the_name() -> Outcome {
    let name = Name::new("last");
    let made = create(&name, 7)?;
    assert!(made.segment().is_temporary());
    let (copy, again) = (made.clone(), Number::open(&name)?);
    drop(made);
    drop(again);
    assert!(name.is_there());
    assert_eq!(Number::open(&name)?.load(Relaxed), 7);
    drop(copy);
    assert!(!name.is_there());
    assert!(is_not_found(&name));
    Ok(())
}

fn the_last_process_removes_the_name() -> Outcome {
    let name = Name::new("last");
    let stage = Shared::new(AtomicU32::new(0))?;
    let made = create(&name, 7)?;
    let child = Process::start(|| {
        let own = Number::open(&name).unwrap();
        stage.store(1, Release);
        while stage.load(Acquire) == 1 {
            std::thread::yield_now();
        }
        assert_eq!(own.load(Relaxed), 7);
        drop(own);
        // What was inherited counts, too.
        assert!(name.is_there());
    })?;
    while stage.load(Acquire) == 0 {
        std::thread::yield_now();
    }
    drop(made);
    assert!(name.is_there());
    stage.store(2, Release);
    child.join()?.ok()?;
    // The child has ended without dropping what it inherited: the next look cleans.
    assert!(is_not_found(&name));
    assert!(!name.is_there());
    Ok(())
}

fn a_bare_fork_that_drops_its_copy_removes_nothing() -> Outcome {
    let name = Name::new("fork");
    let mut made = Some(create(&name, 7)?);
    let end = in_bare_fork(|| {
        made = None;
        assert!(name.is_there(), "the parent has it open");
    })?;
    assert_eq!(end, 0);
    assert_eq!(Number::open(&name)?.load(Relaxed), 7);
    drop(made);
    assert!(!name.is_there());
    Ok(())
}

fn a_forked_child_keeps_what_its_parent_lets_go() -> Outcome {
    let name = Name::new("child");
    let made = create(&name, 7)?;
    let stage = Shared::new(AtomicU32::new(0))?;
    let child = {
        let stage = stage.clone();
        let (name, inner) = (&name, made.clone());
        Process::start(move || {
            while stage.load(Acquire) == 0 {
                std::thread::yield_now();
            }
            assert_eq!(Number::open(name).unwrap().load(Relaxed), 7);
            drop(inner);
            stage.store(2, Release);
        })?
    };
    drop(made);
    assert!(name.is_there());
    stage.store(1, Release);
    child.join()?.ok()?;
    assert_eq!(stage.load(Acquire), 2);
    assert!(is_not_found(&name));
    assert!(!name.is_there());
    Ok(())
}

fn a_program_that_was_started_keeps_nothing() -> Outcome {
    let name = Name::new("exec");
    let made = create(&name, 7)?;
    let mut other = std::process::Command::new("sleep").arg("60").spawn()?;
    drop(made);
    let there = name.is_there();
    other.kill()?;
    other.wait()?;
    assert!(!there);
    Ok(())
}

fn f16_after_a_kill_the_next_opener_finds_nothing_and_cleans() -> Outcome {
    let name = Name::new("killed");
    killed_after(|| create(&name, 7).unwrap())?;
    assert!(name.is_there());
    assert!(look(&name)?.stale, "it can be told");
    assert!(is_not_found(&name));
    assert!(!name.is_there());
    // What was not made temporary stays, and can be told to have nobody.
    killed_after(|| Shared::create(&name, AtomicU32::new(8)).unwrap())?;
    let seen = look(&name)?;
    assert!(!seen.stale && seen.attached.is_empty());
    assert_eq!(Number::open(&name)?.load(Relaxed), 8);
    Ok(())
}

fn after_a_kill_the_name_can_be_made_again() -> Outcome {
    let name = Name::new("killed");
    killed_after(|| create(&name, 7).unwrap())?;
    let again = create(&name, 8)?;
    assert_eq!(Number::open(&name)?.load(Relaxed), 8);
    drop(again);
    assert!(!name.is_there());
    // Also by one that is to stay.
    killed_after(|| create(&name, 7).unwrap())?;
    drop(Shared::create(&name, AtomicU32::new(9))?);
    assert_eq!(Number::open(&name)?.load(Relaxed), 9);
    Ok(())
}

fn after_a_kill_open_or_create_makes_a_new_one() -> Outcome {
    let name = Name::new("killed");
    killed_after(|| create(&name, 7).unwrap())?;
    let options = Number::options().temporary(true);
    let made = options.open_or_create(&name, || AtomicU32::new(8))?;
    assert_eq!(made.load(Relaxed), 8);
    let opened = options.open_or_create(&name, || panic!("it is there"))?;
    assert!(opened.segment().same(made.segment()));
    Ok(())
}

fn others_keep_what_a_killed_maker_made() -> Outcome {
    let name = Name::new("kept");
    let stage = Shared::new(AtomicU32::new(0))?;
    let maker = Process::start(|| {
        let _made = create(&name, 7).unwrap();
        stage.store(1, Release);
        for_ever()
    })?;
    while stage.load(Acquire) == 0 {
        std::thread::yield_now();
    }
    let opened = Number::open(&name)?;
    maker.kill()?;
    let _ = maker.join()?;
    assert!(!look(&name)?.stale);
    assert_eq!(Number::open(&name)?.load(Relaxed), 7);
    assert!(matches!(
        create(&name, 8),
        Err(CreateError::AlreadyExists(_))
    ));
    drop(opened);
    assert!(!name.is_there());
    Ok(())
}

fn a_refused_open_harms_nobody() -> Outcome {
    let name = Name::new("refused");
    let made = create(&name, 7)?;
    let child = Process::start(|| {
        let error = Shared::<[AtomicU32; 2]>::open(&name).unwrap_err();
        assert!(matches!(error, OpenError::Type { .. }), "{error}");
    })?;
    child.join()?.ok()?;
    assert_eq!(Number::open(&name)?.load(Relaxed), 7);
    drop(made);
    assert!(!name.is_there());
    Ok(())
}

fn a_refused_open_of_what_is_stale_finds_nothing() -> Outcome {
    let name = Name::new("refused");
    killed_after(|| create(&name, 7).unwrap())?;
    let error = Shared::<[AtomicU32; 2]>::open(&name).unwrap_err();
    assert!(matches!(error, OpenError::NotFound(_)), "{error}");
    assert!(!name.is_there());
    Ok(())
}

fn unlinked_and_made_again_the_first_does_not_take_the_second_along() -> Outcome {
    let name = Name::new("again");
    let first = create(&name, 1)?;
    let opened = Number::open(&name)?;
    unlink(&name)?;
    assert!(is_not_found(&name));
    let second = create(&name, 2)?;
    drop((first, opened));
    assert_eq!(Number::open(&name)?.load(Relaxed), 2);
    drop(second);
    assert!(!name.is_there());
    assert!(unlink(&name).is_err());
    Ok(())
}

fn kind() -> Kind {
    Kind {
        tag: "AtomicU32".into(),
        fixed: 4,
        align: 4,
    }
}

fn what_came_as_a_descriptor_counts() -> Outcome {
    let name = Name::new("fd");
    let made = create(&name, 7)?;
    let fd = made.segment().as_fd().try_clone_to_owned()?;
    let end = in_bare_fork(|| {
        // The same description as the maker's, as if it had been sent.
        let sent = Segment::attach(File::from(fd.try_clone().unwrap()), "sent", &kind()).unwrap();
        assert!(sent.is_temporary());
        drop(sent);
        // One of its own.
        let own = File::options().read(true).write(true).open(name.path());
        drop(Segment::attach(own.unwrap(), "own", &kind()).unwrap());
        assert!(name.is_there());
    })?;
    assert_eq!(end, 0);
    assert!(name.is_there());
    drop(made);
    assert!(name.is_there(), "the descriptor keeps the lock");
    drop(fd);
    let stale = File::options().read(true).write(true).open(name.path())?;
    let error = Segment::attach(stale, "stale", &kind()).unwrap_err();
    assert!(matches!(error, OpenError::NotFound(_)), "{error}");
    assert!(!name.is_there());
    Ok(())
}

fn a_parked_mapping_counts() -> Outcome {
    let name = Name::new("parked");
    let child = Process::start(|| {
        let options = Shared::<RobustLock>::options().temporary(true);
        let made = options.create(&name, RobustLock::new()).unwrap();
        std::mem::forget(made.acquire(Deadline::NEVER).unwrap());
        drop(made);
        assert!(name.is_there(), "a lock in it is held: it stays mapped");
        let again = Shared::<RobustLock>::open(&name).unwrap();
        assert!(again.is_mine());
    })?;
    child.join()?.ok()?;
    let error = Shared::<RobustLock>::open(&name).unwrap_err();
    assert!(matches!(error, OpenError::NotFound(_)), "{error}");
    assert!(!name.is_there());
    Ok(())
}

/// Of the whole /dev/shm, so in one of its own: other tests leave stale names, too.
fn remove_stale_removes_what_is_stale_and_nothing_else() -> Outcome {
    if own_small_dev_shm(1 << 20).is_err() {
        println!("skipped: no mount namespace of its own");
        return Ok(());
    }
    assert!(remove_stale()?.is_empty());
    let (stale, used, kept) = ("stale", "used", "kept");
    let (stopped, garbage) = ("stopped", "garbage");
    killed_after(|| create(stale, 1).unwrap())?;
    let _used = create(used, 2)?;
    drop(Shared::create(kept, AtomicU32::new(3))?);
    killed_after(|| Shared::create("killed", AtomicU32::new(3)).unwrap())?;
    std::fs::write(format!("/dev/shm/multiproc.{garbage}"), "no object")?;
    std::fs::create_dir("/dev/shm/multiproc.directory")?;
    let fifo = c"/dev/shm/multiproc.fifo";
    // SAFETY: a C string and a number.
    common::ok(unsafe { libc::mkfifo(fifo.as_ptr(), 0o600) })?;
    // One that is stopped has it open.
    let stage = Shared::new(AtomicU32::new(0))?;
    let holder = Process::start(|| {
        let _made = create(stopped, 4).unwrap();
        stage.store(1, Release);
        // SAFETY: a signal to this very process.
        unsafe { libc::kill(libc::getpid(), libc::SIGSTOP) };
    })?;
    while stage.load(Acquire) == 0 {
        std::thread::yield_now();
    }
    let before: Vec<_> = list()?.into_iter().map(|named| named.name).collect();
    assert_eq!(remove_stale()?, [stale]);
    assert!(remove_stale()?.is_empty());
    let after: Vec<_> = list()?.into_iter().map(|named| named.name).collect();
    let left: Vec<_> = before.iter().filter(|name| **name != stale).collect();
    assert_eq!(after.iter().collect::<Vec<_>>(), left);
    assert_eq!(Number::open(kept)?.load(Relaxed), 3);
    assert_eq!(Number::open(stopped)?.load(Relaxed), 4);
    holder.kill()?;
    let _ = holder.join()?;
    assert_eq!(remove_stale()?, [stopped]);
    Ok(())
}

fn a_look_keeps_nothing_alive() -> Outcome {
    let name = Name::new("look");
    let made = create(&name, 7)?;
    let look = multiproc_segment::Look::at(&name)?;
    assert_eq!(look.u32(0)?, 7);
    assert!(look.u64(0).is_err() && look.u32(usize::MAX).is_err());
    drop(made);
    assert!(!name.is_there());
    assert_eq!(look.u32(0)?, 7); // what is open can be read
    Ok(())
}

/// What a peer that scribbles may write over a header: one word after the other of it, and all.
fn scribbles() -> impl Iterator<Item = (u64, Vec<u8>)> {
    let words = (0..HEADER_BYTES as u64).step_by(8);
    let words = words.flat_map(|at| [1, 0xff].map(|byte| (at, vec![byte; 8])));
    words.chain([0, 1, 0xff].map(|byte| (0, vec![byte; HEADER_BYTES])))
}

fn garbage_in_a_header_takes_no_name_away() -> Outcome {
    let name = Name::new("garbage");
    drop(Shared::create(&name, AtomicU32::new(7))?);
    let file = File::options().read(true).write(true).open(name.path())?;
    let mut header = [0; HEADER_BYTES];
    file.read_exact_at(&mut header, 0)?;
    for (at, garbage) in scribbles() {
        file.write_all_at(&garbage, at)?;
        drop(Number::open(&name));
        assert!(!look(&name)?.temporary);
        assert!(matches!(
            create(&name, 8),
            Err(CreateError::AlreadyExists(_))
        ));
        assert!(name.is_there(), "after {garbage:?} at {at}");
        file.write_all_at(&header, 0)?;
    }
    assert_eq!(Number::open(&name)?.load(Relaxed), 7);
    Ok(())
}

fn garbage_in_a_header_keeps_no_name() -> Outcome {
    for (at, garbage) in scribbles() {
        let name = Name::new("garbage");
        let scribble = || {
            let file = File::options().write(true).open(name.path()).unwrap();
            file.write_all_at(&garbage, at).unwrap();
        };
        let made = create(&name, 7)?;
        scribble();
        drop(made);
        assert!(!name.is_there(), "after {garbage:?} at {at}");
        killed_after(|| {
            let made = create(&name, 7).unwrap();
            scribble();
            made
        })?;
        assert!(look(&name)?.stale);
        assert!(is_not_found(&name));
        assert!(!name.is_there(), "after {garbage:?} at {at}");
    }
    Ok(())
}

fn the_mark_is_the_owners() -> Outcome {
    let (name, kept) = (Name::new("mark"), Name::new("kept"));
    let options = Number::options().temporary(true).mode(0o600);
    let _made = options.create(&name, AtomicU32::new(7))?;
    assert_eq!(name.path().metadata()?.mode() & 0o7777, 0o1600);
    assert_eq!(look(&name)?.mode, 0o600);
    if !is_root() {
        return Ok(());
    }
    drop(
        Shared::options()
            .mode(0o666)
            .create(&kept, AtomicU32::new(8))?,
    );
    let child = Process::start(|| {
        become_nobody();
        let seen = look(&name).unwrap();
        assert!(matches!(seen.content, Content::Unreadable(_)), "{seen:?}");
        assert!(seen.temporary, "it is told without a look inside");
        assert_eq!(Number::open(&kept).unwrap().load(Relaxed), 8);
        let marked = std::fs::Permissions::from_mode(0o1666);
        let error = std::fs::set_permissions(kept.path(), marked).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
    })?;
    child.join()?.ok()?;
    assert_eq!(Number::open(&kept)?.load(Relaxed), 8);
    Ok(())
}

const NOBODY: u32 = 65534;

fn become_nobody() {
    // SAFETY: numbers; in a child only.
    unsafe {
        assert_eq!(libc::setgroups(0, std::ptr::null()), 0);
        assert_eq!(libc::setgid(NOBODY), 0);
        assert_eq!(libc::setuid(NOBODY), 0);
    }
}

fn is_root() -> bool {
    // SAFETY: no arguments.
    let root = unsafe { libc::geteuid() } == 0;
    if !root {
        println!("skipped: only root can become somebody else");
    }
    root
}

fn what_another_user_left_is_found_by_nobody() -> Outcome {
    if !is_root() {
        return Ok(());
    }
    let name = Name::new("left");
    let options = Number::options().temporary(true).mode(0o666);
    killed_after(|| options.create(&name, AtomicU32::new(7)).unwrap())?;
    let child = Process::start(|| {
        become_nobody();
        assert!(is_not_found(&name));
        assert!(name.is_there(), "it is not ours to remove");
        let error = options.create(&name, AtomicU32::new(8)).unwrap_err();
        assert!(matches!(&error, CreateError::LeftByAnother(n) if **n == *name));
        assert!(error.to_string().ends_with("only its owner can remove it"));
        let either = options.open_or_create(&name, || AtomicU32::new(8));
        assert!(matches!(
            either.unwrap_err(),
            OpenOrCreateError::Create(CreateError::LeftByAnother(_))
        ));
        remove_stale().unwrap();
        assert!(name.is_there());
    })?;
    child.join()?.ok()?;
    assert!(is_not_found(&name));
    assert!(!name.is_there());
    Ok(())
}

fn another_user_may_be_the_last() -> Outcome {
    if !is_root() {
        return Ok(());
    }
    let name = Name::new("last");
    let stage = Shared::new(AtomicU32::new(0))?;
    let options = Number::options().temporary(true).mode(0o666);
    let other = Process::start(|| {
        become_nobody();
        stage.store(1, Release);
        while stage.load(Acquire) == 1 {
            std::thread::yield_now();
        }
        let opened = Number::open(&name).unwrap();
        stage.store(3, Release);
        while stage.load(Acquire) == 3 {
            std::thread::yield_now();
        }
        drop(opened);
        assert!(name.is_there());
    })?;
    while stage.load(Acquire) == 0 {
        std::thread::yield_now();
    }
    let made = options.create(&name, AtomicU32::new(7))?;
    stage.store(2, Release);
    while stage.load(Acquire) == 2 {
        std::thread::yield_now();
    }
    drop(made);
    assert!(name.is_there());
    stage.store(4, Release);
    other.join()?.ok()?;
    // The owner's next look.
    assert!(look(&name)?.stale);
    assert!(is_not_found(&name));
    assert!(!name.is_there());
    Ok(())
}

fn another_user_to_whom_it_was_sent_keeps_it() -> Outcome {
    if !is_root() {
        return Ok(());
    }
    let name = Name::new("sent");
    let made = create(&name, 7)?; // 0600: nobody else can open it
    let fd = made.segment().as_fd().try_clone_to_owned()?;
    let end = in_bare_fork(|| {
        become_nobody();
        let sent = Segment::attach(File::from(fd), "sent", &kind()).unwrap();
        assert!(sent.is_temporary());
        drop(sent);
        assert!(name.is_there());
    })?;
    assert_eq!(end, 0);
    drop(made);
    Ok(())
}

const WORKERS: u32 = 4;

/// One turn of a storm: while it has the object, the name is the object's.
fn turn(name: &str) {
    let options = Number::options().temporary(true);
    let mine = options.open_or_create(name, || AtomicU32::new(0)).unwrap();
    mine.fetch_add(1, Relaxed);
    let inode = || {
        let path = format!("/dev/shm/multiproc.{name}");
        std::fs::metadata(path).map(|meta| meta.ino())
    };
    let mapped = File::from(mine.segment().as_fd().try_clone_to_owned().unwrap());
    let mapped = mapped.metadata().unwrap().ino();
    for _ in 0..3 {
        assert_eq!(inode().unwrap(), mapped, "the name was taken from under us");
        assert!(Number::open(name).unwrap().segment().same(mine.segment()));
        std::thread::yield_now();
    }
}

fn whoever_has_it_open_finds_it_by_its_name() -> Outcome {
    // Not to remove what other tests leave for a moment.
    let alone = own_small_dev_shm(1 << 20).is_ok();
    let name = Name::new("storm");
    let workers = Process::start_each(0..WORKERS, |_| {
        for _ in 0..3000 {
            turn(&name);
        }
    })?;
    let cleaner = Process::start(|| {
        for _ in 0..300 {
            if alone {
                remove_stale().unwrap();
            }
            let _ = look(&name);
        }
    })?;
    for worker in workers {
        worker.join()?.ok()?;
    }
    cleaner.join()?.ok()?;
    assert!(is_not_found(&name));
    assert!(!name.is_there());
    Ok(())
}

fn kills_leave_nothing_behind_and_take_nothing_away() -> Outcome {
    let name = Name::new("kills");
    let over = Shared::new(AtomicU32::new(0))?;
    let survivor = Process::start(|| {
        while over.load(Relaxed) == 0 {
            turn(&name);
        }
    })?;
    for round in 0..400_u64 {
        let victim = Process::start(|| {
            loop {
                turn(&name);
            }
        })?;
        let many = round * 7919 % 1500;
        std::thread::sleep(std::time::Duration::from_micros(many));
        victim.kill()?;
        assert_eq!(victim.join()?, Exit::Signal(libc::SIGKILL), "round {round}");
    }
    over.store(1, Relaxed);
    survivor.join()?.ok()?;
    assert!(is_not_found(&name));
    assert!(!name.is_there());
    Ok(())
}

fn of_all_who_race_for_a_stale_name_one_makes_it() -> Outcome {
    const ROUNDS: usize = 60;
    let name = Name::new("race");
    let gate = Shared::new([const { AtomicU32::new(0) }; ROUNDS])?;
    let done = Shared::new([const { AtomicU32::new(0) }; ROUNDS])?;
    let wins = Shared::new([const { AtomicU32::new(0) }; ROUNDS])?;
    for round in 0..ROUNDS {
        killed_after(|| create(&format!("{}-{round}", &*name), 7).unwrap())?;
    }
    let racers = Process::start_each(0..WORKERS, |_| {
        for round in 0..ROUNDS {
            let name = format!("{}-{round}", &*name);
            gate[round].fetch_add(1, AcqRel);
            while gate[round].load(Acquire) < WORKERS {
                std::hint::spin_loop();
            }
            let made = match create(&name, 8) {
                Ok(made) => {
                    wins[round].fetch_add(1, Relaxed);
                    made
                }
                Err(CreateError::AlreadyExists(_)) => {
                    let opened = Number::open(&name).unwrap();
                    assert_eq!(opened.load(Relaxed), 8);
                    opened
                }
                Err(other) => panic!("{other}"),
            };
            done[round].fetch_add(1, AcqRel);
            while done[round].load(Acquire) < WORKERS {
                std::hint::spin_loop();
            }
            drop(made);
        }
    })?;
    for racer in racers {
        racer.join()?.ok()?;
    }
    assert!(wins.iter().all(|n| n.load(Relaxed) == 1), "{wins:?}");
    for round in 0..ROUNDS {
        let name = format!("{}-{round}", &*name);
        let error = Number::open(&name).unwrap_err();
        assert!(matches!(error, OpenError::NotFound(_)), "{error}");
        assert!(unlink(&name).is_err(), "round {round}");
    }
    Ok(())
}
