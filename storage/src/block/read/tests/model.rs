//! Blocks of random series, and the same series in memory.

use crate::append::LabelHash;
use crate::block::meta::BlockMeta;
use crate::block::order;
use crate::block::read::{Block, BlockCaches};
use crate::block::timeline::{GroupKey, TimelinePlanner};
use crate::block::writer::{BlockSpec, BlockWriter, Floats, Histograms, Layout, SeriesInput};
use crate::bucket::Bucket;
use crate::head::read_histograms::hint;
use crate::histogram::stored::Stored;
use crate::select::TimeRange;
use model::exemplar::Exemplar;
use model::histogram::{CounterResetHint, Histogram, Span};
use model::labels::Labels;
use model::matcher::Matcher;
use model::metadata::MetricType;
use model::sample::stale_marker;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::path::Path;
use std::sync::Arc;

/// One series with all of its samples.
#[derive(Debug, Clone, Default)]
pub(super) struct Series {
    pub(super) labels: Labels,
    pub(super) times: Vec<i64>,
    pub(super) values: Vec<f64>,
    pub(super) starts: Vec<i64>,
    pub(super) histogram_times: Vec<i64>,
    pub(super) histograms: Vec<Arc<Histogram>>,
    pub(super) histogram_starts: Vec<i64>,
    pub(super) exemplars: Vec<Exemplar>,
}

impl Series {
    pub(super) fn matches(&self, matchers: &[Matcher]) -> bool {
        matchers.iter().all(|matcher| matcher.matches(self.labels.get(matcher.name()).unwrap_or("")))
    }

    /// Whether the range overlaps that from the first to the last sample.
    pub(super) fn overlaps(&self, range: TimeRange) -> bool {
        let times = || self.times.iter().chain(&self.histogram_times);
        let (first, last) = (times().min(), times().max());
        first.zip(last).is_some_and(|(first, last)| *first <= range.until_ms && *last > range.after_ms)
    }

    pub(super) fn floats_in(&self, range: TimeRange) -> Vec<(i64, u64)> {
        let samples = self.times.iter().zip(&self.values).map(|(time, value)| (*time, value.to_bits()));
        samples.filter(|(time, _)| within(range, *time)).collect()
    }

    pub(super) fn histograms_in(&self, range: TimeRange) -> Vec<(i64, String)> {
        let mut found: Vec<(i64, Histogram)> = Vec::new();
        for (time, histogram) in self.histogram_times.iter().zip(&self.histograms) {
            let mut histogram = Stored::new(*time, 0, histogram, None).to_histogram(None);
            histogram.counter_reset_hint = hint(&histogram, found.last().map(|before| &before.1));
            found.push((*time, histogram));
        }
        found.retain(|(time, _)| within(range, *time));
        // Stale ones have a NaN, which is not equal to itself.
        found.into_iter().map(|(time, histogram)| (time, format!("{histogram:?}"))).collect()
    }

    pub(super) fn starts_in(&self, range: TimeRange) -> Vec<i64> {
        let floats = self.times.iter().enumerate().map(|(at, time)| (*time, self.starts.get(at).copied().unwrap_or(0)));
        let histograms = self
            .histogram_times
            .iter()
            .enumerate()
            .map(|(at, time)| (*time, self.histogram_starts.get(at).copied().unwrap_or(0)));
        let mut all: Vec<(i64, i64)> = floats.chain(histograms).filter(|(time, _)| within(range, *time)).collect();
        all.sort_unstable();
        let starts: Vec<i64> = all.into_iter().map(|(_, start)| start).collect();
        if starts.iter().all(|start| *start == 0) { Vec::new() } else { starts }
    }
}

fn within(range: TimeRange, time: i64) -> bool {
    time > range.after_ms && time <= range.until_ms
}

pub(super) const BASE_MS: i64 = 1_790_000_000_000;
const STEP_MS: i64 = 15_000;

/// Labels that have no column.
pub(super) const WITHOUT_COLUMN: [&str; 2] = ["pod", "zone"];
const NAMES: [&str; 8] = ["__name__", "job", "instance", "le", "path", "code", "pod", "zone"];

