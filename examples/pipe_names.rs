//! Two user types, each with a process of its own, tell each other their names through a Pipe.
//! Mirrors the tutorial's two `Process` subclasses that are given an end of one `Pipe()` each.
//! `Pipe::<Cat, Dog>`: one end sends a Cat and receives a Dog, and the other one the reverse.

mod common;

use multiproc::{self as mp, Connection, Pipe, Process};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Cat {
    name: String,
}

#[derive(Serialize, Deserialize)]
struct Dog {
    name: String,
}

impl Cat {
    fn run(self, other: Connection<Cat, Dog>) -> mp::Result {
        let me = self.name.clone();
        other.send(self)?;
        println!("{me} meets the dog {}", other.recv()?.name);
        Ok(())
    }
}

impl Dog {
    fn run(self, other: Connection<Dog, Cat>) -> mp::Result {
        let me = self.name.clone();
        other.send(self)?;
        println!("{me} meets the cat {}", other.recv()?.name);
        Ok(())
    }
}

fn main() -> mp::Result {
    common::Options::read(&[]);
    let (to_dog, to_cat) = Pipe::<Cat, Dog>::duplex()?;
    let cat = Cat {
        name: "Tom".to_owned(),
    };
    let dog = Dog {
        name: "Rex".to_owned(),
    };
    let cat = Process::start(move || cat.run(to_dog))?;
    let dog = Process::start(move || dog.run(to_cat))?;
    mp::join_all([cat, dog])
}
