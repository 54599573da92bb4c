//! Merges blocks into one: series by series in the order that all blocks share, samples by time.
//!
//! Memory is bounded by a few hundred series of each input. What is deleted or expired is left out. All series are visited twice,
//! as in a flush: for timelines first, then for samples.

use super::flush::StagedBlock;
use crate::append::LabelHash;
use crate::block::meta::ulid;
use crate::block::order;
use crate::block::read::{Block, BlockLabels, BlockPages, BlockSeries, ReadError, What};
use crate::block::timeline::{GroupKey, TimelineChoice, TimelinePlanner};
use crate::block::writer::{BlockSpec, BlockWriter, Floats, Histograms, Layout, SeriesInput};
use crate::select::TimeRange;
use crate::store::selection::{Hide, Merge, Part, Token, remove_hidden};
use crate::store::view::BlockView;
use crate::store::{Io, StoreError};
use crate::tombstone::{DeletedSpans, Since};
use hashbrown::HashMap;
use model::bucket::thin;
use model::exemplar::Exemplar;
use model::histogram::{CounterResetHint, HistogramColumns};
use model::labels::Labels;
use model::matcher::Matcher;
use model::metadata::MetricType;
use model::sample::SampleColumns;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// Series of an input that are in memory at once.
pub(super) const SERIES_AT_ONCE: usize = 256;

/// What is made of the inputs.
pub(crate) struct Target<'t> {
    pub(crate) staging: &'t Path,
    pub(crate) tenant: &'t str,
    pub(crate) level: u8,
    pub(crate) now_ms: i64,
    /// What of a series is left out.
    pub(crate) hide: Hide<'t>,
    /// Tells since when the inputs are there.
    pub(crate) view: &'t BlockView,
    pub(crate) keep: Keep,
}

/// What of the inputs is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// All that is not hidden.
    All,
    /// Native histograms, thinned for spans of this length in milliseconds, and exemplars of their series: floats have expired. What
    /// is written is none of what the inputs were made from, so that nobody takes it for their floats.
    Histograms(i64),
}

/// Merges `inputs`, by precedence; `None` when nothing is left of them.
pub(crate) fn merge_blocks(io: &Io, inputs: &[Block], target: &Target<'_>) -> Result<Option<StagedBlock>, StoreError> {
    let mut planner = TimelinePlanner::default();
    let mut choices: Vec<TimelineChoice> = Vec::new();
    let mut names: HashMap<String, u64> = HashMap::new();
    let wanted = |all| Wanted { matchers: &[], range: TimeRange::ALL, all, hide: target.hide, view: target.view };
    let written = |series: &mut Visited| target.keep.of(series);
    let thinned_ms =
        inputs.iter().map(|block| block.meta().thinned_ms).chain([target.keep.thinned_ms()]).max().unwrap_or(0);
    // What thinning leaves out depends on starts.
    visit(io, inputs, &wanted(target.keep != Keep::All), |series| {
        if !written(series) {
            return Ok(());
        }
        let labels = &series.labels;
        let group = GroupKey {
            job: labels.get("job").unwrap_or_default(),
            instance: labels.get("instance").unwrap_or_default(),
        };
        for (name, _) in labels.iter() {
            *names.entry_ref(name).or_default() += 1;
        }
        if !series.floats.is_empty() {
            choices.push(planner.add(group, &series.floats.timestamps_ms, series.token));
        }
        if !series.histograms.is_empty() {
            choices.push(planner.add(group, &series.histograms.timestamps_ms, None));
        }
        Ok(())
    })?;
    let mut names: Vec<(String, u64)> = names.into_iter().collect();
    names.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let origins = inputs.iter().filter(|_| target.keep == Keep::All).flat_map(|block| block.meta().origins());
    let mut sources: Vec<String> = origins.map(str::to_owned).collect();
    sources.sort_unstable();
    sources.dedup();
    let spec = BlockSpec {
        ulid: ulid(target.now_ms.max(0).unsigned_abs(), rand::random()),
        tenant: target.tenant.to_owned(),
        level: target.level,
        resolution_ms: 0,
        thinned_ms,
        sources,
        label_names: names.into_iter().map(|(name, _)| name).collect(),
        layout: Layout::of_level(target.level),
    };
    let dir = target.staging.join(&spec.ulid);
    let mut writer = BlockWriter::create(&dir, spec, planner.finish()?)?;
    let mut choices = choices.into_iter();
    visit(io, inputs, &wanted(true), |series| {
        if !written(series) {
            return Ok(());
        }
        let labels: Vec<(&str, &str)> = series.labels.iter().collect();
        let mut choose = |is_empty: bool| if is_empty { None } else { choices.next() };
        let input = SeriesInput {
            labels: &labels,
            hash: series.hash,
            metric_type: series.metric_type,
            floats: Floats {
                timestamps_ms: &series.floats.timestamps_ms,
                values: &series.floats.values,
                starts_ms: &series.float_starts_ms,
                timeline: choose(series.floats.is_empty()),
                token: series.token,
            },
            histograms: Histograms {
                timestamps_ms: &series.histograms.timestamps_ms,
                histograms: &series.histograms.histograms,
                starts_ms: &series.histogram_starts_ms,
                left_out: &series.histograms.left_out,
                timeline: choose(series.histograms.is_empty()),
            },
            exemplars: &series.exemplars,
        };
        Ok(writer.push(&input)?)
    })?;
    let meta = writer.finish()?;
    if meta.series > 0 {
        return Ok(Some(StagedBlock { dir, meta }));
    }
    std::fs::remove_dir_all(&dir).map_err(StoreError::io("remove", &dir))?;
    Ok(None)
}

