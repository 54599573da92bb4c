//! A store on any bucket, what was acknowledged, and how both are compared.

use model::sample::SampleColumns;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use storage::append::{LabelHash, Rows};
use storage::bucket::{Bucket, BucketStore, RetryPolicy};
use storage::store::{Store, StoreOptions};
use storage::wal::replay::ReplayProgress;

pub(crate) const HOUR: i64 = 3_600_000;
/// Noon of a day long ago: nothing is flushed because of the clock of this machine.
pub(crate) const BASE_MS: i64 = 1_700_049_600_000;

/// Samples of all series, by the label `n`: time and bits of the value.
pub(crate) type Samples = BTreeMap<usize, BTreeMap<i64, u64>>;

pub(crate) fn options(path: &Path) -> StoreOptions {
    let mut options = StoreOptions::new(path);
    options.engine.segment_bytes = 64 << 10;
    options.engine.snapshot_wal_bytes = 256 << 10;
    options.engine.shards = Some(2);
    // Only what a test asks for happens.
    options.check_interval = Duration::from_secs(3600);
    options
}

/// A bucket that gives up soon.
pub(crate) fn impatient(store: BucketStore) -> Bucket {
    let retry = RetryPolicy {
        attempt_timeout: Duration::from_secs(1),
        deadline: Duration::from_millis(100),
        pause_min: Duration::from_millis(1),
        pause_max: Duration::from_millis(10),
    };
    Bucket::new(store, "", retry, 7)
}

pub(crate) fn open(bucket: &Bucket, path: &Path) -> Store {
    Store::open_on(bucket.clone(), options(path), &ReplayProgress::default()).unwrap()
}

/// Appends samples (series, time, value) and notes them in `truth` once they are acknowledged.
pub(crate) fn append(store: &Store, samples: &[(usize, i64, f64)], truth: &mut Samples) {
    let pin = store.engine().pin();
    let mut rows = Rows::default();
    for (series, timestamp_ms, value) in samples {
        let (metric, n) = (format!("m{}", series % 3), series.to_string());
        let pairs = [("__name__", metric.as_str()), ("n", n.as_str())];
        let hash = LabelHash::of_pairs(pairs, &mut Vec::new());
        rows.push(store.engine().create(hash, &pairs).unwrap(), *timestamp_ms, *value);
    }
    let batch = storage::append::Batch { pin: Some(pin), rows, ..Default::default() };
    let outcome = store.engine().append_wait(batch).unwrap();
    assert!(outcome.rejected.is_empty(), "{outcome:?}");
    for (series, timestamp_ms, value) in samples {
        truth.entry(*series).or_default().insert(*timestamp_ms, value.to_bits());
    }
}

/// Samples of some series at one time.
pub(crate) fn at(series: std::ops::Range<usize>, timestamp_ms: i64) -> Vec<(usize, i64, f64)> {
    series.map(|series| (series, timestamp_ms, (timestamp_ms / 1000 % 1000) as f64 + series as f64 / 8.0)).collect()
}

/// What is stored with `after_ms < t <= until_ms`, or the failure in one line.
pub(crate) fn read(store: &Store, after_ms: i64, until_ms: i64) -> Result<Samples, String> {
    let line = |error: storage::select::SelectError| storage::store::StoreError::from(error).to_line();
    let selection = store.select(&[], after_ms, until_ms, 100_000).map_err(line)?;
    let mut all = Samples::new();
    for index in 0..selection.len() {
        let mut columns = SampleColumns::default();
        selection.read(index, after_ms, until_ms, &mut columns).map_err(line)?;
        let labels = selection.labels(index).map_err(line)?;
        let bits = columns.values.iter().map(|value| value.to_bits());
        let samples: BTreeMap<i64, u64> = columns.timestamps_ms.iter().copied().zip(bits).collect();
        assert_eq!(samples.len(), columns.len(), "a sample is there twice");
        if !samples.is_empty() {
            let number = labels.get("n").unwrap().parse().unwrap();
            assert!(all.insert(number, samples).is_none(), "a series is there twice");
        }
    }
    Ok(all)
}

pub(crate) fn everything(store: &Store) -> Result<Samples, String> {
    read(store, i64::MIN, i64::MAX)
}

/// Waits for work on a bucket.
pub(crate) fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}
