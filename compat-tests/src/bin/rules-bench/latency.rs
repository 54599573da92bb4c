//! How long it takes from an accepted sample to its alert at an Alertmanager.

use anyhow::Context;
use compat_tests::receiver::Receiver;
use compat_tests::remote_write::Writer;
use compat_tests::wait::now_ms;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// The rule that is waited for.
pub(crate) const RULES: &str =
    "groups:\n- name: latency\n  interval: 1s\n  rules:\n  - {alert: Trial, expr: trial > 0}\n";

/// A receiver of alerts that knows when they arrived.
pub(crate) struct Stub {
    receiver: Receiver,
    arrivals: Mutex<UnboundedReceiver<(Instant, String)>>,
}

impl Stub {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let (arrived, arrivals) = unbounded_channel();
        let receiver = Receiver::start(move |post| {
            if post.body.contains("\"Trial\"") {
                // Nobody listens any more when the measurement is over.
                let _ = arrived.send((Instant::now(), post.body));
            }
            200
        });
        Ok(Self { receiver: receiver.await?, arrivals: Mutex::new(arrivals) })
    }

    pub(crate) fn address(&self) -> String {
        self.receiver.address()
    }

    /// Milliseconds from each acknowledged sample to its alert, ascending.
    pub(crate) async fn delays_ms(&self, url: &str, trials: usize) -> anyhow::Result<Vec<f64>> {
        let mut arrivals = self.arrivals.lock().await;
        let mut writer = Writer::new(url);
        let mut delays = Vec::new();
        for trial in 0..trials {
            // At another moment of the interval each time.
            tokio::time::sleep(Duration::from_millis((trial as u64 * 617) % 1000)).await;
            writer.push("trial", &[("number", &trial.to_string())], now_ms(), 1.0);
            writer.send().await?;
            let accepted = Instant::now();
            let wanted = format!("\"number\":\"{trial}\"");
            loop {
                let next = tokio::time::timeout(Duration::from_secs(20), arrivals.recv()).await;
                let (at, alerts) = next.context("no alert arrived")?.context("the receiver ended")?;
                if alerts.contains(&wanted) {
                    delays.push(at.saturating_duration_since(accepted).as_secs_f64() * 1e3);
                    break;
                }
            }
        }
        delays.sort_by(f64::total_cmp);
        Ok(delays)
    }
}

/// A percentile of ascending numbers.
pub(crate) fn quantile(ascending: &[f64], percent: usize) -> f64 {
    let place = (ascending.len() * percent).div_ceil(100).saturating_sub(1);
    ascending.get(place).copied().unwrap_or(f64::NAN)
}
