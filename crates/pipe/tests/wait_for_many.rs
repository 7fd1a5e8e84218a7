//! `wait` for so many objects that it keeps an `epoll` between the calls.

use common::{Counter, Dice, Outcome, PATIENCE, ends_well, kill};
use multiproc_pipe::{Connection, Pipe, Receiver, Sender, Source, TryRecvError, wait};
use multiproc_process::{Process, test};
use multiproc_queue::Queue;
use std::io::Write;
use std::time::{Duration, Instant};

test::main! {
    #[timeout(120)]
    one_of_a_thousand,
    the_same_things_in_another_order,
    things_come_and_go,
    one_thing_twice,
    things_of_all_kinds_together,
    the_exact_subset_that_is_ready,
    a_forked_child_waits_for_itself,
    what_was_dropped_here_and_lives_elsewhere_disturbs_nobody,
    a_killed_one_among_many,
    threads_wait_each_for_their_own,
    without_descriptors_left_poll_has_to_do,
    no_bell_is_missed_between_two_waits,
}

type Ends = (Receiver<u64>, Sender<u64>);

fn pipes(count: usize) -> Outcome<Vec<Ends>> {
    let options = Pipe::<u64>::options().reserve(64 << 10);
    (0..count).map(|_| Ok(options.simplex()?)).collect()
}

fn wait_for(pipes: &[Ends], timeout: Duration) -> Vec<usize> {
    wait(pipes.iter().map(|(receiver, _)| receiver), Some(timeout)).unwrap()
}

fn one_of_a_thousand() -> Outcome {
    const TURNS: u64 = 300;
    common::limit(libc::RLIMIT_NOFILE, 1 << 20);
    let pipes = pipes(1_000)?;
    let turn = Counter::new();
    let child = Process::start(|| {
        let mut dice = Dice::new(1);
        for n in 1..=TURNS {
            turn.reach(n);
            pipes[dice.below(1_000) as usize].1.send(n).unwrap();
        }
    })?;
    assert!(wait_for(&pipes, Duration::ZERO).is_empty());
    let mut dice = Dice::new(1);
    for n in 1..=TURNS {
        turn.count();
        let expected = dice.below(1_000) as usize;
        assert_eq!(wait_for(&pipes, PATIENCE), [expected]);
        assert_eq!(pipes[expected].0.try_recv(), Ok(n));
    }
    ends_well(&child);
    let begun = Instant::now();
    assert!(wait_for(&pipes, Duration::from_millis(120)).is_empty());
    assert!(begun.elapsed() >= Duration::from_millis(119));
    Ok(())
}

fn the_same_things_in_another_order() -> Outcome {
    let mut pipes = pipes(50)?;
    for n in 0..100 {
        pipes.rotate_left(n % 7);
        if n % 10 == 0 {
            pipes.reverse();
        }
        let count = 40 + n % 11;
        let of = n % count;
        assert!(wait_for(&pipes[..count], Duration::ZERO).is_empty());
        pipes[of].1.send(1)?;
        assert_eq!(wait_for(&pipes[..count], PATIENCE), [of]);
        assert_eq!(pipes[of].0.recv(), Ok(1));
    }
    Ok(())
}

fn things_come_and_go() -> Outcome {
    let mut all = pipes(64)?;
    let mut dice = Dice::new(2);
    for _ in 0..300 {
        // Descriptors that are closed here come back as others.
        let at = dice.below(64) as usize;
        all[at] = pipes(1)?.remove(0);
        assert!(wait_for(&all, Duration::ZERO).is_empty());
        let of = dice.below(64) as usize;
        all[of].1.send(1)?;
        assert_eq!(wait_for(&all, PATIENCE), [of]);
        assert_eq!(all[of].0.recv(), Ok(1));
    }
    Ok(())
}

fn one_thing_twice() -> Outcome {
    let pipes = pipes(40)?;
    let twice = || {
        pipes
            .iter()
            .chain([&pipes[3]])
            .map(|(receiver, _)| receiver)
    };
    assert!(wait(twice(), Some(Duration::ZERO))?.is_empty());
    pipes[3].1.send(1)?;
    assert_eq!(wait(twice(), Some(PATIENCE))?, [3, 40]);
    Ok(())
}