/// Series of a few scrape targets, some with gaps, jitter, stale markers, floats without mantissa, histograms, exemplars.
pub(super) fn any_series(seed: u64, series_max: usize, samples_max: usize) -> Vec<Series> {
    let mut random = SmallRng::seed_from_u64(seed);
    let grids: Vec<Vec<i64>> = (0..4).map(|target| grid(target, samples_max, &mut random)).collect();
    let mut found = Vec::new();
    for _ in 0..random.random_range(1..=series_max) {
        let target = random.random_range(0..4usize);
        let mut labels = vec![
            ("__name__", format!("metric_{}", random.random_range(0..5))),
            ("job", format!("job-{}", target / 2)),
            ("instance", format!("host-{target}")),
        ];
        for name in NAMES.into_iter().skip(3) {
            if random.random_bool(0.4) {
                labels.push((name, format!("{}", random.random_range(0..7))));
            }
        }
        if random.random_bool(0.05) {
            labels.retain(|(name, _)| *name != "__name__");
        }
        let mut series = Series { labels: Labels::from_pairs(labels).unwrap(), ..Series::default() };
        add_floats(&mut series, &grids[target], &mut random);
        if random.random_bool(0.25) {
            add_histograms(&mut series, &grids[target], &mut random);
        }
        if random.random_bool(0.2) {
            add_exemplars(&mut series, &mut random);
        }
        found.push(series);
    }
    found.sort_by(|a, b| order::compare(a.labels.iter(), b.labels.iter()));
    found.dedup_by(|a, b| a.labels == b.labels);
    // No block has series with nothing at all.
    found.retain(|series| series.times.len() + series.histogram_times.len() + series.exemplars.len() > 0);
    // Nor is there a block without series.
    if found.is_empty() { any_series(seed.wrapping_add(1), series_max, samples_max) } else { found }
}

fn grid(target: usize, samples_max: usize, random: &mut SmallRng) -> Vec<i64> {
    let count = random.random_range(1..=samples_max);
    let jitter = target % 2 == 1;
    let time = |n: usize| {
        // Even, so that histograms fit between.
        BASE_MS + n as i64 * STEP_MS + if jitter { 2 * random.random_range(-3..=3i64) } else { 0 }
    };
    (0..count).map(time).collect()
}

fn add_floats(series: &mut Series, grid: &[i64], random: &mut SmallRng) {
    let gaps = [0.0, 0.0, 0.1, 0.95][random.random_range(0..4usize)];
    let kind = random.random_range(0..6);
    let (odd, stale) =
        ([0.0, 0.0, 0.2][random.random_range(0..3usize)], [0.0, 0.0, 0.1][random.random_range(0..3usize)]);
    let starts = random.random_bool(0.2);
    let mut counter = random.random_range(0..1000i64);
    for time in grid {
        if random.random_bool(gaps) {
            continue;
        }
        counter += random.random_range(0..50);
        let value = match kind {
            0 => 1.0,
            1 => counter as f64,
            2 => counter as f64 / 1000.0,
            3 => (counter * 4096) as f64 / 65536.0,
            4 => random.random_range(-1e6..1e6),
            _ => f64::from_bits(random.random()),
        };
        let odd_values = [f64::NAN, f64::INFINITY, -0.0, 0.1 + 0.2, f64::MIN_POSITIVE];
        let value = if random.random_bool(odd) { odd_values[random.random_range(0..5usize)] } else { value };
        series.times.push(*time);
        series.values.push(if random.random_bool(stale) { stale_marker() } else { value });
        if starts {
            series.starts.push(if random.random_bool(0.5) { time - 1000 } else { 0 });
        }
    }
}

fn add_histograms(series: &mut Series, grid: &[i64], random: &mut SmallRng) {
    let custom = random.random_bool(0.3);
    let gauge = random.random_bool(0.2);
    let mut bounds: Arc<[f64]> = Arc::from([0.5, 1.0, 2.5]);
    for time in grid.iter().map(|time| time + 1) {
        if random.random_bool(0.3) {
            continue;
        }
        if random.random_bool(0.1) {
            bounds = Arc::from([0.25, 1.0, random.random_range(1.5..9.0)]);
        }
        let populations =
            |random: &mut SmallRng, n| (0..n).map(|_| f64::from(random.random_range(1..9))).collect::<Vec<_>>();
        let mut histogram = Histogram {
            schema: if custom { -53 } else { 3 },
            count: f64::from(random.random_range(1..1000)),
            sum: if random.random_bool(0.1) { stale_marker() } else { random.random_range(0.0..50.0) },
            positive_spans: vec![Span { offset: 0, length: 2 }],
            positive_buckets: populations(random, 2),
            custom_values: if custom { Arc::clone(&bounds) } else { Arc::from([]) },
            counter_reset_hint: match (gauge, random.random_bool(0.1)) {
                (true, _) => CounterResetHint::Gauge,
                (false, true) => CounterResetHint::Reset,
                (false, false) => CounterResetHint::Unknown,
            },
            ..Histogram::default()
        };
        if !custom {
            histogram.zero_threshold = 0.001;
            histogram.zero_count = f64::from(random.random_range(0..3));
            histogram.positive_spans.push(Span { offset: random.random_range(1..5), length: 1 });
            histogram.positive_buckets.extend(populations(random, 1));
            histogram.negative_spans = vec![Span { offset: random.random_range(-3..3), length: 1 }];
            histogram.negative_buckets = populations(random, 1);
        }
        series.histogram_times.push(time);
        series.histograms.push(Arc::new(histogram));
        series.histogram_starts.push(if random.random_bool(0.3) { time - 5000 } else { 0 });
    }
}

