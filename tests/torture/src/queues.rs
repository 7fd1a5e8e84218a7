//! Queues: messages one by one, in batches, in place, larger than the capacity, without one.

use crate::report::Report;
use crate::scenario::{Plan, Scenario};
use crate::storm::{Consumer, InHand, PATIENCE, Producer, Road, fill, storm};
use multiproc_queue::codec::Bytes;
use multiproc_queue::{GetTimeoutError, JoinableQueue, Queue, QueueOptions, TryGetError};
use std::time::Duration;

type Messages = Queue<Vec<u8>, Bytes>;

fn options() -> QueueOptions<Vec<u8>, Bytes> {
    Queue::<Vec<u8>>::options().codec::<Bytes>()
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Nothing is ever reported done, so all that entered is unfinished.
fn entered(queue: &Messages) -> Option<usize> {
    Some(JoinableQueue::from(queue.clone()).unfinished())
}

/// Takes what `len` says is there, and nothing more.
fn drain<R: Road>(queue: &Messages, consumer: &mut Consumer<'_, R>) -> Result<(), String> {
    let len = queue.len();
    for at in 0..len {
        match queue.get_timeout(PATIENCE) {
            Ok(message) => consumer.got(&message, false),
            Err(error) => return Err(format!("{at} of {len}, then: {error}")),
        }
    }
    match queue.try_get() {
        Err(TryGetError::Empty) => Ok(()),
        other => Err(format!("more than len() said, {len}: {:?}", other.is_ok())),
    }
}

fn put_one<R>(queue: &Messages, len: u64, producer: &mut Producer<'_, R>) -> Result<(), String> {
    let (number, message) = producer.next(len as usize);
    queue.put(message).map_err(text)?;
    producer.returned(number);
    Ok(())
}

fn get_one<R: Road>(queue: &Messages, consumer: &mut Consumer<'_, R>) -> Result<(), String> {
    // Mostly without a limit of time; now and then a short one.
    let message = if consumer.dice.once_in(16) {
        match queue.get_timeout(Duration::from_micros(consumer.dice.below(300))) {
            Err(GetTimeoutError::Timeout) => return Ok(()),
            other => other.map_err(text)?,
        }
    } else {
        queue.get().map_err(text)?
    };
    consumer.got(&message, false);
    consumer.released();
    Ok(())
}

macro_rules! scenario {
    ($(#[$doc:meta])* $scenario:ident $name:literal $road:ident) => {
        $(#[$doc])*
        pub(crate) struct $scenario;

        impl Scenario for $scenario {
            fn name(&self) -> &'static str {
                $name
            }

            fn run(&self, plan: &Plan, report: &mut Report) {
                storm::<$road>(plan, report);
            }
        }

        struct $road(Messages);
    };
}

scenario! {
    /// One by one through 32 places.
    Single "single" OneByOne
}

impl Road for OneByOne {
    const IN_HAND: InHand = InHand::Goes { copies: 1 };
    const ORDERED: bool = true;

    fn new() -> Self {
        OneByOne(options().capacity(32).build().expect("a queue"))
    }

    fn produce(&self, producer: &mut Producer<'_, Self>) -> Result<(), String> {
        let len = match producer.dice.below(64) {
            0 => producer.dice.below(60_000),
            1..8 => producer.dice.below(4_000),
            _ => producer.dice.below(100),
        };
        put_one(&self.0, len, producer)
    }

    fn consume(&self, consumer: &mut Consumer<'_, Self>) -> Result<(), String> {
        get_one(&self.0, consumer)
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn entered(&self) -> Option<usize> {
        entered(&self.0)
    }

    fn drain(&self, consumer: &mut Consumer<'_, Self>) -> Result<(), String> {
        drain(&self.0, consumer)
    }
}

scenario! {
    /// Up to 40 at a time through 64 places.
    Batches "batches" InBatches
}

const BATCH: u64 = 40;

impl Road for InBatches {
    // All of them in one buffer, and each in its own.
    const IN_HAND: InHand = InHand::Goes { copies: 2 };
    const ORDERED: bool = true;

    fn new() -> Self {
        InBatches(options().capacity(64).build().expect("a queue"))
    }

    fn produce(&self, producer: &mut Producer<'_, Self>) -> Result<(), String> {
        let (n, most) = (1 + producer.dice.below(BATCH), 1 << producer.dice.below(12));
        let mut numbers = Vec::new();
        let mut batch = Vec::new();
        for _ in 0..n {
            let len = producer.dice.below(most) as usize;
            let (number, message) = producer.next(len);
            numbers.push(number);
            batch.push(message);
        }
        self.0.put_many(batch).map_err(text)?;
        numbers.into_iter().for_each(|n| producer.returned(n));
        Ok(())
    }

    fn consume(&self, consumer: &mut Consumer<'_, Self>) -> Result<(), String> {
        let most = 1 + consumer.dice.below(BATCH);
        for message in self.0.get_many(most as usize).map_err(text)? {
            consumer.got(&message, false);
        }
        consumer.released();
        Ok(())
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn entered(&self) -> Option<usize> {
        entered(&self.0)
    }

    fn drain(&self, consumer: &mut Consumer<'_, Self>) -> Result<(), String> {
        let (len, mut all) = (self.0.len(), Vec::new());
        self.0.drain_into(&mut all).map_err(text)?;
        all.iter().for_each(|message| consumer.got(message, false));
        match all.len() == len {
            true => Ok(()),
            false => Err(format!("{} instead of len(), {len}", all.len())),
        }
    }
}

scenario! {
    /// Written and read in place.
    Loans "loans" InPlace
}

impl Road for InPlace {
    const IN_HAND: InHand = InHand::Comes;
    const ORDERED: bool = true;

    fn new() -> Self {
        InPlace(options().capacity(32).build().expect("a queue"))
    }

    fn produce(&self, producer: &mut Producer<'_, Self>) -> Result<(), String> {
        let len = 8 + match producer.dice.below(64) {
            0 => producer.dice.below(60_000),
            _ => producer.dice.below(2_000),
        };
        if producer.dice.once_in(10) {
            // Thought better of it: nobody ever sees that.
            self.0.put_loan(len as usize).map_err(text)?.fill(0xff);
        }
        let number = producer.number();
        let mut loan = self.0.put_loan(len as usize).map_err(text)?;
        fill(number, &mut loan);
        loan.commit();
        producer.returned(number);
        Ok(())
    }

    fn consume(&self, consumer: &mut Consumer<'_, Self>) -> Result<(), String> {
        let loan = self.0.get_loan().map_err(text)?;
        if consumer.dice.once_in(10) {
            loan.give_back();
            return Ok(());
        }
        consumer.got(&loan, false);
        drop(loan);
        consumer.released();
        Ok(())
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn entered(&self) -> Option<usize> {
        entered(&self.0)
    }

    fn drain(&self, consumer: &mut Consumer<'_, Self>) -> Result<(), String> {
        drain(&self.0, consumer)
    }
}

scenario! {
    /// A capacity of 64 KiB, and messages of up to 1 MiB among small ones.
    Oversize "oversize" Large
}

impl Road for Large {
    const IN_HAND: InHand = InHand::Goes { copies: 1 };
    const ORDERED: bool = true;

    fn new() -> Self {
        Large(options().bytes(64 << 10).build().expect("a queue"))
    }

    fn produce(&self, producer: &mut Producer<'_, Self>) -> Result<(), String> {
        let len = match producer.dice.below(256) {
            0 => producer.dice.below(20 << 20),
            1..32 => producer.dice.below(1 << 18),
            _ => producer.dice.below(4_000),
        };
        put_one(&self.0, len, producer)
    }

    fn consume(&self, consumer: &mut Consumer<'_, Self>) -> Result<(), String> {
        get_one(&self.0, consumer)
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn entered(&self) -> Option<usize> {
        entered(&self.0)
    }

    fn drain(&self, consumer: &mut Consumer<'_, Self>) -> Result<(), String> {
        drain(&self.0, consumer)
    }
}

scenario! {
    /// No capacity: memory grows while consumers are slow, and is given back afterwards.
    Growth "growth" Unbounded
}

/// Queued messages above which the producers wait, so that the memory suffices.
const ENOUGH: usize = 2_000;

impl Road for Unbounded {
    const IN_HAND: InHand = InHand::Goes { copies: 1 };
    const ORDERED: bool = true;

    fn new() -> Self {
        Unbounded(options().build().expect("a queue"))
    }

    fn produce(&self, producer: &mut Producer<'_, Self>) -> Result<(), String> {
        if self.0.len() > ENOUGH {
            std::thread::sleep(Duration::from_micros(200));
            return Ok(());
        }
        let len = producer.dice.below(64 << 10);
        put_one(&self.0, len, producer)
    }

    fn consume(&self, consumer: &mut Consumer<'_, Self>) -> Result<(), String> {
        get_one(&self.0, consumer)
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn entered(&self) -> Option<usize> {
        entered(&self.0)
    }

    fn drain(&self, consumer: &mut Consumer<'_, Self>) -> Result<(), String> {
        drain(&self.0, consumer)
    }
}
