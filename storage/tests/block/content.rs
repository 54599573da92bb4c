//! What a test writes into a block, and how.

use model::exemplar::Exemplar;
use model::histogram::Histogram;
use model::labels::Labels;
use model::metadata::MetricType;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use storage::append::LabelHash;
use storage::block::meta::{BlockMeta, ulid};
use storage::block::order;
use storage::block::timeline::{GroupKey, TimelineChoice, TimelinePlanner};
use storage::block::writer::{BlockSpec, BlockWriter, Floats, Histograms, Layout, SeriesInput};

#[derive(Debug, Clone, Default)]
pub(crate) struct Series {
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) metric_type: MetricType,
    /// By time; the values' bits and start timestamps.
    pub(crate) floats: BTreeMap<i64, (u64, i64)>,
    /// By time, with start timestamps.
    pub(crate) histograms: BTreeMap<i64, (Arc<Histogram>, i64)>,
    /// How many are left out before each of them; empty unless the block is thinned.
    pub(crate) left_out: Vec<u32>,
    pub(crate) exemplars: Vec<Exemplar>,
}

impl Series {
    pub(crate) fn new(pairs: &[(&str, &str)]) -> Self {
        let labels = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { labels, ..Self::default() }
    }

    pub(crate) fn labels(&self) -> Labels {
        Labels::from_pairs(self.labels.iter().map(|(name, value)| (name, value))).unwrap()
    }

    fn pairs(&self) -> Vec<(&str, &str)> {
        let mut pairs: Vec<_> = self.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        pairs.sort_unstable();
        pairs
    }
}

pub(crate) fn hash(labels: &Labels) -> LabelHash {
    LabelHash::of_pairs(labels.iter(), &mut Vec::new())
}

/// Brings the series in the order of a block.
pub(crate) fn sort(content: &mut [Series]) {
    content.sort_by(|a, b| order::compare(a.labels().iter(), b.labels().iter()));
}

/// Sizes at which everything has more than one of everything.
pub(crate) fn small() -> Layout {
    Layout {
        row_group_rows: 500,
        page_bytes: 128,
        page_rows: 100,
        series_group_rows: 8,
        series_page_rows: 3,
        file_bytes_max: 4_000,
        zstd_level: 1,
    }
}

pub(crate) fn spec(content: &[Series], layout: Layout, label_columns_max: usize) -> BlockSpec {
    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    content.iter().flat_map(|series| &series.labels).for_each(|(name, _)| *names.entry(name).or_default() += 1);
    let mut names: Vec<_> = names.into_iter().collect();
    names.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    BlockSpec {
        ulid: ulid(1_790_000_000_000, 7),
        tenant: "anonymous".into(),
        level: 0,
        resolution_ms: 0,
        thinned_ms: 0,
        sources: vec![ulid(1, 1), ulid(2, 2)],
        label_names: names.into_iter().map(|(name, _)| name.to_owned()).take(label_columns_max).collect(),
        layout,
    }
}

/// Writes series that are in order.
pub(crate) fn write(dir: &Path, content: &[Series], spec: BlockSpec) -> BlockMeta {
    let mut planner = TimelinePlanner::default();
    let mut plan = |series: &Series, times: Vec<i64>| -> Option<TimelineChoice> {
        let labels = series.labels();
        let [job, instance] = ["job", "instance"].map(|name| labels.get(name).unwrap_or_default());
        (!times.is_empty()).then(|| planner.add(GroupKey { job, instance }, &times, None))
    };
    let choices: Vec<_> = content
        .iter()
        .map(|series| {
            let floats = plan(series, series.floats.keys().copied().collect());
            (floats, plan(series, series.histograms.keys().copied().collect()))
        })
        .collect();
    let mut writer = BlockWriter::create(dir, spec, planner.finish().unwrap()).unwrap();
    for (series, (float_timeline, histogram_timeline)) in content.iter().zip(choices) {
        let timestamps_ms: Vec<i64> = series.floats.keys().copied().collect();
        let values: Vec<f64> = series.floats.values().map(|(bits, _)| f64::from_bits(*bits)).collect();
        let starts_ms: Vec<i64> = series.floats.values().map(|(_, start)| *start).collect();
        let histogram_times: Vec<i64> = series.histograms.keys().copied().collect();
        let histograms: Vec<_> = series.histograms.values().map(|(histogram, _)| Arc::clone(histogram)).collect();
        let histogram_starts: Vec<i64> = series.histograms.values().map(|(_, start)| *start).collect();
        let input = SeriesInput {
            labels: &series.pairs(),
            hash: hash(&series.labels()),
            metric_type: series.metric_type,
            floats: Floats {
                timestamps_ms: &timestamps_ms,
                values: &values,
                starts_ms: if starts_ms.iter().all(|start| *start == 0) { &[] } else { &starts_ms },
                timeline: float_timeline,
                token: None,
            },
            histograms: Histograms {
                timestamps_ms: &histogram_times,
                histograms: &histograms,
                starts_ms: &histogram_starts,
                left_out: &series.left_out,
                timeline: histogram_timeline,
            },
            exemplars: &series.exemplars,
        };
        writer.push(&input).unwrap();
    }
    writer.finish().unwrap()
}
