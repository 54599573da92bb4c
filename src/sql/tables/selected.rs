//! Selected series in the order in which a table shows them.

use crate::query::error::QueryFailure;
use crate::query::executor::LocalQueries;
use crate::sql::batch::Dictionary;
use crate::sql::memory::HeldBytes;
use crate::sql::pushdown::Selector;
use crate::sql::scope::Scope;
use model::bucket::BucketUse;
use model::labels::{Labels, METRIC_NAME};
use promql::engine::QueryError;
use promql::source::{SelectRequest, SeriesSet, SourceError};
use std::fmt::Write;
use std::ops::Range;
use std::sync::Arc;
use storage::append::LabelHash;

/// Series, sorted by the labels that are shown, or by fingerprint when that is shown.
pub(super) struct SelectedSeries {
    pub(super) set: Box<dyn SeriesSet>,
    /// The series of the set, in order.
    pub(super) order: Vec<usize>,
    /// The labels that are shown, their numbers by place in `order`.
    pub(super) labels: Vec<(Dictionary, Vec<i32>)>,
    /// By place in `order`; empty unless asked for.
    pub(super) fingerprints: Vec<u64>,
    /// Whether no two series have all shown labels in common.
    pub(super) distinct: bool,
    pub(super) after_ms: i64,
    pub(super) until_ms: i64,
    text: String,
    _held: [HeldBytes; 2],
}

/// What is needed of each series.
#[derive(Debug, Clone, Default)]
pub(super) struct Needed {
    /// Labels, in the order of the columns.
    pub(super) labels: Vec<String>,
    pub(super) fingerprint: bool,
}

impl SelectedSeries {
    /// Selects and sorts.
    pub(super) fn select(
        selector: &Selector,
        needed: &Needed,
        local: &LocalQueries<'_>,
        scope: &Scope,
    ) -> Result<Self, QueryFailure> {
        let select = |request: &SelectRequest<'_>| local.source().select(request);
        Self::select_by(select, selector, needed, local, scope)
    }

    /// The same, with buckets in the place of samples.
    pub(super) fn select_with_buckets(
        selector: &Selector,
        buckets: &BucketUse,
        needed: &Needed,
        local: &LocalQueries<'_>,
        scope: &Scope,
    ) -> Result<Self, QueryFailure> {
        let select = |request: &SelectRequest<'_>| local.source().select_with_buckets(request, buckets);
        Self::select_by(select, selector, needed, local, scope)
    }

