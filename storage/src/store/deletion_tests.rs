//! What a deletion concerns: exactly what was stored when it was asked for, however what comes afterwards comes.

use super::tests::{append, everything, labels, open};
use super::*;
use crate::append::{Batch, HistogramRow, LabelHash};
use crate::block::order;
use crate::bucket::BucketOptions;
use crate::import::room::Room;
use crate::import::{EachSeries, ImportError, ImportOptions, ImportedSeries, Source, run};
use crate::lifecycle::window::day_of;
use crate::manifest::Role;
use crate::offline::BlockStore;
use crate::tombstone::{StoredMatcher, Tombstone};
use model::histogram::{Histogram, HistogramColumns};
use model::sample::SampleColumns;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const MINUTE: i64 = 60_000;
const BASE_MS: i64 = 1_700_049_600_000;

/// Samples by the number of their series.
struct Given<'g>(&'g [(usize, i64, f64)]);

impl Source for Given<'_> {
    fn days(&self) -> Vec<i64> {
        let days: BTreeSet<i64> = self.0.iter().map(|(_, at, _)| day_of(*at)).collect();
        days.into_iter().collect()
    }

    fn digest(&self, _: i64) -> u128 {
        rand::random()
    }

    fn visit(&self, day: i64, each: &mut EachSeries<'_>) -> Result<(), ImportError> {
        let mut all: BTreeMap<usize, BTreeMap<i64, f64>> = BTreeMap::new();
        for (series, at, value) in self.0.iter().filter(|(_, at, _)| day_of(*at) == day) {
            all.entry(*series).or_default().insert(*at, *value);
        }
        let imported = |(series, samples): (usize, BTreeMap<i64, f64>)| {
            let owned = labels(series);
            let labels = Labels::from_pairs(owned.iter().map(|(name, value)| (name.as_str(), value.as_str()))).unwrap();
            let hash = LabelHash::of_pairs(labels.iter(), &mut Vec::new());
            let mut floats = SampleColumns::default();
            samples.into_iter().for_each(|(at, value)| floats.push(at, value));
            ImportedSeries { labels, hash, floats, ..ImportedSeries::default() }
        };
        let mut all: Vec<_> = all.into_iter().map(imported).collect();
        all.sort_by(|a, b| order::compare(a.labels.iter(), b.labels.iter()));
        all.iter().try_for_each(each)
    }
}

/// Imports samples as another process does, beside the running store, which sees them when this returns.
pub(super) fn import(store: &Store, path: &Path, samples: &[(usize, i64, f64)]) {
    let blocks = BlockStore::open(&BucketOptions::default(), path, "anonymous").unwrap();
    let work = blocks.work_dir().unwrap();
    let options = ImportOptions { again: true, room: Room::new(u64::MAX) };
    run(&blocks, &Given(samples), work.path(), options, &()).unwrap();
    let Shared { io, chain, .. } = &*store.inner.shared;
    io.wait(chain.refresh()).unwrap();
    store.inner.shared.follow().unwrap();
}

fn delete(store: &Store, series: usize, first_ms: i64, last_ms: i64) {
    let of = vec![Matcher::equal("n", series.to_string())];
    store.delete_series(&[of], first_ms, last_ms).unwrap();
}

/// The times and values of one series.
fn of(store: &Store, series: usize) -> Vec<(i64, f64)> {
    let samples = everything(store, TimeRange::ALL).remove(&series).unwrap_or_default();
    samples.into_iter().map(|(at, bits)| ((at - BASE_MS) / MINUTE, f64::from_bits(bits))).collect()
}

fn at(minutes: &[i64], value: f64) -> Vec<(usize, i64, f64)> {
    minutes.iter().map(|minute| (1, BASE_MS + minute * MINUTE, value)).collect()
}

