//! Histograms whose lists of bounds differ.

use super::bounds::custom;
use super::buckets::listed;
use super::compensated::add_compensated;
use super::side::Side;
use std::sync::Arc;

/// The bounds that both ascending lists have.
pub(super) fn common(a: &[f64], b: &[f64]) -> Arc<[f64]> {
    let mut rest = b;
    let is_common = |bound: &f64| {
        while rest.first().is_some_and(|other| other < bound) {
            rest = &rest[1..];
        }
        rest.first() == Some(bound)
    };
    a.iter().copied().filter(is_common).collect()
}

/// Adds `sign` times the buckets of `side`, which end at `bounds`, to the sums of the buckets that end at `common`, a subset
/// of the bounds, and infinity.
pub(super) fn add_mapped(side: &Side, bounds: &[f64], sign: f64, common: &[f64], sums: &mut [(f64, f64)]) {
    let corrections = side.corrections.iter().copied().chain(std::iter::repeat(0.0));
    for ((index, count), correction) in listed(&side.spans, &side.buckets).zip(corrections) {
        let bound = custom(index, bounds);
        let (sum, lost) = &mut sums[common.partition_point(|common| *common < bound)];
        (*sum, *lost) = add_compensated(sign * count, *sum, *lost);
        if correction != 0.0 {
            (*sum, *lost) = add_compensated(sign * correction, *sum, *lost);
        }
    }
}
