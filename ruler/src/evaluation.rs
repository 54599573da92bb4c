//! Evaluates one rule: queries, then labels, annotations and checks of what came back.
//!
//! All of the CPU time of a rule is spent here, on data that nobody else holds: a group hands out a [`Request`], is free
//! for readers while it is worked on, and takes the [`Evaluation`] back.

use crate::alert_instance::Annotations;
use crate::annotate::{Expansion, Scope, TemplateContext};
use crate::ended::EarlierSeries;
use crate::error::RuleError;
use crate::overlay::overlay;
use crate::ports::{Element, Queries, QueryValue, RuleSample};
use crate::recording::record;
use crate::restore::{ForState, look_up};
use crate::rule::{AlertingRule, Rule, RuleKind};
use hashbrown::HashSet;
use model::labels::{Labels, METRIC_NAME};
use model::time::Timestamp;
use promql::value::SampleValue;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The label that names an alert.
pub const ALERT_NAME: &str = "alertname";

/// One rule to evaluate in one slot.
#[derive(Debug, Clone)]
pub struct Request {
    /// What to evaluate.
    pub rule: Arc<Rule>,
    /// The slot, the time of alert states and of queries in templates.
    pub slot: Timestamp,
    /// The slot minus the query offset, the time of the query and of the samples.
    pub query_at: Timestamp,
    /// Most series of a recording rule; 0 means any number.
    pub limit: u64,
    /// What templates know besides the result.
    pub context: Arc<TemplateContext>,
    /// Look up since when its alerts are active, in series that were written so long ago at most, in milliseconds.
    pub look_back_ms: Option<i64>,
    /// Look up what an earlier process wrote for this rule.
    pub earlier: Option<EarlierSeries>,
}

/// What the evaluation of one rule came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// The outcome.
    pub result: Result<Evaluated, RuleError>,
    /// What became of the templates.
    pub templates: TemplateReport,
    /// What it cost, if somebody counted.
    pub cost: Option<Cost>,
    /// Since when alerts are active as far as series say, if that was looked up.
    pub for_states: Option<Vec<ForState>>,
    /// Series of this rule that an earlier process wrote last, if that was looked up.
    pub written_before: Option<Vec<Labels>>,
    /// How long looking up [`Self::for_states`] took, if somebody measured.
    pub look_up_took: Duration,
}

/// What an evaluation took, queries of templates included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Series that selectors matched.
    pub series: u64,
    /// Samples that were read.
    pub samples: u64,
    /// Time that it took to compute, waiting for its turn not included.
    pub cpu: Duration,
    /// Whether the expression has selectors and none of them matched anything: probably a mistake.
    pub matched_nothing: bool,
}

impl Evaluation {
    /// One that came to nothing.
    #[must_use]
    pub fn failed(error: RuleError) -> Self {
        Self {
            result: Err(error),
            templates: TemplateReport::default(),
            cost: None,
            for_states: None,
            written_before: None,
            look_up_took: Duration::ZERO,
        }
    }
}

/// The results of a rule, ready to be applied.
#[derive(Debug, Clone, PartialEq)]
pub enum Evaluated {
    /// What a recording rule stores; labels are distinct.
    Recorded(Vec<RuleSample>),
    /// What an alerting rule saw; labels are distinct.
    Seen(Vec<SeenAlert>),
}

/// One result of an alerting rule.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenAlert {
    /// The final labels, which identify the alert.
    pub labels: Labels,
    /// The value of the result; 0 if that is a native histogram.
    pub value: f64,
    /// The expanded annotations.
    pub annotations: Annotations,
}

/// Counts expanded templates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TemplateReport {
    /// How many were expanded.
    pub expansions: u64,
    /// How many of them failed.
    pub failures: u64,
    /// The first failure.
    pub first_error: Option<String>,
}

impl Request {
    /// Evaluates the rule; needs nothing but answers to queries.
    #[must_use]
    pub fn evaluate(&self, queries: &dyn Queries) -> Evaluation {
        let mut templates = TemplateReport::default();
        let result = self.results(queries).and_then(|results| match &self.rule.kind {
            RuleKind::Recording => record(&self.rule, results, self.query_at, self.limit).map(Evaluated::Recorded),
            RuleKind::Alerting(alerting) => {
                self.alerts(alerting, results, queries, &mut templates).map(Evaluated::Seen)
            }
        });
        // If that fails it is looked up again with the next evaluation.
        let look_up = |within_ms| look_up(&self.rule, queries, self.query_at, within_ms).ok();
        let looks_up = self.look_back_ms.filter(|_| result.is_ok());
        let since = looks_up.map(|_| queries.elapsed());
        let for_states = looks_up.and_then(look_up);
        let look_up_took = since.map_or(Duration::ZERO, |since| queries.elapsed().saturating_sub(since));
        let written = |own: &EarlierSeries| own.look_up(&own.query().ok()?, queries, self.query_at).ok();
        let written_before = self.earlier.as_ref().filter(|_| result.is_ok()).and_then(written);
        Evaluation { result, templates, cost: None, for_states, look_up_took, written_before }
    }

    fn results(&self, queries: &dyn Queries) -> Result<Vec<Element>, RuleError> {
        match queries.instant(self.rule.query.expr(), self.query_at)? {
            QueryValue::Vector(elements) => Ok(elements),
            QueryValue::Scalar(value) => {
                Ok(vec![Element { labels: Labels::empty(), value: SampleValue::Float(value) }])
            }
            QueryValue::Other => Err(RuleError::NotAVector),
        }
    }

    /// Result labels without the metric's name, then the rule's labels, then the alert's name; annotations see the labels
    /// as they were returned.
    fn alerts(
        &self,
        alerting: &AlertingRule,
        results: Vec<Element>,
        queries: &dyn Queries,
        templates: &mut TemplateReport,
    ) -> Result<Vec<SeenAlert>, RuleError> {
        let mut distinct = HashSet::with_capacity(results.len());
        let mut seen = Vec::with_capacity(results.len());
        for Element { labels, value } in results {
            let mut expansion = Expansion::new(Scope {
                labels: &labels,
                value: &value,
                at: self.slot,
                context: &self.context,
                queries,
            });
            let rule_labels = expansion.expand_all(&alerting.label_templates);
            let annotations: Annotations = expansion.expand_all(&alerting.annotations).into();
            templates.add(expansion.into_report());
            let mut changes = BTreeMap::from([(METRIC_NAME, "")]);
            changes.extend(rule_labels.iter().map(|(name, text)| (&**name, &**text)));
            changes.insert(ALERT_NAME, &self.rule.name);
            let labels = overlay(&labels, &changes);
            if !distinct.insert(labels.clone()) {
                return Err(RuleError::SameAlertLabels);
            }
            let value = match value {
                SampleValue::Float(value) => value,
                SampleValue::Histogram(_) => 0.0,
            };
            seen.push(SeenAlert { labels, value, annotations });
        }
        Ok(seen)
    }
}

impl TemplateReport {
    fn add(&mut self, other: Self) {
        self.expansions += other.expansions;
        self.failures += other.failures;
        if self.first_error.is_none() {
            self.first_error = other.first_error;
        }
    }
}
