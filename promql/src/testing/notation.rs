//! The notation of series in test files: labels, then a sequence of values.

mod histograms;

use crate::literal;
use model::histogram::Histogram;
use model::labels::{Labels, METRIC_NAME};
use model::sample::stale_marker;
use std::sync::Arc;

pub use histograms::print as print_histogram;

/// Most values that the repetitions of one line may stand for.
const VALUES_MAX: usize = 5_000_000;

/// One item of a sequence of values.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// No sample.
    Gap,
    /// A number.
    Float(f64),
    /// A native histogram.
    Histogram {
        /// Its content.
        histogram: Arc<Histogram>,
        /// Whether the notation gives a counter reset hint.
        hint_given: bool,
    },
}

/// Reads `name{label="value"} 1 2+3x4 …`.
///
/// # Errors
/// What is wrong with the line, with the part of it.
pub fn parse_series(line: &str) -> Result<(Labels, Vec<Item>), String> {
    let (labels, rest) = parse_labels(line)?;
    Ok((labels, parse_values(rest)?))
}

/// Reads `1 2+3x4 …`.
///
/// # Errors
/// What is wrong with the text, with the part of it.
pub fn parse_values(text: &str) -> Result<Vec<Item>, String> {
    let mut items = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        rest = parse_item(rest, &mut items)?.trim_start();
        if items.len() > VALUES_MAX {
            return Err(format!("more than {VALUES_MAX} values"));
        }
    }
    Ok(items)
}

/// Reads the labels at the start of `text`; returns what follows.
///
/// # Errors
/// What is wrong with them.
pub fn parse_labels(text: &str) -> Result<(Labels, &str), String> {
    let end = text.find(|c: char| c == '{' || c.is_whitespace() || c == '@').unwrap_or(text.len());
    let (name, mut rest) = text.split_at(end);
    if !name.is_empty() && !is_identifier(name, true) {
        return Err(format!(
            "`{name}` is no name of a series; one with other characters stands in quotes between the braces"
        ));
    }
    let mut pairs: Vec<(String, String)> = Vec::new();
    // `{{` would begin a histogram, not labels.
    if rest.starts_with('{') && !rest.starts_with("{{") {
        rest = rest[1..].trim_start();
        while !rest.starts_with('}') {
            let (label, after) = parse_word(rest)?;
            rest = after.trim_start();
            match rest.strip_prefix('=') {
                Some(after) => {
                    let (value, after) = parse_quoted(after.trim_start())?;
                    pairs.push((label, value));
                    rest = after.trim_start();
                }
                None => pairs.push((METRIC_NAME.to_owned(), label)),
            }
            match rest.strip_prefix(',') {
                Some(after) => rest = after.trim_start(),
                None if rest.starts_with('}') => {}
                None if rest.is_empty() => return Err("unclosed brace".to_owned()),
                None => return Err(format!("expected a comma or a brace at `{rest}`")),
            }
        }
        rest = &rest[1..];
    }
    if !name.is_empty() {
        // The name before the braces counts, whatever they say.
        pairs.retain(|(label, _)| label != METRIC_NAME);
        pairs.push((METRIC_NAME.to_owned(), name.to_owned()));
    }
    let labels = Labels::from_pairs(pairs).map_err(|error| error.to_string())?;
    Ok((labels, rest))
}

fn parse_word(text: &str) -> Result<(String, &str), String> {
    if text.starts_with(['"', '\'', '`']) {
        return parse_quoted(text);
    }
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    // Without quotes it is a label.
    if !is_identifier(word, false) || !rest.trim_start().starts_with('=') {
        return Err(format!("expected a label at `{text}`"));
    }
    Ok((word.to_owned(), rest))
}

/// Whether `text` can stand without quotes: as the name of a series, which may have colons, or of a label.
fn is_identifier(text: &str, may_have_colons: bool) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || (may_have_colons && c == ':');
    text.chars().all(fits) && !text.starts_with(|c: char| c.is_ascii_digit()) && !text.is_empty()
}

