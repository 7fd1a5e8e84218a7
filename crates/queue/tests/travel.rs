//! Handles and descriptors as messages.

use common::*;
use multiproc_parcel::Descriptor;
use multiproc_process::{Process, test};
use multiproc_queue::{Consumer, GetError, JoinableQueue, Producer, PutError, Queue, SimpleQueue};
use multiproc_segment::Shared;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

test::main! {
    a_queue_travels_through_a_queue_and_works_there,
    shared_objects_and_other_queues_travel,
    what_the_sender_dropped_still_arrives_also_after_its_death,
    an_os_pipe_travels_and_its_end_of_file_is_told,
    a_registered_end_travels_and_nobody_sees_an_end_of_stream_too_early,
    an_end_whose_sender_died_is_closed,
    an_end_that_could_not_be_sent_is_given_back,
    descriptors_stay_with_their_messages_in_any_order_of_readers,
    batches_with_handles_keep_their_order,
    more_messages_with_descriptors_than_the_kernel_keeps_wait_for_room,
    without_a_courier_handles_are_refused_by_a_sentence,
    too_many_descriptors_in_one_message_are_refused,
    a_reader_without_descriptors_left_loses_nothing,
    nothing_leaks,
    the_wrong_type_is_refused,
}

fn a_queue_travels_through_a_queue_and_works_there() -> Outcome {
    let post = Queue::<Queue<String>>::bounded(4)?;
    let child = Process::start(|| {
        let answers = post.get().unwrap();
        answers.put("made it".into()).unwrap();
    })?;
    // Made after the fork: the child can have it through the message alone.
    let answers = Queue::<String>::bounded(4)?;
    post.put(answers.clone())?;
    assert_eq!(answers.get()?, "made it");
    ends_well(&child);
    Ok(())
}

fn shared_objects_and_other_queues_travel() -> Outcome {
    type All = (Shared<AtomicU32>, JoinableQueue<u8>, SimpleQueue<u8>);
    let post = Queue::<All>::unbounded()?;
    let child = Process::start(|| {
        let (number, jobs, simple) = post.get().unwrap();
        number.fetch_add(41, SeqCst);
        simple.put(jobs.get().unwrap() + 1).unwrap();
        jobs.task_done().unwrap();
    })?;
    let number = Shared::new(AtomicU32::new(1))?;
    let (jobs, simple) = (JoinableQueue::unbounded()?, SimpleQueue::new()?);
    jobs.put(6)?;
    let handles: All = (number.clone(), jobs.queue().clone().into(), simple);
    let again = Queue::<All>::unbounded()?;
    again.put(handles)?;
    post.put(again.get()?)?; // through this process, too
    jobs.join()?;
    ends_well(&child);
    assert_eq!(number.load(SeqCst), 42);
    Ok(())
}

fn what_the_sender_dropped_still_arrives_also_after_its_death() -> Outcome {
    let post = Queue::<Queue<u32>>::bounded(4)?;
    let child = Process::start(|| {
        let made_here = Queue::<u32>::unbounded().unwrap();
        made_here.put(7).unwrap();
        post.put(made_here).unwrap();
        kill_me();
    })?;
    assert_eq!(child.join()?.signal(), Some(9));
    assert_eq!(post.get()?.get()?, 7);
    Ok(())
}

fn an_os_pipe_travels_and_its_end_of_file_is_told() -> Outcome {
    let post = Queue::<Descriptor<PipeWriter>>::bounded(4)?;
    let child = Process::start(|| {
        let Descriptor(mut pipe) = post.get().unwrap();
        write!(pipe, "through").unwrap();
    })?;
    let (mut reader, writer): (PipeReader, PipeWriter) = std::io::pipe()?;
    post.put(Descriptor(writer))?;
    let mut text = String::new();
    // Ends only if no copy of the writing end is left anywhere.
    reader.read_to_string(&mut text)?;
    assert_eq!(text, "through");
    ends_well(&child);
    Ok(())
}

