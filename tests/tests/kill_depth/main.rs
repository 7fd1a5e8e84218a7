//! Killed at every step, in depth: growth, rewind and punch, messages larger than the capacity,
//! batches, loans, and tasks: taken, taken again, done, given back, written off. As in
//! `kill_steps`, an operation is run once to count its named steps, and then once per step
//! by a process that dies by SIGKILL exactly there.

mod batches_and_loans;
mod dead;
mod memory;
mod tasks;

use batches_and_loans::*;
use dead::*;
use memory::*;
use multiproc_process::test;
use tasks::*;

test::main! {
    #[timeout(180)]
    killed_at_each_step_of_a_growth_leaves_memory_that_comes_back,
    #[timeout(180)]
    killed_at_each_step_of_a_get_that_trims,
    #[timeout(180)]
    killed_at_each_step_of_a_put_larger_than_the_capacity,
    #[timeout(180)]
    killed_at_each_step_of_a_get_of_a_message_larger_than_the_capacity,
    #[timeout(180)]
    killed_at_each_step_of_put_many,
    #[timeout(180)]
    killed_at_each_step_of_a_put_many_that_wraps,
    #[timeout(180)]
    killed_at_each_step_of_get_many,
    #[timeout(180)]
    killed_at_each_step_of_a_put_loan,
    #[timeout(180)]
    killed_at_each_step_of_a_put_loan_that_is_dropped,
    #[timeout(180)]
    killed_at_each_step_of_a_get_loan,
    #[timeout(180)]
    killed_at_each_step_of_a_get_loan_that_is_given_back,

    #[timeout(180)]
    killed_at_each_step_of_taking_a_task,
    #[timeout(180)]
    killed_at_each_step_of_taking_a_large_task_after_another,
    #[timeout(180)]
    killed_at_each_step_of_taking_a_dead_one_s_task,
    #[timeout(180)]
    killed_at_each_step_of_looking_after_the_dead,
    #[timeout(180)]
    killed_at_each_step_of_making_a_dead_letter,
    #[timeout(180)]
    killed_at_each_step_of_making_a_dead_letter_by_a_join,
    #[timeout(180)]
    killed_at_each_step_of_taking_a_dead_letter,
    #[timeout(180)]
    killed_at_each_step_of_done,
    #[timeout(180)]
    killed_at_each_step_of_a_done_that_wakes_a_join,
    #[timeout(180)]
    killed_at_each_step_of_giving_back,
    #[timeout(180)]
    killed_at_each_step_of_a_counted_get,
    #[timeout(180)]
    killed_at_each_step_of_reporting_a_counted_get,
    #[timeout(180)]
    killed_at_each_step_of_writing_off_what_is_lost,
    #[timeout(180)]
    killed_at_each_step_of_taking_a_dead_workers_place,
}
