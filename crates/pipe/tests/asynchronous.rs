//! Connections in tasks of tokio.

use common::{
    Counter, Dice, Outcome, PATIENCE, ends_well, kill, kill_me, send_signal, sleeps_in_poll, until,
};
use multiproc_pipe::{Connection, Pipe, RecvError, SendError, codec::Bytes};
use multiproc_process::{Process, test};
use std::future::Future;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::task::{JoinSet, LocalSet, yield_now};
use tokio::time::{sleep, timeout};

test::main! {
    futures_are_send,
    what_is_there_needs_no_runtime_at_all,
    a_task_is_woken_by_a_message_and_not_by_its_slice,
    a_task_is_woken_by_room_and_not_by_its_slice,
    messages_of_any_size_come_whole_and_in_order,
    one_task_serves_a_hundred_children,
    a_task_each_serves_a_hundred_children,
    threads_serve_a_hundred_children,
    tasks_that_share_an_end_get_everything_once,
    processes_that_share_an_end_get_everything_once,
    dropped_receives_lose_nothing,
    dropped_sends_send_nothing,
    whole_or_not_at_all_in_a_storm_of_cancellation,
    the_end_of_the_stream_comes_at_once,
    the_end_of_the_stream_comes_after_a_kill,
    who_never_waits_for_a_slice_hears_of_a_kill_too,
    a_killed_receiver_is_noticed_by_a_send,
    closing_ends_a_receive_of_another_task,
    a_storm_of_kills_loses_nothing_that_was_sent,
    a_stopped_writer_holds_no_other_task_up,
    a_task_with_much_to_receive_lets_others_run,
    an_idle_task_costs_next_to_nothing,
    what_cannot_ring_is_looked_at,
    over_tcp_too,
    many_descriptors_are_no_reason_to_fail,
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
    let (left, right) = Pipe::<String>::duplex().unwrap();
    is_send(&left.recv_async());
    is_send(&right.send_async(String::new()));
    // A message that is `Send` and not `Sync` is enough.
    let (left, _right) = Pipe::<std::cell::Cell<u32>>::duplex().unwrap();
    is_send(&left.send_async(std::cell::Cell::new(1)));
    is_send(&left.recv_async());
}

fn what_is_there_needs_no_runtime_at_all() -> Outcome {
    let (left, right) = Pipe::<u32>::duplex()?;
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let mut send = std::pin::pin!(right.send_async(1));
    assert!(send.as_mut().poll(&mut context).is_ready());
    let mut recv = std::pin::pin!(left.recv_async());
    assert_eq!(
        recv.as_mut().poll(&mut context),
        std::task::Poll::Ready(Ok(1))
    );
    Ok(())
}

fn a_task_is_woken_by_a_message_and_not_by_its_slice() -> Outcome {
    const TURNS: u32 = 1_000;
    let (left, right) = Pipe::<u32>::duplex()?;
    let echo = Process::start(move || {
        for n in &right {
            right.send(n.unwrap()).unwrap();
        }
    })?;
    let begun = Instant::now();
    run(async {
        for n in 0..TURNS {
            left.send_async(n).await?;
            assert_eq!(left.recv_async().await, Ok(n));
        }
        Ok(())
    })?;
    let each = begun.elapsed() / TURNS;
    println!("{each:?} for a round trip");
    assert!(each < Duration::from_millis(20), "{each:?}");
    drop(left);
    ends_well(&echo);
    Ok(())
}

