//! Native histograms, exemplars and start timestamps through the whole engine, with restarts between any two steps.

use super::*;
use crate::append::{ExemplarRow, HistogramRow, Rejection};
use model::exemplar::Exemplar;
use model::histogram::{CounterResetHint, Histogram, HistogramColumns, Span};
use model::labels::Labels;
use model::matcher::Matcher;
use model::sample::stale_marker;

/// A histogram of series `n`: 30 buckets that grow, and now and then a new one.
pub(super) fn histogram(n: u32, round: i64) -> Histogram {
    let buckets = 30 + (round / 40) as usize;
    let population = |bucket: usize| (round * (bucket as i64 % 3) + i64::from(n)) as f64;
    let positive_buckets: Vec<f64> = (0..buckets).map(population).collect();
    Histogram {
        schema: 3,
        zero_threshold: 0.001,
        zero_count: 1.0,
        count: 1.0 + positive_buckets.iter().sum::<f64>(),
        sum: round as f64 * 0.25,
        positive_spans: vec![Span { offset: -10, length: buckets as u32 }],
        positive_buckets,
        ..Histogram::default()
    }
}

fn row(engine: &Engine, n: u32, timestamp_ms: i64, histogram: Histogram) -> HistogramRow {
    HistogramRow { series: series(engine, n).expect("healthy"), timestamp_ms, start_ms: 0, histogram }
}

fn append_histograms(engine: &Engine, histograms: Vec<HistogramRow>) -> AppendOutcome {
    engine.append_wait(Batch { histograms, ..Batch::default() }).expect("healthy")
}

/// What a series has, hints left out and empty buckets, too.
fn stored(engine: &Engine, n: u32) -> Vec<(i64, Histogram)> {
    let columns = read(engine, n, i64::MIN, i64::MAX);
    let plain = |histogram: &Arc<Histogram>| Histogram {
        counter_reset_hint: CounterResetHint::Unknown,
        ..Histogram::clone(histogram)
    };
    columns.timestamps_ms.iter().copied().zip(columns.histograms.iter().map(plain)).collect()
}

fn read(engine: &Engine, n: u32, after_ms: i64, until_ms: i64) -> HistogramColumns {
    let name = [Matcher::equal("n", n.to_string())];
    let selection = engine.select(&name, after_ms, until_ms, 10).expect("no limit");
    let mut columns = HistogramColumns::default();
    if !selection.is_empty() && selection.has_histograms(0) {
        selection.read_histograms(0, after_ms, until_ms, &mut columns).expect("readable");
    }
    columns
}

fn expected(n: u32, rounds: impl Iterator<Item = i64>) -> Vec<(i64, Histogram)> {
    let compact = |mut histogram: Histogram| {
        histogram.compact();
        histogram
    };
    rounds.map(|round| (round * 15_000, compact(histogram(n, round)))).collect()
}

/// Enough to cut chunks, with snapshots, log and crashes taking turns.
#[test]
fn histograms_survive_snapshots_and_crashes() {
    let mut place = Place::new();
    let mut engine = place.open();
    for round in 0..600i64 {
        let rows = (0..6).map(|n| row(&engine, n, round * 15_000, histogram(n, round))).collect();
        let outcome = append_histograms(&engine, rows);
        assert_eq!((outcome.histograms_written, outcome.histograms_rejected), (6, vec![]));
        if round % 90 == 50 {
            engine.snapshot_now().expect("room");
        }
        if round % 130 == 100 {
            drop(engine);
            place.restart(round as u64);
            engine = place.open();
            assert_eq!(engine.restore_report().damage_count(), 0, "{:?}", engine.restore_report());
        }
    }
    for n in 0..6 {
        assert_eq!(stored(&engine, n), self::expected(n, 0..600), "series {n}");
        let some = read(&engine, n, 100 * 15_000, 300 * 15_000);
        assert_eq!(some.len(), 200);
    }
    assert!(engine.stats().head.histogram_chunks_cut > 0);
}

