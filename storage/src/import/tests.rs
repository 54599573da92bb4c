#![allow(clippy::indexing_slicing, reason = "a test that panics fails, as it should")]

use super::tsdb::TsdbSource;
use super::*;
use crate::bucket::BucketOptions;
use crate::export::{ExportFormat, export};
use crate::import::room::{Room, Share};
use crate::import::spool::{Spool, Spooled};
use crate::lifecycle::retention::Retention;
use crate::offline::BlockStore;
use crate::select::TimeRange;
use crate::store::{Store, StoreOptions};
use model::histogram::{CounterResetHint, Histogram, Span};
use model::sample::is_stale_marker;
use proptest::prelude::*;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

mod beside;

const DAY: i64 = 86_400_000;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/prometheus-2.42")
}

/// Everything that a source has, as `samples.txt` beside the golden block is written. (Prometheus 2.42 does not store that a
/// histogram is a gauge.)
fn lines(source: &dyn Source) -> Result<Vec<String>, ImportError> {
    let mut lines = Vec::new();
    for day in source.days() {
        source.visit(day, &mut |series| {
            let name = series.labels.metric_name().unwrap_or_default();
            for (at, value) in series.floats.timestamps_ms.iter().zip(&series.floats.values) {
                let value = if is_stale_marker(*value) { "stale".to_owned() } else { format!("{value:?}") };
                lines.push(format!("{name} {at} float {value}"));
            }
            for (at, histogram) in series.histograms.timestamps_ms.iter().zip(&series.histograms.histograms) {
                lines.push(format!("{name} {at} {}", histogram_line(histogram)));
            }
            Ok(())
        })?;
    }
    Ok(lines)
}

fn histogram_line(histogram: &Histogram) -> String {
    let kind = if histogram.counter_reset_hint == CounterResetHint::Gauge { "gauge" } else { "counter" };
    let side = |spans: &[Span], buckets: &[f64]| {
        let (mut at, mut indices) = (0i64, Vec::new());
        for span in spans {
            at += i64::from(span.offset);
            indices.extend(at..at + i64::from(span.length));
            at += i64::from(span.length);
        }
        let populated = indices.iter().zip(buckets).filter(|(_, population)| **population != 0.0);
        populated.map(|(index, population)| format!("{index}:{}", python(*population))).collect::<Vec<_>>().join(" ")
    };
    format!(
        "{kind} {} {} {} {} {} [{}] [{}]",
        python(histogram.count),
        python(histogram.sum),
        histogram.schema,
        python(histogram.zero_threshold),
        python(histogram.zero_count),
        side(&histogram.positive_spans, &histogram.positive_buckets),
        side(&histogram.negative_spans, &histogram.negative_buckets),
    )
}

/// As Python prints floats: exponents have a sign and two digits.
fn python(value: f64) -> String {
    let text = format!("{value:?}");
    match text.split_once("e-") {
        Some((digits, exponent)) => format!("{digits}e-{exponent:0>2}"),
        None => text,
    }
}

#[test]
fn a_block_of_prometheus_is_read_with_floats_and_both_kinds_of_histograms() {
    let source = TsdbSource::open(&golden(), &Room::new(u64::MAX), &()).unwrap();
    let expected = std::fs::read_to_string(golden().join("samples.txt")).unwrap();
    let found = lines(&source).unwrap();
    for (found, expected) in found.iter().zip(expected.lines()) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.len(), expected.lines().count());
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target)
        } else {
            {
                std::fs::copy(&path, &target).unwrap();
            }
        }
    }
}

/// Bytes that mean nothing to an import may differ; then everything is as it was.
#[test]
fn no_flipped_bit_of_a_foreign_block_is_imported() {
    let directory = tempfile::tempdir().unwrap();
    copy(&golden(), directory.path());
    let expected = lines(&TsdbSource::open(directory.path(), &Room::new(u64::MAX), &()).unwrap()).unwrap();
    let block = directory.path().join("01M8GVR6T9R6X1CMPRW2CWDE1N");
    for (name, found_min) in [("index", 150), ("chunks/000001", 1900), ("tombstones", 8)] {
        let path = block.join(name);
        let good = std::fs::read(&path).unwrap();
        let mut found = 0;
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            std::fs::write(&path, &bad).unwrap();
            match TsdbSource::open(directory.path(), &Room::new(u64::MAX), &()).and_then(|source| lines(&source)) {
                Ok(lines) => assert_eq!(lines, expected, "byte {at} of {name}"),
                Err(_) => found += 1,
            }
        }
        std::fs::write(&path, &good).unwrap();
        assert!(found >= found_min, "{found} of {} bytes of {name}", good.len());
    }
}

