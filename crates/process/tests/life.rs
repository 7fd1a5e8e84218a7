//! What a child is, does and leaves behind when nothing goes wrong, or no more than a panic.

use common::{Outcome, for_ever, lines, open_descriptors, wait_for_end};
use multiproc_process::{
    CloseError, Exit, Fork, JoinAllError, JoinError, JoinTimeoutError, Process, Run, SignalError,
    StartError, active_children, current, fork, join_all, parent, test,
};
use std::cell::Cell;
use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

test::main! {
    a_process_knows_itself,
    a_child_is_named_listed_and_collected,
    a_child_knows_its_parent,
    active_children_come_and_go,
    the_sentinel_is_ready_when_the_child_has_ended,
    a_child_does_not_wait_for_its_threads,
    a_type_of_its_own_runs_over_a_pipe,
    an_uncaught_panic_is_told_and_is_exit_code_1,
    a_returned_error_is_told_and_is_exit_code_1,
    every_kind_of_exit_value_is_an_exit_code,
    an_interrupt_is_sigint,
    a_closed_stderr_changes_no_exit_code,
    a_signal_does_not_end_a_join_early,
    what_only_a_parent_can_do_is_an_error_elsewhere,
    a_daemon_may_not_have_children,
    a_main_thread_has_an_id_of_its_own,
    nothing_grows_from_generation_to_generation,
    a_child_borrows,
    each_item_goes_to_its_own_child,
    a_child_reads_no_stdin,
    buffered_output_is_written_once,
    join_timeout_ends_in_time,
    joining_all_names_the_first_that_failed,
    dropped_handles_are_collected_by_the_next_start,
    a_child_collected_elsewhere_is_an_error_not_a_hang,
    threads_are_an_error_until_they_are_joined,
    a_thread_may_start_a_child_at_its_own_risk,
    a_bare_fork_returns_twice,
    a_handle_is_closed_once_its_child_has_ended,
    start_methods_are_set_once_and_inherited,
    no_descriptor_is_left_open,
    a_program_that_closed_everything_starts_children,
    a_thousand_children_one_by_one,
}

/// X1
fn a_process_knows_itself() -> Outcome {
    let me = current();
    assert_eq!(me.pid(), std::process::id());
    assert_eq!(me.name(), "MainProcess");
    assert!(!me.is_daemon());
    assert_eq!(me.authkey()?.as_bytes().len(), 32);
    assert_eq!(me.authkey()?, current().authkey()?);
    assert!(
        !format!("{:?}", me.authkey()?)
            .contains(&me.authkey()?.as_bytes()[0].to_string().repeat(3))
    );
    Ok(())
}

/// X2
fn a_child_is_named_listed_and_collected() -> Outcome {
    let key = current().authkey()?;
    let (report, mut to_parent) = pipe()?;
    let argument = String::from("argument");
    let child = Process::start(move || -> std::io::Result<()> {
        let me = current();
        assert_eq!(me.authkey().unwrap(), key);
        writeln!(to_parent, "{} {} {argument}", me.name(), me.pid())?;
        Ok(())
    })?;
    assert_eq!(child.name(), "Process-1");
    assert!(!child.is_daemon());
    assert_eq!(
        lines(report),
        [format!("Process-1 {} argument", child.pid())]
    );
    assert_eq!(child.join()?, Exit::Code(0));
    assert_eq!(child.exit_code(), Some(0));
    assert!(!child.is_alive());
    assert!(active_children().is_empty());

    let second = Process::builder()
        .name("second")
        .daemon(true)
        .start(|| ())?;
    assert_eq!(second.name(), "second");
    assert!(second.is_daemon());
    second.join()?.ok()?;
    let third = Process::start(|| {
        let grandchild = Process::start(|| i32::from(current().name() != "Process-3:1")).unwrap();
        assert_eq!(grandchild.name(), "Process-3:1");
        grandchild.join().unwrap().code()
    })?;
    assert_eq!(third.name(), "Process-3");
    third.join()?.ok()?;
    Ok(())
}

