//! Late samples are in answers at once, whether they are in the head, in a block that is newer than the tiers, or in these.

use super::*;
use crate::bucket::BucketOptions;
use crate::import::room::Room;
use crate::import::{EachSeries, ImportError, ImportOptions, ImportReport, ImportedSeries, Source, Watch, run};
use crate::offline::BlockStore;
use model::bucket::{Segment, bucket_end};
use std::cell::RefCell;

/// Of each series, the buckets of all segments and the samples of all other time.
type Answers = BTreeMap<usize, (Vec<Bucket>, SampleColumns)>;

/// What a reader gets who may use exact buckets.
fn answers(store: &Store, range: TimeRange, grid_ms: i64) -> (Vec<Segment>, Answers) {
    let wanted = BucketUse { exact_grid_ms: grid_ms, where_expired: true, ..BucketUse::default() };
    let selection = store.select_with_buckets(&[], range, 100, &wanted).unwrap();
    let mut segments = selection.coverage().map(|coverage| coverage.segments.clone()).unwrap_or_default();
    for segment in &mut segments {
        segment.after_ms = segment.after_ms.max(bucket_end(range.after_ms, segment.resolution_ms));
        segment.until_ms = segment.until_ms.min(range.until_ms);
    }
    let mut all = BTreeMap::new();
    for index in 0..selection.len() {
        let (mut buckets, mut samples) = (Vec::new(), SampleColumns::default());
        let (mut part, mut rest) = (BucketColumns::default(), SampleColumns::default());
        let mut read_samples = |after_ms: i64, until_ms: i64| {
            if after_ms < until_ms {
                selection.read(index, after_ms, until_ms, &mut rest).unwrap();
                rest.timestamps_ms.iter().zip(&rest.values).for_each(|(at, value)| samples.push(*at, *value));
            }
        };
        let mut after_ms = range.after_ms;
        for segment in &segments {
            read_samples(after_ms, segment.after_ms);
            let bounds = (segment.after_ms, segment.until_ms);
            selection.read_buckets(index, segment, bounds, BucketFields::ALL, &mut part).unwrap();
            buckets.extend(part.iter());
            after_ms = segment.until_ms;
        }
        read_samples(after_ms, range.until_ms);
        let number = selection.labels(index).unwrap().get("n").unwrap().parse().unwrap();
        all.insert(number, (buckets, samples));
    }
    (segments, all)
}

/// Every answer is that of the samples; returns what time was read from buckets, in hours after `base_ms`.
pub(super) fn check(store: &Store, truth: &[BTreeMap<i64, f64>], base_ms: i64) -> Vec<(i64, i64)> {
    let range = TimeRange { after_ms: base_ms + 2 * HOUR, until_ms: base_ms + 3 * DAY + HOUR };
    let (segments, found) = answers(store, range, HOUR);
    for (number, all) in truth.iter().enumerate() {
        let (mut buckets, mut samples) = (Vec::new(), SampleColumns::default());
        for segment in &segments {
            let (mut inside, mut fine, mut coarse) = Default::default();
            let inside_of = all.range(segment.after_ms + 1..=segment.until_ms);
            inside_of.for_each(|(at, value)| SampleColumns::push(&mut inside, *at, *value));
            aggregate(&inside, 5 * MINUTE, &mut fine);
            coarsen(&fine, segment.resolution_ms, &mut coarse);
            buckets.extend(BucketColumns::iter(&coarse));
        }
        for (at, value) in all.range(range.after_ms + 1..=range.until_ms) {
            if !segments.iter().any(|segment| segment.after_ms < *at && *at <= segment.until_ms) {
                samples.push(*at, *value);
            }
        }
        let expected = (buckets, samples);
        let found = found.get(&number).cloned().unwrap_or_default();
        assert_eq!(format!("{found:?}"), format!("{expected:?}"), "series {number}, {segments:?}");
    }
    let hours = |segment: &Segment| ((segment.after_ms - base_ms) / HOUR, (segment.until_ms - base_ms) / HOUR);
    segments.iter().map(hours).collect()
}

pub(super) fn truth_of(filled: Vec<SampleColumns>) -> Vec<BTreeMap<i64, f64>> {
    let map = |columns: SampleColumns| columns.timestamps_ms.into_iter().zip(columns.values).collect();
    filled.into_iter().map(map).collect()
}