fn a_task_is_woken_by_room_and_not_by_its_slice() -> Outcome {
    const MESSAGES: u32 = 2_000;
    let (receiver, sender) = Pipe::<u32>::options().capacity(2).simplex()?;
    let reader = Process::start(move || {
        for n in 0..MESSAGES {
            assert_eq!(receiver.recv(), Ok(n));
            if n % 20 == 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    })?;
    let begun = Instant::now();
    run(async {
        for n in 0..MESSAGES {
            sender.send_async(n).await?;
        }
        Ok(())
    })?;
    let each = begun.elapsed() / MESSAGES;
    println!("{each:?} for a message");
    assert!(each < Duration::from_millis(10), "{each:?}");
    ends_well(&reader);
    Ok(())
}

fn messages_of_any_size_come_whole_and_in_order() -> Outcome {
    let options = Pipe::<Vec<u8>>::options().bytes(64 << 10).codec::<Bytes>();
    let (left, right) = options.duplex()?;
    let echo = Process::start(move || {
        while let Ok(message) = right.recv() {
            right.send(message).unwrap();
        }
    })?;
    run(async {
        let mut dice = Dice::new(1);
        for n in 0..200 {
            let len = match n % 20 {
                0 => 3 << 20,
                1 => 0,
                _ => dice.below(40_000) as usize,
            };
            let message = vec![n as u8; len];
            left.send_async(message.clone()).await?;
            assert!(left.recv_async().await? == message);
        }
        Ok(())
    })?;
    drop(left);
    ends_well(&echo);
    Ok(())
}

const CHILDREN: u64 = 100;
const QUESTIONS: u64 = 30;

/// A hundred children that ask, and this process's ends.
fn children_that_ask() -> Outcome<(Vec<Connection<u64>>, Vec<Process>)> {
    let mut connections = Vec::new();
    let mut children = Vec::new();
    for id in 0..CHILDREN {
        let (mine, theirs) = Pipe::<u64>::duplex()?;
        connections.push(mine);
        children.push(Process::start(move || {
            for n in 0..QUESTIONS {
                theirs.send(id * 1_000 + n).unwrap();
                assert_eq!(theirs.recv(), Ok(id * 1_000 + n + 1));
            }
        })?);
    }
    Ok((connections, children))
}

async fn answer(connection: &Connection<u64>) -> u64 {
    let mut answered = 0;
    loop {
        match connection.recv_async().await {
            Ok(n) => connection.send_async(n + 1).await.unwrap(),
            Err(RecvError::Closed) => return answered,
            Err(error) => panic!("{error}"),
        }
        answered += 1;
    }
}

fn one_task_serves_a_hundred_children() -> Outcome {
    let (connections, children) = children_that_ask()?;
    let answered = run(async {
        // One task: all the futures are polled by this one.
        let all: Vec<_> = connections.iter().map(answer).map(Box::pin).collect();
        Ok(join_all(all).await.into_iter().sum::<u64>())
    })?;
    assert_eq!(answered, CHILDREN * QUESTIONS);
    children.iter().for_each(ends_well);
    Ok(())
}

/// Awaits all of them in one task.
async fn join_all<F: Future + Unpin>(mut futures: Vec<F>) -> Vec<F::Output> {
    let mut done: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        let mut pending = false;
        for (future, done) in futures.iter_mut().zip(&mut done) {
            if done.is_none() {
                match std::pin::Pin::new(future).poll(context) {
                    std::task::Poll::Ready(output) => *done = Some(output),
                    std::task::Poll::Pending => pending = true,
                }
            }
        }
        match pending {
            true => std::task::Poll::Pending,
            false => std::task::Poll::Ready(()),
        }
    })
    .await;
    done.into_iter().flatten().collect()
}

fn a_task_each_serves_a_hundred_children() -> Outcome {
    let (connections, children) = children_that_ask()?;
    let answered = run(async {
        let mut tasks = JoinSet::new();
        for connection in connections {
            tasks.spawn(async move { answer(&connection).await });
        }
        Ok(tasks.join_all().await.into_iter().sum::<u64>())
    })?;
    assert_eq!(answered, CHILDREN * QUESTIONS);
    children.iter().for_each(ends_well);
    Ok(())
}

fn threads_serve_a_hundred_children() -> Outcome {
    // Forked before there are threads.
    let (connections, children) = children_that_ask()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(3)
        .enable_all()
        .build()?;
    let answered = runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for connection in connections {
            tasks.spawn(async move { answer(&connection).await });
        }
        timeout(PATIENCE, tasks.join_all()).await
    })?;
    assert_eq!(answered.into_iter().sum::<u64>(), CHILDREN * QUESTIONS);
    drop(runtime);
    children.iter().for_each(ends_well);
    Ok(())
}

