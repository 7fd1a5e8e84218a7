//! What the command line asks of the runner.

use super::Test;
use std::ffi::OsString;

#[derive(Debug, Default, PartialEq)]
pub(super) struct Options {
    filters: Vec<String>,
    skip: Vec<String>,
    exact: bool,
    pub(super) list: bool,
    pub(super) quiet: bool,
    pub(super) nocapture: bool,
    pub(super) show_output: bool,
    only_ignored: bool,
    include_ignored: bool,
    bench: bool,
    pub(super) jobs: Option<usize>,
}

impl Options {
    pub(super) fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Self, String> {
        let mut options = Options::default();
        let mut arguments = arguments.map(|argument| argument.to_string_lossy().into_owned());
        while let Some(argument) = arguments.next() {
            let (flag, mut inline) = match argument.split_once('=') {
                Some((flag, value)) if flag.starts_with("--") => {
                    (flag.to_owned(), Some(value.to_owned()))
                }
                _ => (argument, None),
            };
            let mut value = || {
                inline
                    .take()
                    .or_else(|| arguments.next())
                    .ok_or_else(|| format!("`{flag}` wants a value"))
            };
            match flag.as_str() {
                "--list" => options.list = true,
                "--exact" => options.exact = true,
                "--nocapture" | "--no-capture" => options.nocapture = true,
                "--show-output" => options.show_output = true,
                "--ignored" => options.only_ignored = true,
                "--include-ignored" => options.include_ignored = true,
                "--bench" => options.bench = true,
                "-q" | "--quiet" => options.quiet = true,
                "--test" => {}
                "--skip" => options.skip.push(value()?),
                "--test-threads" => options.jobs = Some(count(&value()?)?),
                "--format" => options.quiet |= value()? == "terse",
                "--color" | "-Z" | "--logfile" => drop(value()?),
                "--report-time" | "--ensure-time" => {}
                other if other.starts_with('-') => {
                    return Err(format!("unknown argument `{other}`"));
                }
                _ => options.filters.push(flag),
            }
        }
        if options.jobs.is_none()
            && let Ok(jobs) = std::env::var("RUST_TEST_THREADS")
        {
            options.jobs = Some(count(&jobs)?);
        }
        Ok(options)
    }

    pub(super) fn wants(&self, test: &Test) -> bool {
        let matches = |pattern: &String| {
            if self.exact {
                test.name == pattern
            } else {
                test.name.contains(pattern.as_str())
            }
        };
        !self.bench
            && (self.filters.is_empty() || self.filters.iter().any(matches))
            && !self.skip.iter().any(matches)
            && (!self.only_ignored || test.ignored)
    }

    pub(super) fn runs(&self, test: &Test) -> bool {
        !test.ignored || self.only_ignored || self.include_ignored
    }
}

fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if n > 0 => Ok(n),
        _ => Err(format!("`{text}` is no number of tests to run at a time")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn understands_what_cargo_and_nextest_say() {
        let nextest = parse("--list --format terse --ignored").unwrap();
        assert!(nextest.list && nextest.quiet && nextest.only_ignored);
        let one = parse("--exact a_test --nocapture").unwrap();
        assert_eq!(one.filters, ["a_test"]);
        assert!(one.exact && one.nocapture);
        assert_eq!(
            parse("--test-threads=3 --skip x --color always")
                .unwrap()
                .jobs,
            Some(3)
        );
        assert!(parse("--test-threads 0").is_err());
        assert!(parse("--nonsense").is_err());
        assert!(parse("--skip").is_err());
    }

    #[test]
    fn filters_as_libtest_does() {
        let test = |name| Test::new(name, || 0);
        assert!(parse("own").unwrap().wants(&test("brown")));
        assert!(!parse("own --exact").unwrap().wants(&test("brown")));
        assert!(!parse("--skip bro").unwrap().wants(&test("brown")));
        assert!(!parse("--ignored").unwrap().wants(&test("brown")));
        assert!(parse("--ignored").unwrap().wants(&test("brown").ignored()));
        assert!(!parse("").unwrap().runs(&test("brown").ignored()));
        assert!(
            parse("--include-ignored")
                .unwrap()
                .runs(&test("brown").ignored())
        );
    }
}
