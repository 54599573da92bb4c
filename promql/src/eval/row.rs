//! One series over the steps of a query: a value per step, and a bit per step that says whether there is one.
//!
//! Values are floats. The few series with native histograms have them in a column beside the floats; all others pay for it
//! with one look at an empty column per series.
//!
//! Invariants: `values` has one entry per step; bits beyond the last step are zero; the value of an absent step means
//! nothing and is never looked at. Loops may compute it anyway: that is cheaper than asking. The column of histograms is
//! empty or has one entry per step; no step has both a float and a histogram.

use model::histogram::Histogram;
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

/// Values over the steps of a query.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Row {
    values: Vec<f64>,
    /// Which steps have a float.
    present: Vec<u64>,
    histograms: HistogramColumn,
}

/// The histograms of a row: none at all, or an entry per step.
pub(crate) type HistogramColumn = Vec<Option<Arc<Histogram>>>;

/// What a series has at one step.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell {
    Float(f64),
    Histogram(Arc<Histogram>),
}

/// Samples that a histogram counts for: Prometheus takes 16 bytes for one.
pub(crate) fn samples_of(histogram: &Histogram) -> usize {
    (histogram_bytes(histogram) + 8) / 16
}

/// Memory of a histogram, as Prometheus reckons it.
pub(crate) fn histogram_bytes(histogram: &Histogram) -> usize {
    let spans = histogram.positive_spans.len() + histogram.negative_spans.len();
    let buckets = histogram.positive_buckets.len() + histogram.negative_buckets.len();
    168 + 8 * (spans + buckets + histogram.custom_values.len())
}

/// How many words hold one bit per step.
pub(crate) fn words_for(steps: usize) -> usize {
    steps.div_ceil(64)
}

/// Sets the bits of all `steps`.
pub(crate) fn fill_bits(words: &mut [u64], steps: usize) {
    for (i, word) in words.iter_mut().enumerate() {
        let left = steps.saturating_sub(i * 64);
        *word = if left >= 64 { u64::MAX } else { (1 << left) - 1 };
    }
}

/// The positions of the set bits, ascending.
pub(crate) fn set_bits(words: &[u64]) -> impl Iterator<Item = usize> + '_ {
    words.iter().enumerate().flat_map(|(i, word)| {
        let mut rest = *word;
        std::iter::from_fn(move || {
            if rest == 0 {
                return None;
            }
            let bit = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            Some(i * 64 + bit)
        })
    })
}

/// The runs of set bits, ascending, none across words.
fn set_runs(words: &[u64]) -> impl Iterator<Item = Range<usize>> + '_ {
    words.iter().enumerate().flat_map(|(i, word)| {
        let (mut rest, mut at) = (*word, i * 64);
        std::iter::from_fn(move || {
            if rest == 0 {
                return None;
            }
            let zeros = rest.trailing_zeros();
            let ones = (rest >> zeros).trailing_ones();
            let start = at + zeros as usize;
            at = start + ones as usize;
            rest = (rest >> zeros).checked_shr(ones).unwrap_or(0);
            Some(start..at)
        })
    })
}

/// How many bits are set.
pub(crate) fn count_bits(words: &[u64]) -> usize {
    words.iter().map(|word| word.count_ones() as usize).sum()
}

/// Whether one bit is set.
pub(crate) fn has_bit(words: &[u64], step: usize) -> bool {
    words.get(step / 64).is_some_and(|word| word & (1 << (step % 64)) != 0)
}

/// Sets the bits of `into` that are set in `from`.
pub(crate) fn unite_bits(into: &mut [u64], from: &[u64]) {
    for (into, from) in into.iter_mut().zip(from) {
        *into |= from;
    }
}

impl Row {
    /// A row of absent steps.
    pub(crate) fn absent(steps: usize) -> Self {
        let mut row = Self::default();
        row.reset(steps);
        row
    }

    /// Makes every one of `steps` absent; keeps the memory.
    pub(crate) fn reset(&mut self, steps: usize) {
        self.values.resize(steps, 0.0);
        self.present.clear();
        self.present.resize(words_for(steps), 0);
        self.histograms.clear();
    }

    /// Makes every one of `steps` present with `value`.
    pub(crate) fn reset_to(&mut self, steps: usize, value: f64) {
        self.reset(steps);
        self.values.fill(value);
        self.mark_all();
    }

    pub(crate) fn steps(&self) -> usize {
        self.values.len()
    }

    pub(crate) fn values(&self) -> &[f64] {
        &self.values
    }

    pub(crate) fn values_mut(&mut self) -> &mut [f64] {
        &mut self.values
    }

    /// The bits of the steps that have a float.
    pub(crate) fn present(&self) -> &[u64] {
        &self.present
    }

    pub(crate) fn present_mut(&mut self) -> &mut [u64] {
        &mut self.present
    }

    /// Both columns of floats at once.
    pub(crate) fn parts_mut(&mut self) -> (&mut [f64], &mut [u64]) {
        (&mut self.values, &mut self.present)
    }

