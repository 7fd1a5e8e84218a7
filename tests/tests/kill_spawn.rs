//! Killed at every step of a start by spawn and by fork server: whoever starts, whoever is
//! started, and the server in between. Nobody hangs, nothing is left, the function runs for a
//! starter that got to the end or not at all, and whoever lives on gets an error that says what
//! happened, and its arguments back. Among these is an end of a queue: it is the child's, or comes
//! back, or is closed, and never stays open without anybody to hold it.

use common::{Outcome, all_of};
use multiproc_core::step;
use multiproc_process::test::{self, Test};
use multiproc_process::{
    Context, Descriptor, Exit, ExitValue, JoinError, NotStarted, Process, StartError, StartMethod,
    active_children,
};
use multiproc_queue::{Consumer, GetTimeoutError, Producer, Queue};
use multiproc_tests::{arm_the_doomed, doom_nobody, doom_the_next};
use std::io::{PipeReader, PipeWriter, Read, pipe};
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    // Before the entry: this may be a spawned process.
    arm_the_doomed();
    macro_rules! tests {
        ($($name:ident)*) => {
            [$(Test::new(stringify!($name), || $name().exit_code())
                .timeout(Duration::from_secs(180))),*]
        };
    }
    test::run(&tests! {
        a_starter_is_killed_at_each_step_of_spawn
        a_starter_is_killed_at_each_step_of_a_first_start_by_server
        a_starter_is_killed_at_each_step_of_a_later_start_by_server
        a_spawned_child_is_killed_at_each_step
        a_server_or_its_child_is_killed_at_each_step
    })
}

/// What a child gets: the ends of a pipe and of a queue.
type Ends = (Descriptor<PipeWriter>, Producer<u64>);

/// What remains here.
struct Told(PipeReader, Consumer<u64>);

fn told() -> (Told, Ends) {
    let (reader, writer) = pipe().unwrap();
    let (producer, consumer) = Queue::bounded(10).unwrap().split();
    (Told(reader, consumer), (Descriptor(writer), producer))
}

fn run((Descriptor(mut out), producer): Ends) {
    producer.put(7).unwrap();
    std::io::Write::write_all(&mut out, b"ran").unwrap();
}

fn nothing(_: ()) {}

impl Told {
    /// What the child said until nobody holds the other ends: in the pipe "ran" or nothing, and
    /// in the queue no less.
    fn all(self) -> String {
        let text = all_of(self.0);
        let mut got = Vec::new();
        loop {
            match self.1.get_timeout(Duration::from_secs(20)) {
                Ok(n) => got.push(n),
                Err(GetTimeoutError::Closed) => break,
                Err(error) => panic!("after {got:?}: {error}"),
            }
        }
        match &*text {
            "ran" => assert_eq!(got, [7]),
            _ => assert!(got.is_empty() || got == [7]),
        }
        text
    }
}

/// Kills a program at each step that its start passes; `before` is what it does first.
fn each_step_of_a_starter(method: StartMethod, before: fn()) -> Outcome {
    let context = Context::new(method);
    // In a process of its own, as what this process has (a server) must not count.
    let (mut names, output) = pipe()?;
    let counter = Process::start(move || {
        before();
        let (_report, out) = told();
        step::count_on();
        let child = context.start(run, out).unwrap();
        step::disarm();
        child.join().unwrap().ok().unwrap();
        std::io::Write::write_all(&mut &output, step::names().join("\n").as_bytes()).unwrap();
    })?;
    let mut text = String::new();
    names.read_to_string(&mut text)?;
    counter.join()?.ok()?;
    let names: Vec<&str> = text.lines().collect();
    println!("{} steps: {names:?}", names.len());
    assert!(names.len() >= 5);
    let let_go = names.iter().rposition(|name| *name == "spawn: let go");
    for (n, name) in names.iter().enumerate() {
        println!("killed at step {n}, {name:?}");
        let (report, out) = told();
        let starter = Process::start(move || {
            before();
            step::arm(n as u64);
            let started = context.start(run, out);
            step::disarm();
            drop(started.map_err(StartError::from));
        })
        .map_err(StartError::from)?;
        assert_eq!(starter.join()?, Exit::Signal(9));
        let ran = let_go.is_some_and(|let_go| n >= let_go);
        assert_eq!(report.all(), if ran { "ran" } else { "" });
    }
    Ok(())
}

