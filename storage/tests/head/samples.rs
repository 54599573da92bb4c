//! Whatever is appended in whatever order, the head holds and answers what the naive twin does.

use crate::naive::NaiveHead;
use model::labels::Labels;
use model::sample::{STALE_MARKER_BITS, SampleColumns};
use proptest::prelude::*;
use std::collections::HashMap;
use storage::append::Rows;
use storage::head::{Head, HeadOptions};

const START_MS: i64 = 1_790_000_000_000;

/// One step of a history.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// A target is scraped some ticks on: all of its series but some, at one time.
    Scrape { target: u8, ticks: u8, jitter: i8, missing: u8 },
    /// One series is pushed at a time of its own.
    Push { series: u8, ahead_ms: u32, value: u16 },
    /// One series gets a sample this far behind its newest.
    Late { series: u8, behind_ms: u32, value: u16 },
    /// Sends some of the last batch again, perhaps with other values.
    Again { every: u8, change: bool },
}

pub(crate) fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0u8..3, 1u8..4, -3i8..=3, any::<u8>()).prop_map(|(target, ticks, jitter, missing)| Step::Scrape { target, ticks, jitter, missing }),
        2 => (any::<u8>(), 1u32..200_000, any::<u16>()).prop_map(|(series, ahead_ms, value)| Step::Push { series, ahead_ms, value }),
        2 => (any::<u8>(), 0u32..20_000_000, any::<u16>()).prop_map(|(series, behind_ms, value)| Step::Late { series, behind_ms, value }),
        1 => (any::<u8>(), 1u32..20, any::<u16>()).prop_map(|(series, behind, value)| Step::Late { series, behind_ms: behind * 15_000, value }),
        1 => (1u8..5, any::<bool>()).prop_map(|(every, change)| Step::Again { every, change }),
    ]
}

/// A head and its twin, going through the same history.
pub(crate) struct Pair {
    pub(crate) head: Head,
    pub(crate) twin: NaiveHead,
    clock_ms: [i64; 3],
    last: Rows,
}

/// A twin that waits for a head with the same history.
pub(crate) struct Fork {
    pub(crate) twin: NaiveHead,
    clock_ms: [i64; 3],
    last: Rows,
}

impl Fork {
    pub(crate) fn onto(&self, head: Head) -> Pair {
        Pair { head, twin: self.twin.clone(), clock_ms: self.clock_ms, last: self.last.clone() }
    }
}

impl Pair {
    pub(crate) fn new(head: Head) -> Self {
        let mut twin = NaiveHead::default();
        for target in 0..3 {
            for n in 0..6 {
                let pairs = [
                    ("__name__", format!("metric_{n}")),
                    ("job", if target == 2 { String::new() } else { "node".into() }),
                    ("instance", if target == 2 { String::new() } else { format!("host-{target}:9100") }),
                    ("n", format!("{target}-{n}")),
                ];
                twin.create(&head, &Labels::from_pairs(pairs).unwrap());
            }
        }
        Self { head, twin, clock_ms: [START_MS; 3], last: Rows::default() }
    }

    /// The twin and its history so far, without the head.
    pub(crate) fn fork(&self) -> Fork {
        Fork { twin: self.twin.clone(), clock_ms: self.clock_ms, last: self.last.clone() }
    }

    pub(crate) fn apply(&mut self, step: &Step) {
        let rows = self.rows_of(step);
        assert_eq!(self.head.append(&rows), self.twin.append(&rows), "{step:?}");
        self.last = rows;
    }

