//! `/api/v1/notifications`: what people must know about this process, as a list and as server-sent events.
//!
//! Both are answered in every phase of the process. A stream begins with what stands, and ends when the process does.

use crate::http::envelope::success_value;
use crate::http::state::EarlyState;
use crate::runtime::notices::{Change, Listener};
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::stream;
use serde::Serialize;
use std::convert::Infallible;
use std::time::Duration;

/// A stream says this often that it is there: proxies leave it open, and a client that is gone is found out.
const SIGN_OF_LIFE_EVERY: Duration = Duration::from_secs(15);

/// A comment. Without an empty line after it: what Prometheus' page reads streams with would take that for an event.
const SIGN_OF_LIFE: &[u8] = b":\n";

#[derive(Debug, Serialize)]
struct NotificationView {
    text: &'static str,
    date: String,
    active: bool,
}

impl From<Change> for NotificationView {
    fn from(Change { standing, stands }: Change) -> Self {
        Self { text: standing.notice.text(), date: standing.since.to_string(), active: stands }
    }
}

/// Those that stand.
pub async fn list(State(early): State<EarlyState>) -> Response {
    let standing = early.notices.standing().into_iter().map(|standing| Change { standing, stands: true });
    success_value(&standing.map(NotificationView::from).collect::<Vec<_>>())
}

/// Those that stand and then every change; 204 while too many listen, by which Prometheus' page knows that it has to ask for the list.
pub async fn live(State(early): State<EarlyState>) -> Response {
    let Some(listener) = early.notices.listen() else { return StatusCode::NO_CONTENT.into_response() };
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache"),
        // A proxy that collects answers would keep the events.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    let events = stream::unfold(listener, |mut listener| async {
        let bytes = next_events(&mut listener, SIGN_OF_LIFE_EVERY).await?;
        Some((Ok::<_, Infallible>(bytes), listener))
    });
    (headers, Body::from_stream(events)).into_response()
}

/// What is to be sent next, within `patience`, or `None` at the end.
async fn next_events(listener: &mut Listener, patience: Duration) -> Option<Bytes> {
    let Ok(changes) = tokio::time::timeout(patience, listener.next()).await else {
        return Some(Bytes::from_static(SIGN_OF_LIFE));
    };
    let event = |change| {
        // Texts and a flag: there is nothing that JSON cannot say.
        let json = serde_json::to_string(&NotificationView::from(change)).unwrap_or_default();
        format!("data: {json}\n\n")
    };
    Some(changes?.into_iter().map(event).collect::<String>().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::notices::{Notice, Notices};

    #[tokio::test]
    async fn a_quiet_stream_says_that_it_is_there_and_loses_nothing_by_it() {
        let notices = Notices::new(1);
        let mut listener = notices.listen().unwrap();
        assert_eq!(next_events(&mut listener, Duration::ZERO).await.unwrap(), ":\n");
        notices.raise(Notice::MemoryFull);
        let events = next_events(&mut listener, SIGN_OF_LIFE_EVERY).await.unwrap();
        assert!(events.starts_with(b"data: {\"text\":\"Memory is full") && events.ends_with(b"\"active\":true}\n\n"));
    }
}
