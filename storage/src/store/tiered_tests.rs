//! A store whose days become tiers: buckets are those that its samples make, whatever happens to the samples.

use super::*;
use crate::append::{Batch, HistogramRow, LabelHash, Rejection, Rows};
use crate::tiers::policy::TierPolicy;
use crate::wal::replay::ReplayProgress;
use model::bucket::{Bucket, BucketColumns, BucketFields, BucketUse, aggregate, coarsen};
use model::histogram::{Histogram, HistogramColumns};
use model::sample::{SampleColumns, stale_marker};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::time::Duration;

mod deleted;
mod expiring;
mod late;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const SERIES: usize = 5;

pub(super) fn open(path: &std::path::Path) -> Store {
    let mut options = StoreOptions::new(path);
    options.engine.segment_bytes = 256 << 10;
    options.engine.shards = Some(2);
    // Only what a test asks for happens.
    options.check_interval = Duration::from_secs(3600);
    Store::open(options, &ReplayProgress::default()).unwrap()
}

/// The first of the days: past what samples are kept for, not past what buckets are.
pub(super) fn base_ms() -> i64 {
    (now_ms().div_euclid(DAY) - 12) * DAY
}

fn series(store: &Store, number: usize) -> crate::append::SeriesRef {
    let (name, number) = (format!("m{}", number % 2), number.to_string());
    let labels = [("__name__", name.as_str()), ("n", number.as_str())];
    store.engine().create(LabelHash::of_pairs(labels, &mut Vec::new()), &labels).unwrap()
}

/// Three days and the first hour of the fourth: counters with resets, odd values, gaps, stale markers.
fn fill(store: &Store, base_ms: i64, seed: u64) -> Vec<SampleColumns> {
    let random = &mut SmallRng::seed_from_u64(seed);
    let mut truth = vec![SampleColumns::default(); SERIES];
    for scrape in 0..(3 * DAY + HOUR) / (3 * MINUTE) {
        let mut rows = Rows::default();
        for (number, columns) in truth.iter_mut().enumerate() {
            if random.random_bool(0.05) {
                continue;
            }
            let jitter = if random.random_bool(0.3) { random.random_range(0..2000) } else { 0 };
            let value = match random.random_range(0..20) {
                0 => stale_marker(),
                1 => random.random_range(-1.0..1.0),
                2 => [f64::NAN, f64::INFINITY, -0.0][number % 3],
                _ => f64::from(random.random_range(0..1000)),
            };
            let time_ms = base_ms + scrape * 3 * MINUTE + jitter;
            rows.push(series(store, number), time_ms, value);
            columns.push(time_ms, value);
        }
        assert!(store.engine().append_wait(rows).unwrap().rejected.is_empty());
    }
    truth
}

fn live(store: &Store, raw_days: u32) {
    let raw_keep = Duration::from_secs(24 * 3600) * raw_days;
    let tiers = Some(TierPolicy { raw_keep, ..TierPolicy::default() });
    store.set_retention(Retention { tiers, ..Retention::default() });
    store.flush(true).unwrap();
}

/// Resolution in minutes and number of blocks.
fn blocks(store: &Store) -> Vec<(u64, u64)> {
    store.stats().blocks.iter().map(|group| (group.resolution_ms / MINUTE as u64, group.blocks)).collect()
}

type Found = (Vec<i64>, BTreeMap<usize, (Vec<Bucket>, SampleColumns)>);

/// What a reader on a grid gets: resolutions of its segments, and per series the buckets and the samples outside of them.
fn read(store: &Store, range: TimeRange, grid_ms: i64) -> Found {
    let wanted = BucketUse { exact_grid_ms: grid_ms, where_expired: true, ..BucketUse::default() };
    let selection = store.select_with_buckets(&[], range, 100, &wanted).unwrap();
    let segments = selection.coverage().map(|coverage| coverage.segments.clone()).unwrap_or_default();
    let mut all = BTreeMap::new();
    for index in 0..selection.len() {
        let (mut buckets, mut part, mut samples) = (Vec::new(), BucketColumns::default(), SampleColumns::default());
        let mut outside_ms = range.after_ms;
        for segment in &segments {
            let (after_ms, until_ms) = (segment.after_ms.max(range.after_ms), segment.until_ms.min(range.until_ms));
            selection.read_buckets(index, segment, (after_ms, until_ms), BucketFields::ALL, &mut part).unwrap();
            buckets.extend(part.iter());
            outside_ms = outside_ms.max(until_ms);
        }
        selection.read(index, outside_ms, range.until_ms, &mut samples).unwrap();
        let number = selection.labels(index).unwrap().get("n").unwrap().parse().unwrap();
        all.insert(number, (buckets, samples));
    }
    (segments.iter().map(|segment| segment.resolution_ms / MINUTE).collect(), all)
}

