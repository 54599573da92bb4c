//! Remarks on an answer: warnings and infos with the place in the query that they are about.
//!
//! A set keyed by the message without its place: when several parts of a query say the same, the part that Prometheus
//! evaluates last gives the place. That part is known by its ordinal in the plan, so the outcome does not depend on the
//! order in which threads report.

use crate::ast::Span;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// How serious a remark is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something is wrong with the query or the data.
    Warning,
    /// Something may be unexpected.
    Info,
}

impl Severity {
    fn prefix(self) -> &'static str {
        match self {
            Self::Warning => "PromQL warning: ",
            Self::Info => "PromQL info: ",
        }
    }
}

/// How much a classic histogram had to be bent to be monotonic, over all its samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct MonotonicityRepair {
    /// Lowest and highest bucket bound that was changed.
    pub(crate) buckets: (f64, f64),
    /// The largest change of a count.
    pub(crate) difference_max: f64,
    /// First and last time, in milliseconds.
    pub(crate) times_ms: (i64, i64),
    /// How many samples were changed.
    pub(crate) samples: u64,
}

impl MonotonicityRepair {
    pub(crate) fn merge(&mut self, other: &Self) {
        self.buckets = (self.buckets.0.min(other.buckets.0), self.buckets.1.max(other.buckets.1));
        self.difference_max = self.difference_max.max(other.difference_max);
        self.times_ms = (self.times_ms.0.min(other.times_ms.0), self.times_ms.1.max(other.times_ms.1));
        self.samples += other.samples;
    }

    fn detail(&self) -> String {
        format!(
            ", from buckets {} to {}, with a max diff of {}, over {} samples from {} to {}",
            format_g(self.buckets.0, None),
            format_g(self.buckets.1, None),
            format_g(self.difference_max, Some(2)),
            self.samples,
            format_second(self.times_ms.0),
            format_second(self.times_ms.1),
        )
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Place {
    ordinal: u32,
    start: u32,
    detail: Detail,
}

/// What is said beyond the message, put together from all reports of it.
#[derive(Debug, Clone, PartialEq)]
enum Detail {
    Nothing,
    Repair(MonotonicityRepair),
    /// How often it happened.
    Count(usize),
}

/// The remarks on one answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Annotations {
    by_message: BTreeMap<(Severity, String), Place>,
    /// What is missing from the answer; the first of several.
    incomplete: Option<String>,
}

impl Annotations {
    /// Notes that the answer lacks something that was stored once; a warning tells it, too.
    pub(crate) fn note_incomplete(&mut self, missing: &str) {
        if self.incomplete.as_deref().is_none_or(|known| missing < known) {
            self.incomplete = Some(missing.to_owned());
        }
    }

    /// What is missing from the answer, if something is.
    #[must_use]
    pub fn incomplete(&self) -> Option<&str> {
        self.incomplete.as_deref()
    }

    pub(crate) fn add(&mut self, severity: Severity, message: String, ordinal: u32, span: Span) {
        self.insert(severity, message, Place { ordinal, start: span.start, detail: Detail::Nothing });
    }

    /// Adds a warning about what happened `times` times.
    pub(crate) fn add_counted(&mut self, message: String, ordinal: u32, span: Span, times: usize) {
        self.insert(Severity::Warning, message, Place { ordinal, start: span.start, detail: Detail::Count(times) });
    }

    pub(crate) fn add_repair(&mut self, message: String, ordinal: u32, span: Span, repair: MonotonicityRepair) {
        self.insert(Severity::Info, message, Place { ordinal, start: span.start, detail: Detail::Repair(repair) });
    }

    /// Adds what was remarked later.
    pub(crate) fn absorb(&mut self, later: Self) {
        if let Some(missing) = later.incomplete {
            self.note_incomplete(&missing);
        }
        for ((severity, message), place) in later.by_message {
            self.insert(severity, message, place);
        }
    }

    fn insert(&mut self, severity: Severity, message: String, new: Place) {
        use std::collections::btree_map::Entry;
        match self.by_message.entry((severity, message)) {
            Entry::Vacant(entry) => {
                entry.insert(new);
            }
            Entry::Occupied(mut entry) => {
                let old = entry.get_mut();
                match (&mut old.detail, &new.detail) {
                    (Detail::Repair(old), Detail::Repair(new)) => old.merge(new),
                    (Detail::Count(old), Detail::Count(new)) => *old += new,
                    _ => {}
                }
                // A repair keeps the place of its first report, everything else takes that of its last.
                let is_repair = matches!(new.detail, Detail::Repair(_));
                let decides = if is_repair { new.ordinal < old.ordinal } else { new.ordinal >= old.ordinal };
                if decides {
                    (old.ordinal, old.start) = (new.ordinal, new.start);
                }
            }
        }
    }

    /// Whether there is no remark.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_message.is_empty()
    }

    /// The warnings as the HTTP API shows them: `PromQL warning: … (line:column)`, at most `count_max`, then how many
    /// more there are. `query` is the text that was parsed.
    #[must_use]
    pub fn warnings(&self, query: &str, count_max: usize) -> Vec<String> {
        self.render(Severity::Warning, query, count_max, "warning")
    }

