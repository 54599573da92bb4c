//! `cargo xtask ci`: every check that a change has to pass, in one command. `cargo xtask docs` renders generated pages
//! anew, `cargo xtask fuzz` runs every fuzz target for a bounded time.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "the report is this program's purpose")]

mod fuzz;
mod step;
mod tally;

use std::process::ExitCode;
use step::{Step, cargo, run};
use tally::Tally;

/// Debian's packages of the programs that tests talk to, make keys with or install others with.
const PEERS: [(&str, &str); 6] = [
    ("prometheus", "/usr/bin/prometheus"),
    ("prometheus-alertmanager", "/usr/bin/amtool"),
    ("victoria-metrics", "/usr/bin/victoria-metrics"),
    ("prometheus-node-exporter", "/usr/bin/prometheus-node-exporter"),
    ("openssl", "/usr/bin/openssl"),
    ("python3-venv", "/usr/share/doc/python3-venv"),
];

fn main() -> ExitCode {
    let command = std::env::args().nth(1).unwrap_or_default();
    let outcome = match command.as_str() {
        "ci" => ci(),
        "docs" => docs(),
        "fuzz" => fuzz(),
        _ => {
            println!("usage: cargo xtask ci | docs | fuzz");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            println!("\n{problem}");
            ExitCode::FAILURE
        }
    }
}

/// Checks that stop at once come first: they are cheap and what they find is plain.
fn ci() -> Result<(), String> {
    install_peers()?;
    run(&Step::new("format", cargo(&["fmt", "--all", "--check"])))?;
    run(&Step::new("lints", cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])))?;
    // The binary that `compat-tests` start is among them. Always of the whole workspace and for tests: with fewer packages, or
    // for `cargo build`, features differ, and half of the dependencies would be built again.
    run(&Step::new("binaries", cargo(&["test", "--workspace", "--locked", "--no-run"])))?;
    let mut tally = Tally::default();
    tally.count(&run(&Step::tests("tests", cargo(&["test", "--workspace", "--locked", "--no-fail-fast"])))?);
    // The points between two steps of the disk exist only with this feature.
    let crash = cargo(&["test", "--workspace", "--locked", "--features", "storage/failpoints", "--test", "kill"]);
    // Processes that are killed leave the processor to the compiler.
    let (crashes, built) = std::thread::scope(|scope| {
        let building = scope.spawn(fuzz::build);
        (run(&Step::tests("crashes", crash)), building.join())
    });
    tally.count(&crashes?);
    built.unwrap_or_else(|_| Err("building the fuzz targets panicked".into()))?;
    tally.add(&fuzz::run_all()?);
    println!("\n{tally}");
    if tally.failed == 0 { Ok(()) } else { Err("some tests or fuzz targets failed".into()) }
}

fn fuzz() -> Result<(), String> {
    fuzz::build()?;
    let tally = fuzz::run_all()?;
    println!("\n{tally}");
    if tally.failed == 0 { Ok(()) } else { Err("some targets failed".into()) }
}

fn docs() -> Result<(), String> {
    run(&Step::new(
        "pages",
        cargo(&["test", "--quiet", "--test", "system", "configuration_page"]).env("UPDATE_DOCS", "1"),
    ))?;
    Ok(())
}

/// Installs what is missing, so that a fresh machine needs no preparation.
fn install_peers() -> Result<(), String> {
    let missing: Vec<_> =
        PEERS.iter().filter(|(_, file)| !std::path::Path::new(file).exists()).map(|(package, _)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("installing {}", missing.join(", "));
    let apt = |arguments: &[&str]| {
        let mut all = vec!["apt-get"];
        all.extend(arguments);
        let root = std::fs::metadata("/root").is_ok() && step::is_root();
        if root { step::command(&all) } else { step::command(&[&["sudo"], all.as_slice()].concat()) }
    };
    run(&Step::new("package lists", apt(&["update", "-qq"])))?;
    let mut install = vec!["install", "-y", "-qq", "--no-install-recommends"];
    install.extend(missing);
    run(&Step::new("packages", apt(&install).env("DEBIAN_FRONTEND", "noninteractive")))?;
    Ok(())
}
