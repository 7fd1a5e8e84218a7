//! One tokio task answers 100 child processes: it awaits their questions, and sends each its answer.
//! Mirrors an asyncio server over Python's `Queue` and `Pipe`, which there needs a thread per blocking call.
//! `select!` drops futures all the time and loses no message; a child that is killed costs nobody anything.
//!
//! ```text
//! cargo run --release --example tokio_server --features tokio -- [--children 100] [--questions 10]
//!     [--scale 1.0]
//! ```

mod common;

use common::Options;
use multiproc::{
    self as mp, Consumer, Pipe, Process, Producer, Queue, Receiver, SendError, Sender,
};
use serde::{Deserialize, Serialize};
use std::thread::sleep;
use std::time::Duration;
use tokio::time::interval;

#[derive(Serialize, Deserialize)]
struct Question {
    from: usize,
    number: u64,
    /// What nobody may ask: whoever does is killed.
    forbidden: bool,
}

/// A child process, and the way to it.
struct Child {
    answers: Sender<u64>,
    process: Process,
}

fn main() -> mp::Result {
    let options = Options::read(&["--children", "--questions"]);
    let children = options.value("--children", 100);
    let questions = options.value("--questions", 10);
    let pause = options.seconds(0.1);

    // Children first: `Process::start` forks, and wants a process with one thread.
    let (ask, asked) = Queue::<Question>::bounded(1_000)?.split();
    let start = |id: usize| -> mp::Result<Child> {
        let (answers, sender) = Pipe::<u64>::simplex()?;
        let ask = ask.clone();
        let bad = id == 0;
        Ok(Child {
            answers: sender,
            process: Process::start(move || child(id, questions, bad, pause, ask, answers))?,
        })
    };
    let children: Vec<Child> = (0..children).map(start).collect::<mp::Result<_>>()?;
    drop(ask);

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let answered = runtime.block_on(serve(asked, &children, &options))?;
    drop(runtime);

    let mut well = 0;
    for (id, child) in children.iter().enumerate() {
        let exit = child.process.join()?;
        match exit.success() {
            true => well += 1,
            false => println!("process {id} {exit}"),
        }
    }
    println!("{well} processes ended well");
    println!(
        "{answered} questions of {} processes answered by one task",
        children.len()
    );
    Ok(())
}

/// Answers until nobody is left who asks; how many questions it answered.
async fn serve(
    asked: Consumer<Question>,
    children: &[Child],
    options: &Options,
) -> mp::Result<u64> {
    let mut report = interval(options.seconds(0.25).max(Duration::from_millis(1)));
    let mut answered = 0;
    loop {
        // When it is time for the report, the get is dropped. It has taken nothing then.
        let question = tokio::select! {
            question = asked.get_async() => question,
            _ = report.tick() => {
                println!("{answered} so far");
                continue;
            }
        };
        let Question {
            from,
            number,
            forbidden,
        } = match question {
            Ok(question) => question,
            Err(mp::GetError::Closed) => return Ok(answered),
            Err(error) => return Err(error.into()),
        };
        if forbidden {
            children[from].process.kill()?;
            continue;
        }
        match children[from].answers.send_async(number * number).await {
            Ok(()) => answered += 1,
            Err(SendError::Closed(_)) => println!("process {from} did not wait for its answer"),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Asks for squares, one after the other.
fn child(
    from: usize,
    questions: u64,
    bad: bool,
    pause: Duration,
    ask: Producer<Question>,
    answers: Receiver<u64>,
) -> mp::Result {
    for number in 0..questions {
        ask.put(Question {
            from,
            number,
            forbidden: false,
        })?;
        assert_eq!(answers.recv()?, number * number);
        sleep(pause);
    }
    if bad {
        ask.put(Question {
            from,
            number: 0,
            forbidden: true,
        })?;
        // No answer will come.
        answers.recv()?;
    }
    Ok(())
}
