//! The same with the store of head and blocks: while series are written, late samples among them, the child flushes, merges,
//! deletes, makes tiers, and lets series leave the head.

use super::{
    Acknowledged, CHILD_TIME_MAX, DIR, LIFE, child::arm, histogram, histogram_series, run_child, start_of, value,
};
use model::histogram::{Histogram, HistogramColumns};
use model::matcher::Matcher;
use model::sample::SampleColumns;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};
use storage::append::{Batch, HistogramRow, LabelHash, SeriesRef};
use storage::bucket::{Bucket, BucketOptions};
use storage::manifest::{GarbageOptions, ManifestChain, collect_garbage, system_clock};
use storage::store::{Store, StoreOptions};
use storage::tiers::policy::{TierOptions, TierPolicy};
use storage::wal::replay::ReplayProgress;

const WRITERS: u32 = 3;
const SERIES_PER_WRITER: u32 = 16;
const MINUTE: i64 = 60_000;
/// A life's samples begin here, times its number; a batch is a minute, and none makes more than fit.
const STRIDE: i64 = 6_000 * MINUTE;
/// The late sample of a batch is so much older, which is the day before.
const LATE: i64 = 30 * 60 * MINUTE + 7;
/// The "writer" that acknowledges deletions.
const DELETER: u32 = 900;

fn options(dir: &Path) -> StoreOptions {
    let mut options = StoreOptions::new(dir);
    options.engine = super::options(dir);
    // Samples are of 1970: nothing is due by the clock of this machine, what happens is asked for.
    options.flush_lag = Duration::from_secs(200 * 365 * 86_400);
    options.check_interval = Duration::from_millis(20);
    // Nothing expires, and days that are over become buckets, too.
    let keep = Duration::from_secs(1_000 * 365 * 86_400);
    let tiers = vec![TierOptions { resolution: Duration::from_secs(3_600), keep }];
    options.retention.tiers = Some(TierPolicy { raw_keep: keep, tiers });
    options
}

fn open(dir: &Path) -> Store {
    Store::open(options(dir), &ReplayProgress::default()).expect("the directory opens")
}

fn late_series(writer: u32) -> u32 {
    2_000 + writer
}

/// A series of which all samples of earlier lives are deleted.
fn deleted_series(writer: u32) -> u32 {
    3_000 + writer
}

fn series(store: &Store, n: u32) -> SeriesRef {
    let text = n.to_string();
    let labels = [("__name__", "m"), ("n", text.as_str())];
    let hash = LabelHash::of_pairs(labels, &mut Vec::new());
    store.engine().create(hash, &labels).expect("healthy")
}

fn acknowledge(writer: u32, timestamp: i64) {
    let line = format!("acknowledged {writer} {timestamp}\n");
    std::io::stdout().lock().write_all(line.as_bytes()).expect("the parent reads");
}

/// Not a test: what the killed process does.
#[test]
#[ignore = "run by the other tests as a process of its own"]
fn process() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let life: i64 = std::env::var(LIFE).expect("set by the parent").parse().expect("a number");
    arm();
    let store = open(Path::new(&dir));
    let start = Instant::now();
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let store = &store;
            scope.spawn(move || write(store, writer, life * STRIDE, start));
        }
        scope.spawn(|| {
            for turn in 0.. {
                if start.elapsed() > CHILD_TIME_MAX {
                    return;
                }
                std::thread::sleep(Duration::from_millis(15));
                store.flush(turn % 3 == 2).expect("the disk works");
                if turn == 1 {
                    let sets = (0..WRITERS).map(|writer| vec![Matcher::equal("n", deleted_series(writer).to_string())]);
                    store.delete_series(&sets.collect::<Vec<_>>(), 0, life * STRIDE - 1).expect("the disk works");
                    acknowledge(DELETER, life);
                }
                if turn % 4 == 3 {
                    store.clean_tombstones().expect("the disk works");
                }
            }
        });
        scope.spawn(|| {
            while start.elapsed() < CHILD_TIME_MAX {
                std::thread::sleep(Duration::from_millis(5));
                store.engine().collect_idle(i64::MAX);
            }
        });
    });
}

