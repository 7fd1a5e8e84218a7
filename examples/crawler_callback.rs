//! A Pool of four fetches five pages; a callback appends a line for each to a file, as they come.
//! Mirrors the tutorial's crawler: `pool.apply_async(get, (url,), callback=save)`, `close`, `join`.
//! The pages are those of a small server that is started here, or `--urls http://… http://…`.
//!
//! ```text
//! cargo run --release --example crawler_callback -- [--urls URL…] [--output FILE] [--scale 1.0]
//! ```

mod common;
#[path = "common/web.rs"]
mod web;

use common::Options;
use multiproc::{self as mp, Pool};
use std::error::Error;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use web::{Page, fetch, urls};

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::read(&["--urls", "--output"]);
    let me = mp::current().pid();
    let (urls, _server) = urls(&options)?;
    let ours = std::env::temp_dir().join(format!("crawler_callback-{me}.txt"));
    let file = options.value("--output", ours.clone());
    fs::write(&file, "")?;

    let pool = Pool::new(4)?;
    for url in &urls {
        let file = file.clone();
        pool.apply_async(fetch, url.clone())?
            .callback(move |page| save(page, &file))
            .error_callback(|error| eprintln!("{error}"));
    }
    pool.close().join()?;

    let written = fs::read_to_string(&file)?;
    print!("{}:\n{written}", file.display());
    if file == ours {
        fs::remove_file(file)?; // nobody asked for it
    }
    println!("parent process {me}");
    match urls.len() - written.lines().count() {
        0 => Ok(()),
        n => Err(format!("{n} pages could not be had").into()),
    }
}

/// Runs in the parent, in one thread: two of them never write at the same time.
fn save(page: &Result<Page, String>, file: &Path) {
    let written = match page {
        Ok(page) => append(file, &format!("url:{} size:{}", page.url, page.text.len())),
        Err(why) => Err(io::Error::other(why.clone())),
    };
    match written {
        Ok(()) => println!("{} callback", mp::current().pid()),
        Err(error) => eprintln!("{error}"),
    }
}

fn append(file: &Path, line: &str) -> io::Result<()> {
    writeln!(OpenOptions::new().append(true).open(file)?, "{line}")
}