type Truth = BTreeMap<(String, i64), u64>;

fn labels(series: u8) -> Labels {
    let bound = ["0.5", "+Inf", "10", "x"][usize::from(series) % 4];
    let (job, n) = (format!("j{}", series % 3), series.to_string());
    Labels::from_pairs([("__name__", "m"), ("a", n.as_str()), ("job", job.as_str()), ("le", bound)]).unwrap()
}

fn options() -> ImportOptions {
    ImportOptions { again: false, room: Room::new(u64::MAX) }
}

fn spooled(directory: &Path, samples: &[(u8, i64, f64)], samples_max: usize, digest: u128) -> Spooled {
    let mut spool = Spool::new(directory, &Room::new(u64::MAX).with_samples(samples_max));
    for (series, at_ms, value) in samples {
        let series = spool.series(&labels(*series), MetricType::Unknown).unwrap();
        spool.push(series, *at_ms, *value).unwrap();
    }
    spool.finish(digest).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever fits in memory: each sample once, the first of several, series in the order of blocks.
    #[test]
    fn a_spool_puts_samples_into_order(
        samples in prop::collection::vec((0..20u8, -2 * DAY..2 * DAY, any::<f64>()), 0..300),
        samples_max in 1..20usize,
    ) {
        let directory = tempfile::tempdir().unwrap();
        let mut truth = Truth::new();
        for (series, at_ms, value) in &samples {
            truth.entry((labels(*series).to_string(), *at_ms)).or_insert(value.to_bits());
        }
        let spooled = spooled(directory.path(), &samples, samples_max, 1);
        let mut found = Truth::new();
        for day in spooled.days() {
            let mut last: Option<Labels> = None;
            spooled.visit(day, &mut |series| {
                let follows = last.as_ref().is_none_or(|last| {
                    crate::block::order::compare(last.iter(), series.labels.iter()).is_lt()
                });
                assert!(follows, "{} is out of order", series.labels);
                last = Some(series.labels.clone());
                for (at_ms, value) in series.floats.timestamps_ms.iter().zip(&series.floats.values) {
                    assert_eq!(at_ms.div_euclid(DAY), day);
                    let before = found.insert((series.labels.to_string(), *at_ms), value.to_bits());
                    assert!(before.is_none(), "twice");
                }
                Ok(())
            }).unwrap();
        }
        prop_assert_eq!(found, truth);
    }
}

fn block_store(data: &Path) -> BlockStore {
    BlockStore::open(&BucketOptions::default(), data, "anonymous").unwrap()
}

fn exported(store: &BlockStore, format: ExportFormat) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    let retention = Retention::default();
    export(store, &[], TimeRange::ALL, &retention, format, Box::new(file.reopen().unwrap())).unwrap();
    String::from_utf8(std::fs::read(file.path()).unwrap()).unwrap()
}

/// Ends like a killed process: the given day cannot be read.
struct Broken<'s> {
    source: &'s Spooled,
    day: Cell<i64>,
}

impl Source for Broken<'_> {
    fn days(&self) -> Vec<i64> {
        self.source.days()
    }

    fn digest(&self, day: i64) -> u128 {
        self.source.digest(day)
    }

    fn visit(&self, day: i64, each: &mut EachSeries<'_>) -> Result<(), ImportError> {
        if day == self.day.get() {
            return Err(ImportError::unsupported(Path::new("day"), "the process ends"));
        }
        self.source.visit(day, each)
    }
}

fn three_days() -> Vec<(u8, i64, f64)> {
    let at = |i: i64| i * 600_000 + i % 7;
    (0..400).map(|i| ((i % 5) as u8, at(i), i as f64 / 10.0)).collect()
}

