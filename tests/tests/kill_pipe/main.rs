//! Killed at every step: each operation of a pipe is run once to count its named steps, and then
//! once per step by a process that dies by SIGKILL exactly there. Nobody hangs, no message is
//! torn, the end of the stream is told when the last end is gone and never before, and nothing
//! stays open. Where one who is only *stopped* at a step could be taken for gone, it is stopped at
//! each of them, too, and goes on afterwards.

mod ends;
mod ends_in_messages;
mod pipes;
mod recv;
mod send;
mod stopped;

use ends::*;
use ends_in_messages::*;
use multiproc_process::test;
use recv::*;
use send::*;
use stopped::*;

test::main! {
    #[timeout(180)]
    killed_at_each_step_of_send,
    #[timeout(180)]
    killed_at_each_step_of_a_send_that_wakes_a_reader,
    #[timeout(180)]
    killed_at_each_step_of_a_send_that_rings_for_watchers,
    #[timeout(180)]
    killed_at_each_step_of_a_send_that_waits_for_room,
    #[timeout(180)]
    killed_at_each_step_of_a_send_larger_than_the_pipe,
    #[timeout(180)]
    killed_at_each_step_of_send_beside_another_sender,
    #[timeout(180)]
    killed_at_each_step_of_a_send_loan,
    #[timeout(180)]
    killed_at_each_step_of_recv,
    #[timeout(180)]
    killed_at_each_step_of_a_recv_that_waits,
    #[timeout(180)]
    killed_at_each_step_of_a_recv_that_makes_room,
    #[timeout(180)]
    killed_at_each_step_of_a_recv_loan,
    #[timeout(180)]
    killed_at_each_step_of_poll,
    #[timeout(180)]
    killed_at_each_step_of_wait,
    #[timeout(180)]
    killed_at_each_step_of_close,
    #[timeout(180)]
    killed_at_each_step_of_a_clone_and_its_drop,
    #[timeout(180)]
    killed_at_each_step_of_a_borrowed_end,
    #[timeout(180)]
    killed_at_each_step_of_a_hand_over,
    #[timeout(180)]
    killed_at_each_step_of_sending_an_end,
    #[timeout(180)]
    killed_at_each_step_of_sending_an_end_of_which_another_is_left,
    #[timeout(180)]
    killed_at_each_step_of_receiving_an_end,
    #[timeout(180)]
    killed_at_each_step_of_receiving_an_end_beside_another_reader,
    #[timeout(180)]
    killed_at_each_step_of_receiving_a_descriptor,
    #[timeout(180)]
    killed_at_each_step_of_dropping_a_pipe_with_ends_in_messages,
    #[timeout(180)]
    killed_at_each_step_of_giving_an_end_back_that_was_not_sent,
    #[timeout(180)]
    killed_at_each_step_of_finding_a_lost_end,

    #[timeout(180)]
    stopped_at_each_step_of_sending_an_end_it_is_no_end_of_stream,
    #[timeout(180)]
    stopped_at_each_step_of_receiving_an_end_it_is_no_end_of_stream,
    #[timeout(180)]
    stopped_at_each_step_of_a_hand_over_it_is_no_end_of_stream,
    #[timeout(180)]
    a_sender_killed_while_the_receiver_arrives_is_told_by_both_or_none,
    #[timeout(180)]
    stopped_at_each_step_of_a_send_the_others_keep_their_timeouts,
}