fn write(store: &Store, writer: u32, first_ms: i64, start: Instant) {
    let mut timestamp = first_ms;
    while start.elapsed() < CHILD_TIME_MAX && timestamp + 2 * MINUTE < first_ms + STRIDE {
        timestamp += MINUTE;
        let mut batch = Batch { pin: Some(store.engine().pin()), ..Batch::default() };
        for n in of_batch(writer, timestamp) {
            batch.rows.push_started(series(store, n), timestamp, value(n, timestamp), start_of(n, timestamp));
        }
        let (n, late) = (late_series(writer), timestamp - LATE);
        batch.rows.push(series(store, n), late, value(n, late));
        let n = deleted_series(writer);
        batch.rows.push(series(store, n), timestamp, value(n, timestamp));
        let (series, histogram) = (series(store, histogram_series(writer)), histogram(writer, timestamp));
        batch.histograms.push(HistogramRow { series, timestamp_ms: timestamp, start_ms: timestamp / 2, histogram });
        let written = batch.rows.len() as u64;
        let outcome = store.engine().append_wait(batch).expect("healthy");
        assert_eq!((outcome.written, outcome.histograms_written), (written, 1), "{outcome:?}");
        acknowledge(writer, timestamp);
    }
}

/// The plain series that a batch has samples of: some pause for a while, so that they leave the head and come back.
fn of_batch(writer: u32, timestamp: i64) -> impl Iterator<Item = u32> {
    let minute = timestamp / MINUTE;
    let all = writer * SERIES_PER_WRITER..(writer + 1) * SERIES_PER_WRITER;
    all.filter(move |n| n % 3 != 0 || (minute + i64::from(*n)) / 16 % 2 == 0)
}

/// Everything in the store is right; returns what there is, by series and time.
fn read_all(store: &Store, case: &str) -> BTreeSet<(u32, i64)> {
    let selection = store.select(&[], i64::MIN, i64::MAX, usize::MAX).expect("readable");
    let (mut stored, mut seen) = (BTreeSet::new(), BTreeSet::new());
    for index in 0..selection.len() {
        let labels = selection.labels(index).expect("readable");
        let n: u32 = labels.get("n").expect("every series has it").parse().expect("a number");
        assert!(seen.insert(n), "{case}: series {n} is there twice");
        let (mut columns, mut histograms, mut starts) =
            (SampleColumns::default(), HistogramColumns::default(), Vec::new());
        selection.read(index, i64::MIN, i64::MAX, &mut columns).expect("readable");
        selection.read_histograms(index, i64::MIN, i64::MAX, &mut histograms).expect("readable");
        selection.read_start_timestamps(index, i64::MIN, i64::MAX, &mut starts).expect("readable");
        let times = columns.timestamps_ms.iter().chain(&histograms.timestamps_ms);
        assert!(times.clone().is_sorted_by(|a, b| a < b), "{case}: a sample of series {n} came twice");
        for (timestamp, read) in columns.timestamps_ms.iter().zip(&columns.values) {
            assert_eq!(read.to_bits(), value(n, *timestamp).to_bits(), "{case}: series {n} at {timestamp}");
        }
        for (timestamp, read) in histograms.timestamps_ms.iter().zip(&histograms.histograms) {
            let expected =
                Histogram { counter_reset_hint: read.counter_reset_hint, ..histogram(n - 1_000, *timestamp) };
            assert_eq!(**read, expected, "{case}: series {n} at {timestamp}");
        }
        let start = |timestamp: &i64| match n {
            1_000..2_000 => timestamp / 2,
            2_000.. => 0,
            _ => start_of(n, *timestamp),
        };
        let expected: Vec<i64> = times.clone().map(start).collect();
        let known = expected.iter().any(|start_ms| *start_ms != 0);
        assert_eq!(starts, if known { expected } else { Vec::new() }, "{case}: starts of series {n}");
        stored.extend(times.map(|timestamp| (n, *timestamp)));
    }
    stored
}

/// Opens the directory and compares it with what was acknowledged; afterwards nothing is left that nobody names.
fn check(dir: &Path, acknowledged: &Acknowledged, case: &str) {
    let store = open(dir);
    let report = store.engine().restore_report();
    assert_eq!((report.damage_count(), report.orphans, report.conflicts), (0, 0, 0), "{case}: {report:?}");
    assert!(files_below(&dir.join("staging")).is_empty(), "{case}: staged blocks are left");
    let stored = read_all(&store, case);
    let deleted_before =
        acknowledged.iter().filter(|(writer, _)| *writer == DELETER).map(|(_, life)| life * STRIDE).max();
    for (writer, timestamp) in acknowledged.iter().filter(|(writer, _)| *writer != DELETER) {
        let plain = of_batch(*writer, *timestamp).map(|n| (n, *timestamp));
        let others = [(histogram_series(*writer), *timestamp), (late_series(*writer), timestamp - LATE)];
        for (n, at) in plain.chain(others) {
            assert!(stored.contains(&(n, at)), "{case}: series {n} lost its sample at {at}");
        }
    }
    for (n, at) in stored.range((3_000, i64::MIN)..(3_000 + WRITERS, i64::MIN)) {
        let is_deleted = deleted_before.is_some_and(|before| *at < before);
        assert!(!is_deleted, "{case}: series {n} has a deleted sample at {at}");
    }
    store.close().expect("the disk works");
    drop(store);
    collect(dir, case);
    let store = open(dir);
    assert!(read_all(&store, case) == stored, "{case}: something changed by collecting garbage");
}