#[test]
fn late_histograms_are_stored_and_repeated_or_conflicting_ones_told_apart() {
    let mut place = Place::new();
    let engine = place.open();
    let rounds: Vec<i64> = (0..400).map(|n| n * 7 % 400).collect();
    for round in &rounds {
        append_histograms(&engine, vec![row(&engine, 1, round * 15_000, histogram(1, *round))]);
    }
    let check = |engine: &Engine| {
        assert_eq!(stored(engine, 1), self::expected(1, 0..400));
        // Once from the chunks, once from memory.
        for round in [3, 399] {
            let again = row(engine, 1, round * 15_000, histogram(1, round));
            let other = row(engine, 1, round * 15_000, histogram(2, round));
            let outcome = append_histograms(engine, vec![again, other]);
            assert_eq!(outcome.histograms_written, 1);
            assert_eq!(outcome.histograms_rejected, [(1, Rejection::ConflictingValue)]);
        }
    };
    check(&engine);
    drop(engine);
    place.restart(3);
    check(&place.open());
}

/// Whichever comes first in the log has the timestamp, also after a restart.
#[test]
fn a_timestamp_has_a_float_or_a_histogram() {
    let mut place = Place::new();
    let engine = place.open();
    for round in 0..300i64 {
        // Even rounds are histograms, odd ones floats.
        let mut rows = Rows::default();
        if round % 2 == 1 {
            rows.push(series(&engine, 1).expect("healthy"), round * 15_000, round as f64);
        }
        let histograms =
            if round % 2 == 0 { vec![row(&engine, 1, round * 15_000, histogram(1, round))] } else { Vec::new() };
        let outcome = engine.append_wait(Batch { rows, histograms, ..Batch::default() }).expect("healthy");
        assert_eq!(outcome.written + outcome.histograms_written, 1, "round {round}");
    }
    let check = |engine: &Engine| {
        let mut rows = Rows::default();
        for round in [0i64, 100, 298] {
            rows.push(series(engine, 1).expect("healthy"), round * 15_000, 1.0);
        }
        let histograms = [1i64, 101, 299].map(|round| row(engine, 1, round * 15_000, histogram(1, round))).into();
        let outcome = engine.append_wait(Batch { rows, histograms, ..Batch::default() }).expect("healthy");
        assert_eq!((outcome.written, outcome.rejected.len()), (0, 3));
        assert_eq!((outcome.histograms_written, outcome.histograms_rejected.len()), (0, 3));
        assert_eq!(stored(engine, 1), self::expected(1, (0..300).step_by(2)));
        let floats = content(engine).remove("{__name__=\"m\", n=\"1\"}").expect("the series is there");
        assert_eq!(floats.into_keys().collect::<Vec<_>>(), (0..150).map(|n| (n * 2 + 1) * 15_000).collect::<Vec<_>>());
    };
    check(&engine);
    drop(engine);
    place.restart(5);
    check(&place.open());
}

#[test]
fn hints_tell_runs_resets_gauges_and_stale_markers_apart() {
    use CounterResetHint::{Gauge, NotReset, Reset, Unknown};
    let place = Place::new();
    let engine = place.open();
    let stale = Histogram { sum: stale_marker(), ..Histogram::default() };
    let gauge = Histogram { counter_reset_hint: Gauge, ..histogram(1, 9) };
    let told = Histogram { counter_reset_hint: Reset, ..histogram(1, 12) };
    let samples = [
        (histogram(1, 1), Unknown),
        (histogram(1, 2), NotReset),
        (histogram(1, 1), Unknown),
        (histogram(1, 3), NotReset),
        (stale.clone(), Unknown),
        (histogram(1, 4), Unknown),
        (gauge.clone(), Gauge),
        (gauge, Gauge),
        (histogram(1, 10), Unknown),
        (told, Reset),
        (histogram(1, 13), NotReset),
    ];
    for (t, (histogram, _)) in (1i64..).zip(&samples) {
        append_histograms(&engine, vec![row(&engine, 1, t, histogram.clone())]);
    }
    let columns = read(&engine, 1, i64::MIN, i64::MAX);
    let hints: Vec<CounterResetHint> = columns.histograms.iter().map(|found| found.counter_reset_hint).collect();
    assert_eq!(hints, samples.map(|(_, hint)| hint));
    assert!(columns.histograms[4].is_stale());

    let selection = engine.select(&[], 0, 100, 10).expect("no limit");
    let latest = |at| selection.latest_histogram(0, 0, at).expect("readable").map(|(t, _)| t);
    assert_eq!((latest(100), latest(3), latest(0)), (Some(11), Some(3), None));
}

