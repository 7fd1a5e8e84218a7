//! What each package shows first: a program of two processes, which runs as a test; and the one
//! table of all features.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The root of the workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The published packages: the facade, and what lies in `crates/`; by their short names.
fn packages() -> BTreeMap<String, PathBuf> {
    let mut packages = BTreeMap::from([("multiproc".to_owned(), root())]);
    for entry in fs::read_dir(root().join("crates"))
        .expect("crates/")
        .flatten()
    {
        if entry.path().join("Cargo.toml").exists() {
            let name = entry.file_name().into_string().expect("a name in UTF-8");
            packages.insert(name, entry.path());
        }
    }
    packages
}

/// The first block of code that is Rust and is run by the tests.
fn first_program(text: &str) -> Option<&str> {
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("```") {
        let (tag, body) = after.split_once('\n')?;
        let (block, behind) = body.split_once("```")?;
        let mut words = tag.trim().split(',');
        if words.all(|word| ["", "rust", "standalone_crate"].contains(&word)) {
            return Some(block);
        }
        rest = behind;
    }
    None
}

/// `//!` taken away.
fn page(source: &str) -> String {
    let lines = source.lines().filter_map(|line| line.strip_prefix("//!"));
    lines.map(|line| format!("{line}\n")).collect()
}

/// Does it start a process?
fn is_of_two_processes(program: &str) -> bool {
    ["Process::start", "Process::spawn", "Pool::", "Manager::"]
        .iter()
        .any(|start| program.contains(start))
}

#[test]
fn every_package_begins_with_a_program_of_two_processes() {
    for (name, folder) in packages() {
        // A command has nothing to call.
        let Ok(source) = fs::read_to_string(folder.join("src/lib.rs")) else {
            continue;
        };
        let readme = read(&folder.join("README.md"));
        for (place, text) in [("README.md", readme), ("src/lib.rs", page(&source))] {
            let program = first_program(&text)
                .unwrap_or_else(|| panic!("{name}: {place} begins with no program that runs"));
            assert!(
                is_of_two_processes(program),
                "{name}: {place} begins with a program of one process:\n{program}"
            );
        }
        assert!(
            source.contains("include_str!(\"../README.md\")"),
            "{name}: the README is not run as a test"
        );
    }
}

#[test]
fn one_table_names_all_features_and_whose_they_are() {
    let facade = page(&read(&root().join("src/lib.rs")));
    let (_, section) = facade
        .split_once("# Features")
        .expect("the facade's page has a section on features");
    let rows: Vec<Vec<&str>> = section
        .lines()
        .filter(|line| line.trim_start().starts_with("| `"))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    let mut there = Vec::new();
    for (package, folder) in packages() {
        let manifest: toml::Table = read(&folder.join("Cargo.toml")).parse().expect("TOML");
        let features = manifest.get("features").and_then(toml::Value::as_table);
        for feature in features.into_iter().flat_map(toml::Table::keys) {
            assert!(
                rows.iter().any(|row| {
                    row[1] == format!("`{feature}`") && row[2].contains(&format!("`{package}`"))
                }),
                "the table of features (src/lib.rs) has no `{feature}` of `{package}`"
            );
            there.push((feature.clone(), package.clone()));
        }
    }
    for row in rows {
        for package in row[2].split(", ") {
            let named = (row[1].replace('`', ""), package.replace('`', ""));
            assert!(
                there.contains(&named),
                "there is no such feature: {named:?}"
            );
        }
    }
}
