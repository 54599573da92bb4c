//! Quantiles and fractions of classic histograms: series that count observations up to the bound in their label `le`.
//!
//! The series of one histogram are evaluated together when its result is asked for; nothing else is held. Which bounds
//! there are is known from labels, which of them are present is decided step by step.

use crate::annotation::{MonotonicityRepair, Severity};
use crate::ast::Span;
use crate::eval::exec::{Exec, Worker};
use crate::eval::names::{OnEqual, settle};
use crate::eval::row::{Row, has_bit};
use crate::eval::scalar::ScalarRow;
use crate::eval::steps::Steps;
use crate::eval::vector::{SeriesVector, Vector};
use crate::query_error::QueryError;
use hashbrown::HashMap;
use model::labels::{Labels, METRIC_NAME};
use std::sync::Arc;

/// The label that holds the upper bound of a bucket.
const BUCKET_LABEL: &str = "le";

/// What is computed from the buckets of a histogram.
pub(crate) enum Question {
    Quantile(ScalarRow),
    Fraction {
        lower: ScalarRow,
        upper: ScalarRow,
    },
    /// `histogram_quantiles`: the name of the label that tells results apart, and the quantiles.
    Quantiles {
        label: String,
        variants: Vec<Variant>,
    },
}

/// One quantile of several.
pub(crate) struct Variant {
    pub(crate) q: f64,
    /// The steps that ask for it.
    pub(crate) steps: Vec<u64>,
}

/// Where remarks point.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// The call's place in the plan.
    pub(crate) ordinal: u32,
    /// Where the vector argument stands.
    pub(crate) span: Span,
}

/// Asks `question` of every classic histogram in `inner`.
pub(crate) fn ask<'q>(
    inner: Vector<'q>,
    question: Question,
    steps: Steps,
    place: Place,
    exec: &Exec<'q>,
) -> Result<Vector<'q>, QueryError> {
    let mut numbers: HashMap<Labels, usize, foldhash::fast::RandomState> = HashMap::default();
    let mut histograms: Vec<Histogram> = Vec::new();
    for index in 0..inner.len() {
        let labels = inner.labels(index);
        let le = labels.get(BUCKET_LABEL).unwrap_or_default();
        let Some(bound) = parse_bound(le) else {
            remark_on_bad_bound(inner.as_ref(), index, &labels, le, place, exec)?;
            continue;
        };
        let key = labels.filter(|name| name != BUCKET_LABEL);
        let number = *numbers.entry(key).or_insert_with_key(|labels| {
            histograms.push(Histogram { labels: labels.clone(), buckets: Vec::new() });
            histograms.len() - 1
        });
        histograms[number].buckets.push((bound, index));
    }
    for histogram in &mut histograms {
        histogram.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    let labels_may_repeat = matches!(question, Question::Quantiles { .. });
    let answers: Vector<'q> = Arc::new(Answers { inner, histograms, question, steps, place });
    if labels_may_repeat { settle(answers, steps.count, OnEqual::Merge, exec) } else { Ok(answers) }
}

/// A bucket's bound; overflow is no number, as for Go.
fn parse_bound(text: &str) -> Option<f64> {
    let bound: f64 = text.parse().ok()?;
    let says_infinite = || text.trim_start_matches(['+', '-']).starts_with(['i', 'I']);
    (bound.is_finite() || bound.is_nan() || says_infinite()).then_some(bound)
}

fn remark_on_bad_bound(
    inner: &dyn SeriesVector,
    index: usize,
    labels: &Labels,
    le: &str,
    place: Place,
    exec: &Exec<'_>,
) -> Result<(), QueryError> {
    let mut worker = exec.worker();
    let mut row = worker.take_row();
    inner.row(index, &mut worker, &mut row)?;
    if !row.is_empty() {
        let message = format!("bucket label \"le\" is missing or has a malformed value of {}", model::text::quote(le));
        exec.annotate(Severity::Warning, for_metric(message, labels, exec), place.ordinal, place.span);
    }
    worker.give_row(row);
    Ok(())
}

