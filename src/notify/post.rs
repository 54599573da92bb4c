//! One delivery over HTTP.

use super::client::HttpClient;
use crate::app::load::with_causes;
use alertmanager_compat::client::{Batch, Outcome, retry_after};
use futures::StreamExt;
use reqwest::header::RETRY_AFTER;
use reqwest::{Method, Response};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How much of an answer is read to say why alerts were not accepted.
const REASON_BYTES_MAX: usize = 2_000;

/// Posts `batch`; if it was not accepted, the text says why.
pub(super) async fn post(
    client: &HttpClient,
    url: &str,
    timeout: Duration,
    batch: &Batch,
) -> (Outcome, Option<String>) {
    let unavailable = |problem| (Outcome::Unavailable { retry_after: None }, Some(problem));
    // Files, tokens and connections count too.
    match tokio::time::timeout(timeout, send(client, url, batch)).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(problem)) => unavailable(problem),
        Err(_) => unavailable(format!("no answer within {timeout:?}")),
    }
}

async fn send(client: &HttpClient, url: &str, batch: &Batch) -> Result<(Outcome, Option<String>), String> {
    let request = client.request(Method::POST, url).await?.json(&batch.alerts);
    let answer = request.send().await.map_err(|error| with_causes(&error))?;
    let status = answer.status();
    client.note(status).await;
    let asked = answer.headers().get(RETRY_AFTER).and_then(|value| retry_after(value.to_str().ok()?, now_secs()));
    let outcome = Outcome::of_status(status.as_u16(), asked);
    if outcome == Outcome::Accepted {
        return Ok((outcome, None));
    }
    let reason = body(answer, REASON_BYTES_MAX).await.unwrap_or_default();
    Ok((outcome, Some(format!("{status}: {}", String::from_utf8_lossy(&reason)))))
}

/// The first `bytes_max` bytes of an answer.
pub(super) async fn body(answer: Response, bytes_max: usize) -> Result<Vec<u8>, String> {
    let mut stream = answer.bytes_stream();
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| with_causes(&error))?;
        let room = bytes_max - bytes.len();
        bytes.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
        if bytes.len() == bytes_max {
            break;
        }
    }
    Ok(bytes)
}

fn now_secs() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX)
}