    fn rows_of(&mut self, step: &Step) -> Rows {
        let mut rows = Rows::default();
        match *step {
            Step::Scrape { target, ticks, jitter, missing } => {
                let clock = &mut self.clock_ms[usize::from(target)];
                *clock += 15_000 * i64::from(ticks);
                let at = *clock + i64::from(jitter);
                let first = usize::from(target) * 6;
                for n in (0..6).filter(|n| missing & (0x41 << n) != 0x41 << n) {
                    rows.push(self.twin.series[first + n].series, at, value_of(n, *clock));
                }
            }
            Step::Push { series, ahead_ms, value } => {
                let known = &self.twin.series[usize::from(series) % self.twin.series.len()];
                let newest = known.samples.keys().next_back().copied().unwrap_or(START_MS);
                rows.push(known.series, newest + i64::from(ahead_ms), f64::from(value));
            }
            Step::Late { series, behind_ms, value } => {
                let known = &self.twin.series[usize::from(series) % self.twin.series.len()];
                let newest = known.samples.keys().next_back().copied().unwrap_or(START_MS);
                rows.push(known.series, newest - i64::from(behind_ms), f64::from(value) / 8.0);
            }
            Step::Again { every, change } => {
                for i in (0..self.last.len()).step_by(usize::from(every)) {
                    let value = if change { self.last.values[i] + 1.0 } else { self.last.values[i] };
                    rows.push(self.last.series[i], self.last.timestamps_ms[i], value);
                }
            }
        }
        rows
    }

    /// Compares all series over a range, samples, newest sample and tokens.
    pub(crate) fn compare(&self, after_ms: i64, until_ms: i64) {
        let selection = self.head.select(&[], i64::MIN, i64::MAX, usize::MAX).expect("no bound");
        let with_samples = self.twin.series.iter().filter(|series| !series.samples.is_empty()).count();
        assert_eq!(selection.len(), with_samples);
        let mut by_token: HashMap<u64, Vec<i64>> = HashMap::new();
        let mut columns = SampleColumns::default();
        for i in 0..selection.len() {
            let series = selection.series(i);
            let known = self.twin.series.iter().find(|known| known.series == series).expect("known to the twin");
            assert_eq!(selection.labels(i), known.labels);
            let token = selection.read(i, after_ms, until_ms, &mut columns).expect("readable");
            let read: Vec<_> =
                columns.timestamps_ms.iter().copied().zip(columns.values.iter().map(|v| v.to_bits())).collect();
            let expected = known.within(after_ms, until_ms);
            assert_eq!(read, expected, "{} in ({after_ms}, {until_ms}]", known.labels);
            let latest = selection.latest(i, after_ms, until_ms).expect("readable");
            assert_eq!(latest.map(|s| (s.timestamp_ms, s.value.to_bits())), expected.last().copied());
            if let Some(token) = token {
                let same = by_token.entry(token).or_insert_with(|| columns.timestamps_ms.clone());
                assert_eq!(*same, columns.timestamps_ms, "one token, two lists of timestamps");
            }
        }
    }

    /// Compares over ranges that begin and end at, before and after samples.
    pub(crate) fn compare_ranges(&self, seed: u64) {
        self.compare(i64::MIN, i64::MAX);
        let mut times: Vec<i64> = self.twin.series.iter().flat_map(|series| series.samples.keys().copied()).collect();
        times.sort_unstable();
        for n in 0..6u64 {
            let pick = |salt: u64| {
                let at = (seed ^ salt).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(n as u32 * 7) as usize;
                times.get(at % times.len().max(1)).copied().unwrap_or(START_MS) + (at % 3) as i64 - 1
            };
            let (a, b) = (pick(n), pick(n + 100));
            self.compare(a.min(b), a.max(b));
        }
    }
}

/// Counters, gauges, constants and stale markers.
fn value_of(n: usize, clock_ms: i64) -> f64 {
    let tick = clock_ms / 15_000;
    match n {
        0 => tick as f64,
        1 => (tick * 7 % 1_000) as f64 / 100.0,
        2 => 1.0,
        3 => (tick as f64).sqrt(),
        4 if tick % 11 == 0 => f64::from_bits(STALE_MARKER_BITS),
        4 => ((tick * 37 % 5_000) * 4096) as f64,
        _ => -0.0,
    }
}

