//! Writes what the head gives out to blocks.
//!
//! Time is cut into segments, one block each: the windows of two hours of the day that the flush ends in, whole UTC days for
//! what is older, and whole days again for what came after its time had been flushed. All series are visited twice: for their
//! timestamps, from which the timelines of each block follow, and for their samples.

use super::compaction::remove_hidden_histograms;
use super::window::{day_of, day_range, window_start};
use crate::append::SeriesRef;
use crate::block::meta::{BlockMeta, ulid};
use crate::block::order;
use crate::block::timeline::{GroupKey, TimelineChoice, TimelinePlanner};
use crate::block::writer::{BlockSpec, BlockWriter, Floats, Histograms, Layout, SeriesInput};
use crate::engine::Flush;
use crate::head::{FlushPart, FlushSeries};
use crate::store::StoreError;
use crate::store::selection::{Hide, remove_hidden};
use crate::tombstone::{DeletedSpans, Since};
use hashbrown::HashMap;
use model::exemplar::Exemplar;
use model::histogram::HistogramColumns;
use model::labels::Labels;
use model::sample::SampleColumns;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Blocks that are written at once: each has buffers of its own.
const BLOCKS_AT_ONCE: usize = 16;

/// A block whose files are durable in a local directory, to be uploaded.
#[derive(Debug, Clone)]
pub(crate) struct StagedBlock {
    pub(crate) dir: PathBuf,
    pub(crate) meta: BlockMeta,
}

/// A span of time that becomes one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Segment {
    below: bool,
    start_ms: i64,
}

/// Writes everything that `flush` gives out, and that is not hidden, to blocks below `staging`.
pub(crate) fn write_blocks(
    flush: &Flush,
    staging: &Path,
    tenant: &str,
    now_ms: i64,
    hide: Hide<'_>,
) -> Result<Vec<StagedBlock>, StoreError> {
    let visitor = Visitor::new(flush, hide);
    let plans = plan(&visitor)?;
    let names: Vec<String> = flush.label_names().into_iter().map(|(name, _)| name).collect();
    let mut staged = Vec::new();
    let mut plans = plans.into_iter().peekable();
    while plans.peek().is_some() {
        let mut open = BTreeMap::new();
        for (segment, planned) in plans.by_ref().take(BLOCKS_AT_ONCE) {
            let spec = BlockSpec {
                ulid: ulid(now_ms.max(0).unsigned_abs(), rand::random()),
                tenant: tenant.to_owned(),
                level: 0,
                resolution_ms: 0,
                thinned_ms: 0,
                sources: Vec::new(),
                label_names: names.clone(),
                layout: Layout::of_level(0),
            };
            let dir = staging.join(&spec.ulid);
            let writer = BlockWriter::create(&dir, spec, planned.planner.finish()?)?;
            let (floats, histograms) = (planned.floats.into_iter(), planned.histograms.into_iter());
            open.insert(segment, Open { dir, writer, floats, histograms });
        }
        write(&visitor, &mut open)?;
        for (_, block) in open {
            let meta = block.writer.finish()?;
            if meta.series > 0 {
                staged.push(StagedBlock { dir: block.dir, meta });
            }
        }
    }
    Ok(staged)
}

/// A block that is being planned; choices are in the order of the visit.
#[derive(Default)]
struct Planned {
    planner: TimelinePlanner,
    floats: Vec<TimelineChoice>,
    histograms: Vec<TimelineChoice>,
}

/// A block that is being written.
struct Open {
    dir: PathBuf,
    writer: BlockWriter,
    floats: std::vec::IntoIter<TimelineChoice>,
    histograms: std::vec::IntoIter<TimelineChoice>,
}

fn plan(visitor: &Visitor<'_>) -> Result<BTreeMap<Segment, Planned>, StoreError> {
    let mut plans: BTreeMap<Segment, Planned> = BTreeMap::new();
    visitor.visit(false, |series| {
        let labels = &series.labels;
        let group = GroupKey {
            job: labels.get("job").unwrap_or_default(),
            instance: labels.get("instance").unwrap_or_default(),
        };
        for (segment, part) in &series.parts {
            let planned = plans.entry(*segment).or_default();
            let times = part.floats_of(series);
            if let Some(times) = times.timestamps_ms.get(part.floats.clone()).filter(|times| !times.is_empty()) {
                planned.floats.push(planned.planner.add(group, times, part.token));
            }
            let times = part.histograms_of(series);
            if let Some(times) = times.timestamps_ms.get(part.histograms.clone()).filter(|times| !times.is_empty()) {
                planned.histograms.push(planned.planner.add(group, times, None));
            }
        }
        Ok(())
    })?;
    Ok(plans)
}