/// X4, X5
fn a_child_knows_its_parent() -> Outcome {
    assert!(parent().is_none());
    let us = std::process::id();
    let (report, to_us) = pipe()?;
    let child = Process::builder().name("middle").start(move || {
        let above = parent().unwrap();
        assert_eq!((above.pid(), above.name()), (us, "MainProcess"));
        let _grandchild = Process::start(move || {
            let above = parent().unwrap();
            assert_eq!(above.name(), "middle");
            let early = above.join_timeout(Duration::ZERO);
            assert!(matches!(early, Err(JoinTimeoutError::Timeout)));
            // From here on we are waited for no more, and the parent is terminated.
            let _ = writeln!(&to_us, "alive {}", above.is_alive());
            let joined = above.join_timeout(Duration::from_secs(30));
            let _ = writeln!(
                &to_us,
                "joined {} alive {}",
                joined.is_ok(),
                above.is_alive()
            );
        })
        .unwrap();
        for_ever()
    })?;
    let mut report = BufReader::new(report);
    let mut line = String::new();
    report.read_line(&mut line)?;
    assert_eq!(line, "alive true\n");
    child.terminate()?;
    assert_eq!(child.join()?, Exit::Signal(15));
    line.clear();
    report.read_line(&mut line)?;
    assert_eq!(line, "joined true alive false\n");
    Ok(())
}

/// X8
fn active_children_come_and_go() -> Outcome {
    assert!(active_children().is_empty());
    let (waits, go) = pipe()?;
    let child = {
        let waits = &waits;
        let go = &go;
        Process::start(|| {
            // Only the child's copy of the writing end is to be closed here; the test's stays.
            let _ = go;
            let mut one = [0];
            let _ = waits
                .try_clone()
                .and_then(|mut waits| waits.read_exact(&mut one));
        })?
    };
    assert!(child.is_alive());
    assert_eq!(child.exit_code(), None);
    assert_eq!(
        active_children()
            .iter()
            .map(Process::pid)
            .collect::<Vec<_>>(),
        [child.pid()]
    );
    let _ = format!("{child:?}");
    (&go).write_all(b"!")?;
    child.join()?.ok()?;
    assert!(active_children().is_empty());
    Ok(())
}

/// X10
fn the_sentinel_is_ready_when_the_child_has_ended() -> Outcome {
    use multiproc_core::{deadline::Deadline, fd::wait_readable};
    let (waits, go) = pipe()?;
    let child = Process::start(|| {
        let _ = waits
            .try_clone()
            .and_then(|mut waits| waits.read_exact(&mut [0]));
    })?;
    assert!(!wait_readable(
        child.sentinel(),
        Deadline::after(Duration::from_millis(20))
    )?);
    (&go).write_all(b"!")?;
    assert!(wait_readable(
        child.as_fd(),
        Deadline::after(Duration::from_secs(10))
    )?);
    assert!(!child.is_alive());
    child.join()?.ok()?;
    assert!(wait_readable(child.as_fd(), Deadline::NOW)?);
    Ok(())
}

/// X14, decided otherwise
fn a_child_does_not_wait_for_its_threads() -> Outcome {
    let child = Process::start(|| {
        std::thread::spawn(|| for_ever());
        5
    })?;
    assert_eq!(child.join()?, Exit::Code(5));
    Ok(())
}

struct UpperCaser {
    requests: PipeReader,
    replies: PipeWriter,
}

impl Run for UpperCaser {
    type Output = std::io::Result<()>;

    fn run(mut self) -> Self::Output {
        for line in BufReader::new(self.requests).lines() {
            writeln!(self.replies, "{}", line?.to_uppercase())?;
        }
        Ok(())
    }

    fn name(&self) -> Option<String> {
        Some("UpperCaser".to_owned())
    }
}

/// X16
fn a_type_of_its_own_runs_over_a_pipe() -> Outcome {
    let (requests, mut submit) = pipe()?;
    let (results, replies) = pipe()?;
    submit.write_all(b"hello\n")?;
    drop(submit);
    let child = Process::start_with(UpperCaser { requests, replies })?;
    assert_eq!(child.name(), "UpperCaser");
    assert_eq!(lines(results), ["HELLO"]);
    child.join()?.ok()?;
    Ok(())
}

