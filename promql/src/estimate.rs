//! What a plan will cost, guessed before it is evaluated: the index says how many series each selector has, a few of them
//! are read to see how dense their samples are, and a few hundred label sets tell how many groups there will be.
//!
//! Bytes are what is held at the worst moment: operands are evaluated one after the other, the second while the first is
//! held; what an operator gives holds less than what it took to find it (`estimate/operation.rs`).

use crate::ast::AggregateOp;
use crate::budget::{Budget, BudgetLimits};
use crate::eval::buckets::Wanted;
use crate::eval::exec::Settings;
use crate::eval::steps::{LookTimes, Steps};
use crate::evaluator::check_grid;
use crate::plan::repeats::{gives_table, identities};
use crate::plan::walk::{Part, Placed};
use crate::plan::{Aggregate, Kind, Node, RangeNode, RangeSource, Selector};
use crate::query_error::QueryError;
use crate::source::{SelectRequest, SeriesSet, SeriesSource};
use model::bucket::Segment;
use model::labels::Labels;
use model::sample::SampleColumns;
use operation::Own;
use std::collections::HashSet;
use std::rc::Rc;
use united::United;

mod operation;
mod united;

/// Series that are read to see how dense samples are.
const READ_SERIES: usize = 8;
/// No more than this of each is read: the last six hours.
const READ_MS: i64 = 6 * 3_600_000;
/// Label sets that are looked at to see how many groups there are.
const GROUPED_SERIES: usize = 512;
/// Bytes of a label set, about.
const LABEL_BYTES: u64 = 200;
/// Bytes of a point of a subquery of a series that is being folded: of its row, of the samples that are made of it, of the window that
/// the selector inside looked at.
const POINT_BYTES: u64 = 32;
/// Bytes of a sample of a range vector that is the result.
const RANGE_SAMPLE_BYTES: u64 = 16;

/// What one part of a plan costs, about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Series that it gives; of a selector, those that match.
    pub series: u64,
    /// Samples that it reads, or values that it gives.
    pub samples: u64,
    /// Bytes that it holds at once, the parts inside included.
    pub bytes: u64,
}

/// What a whole query costs, about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueryCost {
    /// Series that all selectors touch.
    pub series: u64,
    /// Samples that are read.
    pub samples: u64,
    /// Values of the result; of a range vector, samples.
    pub result_samples: u64,
    /// Points of subqueries that are held at once.
    pub samples_held: u64,
    /// Bytes held at once, those of the result included.
    pub bytes: u64,
}

/// Estimates are no promise: a query is refused when it needs this many times what it may use.
const CERTAINTY: u64 = 2;

impl QueryCost {
    /// Refuses what is sure not to fit.
    pub(crate) fn check(&self, limits: BudgetLimits) -> Result<(), QueryError> {
        let hopeless = |expected: u64, allowed: usize| expected / CERTAINTY > allowed as u64;
        let samples = self.result_samples.max(self.samples_held);
        if hopeless(samples, limits.samples_max) {
            let (what, expected, allowed) = ("samples", samples, limits.samples_max);
            return Err(QueryError::WouldNotFit { what, expected, allowed });
        }
        if hopeless(self.bytes, limits.bytes_max) {
            return Err(QueryError::WouldNotFit { what: "bytes", expected: self.bytes, allowed: limits.bytes_max });
        }
        Ok(())
    }
}

/// Where estimates come from.
pub(crate) struct Estimator<'e> {
    pub(crate) source: &'e dyn SeriesSource,
    /// Says whether to go on.
    pub(crate) budget: &'e Budget,
    pub(crate) settings: Settings,
    pub(crate) limits: BudgetLimits,
    pub(crate) depth: Depth,
    /// How many evaluate.
    pub(crate) threads: usize,
}

/// How closely to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// At the counts of the index alone, which say how many series match at most. Groups are as many as series; neither what
    /// is read counts nor what native histograms take.
    Glance,
    /// At series and samples.
    Look,
}

/// A cost, and the series that it began with.
#[derive(Default)]
struct Guess {
    cost: Cost,
    /// Bytes that the value holds once it is there; finding it takes those of `cost`.
    held: u64,
    origin: Option<Rc<dyn SeriesSet>>,
    /// Where its series come from.
    united: United,
}

