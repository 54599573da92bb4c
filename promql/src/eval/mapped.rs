//! Vectors that have the series of another one: their rows alone differ.

use super::exec::Worker;
use super::row::Row;
use super::vector::{SeriesVector, Vector};
use crate::query_error::QueryError;
use model::labels::Labels;
use std::ops::Range;
use std::sync::Arc;

/// A vector with the series of another one, labels untouched and in the same order. Whatever is asked of series is passed on,
/// so that such a vector costs nothing but its rows.
pub(crate) trait Rows: Send + Sync {
    /// The vector that has the series.
    fn inner(&self) -> &dyn SeriesVector;

    /// Whether a row may have histograms where that of the inner vector has some.
    fn keeps_histograms(&self) -> bool {
        true
    }

    /// Evaluates one series over all steps.
    fn evaluate(&self, index: usize, worker: &mut Worker<'_, '_>, out: &mut Row) -> Result<(), QueryError>;
}

impl<R: Rows> SeriesVector for R {
    fn len(&self) -> usize {
        self.inner().len()
    }

    fn labels(&self, index: usize) -> Labels {
        self.inner().labels(index)
    }

    fn labels_among(&self, index: usize, names: &[&str]) -> Labels {
        self.inner().labels_among(index, names)
    }

    fn label_numbers(&self, indices: Range<usize>, names: &[&str], into: &mut Vec<u32>) -> bool {
        self.inner().label_numbers(indices, names, into)
    }

    fn prefetch(&self, indices: &[usize]) {
        self.inner().prefetch(indices);
    }

    fn drops_name(&self, index: usize) -> bool {
        self.inner().drops_name(index)
    }

    fn has_one_name(&self) -> bool {
        self.inner().has_one_name()
    }

    fn may_have_histograms(&self, index: usize) -> bool {
        self.keeps_histograms() && self.inner().may_have_histograms(index)
    }

    fn row(&self, index: usize, worker: &mut Worker<'_, '_>, out: &mut Row) -> Result<(), QueryError> {
        self.evaluate(index, worker, out)
    }
}

/// `inner` with every row passed through `change`.
pub(crate) fn mapped<'q>(inner: Vector<'q>, change: impl Fn(&mut Row) + Send + Sync + 'q) -> Vector<'q> {
    Arc::new(Mapped { inner, change })
}

/// `inner` with the floats of every row passed through `change`, and without its histograms.
pub(crate) fn mapped_floats<'q>(inner: Vector<'q>, change: impl Fn(&mut Row) + Send + Sync + 'q) -> Vector<'q> {
    mapped(inner, move |row| {
        row.drop_histograms();
        change(row);
    })
}

struct Mapped<'q, F> {
    inner: Vector<'q>,
    change: F,
}

impl<F: Fn(&mut Row) + Send + Sync> Rows for Mapped<'_, F> {
    fn inner(&self) -> &dyn SeriesVector {
        self.inner.as_ref()
    }

    fn evaluate(&self, index: usize, worker: &mut Worker<'_, '_>, out: &mut Row) -> Result<(), QueryError> {
        self.inner.row(index, worker, out)?;
        (self.change)(out);
        Ok(())
    }
}
