//! What every example shares: its few options.

// Each example is a program of its own, and few of them need all of this.
#![allow(dead_code)]

use std::str::FromStr;
use std::time::Duration;

/// The command line: `--name value…`, any number of times.
pub(crate) struct Options {
    given: Vec<(String, Vec<String>)>,
    scale: f64,
}

impl Options {
    /// Reads the command line, which may hold `--scale` and the options in `known`.
    pub(crate) fn read(known: &[&str]) -> Options {
        let mut given: Vec<(String, Vec<String>)> = Vec::new();
        for word in std::env::args().skip(1) {
            if word == "--scale" || known.contains(&word.as_str()) {
                given.push((word, Vec::new()));
            } else if let Some((_, values)) = given.last_mut()
                && !word.starts_with("--")
            {
                values.push(word);
            } else {
                refuse(&format!(
                    "unknown option {word}; known are --scale {}",
                    known.join(" ")
                ));
            }
        }
        let mut options = Options { given, scale: 1.0 };
        options.scale = options.value("--scale", 1.0);
        // An hour of some example must still be a time.
        if Duration::try_from_secs_f64(3600.0 * options.scale).is_err() {
            refuse("--scale needs a factor from 0 on");
        }
        options
    }

    /// All values given to `option`.
    pub(crate) fn values(&self, option: &str) -> Vec<String> {
        let with_that_name = self.given.iter().filter(|(name, _)| name == option);
        with_that_name
            .flat_map(|(_, values)| values.clone())
            .collect()
    }

    /// Was `option` given, with a value or without?
    pub(crate) fn has(&self, option: &str) -> bool {
        self.given.iter().any(|(name, _)| name == option)
    }

    /// The last value given to `option`, or `default`.
    pub(crate) fn value<T: FromStr>(&self, option: &str, default: T) -> T {
        match (self.values(option).last(), self.has(option)) {
            (Some(text), _) => text
                .parse()
                .unwrap_or_else(|_| refuse(&format!("{option} {text}: not a number it can take"))),
            (None, true) => refuse(&format!("{option} needs a value")),
            (None, false) => default,
        }
    }

    /// `seconds`, multiplied by `--scale`.
    pub(crate) fn seconds(&self, seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds * self.scale)
    }
}

/// Says what is wrong with the command line, and ends the program.
pub(crate) fn refuse(why: &str) -> ! {
    eprintln!("{why}");
    std::process::exit(2)
}
