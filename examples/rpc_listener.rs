//! An RPC server over a Listener, and clients that are programs of their own: they know an address
//! and a key. Mirrors Python's `multiprocessing.connection.Listener` and `Client` with `authkey`.
//! One file: it runs itself again, once for each client, the last of them with a wrong key.
//!
//! ```text
//! cargo run --release --example rpc_listener -- [--serve ADDRESS] [--client ADDRESS --key KEY] [--scale 1.0]
//! ```

mod common;

use common::Options;
use multiproc::{self as mp, Client, Connection, Listener, pipe::AcceptError};
use serde::{Deserialize, Serialize};
use std::process::{Command, ExitCode, Stdio};

#[derive(Serialize, Deserialize)]
enum Request {
    Square(i64),
    Upper(String),
}

#[derive(Serialize, Deserialize, Debug)]
enum Reply {
    Number(i64),
    Text(String),
}

const KEY: &str = "do not tell anybody";

fn main() -> mp::Result<ExitCode> {
    let options = Options::read(&["--serve", "--client", "--key"]);
    let key = options.value("--key", KEY.to_owned());
    if let Some(address) = options.values("--client").first() {
        return client(address, &key);
    }
    let own_clients = options.values("--serve").is_empty();
    let listener = match options.values("--serve").first() {
        Some(address) => Listener::options().key(KEY).bind(address.as_str())?,
        None => Listener::options().key(KEY).bind_anywhere()?,
    };
    let address = listener.address().to_string();
    if !own_clients {
        println!("serving at {address}");
    }

    // Two friends, and one whose key is wrong; none where clients come by themselves.
    let keys: &[&str] = if own_clients {
        &[KEY, KEY, "wrong"]
    } else {
        &[]
    };
    let program = std::env::current_exe()?;
    let start = |key: &&str| {
        let arguments = ["--client", &address, "--key", key];
        let mut client = Command::new(&program);
        client.args(arguments).stdin(Stdio::null()).spawn()
    };
    let clients: Vec<_> = keys.iter().map(start).collect::<Result<_, _>>()?;

    let mut to_come = clients.len();
    while to_come > 0 || !own_clients {
        match listener.accept::<Reply, Request>() {
            Ok(client) => serve(&client)?,
            // One who is not right costs nothing: the next one is served.
            Err(AcceptError::Handshake(why)) => println!("server: turned away: {why}"),
            Err(other) => return Err(other.into()),
        }
        to_come -= usize::from(own_clients);
    }
    let mut well = true;
    for mut client in clients {
        well &= client.wait()?.success();
    }
    println!("server: done");
    Ok(if well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Answers one client until it has gone.
fn serve(client: &Connection<Reply, Request>) -> mp::Result {
    for request in client {
        client.send(match request? {
            Request::Square(n) => Reply::Number(n * n),
            Request::Upper(text) => Reply::Text(text.to_uppercase()),
        })?;
    }
    Ok(())
}

fn client(address: &str, key: &str) -> mp::Result<ExitCode> {
    let server = match Client::options()
        .key(key)
        .connect::<Request, Reply>(address)
    {
        Ok(server) => server,
        Err(refused) if key != KEY => {
            println!("client: {refused}");
            return Ok(ExitCode::SUCCESS);
        }
        Err(refused) => return Err(refused.into()),
    };
    server.send(Request::Square(12))?;
    println!("client: {:?}", server.recv()?);
    server.send(Request::Upper("hello".into()))?;
    println!("client: {:?}", server.recv()?);
    Ok(ExitCode::SUCCESS)
}
