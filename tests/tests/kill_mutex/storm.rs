//! Kills at random.

use crate::pair::{Beside, Pair};
use crate::rwlock::Rw;
use common::*;
use multiproc_lock::{Mutex, PlainData};
use multiproc_process::Exit;
use multiproc_rlock::ReentrantMutex;
use multiproc_segment::Shareable;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

#[derive(Shareable)]
#[repr(C)]
struct Board {
    mutex: Mutex<[u64; 2]>,
    beside: Beside,
    rwlock: Rw,
    reentrant: ReentrantMutex<[u64; 2]>,
    torn: AtomicU64,
}

impl Board {
    fn pair(&self, n: u64) -> &dyn Pair {
        match n % 4 {
            0 => &self.mutex,
            1 => &self.beside,
            2 => &self.rwlock,
            _ => &self.reentrant,
        }
    }
}

/// Every player goes round all locks; now and then one is killed, and all locks must be had at
/// once, whole or with the news. One player in the end stands for the sum of all.
pub(crate) fn killed_at_random_nothing_is_torn_unnoticed() -> Outcome {
    fn plain<T: PlainData>(_: &T) {}
    plain(&[0_u64; 2]);
    let kills = setting("KILLS", 300);
    let board = shared(Board {
        mutex: Mutex::new([0; 2]),
        beside: Beside::new(),
        rwlock: Rw::with_places([0; 2]),
        reentrant: ReentrantMutex::new([0; 2]),
        torn: AtomicU64::new(0),
    });
    let play = |seed: u64| -> () {
        let mut dice = Dice::new(seed | 1);
        loop {
            let turn = board.pair(dice.below(4)).turn();
            if !turn.died && !turn.whole {
                board.torn.store(1, Relaxed);
            }
        }
    };
    let mut players: Vec<_> = (1..=3).map(|seed| start(|| play(seed))).collect();
    let mut dice = Dice::new(0xbead);
    let mut times = [const { Vec::new() }; 4];
    for n in 0..kills {
        // A random moment, not a synchronisation.
        std::thread::sleep(Duration::from_micros(dice.below(1_500)));
        let victim = players.remove(dice.below(3) as usize);
        victim.kill()?;
        let killed = Instant::now();
        for kind in 0..4 {
            let begun = Instant::now().max(killed);
            let turn = board.pair(kind).turn();
            assert!(
                turn.whole || turn.died,
                "lock {kind} after {n} kills: {turn:?}"
            );
            if turn.died {
                times[kind as usize].push(begun.elapsed());
            }
        }
        assert_eq!(ends(&victim), Exit::Signal(9));
        assert_eq!(board.torn.load(Relaxed), 0);
        players.push(start(|| play(n + 7)));
    }
    players.iter().for_each(kill);
    for (times, name) in times.into_iter().zip(["Mutex", "Lock", "RwLock", "RLock"]) {
        if !times.is_empty() {
            println!(
                "{name}: {kills} kills, to the lock of a dead holder {}",
                spread(times)
            );
        }
    }
    Ok(())
}
