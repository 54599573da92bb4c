//! The YAML of a test file.

use crate::yaml::{Entries, Items, Number, Place, Spanned, UnknownKey, node, read};
use model::labels::Labels;
use model::time::parse_duration;
use std::collections::BTreeMap;

/// The interval of evaluations unless the file says otherwise, in milliseconds.
const INTERVAL_MS: i64 = 60_000;

node! {
    struct FileNode {
        "rule_files" => rule_files: Items<String>,
        "evaluation_interval" => evaluation_interval: Spanned<String>,
        "group_eval_order" => group_eval_order: Items<String>,
        "tests" => tests: Items<TestNode>,
        "fuzzy_compare" => fuzzy_compare: bool,
    }
}

node! {
    struct TestNode {
        "name" => name: String,
        "interval" => interval: Spanned<String>,
        "start_timestamp" => start_timestamp: Spanned<String>,
        "input_series" => input_series: Items<SeriesNode>,
        "external_labels" => external_labels: Entries,
        "external_url" => external_url: String,
        "alert_rule_test" => alert_rule_test: Items<AlertTestNode>,
        "promql_expr_test" => promql_expr_test: Items<ExpressionTestNode>,
    }
}

node! {
    struct SeriesNode {
        "series" => series: String,
        "values" => values: String,
    }
}

node! {
    struct AlertTestNode {
        "eval_time" => eval_time: Spanned<String>,
        "alertname" => alertname: String,
        "exp_alerts" => exp_alerts: Items<ExpectedAlertNode>,
    }
}

node! {
    struct ExpectedAlertNode {
        "exp_labels" => exp_labels: Entries,
        "exp_annotations" => exp_annotations: Entries,
    }
}

node! {
    struct ExpressionTestNode {
        "expr" => expr: String,
        "eval_time" => eval_time: Spanned<String>,
        "exp_samples" => exp_samples: Items<SampleNode>,
    }
}

node! {
    struct SampleNode {
        "labels" => labels: String,
        "value" => value: Number,
        "histogram" => histogram: String,
    }
}

/// A test file whose structure was found to be good; the expressions, series and labels in it were not looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct TestFile {
    /// Patterns of rule files; relative ones begin where the test file is.
    pub rule_files: Vec<String>,
    /// Distance of evaluations in milliseconds, at least 1.
    pub evaluation_interval_ms: i64,
    /// Groups by the order in which they are evaluated; names are distinct.
    pub group_eval_order: Vec<String>,
    /// Values of samples may differ in the last bit.
    pub fuzzy_compare: bool,
    /// The tests, in the order of the file.
    pub tests: Vec<TestGroup>,
}

/// One test: series, and what follows from them.
#[derive(Debug, Clone, PartialEq)]
pub struct TestGroup {
    /// Where it begins.
    pub at: Place,
    /// Its name; `unnamed#` with its position from 0 when it has none.
    pub name: String,
    /// It has a name of its own.
    pub is_named: bool,
    /// Distance of the values of series in milliseconds, at least 1.
    pub interval_ms: i64,
    /// When it begins, in milliseconds since the Unix epoch.
    pub start_ms: i64,
    /// What is there before rules run.
    pub input_series: Vec<InputSeries>,
    /// For templates.
    pub external_labels: BTreeMap<String, String>,
    /// For templates.
    pub external_url: String,
    /// Which alerts fire when.
    pub alert_tests: Vec<AlertTest>,
    /// What expressions return.
    pub expression_tests: Vec<ExpressionTest>,
}

/// A series and its values, both in the notation of promtool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputSeries {
    /// Where it begins.
    pub at: Place,
    /// `name{label="value"}`
    pub series: String,
    /// `1 2+3x4 _ stale …`
    pub values: String,
}

/// Which alerts of a name fire at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertTest {
    /// Where it begins.
    pub at: Place,
    /// Milliseconds after the start.
    pub eval_time_ms: i64,
    /// The name of the alert; may be missing, which is a failure.
    pub alertname: String,
    /// All that fire.
    pub expected: Vec<ExpectedAlert>,
}

/// An alert that is to fire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedAlert {
    /// All labels but `alertname`.
    pub labels: BTreeMap<String, String>,
    /// All annotations.
    pub annotations: BTreeMap<String, String>,
}

/// What an expression returns at a time.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpressionTest {
    /// Where it begins.
    pub at: Place,
    /// The expression.
    pub expr: String,
    /// Milliseconds after the start.
    pub eval_time_ms: i64,
    /// All samples, in any order.
    pub expected: Vec<ExpectedSample>,
}

/// A sample that is to be returned.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpectedSample {
    /// `name{label="value"}`
    pub labels: String,
    /// Its value; 0 for a native histogram.
    pub value: f64,
    /// A native histogram, `{{…}}`; empty for a number.
    pub histogram: String,
}

impl TestFile {
    /// Reads the text of a file; `name` is what errors call it.
    ///
    /// # Errors
    /// Every problem of its structure, with file, line and column.
    pub fn parse(name: &str, text: &str) -> Result<Self, Vec<String>> {
        let node: FileNode = match read(name, text) {
            Ok((node, _)) => node,
            Err((Some(at), problem)) => return Err(vec![format!("{name}:{at}: {problem}")]),
            Err((None, problem)) => return Err(vec![format!("{name}: {problem}")]),
        };
        let mut reader = Reader { name, text, problems: Vec::new() };
        let file = reader.file(node);
        if reader.problems.is_empty() { Ok(file) } else { Err(reader.problems) }
    }
}

struct Reader<'a> {
    name: &'a str,
    text: &'a str,
    problems: Vec<String>,
}

