//! The life of a child, from its gate to `_exit`.

use crate::exit::ExitValue;
use crate::sys;
use multiproc_core::step;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The exit code of a child whose parent gave up or died before the hand-over was done. Nobody
/// is there to see it.
pub(crate) const NEVER_RAN: i32 = 1;

/// How this process came to be, and so how it leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Origin {
    /// A copy: what is registered for the end of the program is its parent's. It leaves at once.
    Forked,
    /// A program of its own, which leaves as programs do.
    Spawned,
}

/// Runs `f`, and ends the process as the crate's essay says.
pub(crate) fn live<R: ExitValue>(origin: Origin, f: impl FnOnce() -> R) -> ! {
    sys::stdin_from_null();
    step!("process-child-before-run");
    let code = match catch_unwind(AssertUnwindSafe(|| f().exit_code())) {
        Ok(code) => code,
        Err(panic) => {
            // The panic hook has written the message; it does not know the process's name. A
            // payload's own destructor might panic again, so it is left alone.
            std::mem::forget(panic);
            let _ = writeln!(
                io::stderr(),
                "{}: ended by the panic above",
                crate::current().name()
            );
            1
        }
    };
    step!("process-child-after-run");
    let code = match catch_unwind(crate::leave::say_goodbye) {
        Ok(()) => code,
        Err(panic) => {
            std::mem::forget(panic);
            1
        }
    };
    // (Rust's stderr has no buffer.)
    let _ = io::stdout().flush();
    sys::flush_c();
    step!("process-child-before-exit");
    match origin {
        Origin::Forked => sys::leave(code),
        Origin::Spawned => std::process::exit(code),
    }
}
