//! A process that writes is killed: with `kill -9` at random moments, and, with the feature `failpoints`, between any two
//! steps of log, snapshot and recycling. Every acknowledged sample is found bit-exact, none twice.
//!
//! The child is this test binary itself. It tells each acknowledgement over its standard output; what the pipe holds
//! when the child is gone was acknowledged. `HEARTH_CRASH_ROUNDS` sets the number of random rounds.

use model::exemplar::Exemplar;
use model::histogram::{Histogram, HistogramColumns, Span};
use model::labels::Labels;
use model::matcher::Matcher;
use model::sample::SampleColumns;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use storage::append::{Batch, ExemplarRow, HistogramRow, LabelHash, Rows, SeriesRef};
use storage::engine::{Engine, Options};

const DIR: &str = "HEARTH_CRASH_DIR";
const LIFE: &str = "HEARTH_CRASH_LIFE";
const POINT: &str = "HEARTH_CRASH_POINT";
const WRITERS: u32 = 3;
const SERIES_PER_WRITER: u32 = 40;
/// A child that is not killed ends on its own.
const CHILD_TIME_MAX: Duration = Duration::from_secs(20);

fn options(dir: &Path) -> Options {
    Options {
        segment_bytes: 128 << 10,
        snapshot_interval: Duration::from_secs(1),
        snapshot_wal_bytes: 256 << 10,
        shards: Some(2),
        ..Options::new(dir)
    }
}

fn value(n: u32, timestamp_ms: i64) -> f64 {
    match n % 4 {
        0 => f64::from(n),
        1 => (timestamp_ms * i64::from(n)) as f64 / 100.0,
        2 => (timestamp_ms / 7) as f64,
        _ => f64::from_bits((timestamp_ms as u64 ^ u64::from(n) << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
    }
}

/// Since when series `n` is counted at a timestamp; 0 for most.
fn start_of(n: u32, timestamp_ms: i64) -> i64 {
    match n % 8 {
        0 => 1 + timestamp_ms / 100,
        1 => timestamp_ms - 1,
        _ => 0,
    }
}

/// The histogram series of a writer, which has the exemplars, too.
fn histogram_series(writer: u32) -> u32 {
    1_000 + writer
}

/// What it has at a timestamp: buckets that come and grow.
fn histogram(writer: u32, timestamp_ms: i64) -> Histogram {
    let buckets = 4 + timestamp_ms % 1_000 / 50;
    Histogram {
        schema: 2,
        count: (timestamp_ms * buckets) as f64,
        sum: timestamp_ms as f64 / 8.0,
        positive_spans: vec![Span { offset: writer as i32, length: buckets as u32 }],
        positive_buckets: vec![timestamp_ms as f64; buckets as usize],
        ..Histogram::default()
    }
}

fn exemplar(timestamp_ms: i64) -> Exemplar {
    let labels = Labels::from_pairs([("trace_id", timestamp_ms.to_string())]).expect("one label");
    Exemplar { labels, value: timestamp_ms as f64, timestamp_ms }
}

fn series(engine: &Engine, n: u32) -> Option<SeriesRef> {
    let text = n.to_string();
    let labels = [("__name__", "m"), ("n", text.as_str())];
    let hash = LabelHash::of_pairs(labels, &mut Vec::new());
    engine.create(hash, &labels).ok()
}

mod child {
    use super::*;

    /// Not a test: what the killed process does.
    #[test]
    #[ignore = "run by the other tests as a process of its own"]
    fn process() {
        let Some(dir) = std::env::var_os(DIR) else { return };
        let life: i64 = std::env::var(LIFE).expect("set by the parent").parse().expect("a number");
        arm();
        let engine = Engine::open(&options(Path::new(&dir))).expect("the directory opens");
        let start = Instant::now();
        std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                let engine = &engine;
                scope.spawn(move || write(engine, writer, life * 1_000_000, start));
            }
            scope.spawn(|| {
                while start.elapsed() < CHILD_TIME_MAX {
                    std::thread::sleep(Duration::from_millis(15));
                    engine.snapshot_now().expect("the disk works");
                }
            });
        });
    }

    fn write(engine: &Engine, writer: u32, first_ms: i64, start: Instant) {
        let mut timestamp = first_ms;
        while start.elapsed() < CHILD_TIME_MAX {
            timestamp += 1;
            let mut rows = Rows::default();
            for n in writer * SERIES_PER_WRITER..(writer + 1) * SERIES_PER_WRITER {
                // New series keep coming, so that their records lie everywhere in the log.
                if n % 8 < (timestamp - first_ms) as u32 {
                    let series = super::series(engine, n).expect("healthy");
                    rows.push_started(series, timestamp, value(n, timestamp), start_of(n, timestamp));
                }
            }
            let written = rows.len() as u64;
            let series = super::series(engine, histogram_series(writer)).expect("healthy");
            let histogram = histogram(writer, timestamp);
            let histograms = vec![HistogramRow { series, timestamp_ms: timestamp, start_ms: timestamp / 2, histogram }];
            let exemplars = vec![ExemplarRow { series, exemplar: exemplar(timestamp) }];
            let outcome =
                engine.append_wait(Batch { rows, histograms, exemplars, ..Batch::default() }).expect("healthy");
            let written_all = (outcome.written, outcome.histograms_written, outcome.exemplars_written);
            assert_eq!(written_all, (written, 1, 1));
            let line = format!("acknowledged {writer} {timestamp}\n");
            std::io::stdout().lock().write_all(line.as_bytes()).expect("the parent reads");
        }
    }

    #[cfg(not(feature = "failpoints"))]
    fn arm() {}

    /// Ends the process the n-th time it comes to a point.
    #[cfg(feature = "failpoints")]
    fn arm() {
        use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
        let Ok(point) = std::env::var(POINT) else { return };
        let (name, count) = point.split_once(':').expect("name:count");
        let left = AtomicU64::new(count.parse().expect("a number"));
        fail::cfg_callback(name, move || {
            if left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_err() {
                std::process::abort();
            }
        })
        .expect("a known form");
    }
}

