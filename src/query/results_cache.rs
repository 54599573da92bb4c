//! Results of range queries that are asked again and again: a dashboard that refreshes moves its window by a few steps, so
//! that nearly all of an answer is known.
//!
//! What is kept is one stretch of steps per query, step and phase; only the steps around it are evaluated. A step is used
//! again only while it is certain that evaluating it would return the same bits: [`dependence`] says which times of the data
//! its value can depend on, or that it depends on the query's window and cannot be kept; [`ChangeLog`] says what has been
//! stored since. Answers with remarks are not kept. Bounded in bytes; the least useful stretches go first.
//!
//! Sums over more than 512 series may differ in their last bits from window to window, cached or not, because the series that
//! a window selects decide how they are cut into segments.

pub mod dependence;
mod extent;
mod metrics;
mod names;

pub use metrics::CacheMetrics;

use super::request::Window;
use dependence::Dependence;
use extent::{Extent, bytes, join, sample_count};
use model::tenant::TenantId;
use moka::sync::Cache;
use promql::annotation::Annotations;
use promql::budget::Budget;
use promql::engine::QueryError;
use promql::value::{MatrixSeries, QueryResult, QueryStats, QueryValue};
use std::sync::Arc;
use storage::head::Changed;

/// Steps of one stretch, at most: as many as one answer may have.
const STEPS_MAX: i64 = 11_000;

/// What has been stored since when; the storage engine implements it.
pub trait ChangeLog: Send + Sync {
    /// Which times have changed since a number that an earlier call gave out.
    fn changed_since(&self, number: u64) -> Changed;
}

/// Everything but the window that decides what an expression evaluates to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// Whose data it reads.
    pub tenant: TenantId,
    /// As it is printed, so that blanks and comments do not matter.
    pub expression: String,
    /// Distance of the steps.
    pub step_ms: i64,
    /// Where the steps are between two multiples of the distance.
    pub phase_ms: i64,
    /// How far back instant selectors look.
    pub lookback_ms: Option<i64>,
}

/// A query whose steps can be kept.
#[derive(Debug, Clone)]
pub struct Query {
    key: Key,
    dependence: Dependence,
    start_ms: i64,
    /// The last step, not the end of the window.
    last_ms: i64,
}

/// A result may take this part of the cache.
const SHARE_MAX: u64 = 4;

/// See the head of the file.
pub struct ResultsCache {
    extents: Cache<Key, Arc<Extent>>,
    bytes_max: u64,
    changes: Arc<dyn ChangeLog>,
    metrics: CacheMetrics,
}

impl Query {
    /// The query, unless its window is none or has too many steps.
    #[must_use]
    pub fn new(
        tenant: TenantId,
        expression: String,
        dependence: Dependence,
        window: Window,
        lookback_ms: Option<i64>,
    ) -> Option<Self> {
        let Window::Range { start_ms, end_ms, step_ms } = window else { return None };
        let steps = end_ms.checked_sub(start_ms)?.checked_div(step_ms)?;
        // Far from the ends of time nothing below can overflow.
        let is_near = |ms: i64| ms.unsigned_abs() < 1 << 60;
        let all_near = [start_ms, end_ms, step_ms].into_iter().all(is_near);
        if !(0..STEPS_MAX).contains(&steps) || step_ms <= 0 || !all_near {
            return None;
        }
        let key = Key { tenant, expression, step_ms, phase_ms: start_ms.rem_euclid(step_ms), lookback_ms };
        Some(Self { key, dependence, start_ms, last_ms: start_ms + steps * step_ms })
    }

    /// All of its steps.
    #[must_use]
    pub fn whole_window(&self) -> Window {
        self.window(self.start_ms, self.last_ms)
    }

    fn window(&self, start_ms: i64, end_ms: i64) -> Window {
        Window::Range { start_ms, end_ms, step_ms: self.key.step_ms }
    }
}

impl ResultsCache {
    /// An empty cache of results that together take about `bytes_max`.
    #[must_use]
    pub fn new(bytes_max: u64, changes: Arc<dyn ChangeLog>, metrics: CacheMetrics) -> Self {
        let weigh = |key: &Key, extent: &Arc<Extent>| {
            u32::try_from(extent.bytes() + key.expression.len() + size_of::<Key>()).unwrap_or(u32::MAX)
        };
        let extents = Cache::builder().max_capacity(bytes_max).weigher(weigh).build();
        Self { extents, bytes_max, changes, metrics }
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.extents.invalidate_all();
    }

    /// Answers a query: what is known from the cache, the rest by `evaluate`. The answer is no longer charged to `budget`.
    ///
    /// # Errors
    /// Those of `evaluate`; or what is known is more than the query may hold.
    pub fn answer(
        &self,
        query: &Query,
        budget: &Budget,
        evaluate: impl Fn(Window) -> Result<QueryResult, QueryError>,
    ) -> Result<QueryResult, QueryError> {
        let found = self.extents.get(&query.key);
        let Changed { now, oldest_ms } =
            self.changes.changed_since(found.as_ref().map_or(u64::MAX, |found| found.number));
        let known = found.and_then(|extent| {
            let valid_until_ms = query.dependence.valid_until(oldest_ms)?;
            Known::new(extent, valid_until_ms, query)
        });
        self.metrics.count(known.is_some());
        let answer = match &known {
            Some(known) => known.complete(query, budget, &evaluate)?,
            None => None,
        };
        let answer = match answer {
            Some(answer) => answer,
            None => evaluate(query.whole_window())?,
        };
        self.keep(query, known.as_ref(), &answer, now);
        Ok(answer)
    }

