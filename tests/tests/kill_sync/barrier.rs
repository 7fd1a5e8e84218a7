//! Killed around a barrier.

use crate::scenes::at_each_step;
use common::*;
use multiproc_barrier::{Barrier, BrokenBarrier};
use multiproc_core::step;
use multiproc_process::{Exit, Process};
use multiproc_tests::{came_through, victim};
use std::time::Duration;

#[track_caller]
pub(crate) fn barrier_works<const N: usize>(b: &Barrier<N>) {
    b.reset();
    assert_eq!((b.waiting(), b.is_broken()), (0, false));
    let parties = b.parties();
    let others: Vec<Process> = (1..parties)
        .map(|_| start(|| (0..5).for_each(|_| assert!(b.wait_timeout(PATIENCE).is_ok()))))
        .collect();
    (0..5).for_each(|_| assert!(b.wait_timeout(PATIENCE).is_ok()));
    others.iter().for_each(ends_well);
    assert_eq!((b.waiting(), b.is_broken()), (0, false));
}

fn outcome<const N: usize>(b: &Barrier<N>) -> Process {
    start(|| b.wait().is_ok() as i32)
}

pub(crate) fn killed_at_each_step_of_arriving_first() {
    at_each_step(6, |n| {
        let b = shared(Barrier::<4>::sized(3));
        let dies = victim(n, || _ = b.wait());
        let there = blocked_or_gone(&dies) || b.waiting() == 1;
        let others = [outcome(&b), outcome(&b)];
        let through = there && came_through(&dies);
        if there {
            // All were there: it was killed before or after the round was over.
            let codes = others.each_ref().map(|other| ends(other).code());
            assert!(codes == [1, 1] || codes == [0, 0] && !through, "{codes:?}");
        } else {
            // Not there: the two wait for it.
            others.iter().for_each(blocked);
            b.abort();
            others
                .iter()
                .for_each(|other| assert_eq!(ends(other), Exit::Code(0)));
        }
        barrier_works(&b);
        through
    });
}

pub(crate) fn killed_at_each_step_of_arriving_last() {
    at_each_step(10, |n| {
        let b = shared(Barrier::<4>::sized(3));
        let others = [outcome(&b), outcome(&b)];
        others.iter().for_each(blocked);
        let dies = victim(n, || _ = b.wait_with(|| step!("test: in the action")));
        let through = came_through(&dies);
        if !through && b.waiting() == 2 && !b.is_broken() {
            // It was not there.
            assert!(others.iter().all(Process::is_alive));
            b.abort();
        }
        let codes = others.each_ref().map(|other| ends(other).code());
        assert!(codes == [1, 1] || codes == [0, 0] && !through, "{codes:?}");
        barrier_works(&b);
        through
    });
}

pub(crate) fn killed_at_each_step_of_a_barrier_timeout() {
    at_each_step(8, |n| {
        let b = shared(Barrier::<4>::sized(3));
        let other = outcome(&b);
        blocked(&other);
        let short = Duration::from_millis(2);
        let dies = victim(n, || assert_eq!(b.wait_timeout(short), Err(BrokenBarrier)));
        let through = came_through(&dies);
        if !through && b.waiting() == 1 && !b.is_broken() {
            b.abort();
        }
        assert_eq!(ends(&other), Exit::Code(0));
        barrier_works(&b);
        through
    });
}

pub(crate) fn killed_at_each_step_of_abort_and_reset() {
    at_each_step(3, |n| {
        let b = shared(Barrier::<4>::sized(3));
        let others = [outcome(&b), outcome(&b)];
        others.iter().for_each(blocked);
        let through = came_through(&victim(n, || {
            b.abort();
            b.reset();
        }));
        others
            .iter()
            .for_each(|other| assert_eq!(ends(other), Exit::Code(0)));
        barrier_works(&b);
        through
    });
}

/// The recovery itself: one who waits is killed, and so is the one who finds that out.
pub(crate) fn killed_at_each_step_of_breaking_for_the_dead() {
    at_each_step(8, |n| {
        let b = shared(Barrier::<4>::sized(4));
        let first = start(|| _ = b.wait());
        blocked(&first);
        let finds_out = victim(n, || assert_eq!(b.wait(), Err(BrokenBarrier)));
        let there = blocked_or_gone(&finds_out);
        let other = outcome(&b);
        blocked(&other);
        kill(&first);
        assert_eq!(ends(&other), Exit::Code(0));
        let through = came_through(&finds_out);
        assert!(there || !through);
        barrier_works(&b);
        through
    });
}

/// A party that has not yet come back from the last turn keeps its pulse, so the first one of
/// this turn has the second's. That one dies; the second one finds the pulse of a dead process
/// in its place, and must not pass it off as its own: all would be released, as if the dead
/// one had been there.
pub(crate) fn a_death_shows_although_another_party_took_the_pulse() {
    at_each_step(10, |n| {
        let b = shared(Barrier::<3>::sized(3));
        let twice = || {
            assert!(b.wait().is_ok());
            i32::from(b.wait().is_ok())
        };
        let late = start(twice);
        blocked(&late);
        send_signal(&late, libc::SIGSTOP);
        until("it to be stopped", || state_of(late.pid()) == Some('T'));
        let dies = start(twice);
        until("it to wait", || b.waiting() == 2);
        assert!(b.wait().is_ok());
        until("it to wait again", || b.waiting() == 1);
        kill(&dies);
        let heir = victim(n, || assert_eq!(b.wait(), Err(BrokenBarrier)));
        until("another one to wait, or to know", || {
            b.waiting() == 2 || !heir.is_alive()
        });
        send_signal(&late, libc::SIGCONT);
        assert_eq!(ends(&late), Exit::Code(0), "released without the dead one");
        let through = came_through(&heir);
        barrier_works(&b);
        through
    });
}
