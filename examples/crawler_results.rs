//! A Pool of four fetches five pages; their results are kept, and printed when all are there.
//! Mirrors the tutorial's crawler without callback: `close`, `join`, then `res.get()` for each.
//! The pages are those of a small server that is started here, or `--urls http://… http://…`.

mod common;
#[path = "common/web.rs"]
mod web;

use common::Options;
use multiproc::{self as mp, Pool};
use std::error::Error;
use web::{fetch, urls};

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::read(&["--urls"]);
    let (urls, _server) = urls(&options)?;
    let pool = Pool::new(4)?;
    let mut results = Vec::new();
    for url in urls {
        results.push(pool.apply_async(fetch, url)?);
    }
    pool.close().join()?;

    let mut failed = 0;
    for result in results {
        match result.get()? {
            Ok(page) => println!("url:{} size:{}", page.url, page.text.len()),
            Err(why) => {
                eprintln!("{why}");
                failed += 1;
            }
        }
    }
    println!("parent process {}", mp::current().pid());
    match failed {
        0 => Ok(()),
        n => Err(format!("{n} pages could not be had").into()),
    }
}