pub(crate) fn open(dir: &std::path::Path, shards: usize) -> Head {
    let options = HeadOptions { shards, out_of_order_bytes_max: 4096, ..HeadOptions::new(dir) };
    Head::open(options).expect("a fresh directory").0
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn any_history_is_answered_as_by_the_twin(steps in proptest::collection::vec(any_step(), 0..400), shards in 0u32..3, seed: u64) {
        let dir = tempfile::tempdir().unwrap();
        let mut pair = Pair::new(open(dir.path(), 1 << shards));
        for step in &steps {
            pair.apply(step);
        }
        pair.compare_ranges(seed);
    }
}

/// Chunks are cut by the hundred, files are written and the timeline is shared all along.
#[test]
fn a_long_steady_history_shares_one_timeline() {
    let dir = tempfile::tempdir().unwrap();
    let mut pair = Pair::new(open(dir.path(), 1));
    for i in 0..1_500i32 {
        let jitter = (i * 7 % 7 - 3) as i8;
        pair.apply(&Step::Scrape { target: 0, ticks: 1, jitter, missing: 0 });
        pair.apply(&Step::Scrape { target: 1, ticks: 1, jitter, missing: 0 });
    }
    pair.compare_ranges(3);
    let stats = pair.head.stats();
    assert_eq!(stats.timelines_left, 0);
    assert!((12 * 11..=12 * 14).contains(&stats.chunks_cut), "{stats:?}");
    assert!(stats.segments_written <= 2 * 14, "{stats:?}");
    let selection = pair.head.select(&[], i64::MIN, i64::MAX, 100).unwrap();
    let mut columns = SampleColumns::default();
    let tokens: std::collections::HashSet<_> =
        (0..selection.len()).map(|i| selection.read(i, START_MS, i64::MAX, &mut columns).unwrap()).collect();
    assert_eq!(tokens.len(), 2, "one per target");
    assert!(tokens.iter().all(Option::is_some));
}

#[test]
fn extreme_timestamps_are_stored() {
    let dir = tempfile::tempdir().unwrap();
    let head = open(dir.path(), 1);
    let mut twin = NaiveHead::default();
    let labels = Labels::from_pairs([("__name__", "x"), ("job", "a"), ("instance", "b")]).unwrap();
    let series = twin.create(&head, &labels);
    let mut rows = Rows::default();
    for at in [0, -1, i64::MIN, i64::MAX, i64::MIN, i64::MAX - 1, 1, i64::MIN + 1, 4_000_000_000_000, i64::MAX] {
        rows.push(series, at, at as f64);
    }
    for at in 0..100 {
        rows.push(series, i64::MIN + 3 + (at * (i64::MAX / 200)).wrapping_mul(2), 1.0);
    }
    assert_eq!(head.append(&rows), twin.append(&rows));
    let selection = head.select(&[], i64::MIN, i64::MAX, 1).unwrap();
    let mut columns = SampleColumns::default();
    selection.read(0, i64::MIN, i64::MAX, &mut columns).unwrap();
    let expected = twin.series[0].within(i64::MIN, i64::MAX);
    assert_eq!(columns.timestamps_ms, expected.iter().map(|s| s.0).collect::<Vec<_>>());
}

/// A target that went away holds no cells and no timeline segment for long, and its samples stay.
#[test]
fn idle_series_give_their_memory_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut pair = Pair::new(open(dir.path(), 1));
    for _ in 0..100 {
        pair.apply(&Step::Scrape { target: 1, ticks: 1, jitter: 0, missing: 0 });
    }
    pair.apply(&Step::Scrape { target: 0, ticks: 1, jitter: 0, missing: 0 });
    let before = pair.head.stats();
    for _ in 0..20 {
        pair.apply(&Step::Scrape { target: 0, ticks: 100, jitter: 0, missing: 0 });
    }
    let after = pair.head.stats();
    assert!(after.memory.cells_used < before.memory.cells_used / 4, "{before:?} {after:?}");
    pair.compare_ranges(5);
    pair.apply(&Step::Scrape { target: 1, ticks: 200, jitter: 0, missing: 0 });
    pair.compare_ranges(6);
}
