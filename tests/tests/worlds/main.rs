//! One body, several worlds: what the crates' own tests show between a process and the children
//! it forks holds between it and children that are started anew or come from a server, too. The
//! children's bodies are plain functions, the handles are their arguments.
//!
//! Not here is what means one way of starting: hand-over of what a closure captured, copies
//! that a fork makes, threads; and what is shown by kills at each step (`kill_*.rs`), which know
//! nothing of how a process began.

mod locks;
mod memories;
mod pipes;
mod queues;
mod signals;
mod world;

use locks::*;
use memories::*;
use multiproc_process::test;
use pipes::*;
use queues::*;
use signals::*;

test::main! {
    a_queue_fills_from_children,
    full_and_empty_are_so_for_every_process,
    each_childs_items_keep_their_order,
    what_was_put_outlives_who_put_it,
    a_queue_made_in_a_child_works_in_a_grandchild,
    closing_ends_only_the_process_that_closed,
    a_shutdown_ends_children_that_wait,
    what_cannot_be_serialised_stays_with_the_child,
    batches_and_loans_go_both_ways,
    a_killed_getter_leaves_the_item_to_the_next,
    killed_at_each_step_of_a_large_put_and_get,
    registered_ends_move_into_children_and_their_end_is_the_end_of_the_stream,
    an_end_goes_on_to_a_grandchild,
    queues_and_ends_are_messages_to_children,
    a_killed_producer_is_the_end_of_the_stream,
    a_killed_consumer_ends_a_put_that_waits,
    tasks_are_done_by_children_and_redelivered_when_one_dies,
    a_join_waits_for_what_others_report,
    a_join_says_what_was_lost_with_plain_getters,
    a_task_that_kills_its_workers_becomes_a_dead_letter,
    a_child_sees_a_simple_queue_empty_then_not,

    a_pipe_echoes,
    bytes_come_back_as_they_went,
    lines_come_through_a_stream,
    who_only_polled_eats_nothing,
    after_one_side_has_closed_the_other_hears_of_it,
    sends_of_two_children_on_one_end_do_not_mix,
    a_connection_closed_by_a_kill_is_the_end_of_the_stream,
    a_sibling_keeps_no_stream_open_and_no_send_waiting,
    only_the_writing_end_then_only_the_reading_end,
    a_wait_hears_of_messages_ends_and_deaths,
    files_and_sockets_are_arguments,
    files_and_sockets_are_messages,
    children_connect_to_a_listener,
    a_child_listens_for_children_of_another_kind,

    a_lock_is_passed_on_to_a_grandchild_of_another_kind,
    a_held_lock_is_held_for_everybody,
    whoever_waits_takes_over_from_a_killed_holder,
    a_users_struct_travels_as_one_object_and_counts_right,
    a_mutex_whose_holder_was_killed_says_so,
    an_rlock_belongs_to_its_process,
    an_rlock_whose_holder_was_killed_is_taken_over_at_one,
    readers_and_writers_exclude_each_other,
    killed_readers_are_cleared_away_and_a_killed_writer_is_told_of,

    a_semaphore_counts_for_everybody,
    a_release_wakes_a_child_and_a_killed_one_takes_none,
    a_semaphore_gets_the_permits_of_the_dead_back,
    at_most_two_are_inside,
    an_event_starts_them_all,
    an_event_is_set_and_cleared_for_everybody,
    killed_waiters_of_an_event_hold_nobody_up,
    a_condition_wakes_as_many_as_are_notified,
    killed_waiters_of_a_condition_eat_no_wake_up,
    a_condition_waits_for_a_predicate_and_gives_up_in_time,
    a_barrier_holds_children_in_step,
    a_barrier_breaks_for_all_and_works_again_after_a_reset,
    an_action_that_fails_breaks_the_barrier,
    a_killed_waiter_breaks_the_barrier,

    values_arrays_lists_and_raw_memory_are_shared,
    guards_lose_no_count,
    a_killed_holders_value_says_so_and_can_be_mended,
    a_lock_for_several_values_goes_along,
    named_objects_are_found,
    a_temporary_name_goes_with_the_child_that_has_it_last,
}