/// What a child that runs `f` writes to stderr, and how it ends.
fn stderr_of<R: multiproc_process::ExitValue>(
    f: impl FnOnce() -> R,
) -> Result<(String, Exit), Box<dyn std::error::Error>> {
    let (mut reader, writer) = pipe()?;
    let child = Process::builder().name("teller").start(move || {
        nix::unistd::dup2_stderr(writer).unwrap();
        f()
    })?;
    let mut text = String::new();
    reader.read_to_string(&mut text)?;
    Ok((text, child.join()?))
}

/// X17
fn an_uncaught_panic_is_told_and_is_exit_code_1() -> Outcome {
    let (text, exit) = stderr_of(|| -> () { panic!("the reason is {}", 17) })?;
    assert_eq!(exit, Exit::Code(1));
    assert!(
        text.contains("the reason is 17") && text.contains("life.rs") && text.contains("teller"),
        "{text}"
    );
    Ok(())
}

fn a_returned_error_is_told_and_is_exit_code_1() -> Outcome {
    let (text, exit) = stderr_of(|| "x1".parse::<i32>())?;
    assert_eq!(exit, Exit::Code(1));
    assert_eq!(
        text,
        "teller: Error: ParseIntError { kind: InvalidDigit }\n"
    );
    Ok(())
}

fn every_kind_of_exit_value_is_an_exit_code() -> Outcome {
    assert_eq!(Process::start(|| ())?.join()?, Exit::Code(0));
    assert_eq!(Process::start(|| 3)?.join()?, Exit::Code(3));
    assert_eq!(Process::start(|| -1)?.join()?, Exit::Code(255));
    assert_eq!(Process::start(|| 200_u8)?.join()?, Exit::Code(200));
    assert_eq!(
        Process::start(|| ExitCode::from(77))?.join()?,
        Exit::Code(77)
    );
    assert_eq!(
        Process::start(|| Ok::<_, ()>(ExitCode::FAILURE))?.join()?,
        Exit::Code(1)
    );
    assert_eq!(
        Process::start(|| std::process::exit(9))?.join()?,
        Exit::Code(9)
    );
    assert_eq!(
        Process::start(|| std::process::abort())?.join()?,
        Exit::Signal(6)
    );
    let child = Process::start(|| for_ever())?;
    child.kill()?;
    assert_eq!(child.join()?.code(), -9);
    // Once it has ended, nobody is hit.
    child.kill()?;
    child.terminate()?;
    Ok(())
}

/// X7
fn an_interrupt_is_sigint() -> Outcome {
    let child = Process::start(|| for_ever())?;
    child.interrupt()?;
    assert_eq!(child.join()?, Exit::Signal(2));
    Ok(())
}

fn a_closed_stderr_changes_no_exit_code() -> Outcome {
    let child = Process::start(|| {
        let (reader, writer) = pipe().unwrap();
        nix::unistd::dup2_stderr(writer).unwrap();
        drop(reader);
        Err::<(), _>("nobody hears this")
    })?;
    assert_eq!(child.join()?, Exit::Code(1));
    Ok(())
}

/// X19
fn a_signal_does_not_end_a_join_early() -> Outcome {
    extern "C" fn nothing(_: libc::c_int) {}
    let handler: extern "C" fn(libc::c_int) = nothing;
    // SAFETY: the handler does nothing. Without SA_RESTART, so that system calls are
    // interrupted.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as libc::sighandler_t;
        assert_eq!(
            libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()),
            0
        );
    }
    let us = nix::unistd::getpid();
    let begun = Instant::now();
    let child = Process::start(|| {
        let end = Instant::now() + Duration::from_millis(300);
        while Instant::now() < end {
            let _ = nix::sys::signal::kill(us, nix::sys::signal::Signal::SIGUSR1);
            std::thread::sleep(Duration::from_millis(10));
        }
        6
    })?;
    assert_eq!(child.join()?, Exit::Code(6));
    assert!(begun.elapsed() >= Duration::from_millis(300));
    Ok(())
}

