//! Producers and consumers in several processes over one Queue, and proof that nothing is lost.
//! Mirrors the tutorial's producer and consumer: `Process(target=producer, args=(q,))`, and
//! a last consumer that reads m1, m2, m3 by `q.get(timeout=3)` until Empty.
//!
//! ```text
//! cargo run --release --example producer_consumer -- [--producers 2] [--consumers 2]
//!     [--messages 100000 | --input FILE…] [--scale 1.0]
//! ```
//!
//! With `--input` the producers put the lines of files, and the consumers count them as `wc` does.

mod common;

use common::Options;
use multiproc::{self as mp, Consumer, GetTimeoutError, Process, Producer, Queue, codec::Bytes};
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::ops::Add;
use std::time::{Duration, Instant};

/// Every put and every get of the first so many messages is printed.
const SHOWN: u64 = 100;

/// What is waiting in the queue before its producers have to wait.
const CAPACITY: usize = 1_000;

fn main() -> Result<(), Failure> {
    let options = Options::read(&["--producers", "--consumers", "--messages", "--input"]);
    let producers = options.value("--producers", 2).max(1);
    let consumers = options.value("--consumers", 2).max(1);
    let files = options.values("--input");

    let started = Instant::now();
    let messages = if files.is_empty() {
        let messages = options.value("--messages", 100_000);
        send_numbers(producers, consumers, messages)?;
        messages
    } else {
        send_lines(producers, consumers, &files)?
    };
    let elapsed = started.elapsed();

    last_three(&options)?;
    println!("all messages read");
    let rate = messages as f64 / elapsed.as_secs_f64();
    println!(
        "{messages} messages, {producers} producers, {consumers} consumers, {rate:.0} messages/s"
    );
    Ok(())
}

// ---------------------------------------------------------------------------------------------
// Numbers: each producer counts upwards, each consumer remembers what it saw.

/// One message: who sent it, and its how-manieth it is.
#[derive(Serialize, Deserialize)]
struct Message {
    producer: usize,
    number: u64,
}

/// What one consumer saw of one producer.
#[derive(Serialize, Deserialize)]
struct Seen {
    consumer: usize,
    producer: usize,
    ascending: bool,
    numbers: NumberSet,
}

/// Who sends how much.
#[derive(Clone, Copy)]
struct Plan {
    producers: usize,
    messages: u64,
}

impl Plan {
    /// How many messages this producer sends.
    fn count(self, producer: usize) -> u64 {
        share_of(self.messages, producer, self.producers)
    }

    /// How many of them are shown.
    fn shown(self, producer: usize) -> u64 {
        share_of(SHOWN, producer, self.producers)
    }
}

/// What number `which` of `parts` gets, when all get the same as nearly as can be.
fn share_of(total: u64, which: usize, parts: usize) -> u64 {
    let (which, parts) = (which as u64, parts as u64);
    total / parts + u64::from(which < total % parts)
}

/// Puts its numbers into the queue.
fn producer(id: usize, plan: Plan, tx: Producer<Message>) -> mp::Result {
    for number in 0..plan.count(id) {
        tx.put(Message {
            producer: id,
            number,
        })?;
        if number < plan.shown(id) {
            println!("{} put {id}:{number}", mp::current().pid());
        }
    }
    Ok(())
}

/// Gets messages until no producer is left, then reports what it saw of each.
fn consumer(id: usize, plan: Plan, rx: Consumer<Message>, report: Producer<Seen>) -> mp::Result {
    let nothing = |producer| {
        let numbers = NumberSet::below(plan.count(producer));
        Seen {
            consumer: id,
            producer,
            ascending: true,
            numbers,
        }
    };
    let mut seen: Vec<Seen> = (0..plan.producers).map(nothing).collect();
    let mut last = vec![None; plan.producers];
    for message in rx {
        let Message { producer, number } = message?;
        if number < plan.shown(producer) {
            println!("{} got {producer}:{number}", mp::current().pid());
        }
        seen[producer].ascending &= last[producer] < Some(number);
        seen[producer].numbers.insert(number);
        last[producer] = Some(number);
    }
    for summary in seen {
        report.put(summary)?;
    }
    Ok(())
}

