//! Which message, in which compression: decided from the headers alone.

use crate::wire::Protocol;
use crate::wire::compression::Encoding;
use axum::http::{HeaderMap, HeaderName, header};

/// What a body is, by its headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Format {
    pub(super) protocol: Protocol,
    pub(super) encoding: Encoding,
}

/// The headers name a format that is not understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unsupported {
    /// The message, if it is only the compression that is not understood.
    pub(super) protocol: Option<Protocol>,
    pub(super) message: String,
}

/// Reads `Content-Type` and `Content-Encoding`. Without them a body is version 1.0 in snappy, as it was before versions.
pub(super) fn negotiate(headers: &HeaderMap) -> Result<Format, Unsupported> {
    let protocol =
        protocol(&text(headers, header::CONTENT_TYPE)).map_err(|message| Unsupported { protocol: None, message })?;
    let encoding = text(headers, header::CONTENT_ENCODING);
    let encoding = match encoding.trim() {
        "" => Encoding::Snappy,
        name if name.eq_ignore_ascii_case("snappy") => Encoding::Snappy,
        name if name.eq_ignore_ascii_case("zstd") => Encoding::Zstd,
        name => {
            let message = format!("content encoding {name:?} is not supported, snappy and zstd are");
            return Err(Unsupported { protocol: Some(protocol), message });
        }
    };
    Ok(Format { protocol, encoding })
}

fn text(headers: &HeaderMap, name: HeaderName) -> String {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).unwrap_or_default()
}

/// Reads a media type like `application/x-protobuf;proto=io.prometheus.write.v2.Request`.
fn protocol(content_type: &str) -> Result<Protocol, String> {
    let mut parts = content_type.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default();
    if !media_type.is_empty() && !media_type.eq_ignore_ascii_case("application/x-protobuf") {
        return Err(format!("content type {content_type:?} is not supported, application/x-protobuf is"));
    }
    let proto =
        parts.filter_map(|part| part.split_once('=')).find(|(name, _)| name.trim().eq_ignore_ascii_case("proto"));
    match proto.map(|(_, value)| value.trim().trim_matches('"')) {
        None | Some("prometheus.WriteRequest") => Ok(Protocol::V1),
        Some("io.prometheus.write.v2.Request") => Ok(Protocol::V2),
        Some(other) => Err(format!(
            "message {other:?} is not supported, prometheus.WriteRequest and io.prometheus.write.v2.Request are"
        )),
    }
}

/// Whether a query string is the question of vmagent which version of its own protocol is understood. The answer `1` is
/// version 1.0 in zstd.
pub(super) fn asks_for_zstd(query: Option<&str>) -> bool {
    let parameters = query.unwrap_or_default().split('&');
    parameters
        .filter_map(|pair| pair.split_once('='))
        .any(|(name, value)| name == "get_vm_proto_version" && !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(content_type: &str, encoding: &str) -> Result<Format, Unsupported> {
        let mut headers = HeaderMap::new();
        for (name, value) in [(header::CONTENT_TYPE, content_type), (header::CONTENT_ENCODING, encoding)] {
            if value != "-" {
                headers.insert(name, value.parse().unwrap());
            }
        }
        negotiate(&headers)
    }

    #[test]
    fn content_types_and_encodings_of_all_senders_are_understood() {
        use Encoding::{Snappy, Zstd};
        use Protocol::{V1, V2};
        for (content_type, encoding, expected) in [
            ("application/x-protobuf", "snappy", (V1, Snappy)),
            ("-", "-", (V1, Snappy)),
            ("application/x-protobuf;proto=prometheus.WriteRequest", "snappy", (V1, Snappy)),
            ("application/x-protobuf;proto=io.prometheus.write.v2.Request", "snappy", (V2, Snappy)),
            ("Application/X-Protobuf; charset=utf-8; Proto=\"io.prometheus.write.v2.Request\"", "SNAPPY", (V2, Snappy)),
            ("application/x-protobuf", "zstd", (V1, Zstd)),
        ] {
            let (protocol, encoding_expected) = expected;
            let expected = Format { protocol, encoding: encoding_expected };
            assert_eq!(format(content_type, encoding), Ok(expected), "{content_type} {encoding}");
        }
    }

    #[test]
    fn other_formats_are_unsupported() {
        for (content_type, encoding, protocol) in [
            ("application/json", "snappy", None),
            ("image/png", "snappy", None),
            ("application/x-protobuf;proto=io.prometheus.write.v3.Request", "snappy", None),
            ("application/x-protobuf", "gzip", Some(Protocol::V1)),
            ("application/x-protobuf;proto=io.prometheus.write.v2.Request", "deflate", Some(Protocol::V2)),
            ("application/x-protobuf", "identity", Some(Protocol::V1)),
            ("application/x-protobuf", "snappy, gzip", Some(Protocol::V1)),
        ] {
            assert_eq!(format(content_type, encoding).unwrap_err().protocol, protocol, "{content_type} {encoding}");
        }
    }

    #[test]
    fn only_the_question_of_vmagent_is_one() {
        assert!(asks_for_zstd(Some("a=b&get_vm_proto_version=1")));
        assert!(!asks_for_zstd(Some("get_vm_proto_version=")));
        assert!(!asks_for_zstd(None));
    }
}
