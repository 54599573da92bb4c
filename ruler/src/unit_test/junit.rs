//! Reports in the XML of JUnit, which build servers read; same elements as those of `promtool test --junit`.

use super::report::FileReport;
use std::fmt::Write;

/// The document; `now` is when the tests ran, such as `2026-11-28T12:00:00`.
#[must_use]
pub fn document(reports: &[FileReport], now: &str) -> String {
    let mut xml = String::from("<testsuites>");
    for report in reports {
        suite(&mut xml, report, now);
    }
    xml.push_str("</testsuites>\n");
    xml
}

fn suite(xml: &mut String, report: &FileReport, now: &str) {
    // A file that could not be read stands as a test of its own, so that nobody overlooks it.
    let aborted = !report.problems.is_empty();
    let failures: usize = report.tests.iter().map(|test| test.failures.len()).sum();
    let (name, tests) = (escape(&report.file), report.tests.len() + usize::from(aborted));
    let errors = u8::from(aborted);
    let _ = write!(
        xml,
        r#"<testsuite name="{name}" tests="{tests}" failures="{failures}" errors="{errors}" skipped="0" timestamp="{now}">"#
    );
    if aborted {
        let problems = escape(&report.problems.join("\n"));
        let _ = write!(xml, r#"<testcase name="unknown"><error>{problems}</error></testcase>"#);
    }
    for test in &report.tests {
        let _ = write!(xml, r#"<testcase name="{}">"#, escape(&test.name));
        for failure in &test.failures {
            let _ = write!(xml, "<failure>{}:{}: {}</failure>", name, failure.at(), escape(&failure.text(false)));
        }
        xml.push_str("</testcase>");
    }
    xml.push_str("</testsuite>");
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&#34;"),
            '\n' => escaped.push_str("&#xA;"),
            '\t' => escaped.push_str("&#x9;"),
            '\r' => escaped.push_str("&#xD;"),
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}
