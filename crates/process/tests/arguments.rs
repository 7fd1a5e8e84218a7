//! What goes into a process that is no copy: arguments, descriptors among them, and nothing else.

mod apart;

use apart::*;
use common::*;
use multiproc_parcel::Descriptor;
use multiproc_process::{Context, Exit, StartError, StartMethod, active_children, join_all, test};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeSet;
use std::io::{PipeReader, Write, pipe};
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};

test::main! {
    generic_functions_and_empty_closures_are_functions,
    large_arguments_arrive_whole,
    descriptors_travel_with_the_arguments,
    only_what_is_given_is_inherited,
    without_closefrom_only_what_is_given_is_inherited,
    later_children_hold_no_more_descriptors,
    the_arguments_are_dropped_here_before_it_runs,
    a_panic_while_dropping_the_arguments_goes_on_and_the_child_runs,
    arguments_that_cannot_be_encoded_come_back,
    arguments_that_cannot_be_decoded_come_back,
    a_panic_while_decoding_gives_the_arguments_back,
    #[timeout(120)]
    want_of_descriptors_is_an_error_that_leaves_nothing,
    want_of_descriptors_in_the_new_process_is_told,
    no_descriptor_is_left_open,
}

fn size_of_it<T: Serialize>(_: T) -> u8 {
    size_of::<T>() as u8
}

fn generic_functions_and_empty_closures_are_functions() -> Outcome {
    for method in StartMethod::ALL {
        let context = Context::new(method);
        assert_eq!(context.start(size_of_it, 1_u16)?.join()?, Exit::Code(2));
        assert_eq!(context.start(size_of_it::<u64>, 1)?.join()?, Exit::Code(8));
        let child = context.start(|text: String| text.len() as u8, "five!".into())?;
        assert_eq!(child.join()?, Exit::Code(5));
        let children = context.start_each([3, 4, 5], |n: i32| n)?;
        for (child, n) in children.iter().zip(3..) {
            assert_eq!(child.join()?, Exit::Code(n));
        }
    }
    Ok(())
}

fn large_arguments_arrive_whole() -> Outcome {
    let large: Vec<u64> = (0..1_000_000).collect();
    for method in APART {
        let child = Context::new(method).start(
            |large: Vec<u64>| i32::from(!large.iter().copied().eq(0..1_000_000)),
            large.clone(),
        )?;
        child.join()?.ok()?;
    }
    Ok(())
}

fn relay((inputs, output): (Vec<Descriptor<PipeReader>>, Out)) {
    for mut input in inputs {
        std::io::copy(&mut input.0, &mut &output.0).unwrap();
    }
}

fn descriptors_travel_with_the_arguments() -> Outcome {
    for method in StartMethod::ALL {
        for count in [1, 300] {
            let (result, output) = told();
            let mut inputs = Vec::new();
            for n in 0..count {
                let (reader, mut writer) = pipe()?;
                write!(writer, "{n},")?;
                inputs.push(Descriptor(reader));
            }
            let child = Context::new(method).start(relay, (inputs, output))?;
            let expected: String = (0..count).map(|n| format!("{n},")).collect();
            assert_eq!(all_of(result), expected, "{method}");
            child.join()?.ok()?;
        }
    }
    Ok(())
}

/// X13
fn only_what_is_given_is_inherited() -> Outcome {
    // What foreign code left open for everybody.
    let stray = std::fs::File::open("/proc/self/status")?;
    // SAFETY: flags of our own descriptor.
    unsafe { libc::fcntl(stray.as_raw_fd(), libc::F_SETFD, 0) };
    for method in APART {
        let (report, output) = told();
        let child = Context::new(method).start(
            |output: Out| {
                for one in descriptors() {
                    writeln!(&output.0, "{one}").unwrap();
                }
            },
            output,
        )?;
        let found = lines(report);
        let pipes = found.iter().filter(|one| one.starts_with("pipe:")).count();
        let pidfds = found.iter().filter(|one| one.contains("pidfd")).count();
        // What it was given, and its parent's descriptor.
        assert_eq!(
            (pipes, pidfds, found.len()),
            (1, 1, 2),
            "{method}: {found:?}"
        );
        child.join()?.ok()?;
    }
    drop(stray);
    Ok(())
}

