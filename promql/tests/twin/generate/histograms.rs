//! Random native histograms and random queries over them.

use super::{grouping, limited, matching, modifiers, scalar};
use model::histogram::{CUSTOM_BUCKETS_SCHEMA, CounterResetHint, Histogram, Span};
use model::labels::Labels;
use model::sample::stale_marker;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a series has at one time.
#[derive(Debug, Clone)]
pub(crate) enum Sample {
    Float(f64),
    Histogram(Arc<Histogram>),
}

/// What happens at one scrape.
#[derive(Debug, Clone)]
enum Event {
    Missing,
    Stale,
    Reset,
    /// Observations: side and bucket, how many.
    Observe(Vec<((bool, i32), u8)>),
    /// Observations that no bucket shows.
    Odd(f64),
}

fn event() -> impl Strategy<Value = Event> {
    let observation = ((any::<bool>(), -2i32..4), 0u8..4);
    prop_oneof![
        14 => proptest::collection::vec(observation, 0..4).prop_map(Event::Observe),
        2 => Just(Event::Missing),
        1 => Just(Event::Stale),
        1 => Just(Event::Reset),
        1 => prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(-0.5)].prop_map(Event::Odd),
    ]
}

/// Series by name, a label, and the layout of their histograms.
const SERIES: [(&str, &str, i8); 8] = [
    ("n", "0", 1),
    ("n", "1", 1),
    ("n", "2", 0),
    ("ng", "0", 1),
    ("ng", "1", -1),
    ("nc", "0", CUSTOM_BUCKETS_SCHEMA),
    ("nc", "1", CUSTOM_BUCKETS_SCHEMA),
    ("m", "0", 2),
];

/// Counters `n` and, with listed bounds, `nc`; gauges `ng`; `m`, which has floats as well.
pub(crate) fn histograms() -> impl Strategy<Value = Vec<(Labels, Vec<(i64, Sample)>)>> {
    let scrapes = proptest::collection::vec(event(), 40);
    proptest::collection::vec(scrapes, SERIES.len()).prop_map(|all| {
        SERIES
            .iter()
            .zip(all)
            .map(|((name, i, schema), events)| {
                let labels = Labels::from_pairs([("__name__", *name), ("i", i)]).expect("labels");
                (labels, samples(name, *schema, &events))
            })
            .collect()
    })
}

fn samples(name: &str, schema: i8, events: &[Event]) -> Vec<(i64, Sample)> {
    let mut counted: BTreeMap<(bool, i32), f64> = BTreeMap::new();
    let mut sum = 0.0;
    let mut samples = Vec::new();
    for (scrape, event) in (0..).zip(events) {
        let time = scrape * 15_000;
        // Every now and then the mixed series has a float.
        let is_float = name == "m" && scrape % 7 > 4;
        match event {
            Event::Missing => continue,
            Event::Stale if is_float => {
                samples.push((time, Sample::Float(stale_marker())));
                continue;
            }
            Event::Stale => {
                let stale = Histogram { sum: stale_marker(), ..Histogram::default() };
                samples.push((time, Sample::Histogram(Arc::new(stale))));
                continue;
            }
            Event::Reset => (counted, sum) = (BTreeMap::new(), 0.0),
            Event::Observe(observations) => {
                for (key, count) in observations {
                    // Exact in binary: rounding is not what is tested here.
                    *counted.entry(*key).or_default() += f64::from(*count);
                    sum += f64::from(*count) * 0.125;
                }
            }
            Event::Odd(odd) => sum += odd,
        }
        let sample = if is_float {
            Sample::Float(counted.values().sum())
        } else {
            Sample::Histogram(Arc::new(histogram(name, schema, &counted, sum)))
        };
        samples.push((time, sample));
        if sum.is_nan() {
            sum = 0.0;
        }
    }
    samples
}

