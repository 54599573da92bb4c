//! Lints that compare a rule with the data.

use super::{Findings, Lint};
use promql::ast::{Expr, VectorSelector};
use std::collections::BTreeSet;

/// What the data say. `None` means that it is not known.
pub trait Facts {
    /// Whether any series matched `selector` lately.
    fn has_data(&self, selector: &str) -> Option<bool>;

    /// The type of a metric as its metadata say: `counter`, `gauge`, `histogram`, `summary` …
    fn metric_type(&self, metric: &str) -> Option<String>;
}

/// `recorded` are the series that rules of the file write: they need not be there yet.
pub(super) fn check(findings: &mut Findings<'_>, facts: &dyn Facts, recorded: &BTreeSet<&str>) {
    let expr = findings.rule.query.expr();
    let mut in_absent: Vec<*const VectorSelector> = Vec::new();
    for node in expr.nodes() {
        let Expr::Call(call) = node else { continue };
        let Some(argument) = call.args.first() else { continue };
        if matches!(call.function.name, "absent" | "absent_over_time") {
            in_absent.extend(argument.selectors().map(std::ptr::from_ref));
        }
        let Expr::MatrixSelector(matrix) = argument else { continue };
        let Some(metric) = &matrix.selector.name else { continue };
        let (function, kind) = (call.function.name, facts.metric_type(metric));
        match (function, kind.as_deref()) {
            ("rate" | "irate" | "increase" | "resets", Some("gauge")) => {
                let message = format!("{function} of {metric}, which is a gauge: a value that falls counts as a reset");
                findings.of_expression(Lint::RateOfGauge, message);
            }
            ("delta" | "idelta" | "deriv" | "predict_linear", Some("counter")) => {
                let message = format!("{function} of {metric}, which is a counter: a reset counts as a fall");
                findings.of_expression(Lint::DeltaOfCounter, message);
            }
            _ => {}
        }
    }
    let mut asked = BTreeSet::new();
    for selector in expr.selectors().filter(|selector| !in_absent.contains(&std::ptr::from_ref(*selector))) {
        let name = selector.name.as_deref().unwrap_or_default();
        // Alerts come and go.
        if recorded.contains(name) || matches!(name, "ALERTS" | "ALERTS_FOR_STATE") {
            continue;
        }
        let bare = VectorSelector { offset: None, at: None, anchored: false, smoothed: false, ..selector.clone() };
        let text = Expr::VectorSelector(bare).to_string();
        if asked.insert(text.clone()) && facts.has_data(&text) == Some(false) {
            findings.of_expression(Lint::NoData, format!("no series matches `{text}`"));
        }
    }
}
