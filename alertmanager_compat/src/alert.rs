//! Alerts as `POST /api/v2/alerts` takes them.
//!
//! Format: Alertmanager's OpenAPI description of the v2 API, `postableAlert`.

use jiff::fmt::temporal::DateTimePrinter;
use model::labels::Labels;
use serde::ser::{Serialize, SerializeMap, SerializeStruct, Serializer};
use std::sync::Arc;

/// A firing or resolved alert.
#[derive(Debug, Clone, PartialEq)]
pub struct PostableAlert {
    /// Name the alert; two alerts with equal labels are one.
    pub labels: Labels,
    /// Say what it means: name and text, in ascending order of names.
    pub annotations: Arc<[(String, String)]>,
    /// When it began to fire, in milliseconds since the Unix epoch.
    pub starts_at_ms: i64,
    /// When it resolved, or for a firing alert until when to believe it, in milliseconds since the Unix epoch.
    pub ends_at_ms: i64,
    /// Where a person finds what fired.
    pub generator_url: Arc<str>,
}

impl PostableAlert {
    /// The alert with `external` labels added where it has none of the name.
    #[must_use]
    pub fn with_external_labels(mut self, external: &Labels) -> Self {
        for (name, value) in external {
            if self.labels.get(name).is_none() {
                self.labels = self.labels.with(name, value);
            }
        }
        self
    }

    /// Bytes of its texts, roughly what it takes in memory and in a request.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        let annotations: usize = self.annotations.iter().map(|(name, text)| name.len() + text.len()).sum();
        self.labels.packed_len() + annotations + self.generator_url.len()
    }
}

/// Fields in the order in which Prometheus writes them; annotations and link only if there are any.
impl Serialize for PostableAlert {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let optional = [self.annotations.is_empty(), self.generator_url.is_empty()];
        let fields = 5 - optional.iter().filter(|absent| **absent).count();
        let mut alert = serializer.serialize_struct("PostableAlert", fields)?;
        if !self.annotations.is_empty() {
            let pairs = || self.annotations.iter().map(|(name, text)| (name.as_str(), text.as_str()));
            alert.serialize_field("annotations", &Pairs(pairs))?;
        }
        alert.serialize_field("endsAt", &rfc3339(self.ends_at_ms))?;
        alert.serialize_field("startsAt", &rfc3339(self.starts_at_ms))?;
        if !self.generator_url.is_empty() {
            alert.serialize_field("generatorURL", &*self.generator_url)?;
        }
        alert.serialize_field("labels", &Pairs(|| self.labels.iter()))?;
        alert.end()
    }
}

/// Pairs as a JSON object.
struct Pairs<F>(F);

impl<'a, I: Iterator<Item = (&'a str, &'a str)>, F: Fn() -> I> Serialize for Pairs<F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in (self.0)() {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// In UTC with milliseconds. A time beyond the years 0 to 9999 prints as the last one within.
fn rfc3339(ms: i64) -> String {
    const YEAR_0_MS: i64 = -62_167_219_200_000;
    const YEAR_9999_END_MS: i64 = 253_402_207_200_000;
    let ms = ms.clamp(YEAR_0_MS, YEAR_9999_END_MS);
    // Within what a timestamp can hold, so the default is never taken.
    let time = jiff::Timestamp::from_millisecond(ms).unwrap_or_default();
    let mut text = String::new();
    // Printing to a string cannot fail.
    let _ = DateTimePrinter::new().precision(Some(3)).print_timestamp(&time, &mut text);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn alert(name: &str, ends_at_ms: i64) -> PostableAlert {
        PostableAlert {
            labels: Labels::from_pairs([("alertname", name), ("job", "a\"b")]).unwrap(),
            annotations: [("summary".to_owned(), "It is\nhigh.".to_owned())].into(),
            starts_at_ms: 1_700_000_000_123,
            ends_at_ms,
            generator_url: "http://h/graph?g0.expr=up&g0.tab=1".into(),
        }
    }

    #[test]
    fn an_alert_prints_as_alertmanager_reads_it() {
        let json = serde_json::to_string(&[alert("High", 1_700_000_240_000)]).unwrap();
        assert_eq!(
            json,
            r#"[{"annotations":{"summary":"It is\nhigh."},"endsAt":"2023-11-14T22:17:20.000Z","startsAt":"2023-11-14T22:13:20.123Z","generatorURL":"http://h/graph?g0.expr=up&g0.tab=1","labels":{"alertname":"High","job":"a\"b"}}]"#
        );
        let bare = PostableAlert { annotations: [].into(), generator_url: "".into(), ..alert("High", 0) };
        assert_eq!(
            serde_json::to_string(&bare).unwrap(),
            r#"{"endsAt":"1970-01-01T00:00:00.000Z","startsAt":"2023-11-14T22:13:20.123Z","labels":{"alertname":"High","job":"a\"b"}}"#
        );
    }

    #[test]
    fn times_stay_within_four_digit_years() {
        assert_eq!(rfc3339(i64::MIN), "0000-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(-1), "1969-12-31T23:59:59.999Z");
        assert!(rfc3339(i64::MAX).starts_with("9999-12-3"), "{}", rfc3339(i64::MAX));
    }

    #[test]
    fn external_labels_yield_to_those_of_the_alert() {
        let external = Labels::from_pairs([("cluster", "lab"), ("job", "other")]).unwrap();
        let labels = alert("High", 0).with_external_labels(&external).labels;
        assert_eq!(labels.to_string(), r#"{alertname="High", cluster="lab", job="a\"b"}"#);
    }
}
