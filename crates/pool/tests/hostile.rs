//! Somebody scribbles over the pool's shared memory, or stops its processes: what comes is an error,
//! or another's work, and never a jump into nowhere or an end without word.

use common::{Outcome, children_of, state_of, until};
use multiproc_pool::{Ended, Pool, TaskError};
use multiproc_process::test;
use multiproc_queue::Queue;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::os::unix::fs::FileExt;

const MARK: &str = "an argument that is found again in memory, and is not like any other";

fn length(text: String) -> usize {
    text.len()
}

fn square(n: u64) -> u64 {
    n * n
}

/// Works until it is told to go on.
fn wait_for((told, go): (Queue<u8>, Queue<u8>)) {
    told.put(1).unwrap();
    go.get().unwrap();
}

/// The memory in which [`MARK`] stands, and where.
fn find_mark() -> Result<(File, u64), Box<dyn std::error::Error>> {
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let path = entry?.path();
        let is_ours = std::fs::read_link(&path)
            .is_ok_and(|target| target.to_string_lossy().contains("memfd:multiproc"));
        if !is_ours {
            continue;
        }
        let file = File::options().read(true).write(true).open(path)?;
        let mut bytes = vec![0; 256 << 10];
        let n = file.read_at(&mut bytes, 0)?;
        let marks = bytes[..n].windows(MARK.len());
        if let Some(at) = { marks }.position(|window| window == MARK.as_bytes()) {
            return Ok((file, at as u64));
        }
    }
    Err("the mark is nowhere".into())
}

/// What became of the task, and of the next one.
type Became = (Result<usize, TaskError>, Result<u64, TaskError>);

/// Has a task queued, writes `garbage` so many bytes before its argument, and says what became of
/// it, and of the next one.
fn scribbled(before: u64, garbage: &[u8]) -> Result<Became, Box<dyn std::error::Error>> {
    let pool = Pool::new(1)?;
    let (told, go) = (Queue::unbounded()?, Queue::unbounded()?);
    let first = pool.apply_async(wait_for, (told.clone(), go.clone()))?;
    told.get()?;
    let result = pool.apply_async(length, MARK.to_owned())?;
    let next = pool.apply_async(square, 5)?;
    let (memory, at) = find_mark()?;
    memory.write_all_at(garbage, at - before)?;
    go.put(1)?;
    first.wait();
    let outcome = (result.get(), next.get());
    drop(pool);
    Ok(outcome)
}

/// Bytes before the argument, where its length stands: seal, function, via, limit, count, attempt,
/// task, and before those the record's header.
const SEAL: u64 = 1 + 8;
const FUNCTION: u64 = 1 + 16;
const VIA: u64 = 1 + 24;
const COUNT: u64 = 1 + 36;
const HEADER: u64 = 1 + 48 + 8;

fn a_function_that_is_none_is_refused() -> Outcome {
    for before in [SEAL, FUNCTION, VIA] {
        for garbage in [[0_u8; 8], [0xff; 8], 0x1000_u64.to_ne_bytes()] {
            let (result, next) = scribbled(before, &garbage)?;
            let Err(TaskError::NotSerialisable(why)) = result else {
                panic!("{before}, {garbage:?}: {result:?}");
            };
            assert!(why.contains("no function"), "{why}");
            assert_eq!(next, Ok(25));
        }
    }
    Ok(())
}

fn arguments_that_are_none_are_an_error() -> Outcome {
    // A text longer than what is there.
    let (result, next) = scribbled(1, &[0x7f])?;
    assert!(
        matches!(result, Err(TaskError::NotSerialisable(_))),
        "{result:?}"
    );
    assert_eq!(next, Ok(25));
    // No text.
    let (result, _) = scribbled(0, &[0xff, 0xfe])?;
    assert!(
        matches!(result, Err(TaskError::NotSerialisable(_))),
        "{result:?}"
    );
    // More of them than there are: the first has its value.
    let (result, next) = scribbled(COUNT, &u32::MAX.to_ne_bytes())?;
    assert!(
        result.is_ok() || matches!(result, Err(TaskError::NotSerialisable(_))),
        "{result:?}"
    );
    assert_eq!(next, Ok(25));
    Ok(())
}

fn a_record_that_is_none_ends_the_pool() -> Outcome {
    for garbage in [u64::MAX, 1 << 63 | u64::from(u32::MAX), 7] {
        let (result, next) = scribbled(HEADER, &garbage.to_ne_bytes())?;
        let corrupted = TaskError::PoolEnded(Ended::Corrupted);
        assert_eq!(result, Err(corrupted.clone()), "{garbage:x}");
        assert_eq!(next, Err(corrupted));
    }
    Ok(())
}

fn a_stopped_worker_stops_no_other() -> Outcome {
    let pool = Pool::new(2)?;
    for worker in children_of(pool.keeper_pid()) {
        // Asleep, it has no lock.
        until("it to sleep", || state_of(worker) == Some('S'));
        kill(Pid::from_raw(worker as i32), Signal::SIGSTOP)?;
        let mut results = Vec::new();
        for n in 0..20 {
            results.push(pool.apply_async(square, n)?);
        }
        for (n, result) in (0..).zip(results) {
            assert_eq!(result.get()?, n * n);
        }
        kill(Pid::from_raw(worker as i32), Signal::SIGCONT)?;
    }
    // Stopped, they can be killed.
    for worker in children_of(pool.keeper_pid()) {
        kill(Pid::from_raw(worker as i32), Signal::SIGSTOP)?;
    }
    pool.terminate().join()?;
    Ok(())
}

fn a_stopped_keeper_is_killed_in_the_end() -> Outcome {
    let pool = Pool::new(2)?;
    kill(Pid::from_raw(pool.keeper_pid() as i32), Signal::SIGSTOP)?;
    assert_eq!(pool.apply(square, 4)?, 16);
    pool.terminate().join()?;
    Ok(())
}

test::main! {
    a_function_that_is_none_is_refused,
    arguments_that_are_none_are_an_error,
    a_record_that_is_none_ends_the_pool,
    a_stopped_worker_stops_no_other,
    a_stopped_keeper_is_killed_in_the_end,
}
