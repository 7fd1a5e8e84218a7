//! Every form of a put and of a get, to be tried in one go.

use common::*;
use multiproc_process::Process;
use std::time::Duration;

pub(crate) const MOMENT: Duration = Duration::from_millis(60);

/// Every get, and how it went: the message, or the error's name.
macro_rules! every_get {
    ($queue:expr) => {
        [
            ("get", $queue.get().map_err(|e| format!("{e:?}"))),
            ("try_get", $queue.try_get().map_err(|e| format!("{e:?}"))),
            (
                "get_timeout(0)",
                $queue
                    .get_timeout(Duration::ZERO)
                    .map_err(|e| format!("{e:?}")),
            ),
            (
                "get_timeout(a moment)",
                $queue.get_timeout(MOMENT).map_err(|e| format!("{e:?}")),
            ),
            (
                "get_timeout(for ever)",
                $queue
                    .get_timeout(Duration::MAX)
                    .map_err(|e| format!("{e:?}")),
            ),
        ]
    };
}
pub(crate) use every_get;

/// Every put of a `u64`, and how it went: the error's sentence with the message given back.
macro_rules! every_put {
    ($queue:expr) => {
        [
            (
                "put",
                $queue.put(1).map_err(|e| (e.to_string(), e.into_message())),
            ),
            (
                "try_put",
                $queue
                    .try_put(2)
                    .map_err(|e| (e.to_string(), e.into_message())),
            ),
            (
                "put_timeout(0)",
                $queue
                    .put_timeout(3, Duration::ZERO)
                    .map_err(|e| (e.to_string(), e.into_message())),
            ),
            (
                "put_timeout(a moment)",
                $queue
                    .put_timeout(4, MOMENT)
                    .map_err(|e| (e.to_string(), e.into_message())),
            ),
            (
                "put_timeout(for ever)",
                $queue
                    .put_timeout(5, Duration::MAX)
                    .map_err(|e| (e.to_string(), e.into_message())),
            ),
        ]
    };
}
pub(crate) use every_put;

/// How a put went: an error's sentence, and the message that came back.
type Went = Result<(), (String, u64)>;

pub(crate) fn every_put_is_closed(results: [(&str, Went); 5]) {
    for (at, (form, result)) in results.into_iter().enumerate() {
        let (why, message) = result.expect_err(form);
        assert!(why.starts_with("the queue is closed"), "{form}: {why}");
        assert_eq!(message, at as u64 + 1, "{form}");
    }
}

/// A child that waits to be killed, having said that it runs.
pub(crate) fn waits_for_death<T>(own: T) -> Outcome<Process> {
    let runs = Counter::new();
    let child = Process::start({
        let runs = runs.clone();
        move || {
            let _own = &own;
            runs.count();
            for_ever()
        }
    })?;
    runs.reach(1);
    Ok(child)
}
