//! Every expression of Prometheus' own acceptance suite parses.
//!
//! The suite is not part of this repository: `HEARTH_PROMQLTEST_DIR` or a `shared/promqltest` beside the checkout holds
//! it. Without it the test says so and passes, except on CI.

use promql::{ParseOptions, parse};
use std::path::PathBuf;

/// The files of the suite as (name, content); none when the suite is absent.
fn suite_files() -> Option<Vec<(String, String)>> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/promqltest");
    let dir = std::env::var_os("HEARTH_PROMQLTEST_DIR").map_or_else(|| PathBuf::from(beside), PathBuf::from);
    let entries = match std::fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "CI needs the promqltest suite: {}: {error}", dir.display());
            eprintln!("SKIPPED: no promqltest suite at {} ({error}); set HEARTH_PROMQLTEST_DIR", dir.display());
            return None;
        }
    };
    let mut files: Vec<(String, String)> = entries
        .map(|entry| entry.expect("directory entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "test"))
        .map(|path| (path.display().to_string(), std::fs::read_to_string(&path).expect("suite file")))
        .collect();
    files.sort();
    Some(files)
}

/// The expression of an `eval` line.
fn expression(line: &str) -> Option<&str> {
    let (command, rest) = line.trim().split_once(char::is_whitespace)?;
    if !command.to_ascii_lowercase().starts_with("eval") {
        return None;
    }
    if let Some(rest) = rest.trim_start().strip_prefix("instant at ") {
        return rest.trim_start().split_once(char::is_whitespace).map(|(_, expression)| expression);
    }
    let rest = rest.trim_start().strip_prefix("range from ")?;
    let step = rest.split_once(" step ")?.1;
    step.trim_start().split_once(char::is_whitespace).map(|(_, expression)| expression)
}

fn suite_expressions() -> Option<Vec<(String, String)>> {
    let files = suite_files()?;
    let lines = files.iter().flat_map(|(file, text)| text.lines().map(move |line| (file, line)));
    Some(lines.filter_map(|(file, line)| Some((file.clone(), expression(line)?.trim().to_owned()))).collect())
}

#[test]
fn every_expression_parses() {
    let Some(expressions) = suite_expressions() else { return };
    let options = ParseOptions::all();
    let failures: Vec<String> = expressions
        .iter()
        .filter_map(|(file, text)| parse(text, &options).err().map(|error| format!("{file}: {text}: {error}")))
        .collect();
    assert_eq!(failures, Vec::<String>::new());
    assert_eq!(expressions.len(), 2214);
}
