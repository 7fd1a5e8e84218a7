//! Values, arrays, lists, raw memory; and what has a name.

use crate::world::*;
use multiproc_event::Event;
use multiproc_lock::Mutex;
use multiproc_process::test;
use multiproc_queue::Queue;
use multiproc_segment::{OpenError, Shared};
use multiproc_value::{
    Array, FixedString, Item, LockError, RawArray, RawValue, ShareableList, SharedMemory, Value,
};
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// One of each.
#[derive(Serialize, Deserialize)]
struct Memories {
    value: Value<i64>,
    text: Value<FixedString<16>>,
    array: Array<f64>,
    raw_value: RawValue<u16>,
    raw_array: RawArray<[u8; 3]>,
    list: ShareableList,
    memory: SharedMemory,
}

fn change(all: Memories) {
    *all.value.lock().unwrap() *= 2;
    let text = all.text.get().unwrap().as_str().unwrap().to_uppercase();
    all.text.set(text.as_str().try_into().unwrap()).unwrap();
    let mut sums = all.array.lock().unwrap();
    (1..sums.len()).for_each(|n| sums[n] += sums[n - 1]);
    all.raw_value.set(all.raw_value.get() + 1);
    all.raw_array.set(6, [1, 2, 3]).unwrap();
    all.list.set(0, "four").unwrap();
    all.memory.write_at(90, b"at the end").unwrap();
}

pub(crate) fn values_arrays_lists_and_raw_memory_are_shared() {
    in_each_world(|world| {
        let all = Memories {
            value: Value::new(21).unwrap(),
            text: Value::new("quiet".try_into().unwrap()).unwrap(),
            array: Array::from_slice(&[1.0, 2.0, 3.0]).unwrap(),
            raw_value: RawValue::new(6).unwrap(),
            raw_array: RawArray::zeroed(7).unwrap(),
            list: ShareableList::new(["word".into(), Item::None]).unwrap(),
            memory: SharedMemory::anonymous(100).unwrap(),
        };
        let given = Memories {
            value: all.value.clone(),
            text: all.text.clone(),
            array: all.array.clone(),
            raw_value: all.raw_value.clone(),
            raw_array: all.raw_array.clone(),
            list: all.list.clone(),
            memory: all.memory.clone(),
        };
        ends_well(&start(world, change, given));
        assert_eq!(all.value.get().unwrap(), 42);
        assert_eq!(all.text.get().unwrap().as_str(), Ok("QUIET"));
        assert_eq!(all.array.lock().unwrap()[..], [1.0, 3.0, 6.0]);
        assert_eq!(all.raw_value.get(), 7);
        assert_eq!(all.raw_array.to_vec()[5..], [[0; 3], [1, 2, 3]]);
        assert_eq!(all.list.get(0).unwrap(), "four".into());
        assert_eq!(all.memory.read_vec(90, 10).unwrap(), b"at the end");
    });
}

pub(crate) fn guards_lose_no_count() {
    fn count((total, parts, who): (Value<u64>, Array<u64>, usize)) {
        for _ in 0..300 {
            *total.lock().unwrap() += 1;
            parts.lock().unwrap()[who] += 1;
        }
    }
    in_each_world(|world| {
        let (total, parts) = (Value::new(0).unwrap(), Array::zeroed(3).unwrap());
        let given = |who| (total.clone(), parts.clone(), who);
        let children = [0, 1, 2].map(|who| start(world, count, given(who)));
        children.iter().for_each(ends_well);
        assert_eq!(total.get().unwrap(), 900);
        assert_eq!(parts.to_vec().unwrap(), [300; 3]);
    });
}

pub(crate) fn a_killed_holders_value_says_so_and_can_be_mended() {
    fn dies(value: Value<u32>) {
        let mut held = value.lock().unwrap();
        *held = 13;
        die();
    }
    in_each_world(|world| {
        let value = Value::new(1_u32).unwrap();
        is_killed(&start(world, dies, value.clone()));
        let Err(LockError::OwnerDied(mut held)) = value.lock() else {
            panic!("nobody said that the holder died");
        };
        assert_eq!(*held, 13);
        *held = 2;
        held.mended();
        drop(held);
        assert_eq!(value.get().unwrap(), 2);
    });
}