fn a_registered_end_travels_and_nobody_sees_an_end_of_stream_too_early() -> Outcome {
    let post = Queue::<Producer<u32>>::bounded(4)?;
    let (tx, rx) = Queue::<u32>::bounded(4)?.split();
    let child = Process::start(|| {
        let tx = post.get().unwrap();
        (0..1_000).for_each(|n| tx.put(n).unwrap());
    })?;
    post.put(tx)?; // and is gone here
    let got: Vec<u32> = rx.iter().collect::<Result<_, _>>()?;
    assert_eq!(got.len(), 1_000);
    ends_well(&child);
    // The other kind of end: its producer hears when the receiver has gone.
    let post = Queue::<Consumer<u32>>::bounded(4)?;
    let (tx, rx) = Queue::<u32>::bounded(1)?.split();
    let child = Process::start(|| {
        let rx = post.get().unwrap();
        assert_eq!(rx.get(), Ok(1));
    })?;
    post.put(rx)?;
    tx.put(1)?;
    let refused = loop {
        match tx.put(2) {
            Ok(()) => {}
            Err(refused) => break refused,
        }
    };
    assert!(matches!(refused, PutError::Closed(2)));
    ends_well(&child);
    Ok(())
}

fn an_end_whose_sender_died_is_closed() -> Outcome {
    let post = Queue::<Producer<u32>>::bounded(4)?;
    let (tx, rx) = Queue::<u32>::bounded(4)?.split();
    let child = Process::start(move || {
        tx.put(1).unwrap();
        post.put(tx).unwrap();
        post.put(rx_of_nobody()).unwrap();
        kill_me();
    });
    // `post` went with the closure as well: what it holds is gone with the child.
    assert_eq!(child?.join()?.signal(), Some(9));
    assert_eq!(rx.get()?, 1);
    assert_eq!(rx.get(), Err(GetError::Closed));

    let post = Queue::<Producer<u32>>::bounded(4)?;
    let child = Process::start(|| {
        post.put(rx_of_nobody()).unwrap();
        kill_me();
    })?;
    assert_eq!(child.join()?.signal(), Some(9));
    let refused = post.get().unwrap_err();
    assert!(refused.to_string().contains("closed"), "{refused}");
    Ok(())
}

fn rx_of_nobody() -> Producer<u32> {
    Queue::<u32>::bounded(4).unwrap().producer().unwrap()
}

fn an_end_that_could_not_be_sent_is_given_back() -> Outcome {
    let post = Queue::<Producer<u32>>::bounded(1)?;
    let (tx, rx) = Queue::<u32>::bounded(4)?.split();
    post.put(rx_of_nobody())?;
    let tx = post.try_put(tx).unwrap_err().into_message();
    tx.put(1)?;
    drop(tx); // the only one: the slot of the message that was not sent is closed, too
    assert_eq!(rx.get()?, 1);
    assert_eq!(rx.get(), Err(GetError::Closed));
    Ok(())
}

fn numbered(n: usize) -> (usize, Descriptor<PipeReader>) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    write!(writer, "{n}").unwrap();
    (n, Descriptor(reader))
}

fn is_its_own((n, Descriptor(mut reader)): (usize, Descriptor<PipeReader>)) -> usize {
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, n.to_string());
    n
}

fn descriptors_stay_with_their_messages_in_any_order_of_readers() -> Outcome {
    let post = Queue::<(usize, Descriptor<PipeReader>)>::bounded(8)?;
    let sums = Queue::<usize>::unbounded()?;
    let readers = Process::start_each(0..3, |_| {
        let mut sum = 0;
        loop {
            match is_its_own(post.get().unwrap()) {
                0 => break sums.put(sum).unwrap(),
                n => sum += n,
            }
        }
    })?;
    let writers = Process::start_each(0..2, |_| {
        (1..=500).for_each(|n| post.put(numbered(n)).unwrap());
    })?;
    writers.iter().for_each(ends_well);
    (0..3).try_for_each(|_| post.put(numbered(0)))?;
    readers.iter().for_each(ends_well);
    let sum: usize = (0..3).map(|_| sums.get().unwrap()).sum();
    assert_eq!(sum, 2 * 500 * 501 / 2);
    Ok(())
}

