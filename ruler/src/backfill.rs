//! Recording rules over time that has passed: in which pieces, and what is stored of each.
//!
//! Pure. Slots are those in which the group is evaluated, so that what is stored meets what was recorded before. The rules of a
//! piece are evaluated one after the other over all its slots; where a rule reads its own past, or that of a later rule, a piece is
//! one slot. No stale markers are written, as Prometheus' promtool writes none.

use crate::dependency::Dependencies;
use crate::error::RuleError;
use crate::group::GroupSpec;
use crate::overlay::overlay;
use crate::ports::RuleSample;
use crate::recording::changes;
use crate::rule::Rule;
use hashbrown::HashMap;
use model::labels::Labels;
use model::time::Timestamp;
use promql::value::{MatrixSeries, SampleValue};

/// Slots of one piece, unless its results are too large.
const SLOTS_MAX: i64 = 512;

/// The pieces of one group, oldest first.
#[derive(Debug, Clone)]
pub struct Pieces {
    next: i64,
    first: i64,
    end: i64,
    interval_ms: i64,
    offset_ms: i64,
    slots: i64,
}

/// Slots from `first_ms` to `last_ms`, `interval_ms` apart, as times of queries and samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// The first.
    pub first_ms: i64,
    /// The last, inclusive.
    pub last_ms: i64,
    /// Distance.
    pub interval_ms: i64,
    slot: i64,
}

/// What a rule recorded in a piece.
#[derive(Debug, Default, PartialEq)]
pub struct Recorded {
    /// Samples to store.
    pub samples: Vec<RuleSample>,
    /// Slots in which the rule returned more series than the group's limit: nothing is stored of them.
    pub slots_over_limit: usize,
}

impl Pieces {
    /// Those of `spec` whose slots lie from `start` to `end`, inclusive.
    #[must_use]
    pub fn new(spec: &GroupSpec, start: Timestamp, end: Timestamp) -> Self {
        let first = spec.schedule().slot_after(Timestamp(start.0.saturating_sub(1))).0;
        let slots = if Dependencies::of(&spec.rules).reads_ahead() { 1 } else { SLOTS_MAX };
        let (interval_ms, offset_ms) = (spec.interval_ms, spec.query_offset_ms);
        Self { next: first, first, end: end.0, interval_ms, offset_ms, slots }
    }

    /// The next piece.
    pub fn advance(&mut self) -> Option<Piece> {
        if self.next > self.end {
            return None;
        }
        let Self { next: slot, interval_ms, offset_ms, .. } = *self;
        let left = (self.end - slot) / interval_ms;
        let last = slot + left.min(self.slots - 1) * interval_ms;
        self.next = last.saturating_add(interval_ms);
        let at = |slot: i64| slot.saturating_sub(offset_ms);
        Some(Piece { first_ms: at(slot), last_ms: at(last), interval_ms, slot })
    }

    /// Goes back to the begin of `piece`, which was too large, with smaller pieces; `false` if there are none.
    pub fn narrow(&mut self, piece: &Piece) -> bool {
        let is_one = piece.first_ms == piece.last_ms;
        self.next = piece.slot;
        self.slots = (self.slots / 2).max(1);
        !is_one
    }

    /// How much of all slots lies behind, from 0 to 1.
    #[must_use]
    pub fn progress(&self) -> f64 {
        let all = self.end.saturating_sub(self.first).saturating_add(1).max(1);
        (self.next.min(self.end.saturating_add(1)).saturating_sub(self.first) as f64 / all as f64).clamp(0.0, 1.0)
    }
}

