//! Templates of alerting rules: Prometheus' functions and variables, and the texts its users know.
//!
//! A rule's labels and annotations are checked once, when it is loaded ([`AlertTemplate::parse`]), and expanded for every
//! alert. Queries are answered by the caller, at the time of the evaluation.

mod data;
mod environment;
mod functions;
mod humanize;
mod net;
mod title;

use crate::call::FunctionNames;
use crate::error::{Error, ErrorKind};
use crate::template::{Options, Template};
use crate::value::Value;
use data::RootData;
use environment::{Environment, FUNCTION_NAMES, RegexCache};
use model::labels::Labels;
use std::sync::Arc;

/// What every template of a rule begins with.
const PRELUDE: &str =
    "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}{{$externalURL := .ExternalURL}}{{$value := .Value}}";

/// One series of a query's answer.
#[derive(Debug, Clone)]
pub struct Sample {
    /// With the name of the metric.
    pub labels: Labels,
    /// A float, or a native histogram as an object that prints itself.
    pub value: Value,
}

/// Answers a template's `query`: the instant vector of an expression at the time of the evaluation, or why there is none.
pub type QueryFn<'a> = dyn Fn(&str) -> Result<Vec<Sample>, String> + 'a;

/// What a rule's evaluation says about one alert.
#[derive(Debug, Clone)]
pub struct AlertTemplateData {
    /// Labels of the result, before the rule's own labels.
    pub labels: Labels,
    /// Labels that this server adds to what it sends away.
    pub external_labels: Labels,
    /// Where users reach this server.
    pub external_url: Arc<str>,
    /// A float, or a native histogram as an object that prints itself.
    pub value: Value,
}

/// Why a label or annotation could not be expanded. Prints as in Prometheus.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    /// The text is no template.
    #[error("error parsing template {name}: {0}", name = .0.template())]
    Parse(Error),
    /// The template failed with this data, or reached a bound.
    #[error("error executing template {name}: {0}", name = .0.template())]
    Execute(Error),
}

impl ExpandError {
    /// Which part failed.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Parse(error) | Self::Execute(error) => error.kind(),
        }
    }
}

/// A checked label value or annotation of an alerting rule. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AlertTemplate {
    content: Content,
}

#[derive(Debug, Clone)]
enum Content {
    /// A text without actions expands to itself.
    Plain(Arc<str>),
    Template(Template, Arc<RegexCache>),
}

impl AlertTemplate {
    /// Checks `text`, a label value or annotation of the alert `alert_name`.
    ///
    /// # Errors
    /// Whatever can be known to be wrong without data; the line is that of `text`. Columns of its first line count from
    /// behind what every such template begins with, so that they, too, are those of `text`.
    pub fn parse(alert_name: &str, text: &str) -> Result<Self, Error> {
        if !text.contains("{{") {
            return Ok(Self { content: Content::Plain(Arc::from(text)) });
        }
        let template = Template::parse(&format!("__alert_{alert_name}"), &[PRELUDE, text].concat(), FUNCTION_NAMES);
        let template = template.map_err(|mut error| {
            if error.line == 1 {
                error.column = error.column.saturating_sub(PRELUDE.len() as u32);
            }
            error
        })?;
        Ok(Self { content: Content::Template(template, Arc::default()) })
    }

    /// Expands the template for one alert; `now_ms` is the time of the evaluation.
    ///
    /// # Errors
    /// What the template does not get on with in this data, a query that fails, or a bound that was reached. The alert is
    /// then sent with [`error_text`] in place of the text.
    pub fn expand(&self, data: &AlertTemplateData, query: &QueryFn<'_>, now_ms: i64) -> Result<String, ExpandError> {
        let (template, regexes) = match &self.content {
            Content::Plain(text) => return Ok(text.to_string()),
            Content::Template(template, regexes) => (template, regexes),
        };
        let environment = Environment { query, external_url: &data.external_url, now_ms, regexes };
        let options = Options::default();
        template.execute(Value::object(RootData::new(data)), &environment, &options).map_err(ExpandError::Execute)
    }
}

/// Checks and expands in one go, for texts that are used once.
///
/// # Errors
/// As for [`AlertTemplate::parse`] and [`AlertTemplate::expand`].
pub fn expand(
    alert_name: &str,
    text: &str,
    data: &AlertTemplateData,
    query: &QueryFn<'_>,
    now_ms: i64,
) -> Result<String, ExpandError> {
    AlertTemplate::parse(alert_name, text).map_err(ExpandError::Parse)?.expand(data, query, now_ms)
}

/// What stands in an alert in place of a text that could not be expanded.
#[must_use]
pub fn error_text(error: &ExpandError) -> String {
    format!("<error expanding template: {error}>")
}

/// The functions that rules may call, beside the built-in ones.
#[must_use]
pub fn function_names() -> FunctionNames<'static> {
    FUNCTION_NAMES
}
