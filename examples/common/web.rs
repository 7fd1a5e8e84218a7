//! Pages to fetch: one request of HTTP/1.0 over a socket, and a small server that has some pages.

use crate::common::Options;
use multiproc::{self as mp, Process};
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// Who does not answer for so long does not answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A page, as a task returns it.
#[derive(Serialize, Deserialize, Debug)]
pub(crate) struct Page {
    pub(crate) url: String,
    pub(crate) text: String,
}

/// The task of a crawler: fetches a page. That it cannot be had is a value, too.
pub(crate) fn fetch(url: String) -> Result<Page, String> {
    println!("{} fetches {url}", mp::current().pid());
    match get(&url) {
        Ok(text) => Ok(Page { url, text }),
        Err(error) => Err(format!("{url}: {error}")),
    }
}

/// The body behind an `http://` address.
fn get(url: &str) -> io::Result<String> {
    let refused = |why: String| io::Error::new(io::ErrorKind::InvalidInput, why);
    let rest = url.strip_prefix("http://");
    let rest = rest.ok_or_else(|| refused("only http:// is spoken here".to_owned()))?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let port = if host.contains(':') { "" } else { ":80" };
    let mut server = TcpStream::connect(format!("{host}{port}"))?;
    server.set_read_timeout(Some(PATIENCE))?;
    write!(server, "GET /{path} HTTP/1.0\r\nHost: {host}\r\n\r\n")?;

    // What is between the head and the end of the stream is the page.
    let mut answer = BufReader::new(server);
    let mut line = String::new();
    answer.read_line(&mut line)?;
    if line.split(' ').nth(1) != Some("200") {
        return Err(refused(format!("the server says {}", line.trim())));
    }
    while line.trim() != "" {
        line.clear();
        answer.read_line(&mut line)?;
    }
    let mut body = Vec::new();
    answer.read_to_end(&mut body)?;
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// The addresses that `--urls` gives, or those of five pages of a server that is started here, and
/// which then has to be kept.
pub(crate) fn urls(options: &Options) -> mp::Result<(Vec<String>, Option<Process>)> {
    if options.has("--urls") {
        return Ok((options.values("--urls"), None));
    }
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let pause = options.seconds(0.5);
    let server = Process::builder()
        .name("server")
        .daemon(true) // it ends with us, whatever happens
        .start(move || -> io::Result<()> {
            for visitor in listener.incoming() {
                let visitor = visitor?;
                thread::spawn(move || answer(visitor, pause));
            }
            Ok(())
        })?;
    let urls = (1..=5).map(|n| format!("http://{address}/{n}"));
    Ok((urls.collect(), Some(server)))
}

/// Page n has n thousand bytes, and takes its time: the last one the least.
fn answer(mut visitor: TcpStream, pause: Duration) -> io::Result<()> {
    let mut request = BufReader::new(visitor.try_clone()?);
    let mut line = String::new();
    request.read_line(&mut line)?;
    let page = line
        .strip_prefix("GET /")
        .and_then(|rest| rest.split(' ').next());
    let Some(n @ 1..=5) = page.and_then(|page| page.parse::<usize>().ok()) else {
        return visitor.write_all(b"HTTP/1.0 404 Not Found\r\n\r\n");
    };
    let mut header = String::new();
    while request.read_line(&mut header)? > 2 {
        header.clear();
    }
    thread::sleep(pause * (6 - n as u32));
    write!(visitor, "HTTP/1.0 200 OK\r\n\r\n")?;
    visitor.write_all("x".repeat(1_000 * n).as_bytes())
}
