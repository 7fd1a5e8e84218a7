//! A TCP server that sends each line back in upper case: it accepts, and a Pool of four serves.
//! Mirrors the tutorial's `pool.apply_async(talk, (conn,))`: the socket itself travels to a worker.
//! While four clients are served, a fifth one is connected, and waits for its turn.
//!
//! ```text
//! cargo run --release --example echo_server -- [--clients 5 | --serve ADDRESS] [--scale 1.0]
//! ```
//!
//! It starts its own clients and ends after them; with `--serve 127.0.0.1:8080` it stays, for
//! `echo_client`, `nc` and `telnet`.

mod common;

use common::Options;
use multiproc::{self as mp, Descriptor, Pool, Process};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::sleep;
use std::time::Duration;

/// The task: serves a client to its end. How many lines that were.
fn talk(Descriptor(mut client): Descriptor<TcpStream>) -> Result<usize, String> {
    let mut serve = || -> io::Result<usize> {
        let mut lines = 0;
        for line in BufReader::new(client.try_clone()?).lines() {
            let line = line?;
            println!("{} has {line}", mp::current().pid());
            writeln!(client, "{}", line.to_uppercase())?;
            lines += 1;
        }
        Ok(lines)
    };
    serve().map_err(|error| error.to_string())
}

fn main() -> mp::Result {
    let options = Options::read(&["--clients", "--serve"]);
    let stays = options.has("--serve");
    let address = options.value("--serve", SocketAddr::from(([127, 0, 0, 1], 0)));
    let pause = options.seconds(0.5);

    let pool = Pool::new(4)?;
    let listener = TcpListener::bind(address)?;
    let address = listener.local_addr()?;
    println!("{} serves at {address}", mp::current().pid());

    let clients = match stays {
        true => 0,
        false => options.value("--clients", 5),
    };
    let clients = Process::start_each(1..=clients, |n| client(n, address, pause))?;
    let visitors = listener.incoming().enumerate();
    for (n, visitor) in visitors.take(if stays { usize::MAX } else { clients.len() }) {
        let number = n + 1;
        println!("accepted connection {number}");
        pool.apply_async(talk, Descriptor(visitor?))?
            .callback(move |end| match end {
                Ok(lines) => println!("connection {number} ends after {lines} lines"),
                Err(error) => println!("connection {number} failed: {error}"),
            })
            .error_callback(move |error| println!("connection {number} failed: {error}"));
    }
    mp::join_all(clients)?;
    pool.close().join()
}

/// One of the server's own clients.
fn client(n: usize, address: SocketAddr, pause: Duration) -> io::Result<()> {
    let mut server = TcpStream::connect(address)?;
    let mut replies = BufReader::new(server.try_clone()?);
    for word in ["hello", "how are you", "bye"] {
        writeln!(server, "{word} from {n}")?;
        let mut reply = String::new();
        if replies.read_line(&mut reply)? == 0 {
            return Err(io::Error::other("the server has hung up"));
        }
        print!("client {n}: {reply}");
        sleep(pause);
    }
    Ok(())
}
