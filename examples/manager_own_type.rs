//! An object of one's own type in a manager's process: a shop, in which four processes buy at the same time.
//! Mirrors Python's "customized managers": `class MathsClass`, `MyManager.register('Maths', MathsClass)`.
//! Its methods run in the server, one at a time; what they return as an error comes back as that very error.

mod common;

use common::Options;
use multiproc::manager::RemoteError;
use multiproc::{self as mp, Manager, Process, managed, manager::CallError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Default)]
struct Shop {
    stock: BTreeMap<String, u32>,
    /// Process by process, what it has bought.
    sold: BTreeMap<u32, u32>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum NotSold {
    Unknown(String),
    Only { left: u32 },
}

impl Shop {
    fn deliver(&mut self, what: String, pieces: u32) -> u32 {
        let stock = self.stock.entry(what).or_default();
        *stock += pieces;
        *stock
    }

    /// What is left.
    fn buy(&mut self, what: String, pieces: u32, buyer: u32) -> Result<u32, NotSold> {
        let Some(stock) = self.stock.get_mut(&what) else {
            return Err(NotSold::Unknown(what));
        };
        let Some(left) = stock.checked_sub(pieces) else {
            return Err(NotSold::Only { left: *stock });
        };
        *stock = left;
        *self.sold.entry(buyer).or_default() += pieces;
        Ok(left)
    }

    fn price(&self, what: String) -> u32 {
        panic!("nobody has put a price on {what}")
    }

    fn buyers(&self) -> Vec<(u32, u32)> {
        self.sold.clone().into_iter().collect()
    }

    /// Not in the list below, so it cannot be called from outside.
    #[allow(dead_code)]
    fn burn_down(&mut self) {
        *self = Self::default();
    }
}

managed! {
    proxy ShopProxy for Shop {
        fn deliver(&mut self, what: String, pieces: u32) -> u32;
        fn buy(&mut self, what: String, pieces: u32, buyer: u32) -> Result<u32, NotSold>;
        fn price(&self, what: String) -> u32;
    }
    iterators {
        fn buyers(&self) -> (u32, u32);
    }
}

const BUYERS: u32 = 4;
const TEA: u32 = 42;

fn main() -> mp::Result {
    let options = Options::read(&[]);
    let manager = Manager::builder().register(Shop::default).start()?;
    let shop: ShopProxy = manager.make()?;
    println!("delivered: {} tea", shop.deliver("tea".into(), TEA)?);

    let buyers = Process::start_each(1..=BUYERS, |buyer| -> mp::Result {
        while shop.buy("tea".into(), 1, buyer)?.is_ok() {
            std::thread::sleep(options.seconds(0.01));
        }
        Ok(())
    })?;
    mp::join_all(buyers)?;

    let mut pieces = 0;
    for bought in shop.buyers()? {
        let (buyer, its) = bought?;
        println!("buyer {buyer} has {its}");
        pieces += its;
    }
    println!("sold: {pieces} tea");
    println!("one more: {:?}", shop.buy("tea".into(), 1, 0)?);
    println!("coffee: {:?}", shop.buy("coffee".into(), 1, 0)?);
    match shop.price("tea".into()) {
        Err(CallError::Remote(RemoteError::Panicked {
            method, message, ..
        })) => println!("{method} panicked there: {message}"),
        other => println!("price: {other:?}"),
    }
    println!("and again: {} tea", shop.deliver("tea".into(), 1)?);
    manager.shut_down()?;
    Ok(())
}
