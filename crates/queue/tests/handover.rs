//! Who holds an end: what is moved into a child is the child's, what is borrowed stays, and end
//! of file follows from that alone.

use common::*;
use multiproc_core::fork::HeldHere;
use multiproc_process::{Exit, Fork, Process, StartError, active_children, fork, test};
use multiproc_queue::{Consumer, GetError, Producer, PutError, Queue, TryGetError};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

test::main! {
    eof_comes_whatever_siblings_were_forked,
    a_broken_queue_shows_whatever_siblings_were_forked,
    nested_captures_move,
    items_of_start_each_move,
    an_arc_that_the_parent_keeps_stays_the_parents,
    a_borrowed_end_stays_the_parents_and_the_child_registers_anew,
    a_borrowed_end_that_the_parent_has_dropped_is_closed_in_the_child,
    a_borrowed_end_whose_parent_died_is_closed_in_the_child,
    a_child_killed_before_it_adopts_counts_as_closed,
    a_parent_killed_before_the_hand_over_leaves_only_dead_ends,
    a_parent_killed_in_the_middle_of_the_hand_over_leaves_only_dead_ends,
    a_panic_while_captures_are_dropped_hands_the_others_over,
    a_failed_start_gives_the_ends_back,
    a_clone_is_moved_and_the_original_kept,
    an_end_goes_on_to_a_grandchild,
    a_child_that_never_used_its_end_closes_it,
    a_child_that_exits_without_dropping_its_end_has_closed_it,
    an_end_goes_back_and_forth_between_generations,
    inert_copies_in_a_child_do_nothing_when_dropped,
    a_thread_can_hold_an_end,
}

/// Takes all that comes; fails if it does not end by itself.
fn all_of(rx: &Consumer<u64>) -> Vec<u64> {
    let mut got = Vec::new();
    loop {
        match rx.get_timeout(PATIENCE) {
            Ok(n) => got.push(n),
            Err(multiproc_queue::GetTimeoutError::Closed) => return got,
            Err(error) => panic!("after {got:?}: {error}"),
        }
    }
}

fn is_open(rx: &Consumer<u64>) -> bool {
    match rx.try_get() {
        Err(TryGetError::Empty) => true,
        Err(TryGetError::Closed) => false,
        other => panic!("{other:?}"),
    }
}

/// A child that does nothing with what it inherited, until the counter says stop.
fn sibling(stop: &Counter) -> Process {
    let started = Counter::new();
    let child = Process::start(|| {
        started.count();
        stop.reach(1);
    })
    .unwrap();
    started.reach(1);
    child
}

fn eof_comes_whatever_siblings_were_forked() -> Outcome {
    for killed in [false, true] {
        let stop = Counter::new();
        let (tx, rx) = Queue::<u64>::bounded(4)?.split();
        let before = sibling(&stop);
        let (went, go_on) = (Counter::new(), Counter::new());
        let producer = {
            let (went, go_on) = (went.clone(), go_on.clone());
            Process::start(move || {
                tx.put(1).unwrap();
                went.count();
                go_on.reach(1);
                tx.put(2).unwrap();
            })?
        };
        let after = sibling(&stop);
        went.reach(1);
        assert_eq!(rx.get()?, 1);
        assert!(is_open(&rx));
        if killed {
            kill(&producer);
            assert_eq!(all_of(&rx), []);
        } else {
            go_on.count();
            assert_eq!(all_of(&rx), [2]);
            ends_well(&producer);
        }
        assert!(before.is_alive() && after.is_alive());
        stop.count();
        ends_well(&before);
        ends_well(&after);
    }
    Ok(())
}

fn a_broken_queue_shows_whatever_siblings_were_forked() -> Outcome {
    let stop = Counter::new();
    let (tx, rx) = Queue::<u64>::bounded(1)?.split();
    let before = sibling(&stop);
    let consumer = Process::start(move || rx.get().map(drop))?;
    let after = sibling(&stop);
    tx.put(1)?;
    ends_well(&consumer);
    // Its end was closed in good order, so a put need not even wait to know.
    assert!(matches!(tx.put(2), Err(PutError::Closed(2))));
    assert!(before.is_alive() && after.is_alive());
    stop.count();
    ends_well(&before);
    ends_well(&after);
    Ok(())
}