fn send_numbers(producers: usize, consumers: usize, messages: u64) -> Result<(), Failure> {
    let plan = Plan {
        producers,
        messages,
    };
    let (tx, rx) = Queue::<Message>::bounded(CAPACITY)?.split();
    let (report, reports) = Queue::<Seen>::bounded(CAPACITY)?.split();

    let mut children = Vec::new();
    for id in 0..consumers {
        let (rx, report) = (rx.clone(), report.clone());
        children.push(named("consumer", id).start(move || consumer(id, plan, rx, report))?);
    }
    for id in 0..producers {
        let tx = tx.clone();
        children.push(named("producer", id).start(move || producer(id, plan, tx))?);
    }
    // The children have ends of their own. Without ours, each loop ends when theirs are closed.
    drop((tx, rx, report));

    let mut arrived = Vec::from_iter((0..producers).map(|id| NumberSet::below(plan.count(id))));
    for seen in reports {
        let Seen {
            consumer,
            producer,
            ascending,
            numbers,
        } = seen?;
        if !ascending {
            return fail(format!(
                "consumer {consumer} got messages of producer {producer} out of order"
            ));
        }
        if let Some(twice) = arrived[producer].merge(&numbers) {
            return fail(format!(
                "message {twice} of producer {producer} arrived twice"
            ));
        }
    }
    mp::join_all(children)?;
    for (producer, numbers) in arrived.iter().enumerate() {
        if let Some(missing) = numbers.first_missing(plan.count(producer)) {
            return fail(format!(
                "message {missing} of producer {producer} never arrived"
            ));
        }
    }
    if messages > SHOWN {
        println!("(the first {SHOWN} messages were shown)");
    }
    println!(
        "checked: every message exactly once, each producer's numbers ascend for each consumer"
    );
    Ok(())
}

/// A set of numbers, a bit each, so that "exactly once" is checked and not guessed.
#[derive(Serialize, Deserialize)]
struct NumberSet(Vec<u8>);

impl NumberSet {
    /// The empty set, with room for the numbers below `limit`.
    fn below(limit: u64) -> NumberSet {
        NumberSet(vec![0; limit.div_ceil(8) as usize])
    }

    fn insert(&mut self, number: u64) {
        self.0[(number / 8) as usize] |= 1 << (number % 8);
    }

    fn contains(&self, number: u64) -> bool {
        self.0[(number / 8) as usize] & (1 << (number % 8)) != 0
    }

    /// Takes the other's numbers in. Says which was there already, if one was.
    fn merge(&mut self, other: &NumberSet) -> Option<u64> {
        let mut twice = None;
        for (at, (ours, theirs)) in self.0.iter_mut().zip(&other.0).enumerate() {
            let both = *ours & theirs;
            if both != 0 {
                twice = twice.or(Some(at as u64 * 8 + u64::from(both.trailing_zeros())));
            }
            *ours |= theirs;
        }
        twice
    }

    fn first_missing(&self, limit: u64) -> Option<u64> {
        (0..limit).find(|&number| !self.contains(number))
    }
}

// ---------------------------------------------------------------------------------------------
// Real text: producers put the lines of files, consumers count.

/// The end where lines go in: bytes in whatever encoding, as they are, without a serializer.
type Lines = Producer<Vec<u8>, Bytes>;

/// What a child reports at its end.
#[derive(Serialize, Deserialize)]
enum Report {
    Put(u64),
    Got(u64, Totals),
}

/// Lines, words and bytes, as `wc -lwc` counts them.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
struct Totals {
    lines: u64,
    words: u64,
    bytes: u64,
}

/// Puts the lines of its files into the queue.
fn line_producer(files: Vec<&str>, tx: Lines, report: Producer<Report>) -> Result<(), Failure> {
    let mut put = 0;
    for name in files {
        put += put_lines(name, &tx).map_err(|error| format!("{name}: {error}"))?;
    }
    report.put(Report::Put(put))?;
    Ok(())
}

/// Gets lines until no producer is left, then reports what it counted.
fn line_consumer(rx: Consumer<Vec<u8>, Bytes>, report: Producer<Report>) -> mp::Result {
    let (mut got, mut totals) = (0, Totals::default());
    for line in rx {
        totals.count(&line?);
        got += 1;
    }
    report.put(Report::Got(got, totals))?;
    Ok(())
}