impl Estimator<'_> {
    /// The cost of every part, in their order, and of the whole.
    ///
    /// # Errors
    /// More series match than a query may touch, a subquery has more steps than fit, it was stopped, or storage failed.
    pub(crate) fn costs(&self, parts: &[Placed<'_>]) -> Result<(Vec<Cost>, QueryCost), QueryError> {
        let mut costs = vec![Cost::default(); parts.len()];
        let mut waiting: Vec<Vec<Guess>> = Vec::new();
        let mut whole = QueryCost::default();
        let mut held = 0;
        let identities = identities(parts);
        for (at, (placed, cost)) in parts.iter().zip(&mut costs).enumerate().rev() {
            self.budget.check()?;
            waiting.resize_with(waiting.len().max(placed.depth + 2), Vec::new);
            let mut inside = std::mem::take(&mut waiting[placed.depth + 1]);
            inside.reverse();
            let is_leaf = inside.is_empty();
            let mut guess = self.part(placed, inside)?;
            if let Part::Range(RangeNode { source: RangeSource::Subquery { .. }, .. }) = placed.part {
                let points = self.points_held(&guess.cost);
                whole.samples_held = whole.samples_held.max(points);
                guess.cost.bytes = guess.cost.bytes.saturating_add(points.saturating_mul(POINT_BYTES));
            }
            if is_leaf {
                whole.series = whole.series.saturating_add(guess.cost.series);
                whole.samples = whole.samples.saturating_add(guess.cost.samples);
            }
            if identities[at] != at && gives_table(placed.part) {
                // It takes the table of the one before it.
                (guess.cost.bytes, guess.held) = (0, 0);
            }
            if guess.united.is_unknown() {
                guess.united = United::one(identities[at], guess.cost.series);
            }
            *cost = guess.cost;
            held = guess.held;
            waiting[placed.depth].push(guess);
        }
        if let (Some(first), Some(root)) = (parts.first(), costs.first()) {
            let (samples, each) = match first.part {
                Part::Node(Node { kind: Kind::Range(_), .. }) => (root.samples, RANGE_SAMPLE_BYTES),
                _ => (root.series.max(1).saturating_mul(first.steps.count as u64), 8),
            };
            whole.result_samples = samples;
            let result = samples.saturating_mul(each).saturating_add(root.series.saturating_mul(LABEL_BYTES));
            // The last part that was looked at is the root.
            whole.bytes = root.bytes.max(held.saturating_add(result));
        }
        Ok((costs, whole))
    }

    fn part(&self, placed: &Placed<'_>, inside: Vec<Guess>) -> Result<Guess, QueryError> {
        match placed.part {
            Part::Range(range) => match &range.source {
                RangeSource::Selector(selector) => self.selector(selector, range.range_ms, &placed.steps),
                RangeSource::Subquery { step_ms, .. } => {
                    let steps = &placed.steps;
                    let look = LookTimes::new(steps, range.when().at_ms, range.when().offset_ms);
                    let grid = range.grid(&look, step_ms.unwrap_or(self.settings.subquery_step_ms));
                    check_grid(&grid, self.limits)?;
                    let mut inner = inside.into_iter().next().unwrap_or_default();
                    inner.cost.samples = inner.cost.series.saturating_mul(grid.count as u64);
                    Ok(Guess { united: United::default(), ..inner })
                }
            },
            Part::Node(Node { kind: Kind::Select(selector), .. }) => self.selector(selector, 0, &placed.steps),
            Part::Node(node) => {
                let own = Own { steps: placed.steps.count as u64, threads: self.threads as u64 };
                Ok(operation::guess(node, inside, own))
            }
        }
    }

    /// The points of a subquery that are held at once: those of the series that are being folded.
    fn points_held(&self, subquery: &Cost) -> u64 {
        let each = subquery.samples / subquery.series.max(1);
        each.saturating_mul(subquery.series.min(self.threads as u64))
    }

    /// A selector: counted by the index, a few series read.
    fn selector(&self, selector: &Selector, range_ms: i64, steps: &Steps) -> Result<Guess, QueryError> {
        if self.depth == Depth::Glance {
            let look = LookTimes::new(steps, selector.when.at_ms, selector.when.offset_ms);
            let reach_ms = range_ms.max(self.settings.lookback_ms);
            let (after_ms, until_ms) = (look.first().saturating_sub(reach_ms), look.last());
            let bound = self.source.series_bound(&selector.matchers, after_ms, until_ms);
            let series = bound.min(self.limits.series_max) as u64;
            return Ok(Guess { cost: Cost { series, ..Cost::default() }, ..Guess::default() });
        }
        let look = LookTimes::new(steps, selector.when.at_ms, selector.when.offset_ms);
        let reach_ms = if range_ms == 0 { self.settings.lookback_ms } else { range_ms };
        let (after_ms, until_ms) = (look.first().saturating_sub(reach_ms), look.last());
        let series_max = self.limits.series_max;
        let request = SelectRequest { matchers: &selector.matchers, after_ms, until_ms, series_max };
        let buckets = Wanted::whatever_is_aligned(&look, range_ms, &self.settings);
        let set: Rc<dyn SeriesSet> = Rc::from(self.source.select_with_buckets(&request, &buckets)?);
        let series = set.len() as u64;
        let samples = if range_ms == 0 && steps.is_instant() {
            series
        } else {
            (rows_each(&*set, after_ms, until_ms)? * series as f64) as u64
        };
        Ok(Guess { cost: Cost { series, samples, bytes: 0 }, origin: Some(set), ..Guess::default() })
    }
}

