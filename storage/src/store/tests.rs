use super::deletion_tests::import;
use super::*;
use crate::account::Account;
use crate::append::{LabelHash, Rows};
use crate::lifecycle::retention::RetentionClass;
use crate::select::Count;
use crate::wal::replay::ReplayProgress;
use model::sample::SampleColumns;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::time::Duration;

const HOUR: i64 = 3_600_000;
/// Noon of a day long ago: nothing is flushed because of the clock of this machine.
const BASE_MS: i64 = 1_700_049_600_000;
const SERIES: usize = 12;

fn options(path: &std::path::Path) -> StoreOptions {
    let mut options = StoreOptions::new(path);
    options.engine.segment_bytes = 64 << 10;
    options.engine.snapshot_wal_bytes = 256 << 10;
    options.engine.shards = Some(2);
    // Only what a test asks for happens.
    options.check_interval = Duration::from_secs(3600);
    options
}

pub(super) fn open(path: &std::path::Path) -> Store {
    Store::open(options(path), &ReplayProgress::default()).unwrap()
}

pub(super) fn labels(series: usize) -> Vec<(String, String)> {
    let mut labels = vec![
        ("__name__".to_owned(), format!("m{}", series % 3)),
        ("instance".to_owned(), format!("i{}", series % 4)),
        ("n".to_owned(), series.to_string()),
    ];
    labels.sort();
    labels
}

pub(super) fn append(store: &Store, samples: &[(usize, i64, f64)]) -> Vec<u32> {
    let mut rows = Rows::default();
    for (series, timestamp_ms, value) in samples {
        let owned = labels(*series);
        let pairs: Vec<(&str, &str)> = owned.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let hash = LabelHash::of_pairs(pairs.iter().copied(), &mut Vec::new());
        let series = store.engine().create(hash, &pairs).unwrap();
        rows.push(series, *timestamp_ms, *value);
    }
    let outcome = store.engine().append_wait(rows).unwrap();
    outcome.rejected.into_iter().map(|(row, _)| row).collect()
}

pub(super) type Samples = BTreeMap<i64, u64>;

/// Everything that is stored, by the label `n`.
pub(super) fn everything(store: &Store, range: TimeRange) -> BTreeMap<usize, Samples> {
    let selection = store.select(&[], range.after_ms, range.until_ms, 1000).unwrap();
    let mut all = BTreeMap::new();
    for index in 0..selection.len() {
        let mut columns = SampleColumns::default();
        selection.read(index, range.after_ms, range.until_ms, &mut columns).unwrap();
        let samples: Samples =
            columns.timestamps_ms.iter().copied().zip(columns.values.iter().map(|value| value.to_bits())).collect();
        assert_eq!(samples.len(), columns.len(), "a sample is there twice");
        let number = selection.labels(index).unwrap().get("n").unwrap().parse().unwrap();
        let newest = selection.latest(index, range.after_ms, range.until_ms).unwrap();
        assert_eq!(newest.map(|sample| sample.timestamp_ms), columns.timestamps_ms.last().copied());
        if !samples.is_empty() {
            assert!(all.insert(number, samples).is_none(), "a series is there twice");
        }
    }
    all
}

#[test]
fn what_was_flushed_is_read_from_blocks_and_leaves_the_head() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let samples: Vec<_> =
        (0..SERIES).flat_map(|s| (0..100).map(move |i| (s, BASE_MS + i * 60_000, i as f64))).collect();
    assert!(append(&store, &samples).is_empty());
    let before = everything(&store, TimeRange::ALL);
    store.flush(false).unwrap();
    assert_eq!(everything(&store, TimeRange::ALL), before);
    let stats = store.stats();
    assert_eq!(stats.blocks.iter().map(|group| group.samples).sum::<u64>(), samples.len() as u64);
    assert!(store.engine().select(&[], i64::MIN, i64::MAX, 100).unwrap().is_empty(), "the head still shows it");
    store.close().unwrap();
    drop(store);
    let store = open(dir.path());
    assert_eq!(everything(&store, TimeRange::ALL), before);
    assert!(store.resident_from_ms() > BASE_MS);
    let names = store.label_values("__name__", &[], TimeRange::ALL, 10).unwrap();
    assert_eq!(names.items, ["m0", "m1", "m2"]);
    assert_eq!(store.label_names(&[], TimeRange::ALL, 10).unwrap().items, ["__name__", "instance", "n"]);
}

