//! One command of the check: run it, show what it prints, keep it.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

/// A named command.
#[derive(Debug)]
pub(crate) struct Step {
    name: &'static str,
    command: Invocation,
    /// Failing tests are counted, not fatal: the rest should still run.
    may_fail: bool,
}

/// A program with its arguments and extra environment.
#[derive(Debug, Clone)]
pub(crate) struct Invocation {
    words: Vec<String>,
    environment: Vec<(String, String)>,
    directory: Option<String>,
}

impl Invocation {
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    pub(crate) fn directory(mut self, path: &str) -> Self {
        self.directory = Some(path.into());
        self
    }
}

impl Step {
    pub(crate) fn new(name: &'static str, command: Invocation) -> Self {
        Self { name, command, may_fail: false }
    }

    pub(crate) fn tests(name: &'static str, command: Invocation) -> Self {
        Self { name, command, may_fail: true }
    }
}

/// A command from its words.
pub(crate) fn command(words: &[&str]) -> Invocation {
    Invocation { words: words.iter().map(ToString::to_string).collect(), environment: Vec::new(), directory: None }
}

/// The cargo that runs this program, with arguments.
pub(crate) fn cargo(arguments: &[&str]) -> Invocation {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let mut words = vec![cargo.as_str()];
    words.extend(arguments);
    command(&words)
}

/// Whether this process may install packages itself.
pub(crate) fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.starts_with("Uid:\t0\t"))
}

/// What a finished step printed to standard output, and whether it ended well.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) printed: String,
    pub(crate) success: bool,
}

/// Runs a step; only a step of tests may end badly, and only after it ran some.
pub(crate) fn run(step: &Step) -> Result<Finished, String> {
    println!("\n=== {}: {}", step.name, step.command.words.join(" "));
    let started = Instant::now();
    let Some((program, arguments)) = step.command.words.split_first() else {
        return Err(format!("{} has no command", step.name));
    };
    let mut command = Command::new(program);
    command.args(arguments).envs(step.command.environment.iter().cloned()).stdin(Stdio::null()).stdout(Stdio::piped());
    if let Some(directory) = &step.command.directory {
        command.current_dir(directory);
    }
    let mut child = command.spawn().map_err(|error| format!("{}: start {program}: {error}", step.name))?;
    let mut printed = String::new();
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).split(b'\n') {
            let line = line.map_err(|error| format!("{}: {error}", step.name))?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            printed.push_str(&line);
            printed.push('\n');
        }
    }
    let status = child.wait().map_err(|error| format!("{}: {error}", step.name))?;
    println!("=== {}: {status} after {:.0} s", step.name, started.elapsed().as_secs_f64());
    let success = status.success();
    if success || step.may_fail && printed.contains("test result:") {
        Ok(Finished { printed, success })
    } else {
        Err(format!("{} failed: {status}", step.name))
    }
}
