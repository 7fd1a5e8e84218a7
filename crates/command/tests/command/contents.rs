//! What is shown of queues, values and structs.

use crate::run::{holding, pid, said, shows};
use crate::signals::Pair;
use common::{Name, Outcome, kill, until};
use multiproc_lock::Mutex;
use multiproc_process::Process;
use multiproc_queue::Queue;
use multiproc_segment::Shared;
use multiproc_value::{Array, Item, RawArray, ShareableList, SharedMemory, Value};
use std::sync::atomic::{AtomicI32, AtomicU32};

pub(crate) fn queues_tell_what_is_queued_and_who_is_there() -> Outcome {
    let name = Name::new("queue");
    let queue = Queue::<u32>::options().capacity(9).create(&name)?;
    for n in 0..5 {
        queue.put(n)?;
    }
    assert_eq!(queue.get()?, 0);
    shows(
        &name,
        &[
            ("state", "4 of 9 queued"),
            ("queued", "4"),
            ("capacity", "9"),
            ("producers", "[]"),
            ("consumers", "[]"),
            ("waiting", "0"),
            ("shut down", "false"),
        ],
    );
    let producer = queue.producer()?;
    let child = holding(|| std::mem::forget(queue.consumer().unwrap()));
    shows(
        &name,
        &[
            ("producers", &format!("[{}]", pid())),
            ("consumers", &format!("[{}]", child.pid())),
        ],
    );
    kill(&child);
    shows(&name, &[("consumers", "[]")]);
    drop(producer);
    queue.shut_down();
    shows(
        &name,
        &[("state", "4 of 9 queued, shut down"), ("producers", "[]")],
    );
    let name = Name::new("unbounded");
    let queue = Queue::<Vec<u8>>::create(&name)?;
    for _ in 0..300 {
        queue.put(vec![0; 1000])?;
    }
    shows(&name, &[("state", "300 queued"), ("capacity", "-")]);
    assert_eq!(queue.len(), 300);
    Ok(())
}

pub(crate) fn a_blocked_reader_waits_and_holds_nothing() -> Outcome {
    let name = Name::new("blocked");
    let queue = Queue::<u32>::options().capacity(1).create(&name)?;
    let readers = Process::start_each(0..2, |_| queue.get().map(drop))?;
    until("2 to wait", || {
        said(&["show", &name]).contains("waiting          2 or more")
    });
    assert!(!said(&["show", &name]).contains("held "));
    queue.put(1)?;
    queue.put(2)?;
    for reader in readers {
        reader.join()?.ok()?;
    }
    shows(&name, &[("waiting", "0"), ("state", "0 of 1 queued")]);
    queue.put(3)?;
    let writer = Process::start(|| queue.put(4).map_err(drop))?;
    until("1 to wait", || {
        said(&["show", &name]).contains("waiting          1 or more")
    });
    assert_eq!((queue.get()?, queue.get()?), (3, 4));
    writer.join()?.ok()?;
    Ok(())
}

pub(crate) fn values_arrays_and_lists_are_shown() -> Outcome {
    let name = Name::new("value");
    let value = Value::create(&name, -5_i32)?;
    shows(&name, &[("state", "-5, free"), ("items", "-5")]);
    let guard = value.lock().unwrap();
    shows(&name, &[("state", "-5, held")]);
    drop(guard);
    let name = Name::new("array");
    let _array = Array::<f64>::options().create_from_slice(&name, &[1.5; 20])?;
    let items = format!("{}, …", ["1.5"; 16].join(", "));
    shows(
        &name,
        &[
            ("state", "20 items, free"),
            ("length", "20"),
            ("items", &items),
        ],
    );
    let name = Name::new("raw");
    let _raw = RawArray::<u16>::create(&name, 3)?;
    shows(&name, &[("items", "0, 0, 0")]);
    let name = Name::new("list");
    let _list = ShareableList::create(&name, (0..7).map(Item::from))?;
    shows(&name, &[("state", "7 items, free"), ("length", "7")]);
    let name = Name::new("memory");
    let _memory = SharedMemory::create(&name, 5000)?;
    shows(
        &name,
        &[("kind", "shared memory"), ("body", "5000 bytes (4.9K)")],
    );
    let name = Name::new("atomic");
    let _atomic = Shared::create(&name, AtomicI32::new(-1))?;
    shows(&name, &[("state", "-1")]);
    Ok(())
}

pub(crate) fn own_structs_show_their_header() -> Outcome {
    let name = Name::new("own");
    let pair = Shared::create(
        &name,
        Pair {
            mutex: Mutex::new(0),
            stop: AtomicU32::new(0),
        },
    )?;
    let _held = pair.mutex.lock().unwrap();
    shows(
        &name,
        &[
            ("kind", "Pair"),
            ("mode", "0600"),
            ("lives", "until it is removed"),
            ("attached", &pid().to_string()),
        ],
    );
    Ok(())
}
