//! Killed at every step, where somebody waits in an event loop without a timer: the next message
//! of a living writer is heard, and what the dead one had committed with it.

use common::*;
use multiproc_core::step;
use multiproc_process::{Exit, Process, test};
use multiproc_queue::codec::{Bytes, Plain};
use multiproc_queue::{Queue, TryGetError};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::os::fd::AsFd;

test::main! {
    #[timeout(180)]
    killed_at_each_step_of_a_put_that_is_watched,
    #[timeout(180)]
    killed_at_each_step_of_a_put_beside_which_somebody_armed,
    #[timeout(180)]
    killed_at_each_step_of_arming,
    #[timeout(180)]
    killed_at_each_step_of_a_close_that_is_watched,
}

#[track_caller]
fn wait(epoll: &Epoll) {
    let patience = EpollTimeout::try_from(PATIENCE).unwrap();
    let ready = epoll.wait(&mut [EpollEvent::empty()], patience);
    assert_eq!(ready, Ok(1), "slept for {PATIENCE:?}");
}

fn watch(fd: impl AsFd, flags: EpollFlags) -> Epoll {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
    let event = EpollEvent::new(EpollFlags::EPOLLIN | flags, 0);
    epoll.add(fd, event).unwrap();
    epoll
}

/// Everything up to this number, as it is heard of.
#[track_caller]
fn hear(epoll: &Epoll, queue: &Queue<u64, Plain>, last: u64) -> Vec<u64> {
    let mut got = Vec::new();
    while got.last() != Some(&last) {
        match queue.try_get() {
            Ok(n) => got.push(n),
            Err(TryGetError::Empty) => wait(epoll),
            Err(error) => panic!("after {got:?}: {error}"),
        }
    }
    got
}

/// Starts a child that calls this. From where it calls what it is given, its steps count.
type Start<'a> = &'a dyn Fn(&dyn Fn(&dyn Fn())) -> Process;

/// Runs `round` with each step of its child's fatal, once by level and once by edge.
fn each_step(round: impl Fn(Start<'_>, EpollFlags)) {
    for flags in [EpollFlags::empty(), EpollFlags::EPOLLET] {
        let counted = Counter::new();
        let run = |begin: &dyn Fn()| {
            let start = |act: &dyn Fn(&dyn Fn())| {
                let child = Process::start(|| {
                    act(begin);
                    counted.set(step::counted());
                    step::disarm();
                });
                child.expect("a child")
            };
            round(&start, flags);
        };
        run(&step::count_on);
        let steps = counted.get();
        println!("{steps} steps");
        assert!(steps > 0);
        for n in 0..steps {
            println!("killed at step {n}");
            run(&|| step::arm(n));
        }
    }
}

/// Killed where it should be, or well where nothing was fatal.
fn ended(child: &Process) {
    assert!(matches!(ends(child), Exit::Signal(9) | Exit::Code(0)));
}

fn numbers() -> Queue<u64, Plain> {
    let options = Queue::<u64>::options().codec::<Plain>();
    options.capacity(8).build().unwrap()
}

fn killed_at_each_step_of_a_put_that_is_watched() {
    each_step(|start, flags| {
        let queue = numbers();
        let epoll = watch(&queue, flags);
        assert!(queue.try_get().is_err());
        let child = start(&|begin| {
            begin();
            queue.put(1).unwrap();
        });
        ended(&child);
        queue.put(2).unwrap();
        let got = hear(&epoll, &queue, 2);
        assert!(got == [2] || got == [1, 2], "{got:?}");
        // And it goes on.
        assert!(queue.try_get().is_err());
        queue.put(3).unwrap();
        assert_eq!(hear(&epoll, &queue, 3), [3]);
    });
}

fn killed_at_each_step_of_a_put_beside_which_somebody_armed() {
    each_step(|start, flags| {
        let options = Queue::<Vec<u8>>::options().codec::<Bytes>();
        let queue = options.build().unwrap();
        let (holds, go) = (Counter::new(), Counter::new());
        let child = start(&|begin| {
            // With the loan the lock is held.
            let loan = queue.put_loan(8).unwrap();
            holds.count();
            go.reach(1);
            begin();
            loan.commit();
        });
        holds.reach(1);
        let epoll = watch(&queue, flags);
        assert_eq!(queue.try_get(), Err(TryGetError::Empty));
        go.count();
        ended(&child);
        queue.put_bytes(b"last").unwrap();
        let mut got = Vec::new();
        while got.last().map(Vec::as_slice) != Some(b"last") {
            match queue.try_get() {
                Ok(message) => got.push(message),
                Err(TryGetError::Empty) => wait(&epoll),
                Err(error) => panic!("{error}"),
            }
        }
        assert!(got.len() <= 2);
    });
}

fn killed_at_each_step_of_arming() {
    each_step(|start, flags| {
        let queue = numbers();
        let epoll = watch(&queue, flags);
        // A bell that nobody has answered, so that there is something to take away.
        queue.put(1).unwrap();
        assert_eq!(queue.get(), Ok(1));
        let child = start(&|begin| {
            begin();
            queue.as_fd();
        });
        ended(&child);
        queue.put(2).unwrap();
        assert_eq!(hear(&epoll, &queue, 2), [2]);
    });
}

fn killed_at_each_step_of_a_close_that_is_watched() {
    each_step(|start, flags| {
        let (tx, rx) = numbers().split();
        let mine = tx.clone();
        let epoll = watch(&rx, flags);
        assert!(rx.try_get().is_err());
        // The child's own end: registered by its clone.
        let child = start(&|begin| {
            let theirs = tx.clone();
            begin();
            drop(theirs);
        });
        ended(&child);
        drop(tx);
        mine.put(1).unwrap();
        drop(mine);
        let mut got = Vec::new();
        loop {
            match rx.try_get() {
                Ok(n) => got.push(n),
                Err(TryGetError::Empty) => wait(&epoll),
                Err(error) => break assert_eq!(error, TryGetError::Closed),
            }
        }
        assert_eq!(got, [1]);
    });
}
