//! Runs one test: fills the store step by step, evaluates the groups in each, compares.

use super::document::{AlertTest, ExpectedSample, ExpressionTest, TestFile, TestGroup};
use super::report::{Failure, TestReport};
use super::store::TestStore;
use crate::alert_instance::AlertState;
use crate::annotate::TemplateContext;
use crate::error::QueryError;
use crate::evaluation::{Evaluation, Request};
use crate::group::{Group, GroupEvent, GroupSettings};
use crate::ports::{Discard, Element, Queries, QueryValue, RuleSample};
use crate::restore::ForRestore;
use crate::rule_file::{GroupDefaults, RuleFile};
use crate::state::Departure;
use crate::virtual_slot::{VirtualWorld, evaluate_slot};
use model::labels::Labels;
use model::text::format_value;
use model::time::{Timestamp, format_duration};
use promql::ast::Expr;
use promql::budget::{Budget, BudgetLimits};
use promql::engine::{Engine, EngineOptions, QueryContext};
use promql::parse::{ParseOptions, parse};
use promql::query_error::QueryErrorKind;
use promql::testing::notation::{Item, parse_labels, parse_values, print_histogram};
use promql::value::{QueryValue as Answer, SampleValue, VectorSample};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// Rule files by name, in the order in which they are loaded; or every problem of all of them.
pub type RuleFiles = Result<Vec<(String, RuleFile)>, Vec<String>>;

/// Evaluations of one test are not more than these.
const SLOTS_MAX: i64 = 10_000_000;
/// The delay before an alert is sent again does not matter here: nobody hears of it.
const RESEND_DELAY_MS: i64 = 60_000;

/// Runs one test of `file`; `debug` keeps all series at its end for people to look at.
#[must_use]
pub fn run_test(
    file: &TestFile,
    test: &TestGroup,
    rule_files: &RuleFiles,
    engine: &EngineOptions,
    debug: bool,
) -> TestReport {
    let mut report = TestReport { name: test.name.clone(), at: test.at, failures: Vec::new(), series: Vec::new() };
    match Run::new(file, test, rule_files, engine) {
        Ok(mut run) => {
            run.run();
            report.failures = run.failures;
            if debug {
                report.series = run.world.store.dump();
            }
        }
        Err(failures) => report.failures = failures,
    }
    report
}

struct Run<'a> {
    file: &'a TestFile,
    test: &'a TestGroup,
    groups: Vec<Group>,
    /// The values that have not yet been appended.
    pending: Vec<Pending>,
    world: World,
    failures: Vec<Failure>,
}

struct Pending {
    labels: Labels,
    values: std::vec::IntoIter<Item>,
    next_ms: i64,
}

struct World {
    store: TestStore,
    engine: Engine,
}

impl<'a> Run<'a> {
    fn new(
        file: &'a TestFile,
        test: &'a TestGroup,
        rule_files: &RuleFiles,
        engine: &EngineOptions,
    ) -> Result<Self, Vec<Failure>> {
        let fail = |text: String| Failure::message(test.at, text);
        let pending = pending(test)?;
        let rule_files =
            rule_files.as_ref().map_err(|problems| problems.iter().cloned().map(fail).collect::<Vec<_>>())?;
        let context = TemplateContext {
            external_labels: test.labels().map_err(|error| vec![fail(format!("external_labels: {error}"))])?,
            external_url: test.external_url.as_str().into(),
            parse: ParseOptions::all(),
        };
        let settings = GroupSettings {
            context: Arc::new(context),
            resend_delay_ms: RESEND_DELAY_MS,
            repair_window_ms: 0,
            unknown_max_ms: 0,
            for_restore: ForRestore::default(),
        };
        let defaults = GroupDefaults { interval_ms: test.interval_ms, query_offset_ms: 0 };
        let mut groups = Vec::new();
        for (name, rules) in rule_files {
            let specs = rules.groups.iter().map(|group| group.clone().resolve(name, defaults));
            groups.extend(specs.map(|spec| Group::new(spec, settings.clone())));
        }
        groups.sort_by_key(|group| {
            let named = file.group_eval_order.iter().position(|name| *name == group.spec().name);
            named.unwrap_or(0)
        });
        if let Some(nameless) = test.alert_tests.iter().find(|test| test.alertname.is_empty()) {
            let time = format_duration(nameless.eval_time_ms);
            let problem =
                format!("an item under alert_rule_test misses required attribute alertname at eval_time {time}");
            return Err(vec![Failure::message(nameless.at, problem)]);
        }
        let engine = Engine::new(EngineOptions { subquery_step_ms: file.evaluation_interval_ms, ..engine.clone() });
        let world = World { store: TestStore::default(), engine };
        Ok(Self { file, test, groups, pending, world, failures: Vec::new() })
    }

