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

/// What becomes of names with other characters than letters, digits and underscores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Escaping {
    /// They stay.
    AllowUtf8,
    /// Those characters become underscores.
    Underscores,
}

/// The most wanted of the formats that the scraper takes and we write; text for one that takes none.
pub(super) fn negotiate(headers: &HeaderMap) -> (Format, Escaping) {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut wanted: Vec<(f32, Format, Escaping)> =
        accepted.flat_map(|value| value.split(',')).filter_map(media_range).collect();
    wanted.sort_by(|a, b| b.0.total_cmp(&a.0));
    wanted.first().map_or((Format::Text, Escaping::Underscores), |(_, format, escaping)| (*format, *escaping))
}

/// How much it is wanted, and what it is; `None` when we do not write it.
fn media_range(text: &str) -> Option<(f32, Format, Escaping)> {
    let mut parts = text.split(';').map(str::trim);
    let media_type = parts.next()?;
    let parameters: Vec<(&str, &str)> = parts.filter_map(|part| part.split_once('=')).collect();
    let parameter =
        |name| parameters.iter().find(|(found, _)| *found == name).map(|(_, value)| value.trim_matches('"'));
    let format = match media_type {
        "text/plain" if matches!(parameter("version"), None | Some("0.0.4" | "1.0.0")) => Format::Text,
        "application/vnd.google.protobuf"
            if parameter("proto") == Some("io.prometheus.client.MetricFamily")
                && parameter("encoding") == Some("delimited") =>
        {
            Format::Protobuf
        }
        _ => return None,
    };
    let escaping = match parameter("escaping") {
        Some("allow-utf-8") => Escaping::AllowUtf8,
        _ => Escaping::Underscores,
    };
    let quality: f32 = parameter("q").map_or(Some(1.0), |quality| quality.parse().ok())?;
    (quality > 0.0).then_some((quality, format, escaping))
}

/// The name with everything that the format cannot write replaced by underscores.
pub(super) fn underscored(name: &str, is_metric: bool) -> Cow<'_, str> {
    let legacy = if is_metric { is_legacy_metric_name(name) } else { is_legacy_label_name(name) };
    if legacy {
        return Cow::Borrowed(name);
    }
    let allowed = |(at, c): (usize, char)| match c {
        'a'..='z' | 'A'..='Z' | '_' => c,
        '0'..='9' if at > 0 => c,
        ':' if is_metric => c,
        _ => '_',
    };
    Cow::Owned(name.chars().enumerate().map(allowed).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_wanted_format_is_chosen() {
        use Escaping::{AllowUtf8, Underscores};
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
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT, accept.parse().unwrap())]);
            assert_eq!(negotiate(&headers), expected, "{accept}");
        }
    }
}
