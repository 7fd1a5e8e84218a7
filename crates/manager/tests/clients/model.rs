//! Many operations, beside a model that knows what comes of them.

use crate::processes::RegisterProxy;
use crate::watching::*;
use common::*;
use multiproc_manager::{FetchError, List, Manager};
use multiproc_process::{Process, join_all};
use multiproc_segment::Shared;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Instant;

/// 8 processes with mixed operations; each has its own keys, whose values a model knows, and all
/// share some counters, whose sums are known. `MULTIPROC_MANAGER_OPERATIONS=100000` for more.
pub(crate) fn eight_clients_agree_with_a_model() -> Outcome {
    let operations = std::env::var("MULTIPROC_MANAGER_OPERATIONS");
    let operations: u64 = operations.map_or(Ok(4_000), |n| n.parse())?;
    let manager = Manager::start()?;
    let dict = manager.dict::<(u64, u64), u64>()?;
    let counters = manager.dict::<u64, u64>()?;
    let list = manager.list::<u64>()?;
    let queue = manager.queue::<u64>()?;
    let lock = manager.lock()?;
    let value = manager.value(0_u64)?;
    let sums: Vec<Shared<AtomicU64>> = (0..6).map(|_| number()).collect();
    let add = |which: usize, n: u64| sums[which].fetch_add(n, SeqCst);
    let begun = Instant::now();
    let clients = Process::start_each(0..8_u64, |me| -> Outcome {
        let mut dice = Dice::new(me + 1);
        let mut model = HashMap::new();
        for n in 0..operations {
            let key = dice.below(50);
            match dice.below(12) {
                0 | 1 => assert_eq!(dict.insert((me, key), n)?, model.insert(key, n)),
                2 | 3 => assert_eq!(dict.get(&(me, key))?, model.get(&key).copied()),
                4 => assert_eq!(dict.remove(&(me, key))?, model.remove(&key)),
                5 => {
                    counters.fetch_add(&(key % 4), 1)?;
                    add(0, 1);
                }
                6 => {
                    counters.update(&4, |n| Some(n.unwrap_or(0) + key))?;
                    add(1, key);
                }
                7 => {
                    list.push(key)?;
                    add(2, key);
                }
                8 => {
                    if let Some(last) = list.pop()? {
                        add(3, last);
                    }
                }
                9 => {
                    queue.put(key)?;
                    add(4, key);
                }
                10 => {
                    if let Ok(item) = queue.try_get() {
                        add(5, item);
                    }
                }
                _ => {
                    let _held = lock.lock()?;
                    value.set(value.get()? + 1)?; // right under the lock
                    counters.fetch_add(&5, 1)?;
                }
            }
        }
        let mine = dict
            .items()?
            .into_iter()
            .filter(|((whose, _), _)| *whose == me);
        let mine: HashMap<u64, u64> = mine.map(|((_, key), n)| (key, n)).collect();
        assert_eq!(mine, model);
        Ok(())
    })?;
    join_all(clients)?;
    let all = 8 * operations;
    println!("{all} operations in {:?}", begun.elapsed());
    let sum = |which: usize| sums[which].load(SeqCst);
    let counted: u64 = (0..4).map(|n| counters.get(&n).unwrap().unwrap_or(0)).sum();
    assert_eq!(counted, sum(0));
    assert_eq!(counters.get(&4)?.unwrap_or(0), sum(1));
    assert_eq!(list.to_vec()?.iter().sum::<u64>(), sum(2) - sum(3));
    let mut left = 0;
    while let Ok(item) = queue.try_get() {
        left += item;
    }
    assert_eq!(left, sum(4) - sum(5));
    assert_eq!(Some(value.get()?), counters.get(&5)?);
    Ok(())
}

pub(crate) fn threads_of_a_process_call_at_the_same_time() -> Outcome {
    let manager = Manager::start()?;
    let dict = manager.dict::<u64, u64>()?;
    let queue = manager.queue::<u64>()?;
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| queue.get().unwrap());
        for n in 0..8 {
            let dict = &dict;
            scope.spawn(move || {
                for _ in 0..200 {
                    dict.fetch_add(&0, 1).unwrap();
                    dict.insert(n, n).unwrap();
                }
                // Thread by thread: who holds it is not the process.
            });
        }
        queue.put(7).unwrap();
        assert_eq!(waiting.join().unwrap(), 7);
    });
    // What a thread made and left outlives it.
    let list = std::thread::scope(|scope| {
        let made = scope.spawn(|| {
            let list = manager.list::<u8>().unwrap();
            list.push(1).unwrap();
            list
        });
        made.join().unwrap()
    });
    assert_eq!(list.to_vec()?, [1]);
    assert_eq!(dict.len()?, 8);
    let rlock = manager.rlock()?;
    let _held = rlock.lock()?;
    assert!(rlock.try_acquire()?);
    rlock.release()?;
    std::thread::scope(|scope| {
        let other = scope.spawn(|| (rlock.try_acquire().unwrap(), rlock.release().is_err()));
        assert_eq!(other.join().unwrap(), (false, true));
    });
    Ok(())
}