fn nested_captures_move() -> Outcome {
    struct Worker {
        name: &'static str,
        out: Option<Arc<Producer<u64>>>,
    }
    let (tx, rx) = Queue::<u64>::bounded(10)?.split();
    let list: Vec<Box<Producer<u64>>> = vec![Box::new(tx.clone()), Box::new(tx.clone())];
    let worker = Worker {
        name: "nested",
        out: Some(Arc::new(tx)),
    };
    let runs = Counter::new();
    let child = Process::start({
        let runs = runs.clone();
        move || {
            runs.reach(1);
            for (n, tx) in list.iter().enumerate() {
                tx.put(n as u64).unwrap();
            }
            drop(list);
            worker
                .out
                .as_ref()
                .unwrap()
                .put(worker.name.len() as u64)
                .unwrap();
        }
    })?;
    // Nothing is left here: as soon as the child has gone, this is the end.
    assert!(is_open(&rx));
    runs.count();
    assert_eq!(all_of(&rx), [0, 1, 6]);
    ends_well(&child);
    Ok(())
}

fn items_of_start_each_move() -> Outcome {
    let (tx, rx) = Queue::<u64>::bounded(10)?.split();
    let items = (0..3).map(|n| (n, tx.clone())).collect::<Vec<_>>();
    let children = Process::start_each(items, |(n, tx)| tx.put(n))?;
    drop(tx);
    let mut got = all_of(&rx);
    got.sort_unstable();
    assert_eq!(got, [0, 1, 2]);
    children.iter().for_each(ends_well);
    Ok(())
}

fn an_arc_that_the_parent_keeps_stays_the_parents() -> Outcome {
    let (tx, rx) = Queue::<u64>::bounded(10)?.split();
    let kept = Arc::new(tx);
    let shared = Arc::clone(&kept);
    let child = Process::start(move || shared.put(1))?;
    ends_well(&child);
    kept.put(2)?;
    assert_eq!((rx.get()?, rx.get()?), (1, 2));
    assert!(is_open(&rx));
    drop(kept);
    assert!(!is_open(&rx));
    Ok(())
}

fn a_borrowed_end_stays_the_parents_and_the_child_registers_anew() -> Outcome {
    let (tx, rx) = Queue::<u64>::bounded(10)?.split();
    let (used, stop) = (Counter::new(), Counter::new());
    let tx = Some(tx);
    let child = Process::start(|| {
        let tx = tx.as_ref().unwrap();
        tx.put(1).unwrap();
        used.count();
        stop.reach(1);
        // The parent has dropped its own since; this one is the child's.
        tx.put(2).unwrap();
    })?;
    used.reach(1);
    drop(tx);
    assert_eq!(rx.get()?, 1);
    assert!(is_open(&rx));
    stop.count();
    // The child leaves without dropping what it borrowed: its end goes with it.
    assert_eq!(all_of(&rx), [2]);
    ends_well(&child);
    Ok(())
}

fn a_borrowed_end_that_the_parent_has_dropped_is_closed_in_the_child() -> Outcome {
    let (tx, rx) = Queue::<u64>::bounded(10)?.split();
    let dropped = Counter::new();
    let tx = Some(tx);
    let child = Process::start(|| {
        dropped.reach(1);
        assert!(matches!(
            tx.as_ref().unwrap().put(1),
            Err(PutError::Closed(1))
        ));
    })?;
    drop(tx);
    assert!(!is_open(&rx));
    dropped.count();
    ends_well(&child);
    assert!(!is_open(&rx) && rx.queue().is_empty());
    // The same for a consumer.
    let (tx, rx) = Queue::<u64>::bounded(10)?.split();
    tx.put(1)?;
    let rx = Some(rx);
    let child = Process::start(|| {
        dropped.reach(2);
        assert_eq!(rx.as_ref().unwrap().get(), Err(GetError::Closed));
    })?;
    drop(rx);
    dropped.count();
    ends_well(&child);
    assert!(matches!(tx.put(2), Err(PutError::Closed(2))));
    Ok(())
}

