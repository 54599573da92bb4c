//! Which format a scraper wants, and how it wants names that the old formats cannot write.

use axum::http::{HeaderMap, header};
use model::labels::{is_legacy_label_name, is_legacy_metric_name};
use std::borrow::Cow;

/// A format of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// `text/plain`.
    Text,
    /// Messages `io.prometheus.client.MetricFamily`, each with its length in front.
    Protobuf,
}

/// What becomes of names with other characters than letters, digits and underscores. The schemes are those of Prometheus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Escaping {
    /// They stay.
    AllowUtf8,
    /// Those characters become underscores.
    Underscores,
    /// Dots are told from underscores; other characters become two of these.
    Dots,
    /// Those characters become their numbers, so that the name can be had back.
    Values,
}

impl Escaping {
    const ALL: [Self; 4] = [Self::AllowUtf8, Self::Underscores, Self::Dots, Self::Values];

    /// The value of the parameter `escaping`.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::AllowUtf8 => "allow-utf-8",
            Self::Underscores => "underscores",
            Self::Dots => "dots",
            Self::Values => "values",
        }
    }

    /// The name as a page has it.
    pub(super) fn name(self, name: &str, is_metric: bool) -> Cow<'_, str> {
        self.name_and_form(name, is_metric).0
    }

    /// The name as a page has it, and whether it is a legacy one there.
    pub(super) fn name_and_form(self, name: &str, is_metric: bool) -> (Cow<'_, str>, bool) {
        let is_legacy = is_legacy(name, is_metric);
        if is_legacy || self == Self::AllowUtf8 {
            return (Cow::Borrowed(name), is_legacy);
        }
        let escaped = self.escaped(name, is_metric);
        // Only of nothing comes no legacy name.
        let is_legacy = !escaped.is_empty();
        (Cow::Owned(escaped), is_legacy)
    }

    fn escaped(self, name: &str, is_metric: bool) -> String {
        let mut out = String::with_capacity(name.len());
        if self == Self::Values {
            out.push_str("U__");
        }
        for (at, c) in name.char_indices() {
            let allowed = match c {
                'a'..='z' | 'A'..='Z' | '_' => true,
                '0'..='9' => at > 0,
                ':' => is_metric,
                _ => false,
            };
            match (self, c) {
                (Self::Dots | Self::Values, '_') => out.push_str("__"),
                (Self::Dots, '.') => out.push_str("_dot_"),
                _ if allowed => out.push(c),
                (Self::Values, c) => out.push_str(&format!("_{:x}_", u32::from(c))),
                (Self::Dots, _) => out.push_str("__"),
                (Self::Underscores | Self::AllowUtf8, _) => out.push('_'),
            }
        }
        out
    }

    /// By how many bytes a name may become longer.
    pub(super) fn longer_by_max(self, name: &str, is_metric: bool) -> usize {
        match self {
            Self::Dots | Self::Values if !is_legacy(name, is_metric) => 3 + 4 * name.len(),
            _ => 0,
        }
    }
}

fn is_legacy(name: &str, is_metric: bool) -> bool {
    if is_metric { is_legacy_metric_name(name) } else { is_legacy_label_name(name) }
}

/// The most wanted of the formats that the scraper takes and we write; text for one that takes none. As in Prometheus the way to
/// escape names may be said of a format that we do not write, as long as that is wanted more.
pub(super) fn negotiate(headers: &HeaderMap) -> (Format, Escaping) {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut wanted: Vec<MediaRange> = accepted.flat_map(|value| value.split(',')).filter_map(media_range).collect();
    wanted.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    let mut escaping = Escaping::Underscores;
    for range in wanted {
        escaping = range.escaping.unwrap_or(escaping);
        if let Some(format) = range.format {
            return (format, escaping);
        }
    }
    (Format::Text, escaping)
}

/// What a scraper takes.
struct MediaRange {
    /// How much it is wanted.
    quality: f32,
    /// `None` when we do not write it.
    format: Option<Format>,
    /// Unless it says none that we know.
    escaping: Option<Escaping>,
}

