//! Accumulators of the aggregations that fold one series at a time.
//!
//! Each keeps one cell per step. Where it pays a full row takes a loop without branches; otherwise present steps are visited,
//! run by run or one by one.

use super::Context;
use super::histograms::HistogramCells;
use crate::eval::kahan::{self, Mean};
use crate::eval::row::{Row, set_bits, unite_bits, words_for};
use model::histogram::{HistogramMean, HistogramSum};

/// Folds rows: in the order of series, or in an order that follows from labels alone.
pub(crate) trait Accumulator: Send {
    /// Adds the floats of one series.
    fn add(&mut self, row: &Row);

    /// Adds the histograms of the same series, if it has any.
    fn add_histograms(&mut self, row: &Row, series: usize, context: &Context<'_, '_>);

    /// Adds everything that `other` got; its series come after those of `self`.
    fn merge(&mut self, other: Self, context: &Context<'_, '_>);

    /// Writes the result over the steps that any series was present at.
    fn finish(self, out: &mut Row, context: &Context<'_, '_>);

    /// Bytes held: the cells of floats, and the totals of histograms if it has any.
    fn bytes(&self) -> usize;
}

/// Calls `cell(step, value)` for every present step, ascending.
#[inline(always)]
fn each_present(row: &Row, mut cell: impl FnMut(usize, f64)) {
    for (first, values) in row.runs() {
        for (step, value) in (first..).zip(values) {
            cell(step, *value);
        }
    }
}

fn finish_cells(out: &mut Row, seen: &[u64], mut value: impl FnMut(usize) -> f64) {
    for step in set_bits(seen) {
        out.set(step, value(step));
    }
}

/// `sum`
pub(crate) struct Sum {
    sums: Vec<f64>,
    corrections: Vec<f64>,
    seen: Vec<u64>,
    histograms: HistogramCells<HistogramSum>,
}

impl Sum {
    pub(crate) fn new(steps: usize) -> Self {
        Self {
            sums: vec![0.0; steps],
            corrections: vec![0.0; steps],
            seen: vec![0; words_for(steps)],
            histograms: HistogramCells::new(),
        }
    }
}

impl Accumulator for Sum {
    fn add(&mut self, row: &Row) {
        unite_bits(&mut self.seen, row.present());
        if row.is_full() {
            let cells = self.sums.iter_mut().zip(&mut self.corrections);
            for ((sum, correction), value) in cells.zip(row.values()) {
                (*sum, *correction) = kahan::add(*value, *sum, *correction);
            }
            return;
        }
        // Most series of a long range live for a part of it.
        for (first, values) in row.runs() {
            let end = first + values.len();
            let cells = self.sums[first..end].iter_mut().zip(&mut self.corrections[first..end]);
            for ((sum, correction), value) in cells.zip(values) {
                (*sum, *correction) = kahan::add(*value, *sum, *correction);
            }
        }
    }

    fn add_histograms(&mut self, row: &Row, series: usize, context: &Context<'_, '_>) {
        self.histograms.add(row, series, context);
    }

    fn merge(&mut self, other: Self, context: &Context<'_, '_>) {
        self.histograms.merge(other.histograms, context);
        for step in set_bits(&other.seen) {
            let (sum, correction) = kahan::add(other.sums[step], self.sums[step], self.corrections[step]);
            (self.sums[step], self.corrections[step]) = kahan::add(other.corrections[step], sum, correction);
        }
        unite_bits(&mut self.seen, &other.seen);
    }

    fn finish(self, out: &mut Row, context: &Context<'_, '_>) {
        finish_cells(out, &self.seen, |step| self.sums[step] + self.corrections[step]);
        self.histograms.finish(&self.seen, out, context);
    }

    fn bytes(&self) -> usize {
        let floats = size_of_val(&*self.sums) + size_of_val(&*self.corrections) + size_of_val(&*self.seen);
        floats + self.histograms.bytes()
    }
}

/// `avg`
pub(crate) struct Avg {
    means: Vec<Mean>,
    seen: Vec<u64>,
    histograms: HistogramCells<HistogramMean>,
}

impl Avg {
    pub(crate) fn new(steps: usize) -> Self {
        Self { means: vec![Mean::EMPTY; steps], seen: vec![0; words_for(steps)], histograms: HistogramCells::new() }
    }
}

impl Accumulator for Avg {
    fn add(&mut self, row: &Row) {
        unite_bits(&mut self.seen, row.present());
        each_present(row, |step, value| self.means[step].push(value));
    }

    fn add_histograms(&mut self, row: &Row, series: usize, context: &Context<'_, '_>) {
        self.histograms.add(row, series, context);
    }

    fn merge(&mut self, other: Self, context: &Context<'_, '_>) {
        self.histograms.merge(other.histograms, context);
        for (mean, other) in self.means.iter_mut().zip(&other.means) {
            mean.merge(other);
        }
        unite_bits(&mut self.seen, &other.seen);
    }

