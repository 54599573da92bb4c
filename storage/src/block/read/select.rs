//! Which series of a block satisfy matchers, and what labels they have.

use super::block::{Block, label_path, open_for_samples};
use super::column::{ABSENT, Ids};
use super::columns::{Column, TextPage, shared_dictionary};
use super::error::ReadError;
use super::layout::{ColumnLayout, Layout};
use super::matching::{filter, in_range};
use super::rows::RowRanges;
use super::selection::BlockSeries;
use super::series_file::SeriesFile;
use super::text::Dictionary;
use crate::block::schema::column;
use crate::select::{Listing, TimeRange};
use hashbrown::HashMap;
use model::labels::METRIC_NAME;
use model::matcher::{MatchOp, Matcher};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

/// Compressed bytes of dictionaries that are short.
const GLANCE_DICTIONARY_BYTES_MAX: u64 = 8 << 10;

impl Block {
    /// The series that satisfy all `matchers` and may have samples in the range. A cold block costs one round trip.
    ///
    /// # Errors
    /// More than `series_max` match, or the block cannot be read.
    pub async fn select(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        series_max: usize,
    ) -> Result<BlockSeries, ReadError> {
        let (series, samples, timelines) = open_for_samples(self).await?;
        let series = self.with_foreseen(series, matchers, Some(range)).await?;
        let rows = self.matching(&series, matchers, Some(range)).await?;
        if rows.count() > series_max {
            return Err(ReadError::TooManySeries { series_max });
        }
        BlockSeries::new(self, series, samples, timelines, rows).await
    }

    /// The first `limit` of the series that satisfy all `matchers` and may have samples in the range.
    ///
    /// # Errors
    /// The block cannot be read.
    pub async fn select_first(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        limit: usize,
    ) -> Result<BlockSeries, ReadError> {
        let (series, samples, timelines) = open_for_samples(self).await?;
        let series = self.with_foreseen(series, matchers, Some(range)).await?;
        let mut rows = self.matching(&series, matchers, Some(range)).await?;
        rows.truncate(limit);
        BlockSeries::new(self, series, samples, timelines, rows).await
    }

    /// The series that satisfy all `matchers`, those that have nothing but exemplars included.
    ///
    /// # Errors
    /// The block cannot be read.
    pub async fn select_all(&self, matchers: &[Matcher]) -> Result<BlockSeries, ReadError> {
        let (series, samples, timelines) = open_for_samples(self).await?;
        let series = self.with_foreseen(series, matchers, None).await?;
        let rows = self.matching(&series, matchers, None).await?;
        BlockSeries::new(self, series, samples, timelines, rows).await
    }

    /// How many series satisfy all `matchers` and may have samples in the range.
    ///
    /// # Errors
    /// The block cannot be read.
    pub async fn count(&self, matchers: &[Matcher], range: TimeRange) -> Result<usize, ReadError> {
        let series = self.inner.open_series(&self.account).await?;
        Ok(self.matching(&series, matchers, Some(range)).await?.count())
    }

    /// The label names of the series that satisfy all `matchers` and may have samples in the range.
    ///
    /// # Errors
    /// The block cannot be read.
    pub async fn label_names(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        limit: usize,
    ) -> Result<Listing, ReadError> {
        let series = self.inner.open_series(&self.account).await?;
        let rows = self.matching(&series, matchers, Some(range)).await?;
        let columns = || self.inner.meta.label_columns.iter().map(String::as_str).chain([METRIC_NAME]);
        let mut found = BTreeSet::new();
        if let Some(overflow) = self.inner.overflow(&series, &self.account).await? {
            overflow.for_each(&rows, |name, _| {
                if !found.contains(name) {
                    found.insert(name.to_owned());
                }
            });
        }
        // Of whole row groups the footer knows it; columns are read for what is left.
        let mut unknown = Vec::new();
        for name in columns() {
            match known_any(series.file.column(&label_path(name))?, &rows) {
                Some(true) => drop(found.insert(name.to_owned())),
                Some(false) => {}
                None => unknown.push(name),
            }
        }
        let paths = unknown.iter().map(|name| label_path(name));
        let resident = self.inner.with_columns(&series, paths, &rows, &self.account).await?;
        for name in unknown {
            if has_any(&resident.column(&label_path(name))?, &rows)? {
                found.insert(name.to_owned());
            }
        }
        Ok(listing(found, limit))
    }

