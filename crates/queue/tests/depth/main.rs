//! The queue in depth, between real processes: batches, loans, messages of any size, a
//! capacity in bytes, memory that is given back, and tasks that outlive their workers.

mod batches;
mod joins;
mod loans;
mod made;
mod sizes;
mod tasks;

use batches::*;
use joins::*;
use loans::*;
use multiproc_process::test;
use sizes::*;
use tasks::*;

test::main! {
    a_batch_keeps_its_order_through_every_get,
    a_batch_that_fits_enters_as_one_group,
    a_batch_larger_than_the_capacity_waits_for_room_and_loses_nothing,
    batches_of_several_producers_keep_each_ones_order,
    an_item_that_cannot_be_encoded_stops_a_batch_and_comes_back_with_the_rest,
    an_item_that_is_too_large_stops_a_batch_and_comes_back_with_the_rest,
    a_shutdown_stops_a_batch_and_hands_the_rest_back,
    get_many_waits_for_one_and_takes_no_more_than_asked,
    get_many_takes_what_is_left_of_dead_producers_and_says_closed,
    a_reader_killed_before_a_group_is_released_leaves_all_of_it,

    loans_carry_bytes_and_slices_in_place,
    a_put_loan_that_is_dropped_is_never_seen,
    a_get_loan_that_is_given_back_is_the_next_again,
    a_put_loan_whose_holder_is_killed_is_never_seen,
    a_get_loan_whose_holder_is_killed_is_delivered_to_the_next,
    no_child_is_forked_while_a_loan_is_held,

    a_capacity_in_bytes_is_full_before_the_one_in_items,
    a_message_larger_than_the_capacity_in_bytes_enters_alone,
    #[timeout(180)]
    a_message_of_64_mib_goes_through_a_queue_of_1_mib,
    #[timeout(180)]
    huge_messages_between_small_ones_arrive_in_order,
    a_queue_without_capacity_is_never_full,
    #[timeout(180)]
    two_million_queued_messages_are_all_there_and_their_memory_comes_back,
    memory_comes_back_also_after_a_huge_message,
    no_memory_in_the_middle_of_growth_is_an_error_and_loses_nothing,
    no_memory_to_keep_a_task_is_an_error_and_loses_nothing,

    a_task_is_done_when_it_is_dropped,
    a_task_is_delivered_again_when_its_holder_is_killed,
    a_task_of_a_dead_holder_comes_to_one_who_waits_already,
    a_task_given_back_is_delivered_again,
    a_task_whose_holder_panics_is_done_unless_the_queue_says_otherwise,
    a_task_delivered_too_often_becomes_a_dead_letter,
    who_joins_alone_makes_the_dead_letter,
    who_joins_beside_a_plain_get_hears_of_the_dead_letter,
    dead_letters_do_not_wait_for_who_waits_for_tasks,
    one_slow_task_stalls_nobody,
    too_many_tasks_are_refused_and_nothing_is_lost,
    tasks_of_any_size_outlive_their_holder,
    join_waits_for_tasks_that_are_delivered_again,
    join_says_how_many_tasks_died_with_plain_getters_and_says_it_once,
    join_timeout_says_how_many_are_unfinished,
    task_done_once_too_often_is_refused_with_claims_among_them,
    len_counts_tasks_that_wait_to_be_delivered_again,
    #[timeout(180)]
    workers_that_die_by_the_hundred_leave_the_queue_usable,
    #[timeout(180)]
    unfinished_is_right_while_others_put_and_report,
    #[timeout(180)]
    what_is_put_during_a_join_is_never_written_off,
}