/// A model of what is stored, next to a store that lives through random events.
struct Twin {
    random: SmallRng,
    store: Option<Store>,
    dir: tempfile::TempDir,
    truth: BTreeMap<usize, Samples>,
    now_ms: i64,
}

impl Twin {
    fn new(seed: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Some(open(dir.path()));
        Self { random: SmallRng::seed_from_u64(seed), store, dir, truth: BTreeMap::new(), now_ms: BASE_MS }
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn append(&mut self, late: bool) {
        let mut samples = Vec::new();
        for _ in 0..self.random.random_range(1..60) {
            let at = if late { self.now_ms - self.random.random_range(0..30 * HOUR) } else { self.now_ms };
            let at = at / 15_000 * 15_000;
            let value = f64::from(self.random.random_range(0..5u32)) / 4.0;
            samples.push((self.random.random_range(0..SERIES), at, value));
            self.now_ms += self.random.random_range(0..60_000);
        }
        // What is there counts; the head refuses what it knows to contradict it, and a block has the last word otherwise.
        let rejected = append(self.store(), &samples);
        for (row, (series, at, value)) in (0u32..).zip(samples) {
            let stored = self.truth.entry(series).or_default();
            match stored.get(&at) {
                Some(bits) => assert!(!rejected.contains(&row) || *bits != value.to_bits(), "a repetition was refused"),
                None => {
                    assert!(!rejected.contains(&row), "a new sample was refused");
                    stored.insert(at, value.to_bits());
                }
            }
        }
    }

    /// Brings blocks of samples at times that the series have none of.
    fn import(&mut self) {
        let mut samples = Vec::new();
        for _ in 0..self.random.random_range(1..40) {
            let at = (self.now_ms - self.random.random_range(0..30 * HOUR)) / 15_000 * 15_000;
            let (series, value) = (self.random.random_range(0..SERIES), f64::from(self.random.random_range(0..9u32)));
            if let std::collections::btree_map::Entry::Vacant(free) = self.truth.entry(series).or_default().entry(at) {
                free.insert(value.to_bits());
                samples.push((series, at, value));
            }
        }
        import(self.store(), self.dir.path(), &samples);
    }

    fn step(&mut self) {
        match self.random.random_range(0..14) {
            0..=4 => self.append(false),
            5..=6 => self.append(true),
            7 => self.store().flush(false).unwrap(),
            8 => self.store().flush(true).unwrap(),
            9 => {
                self.store.take().unwrap().close().unwrap();
                self.store = Some(open(self.dir.path()));
            }
            10 => {
                // Gone without a word.
                self.store = None;
                self.store = Some(open(self.dir.path()));
            }
            11 => self.import(),
            12 => {
                self.store().clean_tombstones().unwrap();
                assert_eq!(self.store().stats().tombstones, 0);
            }
            _ => {
                let series = self.random.random_range(0..SERIES);
                let start = self.now_ms - self.random.random_range(0..20 * HOUR);
                let end = start + self.random.random_range(0..10 * HOUR);
                let matchers = vec![Matcher::equal("n", series.to_string())];
                self.store().delete_series(&[matchers], start, end).unwrap();
                // What is written later counts, whether the deletion is carried out by then or not.
                let stored = self.truth.entry(series).or_default();
                let deleted: Vec<i64> = stored.range(start..=end).map(|(at, _)| *at).collect();
                stored.retain(|at, _| *at < start || *at > end);
                assert_same(&everything(self.store(), TimeRange::ALL), &known(&self.truth));
                if self.random.random() {
                    // Some of it comes again, as from a sender that did not hear of it.
                    let again: Vec<_> = deleted.iter().step_by(3).map(|at| (series, *at, 7.0)).collect();
                    assert!(append(self.store(), &again).is_empty(), "what is deleted contradicts nothing");
                    let stored = self.truth.entry(series).or_default();
                    stored.extend(again.iter().map(|(_, at, value)| (*at, value.to_bits())));
                }
            }
        }
    }

    fn check(&mut self) {
        assert_same(&everything(self.store(), TimeRange::ALL), &known(&self.truth));
        let after_ms = self.now_ms - self.random.random_range(0..40 * HOUR);
        let range = TimeRange { after_ms, until_ms: after_ms + self.random.random_range(0..20 * HOUR) };
        let mut within = known(&self.truth);
        for samples in within.values_mut() {
            samples.retain(|at, _| *at > range.after_ms && *at <= range.until_ms);
        }
        within.retain(|_, samples| !samples.is_empty());
        assert_same(&everything(self.store(), range), &within);
    }
}

/// Says the first difference, not everything.
fn assert_same(found: &BTreeMap<usize, Samples>, expected: &BTreeMap<usize, Samples>) {
    for series in 0..SERIES {
        let (found, expected) = (found.get(&series), expected.get(&series));
        let times = found.into_iter().chain(expected).flat_map(BTreeMap::keys);
        for at in times {
            let value =
                |samples: Option<&Samples>| samples.and_then(|samples| samples.get(at)).copied().map(f64::from_bits);
            assert_eq!(value(found), value(expected), "series {series} at {at}");
        }
    }
}

fn known(truth: &BTreeMap<usize, Samples>) -> BTreeMap<usize, Samples> {
    truth
        .iter()
        .filter(|(_, samples)| !samples.is_empty())
        .map(|(series, samples)| (*series, samples.clone()))
        .collect()
}

/// Appends, late appends, imports, flushes, merges, deletions that are carried out sooner or later, ends and crashes in any order:
/// everything acknowledged is there once.
#[test]
fn a_store_is_like_its_twin() {
    let seeds = std::env::var("HEARTH_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(12);
    for seed in 0..seeds {
        println!("seed {seed}");
        let mut twin = Twin::new(seed);
        for _ in 0..40 {
            twin.step();
            twin.check();
        }
    }
}

#[test]
fn a_snapshot_can_be_opened_as_a_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    append(&store, &[(1, BASE_MS, 1.0), (2, BASE_MS + 1, 2.5)]);
    let before = everything(&store, TimeRange::ALL);
    let name = store.snapshot(false).unwrap();
    store.close().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let mut options = options(copy.path());
    options.bucket.filesystem.directory = dir.path().join("snapshots").join(name).display().to_string();
    let store = Store::open(options, &ReplayProgress::default()).unwrap();
    assert_eq!(everything(&store, TimeRange::ALL), before);
}

/// Whoever reads blocks looks for their series in the head, too. That must not keep series there that nobody writes to, or those
/// of dashboards would never leave.
#[test]
fn series_leave_the_head_although_queries_over_blocks_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    append(&store, &(0..SERIES).map(|series| (series, BASE_MS, 1.0)).collect::<Vec<_>>());
    let before = everything(&store, TimeRange::ALL);
    store.flush(false).unwrap();
    let mut freed = 0;
    for _ in 0..3 {
        freed += store.engine().collect_idle(i64::MAX).freed;
        assert_eq!(everything(&store, TimeRange::ALL), before);
    }
    assert_eq!(freed, SERIES as u64);
}

