//! How many tests passed and failed, over all test programs.

use crate::step::Finished;
use std::fmt;

/// Numbers of tests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
}

impl Tally {
    /// Adds every summary line (`test result: ok. 3 passed; 0 failed; …`) of a step. A test program that crashed has no such
    /// line, so a step that ended badly counts as one failure when none was printed.
    pub(crate) fn count(&mut self, step: &Finished) {
        let failed_before = self.failed;
        for line in step.printed.lines().filter(|line| line.starts_with("test result:")) {
            self.passed += number_before(line, " passed");
            self.failed += number_before(line, " failed");
        }
        if !step.success && self.failed == failed_before {
            self.failed += 1;
        }
    }

    /// Adds another tally.
    pub(crate) fn add(&mut self, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

fn number_before(line: &str, word: &str) -> usize {
    let before = line.split(word).next().unwrap_or_default();
    before.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_of_all_programs_are_added() {
        let mut tally = Tally::default();
        let printed = "test a ... ok\ntest result: ok. 3 passed; 0 failed; 1 ignored;\ntest result: FAILED. 4 passed; 2 failed; 0";
        tally.count(&Finished { printed: printed.into(), success: false });
        assert_eq!(tally, Tally { passed: 7, failed: 2 });
    }

    #[test]
    fn a_crash_without_a_summary_is_a_failure() {
        let mut tally = Tally::default();
        tally.count(&Finished { printed: "test result: ok. 3 passed; 0 failed;".into(), success: false });
        assert_eq!(tally, Tally { passed: 3, failed: 1 });
    }
}
