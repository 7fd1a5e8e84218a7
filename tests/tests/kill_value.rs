//! Killed at every step: a process dies by SIGKILL at the first named step of an operation on a
//! value, an array or a list, then one at the second, and so on until one comes through. The
//! others must never hang, and never take half-written data for whole.

use common::{Outcome, PATIENCE, blocked_or_gone, until};
use multiproc_core::step;
use multiproc_lock::Mutex;
use multiproc_process::{Exit, Process, test};
use multiproc_segment::Shared;
use multiproc_tests::{at_each_step, came_through, killed_at, victim};
use multiproc_value::{
    Array, Guard, Item, ItemError, LockError, LockTimeoutError, ShareableList, Value,
};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

test::main! {
    killed_at_each_step_of_get,
    killed_at_each_step_of_set,
    killed_at_each_step_of_a_write_through_the_guard,
    killed_at_each_step_of_mending,
    killed_at_each_step_of_an_array_write,
    killed_at_each_step_of_a_transfer_under_a_given_lock,
    #[timeout(180)]
    killed_at_each_step_of_a_set_that_waits,
    #[timeout(180)]
    killed_at_each_step_of_a_lock_that_times_out,
    killed_at_each_step_of_a_list_set,
    #[timeout(300)]
    killed_at_random_in_a_storm,
}

type Eight = [u64; 8];

/// The value, and was it left in doubt? Mended with `with` if so. Panics where it is half
/// written and nobody said so.
fn look(value: &Value<Eight>, with: Eight) -> (Eight, bool) {
    let whole = |eight: &Eight| eight.iter().all(|n| *n == eight[0]);
    match value.lock_timeout(PATIENCE) {
        Ok(held) => {
            assert!(whole(&held), "torn, and nobody said so: {held:?}");
            (*held, false)
        }
        Err(LockTimeoutError::OwnerDied(mut held)) => {
            let found = *held;
            *held = with;
            held.mended();
            (found, true)
        }
        Err(error) => panic!("{error}"),
    }
}

/// Another process can use it as if nothing had happened.
fn works(value: &Value<Eight>) {
    let child = Process::start(|| {
        value.set([77; 8]).unwrap();
        *value.lock_timeout(PATIENCE).unwrap() = [78; 8];
    });
    child.unwrap().join().unwrap().ok().unwrap();
    assert_eq!(value.get().unwrap(), [78; 8]);
}