fn without_closefrom_only_what_is_given_is_inherited() -> Outcome {
    // SAFETY: one thread.
    unsafe { std::env::set_var("MULTIPROC_NO_CLOSEFROM", "1") };
    only_what_is_given_is_inherited()
}

/// X13
fn later_children_hold_no_more_descriptors() -> Outcome {
    for method in APART {
        let mut kept = Vec::new();
        let mut counts = BTreeSet::new();
        for _ in 0..10 {
            let (report, output) = told();
            let (waits, go) = pipe()?;
            let child = Context::new(method).start(
                |(output, waits): (Out, Descriptor<PipeReader>)| {
                    write!(&output.0, "{}", descriptors().len()).unwrap();
                    drop(output);
                    wait_at(waits);
                },
                (output, Descriptor(waits)),
            )?;
            counts.insert(all_of(report));
            kept.push((child, go));
        }
        assert_eq!(counts.len(), 1, "{method}: {counts:?}");
        for (child, go) in kept {
            drop(go);
            child.join()?.ok()?;
        }
    }
    Ok(())
}

/// An argument that tells when it is dropped in the process that made it.
#[derive(Serialize, Deserialize)]
struct Tells {
    maker: u32,
    to: Out,
    panics: bool,
}

impl Drop for Tells {
    fn drop(&mut self) {
        if std::process::id() == self.maker {
            let _ = self.to.0.write_all(b"dropped ");
            if self.panics {
                panic!("this destructor fails");
            }
        }
    }
}

fn tell_that_it_ran(tells: Tells) {
    (&tells.to.0).write_all(b"ran").unwrap();
}

fn the_arguments_are_dropped_here_before_it_runs() -> Outcome {
    for method in StartMethod::ALL {
        for _ in 0..20 {
            let (report, to) = told();
            let maker = std::process::id();
            let panics = false;
            let tells = Tells { maker, to, panics };
            let child = Context::new(method).start(tell_that_it_ran, tells)?;
            assert_eq!(all_of(report), "dropped ran", "{method}");
            child.join()?.ok()?;
        }
    }
    Ok(())
}

fn a_panic_while_dropping_the_arguments_goes_on_and_the_child_runs() -> Outcome {
    for method in StartMethod::ALL {
        let (report, to) = told();
        let maker = std::process::id();
        let panics = true;
        let caught = catch_unwind(AssertUnwindSafe(|| {
            let tells = Tells { maker, to, panics };
            let started = Context::new(method).start(tell_that_it_ran, tells);
            started.map_err(StartError::from)
        }));
        let panic = caught.expect_err("the panic goes on");
        assert_eq!(panic.downcast_ref(), Some(&"this destructor fails"));
        assert_eq!(all_of(report), "dropped ran", "{method}");
        join_all(active_children())?;
    }
    Ok(())
}

/// Fails to be encoded, fails to be decoded, or panics then, as it says.
#[derive(Debug, PartialEq)]
struct Difficult(u8);

impl Serialize for Difficult {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            0 => Err(serde::ser::Error::custom("it is difficult")),
            n => serializer.serialize_u8(n),
        }
    }
}

impl<'de> Deserialize<'de> for Difficult {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u8::deserialize(deserializer)? {
            1 => Err(serde::de::Error::custom("it is difficult")),
            2 => panic!("it is too difficult"),
            n => Ok(Difficult(n)),
        }
    }
}

/// How a start fails with it: the error, and what came back.
fn fails(method: StartMethod, difficult: Difficult) -> (StartError, Difficult) {
    let refused = Context::new(method).start(|_: Difficult| (), difficult);
    let refused = refused.expect_err("it is difficult");
    assert!(active_children().is_empty());
    (refused.why, refused.task)
}

fn arguments_that_cannot_be_encoded_come_back() -> Outcome {
    for method in APART {
        let (why, back) = fails(method, Difficult(0));
        assert!(matches!(why, StartError::Arguments(_)), "{why:?}");
        assert_eq!(back, Difficult(0));
    }
    Ok(())
}