fn files_below(dir: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let each = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.expect("an entry").path();
        if path.is_dir() { files_below(&path) } else { vec![path] }
    };
    entries.flat_map(each).collect()
}

/// Collects garbage with a clock a day later: every file that stays is a manifest or named by the newest one.
fn collect(dir: &Path, case: &str) {
    let bucket = Bucket::open(&BucketOptions::default(), dir).expect("a directory");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let manifest = runtime.block_on(async {
        let chain = ManifestChain::open(bucket, "anonymous", system_clock()).await.expect("readable");
        let later_ms = system_clock()() + 26 * 3_600_000;
        collect_garbage(&chain, later_ms, GarbageOptions::default()).await.expect("the disk works");
        chain.latest()
    });
    let named = |text: &str| manifest.blocks.iter().any(|block| text.contains(&format!("block={}/", block.ulid)));
    let mut manifests = 0;
    for file in files_below(&dir.join("blocks")) {
        let text = file.display().to_string();
        let is_manifest = text.contains("/manifest/") && (text.ends_with(".json.zst") || text.ends_with("/latest"));
        manifests += u32::from(is_manifest);
        assert!(is_manifest || named(&text), "{case}: {text} is left");
    }
    assert!(manifests <= 3, "{case}: {manifests} manifests are left");
    for block in &manifest.blocks {
        for file in &block.files {
            let path = dir.join("blocks").join(block.prefix()).join(&file.name);
            assert!(path.is_file(), "{case}: {} is gone", path.display());
        }
    }
}

#[test]
fn a_store_killed_at_random_loses_nothing_acknowledged() {
    let rounds = std::env::var("HEARTH_CRASH_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(8u32);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut acknowledged = Acknowledged::new();
    let mut random = 0x51ed_270bu32 ^ std::process::id();
    for life in 1..=rounds {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let after = Duration::from_micros(u64::from(random >> 12));
        run_child("store::process", dir.path(), life, None, after, &mut acknowledged);
        check(dir.path(), &acknowledged, &format!("round {life}, killed after {after:?}"));
    }
    assert!(acknowledged.len() > 10, "the children hardly did anything: {}", acknowledged.len());
}

/// Every point between two steps of a flush, a merge and a publication, and some of log and snapshot, at its first visits and
/// later ones.
#[cfg(feature = "failpoints")]
#[test]
fn a_store_killed_between_any_two_steps_loses_nothing_acknowledged() {
    const POINTS: [&str; 18] = [
        "flush-begun",
        "flush-written",
        "publish-uploaded",
        "publish-committed",
        "flush-finished",
        "deletion-flushed",
        "compaction-written",
        "tier-written",
        "wal-write",
        "wal-recycle",
        "wal-recycle-sync-dir",
        "apply-batch",
        "apply-before-ack",
        "snapshot-create",
        "snapshot-frozen",
        "snapshot-block",
        "snapshot-rename",
        "snapshot-published",
    ];
    let mut total = 0;
    for point in POINTS {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut acknowledged = Acknowledged::new();
        let mut reached = 0;
        for (life, count) in [(1, 0), (2, 1), (3, 4), (4, 9)] {
            let armed = format!("{point}:{count}");
            // One has to come there, however busy the machine is.
            let most = Duration::from_secs(if reached == 0 { 15 } else { 4 });
            let killed = run_child("store::process", dir.path(), life, Some(&armed), most, &mut acknowledged);
            reached += u32::from(!killed);
            check(dir.path(), &acknowledged, &armed);
        }
        assert!(reached > 0, "no child came to {point}");
        total += acknowledged.len();
    }
    assert!(total > 100, "the children hardly did anything: {total}");
}
