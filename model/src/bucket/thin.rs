//! Native histograms, thinned: what of them is kept for spans of one resolution, so that windows of whole buckets do not notice.
//!
//! A histogram of sums per bucket would be another histogram beside first and last; thinning keeps samples as they came instead. Of
//! each span stay the first and the last, and both sides of whatever a function over a window stops at: resets of counters, stale
//! markers, starts of the counting, changes of schema, zero threshold, bounds or kind. What is between two that stay is counted.

use super::bucket_end;
use crate::histogram::{CounterResetHint, Histogram, HistogramColumns};

/// Leaves out what no window of whole buckets needs. `starts_ms` has one time per histogram, or is empty.
///
/// What was thinned for a finer resolution that divides this one comes out as if all samples had come in.
pub fn thin(columns: &mut HistogramColumns, starts_ms: &mut Vec<i64>, resolution_ms: i64) {
    let kept = kept(columns, starts_ms, resolution_ms);
    if !starts_ms.is_empty() {
        let mut kept = kept.iter();
        starts_ms.retain(|_| *kept.next().unwrap_or(&true));
    }
    let all: Vec<_> = columns.drain().collect();
    let mut left_out = 0u32;
    for ((timestamp_ms, histogram, before), is_kept) in all.into_iter().zip(kept) {
        left_out = left_out.saturating_add(before);
        if is_kept {
            columns.push_after(timestamp_ms, histogram, left_out);
            left_out = 0;
        } else {
            left_out = left_out.saturating_add(1);
        }
    }
}

fn kept(columns: &HistogramColumns, starts_ms: &[i64], resolution_ms: i64) -> Vec<bool> {
    let HistogramColumns { timestamps_ms, histograms, .. } = columns;
    let mut kept = vec![false; timestamps_ms.len()];
    let start = |at: usize| starts_ms.get(at).copied().unwrap_or(0);
    for at in 1..timestamps_ms.len() {
        let is_bound = bucket_end(timestamps_ms[at - 1], resolution_ms) != bucket_end(timestamps_ms[at], resolution_ms)
            || start(at - 1) != start(at)
            || is_break(&histograms[at - 1], &histograms[at]);
        if is_bound {
            (kept[at - 1], kept[at]) = (true, true);
        }
    }
    kept.first_mut().into_iter().for_each(|first| *first = true);
    kept.last_mut().into_iter().for_each(|last| *last = true);
    // Of numbers that are none, two may fall that no neighbours did.
    let mut before = 0;
    for at in 1..kept.len() {
        if kept[at] {
            if at > before + 1 && is_break(&histograms[before], &histograms[at]) {
                kept[before..at].fill(true);
            }
            before = at;
        }
    }
    kept
}

/// Whether functions over windows look at what happens between these two neighbours.
fn is_break(before: &Histogram, after: &Histogram) -> bool {
    let is_gauge = |histogram: &Histogram| histogram.counter_reset_hint == CounterResetHint::Gauge;
    before.is_stale()
        || after.is_stale()
        || is_gauge(before) != is_gauge(after)
        || before.schema != after.schema
        || before.zero_threshold.to_bits() != after.zero_threshold.to_bits()
        || before.custom_values != after.custom_values
        || (!is_gauge(after) && after.is_reset_after(before))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::stale_marker;
    use std::sync::Arc;

    fn columns(samples: &[(i64, f64)]) -> HistogramColumns {
        let mut columns = HistogramColumns::default();
        for (time_ms, count) in samples {
            let sum = if count.is_nan() { stale_marker() } else { *count };
            let count = if count.is_nan() { 0.0 } else { *count };
            columns.push(*time_ms, Arc::new(Histogram { count, zero_count: count, sum, ..Histogram::default() }));
        }
        columns
    }

    fn thinned(samples: &[(i64, f64)], resolutions_ms: &[i64]) -> Vec<(i64, u32)> {
        let mut columns = columns(samples);
        resolutions_ms.iter().for_each(|resolution_ms| thin(&mut columns, &mut Vec::new(), *resolution_ms));
        columns.drain().map(|(time_ms, _, left_out)| (time_ms, left_out)).collect()
    }

    #[test]
    fn first_and_last_of_a_span_stay_and_the_others_are_counted() {
        let samples: Vec<(i64, f64)> = (1..=40).map(|at| (at * 10, at as f64)).collect();
        assert_eq!(
            thinned(&samples, &[100]),
            [10, 100, 110, 200, 210, 300, 310, 400].map(|t| (t, if t % 100 == 0 { 8 } else { 0 }))
        );
        assert_eq!(thinned(&samples, &[100, 200]), thinned(&samples, &[200]));
        assert_eq!(thinned(&samples, &[100, 100]), thinned(&samples, &[100]));
    }

    #[test]
    fn both_sides_of_resets_and_stale_markers_stay() {
        let counts = [1.0, 2.0, 3.0, 1.0, 2.0, 3.0, f64::NAN, 4.0, 5.0, 6.0];
        let samples: Vec<(i64, f64)> = (1..).map(|at| at * 10).zip(counts).collect();
        let expected = [(10, 0), (30, 1), (40, 0), (60, 1), (70, 0), (80, 0), (100, 1)];
        assert_eq!(thinned(&samples, &[100]), expected);
    }

    #[test]
    fn both_sides_of_a_new_start_stay() {
        let mut columns = columns(&[(10, 1.0), (20, 2.0), (30, 3.0), (40, 4.0), (50, 5.0), (60, 6.0)]);
        let mut starts_ms = vec![1, 1, 1, 31, 31, 31];
        thin(&mut columns, &mut starts_ms, 100);
        assert_eq!((columns.timestamps_ms, starts_ms), (vec![10, 30, 40, 60], vec![1, 1, 31, 31]));
    }
}