    /// Whether a step has a float.
    pub(crate) fn is_present(&self, step: usize) -> bool {
        has_bit(&self.present, step)
    }

    /// The float of one step.
    pub(crate) fn get(&self, step: usize) -> Option<f64> {
        self.is_present(step).then(|| self.values[step])
    }

    /// What one step has.
    pub(crate) fn cell(&self, step: usize) -> Option<Cell> {
        match self.histogram(step) {
            Some(histogram) => Some(Cell::Histogram(Arc::clone(histogram))),
            None => self.get(step).map(Cell::Float),
        }
    }

    /// Sets what one step has.
    pub(crate) fn set_cell(&mut self, step: usize, cell: Cell) {
        match cell {
            Cell::Float(value) => {
                self.clear_step(step);
                self.set(step, value);
            }
            Cell::Histogram(histogram) => self.set_histogram(step, histogram),
        }
    }

    /// Makes one step absent.
    pub(crate) fn clear_step(&mut self, step: usize) {
        self.present[step / 64] &= !(1 << (step % 64));
        if let Some(histogram) = self.histograms.get_mut(step) {
            *histogram = None;
        }
    }

    /// Whether there is a column of histograms; it may have none all the same.
    pub(crate) fn has_histograms(&self) -> bool {
        !self.histograms.is_empty()
    }

    /// The histogram of one step.
    pub(crate) fn histogram(&self, step: usize) -> Option<&Arc<Histogram>> {
        self.histograms.get(step)?.as_ref()
    }

