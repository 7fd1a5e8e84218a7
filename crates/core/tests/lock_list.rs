//! The robust list: shared with the C library, written for the kernel, believed by nobody.

mod board;

use board::{Board, Pthread, entry_of, kernel_list};
use common::{Dice, Outcome, in_bare_fork};
use multiproc_core::{
    deadline::Deadline,
    robust::{RobustGuard, RobustLock},
};
use multiproc_process::{Process, test};
use multiproc_segment::{Shareable, Shared};
use std::cell::RefCell;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};
use std::time::Duration;

test::main! {
    held_locks_are_linked_and_released_in_any_order,
    pthread_mutexes_and_ours_interleave_in_all_orders,
    #[timeout(120)]
    killed_in_the_middle_all_that_was_held_is_found_dead,
    locks_beyond_the_kernels_limit_work_and_are_found,
    a_peer_that_scribbles_over_the_links_makes_us_write_nowhere,
    a_peer_that_unsettles_a_held_lock_leaves_no_stale_entry,
    a_forged_link_to_a_mutex_long_unlocked_is_not_followed,
    a_scribbled_word_is_a_broken_lock_and_no_more,
    a_thread_that_ends_holding_theirs_after_using_ours_is_found_dead,
    a_guard_dropped_while_its_thread_ends_leaves_the_list_whole,
    a_lock_taken_while_its_thread_ends_over_a_held_one_leaves_the_list_whole,
    parking_sees_every_held_lock_while_others_come_and_go,
}

fn acquire(lock: &RobustLock) -> RobustGuard<'_> {
    lock.acquire(Deadline::NEVER).unwrap()
}

fn orders(n: usize) -> Vec<Vec<usize>> {
    if n == 0 {
        return vec![vec![]];
    }
    let mut all = Vec::new();
    for shorter in orders(n - 1) {
        for at in 0..=shorter.len() {
            let mut one = shorter.clone();
            one.insert(at, n - 1);
            all.push(one);
        }
    }
    all
}

fn held_locks_are_linked_and_released_in_any_order() -> Outcome {
    let locks = Shared::new([const { RobustLock::new() }; 5])?;
    for order in orders(5) {
        let mut guards: Vec<_> = locks.iter().map(|lock| Some(acquire(lock))).collect();
        let mut expected: Vec<usize> = locks.iter().rev().map(|l| entry_of(l)).collect();
        assert_eq!(kernel_list(), (expected.clone(), 0));
        for n in order {
            guards[n] = None;
            expected.retain(|entry| *entry != entry_of(&locks[n]));
            assert_eq!(kernel_list(), (expected.clone(), 0));
        }
    }
    Ok(())
}

/// Two of ours (0, 1) and two of the C library's (2, 3).
struct Mixed<'a> {
    ours: &'a [RobustLock; 2],
    theirs: &'a [Pthread; 2],
    guards: [Option<RobustGuard<'a>>; 2],
    held: Vec<usize>,
}

impl<'a> Mixed<'a> {
    fn new(ours: &'a [RobustLock; 2], theirs: &'a [Pthread; 2]) -> Self {
        Self {
            ours,
            theirs,
            guards: [None, None],
            held: Vec::new(),
        }
    }

    fn entry(&self, n: usize) -> usize {
        match n {
            0 | 1 => entry_of(&self.ours[n]),
            _ => self.theirs[n - 2].entry(),
        }
    }

    fn lock(&mut self, n: usize) {
        match n {
            0 | 1 => self.guards[n] = Some(acquire(&self.ours[n])),
            _ => assert_eq!(self.theirs[n - 2].lock(), 0),
        }
        self.held.insert(0, self.entry(n));
        self.check();
    }

    fn unlock(&mut self, n: usize) {
        match n {
            0 | 1 => self.guards[n] = None,
            _ => self.theirs[n - 2].unlock(),
        }
        let entry = self.entry(n);
        self.held.retain(|e| *e != entry);
        self.check();
    }

