//! Whatever is written comes back bit for bit.

use crate::content::{self, Series, hash};
use crate::plain::{self, PlainHistogram, number, text};
use model::exemplar::Exemplar;
use model::histogram::{CounterResetHint, Histogram, Span};
use model::labels::Labels;
use model::metadata::MetricType;
use model::sample::STALE_MARKER_BITS;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use storage::block::meta::BlockMeta;
use storage::block::schema::{LABEL_COLUMNS_MAX, column as c};
use storage::block::writer::Layout;

/// Writes the series and compares all files with them.
pub(crate) fn check(dir: &Path, content: &[Series], layout: Layout, label_columns_max: usize) -> BlockMeta {
    let spec = content::spec(content, layout, label_columns_max);
    let meta = content::write(dir, content, spec);
    compare(dir, &meta, content);
    meta
}

pub(crate) fn compare(dir: &Path, meta: &BlockMeta, content: &[Series]) {
    let key = |series: &Series| -> Vec<(String, String)> {
        series.labels().iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    let (mut floats, mut histograms, mut exemplars) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for series in content {
        let samples: Vec<_> = series.floats.iter().map(|(at, (bits, start))| (*at, *bits, *start)).collect();
        let own: Vec<_> = series.histograms.iter().map(|(at, (h, start))| expected(*at, *start, h)).collect();
        let pairs = |labels: &Labels| labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect::<Vec<_>>();
        let of = |e: &Exemplar| {
            (e.timestamp_ms, e.value.to_bits(), e.labels.get("trace_id").map(str::to_owned), pairs(&e.labels))
        };
        let observed: Vec<_> = series.exemplars.iter().map(of).collect();
        if !samples.is_empty() {
            floats.insert(key(series), samples);
        }
        if !own.is_empty() {
            histograms.insert(key(series), own);
        }
        if !observed.is_empty() {
            exemplars.insert(key(series), observed);
        }
    }
    assert_eq!(plain::floats(dir, meta), floats);
    assert_eq!(plain::histograms(dir, meta), histograms);
    assert_eq!(plain::exemplars(dir, meta), exemplars);
    compare_series(dir, meta, content);
    let sum = |of: fn(&Series) -> usize| content.iter().map(of).sum::<usize>() as u64;
    let counts = [meta.series, meta.samples, meta.histograms, meta.exemplars];
    let expected = [sum(|_| 1), sum(|s| s.floats.len()), sum(|s| s.histograms.len()), sum(|s| s.exemplars.len())];
    assert_eq!(counts, expected);
    let read = BlockMeta::from_json(&std::fs::read(dir.join("meta.json")).unwrap()).unwrap();
    assert_eq!(&read, meta);
}

pub(crate) fn expected(at: i64, start: i64, histogram: &Histogram) -> PlainHistogram {
    let mut buckets = BTreeMap::new();
    let sides = [
        (false, &histogram.positive_spans, &histogram.positive_buckets),
        (true, &histogram.negative_spans, &histogram.negative_buckets),
    ];
    for (negative, spans, populations) in sides {
        let mut index = 0;
        let mut populations = populations.iter();
        for span in spans {
            index += span.offset;
            for population in populations.by_ref().take(span.length as usize) {
                if *population != 0.0 {
                    buckets.insert((negative, index), population.to_bits());
                }
                index += 1;
            }
        }
    }
    PlainHistogram {
        at,
        start,
        schema: histogram.schema,
        totals: [histogram.zero_threshold, histogram.count, histogram.zero_count, histogram.sum].map(f64::to_bits),
        hint: match histogram.counter_reset_hint {
            CounterResetHint::Reset => 1,
            CounterResetHint::Gauge => 3,
            CounterResetHint::Unknown | CounterResetHint::NotReset => 0,
        },
        bounds: histogram.custom_values.iter().map(|bound| bound.to_bits()).collect(),
        buckets,
    }
}

fn compare_series(dir: &Path, meta: &BlockMeta, content: &[Series]) {
    let rows = plain::series(dir, meta);
    assert_eq!(rows.len(), content.len());
    let (mut row_start, mut histogram_start, mut exemplar_start) = (0, 0, 0);
    for ((_, row), series) in rows.iter().zip(content) {
        let labels = series.labels();
        let hash = hash(&labels).0;
        assert_eq!(number(row, c::FINGERPRINT), Some(hash as u64));
        assert_eq!(number(row, c::FINGERPRINT_HIGH), Some((hash >> 64) as u64));
        assert_eq!(text(row, c::METRIC).as_deref(), labels.metric_name());
        assert_eq!(text(row, c::TYPE).as_deref(), Some(series.metric_type.name()));
        for name in &meta.label_columns {
            assert_eq!(text(row, &c::label(name)).as_deref(), labels.get(name), "{name}");
        }
        let count = series.floats.len() as u64;
        assert_eq!(number(row, c::ROW_START), Some(row_start));
        assert_eq!(number(row, c::ROW_COUNT), Some(count));
        assert_eq!(number(row, c::HISTOGRAM_START), Some(histogram_start));
        assert_eq!(number(row, c::HISTOGRAM_COUNT), Some(series.histograms.len() as u64));
        assert_eq!(number(row, c::EXEMPLAR_START), Some(exemplar_start));
        assert_eq!(number(row, c::EXEMPLAR_COUNT), Some(series.exemplars.len() as u64));
        row_start += count;
        histogram_start += series.histograms.len() as u64;
        exemplar_start += series.exemplars.len() as u64;
        let stale = series.floats.values().filter(|(bits, _)| *bits == STALE_MARKER_BITS).count() as u64;
        assert_eq!(number(row, c::STALE_COUNT), Some(stale));
        let has_starts = series.floats.values().any(|(_, start)| *start != 0);
        assert_eq!(number(row, c::HAS_STARTS), Some(u64::from(has_starts)));
        let times = series.floats.keys().chain(series.histograms.keys());
        assert_eq!(number(row, c::MIN_TS), times.clone().min().map(|at| *at as u64));
        assert_eq!(number(row, c::MAX_TS), times.max().map(|at| *at as u64));
        let steps: Vec<i64> = series.floats.keys().zip(series.floats.keys().skip(1)).map(|(a, b)| b - a).collect();
        let step = steps.first().filter(|step| steps.iter().all(|other| other == *step));
        let step = step.and_then(|step| u32::try_from(*step).ok()).unwrap_or(0);
        assert_eq!(number(row, c::STEP_MS), Some(step.into()));
        assert_eq!(number(row, c::DIVISOR).is_some(), count > 0);
    }
}

fn any_bits() -> impl Strategy<Value = u64> {
    prop_oneof![
        3 => any::<u64>(),
        3 => (-100_000i64..100_000).prop_map(|n| (n as f64 / 1000.0).to_bits()),
        2 => (0u32..1 << 20).prop_map(|n| (f64::from(n) * 4096.0).to_bits()),
        1 => Just(STALE_MARKER_BITS),
        1 => prop::sample::select(vec![-0.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, f64::MAX, 5e-324]).prop_map(f64::to_bits),
    ]
}

fn any_floats() -> impl Strategy<Value = BTreeMap<i64, (u64, i64)>> {
    let start = prop_oneof![2 => Just(0i64), 1 => 1i64..1_000_000];
    let wild = prop::collection::btree_map(0i64..200_000, (any_bits(), start), 0..40);
    let counter = (0u64..1 << 40, 1u64..1_000, 0usize..300, prop::collection::vec(any::<prop::sample::Index>(), 0..4))
        .prop_map(|(first, rate, count, gaps)| {
            let sample = |n: usize| (n as i64 * 15_000, (((first + n as u64 * rate) as f64).to_bits(), 0));
            let mut samples: BTreeMap<_, _> = (0..count).map(sample).collect();
            for gap in gaps.iter().filter(|_| count > 0) {
                samples.remove(&(gap.index(count) as i64 * 15_000));
            }
            samples
        });
    prop_oneof![wild, counter]
}

fn any_histogram() -> impl Strategy<Value = Histogram> {
    let population = prop_oneof![4 => (0u32..1000).prop_map(f64::from), 1 => any_bits().prop_map(f64::from_bits)];
    let side = (prop::collection::vec((-10i32..10, 0u32..4), 0..4), prop::collection::vec(population.clone(), 16))
        .prop_map(|(spans, populations)| {
            let mut spans: Vec<Span> = spans.into_iter().map(|(offset, length)| Span { offset, length }).collect();
            spans.iter_mut().skip(1).for_each(|span| span.offset = span.offset.abs());
            let buckets = spans.iter().map(|span| span.length as usize).sum();
            (spans, populations.into_iter().take(buckets).collect::<Vec<f64>>())
        });
    let hint = prop::sample::select(vec![
        CounterResetHint::Unknown,
        CounterResetHint::Reset,
        CounterResetHint::NotReset,
        CounterResetHint::Gauge,
    ]);
    let bounds = prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec(any::<f64>(), 1..5)];
    let totals = [population.clone().boxed(), population.boxed(), any_bits().prop_map(f64::from_bits).boxed()];
    (hint, -53i8..9, prop::sample::select(vec![0.0, 1e-128, 0.001]), totals, side.clone(), side, bounds).prop_map(
        |(counter_reset_hint, schema, zero_threshold, totals, positive, negative, bounds)| Histogram {
            counter_reset_hint,
            schema,
            zero_threshold,
            count: totals[0],
            zero_count: totals[1],
            sum: totals[2],
            positive_spans: positive.0,
            positive_buckets: positive.1,
            negative_spans: negative.0,
            negative_buckets: negative.1,
            custom_values: bounds.into(),
        },
    )
}

