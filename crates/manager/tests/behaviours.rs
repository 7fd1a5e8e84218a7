//! What Python's managers do, row by row, and what is expected of Rust's collections.

use multiproc_manager::{
    Array, CallError, Dict, Event, IterError, JoinableQueue, List, Manager, Namespace, Queue,
    RemoteError, Server, Set, TaskDoneError, TryGetError, TryPutError, managed,
};
use multiproc_process::{Process, join_all, test};
use std::time::Duration;

test::main! {
    smoke,
    g8_dict_operations,
}

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn smoke() -> Outcome {
    let manager = Manager::start()?;
    let (dict, list) = (manager.dict::<u32, u32>()?, manager.list::<u32>()?);
    let children = Process::start_each(0..10, |_| -> Outcome {
        let me = std::process::id();
        dict.insert(me, me)?;
        list.push(1)?;
        Ok(println!("{:?}", list.to_vec()?))
    })?;
    join_all(children)?;
    println!("{:?} {:?}", dict.to_map()?, list.to_vec()?);
    assert_eq!((dict.len()?, list.len()?), (10, 10));
    println!("{:?}", manager.numbers()?);
    let begun = std::time::Instant::now();
    for n in 0..100_000 {
        dict.insert(n % 100, n)?;
    }
    println!("{:?} per insert", begun.elapsed() / 100_000);
    let begun = std::time::Instant::now();
    for n in 0..100_000 {
        dict.get(&(n % 100))?;
    }
    println!("{:?} per get", begun.elapsed() / 100_000);
    drop(manager);
    Ok(())
}

fn g8_dict_operations() -> Outcome {
    let manager = Manager::start()?;
    let dict = manager.dict::<String, u32>()?;
    assert_eq!(dict.insert("a".to_owned(), 1)?, None);
    Ok(())
}