fn arguments_that_cannot_be_decoded_come_back() -> Outcome {
    for method in APART {
        let (why, back) = fails(method, Difficult(1));
        assert!(matches!(why, StartError::Refused(_)), "{why:?}");
        assert!(why.to_string().contains("decode"), "{why}");
        assert_eq!(back, Difficult(1));
    }
    Ok(())
}

fn a_panic_while_decoding_gives_the_arguments_back() -> Outcome {
    for method in APART {
        let (why, back) = fails(method, Difficult(2));
        assert!(why.to_string().contains("panicked"), "{why}");
        assert_eq!(back, Difficult(2));
        let child = Context::new(method).start(|_: Difficult| (), Difficult(3))?;
        child.join()?.ok()?;
    }
    Ok(())
}

fn limit_descriptors(to: u64) {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, to, most).unwrap();
}

fn want_of_descriptors_is_an_error_that_leaves_nothing() -> Outcome {
    for method in APART {
        // The server, if there is one, has its own limit: this process's at its start.
        Context::new(method).start(add, (0, 0))?.join()?.ok()?;
        let (report, output) = told();
        let next = std::fs::File::open("/dev/null")?.as_raw_fd() as u64;
        let mut given = output;
        let mut few = 0;
        loop {
            limit_descriptors(next + few);
            let started = Context::new(method).start(|out: Out| write!(&out.0, "ran"), given);
            limit_descriptors(1_024);
            match started {
                Ok(child) => {
                    assert_eq!(all_of(report), "ran");
                    child.join()?.ok()?;
                    break;
                }
                Err(refused) => {
                    let why = refused.why.to_string();
                    assert!(
                        matches!(
                            refused.why,
                            StartError::System(_)
                                | StartError::Arguments(_)
                                | StartError::NeverEntered(_)
                                | StartError::Ended(_)
                        ),
                        "{method}, {few}: {why}"
                    );
                    assert!(active_children().is_empty());
                    given = refused.task;
                }
            }
            few += 1;
            assert!(few < 50);
        }
        println!("{method} needs {few} descriptors");
        assert!(few > 2);
    }
    Ok(())
}

fn want_of_descriptors_in_the_new_process_is_told() -> Outcome {
    let (_report, writer) = pipe()?;
    let all: Vec<_> = (0..100)
        .map(|_| writer.try_clone().map(Descriptor))
        .collect::<Result<_, _>>()?;
    // The limit is inherited, and binds what is opened from now on. What is open here stays.
    limit_descriptors(250);
    for method in APART {
        Context::new(method).start(add, (0, 0))?.join()?.ok()?;
    }
    limit_descriptors(1_024);
    // The server has the lower limit for good.
    let refused = Context::new(StartMethod::ForkServer).start(
        |all: Vec<Out>| all.len() as i32,
        (0..300)
            .map(|_| writer.try_clone().map(Descriptor))
            .collect::<Result<Vec<_>, _>>()?,
    );
    let refused = refused.expect_err("there is no room for 300 descriptors");
    assert!(matches!(refused.why, StartError::Refused(_)), "{refused:?}");
    assert!(refused.to_string().contains("receive"), "{refused}");
    assert_eq!(refused.task.len(), 300);
    let child =
        Context::new(StartMethod::ForkServer).start(|all: Vec<Out>| all.len() as i32, all)?;
    assert_eq!(child.join()?, Exit::Code(100));
    Ok(())
}

fn no_descriptor_is_left_open() -> Outcome {
    for method in APART {
        let context = Context::new(method);
        let round = || -> Outcome {
            context.start(add, (0, 0))?.join()?.ok()?;
            let (report, output) = told();
            let child = context.start(|output: Out| drop(output), output)?;
            assert_eq!(all_of(report), "");
            child.join()?.ok()?;
            fails(method, Difficult(0));
            fails(method, Difficult(1));
            Ok(())
        };
        round()?;
        let before = descriptors();
        for _ in 0..10 {
            round()?;
        }
        assert_eq!(descriptors(), before, "{method}");
    }
    Ok(())
}