pub(crate) fn a_lock_for_several_values_goes_along() {
    type Given = (Value<u64>, Value<u64>, Shared<Mutex<()>>, Shared<Event>);
    fn moves((from, to, lock, held): Given) {
        let mut guard = lock.lock().unwrap();
        held.set();
        *from.under(&mut guard).unwrap() -= 40;
        *to.under(&mut guard).unwrap() += 40;
    }
    in_each_world(|world| {
        let (lock, held) = (shared(Mutex::new(())), shared(Event::new()));
        let from = Value::options().lock(&lock).build(100).unwrap();
        let to = Value::options().lock(&lock).build(0).unwrap();
        let given = (from.clone(), to.clone(), lock.clone(), held.clone());
        let child = start(world, moves, given);
        held.wait();
        let mut guard = lock.lock().unwrap();
        let left = *from.under(&mut guard).unwrap();
        assert_eq!((left, *to.under(&mut guard).unwrap()), (60, 40));
        drop(guard);
        ends_well(&child);
    });
}

// ---- names ----

pub(crate) fn named_objects_are_found() {
    fn find(name: String) {
        let named = |kind: &str| format!("{name}-{kind}");
        Queue::<u8>::open(&named("queue")).unwrap().put(5).unwrap();
        let shared = Shared::<AtomicU64>::open(&named("shared")).unwrap();
        shared.fetch_add(5, SeqCst);
        let value = Value::<i32>::open(&named("value")).unwrap();
        *value.lock().unwrap() += 5;
        let array = Array::<u64>::open(&named("array")).unwrap();
        array.set(9, 5).unwrap();
        let memory = SharedMemory::open(&named("memory")).unwrap();
        memory.write_at(99, b"5").unwrap();
        let list = ShareableList::open(&named("list")).unwrap();
        list.set(1, 5).unwrap();
        let other = Shared::<Event>::open(&named("shared")).unwrap_err();
        assert!(matches!(other, OpenError::Type { .. }), "{other}");
    }
    in_each_world(|world| {
        let name = test::unique("worlds");
        let named = |kind: &str| format!("{name}-{kind}");
        let queue = Queue::<u8>::create(&named("queue")).unwrap();
        let shared = Shared::create(&named("shared"), AtomicU64::new(0)).unwrap();
        let value = Value::create(&named("value"), 0_i32).unwrap();
        let array = Array::<u64>::create(&named("array"), 10).unwrap();
        let memory = SharedMemory::create(&named("memory"), 100).unwrap();
        let list = ShareableList::create(&named("list"), [Item::None, 1.into()]).unwrap();
        ends_well(&start(world, find, name.clone()));
        assert_eq!(queue.get(), Ok(5));
        assert_eq!(shared.load(SeqCst), 5);
        assert_eq!(value.get().unwrap(), 5);
        assert_eq!(array.get(9).unwrap(), 5);
        assert_eq!(memory.read_vec(99, 1).unwrap(), b"5");
        assert_eq!(list.get(1).unwrap(), 5.into());
        for kind in ["queue", "shared", "value", "array", "memory", "list"] {
            multiproc_segment::unlink(&named(kind)).unwrap();
        }
    });
}

pub(crate) fn a_temporary_name_goes_with_the_child_that_has_it_last() {
    type Given = (String, Shared<Event>, Shared<Event>);
    fn keeps((name, has_it, go): Given) {
        let mine = Shared::<AtomicU64>::open(&name).unwrap();
        has_it.set();
        go.wait();
        assert_eq!(mine.load(SeqCst), 7);
        drop(mine);
    }
    fn dies_with_it((name, has_it, go): Given) {
        let _mine = Shared::<AtomicU64>::open(&name).unwrap();
        has_it.set();
        go.wait();
        die();
    }
    in_each_world(|world| {
        let is_gone = |name: &str| {
            let opened = Shared::<AtomicU64>::open(name);
            matches!(opened, Err(OpenError::NotFound(_)))
        };
        for (killed, body) in [(false, keeps as fn(Given)), (true, dies_with_it)] {
            let name = test::unique("last");
            let (has_it, go) = (shared(Event::new()), shared(Event::new()));
            let made = Shared::<AtomicU64>::options().temporary(true);
            let made = made.create(&name, AtomicU64::new(7)).unwrap();
            let child = start(world, body, (name.clone(), has_it.clone(), go.clone()));
            has_it.wait();
            drop(made);
            assert_eq!(Shared::<AtomicU64>::open(&name).unwrap().load(SeqCst), 7);
            go.set();
            match killed {
                false => ends_well(&child),
                true => is_killed(&child),
            }
            assert!(is_gone(&name));
        }
    });
}