fn a_borrowed_end_whose_parent_died_is_closed_in_the_child() -> Outcome {
    let (outcome, killed) = (Counter::new(), Counter::new());
    let (tx, rx) = Queue::<u64>::bounded(10)?.split();
    let parent = {
        let (outcome, killed) = (outcome.clone(), killed.clone());
        Process::start(move || {
            let child = Process::start(|| {
                killed.reach(1);
                let refused = matches!(tx.put(1), Err(PutError::Closed(1)));
                outcome.set(if refused { 1 } else { 2 });
            });
            child.unwrap();
            killed.reach(2); // Never: it is killed here.
        })?
    };
    blocked_in_sleep(&parent);
    kill(&parent);
    killed.count();
    outcome.reach(1);
    assert_eq!(outcome.get(), 1);
    assert_eq!(all_of(&rx), []);
    Ok(())
}

/// Waits until the child has itself started a child.
fn blocked_in_sleep(parent: &Process) {
    let children = format!("/proc/{0}/task/{0}/children", parent.pid());
    until("the child to have a child past its gate", || {
        let children = std::fs::read_to_string(&children).unwrap_or_default();
        children.split_whitespace().next().is_some_and(|pid| {
            // Past its gate it polls with short sleeps.
            let place = std::fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
            place.contains("nanosleep")
        })
    });
}

/// Does something when the process that made it drops it.
struct OnDrop<F: FnMut()>(u32, F);

impl<F: FnMut()> OnDrop<F> {
    fn new(then: F) -> Self {
        OnDrop(std::process::id(), then)
    }
}

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        if std::process::id() == self.0 {
            (self.1)();
        }
    }
}

fn kill_the_child_at_its_gate() {
    for child in active_children() {
        child.kill().unwrap();
        // Dead, and not collected: a zombie has no ends.
        until("the child to die", || !child.is_alive());
    }
}

fn kill_and_collect_the_child_at_its_gate() {
    for child in active_children() {
        kill(&child);
    }
}

fn a_child_killed_before_it_adopts_counts_as_closed() -> Outcome {
    // Killed before the end was handed over to it, and after.
    let bombs = [
        kill_the_child_at_its_gate as fn(),
        kill_and_collect_the_child_at_its_gate,
    ];
    for (bomb_first, bomb) in [true, false]
        .into_iter()
        .flat_map(|first| bombs.map(|b| (first, b)))
    {
        let (tx, rx) = Queue::<u64>::bounded(10)?.split();
        tx.put(1)?;
        let (answer, answered) = Queue::<u64>::bounded(1)?.split();
        let bomb = OnDrop::new(bomb);
        let child = if bomb_first {
            let captures = (bomb, tx, answered);
            Process::start(move || {
                let (_bomb, tx, _answered) = captures;
                tx.put(2)
            })?
        } else {
            let captures = (tx, answered, bomb);
            Process::start(move || {
                let (tx, _answered, _bomb) = captures;
                tx.put(2)
            })?
        };
        assert_eq!(ends(&child), Exit::Signal(9));
        assert_eq!(all_of(&rx), [1]);
        // Its consuming end as well: a put that would have to wait says so.
        let _ = answer.put(1);
        assert!(matches!(answer.put(2), Err(PutError::Closed(2))));
    }
    Ok(())
}

fn a_parent_killed_before_the_hand_over_leaves_only_dead_ends() -> Outcome {
    parent_killed(|tx| {
        let bomb = OnDrop::new(exit_by_kill);
        let captures = (bomb, tx.clone(), tx);
        let _ = Process::start(move || {
            let (_bomb, tx, _other) = captures;
            tx.put(2)
        });
    })
}

fn a_parent_killed_in_the_middle_of_the_hand_over_leaves_only_dead_ends() -> Outcome {
    parent_killed(|tx| {
        let bomb = OnDrop::new(exit_by_kill);
        let captures = (tx.clone(), bomb, tx);
        let _ = Process::start(move || {
            let (tx, _bomb, _other) = captures;
            tx.put(2)
        });
    })
}

