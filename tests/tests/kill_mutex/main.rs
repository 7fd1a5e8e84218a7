//! Killed at every step of a lock: acquire, contended acquire, release, recovery, of `Mutex`,
//! `Lock`, `RwLock` and `RLock`. Each operation is run once to count its named steps, and then
//! once per step by a process that dies by SIGKILL exactly there. The survivors must get the
//! lock, and be told exactly if its holder died. Then kills at random over all of them.

mod lock;
mod mutex;
mod pair;
mod rlock;
mod rwlock;
mod storm;

use lock::*;
use multiproc_process::test;
use mutex::*;
use rlock::*;
use rwlock::*;
use storm::*;

test::main! {
    #[timeout(180)]
    f2_mutex_killed_at_each_step_of_acquire_and_release,
    #[timeout(180)]
    f2_mutex_killed_at_each_step_of_a_contended_acquire,
    #[timeout(180)]
    f2_mutex_killed_at_each_step_of_an_acquire_that_times_out,
    #[timeout(180)]
    f2_mutex_killed_at_each_step_of_a_release_that_wakes,
    #[timeout(180)]
    f2_mutex_killed_at_each_step_of_recovery,
    #[timeout(180)]
    f1_lock_killed_at_each_step_of_acquire_and_release,
    #[timeout(180)]
    f1_lock_killed_at_each_step_of_a_contended_acquire,
    #[timeout(180)]
    f1_lock_killed_at_each_step_of_a_release_that_wakes,
    #[timeout(180)]
    f1_lock_killed_at_each_step_of_recovery,
    #[timeout(180)]
    f1_lock_killed_at_each_step_of_releasing_what_a_dead_one_held,
    #[timeout(180)]
    rwlock_killed_at_each_step_of_reading,
    #[timeout(180)]
    rwlock_killed_at_each_step_of_writing,
    #[timeout(180)]
    rwlock_killed_at_each_step_of_a_write_that_waits_for_a_reader,
    #[timeout(180)]
    rwlock_killed_at_each_step_of_a_reader_that_leaves_a_waiting_writer,
    #[timeout(180)]
    rwlock_killed_at_each_step_of_clearing_a_dead_reader,
    #[timeout(180)]
    rwlock_killed_at_each_step_of_recovery,
    #[timeout(180)]
    f2_rlock_killed_at_each_step_of_acquire_and_release,
    #[timeout(180)]
    f2_rlock_killed_at_each_step_of_a_contended_acquire,
    #[timeout(180)]
    f2_rlock_killed_at_each_step_of_release_all_and_restore,
    #[timeout(180)]
    f2_rlock_killed_at_each_step_of_recovery,
    #[timeout(600)]
    killed_at_random_nothing_is_torn_unnoticed,
}