    /// The values of one label among the series that satisfy all `matchers` and may have samples in the range.
    ///
    /// # Errors
    /// The block cannot be read.
    pub async fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        range: TimeRange,
        limit: usize,
    ) -> Result<Listing, ReadError> {
        let series = self.inner.open_series(&self.account).await?;
        let rows = self.matching(&series, matchers, Some(range)).await?;
        let mut found = BTreeSet::new();
        let take = |value: &str, _| {
            // No more than needed stay; what sorts behind them is forgotten.
            if found.len() <= limit || found.last().is_some_and(|last: &String| value < last.as_str()) {
                found.insert(value.to_owned());
                if found.len() > limit.saturating_add(1) {
                    found.pop_last();
                }
            }
        };
        if rows.count() as u64 == series.file.layout.rows {
            self.all_values(&series, name, &rows, take).await?;
        } else {
            self.count_values(&series, name, &rows, take).await?;
        }
        Ok(listing(found, limit))
    }

    /// How many rows are looked at to find the series that satisfy all `matchers` and may have samples in the range; `None` if
    /// that takes a request, or labels that have no column.
    #[must_use]
    pub(crate) fn rows_to_look_at(&self, matchers: &[Matcher], range: TimeRange) -> Option<usize> {
        let meta = &self.inner.meta;
        if meta.labels_overflow || !self.inner.has_whole_series() {
            return None;
        }
        let layout = self.inner.known_layout(&self.inner.series)?;
        // Then the footer tells.
        let is_whole = matchers.is_empty() && self.is_within(range) && meta.exemplars == 0;
        Some(if is_whole { 0 } else { candidates(&layout, matchers).count() })
    }

    fn is_within(&self, range: TimeRange) -> bool {
        self.inner.meta.min_ms > range.after_ms && self.inner.meta.max_ms <= range.until_ms
    }

    /// Whether the dictionaries of a label are known and short.
    #[must_use]
    pub(crate) fn has_few_values(&self, name: &str) -> bool {
        let Some(layout) = self.inner.known_layout(&self.inner.series) else { return false };
        let bytes = |column: &ColumnLayout| -> u64 {
            column.groups.iter().map(|group| group.dictionary.end.saturating_sub(group.dictionary.start)).sum()
        };
        layout.column(&label_path(name)).is_none_or(|column| bytes(column) <= GLANCE_DICTIONARY_BYTES_MAX)
    }

    /// Series per value of one label, in no order: what cardinality is made of. `__name__` takes the least.
    ///
    /// # Errors
    /// The block cannot be read.
    pub async fn series_by_value(&self, name: &str) -> Result<Vec<(String, u64)>, ReadError> {
        let series = self.inner.open_series(&self.account).await?;
        let rows = RowRanges::all(series.file.layout.rows as u32);
        let mut counts: HashMap<String, u64> = HashMap::new();
        self.count_values(&series, name, &rows, |value, count| *counts.entry_ref(value).or_default() += count).await?;
        Ok(counts.into_iter().collect())
    }

    /// Of a large series file: fetches what is compared, and with it, unless it is much, what selected series need.
    async fn with_foreseen(
        &self,
        series: SeriesFile,
        matchers: &[Matcher],
        range: Option<TimeRange>,
    ) -> Result<SeriesFile, ReadError> {
        if !series.is_large() {
            return Ok(series);
        }
        let (rows, paths) = (candidates(&series.file.layout, matchers), compared(matchers, range));
        self.inner.keep_columns(series, paths, self.inner.series_columns(), &rows, &self.account).await
    }

    /// The rows that satisfy all matchers and may have samples in the range, if there is one.
    async fn matching(
        &self,
        series: &SeriesFile,
        matchers: &[Matcher],
        range: Option<TimeRange>,
    ) -> Result<RowRanges, ReadError> {
        let meta = &self.inner.meta;
        let mut rows = candidates(&series.file.layout, matchers);
        // The metric first: it leaves a few ranges. Then what compares a single value.
        let mut matchers: Vec<&Matcher> = matchers.iter().collect();
        matchers.sort_by_key(|matcher| (matcher.name() != METRIC_NAME, matcher.regex().is_some()));
        // When all samples are in the range, so are those of every series that has any.
        let samples_everywhere = || {
            let first = series.file.column(column::MIN_TS);
            first.is_ok_and(|first| first.groups.iter().all(|group| group.nulls == Some(0)))
        };
        let range = range.filter(|range| !self.is_within(*range) || meta.exemplars > 0 && !samples_everywhere());
        let paths = compared(matchers.iter().copied(), range);
        let resident = self.inner.with_columns(series, paths, &rows, &self.account).await?;
        for matcher in matchers {
            if rows.is_empty() {
                return Ok(rows);
            }
            if self.inner.has_column(matcher.name()) {
                rows = filter(&resident.column(&label_path(matcher.name()))?, matcher, &rows)?;
            } else if let Some(overflow) = self.inner.overflow(series, &self.account).await? {
                rows = overflow.filter(matcher, &rows);
            } else if !matcher.matches("") {
                return Ok(RowRanges::default());
            }
        }
        if let (Some(range), false) = (range, rows.is_empty()) {
            rows = in_range(&resident.column(column::MIN_TS)?, &resident.column(column::MAX_TS)?, range, &rows)?;
        }
        Ok(rows)
    }

    /// Calls `take` with the values of a label among all rows, with no useful count: from dictionaries, where these say it.
    async fn all_values(
        &self,
        series: &SeriesFile,
        name: &str,
        rows: &RowRanges,
        mut take: impl FnMut(&str, u64),
    ) -> Result<(), ReadError> {
        if self.inner.has_column(name) {
            let layout = Arc::clone(series.file.column(&label_path(name))?);
            if layout.groups.iter().all(|group| group.dictionary_only || group.nulls == Some(group.rows)) {
                let resident = self.inner.with_columns(series, [label_path(name)], rows, &self.account).await?;
                for group in layout.groups.iter().filter(|group| group.dictionary_only) {
                    let dictionary = shared_dictionary(&resident.bytes, &layout, group)?.unwrap_or_default();
                    dictionary.iter().for_each(|value| take(value, 0));
                }
                return Ok(());
            }
        }
        self.count_values(series, name, rows, take).await
    }

    /// Calls `take` with the values of a label among some rows and how many rows have each: several times with one value, if
    /// they are of several parts of the file.
    async fn count_values(
        &self,
        series: &SeriesFile,
        name: &str,
        rows: &RowRanges,
        mut take: impl FnMut(&str, u64),
    ) -> Result<(), ReadError> {
        if !self.inner.has_column(name) {
            if let Some(overflow) = self.inner.overflow(series, &self.account).await? {
                overflow.for_each(rows, |other, value| {
                    if other == name {
                        take(value, 1);
                    }
                });
            }
            return Ok(());
        }
        let resident = self.inner.with_columns(series, [label_path(name)], rows, &self.account).await?;
        let mut counts: Vec<u64> = Vec::new();
        let mut current: Option<Arc<Dictionary>> = None;
        let mut hand_over = |dictionary: &Option<Arc<Dictionary>>, counts: &mut Vec<u64>| {
            let Some(dictionary) = dictionary else { return };
            for (value, count) in dictionary.iter().zip(counts.drain(..)).filter(|(_, count)| *count > 0) {
                take(value, count);
            }
        };
        let column: Column<TextPage> = resident.column(&label_path(name))?;
        column.for_each_part(rows, |page, first, part| {
            if current.as_ref().is_none_or(|current| !Arc::ptr_eq(current, &page.dictionary)) {
                hand_over(&current, &mut counts);
                counts.resize(page.dictionary.len(), 0);
                current = Some(Arc::clone(&page.dictionary));
            }
            for_each_run(&page.ids, (part.start - first) as usize..(part.end - first) as usize, |id, rows| {
                if let Some(count) = counts.get_mut(id as usize) {
                    *count += rows as u64;
                }
            });
            Ok(())
        })?;
        hand_over(&current, &mut counts);
        Ok(())
    }
}

