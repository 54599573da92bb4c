//! Random data and random queries over it.

mod extensions;
pub(crate) mod histograms;
mod targets;

pub(crate) use extensions::{extended_query, starts};
pub(crate) use histograms::{Sample, histogram_query, histograms};
pub(crate) use targets::{info_query, targets};

use model::labels::Labels;
use model::sample::stale_marker;
use promql::testing::memory::MemorySource;
use proptest::prelude::*;

/// One series as a list of events, one per scrape.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Event {
    Missing,
    Stale,
    Step(f64),
    Reset,
    Odd(f64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        20 => (0.0..10.0f64).prop_map(|v| Event::Step((v * 8.0).round() / 8.0)),
        2 => Just(Event::Missing),
        1 => Just(Event::Stale),
        1 => Just(Event::Reset),
        1 => prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(-0.0), Just(f64::NEG_INFINITY)].prop_map(Event::Odd),
    ]
}

/// Series with their samples.
pub(crate) type Data = Vec<(Labels, Vec<(i64, f64)>)>;

/// The series of a test: counters `c_total` and buckets `h_bucket` (no odd values), gauges `g` and `k`.
pub(crate) fn data() -> impl Strategy<Value = Data> {
    let scrapes = proptest::collection::vec((event(), -3i64..=3), 40);
    proptest::collection::vec(scrapes, 14).prop_map(|all| {
        let names = [
            ("c_total", "0", "x", ""),
            ("c_total", "0", "y", ""),
            ("c_total", "1", "x", ""),
            ("c_total", "2", "y", ""),
            ("g", "0", "x", ""),
            ("g", "0", "y", ""),
            ("g", "1", "x", ""),
            ("g", "2", "z", ""),
            ("k", "0", "", ""),
            ("k", "1", "", ""),
            ("h_bucket", "0", "", "1"),
            ("h_bucket", "0", "", "5"),
            ("h_bucket", "0", "", "+Inf"),
            ("h_bucket", "1", "", "+Inf"),
        ];
        names
            .iter()
            .zip(all)
            .map(|((name, i, j, le), events)| {
                let labels = Labels::from_pairs([("__name__", *name), ("i", i), ("j", j), ("le", le)]).expect("labels");
                (labels, samples(name, &events))
            })
            .collect()
    })
}

fn samples(name: &str, events: &[(Event, i64)]) -> Vec<(i64, f64)> {
    let is_counter = name == "c_total" || name == "h_bucket";
    let mut value = 0.0;
    let mut samples = Vec::new();
    for (scrape, (event, jitter)) in (0..).zip(events) {
        // Half of the series share their timestamps.
        let time = scrape * 15_000 + if name == "g" { *jitter * 40 } else { 0 };
        match event {
            Event::Missing => {}
            Event::Stale => samples.push((time, stale_marker())),
            Event::Step(step) if is_counter => {
                value += step;
                samples.push((time, value));
            }
            Event::Step(step) => samples.push((time, *step - 4.0)),
            Event::Reset => {
                value = 0.5;
                samples.push((time, value));
            }
            Event::Odd(_) if is_counter => {}
            Event::Odd(odd) => samples.push((time, *odd)),
        }
    }
    samples
}

pub(crate) fn source(
    series: &[(Labels, Vec<(i64, f64)>)],
    histograms: &[(Labels, Vec<(i64, Sample)>)],
) -> MemorySource {
    let mut source = MemorySource::new();
    for (labels, samples) in series {
        source.append(labels, samples.iter().copied());
    }
    for (labels, samples) in histograms {
        let mut floats = Vec::new();
        let mut histograms = Vec::new();
        for (time, sample) in samples {
            match sample {
                Sample::Float(value) => floats.push((*time, *value)),
                Sample::Histogram(histogram) => histograms.push((*time, histogram.clone())),
            }
        }
        source.append(labels, floats);
        source.append_histograms(labels, histograms);
    }
    source
}

fn modifiers() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        6 => Just(""),
        1 => Just(" offset 40s"),
        1 => Just(" offset -20s"),
        1 => Just(" @ 300"),
        1 => Just(" @ start()"),
        1 => Just(" @ 250.5 offset 1m"),
    ]
}

