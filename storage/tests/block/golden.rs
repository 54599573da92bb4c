//! Blocks of every format version are read for ever. Set `HEARTH_BLESS=1` to write the golden files of a new version.
//!
//! Compressors and encoders may change what bytes they choose, so what is compared is what the bytes mean, and their size.

use crate::content::{self, Series};
use crate::{plain, round_trip};
use model::exemplar::Exemplar;
use model::histogram::{CUSTOM_BUCKETS_SCHEMA, CounterResetHint, Histogram, Span};
use model::labels::Labels;
use model::metadata::MetricType;
use model::sample::{STALE_MARKER_BITS, stale_marker};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use storage::block::meta::BlockMeta;
use storage::block::schema::{HISTOGRAMS_FILE, column};
use storage::block::verify::verify;
use storage::block::writer::{BlockSpec, Layout};

const START: i64 = 1_790_000_000_000;

/// Of version 1, as the writer of the crate packed integers, and as ours does. The last one is what is written now.
const GOLDEN: [(&str, u32); 2] = [("block-v1", 1), ("block-v1-packed", 1)];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

const NEWEST: &str = GOLDEN[GOLDEN.len() - 1].0;

fn counter(path: &str, rate: f64) -> Series {
    let mut series = Series::new(&[
        ("__name__", "http_requests_total"),
        ("instance", "10.0.0.1:9100"),
        ("job", "api"),
        ("path", path),
    ]);
    series.metric_type = MetricType::Counter;
    for t in 0..40 {
        // A scrape fails now and then, and the process starts anew once.
        let start = START - 1_000 + if t < 25 { 0 } else { 25 * 15_000 };
        let since = if t < 25 { t } else { t - 25 };
        if t % 11 != 7 {
            series.floats.insert(START + t * 15_000 + t % 3, ((since as f64 * rate).to_bits(), start));
        }
    }
    series
}

fn gauges() -> Vec<Series> {
    let gauge = |name: &str, values: &[f64]| {
        let mut series = Series::new(&[("__name__", name), ("instance", "10.0.0.1:9100"), ("job", "api")]);
        series.metric_type = MetricType::Gauge;
        let at = |(n, value): (usize, &f64)| (START + n as i64 * 15_000, (value.to_bits(), 0));
        series.floats = values.iter().enumerate().map(at).collect();
        series
    };
    let strange =
        [0.1, -0.0, f64::NAN, f64::from_bits(0x7ff8_0000_0000_1234), f64::INFINITY, f64::NEG_INFINITY, 5e-324];
    vec![
        gauge("temperature_celsius", &[20.125, 20.25, 1.0 / 3.0, stale_marker(), -3.5]),
        gauge("memory_bytes", &[4096.0 * 77.0, 4096.0 * 78.0, 4096.0 * 1024.0, 0.0]),
        gauge("strange", &strange),
        gauge("strange_mixed", &[strange.as_slice(), &[1.0, 2.0, f64::MAX, 9_007_199_254_740_993.0, 1e22]].concat()),
        gauge("up", &[1.0, 1.0, f64::from_bits(STALE_MARKER_BITS)]),
    ]
}

fn classic_histogram() -> Vec<Series> {
    ["0.1", "0.5", "1", "10", "+Inf"]
        .iter()
        .enumerate()
        .map(|(n, le)| {
            let mut series =
                Series::new(&[("__name__", "latency_seconds_bucket"), ("instance", "b"), ("job", "batch"), ("le", le)]);
            series.metric_type = MetricType::Histogram;
            series.floats = (0..8).map(|t| (START + 3 + t * 60_000, ((t as f64 * n as f64).to_bits(), 0))).collect();
            series
        })
        .collect()
}

fn native_histograms() -> Vec<Series> {
    let spans =
        |pairs: &[(i32, u32)]| pairs.iter().map(|(offset, length)| Span { offset: *offset, length: *length }).collect();
    let exponential = |t: i64, hint| Histogram {
        counter_reset_hint: hint,
        schema: if t < 4 { 3 } else { 2 },
        zero_threshold: 1e-128,
        zero_count: t as f64,
        count: t as f64 * 8.0 + 6.0,
        sum: t as f64 * 1.25 - 0.1,
        positive_spans: spans(&[(-2, 2), (3, 1)]),
        positive_buckets: vec![t as f64, t as f64 * 2.0, 4.0],
        negative_spans: spans(&[(0, 2)]),
        negative_buckets: vec![2.0, t as f64 / 3.0],
        custom_values: Arc::from([]),
    };
    let stale = Histogram { sum: stale_marker(), ..Histogram::default() };
    let custom = |t: i64| Histogram {
        schema: CUSTOM_BUCKETS_SCHEMA,
        count: 3.0 * t as f64,
        sum: 0.5 * t as f64,
        positive_spans: spans(&[(0, 3)]),
        positive_buckets: vec![t as f64; 3],
        custom_values: if t < 3 { Arc::from([0.5, 1.0]) } else { Arc::from([0.25, 0.5, 1.0]) },
        ..Histogram::default()
    };
    let series = |name: &str, histograms: Vec<Histogram>, start: i64| {
        let mut series = Series::new(&[("__name__", name), ("instance", "b"), ("job", "batch")]);
        series.metric_type = MetricType::Histogram;
        let at = |(n, histogram)| (START + n as i64 * 30_000, (Arc::new(histogram), start));
        series.histograms = histograms.into_iter().enumerate().map(at).collect();
        series
    };
    let counter = |t| exponential(t, if t == 5 { CounterResetHint::Reset } else { CounterResetHint::Unknown });
    let mut both = series("native_and_float", (0..3).map(counter).collect(), 0);
    both.floats = [(START + 90_000, (7.5f64.to_bits(), 0)), (START + 120_000, (STALE_MARKER_BITS, 0))].into();
    vec![
        series("native_seconds", (0..8).map(counter).chain([stale]).collect(), START - 5),
        series("native_gauge", (0..3).map(|t| exponential(t, CounterResetHint::Gauge)).collect(), 0),
        series("native_custom", (1..6).map(custom).collect(), 0),
        both,
    ]
}

