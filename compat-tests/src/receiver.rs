//! A stub of an Alertmanager: takes what is posted, remembers it, and answers as it is told.

use crate::wait::now_ms;
use anyhow::Context;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// One request.
#[derive(Debug, Clone)]
pub struct Post {
    /// When it was complete, milliseconds since the Unix epoch.
    pub arrived_ms: i64,
    /// What it said.
    pub body: String,
}

/// One alert as it is posted to Alertmanagers.
#[derive(Debug, Clone, Deserialize)]
pub struct Alert {
    /// Its identity.
    pub labels: BTreeMap<String, String>,
    /// Texts for people.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// When it began to fire, milliseconds since the Unix epoch.
    #[serde(rename = "startsAt", deserialize_with = "instant")]
    pub starts_ms: i64,
    /// When it ended or will be taken to have ended, milliseconds since the Unix epoch.
    #[serde(rename = "endsAt", deserialize_with = "instant")]
    pub ends_ms: i64,
    /// Where its expression can be seen.
    #[serde(rename = "generatorURL", default)]
    pub generator_url: String,
}

impl Alert {
    /// The value of a label, empty if there is none.
    #[must_use]
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

/// Reads a time such as `2026-11-28T12:00:00.5Z`.
fn instant<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse::<jiff::Timestamp>().map(|time| time.as_millisecond()).map_err(serde::de::Error::custom)
}

/// An alert that arrived.
#[derive(Debug, Clone)]
pub struct Message {
    /// When, milliseconds since the Unix epoch.
    pub arrived_ms: i64,
    /// Which.
    pub alert: Alert,
}

impl Message {
    /// Whether it says that the alert is over.
    #[must_use]
    pub fn is_resolved(&self) -> bool {
        self.alert.ends_ms <= self.arrived_ms
    }
}

/// A server that hands every request to a function, which returns the status of the answer.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    task: AbortHandle,
}

impl Receiver {
    /// Listens on a free port of the loopback address.
    ///
    /// # Errors
    /// None is free.
    pub async fn start(handle: impl Fn(Post) -> u16 + Send + Sync + 'static) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(listen(listener, Arc::new(handle))).abort_handle();
        Ok(Self { address, task })
    }

    /// `127.0.0.1:port`
    #[must_use]
    pub fn address(&self) -> String {
        self.address.to_string()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listen(listener: TcpListener, handle: Arc<impl Fn(Post) -> u16 + Send + Sync + 'static>) {
    while let Ok((connection, _)) = listener.accept().await {
        let handle = Arc::clone(&handle);
        // An error ends the connection; its sender comes again with another.
        tokio::spawn(async move { serve(connection, handle.as_ref()).await });
    }
}

async fn serve(connection: TcpStream, handle: &(impl Fn(Post) -> u16 + Send + Sync)) -> anyhow::Result<()> {
    let mut connection = BufReader::new(connection);
    loop {
        let mut length = None;
        loop {
            let mut line = String::new();
            if connection.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = Some(value.trim().parse()?);
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length.context("a request without a length")?];
        connection.read_exact(&mut body).await?;
        let status = handle(Post { arrived_ms: now_ms(), body: String::from_utf8(body)? });
        let answer = format!("HTTP/1.1 {status} Answer\r\nContent-Length: 2\r\n\r\n{{}}");
        connection.write_all(answer.as_bytes()).await?;
    }
}

/// A receiver that remembers all alerts.
#[derive(Debug)]
pub struct Inbox {
    receiver: Receiver,
    messages: Arc<Mutex<Vec<Message>>>,
    status: Arc<AtomicU16>,
}

impl Inbox {
    /// Accepts everything, and remembers it.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start() -> anyhow::Result<Self> {
        let messages = Arc::new(Mutex::new(Vec::new()));
        let status = Arc::new(AtomicU16::new(200));
        let (kept, answer) = (Arc::clone(&messages), Arc::clone(&status));
        let receiver = Receiver::start(move |post| {
            let status = answer.load(Ordering::Relaxed);
            match serde_json::from_str::<Vec<Alert>>(&post.body) {
                Ok(_) if status >= 300 => status,
                Ok(alerts) => {
                    let arrived_ms = post.arrived_ms;
                    let arrived = alerts.into_iter().map(|alert| Message { arrived_ms, alert });
                    kept.lock().unwrap_or_else(PoisonError::into_inner).extend(arrived);
                    status
                }
                Err(_) => 400,
            }
        });
        Ok(Self { receiver: receiver.await?, messages, status })
    }

    /// `127.0.0.1:port`
    #[must_use]
    pub fn address(&self) -> String {
        self.receiver.address()
    }

    /// Answers with this status from now on, and remembers only what it accepts.
    pub fn answer_with(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }

    /// All that arrived so far, in this order.
    #[must_use]
    pub fn messages(&self) -> Vec<Message> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The section `alerting` of a configuration that sends here.
    #[must_use]
    pub fn config(&self) -> String {
        alerting_config(&[&self.address()])
    }
}

/// The section `alerting` of a configuration that sends to `targets`.
#[must_use]
pub fn alerting_config(targets: &[&str]) -> String {
    format!("alerting:\n  alertmanagers: [{{static_configs: [{{targets: ['{}']}}]}}]\n", targets.join("', '"))
}