/// Names the metric where its name is still known.
fn for_metric(message: String, labels: &Labels, exec: &Exec<'_>) -> String {
    match labels.metric_name() {
        Some(name) if exec.settings.delayed_name_removal => {
            format!("{message} for metric name {}", model::text::quote(name))
        }
        _ => message,
    }
}

struct Histogram {
    labels: Labels,
    /// Bounds in ascending order, and the series that counts up to each; a bound may occur more than once.
    buckets: Vec<(f64, usize)>,
}

/// The answers, one per histogram and variant.
struct Answers<'q> {
    inner: Vector<'q>,
    histograms: Vec<Histogram>,
    question: Question,
    steps: Steps,
    place: Place,
}

impl Answers<'_> {
    fn variants(&self) -> usize {
        match &self.question {
            Question::Quantiles { variants, .. } => variants.len(),
            Question::Quantile(_) | Question::Fraction { .. } => 1,
        }
    }

    fn answer(&self, index: usize, step: usize, buckets: &mut [Bucket], repairs: &mut Repairs) -> Option<f64> {
        let q = match &self.question {
            Question::Fraction { lower, upper } => return Some(fraction(lower.at(step), upper.at(step), buckets)),
            Question::Quantile(q) => q.at(step),
            Question::Quantiles { variants, .. } => {
                let variant = &variants[index % variants.len()];
                if !has_bit(&variant.steps, step) {
                    return None;
                }
                variant.q
            }
        };
        let (value, repair) = quantile(q, buckets);
        if let Some(repair) = repair {
            repairs.add(repair, self.steps.time(step));
        }
        Some(value)
    }
}

impl SeriesVector for Answers<'_> {
    fn len(&self) -> usize {
        self.histograms.len() * self.variants()
    }

    fn labels(&self, index: usize) -> Labels {
        let labels = &self.histograms[index / self.variants()].labels;
        match &self.question {
            Question::Quantiles { label, variants } => {
                labels.with(label, &open_metrics_float(variants[index % variants.len()].q))
            }
            Question::Quantile(_) | Question::Fraction { .. } => labels.clone(),
        }
    }

    fn drops_name(&self, index: usize) -> bool {
        let histogram = &self.histograms[index / self.variants()];
        histogram.buckets.iter().any(|(_, index)| self.inner.drops_name(*index))
    }

    fn has_one_name(&self) -> bool {
        let writes_name = matches!(&self.question, Question::Quantiles { label, .. } if label == METRIC_NAME);
        !writes_name && self.inner.has_one_name()
    }

    fn row(&self, index: usize, worker: &mut Worker<'_, '_>, out: &mut Row) -> Result<(), QueryError> {
        let histogram = &self.histograms[index / self.variants()];
        let mut rows = Vec::with_capacity(histogram.buckets.len());
        for (bound, series) in &histogram.buckets {
            let mut row = worker.take_row();
            self.inner.row(*series, worker, &mut row)?;
            rows.push((*bound, row));
        }
        out.reset(self.steps.count);
        let mut repairs = Repairs::default();
        let mut buckets = Vec::with_capacity(rows.len());
        for step in 0..self.steps.count {
            buckets.clear();
            for (bound, row) in &rows {
                let Some(count) = row.get(step) else { continue };
                match buckets.last_mut() {
                    Some(Bucket { bound: last, count: sum }) if *last == *bound => *sum += count,
                    _ => buckets.push(Bucket { bound: *bound, count }),
                }
            }
            if buckets.is_empty() {
                continue;
            }
            if let Some(value) = self.answer(index, step, &mut buckets, &mut repairs) {
                out.set(step, value);
            }
        }
        for (_, row) in rows {
            worker.give_row(row);
        }
        if let Some(repair) = repairs.all {
            let message = "input to histogram_quantile needed to be fixed for monotonicity (see \
                           https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)";
            let message = for_metric(message.to_owned(), &histogram.labels, worker.exec);
            let Place { ordinal, span } = self.place;
            worker.exec.with_annotations(|all| all.add_repair(message, ordinal, span, repair));
        }
        Ok(())
    }
}