/// What it should get of samples, buckets of `resolution_ms` until `until_ms`.
fn expected(
    samples: &SampleColumns,
    resolution_ms: i64,
    until_ms: i64,
    range: TimeRange,
) -> (Vec<Bucket>, SampleColumns) {
    let (mut old, mut rest) = (SampleColumns::default(), SampleColumns::default());
    for (time_ms, value) in samples.timestamps_ms.iter().zip(&samples.values) {
        if *time_ms > range.after_ms && *time_ms <= range.until_ms {
            if *time_ms <= until_ms { old.push(*time_ms, *value) } else { rest.push(*time_ms, *value) }
        }
    }
    let (mut fine, mut coarse) = (BucketColumns::default(), BucketColumns::default());
    aggregate(&old, 5 * MINUTE, &mut fine);
    coarsen(&fine, resolution_ms, &mut coarse);
    (coarse.iter().collect(), rest)
}

fn check(store: &Store, truth: &[SampleColumns], base_ms: i64) {
    let range = TimeRange { after_ms: base_ms + 2 * HOUR, until_ms: base_ms + 3 * DAY + HOUR };
    for resolution_ms in [5 * MINUTE, HOUR] {
        let (segments, found) = read(store, range, resolution_ms);
        assert_eq!(segments, [resolution_ms / MINUTE]);
        assert_eq!(found.len(), truth.len());
        for (number, samples) in truth.iter().enumerate() {
            let expected = expected(samples, resolution_ms, base_ms + 3 * DAY, range);
            assert_eq!(format!("{:?}", found[&number]), format!("{expected:?}"), "series {number}");
        }
    }
}

#[test]
fn buckets_are_those_of_the_samples_whatever_happens_to_these() {
    let dir = tempfile::tempdir().unwrap();
    let (store, base_ms) = (open(dir.path()), base_ms());
    let truth = fill(&store, base_ms, 1);
    store.flush(true).unwrap();
    assert_eq!(blocks(&store), [(0, 4)], "nobody asked for tiers");
    live(&store, 30);
    // The first moment of the first day is the last one of the day before.
    assert_eq!(blocks(&store), [(0, 4), (5, 4), (60, 4)]);
    check(&store, &truth, base_ms);
    live(&store, 5);
    assert_eq!(blocks(&store), [(0, 1), (5, 4), (60, 4)]);
    check(&store, &truth, base_ms);
    store.close().unwrap();
    drop(store);
    let store = open(dir.path());
    check(&store, &truth, base_ms);
    let range = TimeRange { after_ms: base_ms, until_ms: base_ms + DAY };
    assert_eq!(store.label_values("n", &[], range, 10).unwrap().items.len(), SERIES);
    assert_eq!(store.select_first(&[], range, 10).unwrap().len(), SERIES);
}

/// The histograms of all series in a range, by the label `n`.
fn histograms(store: &Store, range: TimeRange) -> BTreeMap<String, HistogramColumns> {
    let wanted = BucketUse { exact_grid_ms: HOUR, where_expired: true, ..BucketUse::default() };
    let selection = store.select_with_buckets(&[], range, 100, &wanted).unwrap();
    let mut found = BTreeMap::new();
    for index in (0..selection.len()).filter(|index| selection.has_histograms(*index)) {
        let mut columns = HistogramColumns::default();
        selection.read_histograms(index, range.after_ms, range.until_ms, &mut columns).unwrap();
        found.insert(selection.labels(index).unwrap().get("n").unwrap().to_owned(), columns);
    }
    found
}

