//! A receiver of alerts that can be made to misbehave.

use super::certificates::{CERTIFICATES, Certificates};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::Value;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// How it behaves.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Mood {
    /// Accepts.
    Good,
    /// Takes connections and says nothing.
    Blackhole,
    /// Answers after a while.
    Slow(Duration),
    /// Answers with these lines behind `HTTP/1.1`.
    Says(&'static str),
    /// Closes its side before it was asked.
    HalfClosed,
    /// Speaks no TLS where it should.
    Plain,
}

/// One request.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Received {
    pub(super) line: String,
    /// In lower case.
    pub(super) headers: Vec<String>,
    pub(super) body: Vec<u8>,
}

impl Received {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|header| header.strip_prefix(&format!("{name}: ")))
    }

    pub(super) fn alerts(&self) -> Vec<Value> {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// A server on a port of its own.
#[derive(Clone)]
pub(super) struct Receiver {
    pub(super) address: String,
    mood: Arc<Mutex<Mood>>,
    received: Arc<Mutex<Vec<Received>>>,
    body: &'static str,
}

impl Receiver {
    pub(super) async fn start(mood: Mood) -> Self {
        Self::with(mood, None, "").await
    }

    /// A server whose answers to everything have `body`.
    pub(super) async fn answering(body: &'static str) -> Self {
        Self::with(Mood::Good, None, body).await
    }

    /// With TLS, and with certificates of clients if `mutual`.
    pub(super) async fn start_tls(mood: Mood, mutual: bool) -> Self {
        let Certificates { authority, server, .. } = &*CERTIFICATES;
        let certificates = CertificateDer::pem_slice_iter(server.certificate.as_bytes()).map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(server.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
        let builder = if mutual {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let config = builder.with_single_cert(certificates, key).unwrap();
        Self::with(mood, Some(TlsAcceptor::from(Arc::new(config))), "").await
    }

    async fn with(mood: Mood, tls: Option<TlsAcceptor>, body: &'static str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let receiver = Self { address, mood: Arc::new(Mutex::new(mood)), received: Arc::default(), body };
        let server = receiver.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (server, tls) = (server.clone(), tls.clone());
                tokio::spawn(async move { server.connection(stream, tls).await });
            }
        });
        receiver
    }

    pub(super) fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn mood(&self) -> Mood {
        self.mood.lock().unwrap().clone()
    }

    /// Requests that were accepted.
    pub(super) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// Names of the alerts that were accepted, with when they end.
    pub(super) fn alerts(&self) -> Vec<(String, String)> {
        let text = |alert: &Value, key: &str| alert.pointer(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let alerts = self.received().iter().flat_map(Received::alerts).collect::<Vec<_>>();
        alerts.iter().map(|alert| (text(alert, "/labels/alertname"), text(alert, "/endsAt"))).collect()
    }

    async fn connection(self, mut stream: TcpStream, tls: Option<TlsAcceptor>) {
        if self.mood() == Mood::HalfClosed {
            let _ = stream.shutdown().await;
        }
        match tls.filter(|_| self.mood() != Mood::Plain) {
            Some(tls) => {
                if let Ok(stream) = tls.accept(stream).await {
                    self.requests(stream).await;
                }
            }
            None => self.requests(stream).await,
        }
    }

    async fn requests(self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let mut stream = BufReader::new(stream);
        while let Some(request) = read(&mut stream).await {
            let answer = match self.mood() {
                Mood::Good => {
                    self.received.lock().unwrap().push(request);
                    format!(
                        "200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{}",
                        self.body.len(),
                        self.body
                    )
                }
                Mood::Says(lines) => format!("{lines}\r\nContent-Length: 0\r\n\r\n"),
                Mood::Slow(wait) => {
                    tokio::time::sleep(wait).await;
                    "200 OK\r\nContent-Length: 0\r\n\r\n".into()
                }
                Mood::HalfClosed | Mood::Plain => return,
                Mood::Blackhole => return std::future::pending().await,
            };
            if stream.write_all(format!("HTTP/1.1 {answer}").as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

async fn read(stream: &mut (impl AsyncBufReadExt + Unpin)) -> Option<Received> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let line = lines.remove(0);
    let lower = |header: String| match header.split_once(": ") {
        Some((name, value)) => format!("{}: {value}", name.to_lowercase()),
        None => header,
    };
    let headers: Vec<_> = lines.into_iter().map(lower).collect();
    let mut received = Received { line, headers, body: Vec::new() };
    let length = received.header("content-length").map_or(0, |length| length.parse().unwrap());
    received.body = vec![0; length];
    stream.read_exact(&mut received.body).await.ok()?;
    Some(received)
}

/// Waits until `done`, at most for some seconds.
pub(super) async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let waiting = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}
