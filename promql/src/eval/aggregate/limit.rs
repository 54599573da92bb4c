//! `limitk` and `limit_ratio`: some of the series of a group, unchanged.

use super::grouping::Groups;
use crate::eval::exec::{Exec, Worker};
use crate::eval::mapped::Rows;
use crate::eval::row::{Cell, Row};
use crate::eval::scalar::ScalarRow;
use crate::eval::vector::{SeriesVector, Table, Vector, announced};
use crate::query_error::QueryError;
use model::labels::Labels;
use std::sync::Arc;

/// How many series are evaluated at once before it is checked whether more are needed.
const BATCH: usize = 64;

/// `limitk`: the first `k[step]` present series of each group, in the order of the groups.
pub(crate) fn first<'q>(
    inner: &Vector<'q>,
    groups: &Groups<'q>,
    k: &[usize],
    exec: &Exec<'q>,
) -> Result<Vector<'q>, QueryError> {
    let mut chosen = Table::builder(k.len(), exec);
    let mut worker = exec.worker();
    let mut row = worker.take_row();
    for group in 0..groups.len() {
        let mut left = k.to_vec();
        let members: Vec<usize> = groups.members(groups.range(group)).collect();
        for batch in members.chunks(BATCH) {
            if left.iter().all(|left| *left == 0) {
                break;
            }
            for index in announced(inner.as_ref(), batch.iter().copied()) {
                inner.row(index, &mut worker, &mut row)?;
                for (step, left) in left.iter_mut().enumerate() {
                    if row.is_seen(step) {
                        match left.checked_sub(1) {
                            Some(less) => *left = less,
                            None => row.clear_step(step),
                        }
                    }
                }
                if !row.is_empty() {
                    chosen.push(inner.labels(index), inner.drops_name(index), &row)?;
                }
            }
        }
    }
    worker.give_row(row);
    Ok(Arc::new(chosen.finish()))
}

/// `limit_ratio`: the series whose hash falls into the ratio of each step.
pub(crate) struct HashShare<'q> {
    pub(crate) inner: Vector<'q>,
    /// From -1 to 1; a negative one selects what its complement leaves.
    pub(crate) ratio: ScalarRow,
}

impl HashShare<'_> {
    /// Whether a series at `offset` of [0, 1) is among the share `ratio`.
    fn includes(ratio: f64, offset: f64) -> bool {
        let ratio = ratio.clamp(-1.0, 1.0);
        if ratio > 0.0 { offset < ratio } else { ratio < 0.0 && offset >= 1.0 + ratio }
    }
}

/// The hash of labels as Prometheus has it.
pub(super) fn label_hash(labels: &Labels) -> u64 {
    let mut bytes = Vec::with_capacity(labels.packed_len() + 16);
    for (name, value) in labels {
        for text in [name, value] {
            match u8::try_from(text.len()) {
                Ok(length) if length < 255 => bytes.push(length),
                _ => {
                    bytes.push(255);
                    bytes.extend_from_slice(&(text.len() as u32).to_le_bytes()[..3]);
                }
            }
            bytes.extend_from_slice(text.as_bytes());
        }
    }
    xxhash_rust::xxh64::xxh64(&bytes, 0)
}

impl Rows for HashShare<'_> {
    fn inner(&self) -> &dyn SeriesVector {
        self.inner.as_ref()
    }

    fn evaluate(&self, index: usize, worker: &mut Worker<'_, '_>, out: &mut Row) -> Result<(), QueryError> {
        let offset = label_hash(&self.inner.labels(index)) as f64 / u64::MAX as f64;
        self.inner.row(index, worker, out)?;
        out.retain(|step, _| Self::includes(self.ratio.at(step), offset));
        if out.has_histograms() {
            let includes = |step| Self::includes(self.ratio.at(step), offset);
            out.map_histograms(|step, histogram| includes(step).then(|| Cell::Histogram(Arc::clone(histogram))));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_and_its_complement_share_no_series() {
        for i in 0..1000 {
            let offset = f64::from(i) / 1000.0;
            for ratio in [0.2, 0.5, 0.8] {
                assert_ne!(HashShare::includes(ratio, offset), HashShare::includes(ratio - 1.0, offset));
            }
            assert!(HashShare::includes(1.5, offset) && HashShare::includes(-1.5, offset));
            assert!(!HashShare::includes(0.0, offset));
        }
    }
}