/// Acknowledged batches: writer and timestamp.
type Acknowledged = BTreeSet<(u32, i64)>;

fn spawn(dir: &Path, life: u32, point: Option<&str>) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command.args(["--ignored", "--exact", "child::process", "--nocapture"]);
    command.env(DIR, dir).env(LIFE, life.to_string()).stdout(Stdio::piped()).stderr(Stdio::null());
    if let Some(point) = point {
        command.env(POINT, point);
    }
    command.spawn().expect("this binary runs")
}

/// Runs a child until it ends or, `after` its first acknowledgement, is killed. Returns whether it had to be.
fn run(dir: &Path, life: u32, point: Option<&str>, after: Duration, acknowledged: &mut Acknowledged) -> bool {
    let mut child = spawn(dir, life, point);
    let output = child.stdout.take().expect("piped");
    let (sender, first) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut read = Acknowledged::new();
        let (mut output, mut line) = (BufReader::new(output), String::new());
        // A line cut by the kill has no end.
        while output.read_line(&mut line).is_ok() && line.ends_with('\n') {
            let mut words = line.trim_end().split(' ').skip_while(|word| *word != "acknowledged").skip(1);
            let numbers = (words.next().and_then(|w| w.parse().ok()), words.next().and_then(|w| w.parse().ok()));
            if let (Some(writer), Some(timestamp)) = numbers {
                read.insert((writer, timestamp));
                // The parent stops listening after the first.
                let _ = sender.send(());
            }
            line.clear();
        }
        read
    });
    let started = first.recv_timeout(Duration::from_secs(10)).is_ok();
    let deadline = Instant::now() + after;
    let mut ended = !started;
    while !ended && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(2));
        ended = child.try_wait().expect("our child").is_some();
    }
    child.kill().expect("our child");
    child.wait().expect("our child");
    acknowledged.extend(reader.join().expect("no panic"));
    !ended
}

/// Opens the directory and compares it with what was acknowledged.
fn check(dir: &Path, acknowledged: &Acknowledged, case: &str) {
    let engine = Engine::open(&options(dir)).expect("the directory opens");
    let report = engine.restore_report();
    assert_eq!((report.damage_count(), report.orphans, report.conflicts), (0, 0, 0), "{case}: {report:?}");
    let selection = engine.select(&[], i64::MIN, i64::MAX, usize::MAX).expect("no limit");
    let mut stored = BTreeSet::new();
    for index in 0..selection.len() {
        let n: u32 = selection.labels(index).get("n").expect("every series has it").parse().expect("a number");
        if selection.has_histograms(index) {
            stored.extend(check_histograms(&engine, n).into_iter().map(|timestamp| (n, timestamp)));
            continue;
        }
        let mut starts = Vec::new();
        selection.read_start_timestamps(index, i64::MIN, i64::MAX, &mut starts).expect("readable");
        let mut columns = SampleColumns::default();
        selection.read(index, i64::MIN, i64::MAX, &mut columns).expect("readable");
        assert!(columns.timestamps_ms.is_sorted_by(|a, b| a < b), "{case}: a sample came twice");
        for (timestamp, read) in columns.timestamps_ms.iter().zip(&columns.values) {
            assert_eq!(read.to_bits(), value(n, *timestamp).to_bits(), "{case}: series {n} at {timestamp}");
            stored.insert((n, *timestamp));
        }
        let expected: Vec<i64> = columns.timestamps_ms.iter().map(|timestamp| start_of(n, *timestamp)).collect();
        let known = expected.iter().any(|start_ms| *start_ms != 0);
        assert_eq!(starts, if known { expected } else { Vec::new() }, "{case}: starts of series {n}");
    }
    for (writer, timestamp) in acknowledged {
        let histogram = stored.contains(&(histogram_series(*writer), *timestamp));
        assert!(histogram, "{case}: writer {writer} lost its histogram at {timestamp}");
        for n in writer * SERIES_PER_WRITER..(writer + 1) * SERIES_PER_WRITER {
            let sent = n % 8 < (timestamp % 1_000_000) as u32;
            assert!(!sent || stored.contains(&(n, *timestamp)), "{case}: series {n} lost its sample at {timestamp}");
        }
    }
}