/// Reads a quoted text; returns what follows.
pub(crate) fn parse_quoted(text: &str) -> Result<(String, &str), String> {
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\'' | '`'));
    let quote = quote.ok_or_else(|| format!("expected a quoted text at `{text}`"))?;
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if c == '\\' && quote != '`' {
            escaped = true;
        } else if c == quote {
            let bytes = literal::unquote(&text[..=at]).map_err(|error| format!("{error:?}"))?;
            let value = String::from_utf8(bytes).map_err(|error| error.to_string())?;
            return Ok((value, &text[at + 1..]));
        }
    }
    Err(format!("unclosed quote at `{text}`"))
}

/// Reads one item, which may stand for many; returns what follows.
fn parse_item<'t>(text: &'t str, into: &mut Vec<Item>) -> Result<&'t str, String> {
    if text.starts_with("{{") {
        return histograms::parse(text, into);
    }
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    let (item, rest) = text.split_at(end);
    if item == "_" {
        into.push(Item::Gap);
    } else if let Some(count) = item.strip_prefix("_x") {
        into.extend(std::iter::repeat_n(Item::Gap, parse_count(count)?));
    } else if item == "stale" {
        into.push(Item::Float(stale_marker()));
    } else {
        parse_floats(item, into)?;
    }
    Ok(rest)
}

fn parse_count(text: &str) -> Result<usize, String> {
    let count: usize = text.parse().map_err(|_| format!("`{text}` is no count"))?;
    if count > VALUES_MAX { Err(format!("{count} values are more than {VALUES_MAX}")) } else { Ok(count) }
}

/// `A`, `AxN`, `A+BxN`, `A-BxN`: the last three stand for N + 1 values.
fn parse_floats(item: &str, into: &mut Vec<Item>) -> Result<(), String> {
    let (first, rest) = item.split_at(number_length(item));
    let first = parse_float(first)?;
    let (step, count) = match rest.strip_prefix('x') {
        None if rest.is_empty() => (0.0, 0),
        // Upstream reads this as one word.
        Some(_) if item.trim_start_matches(['+', '-']).starts_with(|c: char| c.is_ascii_alphabetic()) => {
            return Err(format!("`{item}` is no value"));
        }
        Some(count) => (0.0, parse_count(count)?),
        None => {
            let (sign, rest) = rest.split_at(1);
            if rest.starts_with(['+', '-']) {
                return Err(format!("`{item}` has two signs"));
            }
            let (step, rest) = rest.split_at(number_length(rest));
            let count = rest.strip_prefix('x').ok_or_else(|| format!("expected a count in `{item}`"))?;
            let step = parse_float(step)?;
            match sign {
                "+" => (step, parse_count(count)?),
                "-" => (-step, parse_count(count)?),
                _ => return Err(format!("`{item}` is no value")),
            }
        }
    };
    let mut value = first;
    for i in 0..=count {
        if i > 0 {
            value += step;
        }
        into.push(Item::Float(value));
    }
    Ok(())
}

/// How many bytes of `text` belong to the number that it begins with.
fn number_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = usize::from(text.starts_with(['+', '-']));
    while let Some(byte) = bytes.get(at) {
        let after_exponent = at > 0
            && matches!(bytes[at - 1], b'e' | b'E')
            && bytes.get(at.saturating_sub(2)).is_some_and(|b| b.is_ascii_digit() || *b == b'.');
        let belongs = byte.is_ascii_digit()
            || *byte == b'.'
            || (byte.is_ascii_alphabetic() && *byte != b'x')
            || (matches!(byte, b'+' | b'-') && after_exponent);
        if !belongs {
            break;
        }
        at += 1;
    }
    at
}

fn parse_float(text: &str) -> Result<f64, String> {
    if let Ok(value) = text.parse() {
        return Ok(value);
    }
    let (sign, unsigned) = text.strip_prefix('-').map_or((1.0, text), |rest| (-1.0, rest));
    model::time::parse_duration(unsigned)
        .map(|millis| sign * millis as f64 / 1000.0)
        .map_err(|_| format!("`{text}` is no number"))
}