/// A child takes the lock, begins a write, and is killed.
fn leave_in_doubt(value: &Value<Eight>) {
    let child = Process::start(|| {
        let mut held = value.lock().unwrap();
        held[0] = 99;
        // SAFETY: kills this very process, which has nothing to clean up.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    });
    let _ = child.unwrap().join().unwrap();
}

fn killed_at_each_step_of_get() -> Outcome {
    at_each_step(6, |n| {
        let value = Value::new([1; 8]).unwrap();
        let through = killed_at(n, || assert_eq!(value.get().unwrap(), [1; 8]));
        let (found, _) = look(&value, [1; 8]);
        assert_eq!(found, [1; 8]);
        works(&value);
        through
    });
    Ok(())
}

fn killed_at_each_step_of_set() -> Outcome {
    let (torn, old, new) = (Cell::new(0), Cell::new(0), Cell::new(0));
    at_each_step(8, |n| {
        let value = Value::new([1; 8]).unwrap();
        let through = killed_at(n, || value.set([2; 8]).unwrap());
        let (found, in_doubt) = look(&value, [3; 8]);
        let count = match found {
            [1, 1, 1, 1, 1, 1, 1, 1] => &old,
            [2, 2, 2, 2, 2, 2, 2, 2] => &new,
            _ => {
                assert!(in_doubt && found == [2, 2, 2, 2, 1, 1, 1, 1], "{found:?}");
                &torn
            }
        };
        count.set(count.get() + 1);
        works(&value);
        through
    });
    // Or the steps are not where they should be.
    assert!(
        old.get() >= 3 && torn.get() == 1 && new.get() >= 3,
        "{old:?} {torn:?} {new:?}"
    );
    Ok(())
}

fn killed_at_each_step_of_a_write_through_the_guard() -> Outcome {
    at_each_step(12, |n| {
        let value = Value::new([1; 8]).unwrap();
        let through = killed_at(n, || {
            let mut held = value.lock().unwrap();
            for index in 0..8 {
                step!("test: about to write a part");
                held[index] = 2;
            }
            step!("test: all written");
        });
        look(&value, [3; 8]);
        works(&value);
        through
    });
    Ok(())
}

fn killed_at_each_step_of_mending() -> Outcome {
    at_each_step(10, |n| {
        let value = Value::new([1; 8]).unwrap();
        leave_in_doubt(&value);
        let through = killed_at(n, || {
            let Err(LockError::OwnerDied(mut held)) = value.lock() else {
                panic!("not told")
            };
            for index in 0..8 {
                held[index] = 2;
                step!("test: mending");
            }
            held.mended();
            drop(held);
            assert_eq!(value.get().unwrap(), [2; 8]);
        });
        let (found, in_doubt) = look(&value, [3; 8]);
        assert!(in_doubt || found == [2; 8]);
        assert!(!through || !in_doubt);
        works(&value);
        through
    });
    Ok(())
}

fn killed_at_each_step_of_an_array_write() -> Outcome {
    fn fill(mut held: Guard<'_, [Eight]>, with: u64) {
        for item in held.iter_mut() {
            *item = [with; 8];
            step!("test: one item filled");
        }
    }
    at_each_step(10, |n| {
        let array = Array::from_slice(&[[1; 8]; 5]).unwrap();
        let through = killed_at(n, || {
            array.set(3, [2; 8]).unwrap();
            fill(array.lock().unwrap(), 2);
        });
        match array.get(3) {
            Ok(item) => {
                assert!(
                    item == [1; 8] || item == [2; 8],
                    "torn, and nobody said so: {item:?}"
                );
                let mut others = array.to_vec().unwrap();
                others.remove(3);
                assert!(others.iter().all(|other| *other == others[0]), "{others:?}");
            }
            Err(ItemError::OwnerDied(mut held)) => {
                held.mended();
                fill(held, 3);
                assert_eq!(array.to_vec().unwrap(), [[3; 8]; 5]);
            }
            Err(error) => panic!("{error}"),
        }
        array.set(4, [9; 8]).unwrap();
        assert_eq!(array.get(4).unwrap(), [9; 8]);
        through
    });
    Ok(())
}

fn killed_at_each_step_of_a_transfer_under_a_given_lock() -> Outcome {
    let unbalanced = Cell::new(0);
    at_each_step(6, |n| {
        let lock = Shared::new(Mutex::new(())).unwrap();
        let from = Value::options().lock(&lock).build(100_i64).unwrap();
        let to = Value::options().lock(&lock).build(0_i64).unwrap();
        let through = killed_at(n, || {
            let mut held = lock.lock().unwrap();
            *from.under(&mut held).unwrap() -= 30;
            step!("test: between the two");
            *to.under(&mut held).unwrap() += 30;
        });
        let mut held = match lock.lock() {
            Ok(mut held) => {
                let sum = *from.under(&mut held).unwrap() + *to.under(&mut held).unwrap();
                assert_eq!(sum, 100, "torn, and nobody said so");
                held
            }
            Err(died) => {
                let mut held = died.into_guard();
                let from = *from.under(&mut held).unwrap();
                let to = to.under(&mut held).unwrap();
                unbalanced.set(unbalanced.get() + u64::from(from + *to != 100));
                *to = 100 - from;
                held.mended();
                held
            }
        };
        *from.under(&mut held).unwrap() += 1;
        drop(held);
        assert_eq!(from.get().unwrap() + to.get().unwrap(), 101);
        through
    });
    assert_eq!(unbalanced.get(), 1);
    Ok(())
}

/// Somebody holds the lock when the victim comes: it spins, sleeps, is woken.
fn killed_at_each_step_of_a_set_that_waits() -> Outcome {
    at_each_step(6, |n| {
        let value = Value::new([1; 8]).unwrap();
        let stage = Shared::new(AtomicU64::new(0)).unwrap();
        let holder = Process::start(|| {
            let mut held = value.lock().unwrap();
            stage.store(1, SeqCst);
            until("stage 2", || stage.load(SeqCst) == 2);
            *held = [2; 8];
        })
        .unwrap();
        until("stage 1", || stage.load(SeqCst) == 1);
        let dies = victim(n, || value.set([3; 8]).unwrap());
        blocked_or_gone(&dies);
        stage.store(2, SeqCst);
        let through = came_through(&dies);
        holder.join().unwrap().ok().unwrap();
        let (found, in_doubt) = look(&value, [4; 8]);
        assert!(in_doubt || found == [2; 8] || found == [3; 8]);
        works(&value);
        through
    });
    Ok(())
}

fn killed_at_each_step_of_a_lock_that_times_out() -> Outcome {
    at_each_step(2, |n| {
        let value = Value::new([1; 8]).unwrap();
        let stage = Shared::new(AtomicU64::new(0)).unwrap();
        let holder = Process::start(|| {
            let mut held = value.lock().unwrap();
            stage.store(1, SeqCst);
            until("stage 2", || stage.load(SeqCst) == 2);
            *held = [2; 8];
        })
        .unwrap();
        until("stage 1", || stage.load(SeqCst) == 1);
        let through = killed_at(n, || {
            let late = value.lock_timeout(Duration::from_millis(5));
            assert!(matches!(late, Err(LockTimeoutError::Timeout)));
        });
        stage.store(2, SeqCst);
        holder.join().unwrap().ok().unwrap();
        assert_eq!(look(&value, [3; 8]), ([2; 8], false));
        works(&value);
        through
    });
    Ok(())
}

fn killed_at_each_step_of_a_list_set() -> Outcome {
    let (old, new) = (Cell::new(0), Cell::new(0));
    at_each_step(6, |n| {
        let list = ShareableList::new(["before".into(), 1.into(), "after".into()]).unwrap();
        let through = killed_at(n, || list.set(1, "changed!").unwrap());
        let item = list.get(1).unwrap();
        let count = if item == Item::Int(1) { &old } else { &new };
        count.set(count.get() + 1);
        assert!(
            item == Item::Int(1) || item == "changed!".into(),
            "{item:?}"
        );
        list.set(1, 2.5).unwrap();
        assert_eq!(
            list.to_vec().unwrap(),
            ["before".into(), 2.5.into(), "after".into()]
        );
        through
    });
    assert!(old.get() >= 3 && new.get() >= 2, "{old:?} {new:?}");
    Ok(())
}

/// Three processes change a value, an array and a list as fast as they can; one of them after
/// the other is killed somewhere, and replaced. Everything that any of them reads is whole, or
/// said to be in doubt.
fn killed_at_random_in_a_storm() -> Outcome {
    const KILLS: u64 = 400;
    let value = Value::new([0_u64; 8])?;
    let array = Array::<u64>::zeroed(64)?;
    let list = ShareableList::new([vec![0_u8; 64].into()])?;
    let (turns, mended) = (
        Shared::new(AtomicU64::new(0))?,
        Shared::new(AtomicU64::new(0))?,
    );
    let worker = |seed: u64| {
        for n in seed.. {
            match value.lock() {
                Ok(mut held) => {
                    let number = held[0];
                    for part in held.iter_mut() {
                        assert_eq!(*part, number, "torn, and nobody said so");
                        *part += 1;
                    }
                }
                Err(LockError::OwnerDied(mut held)) => {
                    let number = held[0];
                    held.fill(number);
                    held.mended();
                    mended.fetch_add(1, SeqCst);
                }
                Err(error) => panic!("{error}"),
            }
            match array.lock() {
                Ok(mut held) => {
                    assert!(held.iter().all(|item| *item == held[0]), "{held:?}");
                    held.fill(n);
                }
                Err(LockError::OwnerDied(mut held)) => {
                    held.fill(n);
                    held.mended();
                    mended.fetch_add(1, SeqCst);
                }
                Err(error) => panic!("{error}"),
            }
            let Item::Bytes(bytes) = list.get(0).unwrap() else {
                panic!("not bytes")
            };
            assert!(bytes.iter().all(|byte| *byte == bytes[0]), "{bytes:?}");
            list.set(0, vec![n as u8; 1 + n as usize % 64]).unwrap();
            turns.fetch_add(1, SeqCst);
        }
    };
    let mut workers = Process::start_each(0..3, worker)?;
    let mut dice = 0x9e37_79b9_7f4a_7c15_u64;
    for kill in 0..KILLS {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let turn = turns.load(SeqCst);
        until("a turn", || turns.load(SeqCst) > turn);
        let pauses = dice >> 48;
        (0..pauses).for_each(|_| std::hint::spin_loop());
        let victim = workers.remove((kill % 3) as usize);
        assert!(victim.is_alive(), "it ended by itself: {victim:?}");
        victim.kill()?;
        assert_eq!(victim.join()?, Exit::Signal(libc::SIGKILL));
        let at = (kill % 3) as usize;
        workers.insert(at, Process::start(|| worker(kill * 1_000))?);
    }
    for worker in &workers {
        assert!(worker.is_alive(), "it ended by itself: {worker:?}");
        worker.kill()?;
        let _ = worker.join()?;
    }
    println!(
        "{KILLS} kills, {} turns, {} mended",
        turns.load(SeqCst),
        mended.load(SeqCst)
    );
    assert!(mended.load(SeqCst) > 0, "no kill hit anything");
    Ok(())
}