impl Keep {
    /// Takes out of a series what is not kept; `false` when nothing is left.
    fn of(self, series: &mut Visited) -> bool {
        let Self::Histograms(resolution_ms) = self else { return true };
        series.floats.clear();
        series.float_starts_ms.clear();
        series.token = None;
        thin(&mut series.histograms, &mut series.histogram_starts_ms, resolution_ms);
        !series.histograms.is_empty()
    }

    fn thinned_ms(self) -> u64 {
        match self {
            Self::All => 0,
            Self::Histograms(resolution_ms) => resolution_ms.unsigned_abs(),
        }
    }
}

/// A series with what all inputs have of it.
#[derive(Default)]
pub(crate) struct Visited {
    pub(crate) labels: Labels,
    pub(crate) hash: LabelHash,
    pub(crate) metric_type: MetricType,
    pub(crate) floats: SampleColumns,
    float_starts_ms: Vec<i64>,
    token: Option<u64>,
    pub(crate) histograms: HistogramColumns,
    histogram_starts_ms: Vec<i64>,
    exemplars: Vec<Exemplar>,
}

/// What is visited.
pub(crate) struct Wanted<'w> {
    /// All must hold.
    pub(crate) matchers: &'w [Matcher],
    pub(crate) range: TimeRange,
    /// Whether more than timestamps and values is of interest.
    pub(crate) all: bool,
    /// What of a series is left out.
    pub(crate) hide: Hide<'w>,
    /// Tells since when the inputs are there.
    pub(crate) view: &'w BlockView,
}

impl Visited {
    fn is_empty(&self) -> bool {
        self.floats.is_empty() && self.histograms.is_empty() && self.exemplars.is_empty()
    }
}

/// Goes through the series of all inputs, by precedence, together.
pub(crate) fn visit(
    io: &Io,
    inputs: &[Block],
    wanted: &Wanted<'_>,
    each: impl FnMut(&mut Visited) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    visit_past(io, inputs, wanted, |_, error| Err(error), each)
}

