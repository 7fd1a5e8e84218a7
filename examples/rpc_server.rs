//! An RPC server: one process, a Pipe to each of its clients, requests and replies as serde enums.
//! Mirrors Python's `multiprocessing.connection.wait` over the connections of several `Pipe()`s.
//! A client that the server kills in the middle is an end of stream like any other: the rest is served.
//!
//! ```text
//! cargo run --release --example rpc_server -- [--clients 4] [--requests 5] [--scale 1.0]
//! ```

mod common;

use common::Options;
use multiproc::{self as mp, Connection, Pipe, Process, SendError, TryRecvError};
use serde::{Deserialize, Serialize};
use std::thread::sleep;
use std::time::Duration;

#[derive(Serialize, Deserialize)]
enum Request {
    Add(i64, i64),
    Divide {
        this: i64,
        by: i64,
    },
    Reverse(String),
    /// What nobody may ask: the server kills whoever does.
    Forbidden,
}

#[derive(Serialize, Deserialize, Debug)]
enum Reply {
    Number(i64),
    Text(String),
    Refused(String),
}

/// The server's end of a client's pipe, and the client.
struct Client {
    id: usize,
    connection: Connection<Reply, Request>,
    process: Process,
}

fn main() -> mp::Result {
    let options = Options::read(&["--clients", "--requests"]);
    let clients = options.value("--clients", 4);
    let requests = options.value("--requests", 5);
    let pause = options.seconds(0.2);

    let start = |id: usize| -> mp::Result<Client> {
        let (connection, theirs) = Pipe::<Reply, Request>::duplex()?;
        // The last one asks for what is forbidden, once it has asked for all the rest.
        let bad = id == clients;
        let process = Process::start(move || client(id, requests, bad, pause, theirs))?;
        Ok(Client {
            id,
            connection,
            process,
        })
    };
    let clients: Vec<Client> = (1..=clients).map(start).collect::<mp::Result<_>>()?;
    let served = serve(&clients)?;

    for client in &clients {
        println!("client {} {}", client.id, client.process.join()?);
    }
    println!("{served} requests of {} clients served", clients.len());
    Ok(())
}

/// Answers whoever asks, until all of them are gone; how many it answered.
fn serve(clients: &[Client]) -> mp::Result<usize> {
    let mut there: Vec<&Client> = clients.iter().collect();
    let mut served = 0;
    while !there.is_empty() {
        let ready = mp::wait(there.iter().map(|client| &client.connection), None)?;
        // From behind, as those that are gone are taken out.
        for index in ready.into_iter().rev() {
            let client = there[index];
            match client.connection.try_recv() {
                Ok(Request::Forbidden) => {
                    println!("client {} is killed", client.id);
                    client.process.kill()?;
                }
                Ok(request) => match client.connection.send(answer(request)) {
                    Ok(()) => served += 1,
                    // Gone without its answer: the end of its stream is the next we hear of it.
                    Err(SendError::Closed(_)) => {}
                    Err(error) => return Err(error.into()),
                },
                Err(TryRecvError::Closed) => {
                    println!("client {} is gone", client.id);
                    there.remove(index);
                }
                Err(TryRecvError::Empty) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(served)
}

fn answer(request: Request) -> Reply {
    match request {
        Request::Add(one, other) => Reply::Number(one + other),
        Request::Divide { this, by } => match this.checked_div(by) {
            Some(number) => Reply::Number(number),
            None => Reply::Refused(format!("{this} / {by} is no number")),
        },
        Request::Reverse(text) => Reply::Text(text.chars().rev().collect()),
        Request::Forbidden => Reply::Refused("nobody may ask that".to_owned()),
    }
}

/// Asks one thing after the other, and prints what it is told.
fn client(
    id: usize,
    requests: usize,
    bad: bool,
    pause: Duration,
    server: Connection<Request, Reply>,
) -> mp::Result {
    for n in 0..requests {
        let (question, request) = match n % 3 {
            0 => (format!("{n} + {id}"), Request::Add(n as i64, id as i64)),
            1 => {
                let (this, by) = (100 * n as i64, id as i64 - 1);
                (format!("{this} / {by}"), Request::Divide { this, by })
            }
            _ => {
                let text = format!("client {id}");
                (format!("{text} reversed"), Request::Reverse(text))
            }
        };
        server.send(request)?;
        println!("client {id}: {question} is {:?}", server.recv()?);
        sleep(pause);
    }
    if bad {
        server.send(Request::Forbidden)?;
        // No reply will come.
        server.recv()?;
    }
    Ok(())
}
