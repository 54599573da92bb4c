//! Our own test files, in the language of Prometheus' suite: what that suite leaves out.

use promql::testing::runner::{run, suite_engine};

#[test]
fn every_script_passes() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts");
    let mut passed = 0;
    for entry in std::fs::read_dir(directory).expect("the directory of scripts") {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("a script can be read");
        let outcome = run(&text, &suite_engine()).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(outcome.failed.is_empty(), "{}: {:#?}", path.display(), outcome.failed);
        passed += outcome.passed;
    }
    assert!(passed > 100, "only {passed} evals were found");
}