/// The columns that decide which series are selected.
fn compared<'m>(matchers: impl IntoIterator<Item = &'m Matcher>, range: Option<TimeRange>) -> Vec<String> {
    let labels = matchers.into_iter().map(|matcher| label_path(matcher.name()));
    labels.chain(range.into_iter().flat_map(|_| [column::MIN_TS, column::MAX_TS].map(str::to_owned))).collect()
}

/// The rows that may satisfy a matcher of the metric's name, as far as the bounds of pages tell: series are sorted by it.
fn candidates(layout: &Layout, matchers: &[Matcher]) -> RowRanges {
    let all = RowRanges::all(layout.rows as u32);
    let is_name = |matcher: &&Matcher| matcher.name() == METRIC_NAME && matcher.op() == MatchOp::Equal;
    let name = matchers.iter().find(is_name).map(Matcher::value).filter(|name| !name.is_empty());
    let (Some(name), Some(column)) = (name, layout.column(column::METRIC)) else { return all };
    let mut rows = RowRanges::default();
    for (number, page) in column.pages.iter().enumerate().filter(|(number, _)| column.may_hold_text(*number, name)) {
        let end = column.pages.get(number + 1).map_or(layout.rows, |next| next.row);
        rows.push(page.row as u32..end as u32);
    }
    rows
}

