//! How long it takes from an accepted sample to the alert at an Alertmanager, of Hearth alone.

use anyhow::{Context, bail};
use compat_tests::peer::Launch;
use compat_tests::receiver::{Receiver, alerting_config};
use compat_tests::remote_write::{self, RequestBody, encode_labels};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc::unbounded_channel;

/// The interval of the rule group.
pub(crate) const INTERVAL: Duration = Duration::from_secs(1);

/// Milliseconds from each acknowledged sample to its alert, ascending.
///
/// # Errors
/// A sample is refused, or an alert does not arrive within ten intervals.
pub(crate) async fn delays_ms(directory: &Path, trials: usize) -> anyhow::Result<Vec<f64>> {
    std::fs::create_dir_all(directory)?;
    let (arrived, mut arrivals) = unbounded_channel();
    // A receiver that is gone has heard enough.
    let receiver = Receiver::start(move |post| arrived.send((Instant::now(), post.body)).map_or(503, |()| 200)).await?;
    let rules = "groups:\n- name: trials\n  interval: 1s\n  rules:\n  - {alert: Trial, expr: trial > 0}\n";
    std::fs::write(directory.join("rules.yml"), rules)?;
    let alerting = alerting_config(&[&receiver.address()]);
    let config = format!("self_scrape: {{enabled: false}}\nrule_files: [rules.yml]\n{alerting}");
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
    delays.sort_by(f64::total_cmp);
    Ok(delays)
}