fn a_starter_is_killed_at_each_step_of_spawn() -> Outcome {
    each_step_of_a_starter(StartMethod::Spawn, || ())
}

fn a_starter_is_killed_at_each_step_of_a_first_start_by_server() -> Outcome {
    each_step_of_a_starter(StartMethod::ForkServer, || ())
}

fn a_starter_is_killed_at_each_step_of_a_later_start_by_server() -> Outcome {
    each_step_of_a_starter(StartMethod::ForkServer, || {
        let child = Context::new(StartMethod::ForkServer).start(nothing, ());
        child.unwrap().join().unwrap().ok().unwrap();
    })
}

fn a_spawned_child_is_killed_at_each_step() -> Outcome {
    let (mut never, mut ended, mut killed) = (0, 0, 0);
    for n in 0.. {
        let (report, out) = told();
        doom_the_next(n);
        let started = Context::new(StartMethod::Spawn).start(run, out);
        assert!(doom_nobody());
        match started {
            Err(NotStarted { why, task, .. }) => {
                assert_eq!(killed, 0, "step {n}");
                match why {
                    StartError::NeverEntered(Exit::Signal(9)) if ended == 0 => never += 1,
                    StartError::Ended(Exit::Signal(9)) => ended += 1,
                    other => return Err(format!("step {n}: {other}").into()),
                }
                assert!(active_children().is_empty());
                // It never ran, and the arguments are as good as new.
                let child = Context::new(StartMethod::Spawn).start(run, task)?;
                assert_eq!(report.all(), "ran");
                child.join()?.ok()?;
            }
            Ok(child) => match child.join()? {
                Exit::Signal(9) => {
                    killed += 1;
                    assert!(["", "ran"].contains(&&*report.all()));
                }
                exit => {
                    assert_eq!(exit, Exit::Code(0), "step {n}");
                    assert_eq!(report.all(), "ran");
                    break;
                }
            },
        }
    }
    println!("{never} before the entry, {ended} before it was ready, {killed} later");
    assert!(never >= 1 && ended >= 3 && killed >= 3);
    Ok(())
}

fn a_server_or_its_child_is_killed_at_each_step() -> Outcome {
    let mut outcomes = std::collections::BTreeMap::new();
    // In a program each, as each needs a new server.
    for n in 0..24 {
        let (report, out) = told();
        let (stories, mut story) = pipe()?;
        doom_the_next(n);
        let program = Process::start(move || {
            let tell = |what: &str, story: &mut PipeWriter| {
                std::io::Write::write_all(story, what.as_bytes()).unwrap();
            };
            let server = Context::new(StartMethod::ForkServer);
            let started = server.start(run, out);
            let outcome = match started {
                Ok(child) => match child.join() {
                    Ok(Exit::Code(0)) => "ran",
                    Ok(Exit::Signal(9)) | Err(JoinError::ServerDied) => "killed or unknown",
                    _ => "wrong",
                },
                Err(NotStarted { why, task, .. }) => {
                    assert!(active_children().is_empty());
                    drop(task);
                    match why {
                        StartError::Ended(Exit::Signal(9)) => "ended",
                        _ => "wrong",
                    }
                }
            };
            // Whatever happened, soon a start is as always. (A server that has not got
            // to its step hands the count down to its children.)
            let as_always = (0..10).any(|_| match server.start(nothing, ()) {
                Ok(child) => matches!(child.join(), Ok(Exit::Code(0))),
                Err(NotStarted { why, .. }) => {
                    assert!(matches!(why, StartError::Ended(Exit::Signal(9))), "{why}");
                    false
                }
            });
            assert!(as_always);
            tell(outcome, &mut story);
        })?;
        let outcome = all_of(stories);
        program.join()?.ok()?;
        let text = report.all();
        let right = match &*outcome {
            "ran" => text == "ran",
            "killed or unknown" => ["", "ran"].contains(&&*text),
            "ended" => text.is_empty(),
            _ => false,
        };
        println!("step {n}: {outcome}, {text:?}");
        assert!(right);
        *outcomes.entry(outcome).or_insert(0) += 1;
        assert!(doom_nobody());
    }
    println!("{outcomes:?}");
    assert_eq!(outcomes.len(), 3, "{outcomes:?}");
    Ok(())
}