fn tasks_that_share_an_end_get_everything_once() -> Outcome {
    const MESSAGES: u64 = 20_000;
    let (receiver, sender) = Pipe::<u64>::options().capacity(16).simplex()?;
    let writers: Vec<Process> = (0..2)
        .map(|n| {
            let sender = sender.clone();
            let child = Process::start(move || {
                (0..MESSAGES / 2).for_each(|i| sender.send(2 * i + n).unwrap());
            });
            Ok(child?)
        })
        .collect::<Outcome<_>>()?;
    drop(sender);
    let mut all = run(async {
        let mut tasks = JoinSet::new();
        for _ in 0..4 {
            let receiver = receiver.clone();
            tasks.spawn(async move {
                let mut got = Vec::new();
                while let Ok(n) = receiver.recv_async().await {
                    got.push(n);
                }
                got
            });
        }
        Ok(tasks.join_all().await.concat())
    })?;
    all.sort_unstable();
    assert!(all.into_iter().eq(0..MESSAGES));
    writers.iter().for_each(ends_well);
    Ok(())
}

fn processes_that_share_an_end_get_everything_once() -> Outcome {
    const MESSAGES: u64 = 10_000;
    let (receiver, sender) = Pipe::<u64>::options().capacity(16).simplex()?;
    let sum = Counter::new();
    let readers = Process::start_each(0..3, |_| {
        let receiver = receiver.clone();
        run(async {
            while let Ok(n) = receiver.recv_async().await {
                assert_ne!(n, 0);
                sum.count();
            }
            Ok(())
        })
        .unwrap();
    })?;
    run(async {
        for n in 1..=MESSAGES {
            sender.send_async(n).await?;
        }
        Ok(())
    })?;
    drop(sender);
    readers.iter().for_each(ends_well);
    assert_eq!(sum.get(), MESSAGES);
    Ok(())
}

fn dropped_receives_lose_nothing() -> Outcome {
    const MESSAGES: u64 = 5_000;
    let (receiver, sender) = Pipe::<u64>::simplex()?;
    let writer = Process::start(move || {
        let mut dice = Dice::new(3);
        for n in 0..MESSAGES {
            sender.send(n).unwrap();
            if dice.below(20) == 0 {
                std::thread::sleep(Duration::from_micros(dice.below(400)));
            }
        }
    })?;
    let cancelled = run(async {
        let mut dice = Dice::new(4);
        let (mut next, mut cancelled) = (0, 0);
        while next < MESSAGES {
            let patience = Duration::from_micros(dice.below(150));
            tokio::select! {
                biased;
                () = pause(patience) => cancelled += 1,
                got = receiver.recv_async() => {
                    assert_eq!(got, Ok(next));
                    next += 1;
                }
            }
        }
        Ok(cancelled)
    })?;
    println!("{cancelled} receives were dropped");
    assert!(cancelled > 10);
    ends_well(&writer);
    Ok(())
}

/// Some turns of the runtime, or some time.
async fn pause(time: Duration) {
    match time.as_micros() {
        n @ 0..100 => {
            for _ in 0..n / 10 {
                yield_now().await;
            }
        }
        _ => sleep(time).await,
    }
}

fn dropped_sends_send_nothing() -> Outcome {
    let (receiver, sender) = Pipe::<u64>::options().capacity(2).simplex()?;
    run(async {
        sender.send_async(0).await?;
        sender.send_async(1).await?;
        for n in 0..20 {
            let full = timeout(Duration::from_millis(n % 3), sender.send_async(99)).await;
            assert!(full.is_err(), "there is no room");
        }
        assert_eq!(receiver.recv_async().await, Ok(0));
        sender.send_async(2).await?;
        assert_eq!(receiver.recv_async().await, Ok(1));
        assert_eq!(receiver.recv_async().await, Ok(2));
        drop(sender);
        assert_eq!(receiver.recv_async().await, Err(RecvError::Closed));
        Ok(())
    })
}