    fn run(&mut self) {
        let step = self.file.evaluation_interval_ms;
        let expressions = self.test.expression_tests.iter().map(|test| test.eval_time_ms);
        let last = expressions.chain(self.test.alert_tests.iter().map(|test| test.eval_time_ms)).max().unwrap_or(0);
        if last / step > SLOTS_MAX {
            let problem = format!("{} evaluations are more than {SLOTS_MAX}", last / step);
            self.failures.push(Failure::message(self.test.at, problem));
            return;
        }
        let mut alert_tests: BTreeMap<i64, Vec<&AlertTest>> = BTreeMap::new();
        for test in &self.test.alert_tests {
            alert_tests.entry(test.eval_time_ms).or_default().push(test);
        }
        let mut after_ms = 0;
        while after_ms <= last {
            if !self.slot(after_ms) {
                return;
            }
            let due = alert_tests.range(after_ms..after_ms + step);
            let due: Vec<&AlertTest> = due.flat_map(|(_, tests)| tests.iter().copied()).collect();
            for test in due {
                self.check_alerts(test);
            }
            after_ms += step;
        }
        for test in &self.test.expression_tests {
            self.check_expression(test);
        }
    }

    /// Evaluates all groups; `false` when a rule failed, which ends the test.
    fn slot(&mut self, after_ms: i64) -> bool {
        let at_ms = self.test.start_ms.saturating_add(after_ms);
        if let Err(problem) = append_until(&mut self.pending, &mut self.world.store, at_ms, self.test.interval_ms) {
            self.failures.push(Failure::message(self.test.at, problem));
            return true;
        }
        let mut errors = BTreeMap::new();
        for (number, group) in self.groups.iter_mut().enumerate() {
            for event in evaluate_slot(group, Timestamp(at_ms), &mut self.world) {
                match event {
                    GroupEvent::RuleFailed { index, rule, error } => {
                        errors.insert((number, index), (rule, error.to_string()));
                    }
                    GroupEvent::SamplesDiscarded { index, rule, reason, .. } => {
                        errors.insert((number, index), (rule, reason));
                    }
                    _ => {}
                }
            }
        }
        let time = format_duration(at_ms);
        for (rule, error) in errors.values() {
            let problem = format!("rule: {}, time: {time}, err: {error}", rule.name);
            self.failures.push(Failure::message(self.test.at, problem));
        }
        errors.is_empty()
    }

    fn check_alerts(&mut self, test: &AlertTest) {
        let mut got: Vec<AlertText> = Vec::new();
        let rules = self.groups.iter().flat_map(Group::rules);
        for state in rules.filter(|state| state.rule.alerting().is_some() && state.rule.name == test.alertname) {
            let firing =
                state.alerts.active().filter(|(_, instance)| matches!(instance.state, AlertState::Firing { .. }));
            got.extend(firing.map(|(labels, instance)| AlertText {
                labels: labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
                annotations:
                    instance.annotations.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect(),
            }));
        }
        let mut expected: Vec<AlertText> = test
            .expected
            .iter()
            .map(|alert| {
                let mut labels = alert.labels.clone();
                labels.insert("alertname".to_owned(), test.alertname.clone());
                AlertText { labels, annotations: alert.annotations.clone() }
            })
            .collect();
        got.sort();
        expected.sort();
        if got == expected {
            return;
        }
        self.failures.push(Failure::Mismatch {
            at: test.at,
            subject: format!("alertname: {}, time: {}", test.alertname, format_duration(test.eval_time_ms)),
            expected: expected.iter().map(AlertText::lines).collect(),
            got: got.iter().map(AlertText::lines).collect(),
        });
    }