fn things_of_all_kinds_together() -> Outcome {
    let pipes = pipes(50)?;
    let queue = Queue::<u64>::bounded(4)?;
    let mute = Pipe::<u64>::options().without_courier().simplex()?;
    let (read, mut write) = std::io::pipe()?;
    let go = Counter::new();
    let child = Process::start(|| go.reach(1))?;
    let everything = || -> Vec<Source<'_>> {
        let mut all: Vec<Source<'_>> = pipes.iter().map(|(one, _)| Source::from(one)).collect();
        all.insert(20, Source::descriptor(&read));
        all.push(Source::from(&queue));
        all.push(Source::from(&mute.0));
        all.push(Source::descriptor(&child));
        all
    };
    assert!(wait(everything(), Some(Duration::ZERO))?.is_empty());
    write.write_all(b"x")?;
    assert_eq!(wait(everything(), Some(PATIENCE))?, [20]);
    pipes[49].1.send(1)?;
    pipes[0].1.send(1)?;
    assert_eq!(wait(everything(), Some(PATIENCE))?, [0, 20, 50]);
    queue.put(1)?;
    assert_eq!(wait(everything(), Some(PATIENCE))?, [0, 20, 50, 51]);
    mute.1.send(1)?;
    assert_eq!(wait(everything(), Some(PATIENCE))?, [0, 20, 50, 51, 52]);
    go.count();
    ends_well(&child);
    assert_eq!(wait(everything(), Some(PATIENCE))?, [0, 20, 50, 51, 52, 53]);
    Ok(())
}

fn the_exact_subset_that_is_ready() -> Outcome {
    let pipes = pipes(60)?;
    let mut dice = Dice::new(3);
    for _ in 0..100 {
        let mut ready: Vec<usize> = (0..dice.below(20))
            .map(|_| dice.below(60) as usize)
            .collect();
        ready.sort_unstable();
        ready.dedup();
        ready.iter().try_for_each(|at| pipes[*at].1.send(1))?;
        assert_eq!(wait_for(&pipes, Duration::ZERO), ready);
        // By try or by recv: some bells are looked at, some are not.
        for at in &ready {
            assert_eq!(pipes[*at].0.recv(), Ok(1));
        }
        assert!(wait_for(&pipes, Duration::ZERO).is_empty());
    }
    Ok(())
}

fn a_forked_child_waits_for_itself() -> Outcome {
    let pipes = pipes(64)?;
    let (turn, answers) = (Counter::new(), Queue::<usize>::unbounded()?);
    assert!(wait_for(&pipes, Duration::ZERO).is_empty());
    let child = Process::start(|| {
        // Other objects of its own, in what it has from its parent.
        let mine = self::pipes(64).unwrap();
        for n in 0..50 {
            turn.reach(n + 1);
            assert!(wait_for(&mine, Duration::ZERO).is_empty());
            mine[n as usize].1.send(n).unwrap();
            let ready = wait_for(&mine, PATIENCE);
            assert_eq!(mine[n as usize].0.recv(), Ok(n));
            answers.put(ready[0]).unwrap();
        }
    })?;
    for n in 0..50 {
        pipes[63 - n].1.send(1)?;
        turn.count();
        assert_eq!(wait_for(&pipes, PATIENCE), [63 - n]);
        assert_eq!(pipes[63 - n].0.recv(), Ok(1));
        assert_eq!(answers.get()?, n);
        assert!(wait_for(&pipes, Duration::ZERO).is_empty());
    }
    ends_well(&child);
    Ok(())
}