fn selector() -> impl Strategy<Value = String> {
    let names = prop_oneof![
        4 => Just("c_total"),
        3 => Just("g"),
        1 => Just("k"),
        1 => Just(r#"g{i="0"}"#),
        1 => Just(r#"c_total{j!="x"}"#),
        1 => Just(r#"g{i=~"0|1", j="nothing"}"#),
    ];
    (names, modifiers()).prop_map(|(name, modifiers)| format!("{name}{modifiers}"))
}

fn range(inner: BoxedStrategy<String>) -> impl Strategy<Value = String> {
    let names = prop_oneof![Just("c_total"), Just("g"), Just(r#"c_total{i="0"}"#)];
    let ranges = prop_oneof![Just("30s"), Just("1m"), Just("2m30s"), Just("20m")];
    let steps = prop_oneof![Just("10s"), Just("7s"), Just("")];
    prop_oneof![
        4 => (names, ranges.clone(), modifiers()).prop_map(|(n, r, m)| format!("{n}[{r}]{m}")),
        1 => (inner.clone(), ranges.clone(), steps.clone(), modifiers())
            .prop_map(|(i, r, s, m)| format!("({i})[{r}:{s}]{m}")),
        1 => (inner, ranges, steps, modifiers()).prop_map(|(i, r, s, m)| format!("({})[{r}:{s}]{m}", snapped(&i))),
    ]
}

fn scalar() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("2".to_owned()),
        Just("0.5".to_owned()),
        Just("-1".to_owned()),
        Just("time()".to_owned()),
        Just("scalar(k{i=\"0\"})".to_owned()),
        Just("NaN".to_owned()),
    ]
}

fn grouping() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just(""), Just(" by (i)"), Just(" by (i, j)"), Just(" without (j)"), Just(" by (nothing)")]
}

fn matching() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        3 => Just(""),
        1 => Just(" on (i)"),
        1 => Just(" ignoring (j)"),
        1 => Just(" on (i, j)"),
        1 => Just(" on (i) group_left ()"),
        1 => Just(" ignoring (j) group_left (le)"),
        1 => Just(" on (i) group_right (j)"),
    ]
}