    fn check(&self) {
        // Ours stand together, newest first; so do the C library's, before them or behind.
        let names = |list: &[usize], theirs: bool| -> Vec<usize> {
            let name = |entry| (0..4).find(|n| self.entry(*n) == entry).unwrap_or(entry);
            list.iter()
                .map(|e| name(*e))
                .filter(|n| (*n > 1) == theirs)
                .collect()
        };
        let (list, pending) = kernel_list();
        assert_eq!(pending, 0);
        for theirs in [false, true] {
            assert_eq!(names(&list, theirs), names(&self.held, theirs));
        }
    }
}

fn pthread_mutexes_and_ours_interleave_in_all_orders() -> Outcome {
    let ours = Shared::new([const { RobustLock::new() }; 2])?;
    let theirs = [Pthread::new(), Pthread::new()];
    for locking in orders(4) {
        for unlocking in orders(4) {
            let mut mixed = Mixed::new(&ours, &theirs);
            locking.iter().for_each(|n| mixed.lock(*n));
            unlocking.iter().for_each(|n| mixed.unlock(*n));
        }
    }
    // The C library's were locked before our first lock in this thread.
    std::thread::scope(|scope| {
        for unlocking in orders(4) {
            let ours = &ours;
            scope.spawn(move || {
                let theirs = [Pthread::new(), Pthread::new()];
                let mut mixed = Mixed::new(ours, &theirs);
                [2, 3, 0, 1].iter().for_each(|n| mixed.lock(*n));
                unlocking.iter().for_each(|n| mixed.unlock(*n));
            });
        }
    });
    // At random, each of them locked again and again.
    let mut random = Dice::new(0x11);
    let mut mixed = Mixed::new(&ours, &theirs);
    for _ in 0..20_000 {
        let n = random.below(4) as usize;
        let entry = mixed.entry(n);
        if mixed.held.contains(&entry) {
            mixed.unlock(n)
        } else {
            mixed.lock(n)
        }
    }
    Ok(())
}

fn killed_in_the_middle_all_that_was_held_is_found_dead() -> Outcome {
    let ours = Shared::new([const { RobustLock::new() }; 2])?;
    let theirs = [Pthread::new(), Pthread::new()];
    let mut deaths = 0;
    for locking in orders(4) {
        let mut seen = std::collections::BTreeSet::new();
        for unlocking in orders(4) {
            for released in 0..4 {
                let unlocked = &unlocking[..released];
                if !seen.insert(unlocked.to_vec()) {
                    continue;
                }
                let end = in_bare_fork(|| {
                    let mut mixed = Mixed::new(&ours, &theirs);
                    locking.iter().for_each(|n| mixed.lock(*n));
                    unlocked.iter().for_each(|n| mixed.unlock(*n));
                    common::kill_me();
                })?;
                assert_eq!(end, libc::SIGKILL);
                deaths += 1;
                for n in 0..4 {
                    let died = !unlocked.contains(&n);
                    let story = || format!("{n} after {locking:?} and {unlocked:?}");
                    if let Some(ours) = ours.get(n) {
                        assert_eq!(ours.is_orphaned(), died, "{}", story());
                        let held = ours.try_acquire().expect("free");
                        assert_eq!(held.owner_died(), died, "{}", story());
                    } else {
                        let theirs = &theirs[n - 2];
                        let expected = if died { libc::EOWNERDEAD } else { 0 };
                        assert_eq!(theirs.try_lock(), expected, "{}", story());
                        if died {
                            theirs.mend();
                        }
                        theirs.unlock();
                    }
                }
            }
        }
    }
    println!("{deaths} deaths, all found");
    Ok(())
}

fn locks_beyond_the_kernels_limit_work_and_are_found() -> Outcome {
    const MANY: usize = 2_100;
    const LIMIT: usize = 2_046; // the kernel's 2,048 less the two posts
    let locks = Shared::new([const { RobustLock::new() }; MANY])?;
    let mut guards: Vec<_> = locks.iter().map(acquire).collect();
    assert_eq!(kernel_list().0.len(), LIMIT);
    // From the middle, from the end, from the front.
    drop(guards.remove(1_000));
    drop(guards.pop());
    drop(guards.remove(0));
    assert_eq!(kernel_list().0.len(), LIMIT - 2);
    drop(guards);
    assert_eq!(kernel_list(), (vec![], 0));
    // With the holder dead the kernel has freed as many as it walks; the others are found
    // by their owner's absence.
    let child = Process::start(|| {
        std::mem::forget(locks.iter().map(acquire).collect::<Vec<_>>());
        common::kill_me();
    })?;
    assert!(!child.join()?.success());
    let told = |lock: &&RobustLock| lock.is_marked_orphaned();
    assert_eq!(locks.iter().filter(told).count(), LIMIT);
    assert!(locks.iter().all(RobustLock::is_orphaned));
    for lock in locks.iter().rev().take(MANY - LIMIT + 2) {
        assert!(acquire(lock).owner_died());
    }
    Ok(())
}