fn what_was_dropped_here_and_lives_elsewhere_disturbs_nobody() -> Outcome {
    let (here, go) = (Counter::new(), Counter::new());
    let all = pipes(64)?;
    // The child has copies of all descriptors, and has bells rung, one after the other.
    let child = Process::start(|| {
        let mine: Vec<Ends> = all.iter().map(|(r, s)| (r.clone(), s.clone())).collect();
        here.count();
        while go.get() == 0 {
            for (receiver, sender) in &mine {
                assert!(wait([receiver], Some(Duration::ZERO)).unwrap().is_empty());
                sender.send(1).unwrap();
                assert_eq!(receiver.recv(), Ok(1));
            }
        }
    })?;
    here.reach(1);
    // This thread's `epoll` has them, too, and keeps them when they are dropped.
    let _ = wait_for(&all, Duration::ZERO);
    drop(all);
    let others = pipes(64)?;
    let mut dice = Dice::new(4);
    let begun = Instant::now();
    for n in 0..200 {
        let of = dice.below(64) as usize;
        let _ = wait_for(&others, Duration::from_micros(50));
        others[of].1.send(n)?;
        assert_eq!(wait_for(&others, PATIENCE), [of]);
        assert_eq!(others[of].0.recv(), Ok(n));
    }
    println!("{:?} for 200 waits", begun.elapsed());
    go.count();
    ends_well(&child);
    Ok(())
}

fn a_killed_one_among_many() -> Outcome {
    let mut connections = Vec::new();
    let mut children = Vec::new();
    for _ in 0..40 {
        let (mine, theirs) = Pipe::<u64>::options().reserve(64 << 10).duplex()?;
        connections.push(mine);
        children.push(Process::start(move || drop(theirs.recv()))?);
    }
    let all = |connections: &[Connection<u64>]| wait(connections, Some(PATIENCE)).unwrap();
    for at in [7, 0, 39] {
        kill(&children[at]);
        let killed = Instant::now();
        let ready = loop {
            let ready = all(&connections);
            if ready.contains(&at) {
                break ready;
            }
        };
        println!("after {:?}", killed.elapsed());
        assert!(ready.contains(&at));
        assert_eq!(connections[at].try_recv(), Err(TryRecvError::Closed));
        // Another one in its place, so that the next is the only one.
        let (mine, theirs) = Pipe::<u64>::options().reserve(64 << 10).duplex()?;
        connections[at] = mine;
        children.push(Process::start(move || drop(theirs.recv()))?);
    }
    drop(connections);
    for child in &children {
        let _ = child.join_timeout(PATIENCE)?;
    }
    Ok(())
}

fn threads_wait_each_for_their_own() -> Outcome {
    std::thread::scope(|scope| {
        for seed in 0..4 {
            scope.spawn(move || {
                let pipes = pipes(50).unwrap();
                let mut dice = Dice::new(seed);
                for n in 0..300 {
                    let of = dice.below(50) as usize;
                    assert!(wait_for(&pipes, Duration::ZERO).is_empty());
                    pipes[of].1.send(n).unwrap();
                    assert_eq!(wait_for(&pipes, PATIENCE), [of]);
                    assert_eq!(pipes[of].0.recv(), Ok(n));
                }
            });
        }
    });
    Ok(())
}

fn without_descriptors_left_poll_has_to_do() -> Outcome {
    let pipes = pipes(40)?;
    common::limit(libc::RLIMIT_NOFILE, 128);
    let mut taken = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        taken.push(file);
    }
    assert!(wait_for(&pipes, Duration::ZERO).is_empty());
    pipes[5].1.send(1)?;
    assert_eq!(wait_for(&pipes, PATIENCE), [5]);
    Ok(())
}

fn no_bell_is_missed_between_two_waits() -> Outcome {
    const MESSAGES: u64 = 3_000;
    let pipes = pipes(40)?;
    let children = Process::start_each(0..2, |seed| {
        let mut dice = Dice::new(seed);
        for n in 0..MESSAGES {
            pipes[dice.below(40) as usize].1.send(n).unwrap();
            if dice.below(5) == 0 {
                std::thread::sleep(Duration::from_micros(dice.below(100)));
            }
        }
    })?;
    let (mut got, mut longest) = (0, Duration::ZERO);
    while got < 2 * MESSAGES {
        let begun = Instant::now();
        let ready = wait_for(&pipes, PATIENCE);
        longest = longest.max(begun.elapsed());
        assert!(!ready.is_empty());
        // One each, of the first: the others are found again.
        for at in ready.into_iter().take(2) {
            pipes[at].0.try_recv()?;
            got += 1;
        }
    }
    println!("{longest:?} for the longest wait");
    children.iter().for_each(ends_well);
    Ok(())
}