impl Reader<'_> {
    fn report(&mut self, at: Place, problem: &str) {
        self.problems.push(format!("{}:{at}: {problem}", self.name));
    }

    fn unknown(&mut self, unknown: &[UnknownKey]) {
        for UnknownKey { at, message } in unknown {
            let excerpt = crate::yaml::excerpt(self.name, self.text, *at);
            self.report(*at, &format!("{message}\n{excerpt}"));
        }
    }

    /// A duration in milliseconds, 0 when it is missing.
    fn duration(&mut self, text: Option<Spanned<String>>) -> i64 {
        let Some(text) = text else { return 0 };
        parse_duration(&text.value).unwrap_or_else(|error| {
            self.report(text.at, &error.to_string());
            0
        })
    }

    fn file(&mut self, node: FileNode) -> TestFile {
        self.unknown(&node.unknown);
        let evaluation_interval_ms = match self.duration(node.evaluation_interval) {
            0 => INTERVAL_MS,
            interval => interval,
        };
        let mut group_eval_order: Vec<String> = Vec::new();
        for group in node.group_eval_order.into_iter().flatten().flatten() {
            if group_eval_order.contains(&group.value) {
                let problem = format!("group name repeated in evaluation order: {}", group.value);
                self.report(group.at, &problem);
            }
            group_eval_order.push(group.value);
        }
        let tests = node.tests.into_iter().flatten().flatten().enumerate();
        let tests = tests.map(|(number, test)| self.test(number, test, evaluation_interval_ms)).collect();
        TestFile {
            rule_files: node.rule_files.into_iter().flatten().flatten().map(|pattern| pattern.value).collect(),
            evaluation_interval_ms,
            group_eval_order,
            fuzzy_compare: node.fuzzy_compare.unwrap_or(false),
            tests,
        }
    }

    fn test(&mut self, number: usize, node: Spanned<TestNode>, evaluation_interval_ms: i64) -> TestGroup {
        let at = node.at;
        let node = node.value;
        self.unknown(&node.unknown);
        let name = node.name.filter(|name| !name.is_empty());
        let interval_ms = match self.duration(node.interval) {
            0 => evaluation_interval_ms,
            interval => interval,
        };
        let mut input_series = Vec::new();
        for series in node.input_series.into_iter().flatten().flatten() {
            self.unknown(&series.value.unknown);
            let at = series.at;
            let SeriesNode { series, values, .. } = series.value;
            input_series.push(InputSeries {
                at,
                series: series.unwrap_or_default(),
                values: values.unwrap_or_default(),
            });
        }
        TestGroup {
            at,
            is_named: name.is_some(),
            name: name.unwrap_or_else(|| format!("unnamed#{number}")),
            interval_ms,
            start_ms: self.start(node.start_timestamp),
            input_series,
            external_labels: node.external_labels.unwrap_or_default().into_map(),
            external_url: node.external_url.unwrap_or_default(),
            alert_tests: node.alert_rule_test.into_iter().flatten().flatten().map(|test| self.alert(test)).collect(),
            expression_tests: node
                .promql_expr_test
                .into_iter()
                .flatten()
                .flatten()
                .map(|test| self.expression(test))
                .collect(),
        }
    }

    /// RFC 3339 or seconds since the Unix epoch.
    fn start(&mut self, text: Option<Spanned<String>>) -> i64 {
        let Some(text) = text else { return 0 };
        let parsed = match text.value.parse::<f64>() {
            Ok(seconds) if seconds.is_finite() && seconds.abs() < 1e11 => Some((seconds * 1000.0).round() as i64),
            _ => text.value.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond),
        };
        parsed.unwrap_or_else(|| {
            self.report(text.at, &format!("cannot parse {:?} to a valid timestamp", text.value));
            0
        })
    }

    fn alert(&mut self, node: Spanned<AlertTestNode>) -> AlertTest {
        let at = node.at;
        let node = node.value;
        self.unknown(&node.unknown);
        let mut expected = Vec::new();
        // An item that is nothing expects an alert without labels of its own, as in promtool.
        for alert in node.exp_alerts.into_iter().flatten() {
            let alert = alert.map(|alert| alert.value).unwrap_or_default();
            self.unknown(&alert.unknown);
            expected.push(ExpectedAlert {
                labels: alert.exp_labels.unwrap_or_default().into_map(),
                annotations: alert.exp_annotations.unwrap_or_default().into_map(),
            });
        }
        let eval_time_ms = self.duration(node.eval_time);
        AlertTest { at, eval_time_ms, alertname: node.alertname.unwrap_or_default(), expected }
    }

    fn expression(&mut self, node: Spanned<ExpressionTestNode>) -> ExpressionTest {
        let at = node.at;
        let node = node.value;
        self.unknown(&node.unknown);
        let mut expected = Vec::new();
        for sample in node.exp_samples.into_iter().flatten() {
            let sample = sample.map(|sample| sample.value).unwrap_or_default();
            self.unknown(&sample.unknown);
            expected.push(ExpectedSample {
                labels: sample.labels.unwrap_or_default(),
                value: sample.value.map_or(0.0, |Number(value)| value),
                histogram: sample.histogram.unwrap_or_default(),
            });
        }
        let eval_time_ms = self.duration(node.eval_time);
        ExpressionTest { at, expr: node.expr.unwrap_or_default(), eval_time_ms, expected }
    }
}

impl TestGroup {
    /// The labels that templates see.
    pub(super) fn labels(&self) -> Result<Labels, String> {
        Labels::from_pairs(&self.external_labels).map_err(|error| error.to_string())
    }
}
