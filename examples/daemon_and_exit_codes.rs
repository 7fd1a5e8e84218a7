//! How children end: exit codes 0, n, 1 after a panic and -9 after a kill; and daemons, which end with their parent.
//! Mirrors the tutorial's `p.exitcode`, `p.sentinel` and `p.daemon = True`, and a `kill -9` that it does not try:
//! there, a daemon outlives a parent that was killed. Here it does not.

mod common;

use common::Options;
use multiproc::{self as mp, Pipe, Process, Source};
use std::thread::sleep;
use std::time::Duration;

fn main() -> mp::Result {
    let options = Options::read(&[]);

    let busy = || -> () {
        loop {
            sleep(Duration::from_secs(1));
        }
    };
    let killed = Process::start(busy)?;
    killed.kill()?;
    for (what, child) in [
        ("it returned", Process::start(|| ())?),
        ("it returned 3", Process::start(|| 3)?),
        (
            "it panicked",
            Process::start(|| -> () { panic!("on purpose") })?,
        ),
        ("it was killed", killed),
    ] {
        println!("{what}: exit code {}", child.join()?.code());
    }

    // Its sentinel and a connection to it, waited for together. Both are ready in the end, in any order.
    let pause = options.seconds(0.5);
    let (ours, theirs) = Pipe::<String>::duplex()?;
    let child = Process::start(move || -> mp::Result {
        sleep(pause);
        theirs.send("half done".into())?;
        sleep(pause);
        Ok(())
    })?;
    let (mut talks, mut runs) = (true, true);
    while talks || runs {
        let sentinel = Source::descriptor(&child);
        let sources = match (talks, runs) {
            (true, true) => vec![Source::from(&ours), sentinel],
            (true, false) => vec![Source::from(&ours)],
            _ => vec![sentinel],
        };
        for ready in mp::wait(sources, None)? {
            if talks && ready == 0 {
                match ours.recv() {
                    Ok(text) => println!("it says: {text}"),
                    Err(_) => talks = false, // nobody holds the other end
                }
            } else {
                runs = false;
            }
        }
    }
    println!("it has ended: exit code {}", child.join()?.code());

    // A daemon of a process that is killed: it holds the only sender of this pipe.
    let (signs_of_life, sender) = Pipe::<u32>::simplex()?;
    let parent = Process::start(move || -> mp::Result {
        let daemon = Process::builder()
            .daemon(true)
            .start(move || -> mp::Result {
                sender.send(mp::current().pid())?;
                busy();
                Ok(())
            })?;
        daemon.join()?.ok()?;
        Ok(())
    })?;
    signs_of_life.recv()?;
    println!("a daemon runs");
    parent.kill()?;
    println!("its parent was killed: exit code {}", parent.join()?.code());
    // Closed as soon as nobody holds the other end, however that came.
    match signs_of_life.recv() {
        Err(_) => println!("the daemon has ended, too"),
        Ok(pid) => println!("unexpected: {pid} lives on"),
    }

    // And one of our own: it ends when `main` does, which does not wait for it.
    Process::builder().daemon(true).start(busy)?;
    Ok(())
}