pub(super) fn append(store: &Store, truth: &mut Vec<BTreeMap<i64, f64>>, number: usize, time_ms: i64, value: f64) {
    truth.resize_with(truth.len().max(number + 1), BTreeMap::new);
    if truth[number].contains_key(&time_ms) {
        return;
    }
    let mut rows = Rows::default();
    rows.push(series(store, number), time_ms, value);
    assert!(store.engine().append_wait(rows).unwrap().rejected.is_empty());
    truth[number].insert(time_ms, value);
}

/// Only the days that late samples are of are read from samples, until these are in the tiers.
#[test]
fn late_samples_are_in_answers_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (store, base_ms) = (open(dir.path()), base_ms());
    let mut truth = truth_of(fill(&store, base_ms, 6));
    live(&store, 30);
    assert_eq!(check(&store, &truth, base_ms), [(2, 72)]);
    // Of a series that there is, and of a new one.
    append(&store, &mut truth, 1, base_ms + DAY + 5, 1e6);
    append(&store, &mut truth, SERIES, base_ms + DAY + 5, 41.0);
    assert_eq!(check(&store, &truth, base_ms), [(2, 24), (48, 72)]);
    // The first moment of a day belongs to the day before.
    append(&store, &mut truth, SERIES, base_ms + 2 * DAY, 42.0);
    assert_eq!(check(&store, &truth, base_ms), [(2, 24), (48, 72)]);
    store.close().unwrap();
    drop(store);
    let store = open(dir.path());
    assert_eq!(check(&store, &truth, base_ms), [(2, 24), (48, 72)], "a snapshot knows the days");
    store.flush(false).unwrap();
    assert_eq!(check(&store, &truth, base_ms), [(2, 24), (48, 72)], "the block is newer than the tiers");
    live(&store, 30);
    assert_eq!(check(&store, &truth, base_ms), [(2, 72)]);
}

/// As above, in any order and without waiting for anything.
#[test]
fn late_samples_are_like_their_twin() {
    for seed in 20..24 {
        println!("seed {seed}");
        let random = &mut SmallRng::seed_from_u64(seed);
        let dir = tempfile::tempdir().unwrap();
        let (mut store, base_ms) = (open(dir.path()), base_ms());
        let mut truth = truth_of(fill(&store, base_ms, seed));
        live(&store, 30);
        for _ in 0..12 {
            match random.random_range(0..8) {
                0..=3 => {
                    for _ in 0..random.random_range(1..100) {
                        let (number, late_ms) = (random.random_range(0..SERIES + 2), random.random_range(1..DAY));
                        let time_ms = base_ms + 3 * DAY + HOUR - late_ms * random.random_range(1..4);
                        append(&store, &mut truth, number, time_ms, f64::from(random.random_range(0..1000)));
                    }
                }
                4 => store.flush(false).unwrap(),
                5 => live(&store, 30),
                closes => {
                    if closes == 6 {
                        store.close().unwrap();
                    }
                    drop(store);
                    store = open(dir.path());
                }
            }
            check(&store, &truth, base_ms);
        }
    }
}

