//! A SimpleQueue between two processes: `empty`, `get` and `put` are all it has.
//! Mirrors Python's `SimpleQueue`, the queue for when nobody needs a size or a timeout.
//! The child answers each word in capitals, and an empty word ends it.

use multiproc::{self as mp, Process, SimpleQueue};

mod common;

fn main() -> mp::Result {
    common::Options::read(&[]);
    let questions = SimpleQueue::<String>::new()?;
    let answers = SimpleQueue::<String>::new()?;
    println!("empty: {}", questions.is_empty()?);
    questions.put("hello".to_owned())?;
    println!("empty: {}", questions.is_empty()?);

    let child = Process::start(|| -> mp::Result {
        loop {
            let word = questions.get()?;
            if word.is_empty() {
                return Ok(());
            }
            answers.put(word.to_uppercase())?;
        }
    })?;
    println!("got {}", answers.get()?);
    questions.put("world".to_owned())?;
    println!("got {}", answers.get()?);
    questions.put(String::new())?;
    mp::join_all([child])?;
    println!("empty: {}", questions.is_empty()?);
    Ok(())
}
