//! A Pool of four workers and eight tasks of 2 seconds, with callbacks; the sixth one fails on purpose.
//! Mirrors the tutorial's `pool.apply_async(func, (i,), callback=…, error_callback=…)`, `close`, `join`.
//! Two waves, about 4 seconds; with `--serial` one task after the other by `apply`, about 16 seconds.

mod common;

use common::Options;
use multiproc::{self as mp, Pool, TaskError};
use std::thread::sleep;
use std::time::Duration;

fn task((n, pause): (u32, Duration)) -> String {
    let me = mp::current().pid();
    println!("{me} runs task {n}");
    sleep(pause);
    if n == 6 {
        panic!("task {n} fails on purpose");
    }
    format!("task {n} from {me}")
}

fn main() -> mp::Result {
    let options = Options::read(&["--serial"]);
    let pause = options.seconds(2.0);
    let pool = Pool::new(4)?;
    for n in 1..=8 {
        if options.has("--serial") {
            match pool.apply(task, (n, pause)) {
                Ok(said) => done(&said),
                Err(error) => failed(&error),
            }
        } else {
            pool.apply_async(task, (n, pause))?
                .callback(|said| done(said))
                .error_callback(failed);
        }
    }
    pool.close().join()?;
    println!("{} finish....", mp::current().pid());
    Ok(())
}

fn done(said: &str) {
    println!("{} callback: {said}", mp::current().pid());
}

fn failed(error: &TaskError) {
    println!("{} error callback: {error}", mp::current().pid());
}
