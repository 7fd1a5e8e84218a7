//! `behaviours.toml` is complete, and what it points at exists.
//!
//! The list of behaviours lies beside the checkout in development only; where it does, every one
//! of its rows must be in the map, and no other.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The root of the workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What the map says of one behaviour.
#[derive(Debug)]
enum Holds {
    /// A test: its file and its function.
    Test {
        about: String,
        file: String,
        function: String,
    },
    /// An example that must not compile: its file and the item it stands on.
    CompileFail { file: String, item: String },
    /// Nothing: it does not apply.
    NotHere(String),
}

fn map() -> Vec<(String, Holds)> {
    let text = fs::read_to_string(root().join("tests/behaviours.toml")).expect("behaviours.toml");
    let table: toml::Table = text.parse().expect("behaviours.toml is TOML, each id once");
    table
        .into_iter()
        .map(|(id, row)| (id.clone(), holds(&id, row)))
        .collect()
}

fn holds(id: &str, row: toml::Value) -> Holds {
    let row: Vec<(String, String)> = match row {
        toml::Value::Table(row) => row
            .into_iter()
            .map(|(key, value)| match value {
                toml::Value::String(text) => (key, text),
                other => panic!("{id}: {key} is {other}, not a text"),
            })
            .collect(),
        other => panic!("{id} is {other}, not a table"),
    };
    let row: Vec<(&str, &str)> = row.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let place = |place: &str| {
        let (file, item) = place
            .split_once("::")
            .unwrap_or_else(|| panic!("{id}: {place} is no path::item"));
        (file.to_owned(), item.to_owned())
    };
    match row[..] {
        [("crate", about), ("test", test)] => {
            let (file, function) = place(test);
            Holds::Test {
                about: about.to_owned(),
                file,
                function,
            }
        }
        [("compile_fail", example)] => {
            let (file, item) = place(example);
            Holds::CompileFail { file, item }
        }
        [("not_here", why)] => Holds::NotHere(why.to_owned()),
        _ => panic!("{id}: {row:?} is none of the forms that behaviours.toml describes"),
    }
}

#[test]
fn every_behaviour_of_the_list_is_in_the_map() {
    let list = root().join("../shared/behaviours.md");
    let Ok(text) = fs::read_to_string(&list) else {
        println!("skipped: there is no {} to compare with", list.display());
        return;
    };
    // Rows look like `| Q1 | … |`.
    let is_id = |cell: &str| {
        let digits = cell.trim_start_matches(|c: char| c.is_ascii_uppercase());
        digits.len() < cell.len() && digits.parse::<u32>().is_ok()
    };
    let listed: BTreeSet<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix('|')?.split('|').next())
        .map(|cell| cell.trim().to_owned())
        .filter(|cell| is_id(cell))
        .collect();
    assert!(
        listed.len() > 100,
        "only {} rows were recognised in the list",
        listed.len()
    );
    let mapped: BTreeSet<String> = map().into_iter().map(|(id, _)| id).collect();
    let missing: Vec<_> = listed.difference(&mapped).collect();
    let unknown: Vec<_> = mapped.difference(&listed).collect();
    assert!(missing.is_empty(), "not in behaviours.toml: {missing:?}");
    assert!(
        unknown.is_empty(),
        "in behaviours.toml, but not in the list: {unknown:?}"
    );
}

#[test]
fn every_test_in_the_map_exists() {
    let mut wrong = Vec::new();
    for (id, holds) in map() {
        if let Holds::Test {
            about,
            file,
            function,
        } = holds
        {
            if !root()
                .join("crates")
                .join(&about)
                .join("Cargo.toml")
                .exists()
            {
                wrong.push(format!("{id}: there is no crate {about}"));
            }
            match fs::read_to_string(root().join(&file)) {
                Err(_) => wrong.push(format!("{id}: there is no {file}")),
                Ok(text) if !defines_function(&text, &function) => {
                    wrong.push(format!("{id}: {file} has no fn {function}"));
                }
                Ok(_) => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_example_that_must_not_compile_exists() {
    let mut wrong = Vec::new();
    for (id, holds) in map() {
        if let Holds::CompileFail { file, item } = holds {
            let text = fs::read_to_string(root().join(&file)).unwrap_or_default();
            if !text.contains("```compile_fail") || !mentions(&text, &item) {
                wrong.push(format!(
                    "{id}: {file} has no compile_fail example on {item}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_does_not_apply_has_a_reason() {
    for (id, holds) in map() {
        if let Holds::NotHere(why) = holds {
            assert!(
                why.ends_with('.') && why.contains(' '),
                "{id}: {why:?} is no sentence"
            );
        }
    }
}

/// Whether `text` has `fn name` at the head of a function.
fn defines_function(text: &str, name: &str) -> bool {
    text.lines().any(|line| {
        let mut words = line
            .trim_start()
            .split(|c: char| !(c.is_alphanumeric() || c == '_'));
        words.by_ref().any(|word| word == "fn") && words.next() == Some(name)
    })
}

/// Whether `text` has `item` as a word of its own.
fn mentions(text: &str, item: &str) -> bool {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .any(|word| word == item)
}
