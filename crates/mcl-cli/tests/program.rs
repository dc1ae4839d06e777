//! The program `mcl`: what it prints and how it ends when names, files or the terminal are not as hoped.
#![cfg(unix)]

#[path = "../../burn-mcl/tests/common/mod.rs"]
mod common;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use burn_mcl::data::shapes::{self, ShapesSplit};
use common::{corners, seal};
use image::RgbImage;
use serde_json::Value;

const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../burn-mcl/tests/artifact-v1/detector");

/// A command of the program.
fn mcl(command: &str) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_mcl"));
    program.arg(command);
    program
}

fn detect(detector: impl AsRef<OsStr>, pictures: &Path, more: &[&str]) -> Output {
    mcl("detect").arg(detector).arg(pictures).args(more).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// A picture in each of these files.
fn pictures(root: &Path, names: &[&[u8]]) {
    for (i, name) in (0..).zip(names) {
        let path = root.join(OsStr::from_bytes(name));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        RgbImage::from_fn(9, 9, |x, y| image::Rgb([(40 * i + x) as u8, (20 * y) as u8, 99]))
            .save(path)
            .unwrap();
    }
}

fn json_lines(output: &Output) -> Vec<Value> {
    text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn names_neither_forge_lines_nor_steer_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let hostile = "a\n0 of 9 pictures flagged\r\u{1b}[2J\u{202e}.png";
    pictures(folder.path(), &[hostile.as_bytes(), b"b.png"]);
    fs::write(folder.path().join("c\u{1b}.png"), "no picture").unwrap();
    let output = detect(KEPT, folder.path(), &["--tpr", "0.05", "--train", folder.path().to_str().unwrap()]);
    let (said, warned) = (text(&output.stdout), text(&output.stderr));
    assert!(said.contains(r"a\n0 of 9 pictures flagged\r\u{1b}[2J\u{202e}.png"), "{said}");
    assert!(said.contains("resembles ") && warned.contains(r"c\u{1b}.png"), "{said}{warned}");
    assert!(!said.lines().any(|line| line.starts_with("0 of 9")), "{said}");
    assert!(![said, warned].iter().any(|text| text.contains(['\r', '\u{1b}', '\u{202e}'])), "{said}{warned}");

    // JSON has escapes of its own, and keeps the name to the letter.
    let lines = json_lines(&detect(KEPT, folder.path(), &["--json"]));
    assert!(lines[0]["file"].as_str().unwrap().ends_with(hostile), "{}", lines[0]);
    assert!(lines[0].get("file_hex").is_none());
}

#[test]
fn class_names_and_kinds_of_an_edited_detector_are_escaped() {
    let folder = tempfile::tempdir().unwrap();
    let (edited, looked_at) = (folder.path().join("detector"), folder.path().join("pictures"));
    fs::create_dir(&edited).unwrap();
    for entry in fs::read_dir(KEPT).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, edited.join(path.file_name().unwrap())).unwrap();
    }
    pictures(&looked_at, &[b"1.png"]);
    let path = edited.join("detector.json");
    let mut json: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    for name in json["class_names"].as_array_mut().unwrap() {
        *name = format!("{}\n0 of 1 pictures flagged", name.as_str().unwrap()).into();
    }
    fs::write(&path, json.to_string()).unwrap();
    seal(&edited);
    let output = detect(&edited, &looked_at, &["--tpr", "0.05"]);
    assert!(text(&output.stdout).contains(r"\n0 of 1 pictures flagged"), "{output:?}");
    assert!(!text(&output.stdout).lines().any(|line| line.starts_with("0 of 1")), "{output:?}");

    let manifest = edited.join("manifest.json");
    fs::write(&manifest, r#"{ "kind": "x\n\u001b[2J", "format": 1 }"#).unwrap();
    let output = detect(&edited, &looked_at, &[]);
    assert!(text(&output.stderr).contains(r"holds a x\n\u{1b}[2J, not a burn-mcl detector"), "{output:?}");
}

#[cfg(target_os = "linux")] // other systems refuse names that are not UTF-8
#[test]
fn names_that_are_no_text_can_be_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    pictures(folder.path(), &[b"M\xe4use.png"]);
    fs::write(folder.path().join(OsStr::from_bytes(b"\xff.png")), "no picture").unwrap();
    let lines = json_lines(&detect(KEPT, folder.path(), &["--json"]));
    assert_eq!(lines.len(), 2);
    for line in &lines {
        let hex = line["file_hex"].as_str().unwrap();
        let bytes = (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap());
        assert!(Path::new(OsStr::from_bytes(&bytes.collect::<Vec<_>>())).is_file(), "{line}");
    }
    assert!(lines[0]["file"].as_str().unwrap().ends_with(r"M\xE4use.png"), "{}", lines[0]);
}