/// What a view holds stays one series when its head part is flushed and leaves in the meantime.
#[test]
fn a_view_outlives_flush_and_departure_of_its_series() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    append(&store, &[(1, BASE_MS, 1.0)]);
    store.flush(false).unwrap();
    append(&store, &[(1, BASE_MS + 60_000, 2.0)]);
    let view = store.view();
    store.flush(true).unwrap();
    for _ in 0..3 {
        store.engine().collect_idle(i64::MAX);
        let selection = view.select(&[], i64::MIN, i64::MAX, 10).unwrap();
        let mut columns = SampleColumns::default();
        selection.read(0, i64::MIN, i64::MAX, &mut columns).unwrap();
        assert_eq!((selection.len(), columns.values), (1, vec![1.0, 2.0]));
    }
}

#[test]
fn a_class_of_retention_is_carried_out_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.check_interval = Duration::from_millis(20);
    let store = Store::open(options, &ReplayProgress::default()).unwrap();
    append(&store, &[(1, BASE_MS, 1.0), (2, BASE_MS, 2.0)]);
    store.flush(false).unwrap();
    let matchers = vec![Matcher::equal("n", "1")];
    let classes = vec![RetentionClass { name: "one".into(), matchers, keep_ms: 24 * HOUR }];
    store.set_retention(Retention { classes, ..Retention::default() });
    assert_eq!(everything(&store, TimeRange::ALL).into_keys().collect::<Vec<_>>(), [2], "hidden at once");
    until("the series is still in a block", || store.manifest().blocks.iter().all(|block| block.series == 1));
    until("the block is not merged", || store.manifest().blocks.iter().all(|block| block.level > 0));
    std::thread::sleep(Duration::from_millis(100));
    let done = store.stats().compaction.done;
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(store.stats().compaction.done, done, "nothing is written again and again");
}

