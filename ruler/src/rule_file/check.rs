//! Finds everything that is wrong with the groups of a file.
//!
//! Invariant: a group is returned only when nothing at all is wrong with the file.

use super::document::{Document, GroupNode, RuleNode};
use super::{FileGroup, Place, Problem, ReadOptions, RuleFileError, RulePlaces, RuleReference, SourceTenant};
use crate::alerting::LimitMode;
use crate::annotate::TextTemplate;
use crate::rule::{AlertingRule, Query, Rule, RuleKind, Templates};
use crate::rule_state::{AlertPolicy, OnError};
use crate::yaml::{Entries, Spanned, UnknownKey, excerpt};
use model::labels::{METRIC_NAME, is_legacy_label_name, is_legacy_metric_name};
use model::time::parse_duration;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

pub(super) fn check(
    file: &str,
    text: &str,
    document: Document,
    options: &ReadOptions<'_>,
) -> Result<Vec<FileGroup>, Vec<RuleFileError>> {
    let mut checker = Checker { file, text, options, rule: None, errors: Vec::new() };
    checker.unknown_keys(&document.unknown);
    let mut names = HashSet::new();
    let mut groups = Vec::new();
    for group in document.groups.into_iter().flatten().flatten() {
        let at = group.at;
        checker.unknown_keys(&group.value.unknown);
        let name = group.value.name.as_ref().map_or("", |name| name.value.as_str());
        if name.is_empty() {
            checker.report([at], Problem::EmptyGroupName);
        }
        if !names.insert(name.to_owned()) {
            checker.report([at], Problem::RepeatedGroupName(name.to_owned()));
        }
        groups.push(checker.group(group.value, at));
    }
    if checker.errors.is_empty() { Ok(groups) } else { Err(checker.errors) }
}

impl RulePlaces {
    fn of(rule: &Spanned<RuleNode>) -> Self {
        let at = rule.at;
        let names = |entries: &Option<Entries>| -> Vec<(String, Place)> {
            entries.iter().flat_map(|entries| &entries.0).map(|entry| (entry.name.clone(), entry.value_at)).collect()
        };
        let RuleNode { expr, hold, labels, annotations, .. } = &rule.value;
        Self {
            at,
            expr: expr.as_ref().map_or(at, |expr| expr.at),
            hold: hold.as_ref().map(|hold| hold.at),
            labels: names(labels),
            annotations: names(annotations),
        }
    }
}

struct Checker<'a> {
    file: &'a str,
    text: &'a str,
    options: &'a ReadOptions<'a>,
    /// The rule that is being checked.
    rule: Option<RuleReference>,
    errors: Vec<RuleFileError>,
}