    fn check_expression(&mut self, test: &ExpressionTest) {
        let subject = format!("expr: {}, time: {}", model::text::quote(&test.expr), format_duration(test.eval_time_ms));
        let at_ms = self.test.start_ms.saturating_add(test.eval_time_ms);
        let compared = self.world.query(&test.expr, at_ms).and_then(|mut got| {
            let mut expected = test.expected.iter().map(Sample::parse).collect::<Result<Vec<_>, _>>()?;
            got.sort_by(|a, b| a.labels.cmp(&b.labels));
            expected.sort_by(|a, b| a.labels.cmp(&b.labels));
            Ok((got, expected))
        });
        match compared {
            Err(error) => self.failures.push(Failure::message(test.at, format!("{subject}, err: {error}"))),
            Ok((got, expected)) => {
                let fuzzy = self.file.fuzzy_compare;
                let equal = got.len() == expected.len() && got.iter().zip(&expected).all(|(a, b)| a.equals(b, fuzzy));
                if !equal {
                    let lines = |samples: &[Sample]| samples.iter().map(|sample| vec![sample.to_string()]).collect();
                    let (expected, got) = (lines(&expected), lines(&got));
                    self.failures.push(Failure::Mismatch { at: test.at, subject, expected, got });
                }
            }
        }
    }
}

/// The series of a test; of several with equal labels the last counts.
fn pending(test: &TestGroup) -> Result<Vec<Pending>, Vec<Failure>> {
    let mut failures = Vec::new();
    let mut read = Vec::new();
    for series in &test.input_series {
        let parsed = parse_labels(series.series.trim()).and_then(|(labels, rest)| {
            // In promtool a line ends the values, too.
            if series.values.trim_end().contains('\n') {
                Err("the values go on behind the end of a line".to_owned())
            } else if series.series.trim().is_empty() && !series.values.trim().is_empty() {
                Err("values without a series; the one without labels is `{}`".to_owned())
            } else if rest.trim().is_empty() {
                Ok((labels, parse_values(&series.values)?))
            } else {
                Err(format!("unexpected `{}` after the labels", rest.trim()))
            }
        });
        match parsed {
            Ok((labels, values)) => read.push(Pending { labels, values: values.into_iter(), next_ms: test.start_ms }),
            Err(problem) => failures.push(Failure::message(series.at, format!("series {}: {problem}", series.series))),
        }
    }
    if !failures.is_empty() {
        return Err(failures);
    }
    let mut seen = HashSet::new();
    let mut distinct: Vec<Pending> = read.into_iter().rev().filter(|one| seen.insert(one.labels.clone())).collect();
    distinct.reverse();
    Ok(distinct)
}

/// Appends the values until `at_ms`; they are `interval_ms` apart.
fn append_until(pending: &mut [Pending], store: &mut TestStore, at_ms: i64, interval_ms: i64) -> Result<(), String> {
    for Pending { labels, values, next_ms } in pending {
        while *next_ms <= at_ms
            && let Some(item) = values.next()
        {
            let value = match item {
                Item::Gap => None,
                Item::Float(value) => Some(SampleValue::Float(value)),
                Item::Histogram { histogram, .. } => Some(SampleValue::Histogram(histogram)),
            };
            if let Some(value) = value {
                store.append(labels, *next_ms, &value).map_err(|refusal| format!("series {labels}: {refusal}"))?;
            }
            *next_ms = next_ms.saturating_add(interval_ms);
        }
    }
    Ok(())
}

impl World {
    fn query(&self, expr: &str, at_ms: i64) -> Result<Vec<Sample>, String> {
        let expr = parse(expr, &ParseOptions::all()).map_err(|error| error.to_string())?;
        match self.instant(&expr, Timestamp(at_ms)).map_err(|error| error.to_string())? {
            QueryValue::Vector(elements) => {
                Ok(elements.into_iter().map(|Element { labels, value }| Sample::new(labels, &value)).collect())
            }
            QueryValue::Scalar(value) => Ok(vec![Sample { labels: Labels::empty(), value, histogram: String::new() }]),
            QueryValue::Other => Err("rule result is not a vector or scalar".to_owned()),
        }
    }
}