/// A shard's histograms are cut when they take too much memory, and all of them are still there.
#[test]
fn memory_is_bounded() {
    let mut place = Place::new();
    place.options.histogram_bytes_max = 64 << 10;
    let engine = place.open();
    for round in 0..60i64 {
        let rows = (0..50).map(|n| row(&engine, n, round * 15_000, histogram(n, round))).collect();
        append_histograms(&engine, rows);
    }
    let memory = engine.stats().head.memory;
    assert!(memory.histograms < 256 << 10, "{} bytes", memory.histograms);
    for n in 0..50 {
        assert_eq!(stored(&engine, n), self::expected(n, 0..60), "series {n}");
    }
}

#[test]
fn exemplars_survive_snapshots_and_crashes_and_orphans_have_series() {
    let mut place = Place::new();
    let mut engine = place.open();
    let exemplar = |engine: &Engine, n: u32, t: i64| {
        let labels = Labels::from_pairs([("trace_id", format!("{n}-{t}"))]).expect("one label");
        let exemplar = Exemplar { labels, value: t as f64, timestamp_ms: t };
        ExemplarRow { series: series(engine, n).expect("healthy"), exemplar }
    };
    for t in 0..30i64 {
        let exemplars = (0..3).map(|n| exemplar(&engine, n, t)).collect();
        let outcome = engine.append_wait(Batch { exemplars, ..Batch::default() }).expect("healthy");
        assert_eq!(outcome.exemplars_written, 3);
        if t == 10 {
            engine.snapshot_now().expect("room");
        }
        if t % 12 == 11 {
            drop(engine);
            place.restart(t as u64);
            engine = place.open();
        }
    }
    let found = engine.exemplars(&[vec![Matcher::equal("n", "1")], vec![Matcher::equal("n", "2")]], 5, 20);
    let found: Vec<(String, usize)> = found.iter().map(|(labels, found)| (labels.to_string(), found.len())).collect();
    let labels = |n| format!("{{__name__=\"m\", n=\"{n}\"}}");
    assert_eq!(found, [(labels(1), 16), (labels(2), 16)]);
    assert_eq!(engine.stats().exemplars, 90);
    assert!(engine.select(&[], i64::MIN, i64::MAX, 10).expect("no limit").is_empty(), "they have no samples");
}

/// Floats that keep their start for long and floats whose start changes with every sample, late ones among them, and
/// histograms.
#[test]
fn start_timestamps_survive_snapshots_and_crashes() {
    let mut place = Place::new();
    let mut engine = place.open();
    let start = |n: u32, t: i64| match (n, t % 10) {
        (_, 3) | (3, _) => 0,
        (0, _) => 1 + t / 1_000,
        _ => t - 1,
    };
    let times: Vec<i64> = (0..400i64).map(|t| 2_000 + t * 7 % 400 + t / 57 * 400).collect();
    for (round, t) in times.iter().enumerate() {
        let mut rows = Rows::default();
        for n in [0, 1, 3] {
            rows.push_started(series(&engine, n).expect("healthy"), *t, *t as f64, start(n, *t));
        }
        let started = HistogramRow { start_ms: start(2, *t), ..row(&engine, 2, *t, histogram(2, *t)) };
        let outcome = engine.append_wait(Batch { rows, histograms: vec![started], ..Batch::default() });
        assert_eq!(outcome.expect("healthy").written, 3);
        if round % 90 == 50 {
            engine.snapshot_now().expect("room");
        }
        if round % 130 == 100 {
            drop(engine);
            place.restart(round as u64);
            engine = place.open();
        }
    }
    let mut sorted = times;
    sorted.sort_unstable();
    for n in 0..4 {
        let name = [Matcher::equal("n", n.to_string())];
        let selection = engine.select(&name, i64::MIN, i64::MAX, 10).expect("no limit");
        let mut found = Vec::new();
        selection.read_start_timestamps(0, i64::MIN, i64::MAX, &mut found).expect("readable");
        let expected: Vec<i64> = if n == 3 { Vec::new() } else { sorted.iter().map(|t| start(n, *t)).collect() };
        assert_eq!(found, expected, "series {n}");
        assert_eq!(selection.has_start_timestamps(0), n != 3);
    }
}
