//! Models of the event: set and wait, a pulse, death of a waiter and of the one who sets.
//! Each has a twin in which one line is broken, and which must fail.
#![cfg(loom)]

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use multiproc_core::model::{check, die_at, must_notice};
use multiproc_event::Event;

struct News {
    event: Event,
    value: UnsafeCell<u64>,
}

// SAFETY: `value` is written before `set` and read after `wait`; loom checks just that.
unsafe impl Sync for News {}
// SAFETY: as above.
unsafe impl Send for News {}

fn news() -> Arc<News> {
    Arc::new(News {
        event: Event::new(),
        value: UnsafeCell::new(0),
    })
}

fn tell(news: &News) {
    // SAFETY: nobody reads before the event is set.
    news.value.with_mut(|v| unsafe { *v = 7 });
    news.event.set();
}

fn hear(news: &News) {
    news.event.wait();
    // SAFETY: nobody writes once it is set.
    assert_eq!(news.value.with(|v| unsafe { *v }), 7);
}

fn waiter(news: &Arc<News>) -> thread::JoinHandle<()> {
    let news = news.clone();
    thread::spawn(move || hear(&news))
}

/// Two wait, one sets: both go on, and see what was written.
#[test]
fn model_set_releases_all() {
    check(3, || {
        let news = news();
        let waiters = [waiter(&news), waiter(&news)];
        tell(&news);
        for waiter in waiters {
            waiter.join().unwrap();
        }
    });
}

/// A pulse releases whoever is about to sleep: no second set comes then.
#[test]
fn model_a_pulse_is_not_missed() {
    check(3, || {
        let news = news();
        let waiter = waiter(&news);
        thread::yield_now(); // loom would not let the waiter come first
        let awaited = news.event.is_awaited();
        tell(&news);
        if awaited {
            news.event.clear();
        }
        waiter.join().unwrap();
    });
}

/// A waiter dies at any of its steps; the other is released.
#[test]
fn model_a_waiter_dies() {
    for steps in 0..2 {
        check(2, move || {
            let news = news();
            let victim = {
                let news = news.clone();
                thread::spawn(move || {
                    let _ = die_at(steps, || hear(&news));
                })
            };
            let other = waiter(&news);
            tell(&news);
            victim.join().unwrap();
            other.join().unwrap();
        });
    }
}

/// Whoever sets it dies at any step: if it is set, the sleepers know.
#[test]
fn model_who_sets_it_dies() {
    for steps in 0..3 {
        check(2, move || {
            let news = news();
            let waiter = waiter(&news);
            let victim = {
                let news = news.clone();
                thread::spawn(move || die_at(steps, || tell(&news)).is_some())
            };
            let survived = victim.join().unwrap();
            if !survived && !news.event.is_set() {
                news.event.set();
            }
            waiter.join().unwrap();
        });
    }
}

/// Two set and clear in turns: a waiter that came before the last set is released.
#[test]
fn model_two_set_at_once() {
    check(2, || {
        let news = news();
        // SAFETY: nobody else is here yet.
        news.value.with_mut(|v| unsafe { *v = 7 });
        let waiter = waiter(&news);
        let pulse = {
            let news = news.clone();
            thread::spawn(move || {
                news.event.set();
                news.event.clear();
            })
        };
        pulse.join().unwrap();
        news.event.set();
        waiter.join().unwrap();
    });
}

#[test]
fn model_fails_when_clear_keeps_the_turn() {
    must_notice("event: turn", "model_a_pulse_is_not_missed");
}

#[test]
fn model_fails_when_set_does_not_wake() {
    must_notice("event: wake", "model_set_releases_all");
}
