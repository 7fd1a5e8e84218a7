//! Several users of one end.

use crate::made::{bytes_pipe, bytes_simplex};
use common::*;
use multiproc_pipe::Receiver;
use multiproc_pipe::codec::Bytes;
use std::time::Duration;

/// F12
pub(crate) fn sends_of_two_processes_on_one_end_do_not_mix() -> Outcome {
    const EACH: u64 = 60;
    let (here, there) = bytes_pipe();
    // One clones, one borrows: both send on the same side.
    let copy = there.clone();
    let one = start(move || {
        (0..EACH).for_each(|n| copy.send(pattern(n, 200_000)).unwrap());
    });
    let two = start(|| {
        (0..EACH).for_each(|n| there.send(pattern(n + EACH, 200_000)).unwrap());
    });
    let mut next = [0, EACH];
    for _ in 0..2 * EACH {
        let message = here.recv()?;
        assert_eq!(message.len(), 200_000);
        let number = number_of(&message);
        let whose = usize::from(number >= EACH);
        assert_eq!(number, next[whose], "each one's messages keep their order");
        next[whose] += 1;
    }
    ends_well(&one);
    ends_well(&two);
    assert!(!here.poll(Duration::ZERO)?);
    Ok(())
}

pub(crate) fn receives_of_two_processes_on_one_end_share_the_messages() -> Outcome {
    const ALL: u64 = 2_000;
    let (rx, tx) = bytes_simplex(64 << 10);
    let (sums, counts) = (Counter::new(), Counter::new());
    let (sum, count) = (&sums, &counts);
    let reader = |rx: Receiver<Vec<u8>, Bytes>| {
        start(move || {
            let mut last = None;
            for message in &rx {
                let number = number_of(&message.unwrap());
                assert!(last.replace(number) < Some(number));
                sum.add(number);
                count.count();
            }
        })
    };
    let readers = [reader(rx.clone()), reader(rx.clone())];
    drop(rx);
    (1..=ALL).try_for_each(|n| tx.send(pattern(n, 8 + n as usize % 5_000)))?;
    drop(tx);
    readers.iter().for_each(ends_well);
    assert_eq!((counts.get(), sums.get()), (ALL, ALL * (ALL + 1) / 2));
    Ok(())
}

pub(crate) fn both_ends_shared_by_many_lose_and_double_nothing() -> Outcome {
    const EACH: u64 = 1_000;
    let (rx, tx) = bytes_simplex(8 << 10);
    let had = Counter::new();
    let mut all = Vec::new();
    for who in 0..3 {
        let (tx, dice) = (tx.clone(), Dice::new(who));
        all.push(start(move || {
            let mut dice = dice;
            for n in 0..EACH {
                let len = 8 + dice.below(3_000) as usize;
                tx.send(pattern(who * EACH + n, len)).unwrap();
            }
        }));
    }
    drop(tx);
    for _ in 0..3 {
        let (rx, had) = (rx.clone(), had.clone());
        all.push(start(move || {
            let mut last = [None; 3];
            for message in &rx {
                let number = number_of(&message.unwrap());
                let before = last[(number / EACH) as usize].replace(number);
                assert!(before < Some(number));
                had.count();
            }
        }));
    }
    drop(rx);
    all.iter().for_each(ends_well);
    assert_eq!(had.get(), 3 * EACH);
    Ok(())
}
