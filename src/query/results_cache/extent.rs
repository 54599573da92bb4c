//! A stretch of steps of one query with its series, cut and joined by time.
//!
//! This file alone knows what a series of a result consists of.

use model::histogram::HistogramColumns;
use model::labels::Labels;
use promql::value::MatrixSeries;
use std::sync::Arc;

/// Consecutive steps, all evaluated on the same data.
#[derive(Debug)]
pub(super) struct Extent {
    /// What is stored here takes account of all appends up to this number.
    pub(super) number: u64,
    pub(super) first_ms: i64,
    last_ms: i64,
    step_ms: i64,
    /// In ascending order of labels, each with at least one value.
    series: Vec<MatrixSeries>,
    bytes: usize,
}

impl Extent {
    pub(super) fn new(number: u64, first_ms: i64, last_ms: i64, step_ms: i64, series: Vec<MatrixSeries>) -> Self {
        let bytes = size_of::<Self>() + series.iter().map(bytes).sum::<usize>();
        Self { number, first_ms, last_ms, step_ms, series, bytes }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The last step that is not later than a time.
    pub(super) fn last_step_until(&self, until_ms: i64) -> Option<i64> {
        let steps = until_ms.min(self.last_ms).checked_sub(self.first_ms)?.div_euclid(self.step_ms);
        (steps >= 0).then_some(self.first_ms + steps * self.step_ms)
    }

    /// The values from one step to another, both included.
    pub(super) fn slice(&self, first_ms: i64, last_ms: i64) -> Vec<MatrixSeries> {
        if (first_ms, last_ms) == (self.first_ms, self.last_ms) {
            return self.series.clone();
        }
        self.series.iter().filter_map(|series| slice(series, first_ms, last_ms)).collect()
    }

    /// This stretch and the valid steps of an older one that overlaps it, without the oldest steps beyond `steps_max`.
    pub(super) fn widened(self, older: &Self, valid: (i64, i64), steps_max: i64) -> Self {
        let (number, step_ms) = (self.number, self.step_ms);
        let last_ms = self.last_ms.max(valid.1);
        let first_ms = self.first_ms.min(valid.0).max(last_ms - (steps_max - 1) * step_ms);
        if (first_ms, last_ms) == (self.first_ms, self.last_ms) {
            return self;
        }
        let (own_first_ms, own_last_ms) = (self.first_ms.max(first_ms), self.last_ms);
        let before = older.slice(first_ms, (own_first_ms - step_ms).min(valid.1));
        let behind = older.slice(own_last_ms + step_ms, valid.1);
        let own = self.slice(own_first_ms, own_last_ms);
        let series = join([before, own, behind], first_ms, last_ms, step_ms);
        Self::new(number, first_ms, last_ms, step_ms, series)
    }
}

/// Bytes of a series; timestamps that it shares with others are counted too.
pub(super) fn bytes(series: &MatrixSeries) -> usize {
    series.held_bytes() + (series.timestamps_ms.len() + series.histograms.len()) * size_of::<i64>()
}

pub(super) fn sample_count(series: &MatrixSeries) -> usize {
    series.values.len() + series.histograms.len()
}

/// What a series has from one time to another, if anything.
fn slice(series: &MatrixSeries, first_ms: i64, last_ms: i64) -> Option<MatrixSeries> {
    let MatrixSeries { labels, timestamps_ms, values, histograms } = series;
    let within = |times: &[i64]| {
        let from = times.partition_point(|at| *at < first_ms);
        from..times.partition_point(|at| *at <= last_ms)
    };
    let floats = within(timestamps_ms);
    let times = timestamps_ms.get(floats.clone())?;
    let timestamps_ms = if times.len() == timestamps_ms.len() { Arc::clone(timestamps_ms) } else { times.into() };
    let some = within(&histograms.timestamps_ms);
    let histograms = HistogramColumns {
        timestamps_ms: histograms.timestamps_ms.get(some.clone())?.to_vec(),
        histograms: histograms.histograms.get(some)?.to_vec(),
        left_out: Vec::new(),
    };
    let sliced =
        MatrixSeries { labels: labels.clone(), timestamps_ms, values: values.get(floats)?.to_vec(), histograms };
    (sample_count(&sliced) > 0).then_some(sliced)
}

/// Joins results of consecutive stretches, each in ascending order of labels. Series that have a value at every step from
/// `first_ms` to `last_ms` share their timestamps.
pub(super) fn join(parts: [Vec<MatrixSeries>; 3], first_ms: i64, last_ms: i64, step_ms: i64) -> Vec<MatrixSeries> {
    let all: Arc<[i64]> = (first_ms..=last_ms).step_by(usize::try_from(step_ms).unwrap_or(usize::MAX)).collect();
    let mut parts = parts.map(|part| part.into_iter().peekable());
    let mut joined = Vec::new();
    loop {
        let least: Option<Labels> = parts.iter_mut().filter_map(|part| Some(&part.peek()?.labels)).min().cloned();
        let Some(labels) = least else { return joined };
        let of_labels = parts.iter_mut().filter_map(|part| part.next_if(|series| series.labels == labels));
        joined.push(concatenated(labels.clone(), of_labels.collect(), &all));
    }
}

/// One series of pieces in order of time.
fn concatenated(labels: Labels, pieces: Vec<MatrixSeries>, all: &Arc<[i64]>) -> MatrixSeries {
    let count = pieces.iter().map(|piece| piece.values.len()).sum();
    let times = pieces.iter().flat_map(|piece| piece.timestamps_ms.iter().copied());
    let timestamps_ms = if count == all.len() { Arc::clone(all) } else { times.collect() };
    let mut values = Vec::with_capacity(count);
    let mut histograms = HistogramColumns::default();
    for mut piece in pieces {
        values.append(&mut piece.values);
        histograms.timestamps_ms.append(&mut piece.histograms.timestamps_ms);
        histograms.histograms.append(&mut piece.histograms.histograms);
    }
    MatrixSeries { labels, timestamps_ms, values, histograms }
}