/// The same past inputs that cannot be read, if `unread` says so: what was read of them before stays, what would follow is left out.
pub(crate) fn visit_past(
    io: &Io,
    inputs: &[Block],
    wanted: &Wanted<'_>,
    mut unread: impl FnMut(&Block, StoreError) -> Result<(), StoreError>,
    mut each: impl FnMut(&mut Visited) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let (all, range) = (wanted.all, wanted.range);
    let (mut cursors, mut read) = (Vec::with_capacity(inputs.len()), Vec::with_capacity(inputs.len()));
    for block in inputs {
        match Cursor::open(io, block, wanted) {
            Ok(cursor) => {
                cursors.push(cursor);
                read.push(block);
            }
            Err(error) => unread(block, error)?,
        }
    }
    loop {
        let Some(next) = next_series(&cursors) else { return Ok(()) };
        let mut visited = Visited::default();
        let (mut merge, mut token) = (Merge::default(), Token::default());
        let mut starts: Vec<(i64, i64)> = Vec::new();
        let (mut scratch, mut part) = (SampleColumns::default(), Part::default());
        let (mut exact, mut hidden) = (true, None::<(Since, DeletedSpans)>);
        for (number, at) in next {
            let (Some(cursor), Some(block)) = (cursors.get_mut(number), read.get(number)) else { continue };
            let hidden = match &mut hidden {
                Some((since, hidden)) if *since == cursor.since => hidden,
                other => &mut other.insert((cursor.since, (wanted.hide)(&cursor.current, cursor.since))).1,
            };
            let mut take = || {
                let pages = cursor.pages(io, range)?;
                let series = &cursor.series;
                let part_token = series.read(&pages, at, range, &mut scratch)?;
                token.add(1, part_token, scratch.is_empty());
                if all && series.has_start_timestamps(at)? {
                    part.floats.timestamps_ms.extend_from_slice(&scratch.timestamps_ms);
                    series.read_histograms(&pages, at, range, &mut part.histograms)?;
                    series.read_start_timestamps(&pages, at, range, &mut part.starts_ms)?;
                    part.take(Some(hidden), &mut starts);
                }
                exact &= hidden.is_empty() || remove_hidden(hidden, &mut scratch);
                merge.add(&mut scratch, &mut visited.floats);
                cursor.take_others(&pages, at, range, hidden, &mut visited)?;
                cursor.at += 1;
                Ok(())
            };
            if let Err(error) = take() {
                unread(block, error)?;
                cursor.end(&mut visited);
            }
        }
        exact &= merge.finish(&mut visited.floats);
        finish_histograms(&mut visited.histograms);
        visited.token = token.finish().filter(|_| exact);
        if all {
            put_starts(starts, &mut visited);
            visited.exemplars.sort_by_key(|exemplar| exemplar.timestamp_ms);
            visited.exemplars.dedup_by(|a, b| a.repeats(b));
        }
        if !visited.is_empty() {
            each(&mut visited)?;
        }
    }
}

/// The cursors, with their places, that are at the series that comes next.
fn next_series(cursors: &[Cursor]) -> Option<Vec<(usize, usize)>> {
    let mut found: Vec<(usize, usize)> = Vec::new();
    let mut least: Option<&Cursor> = None;
    for (number, cursor) in cursors.iter().enumerate() {
        let Some(hash) = cursor.hash() else { continue };
        let order = match least {
            Some(least) if least.hash() == Some(hash) => std::cmp::Ordering::Equal,
            Some(least) => order::compare(cursor.current.iter(), least.current.iter()),
            None => std::cmp::Ordering::Less,
        };
        if order.is_lt() {
            found.clear();
            least = Some(cursor);
        }
        if order.is_le() {
            found.push((number, cursor.at));
        }
    }
    (!found.is_empty()).then_some(found)
}

/// A place in one input.
struct Cursor {
    series: Arc<BlockSeries>,
    since: Since,
    labels: BlockLabels,
    hashes: Vec<LabelHash>,
    types: Vec<MetricType>,
    exemplars: HashMap<usize, Vec<Exemplar>>,
    at: usize,
    /// Labels of the series it is at.
    current: Labels,
    current_at: usize,
    fetched: Option<(Range<usize>, BlockPages)>,
}

impl Cursor {
    fn open(io: &Io, block: &Block, wanted: &Wanted<'_>) -> Result<Self, StoreError> {
        let since = wanted.view.since(block);
        let (block, matchers, all) = (block.clone(), wanted.matchers.to_vec(), wanted.all);
        let opened = io.wait(async move {
            let series = block.select_all(&matchers).await?;
            let (labels, hashes) = (series.labels(None).await?, series.hashes().await?);
            let types = series.metric_types().await?;
            let exemplars = if all { series.exemplars(i64::MIN, i64::MAX).await? } else { Vec::new() };
            Ok::<_, ReadError>((series, labels, hashes, types, exemplars))
        });
        let (series, labels, hashes, types, exemplars) = opened?;
        let mut cursor = Self {
            series: Arc::new(series),
            since,
            labels,
            hashes,
            types,
            exemplars: exemplars.into_iter().collect(),
            at: 0,
            current: Labels::empty(),
            current_at: usize::MAX,
            fetched: None,
        };
        cursor.load()?;
        Ok(cursor)
    }

    fn hash(&self) -> Option<LabelHash> {
        self.hashes.get(self.at).copied()
    }

    /// Leaves out what would follow; floats of the series it is at that were read already stay.
    fn end(&mut self, visited: &mut Visited) {
        if visited.labels.is_empty() {
            visited.labels = std::mem::take(&mut self.current);
        }
        self.hashes.clear();
    }

