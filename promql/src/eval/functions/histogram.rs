//! Quantiles and fractions of histograms: classic ones, whose series count observations up to the bound in their label
//! `le`, and native ones.
//!
//! The series of one histogram are evaluated together when its result is asked for; nothing else is held. Which bounds
//! there are is known from labels, which of them are present is decided step by step. So is whether a histogram is a
//! classic or a native one; at a step where it is both there is no result.

pub(crate) mod native;

mod classic;

use classic::{Bucket, Repair};

use crate::annotation::MonotonicityRepair;
use crate::eval::exec::{Exec, Worker};
use crate::eval::names::{OnEqual, settle};
use crate::eval::remarks::Place;
use crate::eval::row::{Row, has_bit};
use crate::eval::scalar::ScalarRow;
use crate::eval::steps::Steps;
use crate::eval::vector::{SeriesVector, Vector, announced};
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

/// Asks `question` of every histogram in `inner`.
pub(crate) fn ask<'q>(
    inner: Vector<'q>,
    question: Question,
    steps: Steps,
    place: Place,
    exec: &Exec<'q>,
) -> Result<Vector<'q>, QueryError> {
    let mut numbers: HashMap<Labels, usize, foldhash::fast::RandomState> = HashMap::default();
    let mut histograms: Vec<Histogram> = Vec::new();
    let mut find = |labels: Labels| {
        *numbers.entry(labels).or_insert_with_key(|labels| {
            histograms.push(Histogram { labels: labels.clone(), buckets: Vec::new(), native: None });
            histograms.len() - 1
        })
    };
    let mut parts = Vec::new();
    for index in 0..inner.len() {
        let labels = inner.labels(index);
        let le = labels.get(BUCKET_LABEL).unwrap_or_default();
        let bound = parse_bound(le);
        match bound {
            Some(bound) => parts.push((find(labels.filter(|name| name != BUCKET_LABEL)), Part::Bucket(bound, index))),
            None if !inner.may_have_histograms(index) => {
                remark_on_bad_bound(inner.as_ref(), index, &labels, le, place, exec)?;
            }
            None => {}
        }
        if inner.may_have_histograms(index) {
            let counts_floats = bound.is_some();
            parts.push((find(labels), Part::Native(Native { series: index, counts_floats })));
        }
    }
    for (number, part) in parts {
        match part {
            Part::Bucket(bound, index) => histograms[number].buckets.push((bound, index)),
            Part::Native(native) => histograms[number].native = Some(native),
        }
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
        place.warn(exec, for_metric(bad_bound(le), labels, exec));
    }
    worker.give_row(row);
    Ok(())
}

fn bad_bound(le: &str) -> String {
    format!("bucket label \"le\" is missing or has a malformed value of {}", model::text::quote(le))
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
    native: Option<Native>,
}

/// A series that may have native histograms.
#[derive(Debug, Clone, Copy)]
struct Native {
    series: usize,
    /// Whether its floats, if it has any, are a bucket of a classic histogram.
    counts_floats: bool,
}

/// What a series is to a histogram.
enum Part {
    Bucket(f64, usize),
    Native(Native),
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

    /// The quantile that the answer of that number asks for at a step, if it does; fractions are asked for at every step.
    fn asked(&self, index: usize, step: usize) -> Option<Asked> {
        match &self.question {
            Question::Fraction { lower, upper } => Some(Asked::Fraction(lower.at(step), upper.at(step))),
            Question::Quantile(q) => Some(Asked::Quantile(q.at(step))),
            Question::Quantiles { variants, .. } => {
                let variant = &variants[index % variants.len()];
                has_bit(&variant.steps, step).then_some(Asked::Quantile(variant.q))
            }
        }
    }

    fn of_buckets(&self, asked: Asked, step: usize, buckets: &mut [Bucket], repairs: &mut Repairs) -> f64 {
        match asked {
            Asked::Fraction(lower, upper) => classic::fraction(lower, upper, buckets),
            Asked::Quantile(q) => {
                let (value, repair) = classic::quantile(q, buckets);
                if let Some(repair) = repair {
                    repairs.add(repair, self.steps.time(step));
                }
                value
            }
        }
    }

