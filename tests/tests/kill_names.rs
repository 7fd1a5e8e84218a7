//! Killed at every step of making, opening, letting go and removing a name. Whatever the step:
//! the name is absent or its object whole, nobody else's object is harmed, and a temporary name
//! is gone at the next look. And at chosen steps, somebody else is faster.

use common::Outcome;
use multiproc_core::step;
use multiproc_process::{Exit, Process, test};
use multiproc_queue::Queue;
use multiproc_segment::{CreateError, OpenError, Shared, list, look, remove_stale, unlink};
use multiproc_tests::at_each_step;
use multiproc_value::{Array, Item, ShareableList, SharedMemory, Value};
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::*};

test::main! {
    #[timeout(120)]
    killed_while_making_a_name_that_stays,
    #[timeout(120)]
    killed_while_making_a_temporary_name,
    #[timeout(120)]
    killed_while_making_a_name_in_place_of_a_stale_one,
    #[timeout(120)]
    killed_while_opening_and_letting_go_beside_another,
    #[timeout(120)]
    killed_while_opening_what_is_stale,
    #[timeout(120)]
    killed_while_removing_stale_names,
    #[timeout(120)]
    killed_while_unlinking_what_is_in_use,
    #[timeout(120)]
    killed_while_two_race_for_a_stale_name,
    #[timeout(300)]
    killed_while_making_each_kind_of_object,
    each_kind_of_object_can_be_temporary,
    the_steps_are_those_that_are_meant,
    an_open_that_is_overtaken_gets_what_the_name_is_by_then,
    a_maker_that_is_overtaken_is_told,
    letting_go_does_not_take_a_new_object_along,
    an_unlink_that_is_overtaken_removes_what_the_name_is_by_then,
    one_that_was_renamed_takes_nothing_else_along,
}

const WORDS: usize = 2000;
type Words = Shared<[AtomicU64; WORDS]>;

fn words(value: u64) -> [AtomicU64; WORDS] {
    std::array::from_fn(|_| AtomicU64::new(value))
}

fn is_whole(object: &Words, value: u64) -> bool {
    object.iter().all(|word| word.load(Relaxed) == value)
}

fn temporary(name: &str, value: u64) -> Result<Words, CreateError> {
    Words::options().temporary(true).create(name, words(value))
}

fn is_there(name: &str) -> bool {
    std::path::Path::new(&format!("/dev/shm/multiproc.{name}")).exists()
}

fn is_not_found(name: &str) -> bool {
    matches!(Words::open(name), Err(OpenError::NotFound(_)))
}

/// From here on this process and its children have a /dev/shm of their own, where
/// [`remove_stale`] finds nothing of other tests. False: that is not permitted.
fn alone() -> bool {
    let none = std::ptr::null::<libc::c_char>();
    let private = libc::MS_REC | libc::MS_PRIVATE;
    let (kind, place) = (c"tmpfs".as_ptr(), c"/dev/shm".as_ptr());
    // SAFETY: C strings that outlive the calls; the namespace is this process's alone.
    let alone = unsafe {
        libc::unshare(libc::CLONE_NEWNS) == 0
            && libc::mount(none, c"/".as_ptr(), none, private, none.cast()) == 0
            && libc::mount(kind, place, kind, 0, c"size=64m".as_ptr().cast()) == 0
    };
    if !alone {
        println!("not alone in /dev/shm: what others left is not removed");
    }
    alone
}