/// X20
fn what_only_a_parent_can_do_is_an_error_elsewhere() -> Outcome {
    let (waits, go) = pipe()?;
    let sibling = Process::start(move || wait_for_end(waits))?;
    // `waits` was moved and `go` was inherited by the sibling, who would wait for itself: see
    // to it.
    let stranger = Process::start(|| {
        assert!(matches!(sibling.join(), Err(JoinError::NotParent)));
        assert!(matches!(sibling.try_join(), Err(JoinError::NotParent)));
        assert!(matches!(
            sibling.join_timeout(Duration::ZERO),
            Err(JoinTimeoutError::Join(JoinError::NotParent))
        ));
        assert!(matches!(sibling.terminate(), Err(SignalError::NotParent)));
        assert!(matches!(sibling.kill(), Err(SignalError::NotParent)));
        assert_eq!(sibling.exit_code(), None);
        assert!(sibling.is_alive());
        assert!(active_children().is_empty());
    })?;
    stranger.join()?.ok()?;
    drop(go);
    sibling.terminate()?;
    assert_eq!(sibling.join()?, Exit::Signal(15));
    Ok(())
}

fn a_daemon_may_not_have_children() -> Outcome {
    let child = Process::builder().daemon(true).start(|| {
        assert!(current().is_daemon());
        assert!(matches!(
            Process::start(|| ()).map_err(StartError::from),
            Err(StartError::InDaemon)
        ));
    })?;
    child.join()?.ok()?;
    Ok(())
}

/// X28
fn a_main_thread_has_an_id_of_its_own() -> Outcome {
    let ours = nix::unistd::gettid();
    let child = Process::start(|| {
        let theirs = nix::unistd::gettid();
        assert_ne!(theirs, ours);
        assert_eq!(theirs, nix::unistd::getpid());
    })?;
    child.join()?.ok()?;
    Ok(())
}

fn descend(depth: usize, descriptors: usize) -> i32 {
    if !active_children().is_empty() {
        return 2;
    }
    let now = open_descriptors();
    // A generation holds its parent's descriptor, and what its ancestors left in it: theirs.
    if now > descriptors + 2 {
        return 3;
    }
    if depth == 0 {
        return 0;
    }
    match Process::start(move || descend(depth - 1, now)) {
        Ok(child) => {
            if active_children().len() > 1 {
                return 4;
            }
            child.join().map_or(5, Exit::code)
        }
        Err(_) => 6,
    }
}

/// X29
fn nothing_grows_from_generation_to_generation() -> Outcome {
    assert_eq!(descend(5, open_descriptors()), 0);
    Ok(())
}

fn a_child_borrows() -> Outcome {
    let words = [String::from("a"), String::from("b")];
    let count = Cell::new(0);
    let child = Process::start(|| {
        count.set(words.len() as i32);
        count.get()
    })?;
    assert_eq!(child.join()?.code(), 2);
    assert_eq!(count.get(), 0, "the child changed its own copy");
    Ok(())
}

fn each_item_goes_to_its_own_child() -> Outcome {
    let base = 10;
    let children = Process::builder()
        .name("worker")
        .start_each(1..=3, |n| base + n)?;
    let names: Vec<_> = children.iter().map(Process::name).collect();
    assert_eq!(names, ["worker-1", "worker-2", "worker-3"]);
    for (n, child) in (1..).zip(&children) {
        assert_eq!(child.join()?.code(), 10 + n);
    }
    Ok(())
}

fn a_child_reads_no_stdin() -> Outcome {
    let (reader, mut writer) = pipe()?;
    nix::unistd::dup2_stdin(reader)?;
    writer.write_all(b"for the parent")?;
    let child = Process::start(|| std::io::stdin().read(&mut [0; 8]).map(|n| n as i32))?;
    assert_eq!(child.join()?.code(), 0);
    Ok(())
}

fn buffered_output_is_written_once() -> Outcome {
    let (mut reader, writer) = pipe()?;
    let child = Process::start(move || {
        nix::unistd::dup2_stdout(writer).unwrap();
        print!("parent,"); // no line end: it stays in the buffer
        let child = Process::start(|| print!("child,")).unwrap();
        child.join().unwrap().ok().unwrap();
        print!("end");
    })?;
    let mut text = String::new();
    reader.read_to_string(&mut text)?;
    assert_eq!(text, "parent,child,end");
    child.join()?.ok()?;
    Ok(())
}

