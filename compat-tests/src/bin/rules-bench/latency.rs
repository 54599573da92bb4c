//! How long it takes from an accepted sample to its alert at an Alertmanager.

use anyhow::Context;
use compat_tests::receiver::Receiver;
use compat_tests::remote_write::Writer;
use compat_tests::wait::now_ms;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// A rule that is waited for, and the series that it is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watched {
    alert: &'static str,
    metric: &'static str,
    /// Milliseconds between other samples of the metric, of which nothing follows; `None`: there are none.
    others_every_ms: Option<u64>,
}

/// Evaluated every second.
pub(crate) const EVERY_SECOND: Watched = Watched { alert: "Trial", metric: "trial", others_every_ms: None };
/// Evaluated when samples arrive, which they always do.
pub(crate) const ON_INGEST: Watched = Watched { alert: "Early", metric: "early_trial", others_every_ms: Some(100) };

/// The file with [`EVERY_SECOND`].
pub(crate) const RULES: &str =
    "groups:\n- name: latency\n  interval: 1s\n  rules:\n  - {alert: Trial, expr: trial > 0}\n";

/// The file with [`ON_INGEST`], whose slots are too far apart to help.
pub(crate) const RULES_ON_INGEST: &str = "groups:\n- name: on-ingest\n  interval: 5m\n  rules:\n  - {alert: Early, expr: early_trial > 0, evaluate: on_ingest}\n";

/// A receiver of alerts that knows when they arrived.
pub(crate) struct Stub {
    receiver: Receiver,
    arrivals: Mutex<UnboundedReceiver<(Instant, String)>>,
}

impl Stub {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let (arrived, arrivals) = unbounded_channel();
        let receiver = Receiver::start(move |post| {
            if [EVERY_SECOND, ON_INGEST].iter().any(|watched| post.body.contains(&format!("\"{}\"", watched.alert))) {
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
    pub(crate) async fn delays_ms(&self, url: &str, watched: Watched, trials: usize) -> anyhow::Result<Vec<f64>> {
        let Watched { alert, metric, others_every_ms } = watched;
        if trials == 0 {
            return Ok(Vec::new());
        }
        let _others = others_every_ms.map(|every_ms| write_others(url, metric, Duration::from_millis(every_ms)));
        let mut arrivals = self.arrivals.lock().await;
        let mut writer = Writer::new(url);
        let mut delays = Vec::new();
        for trial in 0..trials {
            // At another moment of the interval each time.
            tokio::time::sleep(Duration::from_millis((trial as u64 * 617) % 1000)).await;
            let number = format!("{alert}-{trial}");
            writer.push(metric, &[("number", &number)], now_ms(), 1.0);
            writer.send().await?;
            let accepted = Instant::now();
            let wanted = format!("\"number\":\"{number}\"");
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

/// Writes samples of another series of `metric` until the task is dropped.
fn write_others(url: &str, metric: &'static str, every: Duration) -> AbortOnDrop {
    let mut writer = Writer::new(url);
    AbortOnDrop(tokio::spawn(async move {
        let mut ticks = tokio::time::interval(every);
        loop {
            ticks.tick().await;
            writer.push(metric, &[("number", "none")], now_ms(), 0.0);
            if let Err(problem) = writer.send().await {
                eprintln!("other samples: {problem:#}");
                return;
            }
        }
    }))
}

/// A task that ends when it is dropped.
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A percentile of ascending numbers.
pub(crate) fn quantile(ascending: &[f64], percent: usize) -> f64 {
    let place = (ascending.len() * percent).div_ceil(100).saturating_sub(1);
    ascending.get(place).copied().unwrap_or(f64::NAN)
}