#[test]
fn every_picture_has_a_line_whatever_its_folder_holds() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    pictures(folder.path(), &[b"a/1.png"]);
    for class in ["damaged", "empty"] {
        fs::create_dir(at(class)).unwrap();
    }
    fs::write(at("damaged/1.png"), "no picture").unwrap();
    fs::write(at("empty/1.heic"), "").unwrap();
    let output = detect(KEPT, folder.path(), &["--json"]);
    let lines = json_lines(&output);
    assert!(output.status.success() && lines.len() == 3, "{output:?}");
    assert!(lines[0]["score"].is_number() && lines[1]["error"].is_string(), "{output:?}");
    assert!(lines[2]["error"].as_str().unwrap().contains("convert"), "{output:?}");

    fs::remove_file(at("a/1.png")).unwrap();
    let output = detect(KEPT, folder.path(), &["--json"]);
    assert!(output.status.success() && json_lines(&output).len() == 2, "{output:?}");
}

#[test]
fn a_table_has_a_row_for_each_picture() {
    let folder = tempfile::tempdir().unwrap();
    pictures(folder.path(), &[b"=1.png", b"a,\"b\".png"]);
    fs::write(folder.path().join("c.png"), "no picture").unwrap();
    let run = |flag| {
        let mut program = mcl("detect");
        program.current_dir(folder.path()).arg(KEPT).args(["=1.png", "a,\"b\".png", "c.png", flag]);
        program.output().unwrap()
    };
    let (table, lines) = (run("--csv"), json_lines(&run("--json")));
    let mut table = csv::Reader::from_reader(&*table.stdout);
    let header = table.headers().unwrap().clone();
    let rows: Vec<_> = table.records().map(Result::unwrap).collect();
    assert_eq!((rows.len(), lines.len()), (3, 3));
    for (row, line) in rows.iter().zip(&lines) {
        let cell = |name: &str| row[header.iter().position(|column| column == name).unwrap()].to_string();
        for number in ["score", "p_value"] {
            assert_eq!(cell(number).parse().ok(), line[number].as_f64(), "{row:?}");
        }
        assert_eq!(cell("is_anomaly").parse().ok(), line["is_anomaly"].as_bool(), "{row:?}");
        assert_eq!(cell("class"), line["class"].as_str().unwrap_or_default());
        assert_eq!(cell("error"), line["error"].as_str().unwrap_or_default());
    }
    // No cell is a formula, and the bytes of the name are beside it.
    assert_eq!([&rows[0][0], &rows[0][6]], ["'=1.png", "3d312e706e67"]);
    assert_eq!([&rows[1][0], &rows[1][6], &rows[2][0]], ["a,\"b\".png", "", "c.png"]);
    assert!(
        !run("--csv").stdout.is_empty()
            && !mcl("detect").args([KEPT, ".", "--csv", "--json"]).output().unwrap().status.success()
    );
}

#[test]
fn what_is_done_is_said_in_lines_if_asked() {
    let folder = tempfile::tempdir().unwrap();
    pictures(folder.path(), &[b"1.png"]);
    let quiet = detect(KEPT, folder.path(), &["-q"]);
    let verbose = detect(KEPT, folder.path(), &["-v"]);
    assert!(quiet.stderr.is_empty() && quiet.stdout == verbose.stdout, "{quiet:?}{verbose:?}");
    let said = text(&verbose.stderr);
    assert!(said.contains(" INFO detector loaded") && !said.contains('\u{1b}'), "{said}");
    assert!(!detect(KEPT, folder.path(), &["-q", "-v"]).status.success());
}

#[test]
fn a_picture_alone_is_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    pictures(folder.path(), &[b"1.png"]);
    let lines = json_lines(&detect(KEPT, &folder.path().join("1.png"), &["--json"]));
    assert!(lines.len() == 1 && lines[0]["score"].is_number(), "{lines:?}");
}