fn whole_or_not_at_all_in_a_storm_of_cancellation() -> Outcome {
    const MESSAGES: u64 = 5_000;
    let (receiver, sender) = Pipe::<u64>::options().capacity(3).simplex()?;
    let reader = Process::start(move || {
        let mut dice = Dice::new(5);
        for n in 0..MESSAGES {
            // In order, without a gap, each once: so a send was done if and only if it said so.
            assert_eq!(receiver.recv(), Ok(n));
            if dice.below(10) == 0 {
                std::thread::sleep(Duration::from_micros(dice.below(200)));
            }
        }
        assert_eq!(receiver.recv(), Err(RecvError::Closed));
    })?;
    let cancelled = run(async {
        let mut dice = Dice::new(6);
        let (mut next, mut cancelled) = (0, 0);
        while next < MESSAGES {
            tokio::select! {
                biased;
                () = pause(Duration::from_micros(dice.below(150))) => cancelled += 1,
                sent = sender.send_async(next) => {
                    sent?;
                    next += 1;
                }
            }
        }
        Ok(cancelled)
    })?;
    println!("{cancelled} sends were dropped");
    assert!(cancelled > 10);
    drop(sender);
    ends_well(&reader);
    Ok(())
}

fn the_end_of_the_stream_comes_at_once() -> Outcome {
    let mut longest = Duration::ZERO;
    for _ in 0..50 {
        let (receiver, sender) = Pipe::<u32>::simplex()?;
        // A sibling that inherits everything, and lives on.
        let go = Counter::new();
        let sibling = Process::start(|| go.reach(1))?;
        let (waits, receivers) = (Counter::new(), std::process::id());
        let child = Process::start({
            let waits = waits.clone();
            move || {
                sender.send(1).unwrap();
                waits.reach(1);
                until("the receiver to sleep", || sleeps_in_poll(receivers));
            }
        })?;
        run(async {
            assert_eq!(receiver.recv_async().await, Ok(1));
            waits.count();
            let begun = Instant::now();
            assert_eq!(receiver.recv_async().await, Err(RecvError::Closed));
            longest = longest.max(begun.elapsed());
            Ok(())
        })?;
        go.count();
        ends_well(&child);
        ends_well(&sibling);
    }
    println!("{longest:?} at most");
    Ok(())
}

fn the_end_of_the_stream_comes_after_a_kill() -> Outcome {
    for _ in 0..10 {
        let (receiver, sender) = Pipe::<u32>::simplex()?;
        let go = Counter::new();
        let sibling = Process::start(|| go.reach(1))?;
        let child = Process::start(move || {
            sender.send(1).unwrap();
            kill_me();
        })?;
        run(async {
            assert_eq!(receiver.recv_async().await, Ok(1));
            let begun = Instant::now();
            assert_eq!(receiver.recv_async().await, Err(RecvError::Closed));
            println!("{:?}", begun.elapsed());
            Ok(())
        })?;
        assert_eq!(child.join()?.signal(), Some(9));
        go.count();
        ends_well(&sibling);
    }
    Ok(())
}

fn who_never_waits_for_a_slice_hears_of_a_kill_too() -> Outcome {
    let (receiver, sender) = Pipe::<u32>::simplex()?;
    let child = Process::start(move || {
        sender.send(1).unwrap();
        kill_me();
    })?;
    run(async {
        assert_eq!(receiver.recv_async().await, Ok(1));
        let mut dropped = 0;
        loop {
            match timeout(Duration::from_millis(5), receiver.recv_async()).await {
                Err(_) => dropped += 1,
                Ok(got) => break assert_eq!(got, Err(RecvError::Closed)),
            }
        }
        println!("{dropped} were dropped");
        Ok(())
    })?;
    assert_eq!(child.join()?.signal(), Some(9));
    Ok(())
}

fn a_killed_receiver_is_noticed_by_a_send() -> Outcome {
    let (receiver, sender) = Pipe::<u32>::options().capacity(1).simplex()?;
    let child = Process::start(move || {
        assert_eq!(receiver.recv(), Ok(1));
        kill_me();
    })?;
    run(async {
        sender.send_async(1).await?;
        let refused = loop {
            match sender.send_async(2).await {
                Ok(()) => {}
                Err(refused) => break refused,
            }
        };
        assert!(matches!(refused, SendError::Closed(2)), "{refused:?}");
        Ok(())
    })?;
    assert_eq!(child.join()?.signal(), Some(9));
    Ok(())
}

