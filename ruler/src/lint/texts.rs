//! Lints of the templates in labels and annotations.

use super::result_labels::result_labels;
use super::{Findings, Lint};
use crate::rule_file::Place;
use std::collections::BTreeSet;

/// Finds labels that texts use and the expression does not return.
pub(super) fn check(findings: &mut Findings<'_>) {
    let Some(alerting) = findings.rule.alerting() else { return };
    let possible = result_labels(findings.rule.query.expr());
    let texts =
        [(&alerting.label_templates, &findings.places.labels), (&alerting.annotations, &findings.places.annotations)];
    let mut missing: Vec<(Place, String)> = Vec::new();
    for (templates, places) in texts {
        for (name, at) in places {
            let Some((_, template)) = templates.iter().find(|(known, _)| **known == **name) else { continue };
            for label in labels_of(template.source()).into_iter().filter(|label| !possible.may_contain(label)) {
                let own = if findings.rule.labels.contains_key(label) {
                    ", and the rule's own labels are not among them"
                } else {
                    ""
                };
                missing
                    .push((*at, format!("{name:?} uses $labels.{label}, which the expression does not return{own}")));
            }
        }
    }
    for (at, message) in missing {
        findings.report(Lint::MissingLabel, at, message);
    }
}

/// The names behind `$labels.`, and behind `.Labels.` where that cannot be a label of something else.
fn labels_of(text: &str) -> BTreeSet<&str> {
    let mut labels = BTreeSet::new();
    for action in text.split("{{").skip(1).filter_map(|rest| rest.split("}}").next()) {
        let changes_dot = ["range", "with", "define", "block"].iter().any(|word| text.contains(word));
        let marks = if changes_dot { &["$labels."][..] } else { &["$labels.", " .Labels."] };
        for mark in marks {
            for rest in action.split(mark).skip(1) {
                let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
                labels.insert(&rest[..end]);
            }
        }
    }
    labels
}