fn add_exemplars(series: &mut Series, random: &mut SmallRng) {
    if random.random_bool(0.2) {
        // Nothing but exemplars.
        *series = Series { labels: series.labels.clone(), ..Series::default() };
    }
    for n in 0..random.random_range(1..4i64) {
        let labels = Labels::from_pairs([("trace_id", format!("{n:x}")), ("span", "s".to_owned())]).unwrap();
        let labels = if random.random_bool(0.2) { Labels::empty() } else { labels };
        let timestamp_ms = BASE_MS + n * 20_000;
        series.exemplars.push(Exemplar { labels, value: random.random_range(0.0..1.0), timestamp_ms });
    }
}

/// Small enough that a few series fill pages, row groups and files.
pub(super) fn small_layout(seed: u64) -> Layout {
    let mut random = SmallRng::seed_from_u64(seed);
    Layout {
        row_group_rows: random.random_range(20..2000),
        page_bytes: random.random_range(64..2000),
        page_rows: random.random_range(8..300),
        series_group_rows: random.random_range(2..40),
        series_page_rows: random.random_range(1..16),
        file_bytes_max: [2_000, 1 << 30][random.random_range(0..2usize)],
        zstd_level: 1,
    }
}

/// Writes series, in order, as a block.
pub(super) fn write(dir: &Path, series: &[Series], layout: Layout, label_names: Vec<String>) -> BlockMeta {
    let mut planner = TimelinePlanner::default();
    let mut choices = Vec::new();
    for series in series {
        let label = |name| series.labels.get(name).unwrap_or("");
        let mut choose = |times: &[i64]| {
            let group = GroupKey { job: label("job"), instance: label("instance") };
            (!times.is_empty()).then(|| planner.add(group, times, None))
        };
        choices.push((choose(&series.times), choose(&series.histogram_times)));
    }
    let spec = BlockSpec {
        ulid: crate::block::meta::ulid(BASE_MS as u64, 7),
        tenant: "anonymous".into(),
        level: 0,
        resolution_ms: 0,
        thinned_ms: 0,
        sources: Vec::new(),
        label_names,
        layout,
    };
    let mut writer = BlockWriter::create(dir, spec, planner.finish().unwrap()).unwrap();
    for (series, (floats, histograms)) in series.iter().zip(choices) {
        let labels: Vec<_> = series.labels.iter().collect();
        let input = SeriesInput {
            hash: LabelHash::of_pairs(labels.iter().copied(), &mut Vec::new()),
            labels: &labels,
            metric_type: MetricType::Unknown,
            floats: Floats {
                timestamps_ms: &series.times,
                values: &series.values,
                starts_ms: &series.starts,
                timeline: floats,
                token: None,
            },
            histograms: Histograms {
                timestamps_ms: &series.histogram_times,
                histograms: &series.histograms,
                starts_ms: &series.histogram_starts,
                left_out: &[],
                timeline: histograms,
            },
            exemplars: &series.exemplars,
        };
        writer.push(&input).unwrap();
    }
    writer.finish().unwrap()
}

/// The label names that get a column.
pub(super) fn columns() -> Vec<String> {
    NAMES.into_iter().filter(|name| *name != "__name__" && !WITHOUT_COLUMN.contains(name)).map(str::to_owned).collect()
}

/// Puts the files of a block into a bucket.
pub(super) async fn upload(bucket: &Bucket, dir: &Path, meta: &BlockMeta) {
    for file in &meta.files {
        let bytes = std::fs::read(dir.join(&file.name)).unwrap();
        bucket.put(&format!("{}{}", meta.prefix(), file.name), bytes.into()).await.unwrap();
    }
}

/// A block in a bucket of its own.
pub(super) async fn block(bucket: &Bucket, series: &[Series], layout: Layout) -> Block {
    block_with(bucket, series, layout, 8 << 20).await
}

/// The same; a series file of more than `whole_max` bytes is read in parts.
pub(super) async fn block_with(bucket: &Bucket, series: &[Series], layout: Layout, whole_max: u64) -> Block {
    let dir = tempfile::tempdir().unwrap();
    let meta = write(dir.path(), series, layout, columns());
    upload(bucket, dir.path(), &meta).await;
    let caches = BlockCaches::new(64 << 20, 1.0);
    Block::with_whole_max(bucket, Arc::new(meta), &caches, whole_max).unwrap()
}

/// Runs something that waits.
pub(super) fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