    fn of_native(
        &self,
        asked: Asked,
        histogram: &model::histogram::Histogram,
        labels: &Labels,
        exec: &Exec<'_>,
    ) -> f64 {
        let (value, remark) = match asked {
            Asked::Fraction(lower, upper) => native::fraction(lower, upper, histogram),
            Asked::Quantile(q) => native::quantile(q, histogram),
        };
        if let Some(remark) = remark {
            self.place.inform(exec, for_metric(remark.message().to_owned(), labels, exec));
        }
        value
    }

    /// Evaluates the series that may have native histograms, and says when it has floats that are no bucket.
    fn native_row(&self, histogram: &Histogram, worker: &mut Worker<'_, '_>) -> Result<Row, QueryError> {
        let mut row = worker.take_row();
        let Some(native) = histogram.native else {
            row.reset(self.steps.count);
            return Ok(row);
        };
        self.inner.row(native.series, worker, &mut row)?;
        if !native.counts_floats && row.present().iter().any(|word| *word != 0) {
            let le = histogram.labels.get(BUCKET_LABEL).unwrap_or_default();
            self.place.warn(worker.exec, for_metric(bad_bound(le), &histogram.labels, worker.exec));
        }
        Ok(row)
    }
}

/// What is asked at one step.
#[derive(Debug, Clone, Copy)]
enum Asked {
    Quantile(f64),
    Fraction(f64, f64),
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
        let buckets = histogram.buckets.iter().map(|(_, index)| *index);
        buckets.chain(histogram.native.map(|native| native.series)).any(|index| self.inner.drops_name(index))
    }

    fn may_have_histograms(&self, _index: usize) -> bool {
        false
    }

    fn has_one_name(&self) -> bool {
        let writes_name = matches!(&self.question, Question::Quantiles { label, .. } if label == METRIC_NAME);
        !writes_name && self.inner.has_one_name()
    }

    fn row(&self, index: usize, worker: &mut Worker<'_, '_>, out: &mut Row) -> Result<(), QueryError> {
        let histogram = &self.histograms[index / self.variants()];
        let mut rows = Vec::with_capacity(histogram.buckets.len());
        let series = announced(self.inner.as_ref(), histogram.buckets.iter().map(|(_, series)| *series));
        for (series, (bound, _)) in series.zip(&histogram.buckets) {
            let mut row = worker.take_row();
            self.inner.row(series, worker, &mut row)?;
            rows.push((*bound, row));
        }
        let native = self.native_row(histogram, worker)?;
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
            let asked = self.asked(index, step);
            match (native.histogram(step), buckets.is_empty()) {
                (None, true) => {}
                (None, false) => {
                    if let Some(asked) = asked {
                        out.set(step, self.of_buckets(asked, step, &mut buckets, &mut repairs));
                    }
                }
                (Some(native), true) => {
                    if let Some(asked) = asked {
                        out.set(step, self.of_native(asked, native, &histogram.labels, worker.exec));
                    }
                }
                (Some(_), false) => {
                    let message = "vector contains a mix of classic and native histograms".to_owned();
                    self.place.warn(worker.exec, for_metric(message, &histogram.labels, worker.exec));
                }
            }
        }
        worker.give_row(native);
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

/// A float with at least one digit after the point: `1.0`, `0.25`, `1e+06`.
fn open_metrics_float(value: f64) -> String {
    let text = crate::annotation::format_g(value, None);
    if value.is_finite() && !text.contains(['.', 'e']) { format!("{text}.0") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_floats() {
        assert_eq!(parse_bound(".2"), Some(0.2));
        assert_eq!(parse_bound("+Inf"), Some(f64::INFINITY));
        assert_eq!(parse_bound("1e999"), None);
        assert_eq!(parse_bound("Hello"), None);
        assert_eq!(open_metrics_float(1.0), "1.0");
        assert_eq!(open_metrics_float(0.25), "0.25");
        assert_eq!(open_metrics_float(-0.1), "-0.1");
    }
}
