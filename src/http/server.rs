//! Accepts connections and serves them until told to stop, HTTP/1.1 and HTTP/2 on one port.
//!
//! Stopping is graceful: no new connections, requests in flight may finish within a bound, then the rest is cut. Every
//! connection is a tracked task; when [`serve`] returns, none is left.

mod lenient_uri;

use super::switch::RouterSwitch;
use axum::http::Request;
use axum::response::Response;
use axum::routing::future::RouteFuture;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use lenient_uri::LenientUri;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

/// Habits of the server.
#[derive(Debug, Clone, Copy)]
pub struct ServerOptions {
    /// Connections that are open at once; more wait until one closes.
    pub connections_max: usize,
    /// How long requests in flight may take to finish when the server stops.
    pub drain_timeout: Duration,
}

/// Longest wait for the head of a request, idle time between two requests included; Prometheus' default.
const HEAD_TIMEOUT: Duration = Duration::from_secs(300);

/// Distance and patience of the pings that find out whether the peer of an HTTP/2 connection still exists.
const PING_INTERVAL: Duration = Duration::from_secs(60);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Pause after the system refused a connection, for lack of file descriptors in practice.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves by the router of `switch` until `stop` is cancelled and the connections have ended.
pub async fn serve(listener: TcpListener, switch: RouterSwitch, stop: CancellationToken, options: ServerOptions) {
    let places = Arc::new(Semaphore::new(options.connections_max.clamp(1, Semaphore::MAX_PERMITS)));
    let connections = TaskTracker::new();
    let cut = CancellationToken::new();
    while let Some((stream, place)) = next_connection(&listener, &places, &stop).await {
        let connection = serve_connection(stream, switch.clone(), stop.clone());
        let cut = cut.clone();
        connections.spawn(async move {
            let _place = place;
            tokio::select! {
                () = connection => {}
                () = cut.cancelled() => {}
            }
        });
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(options.drain_timeout, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "connections are cut: their requests took too long to finish");
        cut.cancel();
        connections.wait().await;
    }
}

/// The next connection and its place, or `None` when it is time to stop.
async fn next_connection(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
    stop: &CancellationToken,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let next = async {
        let place = Arc::clone(places).acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, _peer)) => return Some((stream, place)),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => None,
        connection = next => connection,
    }
}

async fn serve_connection(stream: TcpStream, switch: RouterSwitch, stop: CancellationToken) {
    // Answers are written whole; waiting for more to send only delays them.
    let _ = stream.set_nodelay(true);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(PING_INTERVAL).keep_alive_timeout(PING_TIMEOUT);
    let began = Arc::new(AtomicBool::new(false));
    let service = Noted { switch, began: Arc::clone(&began) };
    let connection = builder.serve_connection(TokioIo::new(LenientUri::new(stream)), TowerToHyperService::new(service));
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        () = silence(&began) => Ok(()),
    };
    if let Err(error) = ended {
        // Clients go away in many ways; none of them is our problem.
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Returns when no request has begun for too long; never once one has, because from then on the protocols' own bounds
/// hold. Before that, a few bytes that could begin either protocol would hold a connection forever.
async fn silence(began: &AtomicBool) {
    tokio::time::sleep(HEAD_TIMEOUT).await;
    if began.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
}

/// What asks the router that is in force, and remembers whether it ever did.
#[derive(Clone)]
struct Noted {
    switch: RouterSwitch,
    began: Arc<AtomicBool>,
}

impl Service<Request<Incoming>> for Noted {
    type Response = Response;
    type Error = Infallible;
    type Future = RouteFuture<Infallible>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Routers always are.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Incoming>) -> Self::Future {
        self.began.store(true, Ordering::Relaxed);
        self.switch.remove_prefix(request.uri_mut());
        self.switch.current().call(request)
    }
}

#[cfg(test)]
mod tests;