/// What was repaired over the steps of one histogram.
#[derive(Default)]
struct Repairs {
    all: Option<MonotonicityRepair>,
}

impl Repairs {
    fn add(&mut self, repair: Repair, time_ms: i64) {
        let repair = MonotonicityRepair {
            buckets: repair.buckets,
            difference_max: repair.difference_max,
            times_ms: (time_ms, time_ms),
            samples: 1,
        };
        match &mut self.all {
            Some(all) => all.merge(&repair),
            None => self.all = Some(repair),
        }
    }
}

/// Observations up to a bound.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Bucket {
    bound: f64,
    count: f64,
}

/// How counts were changed so that they never fall.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Repair {
    buckets: (f64, f64),
    difference_max: f64,
}

/// The `q`-quantile of buckets with ascending bounds, linear inside a bucket; makes counts monotonic.
fn quantile(q: f64, buckets: &mut [Bucket]) -> (f64, Option<Repair>) {
    if q.is_nan() {
        return (f64::NAN, None);
    }
    if !(0.0..=1.0).contains(&q) {
        return (if q < 0.0 { f64::NEG_INFINITY } else { f64::INFINITY }, None);
    }
    if buckets.last().is_none_or(|last| last.bound != f64::INFINITY) {
        return (f64::NAN, None);
    }
    let repair = make_monotonic(buckets);
    let last = buckets.len() - 1;
    let observations = buckets[last].count;
    if last == 0 || observations == 0.0 {
        return (f64::NAN, repair);
    }
    let mut rank = q * observations;
    let at = buckets[..last].partition_point(|bucket| bucket.count < rank || bucket.count.is_nan());
    let value = if at == last {
        buckets[last - 1].bound
    } else if at == 0 && buckets[0].bound <= 0.0 {
        buckets[0].bound
    } else {
        let Bucket { bound: end, mut count } = buckets[at];
        let mut start = 0.0;
        if at > 0 {
            start = buckets[at - 1].bound;
            count -= buckets[at - 1].count;
            rank -= buckets[at - 1].count;
        }
        start + (end - start) * (rank / count)
    };
    (value, repair)
}

/// Relative differences below this are taken for rounding errors.
const SMALL_DIFFERENCE: f64 = 1e-12;

fn make_monotonic(buckets: &mut [Bucket]) -> Option<Repair> {
    let mut repair: Option<Repair> = None;
    let mut highest = buckets[0].count;
    for bucket in &mut buckets[1..] {
        let count = bucket.count;
        if count == highest {
            continue;
        }
        if nearly_equal(highest, count) {
            bucket.count = highest;
        } else if count < highest {
            bucket.count = highest;
            let repair = repair.get_or_insert(Repair { buckets: (bucket.bound, bucket.bound), difference_max: 0.0 });
            repair.buckets = (repair.buckets.0.min(bucket.bound), repair.buckets.1.max(bucket.bound));
            repair.difference_max = repair.difference_max.max(highest - count);
        } else {
            highest = count;
        }
    }
    repair
}

fn nearly_equal(a: f64, b: f64) -> bool {
    let sum = a.abs() + b.abs();
    let difference = (a - b).abs();
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < SMALL_DIFFERENCE * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < SMALL_DIFFERENCE
}

/// The share of observations between two values, linear inside a bucket; none of a bucket without an end.
fn fraction(lower: f64, upper: f64, buckets: &[Bucket]) -> f64 {
    let Some(last) = buckets.last().filter(|last| last.bound == f64::INFINITY) else { return f64::NAN };
    let total = last.count;
    if total == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    (rank_of(upper, buckets, total) - rank_of(lower, buckets, total)) / total
}