fn exit_by_kill() {
    // SAFETY: a signal to this very process.
    unsafe { libc::kill(std::process::id() as i32, libc::SIGKILL) };
}

fn parent_killed(start: fn(Producer<u64>)) -> Outcome {
    for _ in 0..10 {
        let (tx, rx) = Queue::<u64>::bounded(10)?.split();
        let parent = Process::start(move || {
            tx.put(1).unwrap();
            start(tx);
        })?;
        assert_eq!(ends(&parent), Exit::Signal(9));
        // What its child would have put is not there: it never ran.
        assert_eq!(all_of(&rx), [1]);
    }
    Ok(())
}

fn a_panic_while_captures_are_dropped_hands_the_others_over() -> Outcome {
    let (tx, rx) = Queue::<u64>::bounded(10)?.split();
    let captures = (
        tx.clone(),
        OnDrop::new(|| panic!("this destructor fails")),
        tx,
    );
    let go_on = Counter::new();
    let caught = catch_unwind(AssertUnwindSafe(|| {
        let started = Process::start(|| {
            let (one, _bomb, other) = captures;
            go_on.reach(1);
            one.put(1).unwrap();
            drop(one);
            other.put(2).unwrap();
        });
        started.map_err(StartError::from)
    }));
    assert!(caught.is_err());
    let children = active_children();
    let [child] = &children[..] else {
        return Err("the child should be listed".into());
    };
    assert!(is_open(&rx));
    go_on.count();
    assert_eq!(all_of(&rx), [1, 2]);
    ends_well(child);
    Ok(())
}

fn a_failed_start_gives_the_ends_back() -> Outcome {
    let (tx, rx) = Queue::<u64>::bounded(10)?.split();
    let run = move || tx.put(1).unwrap();
    // Refused before the fork.
    let guard = HeldHere::new();
    let refused = Process::start(run).expect_err("a guard is held");
    assert!(matches!(refused.why, StartError::HoldsGuard));
    drop(guard);
    assert!(is_open(&rx));
    // Refused by the system, for want of descriptors: at each place where one is needed.
    let mut run = refused.task;
    let next = std::os::fd::AsRawFd::as_raw_fd(&std::fs::File::open("/dev/null")?) as u64;
    for few in 0..4 {
        limit(libc::RLIMIT_NOFILE, next + few);
        let refused = Process::start(run).expect_err("no descriptors");
        limit(libc::RLIMIT_NOFILE, 1_024);
        assert!(matches!(refused.why, StartError::System(_)), "{refused:?}");
        assert!(active_children().is_empty());
        assert!(is_open(&rx), "its end is as it was");
        run = refused.task;
    }
    let child = Process::start(run)?;
    assert_eq!(all_of(&rx), [1]);
    ends_well(&child);
    // And used here after all.
    let (tx, rx) = Queue::<u64>::bounded(10)?.split();
    let guard = HeldHere::new();
    let refused = Process::start(move || tx.put(3)).expect_err("a guard is held");
    drop(guard);
    (refused.task)()?;
    assert_eq!(all_of(&rx), [3]);
    Ok(())
}

fn a_clone_is_moved_and_the_original_kept() -> Outcome {
    let (tx, rx) = Queue::<u64>::bounded(10)?.split();
    let clone = tx.clone();
    let child = Process::start(move || clone.put(1))?;
    ends_well(&child);
    assert_eq!(rx.get()?, 1);
    assert!(is_open(&rx));
    tx.put(2)?;
    drop(tx);
    assert_eq!(all_of(&rx), [2]);
    // The other way round: the child's clone outlives the original.
    let (tx, rx) = Queue::<u64>::bounded(10)?.split();
    let go_on = Counter::new();
    let child = {
        let go_on = go_on.clone();
        Process::start(move || {
            let clone = tx.clone();
            drop(tx);
            go_on.reach(1);
            clone.put(3).unwrap();
        })?
    };
    go_on.count();
    assert_eq!(all_of(&rx), [3]);
    ends_well(&child);
    Ok(())
}