/// Samples that would vanish are refused, and nothing else is: other days, and histograms where they outlive floats.
#[test]
fn samples_that_only_tiers_are_left_of_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (store, base_ms) = (open(dir.path()), base_ms());
    fill(&store, base_ms, 7);
    live(&store, 5);
    let now_ms = now_ms();
    let mut batch = Batch::default();
    // Long before anything was stored, of an expired day, of a day that has samples, beyond all tiers.
    let times = [now_ms - 300 * DAY, base_ms + DAY + 7, base_ms + 3 * DAY + HOUR + 7, now_ms - 500 * DAY];
    times.iter().for_each(|at_ms| batch.rows.push(series(&store, SERIES), *at_ms, 4.0));
    for timestamp_ms in times {
        let (series, histogram) = (series(&store, SERIES + 1), Histogram::default());
        batch.histograms.push(HistogramRow { series, timestamp_ms, start_ms: 0, histogram });
    }
    let outcome = store.engine().append_wait(batch).unwrap();
    assert_eq!((outcome.written, outcome.histograms_written), (2, 3));
    assert_eq!(outcome.rejected, [(1, Rejection::TooOld), (3, Rejection::TooOld)]);
    assert_eq!(outcome.histograms_rejected, [(3, Rejection::TooOld)]);
    // What was taken is seen at once, and when it is in a block, and in tiers.
    let range = |at_ms: i64| TimeRange { after_ms: at_ms - 1, until_ms: at_ms };
    for _ in 0..2 {
        for at_ms in [times[0], times[2]] {
            let (_, found) = answers(&store, range(at_ms), 1);
            assert_eq!(found[&SERIES].1.timestamps_ms, [at_ms]);
        }
        store.flush(false).unwrap();
    }
    live(&store, 5);
    let day_ms = times[0].div_euclid(DAY) * DAY;
    let (_, found) = answers(&store, TimeRange { after_ms: day_ms, until_ms: day_ms + DAY }, HOUR);
    assert_eq!(found[&SERIES].0.iter().map(|bucket| bucket.last_ms).collect::<Vec<_>>(), [times[0]]);
    // Retention alone.
    store.set_retention(Retention { keep_ms: Some(2 * DAY), ..Retention::default() });
    let mut rows = Rows::default();
    [3 * DAY, DAY].iter().for_each(|age_ms| rows.push(series(&store, 0), now_ms - age_ms, 5.0));
    assert_eq!(store.engine().append_wait(rows).unwrap().rejected, [(0, Rejection::TooOld)]);
}

/// One series that has both kinds of samples on each of some days.
struct Everything(Vec<i64>);

impl Source for Everything {
    fn days(&self) -> Vec<i64> {
        self.0.clone()
    }

    fn digest(&self, day: i64) -> u128 {
        day as u128
    }

    fn visit(&self, day: i64, each: &mut EachSeries<'_>) -> Result<(), ImportError> {
        let labels = Labels::from_pairs([("__name__", "imported"), ("n", "9")]).unwrap();
        let hash = LabelHash::of_pairs(&labels, &mut Vec::new());
        let mut series = ImportedSeries { labels, hash, ..ImportedSeries::default() };
        series.floats.push(day * DAY + 7, 1.0);
        series.histograms.push(day * DAY + 8, Histogram::default().into());
        each(&series)
    }
}

/// Imports [`Everything`] of some days, and leaves nothing behind.
fn import(path: &std::path::Path, days: Vec<i64>, watch: &dyn Watch) -> ImportReport {
    let blocks = BlockStore::open(&BucketOptions::default(), path, "anonymous").unwrap();
    let (work, options) = (blocks.work_dir().unwrap(), ImportOptions { again: false, room: Room::new(1 << 30) });
    let report = run(&blocks, &Everything(days), work.path(), options, watch).unwrap();
    assert!(std::fs::read_dir(work.path()).unwrap().all(|entry| !entry.unwrap().path().is_dir()));
    report
}

/// What only tiers are left of takes no floats, and whoever imports is told.
#[test]
fn an_import_leaves_out_what_would_vanish() {
    let dir = tempfile::tempdir().unwrap();
    let (store, base_ms) = (open(dir.path()), base_ms());
    fill(&store, base_ms, 8);
    live(&store, 5);
    let day = base_ms / DAY;
    let report = import(dir.path(), vec![day - 30, day + 1, day + 5], &());
    assert_eq!((report.days, report.days_expired, report.samples), (3, 1, 5));
}

/// Has the samples of days expire while an import writes them.
struct Meanwhile<'s>(&'s Store, RefCell<Vec<String>>);

impl Watch for Meanwhile<'_> {
    fn begin(&self, _: &str, _: u64) {}

    fn advance(&self, _: u64) {
        live(self.0, 5);
    }

    fn note(&self, text: &str) {
        self.1.borrow_mut().push(text.to_owned());
    }
}

#[test]
fn what_expires_while_it_is_imported_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let (store, base_ms) = (open(dir.path()), base_ms());
    fill(&store, base_ms, 9);
    live(&store, 30);
    let day = base_ms / DAY;
    let watch = Meanwhile(&store, RefCell::default());
    let report = import(dir.path(), vec![day + 1], &watch);
    assert_eq!((report.days, report.days_expired, report.samples), (1, 1, 1));
    assert_eq!(watch.1.take().len(), 1);
}