    fn select_by(
        select: impl Fn(&SelectRequest<'_>) -> Result<Box<dyn SeriesSet>, SourceError>,
        selector: &Selector,
        needed: &Needed,
        local: &LocalQueries<'_>,
        scope: &Scope,
    ) -> Result<Self, QueryFailure> {
        let budget = scope.pieces.budget();
        local.budget().check()?;
        let too_many = |error| match error {
            SourceError::TooManySeries { .. } => {
                QueryError::TooManySeries { series_max: budget.limits().series_max }.into()
            }
            other => QueryFailure::from(other),
        };
        let set = select(&selector.request(budget.series_left())).map_err(too_many)?;
        budget.touch_series(set.len())?;
        let per_series =
            size_of::<usize>() + needed.labels.len() * size_of::<i32>() + 8 * usize::from(needed.fingerprint);
        let held = HeldBytes::hold(budget, set.len() * per_series)?;
        let mut columns = numbered(&*set, &needed.labels, local)?;
        let texts = columns.iter().map(|(dictionary, _)| dictionary.bytes()).sum();
        let held = [held, HeldBytes::hold(budget, texts)?];
        let fingerprints = match needed.fingerprint {
            true => (0..set.len()).map(|index| fingerprint(&set.labels(index))).collect(),
            false => Vec::new(),
        };
        let mut order: Vec<usize> = (0..set.len()).collect();
        let labels_of = |index: usize| columns.iter().map(move |(_, numbers)| numbers[index]);
        match needed.fingerprint {
            true => order.sort_unstable_by_key(|index| fingerprints[*index]),
            false => order.sort_unstable_by(|a, b| labels_of(*a).cmp(labels_of(*b))),
        }
        let differ = |pair: &[usize]| labels_of(pair[0]).ne(labels_of(pair[1]));
        let distinct = !needed.fingerprint && order.windows(2).all(differ);
        let fingerprints = order.iter().filter_map(|index| fingerprints.get(*index).copied()).collect();
        for (_, numbers) in &mut columns {
            *numbers = order.iter().map(|index| numbers[*index]).collect();
        }
        let (after_ms, until_ms) = (selector.after_ms(), selector.until_ms());
        let text = format!("{}, series={}", shown(selector), set.len());
        Ok(Self { set, order, labels: columns, fingerprints, distinct, after_ms, until_ms, text, _held: held })
    }

    /// What was selected, for `EXPLAIN`.
    pub(super) fn describe(&self) -> String {
        self.text.clone()
    }

    /// The places of the series of one of `partitions` parts.
    pub(super) fn part(&self, part: usize, partitions: usize) -> Range<usize> {
        let end_of = |parts: usize| self.order.len() * parts / partitions.max(1);
        end_of(part)..end_of(part + 1)
    }

    /// All labels of the series at a place.
    pub(super) fn labels_at(&self, place: usize) -> Labels {
        self.set.labels(self.order[place])
    }

    /// The same selection with what belongs to one place: for tables that show no order.
    pub(super) fn index(&self, place: usize) -> usize {
        self.order[place]
    }
}

/// The columns of `names`, by number of the series in the set.
fn numbered(
    set: &dyn SeriesSet,
    names: &[String],
    local: &LocalQueries<'_>,
) -> Result<Vec<(Dictionary, Vec<i32>)>, QueryFailure> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let mut sorted: Vec<&str> = names.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    let mut texts: Vec<Vec<Option<Arc<str>>>> = names.iter().map(|_| Vec::with_capacity(set.len())).collect();
    // Neighbours often share values, so that most texts are counted references.
    let mut previous: Vec<Option<Arc<str>>> = vec![None; names.len()];
    for index in 0..set.len() {
        if index % 1024 == 0 {
            local.budget().check()?;
        }
        let labels = set.labels_among(index, &sorted);
        for ((name, column), previous) in names.iter().zip(&mut texts).zip(&mut previous) {
            let text = labels.get(name).filter(|text| !text.is_empty());
            if previous.as_deref() != text {
                *previous = text.map(Arc::from);
            }
            column.push(previous.clone());
        }
    }
    Ok(texts.iter().map(|texts| Dictionary::number(texts)).collect())
}

/// The number by which a series is known: the low half of its hash.
pub(in crate::sql) fn fingerprint(labels: &Labels) -> u64 {
    LabelHash::of_pairs(labels.iter(), &mut Vec::new()).0 as u64
}

/// `up{job="a"}, time=[from, to]`
fn shown(selector: &Selector) -> String {
    let name = selector.matchers.iter().find(|m| m.name() == METRIC_NAME && m.op() == model::matcher::MatchOp::Equal);
    let others: Vec<String> = selector
        .matchers
        .iter()
        .filter(|matcher| name.is_none_or(|name| *name != **matcher))
        .map(ToString::to_string)
        .collect();
    let mut text = name.map_or_else(String::new, |name| name.value().to_owned());
    // Writing to a string cannot fail.
    let _ = write!(text, "{{{}}}", others.join(","));
    let time = |ms: i64| jiff::Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |time| time.to_string());
    let bounds = selector.bounds;
    if bounds.start_ms.is_some() || bounds.end_ms.is_some() {
        let [start, end] = [bounds.start_ms, bounds.end_ms].map(|bound| bound.map_or_else(|| "..".into(), time));
        let _ = write!(text, ", time=[{start}, {end}]");
    }
    text
}