impl Checker<'_> {
    fn report(&mut self, places: impl IntoIterator<Item = Place>, problem: Problem) {
        let places = places.into_iter().collect();
        self.errors.push(RuleFileError { file: self.file.to_owned(), places, rule: self.rule.clone(), problem });
    }

    fn unknown_keys(&mut self, unknown: &[UnknownKey]) {
        for UnknownKey { at, message } in unknown.iter().filter(|_| !self.options.ignore_unknown_fields) {
            let excerpt = excerpt(self.file, self.text, *at);
            self.report([*at], Problem::Yaml(format!("{message}\n{excerpt}")));
        }
    }

    fn group(&mut self, group: GroupNode, at: Place) -> FileGroup {
        let name = group.name.map_or_else(String::new, |name| name.value);
        let interval_ms = self.duration(group.interval);
        let query_offset_ms = self.query_offset(group.query_offset, group.evaluation_delay);
        let evaluation = group.evaluation.unwrap_or_default();
        self.unknown_keys(&evaluation.unknown);
        let wait_for_ingest_ms = self.duration(evaluation.wait_for_ingest).unwrap_or(0);
        let labels = group.labels.unwrap_or_default();
        self.label_names(&labels);
        let labels = labels.into_map();
        let (mut rules, mut places) = (Vec::new(), Vec::new());
        for (i, rule) in group.rules.into_iter().flatten().flatten().enumerate() {
            let rule_name = rule.value.alert.as_ref().filter(|alert| !alert.value.is_empty());
            let rule_name = rule_name.or(rule.value.record.as_ref()).map_or("", |name| name.value.as_str());
            self.rule = Some(RuleReference { group: name.clone(), number: i + 1, name: rule_name.to_owned() });
            let rule_places = RulePlaces::of(&rule);
            if let Some(rule) = self.rule(rule, &labels) {
                rules.push(Arc::new(rule));
                places.push(rule_places);
            }
            self.rule = None;
        }
        let policy = AlertPolicy {
            on_error: self.word(group.on_error, "on_error", "keep, resolve", &[OnError::Keep, OnError::Resolve]),
            limit_mode: self.word(
                group.limit_mode,
                "limit_mode",
                "error, truncate",
                &[LimitMode::Error, LimitMode::Truncate],
            ),
        };
        let source_tenants = group.source_tenants.into_iter().flatten().flatten();
        FileGroup {
            name,
            at,
            interval_ms,
            query_offset_ms,
            limit: group.limit.map_or(0, |limit| limit.0),
            policy,
            wait_for_ingest_ms,
            aligned: group.aligned.unwrap_or(false),
            source_tenants: source_tenants.map(|tenant| SourceTenant { at: tenant.at, name: tenant.value }).collect(),
            rules,
            places,
        }
    }

    /// The query offset under either of its names; both are fine as long as they agree.
    fn query_offset(&mut self, offset: Option<Spanned<String>>, delay: Option<Spanned<String>>) -> Option<i64> {
        let places = [&offset, &delay].map(|text| text.as_ref().map(|text| text.at));
        let (offset_ms, delay_ms) = (self.duration(offset), self.duration(delay));
        if let (Some(offset_ms), Some(delay_ms)) = (offset_ms, delay_ms)
            && offset_ms != delay_ms
        {
            self.report(places.into_iter().flatten(), Problem::TwoQueryOffsets);
        }
        offset_ms.or(delay_ms)
    }

    /// The value that a word means: words and values are in the same order, the first is the default.
    fn word<T: Copy + Default>(
        &mut self,
        word: Option<Spanned<String>>,
        field: &'static str,
        allowed: &'static str,
        values: &[T],
    ) -> T {
        let Some(word) = word.filter(|word| !word.value.is_empty()) else { return T::default() };
        let found = allowed.split(", ").zip(values).find(|(name, _)| *name == word.value);
        if found.is_none() {
            self.report([word.at], Problem::Word { field, allowed, found: word.value });
        }
        found.map(|(_, value)| *value).unwrap_or_default()
    }

    /// The rule, or `None` when it was reported to be wrong; something may also be wrong with a rule that is returned.
    fn rule(&mut self, rule: Spanned<RuleNode>, group_labels: &BTreeMap<String, String>) -> Option<Rule> {
        let at = rule.at;
        let rule = rule.value;
        self.unknown_keys(&rule.unknown);
        let hold_ms = self.duration(rule.hold).unwrap_or(0);
        let keep_firing_ms = self.duration(rule.keep_firing_for).unwrap_or(0);
        let evaluate = rule.evaluate.filter(|evaluate| !evaluate.value.is_empty());
        if let Some(evaluate) = evaluate.as_ref().filter(|evaluate| evaluate.value != "on_ingest") {
            self.report([evaluate.at], Problem::Evaluate(evaluate.value.clone()));
        }
        let on_ingest = evaluate.is_some();
        let record = rule.record.filter(|name| !name.value.is_empty());
        let alert = rule.alert.filter(|name| !name.value.is_empty());
        match (&record, &alert) {
            (Some(record), Some(alert)) => {
                self.report([record.at, alert.at], Problem::RecordAndAlert);
            }
            (None, None) => self.report([at], Problem::NeitherRecordNorAlert),
            _ => {}
        }
        let query = self.query(rule.expr, at);
        if let Some(record) = &record {
            let annotated = rule.annotations.as_ref().is_some_and(|annotations| !annotations.0.is_empty());
            self.recording(record, annotated, on_ingest, hold_ms, keep_firing_ms);
        }
        let own = rule.labels.unwrap_or_default();
        self.label_names(&own);
        let annotations = rule.annotations.unwrap_or_default();
        self.annotation_names(&annotations);
        let mut labels = group_labels.clone();
        labels.extend(own.0.iter().map(|entry| (entry.name.clone(), entry.value.clone())));
        let Some(alert) = alert else {
            return Some(Rule { name: record?.value, query: query?, labels, kind: RuleKind::Recording });
        };
        self.templates(&alert.value, &own, |name, error| Problem::LabelTemplate { name, error });
        self.templates(&alert.value, &annotations, |name, error| Problem::AnnotationTemplate { name, error });
        let templates = |texts: &BTreeMap<String, String>| -> Templates {
            texts.iter().map(|(name, text)| (name.as_str().into(), TextTemplate::new(&alert.value, text))).collect()
        };
        let label_templates = templates(&labels);
        let annotations = templates(&annotations.into_map());
        let kind =
            RuleKind::Alerting(AlertingRule { hold_ms, keep_firing_ms, on_ingest, label_templates, annotations });
        Some(Rule { name: alert.value, query: query?, labels, kind })
    }

    fn duration(&mut self, text: Option<Spanned<String>>) -> Option<i64> {
        let text = text?;
        parse_duration(&text.value).map_err(|error| self.report([text.at], error.into())).ok()
    }

    fn query(&mut self, expr: Option<Spanned<String>>, rule_at: Place) -> Option<Query> {
        let at = expr.as_ref().map_or(rule_at, |expr| expr.at);
        let Some(expr) = expr.filter(|expr| !expr.value.is_empty()) else {
            self.report([at], Problem::NoExpression);
            return None;
        };
        Query::parse(&expr.value, self.options.parse)
            .map_err(|error| self.report([at], Problem::Expression(error)))
            .ok()
    }

    /// What a recording rule must not have.
    fn recording(
        &mut self,
        record: &Spanned<String>,
        annotated: bool,
        on_ingest: bool,
        hold_ms: i64,
        keep_firing_ms: i64,
    ) {
        let at = record.at;
        let fields = [("annotations", annotated), ("for", hold_ms != 0), ("keep_firing_for", keep_firing_ms != 0)];
        let fields = fields.into_iter().chain([("evaluate", on_ingest)]);
        for (field, _) in fields.filter(|(_, present)| *present) {
            self.report([at], Problem::FieldOfAlertingRule(field));
        }
        if self.options.legacy_names && !is_legacy_metric_name(&record.value) {
            self.report([at], Problem::RecordName(record.value.clone()));
        }
        if record.value.contains(['{', '}']) {
            self.report([at], Problem::BracesInRecordName(record.value.clone()));
        }
    }

    fn is_name(&self, name: &str) -> bool {
        if self.options.legacy_names { is_legacy_label_name(name) } else { !name.is_empty() }
    }

    fn label_names(&mut self, labels: &Entries) {
        for entry in
            labels.0.iter().filter(|entry| entry.name == METRIC_NAME || !self.is_name(&entry.name)).collect::<Vec<_>>()
        {
            self.report([entry.name_at], Problem::LabelName(entry.name.clone()));
        }
    }

    fn annotation_names(&mut self, annotations: &Entries) {
        for entry in annotations.0.iter().filter(|entry| !self.is_name(&entry.name)).collect::<Vec<_>>() {
            self.report([entry.name_at], Problem::AnnotationName(entry.name.clone()));
        }
    }

    /// Templates must parse. Those of a group's labels are not looked at: like Prometheus, we find out when they expand.
    fn templates(&mut self, alert: &str, texts: &Entries, problem: fn(String, String) -> Problem) {
        for entry in &texts.0 {
            if let Some(error) = TextTemplate::new(alert, &entry.value).error() {
                self.report([entry.value_at], problem(entry.name.clone(), error.to_owned()));
            }
        }
    }
}