    /// Reads the labels of the series it is at.
    fn load(&mut self) -> Result<(), StoreError> {
        if self.at < self.hashes.len() && self.current_at != self.at {
            self.current = self.labels.of(self.at)?;
            self.current_at = self.at;
        }
        Ok(())
    }

    /// The pages of the series it is at.
    fn pages(&mut self, io: &Io, within: TimeRange) -> Result<BlockPages, StoreError> {
        if let Some((range, pages)) = &self.fetched
            && range.contains(&self.at)
        {
            return Ok(pages.clone());
        }
        let range = self.at..self.at.saturating_add(SERIES_AT_ONCE).min(self.hashes.len());
        let (series, wanted) = (Arc::clone(&self.series), range.clone());
        let pages = io.wait(async move { series.fetch(wanted, within, What::ALL).await })?;
        self.fetched = Some((range, pages.clone()));
        Ok(pages)
    }

    /// Adds all but floats, and what is hidden, to what is visited.
    fn take_others(
        &mut self,
        pages: &BlockPages,
        at: usize,
        range: TimeRange,
        hidden: &DeletedSpans,
        visited: &mut Visited,
    ) -> Result<(), StoreError> {
        let mut histograms = HistogramColumns::default();
        if self.series.has_histograms(at)? {
            self.series.read_histograms(pages, at, range, &mut histograms)?;
        }
        for (timestamp_ms, histogram, left_out) in histograms.drain() {
            if !hidden.contains(timestamp_ms) {
                visited.histograms.push_after(timestamp_ms, histogram, left_out);
            }
        }
        if let Some(exemplars) = self.exemplars.remove(&at) {
            visited.exemplars.extend(exemplars.into_iter().filter(|exemplar| !hidden.contains(exemplar.timestamp_ms)));
        }
        if visited.metric_type == MetricType::Unknown {
            visited.metric_type = self.types.get(at).copied().unwrap_or_default();
        }
        visited.hash = self.hashes.get(at).copied().unwrap_or_default();
        visited.labels = std::mem::take(&mut self.current);
        self.current_at = usize::MAX;
        let next = at + 1;
        if next < self.hashes.len() {
            self.current = self.labels.of(next)?;
            self.current_at = next;
        }
        Ok(())
    }
}

/// Sorts by time, leaves repetitions out, and forgets what was only found by comparing: the writer compares anew.
fn finish_histograms(columns: &mut HistogramColumns) {
    let mut all: Vec<_> = columns.drain().collect();
    all.sort_by_key(|(timestamp_ms, ..)| *timestamp_ms);
    all.dedup_by_key(|(timestamp_ms, ..)| *timestamp_ms);
    for (timestamp_ms, histogram, left_out) in all {
        let found = histogram.counter_reset_hint;
        if found == CounterResetHint::NotReset {
            let mut histogram = Arc::unwrap_or_clone(histogram);
            histogram.counter_reset_hint = CounterResetHint::Unknown;
            columns.push_after(timestamp_ms, Arc::new(histogram), left_out);
        } else {
            columns.push_after(timestamp_ms, histogram, left_out);
        }
    }
}

pub(super) fn remove_hidden_histograms(hidden: &DeletedSpans, columns: &mut HistogramColumns) {
    let all: Vec<_> = columns.drain().collect();
    let kept = all.into_iter().filter(|(timestamp_ms, ..)| !hidden.contains(*timestamp_ms));
    kept.for_each(|(timestamp_ms, histogram, left_out)| columns.push_after(timestamp_ms, histogram, left_out));
}

/// Gives every sample its start timestamp, if any has one.
fn put_starts(mut starts: Vec<(i64, i64)>, visited: &mut Visited) {
    starts.sort_by_key(|(timestamp_ms, _)| *timestamp_ms);
    starts.dedup_by_key(|(timestamp_ms, _)| *timestamp_ms);
    if starts.iter().all(|(_, start_ms)| *start_ms == 0) {
        return;
    }
    let start_of = |timestamp_ms: &i64| match starts.binary_search_by_key(timestamp_ms, |(at, _)| *at) {
        Ok(found) => starts.get(found).map_or(0, |(_, start_ms)| *start_ms),
        Err(_) => 0,
    };
    visited.float_starts_ms = visited.floats.timestamps_ms.iter().map(start_of).collect();
    visited.histogram_starts_ms = visited.histograms.timestamps_ms.iter().map(start_of).collect();
}