/// A lock with words around it that nobody writes.
#[derive(Shareable)]
#[repr(C)]
struct Guarded {
    before: [AtomicU64; 8],
    first: RobustLock,
    between: [AtomicU64; 8],
    second: RobustLock,
    after: [AtomicU64; 8],
    stop: AtomicU32,
}

const CANARY: u64 = 0x00c0_ffee_00c0_ffee;

impl Guarded {
    const fn new() -> Self {
        Self {
            before: [const { AtomicU64::new(CANARY) }; 8],
            first: RobustLock::new(),
            between: [const { AtomicU64::new(CANARY) }; 8],
            second: RobustLock::new(),
            after: [const { AtomicU64::new(CANARY) }; 8],
            stop: AtomicU32::new(0),
        }
    }

    fn is_untouched(&self) -> bool {
        let words = self.before.iter().chain(&self.between).chain(&self.after);
        words.into_iter().all(|word| word.load(Relaxed) == CANARY)
    }
}

/// The word, the settled mark and the links of a lock: for writing what we should not.
fn fields(lock: &RobustLock) -> (&AtomicU32, &AtomicU32, &AtomicU64, &AtomicU64) {
    let at = (&raw const *lock).cast::<u8>();
    // SAFETY: the layout that the lock documents; all of these are atomics.
    unsafe {
        (
            &*at.cast::<AtomicU32>(),
            &*at.add(4).cast::<AtomicU32>(),
            &*at.add(24).cast::<AtomicU64>(),
            &*at.add(32).cast::<AtomicU64>(),
        )
    }
}

fn a_peer_that_scribbles_over_the_links_makes_us_write_nowhere() -> Outcome {
    let shared = Shared::new(Guarded::new())?;
    let private = vec![CANARY; 64];
    let targets: Vec<u64> = private
        .iter()
        .map(|word| (&raw const *word) as u64)
        .collect();
    let theirs = Pthread::new();
    let scribbler = Process::start(|| {
        let mut random = Dice::new(0xbad);
        while shared.stop.load(Relaxed) == 0 {
            for lock in [&shared.first, &shared.second] {
                let (_, settled, prev, next) = fields(lock);
                let value = match random.below(4) {
                    0 => random.below(u64::MAX),
                    1 => 0,
                    _ => targets[random.below(targets.len() as u64) as usize],
                };
                match random.below(3) {
                    0 => settled.store(value as u32 & 1, Relaxed),
                    1 => prev.store(value, Relaxed),
                    _ => next.store(value, Relaxed),
                }
            }
        }
    })?;
    let until = Deadline::after(Duration::from_secs(2));
    let mut rounds = 0_u64;
    while !until.passed() {
        let first = acquire(&shared.first);
        let second = acquire(&shared.second);
        if rounds.is_multiple_of(2) {
            drop(first);
            drop(second);
        } else {
            drop(second);
            drop(first);
        }
        // Next to a mutex of the C library, which does trust its own links.
        if rounds.is_multiple_of(4) {
            assert_eq!(theirs.lock(), 0);
            let first = acquire(&shared.first);
            drop(first);
            theirs.unlock();
        }
        assert!(shared.is_untouched() && private.iter().all(|word| *word == CANARY));
        rounds += 1;
    }
    shared.stop.store(1, Relaxed);
    scribbler.join()?.ok()?;
    assert_eq!(kernel_list(), (vec![], 0));
    println!("{rounds} rounds");
    Ok(())
}

