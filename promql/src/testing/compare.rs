//! Compares what a query returned with what was expected.

use super::notation::Item;
use super::script::{Expect, Pattern, Times};
use crate::value::{MatrixSeries, QueryValue, SampleValue, VectorSample};
use model::histogram::Histogram;
use model::labels::Labels;
use model::sample::is_stale_marker;

/// Relative error that values may have.
const TOLERANCE: f64 = 1e-6;

/// Whether two values are equal for the purposes of tests.
pub(crate) fn nearly_equal(a: f64, b: f64) -> bool {
    if is_stale_marker(a) || is_stale_marker(b) {
        return is_stale_marker(a) && is_stale_marker(b);
    }
    if a.is_nan() && b.is_nan() || a == b {
        return true;
    }
    let sum = a.abs() + b.abs();
    let difference = (a - b).abs();
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < TOLERANCE * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < TOLERANCE
}

/// Whether a value is what an item says; a hint counts if it is given.
fn is_expected(item: &Item, value: &SampleValue) -> bool {
    match (item, value) {
        (Item::Float(expected), SampleValue::Float(value)) => nearly_equal(*expected, *value),
        (Item::Histogram { histogram, hint_given }, SampleValue::Histogram(value)) => {
            let hint_fits = histogram.counter_reset_hint == value.counter_reset_hint;
            (hint_fits || !hint_given) && nearly_equal_histograms(histogram, value)
        }
        _ => false,
    }
}

fn nearly_equal_histograms(a: &Histogram, b: &Histogram) -> bool {
    let (mut a, mut b) = (a.clone(), b.clone());
    a.compact();
    b.compact();
    let numbers = |histogram: &Histogram| {
        let totals = [histogram.count, histogram.sum, histogram.zero_count];
        totals.into_iter().chain(histogram.positive_buckets.clone()).chain(histogram.negative_buckets.clone())
    };
    a.schema == b.schema
        && a.zero_threshold == b.zero_threshold
        && a.custom_values == b.custom_values
        && a.positive_spans == b.positive_spans
        && a.negative_spans == b.negative_spans
        && numbers(&a).zip(numbers(&b)).all(|(a, b)| nearly_equal(a, b))
}

/// Compares an answer; `Err` says how it differs.
pub(crate) fn check_value(expect: &Expect, times: &Times, value: &QueryValue) -> Result<(), String> {
    match value {
        QueryValue::Scalar { value, .. } => check_scalar(expect, *value),
        QueryValue::String { value, .. } => {
            let expected = expect.string.as_deref().unwrap_or_default();
            if expected.as_bytes() == value { Ok(()) } else { Err(format!("string {value:?} is not {expected:?}")) }
        }
        QueryValue::Vector { samples, .. } => check_vector(expect, samples),
        QueryValue::Matrix(series) => check_matrix(expect, times, series),
    }
}

/// Compares a scalar.
pub(crate) fn check_scalar(expect: &Expect, value: f64) -> Result<(), String> {
    match expect.scalar {
        Some(expected) if nearly_equal(expected, value) => Ok(()),
        Some(expected) => Err(format!("scalar {value} is not {expected}")),
        None => Err(format!("scalar {value} where a vector is expected")),
    }
}

/// Compares a vector.
pub(crate) fn check_vector(expect: &Expect, samples: &[VectorSample]) -> Result<(), String> {
    if let Some(expected) = expect.scalar {
        return Err(format!("a vector where the scalar {expected} is expected"));
    }
    for (position, sample) in samples.iter().enumerate() {
        let (at, items) = find(expect, &sample.labels)?;
        if expect.ordered && at != position {
            return Err(format!("{} at position {position}, not {at}", sample.labels));
        }
        match items.first() {
            Some(item) if is_expected(item, &sample.value) => {}
            other => return Err(format!("{} is {:?}, not {other:?}", sample.labels, sample.value)),
        }
    }
    check_complete(expect, samples.len())
}

