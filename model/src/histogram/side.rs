//! The buckets of one side of a histogram as something to compute with.
//!
//! Beside each population may stand a correction: what rounding took from it (Neumaier's method). A side without
//! corrections has an empty column of them.

use super::Span;
use super::buckets::listed;
use super::compensated::add_compensated;

/// Spans, populations and corrections of one side.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Side {
    pub(super) spans: Vec<Span>,
    pub(super) buckets: Vec<f64>,
    /// As many as buckets, or none at all.
    pub(super) corrections: Vec<f64>,
}

/// One bucket: index, population, correction.
type Cell = (i32, f64, f64);

impl Side {
    fn cells(&self) -> impl Iterator<Item = Cell> + '_ {
        let corrections = self.corrections.iter().copied().chain(std::iter::repeat(0.0));
        listed(&self.spans, &self.buckets)
            .zip(corrections)
            .map(|((index, count), correction)| (index, count, correction))
    }

    /// Bytes of its columns.
    pub(super) fn held_bytes(&self) -> usize {
        size_of_val(&*self.spans) + size_of_val(&*self.buckets) + size_of_val(&*self.corrections)
    }

    fn is_compensated(&self) -> bool {
        !self.corrections.is_empty()
    }

    /// A side of cells with ascending indices.
    pub(super) fn of_cells(cells: impl Iterator<Item = Cell>, compensated: bool) -> Self {
        let mut side = Self::default();
        let mut next = 0i32;
        for (index, count, correction) in cells {
            match side.spans.last_mut() {
                Some(span) if index == next => span.length += 1,
                _ => side.spans.push(Span { offset: index.saturating_sub(next), length: 1 }),
            }
            side.buckets.push(count);
            if compensated {
                side.corrections.push(correction);
            }
            next = index.saturating_add(1);
        }
        side
    }

    /// Leaves out empty buckets; spans get their shortest form.
    pub(super) fn compact(&mut self) {
        let is_compact = self.buckets.iter().all(|count| *count != 0.0)
            && self.spans.iter().enumerate().all(|(i, span)| span.length > 0 && (i == 0 || span.offset != 0));
        if !is_compact {
            let populated = self.cells().filter(|(_, count, correction)| *count != 0.0 || *correction != 0.0);
            *self = Self::of_cells(populated, self.is_compensated());
        }
    }

    /// Merges the buckets of exponential schema `from` to those of the coarser schema `to`.
    pub(super) fn reduce(&mut self, from: i8, to: i8) {
        if to >= from {
            return;
        }
        let mut merged: Vec<Cell> = Vec::with_capacity(self.buckets.len());
        for (index, count, correction) in self.cells() {
            let index = reduced_index(index, from, to);
            match merged.last_mut() {
                Some((last, sum, lost)) if *last == index => {
                    (*sum, *lost) = add_compensated(count, *sum, *lost);
                    if self.is_compensated() {
                        (*sum, *lost) = add_compensated(correction, *sum, *lost);
                    }
                }
                _ => merged.push((index, count, correction)),
            }
        }
        *self = Self::of_cells(merged.into_iter(), self.is_compensated());
    }

    /// The same side without its first buckets, as long as `leave_out` says so.
    pub(super) fn without_first(&self, leave_out: impl Fn(i32) -> bool) -> Self {
        Self::of_cells(self.cells().skip_while(|(index, ..)| leave_out(*index)), self.is_compensated())
    }

    /// Adds `sign` times the buckets of `other`, which has the same schema; those of which `ignore` says so are left out
    /// until the first of which it does not.
    pub(super) fn add(&mut self, other: &Self, sign: f64, ignore: impl Fn(i32) -> bool) {
        let all_count = listed(&other.spans, &other.buckets).next().is_none_or(|(first, _)| !ignore(first));
        if all_count && self.has_layout(&other.spans, &other.buckets) {
            self.add_in_place(&other.buckets, &other.corrections, sign);
            return;
        }
        let compensated = self.is_compensated() || other.is_compensated();
        let mut own = self.cells().peekable();
        let mut sums: Vec<Cell> = Vec::with_capacity(self.buckets.len() + other.buckets.len());
        for (index, count, correction) in other.cells().skip_while(|(index, ..)| ignore(*index)) {
            while let Some(cell) = own.next_if(|cell| cell.0 < index) {
                sums.push(cell);
            }
            let (count, correction) = (sign * count, sign * correction);
            match own.next_if(|cell| cell.0 == index) {
                Some((_, sum, lost)) => {
                    let (sum, lost) = add_both((count, correction), (sum, lost));
                    sums.push((index, sum, lost));
                }
                None => sums.push((index, count, correction)),
            }
        }
        sums.extend(own);
        *self = Self::of_cells(sums.into_iter(), compensated);
    }

    /// Whether these spans and buckets list the same buckets in the same way.
    pub(super) fn has_layout(&self, spans: &[Span], buckets: &[f64]) -> bool {
        self.spans == spans && self.buckets.len() == buckets.len()
    }

    /// Adds populations and corrections, which may be missing, bucket by bucket: both sides list the same ones.
    pub(super) fn add_in_place(&mut self, buckets: &[f64], corrections: &[f64], sign: f64) {
        if !self.is_compensated() && corrections.is_empty() {
            for (sum, count) in self.buckets.iter_mut().zip(buckets) {
                *sum += sign * count;
            }
            return;
        }
        self.corrections.resize(self.buckets.len(), 0.0);
        let corrections = corrections.iter().copied().chain(std::iter::repeat(0.0));
        let sums = self.buckets.iter_mut().zip(&mut self.corrections);
        for (((sum, lost), count), correction) in sums.zip(buckets).zip(corrections) {
            (*sum, *lost) = add_both((sign * count, sign * correction), (*sum, *lost));
        }
    }
}

/// Adds a value and its correction to a sum and its correction.
fn add_both((count, correction): (f64, f64), (sum, lost): (f64, f64)) -> (f64, f64) {
    let (sum, lost) = add_compensated(count, sum, lost);
    if correction == 0.0 { (sum, lost) } else { add_compensated(correction, sum, lost) }
}

/// The index, in schema `to`, of the bucket that contains bucket `index` of the finer schema `from`.
pub(super) fn reduced_index(index: i32, from: i8, to: i8) -> i32 {
    // At most 12 steps lie between two exponential schemas.
    let steps = u32::try_from(i32::from(from) - i32::from(to)).unwrap_or(0).min(31);
    (index.saturating_sub(1) >> steps) + 1
}
