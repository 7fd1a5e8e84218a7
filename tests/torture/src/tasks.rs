//! Tasks: each is done once, by whomever, however many die with it.

use crate::report::Report;
use crate::scenario::{Plan, Scenario};
use crate::storm::{Consumer, InHand, PATIENCE, Producer, Road, spin, storm};
use multiproc_queue::codec::Bytes;
use multiproc_queue::{JoinableQueue, Queue};

/// `get_task`, done on drop; some are given back, some large.
pub(crate) struct Tasks;

impl Scenario for Tasks {
    fn name(&self) -> &'static str {
        "tasks"
    }

    fn run(&self, plan: &Plan, report: &mut Report) {
        storm::<Redelivered>(plan, report);
    }
}

struct Redelivered(JoinableQueue<Vec<u8>, Bytes>);

impl Road for Redelivered {
    const IN_HAND: InHand = InHand::Comes;
    const ORDERED: bool = false;

    fn new() -> Self {
        let options = Queue::<Vec<u8>>::options().capacity(32).codec::<Bytes>();
        Redelivered(options.build().expect("a queue").into())
    }

    fn produce(&self, producer: &mut Producer<'_, Self>) -> Result<(), String> {
        let len = match producer.dice.below(64) {
            0 => producer.dice.below(200_000),
            _ => producer.dice.below(1_000),
        };
        let (number, message) = producer.next(len as usize);
        self.0.put(message).map_err(|e| e.to_string())?;
        producer.returned(number);
        Ok(())
    }

    fn consume(&self, consumer: &mut Consumer<'_, Self>) -> Result<(), String> {
        let task = self.0.get_task().map_err(|e| e.to_string())?;
        if consumer.dice.once_in(20) {
            task.give_back();
            return Ok(());
        }
        if consumer.dice.once_in(10) {
            spin(consumer.dice.below(100));
        }
        consumer.got(&task, task.attempt() > 1);
        drop(task);
        consumer.released();
        Ok(())
    }

    fn len(&self) -> usize {
        self.0.len() + self.0.unfinished()
    }

    fn entered(&self) -> Option<usize> {
        None
    }

    fn drain(&self, consumer: &mut Consumer<'_, Self>) -> Result<(), String> {
        let unfinished = self.0.unfinished();
        for at in 0..unfinished {
            match self.0.get_task_timeout(PATIENCE) {
                Ok(task) => consumer.got(&task, task.attempt() > 1),
                Err(error) => return Err(format!("{at} of {unfinished}, then: {error}")),
            }
        }
        if self.0.try_get_task().is_ok() {
            return Err(format!("more than unfinished() said, {unfinished}"));
        }
        self.0.join_timeout(PATIENCE).map_err(|e| e.to_string())
    }
}