fn join_timeout_ends_in_time() -> Outcome {
    let (waits, go) = pipe()?;
    let child = Process::start(|| {
        let _ = waits
            .try_clone()
            .and_then(|mut waits| waits.read_exact(&mut [0]));
    })?;
    let begun = Instant::now();
    assert!(matches!(
        child.join_timeout(Duration::from_millis(30)),
        Err(JoinTimeoutError::Timeout)
    ));
    assert!(begun.elapsed() >= Duration::from_millis(29));
    assert!(matches!(
        child.join_timeout(Duration::ZERO),
        Err(JoinTimeoutError::Timeout)
    ));
    assert_eq!(child.try_join()?, None);
    (&go).write_all(b"!")?;
    assert_eq!(child.join_timeout(Duration::MAX)?, Exit::Code(0));
    assert_eq!(child.try_join()?, Some(Exit::Code(0)));
    Ok(())
}

fn joining_all_names_the_first_that_failed() -> Outcome {
    let children = Process::start_each([0, 3, 4], |code| code)?;
    match join_all(&children) {
        Err(JoinAllError::Failed { name, pid, exit }) => {
            assert_eq!(
                (name.as_str(), pid, exit),
                ("Process-2", children[1].pid(), Exit::Code(3))
            );
        }
        other => panic!("{other:?}"),
    }
    assert!(children.iter().all(|child| !child.is_alive()));
    join_all([Process::start(|| ())?])?;
    Ok(())
}

