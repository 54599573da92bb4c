//! Runs Prometheus' own acceptance suite: every eval of every file has to pass, in all its forms.

use model::bucket::TierSpan;
use promql::testing::runner::{Outcome, run, run_on, suite_engine};
use promql::testing::tiered::TieredSource;
use promql::{Engine, EngineOptions};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

/// How many evals the suite of Prometheus 3.14 has, so that none goes missing unseen.
const EVALS: usize = 2214;
/// How many queries that takes.
const RUNS: usize = 21_306;

/// Where the test files are; `None` when they are not on this machine.
fn directory() -> Option<PathBuf> {
    if let Some(directory) = std::env::var_os("HEARTH_PROMQLTEST_DIR") {
        return Some(directory.into());
    }
    let beside = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/promqltest"));
    beside.is_dir().then_some(beside)
}

fn outcomes(directory: &std::path::Path, engine: &Engine) -> BTreeMap<String, Outcome> {
    let entries = std::fs::read_dir(directory).expect("the directory of the suite can be read");
    entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "test"))
        .map(|path| {
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path).expect("a test file can be read");
            let outcome = run(&text, engine).unwrap_or_else(|error| panic!("{name}.test: {error}"));
            (name, outcome)
        })
        .collect()
}

#[test]
fn every_eval_passes() {
    let Some(directory) = directory() else {
        assert!(std::env::var_os("CI").is_none(), "set HEARTH_PROMQLTEST_DIR: the suite must run in CI");
        // Not by the macro, whose output a passing test keeps to itself.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: the acceptance suite is not here; set HEARTH_PROMQLTEST_DIR to its directory"
        );
        return;
    };
    let outcomes = outcomes(&directory, &suite_engine());
    let mut failing = Vec::new();
    for (name, outcome) in &outcomes {
        for failure in &outcome.failed {
            failing.push(format!("{name}.test:{} {}\n    {}", failure.line, failure.expression, failure.reason));
        }
    }
    assert!(failing.is_empty(), "{} evals fail:\n{}", failing.len(), failing.join("\n"));
    assert_eq!(outcomes.values().map(|outcome| outcome.passed).sum::<usize>(), EVALS);
    // In all forms: instants also pinned and at other times, each once more as the middle of a range.
    assert_eq!(outcomes.values().map(|outcome| outcome.runs).sum::<usize>(), RUNS);
}

/// Names that go at once, as a server without feature flags has it, matter only where the suite is about names.
#[test]
fn with_immediate_name_removal_only_what_is_about_names_differs() {
    let Some(directory) = directory() else { return };
    let about_names = ["histograms", "name_label_dropping", "native_histograms", "type_and_unit"];
    let immediate = EngineOptions { delayed_name_removal: false, ..suite_engine().options().clone() };
    let lists = [outcomes(&directory, &suite_engine()), outcomes(&directory, &Engine::new(immediate))];
    let [delayed, immediate] = lists.map(|outcomes| {
        let files = outcomes.into_iter().filter(|(name, _)| !about_names.contains(&name.as_str()));
        files.map(|(name, outcome)| (name, outcome.passed)).collect::<BTreeMap<_, _>>()
    });
    assert_eq!(delayed, immediate);
}

/// On buckets where they are exact, on samples elsewhere, every answer is the same.
#[test]
fn every_eval_passes_on_tiers() {
    let Some(directory) = directory() else { return };
    let span = |resolution_ms, until_ms| TierSpan { resolution_ms, after_ms: -36_000_000, until_ms };
    let layouts = [
        vec![span(10_000, 1 << 50)],
        vec![span(60_000, 1_800_000), span(300_000, 1_200_000)],
        vec![span(300_000, 1 << 50), span(600_000, 2_400_000)],
    ];
    let buckets = std::cell::Cell::new(0);
    for tiers in layouts {
        let mut failing = Vec::new();
        for entry in std::fs::read_dir(&directory).expect("the directory of the suite can be read") {
            let path = entry.expect("an entry").path();
            if path.extension().is_none_or(|extension| extension != "test") {
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("a test file can be read");
            let outcome = run_on(&text, &suite_engine(), |source, eval| {
                let tiered = TieredSource::new(source, tiers.clone(), None);
                let passed = eval(&tiered);
                buckets.set(buckets.get() + tiered.buckets_read());
                passed
            });
            for failure in outcome.expect("a test file").failed {
                failing.push(format!(
                    "{}:{} {}\n    {}",
                    path.display(),
                    failure.line,
                    failure.expression,
                    failure.reason
                ));
            }
        }
        assert!(failing.is_empty(), "{tiers:?}: {} evals fail:\n{}", failing.len(), failing.join("\n"));
    }
    assert!(buckets.get() > 10_000, "only {} buckets were read", buckets.get());
}