fn listing(found: BTreeSet<String>, limit: usize) -> Listing {
    let truncated = found.len() > limit;
    Listing { items: found.into_iter().take(limit).collect(), truncated }
}

/// Whether any of the rows has the label, if that is known without reading the column.
fn known_any(column: &ColumnLayout, rows: &RowRanges) -> Option<bool> {
    if column.groups.iter().all(|group| group.nulls == Some(group.rows)) {
        return Some(false);
    }
    let mut ranges = rows.ranges().iter().peekable();
    let (mut start, mut none) = (0, true);
    for group in &column.groups {
        let end = start + group.rows;
        while ranges.next_if(|range| u64::from(range.end) <= start).is_some() {}
        if let Some(range) = ranges.peek().filter(|range| u64::from(range.start) < end) {
            let whole = u64::from(range.start) <= start && u64::from(range.end) >= end;
            match group.nulls {
                Some(0) => return Some(true),
                Some(nulls) if nulls < group.rows && whole => return Some(true),
                Some(nulls) if nulls == group.rows => {}
                _ => none = false,
            }
        }
        start = end;
    }
    none.then_some(false)
}

/// Whether any of the rows has the label.
fn has_any(column: &Column<TextPage>, rows: &RowRanges) -> Result<bool, ReadError> {
    for range in rows.ranges() {
        for number in column.layout.pages_of(&(u64::from(range.start)..u64::from(range.end))) {
            let (page, first) = column.page(number)?;
            let next = column.layout.pages.get(number + 1).map_or(u32::MAX, |page| page.row as u32);
            let within = range.start.max(first)..range.end.min(next);
            let mut any = false;
            for_each_run(&page.ids, (within.start - first) as usize..(within.end - first) as usize, |id, _| {
                any |= id != ABSENT;
            });
            if any {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Calls `take` with ids and how many rows in a row have them.
fn for_each_run(ids: &Ids, rows: Range<usize>, mut take: impl FnMut(u32, usize)) {
    match ids {
        Ids::Runs(runs) => {
            let first = runs.partition_point(|run| run.0 as usize <= rows.start);
            let mut start = rows.start;
            for (end, id) in runs.get(first..).unwrap_or_default() {
                let end = (*end as usize).min(rows.end);
                if start >= end {
                    break;
                }
                take(*id, end - start);
                start = end;
            }
        }
        other => rows.for_each(|row| take(other.get(row), 1)),
    }
}