pub(crate) fn ten_thousand_objects_made_and_dropped() -> Outcome {
    let manager = Manager::start()?;
    let server = manager.process().unwrap().pid();
    // Bytes while all are there: how much of free memory goes back to the system is chance.
    let round = || -> Outcome<u64> {
        let all = manager.list::<List<Vec<u8>>>()?;
        for _ in 0..10_000 {
            let list = manager.list()?;
            list.push(vec![0; 1_000])?;
            all.push(list)?;
        }
        objects(&manager, 10_001);
        let full = resident(server);
        drop(all);
        objects(&manager, 0);
        Ok(full)
    };
    let first = round()?;
    let mut last = first;
    for _ in 0..3 {
        last = round()?;
    }
    println!("{first} bytes with the first 10,000 objects, {last} with the fourth");
    assert!(last < first * 3 / 2, "{first} bytes, then {last}");
    Ok(())
}

pub(crate) fn lists_do_what_vectors_do() -> Outcome {
    let manager = Manager::start()?;
    let list = manager.list::<u32>()?;
    let mut model: Vec<u32> = Vec::new();
    let mut dice = Dice::new(77);
    for n in 0..2_000 {
        let at = dice.below(model.len() as u64 + 1) as usize;
        let inside = at < model.len();
        match dice.below(14) {
            0..=3 => {
                list.push(n % 10)?;
                model.push(n % 10);
            }
            4 => assert_eq!(list.pop()?, model.pop()),
            5 => {
                list.insert(at, n)?;
                model.insert(at, n);
            }
            6 if inside => assert_eq!(list.remove(at)?, model.remove(at)),
            7 if inside => assert_eq!(list.set(at, n)?, std::mem::replace(&mut model[at], n)),
            8 => assert_eq!(list.get(at)?, model.get(at).copied()),
            9 => assert_eq!(list.slice(at..)?, model[at..]),
            10 => {
                let others = [n, n + 1];
                assert_eq!(
                    list.splice(at.., others)?,
                    model.splice(at.., others).collect::<Vec<_>>()
                );
            }
            11 => assert_eq!(
                list.index_of(&(n % 10))?,
                model.iter().position(|m| *m == n % 10)
            ),
            12 => assert_eq!(
                list.count(&(n % 10))?,
                model.iter().filter(|m| **m == n % 10).count()
            ),
            _ => {
                list.reverse()?;
                model.reverse();
            }
        }
    }
    assert_eq!(list.to_vec()?, model);
    list.sort()?;
    model.sort();
    assert_eq!(list.to_vec()?, model);
    list.dedup()?;
    model.dedup();
    list.retain(|n| n % 2 == 0)?;
    model.retain(|n| n % 2 == 0);
    assert_eq!(list.iter()?.collect::<Vec<_>>(), model);
    assert!(list.insert(model.len() + 1, 0).is_err());
    assert!(list.slice(model.len() + 1..).is_err() && list.remove(model.len()).is_err());
    assert!(list.set(model.len(), 0).is_err() && list.swap(0, model.len()).is_err());
    assert!(matches!(
        list.fetch_add(model.len(), 1),
        Err(FetchError::OutOfRange { .. })
    ));
    assert!(list.update(model.len(), |n| n).is_err());
    assert_eq!(list.update(0, |n| n + 1)?, model[0] + 1);
    assert!(list.remove_item(&(model[0] + 1))? && !list.contains(&(model[0] + 1))?);
    list.clear()?;
    assert!(list.is_empty()?);
    Ok(())
}

pub(crate) fn proxies_are_for_all_threads() {
    fn send<T: Send>() {}
    fn sync<T: Send + Sync + Clone>() {}
    use multiproc_manager as mm;
    sync::<mm::Dict<u8, u8>>();
    sync::<mm::List<u8>>();
    sync::<mm::Set<u8>>();
    sync::<mm::Namespace>();
    sync::<mm::Value<u8>>();
    sync::<mm::Array<u8>>();
    sync::<mm::Queue<u8>>();
    sync::<mm::JoinableQueue<u8>>();
    sync::<mm::Event>();
    sync::<mm::Lock>();
    sync::<mm::RLock>();
    sync::<mm::Semaphore>();
    sync::<mm::BoundedSemaphore>();
    sync::<mm::Condition>();
    sync::<mm::Barrier>();
    sync::<RegisterProxy>();
    // Also of what is neither.
    sync::<mm::List<std::rc::Rc<u8>>>();
    send::<mm::Permit>();
    send::<mm::Task<u8>>();
    send::<mm::RemoteIter<u8>>();
    send::<mm::Manager>();
    send::<mm::Server>();
}
