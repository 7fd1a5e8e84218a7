//! What a queue promises, row by row of the list of behaviours, between real processes.

mod codecs;
mod deaths;
mod forms;
mod handles;
mod joinable;
mod messages;
mod puts_and_gets;
mod signals;
mod simple;
mod states;

use codecs::*;
use deaths::*;
use handles::*;
use joinable::*;
use messages::*;
use multiproc_process::test;
use puts_and_gets::*;
use signals::*;
use simple::*;
use states::*;

test::main! {
    six_puts_in_every_form_then_full,
    a_put_that_may_not_wait_finds_the_queue_full_at_once,
    drained_by_a_child_it_is_empty_and_not_full,
    items_put_by_a_child_arrive_in_order_through_every_get,
    get_timeout_on_an_empty_queue_times_out,
    get_timeout_is_not_early,
    len_follows_put_and_get_at_once,
    an_item_that_cannot_be_serialised_does_not_stop_later_items,
    put_itself_reports_an_item_that_cannot_be_serialised_and_gives_it_back,
    put_and_get_after_close_are_errors,
    close_ends_only_the_process_that_called_it,
    a_large_put_does_not_tie_the_producers_life_to_a_reader,
    each_producers_items_keep_their_order,
    a_zero_timeout_does_not_wait,
    three_of_three_are_full_and_the_first_comes_first,
    a_queue_made_in_a_child_works_in_a_grandchild,
    an_item_outlives_the_child_that_put_it,

    join_returns_when_four_workers_have_done_ten_tasks,
    join_with_nothing_unfinished_returns_at_once,
    join_right_after_put_waits,
    a_put_between_zero_and_the_wake_up_extends_join,
    task_done_once_too_often_is_an_error,
    task_done_once_too_often_is_an_error_also_while_a_put_waits,

    a_child_sees_a_simple_queue_empty_then_not,
    is_empty_after_close_is_an_error,
    a_simple_queue_has_close_is_empty_get_and_put,

    a_consumer_killed_while_blocked_in_get_leaves_the_item_to_the_next,
    consumers_killed_while_draining_large_items_leave_the_queue_usable,
    the_half_written_item_of_a_killed_producer_is_skipped,
    a_thousand_puts_then_exit_all_arrive,
    a_type_with_its_own_run_answers_over_queues,

    on_a_full_queue_every_put_waits_as_long_as_it_says,
    on_an_empty_queue_every_get_waits_as_long_as_it_says,
    every_form_after_close_says_closed,
    after_a_shutdown_puts_say_closed_and_gets_take_what_is_left,
    a_shutdown_ends_what_waits,
    after_the_producers_died_every_get_takes_what_is_left_and_says_closed,
    after_the_consumers_died_a_put_that_waits_says_closed,
    a_try_put_and_a_short_put_timeout_on_a_full_queue_notice_dead_consumers,

    a_serialiser_that_panics_harms_its_own_put_only,
    a_serialiser_may_use_the_queue_itself,
    a_deserialiser_that_fails_or_panics_costs_one_message,
    a_named_queue_of_another_type_is_refused_with_both_named,
    a_capacity_of_nothing_or_too_much_is_refused,
    a_message_larger_than_the_reserve_comes_back,
    the_largest_message_fits_again_and_again,
    producers_beyond_the_table_wait_for_a_place,
    the_dead_make_place_in_the_table,
    signals_neither_end_nor_stretch_a_wait,
    signals_do_not_tear_messages,
    plain_data_with_invalid_bytes_is_a_decode_error,
    serde_with_invalid_bytes_is_a_decode_error,
    bytes_and_plain_data_arrive_as_they_are,
    iteration_ends_with_the_producers_and_stays_ended,
    iteration_goes_on_after_a_message_that_cannot_be_decoded,
    iteration_over_a_plain_queue_ends_with_a_shutdown,
    len_is_exact_across_processes,
    handles_are_send_sync_and_debug,
    named_queues_meet_by_name,
}
