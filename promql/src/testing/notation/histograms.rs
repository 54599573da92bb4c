//! The notation of native histograms: `{{schema:1 count:3 sum:4 buckets:[1 2]}}`, repeated or growing.

use super::{Item, parse_count, parse_float};
use model::histogram::{CounterResetHint, Histogram, Span};
use model::text::format_value;
use std::sync::Arc;

/// `{{…}}`, `{{…}}xN`, `{{…}}+{{…}}xN`, `{{…}}-{{…}}xN`; returns what follows.
pub(super) fn parse<'t>(text: &'t str, into: &mut Vec<Item>) -> Result<&'t str, String> {
    let (first, mut hint_given, mut rest) = parse_one(text)?;
    let mut step = None;
    for (sign, subtract) in [("+{{", false), ("-{{", true)] {
        if rest.starts_with(sign) {
            let (histogram, given, after) = parse_one(&rest[1..])?;
            // Of the two the second decides, as in Prometheus.
            (step, hint_given, rest) = (Some((histogram, subtract)), given, after);
            break;
        }
    }
    let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
    let (count, rest) = rest.split_at(end);
    let count = match count.strip_prefix('x') {
        Some(count) => parse_count(count)?,
        None if count.is_empty() => 0,
        None => return Err(format!("`{count}` after a histogram")),
    };
    let mut current = first;
    into.push(Item::Histogram { histogram: Arc::new(current.clone()), hint_given });
    for _ in 0..count {
        if let Some((step, subtract)) = &step {
            if current.schema > step.schema {
                return Err(format!("schema {} cannot become {}", current.schema, step.schema));
            }
            let combined = if *subtract { current.subtract(step) } else { current.add(step) };
            combined.map_err(|error| error.to_string())?;
        }
        into.push(Item::Histogram { histogram: Arc::new(current.clone()), hint_given });
    }
    Ok(rest)
}

/// The notation of a histogram; two have the same if and only if they are equal but for empty buckets at the ends of their
/// sides and between them.
#[must_use]
pub fn print(histogram: &Histogram) -> String {
    let mut parts = Vec::new();
    let mut number = |key: &str, value: f64| {
        if value != 0.0 {
            parts.push(format!("{key}:{}", format_value(value)));
        }
    };
    number("schema", f64::from(histogram.schema));
    number("count", histogram.count);
    number("sum", histogram.sum);
    number("z_bucket", histogram.zero_count);
    number("z_bucket_w", histogram.zero_threshold);
    if !histogram.custom_values.is_empty() {
        parts.push(format!("custom_values:[{}]", list(&histogram.custom_values)));
    }
    match histogram.counter_reset_hint {
        CounterResetHint::Unknown => {}
        CounterResetHint::Reset => parts.push("counter_reset_hint:reset".to_owned()),
        CounterResetHint::NotReset => parts.push("counter_reset_hint:not_reset".to_owned()),
        CounterResetHint::Gauge => parts.push("counter_reset_hint:gauge".to_owned()),
    }
    print_side("", &histogram.positive_spans, &histogram.positive_buckets, &mut parts);
    print_side("n_", &histogram.negative_spans, &histogram.negative_buckets, &mut parts);
    format!("{{{{{}}}}}", parts.join(" "))
}

/// Empty buckets between two spans are written out, unless there are more than these: then a new list begins.
const GAP_MAX: i64 = 1_000;

fn print_side(prefix: &str, spans: &[Span], buckets: &[f64], parts: &mut Vec<String>) {
    let mut counts = buckets.iter();
    let mut index = 0i64;
    let mut runs: Vec<(i64, Vec<f64>)> = Vec::new();
    for span in spans {
        index += i64::from(span.offset);
        for count in counts.by_ref().take(span.length as usize) {
            match runs.last_mut() {
                _ if *count == 0.0 => {}
                Some((start, run)) if index - *start - (run.len() as i64) < GAP_MAX => {
                    run.resize((index - *start) as usize, 0.0);
                    run.push(*count);
                }
                _ => runs.push((index, vec![*count])),
            }
            index += 1;
        }
    }
    for (start, run) in runs {
        if start != 0 {
            parts.push(format!("{prefix}offset:{start}"));
        }
        parts.push(format!("{prefix}buckets:[{}]", list(&run)));
    }
}

fn list(values: &[f64]) -> String {
    values.iter().map(|value| format_value(*value)).collect::<Vec<_>>().join(" ")
}