/// A terminal that is closed (`| head -1`) or a disk that is full ends a program, and no thread panics.
#[test]
fn nobody_listens_or_the_disk_is_full() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (split, name) in
        [(ShapesSplit::Train, "train"), (ShapesSplit::Test, "normal"), (ShapesSplit::FarOod, "far")]
    {
        shapes::generate(split, 12, 0).select_classes(&[0, 1]).unwrap().write_folders(&at(name)).unwrap();
    }
    let train = || {
        let mut command = mcl("train");
        command.arg(at("train")).arg("--normal").arg(at("normal")).arg("--anomalous").arg(at("far"));
        command.arg("--run").arg(at("run")).args(["--tpr=0.5", "--steps=1", "--width=2", "--batch=4"]);
        command
    };
    let detect = || {
        let mut command = mcl("detect");
        command.arg(KEPT).arg(at("normal")).arg("--json");
        command
    };
    let completions = || {
        let mut command = mcl("completions");
        command.arg("bash");
        command
    };
    for command in [&train as &dyn Fn() -> Command, &detect, &completions] {
        let mut child = command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let closed = child.wait_with_output().unwrap();
        // Completions may be written before the pipe is closed.
        let written = command().get_args().any(|argument| argument == "completions");
        assert!((written || !closed.status.success()) && closed.stderr.is_empty(), "{closed:?}");
        if Path::new("/dev/full").exists() {
            let full = || File::create("/dev/full").unwrap();
            let output = command().stdout(full()).stderr(Stdio::piped()).output().unwrap();
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            assert!(!text(&output.stderr).contains("panicked"), "{output:?}");
            let output = command().stdout(full()).stderr(full()).output().unwrap();
            assert_eq!(output.status.code(), Some(1), "101 after a panic");
        }
    }
}

#[test]
fn a_device_that_is_not_there_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    pictures(folder.path(), &[b"1.png"]);
    let path = folder.path().to_str().unwrap();
    let commands =
        [("detect", vec![KEPT, path]), ("train", vec![path, "--normal", path, "--anomalous", path])];
    for (name, arguments) in commands {
        for value in ["nonsense", "ndarray"] {
            let mut command = mcl(name);
            let command = command.args(&arguments).env("BURN_DEVICE", value).current_dir(folder.path());
            let output = command.output().unwrap();
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            let said = text(&output.stderr);
            assert!(
                said.contains(&format!("BURN_DEVICE is {value:?}")) && !said.contains("panicked"),
                "{said}"
            );
        }
    }
}

#[test]
fn a_manifest_that_is_a_pipe_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    pictures(&folder.path().join("pictures"), &[b"1.png"]);
    let detector = folder.path().join("detector");
    fs::create_dir(&detector).unwrap();
    assert!(Command::new("mkfifo").arg(detector.join("manifest.json")).status().unwrap().success());
    let mut command = mcl("detect");
    let mut child =
        command.arg(&detector).arg(folder.path().join("pictures")).stderr(Stdio::piped()).spawn().unwrap();
    let started = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if started.elapsed() > Duration::from_secs(60) {
            child.kill().unwrap();
            panic!("detect waits");
        }
        thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().unwrap();
    assert!(text(&output.stderr).contains("it is not a file"), "{output:?}");
}

#[test]
fn a_list_of_files_comes_from_standard_input() {
    let folder = tempfile::tempdir().unwrap();
    pictures(folder.path(), &[b"2.png", b"1.png"]);
    let mut command = mcl("detect");
    command.arg(KEPT).args(["-", "--json"]).current_dir(folder.path());
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"2.png\n1.png\r\nnowhere.png\nno\xffwhere.png").unwrap();
    let output = child.wait_with_output().unwrap();
    let lines = json_lines(&output);
    let files: Vec<_> = lines.iter().map(|line| line["file"].as_str().unwrap()).collect();
    assert_eq!(files, ["2.png", "1.png", "nowhere.png", r"no\xFFwhere.png"], "{output:?}");
    assert!(lines[0]["score"].is_number() && lines[2]["error"].is_string(), "{output:?}");
}

#[test]
fn the_exit_code_says_that_a_picture_was_flagged_if_asked() {
    let folder = tempfile::tempdir().unwrap();
    pictures(folder.path(), &[b"1.png"]);
    let code = |more: &[&str]| detect(KEPT, folder.path(), more).status.code();
    // At the lowest share that is to pass, nearly all pictures are flagged.
    assert_eq!(code(&["--tpr", "0.05"]), Some(0));
    assert_eq!(code(&["--tpr", "0.05", "--fail"]), Some(3));
    let lines = json_lines(&detect(KEPT, folder.path(), &["--tpr", "0.05", "--json"]));
    assert_eq!(lines[0]["is_anomaly"], true);
}

