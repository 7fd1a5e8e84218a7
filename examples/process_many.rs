//! Three children that do different things for 3, 2 and 4 seconds, kept in a list, all joined.
//! Mirrors the tutorial's `for p in [p1, p2, p3]: p.start()` and then `p.join()`.
//! They run at the same time: the whole takes as long as the longest, about 4 seconds.

mod common;

use common::Options;
use multiproc::{self as mp, Process};
use std::thread::sleep;

fn main() -> mp::Result {
    let options = Options::read(&[]);
    let targets = [("sleep", 3.0), ("EAT", 2.0), ("study", 4.0)];
    let children = Process::start_each(targets, |(what, seconds)| {
        let parent = mp::parent().expect("a child has a parent");
        println!("{what}: {} --- {}", parent.pid(), mp::current().pid());
        sleep(options.seconds(seconds));
    })?;
    mp::join_all(children)?;
    Ok(())
}