fn a_peer_that_unsettles_a_held_lock_leaves_no_stale_entry() -> Outcome {
    for (before, during) in [(1, 0), (0, 1)] {
        let shared = Shared::new(Guarded::new())?;
        let settled = fields(&shared.first).1;
        settled.store(before, Relaxed);
        let held = acquire(&shared.first);
        settled.store(during, Relaxed);
        drop(held);
        assert_eq!(kernel_list(), (vec![], 0));
        let start = shared.segment().body().addr();
        drop(shared);
        let maps = std::fs::read_to_string("/proc/self/maps")?;
        assert!(
            !maps.contains(&format!("{:x}-", start & !4095)),
            "parked for a free lock"
        );
    }
    Ok(())
}

/// When ours was locked, a pthread mutex was held. That was unlocked and its memory given to
/// somebody else; a peer makes our link point there all the same.
fn a_forged_link_to_a_mutex_long_unlocked_is_not_followed() -> Outcome {
    let shared = Shared::new(Guarded::new())?;
    let theirs = Pthread::new();
    let (_, _, _, next) = fields(&shared.first);
    assert_eq!(theirs.lock(), 0);
    let held = acquire(&shared.first);
    theirs.unlock();
    assert_eq!(kernel_list().0, [entry_of(&shared.first)]);
    // The page is somebody's data now.
    let page = theirs.0.cast::<u64>();
    // SAFETY: the mapping of `Pthread`, 512 words; the mutex is not used again.
    let data = unsafe { std::slice::from_raw_parts_mut(page, 512) };
    data.fill(CANARY);
    next.store(theirs.entry() as u64, Relaxed);
    drop(held);
    // SAFETY: as above; written by other means, if at all.
    let changed = (0..512)
        .filter(|n| unsafe { page.add(*n).read_volatile() } != CANARY)
        .count();
    assert_eq!(changed, 0, "words of somebody else's memory were written");
    assert_eq!(kernel_list(), (vec![], 0));
    Ok(())
}

fn a_scribbled_word_is_a_broken_lock_and_no_more() -> Outcome {
    let shared = Shared::new(Guarded::new())?;
    let (word, ..) = fields(&shared.first);
    let mut random = Dice::new(0x3e);
    for round in 0..2_000 {
        let held = shared.first.try_acquire();
        let value = match round % 4 {
            0 => 0,
            1 => 1 << 31,
            2 => 1 << 30,
            _ => random.below(1 << 32) as u32,
        };
        word.store(value, Relaxed);
        let second = shared.first.try_acquire();
        drop(held);
        drop(second);
        word.store(0, Relaxed);
        assert_eq!(kernel_list(), (vec![], 0), "round {round}");
        assert!(shared.is_untouched());
    }
    // A thread id that nobody has: found at the end of a slice.
    word.store((1 << 22) + 5, Relaxed);
    assert!(acquire(&shared.first).owner_died());
    Ok(())
}

fn a_thread_that_ends_holding_theirs_after_using_ours_is_found_dead() -> Outcome {
    let ours = Shared::new([const { RobustLock::new() }; 2])?;
    let theirs = [Pthread::new(), Pthread::new()];
    // Theirs locked before our first (behind the posts), after it (before them), or both.
    for (older, newer) in [(true, false), (false, true), (true, true)] {
        std::thread::scope(|scope| {
            let (ours, addresses) = (&ours, [theirs[0].0.addr(), theirs[1].0.addr()]);
            let thread = scope.spawn(move || {
                let theirs = addresses.map(|at| Pthread(at as *mut libc::pthread_mutex_t));
                if older {
                    assert_eq!(theirs[0].lock(), 0);
                }
                drop(acquire(&ours[0]));
                if newer {
                    assert_eq!(theirs[1].lock(), 0);
                }
            });
            thread.join().unwrap();
        });
        for (mutex, died) in theirs.iter().zip([older, newer]) {
            assert_eq!(mutex.lock(), if died { libc::EOWNERDEAD } else { 0 });
            if died {
                mutex.mend();
            }
            mutex.unlock();
        }
        assert_eq!(kernel_list(), (vec![], 0));
    }
    Ok(())
}

/// Set by a thread's own destructors, which run after those of the toolkit.
static AFTER: AtomicU32 = AtomicU32::new(0);