/// No tier has native histograms: they outlive the floats beside them, to the last bit, and what the tiers say of floats stays the same,
/// whatever comes late and is merged with them.
#[test]
fn native_histograms_outlive_floats() {
    let dir = tempfile::tempdir().unwrap();
    let (store, base_ms) = (open(dir.path()), base_ms());
    // One series has both kinds, one has histograms alone.
    let mut batch = Batch::default();
    for scrape in 0..3 * 24 * 6 {
        for number in [0, SERIES] {
            let count = f64::from(scrape % 100);
            let histogram = Histogram { count, zero_count: count, sum: count / 3.0, ..Histogram::default() };
            let timestamp_ms = base_ms + i64::from(scrape) * 10 * MINUTE + 7;
            let (series, start_ms) = (series(&store, number), base_ms - 1);
            batch.histograms.push(HistogramRow { series, timestamp_ms, start_ms, histogram });
        }
    }
    store.engine().append_wait(batch).unwrap();
    let mut truth = fill(&store, base_ms, 5);
    truth.push(SampleColumns::default());
    live(&store, 30);
    let range = TimeRange { after_ms: base_ms + 2 * HOUR, until_ms: base_ms + 3 * DAY };
    let before = histograms(&store, range);
    assert_eq!(before.len(), 2);
    check(&store, &truth, base_ms);
    live(&store, 5);
    let blocks = store.manifest().blocks.clone();
    let stripped: Vec<_> = blocks.iter().filter(|block| block.has_only_histograms()).collect();
    assert_eq!(stripped.len(), 3);
    assert!(
        blocks.iter().filter(|block| block.resolution_ms == 0 && block.samples > 0).count() == 1,
        "floats are gone"
    );
    assert_eq!(histograms(&store, range), before);
    check(&store, &truth, base_ms);
    // Late ones do not bring back the days that have expired.
    let mut rows = Rows::default();
    rows.push(series(&store, 1), base_ms + DAY + 5, 41.0);
    assert_eq!(store.engine().append_wait(rows).unwrap().rejected, [(0, Rejection::TooOld)]);
    live(&store, 5);
    store.flush(true).unwrap();
    assert_eq!(histograms(&store, range), before);
    check(&store, &truth, base_ms);
    // What is deleted is gone from both.
    store.delete_series(&[vec![Matcher::equal("n", "0")]], i64::MIN, i64::MAX).unwrap();
    store.clean_tombstones().unwrap();
    assert_eq!(store.stats().tombstones, 0);
    let number = SERIES.to_string();
    assert_eq!(histograms(&store, range), BTreeMap::from([(number.clone(), before[&number].clone())]));
}

/// A day whose samples cannot be read has no tiers, keeps its samples, and is named; the others have theirs.
#[test]
fn a_damaged_block_keeps_other_days_from_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (store, base_ms) = (open(dir.path()), base_ms());
    fill(&store, base_ms, 4);
    store.flush(true).unwrap();
    let manifest = store.manifest();
    let damaged = manifest.blocks.iter().find(|block| block.min_ms >= base_ms + DAY).unwrap();
    let file = dir.path().join("blocks").join(damaged.prefix()).join("samples.parquet");
    let mut bytes = std::fs::read(&file).unwrap();
    let pages = 4..bytes.len() - damaged.file("samples.parquet").unwrap().footer_bytes as usize;
    bytes[pages].iter_mut().for_each(|byte| *byte ^= 0x55);
    std::fs::write(&file, bytes).unwrap();
    let tiers = Some(TierPolicy { raw_keep: Duration::from_secs(5 * 86_400), ..TierPolicy::default() });
    store.set_retention(Retention { tiers, ..Retention::default() });
    let failure = store.flush(true).unwrap_err().to_line();
    assert!(failure.contains(&damaged.ulid), "{failure}");
    // The day before it ends with its first moment, so of four days two are made.
    assert_eq!(blocks(&store), [(0, 4), (5, 2), (60, 2)]);
    let named = store.stats().damaged;
    assert!(named.len() == 1 && named[0].ulid == damaged.ulid && named[0].why.contains("samples.parquet"), "{named:?}");
    assert!(store.manifest().block(&damaged.ulid).is_some(), "it is kept for a human");
    store.flush(true).unwrap();
}

