//! A vector whose labels are known, so that asking for them does not pass through what it is made of.

use super::exec::{Exec, Worker};
use super::row::Row;
use super::vector::{SeriesVector, Vector};
use crate::budget::Charge;
use crate::query_error::QueryError;
use model::labels::Labels;
use std::sync::Arc;

/// `inner`, its labels held.
pub(crate) fn labelled<'q>(inner: Vector<'q>, exec: &Exec<'q>) -> Result<Vector<'q>, QueryError> {
    let chunks = exec.map_chunks(inner.len(), 1024, |range, _| {
        let labels: Vec<Labels> = range.map(|index| inner.labels(index)).collect();
        let mut charge = Charge::none(exec.budget);
        charge.add(0, labels.iter().map(Labels::held_bytes).sum())?;
        Ok((labels, charge))
    })?;
    let mut labels = Vec::with_capacity(inner.len());
    let mut held = Charge::none(exec.budget);
    for (chunk, charge) in chunks {
        labels.extend(chunk);
        held.absorb(charge);
    }
    Ok(Arc::new(Labelled { inner, labels, _charge: held }))
}

struct Labelled<'q> {
    inner: Vector<'q>,
    labels: Vec<Labels>,
    _charge: Charge<'q>,
}

impl SeriesVector for Labelled<'_> {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn labels(&self, index: usize) -> Labels {
        self.labels[index].clone()
    }

    fn prefetch(&self, indices: &[usize]) {
        self.inner.prefetch(indices);
    }

    fn drops_name(&self, index: usize) -> bool {
        self.inner.drops_name(index)
    }

    fn has_one_name(&self) -> bool {
        self.inner.has_one_name()
    }

    fn may_have_histograms(&self, index: usize) -> bool {
        self.inner.may_have_histograms(index)
    }

    fn row(&self, index: usize, worker: &mut Worker<'_, '_>, out: &mut Row) -> Result<(), QueryError> {
        self.inner.row(index, worker, out)
    }
}
