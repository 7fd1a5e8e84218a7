//! A server at an address, with a key, and programs that were started apart: one leaves jobs, one does them.
//! Mirrors Python's "remote manager": `BaseManager(address, authkey)`, `get_server().serve_forever()`, `m.connect()`.
//! What has a name in the server outlives the programs that made it; a program with another key is turned away.
//!
//! One file: it runs itself again, once for each role.
//!
//! ```text
//! cargo run --release --example manager_remote -- [--role server|master|worker --address ADDRESS --key KEY] [--scale 1.0]
//! ```

mod common;

use common::Options;
use multiproc::manager::{Dict, Queue};
use multiproc::{self as mp, Manager, Server};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitCode, Stdio};

const KEY: &str = "do not tell anybody";
const JOBS: &str = "jobs";
const SQUARES: &str = "squares";

fn main() -> mp::Result<ExitCode> {
    let options = Options::read(&["--role", "--address", "--key"]);
    let key = options.value("--key", KEY.to_owned());
    // A port that the system chooses. A path would do, too, for programs of this machine.
    let address = options.value("--address", "127.0.0.1:0".to_owned());
    match options.values("--role").first().map(String::as_str) {
        None => all(&address),
        Some("server") => server(&address, &key),
        Some("master") => master(&address, &key),
        Some("worker") => worker(&address, &key),
        Some(other) => common::refuse(&format!("no role {other}")),
    }
}

/// Serves until its standard input ends.
fn server(address: &str, key: &str) -> mp::Result<ExitCode> {
    let server = Server::builder().key(key).bind(address)?;
    println!("server: at {}", server.address());
    std::thread::scope(|threads| {
        threads.spawn(|| {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            server.shut_down();
        });
        server.serve_forever()
    })?;
    println!("server: ends");
    Ok(ExitCode::SUCCESS)
}

/// Run twice: the first time it makes the queue and leaves jobs, the second time it finds what came of them.
fn master(address: &str, key: &str) -> mp::Result<ExitCode> {
    let manager = Manager::connect(address, key)?;
    if let Some(squares) = manager.find::<Dict<u32, u32>>(SQUARES)? {
        let mut all = squares.items()?;
        all.sort_unstable();
        println!("master: found {all:?}");
        return Ok(ExitCode::SUCCESS);
    }
    let jobs = manager.queue::<u32>()?;
    let squares = manager.dict::<u32, u32>()?;
    manager.publish(JOBS, &jobs)?;
    manager.publish(SQUARES, &squares)?;
    for n in 1..=3 {
        jobs.put(n)?;
    }
    println!("master: left {} jobs", jobs.len()?);
    Ok(ExitCode::SUCCESS)
}

fn worker(address: &str, key: &str) -> mp::Result<ExitCode> {
    let manager = match Manager::connect(address, key) {
        Ok(manager) => manager,
        Err(refused) if key != KEY => {
            println!("worker: {refused}");
            return Ok(ExitCode::SUCCESS);
        }
        Err(refused) => return Err(refused.into()),
    };
    let jobs = manager.find::<Queue<u32>>(JOBS)?;
    let squares = manager.find::<Dict<u32, u32>>(SQUARES)?;
    let (Some(jobs), Some(squares)) = (jobs, squares) else {
        println!("worker: nobody has left any jobs");
        return Ok(ExitCode::FAILURE);
    };
    while let Ok(n) = jobs.try_get() {
        squares.insert(n, n * n)?;
        println!("worker: {n} is done");
    }
    Ok(ExitCode::SUCCESS)
}

/// Starts them as programs of their own, the clients one after the other.
fn all(address: &str) -> mp::Result<ExitCode> {
    let program = std::env::current_exe()?;
    let start = |role: &str, address: &str, key: &str| {
        let mut command = Command::new(&program);
        command.args(["--role", role, "--address", address, "--key", key]);
        match role {
            "server" => command.stdin(Stdio::piped()).stdout(Stdio::piped()),
            _ => command.stdin(Stdio::null()),
        };
        command.spawn()
    };
    let mut server: Child = start("server", address, KEY)?;
    let mut says = BufReader::new(server.stdout.take().expect("it is piped")).lines();
    let first = says.next().transpose()?.unwrap_or_default();
    let Some(address) = first.strip_prefix("server: at ") else {
        println!("the server does not serve");
        return Ok(ExitCode::FAILURE);
    };
    println!("server: serves");

    let mut well = true;
    for (role, key) in [
        ("master", KEY),
        ("worker", "wrong"),
        ("worker", KEY),
        ("master", KEY),
    ] {
        well &= start(role, address, key)?.wait()?.success();
    }

    drop(server.stdin.take());
    for line in says {
        println!("{}", line?);
    }
    well &= server.wait()?.success();
    Ok(match well {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}
