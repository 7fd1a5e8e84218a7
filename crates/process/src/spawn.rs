//! Starting a plain function in a process that is no copy of this one: by running the program
//! anew, or by a fork server.

use crate::context::{Context, StartMethod};
use crate::current::{AuthKey, Me};
use crate::entry;
use crate::exit::ExitValue;
use crate::house::house;
use crate::letter::{self, Errand};
use crate::line::Line;
use crate::newcomer::Newcomer;
use crate::not_started::{NotStarted, StartError};
use crate::process::Process;
use crate::start::Builder;
use crate::sys::exec;
use crate::sys::image::Image;
use crate::{server, sys, task};
use multiproc_core::step;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

impl Process {
    /// Starts a child that runs the function `f` on `arguments`, in a new process of this
    /// program that inherits no descriptors but stdout and stderr (stdin is `/dev/null`).
    ///
    /// Unlike [`Process::start`] it works in a process with threads, and while guards are held;
    /// it costs what starting the program costs. `f` is a plain function or a closure that
    /// captures nothing; what it needs goes into `arguments`, which may hold handles: of queues,
    /// pipes and other shared objects, and [descriptors](multiproc_parcel::Descriptor). They are
    /// dropped here before `f` runs there, so an end of a queue that is moved in belongs to the
    /// child then. (An argument that implements `Serialize` by what it *points to*, as an `Arc`
    /// may, comes as a copy.)
    ///
    /// The program must call [`entry`](crate::entry) first thing in `main`. The new process runs
    /// what stands before that, finds its task there, and ends with it. What `f` returns is
    /// the exit code; all that [`Process::start`] says of the child's end holds. Statics have
    /// their initial values, and the working directory and the environment are this process's at
    /// this moment; `std::env::args` are this program's own.
    ///
    /// It is the running program that is run again, byte for byte, also after its file was
    /// replaced or removed.
    ///
    /// Fails, and gives `arguments` back, where the program has not called `entry` or runs with
    /// borrowed rights (set-user-ID), where the arguments cannot be encoded or decoded, in a daemon, where the new process ends before it
    /// gets to its task, and where the system refuses. If a destructor of the arguments panics
    /// here, the child runs all the same and the panic goes on from this call.
    ///
    /// *Blocks until* the new process has decoded its arguments. *Wakes when* it says so. *If a
    /// peer dies*: if the new process does, this is an error; if this process is killed before
    /// `spawn` returns, the child either never runs `f` or owns everything that was moved into it.
    ///
    /// ```standalone_crate
    /// use multiproc_process::{Process, entry};
    ///
    /// fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     entry();
    ///     let busy = std::thread::spawn(|| ());
    ///     let child = Process::spawn(|(a, b): (i32, i32)| a + b, (20, 22))?;
    ///     assert_eq!(child.join()?.code(), 42);
    ///     # busy.join().unwrap();
    ///     Ok(())
    /// }
    /// ```
    #[doc(alias = "args")]
    pub fn spawn<A, R>(f: fn(A) -> R, arguments: A) -> Result<Process, NotStarted<A>>
    where
        A: Serialize + DeserializeOwned,
        R: ExitValue,
    {
        Builder::new().spawn(f, arguments)
    }
}

impl Builder {
    /// As [`Process::spawn`].
    ///
    /// *Blocks*, *wakes* and *if a peer dies*: as there.
    pub fn spawn<A, R>(self, f: fn(A) -> R, arguments: A) -> Result<Process, NotStarted<A>>
    where
        A: Serialize + DeserializeOwned,
        R: ExitValue,
    {
        by_letter(self, StartMethod::Spawn, f, arguments)
    }

    /// Starts a plain function by the method of `context`: see [`Context::start`].
    ///
    /// *Blocks*, *wakes* and *if a peer dies*: as there.
    pub fn start_in<A, R>(
        self,
        context: impl Into<Context>,
        f: fn(A) -> R,
        arguments: A,
    ) -> Result<Process, NotStarted<A>>
    where
        A: Serialize + DeserializeOwned,
        R: ExitValue,
    {
        match context.into().method() {
            StartMethod::Fork => self.start_in_fork(f, arguments),
            other => by_letter(self, other, f, arguments),
        }
    }
}

