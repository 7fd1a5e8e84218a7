//! Counts the words in all files of a folder, with a Pool and a progress bar, and says how much faster
//! that is than one process. Mirrors what `Pool.imap_unordered` and `tqdm` are used for in Python.
//! Any folder will do; by default it is this project's own sources.
//!
//! ```text
//! cargo run --release --example word_count -- [--folder FOLDER] [--workers 2] [--top 10]
//! ```

mod common;

use common::Options;
use indicatif::{ProgressBar, ProgressStyle};
use multiproc::{self as mp, Pool};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::HashMap;
use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What was found in some files.
#[derive(Serialize, Deserialize, Default, PartialEq)]
struct Count {
    files: usize,
    /// Files that could not be read, and why.
    skipped: Vec<String>,
    words: HashMap<String, u64>,
}

impl Count {
    fn add(&mut self, other: Count) {
        self.files += other.files;
        self.skipped.extend(other.skipped);
        for (word, n) in other.words {
            *self.words.entry(word).or_default() += n;
        }
    }

    fn total(&self) -> u64 {
        self.words.values().sum()
    }
}

/// The task: counts what is in these files.
fn count(files: Vec<OsString>) -> Count {
    let mut count = Count::default();
    for file in files {
        match fs::read(&file) {
            Ok(bytes) => {
                count.files += 1;
                count_text(&String::from_utf8_lossy(&bytes), &mut count.words);
            }
            Err(error) => count.skipped.push(format!("{}: {error}", file.display())),
        }
    }
    count
}

/// A word is letters and digits of any script, in lower case.
fn count_text(text: &str, words: &mut HashMap<String, u64>) {
    let mut lower = String::new();
    for word in text.split(|c: char| !c.is_alphanumeric()) {
        if word.is_empty() {
            continue;
        }
        lower.clear();
        lower.extend(word.chars().flat_map(char::to_lowercase));
        match words.get_mut(&lower) {
            Some(n) => *n += 1,
            None => {
                words.insert(lower.clone(), 1);
            }
        }
    }
}

/// All files below a folder, but not those behind links, nor hidden ones, nor what cargo builds.
fn files_in(folder: &Path, found: &mut Vec<OsString>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let (entry, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
        let kind = fs::symlink_metadata(&entry)?.file_type();
        let left_out = name.as_encoded_bytes().starts_with(b".") || name == "target";
        if kind.is_file() && !left_out {
            found.push(entry.into_os_string());
        } else if kind.is_dir() && !left_out {
            files_in(&entry, found)?;
        }
    }
    Ok(())
}

/// Files that one task gets.
const BATCH: usize = 16;

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::read(&["--folder", "--workers", "--top"]);
    let folder = options.value("--folder", PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    let workers = options.value("--workers", mp::cpu_count());
    let mut files = Vec::new();
    files_in(&folder, &mut files).map_err(|error| format!("{}: {error}", folder.display()))?;
    files.sort();

    // The pool first: the one process then finds the files in memory, which is in its favour.
    let pool = Pool::new(workers)?;
    let style = "{bar:40} {pos} of {len} files, {per_sec}, {eta} left";
    let bar = ProgressBar::new(files.len() as u64).with_style(ProgressStyle::with_template(style)?);
    let begun = Instant::now();
    let mut by_all = Count::default();
    for part in pool.imap_unordered(count, files.chunks(BATCH).map(<[OsString]>::to_vec))? {
        let part = part?;
        bar.inc((part.files + part.skipped.len()) as u64);
        by_all.add(part);
    }
    let time_of_all = begun.elapsed();
    bar.finish_and_clear();
    pool.close().join()?;

    let begun = Instant::now();
    let mut by_one = count(files);
    let time_of_one = begun.elapsed();

    by_all.skipped.sort();
    by_one.skipped.sort();
    for why in &by_all.skipped {
        eprintln!("skipped: {why}");
    }
    let mut words: Vec<_> = by_all.words.iter().collect();
    words.sort_by_key(|(word, n)| (Reverse(**n), *word));
    for (word, n) in words.iter().take(options.value("--top", 10)) {
        println!("{n:8} {word}");
    }
    let (files, total, distinct) = (by_all.files, by_all.total(), words.len());
    println!("{total} words, {distinct} of them different, in {files} files");
    println!(
        "{workers} workers {time_of_all:.1?}, one process {time_of_one:.1?}: {:.2} times as fast",
        time_of_one.as_secs_f64() / time_of_all.as_secs_f64()
    );
    match by_all == by_one {
        true => Ok(()),
        false => Err("the pool and the one process have not found the same".into()),
    }
}