fn write(visitor: &Visitor<'_>, open: &mut BTreeMap<Segment, Open>) -> Result<(), StoreError> {
    visitor.visit(true, |series| {
        let labels: Vec<(&str, &str)> = series.labels.iter().collect();
        let metric_type = visitor.flush.metric_type(series.labels.metric_name().unwrap_or_default());
        for (segment, part) in &series.parts {
            let Some(block) = open.get_mut(segment) else { continue };
            let (floats, histograms) = (part.floats_of(series), part.histograms_of(series));
            let (starts, histogram_starts) = part.starts_of(series);
            let input = SeriesInput {
                labels: &labels,
                hash: series.hash,
                metric_type,
                floats: Floats {
                    timestamps_ms: slice(&floats.timestamps_ms, &part.floats),
                    values: slice(&floats.values, &part.floats),
                    starts_ms: slice(starts, &part.floats),
                    timeline: if part.floats.is_empty() { None } else { block.floats.next() },
                    token: part.token,
                },
                histograms: Histograms {
                    timestamps_ms: slice(&histograms.timestamps_ms, &part.histograms),
                    histograms: slice(&histograms.histograms, &part.histograms),
                    starts_ms: slice(histogram_starts, &part.histograms),
                    left_out: &[],
                    timeline: if part.histograms.is_empty() { None } else { block.histograms.next() },
                },
                exemplars: &part.exemplars,
            };
            block.writer.push(&input)?;
        }
        Ok(())
    })
}

/// A part of a column; nothing of a column that is empty because nothing is known.
fn slice<'c, T>(column: &'c [T], part: &Range<usize>) -> &'c [T] {
    column.get(part.clone()).unwrap_or_default()
}

/// What a flush gives out of one series, cut into segments.
struct Visited {
    labels: Labels,
    hash: crate::append::LabelHash,
    window: Samples,
    below: Samples,
    parts: BTreeMap<Segment, Part>,
}

#[derive(Default)]
struct Samples {
    floats: SampleColumns,
    starts_ms: Vec<i64>,
    histograms: HistogramColumns,
    histogram_starts_ms: Vec<i64>,
}

/// The part of a series' samples that lies in one segment, as ranges of its columns.
#[derive(Default)]
struct Part {
    below: bool,
    floats: Range<usize>,
    histograms: Range<usize>,
    exemplars: Vec<Exemplar>,
    token: Option<u64>,
}

impl Part {
    fn samples<'v>(&self, series: &'v Visited) -> &'v Samples {
        if self.below { &series.below } else { &series.window }
    }

    fn floats_of<'v>(&self, series: &'v Visited) -> &'v SampleColumns {
        &self.samples(series).floats
    }

    fn histograms_of<'v>(&self, series: &'v Visited) -> &'v HistogramColumns {
        &self.samples(series).histograms
    }

    fn starts_of<'v>(&self, series: &'v Visited) -> (&'v [i64], &'v [i64]) {
        let samples = self.samples(series);
        (&samples.starts_ms, &samples.histogram_starts_ms)
    }
}

/// Goes through the series of a flush in the order of blocks.
struct Visitor<'f> {
    flush: &'f Flush,
    hide: Hide<'f>,
    exemplars: HashMap<SeriesRef, Vec<Exemplar>>,
    /// Series that have exemplars, by metric: some have nothing else.
    with_exemplars: HashMap<Option<String>, Vec<(SeriesRef, Labels)>>,
}

impl<'f> Visitor<'f> {
    fn new(flush: &'f Flush, hide: Hide<'f>) -> Self {
        let (mut exemplars, mut with_exemplars) = (HashMap::new(), HashMap::<_, Vec<_>>::new());
        for (series, labels, of_series) in flush.exemplars() {
            exemplars.insert(series, of_series);
            let metric = labels.metric_name().map(str::to_owned);
            with_exemplars.entry(metric).or_default().push((series, labels));
        }
        Self { flush, hide, exemplars, with_exemplars }
    }