/// Reads `name{label="value"}@st _ -30s-1mx2 …`: per sample how far its start timestamp is from its own time, in
/// milliseconds.
pub(crate) fn parse_starts(line: &str) -> Result<(Labels, Vec<Option<i64>>), String> {
    let (labels, rest) = parse_labels(line)?;
    let mut starts = Vec::new();
    for item in rest.strip_prefix("@st").unwrap_or(rest).split_whitespace() {
        if item == "_" {
            starts.push(None);
        } else if let Some(count) = item.strip_prefix("_x") {
            starts.extend(std::iter::repeat_n(None, parse_count(count)?));
        } else {
            let (offsets, count) = item.split_once('x').unwrap_or((item, "0"));
            let (first, step) = match offsets.get(1..).and_then(|rest| rest.find(['+', '-'])) {
                Some(at) => offsets.split_at(at + 1),
                None => (offsets, "0s"),
            };
            let (first, step) = (parse_offset(first)?, parse_offset(step)?);
            for i in 0..=parse_count(count)? {
                starts.push(Some(first + step * i as i64));
            }
        }
    }
    Ok((labels, starts))
}

fn parse_offset(text: &str) -> Result<i64, String> {
    let (sign, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    model::time::parse_duration(unsigned).map(|millis| sign * millis).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(line: &str) -> Vec<f64> {
        let (_, items) = parse_series(line).expect("a series");
        items.iter().map(|item| if let Item::Float(value) = item { *value } else { f64::NAN }).collect()
    }

    #[test]
    fn repetitions_stand_for_one_value_more_than_they_say() {
        assert_eq!(floats("x 1 2x2 0+10x3 5-1x2"), [1.0, 2.0, 2.0, 2.0, 0.0, 10.0, 20.0, 30.0, 5.0, 4.0, 3.0]);
        assert_eq!(floats("x 1e3 -0.5 .5 -1.78264E+50 5m 1e2+1x1"), [1e3, -0.5, 0.5, -1.78264e50, 300.0, 100.0, 101.0]);
        assert_eq!(floats("x Inf -Inf +Inf"), [f64::INFINITY, f64::NEG_INFINITY, f64::INFINITY]);
        assert_eq!(floats("x Inf+1x1"), [f64::INFINITY; 2]);
        for text in ["Infx3", "-Infx3", "NaNx3"] {
            assert!(parse_values(text).is_err(), "{text}");
        }
    }

    #[test]
    fn gaps_and_histograms_take_their_places() {
        let (labels, items) =
            parse_series(r#"x{a="}"} _ _x2 {{sum:1}} {{count:2}}+{{count:1}}x2 3"#).expect("a series");
        assert_eq!(labels.to_string(), r#"{__name__="x", a="}"}"#);
        assert_eq!(items[..3], [Item::Gap, Item::Gap, Item::Gap]);
        let counts: Vec<f64> = items[3..7]
            .iter()
            .map(|item| if let Item::Histogram { histogram, .. } = item { histogram.count } else { f64::NAN })
            .collect();
        assert_eq!((counts.as_slice(), &items[7..]), ([0.0, 2.0, 3.0, 4.0].as_slice(), [Item::Float(3.0)].as_slice()));
    }

    #[test]
    fn start_timestamps_are_offsets() {
        let (labels, starts) = parse_starts(r#"x{a="b"}@st _ _x2 -30s-1mx2 0 5ms"#).expect("a line");
        assert_eq!(labels.to_string(), r#"{__name__="x", a="b"}"#);
        let expected = [None, None, None, Some(-30_000), Some(-90_000), Some(-150_000), Some(0), Some(5)];
        assert_eq!(starts, expected);
    }

    #[test]
    fn names_may_be_quoted_or_missing() {
        let labels = |line| parse_series(line).expect("a series").0.to_string();
        assert_eq!(labels(r#"{"my.name", "a b"='c'} 1"#), r#"{__name__="my.name", "a b"="c"}"#);
        assert_eq!(labels("{} 1"), "{}");
        assert_eq!(labels("x{} 1"), r#"{__name__="x"}"#);
        assert_eq!(labels(r#"x{__name__="y",a="b",} 1"#), r#"{__name__="x", a="b"}"#);
    }

    #[test]
    fn what_is_no_series_is_refused() {
        for line in [
            r#"x{a="b" 1"#,
            r#"x{a="b" c="d"} 1"#,
            r#"x{,a="b"} 1"#,
            r#"x{a:b="c"} 1"#,
            "x{a} 1",
            "x{1a=\"b\"} 1",
            "sum(x) 1",
            "5 1",
            "\"x\" 1",
            "a.b 1",
            "é 1",
            "x 1+-1x2",
        ] {
            assert!(parse_series(line).is_err(), "{line}");
        }
    }
}
