//! What people must know, as a list and over connections that stay open.

use super::fixture::{App, answer, get_request};
use super::*;
use crate::runtime::notices::{Notice, Notices};
use serde_json::{Value, json};
use std::net::SocketAddr;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const LIVE: &str = "/api/v1/notifications/live";
const WAIT: Duration = Duration::from_secs(10);

#[tokio::test]
async fn those_that_stand_are_listed_in_every_phase() {
    let app = App::new();
    let early = starting_app(&app.early);
    let list = |router: Router, path: &'static str| async move {
        let answer = answer(&router, get_request(path)).await;
        assert_eq!((answer.status, header(&answer.headers, "content-type").as_str()), (200, "application/json"));
        serde_json::from_slice::<Value>(&answer.body).unwrap()
    };
    let none = list(app.router.clone(), "/api/v1/notifications").await;
    assert_eq!(none, json!({"status": "success", "data": []}));
    app.early.notices.raise(Notice::ReloadFailed);
    app.early.notices.hold(Notice::ObjectStoreAway, true);
    for phase in [readiness::Phase::Starting, readiness::Phase::Ready, readiness::Phase::Stopping] {
        app.readiness.set(phase);
        for router in [&app.router, &early] {
            for path in ["/api/v1/notifications", "/prometheus/api/v1/notifications"] {
                let listed = list(router.clone(), path).await;
                let data = listed["data"].as_array().unwrap();
                assert_eq!(data.len(), 2, "{listed}");
                assert_eq!(data[0]["text"], "Configuration reload has failed.");
                assert_eq!(data[0]["active"], true);
                assert!(data[0]["date"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{listed}");
                assert_eq!(data[1]["text"], Notice::ObjectStoreAway.text());
            }
        }
    }
}

/// A server that takes its time to stop while requests are in flight.
struct Running {
    address: SocketAddr,
    notices: Notices,
    stop: CancellationToken,
    server: JoinHandle<()>,
}

impl Running {
    async fn start() -> Self {
        let app = App::new();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let options = server::ServerOptions { connections_max: 16, drain_timeout: Duration::from_secs(600) };
        let server = tokio::spawn(server::serve(listener, RouterSwitch::new(app.router), stop.clone(), options));
        Self { address, notices: app.early.notices, stop, server }
    }

    async fn follow(&self) -> reqwest::Response {
        let request = reqwest::Client::new().get(format!("http://{}{LIVE}", self.address));
        request.header("Accept-Encoding", "gzip").send().await.unwrap()
    }

    /// Follows as soon as there is a place.
    async fn follow_at_last(&self) -> reqwest::Response {
        let found = async {
            loop {
                let response = self.follow().await;
                if response.status() == 200 {
                    return response;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(WAIT, found).await.expect("a place")
    }
}

/// The next events, of which each has a text and whether it stands; `None` at the end of the stream.
async fn next(stream: &mut reqwest::Response) -> Option<Vec<(String, bool)>> {
    let chunk = tokio::time::timeout(WAIT, stream.chunk()).await.expect("events").unwrap()?;
    let text = String::from_utf8(chunk.to_vec()).unwrap();
    let events = text.strip_suffix("\n\n").expect("whole events").split("\n\n");
    let parse = |event: &str| {
        let value: Value = serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap();
        assert!(value["date"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{event}");
        (value["text"].as_str().unwrap().to_owned(), value["active"].as_bool().unwrap())
    };
    Some(events.map(parse).collect())
}

fn event(notice: Notice, stands: bool) -> (String, bool) {
    (notice.text().to_owned(), stands)
}

#[tokio::test]
async fn who_follows_is_told_what_stands_and_each_change() {
    let running = Running::start().await;
    running.notices.raise(Notice::ReloadFailed);
    let mut stream = running.follow().await;
    assert_eq!(stream.status(), 200);
    let headers = ["content-type", "cache-control", "content-encoding"].map(|name| header(stream.headers(), name));
    assert_eq!(headers, ["text/event-stream", "no-cache", ""]);
    assert_eq!(next(&mut stream).await, Some(vec![event(Notice::ReloadFailed, true)]));
    running.notices.hold(Notice::MemoryShort, true);
    assert_eq!(next(&mut stream).await, Some(vec![event(Notice::MemoryShort, true)]));
    running.notices.clear(Notice::ReloadFailed);
    assert_eq!(next(&mut stream).await, Some(vec![event(Notice::ReloadFailed, false)]));
    drop(stream);
    running.stop.cancel();
    tokio::time::timeout(WAIT, running.server).await.expect("the server ends").unwrap();
}

/// Before anything stands the head of the answer is there. More than may follow are told so, and one who goes away leaves a place.
#[tokio::test]
async fn followers_have_places() {
    let running = Running::start().await;
    let (first, second) = (running.follow().await, running.follow().await);
    assert_eq!((first.status().as_u16(), second.status().as_u16()), (200, 200));
    let refused = running.follow().await;
    assert_eq!(refused.status(), 204);
    assert!(refused.bytes().await.unwrap().is_empty());
    drop(first);
    let mut third = running.follow_at_last().await;
    assert_eq!(running.follow().await.status(), 204);
    running.notices.raise(Notice::Stopping);
    assert_eq!(next(&mut third).await, Some(vec![event(Notice::Stopping, true)]));
}

/// The server does not wait for who follows.
#[tokio::test]
async fn streams_end_with_the_process() {
    let running = Running::start().await;
    let mut stream = running.follow().await;
    running.notices.raise(Notice::Stopping);
    running.stop.cancel();
    assert_eq!(next(&mut stream).await, Some(vec![event(Notice::Stopping, true)]));
    assert_eq!(next(&mut stream).await, None);
    tokio::time::timeout(WAIT, running.server).await.expect("the server ends").unwrap();
}
