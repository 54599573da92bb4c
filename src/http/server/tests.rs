use super::*;
use axum::Router;
use axum::routing::get;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

struct Running {
    address: SocketAddr,
    stop: CancellationToken,
    server: JoinHandle<()>,
}

async fn start(router: Router, drain_timeout: Duration) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let options = ServerOptions { connections_max: 16, drain_timeout };
    let server = tokio::spawn(serve(listener, RouterSwitch::new(router), stop.clone(), options));
    Running { address, stop, server }
}

impl Running {
    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    async fn ended(self) {
        timeout(Duration::from_secs(10), self.server).await.expect("the server ends").unwrap();
    }
}

fn slow(wait: Duration) -> Router {
    let answer = move || async move {
        sleep(wait).await;
        "done"
    };
    Router::new().route("/slow", get(answer)).route("/fast", get(|| async { "fast" }))
}

#[tokio::test]
async fn both_versions_of_http_are_served_on_one_port() {
    let running = start(slow(Duration::ZERO), Duration::from_secs(5)).await;
    let clients = [reqwest::Client::builder().http2_prior_knowledge(), reqwest::Client::builder().http1_only()];
    for (client, version) in clients.into_iter().zip([reqwest::Version::HTTP_2, reqwest::Version::HTTP_11]) {
        let answer = client.build().unwrap().get(running.url("/fast")).send().await.unwrap();
        assert_eq!(answer.version(), version);
        assert_eq!(answer.text().await.unwrap(), "fast");
    }
    running.stop.cancel();
    running.ended().await;
}

#[tokio::test]
async fn stopping_lets_requests_in_flight_finish_and_takes_no_new_connections() {
    let running = start(slow(Duration::from_millis(300)), Duration::from_secs(5)).await;
    let url = running.url("/slow");
    let in_flight = tokio::spawn(async move { reqwest::get(url).await.unwrap().text().await.unwrap() });
    // An idle connection must not delay the end.
    let _idle = TcpStream::connect(running.address).await.unwrap();
    sleep(Duration::from_millis(100)).await;
    running.stop.cancel();
    sleep(Duration::from_millis(50)).await;
    assert!(TcpStream::connect(running.address).await.is_err());
    assert_eq!(in_flight.await.unwrap(), "done");
    running.ended().await;
}

#[tokio::test]
async fn a_request_that_does_not_finish_is_cut() {
    let running = start(slow(Duration::from_secs(60)), Duration::from_millis(100)).await;
    let url = running.url("/slow");
    let in_flight = tokio::spawn(async move { reqwest::get(url).await });
    sleep(Duration::from_millis(100)).await;
    let started = Instant::now();
    running.stop.cancel();
    running.ended().await;
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(in_flight.await.unwrap().is_err());
}

/// Sets its flag when it is dropped before it was disarmed: the handler was cancelled.
struct Bell(Arc<AtomicBool>);

impl Drop for Bell {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn a_client_that_goes_away_drops_its_handler() {
    let rung = Arc::new(AtomicBool::new(false));
    let entered = Arc::new(AtomicBool::new(false));
    let handler = {
        let (rung, entered) = (rung.clone(), entered.clone());
        move || async move {
            let _bell = Bell(rung);
            entered.store(true, Ordering::SeqCst);
            sleep(Duration::from_secs(60)).await;
        }
    };
    let running = start(Router::new().route("/", get(handler)), Duration::from_millis(100)).await;
    let mut client = TcpStream::connect(running.address).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let seen = |flag: Arc<AtomicBool>| async move {
        let wait = async {
            while !flag.load(Ordering::SeqCst) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(5), wait).await.is_ok()
    };
    assert!(seen(entered).await);
    drop(client);
    assert!(seen(rung).await, "the handler went on");
    running.stop.cancel();
    running.ended().await;
}

#[tokio::test]
async fn connections_beyond_the_bound_wait() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let options = ServerOptions { connections_max: 1, drain_timeout: Duration::from_millis(10) };
    let server = tokio::spawn(serve(listener, RouterSwitch::new(slow(Duration::ZERO)), stop.clone(), options));
    let request = b"GET /fast HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut answer = [0; 15];
    let mut first = TcpStream::connect(address).await.unwrap();
    first.write_all(request).await.unwrap();
    first.read_exact(&mut answer).await.unwrap();
    let mut second = TcpStream::connect(address).await.unwrap();
    second.write_all(request).await.unwrap();
    assert!(timeout(Duration::from_millis(100), second.read_exact(&mut answer)).await.is_err());
    drop(first);
    timeout(Duration::from_secs(5), second.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    stop.cancel();
    server.await.unwrap();
}

#[tokio::test]
async fn quotes_in_a_url_are_taken_as_they_are_typed() {
    let query = |uri: axum::http::Uri| async move { uri.query().unwrap_or_default().to_owned() };
    let running = start(Router::new().route("/", get(query)), Duration::from_secs(1)).await;
    let mut client = TcpStream::connect(running.address).await.unwrap();
    for _ in 0..2 {
        client.write_all(b"GET /?query=up{job=\"a\"} HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        while !answer.ends_with("query=up{job=%22a%22}") {
            let mut bytes = [0; 512];
            let count = timeout(Duration::from_secs(5), client.read(&mut bytes)).await.expect("an answer").unwrap();
            assert_ne!(count, 0, "{answer}");
            answer.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
        }
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    drop(client);
    running.stop.cancel();
    running.ended().await;
}
