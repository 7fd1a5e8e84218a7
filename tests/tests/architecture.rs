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
    let files = fs::read_dir(root().join("tests/tests")).expect("tests/tests");
    let names = files.map(|file| {
        file.expect("an entry")
            .file_name()
            .into_string()
            .expect("UTF-8")
    });
    let tests: String = names
        .filter(|name| name.starts_with("examples") && name.ends_with(".rs"))
        .map(|name| read(&format!("tests/tests/{name}")))
        .collect();
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
        let named = format!("\"{name}\"");
        assert!(
            tests.contains(&named),
            "no test in tests/tests/examples*.rs runs the example {name}"
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

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn the_code_map_names_files_that_are_there() {
    let text = read("ARCHITECTURE.md");
    let mut files = 0;
    for row in text.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.split(" | ").collect();
        let [folder, .., begin] = cells.as_slice() else {
            continue;
        };
        let Some(folder) = quoted(folder).next() else {
            continue;
        };
        let at = root().join(folder);
        if !at.is_dir() {
            continue;
        }
        for file in quoted(begin).filter(|name| name.starts_with("src/") || name.ends_with(".md")) {
            assert!(at.join(file).exists(), "there is no {folder}/{file}");
            files += 1;
        }
    }
    assert!(files > 50, "the code map names {files} files only");
}

/// Does it more than forbid unsafe code, or write of it?
fn has_unsafe(source: &str) -> bool {
    let code = source.lines().map(str::trim_start);
    let mut code = code.filter(|line| !line.starts_with("//"));
    code.any(|line| {
        let words = ["unsafe {", "unsafe impl", "unsafe fn", "unsafe extern"];
        words.iter().any(|word| line.contains(word))
    })
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").flatten();
    let paths = entries.map(|entry| entry.path());
    paths
        .flat_map(|path| match path.is_dir() {
            true => sources(&path),
            false => vec![path],
        })
        .collect()
}

#[test]
fn unsafe_above_the_ring_is_argued_file_by_file() {
    let text = read("ARCHITECTURE.md");
    let argued: BTreeSet<&str> = quoted(&text).collect();
    let mut there = 0;
    for name in crates() {
        // They hold the pointers; and the macro writes for others.
        if ["segment", "core", "ring", "derive"].contains(&name.as_str()) {
            continue;
        }
        let folder = root().join("crates").join(&name).join("src");
        for file in sources(&folder) {
            if !has_unsafe(&fs::read_to_string(&file).expect("a source")) {
                continue;
            }
            let short = file.strip_prefix(&folder).expect("below it").display();
            let short = format!("{name}/{short}");
            assert!(
                argued.contains(short.as_str()),
                "ARCHITECTURE.md does not argue for the unsafe code in {short}"
            );
            there += 1;
        }
    }
    assert!(there > 10, "only {there} files with unsafe code");
}
