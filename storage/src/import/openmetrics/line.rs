//! One line of OpenMetrics.

use model::labels::{Labels, METRIC_NAME};
use model::metadata::MetricType;

/// What a line says.
pub(super) enum Line {
    Sample { labels: Labels, metric_type: MetricType, timestamp_ms: i64, value: f64 },
    Other,
    End,
}

/// The family that samples belong to: the one that was named last.
#[derive(Debug, Default)]
pub(super) struct Families {
    name: String,
    metric_type: MetricType,
}

impl Families {
    /// What is known of a metric.
    fn type_of(&self, metric: &str) -> MetricType {
        const SUFFIXES: [&str; 7] = ["", "_total", "_bucket", "_count", "_sum", "_created", "_info"];
        let suffix = metric.strip_prefix(self.name.as_str()).filter(|_| !self.name.is_empty());
        if suffix.is_some_and(|suffix| SUFFIXES.contains(&suffix)) { self.metric_type } else { MetricType::Unknown }
    }
}

/// A column, from 1, and what is wrong there.
type Problem = (u64, String);

/// Reads a line without its end.
pub(super) fn parse(line: &str, families: &mut Families) -> Result<Line, Problem> {
    if let Some(comment) = line.strip_prefix('#') {
        let mut words = comment.split(' ').skip(1);
        match (words.next(), words.next(), words.next()) {
            (Some("EOF"), None, None) => return Ok(Line::End),
            (Some("TYPE"), Some(name), kind) => {
                name.clone_into(&mut families.name);
                families.metric_type = kind.unwrap_or_default().trim_end().parse().unwrap_or_default();
            }
            _ => {}
        }
        return Ok(Line::Other);
    }
    if line.trim().is_empty() {
        return Ok(Line::Other);
    }
    let mut text = Text { line, rest: line };
    let labels = text.labels()?;
    text.blanks(true)?;
    let value = text.word();
    let value = parse_value(value).ok_or_else(|| text.problem_at(value, format!("`{value}` is no number")))?;
    text.blanks(false)?;
    if text.rest.is_empty() || text.rest.starts_with('#') {
        return Err(text.problem("the sample has no timestamp"));
    }
    let seconds = text.word();
    let timestamp_ms = parse_seconds(seconds)
        .ok_or_else(|| text.problem_at(seconds, format!("`{seconds}` is no timestamp in seconds")))?;
    text.blanks(false)?;
    if !(text.rest.is_empty() || text.rest.starts_with("# ")) {
        return Err(text.problem("expected the end of the line"));
    }
    let metric_type = families.type_of(labels.metric_name().unwrap_or_default());
    Ok(Line::Sample { labels, metric_type, timestamp_ms, value })
}

fn parse_value(text: &str) -> Option<f64> {
    match text {
        "+Inf" | "Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        "NaN" => Some(f64::NAN),
        _ => text.parse().ok(),
    }
}

/// The end of the year 9999: what is later was meant as milliseconds.
const MILLIS_MAX: f64 = 253_402_300_799_999.0;

fn parse_seconds(text: &str) -> Option<i64> {
    let millis = (text.parse::<f64>().ok()? * 1000.0).round();
    (millis.abs() <= MILLIS_MAX).then_some(millis as i64)
}

/// What of a line was not read yet.
struct Text<'l> {
    line: &'l str,
    rest: &'l str,
}

impl<'l> Text<'l> {
    fn problem(&self, what: impl Into<String>) -> Problem {
        self.problem_at(self.rest, what)
    }

    /// `rest` is an end or a part of the line.
    fn problem_at(&self, rest: &str, what: impl Into<String>) -> Problem {
        let bytes = (rest.as_ptr() as usize).saturating_sub(self.line.as_ptr() as usize);
        let before = self.line.get(..bytes).unwrap_or(self.line);
        (before.chars().count() as u64 + 1, what.into())
    }

    fn skip(&mut self, expected: char) -> bool {
        match self.rest.strip_prefix(expected) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn blanks(&mut self, needed: bool) -> Result<(), Problem> {
        let rest = self.rest.trim_start_matches([' ', '\t', '\r']);
        if needed && rest.len() == self.rest.len() {
            return Err(self.problem("expected a blank"));
        }
        self.rest = rest;
        Ok(())
    }

    fn word(&mut self) -> &'l str {
        let end = self.rest.find([' ', '\t', '\r']).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn name(&mut self) -> &'l str {
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        name
    }

    /// `name{a="b"}`, `name`, or `{"name",a="b"}`.
    fn labels(&mut self) -> Result<Labels, Problem> {
        let mut pairs = Vec::new();
        let name = self.name();
        if !name.is_empty() {
            pairs.push((METRIC_NAME.to_owned(), name.to_owned()));
        }
        if self.skip('{') {
            self.pairs(&mut pairs)?;
        } else if !self.rest.starts_with([' ', '\t']) {
            return Err(self.problem("expected `{` or a blank after the name"));
        }
        let labels = Labels::from_pairs(pairs).map_err(|error| (1, error.to_string()))?;
        if labels.metric_name().is_none() {
            return Err((1, "the sample has no metric name".to_owned()));
        }
        Ok(labels)
    }

    fn pairs(&mut self, pairs: &mut Vec<(String, String)>) -> Result<(), Problem> {
        loop {
            self.blanks(false)?;
            if self.skip('}') {
                return Ok(());
            }
            let quoted = self.rest.starts_with('"');
            let name = if quoted { self.quoted()? } else { self.name().to_owned() };
            self.blanks(false)?;
            if self.skip('=') {
                self.blanks(false)?;
                let value = self.quoted()?;
                pairs.push((name, value));
            } else if quoted {
                pairs.push((METRIC_NAME.to_owned(), name));
            } else {
                return Err(self.problem("expected `=` after the name of a label"));
            }
            self.blanks(false)?;
            if !self.skip(',') && !self.rest.starts_with('}') {
                return Err(self.problem("expected `,` or `}`"));
            }
        }
    }

    fn quoted(&mut self) -> Result<String, Problem> {
        if !self.skip('"') {
            return Err(self.problem("expected `\"`"));
        }
        let (mut out, mut chars) = (String::new(), self.rest.char_indices());
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.rest = self.rest.get(at + 1..).unwrap_or_default();
                    return Ok(out);
                }
                '\\' => match chars.next() {
                    Some((_, 'n')) => out.push('\n'),
                    Some((_, c @ ('\\' | '"'))) => out.push(c),
                    Some((_, c)) => out.extend(['\\', c]),
                    None => break,
                },
                c => out.push(c),
            }
        }
        Err(self.problem("this text has no end"))
    }
}
