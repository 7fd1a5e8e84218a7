//! Events, semaphores, barriers and conditions under SIGKILL: each operation is run by a process
//! that dies at its first named step, then by one that dies at its second, and so on until
//! one comes through; then kills at random, and soaks without any. Nobody hangs, no permit is
//! lost, no wake-up is eaten.
//!
//! `KILLS=5000 SEED=7 SOAK_SECONDS=300 ROUNDS=100000 cargo test --release -p multiproc-tests
//! --test kill_sync` is the long form.

mod barrier;
mod condition;
mod event;
mod scenes;
mod semaphore;
mod soaks;
mod storms;

use barrier::*;
use condition::*;
use event::*;
use multiproc_process::test;
use semaphore::*;
use soaks::*;
use storms::*;

test::main! {
    #[timeout(180)]
    killed_at_each_step_of_set,
    #[timeout(180)]
    killed_at_each_step_of_a_set_that_wakes,
    #[timeout(180)]
    killed_at_each_step_of_a_wait_for_an_event,
    #[timeout(180)]
    killed_at_each_step_of_a_pulse,
    #[timeout(180)]
    killed_at_each_step_of_acquire_and_release,
    #[timeout(180)]
    killed_at_each_step_of_a_release_that_wakes,
    #[timeout(180)]
    killed_at_each_step_of_an_acquire_that_waits,
    #[timeout(180)]
    killed_at_each_step_of_a_permit,
    #[timeout(180)]
    killed_at_each_step_of_a_permit_that_waits,
    #[timeout(180)]
    killed_at_each_step_of_giving_a_permit_that_another_waits_for,
    #[timeout(180)]
    killed_at_each_step_of_getting_the_permits_of_the_dead,
    #[timeout(180)]
    killed_at_each_step_of_arriving_first,
    #[timeout(180)]
    killed_at_each_step_of_arriving_last,
    #[timeout(180)]
    killed_at_each_step_of_a_barrier_timeout,
    #[timeout(180)]
    killed_at_each_step_of_abort_and_reset,
    #[timeout(180)]
    killed_at_each_step_of_breaking_for_the_dead,
    #[timeout(180)]
    a_death_shows_although_another_party_took_the_pulse,
    #[timeout(180)]
    killed_at_each_step_of_a_notify,
    #[timeout(180)]
    killed_at_each_step_of_a_wait_that_is_notified,
    #[timeout(180)]
    killed_at_each_step_of_a_wait_that_times_out,
    #[timeout(180)]
    killed_at_each_step_of_passing_a_notify_on,
    #[timeout(3600)]
    a_storm_over_permits,
    #[timeout(3600)]
    a_storm_over_an_event,
    #[timeout(3600)]
    a_storm_over_a_barrier,
    #[timeout(3600)]
    a_storm_over_conditions,
    #[timeout(3600)]
    soak_condition_ping_pong,
    #[timeout(3600)]
    soak_event_pulses,
    #[timeout(3600)]
    soak_barrier_of_five,
}