fn send_lines(producers: usize, consumers: usize, files: &[String]) -> Result<u64, Failure> {
    let queue = Queue::<Vec<u8>>::options()
        .codec::<Bytes>()
        .capacity(CAPACITY)
        .build()?;
    let (tx, rx) = queue.split();
    let (report, reports) = Queue::<Report>::bounded(CAPACITY)?.split();

    let mut children = Vec::new();
    for id in 0..consumers {
        let (rx, report) = (rx.clone(), report.clone());
        children.push(named("consumer", id).start(move || line_consumer(rx, report))?);
    }
    for id in 0..producers {
        let (tx, report) = (tx.clone(), report.clone());
        let mine = files
            .iter()
            .skip(id)
            .step_by(producers)
            .map(String::as_str)
            .collect();
        children.push(named("producer", id).start(move || line_producer(mine, tx, report))?);
    }
    drop((tx, rx, report));

    let (mut put, mut got, mut total) = (0, 0, Totals::default());
    for report in reports {
        match report? {
            Report::Put(lines) => put += lines,
            Report::Got(lines, part) => {
                got += lines;
                total = total + part;
            }
        }
    }
    mp::join_all(children)?;
    if put != got {
        return fail(format!("{put} lines were put, but {got} arrived"));
    }
    println!("{} {} {} total", total.lines, total.words, total.bytes);
    Ok(got)
}

/// Puts the lines of a file, each with its line feed, and says how many they were.
fn put_lines(name: &str, tx: &Lines) -> Result<u64, Box<dyn Error>> {
    let mut file = BufReader::with_capacity(1 << 20, File::open(name)?);
    let (mut put, mut line) = (0, Vec::new());
    while file.read_until(b'\n', &mut line)? > 0 {
        let length = line.len();
        tx.put(std::mem::replace(&mut line, Vec::with_capacity(length)))?;
        put += 1;
    }
    Ok(put)
}

impl Add for Totals {
    type Output = Totals;

    fn add(self, other: Totals) -> Totals {
        Totals {
            lines: self.lines + other.lines,
            words: self.words + other.words,
            bytes: self.bytes + other.bytes,
        }
    }
}

impl Totals {
    /// Counts one line. The last of a file may lack its line feed: then `wc` does not count it.
    fn count(&mut self, line: &[u8]) {
        self.bytes += line.len() as u64;
        self.lines += u64::from(line.ends_with(b"\n"));

        // A word, to GNU `wc` in a UTF-8 locale: what stands between white space and has something
        // printable in it. Bytes that are no UTF-8 neither make a word nor end one.
        let mut in_word = false;
        for chunk in line.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '\t'..='\r' | ' ' | '\u{2060}' => in_word = false,
                    '\u{2028}' | '\u{2029}' => {}
                    c if c.is_control() => {}
                    c if c.is_whitespace() => in_word = false,
                    _ => {
                        self.words += u64::from(!in_word);
                        in_word = true;
                    }
                }
            }
        }
    }
}

// ---------------------------------------------------------------------------------------------
// The tutorial's own program.

/// One process puts m1, m2, m3, another gets until nothing has come for 3 seconds.
fn last_three(options: &Options) -> Result<(), Failure> {
    let queue = Queue::<String>::bounded(10)?;
    let producer = Process::start(|| put_three(&queue))?;
    let consumer = Process::start(|| get_until_empty(&queue, options.seconds(3.0)))?;
    mp::join_all([producer, consumer])?;
    Ok(())
}

fn put_three(queue: &Queue<String>) -> mp::Result {
    for i in 1..=3 {
        println!("{} put m{i}", mp::current().pid());
        queue.put(format!("m{i}"))?;
    }
    Ok(())
}

fn get_until_empty(queue: &Queue<String>, patience: Duration) -> mp::Result {
    loop {
        match queue.get_timeout(patience) {
            Ok(message) => println!("{} got {message}", mp::current().pid()),
            Err(GetTimeoutError::Timeout) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

// ---------------------------------------------------------------------------------------------

/// How a child is started that is to be called `producer-0`, or so.
fn named(role: &str, id: usize) -> mp::Builder {
    Process::builder().name(format!("{role}-{id}"))
}

/// Whatever went wrong, shown as the sentence that it is when `main` or a child returns it.
struct Failure(Box<dyn Error>);

impl<E: Into<Box<dyn Error>>> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure(error.into())
    }
}

impl std::fmt::Debug for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What a check that fails returns.
fn fail<T>(sentence: String) -> Result<T, Failure> {
    Err(Failure(sentence.into()))
}
