//! Killed at every step: each operation of a queue is run once to count its named steps, and
//! then once per step by a process that dies by SIGKILL exactly there. The survivors must find
//! everything in order: nobody hangs, what was committed is there once, what was not is not.

mod closing;
mod get;
mod put;
mod queues;
mod registration;
mod tasks;

use closing::*;
use get::*;
use multiproc_process::test;
use put::*;
use registration::*;
use tasks::*;

test::main! {
    #[timeout(180)]
    killed_at_each_step_of_put,
    #[timeout(180)]
    killed_at_each_step_of_a_put_that_wakes_a_sleeping_reader,
    #[timeout(180)]
    killed_at_each_step_of_a_put_that_grows_the_window,
    #[timeout(180)]
    killed_at_each_step_of_a_put_that_wraps,
    #[timeout(180)]
    killed_at_each_step_of_a_put_that_jumps_above_the_reader,
    #[timeout(180)]
    killed_at_each_step_of_a_put_that_repairs_after_another_death,
    #[timeout(180)]
    killed_at_each_step_of_a_put_that_waits_for_room,
    #[timeout(180)]
    killed_at_each_step_of_a_put_that_times_out,
    #[timeout(180)]
    killed_at_each_step_of_get,
    #[timeout(180)]
    killed_at_each_step_of_a_get_that_follows_a_jump,
    #[timeout(180)]
    killed_at_each_step_of_a_get_that_makes_room_for_a_waiting_writer,
    #[timeout(180)]
    killed_at_each_step_of_a_get_that_waits_for_data,
    #[timeout(180)]
    killed_at_each_step_of_a_get_that_waits_second_in_line,
    #[timeout(180)]
    killed_at_each_step_of_a_get_that_times_out,
    #[timeout(180)]
    killed_at_each_step_of_task_done,
    #[timeout(180)]
    killed_at_each_step_of_a_task_done_that_wakes_a_join,
    #[timeout(180)]
    killed_at_each_step_of_a_join_that_is_woken,
    #[timeout(180)]
    killed_at_each_step_of_len_after_a_death,
    #[timeout(180)]
    killed_at_each_step_of_close,
    #[timeout(180)]
    killed_at_each_step_of_shut_down,
    #[timeout(180)]
    killed_at_each_step_of_registering_a_producer,
    #[timeout(180)]
    killed_at_each_step_of_registering_a_consumer,
    #[timeout(180)]
    killed_at_each_step_of_a_clone,
    #[timeout(180)]
    killed_at_each_step_of_adopting_an_end,
    #[timeout(180)]
    killed_at_each_step_of_dropping_an_end,
    #[timeout(180)]
    killed_at_each_step_of_a_hand_over,
}
