//! Which series of two vectors belong together, for the naive evaluator.

use crate::naive::{Element, Failed, Result};
use model::labels::Labels;
use promql::ast::*;

pub(crate) fn unique(elements: &[Element]) -> Result<()> {
    let clash = (1..elements.len()).any(|i| elements[..i].iter().any(|other| other.labels == elements[i].labels));
    if clash { Err(Failed) } else { Ok(()) }
}

pub(crate) fn absent_labels(selector: &VectorSelector) -> Labels {
    let mut labels = Labels::empty();
    let mut seen: Vec<&str> = Vec::new();
    for matcher in &selector.matchers {
        if matcher.name() == "__name__" {
            continue;
        }
        if matcher.op() == model::matcher::MatchOp::Equal && !seen.contains(&matcher.name()) {
            seen.push(matcher.name());
            labels = labels.with(matcher.name(), matcher.value());
        } else {
            labels = labels.with(matcher.name(), "");
        }
    }
    labels
}

pub(crate) fn signature(labels: &Labels, matching: &VectorMatching) -> Labels {
    let listed = |name: &str| matching.labels.iter().any(|listed| listed == name);
    labels.filter(|name| if matching.on { listed(name) } else { !listed(name) && name != "__name__" })
}

pub(crate) fn set(op: BinaryOp, lhs: Vec<Element>, rhs: Vec<Element>, matching: &VectorMatching) -> Vec<Element> {
    let key = |element: &Element| signature(&element.labels, matching);
    let keys = |side: &[Element]| side.iter().map(key).collect::<Vec<_>>();
    match op {
        BinaryOp::And => {
            let right = keys(&rhs);
            lhs.into_iter().filter(|element| right.contains(&key(element))).collect()
        }
        BinaryOp::Unless => {
            let right = keys(&rhs);
            lhs.into_iter().filter(|element| !right.contains(&key(element))).collect()
        }
        _ => {
            let left = keys(&lhs);
            lhs.into_iter().chain(rhs.into_iter().filter(|element| !left.contains(&key(element)))).collect()
        }
    }
}
