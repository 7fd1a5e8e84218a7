//! Values, arrays, memory and lists as messages.

use common::{Outcome, blocked, ends_well, kill, kill_me, open_descriptors};
use multiproc_lock::Mutex;
use multiproc_pipe::Pipe;
use multiproc_process::{Process, test};
use multiproc_queue::Queue;
use multiproc_segment::Shared;
use multiproc_value::{
    Array, Item, RawArray, RawValue, ShareableList, SharedMemory, UnderError, Value,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

test::main! {
    each_of_them_goes_through_a_queue_and_is_the_same_object,
    each_of_them_goes_through_a_connection_and_back,
    what_the_sender_dropped_still_arrives_also_after_its_death,
    a_given_lock_goes_along_and_is_one_for_all,
    a_holders_death_is_told_through_what_came_in_a_message,
    a_shared_mutex_is_a_message_too,
    names_keep_working,
    the_wrong_type_is_refused,
    a_lock_that_is_not_the_makers_is_refused,
    outside_of_a_message_they_are_refused,
    nothing_leaks,
}

/// One of each.
#[derive(Serialize, Deserialize)]
struct All {
    value: Value<u64>,
    flag: Value<bool>,
    array: Array<u32>,
    raw_value: RawValue<f64>,
    raw_array: RawArray<[u8; 3]>,
    memory: SharedMemory,
    list: ShareableList,
}

impl All {
    fn new() -> Outcome<All> {
        Ok(All {
            value: Value::new(1_u64)?,
            flag: Value::new(false)?,
            array: Array::zeroed(1_000)?,
            raw_value: RawValue::new(0.5)?,
            raw_array: RawArray::zeroed(7)?,
            memory: SharedMemory::anonymous(5_000)?,
            list: ShareableList::new(["text".into(), 1.into(), Item::None])?,
        })
    }

    /// Handles on the same objects.
    fn again(&self) -> All {
        All {
            value: self.value.clone(),
            flag: self.flag.clone(),
            array: self.array.clone(),
            raw_value: self.raw_value.clone(),
            raw_array: self.raw_array.clone(),
            memory: self.memory.clone(),
            list: self.list.clone(),
        }
    }

    fn change(&self) {
        *self.value.lock().unwrap() += 41;
        self.flag.set(true).unwrap();
        self.array.lock().unwrap()[999] = 9;
        self.raw_value.set(1.5);
        self.raw_array.set(6, [1, 2, 3]).unwrap();
        self.memory.write_at(4_990, b"0123456789").unwrap();
        self.list.set(2, "more").unwrap();
    }

    fn assert_changed(&self) {
        assert_eq!(self.value.get().unwrap(), 42);
        assert!(self.flag.get().unwrap());
        assert_eq!((self.array.len(), self.array.get(999).unwrap()), (1_000, 9));
        assert_eq!(self.raw_value.get(), 1.5);
        assert_eq!(self.raw_array.len(), 7);
        assert_eq!(self.raw_array.get(6).unwrap(), [1, 2, 3]);
        assert_eq!(self.memory.size(), 5_000);
        assert_eq!(self.memory.read_vec(4_990, 10).unwrap(), b"0123456789");
        assert_eq!(self.list.get(0).unwrap(), Item::from("text"));
        assert_eq!(self.list.get(2).unwrap(), Item::from("more"));
    }
}

fn each_of_them_goes_through_a_queue_and_is_the_same_object() -> Outcome {
    let post = Queue::<All>::bounded(4)?;
    let child = Process::start(|| post.get().unwrap().change())?;
    // Made after the fork: the child can have them through the message alone.
    let all = All::new()?;
    post.put(all.again())?;
    ends_well(&child);
    all.assert_changed();
    Ok(())
}

fn each_of_them_goes_through_a_connection_and_back() -> Outcome {
    let (left, right) = Pipe::<All>::duplex()?;
    let child = Process::start(move || {
        let all = right.recv().unwrap();
        all.change();
        right.send(all).unwrap();
    })?;
    left.send(All::new()?)?;
    left.recv()?.assert_changed();
    ends_well(&child);
    Ok(())
}

fn what_the_sender_dropped_still_arrives_also_after_its_death() -> Outcome {
    let post = Queue::<All>::bounded(4)?;
    let child = Process::start(|| {
        let all = All::new().unwrap();
        all.change();
        post.put(all).unwrap();
        kill_me();
    })?;
    assert_eq!(child.join()?.signal(), Some(9));
    post.get()?.assert_changed();
    Ok(())
}

type UnderOne = (Shared<Mutex<()>>, Value<i64>, Array<i64>);

fn a_given_lock_goes_along_and_is_one_for_all() -> Outcome {
    let post = Queue::<Option<UnderOne>>::bounded(4)?;
    let (held, holds) = Pipe::<()>::simplex()?;
    let child = Process::start(|| {
        let (lock, value, array) = post.get().unwrap().unwrap();
        let mut guard = lock.lock().unwrap();
        *value.under(&mut guard).unwrap() -= 30;
        array.under(&mut guard).unwrap()[3] += 30;
        let other = Value::new(0).unwrap();
        assert_eq!(other.under(&mut guard).unwrap_err(), UnderError::OtherLock);
        holds.send(()).unwrap();
        assert!(post.get().unwrap().is_none());
    })?;
    let lock = Shared::new(Mutex::new(()))?;
    let value = Value::options().lock(&lock).build(100_i64)?;
    let array = Array::<i64>::options().lock(&lock).zeroed(10)?;
    post.put(Some((lock.clone(), value.clone(), array.clone())))?;
    held.recv()?;
    assert!(lock.try_lock().is_err(), "the child holds this very lock");
    assert!(value.try_lock().is_err() && array.try_lock().is_err());
    post.put(None)?;
    ends_well(&child);
    assert_eq!((value.get().unwrap(), array.get(3).unwrap()), (70, 30));
    Ok(())
}

fn a_holders_death_is_told_through_what_came_in_a_message() -> Outcome {
    let post = Queue::<Value<u32>>::bounded(4)?;
    let (held, holds) = Pipe::<()>::simplex()?;
    let child = Process::start(|| {
        let value = post.get().unwrap();
        let mut guard = value.lock().unwrap();
        *guard = 1;
        holds.send(()).unwrap();
        let _ = post.get(); // for ever
    })?;
    let value = Value::new(0_u32)?;
    post.put(value.clone())?;
    held.recv()?;
    blocked(&child);
    kill(&child);
    let died = value.get().unwrap_err().into_guard();
    died.expect("the owner died").mended();
    assert_eq!(value.get().unwrap(), 1);
    Ok(())
}

fn a_shared_mutex_is_a_message_too() -> Outcome {
    let post = Queue::<Shared<Mutex<u32>>>::bounded(4)?;
    let child = Process::start(|| {
        let mutex = post.get().unwrap();
        *mutex.lock().unwrap() += 1;
        std::mem::forget(mutex.lock().unwrap());
        kill_me();
    })?;
    let mutex = Shared::new(Mutex::new(41_u32))?;
    post.put(mutex.clone())?;
    assert_eq!(child.join()?.signal(), Some(9));
    let died = mutex.lock().unwrap_err();
    assert_eq!(*died.into_guard(), 42);
    Ok(())
}

fn names_keep_working() -> Outcome {
    let name = test::unique;
    let post = Queue::<(Value<u32>, ShareableList, SharedMemory)>::bounded(4)?;
    let child = Process::start(|| {
        let (value, list, memory) = post.get().unwrap();
        value.set(7).unwrap();
        list.set(0, 8).unwrap();
        // By the name that came with it.
        let again = SharedMemory::open(memory.name().unwrap()).unwrap();
        again.write_at(0, &[9]).unwrap();
        assert_eq!(memory.read_vec(0, 1).unwrap(), [9]);
    })?;
    let (of_value, of_list, of_memory) = (name("value"), name("list"), name("memory"));
    post.put((
        Value::create(&of_value, 1)?,
        ShareableList::create(&of_list, [1.into()])?,
        SharedMemory::create(&of_memory, 100)?,
    ))?;
    ends_well(&child);
    assert_eq!(Value::<u32>::open(&of_value)?.get().unwrap(), 7);
    assert_eq!(ShareableList::open(&of_list)?.get(0)?, Item::Int(8));
    assert_eq!(SharedMemory::open(&of_memory)?.read_vec(0, 1)?, [9]);

    // What was sent before the name was removed arrives after it.
    let memory = SharedMemory::open(&of_memory)?;
    post.put((
        Value::open(&of_value)?,
        ShareableList::open(&of_list)?,
        memory,
    ))?;
    for name in [&of_value, &of_list, &of_memory] {
        multiproc_segment::unlink(name)?;
    }
    let (value, list, memory) = post.get()?;
    assert_eq!(value.get().unwrap(), 7);
    assert_eq!(list.get(0)?, Item::Int(8));
    assert_eq!(memory.name(), Some(of_memory.as_str()));
    assert_eq!(memory.read_vec(0, 1)?, [9]);
    Ok(())
}

/// Sends `sent` to somebody who expects a `G`; why that fails.
fn refusal<G: DeserializeOwned>(sent: &impl Serialize) -> String {
    let (bytes, parcel) = multiproc_parcel::pack(|| postcard::to_allocvec(sent));
    let got = multiproc_parcel::unpack(parcel.into_descriptors(), || {
        postcard::from_bytes::<G>(&bytes.unwrap()).err()
    });
    assert!(got.is_some(), "a {} was had", std::any::type_name::<G>());
    multiproc_parcel::take_reason().unwrap()
}

fn the_wrong_type_is_refused() -> Outcome {
    let value = Value::new(1_u32)?;
    let why = refusal::<Value<f32>>(&value);
    assert!(
        why.contains("Value<u32>") && why.contains("Value<f32>"),
        "{why}"
    );
    let why = refusal::<Array<u32>>(&value);
    assert!(why.contains("Array<u32>"), "{why}");
    refusal::<Value<u32>>(&Array::<u32>::zeroed(1)?);
    refusal::<Array<u64>>(&Array::<u32>::zeroed(2)?);
    refusal::<RawValue<i16>>(&RawValue::new(1_u16)?);
    refusal::<RawArray<u16>>(&RawValue::new(1_u16)?);
    refusal::<RawValue<u16>>(&RawArray::<u16>::zeroed(1)?);
    refusal::<ShareableList>(&SharedMemory::anonymous(4_096)?);
    // Memory's message has a name in it, which a list's has not.
    refusal::<SharedMemory>(&(ShareableList::new([1.into()])?, None::<String>));
    refusal::<Shared<Mutex<()>>>(&ShareableList::new([1.into()])?);
    Ok(())
}

/// A value's message, by hand.
#[derive(Serialize)]
struct Forged<'a>(&'a Shared<Mutex<()>>, Option<&'a Shared<Mutex<()>>>);

fn a_lock_that_is_not_the_makers_is_refused() -> Outcome {
    let (mine, other) = (Shared::new(Mutex::new(()))?, Shared::new(Mutex::new(()))?);
    let value = Value::options().lock(&mine).build(1_u8)?;
    // The descriptors in the order of a value's message; the lock is another one.
    let (_, parcel) = multiproc_parcel::pack(|| postcard::to_allocvec(&(&value, &other)));
    let mut fds = parcel.into_descriptors();
    assert_eq!(fds.len(), 3);
    fds.swap(1, 2);
    let bytes = postcard::to_allocvec(&(0_u32, Some(1_u32)))?;
    let got = multiproc_parcel::unpack(fds, || postcard::from_bytes::<Value<u8>>(&bytes).err());
    assert!(got.is_some());
    let why = multiproc_parcel::take_reason().unwrap();
    assert!(why.contains("under the lock in file"), "{why}");
    // No lock where one was given, and the reverse.
    refusal::<Value<u8>>(&Forged(&mine, None));
    refusal::<Value<u8>>(&Forged(&mine, Some(&other)));
    Ok(())
}

fn outside_of_a_message_they_are_refused() -> Outcome {
    assert!(postcard::to_allocvec(&Value::new(1_u8)?).is_err());
    assert!(postcard::to_allocvec(&ShareableList::new([1.into()])?).is_err());
    assert!(postcard::from_bytes::<Array<u8>>(&[0, 0]).is_err());
    Ok(())
}

fn nothing_leaks() -> Outcome {
    let post = Queue::<All>::unbounded()?;
    let round = || -> Outcome {
        for _ in 0..20 {
            post.put(All::new()?)?;
        }
        for _ in 0..20 {
            post.get()?;
        }
        let child = Process::start(|| {
            post.put(All::new().unwrap()).unwrap();
            kill_me();
        })?;
        assert_eq!(child.join()?.signal(), Some(9));
        post.get()?;
        Ok(())
    };
    round()?;
    let before = (open_descriptors(), maps());
    for _ in 0..10 {
        round()?;
    }
    assert_eq!((open_descriptors(), maps()), before);
    Ok(())
}

fn maps() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let ours = maps.lines().filter(|line| line.contains("multiproc"));
    ours.count()
}
