//! Queues in tasks of tokio. What is the same for connections is tested there.

use common::{Dice, Outcome, PATIENCE, ends_well};
use multiproc_process::{Process, test};
use multiproc_queue::{GetError, PutError, Queue};
use std::future::Future;
use std::time::Duration;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

test::main! {
    futures_are_send,
    queues_and_their_ends,
    workers_of_tasks_take_everything_once,
    dropped_gets_and_puts_take_and_put_nothing,
    a_name_is_looked_at,
}

/// Runs it on this thread; the watchdog is for the whole of it.
fn run<T>(future: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async { timeout(PATIENCE, future).await? })
}

fn futures_are_send() {
    fn is_send(_: &impl Send) {}
    let queue = Queue::<String>::bounded(1).unwrap();
    is_send(&queue.get_async());
    is_send(&queue.put_async(String::new()));
    let (tx, rx) = queue.split();
    is_send(&tx.put_async(String::new()));
    is_send(&rx.get_async());
}

fn queues_and_their_ends() -> Outcome {
    let questions = Queue::<u32>::bounded(4)?;
    let (tx, rx) = Queue::<u32>::bounded(4)?.split();
    let child = Process::start({
        let questions = questions.clone();
        move || {
            run(async {
                while let Ok(n) = questions.get_async().await {
                    tx.put_async(n + 1).await?;
                }
                Ok(())
            })
            .unwrap();
        }
    })?;
    run(async {
        for n in 0..2_000 {
            questions.put_async(n).await?;
            if n % 3 == 0 {
                questions.put_async(n).await?;
                assert_eq!(rx.get_async().await, Ok(n + 1));
            }
            assert_eq!(rx.get_async().await, Ok(n + 1));
        }
        questions.shut_down();
        assert_eq!(rx.get_async().await, Err(GetError::Closed));
        let refused = questions.put_async(7).await.unwrap_err();
        assert!(matches!(refused, PutError::Closed(7)));
        Ok(())
    })?;
    ends_well(&child);
    // A producer hears that its consumers are gone.
    let (tx, rx) = Queue::<u32>::bounded(1)?.split();
    run(async {
        tx.put_async(1).await?;
        let (refused, ()) = tokio::join!(tx.put_async(2), async {
            yield_now().await;
            drop(rx);
        });
        assert!(matches!(refused, Err(PutError::Closed(2))), "{refused:?}");
        Ok(())
    })
}

fn workers_of_tasks_take_everything_once() -> Outcome {
    const MESSAGES: u64 = 10_000;
    let (tx, rx) = Queue::<u64>::bounded(16)?.split();
    let sums = Queue::<u64>::unbounded()?;
    let workers = Process::start_each(0..3, |_| {
        let rx = rx.clone();
        let sum = run(async {
            let mut sum = 0;
            while let Ok(n) = rx.get_async().await {
                sum += n;
            }
            Ok(sum)
        });
        sums.put(sum.unwrap()).unwrap();
    })?;
    run(async {
        for n in 1..=MESSAGES {
            tx.put_async(n).await?;
        }
        Ok(())
    })?;
    drop(tx);
    workers.iter().for_each(ends_well);
    let sum: u64 = (0..3).map(|_| sums.get().unwrap()).sum();
    assert_eq!(sum, MESSAGES * (MESSAGES + 1) / 2);
    Ok(())
}

fn dropped_gets_and_puts_take_and_put_nothing() -> Outcome {
    const MESSAGES: u64 = 3_000;
    let (there, back) = (Queue::<u64>::bounded(2)?, Queue::<u64>::bounded(2)?);
    let child = Process::start(|| {
        for n in 0..MESSAGES {
            assert_eq!(there.get(), Ok(n));
            back.put(n).unwrap();
        }
    })?;
    let dropped = run(async {
        let (mut dice, mut sent, mut got, mut dropped) = (Dice::new(9), 0, 0, 0);
        while got < MESSAGES {
            let patience = Duration::from_micros(dice.below(2_000));
            tokio::select! {
                () = sleep(patience) => dropped += 1,
                put = there.put_async(sent), if sent < MESSAGES => {
                    put?;
                    sent += 1;
                }
                message = back.get_async() => {
                    assert_eq!(message, Ok(got));
                    got += 1;
                }
            }
        }
        Ok(dropped)
    })?;
    println!("{dropped} times both were dropped; each time one");
    ends_well(&child);
    Ok(())
}

fn a_name_is_looked_at() -> Outcome {
    let name = test::unique("named");
    let made = Queue::<u32>::options().capacity(2).create(&name)?;
    let child = Process::start(|| {
        let named = Queue::<u32>::open(&name).unwrap();
        (0..200).for_each(|n| named.put(n).unwrap());
    })?;
    let opened = Queue::<u32>::open(&name)?;
    run(async {
        for n in 0..200 {
            assert_eq!(opened.get_async().await, Ok(n));
        }
        Ok(())
    })?;
    ends_well(&child);
    drop(made);
    Queue::<u32>::unlink(&name)?;
    Ok(())
}