/// Something of everything.
/// Counters that rise by small steps, most of them by none, each from a lower start: integers are packed in all ways that
/// there are.
fn slow_counters() -> Vec<Series> {
    const STEPS: [i64; 16] = [0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 5, 8, 13, 21, 34, 55];
    let counter = |n: i64| {
        let name = format!("steps_{n}");
        let mut series = Series::new(&[("__name__", &name), ("instance", "10.0.0.1:9100"), ("job", "api")]);
        series.metric_type = MetricType::Counter;
        let (mut value, mut random) = (5_000_000 - n * 1_500_000, n as u64);
        for t in 0..320 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            value += STEPS[(random >> 60) as usize];
            series.floats.insert(START + t * 15_000, ((value as f64).to_bits(), 0));
        }
        series
    };
    (0..3).map(counter).collect()
}

/// What a golden block holds.
fn content_of(name: &str) -> Vec<Series> {
    let mut content = content();
    if name != "block-v1" {
        content.extend(slow_counters());
        content::sort(&mut content);
    }
    content
}

pub(crate) fn content() -> Vec<Series> {
    let mut content = gauges();
    content.extend([counter("/", 3.0), counter("/slow", 0.05)]);
    content.extend(classic_histogram());
    content.extend(native_histograms());
    let exemplar = |labels: &[(&str, &str)], value: f64, at: i64| Exemplar {
        labels: Labels::from_pairs(labels.iter().copied()).unwrap(),
        value,
        timestamp_ms: START + at,
    };
    for series in content.iter_mut().filter(|series| series.labels().metric_name() == Some("native_seconds")) {
        series.exemplars = vec![
            exemplar(&[("trace_id", "4bf92f3577b34da6a3ce929d0e0e4736"), ("span_id", "00f067aa0ba902b7")], 0.25, 5),
            exemplar(&[], f64::NAN, 90),
        ];
    }
    let mut lone = Series::new(&[("__name__", "only_exemplars"), ("zone", "a\"b\\c\nü")]);
    lone.exemplars = vec![exemplar(&[("trace_id", "1")], 1.0, 7)];
    let mut nameless = Series::new(&[("dotted.name", "x"), ("Upper", "y")]);
    nameless.floats = [(START, (1f64.to_bits(), 0))].into();
    content.extend([lone, nameless]);
    content::sort(&mut content);
    content
}

fn write(dir: &Path) -> BlockMeta {
    let content = content_of(NEWEST);
    // `zone` has no column.
    let mut spec = content::spec(&content, Layout::of_level(0), usize::MAX);
    spec.label_names.retain(|name| name != "zone");
    content::write(dir, &content, spec)
}

#[test]
fn blocks_of_every_version_are_read() {
    if std::env::var_os("HEARTH_BLESS").is_some() {
        write(&golden(NEWEST));
        std::fs::write(golden(NEWEST).with_extension("txt"), in_words(&content_of(NEWEST))).unwrap();
    }
    for (name, version) in GOLDEN {
        let dir = golden(name);
        let meta = BlockMeta::from_json(&std::fs::read(dir.join("meta.json")).unwrap()).unwrap();
        assert_eq!(meta.format_version, version);
        let found = verify(&dir, None).unwrap();
        assert!(found.problems.is_empty(), "{:?}", found.problems);
        round_trip::compare(&dir, &meta, &content_of(name));
        assert_eq!(std::fs::read_to_string(dir.with_extension("txt")).unwrap(), in_words(&content_of(name)));
    }
}

const THINNED: &str = "block-v1-thinned";

/// Native histograms between which others were left out.
fn thinned_content() -> Vec<Series> {
    let mut content = native_histograms();
    content::sort(&mut content);
    for (number, series) in (0..).zip(&mut content) {
        series.left_out = (0..series.histograms.len() as u32).map(|at| at * (7 + number) % 20).collect();
    }
    content
}

