//! A program in which the pool is the first thing there is: nothing else of the toolkit has been
//! used before the fork, and nobody but the pool sees to it that a copy of it knows itself as one.
//! So this has no runner, which would have done that.

use multiproc_pool::{Pool, SubmitError, TaskError};
use multiproc_process::Process;

fn square(n: u64) -> u64 {
    n * n
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The watchdog: a signal that ends the program.
    // SAFETY: takes a number, and nothing handles the signal.
    unsafe { libc::alarm(120) };
    let pool = Pool::new(2)?;
    let refused = |answer| answer == Err(TaskError::NotSubmitted(SubmitError::NotOwner(())));
    let child = Process::start(|| i32::from(!refused(pool.apply(square, 3))))?;
    child.join()?.ok()?;

    assert_eq!(pool.apply(square, 4), Ok(16));
    pool.close().join()?;
    Ok(())
}