    /// `starts` says whether start timestamps are of interest.
    fn visit(&self, starts: bool, mut each: impl FnMut(&Visited) -> Result<(), StoreError>) -> Result<(), StoreError> {
        for metric in self.flush.metrics() {
            let mut series = self.flush.series_of(metric.as_deref());
            if let Some(others) = self.with_exemplars.get(&metric) {
                let known: hashbrown::HashSet<SeriesRef> = series.iter().map(|series| series.series).collect();
                let others = others.iter().filter(|(series, _)| !known.contains(series));
                series.extend(others.map(|(series, labels)| FlushSeries {
                    series: *series,
                    labels: labels.clone(),
                    hash: crate::append::LabelHash::of_pairs(labels.iter(), &mut Vec::new()),
                    in_window: false,
                    below: false,
                }));
            }
            series.sort_unstable_by(|a, b| order::compare(a.labels.iter(), b.labels.iter()));
            for series in series {
                each(&self.read(series, starts)?)?;
            }
        }
        Ok(())
    }

    fn read(&self, series: FlushSeries, starts: bool) -> Result<Visited, StoreError> {
        let mut visited = Visited {
            labels: series.labels,
            hash: series.hash,
            window: Samples::default(),
            below: Samples::default(),
            parts: BTreeMap::new(),
        };
        let hidden = (self.hide)(&visited.labels, Since::NOW);
        if series.in_window {
            let token = self.read_part(series.series, FlushPart::Window, starts, &hidden, &mut visited.window)?;
            self.cut(false, token, &visited.window, &mut visited.parts);
        }
        if series.below {
            self.read_part(series.series, FlushPart::Below, starts, &hidden, &mut visited.below)?;
            self.cut(true, None, &visited.below, &mut visited.parts);
        }
        for exemplar in self.exemplars.get(&series.series).into_iter().flatten() {
            let below = exemplar.timestamp_ms < self.flush.floor_ms();
            let segment = self.segment(below, exemplar.timestamp_ms);
            let part = visited.parts.entry(segment).or_insert_with(|| Part { below, ..Part::default() });
            part.exemplars.push(exemplar.clone());
        }
        Ok(visited)
    }

    fn read_part(
        &self,
        series: SeriesRef,
        part: FlushPart,
        starts: bool,
        hidden: &DeletedSpans,
        into: &mut Samples,
    ) -> Result<Option<u64>, StoreError> {
        let token = self.flush.read_floats(series, part, &mut into.floats)?;
        let exact = hidden.is_empty() || remove_hidden(hidden, &mut into.floats);
        if starts {
            self.flush.read_float_starts(series, part, &into.floats.timestamps_ms, &mut into.starts_ms)?;
        }
        self.flush.read_histograms(series, part, &mut into.histograms, &mut into.histogram_starts_ms)?;
        if !hidden.is_empty() {
            let times = into.histograms.timestamps_ms.iter();
            let mut keep = times.map(|timestamp_ms| !hidden.contains(*timestamp_ms)).collect::<Vec<_>>().into_iter();
            into.histogram_starts_ms.retain(|_| keep.next() == Some(true));
            remove_hidden_histograms(hidden, &mut into.histograms);
        }
        Ok(token.filter(|_| exact))
    }

    fn cut(&self, below: bool, token: Option<u64>, samples: &Samples, parts: &mut BTreeMap<Segment, Part>) {
        for (segment, range) in self.runs(below, &samples.floats.timestamps_ms) {
            parts.insert(segment, Part { below, floats: range, token, ..Part::default() });
        }
        for (segment, range) in self.runs(below, &samples.histograms.timestamps_ms) {
            parts.entry(segment).or_insert_with(|| Part { below, ..Part::default() }).histograms = range;
        }
    }

    /// The runs of ascending timestamps that lie in one segment each.
    fn runs(&self, below: bool, timestamps_ms: &[i64]) -> Vec<(Segment, Range<usize>)> {
        let mut runs = Vec::new();
        let mut start = 0;
        while let Some(first_ms) = timestamps_ms.get(start) {
            let segment = self.segment(below, *first_ms);
            let rest = timestamps_ms.get(start..).unwrap_or_default();
            let end = start + rest.partition_point(|timestamp_ms| self.segment(below, *timestamp_ms) <= segment);
            runs.push((segment, start..end));
            start = end;
        }
        runs
    }

    fn segment(&self, below: bool, timestamp_ms: i64) -> Segment {
        let today = day_of(self.flush.boundary_ms().saturating_sub(1));
        let day = day_of(timestamp_ms);
        let start_ms = if below || day < today { *day_range(day).start() } else { window_start(timestamp_ms) };
        Segment { below, start_ms }
    }
}
