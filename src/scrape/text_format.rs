//! Reads Prometheus' text format (0.0.4) and the part of OpenMetrics that it shares with it.
//!
//! Format: <https://prometheus.io/docs/instrumenting/exposition_formats/>. Exemplars are skipped. A line that cannot be read
//! fails the page and is named.

use model::labels::{Labels, METRIC_NAME};
use model::metadata::{Metadata, MetricType};

/// One sample line.
#[derive(Debug, Clone, PartialEq)]
pub struct ScrapedSample {
    /// With the metric's name.
    pub labels: Labels,
    /// Any f64.
    pub value: f64,
    /// Milliseconds since the Unix epoch when the page gives one.
    pub timestamp_ms: Option<i64>,
}

/// A page.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    /// In the order of the page.
    pub samples: Vec<ScrapedSample>,
    /// By name of the metric, in the order of the page.
    pub metadata: Vec<(String, Metadata)>,
}

/// Why a page cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct PageError {
    /// From 1.
    pub line: usize,
    /// What is wrong there.
    pub problem: String,
}

/// Reads a whole page.
///
/// # Errors
/// The first line that cannot be read.
pub fn parse(text: &str) -> Result<Page, PageError> {
    let mut page = Page::default();
    for (index, line) in text.lines().enumerate() {
        let at = |problem: String| PageError { line: index + 1, problem };
        let line = line.trim_matches([' ', '\t', '\r']);
        if let Some(comment) = line.strip_prefix('#') {
            if comment.trim() == "EOF" {
                break;
            }
            read_comment(&mut page, comment);
        } else if !line.is_empty() {
            page.samples.push(read_sample(line).map_err(at)?);
        }
    }
    Ok(page)
}

fn read_comment(page: &mut Page, comment: &str) {
    let mut words = comment.trim_start().splitn(3, ' ');
    let (Some(kind), Some(name)) = (words.next(), words.next()) else { return };
    let text = words.next().unwrap_or_default();
    if !matches!(kind, "HELP" | "TYPE" | "UNIT") {
        return;
    }
    if page.metadata.last().is_none_or(|(last, _)| last != name) {
        page.metadata.push((name.to_owned(), Metadata::default()));
    }
    let Some((_, metadata)) = page.metadata.last_mut() else { return };
    match kind {
        "HELP" => metadata.help = unescape(text),
        "TYPE" => metadata.metric_type = text.trim().parse().unwrap_or(MetricType::Unknown),
        _ => metadata.unit = text.trim().to_owned(),
    }
}

fn read_sample(line: &str) -> Result<ScrapedSample, String> {
    let name_end = line.find(['{', ' ', '\t']).ok_or("expected a value after the metric name")?;
    let (name, rest) = line.split_at(name_end);
    let mut pairs = Vec::new();
    let rest = match rest.strip_prefix('{') {
        Some(inner) => read_labels(inner, &mut pairs)?,
        None => rest,
    };
    if !name.is_empty() {
        pairs.push((METRIC_NAME.to_owned(), name.to_owned()));
    }
    let rest = rest.split_once(" # ").map_or(rest, |(before_exemplar, _)| before_exemplar);
    let mut words = rest.split_ascii_whitespace();
    let value = words.next().ok_or("expected a value")?;
    let value = read_value(value).ok_or_else(|| format!("{value:?} is not a number"))?;
    let timestamp_ms = match words.next() {
        Some(text) => Some(text.parse().map_err(|_| format!("{text:?} is not a timestamp"))?),
        None => None,
    };
    if let Some(extra) = words.next() {
        return Err(format!("unexpected {extra:?} after the sample"));
    }
    let labels = Labels::from_pairs(pairs).map_err(|error| error.to_string())?;
    if labels.metric_name().is_none() {
        return Err("the sample has no metric name".into());
    }
    Ok(ScrapedSample { labels, value, timestamp_ms })
}

/// Reads `name="value",…}` and returns what follows the brace. A quoted text alone is the name of the metric.
fn read_labels<'a>(mut rest: &'a str, pairs: &mut Vec<(String, String)>) -> Result<&'a str, String> {
    loop {
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix('}') {
            return Ok(after);
        }
        let name;
        if let Some(quoted) = rest.strip_prefix('"') {
            (name, rest) = read_quoted(quoted)?;
        } else {
            let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).ok_or("unclosed labels")?;
            name = rest.get(..end).unwrap_or_default().to_owned();
            rest = rest.get(end..).unwrap_or_default();
        }
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix('=') {
            let quoted = after.trim_start().strip_prefix('"').ok_or("a label value must be quoted")?;
            let (value, after) = read_quoted(quoted)?;
            pairs.push((name, value));
            rest = after.trim_start();
        } else if rest.starts_with([',', '}']) {
            pairs.push((METRIC_NAME.to_owned(), name));
        } else {
            return Err(format!("expected '=' after the label name {name:?}"));
        }
        match rest.chars().next() {
            Some(',') => rest = rest.get(1..).unwrap_or_default(),
            Some('}') => {}
            _ => return Err("expected ',' or '}' after a label".into()),
        }
    }
}

/// Reads up to the closing quote; returns the text without escapes and what follows.
fn read_quoted(text: &str) -> Result<(String, &str), String> {
    let mut escaped = false;
    for (i, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Ok((unescape(text.get(..i).unwrap_or_default()), text.get(i + 1..).unwrap_or_default())),
            _ => {}
        }
    }
    Err("unclosed quote".into())
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, false) => out.push(c),
            _ => match chars.next() {
                Some('n') => out.push('\n'),
                Some(other @ ('\\' | '"')) => out.push(other),
                Some(other) => out.extend(['\\', other]),
                None => out.push('\\'),
            },
        }
    }
    out
}

fn read_value(text: &str) -> Option<f64> {
    match text {
        "+Inf" | "Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        "NaN" => Some(f64::NAN),
        _ => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn samples_and_metadata_of_a_page_are_read() {
        let page = parse(
            "# HELP http_requests_total Requests, by \\\"code\\\".\n# TYPE http_requests_total counter\n\
             http_requests_total{code=\"200\",path=\"a\\\\b\\n\"} 3 1700000000000\n\nup 1\n{\"a.b\",c=\"d\"} +Inf\n# EOF\nignored",
        )
        .unwrap();
        let text: Vec<_> =
            page.samples.iter().map(|s| format!("{} {} {:?}", s.labels, s.value, s.timestamp_ms)).collect();
        assert_eq!(
            text,
            [
                r#"{__name__="http_requests_total", code="200", path="a\\b\n"} 3 Some(1700000000000)"#,
                r#"{__name__="up"} 1 None"#,
                r#"{__name__="a.b", c="d"} inf None"#,
            ]
        );
        assert_eq!(page.metadata[0].1.metric_type, MetricType::Counter);
        assert_eq!(page.metadata[0].1.help, "Requests, by \"code\".");
    }

    #[test]
    fn a_bad_line_is_named() {
        for (text, problem) in [
            ("a 1\nb", "line 2: expected a value after the metric name"),
            ("a{b=\"c} 1", "line 1: unclosed quote"),
            ("a{b=1} 1", "line 1: a label value must be quoted"),
            ("a x", "line 1: \"x\" is not a number"),
            ("a{b=\"1\",b=\"2\"} 1", "line 1: label name \"b\" is not unique"),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), problem);
        }
    }

    proptest! {
        #[test]
        fn no_page_panics(text in "[a{}=\",\\\\n 1#é\n]{0,80}") {
            let _ = parse(&text);
        }
    }
}