fn any_exemplar() -> impl Strategy<Value = Exemplar> {
    let labels = prop::collection::btree_map("trace_id|span|x", "[a-z]{1,3}", 0..3);
    (labels, any_bits(), any::<i32>()).prop_map(|(labels, bits, at)| Exemplar {
        labels: Labels::from_pairs(labels).unwrap(),
        value: f64::from_bits(bits),
        timestamp_ms: at.into(),
    })
}

fn any_series() -> impl Strategy<Value = Series> {
    let labels = prop::collection::btree_map("__name__|job|instance|le|a\\.b|ü", "[ab0-9]{1,2}", 0..5);
    let histogram = (any_histogram(), prop_oneof![Just(0i64), 1i64..1_000]).prop_map(|(h, start)| (Arc::new(h), start));
    let histograms = prop_oneof![
        3 => Just(BTreeMap::new()),
        1 => prop::collection::btree_map((0i64..40).prop_map(|n| n * 30_000 + 1), histogram, 1..12),
    ];
    let exemplars = prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec(any_exemplar(), 1..5)];
    let types = prop::sample::select(vec![MetricType::Unknown, MetricType::Counter, MetricType::Gauge]);
    (labels, types, any_floats(), histograms, exemplars).prop_map(
        |(labels, metric_type, floats, histograms, exemplars)| Series {
            labels: labels.into_iter().collect(),
            metric_type,
            floats,
            histograms,
            left_out: Vec::new(),
            exemplars,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_samples_come_back(content in prop::collection::vec(any_series(), 0..12), small: bool, columns in 0usize..5) {
        let mut content = content;
        content::sort(&mut content);
        content.dedup_by_key(|series| series.labels());
        let layout = if small { content::small() } else { Layout::of_level(1) };
        let dir = tempfile::tempdir().unwrap();
        check(&dir.path().join("block"), &content, layout, columns);
    }
}

#[test]
fn a_block_without_anything_is_readable() {
    let dir = tempfile::tempdir().unwrap();
    let meta = check(dir.path(), &[], Layout::of_level(0), 0);
    let names: Vec<_> = meta.files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["series.parquet", "timelines.parquet", "samples.parquet", "checksums.bin"]);
}

/// 256 names have a column; the rest is in the map, and the metadata says so.
#[test]
fn names_beyond_the_limit_have_no_column() {
    let names: Vec<String> = (0..LABEL_COLUMNS_MAX + 9).map(|n| format!("label_{n:03}")).collect();
    let mut series = Series::new(&[("__name__", "wide")]);
    series.labels.extend(names.iter().map(|name| (name.clone(), "x".to_owned())));
    series.floats.insert(0, (1f64.to_bits(), 0));
    let dir = tempfile::tempdir().unwrap();
    let content = [series];
    let mut spec = content::spec(&content, Layout::of_level(0), usize::MAX);
    spec.label_names.insert(0, "__name__".into());
    let meta = content::write(dir.path(), &content, spec);
    compare(dir.path(), &meta, &content);
    assert_eq!((meta.label_columns.len(), meta.labels_overflow), (LABEL_COLUMNS_MAX, true));
}
