//! One rule: an expression and what becomes of its results.

use crate::alert_instance::Timing;
use crate::annotate::TextTemplate;
use promql::ast::Expr;
use promql::parse::ParseOptions;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A rule as it was configured. Two rules are equal when Prometheus would print them alike, so that white space in an
/// expression does not make a new rule of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Name of the alert or of the recorded series.
    pub name: String,
    /// What is evaluated.
    pub query: Query,
    /// Labels set on every result, those of the group included; an empty value removes the label. For alerts the values are
    /// the texts of templates.
    pub labels: BTreeMap<String, String>,
    /// What becomes of the results.
    pub kind: RuleKind,
}

/// What becomes of the results of a rule.
#[derive(Debug, Clone, PartialEq)]
pub enum RuleKind {
    /// They are stored under the rule's name.
    Recording,
    /// Each of them is an alert.
    Alerting(AlertingRule),
}

/// Texts to expand for each alert, in ascending order of names.
pub type Templates = Vec<(Arc<str>, TextTemplate)>;

/// What only alerting rules have.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertingRule {
    /// `for` in milliseconds.
    pub hold_ms: i64,
    /// `keep_firing_for` in milliseconds.
    pub keep_firing_ms: i64,
    /// `evaluate: on_ingest`: between slots, too, as soon as samples arrive.
    pub on_ingest: bool,
    /// The rule's labels, parsed.
    pub label_templates: Templates,
    /// What is said about each alert.
    pub annotations: Templates,
}

impl AlertingRule {
    /// The durations that govern its alerts.
    #[must_use]
    pub fn timing(&self) -> Timing {
        Timing { hold_ms: self.hold_ms, keep_firing_ms: self.keep_firing_ms }
    }
}

impl Rule {
    /// Whether a template may ask a query.
    #[must_use]
    pub fn asks_queries(&self) -> bool {
        let asks = |templates: &Templates| templates.iter().any(|(_, text)| text.asks_queries());
        self.alerting().is_some_and(|alerting| asks(&alerting.label_templates) || asks(&alerting.annotations))
    }

    /// What only alerting rules have.
    #[must_use]
    pub fn alerting(&self) -> Option<&AlertingRule> {
        match &self.kind {
            RuleKind::Alerting(alerting) => Some(alerting),
            RuleKind::Recording => None,
        }
    }
}

/// A checked expression with its canonical text.
#[derive(Debug, Clone)]
pub struct Query {
    text: Arc<str>,
    expr: Expr,
}

impl Query {
    /// Parses and checks an expression.
    ///
    /// # Errors
    /// The parser's message, with the position in the expression.
    pub fn parse(text: &str, options: &ParseOptions) -> Result<Self, String> {
        let expr = promql::parse::parse(text, options).map_err(|error| error.to_string())?;
        Ok(Self { text: expr.to_string().into(), expr })
    }

    /// The expression as Prometheus prints it.
    #[must_use]
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// The expression.
    #[must_use]
    pub fn expr(&self) -> &Expr {
        &self.expr
    }
}

impl PartialEq for Query {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}
