//! Values: with their lock, with a given one, without one; by name; after a death.

use common::{Counter, Outcome, PATIENCE, blocked, ends_well, kill};
use multiproc_lock::Mutex;
use multiproc_process::{Process, test};
use multiproc_segment::{CreateError, OpenError, Shared, unlink};
use multiproc_value::{
    Array, FixedString, Guard, LockError, LockTimeoutError, RawArray, RawValue, TextError,
    TryLockError, UnderError, Value, both,
};
use std::fmt::Debug;
use std::time::Duration;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, TryFromBytes};

test::main! {
    a_childs_assignment_is_seen,
    a_childs_assignment_without_a_lock_is_seen,
    a_child_doubles_numbers_structs_arrays_and_text,
    a_copy_is_independent,
    text_has_a_value_and_a_raw_view,
    text_that_does_not_fit_is_refused,
    freeing_in_destructors_does_not_deadlock,
    guards_lose_no_count,
    try_lock_and_lock_timeout_do_not_wait_longer,
    a_waiter_gets_the_lock_when_it_is_released,
    an_owners_death_is_told_until_mended,
    an_owners_death_of_a_given_lock_is_told_by_all,
    a_set_after_a_death_writes_nothing,
    garbage_is_an_error_and_can_be_overwritten,
    one_lock_for_several,
    another_lock_is_refused,
    the_own_lock_opens_the_value_too,
    a_value_by_name,
    a_name_under_a_given_lock_opens_under_that_one_alone,
    another_type_is_refused_by_name,
    the_mode_is_as_asked,
    debug_tells_who_holds_it,
    errors_are_sentences,
    large_alignments_are_kept,
    clones_are_the_same_value,
}

/// V1.
fn a_childs_assignment_is_seen() -> Outcome {
    fn check<T>(initial: T, assigned: T) -> Outcome
    where
        T: TryFromBytes + IntoBytes + Immutable + Copy + PartialEq + Debug + Send + 'static,
    {
        let value = Value::new(initial)?;
        assert_eq!(value.get().unwrap(), initial);
        let child = Process::start(|| {
            assert_eq!(value.get().unwrap(), initial);
            value.set(assigned).unwrap();
        })?;
        ends_well(&child);
        assert_eq!(value.get().unwrap(), assigned);
        Ok(())
    }
    check(7_i32, -20)?;
    check(1.5_f64, 2.25)?;
    check(200_i16, -300)?;
    check(1_i64 << 40, i64::MIN)?;
    check(b'x', b'y')?;
    check(u128::MAX, 1)?;
    check(false, true)?;
    check('ä', 'ß')
}