    /// The steps that have a histogram.
    pub(crate) fn histograms(&self) -> impl Iterator<Item = (usize, &Arc<Histogram>)> + '_ {
        self.histograms.iter().enumerate().filter_map(|(step, histogram)| Some((step, histogram.as_ref()?)))
    }

    /// The column of histograms: empty, or one entry per step.
    pub(crate) fn histogram_column(&self) -> &[Option<Arc<Histogram>>] {
        &self.histograms
    }

    /// Gives a step a histogram, in place of a float if it has one.
    pub(crate) fn set_histogram(&mut self, step: usize, histogram: Arc<Histogram>) {
        if self.histograms.is_empty() {
            self.histograms.resize(self.values.len(), None);
        }
        self.histograms[step] = Some(histogram);
        self.present[step / 64] &= !(1 << (step % 64));
    }

    /// Replaces each histogram; `None` makes its step absent, a float takes its place.
    pub(crate) fn map_histograms(&mut self, mut change: impl FnMut(usize, &Arc<Histogram>) -> Option<Cell>) {
        for step in 0..self.histograms.len() {
            let Some(histogram) = self.histograms[step].take() else { continue };
            if let Some(cell) = change(step, &histogram) {
                self.set_cell(step, cell);
            }
        }
    }

    /// Leaves the floats.
    pub(crate) fn drop_histograms(&mut self) {
        self.histograms.clear();
    }

    /// The bits of the steps that have anything.
    pub(crate) fn seen(&self) -> Cow<'_, [u64]> {
        if self.histograms.is_empty() {
            return Cow::Borrowed(&self.present);
        }
        let mut seen = self.present.clone();
        for (step, _) in self.histograms() {
            seen[step / 64] |= 1 << (step % 64);
        }
        Cow::Owned(seen)
    }

    /// Whether a step has anything.
    pub(crate) fn is_seen(&self, step: usize) -> bool {
        self.is_present(step) || self.histogram(step).is_some()
    }

    /// Makes absent every step whose bit is not what `keep` says.
    pub(crate) fn mask(&mut self, bits: &[u64], keep: bool) {
        for (word, mask) in self.present.iter_mut().zip(bits) {
            *word &= if keep { *mask } else { !*mask };
        }
        for (step, histogram) in self.histograms.iter_mut().enumerate() {
            if has_bit(bits, step) != keep {
                *histogram = None;
            }
        }
    }

    pub(crate) fn set(&mut self, step: usize, value: f64) {
        self.values[step] = value;
        self.present[step / 64] |= 1 << (step % 64);
    }

    pub(crate) fn mark_all(&mut self) {
        let steps = self.values.len();
        fill_bits(&mut self.present, steps);
    }

    /// How many steps have a float.
    pub(crate) fn count(&self) -> usize {
        count_bits(&self.present)
    }

    /// Bytes of a row of floats, absent ones included.
    pub(crate) fn float_bytes(steps: usize) -> usize {
        steps * size_of::<f64>() + words_for(steps) * size_of::<u64>()
    }

    /// Samples and bytes of a row that is kept.
    pub(crate) fn held(&self) -> (usize, usize) {
        let columns = Self::float_bytes(self.steps());
        if !self.has_histograms() {
            return (self.count(), columns);
        }
        let (samples, bytes) = self.samples();
        (samples, columns + bytes)
    }

    /// How many samples the row holds, and their bytes; a histogram counts for many.
    pub(crate) fn samples(&self) -> (usize, usize) {
        let floats = self.count();
        self.histograms().fold((floats, floats * size_of::<f64>()), |(samples, bytes), (_, histogram)| {
            (samples + samples_of(histogram), bytes + histogram_bytes(histogram))
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.present.iter().all(|word| *word == 0) && self.histograms.iter().all(Option::is_none)
    }

    /// Whether every step has a float.
    pub(crate) fn is_full(&self) -> bool {
        self.count() == self.values.len()
    }

    /// The steps with a float and their values.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, f64)> + '_ {
        set_bits(&self.present).map(|step| (step, self.values[step]))
    }

    /// The same as steps in a row: the first of them, and the values of all.
    pub(crate) fn runs(&self) -> impl Iterator<Item = (usize, &[f64])> {
        set_runs(&self.present).map(|run| (run.start, &self.values[run]))
    }

    /// Replaces the content by the columns of floats and histograms.
    pub(crate) fn copy_from(&mut self, values: &[f64], present: &[u64], histograms: &[Option<Arc<Histogram>>]) {
        self.values.clear();
        self.values.extend_from_slice(values);
        self.present.clear();
        self.present.extend_from_slice(present);
        self.histograms.clear();
        self.histograms.extend_from_slice(histograms);
    }

    /// Applies `f` to the floats.
    pub(crate) fn map(&mut self, f: impl Fn(f64) -> f64) {
        if self.is_full() {
            for value in &mut self.values {
                *value = f(*value);
            }
        } else {
            for step in set_bits(&self.present) {
                self.values[step] = f(self.values[step]);
            }
        }
    }

    /// Makes absent the steps with a float for which `keep` does not hold.
    pub(crate) fn retain(&mut self, keep: impl Fn(usize, f64) -> bool) {
        for (i, word) in self.present.iter_mut().enumerate() {
            let mut rest = *word;
            while rest != 0 {
                let bit = rest.trailing_zeros() as usize;
                rest &= rest - 1;
                let step = i * 64 + bit;
                if !keep(step, self.values[step]) {
                    *word &= !(1 << bit);
                }
            }
        }
    }

    /// Repeats the first step over `steps`.
    pub(crate) fn repeat_first(&mut self, steps: usize) {
        let first = if self.values.is_empty() { None } else { self.cell(0) };
        match first {
            Some(Cell::Float(value)) => self.reset_to(steps, value),
            Some(Cell::Histogram(histogram)) => {
                self.reset(steps);
                self.histograms.resize(steps, Some(histogram));
            }
            None => self.reset(steps),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_beyond_the_last_step_stay_zero() {
        for steps in [0, 1, 63, 64, 65, 128, 130] {
            let mut row = Row::absent(steps);
            row.mark_all();
            assert_eq!(row.count(), steps);
            assert!(row.is_full());
            assert_eq!(set_bits(row.present()).collect::<Vec<_>>(), (0..steps).collect::<Vec<_>>());
        }
    }

    #[test]
    fn runs_are_the_present_steps() {
        for present in [vec![], vec![0], vec![63, 64], vec![1, 2, 5, 69], (0..64).collect(), (3..70).collect()] {
            let mut row = Row::absent(70);
            present.iter().for_each(|step| row.set(*step, *step as f64));
            let found: Vec<f64> = row.runs().flat_map(|(_, values)| values.to_vec()).collect();
            let steps: Vec<usize> = row.runs().flat_map(|(first, values)| first..first + values.len()).collect();
            assert_eq!((found, steps), (present.iter().map(|step| *step as f64).collect(), present));
        }
    }

    #[test]
    fn retain_and_map_touch_present_steps_only() {
        let mut row = Row::absent(70);
        for step in [0, 5, 69] {
            row.set(step, step as f64);
        }
        row.map(|v| v + 1.0);
        row.retain(|_, v| v > 1.0);
        assert_eq!(row.iter().collect::<Vec<_>>(), [(5, 6.0), (69, 70.0)]);
    }

    #[test]
    fn a_step_has_a_float_or_a_histogram() {
        let mut row = Row::absent(3);
        row.set(0, 1.0);
        assert!(!row.has_histograms());
        row.set_histogram(0, Arc::default());
        row.set_histogram(2, Arc::default());
        row.set(1, 5.0);
        assert_eq!((row.get(0), row.seen().as_ref(), row.count()), (None, [0b111].as_slice(), 1));
        row.map_histograms(|step, _| (step == 2).then_some(Cell::Float(7.0)));
        assert_eq!(row.iter().collect::<Vec<_>>(), [(1, 5.0), (2, 7.0)]);
        row.set_histogram(0, Arc::default());
        row.mask(&[0b001], false);
        assert_eq!((row.cell(0), row.cell(2)), (None, Some(Cell::Float(7.0))));
        row.set_histogram(0, Arc::default());
        row.repeat_first(70);
        assert_eq!((row.histograms().count(), row.count()), (70, 0));
    }
}