/// As what is older than everything that is kept.
#[test]
fn what_a_class_of_retention_would_hide_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let matchers = vec![Matcher::equal("n", "1")];
    let classes = vec![RetentionClass { name: "one".into(), matchers, keep_ms: 24 * HOUR }];
    store.set_retention(Retention { classes, ..Retention::default() });
    let samples =
        [(2, BASE_MS, 2.0), (1, BASE_MS, 1.0), (1, now_ms() - 23 * HOUR, 1.0), (1, now_ms() - 25 * HOUR, 1.0)];
    assert_eq!(append(&store, &samples), [1, 3]);
    let stored = everything(&store, TimeRange::ALL);
    assert_eq!(stored.values().map(BTreeMap::len).collect::<Vec<_>>(), [1, 1]);
}

#[test]
fn what_the_series_of_a_block_are_made_of_is_told_by_its_label_columns() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(options(dir.path()), &ReplayProgress::default()).unwrap();
    append(&store, &[(1, BASE_MS, 1.0), (2, BASE_MS, 2.0), (30, BASE_MS, 3.0)]);
    store.flush(false).unwrap();
    let ulid = store.manifest().blocks[0].ulid.clone();
    let count = |name: &str, value| Count { name: name.to_owned(), value };
    let found = store.block_cardinality(&ulid, 2, &Account::default()).unwrap().unwrap();
    assert_eq!(found.series_by_metric_name, [count("m0", 1), count("m1", 1)]);
    assert_eq!(found.values_by_label_name, [count("__name__", 3), count("n", 3)]);
    assert_eq!(found.bytes_by_label_name, [count("__name__", 6), count("instance", 6)]);
    assert_eq!(found.label_pairs, 8);
    assert_eq!(found.series_by_label_pair, [count("instance=i2", 2), count("__name__=m0", 1)]);
    assert_eq!(store.block_cardinality("01M", 2, &Account::default()).unwrap(), None);
}

