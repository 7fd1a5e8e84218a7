//! Messages written and read where they lie.

use crate::made::{MOMENT, bytes_pipe, bytes_simplex};
use common::*;
use multiproc_pipe::{NotThatSlice, RecvError, TryRecvError};
use multiproc_process::{Process, StartError};
use std::time::Instant;

pub(crate) fn loans_go_in_place_both_ways() -> Outcome {
    let (here, there) = bytes_pipe();
    let child = start(move || {
        for _ in 0..100 {
            let request = there.recv_loan().unwrap();
            let mut reply = there.send_loan(request.len()).unwrap();
            reply.copy_from_slice(&request);
            reply.reverse();
            reply.commit();
            request.done();
        }
        // Ends of both kinds were held, and nothing is left of that.
        assert_eq!(there.recv(), Err(RecvError::Closed));
    });
    for n in 0..100_usize {
        let mut loan = here.send_loan(n * 100)?;
        for (at, byte) in loan.iter_mut().enumerate() {
            *byte = at as u8;
        }
        loan.commit();
        let reply = here.recv_loan()?;
        assert_eq!(reply.len(), n * 100);
        assert!(reply.iter().rev().enumerate().all(|(at, b)| *b == at as u8));
    }
    drop(here);
    ends_well(&child);
    Ok(())
}

pub(crate) fn a_loan_that_is_dropped_sends_nothing_and_one_given_back_stays() -> Outcome {
    let (rx, tx) = bytes_simplex(1 << 20);
    tx.send_loan(100)?.fill(1);
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    tx.send(pattern(1, 50))?;
    tx.send(pattern(2, 50))?;
    let loan = rx.recv_loan()?;
    assert_eq!(number_of(&loan), 1);
    loan.give_back();
    assert_eq!(number_of(&rx.recv_loan()?), 1);
    // One that dies with a message in its hands leaves it to the others.
    let child = start(|| {
        let loan = rx.recv_loan().unwrap();
        assert_eq!(number_of(&loan), 2);
        kill_me();
    });
    assert_eq!(ends(&child).signal(), Some(9));
    assert_eq!(number_of(&rx.recv()?), 2);
    // And one that dies while it writes leaves nothing.
    let child = start(|| {
        let mut loan = tx.send_loan(100).unwrap();
        loan.fill(3);
        kill_me();
    });
    assert_eq!(ends(&child).signal(), Some(9));
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    tx.send(pattern(4, 8))?;
    assert_eq!(number_of(&rx.recv()?), 4);
    Ok(())
}

pub(crate) fn a_loan_is_a_slice_of_plain_data_where_it_fits() -> Outcome {
    let (rx, tx) = bytes_simplex(1 << 20);
    let child = start(move || {
        let mut loan = tx.send_loan(8 * 100).unwrap();
        for (n, x) in loan.slice_mut::<f64>().unwrap().iter_mut().enumerate() {
            *x = n as f64;
        }
        loan.commit();
        tx.send_bytes(b"seven..").unwrap();
    });
    let loan = rx.recv_loan()?;
    assert_eq!(loan.slice::<f64>()?.iter().sum::<f64>(), 4950.0);
    assert_eq!(loan.slice::<[u8; 16]>()?.len(), 50);
    drop(loan);
    let loan = rx.recv_loan()?;
    assert_eq!(loan.slice::<u32>().unwrap_err(), NotThatSlice);
    drop(loan);
    ends_well(&child);
    Ok(())
}

pub(crate) fn while_a_loan_lives_the_others_wait_and_then_go_on() -> Outcome {
    let (rx, tx) = bytes_simplex(1 << 20);
    tx.send(pattern(1, 10))?;
    tx.send(pattern(2, 10))?;
    let (reads, sends) = (rx.clone(), tx.clone());
    let loan = rx.recv_loan()?;
    let room = tx.send_loan(8)?;
    // No fork while a loan is held: threads are the others here.
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || number_of(&reads.recv().unwrap()));
        let writer = scope.spawn(move || sends.send(pattern(3, 10)).is_ok());
        let waited = Instant::now();
        while waited.elapsed() < MOMENT {
            assert!(!reader.is_finished() && !writer.is_finished());
            std::thread::yield_now();
        }
        drop(room);
        assert_eq!(number_of(&loan), 1);
        drop(loan);
        assert_eq!(reader.join().unwrap(), 2);
        assert!(writer.join().unwrap());
    });
    assert_eq!(number_of(&rx.recv()?), 3);
    Ok(())
}

pub(crate) fn no_fork_while_a_loan_is_held() -> Outcome {
    let (rx, tx) = bytes_simplex(1 << 20);
    tx.send_bytes(b"x")?;
    let room = tx.send_loan(10)?;
    let refused = Process::start(|| ()).map_err(StartError::from);
    assert!(matches!(refused, Err(StartError::HoldsGuard)));
    drop(room);
    let loan = rx.recv_loan()?;
    let refused = Process::start(|| ()).map_err(StartError::from);
    assert!(matches!(refused, Err(StartError::HoldsGuard)));
    drop(loan);
    ends_well(&start(|| ()));
    Ok(())
}