/// Compares histograms and exemplars of a series; returns the timestamps that have both.
fn check_histograms(engine: &Engine, n: u32) -> Vec<i64> {
    let matchers = [Matcher::equal("n", n.to_string())];
    let selection = engine.select(&matchers, i64::MIN, i64::MAX, 1).expect("one series");
    let (mut columns, mut starts) = (HistogramColumns::default(), Vec::new());
    selection.read_histograms(0, i64::MIN, i64::MAX, &mut columns).expect("readable");
    selection.read_start_timestamps(0, i64::MIN, i64::MAX, &mut starts).expect("readable");
    assert!(columns.timestamps_ms.is_sorted_by(|a, b| a < b), "a histogram of series {n} came twice");
    for (row, (timestamp, read)) in columns.timestamps_ms.iter().zip(&columns.histograms).enumerate() {
        let counter_reset_hint = read.counter_reset_hint;
        assert_eq!(**read, Histogram { counter_reset_hint, ..histogram(n - 1_000, *timestamp) }, "at {timestamp}");
        assert_eq!(starts[row], timestamp / 2, "the start of series {n} at {timestamp}");
    }
    let found = engine.exemplars(&[matchers.into()], i64::MIN, i64::MAX);
    let found: BTreeSet<i64> = found.iter().flat_map(|(_, held)| held).map(|held| held.timestamp_ms).collect();
    columns.timestamps_ms.into_iter().filter(|timestamp| found.contains(timestamp)).collect()
}

#[test]
fn a_process_killed_at_random_loses_nothing_acknowledged() {
    let rounds = std::env::var("HEARTH_CRASH_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(6u32);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut acknowledged = Acknowledged::new();
    let mut random = 0x9e37_79b9u32 ^ std::process::id();
    for life in 1..=rounds {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let after = Duration::from_micros(u64::from(random >> 14));
        run(dir.path(), life, None, after, &mut acknowledged);
        check(dir.path(), &acknowledged, &format!("round {life}, killed after {after:?}"));
    }
    assert!(acknowledged.len() > 10, "the children hardly did anything: {}", acknowledged.len());
}

/// Every point between two steps, at its first visits and later ones.
#[cfg(feature = "failpoints")]
#[test]
fn a_process_killed_between_any_two_steps_loses_nothing_acknowledged() {
    const POINTS: [&str; 23] = [
        "wal-segment-create",
        "wal-segment-zero",
        "wal-segment-header",
        "wal-segment-sync",
        "wal-segment-rename",
        "wal-segment-sync-dir",
        "wal-segment-ready",
        "wal-write",
        "wal-sync",
        "wal-synced",
        "wal-recycle",
        "wal-recycle-sync-dir",
        "apply-batch",
        "apply-before-ack",
        "snapshot-create",
        "snapshot-header",
        "snapshot-frozen",
        "snapshot-block",
        "snapshot-trailer",
        "snapshot-sync",
        "snapshot-rename",
        "snapshot-sync-dir",
        "snapshot-published",
    ];
    let mut total = 0;
    for point in POINTS {
        // New each time: segments are made in a new directory only.
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut acknowledged = Acknowledged::new();
        let mut reached = 0;
        for (life, count) in [(1, 0), (2, 1), (3, 5)] {
            let armed = format!("{point}:{count}");
            let killed = run(dir.path(), life, Some(&armed), Duration::from_secs(3), &mut acknowledged);
            reached += u32::from(!killed);
            check(dir.path(), &acknowledged, &armed);
        }
        assert!(reached > 0, "no child came to {point}");
        total += acknowledged.len();
    }
    assert!(total > 100, "the children hardly did anything: {total}");
}