fn batches_with_handles_keep_their_order() -> Outcome {
    let post = Queue::<(usize, Option<Descriptor<PipeReader>>)>::unbounded()?;
    let message = |n: usize| match n % 3 {
        0 => (n, Some(numbered(n).1)),
        _ => (n, None),
    };
    post.put_many((0..60).map(message))?;
    let mut next = 0;
    while next < 60 {
        for (n, pipe) in post.get_many(16)? {
            assert_eq!(n, next);
            assert_eq!(pipe.is_some(), n % 3 == 0);
            pipe.map(|pipe| is_its_own((n, pipe)));
            next += 1;
        }
    }
    Ok(())
}

fn more_messages_with_descriptors_than_the_kernel_keeps_wait_for_room() -> Outcome {
    let post = Queue::<(usize, Descriptor<PipeReader>)>::unbounded()?;
    let refused = (1..).find(|n| post.try_put(numbered(*n)).is_err()).unwrap();
    println!("{refused} on their way");
    let reader = Process::start(|| {
        (1..5_000).for_each(|n| assert_eq!(is_its_own(post.get().unwrap()), n));
    })?;
    (refused..5_000).try_for_each(|n| post.put(numbered(n)))?;
    ends_well(&reader);
    Ok(())
}

fn without_a_courier_handles_are_refused_by_a_sentence() -> Outcome {
    let post = Queue::<Queue<u8>>::options().without_courier().build()?;
    let inner = Queue::<u8>::bounded(1)?;
    let refused = post.put(inner.clone()).unwrap_err();
    assert!(refused.to_string().contains("cannot travel"), "{refused}");
    assert!(refused.into_message().put(1).is_ok());
    assert!(post.is_empty());
    Ok(())
}

fn too_many_descriptors_in_one_message_are_refused() -> Outcome {
    let post = Queue::<Vec<Descriptor<OwnedFd>>>::unbounded()?;
    let null: OwnedFd = std::fs::File::open("/dev/null")?.into();
    let many = |n: usize| -> Vec<_> {
        let copies = (0..n).map(|_| Descriptor(null.as_fd().try_clone_to_owned().unwrap()));
        copies.collect()
    };
    post.put(many(253))?;
    let refused = post.put(many(254)).unwrap_err();
    assert!(refused.to_string().contains("253"), "{refused}");
    assert_eq!(post.get()?.len(), 253);
    Ok(())
}

fn a_reader_without_descriptors_left_loses_nothing() -> Outcome {
    let post = Queue::<(usize, Descriptor<PipeReader>)>::unbounded()?;
    post.put(numbered(1))?;
    limit(libc::RLIMIT_NOFILE, open_descriptors() as u64 + 8);
    let mut taken = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        taken.push(file);
    }
    assert_eq!(
        post.try_get().unwrap_err().to_string(),
        GetError::NoDescriptors.to_string()
    );
    drop(taken);
    assert_eq!(is_its_own(post.get()?), 1);
    Ok(())
}

fn nothing_leaks() -> Outcome {
    let post = Queue::<(Queue<u8>, Descriptor<PipeReader>)>::unbounded()?;
    let round = || -> Outcome {
        for _ in 0..50 {
            post.put((Queue::bounded(1)?, numbered(1).1))?;
        }
        for _ in 0..50 {
            post.get()?;
        }
        let child = Process::start(|| {
            post.put((Queue::bounded(1).unwrap(), numbered(1).1))
                .unwrap();
            kill_me();
        })?;
        assert_eq!(child.join()?.signal(), Some(9));
        let child = Process::start(|| {
            drop(post.get().unwrap());
            kill_me();
        })?;
        assert_eq!(child.join()?.signal(), Some(9));
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
    maps.lines()
        .filter(|line| line.contains("multiproc"))
        .count()
}

fn the_wrong_type_is_refused() -> Outcome {
    let queue = Queue::<u32>::bounded(1)?;
    let (bytes, parcel) = multiproc_parcel::pack(|| postcard::to_allocvec(&queue));
    let refused = multiproc_parcel::unpack(parcel.into_descriptors(), || {
        postcard::from_bytes::<Queue<String>>(&bytes.unwrap()).err()
    });
    assert!(refused.is_some());
    let why = multiproc_parcel::take_reason().unwrap();
    assert!(
        why.contains("Queue<u32>") && why.contains("Queue<String>"),
        "{why}"
    );
    Ok(())
}
