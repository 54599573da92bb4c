//! Rule files and unit tests of rules in `rule_tests`: `promtool` and `hearth` come to the same verdict on each.
//!
//! The directory of a file says the verdict, so that a program that is wrong is known, too. What is in `newer` needs a later
//! promtool than Debian has, and is given to `hearth` alone.

use anyhow::{Context, ensure};
use compat_tests::peer::hearth_binary;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn corpus(directory: &str) -> anyhow::Result<Vec<PathBuf>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("rule_tests").join(directory);
    let entries = directory.read_dir().with_context(|| directory.display().to_string())?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yml"));
    files.sort();
    Ok(files)
}

fn promtool(arguments: &[&str], file: &Path) -> anyhow::Result<Output> {
    Command::new("promtool").args(arguments).arg(file).output().context("promtool: install Debian's package prometheus")
}

fn hearth(arguments: &[&str], file: &Path) -> anyhow::Result<Output> {
    Command::new(hearth_binary()?).args(arguments).arg(file).output().context("hearth")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Gives every file of a directory to one or both programs; returns how many there were.
fn compare(directory: &str, expected: i32, commands: [&[&str]; 2], with_promtool: bool) -> anyhow::Result<usize> {
    let files = corpus(directory)?;
    for file in &files {
        let ours = hearth(commands[0], file)?;
        let code = ours.status.code();
        ensure!(code == Some(expected), "hearth: {code:?}, not {expected}, on {}\n{}", file.display(), text(&ours));
        if with_promtool {
            let theirs = promtool(commands[1], file)?;
            let code = theirs.status.code();
            ensure!(code == Some(expected), "promtool: {code:?} on {}\n{}", file.display(), text(&theirs));
        }
    }
    Ok(files.len())
}

const TEST: [&[&str]; 2] = [&["rules", "test"], &["test", "rules"]];
const CHECK: [&[&str]; 2] = [&["rules", "check"], &["check", "rules"]];
const LINT: [&[&str]; 2] = [&["rules", "check", "--lint-fatal"], &["check", "rules", "--lint-fatal"]];

#[test]
fn unit_tests_pass_and_fail_as_in_promtool() -> anyhow::Result<()> {
    let compared = compare("pass", 0, TEST, true)? + compare("fail", 1, TEST, true)?;
    ensure!(compared >= 60, "only {compared} files");
    Ok(())
}

#[test]
fn unit_tests_with_what_is_newer_pass_and_fail() -> anyhow::Result<()> {
    let run = compare("newer/pass", 0, TEST, false)? + compare("newer/fail", 1, TEST, false)?;
    ensure!(run >= 10, "only {run} files");
    Ok(())
}

#[test]
fn rule_files_are_valid_and_invalid_as_in_promtool() -> anyhow::Result<()> {
    let compared = compare("check/valid", 0, CHECK, true)? + compare("check/invalid", 1, CHECK, true)?;
    ensure!(compared >= 40, "only {compared} files");
    compare("check/duplicate", 0, CHECK, true)?;
    compare("check/duplicate", 3, LINT, true)?;
    compare("check/valid", 0, LINT, true)?;
    Ok(())
}

#[test]
fn rule_files_with_what_is_newer_are_valid_and_invalid() -> anyhow::Result<()> {
    compare("check/newer/valid", 0, CHECK, false)?;
    compare("check/newer/invalid", 1, CHECK, false)?;
    Ok(())
}

/// Each message of promtool about a rule is somewhere in ours, without what depends on the version of its parser.
#[test]
fn rule_files_are_refused_in_the_words_of_promtool() -> anyhow::Result<()> {
    let mut compared = 0;
    for file in corpus("check/invalid")? {
        let ours = text(&hearth(CHECK[0], &file)?);
        for line in text(&promtool(CHECK[1], &file)?).lines().filter(|line| line.contains(": group \"")) {
            let message = line.split(": group \"").nth(1).unwrap_or_default();
            // Names with braces are names since Prometheus 3, which asks whether they belong to the expression.
            if message.contains("invalid recording rule name") {
                continue;
            }
            let upto = ["could not parse expression", "template:", "error parsing"];
            let message = upto.iter().filter_map(|end| message.find(end)).min().map_or(message, |end| &message[..end]);
            ensure!(ours.contains(message), "{message:?} of {} is not in\n{ours}", file.display());
            compared += 1;
        }
    }
    ensure!(compared >= 10, "only {compared} messages");
    Ok(())
}
