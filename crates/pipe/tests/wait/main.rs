//! Waiting for many things at a time: connections, queues, processes and any descriptor.
#![allow(clippy::needless_range_loop, reason = "the number is the subject")]

mod limits;
mod sources;
mod waits;
mod watchers;
mod writers;

use limits::*;
use multiproc_process::test;
use sources::*;
use watchers::*;
use writers::*;

test::main! {
    four_readers_ten_messages_each_and_the_ends,
    plain_sockets_beside_connections,
    a_sentinel_and_a_connection_and_a_pipe_exactly_as_they_become_ready,
    no_time_to_wait_returns_at_once_with_nothing,
    the_positions_are_all_and_in_order,
    a_timeout_is_not_early_and_signals_do_not_matter,
    nothing_to_wait_for,

    queues_connections_processes_and_sockets_together,
    an_end_of_stream_is_something,
    a_killed_peer_is_something_beside_one_that_is_always_ready,
    closed_here_while_another_thread_waits,
    an_empty_message_is_something,
    what_another_took_is_nothing,

    a_loan_that_is_written_keeps_nobody_from_the_rest,
    a_writer_stopped_in_the_middle_keeps_nobody_from_the_timeout,
    a_writer_that_waits_for_room_does_not_hide_what_is_there,

    several_processes_wait_for_one_queue,
    a_killed_watcher_harms_nobody,
    #[timeout(300)]
    a_hundred_thousand_rounds_through_wait,
    two_watchers_and_a_blocking_reader_lose_no_wake_up,
    watchers_and_messages_with_descriptors,
    an_end_that_moves_is_no_end,
    a_watcher_that_was_moved_to_a_child_hears,

    without_a_courier_it_takes_a_moment,
    opened_by_name_it_takes_a_moment,
    the_creator_of_a_name_hears_of_what_others_put,
    as_many_as_the_limit_of_descriptors_allows_and_a_clear_error_above,
    a_thousand_idle_ones_and_one_that_is_ready,
    without_descriptors_left_a_wait_works,
    nothing_is_left_of_a_wait,
}
