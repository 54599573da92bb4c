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
///
/// # Panics
/// Never: only texts above 4 GiB cannot be compressed.
#[must_use]
pub fn request(name_regex: &str, start_ms: i64, end_ms: i64, accepted: ResponseType) -> Vec<u8> {
    let mut matcher = vec![0x08, 2];
    push_bytes(&mut matcher, 0x12, b"__name__");
    push_bytes(&mut matcher, 0x1a, name_regex.as_bytes());
    let mut query = Vec::new();
    for (tag, ms) in [(0x08, start_ms), (0x10, end_ms)] {
        query.push(tag);
        push_varint(&mut query, ms.cast_unsigned());
    }
    push_bytes(&mut query, 0x1a, &matcher);
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
    let answer = client
        .post(format!("{url}/api/v1/read"))
        .header("Content-Encoding", "snappy")
        .header("Content-Type", "application/x-protobuf")
        .header("X-Prometheus-Remote-Read-Version", "0.1.0")
        .body(body)
        .send()
        .await?
        .error_for_status()?;
    let content_type = answer.headers().get("content-type").and_then(|value| value.to_str().ok());
    let content_type = content_type.unwrap_or_default().to_owned();
    Ok((content_type, answer.bytes().await?.to_vec()))
}