    /// The windows that answering a query will evaluate, as far as that can be told now.
    #[must_use]
    pub fn missing(&self, query: &Query) -> Vec<Window> {
        let found = self.extents.get(&query.key);
        let Changed { oldest_ms, .. } =
            self.changes.changed_since(found.as_ref().map_or(u64::MAX, |found| found.number));
        match found.and_then(|found| Known::new(found, query.dependence.valid_until(oldest_ms)?, query)) {
            Some(known) => known.missing(query).map(|(_, window)| window).collect(),
            None => vec![query.whole_window()],
        }
    }

    fn keep(&self, query: &Query, known: Option<&Known>, answer: &QueryResult, number: u64) {
        let QueryValue::Matrix(series) = &answer.value else { return };
        let adds_nothing = known.is_some_and(|known| known.covers(query.start_ms, query.last_ms));
        if !answer.annotations.is_empty() || adds_nothing {
            return;
        }
        // Keeping a result takes a copy of it: one that would push most others out is not worth the memory.
        let bytes: usize = series.iter().map(bytes).sum();
        if bytes as u64 > self.bytes_max / SHARE_MAX {
            return;
        }
        let extent = Extent::new(number, query.start_ms, query.last_ms, query.key.step_ms, series.clone());
        let extent = match known {
            Some(known) => extent.widened(&known.extent, known.valid, STEPS_MAX),
            None => extent,
        };
        self.extents.insert(query.key.clone(), Arc::new(extent));
        // Evicts what is too much now, not at some later access, so that the sizes are true.
        self.extents.run_pending_tasks();
        self.metrics.size(self.extents.entry_count(), self.extents.weighted_size());
    }
}

/// Steps of the cache that a query can use.
struct Known {
    extent: Arc<Extent>,
    /// First and last step that are still right.
    valid: (i64, i64),
    /// Those of them that the query asks for.
    used: (i64, i64),
}

impl Known {
    fn new(extent: Arc<Extent>, valid_until_ms: i64, query: &Query) -> Option<Self> {
        let valid = (extent.first_ms, extent.last_step_until(valid_until_ms)?);
        let used = (valid.0.max(query.start_ms), valid.1.min(query.last_ms));
        (used.0 <= used.1).then_some(Self { extent, valid, used })
    }

    fn covers(&self, first_ms: i64, last_ms: i64) -> bool {
        self.valid.0 <= first_ms && last_ms <= self.valid.1
    }

    /// What has to be evaluated before and behind, and its place.
    fn missing(&self, query: &Query) -> impl Iterator<Item = (usize, Window)> {
        let step_ms = query.key.step_ms;
        let missing = [(0, query.start_ms, self.used.0 - step_ms), (2, self.used.1 + step_ms, query.last_ms)];
        let missing = missing.into_iter().filter(|(_, first_ms, last_ms)| first_ms <= last_ms);
        missing.map(move |(place, start_ms, end_ms)| (place, Window::Range { start_ms, end_ms, step_ms }))
    }

    /// Evaluates what is missing before and behind, and puts the parts together. `None` when a part has remarks: what the
    /// remarks on the whole are is known only by evaluating the whole.
    fn complete(
        &self,
        query: &Query,
        budget: &Budget,
        evaluate: &impl Fn(Window) -> Result<QueryResult, QueryError>,
    ) -> Result<Option<QueryResult>, QueryError> {
        let middle = self.extent.slice(self.used.0, self.used.1);
        let mut held = Held { budget, samples: 0, bytes: 0 };
        held.add(&middle)?;
        let mut stats = QueryStats::default();
        let mut parts = [Vec::new(), middle, Vec::new()];
        for (place, window) in self.missing(query) {
            let part = evaluate(window)?;
            let QueryValue::Matrix(series) = part.value else { return Ok(None) };
            if !part.annotations.is_empty() {
                return Ok(None);
            }
            held.add(&series)?;
            // Series are those of the budget, which all parts share.
            stats = QueryStats {
                samples_total: stats.samples_total + part.stats.samples_total,
                samples_read: stats.samples_read + part.stats.samples_read,
                ..part.stats
            };
            parts[place] = series;
        }
        stats.samples_peak = budget.samples_peak();
        let value = QueryValue::Matrix(join(parts, query.start_ms, query.last_ms, query.key.step_ms));
        Ok(Some(QueryResult { value, annotations: Annotations::default(), stats, explanation: None }))
    }
}

/// What the parts of an answer hold while others are evaluated. Given back when dropped: they are given up, or part of an answer
/// that whoever asked for it holds.
struct Held<'b> {
    budget: &'b Budget,
    samples: usize,
    bytes: usize,
}

impl Held<'_> {
    fn add(&mut self, part: &[MatrixSeries]) -> Result<(), QueryError> {
        let (samples, bytes) = (part.iter().map(sample_count).sum(), part.iter().map(bytes).sum());
        self.samples += samples;
        self.bytes += bytes;
        self.budget.hold(samples, bytes)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.budget.release(self.samples, self.bytes);
    }
}

#[cfg(test)]
mod tests;
