//! Builds the fuzz targets with coverage instrumentation and runs each for a bounded time.
//!
//! The flags are those by which LLVM's libFuzzer finds new paths; they work on the stable compiler, without sanitizers.

use crate::step::{Step, cargo, command, run};
use crate::tally::Tally;
use std::path::{Path, PathBuf};

const DIRECTORY: &str = "tests/fuzz";
const SECONDS_EACH: u32 = 10;
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares";

/// With a target of its own, so that the instrumentation stays out of build scripts and of everybody else's artifacts.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Builds every target of `tests/fuzz/src`, in a directory of its own: other builds may go on beside it.
pub(crate) fn build() -> Result<(), String> {
    let build =
        cargo(&["build", "--release", "--locked", "--target", TARGET, "--target-dir", "target"]).directory(DIRECTORY);
    run(&Step::new("fuzz targets", build.env("RUSTFLAGS", FLAGS))).map(drop)
}

/// Runs every target that was built; a target counts as one test.
pub(crate) fn run_all() -> Result<Tally, String> {
    let mut tally = Tally::default();
    for name in targets()? {
        let program = Path::new(DIRECTORY).join("target").join(TARGET).join("release").join(&name);
        let work = Path::new(DIRECTORY).join("target").join("work").join(&name);
        std::fs::create_dir_all(&work).map_err(|error| format!("{}: {error}", work.display()))?;
        let seeds = Path::new(DIRECTORY).join("seeds").join(&name);
        let time = format!("-max_total_time={SECONDS_EACH}");
        let artifacts = format!("-artifact_prefix={}/", work.display());
        let mut words =
            vec![program.to_string_lossy().into_owned(), time, "-rss_limit_mb=2048".into(), "-timeout=10".into()];
        words.extend([artifacts, "-verbosity=0".into(), "-print_final_stats=1".into(), work.display().to_string()]);
        if seeds.is_dir() {
            words.push(seeds.display().to_string());
        }
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        match run(&Step::new("fuzz", command(&words))) {
            Ok(_) => tally.passed += 1,
            Err(problem) => {
                println!("fuzz target {name}: {problem}");
                tally.failed += 1;
            }
        }
    }
    Ok(tally)
}

fn targets() -> Result<Vec<String>, String> {
    let source = PathBuf::from(DIRECTORY).join("src");
    let entries = std::fs::read_dir(&source).map_err(|error| format!("{}: {error}", source.display()))?;
    let stem = |path: PathBuf| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let mut names: Vec<_> = entries.flatten().filter_map(|entry| stem(entry.path())).collect();
    names.sort();
    Ok(names)
}
