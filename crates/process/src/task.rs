//! The life of a process that got its task by letter, from its entry to its function.
//!
//! ```text
//!   entered    the starter is told (a fork server tells it for us)
//!   letter     another build: refused. Name, parent, start method; a daemon binds itself
//!   decoded    the arguments, and with them the ends that now are this process's
//!   ready      the starter is told; it drops its copy of the arguments
//!   go         the function, and then as in every child
//! ```
//!
//! Up to *go* this process leaves, without having run anything, as soon as its starter dies or
//! hangs up. If it dies itself: the starter sees it, and start is an error.

use crate::bond;
use crate::child::{self, NEVER_RAN, Origin};
use crate::exit::ExitValue;
use crate::house::{house, move_in};
use crate::letter::Letter;
use crate::line::{Kind, Line, LineError};
use crate::sys;
use crate::sys::image::Image;
use multiproc_core::step;
use serde::de::DeserializeOwned;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// A letter that has been read, up to the arguments.
pub(crate) struct Task<'a> {
    line: Line,
    starter: Arc<OwnedFd>,
    /// Of this image.
    function: *const (),
    arguments: &'a [u8],
    descriptors: Vec<OwnedFd>,
    origin: Origin,
}

/// What a letter's `run` is: made for the types of one function.
pub(crate) type Run = fn(Task<'_>) -> !;

/// The first act of a spawned process.
pub(crate) fn enter(line: Line, starter: OwnedFd) -> ! {
    step!("spawned: at the entry");
    let told = line.send(Kind::Entered, &[], &[], starter.as_fd());
    or_leave(told);
    step!("spawned: entered");
    obey(line, Arc::new(starter), Origin::Spawned)
}

/// Waits for the letter and does what it says.
pub(crate) fn obey(line: Line, starter: Arc<OwnedFd>, origin: Origin) -> ! {
    let message = match line.receive(starter.as_fd()) {
        Ok(message) => message,
        Err(LineError::Gone) => sys::leave(NEVER_RAN),
        // Too few descriptors are free here for those that came along, say.
        Err(LineError::System(error)) => refuse(
            &line,
            &starter,
            &format!("it cannot receive its task: {error}"),
        ),
    };
    if message.kind != Kind::Letter {
        sys::leave(NEVER_RAN);
    }
    step!("spawned: letter read");
    let Ok((letter, arguments)) = Letter::read(&message.bytes) else {
        refuse(&line, &starter, "it cannot read its task");
    };
    let image = Image::ours();
    // Before anything else that it says is believed.
    if letter.image != image.identity() {
        refuse(
            &line,
            &starter,
            "it is another build of the program than its starter",
        );
    }
    let (Some(run), Some(function)) = (image.code_at(letter.run), image.code_at(letter.function))
    else {
        refuse(&line, &starter, "the function is not in the program");
    };
    move_in(Arc::new(letter.me(Arc::clone(&starter))));
    house(|house| house.authkey = Some(letter.authkey()));
    letter.method.settle();
    if origin == Origin::Forked {
        crate::leave::greet();
    }
    if crate::current().is_daemon()
        && let Err(error) = bond::tie(
            &starter,
            letter.from_main_thread && origin == Origin::Spawned,
        )
    {
        refuse(
            &line,
            &starter,
            &format!("a daemon that cannot be bound to its parent: {error}"),
        );
    }
    // SAFETY: the same build wrote this offset, in `Newcomer`'s letter, of a `Run`.
    let run: Run = unsafe { std::mem::transmute::<*const (), Run>(run) };
    run(Task {
        line,
        starter,
        function,
        arguments,
        descriptors: message.descriptors,
        origin,
    })
}

/// Decodes the arguments, and runs the function once the starter says so. A letter names this
/// together with a function of these very types.
pub(crate) fn run<A: DeserializeOwned, R: ExitValue>(task: Task<'_>) -> ! {
    let Task {
        line,
        starter,
        function,
        arguments,
        descriptors,
        origin,
    } = task;
    let decoded = catch_unwind(AssertUnwindSafe(|| {
        multiproc_parcel::unpack(descriptors, || postcard::from_bytes::<A>(arguments))
    }));
    let arguments = match decoded {
        Ok(Ok(arguments)) => arguments,
        Ok(Err(error)) => refuse(
            &line,
            &starter,
            &format!("it cannot decode its arguments: {error}"),
        ),
        Err(panic) => {
            std::mem::forget(panic);
            refuse(
                &line,
                &starter,
                "it panicked while it decoded its arguments",
            )
        }
    };
    step!("spawned: decoded");
    or_leave(line.send(Kind::Ready, &[], &[], starter.as_fd()));
    step!("spawned: ready");
    let go = or_leave(line.receive(starter.as_fd()));
    if go.kind != Kind::Go {
        sys::leave(NEVER_RAN);
    }
    drop(line);
    step!("spawned: told to go");
    // SAFETY: the letter was written by the same build, where `function` was an `fn(A) -> R` and
    // `run::<A, R>` was named beside it.
    let function: fn(A) -> R = unsafe { std::mem::transmute::<*const (), fn(A) -> R>(function) };
    child::live(origin, move || function(arguments))
}

/// Tells the starter why not, and leaves.
fn refuse(line: &Line, starter: &OwnedFd, why: &str) -> ! {
    // If nobody is there to be told, leaving is all the same right.
    let _ = line.send(Kind::Refused, &[why.as_bytes()], &[], starter.as_fd());
    sys::leave(NEVER_RAN)
}

fn or_leave<T>(done: Result<T, LineError>) -> T {
    done.unwrap_or_else(|_| sys::leave(NEVER_RAN))
}
