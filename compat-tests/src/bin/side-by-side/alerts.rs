//! How long it takes from an accepted sample to the alert at an Alertmanager, of Hearth alone.

use anyhow::{Context, bail};
use compat_tests::peer::Launch;
use compat_tests::remote_write::{self, RequestBody, encode_labels};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

/// The interval of the rule group.
pub(crate) const INTERVAL: Duration = Duration::from_secs(1);

/// Milliseconds from each acknowledged sample to its alert, ascending.
///
/// # Errors
/// A sample is refused, or an alert does not arrive within ten intervals.
pub(crate) async fn delays_ms(directory: &Path, trials: usize) -> anyhow::Result<Vec<f64>> {
    std::fs::create_dir_all(directory)?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (arrived, mut arrivals) = unbounded_channel();
    let receiver = tokio::spawn(receive(listener, arrived));
    let rules = "groups:\n- name: trials\n  interval: 1s\n  rules:\n  - {alert: Trial, expr: trial > 0}\n";
    std::fs::write(directory.join("rules.yml"), rules)?;
    let config = format!(
        "self_scrape: {{enabled: false}}\nrule_files: [rules.yml]\n\
         alerting: {{alertmanagers: [{{static_configs: [{{targets: ['{address}']}}]}}]}}\n"
    );
    let server = Launch::hearth(directory, Some(&config), &[])?.start().await?;
    let url = format!("{}/api/v1/write", server.url);
    let client = reqwest::Client::new();
    let mut body = RequestBody::default();
    let mut delays = Vec::new();
    for trial in 0..trials {
        // At another moment of the interval each time.
        tokio::time::sleep(Duration::from_millis((trial as u64 * 617) % 1000)).await;
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as i64;
        let number = trial.to_string();
        body.push(&encode_labels(&[("__name__", "trial"), ("number", &number)]), now_ms, 1.0);
        let (status, text) = remote_write::send(&client, &url, body.take_compressed()).await?;
        let accepted = Instant::now();
        if status != 204 {
            bail!("{url} answered {status}: {text}");
        }
        let wanted = format!("\"number\":\"{number}\"");
        loop {
            let next = tokio::time::timeout(10 * INTERVAL, arrivals.recv()).await;
            let (at, alerts): (Instant, String) = next.context("no alert arrived")?.context("the receiver ended")?;
            if alerts.contains(&wanted) {
                delays.push(at.saturating_duration_since(accepted).as_secs_f64() * 1e3);
                break;
            }
        }
    }
    receiver.abort();
    delays.sort_by(f64::total_cmp);
    Ok(delays)
}

/// Takes every request as an Alertmanager does, and passes on when it was complete and what it said.
async fn receive(listener: TcpListener, arrived: UnboundedSender<(Instant, String)>) {
    while let Ok((connection, _)) = listener.accept().await {
        let arrived = arrived.clone();
        tokio::spawn(async move { serve(connection, &arrived).await });
    }
}

async fn serve(connection: TcpStream, arrived: &UnboundedSender<(Instant, String)>) -> anyhow::Result<()> {
    let mut connection = BufReader::new(connection);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if connection.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        connection.read_exact(&mut body).await?;
        arrived.send((Instant::now(), String::from_utf8(body)?))?;
        connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").await?;
    }
}
