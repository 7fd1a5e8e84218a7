//! Messages written and read where they lie.

use crate::made::{MIB, bytes_queue, numbers, with};
use common::*;
use multiproc_process::Process;
use multiproc_queue::{JoinableQueue, NotThatSlice, TryGetError};

pub(crate) fn loans_carry_bytes_and_slices_in_place() -> Outcome {
    let queue = bytes_queue();
    let child = start(|| {
        for n in 0..100 {
            let mut loan = queue.put_loan(80 * n as usize).unwrap();
            let slice = loan.slice_mut::<u64>().unwrap();
            slice.iter_mut().for_each(|word| *word = n);
            loan.commit();
            let mut loan = queue.put_loan(n as usize).unwrap();
            loan.fill(n as u8);
            assert_eq!(loan[..], vec![n as u8; n as usize]);
            loan.commit();
        }
    });
    for n in 0..100 {
        let loan = queue.get_loan()?;
        assert_eq!(loan.slice::<u64>()?, vec![n; 10 * n as usize]);
        drop(loan);
        let loan = queue.get_loan()?;
        assert_eq!(loan[..], vec![n as u8; n as usize]);
        assert_eq!(loan.slice::<u64>().is_ok(), n % 8 == 0);
        loan.done();
    }
    ends_well(&child);
    assert_eq!(queue.len(), 0);
    let mut loan = queue.put_loan(12)?;
    assert_eq!(loan.slice_mut::<u64>(), Err(NotThatSlice));
    loan.slice_mut::<f32>()?.copy_from_slice(&[0.5, 1.5, 2.5]);
    loan.commit();
    assert_eq!(queue.get_loan()?.slice::<f32>()?, [0.5, 1.5, 2.5]);
    // Larger than everything before, and with ordinary puts and gets between.
    let mut loan = queue.put_loan(3 * MIB)?;
    loan.copy_from_slice(&pattern(9, 3 * MIB));
    loan.commit();
    queue.put_bytes(b"after")?;
    assert_eq!(number_of(&queue.get_loan()?), 9);
    assert_eq!(queue.get()?, b"after");
    Ok(())
}

pub(crate) fn a_put_loan_that_is_dropped_is_never_seen() -> Outcome {
    let queue = bytes_queue();
    for n in 0..2000 {
        let mut loan = queue.put_loan(100 + n as usize)?;
        loan.fill(0xff);
        drop(loan);
        assert_eq!(queue.len(), 0);
        if n % 3 == 0 {
            queue.put(pattern(n, 50))?;
            assert_eq!(number_of(&queue.get()?), n);
        }
    }
    assert_eq!(queue.try_get(), Err(TryGetError::Empty));
    Ok(())
}

pub(crate) fn a_get_loan_that_is_given_back_is_the_next_again() -> Outcome {
    let queue = bytes_queue();
    queue.put_bytes(b"one")?;
    queue.put_bytes(b"two")?;
    for _ in 0..3 {
        let loan = queue.get_loan()?;
        assert_eq!(&loan[..], b"one");
        loan.give_back();
        assert_eq!(queue.len(), 2);
    }
    let child = start(|| assert_eq!(&queue.get_loan().unwrap()[..], b"one"));
    ends_well(&child);
    assert_eq!(queue.get()?, b"two");
    Ok(())
}

pub(crate) fn a_put_loan_whose_holder_is_killed_is_never_seen() -> Outcome {
    let (queue, held) = (bytes_queue(), Counter::new());
    for n in 0..20 {
        let holder = start(|| {
            let mut loan = queue.put_loan(5000).unwrap();
            loan.fill(0xee);
            held.count();
            std::mem::forget(loan);
            for_ever()
        });
        held.reach(n + 1);
        let next = start(|| queue.put_bytes(&pattern(n, 300)).unwrap());
        blocked(&next);
        assert_eq!(queue.try_get(), Err(TryGetError::Empty));
        kill(&holder);
        assert_eq!(number_of(&queue.get_timeout(PATIENCE)?), n);
        ends_well(&next);
        assert_eq!(queue.len(), 0);
    }
    Ok(())
}

pub(crate) fn a_get_loan_whose_holder_is_killed_is_delivered_to_the_next() -> Outcome {
    let (queue, held) = (bytes_queue(), Counter::new());
    for n in 0..20 {
        queue.put(pattern(n, 5000))?;
        let holder = start(|| {
            let loan = queue.get_loan().unwrap();
            assert_eq!(number_of(&loan), n);
            held.count();
            std::mem::forget(loan);
            for_ever()
        });
        held.reach(n + 1);
        let next = start(|| assert_eq!(number_of(&queue.get_loan().unwrap()), n));
        blocked(&next);
        assert_eq!(queue.len(), 1);
        kill(&holder);
        ends_well(&next);
        assert_eq!(queue.len(), 0);
    }
    Ok(())
}

pub(crate) fn no_child_is_forked_while_a_loan_is_held() -> Outcome {
    let queue = bytes_queue();
    let loan = queue.put_loan(10)?;
    assert!(Process::start(|| ()).is_err());
    loan.commit();
    let loan = queue.get_loan()?;
    assert!(Process::start(|| ()).is_err());
    drop(loan);
    ends_well(&start(|| ()));
    let tasks = JoinableQueue::from(with(numbers(), 1));
    let task = tasks.get_task()?;
    assert!(Process::start(|| ()).is_err());
    drop(task);
    ends_well(&start(|| ()));
    Ok(())
}
