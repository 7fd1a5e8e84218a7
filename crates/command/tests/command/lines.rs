//! Command lines, and the list.

use crate::run::{command, complained, pid, said};
use common::{Name, Outcome};
use multiproc_queue::Queue;
use multiproc_segment::Shared;
use std::process::Stdio;
use std::sync::atomic::AtomicU64;

pub(crate) fn wrong_command_lines_are_refused() {
    assert_eq!(
        complained(2, &["list"]),
        "multiproc: there is no command \"list\" (multiproc --help tells more)\n"
    );
    for words in [
        &[][..],
        &["show"],
        &["rm"],
        &["ls", "--x"],
        &["top", "--interval", "0"],
    ] {
        complained(2, words);
    }
}

pub(crate) fn help_and_version_are_printed() {
    assert!(said(&["--help"]).contains("multiproc top"));
    assert_eq!(said(&["ls", "--help"]), said(&["-h"]));
    assert!(said(&["--version"]).starts_with("multiproc 0."));
}

pub(crate) fn what_is_not_there_is_an_error() {
    let name = Name::new("absent");
    let errors = complained(1, &["show", &name]);
    assert_eq!(errors, format!("multiproc: there is no {:?}\n", &*name));
    complained(1, &["show", "a/b"]);
    complained(1, &["rm", ""]);
}

pub(crate) fn everything_is_listed() -> Outcome {
    let (one, two) = (Name::new("one"), Name::new("two"));
    let _one = Shared::<AtomicU64>::options()
        .mode(0o640)
        .temporary(true)
        .create(&one, AtomicU64::new(5))?;
    let two_held = Queue::<String>::options().capacity(7).create(&two)?;
    two_held.put("x".into())?;
    let listed = said(&["ls"]);
    let row = |name: &str| -> Vec<String> {
        let row = listed.lines().find(|line| line.starts_with(name));
        let row = row.unwrap_or_else(|| panic!("no {name} in\n{listed}"));
        row.split_whitespace().map(str::to_owned).collect()
    };
    assert!(listed.starts_with("NAME"));
    let rest = ["AtomicU64", "264", "4.0K", "0640"];
    assert_eq!(row(&one)[1..5], rest);
    assert_eq!(row(&one)[6].trim_end_matches('+'), "1");
    assert_eq!(row(&one)[7..], ["-", "-", "5;", "temporary"]);
    assert!(row(&two)[1].starts_with("Queue<String>"));
    assert!(row(&two).ends_with(&["1", "of", "7", "queued"].map(str::to_owned)));
    // And for programs.
    let listed = said(&["ls", "--json"]);
    assert!(listed.starts_with("[{\"name\":") && listed.ends_with("}]\n"));
    let object = said(&["show", "--json", &one]);
    assert!(listed.contains(object.trim_end()));
    let me = pid();
    for field in [
        format!(
            "{{\"name\":\"{}\",\"kind\":\"AtomicU64\",\"problem\":null",
            &*one
        ),
        "\"temporary\":true,\"stale\":false,\"bytes\":264,\"body\":8".into(),
        "\"mode\":\"0640\"".into(),
        format!("\"attached\":[{me}]"),
        "\"holders\":[],\"waiting\":null".into(),
        "\"state\":{\"value\":\"5\"}}".into(),
    ] {
        assert!(object.contains(&field), "no {field} in {object}");
    }
    Ok(())
}

pub(crate) fn a_reader_that_leaves_is_no_error() -> Outcome {
    let mut child = command(&["ls"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    drop(child.stdout.take());
    let output = child.wait_with_output()?;
    assert!(output.status.success() && output.stderr.is_empty());
    Ok(())
}
