//! The command beside processes that share things: it says what they do, and they notice nothing.

mod contents;
mod harm;
mod lines;
mod locks;
mod removal;
mod run;
mod signals;
mod top;

use contents::*;
use harm::*;
use lines::*;
use locks::*;
use multiproc_process::test;
use removal::*;
use signals::*;
use top::*;

test::main! {
    wrong_command_lines_are_refused,
    help_and_version_are_printed,
    what_is_not_there_is_an_error,
    everything_is_listed,
    a_reader_that_leaves_is_no_error,
    locks_tell_who_holds_them,
    a_lock_tells_that_its_owner_died,
    recursive_locks_tell_how_often,
    readers_and_writers_are_told,
    semaphores_tell_their_value_and_permits,
    events_tell_whether_they_are_set_and_awaited,
    conditions_and_barriers_tell_how_many_wait,
    queues_tell_what_is_queued_and_who_is_there,
    a_blocked_reader_waits_and_holds_nothing,
    values_arrays_and_lists_are_shown,
    own_structs_show_their_header,
    names_are_removed_one_by_one,
    stale_names_are_removed,
    it_keeps_nothing_alive_and_attaches_to_nothing,
    no_garbage_makes_it_crash,
    names_do_not_reach_the_terminal_raw,
    another_user_sees_what_it_may,
    top_shows_a_page_once,
    top_goes_on_in_a_pipe_until_told,
    top_ends_with_q_and_leaves_the_terminal_as_it_was,
    top_ends_with_a_signal_and_leaves_the_terminal_as_it_was,
}
