//! Bare fork: one call, two returns.

use crate::not_started::StartError;
use crate::process::Process;
use crate::start::{Threads, split};

/// Which of the two processes this is, after [`fork`].
#[derive(Debug)]
#[must_use = "both processes go on from here, and only this tells them apart"]
pub enum Fork {
    /// The process that called, with its new child.
    Parent(Process),
    /// The child.
    Child,
}

/// Splits this process in two. Both return from this call.
///
/// [`Process::start`] is what one usually wants. This one does not mark where the child ends:
/// it goes on with everything that comes after, up to the end of `main`. So
///
/// - every value that exists now exists twice and is dropped twice: a `BufWriter` writes its
///   buffer twice, a temporary directory is removed by whoever comes first. (stdout and stderr
///   are flushed before.)
/// - nothing is handed over: ends of queues and pipes stay the parent's, and are inert in the
///   child;
/// - the child keeps the parent's stdin.
///
/// The child has its own name, [`parent()`](crate::parent()) and list of children, and at its
/// normal end it joins its own children. Fails as [`Process::start`] does, except that a daemon
/// may call it. The child has no part in a test harness or an event loop that called this.
///
/// *Blocks until* the child is forked; in the child, until the parent has noted it down. *If a
/// peer dies*: if the parent is killed before that, the child ends without returning.
///
/// ```standalone_crate
/// use multiproc_process::{Fork, fork};
///
/// match fork()? {
///     Fork::Child => println!("the new process"),
///     Fork::Parent(child) => {
///         println!("the old process");
///         child.join()?.ok()?;
///     }
/// }
/// println!("both come here");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn fork() -> Result<Fork, StartError> {
    Ok(match split(Threads::One, None, false)? {
        None => Fork::Child,
        Some(hatching) => Fork::Parent(hatching.open()),
    })
}