/// How many observations lie below `value`.
fn rank_of(value: f64, buckets: &[Bucket], total: f64) -> f64 {
    let mut start = if buckets[0].bound <= 0.0 { f64::NEG_INFINITY } else { 0.0 };
    let mut below: f64 = 0.0;
    for bucket in buckets {
        if start >= value {
            return below.min(total);
        }
        if bucket.bound > value {
            let inside = if start == f64::NEG_INFINITY {
                bucket.count
            } else {
                below + (bucket.count - below) * (value - start) / (bucket.bound - start)
            };
            return if inside > total { total } else { inside };
        }
        below = bucket.count;
        start = bucket.bound;
    }
    total
}

/// A float with at least one digit after the point: `1.0`, `0.25`, `1e+06`.
fn open_metrics_float(value: f64) -> String {
    let text = crate::annotation::format_g(value, None);
    if value.is_finite() && !text.contains(['.', 'e']) { format!("{text}.0") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(list: &[(f64, f64)]) -> Vec<Bucket> {
        list.iter().map(|(bound, count)| Bucket { bound: *bound, count: *count }).collect()
    }

    const INF: f64 = f64::INFINITY;

    #[test]
    fn quantiles_interpolate_inside_a_bucket() {
        let ask = |q| quantile(q, &mut buckets(&[(0.1, 5.0), (0.2, 7.0), (1.0, 11.0), (INF, 12.0)])).0;
        assert!((ask(0.2) - 0.048).abs() < 1e-12);
        assert!((ask(0.5) - 0.15).abs() < 1e-12);
        assert_eq!(ask(1.0), 1.0);
        assert_eq!((ask(-0.1), ask(1.1)), (f64::NEG_INFINITY, INF));
        assert!(quantile(0.5, &mut buckets(&[(1.0, 5.0)])).0.is_nan());
        assert!(quantile(0.5, &mut buckets(&[(INF, 5.0)])).0.is_nan());
    }

    #[test]
    fn falling_counts_are_lifted_and_reported() {
        let mut falling = buckets(&[(0.1, 20.0), (1.0, 10.0), (10.0, 50.0), (100.0, 40.0), (INF, 80.0)]);
        let (_, repair) = quantile(0.5, &mut falling);
        assert_eq!(repair, Some(Repair { buckets: (1.0, 100.0), difference_max: 10.0 }));
        let (_, repair) = quantile(0.5, &mut buckets(&[(1.0, 10.0), (2.0, 10.0 - 1e-13), (INF, 10.0)]));
        assert_eq!(repair, None);
    }

    #[test]
    fn fractions_leave_out_buckets_without_an_end() {
        let ask = |lower, upper, list: &[(f64, f64)]| fraction(lower, upper, &buckets(list));
        let positive = [(1.0, 1.0), (2.0, 3.0), (3.0, 6.0), (INF, 100.0)];
        assert_eq!(ask(0.0, 1.5, &positive), 0.02);
        assert_eq!(ask(2.0, 5.0, &positive), 0.03);
        assert_eq!(ask(400.0, INF, &positive), 0.94);
        let negative = [(-3.0, 10.0), (-2.0, 12.0), (-1.0, 15.0), (INF, 100.0)];
        assert_eq!(ask(-4.0, -2.0, &negative), 0.02);
        assert_eq!(ask(f64::NEG_INFINITY, -1.5, &negative), 0.135);
    }

    #[test]
    fn bounds_are_floats() {
        assert_eq!(parse_bound(".2"), Some(0.2));
        assert_eq!(parse_bound("+Inf"), Some(INF));
        assert_eq!(parse_bound("1e999"), None);
        assert_eq!(parse_bound("Hello"), None);
        assert_eq!(open_metrics_float(1.0), "1.0");
        assert_eq!(open_metrics_float(0.25), "0.25");
        assert_eq!(open_metrics_float(-0.1), "-0.1");
    }
}
