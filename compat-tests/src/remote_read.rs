//! Requests of remote read, encoded by hand.
//!
//! Message: <https://prometheus.io/docs/prometheus/latest/querying/remote_read_api/>, `prometheus.ReadRequest`.

use crate::remote_write::{push_bytes, push_varint};

/// The form of an answer, by its number in the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseType {
    /// All samples in one message.
    Samples = 0,
    /// Frames of encoded chunks.
    StreamedChunks = 1,
}

/// A compressed request for the series whose name matches an expression, between two times in milliseconds.
#[must_use]
pub fn request(name_regex: &str, start_ms: i64, end_ms: i64, accepted: ResponseType) -> Vec<u8> {
    request_where(&[("__name__", name_regex)], start_ms, end_ms, accepted)
}

/// As [`request`], for the series all of whose named labels match their expressions.
///
/// # Panics
/// Never: only texts above 4 GiB cannot be compressed.
#[must_use]
pub fn request_where(regexes: &[(&str, &str)], start_ms: i64, end_ms: i64, accepted: ResponseType) -> Vec<u8> {
    let mut query = Vec::new();
    for (tag, ms) in [(0x08, start_ms), (0x10, end_ms)] {
        query.push(tag);
        push_varint(&mut query, ms.cast_unsigned());
    }
    for (name, regex) in regexes {
        let mut matcher = vec![0x08, 2];
        push_bytes(&mut matcher, 0x12, name.as_bytes());
        push_bytes(&mut matcher, 0x1a, regex.as_bytes());
        push_bytes(&mut query, 0x1a, &matcher);
    }
    let mut message = Vec::new();
    push_bytes(&mut message, 0x0a, &query);
    message.extend_from_slice(&[0x10, accepted as u8]);
    snap::raw::Encoder::new().compress_vec(&message).expect("a request below 4 GiB compresses")
}

/// Sends a request to the server at `url` and returns the content type and the body of the answer.
///
/// # Errors
/// The connection failed or the answer is no success.
pub async fn send(client: &reqwest::Client, url: &str, body: Vec<u8>) -> Result<(String, Vec<u8>), reqwest::Error> {
    let answer = post(client, url, body).await?.error_for_status()?;
    let content_type = answer.headers().get("content-type").and_then(|value| value.to_str().ok());
    let content_type = content_type.unwrap_or_default().to_owned();
    Ok((content_type, answer.bytes().await?.to_vec()))
}

/// Sends a request to the server at `url`, whatever it answers.
///
/// # Errors
/// The connection failed.
pub async fn post(client: &reqwest::Client, url: &str, body: Vec<u8>) -> Result<reqwest::Response, reqwest::Error> {
    let request = client
        .post(format!("{url}/api/v1/read"))
        .header("Content-Encoding", "snappy")
        .header("Content-Type", "application/x-protobuf")
        .header("X-Prometheus-Remote-Read-Version", "0.1.0");
    request.body(body).send().await
}
