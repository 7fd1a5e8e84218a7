//! multiproc beside its peers, in one run.
//!
//! A measurement is only worth something beside another one that was taken in the same minute on the
//! same machine. So the harness runs every contender of a row once per round, in a rotated order, and
//! reports, besides the figures, the *ratios within each round* to a contender that the row names as its base.
//!
//! | file | idea |
//! |---|---|
//! | `aims` | what we want to reach, and whether a run did |
//! | `args` | the command line |
//! | `harness` | groups, rows, contenders; rounds; medians and ratios |
//! | `sys` | isolated measurements: fork, pin, watchdog, shared memory, futex |
//! | `channel` | what a queue-like contender is, and how one is driven |
//! | `queue` | the groups `queue-oneway` and `queue-roundtrip` |
//! | `pipe` | the groups `pipe-oneway` and `pipe-roundtrip` |
//! | `lock` | the group `lock` |
//! | `wakeup` | the group `wakeup` |
//! | `start` | the group `start` |
//! | `attach` | the group `attach` |
//! | `wait` | the group `wait` |
//! | `pool` | the group `pool` |
//! | `manager` | the group `manager` |
//! | `ideal` | the limit: a ring between two polling processes |
//! | `ours` | multiproc's own rows |
//! | `peers` | everybody else, one small file each |
//! | `report`, `plot` | tables and JSON; the HTML page |
//!
//! The harness itself has one thread and touches no contender: each measurement happens in a process
//! of its own, below a watchdog.

mod aims;
mod args;
mod attach;
mod channel;
mod harness;
mod ideal;
mod lock;
mod manager;
mod ours;
mod peers;
mod pipe;
mod plot;
mod pool;
mod queue;
mod report;
mod start;
mod sys;
mod wait;
mod wakeup;

use std::path::Path;
use std::process::ExitCode;

/// All of them, in the order of the tables.
fn groups() -> Vec<harness::Group> {
    let groups = [
        queue::groups(),
        pipe::groups(),
        lock::groups(),
        wakeup::groups(),
        wait::groups(),
        start::groups(),
        attach::groups(),
        pool::groups(),
        manager::groups(),
    ];
    groups.into_iter().flatten().collect()
}

/// Runs what the command line asks for, prints the tables, and writes `report.json`, `index.html`, `figures.md` and `oneway.svg` into
/// `folder`.
pub fn main(folder: &Path) -> ExitCode {
    start::entry();
    let groups = groups();
    let args = match args::parse(std::env::args().skip(1), &groups) {
        Ok(args) => args,
        Err(message) => {
            eprintln!("error: {message}\n\n{}", args::USAGE);
            return ExitCode::from(2);
        }
    };
    if args.help {
        println!("{}", args::USAGE);
        return ExitCode::SUCCESS;
    }
    let groups = harness::select(groups, &args.only);
    if args.list {
        print!("{}", report::list(&groups));
        return ExitCode::SUCCESS;
    }
    if cfg!(debug_assertions) && !args.bench {
        println!("a bench: nothing to see in an unoptimised build; run `cargo bench`");
        return ExitCode::SUCCESS;
    }

    let results = harness::run(&groups, args.quick, &mut |row| {
        print!("{}", report::table(row))
    });
    print!("{}", aims::table(&results));
    let json = report::json(&results);
    let mut files = vec![
        (folder.join("report.json"), json.clone()),
        (folder.join("index.html"), plot::page(&results)),
        (folder.join("figures.md"), report::markdown(&results)),
    ];
    files.extend(plot::picture(&results).map(|svg| (folder.join("oneway.svg"), svg)));
    if let Some(file) = args.json {
        files.push((file, json));
    }
    for (path, text) in files {
        let folder = path.parent().unwrap_or(Path::new("."));
        let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&path, text));
        match written {
            Ok(()) => println!("wrote {}", path.display()),
            Err(error) => {
                eprintln!("error: {}: {error}", path.display());
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