fn histogram(name: &str, schema: i8, counted: &BTreeMap<(bool, i32), f64>, sum: f64) -> Histogram {
    let is_custom = schema == CUSTOM_BUCKETS_SCHEMA;
    let mut histogram = Histogram { schema, sum, ..Histogram::default() };
    if is_custom {
        histogram.custom_values = [0.5, 1.0, 2.0, 4.0, 8.0].into();
    } else {
        histogram.zero_threshold = 0.001;
        histogram.zero_count = counted.get(&(false, -2)).copied().unwrap_or(0.0);
    }
    for positive in [true, false] {
        let of_side = counted.iter().filter(|((side, index), count)| {
            *side == positive && **count > 0.0 && (is_custom || (*side, *index) != (false, -2))
        });
        let (spans, buckets) = if positive {
            (&mut histogram.positive_spans, &mut histogram.positive_buckets)
        } else {
            (&mut histogram.negative_spans, &mut histogram.negative_buckets)
        };
        if is_custom && !positive {
            continue;
        }
        let mut next = 0;
        for ((_, index), count) in of_side {
            let index = if is_custom { index + 2 } else { *index };
            match spans.last_mut() {
                Some(span) if index == next => span.length += 1,
                _ => spans.push(Span { offset: index - next, length: 1 }),
            }
            buckets.push(*count);
            next = index + 1;
        }
    }
    let populations = histogram.positive_buckets.iter().chain(&histogram.negative_buckets);
    histogram.count = populations.sum::<f64>() + histogram.zero_count;
    if name == "ng" {
        histogram.counter_reset_hint = CounterResetHint::Gauge;
    }
    histogram
}

/// What is selected; some of it more often.
const NAMES: [&str; 12] =
    ["n", "n", "n", "ng", "ng", "nc", "nc", "m", "m", r#"{__name__=~"n|nc"}"#, r#"{__name__=~"n|m"}"#, "k"];

pub(super) fn select(texts: &'static [&'static str]) -> impl Strategy<Value = &'static str> + Clone {
    prop::sample::select(texts)
}

/// Functions of one range vector.
const RANGE_FUNCTIONS: [&str; 16] = [
    "rate",
    "increase",
    "delta",
    "irate",
    "idelta",
    "resets",
    "changes",
    "count_over_time",
    "sum_over_time",
    "avg_over_time",
    "max_over_time",
    "last_over_time",
    "first_over_time",
    "present_over_time",
    "stddev_over_time",
    "ts_of_last_over_time",
];

/// A function of one range vector.
pub(crate) fn range_function() -> impl Strategy<Value = &'static str> {
    select(&RANGE_FUNCTIONS)
}

fn range(inner: BoxedStrategy<String>) -> BoxedStrategy<String> {
    let ranges = select(&["30s", "1m", "2m30s", "20m"]);
    let steps = select(&["15s", "30s", ""]);
    let stored = (select(&NAMES), ranges.clone(), modifiers()).prop_map(|(n, r, m)| format!("{n}[{r}]{m}"));
    let evaluated = (inner, ranges, steps, modifiers()).prop_map(|(i, r, s, m)| format!("({i})[{r}:{s}]{m}"));
    prop_oneof![5 => stored.boxed(), 1 => evaluated.boxed()].boxed()
}

/// Arms are boxed: their generators would not fit the stack of a test otherwise.
fn composite(inner: BoxedStrategy<String>) -> BoxedStrategy<String> {
    let functions =
        select(&["histogram_count", "histogram_sum", "histogram_avg", "abs", "sort", "timestamp", "absent", "-"]);
    let aggregations = select(&["sum", "sum", "sum", "avg", "avg", "count", "group", "max"]);
    let operators = || select(&["+", "-", "*", "/", ">", "< bool"]);
    let sets = select(&["and", "or", "unless"]);
    let pair = || (inner.clone(), inner.clone());
    prop_oneof![
        6 => (range_function(), range(inner.clone())).prop_map(|(f, r)| format!("{f}({r})")).boxed(),
        3 => (functions, inner.clone()).prop_map(|(f, v)| format!("{f}({v})")).boxed(),
        3 => (aggregations.clone(), grouping(), inner.clone()).prop_map(|(a, g, v)| format!("{a}{g} ({v})")).boxed(),
        1 => (aggregations, grouping(), inner.clone())
            .prop_map(|(a, g, v)| format!("{a}{g} ({v}) + (2 * {a}{g} ({v}))"))
            .boxed(),
        2 => (operators(), scalar(), inner.clone()).prop_map(|(o, s, v)| format!("({v}) {o} {s}")).boxed(),
        1 => (operators(), scalar(), inner.clone()).prop_map(|(o, s, v)| format!("{s} {o} ({v})")).boxed(),
        3 => (operators(), matching(), pair()).prop_map(|(o, m, (a, b))| format!("({a}) {o}{m} ({b})")).boxed(),
        1 => limited(inner.clone()),
        2 => (sets, pair()).prop_map(|(o, (a, b))| format!("({a}) {o} on (i) ({b})")).boxed(),
    ]
    .boxed()
}

/// A query that returns a vector, often with histograms.
pub(crate) fn histogram_query() -> BoxedStrategy<String> {
    let selector = (select(&NAMES), modifiers()).prop_map(|(name, modifiers)| format!("{name}{modifiers}"));
    selector.boxed().prop_recursive(3, 10, 2, composite).boxed()
}