/// The samples and buckets of one series in a range, on average.
fn rows_each(set: &dyn SeriesSet, after_ms: i64, until_ms: i64) -> Result<f64, QueryError> {
    let Some(coverage) = set.coverage() else { return samples_each(set, after_ms, until_ms) };
    let overlap = |segment: &Segment| (segment.after_ms.max(after_ms), segment.until_ms.min(until_ms));
    let overlaps = coverage.segments.iter().map(|segment| (overlap(segment), segment.resolution_ms));
    let overlaps = overlaps.filter(|((after_ms, until_ms), _)| after_ms < until_ms);
    let (mut buckets, mut samples_after_ms) = (0, after_ms);
    for ((after_ms, until_ms), resolution_ms) in overlaps {
        buckets += until_ms.saturating_sub(after_ms) / resolution_ms;
        samples_after_ms = until_ms;
    }
    // Samples between buckets are rare.
    Ok(buckets as f64 + samples_each(set, samples_after_ms, until_ms)?)
}

/// The samples of one series in a range, on average.
fn samples_each(set: &dyn SeriesSet, after_ms: i64, until_ms: i64) -> Result<f64, QueryError> {
    let read_after_ms = after_ms.max(until_ms.saturating_sub(READ_MS));
    let part = until_ms.saturating_sub(read_after_ms) as f64 / until_ms.saturating_sub(after_ms).max(1) as f64;
    let read = set.len().min(READ_SERIES);
    let mut columns = SampleColumns::default();
    let mut samples = 0;
    for i in 0..read {
        set.read(i * set.len() / read, read_after_ms, until_ms, &mut columns)?;
        samples += columns.len();
    }
    Ok(samples as f64 / read.max(1) as f64 / part.max(f64::MIN_POSITIVE))
}

/// How many series an aggregation gives.
fn groups(aggregate: &Aggregate, series: u64, origin: Option<&dyn SeriesSet>) -> u64 {
    let keeps_series = matches!(
        aggregate.op,
        AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk | AggregateOp::LimitRatio
    );
    if keeps_series || series == 0 {
        return series;
    }
    if aggregate.grouping.is_empty() && !aggregate.without {
        return 1;
    }
    let Some(origin) = origin.filter(|origin| !origin.is_empty()) else { return series };
    let looked_at = origin.len().min(GROUPED_SERIES);
    let listed = |name: &str| aggregate.grouping.binary_search_by(|known| known.as_str().cmp(name)).is_ok();
    let group = |i: usize| -> Labels {
        let labels = origin.labels(i * origin.len() / looked_at);
        labels.filter(|name| listed(name) != aggregate.without && name != model::labels::METRIC_NAME)
    };
    let distinct = (0..looked_at).map(group).collect::<HashSet<_>>().len();
    (groups_behind(distinct, looked_at, origin.len()) as u64).min(series)
}

/// How many groups there are when `looked_at` of `series` series were of `distinct` ones, all groups taken to be of one size:
/// of `n` groups, `n (1 - e^(-looked_at / n))` are met.
fn groups_behind(distinct: usize, looked_at: usize, series: usize) -> usize {
    let met = |groups: usize| groups as f64 * (1.0 - (-(looked_at as f64) / groups as f64).exp());
    let (mut low, mut high) = (distinct, series.max(distinct));
    while low < high {
        let middle = low + (high - low) / 2;
        if met(middle) < distinct as f64 - 0.5 { low = middle + 1 } else { high = middle }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_guessed_from_those_that_were_met() {
        assert_eq!(groups_behind(1, 512, 100_000), 1);
        assert_eq!(groups_behind(40, 512, 100_000), 40);
        assert_eq!(groups_behind(512, 512, 512), 512);
        assert_eq!(groups_behind(512, 512, 100_000), 100_000);
        assert!((340..380).contains(&groups_behind(273, 512, 27_000)));
    }
}