    fn finish(self, out: &mut Row, context: &Context<'_, '_>) {
        finish_cells(out, &self.seen, |step| self.means[step].in_any_order());
        self.histograms.finish(&self.seen, out, context);
    }

    fn bytes(&self) -> usize {
        size_of_val(&*self.means) + size_of_val(&*self.seen) + self.histograms.bytes()
    }
}

/// `min` and `max`: the best of the values; NaN only if there is nothing else. Zeros have an order too.
pub(crate) struct Extreme<F> {
    best: Vec<f64>,
    seen: Vec<u64>,
    better: F,
}

/// Whether the largest value so far gives way.
pub(crate) fn max(new: f64, best: f64) -> bool {
    new > best || new == best && best.is_sign_negative()
}

/// Whether the smallest value so far gives way.
pub(crate) fn min(new: f64, best: f64) -> bool {
    new < best || new == best && new.is_sign_negative()
}

impl<F: Fn(f64, f64) -> bool> Extreme<F> {
    /// `better(new, best)` says whether `new` takes the place of `best`; it may say so of the same value.
    pub(crate) fn new(steps: usize, better: F) -> Self {
        // A NaN gives way to anything, so it can stand for "nothing yet".
        Self { best: vec![f64::NAN; steps], seen: vec![0; words_for(steps)], better }
    }

    #[inline(always)]
    fn pick(better: &F, best: &mut f64, new: f64) {
        *best = if better(new, *best) || best.is_nan() { new } else { *best };
    }
}

impl<F: Fn(f64, f64) -> bool + Send> Accumulator for Extreme<F> {
    fn add(&mut self, row: &Row) {
        unite_bits(&mut self.seen, row.present());
        if row.is_full() {
            for (best, new) in self.best.iter_mut().zip(row.values()) {
                Self::pick(&self.better, best, *new);
            }
            return;
        }
        for (step, new) in row.iter() {
            Self::pick(&self.better, &mut self.best[step], new);
        }
    }

    fn add_histograms(&mut self, row: &Row, _series: usize, context: &Context<'_, '_>) {
        context.ignore_histograms(row);
    }

    fn merge(&mut self, other: Self, _context: &Context<'_, '_>) {
        for step in set_bits(&other.seen) {
            Self::pick(&self.better, &mut self.best[step], other.best[step]);
        }
        unite_bits(&mut self.seen, &other.seen);
    }

    fn finish(self, out: &mut Row, _context: &Context<'_, '_>) {
        finish_cells(out, &self.seen, |step| self.best[step]);
    }

    fn bytes(&self) -> usize {
        size_of_val(&*self.best) + size_of_val(&*self.seen)
    }
}

/// `count`, and `group` when every count is to be one.
pub(crate) struct Count {
    /// Series present at every step.
    full: u64,
    /// Series present at each step, those of `full` not counted.
    partial: Vec<u64>,
    seen: Vec<u64>,
    as_one: bool,
}

impl Count {
    pub(crate) fn new(steps: usize, as_one: bool) -> Self {
        Self { full: 0, partial: vec![0; steps], seen: vec![0; words_for(steps)], as_one }
    }
}

impl Accumulator for Count {
    fn add(&mut self, row: &Row) {
        unite_bits(&mut self.seen, row.present());
        if row.is_full() {
            self.full += 1;
            return;
        }
        for step in set_bits(row.present()) {
            self.partial[step] += 1;
        }
    }

    fn add_histograms(&mut self, row: &Row, _series: usize, _context: &Context<'_, '_>) {
        for (step, _) in row.histograms() {
            self.partial[step] += 1;
            self.seen[step / 64] |= 1 << (step % 64);
        }
    }

    fn merge(&mut self, other: Self, _context: &Context<'_, '_>) {
        self.full += other.full;
        for (count, other) in self.partial.iter_mut().zip(&other.partial) {
            *count += other;
        }
        unite_bits(&mut self.seen, &other.seen);
    }

    fn finish(self, out: &mut Row, _context: &Context<'_, '_>) {
        finish_cells(out, &self.seen, |step| if self.as_one { 1.0 } else { (self.full + self.partial[step]) as f64 });
    }

    fn bytes(&self) -> usize {
        size_of_val(&*self.partial) + size_of_val(&*self.seen)
    }
}

/// `stdvar` and `stddev`: Welford's method, in which the order of series matters; a value that is no finite number makes the
/// result NaN.
pub(crate) struct Variance {
    counts: Vec<f64>,
    means: Vec<f64>,
    squares: Vec<f64>,
    seen: Vec<u64>,
    root: bool,
}

impl Variance {
    pub(crate) fn new(steps: usize, root: bool) -> Self {
        let cells = || vec![0.0; steps];
        Self { counts: cells(), means: cells(), squares: cells(), seen: vec![0; words_for(steps)], root }
    }
}

