//! The command line.

use lexopt::prelude::*;
use std::time::Duration;

/// What `--help` prints.
pub(crate) const HELP: &str = "\
Looks at the named objects that processes share. Takes no part, and disturbs nobody.

Usage:
  multiproc ls [--json]           every name: what it is, who has it, who holds, who waits
  multiproc show [--json] NAME    one of them, in full
  multiproc rm NAME...            removes names; whoever has an object open keeps it
  multiproc rm --stale            removes temporary names that nobody has open, and tells which
  multiproc top [--interval SECONDS] [--once]
                                  ls, again and again, until q or ctrl-c
  multiproc --help | --version

Exit code: 0; 1 if something did not work; 2 if the command line is wrong.
";

/// What to do.
#[derive(Debug, PartialEq)]
pub(crate) enum Action {
    Help,
    Version,
    List { json: bool },
    Show { name: String, json: bool },
    Remove { names: Vec<String> },
    RemoveStale,
    Top { interval: Duration, once: bool },
}

#[derive(Debug, PartialEq)]
pub(crate) struct Options {
    pub(crate) action: Action,
}

impl Options {
    pub(crate) fn parse(mut words: lexopt::Parser) -> Result<Self, lexopt::Error> {
        let Some(first) = words.next()? else {
            return Err("what is to be done? ls, show, rm or top".into());
        };
        let action = match first {
            Long("help") | Short('h') => Action::Help,
            Long("version") | Short('V') => Action::Version,
            Value(word) => match &*word.string()? {
                "ls" => Self::list(&mut words)?,
                "show" => Self::show(&mut words)?,
                "rm" => Self::remove(&mut words)?,
                "top" => Self::top(&mut words)?,
                "help" => Action::Help,
                other => return Err(format!("there is no command {other:?}").into()),
            },
            other => return Err(other.unexpected()),
        };
        Ok(Self { action })
    }

    fn list(words: &mut lexopt::Parser) -> Result<Action, lexopt::Error> {
        let mut json = false;
        while let Some(word) = words.next()? {
            match word {
                Long("json") => json = true,
                Long("help") | Short('h') => return Ok(Action::Help),
                other => return Err(other.unexpected()),
            }
        }
        Ok(Action::List { json })
    }

    fn show(words: &mut lexopt::Parser) -> Result<Action, lexopt::Error> {
        let (mut json, mut name) = (false, None);
        while let Some(word) = words.next()? {
            match word {
                Long("json") => json = true,
                Long("help") | Short('h') => return Ok(Action::Help),
                Value(word) if name.is_none() => name = Some(word.string()?),
                other => return Err(other.unexpected()),
            }
        }
        let name = name.ok_or("show needs a name")?;
        Ok(Action::Show { name, json })
    }

    fn remove(words: &mut lexopt::Parser) -> Result<Action, lexopt::Error> {
        let (mut stale, mut names) = (false, Vec::new());
        while let Some(word) = words.next()? {
            match word {
                Long("stale") => stale = true,
                Long("help") | Short('h') => return Ok(Action::Help),
                Value(word) => names.push(word.string()?),
                other => return Err(other.unexpected()),
            }
        }
        match (stale, names.is_empty()) {
            (true, true) => Ok(Action::RemoveStale),
            (false, false) => Ok(Action::Remove { names }),
            (true, false) => Err("rm takes names or --stale, not both".into()),
            (false, true) => Err("rm needs a name, or --stale".into()),
        }
    }

    fn top(words: &mut lexopt::Parser) -> Result<Action, lexopt::Error> {
        let (mut seconds, mut once) = (1.0, false);
        while let Some(word) = words.next()? {
            match word {
                Long("interval") | Short('d') => seconds = words.value()?.parse()?,
                Long("once") => once = true,
                Long("help") | Short('h') => return Ok(Action::Help),
                other => return Err(other.unexpected()),
            }
        }
        // A look costs some milliseconds; and a day is for ever. Not a number is neither.
        if !(0.05..=86400.0).contains(&seconds) {
            return Err("--interval takes 0.05 to 86400 seconds".into());
        }
        let interval = Duration::from_secs_f64(seconds);
        Ok(Action::Top { interval, once })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Action, String> {
        let words = lexopt::Parser::from_args(line.split_whitespace());
        let options = Options::parse(words).map_err(|e| e.to_string());
        options.map(|options| options.action)
    }

    #[test]
    fn command_lines_are_understood() {
        assert_eq!(parse("ls"), Ok(Action::List { json: false }));
        assert_eq!(parse("ls --json"), Ok(Action::List { json: true }));
        let name = "a".to_owned();
        let (json, names) = (true, vec![name.clone(), "-b".to_owned()]);
        assert_eq!(parse("show a --json"), Ok(Action::Show { name, json }));
        assert_eq!(parse("rm a -- -b"), Ok(Action::Remove { names }));
        assert_eq!(parse("rm --stale"), Ok(Action::RemoveStale));
        let interval = Duration::from_millis(500);
        let once = true;
        assert_eq!(
            parse("top --interval 0.5 --once"),
            Ok(Action::Top { interval, once })
        );
        for line in [
            "--help",
            "-h",
            "help",
            "ls --help",
            "top -h",
            "rm -h",
            "show -h",
        ] {
            assert_eq!(parse(line), Ok(Action::Help));
        }
        assert_eq!(parse("--version"), Ok(Action::Version));
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for line in [
            "",
            "list",
            "ls a",
            "ls --jsn",
            "show",
            "show a b",
            "rm",
            "rm --stale a",
            "top a",
            "top --interval",
            "top --interval x",
            "top --interval 0",
            "top --interval -1",
            "top --interval nan",
            "top --interval inf",
            "--json",
        ] {
            assert!(parse(line).is_err(), "{line:?}");
        }
    }
}
