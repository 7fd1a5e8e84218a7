//! What is left of consumers and producers that were killed.

use common::*;
use multiproc_process::{Exit, Process};
use multiproc_queue::codec::Bytes;
use multiproc_queue::{Queue, SimpleQueue, TryGetError};

/// F3
pub(crate) fn a_consumer_killed_while_blocked_in_get_leaves_the_item_to_the_next() -> Outcome {
    for trial in 0..30 {
        let queue = Queue::<u64>::bounded(4)?;
        // The one waits for data, the other for the first.
        let leader = Process::start(|| queue.get().map(drop))?;
        blocked(&leader);
        let follower = Process::start(|| queue.get().map(drop))?;
        blocked(&follower);
        kill(&leader);
        if trial % 2 == 0 {
            kill(&follower);
            queue.put(trial)?;
            assert_eq!(queue.len(), 1);
            assert_eq!(queue.get()?, trial);
        } else {
            queue.put(trial)?;
            ends_well(&follower);
        }
        assert_eq!(queue.try_get(), Err(TryGetError::Empty));
        let simple = SimpleQueue::<u64>::new()?;
        let consumer = Process::start(|| simple.get().map(drop))?;
        blocked(&consumer);
        kill(&consumer);
        simple.put(trial)?;
        assert_eq!(simple.get()?, trial);
    }
    Ok(())
}

const MIB: usize = 1 << 20;

/// F4
pub(crate) fn consumers_killed_while_draining_large_items_leave_the_queue_usable() -> Outcome {
    let mut dice = Dice::new(4);
    for trial in 0..30 {
        let (tx, rx) = Queue::<Vec<u8>>::options()
            .capacity(4)
            .codec::<Bytes>()
            .build()?
            .split();
        let got = Counter::new();
        let consumer = {
            let rx = rx.clone();
            Process::start(|| {
                let rx = rx;
                for message in &rx {
                    let number = number_of(&message.unwrap());
                    assert_eq!(got.count(), number, "one consumer so far, and in order");
                }
            })?
        };
        let producer = Process::start(move || {
            for number in 0..16 {
                tx.put_bytes(&pattern(number, MIB)).unwrap();
            }
        })?;
        got.reach(1 + dice.below(8));
        spin(dice.below(400));
        kill(&consumer);
        let logged = got.get();
        let rest: Vec<u64> = rx
            .iter()
            .map(|message| number_of(&message.unwrap()))
            .collect();
        ends_well(&producer);
        // What the dead one had in its hands is the only thing that may be missing.
        let first = rest.first().copied().unwrap_or(16);
        assert!(
            first == logged || first == logged + 1,
            "trial {trial}: {logged} taken, then {first}"
        );
        assert!(
            rest.iter().copied().eq(first..16),
            "trial {trial}: {rest:?}"
        );
        assert_eq!(rx.queue().len(), 0);
    }
    Ok(())
}

/// F5
pub(crate) fn the_half_written_item_of_a_killed_producer_is_skipped() -> Outcome {
    let mut dice = Dice::new(5);
    for trial in 0..30 {
        let (tx, rx) = Queue::<Vec<u8>>::options()
            .capacity(4)
            .codec::<Bytes>()
            .build()?
            .split();
        let (returned, put_by_other) = (Counter::new(), 8);
        let victim = {
            let (tx, returned) = (tx.clone(), returned.clone());
            Process::start(move || {
                for number in 0.. {
                    tx.put_bytes(&pattern(number, MIB)).unwrap();
                    returned.count();
                }
            })?
        };
        let other = Process::start(move || {
            for number in 0..put_by_other {
                tx.put_bytes(&pattern(1_000 + number, MIB)).unwrap();
            }
        })?;
        let mut victims = Vec::new();
        let mut others = Vec::new();
        let kill_after = 1 + dice.below(8) as usize;
        let mut killed_at = None;
        for message in &rx {
            let number = number_of(&message?);
            if number < 1_000 {
                &mut victims
            } else {
                &mut others
            }
            .push(number);
            if killed_at.is_none() && victims.len() >= kill_after {
                spin(dice.below(400));
                kill(&victim);
                killed_at = Some(returned.get());
            }
        }
        let returned = killed_at.ok_or("the victim lived on")?;
        assert_eq!(ends(&other), Exit::Code(0));
        assert!(
            others.iter().copied().eq(1_000..1_000 + put_by_other),
            "{others:?}"
        );
        assert!(
            victims.iter().copied().eq(0..victims.len() as u64),
            "{victims:?}"
        );
        let arrived = victims.len() as u64;
        assert!(
            arrived == returned || arrived == returned + 1,
            "trial {trial}: {returned} puts returned, {arrived} arrived"
        );
    }
    Ok(())
}

/// F15
pub(crate) fn a_thousand_puts_then_exit_all_arrive() -> Outcome {
    for _ in 0..30 {
        let (tx, rx) = Queue::<String>::unbounded()?.split();
        let child = Process::start(move || {
            for n in 0..1_000 {
                tx.put(n.to_string()).unwrap();
            }
            exit_now(7);
        })?;
        let mut next = 0;
        for message in &rx {
            assert_eq!(message?, next.to_string());
            next += 1;
        }
        assert_eq!(next, 1_000);
        assert_eq!(ends(&child), Exit::Code(7));
    }
    Ok(())
}
