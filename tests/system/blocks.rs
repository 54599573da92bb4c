//! Import, export and checks of blocks, by the binary.

use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn hearth(arguments: &[&str], data: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hearth"));
    command.args(arguments).arg("--storage.path").arg(data).output().unwrap()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

const DAYS: usize = 60;

/// Sixty days of ten series, as an export writes them.
fn text() -> String {
    let mut text = String::new();
    for series in 0..10 {
        for sample in 0..DAYS * 24 {
            let at = 1_700_006_400 + sample * 3600 + series;
            writeln!(text, "load{{host=\"h{series}\"}} {} {at}", sample * series).unwrap();
        }
    }
    text + "# EOF\n"
}

fn commits(data: &Path) -> usize {
    let entries = std::fs::read_dir(data.join("blocks/t=anonymous/manifest")).into_iter().flatten();
    entries.flatten().filter(|entry| entry.file_name().to_string_lossy().ends_with(".json.zst")).count()
}

#[test]
fn an_import_that_was_killed_goes_on_where_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let (data, file) = (directory.path().join("data"), directory.path().join("in.om"));
    std::fs::write(&file, text()).unwrap();
    let name = file.display().to_string();
    let mut first = Command::new(env!("CARGO_BIN_EXE_hearth"))
        .args(["import", &name, "--storage.path"])
        .arg(&data)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while commits(&data) < 5 {
        assert!(Instant::now() < deadline, "nothing was committed");
        std::thread::sleep(Duration::from_millis(1));
    }
    first.kill().unwrap();
    first.wait().unwrap();
    let before = stdout(&hearth(&["blocks", "list"], &data)).matches("  raw  ").count();
    assert!((1..DAYS).contains(&before), "{before} days were committed before the kill");
    let second = stdout(&hearth(&["import", &name], &data));
    let known = format!("{} days imported, ", DAYS - before);
    assert!(second.contains(&known) && second.contains(&format!("{before} days had been imported before")), "{second}");
    let exported = stdout(&hearth(&["blocks", "export"], &data));
    assert!(exported == text(), "the export is what was imported");
    assert!(stdout(&hearth(&["blocks", "verify"], &data)).contains("60 blocks checked, 0 not good"));
    let work = std::fs::read_dir(data.join("work")).unwrap().count();
    assert_eq!(work, 0, "nothing is left behind");
}

#[test]
fn damage_is_named_and_ends_with_1() {
    let directory = tempfile::tempdir().unwrap();
    let (data, file) = (directory.path().join("data"), directory.path().join("in.om"));
    std::fs::write(&file, "a{b=\"c\"} 1 1700000000\na{b=\"c\"} 2 1700000060\n# EOF\n").unwrap();
    stdout(&hearth(&["import", &file.display().to_string()], &data));
    let json: serde_json::Value = serde_json::from_str(&stdout(&hearth(&["blocks", "list", "--json"], &data))).unwrap();
    let block = json.pointer("/0").unwrap();
    let field = |name: &str| block.get(name).and_then(serde_json::Value::as_str).unwrap();
    let inspected = stdout(&hearth(&["blocks", "inspect", field("ulid")], &data));
    assert!(inspected.contains("l_b") && inspected.contains("samples.parquet"), "{inspected}");
    let samples = data.join("blocks").join(field("prefix")).join("samples.parquet");
    let mut bytes = std::fs::read(&samples).unwrap();
    *bytes.get_mut(100).unwrap() ^= 4;
    std::fs::write(&samples, bytes).unwrap();
    let found = hearth(&["blocks", "verify", field("ulid")], &data);
    assert_eq!(found.status.code(), Some(1));
    let text = String::from_utf8_lossy(&found.stdout);
    assert!(text.contains("DAMAGED: `samples.parquet` is damaged at byte 0"), "{text}");
}

#[test]
fn a_mistake_in_a_text_is_named_and_nothing_is_imported() {
    let directory = tempfile::tempdir().unwrap();
    let (data, file) = (directory.path().join("data"), directory.path().join("in.om"));
    std::fs::write(&file, "a 1 1700000000\na one 1700000060\n# EOF\n").unwrap();
    let failed = hearth(&["import", &file.display().to_string()], &data);
    assert_eq!(failed.status.code(), Some(1));
    let text = String::from_utf8_lossy(&failed.stderr);
    assert!(text.contains("in.om: line 2, column 3: `one` is no number"), "{text}");
    assert_eq!(stdout(&hearth(&["blocks", "list"], &data)), "(no blocks)\n");
}