/// V2.
fn a_childs_assignment_without_a_lock_is_seen() -> Outcome {
    fn check<T>(initial: T, assigned: T) -> Outcome
    where
        T: FromBytes + IntoBytes + Immutable + Copy + PartialEq + Debug,
    {
        let value = RawValue::new(initial)?;
        let items = RawArray::from_slice(&[assigned, initial, assigned])?;
        assert_eq!(value.get(), initial);
        let child = Process::start(|| {
            value.set(assigned);
            items.set(1, assigned).unwrap();
        })?;
        ends_well(&child);
        assert_eq!(value.get(), assigned);
        assert_eq!(items.to_vec(), [assigned; 3]);
        assert!(items.get(3).is_err() && items.set(3, initial).is_err());
        Ok(())
    }
    check(7_i32, -20)?;
    check(1.5_f64, 2.25)?;
    check(200_i16, -300)?;
    check(1_i64 << 40, i64::MIN)?;
    check(b'x', b'y')?;
    check([1_u8; 11], [2; 11])?;
    assert!(matches!(
        RawArray::<u8>::zeroed(0),
        Err(CreateError::ZeroSize)
    ));
    assert!(matches!(
        RawArray::<u64>::zeroed(usize::MAX),
        Err(CreateError::TooLarge { .. })
    ));
    let name = test::unique("raw");
    let made = RawArray::<u32>::create(&name, 5)?;
    made.set(4, 9)?;
    assert_eq!(RawArray::<u32>::open(&name)?.get(4)?, 9);
    assert!(matches!(
        RawArray::<i32>::open(&name),
        Err(OpenError::Type { .. })
    ));
    RawArray::<u32>::unlink(&name)?;
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Point {
    x: i64,
    y: f64,
    z: i32,
    w: i32,
}

const POINT: Point = Point {
    x: 1,
    y: 2.5,
    z: 3,
    w: -4,
};

impl Point {
    fn double(&mut self) {
        *self = Point {
            x: self.x * 2,
            y: self.y * 2.0,
            z: self.z * 2,
            w: self.w * 2,
        };
    }
}

/// V7.
fn a_child_doubles_numbers_structs_arrays_and_text() -> Outcome {
    let number = Value::new(7_i32)?;
    let point = Value::new(POINT)?;
    let items = Array::from_items((0..10).map(f64::from))?;
    let text = Value::new(FixedString::<20>::new("hello")?)?;
    let raw = (RawValue::new(7_i32)?, RawValue::new(POINT)?);
    let raw_items = RawArray::from_slice(&[1.0, 2.0])?;
    let child = Process::start(|| {
        *number.lock().unwrap() *= 2;
        point.lock().unwrap().double();
        items
            .lock()
            .unwrap()
            .iter_mut()
            .for_each(|item| *item *= 2.0);
        let mut text = text.lock().unwrap();
        let twice = text.as_str().unwrap().repeat(2);
        text.set_value(twice.as_bytes()).unwrap();
        raw.0.set(raw.0.get() * 2);
        let mut point = raw.1.get();
        point.double();
        raw.1.set(point);
        for index in 0..raw_items.len() {
            raw_items
                .set(index, raw_items.get(index).unwrap() * 2.0)
                .unwrap();
        }
    })?;
    ends_well(&child);
    let mut doubled = POINT;
    doubled.double();
    assert_eq!(number.get().unwrap(), 14);
    assert_eq!(point.get().unwrap(), doubled);
    assert_eq!(
        items.to_vec().unwrap(),
        Vec::from_iter((0..10).map(|n| f64::from(n) * 2.0))
    );
    assert_eq!(text.get().unwrap(), "hellohello");
    assert_eq!((raw.0.get(), raw.1.get()), (14, doubled));
    assert_eq!(raw_items.to_vec(), [2.0, 4.0]);
    Ok(())
}

/// V8.
fn a_copy_is_independent() -> Outcome {
    let point = Value::new(POINT)?;
    let copy = Value::new(point.get().unwrap())?;
    point.lock().unwrap().double();
    point.lock().unwrap().x = 0;
    assert_eq!(copy.get().unwrap(), POINT);
    Ok(())
}

/// V11.
fn text_has_a_value_and_a_raw_view() -> Outcome {
    let text = Value::new(FixedString::<8>::new("hello")?)?;
    assert_eq!(text.get().unwrap().value(), b"hello");
    assert_eq!(text.get().unwrap().raw(), b"hello\0\0\0");
    text.lock().unwrap().raw_mut().copy_from_slice(b"ab\0cdefg");
    assert_eq!(text.get().unwrap().value(), b"ab");
    assert_eq!(text.get().unwrap().raw(), b"ab\0cdefg");
    text.lock().unwrap().set_value(b"x")?;
    assert_eq!(text.get().unwrap().raw(), b"x\0\0\0\0\0\0\0");
    let full = FixedString::<3>::from_raw(*b"abc");
    assert_eq!(
        (full.value(), format!("{full} {full:?}").as_str()),
        (&b"abc"[..], "abc \"abc\"")
    );
    assert!(FixedString::<1>::from_raw([0xff]).as_str().is_err());
    Ok(())
}

fn text_that_does_not_fit_is_refused() -> Outcome {
    let mut text = FixedString::<4>::new("ab")?;
    assert_eq!(
        text.set_value(b"abcde"),
        Err(TextError::TooLong { bytes: 5, most: 4 })
    );
    assert_eq!(text.set_value(b"a\0b"), Err(TextError::Nul { at: 1 }));
    assert_eq!(
        "ääö".parse::<FixedString<5>>(),
        Err(TextError::TooLong { bytes: 6, most: 5 })
    );
    assert_eq!(text, "ab");
    assert_eq!(FixedString::<4>::default(), "");
    Ok(())
}

/// V13. Handles that go while others are being made, in destructors of containers, of thread
/// locals and of values that were made in between.
fn freeing_in_destructors_does_not_deadlock() -> Outcome {
    struct Chain(Option<Box<Chain>>, Array<u8>);
    impl Drop for Chain {
        fn drop(&mut self) {
            let made = Array::<u8>::zeroed(self.1.len()).unwrap();
            drop(self.0.take());
            self.1.set(0, 1).unwrap();
            drop(made);
        }
    }
    thread_local! {
        static LAST: std::cell::RefCell<Option<Chain>> = const { std::cell::RefCell::new(None) };
    }
    for round in 1..=200 {
        let mut chain = None;
        for link in 1..8 {
            chain = Some(Box::new(Chain(chain, Array::zeroed(round * link)?)));
        }
        if round % 50 == 0 {
            let threads = [(); 2].map(|()| {
                std::thread::spawn(|| {
                    LAST.set(Some(Chain(None, Array::zeroed(64).unwrap())));
                })
            });
            drop(chain);
            threads
                .into_iter()
                .for_each(|thread| thread.join().unwrap());
        }
    }
    Ok(())
}

fn guards_lose_no_count() -> Outcome {
    let total = Value::new(0_u64)?;
    let children = Process::start_each(0..4, |_| {
        for _ in 0..10_000 {
            *total.lock().unwrap() += 1;
        }
    })?;
    children.iter().for_each(ends_well);
    assert_eq!(total.get().unwrap(), 40_000);
    Ok(())
}

fn try_lock_and_lock_timeout_do_not_wait_longer() -> Outcome {
    let value = Value::new(1)?;
    let step = Counter::new();
    let child = Process::start(|| {
        step.reach(1);
        assert!(matches!(value.try_lock(), Err(TryLockError::Held)));
        let timeout = Duration::from_millis(100);
        let begun = std::time::Instant::now();
        assert!(matches!(
            value.lock_timeout(timeout),
            Err(LockTimeoutError::Timeout)
        ));
        assert!(begun.elapsed() >= timeout);
    })?;
    let held = value.lock().unwrap();
    step.set(1);
    ends_well(&child);
    drop(held);
    *value.try_lock().unwrap() += 1;
    *value.lock_timeout(Duration::ZERO).unwrap() += 1;
    assert_eq!(value.get().unwrap(), 3);
    Ok(())
}

fn a_waiter_gets_the_lock_when_it_is_released() -> Outcome {
    let value = Value::new(1)?;
    let mut held = value.lock().unwrap();
    let waits = Process::start(|| ());
    assert!(waits.is_err(), "a guard is held: no fork");
    drop(waits);
    *held += 1;
    drop(held);
    let step = Counter::new();
    let holder = Process::start(|| {
        let mut held = value.lock().unwrap();
        step.set(1);
        step.reach(2);
        *held += 1;
    })?;
    step.reach(1);
    let waiter = Process::start(|| assert_eq!(value.get().unwrap(), 3))?;
    blocked(&waiter);
    step.set(2);
    ends_well(&waiter);
    ends_well(&holder);
    Ok(())
}

/// A child that holds a guard and never lets go, killed.
fn killed_while<'a, T>(value: &'a Value<T>, act: impl FnOnce(&mut Guard<'a, T>)) -> Outcome
where
    T: TryFromBytes + IntoBytes + Immutable + Send + 'static,
{
    let step = Counter::new();
    let holder = Process::start(|| {
        let mut held = value.lock().unwrap();
        act(&mut held);
        step.set(1);
        step.reach(2);
    })?;
    step.reach(1);
    kill(&holder);
    Ok(())
}

fn an_owners_death_is_told_until_mended() -> Outcome {
    let pair = Value::new([1_u64, 1])?;
    killed_while(&pair, |held| held[0] = 2)?;
    for _ in 0..2 {
        let Err(LockError::OwnerDied(held)) = pair.lock() else {
            panic!("not told")
        };
        assert_eq!(*held, [2, 1]);
        assert!(held.owner_died());
    }
    assert!(matches!(pair.get(), Err(LockError::OwnerDied(_))));
    assert!(matches!(pair.try_lock(), Err(TryLockError::OwnerDied(_))));
    assert!(matches!(
        pair.lock_timeout(PATIENCE),
        Err(LockTimeoutError::OwnerDied(_))
    ));
    let child = Process::start(|| {
        let mut held = pair.lock().unwrap_err().into_guard().unwrap();
        held[1] = held[0];
        held.mended();
        assert!(!held.owner_died());
    })?;
    ends_well(&child);
    assert_eq!(pair.get().unwrap(), [2, 2]);
    pair.set([3, 3]).unwrap();
    assert_eq!(*pair.lock().unwrap(), [3, 3]);
    Ok(())
}

fn an_owners_death_of_a_given_lock_is_told_by_all() -> Outcome {
    let lock = Shared::new(Mutex::new(()))?;
    let value = Value::options().lock(&lock).build(1_u64)?;
    let array = Array::<u64>::options().lock(&lock).zeroed(2)?;
    killed_while(&value, |held| **held = 2)?;
    assert!(matches!(value.get(), Err(LockError::OwnerDied(_))));
    assert!(array.get(0).is_err() && array.to_vec().is_err());
    let mut held = lock.lock().unwrap_err().into_guard();
    assert_eq!(*value.under(&mut held)?, 2);
    held.mended();
    drop(held);
    assert_eq!((value.get().unwrap(), array.get(0).unwrap()), (2, 0));
    Ok(())
}

fn a_set_after_a_death_writes_nothing() -> Outcome {
    let value = Value::new(1_u64)?;
    killed_while(&value, |_| ())?;
    let Err(LockError::OwnerDied(mut held)) = value.set(5) else {
        panic!("not told")
    };
    assert_eq!(*held, 1);
    *held = 5;
    held.mended();
    drop(held);
    assert_eq!(value.get().unwrap(), 5);
    Ok(())
}

fn garbage_is_an_error_and_can_be_overwritten() -> Outcome {
    // The same bytes under one lock, by a program that says they are numbers. Its tag is the
    // same, as it calls its own type `bool`.
    mod other {
        use super::{FromBytes, Immutable, IntoBytes};
        #[allow(non_camel_case_types)]
        #[derive(FromBytes, IntoBytes, Immutable, Clone, Copy)]
        #[repr(C)]
        pub(crate) struct bool(pub(crate) u8);
    }
    let name = test::unique("garbage");
    let flag = Value::create(&name, false)?;
    let bytes = Value::<other::bool>::open(&name)?;
    unlink(&name)?;
    bytes.set(other::bool(2)).unwrap();
    assert!(matches!(flag.get(), Err(LockError::Corrupted(_))));
    assert!(matches!(flag.lock(), Err(LockError::Corrupted(_))));
    assert!(matches!(flag.try_lock(), Err(TryLockError::Corrupted(_))));
    assert!(flag.lock().unwrap_err().into_guard().is_none());
    let mut held = flag.mutex().lock().unwrap();
    assert_eq!(flag.under(&mut held).unwrap_err(), UnderError::Corrupted);
    drop(held);
    assert!(format!("{flag:?}").contains("<corrupted>"));
    let Err(LockError::Corrupted(mut held)) = flag.lock() else {
        panic!()
    };
    assert_eq!(*held, [2]);
    held.copy_from_slice(true.as_bytes());
    drop(held);
    assert!(flag.get().unwrap());
    bytes.set(other::bool(3)).unwrap();
    flag.set(false).unwrap();
    assert!(!flag.get().unwrap());
    Ok(())
}

fn one_lock_for_several() -> Outcome {
    let lock = Shared::new(Mutex::new(()))?;
    let accounts = [
        Value::options().lock(&lock).build(500_i64)?,
        Value::options().lock(&lock).build(500_i64)?,
    ];
    let journal = Array::<i64>::options().lock(&lock).zeroed(2)?;
    let movers = Process::start_each(0..3, |k: i64| {
        for round in 0..2_000 {
            let amount = (round * 7 + k) % 11 - 5;
            let mut held = lock.lock().unwrap();
            *accounts[0].under(&mut held).unwrap() -= amount;
            *accounts[1].under(&mut held).unwrap() += amount;
            let (items, account) = both(&journal, &accounts[0], &mut held).unwrap();
            items[0] = *account;
            items[1] += 1;
        }
    })?;
    for _ in 0..2_000 {
        let mut held = lock.lock().unwrap();
        let (one, other) = both(&accounts[0], &accounts[1], &mut held)?;
        assert_eq!(*one + *other, 1_000);
    }
    movers.iter().for_each(ends_well);
    assert_eq!(journal.get(1).unwrap(), 6_000);
    assert_eq!(journal.get(0).unwrap(), accounts[0].get().unwrap());
    // Theirs is this one lock: it is taken for all of them.
    let held = accounts[0].lock().unwrap();
    assert!(matches!(accounts[1].try_lock(), Err(TryLockError::Held)));
    assert!(matches!(journal.try_lock(), Err(TryLockError::Held)));
    drop(held);
    let mut held = lock.lock().unwrap();
    assert_eq!(
        both(&journal, &journal.clone(), &mut held).unwrap_err(),
        UnderError::SameObject
    );
    Ok(())
}

fn another_lock_is_refused() -> Outcome {
    let locks = [Shared::new(Mutex::new(()))?, Shared::new(Mutex::new(()))?];
    let value = Value::options().lock(&locks[0]).build(1)?;
    let own = Value::new(1)?;
    let mut held = locks[1].lock().unwrap();
    assert_eq!(value.under(&mut held).unwrap_err(), UnderError::OtherLock);
    assert_eq!(own.under(&mut held).unwrap_err(), UnderError::OtherLock);
    assert_eq!(
        both(&value, &own, &mut held).unwrap_err(),
        UnderError::OtherLock
    );
    let local = Mutex::new(());
    assert!(own.under(&mut local.lock().unwrap()).is_err());
    Ok(())
}

fn the_own_lock_opens_the_value_too() -> Outcome {
    let value = Value::new(1)?;
    let mut held = value.mutex().lock().unwrap();
    *value.under(&mut held)? += 1;
    assert!(matches!(value.try_lock(), Err(TryLockError::Held)));
    drop(held);
    assert_eq!(value.get().unwrap(), 2);
    Ok(())
}

fn a_value_by_name() -> Outcome {
    let name = test::unique("value");
    assert!(matches!(
        Value::<u32>::open(&name),
        Err(OpenError::NotFound(_))
    ));
    let value = Value::create(&name, 1_u32)?;
    assert!(matches!(
        Value::create(&name, 2_u32),
        Err(CreateError::AlreadyExists(_))
    ));
    let child = Process::start(|| {
        let value = Value::<u32>::open(&name).unwrap();
        *value.lock().unwrap() += 1;
        *Value::open_or_create(&name, || 9_u32)
            .unwrap()
            .lock()
            .unwrap() += 1;
    })?;
    ends_well(&child);
    assert_eq!(value.get().unwrap(), 3);
    Value::<u32>::unlink(&name)?;
    assert!(matches!(
        Value::<u32>::open(&name),
        Err(OpenError::NotFound(_))
    ));
    assert_eq!(value.get().unwrap(), 3);
    let new = Value::open_or_create(&name, || 9_u32)?;
    assert_eq!(new.get().unwrap(), 9);
    Value::<u32>::unlink(&name)?;
    Ok(())
}

fn a_name_under_a_given_lock_opens_under_that_one_alone() -> Outcome {
    let (name, lock_name) = (test::unique("under"), test::unique("lock"));
    let lock = Shared::create(&lock_name, Mutex::new(()))?;
    let other = Shared::new(Mutex::new(()))?;
    let value = Value::options().lock(&lock).create(&name, 1_u32)?;
    let child = Process::start(|| {
        let lock = Shared::<Mutex<()>>::open(&lock_name).unwrap();
        let value = Value::<u32>::options().lock(&lock).open(&name).unwrap();
        *value.under(&mut lock.lock().unwrap()).unwrap() += 1;
    })?;
    ends_well(&child);
    assert_eq!(value.get().unwrap(), 2);
    let options = Value::<u32>::options();
    assert!(matches!(
        options.clone().lock(&other).open(&name),
        Err(OpenError::Type { .. })
    ));
    let error = options.open(&name).unwrap_err().to_string();
    assert!(
        error.contains("under the lock in file") && error.contains("its own lock"),
        "{error}"
    );
    unlink(&name)?;
    unlink(&lock_name)?;
    Ok(())
}

fn another_type_is_refused_by_name() -> Outcome {
    let name = test::unique("type");
    let _value = Value::create(&name, 1_u32)?;
    assert!(matches!(
        Value::<i32>::open(&name),
        Err(OpenError::Type { .. })
    ));
    assert!(matches!(
        Array::<u32>::open(&name),
        Err(OpenError::Type { .. })
    ));
    assert!(matches!(
        RawValue::<u32>::open(&name),
        Err(OpenError::Type { .. })
    ));
    assert!(Shared::<Mutex<()>>::open(&name).is_err());
    unlink(&name)?;
    Ok(())
}

fn the_mode_is_as_asked() -> Outcome {
    use std::os::unix::fs::PermissionsExt;
    let name = test::unique("mode");
    let _value = Value::options().mode(0o640).create(&name, 1_u32)?;
    let mode = std::fs::metadata(format!("/dev/shm/multiproc.{name}"))?
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o640);
    unlink(&name)?;
    Ok(())
}

fn debug_tells_who_holds_it() -> Outcome {
    let value = Value::new(5)?;
    let shown = format!("{value:?}");
    assert!(
        shown.contains("free") && shown.contains("value: 5"),
        "{shown}"
    );
    let held = value.lock().unwrap();
    assert_eq!(format!("{held:?} {held}"), "5 5");
    let shown = format!("{value:?}");
    assert!(
        shown.contains("this thread") && shown.contains("value: <locked>"),
        "{shown}"
    );
    drop(held);
    let step = Counter::new();
    let holder = Process::start(|| {
        let _held = value.lock().unwrap();
        step.set(1);
        step.reach(2);
    })?;
    step.reach(1);
    let shown = format!("{value:?}");
    assert!(
        shown.contains(&format!("process {}", holder.pid())),
        "{shown}"
    );
    kill(&holder);
    let shown = format!("{value:?}");
    assert!(
        shown.contains("died") && shown.contains("value: 5"),
        "{shown}"
    );
    assert!(value.lock().is_err(), "looking at it does not mend it");
    Ok(())
}

fn errors_are_sentences() -> Outcome {
    let error = LockError::<()>::OwnerDied(());
    let text = "the last holder died holding the lock, and nobody has mended what it protects";
    assert_eq!(
        (error.to_string(), format!("{error:?}")),
        (text.into(), format!("LockError({text})"))
    );
    let array = Array::<u8>::zeroed(2)?;
    let error = array.get(2).unwrap_err().without_guard();
    assert_eq!(error.to_string(), "there is no item 2: the array has 2");
    Ok(())
}

fn large_alignments_are_kept() -> Outcome {
    #[derive(FromBytes, IntoBytes, Immutable, Clone, Copy)]
    #[repr(C, align(128))]
    struct Wide([u64; 16]);
    let array = Array::from_slice(&[Wide([1; 16]), Wide([2; 16])])?;
    assert_eq!(&raw const array.lock().unwrap()[1] as usize % 128, 0);
    assert_eq!(array.get(1).unwrap().0, [2; 16]);
    Ok(())
}

fn clones_are_the_same_value() -> Outcome {
    let value = Value::new(1)?;
    let clone = value.clone();
    clone.set(2).unwrap();
    drop(clone);
    assert_eq!(value.get().unwrap(), 2);
    std::thread::scope(|scope| {
        scope.spawn(|| *value.lock().unwrap() += 1);
    });
    assert_eq!(value.get().unwrap(), 3);
    Ok(())
}