/// A sender that lags, or catches up, brings what is older than the deletion; some of it at the very times that are deleted.
#[test]
fn what_is_written_while_a_deletion_is_pending_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    assert!(append(&store, &at(&[0, 1, 2, 3], 1.0)).is_empty());
    let other = (2, BASE_MS, 1.0);
    assert!(append(&store, &[other]).is_empty());
    // Somebody reads all the while.
    let view = store.view();
    delete(&store, 1, BASE_MS, BASE_MS + 10 * MINUTE);
    assert_eq!(of(&store, 1), []);
    assert!(append(&store, &at(&[1, 5], 1.0)).is_empty());
    assert!(append(&store, &at(&[2], 2.0)).is_empty(), "what is deleted contradicts nothing");
    let kept = [(1, 1.0), (2, 2.0), (5, 1.0)];
    assert_eq!(of(&store, 1), kept);
    drop(view);
    store.flush(false).unwrap();
    assert_eq!(of(&store, 1), kept, "in blocks");
    import(&store, dir.path(), &at(&[0, 7], 3.0));
    let kept = [(0, 3.0), (1, 1.0), (2, 2.0), (5, 1.0), (7, 3.0)];
    assert_eq!(of(&store, 1), kept, "imported");
    for compact in [false, true] {
        drop(store);
        store = open(dir.path());
        assert_eq!((of(&store, 1), store.stats().tombstones), (kept.to_vec(), 1), "after a crash");
        store.flush(compact).unwrap();
        assert_eq!(of(&store, 1), kept);
    }
    store.clean_tombstones().unwrap();
    assert_eq!((of(&store, 1), store.stats().tombstones), (kept.to_vec(), 0));
    assert_eq!(store.manifest().added, BTreeMap::new(), "nothing is left to tell apart");
    let stored: u64 = store.manifest().blocks.iter().map(|block| block.samples).sum();
    assert_eq!(stored, kept.len() as u64 + 1, "what is deleted is gone");
}

/// Late samples are in memory beside what the log brings back: neither a start nor what is still there of a flush keeps them away.
#[test]
fn late_samples_after_a_deletion_survive_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    append(&store, &at(&[0, 1, 2, 3], 1.0));
    store.flush(false).unwrap();
    append(&store, &at(&[-9, -8], 1.0));
    let after_ms = BASE_MS - 20 * MINUTE;
    delete(&store, 1, after_ms, BASE_MS + 3 * MINUTE);
    append(&store, &at(&[-9, 2, 3], 1.0));
    assert_eq!(of(&store, 1), [(-9, 1.0), (2, 1.0), (3, 1.0)]);
    drop(store);
    let store = open(dir.path());
    assert_eq!(of(&store, 1), [(-9, 1.0), (2, 1.0), (3, 1.0)]);
    store.close().unwrap();
    drop(store);
    let store = open(dir.path());
    delete(&store, 1, BASE_MS + 2 * MINUTE, BASE_MS + 2 * MINUTE);
    append(&store, &at(&[2], 5.0));
    assert_eq!(of(&store, 1), [(-9, 1.0), (2, 5.0), (3, 1.0)]);
    store.clean_tombstones().unwrap();
    assert_eq!(of(&store, 1), [(-9, 1.0), (2, 5.0), (3, 1.0)]);
}

/// What is sent once more is in the log, and is compared with nothing when the log is replayed.
#[test]
fn what_was_sent_again_before_a_deletion_stays_deleted_after_a_crash() {
    for again in [1.0, 2.0] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        append(&store, &at(&[0, 1, 2, 3], 1.0));
        store.flush(false).unwrap();
        append(&store, &at(&[3], again));
        append(&store, &at(&[200], 1.0));
        delete(&store, 1, BASE_MS, BASE_MS + 3 * MINUTE);
        let flushes = store.stats().flush.done;
        delete(&store, 1, BASE_MS, BASE_MS + 3 * MINUTE);
        assert_eq!((of(&store, 1), store.stats().flush.done), (vec![(200, 1.0)], flushes), "{again}");
        append(&store, &at(&[2], 5.0));
        drop(store);
        let store = open(dir.path());
        assert_eq!(of(&store, 1), [(2, 5.0), (200, 1.0)], "{again}");
    }
}

/// As above.
#[test]
fn histograms_that_were_sent_again_before_a_deletion_stay_deleted_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let send = || {
        let owned = labels(1);
        let labels: Vec<_> = owned.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let hash = LabelHash::of_pairs(labels.iter().copied(), &mut Vec::new());
        let series = store.engine().create(hash, &labels).unwrap();
        let histogram = Histogram { count: 1.0, zero_count: 1.0, ..Histogram::default() };
        let row = HistogramRow { series, timestamp_ms: BASE_MS, start_ms: 0, histogram };
        store.engine().append_wait(Batch { histograms: vec![row], ..Batch::default() }).unwrap();
    };
    let is_there = |store: &Store| {
        let selection = store.select(&[], i64::MIN, i64::MAX, 10).unwrap();
        let mut found = HistogramColumns::default();
        (0..selection.len()).any(|index| {
            selection.read_histograms(index, i64::MIN, i64::MAX, &mut found).unwrap();
            !found.timestamps_ms.is_empty()
        })
    };
    send();
    store.flush(false).unwrap();
    send();
    assert!(is_there(&store));
    delete(&store, 1, BASE_MS, BASE_MS);
    assert!(!is_there(&store));
    drop(store);
    assert!(!is_there(&open(dir.path())));
}