    /// The infos as the HTTP API shows them, like [`Annotations::warnings`].
    #[must_use]
    pub fn infos(&self, query: &str, count_max: usize) -> Vec<String> {
        self.render(Severity::Info, query, count_max, "info")
    }

    fn render(&self, severity: Severity, query: &str, count_max: usize, word: &str) -> Vec<String> {
        let all = self.by_message.iter().filter(|((s, _), _)| *s == severity);
        let total = all.clone().count();
        let mut out: Vec<String> = all
            .take(count_max)
            .map(|((_, message), place)| {
                let mut text = format!("{}{message}", severity.prefix());
                match &place.detail {
                    Detail::Repair(repair) => text.push_str(&repair.detail()),
                    Detail::Count(times) if *times > 1 => {
                        let _ = write!(text, " ({times} occurrences)");
                    }
                    Detail::Count(_) | Detail::Nothing => {}
                }
                let (line, column) = line_and_column(query, place.start);
                let _ = write!(text, " ({line}:{column})");
                text
            })
            .collect();
        if total > count_max {
            out.push(format!("{} more {word} annotations omitted", total - count_max));
        }
        out
    }
}

/// Both 1-based; the column counts bytes.
fn line_and_column(query: &str, offset: u32) -> (usize, usize) {
    let offset = usize::try_from(offset).unwrap_or(usize::MAX).min(query.len());
    let before = query.as_bytes().get(..offset).unwrap_or_default();
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
    (line, column)
}

/// A float as Go's `%g` prints it; `digits` is the number of significant ones, `None` the fewest that round-trip.
pub(crate) fn format_g(value: f64, digits: Option<usize>) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    if value == 0.0 {
        return if value.is_sign_negative() { "-0".into() } else { "0".into() };
    }
    let scientific = match digits {
        Some(digits) => format!("{value:.*e}", digits.saturating_sub(1)),
        None => format!("{value:e}"),
    };
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let mantissa = if mantissa.contains('.') { mantissa.trim_end_matches('0').trim_end_matches('.') } else { mantissa };
    // Go decides on an exponent as if six digits were asked for when the fewest are.
    let exponent_limit = digits.map_or(6, |digits| i32::try_from(digits).unwrap_or(i32::MAX));
    if exponent < -4 || exponent >= exponent_limit {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs());
    }
    let rounded: f64 = scientific.parse().unwrap_or(value);
    format!("{rounded}")
}

/// A time in milliseconds as RFC 3339 in whole seconds.
pub(crate) fn format_second(time_ms: i64) -> String {
    let seconds = time_ms.div_euclid(1000);
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(start: u32) -> Span {
        Span { start, end: start + 1 }
    }

    #[test]
    fn equal_messages_are_one_and_the_part_evaluated_last_gives_the_place() {
        let mut annotations = Annotations::default();
        for (ordinal, start) in [(2, 4), (7, 11), (3, 0)] {
            annotations.add(Severity::Warning, "odd".into(), ordinal, span(start));
        }
        assert_eq!(annotations.warnings("a +\nb\n+ c d e", 10), ["PromQL warning: odd (3:6)"]);
        assert!(annotations.infos("", 10).is_empty());
    }

    #[test]
    fn only_so_many_are_shown() {
        let mut annotations = Annotations::default();
        for i in 0..13 {
            annotations.add(Severity::Info, format!("{i:02}"), i, span(0));
        }
        let infos = annotations.infos("x", 10);
        assert_eq!(infos.len(), 11);
        assert_eq!(infos[10], "3 more info annotations omitted");
    }

    #[test]
    fn repairs_of_one_metric_add_up() {
        let mut annotations = Annotations::default();
        for (bound, time) in [(1.0, 0), (1000.0, 3_600_000)] {
            let repair = MonotonicityRepair {
                buckets: (bound, bound),
                difference_max: 10.0 * bound,
                times_ms: (time, time),
                samples: 1,
            };
            annotations.add_repair("fixed".into(), 1, span(2), repair);
        }
        assert_eq!(
            annotations.infos("f(x)", 10),
            ["PromQL info: fixed, from buckets 1 to 1000, with a max diff of 1e+04, over 2 samples from \
              1970-01-01T00:00:00Z to 1970-01-01T01:00:00Z (1:3)"]
        );
    }

    #[test]
    fn floats_print_as_percent_g() {
        let cases = [
            (1.1, None, "1.1"),
            (-0.1, None, "-0.1"),
            (123_456.5, None, "123456.5"),
            (1e6, None, "1e+06"),
            (0.0001, None, "0.0001"),
            (0.00001, None, "1e-05"),
            (f64::NAN, None, "NaN"),
            (f64::NEG_INFINITY, None, "-Inf"),
            (9.87, Some(2), "9.9"),
            (99.9, Some(2), "1e+02"),
            (10.0, Some(2), "10"),
        ];
        for (value, digits, expected) in cases {
            assert_eq!(format_g(value, digits), expected);
        }
    }
}