/// What `rule` makes of its results over time; `limit` is the most series in one slot, 0 any number.
///
/// # Errors
/// Two results become one series in one slot.
pub fn record(rule: &Rule, results: Vec<MatrixSeries>, limit: u64) -> Result<Recorded, RuleError> {
    let changes = changes(rule);
    let mut series: HashMap<Labels, Vec<(i64, SampleValue)>> = HashMap::new();
    let mut returned: HashMap<i64, u64> = HashMap::new();
    for MatrixSeries { labels, timestamps_ms, values, histograms } in results {
        let floats = timestamps_ms.iter().copied().zip(values.into_iter().map(SampleValue::Float));
        let histograms = histograms.timestamps_ms.into_iter().zip(histograms.histograms);
        let samples = floats.chain(histograms.map(|(at, histogram)| (at, SampleValue::Histogram(histogram))));
        let into = series.entry(overlay(&labels, &changes)).or_default();
        for sample in samples {
            *returned.entry(sample.0).or_default() += 1;
            into.push(sample);
        }
    }
    let is_over = |at: &i64| limit > 0 && returned.get(at).is_some_and(|returned| *returned > limit);
    let mut recorded =
        Recorded { slots_over_limit: returned.keys().filter(|at| is_over(at)).count(), ..Recorded::default() };
    let mut series: Vec<_> = series.into_iter().collect();
    series.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    for (labels, mut samples) in series {
        samples.sort_by_key(|(at, _)| *at);
        if samples.windows(2).any(|pair| matches!(pair, [a, b] if a.0 == b.0)) {
            return Err(RuleError::SameSeriesLabels);
        }
        let kept = samples.into_iter().filter(|(at, _)| !is_over(at));
        let sample = |(at, value)| RuleSample { labels: labels.clone(), at: Timestamp(at), value };
        recorded.samples.extend(kept.map(sample));
    }
    Ok(recorded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::Schedule;
    use crate::testing::{MINUTE, labels, spec};
    use model::histogram::HistogramColumns;

    fn pieces(rules: &str, minutes: i64) -> Vec<(i64, i64)> {
        let spec = spec(&format!("groups:\n- name: g\n  query_offset: 10s\n  rules:\n{rules}"));
        let mut pieces = Pieces::new(&spec, Timestamp(0), Timestamp(minutes * MINUTE));
        let phase = Schedule::new("rules.yml", "g", MINUTE).slot_after(Timestamp(-1)).0;
        let minute = |ms: i64| (ms + 10_000 - phase) / MINUTE;
        std::iter::from_fn(|| pieces.advance()).map(|piece| (minute(piece.first_ms), minute(piece.last_ms))).collect()
    }

    #[test]
    fn pieces_cover_every_slot_of_the_group_once() {
        assert_eq!(pieces("  - record: a\n    expr: up\n", 1000), [(0, 511), (512, 999)]);
        assert_eq!(pieces("  - record: a\n    expr: up\n", 0), []);
    }

    #[test]
    fn a_rule_that_reads_its_own_past_goes_slot_by_slot() {
        let own = "  - record: a\n    expr: a offset 1m + 1\n";
        assert_eq!(pieces(own, 3), [(0, 0), (1, 1), (2, 2)]);
        let later = "  - record: a\n    expr: b offset 1m\n  - record: b\n    expr: up\n";
        assert_eq!(pieces(later, 2).len(), 2);
    }

    #[test]
    fn what_is_too_large_is_done_in_smaller_pieces() {
        let spec = spec("groups:\n- name: g\n  rules:\n  - record: a\n    expr: up\n");
        let mut pieces = Pieces::new(&spec, Timestamp(0), Timestamp(1000 * MINUTE));
        let whole = pieces.advance().unwrap();
        assert!(pieces.narrow(&whole));
        let half = pieces.advance().unwrap();
        assert_eq!((half.first_ms, half.last_ms), (whole.first_ms, whole.first_ms + 255 * MINUTE));
        let mut smallest = half;
        while pieces.narrow(&smallest) {
            smallest = pieces.advance().unwrap();
        }
        assert_eq!(smallest.first_ms, smallest.last_ms);
        assert!(pieces.progress() < 0.01);
    }

    fn matrix(pairs: &[(&str, &str)], samples: &[(i64, f64)]) -> MatrixSeries {
        MatrixSeries {
            labels: labels(pairs),
            timestamps_ms: samples.iter().map(|(at, _)| *at).collect(),
            values: samples.iter().map(|(_, value)| *value).collect(),
            histograms: HistogramColumns::default(),
        }
    }

    #[test]
    fn series_get_the_names_and_labels_of_the_rule() {
        let spec = spec("groups:\n- name: g\n  rules:\n  - record: a\n    expr: up\n    labels: {job: '', x: z}\n");
        let results = vec![matrix(&[("__name__", "up"), ("job", "j")], &[(0, 1.0), (60, 2.0)])];
        let recorded = record(&spec.rules[0], results, 0).unwrap();
        let expected = |at, value| RuleSample {
            labels: labels(&[("__name__", "a"), ("x", "z")]),
            at: Timestamp(at),
            value: SampleValue::Float(value),
        };
        assert_eq!(recorded.samples, [expected(0, 1.0), expected(60, 2.0)]);
        // Series that follow each other may become one, series at one time may not.
        let one = || matrix(&[("job", "j")], &[(0, 1.0)]);
        assert_eq!(record(&spec.rules[0], vec![one(), matrix(&[], &[(60, 2.0)])], 0).unwrap().samples.len(), 2);
        assert_eq!(record(&spec.rules[0], vec![one(), matrix(&[], &[(0, 2.0)])], 0), Err(RuleError::SameSeriesLabels));
    }

    #[test]
    fn slots_with_too_many_series_are_left_out() {
        let spec = spec("groups:\n- name: g\n  rules:\n  - record: a\n    expr: up\n");
        let results = || vec![matrix(&[("i", "1")], &[(0, 1.0), (60, 2.0)]), matrix(&[("i", "2")], &[(0, 1.0)])];
        let recorded = record(&spec.rules[0], results(), 1).unwrap();
        assert_eq!((recorded.samples.len(), recorded.slots_over_limit), (1, 1));
        assert_eq!(record(&spec.rules[0], results(), 0).unwrap().samples.len(), 3);
    }
}