/// Old samples are deleted without a flush of what is new.
#[test]
fn a_deletion_that_the_head_holds_nothing_of_leaves_it_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    append(&store, &at(&[0, 1], 1.0));
    store.flush(false).unwrap();
    append(&store, &at(&[200], 1.0));
    let flushes = store.stats().flush.done;
    delete(&store, 1, BASE_MS, BASE_MS + MINUTE);
    assert_eq!((of(&store, 1), store.stats().flush.done), (vec![(200, 1.0)], flushes));
    delete(&store, 1, BASE_MS, BASE_MS + 300 * MINUTE);
    assert_eq!((of(&store, 1), store.stats().flush.done), (vec![], flushes + 1));
}

/// As `/api/v1/series` lists them: others take the places of those that are gone.
#[test]
fn series_are_listed_while_something_of_them_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let samples: Vec<_> =
        (0..40).flat_map(|series| [(series, BASE_MS, 1.0), (series, BASE_MS + MINUTE, 1.0)]).collect();
    append(&store, &samples);
    let listed = |after_ms, until_ms, limit| {
        let selection = store.select_first(&[], TimeRange { after_ms, until_ms }, limit).unwrap();
        let numbers =
            (0..selection.len()).map(|at| selection.labels(at).unwrap().get("n").unwrap().parse::<usize>().unwrap());
        let mut numbers: Vec<_> = numbers.collect();
        numbers.sort_unstable();
        numbers
    };
    for series in 0..30 {
        delete(&store, series, BASE_MS, BASE_MS + MINUTE * i64::from(series != 7));
    }
    let left: Vec<usize> = [7].into_iter().chain(30..40).collect();
    assert_eq!(listed(i64::MIN, i64::MAX, 100), left);
    assert_eq!(listed(BASE_MS - 1, BASE_MS, 100), left[1..]);
    assert_eq!((listed(i64::MIN, i64::MAX, 5).len(), listed(i64::MIN, i64::MAX, 11)), (5, left.clone()));
    append(&store, &[(3, BASE_MS + MINUTE, 2.0)]);
    assert_eq!(listed(BASE_MS, i64::MAX, 100), [&[3], left.as_slice()].concat());
    store.clean_tombstones().unwrap();
    assert_eq!(listed(i64::MIN, i64::MAX, 100), [&[3], left.as_slice()].concat());
}

/// Only deletions of manifests of format 1 are about the head.
#[test]
fn cleaning_flushes_what_a_deletion_is_about_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    append(&store, &at(&[0, 1], 1.0));
    delete(&store, 1, BASE_MS, BASE_MS);
    append(&store, &at(&[200, 201], 1.0));
    let flushes = store.stats().flush.done;
    store.clean_tombstones().unwrap();
    let kept = [(1, 1.0), (200, 1.0), (201, 1.0)];
    let state = |store: &Store| (of(store, 1), store.stats().tombstones, store.stats().flush.done);
    assert_eq!(state(&store), (kept.to_vec(), 0, flushes));
    let (at_ms, matcher) = (BASE_MS + 200 * MINUTE, StoredMatcher::from(&Matcher::equal("n", "1")));
    let tombstone = Tombstone {
        id: crate::block::meta::ulid(now_ms().unsigned_abs(), 1),
        matchers: vec![matcher],
        min_ms: at_ms,
        max_ms: at_ms,
        created_ms: now_ms(),
        up_to_version: None,
    };
    let Shared { io, chain, .. } = &*store.inner.shared;
    let commit = async {
        let epoch = chain.claim(Role::Compactor).await?;
        let with = |manifest: &Manifest| Ok(Manifest { tombstones: vec![tombstone.clone()], ..manifest.clone() });
        chain.commit(epoch, with).await
    };
    io.wait(commit).unwrap();
    store.clean_tombstones().unwrap();
    assert_eq!(state(&store), ([kept[0], kept[2]].to_vec(), 0, flushes + 1));
}