/// One histogram, whether its hint is given, and what follows.
fn parse_one(text: &str) -> Result<(Histogram, bool, &str), String> {
    let inside = text.strip_prefix("{{").ok_or("expected a histogram")?;
    let (mut rest, after) = inside.split_once("}}").ok_or("unclosed histogram")?;
    let mut histogram = Histogram::default();
    let mut hint_given = false;
    let (mut positive_offset, mut negative_offset) = (0, 0);
    while !rest.trim_start().is_empty() {
        let (key, value) = rest.trim_start().split_once(':').ok_or_else(|| format!("expected a key at `{rest}`"))?;
        let end =
            if value.starts_with('[') { value.find(']').map(|at| at + 1) } else { value.find(char::is_whitespace) };
        let (value, next) = value.split_at(end.unwrap_or(value.len()));
        match key {
            "schema" => histogram.schema = parse_integer(value)?,
            "count" => histogram.count = parse_float(value)?,
            "sum" => histogram.sum = parse_float(value)?,
            "z_bucket" => histogram.zero_count = parse_float(value)?,
            "z_bucket_w" => histogram.zero_threshold = parse_float(value)?,
            "buckets" => histogram.positive_buckets = parse_list(value)?,
            "n_buckets" => histogram.negative_buckets = parse_list(value)?,
            "offset" => positive_offset = parse_integer(value)?,
            "n_offset" => negative_offset = parse_integer(value)?,
            "custom_values" => histogram.custom_values = parse_list(value)?.into(),
            "counter_reset_hint" => {
                hint_given = true;
                histogram.counter_reset_hint = parse_hint(value)?;
            }
            _ => return Err(format!("unknown key `{key}`")),
        }
        rest = next;
    }
    histogram.positive_spans = one_span(positive_offset, &histogram.positive_buckets);
    histogram.negative_spans = one_span(negative_offset, &histogram.negative_buckets);
    Ok((histogram, hint_given, after))
}

fn one_span(offset: i32, buckets: &[f64]) -> Vec<Span> {
    if buckets.is_empty() { Vec::new() } else { vec![Span { offset, length: buckets.len() as u32 }] }
}

fn parse_integer<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{text}` is no integer"))
}

/// `[1 2 3]`
fn parse_list(text: &str) -> Result<Vec<f64>, String> {
    let inside = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    inside.ok_or_else(|| format!("`{text}` is no list"))?.split_whitespace().map(parse_float).collect()
}

fn parse_hint(text: &str) -> Result<CounterResetHint, String> {
    Ok(match text {
        "unknown" => CounterResetHint::Unknown,
        "reset" => CounterResetHint::Reset,
        "not_reset" => CounterResetHint::NotReset,
        "gauge" => CounterResetHint::Gauge,
        _ => return Err(format!("`{text}` is no counter reset hint")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_reads_back() {
        for text in [
            "{{}}",
            "{{schema:-1 count:9 sum:-2.5 z_bucket:1 z_bucket_w:0.5 counter_reset_hint:gauge offset:-3 buckets:[1 2] \
             n_offset:-7 n_buckets:[4]}}",
            "{{schema:-53 count:5 sum:7 custom_values:[1 2] counter_reset_hint:not_reset buckets:[2 0 3]}}",
        ] {
            assert_eq!(print(&parse_one(text).expect("a histogram").0), text);
        }
        let padded = "{{count:3 offset:-2 buckets:[0 0 1 0 2 0]}}";
        assert_eq!(print(&parse_one(padded).expect("a histogram").0), "{{count:3 buckets:[1 0 2]}}");
    }

    #[test]
    fn every_key_has_its_place() {
        let text = "{{schema:-1 count:9 sum:-2.5 z_bucket:1 z_bucket_w:0.5 buckets:[1 2] offset:-3 n_buckets:[NaN] \
                    counter_reset_hint:gauge}} 5";
        let (histogram, hint_given, rest) = parse_one(text).expect("a histogram");
        assert_eq!((histogram.schema, histogram.count, histogram.sum, hint_given), (-1, 9.0, -2.5, true));
        assert_eq!((histogram.zero_count, histogram.zero_threshold, rest), (1.0, 0.5, " 5"));
        assert_eq!(histogram.positive_spans, [Span { offset: -3, length: 2 }]);
        assert_eq!(histogram.negative_spans, [Span { offset: 0, length: 1 }]);
        assert_eq!(histogram.counter_reset_hint, CounterResetHint::Gauge);
        assert!(parse_one("{{color:3}}").is_err() && parse_one("{{sum:3").is_err());
    }
}
