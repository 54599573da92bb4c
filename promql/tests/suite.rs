//! Runs Prometheus' own acceptance suite.
//!
//! The evals that do not pass yet are listed in `promqltest_failing.txt`, one `file:line expression` per line. The list may
//! only shrink: an eval that is not on it must pass, and one that passes must not be on it. To write the list anew, run
//! the test with `HEARTH_PROMQLTEST_UPDATE=1`.

use promql::Engine;
use promql::testing::runner::{Outcome, run, suite_engine};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

const LIST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/promqltest_failing.txt");

/// Files all of whose evals must pass, histograms aside.
const WHOLE: [&str; 14] = [
    "aggregators",
    "at_modifier",
    "collision",
    "functions",
    "histograms",
    "limit",
    "literals",
    "name_label_dropping",
    "operators",
    "range_queries",
    "selectors",
    "staleness",
    "subquery",
    "trig_functions",
];

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
fn every_eval_passes_that_is_not_listed() {
    let Some(directory) = directory() else {
        assert!(std::env::var_os("CI").is_none(), "set HEARTH_PROMQLTEST_DIR: the suite must run in CI");
        println!("SKIPPED: the acceptance suite is not here; set HEARTH_PROMQLTEST_DIR to its directory");
        return;
    };
    let outcomes = outcomes(&directory, &suite_engine());
    let mut failing = BTreeMap::new();
    for (name, outcome) in &outcomes {
        for failure in &outcome.failed {
            failing.insert(format!("{name}.test:{} {}", failure.line, failure.expression), failure.reason.as_str());
        }
    }
    if std::env::var_os("HEARTH_PROMQLTEST_UPDATE").is_some() {
        let list: String = failing.keys().map(|line| format!("{line}\n")).collect();
        std::fs::write(LIST, list).expect("the list can be written");
        return;
    }
    let listed = std::fs::read_to_string(LIST).expect("the list is in the repository");
    let listed: BTreeSet<&str> = listed.lines().collect();
    let new: Vec<String> = failing
        .iter()
        .filter(|(line, _)| !listed.contains(line.as_str()))
        .map(|(line, reason)| format!("{line}\n    {reason}"))
        .collect();
    assert!(new.is_empty(), "{} evals fail that are not listed:\n{}", new.len(), new.join("\n"));
    let passing: Vec<&&str> = listed.iter().filter(|line| !failing.contains_key(**line)).collect();
    assert!(passing.is_empty(), "{} listed evals pass, take them off the list:\n{passing:#?}", passing.len());
    for name in WHOLE {
        let outcome = outcomes.get(name).unwrap_or_else(|| panic!("{name}.test is missing"));
        let others: Vec<&str> = outcome
            .failed
            .iter()
            .map(|failure| failure.reason.as_str())
            .filter(|reason| !reason.contains("native histograms"))
            .collect();
        assert!(others.is_empty(), "{name}.test fails beyond native histograms: {others:#?}");
    }
}

/// Names that go at once, as a server without feature flags has it, matter only where the suite is about names.
#[test]
fn with_immediate_name_removal_only_what_is_about_names_differs() {
    let Some(directory) = directory() else { return };
    let about_names = ["histograms", "name_label_dropping", "native_histograms", "type_and_unit"];
    let lists = [outcomes(&directory, &suite_engine()), outcomes(&directory, &Engine::default())];
    let [delayed, immediate] = lists.map(|outcomes| {
        let files = outcomes.into_iter().filter(|(name, _)| !about_names.contains(&name.as_str()));
        files.map(|(name, outcome)| (name, outcome.passed)).collect::<BTreeMap<_, _>>()
    });
    assert_eq!(delayed, immediate);
}