/// `None` when it is not wanted.
fn media_range(text: &str) -> Option<MediaRange> {
    let mut parts = text.split(';').map(str::trim);
    let media_type = parts.next()?;
    let parameters: Vec<(&str, &str)> = parts.filter_map(|part| part.split_once('=')).collect();
    let parameter =
        |name| parameters.iter().find(|(found, _)| *found == name).map(|(_, value)| value.trim_matches('"'));
    let format = match media_type {
        "text/plain" if matches!(parameter("version"), None | Some("0.0.4" | "1.0.0")) => Some(Format::Text),
        "application/vnd.google.protobuf"
            if parameter("proto") == Some("io.prometheus.client.MetricFamily")
                && parameter("encoding") == Some("delimited") =>
        {
            Some(Format::Protobuf)
        }
        _ => None,
    };
    let escaping = parameter("escaping").and_then(|wanted| Escaping::ALL.into_iter().find(|e| e.as_str() == wanted));
    let quality: f32 = parameter("q").map_or(Some(1.0), |quality| quality.parse().ok())?;
    (quality > 0.0).then_some(MediaRange { quality, format, escaping })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_wanted_format_is_chosen() {
        use Escaping::{AllowUtf8, Dots, Underscores, Values};
        let protobuf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
        let prometheus = format!(
            "{protobuf};escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5,\
             text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
        );
        for (accept, expected) in [
            (prometheus.as_str(), (Format::Protobuf, AllowUtf8)),
            (protobuf, (Format::Protobuf, Underscores)),
            ("application/vnd.google.protobuf;proto=other;encoding=delimited", (Format::Text, Underscores)),
            ("text/plain;q=0.9, application/json", (Format::Text, Underscores)),
            ("text/plain; version=1.0.0; escaping=allow-utf-8", (Format::Text, AllowUtf8)),
            (&format!("{protobuf};q=0.1, text/plain;version=0.0.4;q=0.3"), (Format::Text, Underscores)),
            (&format!("{protobuf};q=0"), (Format::Text, Underscores)),
            ("", (Format::Text, Underscores)),
            ("text/plain; version=0.0.4; escaping=dots", (Format::Text, Dots)),
            (&format!("{protobuf};escaping=values"), (Format::Protobuf, Values)),
            ("text/plain;escaping=none, */*;escaping=dots;q=0.1", (Format::Text, Underscores)),
            ("application/openmetrics-text;escaping=values, text/plain;q=0.9", (Format::Text, Values)),
            ("application/openmetrics-text;escaping=values;q=0.5, text/plain;q=0.9", (Format::Text, Underscores)),
            ("application/openmetrics-text;escaping=values", (Format::Text, Values)),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT, accept.parse().unwrap())]);
            assert_eq!(negotiate(&headers), expected, "{accept}");
        }
    }

    /// The names of Prometheus' own test, and what it makes of them. Names that need no escaping stay, as on its pages.
    #[test]
    fn names_are_escaped_as_prometheus_escapes_them() {
        for (name, underscores, dots, values) in [
            ("no:escaping_required", "no:escaping_required", "no:escaping_required", "no:escaping_required"),
            ("cpu.load_total", "cpu_load_total", "cpu_dot_load__total", "U__cpu_2e_load__total"),
            ("http.status:sum", "http_status:sum", "http_dot_status:sum", "U__http_2e_status:sum"),
            ("label with 😱", "label_with__", "label__with____", "U__label_20_with_20__1f631_"),
            ("花火", "__", "____", "U___82b1__706b_"),
            ("label with \u{100}", "label_with__", "label__with____", "U__label_20_with_20__100_"),
            ("9lives", "_lives", "__lives", "U___39_lives"),
            (".", "_", "_dot_", "U___2e_"),
        ] {
            let escaped = Escaping::ALL.map(|escaping| escaping.name(name, true).into_owned());
            assert_eq!(escaped, [name, underscores, dots, values]);
            let forms = Escaping::ALL.map(|escaping| escaping.name_and_form(name, true).1);
            assert_eq!(forms, escaped.each_ref().map(|name| is_legacy_metric_name(name)));
            for (escaping, escaped) in Escaping::ALL.into_iter().zip(&escaped) {
                assert!(escaped.len() <= name.len() + escaping.longer_by_max(name, true), "{escaped}");
            }
        }
        assert_eq!(Escaping::Values.name("a:b", false), "U__a_3a_b", "no label has colons in the old formats");
    }
}
