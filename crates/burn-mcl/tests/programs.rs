//! The examples as programs: what they print, and how they end.

use std::fs;
use std::process::{Command, Output};

use crate::common::example;

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn a_device_that_is_not_there_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    for value in ["nonsense", "ndarray"] {
        let mut command = Command::new(example("train_cifar10"));
        let output = command.env("BURN_DEVICE", value).current_dir(folder.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = text(&output.stderr);
        assert!(said.contains(&format!("BURN_DEVICE is {value:?}")) && !said.contains("panicked"), "{said}");
    }
}

#[test]
fn a_table_is_written_and_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let run = || {
        let arguments = ["--table", "3", "--scale", "tiny", "--steps", "3", "--seeds", "2", "--runs", "runs"];
        let output = Command::new(example("paper_tables"))
            .args(arguments)
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        output
    };
    let trains = |output: &Output| text(&output.stderr).matches("step(s) of training").count();
    let first = run();
    assert_eq!(trains(&first), 8, "4 systems, 2 seeds: {first:?}");
    let read = |name: &str| fs::read_to_string(folder.path().join("runs").join(name)).unwrap();
    let (table, lines) = (read("tables.md"), read("tables.csv"));
    assert!(text(&first.stdout).starts_with(&table), "{table}");
    for system in
        ["MCL", "MCL without SPA", "MCL without the auxiliary task", "MCL with rotations as augmentation"]
    {
        assert_eq!(table.matches(&format!("\n| {system} | ")).count(), 1, "{table}");
        // Two runs, two sets.
        assert_eq!(lines.matches(&format!("\n3,\"{system}\",")).count(), 4, "{lines}");
    }
    assert!(read("tables.html").contains("<td>MCL without SPA</td>"));

    let second = run();
    assert_eq!((trains(&second), second.stdout), (0, first.stdout));
}

#[test]
fn versions_are_printed() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["paper_tables", "train_cifar10"] {
        let output =
            Command::new(example(name)).arg("--version").current_dir(folder.path()).output().unwrap();
        assert!(text(&output.stdout).contains(env!("CARGO_PKG_VERSION")), "{output:?}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "no folder was made");
}
