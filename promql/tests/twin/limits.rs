//! Aggregations that leave some of the series of a group as they are, for the naive evaluator.

use crate::naive::Element;
use model::labels::Labels;
use promql::ast::AggregateOp;
use std::cmp::Ordering;

/// The members of a group that stay.
pub(crate) fn limited(op: AggregateOp, parameter: f64, mut members: Vec<Element>) -> Vec<Element> {
    let k = if parameter < 1.0 { 0 } else { parameter as usize };
    match op {
        AggregateOp::Limitk => {
            members.sort_by_key(|member| hash(&member.labels));
            members.truncate(k);
            members
        }
        AggregateOp::LimitRatio => {
            members.retain(|member| is_of_share(parameter, hash(&member.labels) as f64 / u64::MAX as f64));
            members
        }
        _ => ranked(members, if op == AggregateOp::Topk { -1.0 } else { 1.0 }, k),
    }
}

/// A negative ratio leaves what its complement takes away.
fn is_of_share(ratio: f64, place: f64) -> bool {
    if ratio >= 0.0 { place < ratio } else { place >= 1.0 + ratio }
}

fn ranked(members: Vec<Element>, turn: f64, k: usize) -> Vec<Element> {
    let floats = members.into_iter().filter_map(|member| Some((member.value.float()?, member)));
    let mut ranked: Vec<(f64, Element)> = floats.collect();
    ranked.sort_by(|(a, _), (b, _)| {
        let nan_last = a.is_nan().cmp(&b.is_nan());
        nan_last.then((turn * a).partial_cmp(&(turn * b)).unwrap_or(Ordering::Equal))
    });
    ranked.truncate(k);
    ranked.into_iter().map(|(_, member)| member).collect()
}

/// Of names and values in order, each after its length; none that is generated takes more than a byte to say it.
fn hash(labels: &Labels) -> u64 {
    let mut bytes = Vec::new();
    for text in labels.iter().flat_map(|(name, value)| [name, value]) {
        bytes.push(u8::try_from(text.len()).expect("a short text"));
        bytes.extend_from_slice(text.as_bytes());
    }
    xxhash_rust::xxh64::xxh64(&bytes, 0)
}