fn closing_ends_a_receive_of_another_task() -> Outcome {
    let (left, _right) = Pipe::<u32>::duplex()?;
    let left = Rc::new(left);
    run(async {
        let local = LocalSet::new();
        let receives = local.spawn_local({
            let left = left.clone();
            async move { left.recv_async().await }
        });
        local
            .run_until(async {
                for _ in 0..10 {
                    yield_now().await;
                }
                left.close();
                assert_eq!(receives.await.unwrap(), Err(RecvError::Closed));
            })
            .await;
        Ok(())
    })
}

fn a_storm_of_kills_loses_nothing_that_was_sent() -> Outcome {
    let mut dice = Dice::new(11);
    let mut longest = Duration::ZERO;
    for _ in 0..100 {
        let (receiver, sender) = Pipe::<u64>::simplex()?;
        let sent = Counter::new();
        let victim = Process::start({
            let sent = sent.clone();
            move || {
                for n in 0.. {
                    sender.send(n).unwrap();
                    sent.count();
                    if n % 7 == 0 {
                        std::thread::sleep(Duration::from_micros(50));
                    }
                }
            }
        })?;
        let fatal = Duration::from_micros(dice.below(3_000));
        let got = run(async {
            let (mut got, mut killed, mut gone) = (0, None, std::pin::pin!(sleep(fatal)));
            loop {
                tokio::select! {
                    () = &mut gone, if killed.is_none() => {
                        kill(&victim);
                        killed = Some(Instant::now());
                    }
                    message = receiver.recv_async() => match message {
                        Ok(n) => {
                            assert_eq!(n, got);
                            got += 1;
                        }
                        Err(error) => {
                            assert_eq!(error, RecvError::Closed);
                            longest = longest.max(killed.expect("an end too early").elapsed());
                            return Ok(got);
                        }
                    }
                }
            }
        })?;
        // What was sent and not counted any more may be one message.
        assert!((sent.get()..=sent.get() + 1).contains(&got));
    }
    println!("the end of the stream within {longest:?} of a kill");
    Ok(())
}

fn a_stopped_writer_holds_no_other_task_up() -> Outcome {
    let options = Pipe::<Vec<u8>>::options().codec::<Bytes>();
    let (mine, theirs) = options.duplex()?;
    let stopped = Process::start(move || {
        theirs.send_bytes(b"begun").unwrap();
        let mut loan = theirs.send_loan(100).unwrap();
        loan.fill(1);
        theirs.recv_bytes(100).unwrap();
        loan.commit();
        theirs.recv_bytes(100).unwrap();
    })?;
    let (others, end) = Pipe::<u64>::duplex()?;
    let echo = Process::start(move || {
        for n in &end {
            end.send(n.unwrap()).unwrap();
        }
    })?;
    run(async {
        assert_eq!(mine.recv_async().await?, b"begun");
        // Also if it holds the lock by now: this waits without it.
        let mut waits = std::pin::pin!(mine.recv_async());
        assert!(
            timeout(Duration::from_millis(30), waits.as_mut())
                .await
                .is_err()
        );
        send_signal(&stopped, libc::SIGSTOP);
        let (begun, mut turns) = (Instant::now(), 0);
        while begun.elapsed() < Duration::from_millis(500) {
            tokio::select! {
                biased;
                got = waits.as_mut() => panic!("{got:?}"),
                echoed = async {
                    others.send_async(turns).await?;
                    Ok::<_, Box<dyn std::error::Error>>(others.recv_async().await?)
                } => assert_eq!(echoed?, turns),
            }
            turns += 1;
        }
        // A task that were held up for a slice at a time would do ten.
        println!("{turns} turns in half a second");
        assert!(turns > 100, "{turns}");
        send_signal(&stopped, libc::SIGCONT);
        mine.send_async(b"commit".to_vec()).await?;
        assert_eq!(waits.await?, [1; 100]);
        mine.send_async(b"end".to_vec()).await?;
        Ok(())
    })?;
    drop(others);
    ends_well(&stopped);
    ends_well(&echo);
    Ok(())
}