#[test]
fn an_import_goes_on_behind_the_last_committed_day() {
    let (data, spool) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let source = spooled(spool.path(), &three_days(), 50, 7);
    let store = block_store(data.path());
    let work = store.work_dir().unwrap();
    let broken = Broken { source: &source, day: Cell::new(1) };
    run(&store, &broken, work.path(), options(), &()).unwrap_err();
    assert_eq!(store.refresh().unwrap().blocks.len(), 1, "what was committed can be seen");
    // Merged with others meanwhile: the origin tells.
    drop(work);
    let server = Store::open(StoreOptions::new(data.path()), &Default::default()).unwrap();
    server.flush(true).unwrap();
    let store = block_store(data.path());
    let work = store.work_dir().unwrap();
    let report = run(&store, &source, work.path(), options(), &()).unwrap();
    assert_eq!((report.days, report.days_known), (2, 1));
    // The server's right to compact was taken over; it claims it again.
    server.flush(true).unwrap();
    server.close().unwrap();
    let again = run(&store, &source, work.path(), options(), &()).unwrap();
    assert_eq!((again.days, again.days_known), (0, 3));
    let mut expected: Vec<String> = three_days()
        .iter()
        .map(|(series, at_ms, value)| {
            format!("{at_ms},{value},\"{}\"", labels(*series).to_string().replace('"', "\"\""))
        })
        .collect();
    expected.sort();
    let text = exported(&store, ExportFormat::Csv);
    let mut found: Vec<&str> = text.lines().skip(1).collect();
    found.sort_unstable();
    assert_eq!(found, expected);
}

#[test]
fn an_export_is_imported_as_it_was() {
    let (data, other, spool) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut samples = three_days();
    let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 1e-300, 0.1 + 0.2, f64::MAX, 5e-324];
    samples.extend(odd.iter().zip(0..).map(|(value, at)| (9, at, *value)));
    let store = block_store(data.path());
    let source = spooled(spool.path(), &samples, 1000, 1);
    run(&store, &source, store.work_dir().unwrap().path(), options(), &()).unwrap();
    let text = exported(&store, ExportFormat::OpenMetrics);
    let file = data.path().join("export.om");
    std::fs::write(&file, &text).unwrap();
    let table = data.path().join("export.parquet");
    let output = Box::new(std::fs::File::create(&table).unwrap());
    export(&store, &[], TimeRange::ALL, &Retention::default(), ExportFormat::Parquet, output).unwrap();
    for name in ["openmetrics", "parquet"] {
        let again = block_store(&other.path().join(name));
        let work = again.work_dir().unwrap();
        let source = match name {
            "openmetrics" => {
                openmetrics::open(&file, work.path(), &Room::new(u64::MAX).with_samples(100), &()).unwrap()
            }
            _ => table::open(std::slice::from_ref(&table), work.path(), &Room::new(u64::MAX).with_samples(100), &())
                .unwrap(),
        };
        run(&again, &source, work.path(), options(), &()).unwrap();
        assert_eq!(exported(&again, ExportFormat::OpenMetrics), text, "{name}");
    }
}

/// Every byte of every file, also of those that say what the others should be.
#[test]
fn a_flipped_bit_of_a_block_is_found_and_named() {
    let (data, spool) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = block_store(data.path());
    let samples: Vec<_> = three_days().into_iter().take(20).collect();
    let source = spooled(spool.path(), &samples, 1000, 1);
    run(&store, &source, store.work_dir().unwrap().path(), options(), &()).unwrap();
    let manifest = store.manifest();
    let block = manifest.blocks.first().unwrap();
    assert!(store.verify(block).unwrap().problems.is_empty());
    let directory = data.path().join("blocks").join(block.prefix());
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let good = std::fs::read(&path).unwrap();
        for at in (0..good.len()).step_by(11) {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            std::fs::write(&path, &bad).unwrap();
            let found = store.verify(block).unwrap();
            let name = path.file_name().unwrap().to_str().unwrap();
            let mut text = String::new();
            found.problems.iter().for_each(|problem| writeln!(text, "{problem}").unwrap());
            assert!(text.contains(name), "byte {at} of {name}: {text:?}");
        }
        std::fs::write(&path, &good).unwrap();
    }
}

