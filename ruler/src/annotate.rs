//! Expands the templates in labels and annotations of alerting rules.
//!
//! A template that fails never silences its alert: the error stands in the place of the text, and is counted.

mod histogram;

use crate::error::RuleError;
use crate::evaluation::TemplateReport;
use crate::ports::{Element, Queries, QueryValue};
use crate::rule::Templates;
use model::labels::Labels;
use model::time::Timestamp;
use promql::parse::{ParseOptions, parse};
use promql::value::SampleValue;
use std::sync::Arc;
use template::Value;
use template::prometheus::{AlertTemplate, AlertTemplateData, ExpandError, Sample, error_text};

/// What templates know besides the result of the rule.
#[derive(Debug, Clone, PartialEq)]
pub struct TemplateContext {
    /// `$externalLabels`
    pub external_labels: Labels,
    /// `$externalURL`, without a slash at the end.
    pub external_url: Arc<str>,
    /// Which parts of PromQL queries in templates may use.
    pub parse: ParseOptions,
}

/// The text of a label or annotation. Equal when the text is.
#[derive(Debug, Clone)]
pub struct TextTemplate {
    source: Arc<str>,
    form: Form,
    asks_queries: bool,
}

#[derive(Debug, Clone)]
enum Form {
    /// Without actions: expands to itself, and is shared by all alerts.
    Plain,
    Template(AlertTemplate),
    Broken(ExpandError, Arc<str>),
}

impl TextTemplate {
    /// Parses the text of a label or annotation of `alert`. What cannot be parsed fails whenever it is expanded.
    #[must_use]
    pub fn new(alert: &str, text: &str) -> Self {
        let form = if !text.contains("{{") {
            Form::Plain
        } else {
            match AlertTemplate::parse(alert, text) {
                Ok(template) => Form::Template(template),
                Err(error) => {
                    let message = error.to_string().into();
                    Form::Broken(ExpandError::Parse(error), message)
                }
            }
        };
        let asks_queries = !matches!(form, Form::Plain) && text.contains("query");
        Self { source: text.into(), form, asks_queries }
    }

    /// The text as configured.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it may ask a query.
    pub(crate) fn asks_queries(&self) -> bool {
        self.asks_queries
    }

    /// Why it cannot be parsed.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        match &self.form {
            Form::Broken(_, message) => Some(message),
            Form::Plain | Form::Template(_) => None,
        }
    }
}

impl PartialEq for TextTemplate {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

/// What the templates of one alert see.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'a> {
    /// The labels of the result, as returned.
    pub(crate) labels: &'a Labels,
    pub(crate) value: &'a SampleValue,
    /// The time of queries in templates.
    pub(crate) at: Timestamp,
    pub(crate) context: &'a TemplateContext,
    pub(crate) queries: &'a dyn Queries,
}

/// Expands the templates of one alert and counts.
pub(crate) struct Expansion<'a> {
    at: Timestamp,
    data: AlertTemplateData,
    queries: TemplateQueries<'a>,
    report: TemplateReport,
}

impl<'a> Expansion<'a> {
    pub(crate) fn new(scope: Scope<'a>) -> Self {
        let Scope { labels, value, at, context, queries } = scope;
        let data = AlertTemplateData {
            labels: labels.clone(),
            external_labels: context.external_labels.clone(),
            external_url: context.external_url.clone(),
            value: template_value(value),
        };
        let queries = TemplateQueries { queries, at, options: &context.parse };
        Self { at, data, queries, report: TemplateReport::default() }
    }

    pub(crate) fn into_report(self) -> TemplateReport {
        self.report
    }

    /// The texts by name, in the same order.
    pub(crate) fn expand_all(&mut self, templates: &Templates) -> Vec<(Arc<str>, Arc<str>)> {
        templates.iter().map(|(name, text)| (name.clone(), self.expand(text))).collect()
    }

    fn expand(&mut self, text: &TextTemplate) -> Arc<str> {
        let expanded = match &text.form {
            Form::Plain => return text.source.clone(),
            Form::Template(template) => template.expand(&self.data, &|query| self.queries.answer(query), self.at.0),
            Form::Broken(error, _) => Err(error.clone()),
        };
        self.report.expansions += 1;
        expanded.map_or_else(
            |error| {
                self.report.failures += 1;
                self.report.first_error.get_or_insert_with(|| error.to_string());
                error_text(&error).into()
            },
            Into::into,
        )
    }
}

/// Answers `query` in templates.
struct TemplateQueries<'a> {
    queries: &'a dyn Queries,
    at: Timestamp,
    options: &'a ParseOptions,
}

impl TemplateQueries<'_> {
    fn answer(&self, text: &str) -> Result<Vec<Sample>, String> {
        let expr = parse(text, self.options).map_err(|error| error.to_string())?;
        let value = self.queries.instant(&expr, self.at).map_err(|error| error.to_string())?;
        let elements = match value {
            QueryValue::Vector(elements) => elements,
            QueryValue::Scalar(value) => {
                vec![Element { labels: Labels::empty(), value: SampleValue::Float(value) }]
            }
            QueryValue::Other => return Err(RuleError::NotAVector.to_string()),
        };
        let sample = |Element { labels, value }| Sample { labels, value: template_value(&value) };
        Ok(elements.into_iter().map(sample).collect())
    }
}

fn template_value(value: &SampleValue) -> Value {
    match value {
        SampleValue::Float(value) => Value::Float(*value),
        SampleValue::Histogram(histogram) => histogram::template_value(histogram.clone()),
    }
}
