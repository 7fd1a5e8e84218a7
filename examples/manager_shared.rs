//! A dict and a list in a manager's process, used by ten others: each stores its pid, appends 1, prints the list.
//! Mirrors the tutorial's `with Manager() as m: d, l = m.dict(), m.list()` and its ten `Process(target=f)`.
//! Each print shows the list as it was at that moment; at the end there are ten pairs and ten 1s.

mod common;

use common::Options;
use multiproc::{self as mp, Manager, Process};
use std::collections::BTreeMap;

fn main() -> mp::Result {
    Options::read(&[]); // no option but --scale, and nothing here takes time
    let manager = Manager::start()?;
    let (dict, list) = (manager.dict::<u32, u32>()?, manager.list::<u32>()?);

    let children = Process::start_each(0..10, |_| -> mp::Result {
        let me = mp::current().pid();
        dict.insert(me, me)?;
        list.push(1)?;
        println!("{:?}", list.to_vec()?);
        Ok(())
    })?;
    mp::join_all(children)?;

    let pairs: BTreeMap<u32, u32> = dict.items()?.into_iter().collect();
    println!("{pairs:?}");
    println!("{:?}", list.to_vec()?);
    manager.shut_down()?;
    Ok(())
}