fn a_task_with_much_to_receive_lets_others_run() -> Outcome {
    let (receiver, sender) = Pipe::<u32>::simplex()?;
    (0..10_000).try_for_each(|n| sender.send(n))?;
    run(async {
        let other = tokio::spawn(async {
            for _ in 0..20 {
                yield_now().await;
            }
        });
        let mut got = 0;
        while !other.is_finished() {
            receiver.recv_async().await?;
            got += 1;
        }
        println!("{got} messages until the other task was done");
        assert!(got < 9_000);
        Ok(())
    })
}

fn an_idle_task_costs_next_to_nothing() -> Outcome {
    let mut connections = Vec::new();
    for _ in 0..100 {
        connections.push(Pipe::<u32>::duplex()?);
    }
    // Ends that a living process holds, and nobody uses.
    let go = Counter::new();
    let holder = Process::start(|| {
        let mine: Vec<_> = connections
            .iter()
            .map(|(_, theirs)| theirs.clone())
            .collect();
        go.count();
        go.reach(2);
        drop(mine);
    })?;
    go.reach(1);
    let spent = run(async {
        let mut tasks = JoinSet::new();
        for (mine, _) in &connections {
            let mine = mine.clone();
            tasks.spawn(async move { mine.recv_async().await });
        }
        sleep(Duration::from_millis(200)).await;
        let before = cpu_time();
        sleep(Duration::from_secs(1)).await;
        Ok(cpu_time() - before)
    })?;
    println!("{spent:?} of CPU in a second for 100 tasks that wait");
    assert!(spent < Duration::from_millis(500), "{spent:?}");
    go.count();
    ends_well(&holder);
    Ok(())
}

/// What this process has used so far.
fn cpu_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes a local.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn what_cannot_ring_is_looked_at() -> Outcome {
    // A peer's death is noticed, too.
    let (receiver, sender) = Pipe::<u32>::options().without_courier().simplex()?;
    let child = Process::start(move || {
        sender.send(1).unwrap();
        kill_me();
    })?;
    run(async {
        assert_eq!(receiver.recv_async().await, Ok(1));
        assert_eq!(receiver.recv_async().await, Err(RecvError::Closed));
        Ok(())
    })?;
    assert_eq!(child.join()?.signal(), Some(9));
    Ok(())
}

fn over_tcp_too() -> Outcome {
    use multiproc_pipe::{Client, Listener};
    const MESSAGE: usize = 200_000;
    let listener = Listener::options().key(b"key").bind("127.0.0.1:0")?;
    let address = listener.address().clone();
    let child = Process::start(move || {
        let server = Client::options().key(b"key");
        let server = server.connect::<Vec<u8>, Vec<u8>>(&address).unwrap();
        while let Ok(message) = server.recv() {
            server.send(message).unwrap();
        }
    })?;
    let client: Connection<Vec<u8>, Vec<u8>> = listener.accept()?;
    run(async {
        for n in 0..50 {
            client.send_async(vec![n; MESSAGE]).await?;
            assert_eq!(client.recv_async().await?, vec![n; MESSAGE]);
        }
        Ok(())
    })?;
    drop(client);
    ends_well(&child);
    Ok(())
}

fn many_descriptors_are_no_reason_to_fail() -> Outcome {
    let (left, right) = Pipe::<u32>::duplex()?;
    let child = Process::start(move || {
        for n in &right {
            right.send(n.unwrap()).unwrap();
        }
    })?;
    run(async {
        let mut taken = Vec::new();
        common::limit(libc::RLIMIT_NOFILE, 256);
        while let Ok(file) = std::fs::File::open("/dev/null") {
            taken.push(file);
        }
        for n in 0..20 {
            left.send_async(n).await?;
            assert_eq!(left.recv_async().await, Ok(n));
        }
        Ok(())
    })?;
    drop(left);
    ends_well(&child);
    Ok(())
}