fn an_end_goes_on_to_a_grandchild() -> Outcome {
    for used_on_the_way in [false, true] {
        let (tx, rx) = Queue::<u64>::bounded(10)?.split();
        let (go_on, middle_done) = (Counter::new(), Counter::new());
        let child = {
            let (go_on, middle_done) = (go_on.clone(), middle_done.clone());
            Process::start(move || {
                if used_on_the_way {
                    tx.put(1).unwrap();
                }
                let grandchild = Process::start(move || {
                    go_on.reach(1);
                    tx.put(2).unwrap();
                });
                middle_done.count();
                ends_well(&grandchild.map_err(StartError::from).unwrap());
            })?
        };
        middle_done.reach(1);
        if used_on_the_way {
            assert_eq!(rx.get()?, 1);
        }
        assert!(is_open(&rx), "the grandchild has it");
        go_on.count();
        assert_eq!(all_of(&rx), [2]);
        ends_well(&child);
    }
    Ok(())
}

fn a_child_that_never_used_its_end_closes_it() -> Outcome {
    let (tx, rx) = Queue::<u64>::bounded(10)?.split();
    let child = Process::start(move || drop(tx))?;
    ends_well(&child);
    assert!(!is_open(&rx));
    let (tx, rx) = Queue::<u64>::bounded(10)?.split();
    let child = Process::start(move || std::mem::forget(tx))?;
    ends_well(&child);
    assert_eq!(all_of(&rx), []);
    Ok(())
}

fn a_child_that_exits_without_dropping_its_end_has_closed_it() -> Outcome {
    let (tx, rx) = Queue::<u64>::bounded(10)?.split();
    let child = Process::start(move || {
        tx.put(1).unwrap();
        exit_now(3)
    })?;
    assert_eq!(all_of(&rx), [1]);
    assert_eq!(ends(&child), Exit::Code(3));
    let (tx, rx) = Queue::<u64>::bounded(10)?.split();
    let child = Process::start(move || {
        tx.put(2).unwrap();
        panic!("with an end in hand");
    })?;
    assert_eq!(all_of(&rx), [2]);
    assert_eq!(ends(&child), Exit::Code(1));
    Ok(())
}

fn an_end_goes_back_and_forth_between_generations() -> Outcome {
    // Slots are given up and taken again many times; no end is taken for another's.
    let (tx, rx) = Queue::<u64>::bounded(100)?.split();
    for n in 0..50 {
        let (one, two) = (tx.clone(), tx.clone());
        let child = Process::start(move || {
            one.put(2 * n).unwrap();
            drop(one);
            let grandchild = Process::start(move || two.put(2 * n + 1));
            ends_well(&grandchild.map_err(StartError::from).unwrap());
        })?;
        ends_well(&child);
        assert_eq!((rx.get()?, rx.get()?), (2 * n, 2 * n + 1));
        assert!(is_open(&rx));
    }
    drop(tx);
    assert!(!is_open(&rx));
    Ok(())
}

fn inert_copies_in_a_child_do_nothing_when_dropped() -> Outcome {
    let (tx, rx) = Queue::<u64>::bounded(10)?.split();
    let clone = tx.clone();
    match fork()? {
        Fork::Child => {
            // Everything that was there before the fork is there twice now.
            drop((tx, clone, rx));
            exit_now(0)
        }
        Fork::Parent(child) => ends_well(&child),
    }
    assert!(is_open(&rx));
    tx.put(1)?;
    assert_eq!(rx.get()?, 1);
    // In a child that was started, too: it borrows, takes out, and drops.
    let mut slot = Some(clone);
    let child = Process::start(|| drop(slot.take()))?;
    ends_well(&child);
    drop(tx);
    assert!(is_open(&rx), "the clone is this process's");
    drop(slot);
    assert!(!is_open(&rx));
    Ok(())
}

fn a_thread_can_hold_an_end() -> Outcome {
    let (tx, rx) = Queue::<u64>::bounded(10)?.split();
    let child = Process::start(move || {
        let clone = tx.clone();
        let thread = std::thread::spawn(move || (0..100).try_for_each(|n| clone.put(n)));
        drop(tx);
        thread.join().unwrap().unwrap();
    })?;
    assert_eq!(all_of(&rx).len(), 100);
    ends_well(&child);
    Ok(())
}