/// The two addresses of a task, as offsets.
pub(crate) struct Addresses {
    run: u64,
    function: u64,
}

/// Where `f` is in the program, and the code that calls a function of its type.
pub(crate) fn errand<A: DeserializeOwned, R: ExitValue>(
    f: fn(A) -> R,
) -> Result<Addresses, StartError> {
    if !entry::is_passed() {
        return Err(StartError::NoEntry);
    }
    if exec::has_borrowed_rights() {
        return Err(StartError::BorrowedRights);
    }
    let image = Image::ours();
    let run: task::Run = task::run::<A, R>;
    Ok(Addresses {
        run: image.offset(run as *const ()).ok_or(StartError::Function)?,
        function: image.offset(f as *const ()).ok_or(StartError::Function)?,
    })
}

impl Addresses {
    pub(crate) fn of<'a>(
        &self,
        me: &'a Me,
        parent_name: &'a str,
        authkey: &'a AuthKey,
        method: StartMethod,
    ) -> Errand<'a> {
        Errand {
            run: self.run,
            function: self.function,
            me,
            parent_name,
            authkey,
            method,
        }
    }
}

/// A new process of this program, at its entry.
pub(crate) fn new_process() -> Result<Newcomer, StartError> {
    let (line, theirs) = Line::pair().map_err(StartError::System)?;
    step!("spawn: before the process");
    let pid = entry::run_again(&theirs).map_err(StartError::System)?;
    step!("spawn: process made");
    drop(theirs);
    let pidfd = sys::pidfd_open(pid).map_err(|error| {
        // It has done nothing yet, and without a letter it will not.
        line.hang_up();
        sys::reap_pid(pid);
        StartError::System(error)
    })?;
    let newcomer = Newcomer {
        pid,
        pidfd,
        line,
        report: None,
        entered: false,
    };
    let newcomer = newcomer.enter()?;
    step!("spawn: entered");
    Ok(newcomer)
}

fn by_letter<A, R>(
    builder: Builder,
    method: StartMethod,
    f: fn(A) -> R,
    arguments: A,
) -> Result<Process, NotStarted<A>>
where
    A: Serialize + DeserializeOwned,
    R: ExitValue,
{
    match bring_up(builder, method, f, &arguments) {
        Err(why) => Err(NotStarted {
            why,
            task: arguments,
        }),
        Ok((newcomer, me)) => {
            // The child has decoded its own: what is registered in it is the child's already.
            let dropped = catch_unwind(AssertUnwindSafe(|| drop(arguments)));
            step!("spawn: arguments dropped");
            let process = newcomer.let_go(me);
            match dropped {
                Ok(()) => Ok(process),
                Err(panic) => resume_unwind(panic),
            }
        }
    }
}

/// Everything up to the moment at which the child may run.
fn bring_up<A, R>(
    builder: Builder,
    method: StartMethod,
    f: fn(A) -> R,
    arguments: &A,
) -> Result<(Newcomer, Me), StartError>
where
    A: Serialize + DeserializeOwned,
    R: ExitValue,
{
    if builder.is_refused() {
        return Err(StartError::InDaemon);
    }
    let errand = errand(f)?;
    let refused = |error: postcard::Error| StartError::Arguments(error.to_string());
    let (encoded, parcel) = multiproc_parcel::pack(|| postcard::to_allocvec(arguments));
    let encoded = encoded.map_err(refused)?;
    step!("spawn: arguments encoded");
    let (name, daemon) = builder.settled();
    let (me, parent, authkey) = house(|house| {
        house.sweep();
        house.leave_by_us();
        let me = house.next_child(None, name, daemon);
        Ok((me, house.me(), house.authkey()?))
    })
    .map_err(StartError::System)?;
    let letter = letter::write(&errand.of(&me, &parent.name, &authkey, method)).map_err(refused)?;
    let newcomer = match method {
        StartMethod::ForkServer => server::fork()?,
        _ => new_process()?,
    };
    let newcomer = newcomer.instruct(&letter, &encoded, parcel.descriptors())?;
    step!("spawn: ready");
    // They have arrived: nothing is undone any more.
    drop(parcel.into_descriptors());
    Ok((newcomer, me))
}
