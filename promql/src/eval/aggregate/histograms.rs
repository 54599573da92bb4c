//! Native histograms in `sum` and `avg`: one cell per step, beside those of the floats.
//!
//! Empty until a series has a histogram, so that floats do not pay for it.

use super::Context;
use crate::eval::remarks::{self, Operation};
use crate::eval::row::{Row, has_bit};
use model::histogram::{Combined, CounterResetHint, Histogram, HistogramMean, HistogramSum, IncompatibleBuckets};
use std::sync::Arc;

/// Something that histograms are added to.
pub(crate) trait Total: Send + Sized {
    fn of(first: &Histogram) -> Self;
    fn add(&mut self, next: &Histogram) -> Result<Combined, IncompatibleBuckets>;
    fn merge(&mut self, other: &Self) -> Result<Combined, IncompatibleBuckets>;
    fn finish(self) -> Histogram;
    fn held_bytes(&self) -> usize;
}

impl Total for HistogramSum {
    fn of(first: &Histogram) -> Self {
        Self::new(first)
    }
    fn add(&mut self, next: &Histogram) -> Result<Combined, IncompatibleBuckets> {
        self.add(next)
    }
    fn merge(&mut self, other: &Self) -> Result<Combined, IncompatibleBuckets> {
        self.merge(other)
    }
    fn finish(self) -> Histogram {
        self.finish()
    }
    fn held_bytes(&self) -> usize {
        self.held_bytes()
    }
}

impl Total for HistogramMean {
    fn of(first: &Histogram) -> Self {
        Self::new(first)
    }
    fn add(&mut self, next: &Histogram) -> Result<Combined, IncompatibleBuckets> {
        self.add(next)
    }
    fn merge(&mut self, other: &Self) -> Result<Combined, IncompatibleBuckets> {
        self.merge(other)
    }
    fn finish(self) -> Histogram {
        self.finish()
    }
    fn held_bytes(&self) -> usize {
        self.held_bytes()
    }
}

/// The totals of a group.
pub(crate) struct HistogramCells<T> {
    /// None at all, or an entry per step.
    cells: Vec<Option<Cell<T>>>,
}

struct Cell<T> {
    /// `None` once buckets met that do not go together.
    total: Option<T>,
    /// The first series with a histogram.
    series: usize,
    reset_seen: bool,
    no_reset_seen: bool,
}

impl<T: Total> HistogramCells<T> {
    pub(crate) fn new() -> Self {
        Self { cells: Vec::new() }
    }

    /// Bytes of the cells and of their buckets.
    pub(crate) fn bytes(&self) -> usize {
        let totals = self.cells.iter().flatten().filter_map(|cell| cell.total.as_ref());
        size_of_val(&*self.cells) + totals.map(T::held_bytes).sum::<usize>()
    }

    /// Adds the histograms of one series.
    pub(crate) fn add(&mut self, row: &Row, series: usize, context: &Context<'_, '_>) {
        if self.cells.is_empty() {
            self.cells.resize_with(row.steps(), || None);
        }
        for (step, histogram) in row.histograms() {
            let cell = &mut self.cells[step];
            match cell {
                Some(cell) => cell.combine(series, context, |total| total.add(histogram)),
                None => {
                    let total = Some(T::of(histogram));
                    *cell = Some(Cell { total, series, reset_seen: false, no_reset_seen: false });
                }
            }
            if let Some(cell) = cell {
                cell.reset_seen |= histogram.counter_reset_hint == CounterResetHint::Reset;
                cell.no_reset_seen |= histogram.counter_reset_hint == CounterResetHint::NotReset;
            }
        }
    }

    /// Adds what `other` got.
    pub(crate) fn merge(&mut self, other: Self, context: &Context<'_, '_>) {
        if self.cells.is_empty() {
            self.cells = other.cells;
            return;
        }
        for (cell, other) in self.cells.iter_mut().zip(other.cells) {
            match (&mut *cell, other) {
                (_, None) => {}
                (None, other) => *cell = other,
                (Some(cell), Some(other)) => {
                    cell.reset_seen |= other.reset_seen;
                    cell.no_reset_seen |= other.no_reset_seen;
                    match &other.total {
                        Some(total) => cell.combine(other.series, context, |sum| sum.merge(total)),
                        None => cell.total = None,
                    }
                }
            }
        }
    }

    /// Writes the totals; where there are floats as well there is no result at all.
    pub(crate) fn finish(self, floats_seen: &[u64], out: &mut Row, context: &Context<'_, '_>) {
        for (step, cell) in self.cells.into_iter().enumerate() {
            let Some(cell) = cell else { continue };
            if has_bit(floats_seen, step) {
                context.place.warn(context.exec, remarks::mixed_aggregation());
                out.clear_step(step);
            } else if let Some(total) = cell.total {
                let mut total = total.finish();
                total.compact();
                out.set_histogram(step, Arc::new(total));
                if cell.reset_seen && cell.no_reset_seen {
                    context.place.warn(context.exec, remarks::colliding_resets(Operation::Aggregation));
                }
            }
        }
    }
}

impl<T: Total> Cell<T> {
    fn combine(
        &mut self,
        series: usize,
        context: &Context<'_, '_>,
        add: impl FnOnce(&mut T) -> Result<Combined, IncompatibleBuckets>,
    ) {
        let Some(total) = &mut self.total else { return };
        match add(total) {
            Ok(combined) => context.place.remark_on_bounds(context.exec, combined, Operation::Aggregation),
            Err(IncompatibleBuckets) => {
                context.place.warn(context.exec, remarks::mixed_buckets(&context.name_of(series)));
                self.total = None;
            }
        }
    }
}
