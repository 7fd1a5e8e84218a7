//! Sends what it reads, line by line, to `echo_server`, and prints what comes back, in upper case.
//! Mirrors the tutorial's TCP client: `input`, `send`, `recv`, `print` in a loop.
//! `--connect ADDRESS` is what the server prints when it is started with `--serve`; stdin's end is the end.

mod common;

use common::{Options, refuse};
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;

fn main() -> io::Result<()> {
    let options = Options::read(&["--connect"]);
    let Some(address) = options.values("--connect").pop() else {
        refuse("--connect needs the address of an echo_server");
    };
    let mut server = TcpStream::connect(address)?;
    let mut replies = BufReader::new(server.try_clone()?);
    for line in io::stdin().lock().lines() {
        writeln!(server, "{}", line?)?;
        let mut reply = String::new();
        if replies.read_line(&mut reply)? == 0 {
            return Err(io::Error::other("the server has hung up"));
        }
        print!("{reply}");
    }
    Ok(())
}
