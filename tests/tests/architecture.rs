//! The map is the territory: ARCHITECTURE.md names the crates that are there, and no others.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The root of the workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The folders in `crates/`.
fn crates() -> BTreeSet<String> {
    fs::read_dir(root().join("crates"))
        .expect("crates/")
        .flatten()
        .filter(|entry| entry.path().join("Cargo.toml").exists())
        .map(|entry| entry.file_name().into_string().expect("a name in UTF-8"))
        .collect()
}

/// The crates that ARCHITECTURE.md mentions as `crates/NAME`.
fn named_crates() -> BTreeSet<String> {
    let text = read("ARCHITECTURE.md");
    let after = text.split("crates/").skip(1);
    after
        .map(|rest| {
            let end = rest.find(|c: char| !(c.is_ascii_lowercase() || c == '_' || c == '-'));
            rest[..end.unwrap_or(rest.len())].to_owned()
        })
        .filter(|name| !name.is_empty())
        .collect()
}

#[test]
fn the_code_map_names_every_crate_and_no_other() {
    let (there, named) = (crates(), named_crates());
    let missing: Vec<_> = there.difference(&named).collect();
    let gone: Vec<_> = named.difference(&there).collect();
    assert!(
        missing.is_empty(),
        "ARCHITECTURE.md does not name crates/ followed by: {missing:?}"
    );
    assert!(
        gone.is_empty(),
        "ARCHITECTURE.md names crates that are not there: {gone:?}"
    );
}

#[test]
fn the_role_of_the_five_packages_is_told() {
    let text = read("ARCHITECTURE.md");
    for package in [
        "memmap2",
        "nix",
        "lock_api",
        "parking_lot",
        "shared_memory",
        "raw_sync",
    ] {
        assert!(
            text.contains(package),
            "ARCHITECTURE.md does not say what {package} is for"
        );
    }
}

#[test]
fn every_example_is_tested() {
    let tests = ["examples", "examples_pool"].map(|name| read(&format!("tests/tests/{name}.rs")));
    // However its calls are broken into lines.
    let tests: String = tests.concat().split_whitespace().collect();
    let mut examples = 0;
    for entry in fs::read_dir(root().join("examples"))
        .expect("examples/")
        .flatten()
    {
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let name = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .expect("a name in UTF-8");
        let runs = |by: &str| tests.contains(&format!("{by}(\"{name}\""));
        assert!(
            runs("run") || runs("start_with"),
            "no test in tests/tests/examples.rs or examples_pool.rs runs the example {name}"
        );
        examples += 1;
    }
    assert!(examples > 0, "there are no examples");
}

#[test]
fn every_example_says_in_three_lines_what_it_is() {
    for entry in fs::read_dir(root().join("examples"))
        .expect("examples/")
        .flatten()
    {
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("an example");
        let header = text
            .lines()
            .take_while(|line| line.starts_with("//!"))
            .count();
        assert!(
            header >= 3,
            "{} has no header of three lines",
            path.display()
        );
    }
}
