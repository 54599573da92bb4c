//! What tests came to, as text for people.

use crate::yaml::Place;
use std::fmt::Write;

/// The outcome of a test file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileReport {
    /// The file, as it was named by the caller.
    pub file: String,
    /// Why none of its tests could run.
    pub problems: Vec<String>,
    /// What the tests that ran came to.
    pub tests: Vec<TestReport>,
}

/// The outcome of one test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestReport {
    /// Its name, or a substitute.
    pub name: String,
    /// Where it begins.
    pub at: Place,
    /// What was not as expected.
    pub failures: Vec<Failure>,
    /// All series at the end, if they were asked for.
    pub series: Vec<String>,
}

/// Something that was not as expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The test could not go on, or one of its parts could not.
    Message {
        /// Where to look.
        at: Place,
        /// Why.
        text: String,
    },
    /// What came out differs.
    Mismatch {
        /// Where the expectation is.
        at: Place,
        /// What was looked at, and when.
        subject: String,
        /// Each thing that was expected, as lines.
        expected: Vec<Vec<String>>,
        /// Each thing that was found, as lines.
        got: Vec<Vec<String>>,
    },
}

impl FileReport {
    /// Whether everything was as expected.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.problems.is_empty() && self.tests.iter().all(|test| test.failures.is_empty())
    }

    /// Everything that was not as expected; with `diff` as what is missing (`-`) and what is too much (`+`).
    #[must_use]
    pub fn failures(&self, diff: bool) -> String {
        let mut text = String::new();
        for problem in &self.problems {
            let _ = writeln!(text, "{problem}");
        }
        for test in &self.tests {
            for failure in &test.failures {
                let at = failure.at();
                let _ = write!(text, "{}:{at}: test {}: ", self.file, model::text::quote(&test.name));
                text.push_str(&failure.text(diff));
                text.push('\n');
            }
        }
        text
    }
}

impl Failure {
    pub(super) fn message(at: Place, text: String) -> Self {
        Self::Message { at, text }
    }

    /// Where to look.
    #[must_use]
    pub fn at(&self) -> Place {
        match self {
            Self::Message { at, .. } | Self::Mismatch { at, .. } => *at,
        }
    }

    /// What is wrong; with `diff` as lines that are missing and lines that are too many.
    #[must_use]
    pub fn text(&self, diff: bool) -> String {
        match self {
            Self::Message { text, .. } => text.clone(),
            Self::Mismatch { subject, expected, got, .. } if diff => {
                format!("{subject},\n    diff (-expected +got):\n{}", difference(expected, got))
            }
            Self::Mismatch { subject, expected, got, .. } => {
                format!("{subject},\n    exp:{}\n    got:{}", list(expected), list(got))
            }
        }
    }
}

fn list(items: &[Vec<String>]) -> String {
    if items.is_empty() {
        return " nothing".to_owned();
    }
    let mut text = String::new();
    for (number, lines) in items.iter().enumerate() {
        for (i, line) in lines.iter().enumerate() {
            let _ = match i {
                0 => write!(text, "\n        {number}: {line}"),
                _ => write!(text, "\n           {line}"),
            };
        }
    }
    text
}

/// Items on both sides stand once, the others with a sign. Items come in order, so that equal ones meet.
fn difference(expected: &[Vec<String>], got: &[Vec<String>]) -> String {
    let mut lines = Vec::new();
    let mut add = |sign: char, item: &[String]| {
        lines.extend(item.iter().map(|line| format!("      {sign} {line}")));
    };
    let mut unclaimed: Vec<&Vec<String>> = got.iter().collect();
    for item in expected {
        match unclaimed.iter().position(|other| *other == item) {
            Some(position) => {
                unclaimed.remove(position);
                add(' ', item);
            }
            None => add('-', item),
        }
    }
    for item in unclaimed {
        add('+', item);
    }
    lines.join("\n")
}