fn check_matrix(expect: &Expect, times: &Times, series: &[MatrixSeries]) -> Result<(), String> {
    if expect.scalar.is_some() || expect.ordered {
        return Err("a matrix is neither scalar nor ordered".to_owned());
    }
    if series.windows(2).any(|pair| pair[0].labels > pair[1].labels) {
        return Err("series are not sorted by labels".to_owned());
    }
    let (start, end, step) = match (expect.range_vector, times) {
        (Some(range), _) => range,
        (None, Times::Range { start_ms, end_ms, step_ms }) => (*start_ms, *end_ms, *step_ms),
        (None, Times::Instant { .. }) => return Err("a matrix where a vector is expected".to_owned()),
    };
    for found in series {
        let (_, items) = find(expect, &found.labels)?;
        let mut expected = Vec::new();
        for (i, item) in (0..).zip(items) {
            let time = start + i * step;
            if time > end {
                return Err(format!("more values expected of {} than the range has steps", found.labels));
            }
            if *item != Item::Gap {
                expected.push((time, item));
            }
        }
        let actual = samples_of(found);
        let equal = expected.len() == actual.len()
            && expected.iter().zip(&actual).all(|(e, a)| e.0 == a.0 && is_expected(e.1, &a.1));
        if !equal {
            return Err(format!("{} is {actual:?}, not {expected:?}", found.labels));
        }
    }
    check_complete(expect, series.len())
}

/// Floats and histograms of a series in order of time.
pub(crate) fn samples_of(series: &MatrixSeries) -> Vec<(i64, SampleValue)> {
    let floats =
        series.timestamps_ms.iter().zip(&series.values).map(|(time, value)| (*time, SampleValue::Float(*value)));
    let columns = &series.histograms;
    let histograms = columns.timestamps_ms.iter().zip(&columns.histograms);
    let histograms = histograms.map(|(time, histogram)| (*time, SampleValue::Histogram(histogram.clone())));
    let mut all: Vec<(i64, SampleValue)> = floats.chain(histograms).collect();
    all.sort_by_key(|(time, _)| *time);
    all
}

/// The position and the values of an expected series; the last of several lines counts.
fn find<'e>(expect: &'e Expect, labels: &Labels) -> Result<(usize, &'e [Item]), String> {
    expect
        .series
        .iter()
        .enumerate()
        .rev()
        .find(|(_, (expected, _))| expected == labels)
        .map(|(at, (_, items))| (at, items.as_slice()))
        .ok_or_else(|| format!("unexpected series {labels}"))
}

fn check_complete(expect: &Expect, found: usize) -> Result<(), String> {
    let mut labels: Vec<&Labels> = expect.series.iter().map(|(labels, _)| labels).collect();
    labels.sort();
    labels.dedup();
    if labels.len() == found { Ok(()) } else { Err(format!("{found} series, not {}", labels.len())) }
}

/// Compares remarks of one kind; each expected one must be there, and nothing else if any is expected.
pub(crate) fn check_remarks(
    kind: &str,
    expected: &[Pattern],
    none_expected: bool,
    found: &[String],
) -> Result<(), String> {
    if none_expected && !found.is_empty() {
        return Err(format!("unexpected {kind}s {found:?}"));
    }
    if expected.is_empty() {
        return Ok(());
    }
    if let Some(pattern) = expected.iter().find(|pattern| !found.iter().any(|text| pattern.matches(text))) {
        return Err(format!("no {kind} like {pattern:?} among {found:?}"));
    }
    if let Some(text) = found.iter().find(|text| !expected.iter().any(|pattern| pattern.matches(text))) {
        return Err(format!("unexpected {kind} {text:?}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_may_differ_by_a_millionth() {
        assert!(nearly_equal(1.0, 1.000_000_9) && !nearly_equal(1.0, 1.000_01));
        assert!(nearly_equal(f64::NAN, -f64::NAN) && !nearly_equal(f64::NAN, model::sample::stale_marker()));
        assert!(!nearly_equal(0.0, 1e-300) && nearly_equal(f64::INFINITY, f64::INFINITY));
    }
}