/// A check passes where all pictures were judged, and only there.
#[test]
fn a_check_of_pictures_that_cannot_be_judged_fails() {
    let folder = tempfile::tempdir().unwrap();
    let code = || {
        let output = detect(KEPT, folder.path(), &["--tpr", "0.97", "--fail"]);
        (output.status.code(), text(&output.stderr).to_string())
    };
    assert_eq!(code().0, Some(1), "an empty folder");
    let output = detect(KEPT, Path::new("-"), &["--fail"]);
    assert!(text(&output.stderr).contains("0 of 0 pictures were judged"), "an empty list: {output:?}");
    assert_eq!(output.status.code(), Some(1));
    // Pictures that are normal to the detector.
    corners(4, 0).write_folders(folder.path()).unwrap();
    for line in json_lines(&detect(KEPT, folder.path(), &["--tpr", "0.97", "--json"])) {
        if line["is_anomaly"] == true {
            fs::remove_file(line["file"].as_str().unwrap()).unwrap();
        }
    }
    assert_eq!(code().0, Some(0), "{}", code().1);
    fs::create_dir(folder.path().join("more")).unwrap();
    fs::write(folder.path().join("more/2.png"), "no picture").unwrap();
    let (damaged, said) = code();
    assert!(damaged == Some(1) && said.contains("pictures were judged"), "{said}");
}

#[test]
fn what_is_neither_file_nor_folder_is_refused() {
    let zero = Path::new("/dev/zero");
    if zero.exists() {
        let output = detect(KEPT, zero, &[]);
        assert!(text(&output.stderr).contains("there is no file or folder /dev/zero"), "{output:?}");
    }
}

#[test]
fn a_folder_without_a_detector_is_said_to_have_none() {
    let folder = tempfile::tempdir().unwrap();
    for (command, more) in [("inspect", None), ("export", Some("--onnx=x"))] {
        let output = mcl(command).arg(folder.path()).args(more).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(text(&output.stderr).contains("holds no detector"), "{output:?}");
    }
}

/// Training refuses a run folder in which something else would be overwritten, before anything is decoded.
#[test]
fn a_run_folder_with_files_of_others_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let train = folder.path().join("train");
    shapes::generate(ShapesSplit::Train, 4, 0).write_folders(&train).unwrap();
    for name in ["command.json", "config.json", "report/index.html"] {
        let run = folder.path().join(name.split(['.', '/']).next().unwrap());
        let file = run.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "mine").unwrap();
        let mut command = mcl("train");
        command.arg(&train).arg("--run").arg(&run).args(["--tpr=0.5", "--steps=1", "--width=2", "--batch=4"]);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(text(&output.stderr).contains(name), "{output:?}");
        assert_eq!(fs::read(&file).unwrap(), b"mine");
    }
}

#[test]
fn shapes_are_written_learned_and_told_from_others() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &str| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_mcl"));
        program.args(arguments.split(' ')).current_dir(folder.path()).output().unwrap()
    };
    let output = run("shapes pictures --per-class 8");
    assert!(text(&output.stdout).contains("pictures/near: 16 pictures of boat"), "{output:?}");
    let output = run("-q train pictures/train --steps 2 --width 2 --batch 4 --tpr 0.5");
    assert!(output.status.success() && text(&output.stdout).contains("runs/own/detector"), "{output:?}");
    let output = run("detect runs/own pictures/far --tpr 0.5");
    assert!(text(&output.stdout).contains("of 10 pictures flagged"), "{output:?}");
    let output = run("inspect runs/own");
    assert!(text(&output.stdout).contains("10: arrow"), "{output:?}");
}

#[test]
fn a_detector_is_exported_and_nothing_is_overwritten_unasked() {
    let folder = tempfile::tempdir().unwrap();
    let (file, hub) = (folder.path().join("detector.onnx"), folder.path().join("hub"));
    let export = |more: &[&OsStr]| mcl("export").arg(KEPT).args(more).output().unwrap();
    let both: &[&OsStr] = &["--onnx".as_ref(), file.as_os_str(), "--hugging-face".as_ref(), hub.as_os_str()];
    let output = export(both);
    assert!(output.status.success() && text(&output.stdout).lines().count() == 2, "{output:?}");
    assert_eq!(fs::read(&file).unwrap(), fs::read(hub.join("model.onnx")).unwrap());

    let again = export(both);
    assert_eq!(again.status.code(), Some(1), "{again:?}");
    assert!(text(&again.stderr).contains("--force"), "{again:?}");
    assert!(export(&[both, &["--force".as_ref()]].concat()).status.success());
    assert_eq!(export(&[]).status.code(), Some(2), "what to write must be said");

    // The directory is a detector: its verdicts are those of the one that was exported.
    pictures(folder.path(), &[b"pictures/1.png", b"pictures/2.png"]);
    let looked_at = folder.path().join("pictures");
    let [exported, kept] =
        [hub.as_os_str(), KEPT.as_ref()].map(|place| detect(place, &looked_at, &["--json"]));
    assert!(exported.status.success() && exported.stdout == kept.stdout, "{exported:?} {kept:?}");
}