/// Whether the kernel still has an entry for this pid.
fn exists(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

fn dropped_handles_are_collected_by_the_next_start() -> Outcome {
    let (end, writer) = pipe()?;
    let dropped = Process::start(move || drop(writer))?;
    let watch = dropped.clone();
    let pid = dropped.pid();
    drop(dropped);
    wait_for_end(end);
    // Its end of the pipe closed, it is about to end.
    use multiproc_core::{deadline::Deadline, fd::wait_readable};
    assert!(wait_readable(
        watch.sentinel(),
        Deadline::after(Duration::from_secs(10))
    )?);
    drop(watch);
    assert!(exists(pid), "a zombie until somebody looks");
    let next = Process::start(|| ())?;
    assert!(!exists(pid));
    next.join()?.ok()?;
    Ok(())
}

fn a_child_collected_elsewhere_is_an_error_not_a_hang() -> Outcome {
    let child = Process::start(|| 3)?;
    nix::sys::wait::waitpid(None, None)?;
    assert!(active_children().is_empty());
    assert!(matches!(child.join(), Err(JoinError::Collected)));
    assert!(matches!(child.join(), Err(JoinError::Collected)));
    assert_eq!(child.exit_code(), None);
    assert!(!child.is_alive());
    assert!(active_children().is_empty());
    Ok(())
}

/// F17
fn threads_are_an_error_until_they_are_joined() -> Outcome {
    let (waits, go) = pipe()?;
    let thread = std::thread::spawn(move || wait_for_end(waits));
    let given = String::from("back");
    let refused = Process::start(move || drop(given)).expect_err("two threads");
    assert!(matches!(refused.why, StartError::Threads(2)), "{refused:?}");
    (refused.task)();
    drop(go);
    thread.join().map_err(|_| "the thread panicked")?;
    for _ in 0..100 {
        std::thread::spawn(|| ())
            .join()
            .map_err(|_| "the thread panicked")?;
        Process::start(|| ())?.join()?.ok()?;
    }
    Ok(())
}

/// F17
fn a_thread_may_start_a_child_at_its_own_risk() -> Outcome {
    let thread = std::thread::spawn(|| {
        // SAFETY: the child returns a number, and touches nothing that the main thread may be
        // changing.
        let child = unsafe { Process::start_unchecked(|| 8) }.map_err(|_| "not started")?;
        child.join().map(Exit::code).map_err(|_| "not joined")
    });
    assert_eq!(thread.join().map_err(|_| "the thread panicked")??, 8);
    Ok(())
}

fn a_bare_fork_returns_twice() -> Outcome {
    let (reader, writer) = pipe()?;
    let us = std::process::id();
    match fork()? {
        Fork::Child => {
            assert_eq!(current().name(), "Process-1");
            assert_eq!(parent().unwrap().pid(), us);
            let grandchild = Process::start(|| 4)?;
            writeln!(&writer, "child of {us} had {}", grandchild.join()?.code())?;
            std::process::exit(12);
        }
        Fork::Parent(child) => {
            drop(writer);
            assert_eq!(lines(reader), [format!("child of {us} had 4")]);
            assert_eq!(child.join()?, Exit::Code(12));
        }
    }
    Ok(())
}

/// X11
fn a_handle_is_closed_once_its_child_has_ended() -> Outcome {
    let (waits, go) = pipe()?;
    let child = Process::start(|| {
        let _ = waits
            .try_clone()
            .and_then(|mut waits| waits.read_exact(&mut [0]));
    })?;
    let Err(CloseError::Running(child)) = child.close() else {
        return Err("it still runs".into());
    };
    let other = child.clone();
    let stranger = Process::start(|| {
        let refused = other.clone().close();
        i32::from(!matches!(refused, Err(CloseError::NotParent(_))))
    })?;
    stranger.join()?.ok()?;
    (&go).write_all(b"!")?;
    child.join()?.ok()?;
    child.close()?;
    // Another handle of it, which is what Python's second call comes to.
    other.clone().close()?;
    assert_eq!(other.exit_code(), Some(0));
    Ok(())
}

/// X25
fn start_methods_are_set_once_and_inherited() -> Outcome {
    use multiproc_process::{
        Context, StartMethod, force_start_method, set_start_method, start_method,
    };
    // The list of methods: the default comes first.
    assert_eq!(StartMethod::ALL[0], start_method());
    for method in StartMethod::ALL {
        assert_eq!(method.to_string().parse(), Ok(method));
        let context = Context::new(method);
        assert_eq!(context.method(), method);
        let child = context.start(
            |method: StartMethod| assert_eq!(start_method(), method),
            method,
        )?;
        child.join()?.ok()?;
    }
    let unknown = "threads".parse::<StartMethod>();
    assert!(unknown.unwrap_err().to_string().contains("threads"));
    assert_eq!(Context::default().method(), StartMethod::Fork);

    set_start_method(StartMethod::Spawn)?;
    assert_eq!(start_method(), StartMethod::Spawn);
    assert_eq!(Context::default().method(), StartMethod::Spawn);
    let again = set_start_method(StartMethod::Spawn).expect_err("set twice");
    assert_eq!(again.0, StartMethod::Spawn);
    force_start_method(StartMethod::ForkServer);
    let child = Context::default().start(|()| start_method() as i32, ())?;
    assert_eq!(child.join()?, Exit::Code(StartMethod::ForkServer as i32));
    // A closure is forked whatever the program's method is, and inherits that.
    let child = Process::start(|| start_method() as i32)?;
    assert_eq!(child.join()?, Exit::Code(StartMethod::ForkServer as i32));
    // One that is bound stays so.
    assert_eq!(Context::new(StartMethod::Fork).method(), StartMethod::Fork);
    Ok(())
}

fn no_descriptor_is_left_open() -> Outcome {
    Process::start(|| ())?.join()?.ok()?;
    let before = open_descriptors();
    for _ in 0..20 {
        Process::start(|| ())?.join()?.ok()?;
    }
    assert_eq!(open_descriptors(), before);
    let child = Process::start(move || open_descriptors() as i32 - before as i32)?;
    // More than the parent has: the parent's descriptor.
    assert_eq!(child.join()?, Exit::Code(1));
    Ok(())
}

/// As those do that go into the background: a number that this crate had is somebody else's then.
fn a_program_that_closed_everything_starts_children() -> Outcome {
    Process::start(|| ())?.join()?.ok()?;
    // SAFETY: numbers. Nothing of this test is open.
    unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
    let strangers: Vec<_> = (0..20).map(|_| pipe()).collect::<Result<_, _>>()?;
    let us = std::process::id();
    for _ in 0..2 {
        let child = Process::start(|| {
            let above = parent().unwrap();
            i32::from(above.pid() != us || !above.is_alive())
        })?;
        child.join()?.ok()?;
    }
    for (mut reader, mut writer) in strangers {
        writer.write_all(b"!")?;
        reader.read_exact(&mut [0])?;
    }
    Ok(())
}

fn a_thousand_children_one_by_one() -> Outcome {
    for n in 0..1_000 {
        assert_eq!(Process::start(|| n % 256)?.join()?, Exit::Code(n % 256));
    }
    Ok(())
}