/// A damaged block waits for nothing until it is tried again.
#[test]
fn the_backlog_of_merges_counts_what_the_worker_would_merge() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    append(&store, &[(0, BASE_MS, 1.0)]);
    store.flush(false).unwrap();
    let ulid = store.manifest().blocks[0].ulid.clone();
    let backlog = || (store.stats().compaction_backlog, store.stats().damaged.len());
    assert_eq!(backlog(), (1, 0));
    store.inner.shared.damage.found_before(&ulid, Duration::from_secs(60));
    assert_eq!(backlog(), (0, 1));
    store.inner.shared.damage.found_before(&ulid, Duration::from_secs(3601));
    assert_eq!(backlog(), (1, 1));
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(std::time::Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// While memory is short the head is emptied but for the last moments, nothing of blocks is kept, and merges wait.
#[test]
fn a_shortage_of_memory_empties_the_head_and_makes_merges_wait() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.check_interval = Duration::from_millis(5);
    // Nothing is due by the clock, whether the first look comes before the samples, which are years old, or after them.
    options.flush_lag = Duration::from_secs(100 * 365 * 86_400);
    let store = Store::open(options, &ReplayProgress::default()).unwrap();
    let samples = |from_ms: i64| -> Vec<_> {
        (0..SERIES).flat_map(|s| (0..100).map(move |i| (s, from_ms + i * 60_000, i as f64))).collect()
    };
    append(&store, &samples(BASE_MS - 2 * HOUR));
    append(&store, &samples(BASE_MS));
    let before = everything(&store, TimeRange::ALL);
    store.set_short_of_memory(true);
    let newest_ms = BASE_MS + 99 * 60_000;
    let oldest_ms = || store.engine().head().extent().time_range_ms.unwrap().0;
    until("nothing was flushed", || oldest_ms() > BASE_MS);
    assert!((newest_ms - 120_000..=newest_ms).contains(&oldest_ms()), "{}", oldest_ms());
    assert_eq!(everything(&store, TimeRange::ALL), before);
    until("nothing was kept", || everything(&store, TimeRange::ALL) == before && store.stats().caches.bytes > 0);
    store.set_short_of_memory(false);
    store.set_short_of_memory(true);
    assert_eq!(store.stats().caches.bytes, 0);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(store.stats().compaction.done, 0, "merges wait");
    store.set_short_of_memory(false);
    until("nothing was merged", || store.stats().compaction.done > 0);
    assert_eq!(everything(&store, TimeRange::ALL), before);
}

/// While local space is short the head is emptied and the log is given back; what is kept of blocks stays.
#[test]
fn a_shortage_of_space_empties_the_head_and_the_log_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    append(&store, &[(0, BASE_MS, 1.0)]);
    store.flush(false).unwrap();
    append(&store, &(1..200).map(|i| (0, BASE_MS + i * 60_000, i as f64)).collect::<Vec<_>>());
    let before = everything(&store, TimeRange::ALL);
    until("nothing was kept", || everything(&store, TimeRange::ALL) == before && store.stats().caches.bytes > 0);
    let snapshots = store.engine().stats().snapshots.taken;
    store.set_short_of_space(true);
    until("nothing was flushed", || store.engine().stats().snapshots.taken > snapshots);
    assert!(store.stats().caches.bytes > 0);
    assert_eq!(store.stats().flush.done, 2);
    assert_eq!(everything(&store, TimeRange::ALL), before);
}

#[test]
fn stores_of_two_tenants_beside_each_other_have_only_the_bucket_and_the_cache_in_common() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    let beside = |tenant: &str| {
        let mut options = options(&dir.path().join(tenant));
        options.tenant = tenant.to_owned();
        first.open_beside(options, &ReplayProgress::default()).unwrap()
    };
    assert_eq!(first.tenants_of_bucket().unwrap(), [""; 0], "nothing was published");
    let second = beside("team.b");
    append(&first, &[(1, BASE_MS, 1.0)]);
    append(&second, &[(1, BASE_MS, 2.0), (2, BASE_MS, 3.0)]);
    for store in [&first, &second] {
        store.flush(true).unwrap();
    }
    assert_eq!(first.tenants_of_bucket().unwrap(), ["anonymous", "team.b"]);
    let counts = |store: &Store| everything(store, TimeRange::ALL).into_keys().collect::<Vec<_>>();
    assert_eq!((counts(&first), counts(&second)), (vec![1], vec![1, 2]));
    assert!(first.cached().entries > 0 && first.cached() == second.cached());
    assert_eq!((first.tenant(), second.tenant()), ("anonymous", "team.b"));
    second.close().unwrap();
    drop(second);
    assert_eq!(counts(&first), [1], "the threads that wait for the bucket outlive one of those that use them");
    assert_eq!(counts(&beside("team.b")), [1, 2]);
}
