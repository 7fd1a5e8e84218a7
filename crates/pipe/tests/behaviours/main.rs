//! What a pipe promises, row by row of the list of behaviours, between real processes: messages
//! and their borders, bytes, polling, closing, iteration, loans, several users of one end.

mod closing;
mod codecs;
mod loans;
mod made;
mod messages;
mod several;
mod sizes;
mod streams;
mod threads;

use closing::*;
use codecs::*;
use loans::*;
use messages::*;
use multiproc_process::test;
use several::*;
use sizes::*;
use streams::*;
use threads::*;

test::main! {
    an_object_and_bytes_come_back_as_they_went,
    recv_bytes_into_fills_the_front_and_leaves_the_rest,
    a_short_buffer_gives_the_whole_message_which_is_received,
    poll_says_false_at_once_or_after_its_time_and_true_when_something_came,
    sixteen_mebibytes_echo_while_both_sides_block,
    sixteen_mebibytes_at_a_time_in_both_directions,
    after_the_peer_closed_every_receive_is_the_end,
    the_parent_may_close_its_copy_right_after_start,
    dropping_closes_and_a_closed_end_says_so,
    eight_messages_with_empty_ones_arrive_one_by_one,
    who_only_polled_eats_nothing,
    a_longer_message_than_allowed_ends_receiving_and_not_sending,
    after_close_everything_says_closed_and_closing_again_is_fine,
    #[ignore = "4.5 GiB of memory"]
    #[timeout(300)]
    a_message_above_two_gibibytes_arrives,
    #[ignore = "2 GiB of memory"]
    #[timeout(300)]
    one_gibibyte_through_a_small_pipe,
    two_processes_with_an_end_each_hear_each_other,

    sends_of_two_processes_on_one_end_do_not_mix,
    receives_of_two_processes_on_one_end_share_the_messages,
    both_ends_shared_by_many_lose_and_double_nothing,

    borders_hold_for_every_length_around_the_edges,
    a_message_larger_than_the_pipe_enters_alone,
    a_message_that_can_never_fit_comes_back,
    capacity_counts_messages,
    a_full_pipe_makes_sends_wait_as_long_as_they_say,
    an_empty_pipe_makes_receives_wait_as_long_as_they_say,
    bounds_of_nothing_are_refused,
    signals_neither_end_nor_stretch_a_wait,

    what_cannot_be_encoded_comes_back_and_later_messages_arrive,
    an_encoder_that_panics_harms_its_own_send_only,
    a_decoder_that_fails_costs_one_message,
    plain_data_arrives_in_both_directions,

    reading_and_writing_streams_ignores_borders,
    a_stream_ends_with_its_senders_and_breaks_with_its_receivers,
    what_a_read_left_is_read_before_the_next_message,
    lines_through_a_pipe,

    iteration_ends_with_the_stream_and_stays_ended,
    iteration_goes_on_after_a_message_that_cannot_be_decoded,

    loans_go_in_place_both_ways,
    a_loan_that_is_dropped_sends_nothing_and_one_given_back_stays,
    a_loan_is_a_slice_of_plain_data_where_it_fits,
    while_a_loan_lives_the_others_wait_and_then_go_on,
    no_fork_while_a_loan_is_held,

    close_wakes_a_thread_that_receives_on_the_same_end,
    close_wakes_a_thread_that_sends_on_the_same_end,
    threads_can_have_the_halves,
    handles_are_send_sync_and_debug,
}