#[test]
fn the_threshold_of_an_export_can_be_another() {
    let folder = tempfile::tempdir().unwrap();
    let config = |tpr: &str| -> Value {
        let hub = folder.path().join(tpr);
        let output = mcl("export").arg(KEPT).arg("--hugging-face").arg(&hub).args(["--tpr", tpr]).output();
        assert!(output.as_ref().unwrap().status.success(), "{output:?}");
        serde_json::from_slice(&fs::read(hub.join("config.json")).unwrap()).unwrap()
    };
    let (lenient, strict) = (config("0.75"), config("0.25"));
    assert_eq!(strict["detector"]["tpr"], 0.25);
    assert!(strict["threshold"].as_f64() > lenient["threshold"].as_f64(), "{strict} {lenient}");
}

#[test]
fn help_version_and_completions_are_printed() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_mcl"))
            .args(arguments)
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(run(&["--version"]).contains(env!("CARGO_PKG_VERSION")));
    assert!(run(&["--help"]).contains("mcl train pictures/train"));
    for command in ["train", "detect", "inspect", "export", "shapes", "completions"] {
        assert!(run(&[command, "--help"]).contains(&format!("Usage: mcl {command}")));
    }
    assert!(run(&["completions", "bash"]).contains("_mcl()"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "no folder was made");
}

/// The figures of `mcl evaluate` are those that the scores of `mcl detect` give.
#[test]
fn figures_are_those_of_the_scores() {
    let folder = tempfile::tempdir().unwrap();
    let [pictures, report] = ["pictures", "report"].map(|name| folder.path().join(name));
    assert!(mcl("shapes").arg(&pictures).output().unwrap().status.success());
    let [normal, far] = ["normal", "far"].map(|name| pictures.join(name));
    let judged = |set: &Path| -> Vec<(f64, bool)> {
        let lines = json_lines(&detect(KEPT, set, &["--json"]));
        lines.iter().map(|line| (line["score"].as_f64().unwrap(), line["is_anomaly"] == true)).collect()
    };
    let (of_normal, of_far) = (judged(&normal), judged(&far));
    let flagged = |set: &[(f64, bool)]| set.iter().filter(|image| image.1).count() as f64 / set.len() as f64;
    let pairs = of_normal.iter().flat_map(|normal| of_far.iter().map(move |far| normal.0.total_cmp(&far.0)));
    let won: f64 = pairs.map(|order| f64::from(order as i8 + 1) / 2.0).sum();
    let auroc = won / (of_normal.len() * of_far.len()) as f64;

    let evaluate = |more: &[&OsStr]| {
        let mut program = mcl("evaluate");
        program.arg(KEPT).arg("--normal").arg(&normal).arg("--anomalous").arg(&far).args(more);
        program.output().unwrap()
    };
    let arguments =
        ["--json".as_ref(), "--train".as_ref(), normal.as_os_str(), "--report".as_ref(), report.as_os_str()];
    let output = evaluate(&arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let figures: Value = serde_json::from_slice(&output.stdout).unwrap();
    let close = |found: &Value, expected: f64| {
        assert!((found.as_f64().unwrap() - expected).abs() < 1e-9, "{found}, not {expected}");
    };
    close(&figures["false_alarms"], flagged(&of_normal));
    close(&figures["anomalous"][0]["found"], flagged(&of_far));
    close(&figures["anomalous"][0]["auroc"], auroc);
    assert_eq!((&figures["images"], &figures["normal"]), (&of_normal.len().into(), &"normal".into()));
    assert!(report.join("index.html").exists());
    let printed = evaluate(&[]);
    assert!(text(&printed.stdout).contains(&format!("{:.1}%", 100.0 * auroc)), "{}", text(&printed.stdout));

    let arrow = normal.join("arrow");
    let on_both_sides = evaluate(&["--anomalous".as_ref(), arrow.as_os_str()]);
    let warned = text(&on_both_sides.stderr);
    assert!(warned.contains("25 of 25 pictures of arrow are copies of pictures of normal"), "{warned}");
    let twice = evaluate(&["--anomalous".as_ref(), normal.as_os_str()]);
    assert!(text(&twice.stderr).contains("is given twice"), "{}", text(&twice.stderr));
    let lonely = evaluate(&["--report".as_ref(), report.as_os_str()]);
    assert_eq!(lonely.status.code(), Some(2), "{}", text(&lonely.stderr));
}