/// A stale name: made by one who was killed.
fn leave_stale(name: &str) {
    let maker = Process::start(|| {
        let _kept = temporary(name, 1).unwrap();
        // SAFETY: a signal to this very process.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    });
    let end = maker.unwrap().join().unwrap();
    assert_eq!(end, Exit::Signal(libc::SIGKILL));
    assert!(is_there(name));
}

/// Runs `victim` in a child that dies at its step `n`, those of segments among them. True if it
/// came through.
fn killed_at(n: u64, victim: impl FnOnce()) -> bool {
    multiproc_tests::killed_at(n, || {
        multiproc_segment::step::install(step::at);
        victim();
    })
}

fn killed_while_making_a_name_that_stays() -> Outcome {
    let name = test::unique("stays");
    at_each_step(9, |n| {
        let through = killed_at(n, || {
            std::mem::forget(Words::create(&name, words(7)).unwrap());
        });
        match Words::open(&name) {
            Ok(made) => assert!(is_whole(&made, 7), "half made at step {n}"),
            Err(OpenError::NotFound(_)) => {
                assert!(!through && !is_there(&name));
                assert!(is_whole(&Words::create(&name, words(8)).unwrap(), 8));
            }
            Err(other) => panic!("{other}"),
        }
        unlink(&name).unwrap();
        through
    });
    Ok(())
}

fn killed_while_making_a_temporary_name() -> Outcome {
    let alone = alone();
    let name = test::unique("temporary");
    at_each_step(12, |n| {
        let through = killed_at(n, || drop(temporary(&name, 7).unwrap()));
        match n % 3 {
            0 => assert!(is_not_found(&name)),
            1 => assert!(is_whole(&temporary(&name, 8).unwrap(), 8)),
            _ if alone => drop(remove_stale().unwrap()),
            _ => assert!(is_not_found(&name)),
        }
        assert!(!is_there(&name), "left at step {n}");
        through
    });
    Ok(())
}

fn killed_while_making_a_name_in_place_of_a_stale_one() -> Outcome {
    let name = test::unique("in-place");
    at_each_step(12, |n| {
        leave_stale(&name);
        let through = killed_at(n, || {
            let made = temporary(&name, 7).unwrap();
            assert!(is_whole(&Words::open(&name).unwrap(), 7));
            drop(made);
        });
        assert!(is_not_found(&name));
        assert!(!is_there(&name), "left at step {n}");
        through
    });
    Ok(())
}

fn killed_while_opening_and_letting_go_beside_another() -> Outcome {
    let alone = alone();
    let name = test::unique("beside");
    at_each_step(4, |n| {
        let mine = temporary(&name, 7).unwrap();
        let through = killed_at(n, || {
            // Not by what was inherited.
            let opened = Words::open(&name).unwrap();
            assert!(is_whole(&opened, 7));
            drop(opened);
        });
        if alone {
            assert!(remove_stale().unwrap().is_empty());
        }
        assert!(!look(&name).unwrap().stale);
        let opened = Words::open(&name).unwrap();
        assert!(opened.segment().same(mine.segment()));
        drop((mine, opened));
        assert!(!is_there(&name));
        through
    });
    Ok(())
}

fn killed_while_opening_what_is_stale() -> Outcome {
    let name = test::unique("stale");
    at_each_step(3, |n| {
        leave_stale(&name);
        let through = killed_at(n, || assert!(is_not_found(&name)));
        assert!(through <= !is_there(&name));
        assert!(is_not_found(&name), "found at step {n}");
        assert!(!is_there(&name));
        through
    });
    Ok(())
}

fn killed_while_removing_stale_names() -> Outcome {
    if !alone() {
        return Ok(());
    }
    let (one, two) = (test::unique("one"), test::unique("two"));
    let kept = temporary(&test::unique("kept"), 9)?;
    at_each_step(4, |n| {
        leave_stale(&one);
        leave_stale(&two);
        let through = killed_at(n, || drop(remove_stale().unwrap()));
        for name in [&one, &two] {
            assert!(!is_there(name) || look(name).unwrap().stale);
            assert!(is_not_found(name));
            assert!(!is_there(name));
        }
        through
    });
    drop(kept);
    Ok(())
}

fn killed_while_unlinking_what_is_in_use() -> Outcome {
    let name = test::unique("unlinked");
    at_each_step(2, |n| {
        let mine = temporary(&name, 7).unwrap();
        let through = killed_at(n, || unlink(&name).unwrap());
        match Words::open(&name) {
            Ok(opened) => assert!(opened.segment().same(mine.segment())),
            Err(error) => assert!(matches!(error, OpenError::NotFound(_)), "{error}"),
        }
        drop(mine);
        assert!(!is_there(&name));
        through
    });
    Ok(())
}

fn killed_while_two_race_for_a_stale_name() -> Outcome {
    let name = test::unique("race");
    // Which steps there are depends on who wins: so more than it needs.
    let scene = |n| {
        leave_stale(&name);
        let other = Process::start(|| {
            let options = Words::options().temporary(true);
            for _ in 0..3 {
                let either = options.open_or_create(&name, || words(7)).unwrap();
                assert!(is_whole(&either, 7));
                let again = Words::open(&name).unwrap();
                assert!(again.segment().same(either.segment()));
            }
        })
        .unwrap();
        let through = killed_at(n, || {
            let options = Words::options().temporary(true);
            let either = options.open_or_create(&name, || words(7)).unwrap();
            assert!(is_whole(&either, 7));
            drop(either);
        });
        other.join().unwrap().ok().unwrap();
        assert!(is_not_found(&name));
        assert!(!is_there(&name));
        through
    };
    let deaths = (0..72).filter(|n| !scene(n % 24)).count();
    assert!(deaths >= 12, "only {deaths} died");
    Ok(())
}

/// Makes an object of that name; true if it can be opened, and is whole.
type Maker = (&'static str, fn(&str), fn(&str) -> bool);

const MAKERS: [Maker; 5] = [
    (
        "queue",
        |name| {
            let options = Queue::<String>::options().capacity(5);
            std::mem::forget(options.create(name).unwrap());
        },
        |name| {
            Queue::<String>::open(name).is_ok_and(|queue| {
                queue.try_put("whole".to_owned()).unwrap();
                queue.capacity() == 5 && queue.try_get().unwrap() == "whole"
            })
        },
    ),
    (
        "value",
        |name| std::mem::forget(Value::create(name, 7_u64).unwrap()),
        |name| Value::<u64>::open(name).is_ok_and(|value| value.get().unwrap() == 7),
    ),
    (
        "array",
        |name| {
            let options = Array::<u32>::options();
            std::mem::forget(options.create_from_slice(name, &[7; 3000]).unwrap());
        },
        |name| Array::<u32>::open(name).is_ok_and(|array| *array.lock().unwrap() == [7; 3000]),
    ),
    (
        "list",
        |name| {
            let items = || (0..100).map(Item::from);
            let options = ShareableList::options().mode(0o640);
            let made = options.open_or_create(name, items);
            std::mem::forget(made.unwrap());
        },
        |name| ShareableList::open(name).is_ok_and(|list| list.len() == 100),
    ),
    (
        "memory",
        |name| {
            let made = SharedMemory::options().mode(0o640).create(name, 10_000);
            std::mem::forget(made.unwrap());
        },
        |name| SharedMemory::open(name).is_ok_and(|memory| memory.size() == 10_000),
    ),
];

fn killed_while_making_each_kind_of_object() -> Outcome {
    for (what, make, is_whole) in MAKERS {
        let name = test::unique(what);
        at_each_step(9, |n| {
            let through = killed_at(n, || make(&name));
            let there = is_there(&name);
            assert!(there >= through);
            assert_eq!(is_whole(&name), there, "a half-made {what} at step {n}");
            let listed = list().unwrap().into_iter().any(|n| n.name == name);
            assert_eq!(listed, there);
            if there {
                unlink(&name).unwrap();
            }
            through
        });
    }
    Ok(())
}

/// Made and opened by its options, temporary: `open_or_create`, once to make it and once more.
type Temporary = (&'static str, fn(&str) -> Box<dyn std::any::Any>);

const TEMPORARIES: [Temporary; 6] = [
    ("shared", |name| {
        let options = Words::options().temporary(true);
        Box::new(options.open_or_create(name, || words(7)).unwrap())
    }),
    ("queue", |name| {
        let options = Queue::<String>::options().temporary(true);
        Box::new(options.open_or_create(name).unwrap())
    }),
    ("value", |name| {
        let options = Value::<u64>::options().temporary(true);
        Box::new(options.open_or_create(name, || 7).unwrap())
    }),
    ("array", |name| {
        let options = Array::<u32>::options().temporary(true);
        Box::new(options.open_or_create(name, 10).unwrap())
    }),
    ("list", |name| {
        let items = || [Item::from(1), Item::from("two")];
        let options = ShareableList::options().temporary(true);
        Box::new(options.open_or_create(name, items).unwrap())
    }),
    ("memory", |name| {
        let options = SharedMemory::options().temporary(true);
        Box::new(options.open_or_create(name, 5000).unwrap())
    }),
];

fn each_kind_of_object_can_be_temporary() -> Outcome {
    for (what, make) in TEMPORARIES {
        let name = test::unique(what);
        let inode = || std::fs::metadata(format!("/dev/shm/multiproc.{name}")).map(|m| m.ino());
        let made = make(&name);
        let first = inode()?;
        // Another process opens the same, and takes nothing along when it goes.
        Process::start(|| drop(make(&name)))?.join()?.ok()?;
        assert_eq!(inode()?, first, "{what}");
        drop(made);
        assert!(!is_there(&name), "{what}");
        // Killed: the next one makes a new one.
        let victim = Process::start(|| {
            let _kept = make(&name);
            // SAFETY: a signal to this very process.
            unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
        })?;
        assert_eq!(victim.join()?, Exit::Signal(libc::SIGKILL));
        let stale = look(&name)?;
        assert!(stale.stale, "{what}");
        drop(make(&name));
        assert!(!is_there(&name), "{what}");
    }
    Ok(())
}

fn the_steps_are_those_that_are_meant() -> Outcome {
    let name = test::unique("named");
    leave_stale(&name);
    multiproc_segment::step::install(step::at);
    step::count_on();
    let options = Words::options().temporary(true);
    // SAFETY: no arguments.
    let me = unsafe { (libc::geteuid(), libc::getegid()) };
    let made = options.owner(me.0).group(me.1).create(&name, words(7))?;
    drop(Words::open(&name)?);
    drop(made);
    step::disarm();
    let passed: BTreeSet<&str> = step::names().into_iter().collect();
    let expected = [
        "create: nothing in the way",
        "create: file made",
        "create: sized",
        "create: allocated",
        "create: header written",
        "create: mapped",
        "create: initialised",
        "create: owner set",
        "create: group set",
        "create: mode set",
        "create: published",
        "open: opened",
        "open: attached",
        "open: mapped",
        "temporary: about to let go",
        "temporary: let go",
        "temporary: found unused",
        "temporary: removed",
    ];
    for step in expected {
        assert!(passed.contains(step), "{step:?} was not passed: {passed:?}");
    }
    Ok(())
}

/// What somebody else does, once, when this process passes the step of that name.
type Meanwhile = (&'static str, Box<dyn FnOnce() + Send>);

static MEANWHILE: Mutex<Option<Meanwhile>> = Mutex::new(None);

fn at_step(step: &'static str) {
    let mut meanwhile = MEANWHILE.lock().unwrap();
    if let Some((_, act)) = meanwhile.take_if(|(at, _)| *at == step) {
        drop(meanwhile);
        act();
    }
}

/// Runs `f`; at the named step that it passes first, `meanwhile` comes in between.
fn between<R>(
    step: &'static str,
    meanwhile: impl FnOnce() + Send + 'static,
    f: impl FnOnce() -> R,
) -> R {
    *MEANWHILE.lock().unwrap() = Some((step, Box::new(meanwhile)));
    multiproc_segment::step::install(at_step);
    let result = f();
    let left = MEANWHILE.lock().unwrap().take();
    assert!(left.is_none(), "{step:?} was not passed");
    result
}

/// Where a closure leaves an object.
type Kept = std::sync::Arc<Mutex<Option<Words>>>;

fn an_open_that_is_overtaken_gets_what_the_name_is_by_then() -> Outcome {
    let name = test::unique("overtaken");
    for step in ["open: opened", "open: attached"] {
        // Removed by hand, and made again.
        let first = temporary(&name, 1)?;
        let second = Kept::default();
        let (inner, called) = (second.clone(), name.clone());
        let again = move || {
            unlink(&called).unwrap();
            *inner.lock().unwrap() = Some(temporary(&called, 2).unwrap());
        };
        let opened = between(step, again, || Words::open(&name))?;
        assert!(is_whole(&opened, 2), "at {step:?}");
        drop((first, opened));
        assert!(is_there(&name));
        drop(second.lock().unwrap().take());
        assert!(!is_there(&name));
    }
    // The last one let go.
    let first = temporary(&name, 1)?;
    let opened = between("open: opened", move || drop(first), || Words::open(&name));
    assert!(matches!(opened, Err(OpenError::NotFound(_))));
    // The last one was killed.
    leave_stale(&name);
    let called = name.clone();
    let again = move || std::mem::forget(temporary(&called, 3).unwrap());
    let opened = between("open: opened", again, || Words::open(&name))?;
    assert!(is_whole(&opened, 3));
    unlink(&name)?;
    Ok(())
}

fn a_maker_that_is_overtaken_is_told() -> Outcome {
    let name = test::unique("overtaken");
    for step in ["create: nothing in the way", "create: mode set"] {
        let first = Kept::default();
        let (inner, called) = (first.clone(), name.clone());
        let faster = move || *inner.lock().unwrap() = Some(temporary(&called, 1).unwrap());
        let error = between(step, faster, || temporary(&name, 2)).unwrap_err();
        assert!(matches!(error, CreateError::AlreadyExists(_)), "{error}");
        assert!(is_whole(&Words::open(&name)?, 1));
        drop(first.lock().unwrap().take());
        assert!(!is_there(&name));
        // One that is dead by then is in nobody's way.
        let called = name.clone();
        let made = between(step, move || leave_stale(&called), || temporary(&name, 2))?;
        assert!(is_whole(&made, 2));
    }
    Ok(())
}

fn letting_go_does_not_take_a_new_object_along() -> Outcome {
    let name = test::unique("along");
    for step in ["temporary: about to let go", "temporary: let go"] {
        let first = temporary(&name, 1)?;
        let second = Kept::default();
        let (inner, called) = (second.clone(), name.clone());
        let again = move || {
            // Stale by now, or removed by hand first.
            match temporary(&called, 2) {
                Ok(made) => *inner.lock().unwrap() = Some(made),
                Err(_) => {
                    unlink(&called).unwrap();
                    *inner.lock().unwrap() = Some(temporary(&called, 2).unwrap());
                }
            }
        };
        between(step, again, || drop(first));
        assert!(is_whole(&Words::open(&name)?, 2), "at {step:?}");
        drop(second.lock().unwrap().take());
        assert!(!is_there(&name));
    }
    Ok(())
}

fn an_unlink_that_is_overtaken_removes_what_the_name_is_by_then() -> Outcome {
    let name = test::unique("unlinked");
    let first = temporary(&name, 1)?;
    let called = name.clone();
    let again = move || {
        unlink(&called).unwrap();
        std::mem::forget(temporary(&called, 2).unwrap());
    };
    between("unlink: looked", again, || unlink(&name))?;
    assert!(!is_there(&name));
    drop(first);
    Ok(())
}

fn one_that_was_renamed_takes_nothing_else_along() -> Outcome {
    let (name, other) = (test::unique("name"), test::unique("other"));
    let path = |name: &str| format!("/dev/shm/multiproc.{name}");
    let first = temporary(&name, 1)?;
    std::fs::rename(path(&name), path(&other))?;
    let second = temporary(&name, 2)?;
    drop(first);
    assert!(is_whole(&Words::open(&name)?, 2));
    drop(second);
    assert!(!is_there(&name));
    // By its new name it is stale.
    assert!(is_not_found(&other));
    assert!(!is_there(&other));
    Ok(())
}