impl Accumulator for Variance {
    fn add(&mut self, row: &Row) {
        unite_bits(&mut self.seen, row.present());
        each_present(row, |step, value| {
            let (count, mean, squares) = (&mut self.counts[step], &mut self.means[step], &mut self.squares[step]);
            *count += 1.0;
            if *count == 1.0 {
                *mean = value;
                *squares = if value.is_finite() { 0.0 } else { f64::NAN };
                return;
            }
            let delta = value - *mean;
            *mean += delta / *count;
            *squares += delta * (value - *mean);
        });
    }

    fn add_histograms(&mut self, row: &Row, _series: usize, context: &Context<'_, '_>) {
        context.ignore_histograms(row);
    }

    fn merge(&mut self, other: Self, _context: &Context<'_, '_>) {
        for step in set_bits(&other.seen) {
            let (own, theirs) = (self.counts[step], other.counts[step]);
            if own == 0.0 {
                self.counts[step] = theirs;
                self.means[step] = other.means[step];
                self.squares[step] = other.squares[step];
                continue;
            }
            let count = own + theirs;
            let delta = other.means[step] - self.means[step];
            self.counts[step] = count;
            self.means[step] += delta * theirs / count;
            self.squares[step] += other.squares[step] + delta * delta * own * theirs / count;
        }
        unite_bits(&mut self.seen, &other.seen);
    }

    fn finish(self, out: &mut Row, _context: &Context<'_, '_>) {
        finish_cells(out, &self.seen, |step| {
            let variance = self.squares[step] / self.counts[step];
            if self.root { variance.sqrt() } else { variance }
        });
    }

    fn bytes(&self) -> usize {
        3 * size_of_val(&*self.counts) + size_of_val(&*self.seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ast::{AggregateOp, Span};
    use crate::budget::{Budget, BudgetLimits};
    use crate::eval::exec::{Exec, Settings, Tally};
    use crate::eval::remarks::Place;
    use crate::eval::shared::Shared;
    use crate::eval::steps::Steps;
    use crate::eval::vector::Nothing;
    use crate::testing::memory::MemorySource;
    use proptest::prelude::*;

    const STEPS: usize = 3;

    fn row(values: &[Option<f64>; STEPS]) -> Row {
        let mut row = Row::absent(STEPS);
        for (step, value) in values.iter().enumerate() {
            if let Some(value) = value {
                row.set(step, *value);
            }
        }
        row
    }

    fn fold<A: Accumulator>(make: impl Fn() -> A, rows: &[Row], cut: usize) -> Row {
        let budget = Budget::new(BudgetLimits::default());
        let source = MemorySource::new();
        let steps = Steps::range(0, STEPS as i64 - 1, 1);
        let exec =
            Exec::new(&source, &budget, Settings::default(), None, Tally::new(steps, false), Shared::default(), None);
        let place = Place { ordinal: 0, span: Span { start: 0, end: 0 } };
        let context = Context { exec: &exec, place, op: AggregateOp::Sum, inner: &Nothing };
        let (left, right) = rows.split_at(cut.min(rows.len()));
        let half = |rows: &[Row]| {
            let mut accumulator = make();
            rows.iter().for_each(|row| accumulator.add(row));
            accumulator
        };
        let mut whole = half(left);
        whole.merge(half(right), &context);
        let mut out = Row::absent(STEPS);
        whole.finish(&mut out, &context);
        out
    }

    fn close(a: &Row, b: &Row) -> bool {
        let near = |a: f64, b: f64| (a.is_nan() && b.is_nan()) || a == b || (a - b).abs() <= 1e-9 * (a.abs() + b.abs());
        a.present() == b.present() && a.iter().zip(b.iter()).all(|((_, a), (_, b))| near(a, b))
    }

    proptest! {
        /// Where a group is cut into segments changes nothing but last bits.
        #[test]
        fn merged_halves_equal_the_whole(
            values in proptest::collection::vec(
                proptest::array::uniform3(proptest::option::of(
                    prop_oneof![4 => -1e3..1e3f64, 1 => Just(f64::NAN), 1 => Just(f64::INFINITY), 1 => Just(0.0)]
                )), 0..12),
            cut in 0usize..12,
        ) {
            let rows: Vec<Row> = values.iter().map(row).collect();
            let all = rows.len();
            prop_assert!(close(&fold(|| Sum::new(STEPS), &rows, cut), &fold(|| Sum::new(STEPS), &rows, all)));
            prop_assert!(close(&fold(|| Avg::new(STEPS), &rows, cut), &fold(|| Avg::new(STEPS), &rows, all)));
            let count = || Count::new(STEPS, false);
            prop_assert_eq!(fold(count, &rows, cut), fold(count, &rows, all));
            let max = || Extreme::new(STEPS, max);
            prop_assert!(close(&fold(max, &rows, cut), &fold(max, &rows, all)));
            let variance = || Variance::new(STEPS, false);
            prop_assert!(close(&fold(variance, &rows, cut), &fold(variance, &rows, all)));
        }
    }
}