fn list_is_whole(expected: &[usize]) {
    let whole = kernel_list() == (expected.to_vec(), 0);
    AFTER.store(if whole { 1 } else { 2 }, Relaxed);
}

fn a_guard_dropped_while_its_thread_ends_leaves_the_list_whole() -> Outcome {
    struct Late(RefCell<Option<RobustGuard<'static>>>);
    impl Drop for Late {
        fn drop(&mut self) {
            drop(self.0.take());
            list_is_whole(&[]);
        }
    }
    thread_local! { static LATE: Late = const { Late(RefCell::new(None)) } }
    let shared: &Shared<Board> = Box::leak(Box::new(Shared::new(Board::new())?));
    std::thread::spawn(|| {
        LATE.with(|_| ()); // first made, last dropped
        let held = acquire(&shared.lock);
        LATE.with(|late| *late.0.borrow_mut() = Some(held));
    })
    .join()
    .unwrap();
    assert_eq!(
        AFTER.load(Relaxed),
        1,
        "the entry of a free lock stayed in the list"
    );
    assert!(!acquire(&shared.lock).owner_died());
    Ok(())
}

fn a_lock_taken_while_its_thread_ends_over_a_held_one_leaves_the_list_whole() -> Outcome {
    struct Later(RefCell<Option<(RobustGuard<'static>, &'static Shared<Guarded>)>>);
    impl Drop for Later {
        fn drop(&mut self) {
            let (first, shared) = self.0.take().unwrap();
            // What a peer could do.
            let forged = Box::leak(Box::new([CANARY; 8]));
            fields(&shared.first)
                .3
                .store((&raw const forged[4]) as u64, Relaxed);
            let second = acquire(&shared.second);
            drop(first);
            drop(second);
            let clean = forged.iter().all(|word| *word == CANARY);
            list_is_whole(if clean { &[] } else { &[1] });
        }
    }
    thread_local! { static LATER: Later = const { Later(RefCell::new(None)) } }
    let shared: &Shared<Guarded> = Box::leak(Box::new(Shared::new(Guarded::new())?));
    std::thread::spawn(|| {
        LATER.with(|_| ());
        let held = acquire(&shared.first);
        LATER.with(|later| *later.0.borrow_mut() = Some((held, shared)));
    })
    .join()
    .unwrap();
    assert_eq!(AFTER.load(Relaxed), 1);
    Ok(())
}

/// One thread holds a lock by a forgotten guard and takes others off its list out of order;
/// another one asks all the time whether the mapping may go.
fn parking_sees_every_held_lock_while_others_come_and_go() -> Outcome {
    let name = test::unique("parking");
    let kept = Shared::create(&name, Board::new())?;
    let at = kept.segment().body().addr();
    let others = Shared::new([const { RobustLock::new() }; 3])?;
    let (ready, stop) = (AtomicU32::new(0), AtomicU32::new(0));
    let mut kept = Some(kept);
    std::thread::scope(|scope| {
        let mine = kept.as_ref().unwrap().clone();
        let (ready, stop, others) = (&ready, &stop, &others);
        let holder = scope.spawn(move || {
            let [a, b, c] = &**others;
            let mut below = vec![acquire(a), acquire(b)];
            std::mem::forget(acquire(&mine.lock));
            drop(mine);
            ready.store(1, Release);
            let last = acquire(c);
            // The kept one moves down as those below it go.
            while stop.load(Relaxed) == 0 && below.pop().is_some() {}
            // And others above it come and go out of order.
            while stop.load(Relaxed) == 0 {
                let (one, two) = (acquire(a), acquire(b));
                drop(one);
                drop(two);
            }
            drop(last);
        });
        board::until(ready, 1);
        let mut moved = 0;
        for _ in 0..20_000 {
            drop(kept.take());
            let again = Shared::<Board>::open(&name).unwrap();
            moved += usize::from(again.segment().body().addr() != at);
            kept = Some(again);
        }
        stop.store(1, Relaxed);
        holder.join().unwrap();
        multiproc_segment::unlink(&name).unwrap();
        assert_eq!(moved, 0, "the mapping went although a lock in it was held");
    });
    Ok(())
}