impl Queries for World {
    fn instant(&self, expr: &Expr, at: Timestamp) -> Result<QueryValue, QueryError> {
        let budget = Budget::new(BudgetLimits::default());
        let result = self.engine.instant(expr, at.0, &QueryContext::new(&self.store, &budget)).map_err(|error| {
            let message = error.to_string();
            match error.kind() {
                QueryErrorKind::BadData | QueryErrorKind::Execution => QueryError::Invalid(message),
                _ => QueryError::Unavailable(message),
            }
        })?;
        Ok(match result.value {
            Answer::Scalar { value, .. } => QueryValue::Scalar(value),
            Answer::Vector { samples, .. } => {
                let element = |VectorSample { labels, value }| Element { labels, value };
                QueryValue::Vector(samples.into_iter().map(element).collect())
            }
            Answer::String { .. } | Answer::Matrix(_) => QueryValue::Other,
        })
    }
}

impl VirtualWorld for World {
    fn evaluate(&mut self, request: &Request) -> Evaluation {
        request.evaluate(self)
    }

    fn append(&mut self, samples: Vec<RuleSample>) -> Vec<(usize, Discard)> {
        let mut refused = Vec::new();
        for (index, RuleSample { labels, at, value }) in samples.into_iter().enumerate() {
            if let Err(discard) = self.store.append(&labels, at.0, &value) {
                refused.push((index, discard));
            }
        }
        refused
    }

    fn send(&mut self, _departure: &Departure) {}
}

/// An alert with everything that is compared.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct AlertText {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

impl AlertText {
    fn lines(&self) -> Vec<String> {
        let pairs = |map: &BTreeMap<String, String>| {
            let pairs: Vec<String> =
                map.iter().map(|(name, value)| format!("{name}={}", model::text::quote(value))).collect();
            format!("{{{}}}", pairs.join(", "))
        };
        vec![format!("Labels:{}", pairs(&self.labels)), format!("Annotations:{}", pairs(&self.annotations))]
    }
}

/// A sample with everything that is compared.
#[derive(Debug)]
struct Sample {
    labels: Labels,
    /// 0 for a native histogram.
    value: f64,
    /// The notation of a native histogram; empty for a number.
    histogram: String,
}

impl Sample {
    fn new(labels: Labels, value: &SampleValue) -> Self {
        match value {
            SampleValue::Float(value) => Self { labels, value: *value, histogram: String::new() },
            SampleValue::Histogram(histogram) => Self { labels, value: 0.0, histogram: print_histogram(histogram) },
        }
    }

    fn parse(sample: &ExpectedSample) -> Result<Self, String> {
        let quoted = model::text::quote(&sample.labels);
        let (labels, rest) = parse_labels(sample.labels.trim()).map_err(|error| format!("labels {quoted}: {error}"))?;
        if !rest.trim().is_empty() {
            return Err(format!("labels {quoted}: unexpected `{}`", rest.trim()));
        }
        if sample.histogram.is_empty() {
            return Ok(Self { labels, value: sample.value, histogram: String::new() });
        }
        let values = parse_values(&sample.histogram).map_err(|error| format!("labels {quoted}: {error}"))?;
        match values.as_slice() {
            [Item::Histogram { histogram, .. }] => {
                Ok(Self { labels, value: sample.value, histogram: print_histogram(histogram) })
            }
            [_] => Err(format!("labels {quoted}: expected histogram, got {}", sample.histogram)),
            values => Err(format!("labels {quoted}: expected 1 value, got {}", values.len())),
        }
    }

    /// Numbers are equal as Go compares them, so that NaN differs from itself; `fuzzy` allows one step between them.
    fn equals(&self, other: &Self, fuzzy: bool) -> bool {
        let (a, b) = (self.value, other.value);
        let equal_values = a == b || (fuzzy && (a.next_up() == b || a.next_down() == b));
        self.labels == other.labels && self.histogram == other.histogram && equal_values
    }
}

impl std::fmt::Display for Sample {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.histogram.is_empty() {
            write!(f, "{} {}", self.labels, format_value(self.value))
        } else {
            write!(f, "{} {}", self.labels, self.histogram)
        }
    }
}