fn composite(inner: BoxedStrategy<String>) -> BoxedStrategy<String> {
    let range = || range(inner.clone());
    let one_range = prop_oneof![
        Just("rate"),
        Just("increase"),
        Just("delta"),
        Just("irate"),
        Just("idelta"),
        Just("deriv"),
        Just("resets"),
        Just("changes"),
        Just("count_over_time"),
        Just("sum_over_time"),
        Just("avg_over_time"),
        Just("min_over_time"),
        Just("max_over_time"),
        Just("last_over_time"),
        Just("first_over_time"),
        Just("stddev_over_time"),
        Just("stdvar_over_time"),
        Just("present_over_time"),
        Just("absent_over_time"),
        Just("ts_of_last_over_time"),
        Just("ts_of_first_over_time"),
        Just("ts_of_min_over_time"),
        Just("ts_of_max_over_time"),
        Just("mad_over_time"),
    ];
    let simple = prop_oneof![
        Just("abs"),
        Just("ceil"),
        Just("floor"),
        Just("sqrt"),
        Just("timestamp"),
        Just("absent"),
        Just("sort"),
        Just("sort_desc"),
        Just("-"),
        Just("+")
    ];
    let aggregations = prop_oneof![
        Just("sum"),
        Just("avg"),
        Just("count"),
        Just("min"),
        Just("max"),
        Just("group"),
        Just("stddev"),
        Just("stdvar")
    ];
    let arithmetic = || prop_oneof![Just("+"), Just("-"), Just("*"), Just("/"), Just("%")];
    let comparisons = || {
        prop_oneof![
            Just("=="),
            Just("!="),
            Just("<"),
            Just(">"),
            Just("<="),
            Just(">="),
            Just("> bool"),
            Just("== bool")
        ]
    };
    let operators = || prop_oneof![2 => arithmetic(), 1 => comparisons()];
    prop_oneof![
        5 => (one_range, range()).prop_map(|(f, r)| format!("{f}({r})")),
        1 => (scalar(), range()).prop_map(|(s, r)| format!("quantile_over_time({s}, {r})")),
        1 => range().prop_map(|r| format!("predict_linear({r}, 60)")),
        1 => range().prop_map(|r| format!("double_exponential_smoothing({r}, 0.3, 0.6)")),
        1 => inner.clone().prop_map(|v| format!(r#"label_join({v}, "n", "+", "i", "none", "j")"#)),
        1 => inner.clone().prop_map(|v| format!(r#"label_replace({v}, "n", "$1-${{rest}}-$none", "i", "([0-4])(?P<rest>.*)")"#)),
        1 => (grouping(), selector()).prop_map(|(g, v)| format!(r#"count_values{g} ("v", {v})"#)),
        2 => (simple, inner.clone()).prop_map(|(f, v)| format!("{f}({v})")),
        // Of numbers that are not rounded: far from zero, or near the end of what a function takes, a last bit is all that counts.
        1 => (histograms::select(&OF_NUMBERS), prop_oneof![Just(""), Just("sum by (i) ")], selector())
            .prop_map(|(f, sum, v)| format!("{f}({sum}({v}))")),
        1 => (inner.clone(), scalar(), scalar()).prop_map(|(v, a, b)| format!("clamp({v}, {a}, {b})")),
        4 => (aggregations.clone(), grouping(), inner.clone()).prop_map(|(a, g, v)| format!("{a}{g} ({v})")),
        1 => (scalar(), grouping(), inner.clone()).prop_map(|(s, g, v)| format!("quantile{g} ({s}, {v})")),
        // Equal aggregations, of which one is evaluated.
        1 => (arithmetic(), aggregations, grouping(), inner.clone())
            .prop_map(|(o, a, g, v)| format!("{a}{g} ({v}) {o} (1 + {a}{g} ({v}))")),
        // Of values that come without rounding: what is a tie must be one for both.
        1 => (grouping(), any::<bool>(), selector()).prop_map(|(g, top, v)| {
            format!("{}{g} (2, {v})", if top { "topk" } else { "bottomk" })
        }),
        1 => limited(inner.clone()),
        2 => (operators(), scalar(), inner.clone()).prop_map(|(o, s, v)| format!("({v}) {o} {s}")),
        2 => (operators(), scalar(), inner.clone()).prop_map(|(o, s, v)| format!("{s} {o} ({v})")),
        4 => (operators(), matching(), inner.clone(), inner.clone()).prop_map(|(o, m, a, b)| format!("({a}) {o}{m} ({b})")),
        2 => (prop_oneof![Just("%"), comparisons()], matching(), inner.clone(), inner.clone())
            .prop_map(|(o, m, a, b)| format!("{} {o}{m} {}", snapped(&a), snapped(&b))),
        3 => (prop_oneof![Just("and"), Just("or"), Just("unless")],
              prop_oneof![Just(""), Just(" on (i)"), Just(" ignoring (j)")], inner.clone(), inner.clone())
            .prop_map(|(o, m, a, b)| format!("({a}) {o}{m} ({b})")),
        1 => scalar().prop_map(|s| format!("vector({s})")),
        1 => (prop_oneof![Just("0.5"), Just("0.9"), Just("scalar(k{i=\"1\"})")], prop_oneof![
                Just("h_bucket".to_owned()), Just(snapped("rate(h_bucket[1m])")), Just("sum by (le) (h_bucket)".to_owned())])
            .prop_map(|(q, v)| format!("histogram_quantile({q}, {v})")),
    ]
    .boxed()
}

/// Some series of each group, those with native histograms too.
fn limited(inner: BoxedStrategy<String>) -> BoxedStrategy<String> {
    let limits = histograms::select(&[
        "limitk 0",
        "limitk 1",
        "limitk 2",
        "limitk 3.7",
        "limit_ratio 0",
        "limit_ratio 0.3",
        "limit_ratio 0.5",
        "limit_ratio 1",
        "limit_ratio 1.5",
        "limit_ratio -0.3",
        "limit_ratio -0.7",
        "limit_ratio -1",
    ]);
    let limit = |(limit, grouping, inner): (&str, &str, String)| {
        let (name, parameter) = limit.split_once(' ').unwrap_or_default();
        format!("{name}{grouping} ({parameter}, {inner})")
    };
    (limits, grouping(), inner).prop_map(limit).boxed()
}

/// Functions of one number whose results are no round numbers.
const OF_NUMBERS: [&str; 19] = [
    "exp", "ln", "log2", "log10", "sgn", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh",
    "acosh", "atanh", "deg", "rad",
];

/// A query that returns a vector.
pub(crate) fn query() -> BoxedStrategy<String> {
    selector().boxed().prop_recursive(3, 12, 2, composite).boxed()
}

/// What values are rounded to where their last bit would matter. No sum, quotient or product of the data lies between two
/// multiples of it.
const GRID: &str = "0.0071234567";

/// The values of a query without the last bits, which depend on the order of adding.
fn snapped(inner: &str) -> String {
    format!("round(({inner}), {GRID})")
}

/// Whether the query makes much of the last bit of a value that was rounded: looks for resets or changes among such values,
/// compares them, takes the next whole number, a root, or divides by one for the remainder. What that bit is depends on the order of adding. Not so once values are snapped.
pub(crate) fn compares_rounded(query: &str) -> bool {
    let Some((before, inside, after)) = first_snapped(query) else { return compares_rounded_alone(query) };
    // The operand of a remainder by another that is snapped, or of a comparison with such.
    let operators = [" %", " ==", " !=", " <=", " >=", " <", " >"];
    let after = operators.iter().find_map(|operator| after.strip_prefix(operator)).unwrap_or(after);
    // What is made of snapped values may lie right between two of them.
    let again = first_snapped(inside).is_some();
    again || compares_rounded(inside) || compares_rounded(&format!("{before}snapped{after}"))
}

/// What comes before the first value that is snapped, what is snapped, what comes after it.
fn first_snapped(query: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = query.split_once("round((")?;
    let mut depth = 1;
    let end = rest.find(|c| {
        depth += match c {
            '(' => 1,
            ')' => -1,
            _ => 0,
        };
        depth == 0
    })?;
    let after = rest[end..].strip_prefix(&format!("), {GRID})"))?;
    Some((before, &rest[..end], after))
}

fn compares_rounded_alone(query: &str) -> bool {
    const INSIDE: [&str; 9] = [
        "rate((",
        "increase((",
        "resets((",
        "changes((",
        "ceil(",
        "floor(",
        "sqrt(",
        "ts_of_min_over_time((",
        "ts_of_max_over_time((",
    ];
    const ANYWHERE: [&str; 7] = ["%", " ==", " !=", " <", " >", " <=", " >="];
    const ROUNDING: [&str; 10] =
        ["avg", "std", "/", "quantile", "rate(", "increase(", "delta(", "deriv(", "predict_linear(", "sqrt("];
    let of_number = |part: &str| OF_NUMBERS.iter().any(|name| part.contains(&format!("{name}(")));
    let is_rounded = |part: &str| ROUNDING.iter().any(|name| part.contains(name)) || of_number(part);
    let mut compared = INSIDE.iter().filter_map(|part| query.split_once(part));
    let compares = ANYWHERE.iter().any(|part| query.contains(part));
    compared.any(|(_, inside)| is_rounded(inside)) || (compares && is_rounded(query))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapped_values_may_be_compared() {
        let inner = "avg (rate(c_total[1m]))";
        assert!(compares_rounded(&format!("resets(({inner})[2m:])")));
        assert!(!compares_rounded(&format!("resets(({})[2m:])", snapped(inner))));
        assert!(compares_rounded(&format!("({inner}) % (g)")));
        assert!(!compares_rounded(&format!("-({} % on (i) {})", snapped(inner), snapped("g / 3"))));
        assert!(compares_rounded("(increase(c_total[2m30s])) > bool (c_total)"));
        assert!(!compares_rounded(&format!("{} >= bool {}", snapped(inner), snapped("g / 3"))));
        assert!(!compares_rounded(r#"-(g{i!="0"}) + avg (g)"#) && compares_rounded("ceil(increase(c_total[1m]))"));
        assert!(compares_rounded(&format!("changes(({})[1m:])", snapped(&format!("{inner} % 2")))));
        assert!(compares_rounded(&snapped(&format!("avg ({})", snapped("g")))));
    }
}
