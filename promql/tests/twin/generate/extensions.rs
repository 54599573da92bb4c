//! Random queries that use what PromQL got in recent years: functions and operators of native histograms, windows with
//! bounds, durations that are computed, values for what is missing.

use super::histograms::select;
use super::{Data, grouping, matching};
use proptest::prelude::*;

/// Histograms whose numbers are counts of observations, or such counts times a factor.
fn counted() -> BoxedStrategy<String> {
    let scaled = (select(&["rate", "increase"]), select(&["n", "nc"]), select(&["1m", "2m30s", "20m"]));
    prop_oneof![
        3 => exact(),
        1 => scaled.prop_map(|(function, name, range)| format!("{function}({name}[{range}])")),
        1 => exact().prop_map(|h| format!("avg by (i) ({h})")),
    ]
    .boxed()
}

/// Histograms as they are stored, and sums of them: no number is rounded.
fn exact() -> BoxedStrategy<String> {
    let names = select(&["n", "n", "nc", "nc", "ng", "m", r#"{__name__=~"n|nc"}"#]);
    let modifiers = select(&["", "", " offset 40s", " @ 300", " offset (step() - 10s)"]);
    let stored = (names, modifiers).prop_map(|(name, modifiers)| format!("{name}{modifiers}"));
    let sums = (select(&["sum", "sum by (i) "]), select(&["n", "nc", "ng"]));
    prop_oneof![3 => stored, 1 => sums.prop_map(|(sum, name)| format!("{sum}({name})"))].boxed()
}

const BOUNDS: [&str; 10] = ["-1", "0", "0.0004", "0.3", "0.5", "0.7", "1.3", "3", "Inf", "-Inf"];
const COUNTING: [&str; 3] = ["histogram_count", "histogram_sum", "histogram_avg"];

fn of_histograms() -> BoxedStrategy<String> {
    // Quantiles between two buckets are at the end of one of them: which one, rounding must not decide.
    let quantile = prop_oneof![
        (select(&["0.4137", "0.8731", "-1", "2"]), counted()),
        (select(&["0", "0.25", "0.5", "1"]), exact()),
    ];
    let cut = || (counted(), select(&["</", ">/"]), select(&BOUNDS)).prop_map(|(h, op, at)| format!("({h} {op} {at})"));
    let equal = (exact(), select(&["==", "!=", "== bool", "!= bool"]), matching(), exact());
    prop_oneof![
        3 => quantile.prop_map(|(q, h)| format!("histogram_quantile({q}, {h})")).boxed(),
        3 => (select(&BOUNDS), select(&BOUNDS), counted())
            .prop_map(|(from, to, h)| format!("histogram_fraction({from}, {to}, {h})"))
            .boxed(),
        3 => cut().boxed(),
        1 => (cut(), select(&["</", ">/"]), select(&BOUNDS)).prop_map(|(h, op, at)| format!("({h} {op} {at})")).boxed(),
        1 => (select(&COUNTING), cut()).prop_map(|(function, h)| format!("{function}({h})")).boxed(),
        1 => (exact(), select(&["</ on (i)", ">/ on (i)"])).prop_map(|(h, op)| format!("({h} {op} (k == k))")).boxed(),
        3 => equal.prop_map(|(a, op, m, b)| format!("({a} {op}{m} {b})")).boxed(),
    ]
    .boxed()
}

/// Durations, some of which must be computed.
const RANGES: [&str; 8] = [
    "1m",
    "2m30s",
    "step() * 3",
    "1m + 30s",
    "max_of(1m, step())",
    "range() / 3",
    "min_of(20m, range()) - 1m",
    "2 ^ 6",
];
const MODIFIERS: [&str; 7] =
    ["", "", " offset 40s", " offset (step() - 10s)", " offset -(20s)", " offset -step()", " @ 300"];

fn of_windows() -> BoxedStrategy<String> {
    let names = || select(&["c_total", "c_total", "g", "k"]);
    let window = || (names(), select(&RANGES));
    let bounded = prop_oneof![
        (select(&["rate", "increase", "delta", "resets", "changes"]), Just("anchored")),
        (select(&["rate", "increase", "delta"]), Just("smoothed")),
    ];
    let plain = select(&["rate", "increase", "irate", "resets", "delta", "max_over_time"]);
    prop_oneof![
        4 => (bounded, window(), select(&MODIFIERS))
            .prop_map(|((f, word), (name, range), m)| format!("{f}({name}[{range}] {word}{m})"))
            .boxed(),
        4 => (plain, window(), select(&MODIFIERS))
            .prop_map(|(f, (name, range), m)| format!("{f}({name}[{range}]{m})"))
            .boxed(),
        1 => (names(), select(&RANGES), select(&["15s", "step() / 5", ""]))
            .prop_map(|(name, range, step)| format!("sum_over_time({name}[{range}:{step}])"))
            .boxed(),
        2 => (names(), select(&MODIFIERS)).prop_map(|(name, m)| format!("{name} smoothed{m}")).boxed(),
        1 => names().prop_map(|name| format!("start_timestamp({name})")).boxed(),
    ]
    .boxed()
}

fn with_fill(inner: BoxedStrategy<String>) -> BoxedStrategy<String> {
    let operators = select(&["+", "-", "*", "/", ">", "<= bool", "=="]);
    let fill = select(&[" fill (1)", " fill_left (2)", " fill_right (0.5)", " fill_left (1) fill_right (-3)"]);
    (inner.clone(), operators, matching(), fill, inner)
        .prop_map(|(a, operator, matching, fill, b)| {
            // Only what is as it was stored is compared: rounding must not decide.
            let stored = !a.contains('(') && !b.contains('(');
            let operator = if stored || "+-*/".contains(operator) { operator } else { "-" };
            format!("({a}) {operator}{matching}{fill} ({b})")
        })
        .boxed()
}

fn composite(inner: BoxedStrategy<String>) -> BoxedStrategy<String> {
    let floats = || prop_oneof![of_windows(), select(&["c_total", "g", "k", "h_bucket"]).prop_map(str::to_owned)];
    prop_oneof![
        3 => with_fill(floats().boxed()),
        1 => (select(&["sum", "count", "avg"]), grouping(), inner.clone())
            .prop_map(|(a, g, v)| format!("{a}{g} ({v})"))
            .boxed(),
        1 => inner.clone().prop_map(|v| format!("-({v})")).boxed(),
        1 => (inner.clone(), inner, select(&["and", "unless"])).prop_map(|(a, b, op)| format!("({a}) {op} ({b})")).boxed(),
    ]
    .boxed()
}

/// A query that returns a vector.
pub(crate) fn extended_query() -> BoxedStrategy<String> {
    prop_oneof![of_histograms(), of_windows()].boxed().prop_recursive(2, 6, 2, composite).boxed()
}

/// Since when the samples of some counters count: from one scrape or another, sometimes nonsense.
pub(crate) fn starts(series: &Data) -> Vec<Vec<(i64, i64)>> {
    let start = |position: usize, time: i64, value: f64| match position % 4 {
        0 => 0,
        1 => time.saturating_sub(((value * 8.0) as i64).saturating_mul(7_000)).max(1),
        2 => (time / 150_000) * 150_000,
        _ => time - time % 90_000 + 30_000,
    };
    let of_series = |(position, (_, samples)): (usize, &(_, Vec<(i64, f64)>))| {
        samples.iter().map(|(time, value)| (*time, start(position, *time, *value))).collect()
    };
    series.iter().enumerate().map(of_series).collect()
}