#[test]
fn where_samples_have_expired_what_is_refused_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let (store, base_ms) = (open(dir.path()), base_ms());
    fill(&store, base_ms, 2);
    live(&store, 5);
    let range = TimeRange { after_ms: base_ms, until_ms: base_ms + DAY };
    let wanted = |where_expired| BucketUse { where_expired, ..BucketUse::default() };
    let selection = store.select_with_buckets(&[], range, 100, &wanted(false)).unwrap();
    assert!(selection.is_empty() && selection.coverage().unwrap().refused);
    let selection = store.select_with_buckets(&[], range, 100, &wanted(true)).unwrap();
    assert_eq!(selection.len(), SERIES);
    let coverage = selection.coverage().unwrap();
    assert_eq!((coverage.expired_until_ms, coverage.segments.len()), (Some(base_ms + 3 * DAY), 1));
    // What is kept as samples is read as ever.
    let range = TimeRange { after_ms: base_ms + 3 * DAY, until_ms: base_ms + 4 * DAY };
    assert!(store.select_with_buckets(&[], range, 100, &wanted(true)).unwrap().coverage().is_none());
}

#[test]
fn late_samples_and_deletions_reach_the_tiers() {
    let dir = tempfile::tempdir().unwrap();
    let (store, base_ms) = (open(dir.path()), base_ms());
    let mut truth = fill(&store, base_ms, 3);
    live(&store, 30);
    let mut late = SampleColumns::default();
    let mut rows = Rows::default();
    for minute in [1441, 1449] {
        rows.push(series(&store, SERIES), base_ms + minute * MINUTE, 41.0);
        late.push(base_ms + minute * MINUTE, 41.0);
    }
    assert!(store.engine().append_wait(rows).unwrap().rejected.is_empty());
    truth.push(late);
    live(&store, 30);
    check(&store, &truth, base_ms);
    live(&store, 5);
    assert_eq!(blocks(&store), [(0, 1), (5, 4), (60, 4)]);
    check(&store, &truth, base_ms);
    store.delete_series(&[vec![Matcher::equal("n", "0")]], i64::MIN, i64::MAX).unwrap();
    truth[0] = SampleColumns::default();
    let range = TimeRange { after_ms: base_ms + 2 * HOUR, until_ms: base_ms + 3 * DAY + HOUR };
    assert_eq!(read(&store, range, HOUR).1[&0], (Vec::new(), SampleColumns::default()), "hidden at once");
    store.clean_tombstones().unwrap();
    assert_eq!(store.stats().tombstones, 0);
    let found = read(&store, range, HOUR).1;
    assert!(!found.contains_key(&0) && found.len() == SERIES, "{:?}", found.keys());
}

/// Late samples, new days, merges, ends and crashes in any order, while samples are kept; and then they go.
#[test]
fn tiers_are_like_their_twin() {
    for seed in 10..13 {
        println!("seed {seed}");
        let random = &mut SmallRng::seed_from_u64(seed);
        let dir = tempfile::tempdir().unwrap();
        let (mut store, base_ms) = (open(dir.path()), base_ms());
        let mut truth: Vec<BTreeMap<i64, f64>> = fill(&store, base_ms, seed)
            .into_iter()
            .map(|columns| columns.timestamps_ms.into_iter().zip(columns.values).collect())
            .collect();
        let columns = |truth: &[BTreeMap<i64, f64>]| -> Vec<SampleColumns> {
            let of = |series: &BTreeMap<i64, f64>| SampleColumns {
                timestamps_ms: series.keys().copied().collect(),
                values: series.values().copied().collect(),
            };
            truth.iter().map(of).collect()
        };
        for _ in 0..8 {
            match random.random_range(0..5) {
                0..=1 => {
                    let mut rows = Rows::default();
                    for _ in 0..random.random_range(1..30) {
                        let number = random.random_range(0..SERIES);
                        let time_ms = base_ms + random.random_range(0..3 * DAY + HOUR);
                        let value = f64::from(random.random_range(0..1000));
                        if truth[number].contains_key(&time_ms) {
                            continue;
                        }
                        rows.push(series(&store, number), time_ms, value);
                        truth[number].insert(time_ms, value);
                    }
                    assert!(store.engine().append_wait(rows).unwrap().rejected.is_empty());
                }
                2 => store.flush(false).unwrap(),
                3 => {
                    store.close().unwrap();
                    drop(store);
                    store = open(dir.path());
                }
                _ => {
                    // Gone without a word.
                    drop(store);
                    store = open(dir.path());
                }
            }
            if random.random_bool(0.5) {
                live(&store, 30);
                check(&store, &columns(&truth), base_ms);
            }
        }
        live(&store, 30);
        check(&store, &columns(&truth), base_ms);
        live(&store, 5);
        assert_eq!(blocks(&store), [(0, 1), (5, 4), (60, 4)]);
        check(&store, &columns(&truth), base_ms);
    }
}