#[test]
fn a_directory_of_a_killed_import_is_removed_by_the_next_one() {
    let data = tempfile::tempdir().unwrap();
    let store = block_store(data.path());
    let (left, used) = (data.path().join("work/left"), store.work_dir().unwrap());
    std::fs::create_dir_all(&left).unwrap();
    std::fs::write(left.join("lock"), "").unwrap();
    let next = store.work_dir().unwrap();
    assert!(!left.exists() && used.path().exists() && next.path().exists());
}

/// More than fits: samples go to files in parts, and a day becomes several blocks, which are committed at once and known as one.
#[test]
fn an_import_stays_within_its_room_and_leaves_nothing_out() {
    let text = |n: usize| format!("m{{n=\"{}\"}} {n} {}.{:03}", n % 97, (n * 7919) % 86_400, n % 1000);
    let mut lines: Vec<String> = (0..40_000).map(text).collect();
    lines.push("# EOF\n".into());
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("day.om");
    std::fs::write(&file, lines.join("\n")).unwrap();
    let import = |name: &str, room: Room| {
        let store = block_store(&data.path().join(name));
        let work = store.work_dir().unwrap();
        let source = openmetrics::open(&file, work.path(), &room, &()).unwrap();
        let options = ImportOptions { again: false, room };
        let before = store.manifest().version;
        let report = run(&store, &source, work.path(), options.clone(), &()).unwrap();
        let again = run(&store, &source, work.path(), options, &()).unwrap();
        assert_eq!((report.days, report.samples, again.days_known), (1, 40_000, 1));
        let manifest = store.refresh().unwrap();
        // The right to publish is claimed in a version of its own.
        assert_eq!(manifest.version, before + 2, "all blocks of the day become visible at once");
        (exported(&store, ExportFormat::Csv), manifest.blocks.len())
    };
    let (expected, one) = import("all", Room::new(u64::MAX));
    let room = Room::new(1 << 20);
    let (found, several) = import("little", room.clone());
    assert_eq!(one, 1);
    assert!(several > 1, "the times of the day take 160 kB, of which 105 may be held");
    assert!(expected == found);
    for share in [Share::Labels, Share::Times] {
        assert!(room.peak(share) > 0 && room.peak(share) <= room.bytes_of(share), "{share:?} {}", room.peak(share));
    }
    assert!(room.peak(Share::Samples) <= room.samples_max() as u64 * 48);
    assert!(room.samples_max() < 5_000);
}

#[test]
fn labels_that_do_not_fit_end_an_import_before_memory_is_full() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("many.om");
    let lines: String = (0..2_000).map(|n| format!("m{{n=\"{n}\"}} 1 1\n")).collect();
    std::fs::write(&file, lines + "# EOF\n").unwrap();
    let room = Room::new(1 << 20);
    let error = openmetrics::open(&file, directory.path(), &room, &()).err().unwrap();
    assert_eq!(error.kind(), crate::error::ErrorKind::Limited);
    assert!(error.to_string().contains("the labels of all series take more than 262125 bytes"), "{error}");
    assert!(room.peak(Share::Labels) <= room.bytes_of(Share::Labels));
    let foreign = TsdbSource::open(&golden(), &Room::new(1_000), &()).err().unwrap();
    assert_eq!(foreign.kind(), crate::error::ErrorKind::Limited);
}

/// Whatever the room, few files are open at once.
#[test]
fn many_runs_become_few() {
    let directory = tempfile::tempdir().unwrap();
    let samples: Vec<_> = (0..1_000).map(|n| ((n % 5) as u8, (n * 37 % 400) * 1000, n as f64)).collect();
    let source = spooled(directory.path(), &samples, 1, 1);
    assert!(std::fs::read_dir(directory.path()).unwrap().count() < 130);
    let mut found = Truth::new();
    let mut truth = Truth::new();
    for (series, at_ms, value) in &samples {
        truth.entry((labels(*series).to_string(), *at_ms)).or_insert(value.to_bits());
    }
    source
        .visit(0, &mut |series| {
            for (at_ms, value) in series.floats.timestamps_ms.iter().zip(&series.floats.values) {
                found.insert((series.labels.to_string(), *at_ms), value.to_bits());
            }
            Ok(())
        })
        .unwrap();
    assert_eq!(found, truth);
}
