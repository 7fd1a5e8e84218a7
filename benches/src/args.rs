//! The command line, read by hand: five options need no package.

use crate::harness::Group;
use std::path::{Path, PathBuf};

/// What `--help` prints, and what follows an error.
pub(crate) const USAGE: &str = "\
usage: cargo bench [-p multiproc-benches] [-- OPTIONS]

  --only GROUP   run this group only; may be given several times
  --quick        every row, in under a minute; the figures are rougher
  --json FILE    write the report to FILE as well (under cargo, a relative FILE starts at the workspace root)
  --list         name groups, rows and contenders, and run nothing
  --help         this text";

/// The options, checked.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Args {
    pub(crate) bench: bool,
    pub(crate) help: bool,
    pub(crate) list: bool,
    pub(crate) quick: bool,
    pub(crate) only: Vec<String>,
    pub(crate) json: Option<PathBuf>,
}

/// Reads the options, or says in a sentence what is wrong with them.
pub(crate) fn parse(words: impl Iterator<Item = String>, groups: &[Group]) -> Result<Args, String> {
    let mut args = Args::default();
    let mut words = words;
    while let Some(word) = words.next() {
        let (name, glued) = match word.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name, Some(value.to_owned())),
            _ => (word.as_str(), None),
        };
        let takes_value = matches!(name, "--only" | "--json");
        if glued.is_some() && !takes_value {
            return Err(format!("unknown option `{word}`"));
        }
        // Another option is no value: cargo puts its `--bench` last.
        let mut next = || words.next().filter(|next| !next.starts_with("--"));
        let mut value = || {
            glued
                .clone()
                .or_else(&mut next)
                .filter(|value| !value.is_empty())
                .ok_or(format!("`{name}` needs a value"))
        };
        match name {
            "--bench" => args.bench = true, // cargo's own word for "measure"
            "--help" | "-h" => args.help = true,
            "--list" => args.list = true,
            "--quick" => args.quick = true,
            "--json" => args.json = Some(from_where_the_user_stands(value()?.into())),
            "--only" => {
                let group = value()?;
                if !groups.iter().any(|known| known.name == group) {
                    let known: Vec<_> = groups.iter().map(|group| group.name).collect();
                    return Err(format!(
                        "no group `{group}`; there are: {}",
                        known.join(", ")
                    ));
                }
                args.only.push(group);
            }
            _ => return Err(format!("unknown option `{word}`")),
        }
    }
    Ok(args)
}

/// Cargo starts a bench in its package's folder, one below the workspace root where it was called.
fn from_where_the_user_stands(file: PathBuf) -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    match (package, std::env::current_dir()) {
        (Some(package), Ok(here))
            if package.canonicalize().is_ok_and(|package| package == here) =>
        {
            package.parent().unwrap_or(Path::new(".")).join(file)
        }
        _ => file,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Args, String> {
        let group = Group {
            name: "lock",
            about: "",
            rows: Vec::new(),
        };
        parse(line.split_whitespace().map(str::to_owned), &[group])
    }

    #[test]
    fn cargo_adds_bench_and_nothing_breaks() {
        assert_eq!(
            parsed("--bench"),
            Ok(Args {
                bench: true,
                ..Args::default()
            })
        );
        assert!(parsed("--quick --only lock --bench").unwrap().quick);
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(parsed("--fast").unwrap_err(), "unknown option `--fast`");
        assert_eq!(parsed("lock").unwrap_err(), "unknown option `lock`");
        assert_eq!(
            parsed("--quick=1").unwrap_err(),
            "unknown option `--quick=1`"
        );
        assert_eq!(
            parsed("--only --bench").unwrap_err(),
            "`--only` needs a value"
        );
        assert_eq!(parsed("--json=").unwrap_err(), "`--json` needs a value");
        assert_eq!(
            parsed("--only lok").unwrap_err(),
            "no group `lok`; there are: lock"
        );
    }
}
