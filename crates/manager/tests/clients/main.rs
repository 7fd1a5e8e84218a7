//! Many clients, odd clients and hostile ones; forks, threads and TCP.

#[path = "../watching/mod.rs"]
mod watching;

mod hostile;
mod model;
mod processes;
mod travel;

use hostile::*;
use model::*;
use multiproc_process::test;
use processes::*;
use travel::*;

test::main! {
    #[timeout(600)]
    eight_clients_agree_with_a_model,
    threads_of_a_process_call_at_the_same_time,
    a_program_with_threads_starts_a_server_and_registers_there,
    a_fork_with_live_proxies_in_both,
    proxies_moved_into_children_belong_to_them,
    proxies_travel_by_name_and_over_tcp,
    objects_given_to_methods_and_returned_by_them,
    files_in_a_dict,
    another_item_type_is_refused_by_both_names,
    names_are_published_found_and_withdrawn,
    another_program_over_each_kind_of_address,
    a_wrong_key_is_refused_and_the_server_lives_on,
    garbage_and_half_open_connections_hurt_nobody_else,
    #[timeout(120)]
    a_thousand_idle_connections,
    one_who_never_reads_hurts_nobody_else,
    limits_are_kept,
    a_message_that_is_too_large_is_refused_whole,
    ten_thousand_objects_made_and_dropped,
    lists_do_what_vectors_do,
    a_method_that_is_slow_keeps_only_its_own_callers,
    a_guard_in_a_forked_child_releases_nothing,
    proxies_are_for_all_threads,
}