fn write_thinned(dir: &Path) -> BlockMeta {
    let content = thinned_content();
    let spec = BlockSpec { thinned_ms: 300_000, ..content::spec(&content, Layout::of_level(1), usize::MAX) };
    content::write(dir, &content, spec)
}

/// A block that is thinned has one column more; all others read as if it were zero.
#[test]
fn thinned_blocks_are_read() {
    if std::env::var_os("HEARTH_BLESS").is_some() {
        write_thinned(&golden(THINNED));
        std::fs::write(golden(THINNED).with_extension("txt"), in_words(&thinned_content())).unwrap();
    }
    let words = std::fs::read_to_string(golden(THINNED).with_extension("txt")).unwrap();
    assert_eq!(words, in_words(&thinned_content()));
    let written = tempfile::tempdir().unwrap();
    write_thinned(written.path());
    for dir in [golden(THINNED).as_path(), written.path()] {
        let meta = BlockMeta::from_json(&std::fs::read(dir.join("meta.json")).unwrap()).unwrap();
        assert_eq!((meta.format_version, meta.thinned_ms), (1, 300_000));
        let problems = verify(dir, Some(&meta)).unwrap().problems;
        assert!(problems.is_empty(), "{problems:?}");
        let content = thinned_content();
        round_trip::compare(dir, &meta, &content);
        let rows = plain::read(dir, &meta, HISTOGRAMS_FILE);
        let found: Vec<u32> = rows.iter().flat_map(|rows| plain::u32s(rows, column::LEFT_OUT).to_vec()).collect();
        assert_eq!(found, content.iter().flat_map(|series| series.left_out.clone()).collect::<Vec<_>>());
    }
}

/// The content as readers written in other languages are to see it: see `compat-tests/tests/blocks.py`.
fn in_words(content: &[Series]) -> String {
    let text = |labels: &Labels| serde_json::to_string(&labels.iter().collect::<Vec<_>>()).unwrap();
    let bits = |bits: u64| if bits == STALE_MARKER_BITS { "NULL".to_owned() } else { format!("{bits:016x}") };
    let start = |start: i64| if start == 0 { "NULL".to_owned() } else { start.to_string() };
    let mut lines = Vec::new();
    for series in content {
        let labels = text(&series.labels());
        for (at, (value, began)) in &series.floats {
            lines.push(format!("float\t{labels}\t{at}\t{}\t{}", bits(*value), start(*began)));
        }
        // The column is there in thinned blocks alone.
        let mut left_out = series.left_out.iter().map(|left_out| format!("\t{left_out}"));
        for (at, (histogram, began)) in &series.histograms {
            let (left_out, began_ms) = (left_out.next().unwrap_or_default(), start(*began));
            let plain = round_trip::expected(*at, *began, histogram);
            let totals = plain.totals.map(bits).join("\t");
            let bounds = plain.bounds.iter().map(|bound| bits(*bound)).collect::<Vec<_>>().join(",");
            let (schema, hint) = (plain.schema, plain.hint);
            lines
                .push(format!("histogram\t{labels}\t{at}\t{schema}\t{totals}\t{hint}\t{bounds}\t{began_ms}{left_out}"));
            for ((negative, index), population) in plain.buckets {
                let side = if negative { "negative" } else { "positive" };
                lines.push(format!("bucket\t{labels}\t{at}\t{side}\t{index}\t{}", bits(population)));
            }
        }
        for exemplar in &series.exemplars {
            let trace = exemplar.labels.get("trace_id").unwrap_or("NULL");
            let value = format!("{:016x}", exemplar.value.to_bits());
            lines.push(format!(
                "exemplar\t{labels}\t{}\t{value}\t{trace}\t{}",
                exemplar.timestamp_ms,
                text(&exemplar.labels)
            ));
        }
    }
    lines.sort();
    lines.join("\n") + "\n"
}

/// Bytes may differ with another version of the encoder, but neither what they mean nor by much how many there are.
#[test]
fn the_same_content_makes_the_same_block() {
    let dir = tempfile::tempdir().unwrap();
    let meta = write(dir.path());
    round_trip::compare(dir.path(), &meta, &content_of(NEWEST));
    let golden = BlockMeta::from_json(&std::fs::read(golden(NEWEST).join("meta.json")).unwrap()).unwrap();
    let shape = |meta: &BlockMeta| {
        let files: Vec<_> = meta.files.iter().map(|file| (file.name.clone(), file.rows)).collect();
        (files, BlockMeta { files: Vec::new(), ..meta.clone() })
    };
    assert_eq!(shape(&meta), shape(&golden));
    for (file, golden) in meta.files.iter().zip(&golden.files) {
        let near = file.bytes.abs_diff(golden.bytes) * 20 <= golden.bytes;
        assert!(near, "{} has {} bytes instead of {}", file.name, file.bytes, golden.bytes);
    }
}

/// One machine, one program: the same bytes, so that a retried flush replaces files by themselves.
#[test]
fn writing_twice_gives_the_same_bytes() {
    let [a, b] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    assert_eq!(write(a.path()), write(b.path()));
}
