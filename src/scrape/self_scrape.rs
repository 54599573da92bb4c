//! Scrapes the own metrics page into the own storage, as Prometheus scrapes a target: `job` and `instance` labels, `up` and the
//! `scrape_*` series, stale markers for series that vanished.
//!
//! [`Scraped::from_page`] decides what a scrape yields; [`SelfScrape::run`] waits and writes.

use super::text_format::{self, PageError};
use model::labels::Labels;
use model::metadata::Metadata;
use model::sample::stale_marker;
use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio_util::sync::CancellationToken;

/// Where scraped samples go.
pub trait Sink: Send + Sync {
    /// Stores samples that all have one timestamp, and what is known about their metrics; returns when they are durable.
    fn store(
        &self,
        timestamp_ms: i64,
        samples: Vec<(Labels, f64)>,
        metadata: Vec<(String, Metadata)>,
    ) -> impl Future<Output = Result<(), String>> + Send;
}

/// How the last scrape went, for `/api/v1/targets`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TargetStatus {
    /// Label `job`.
    pub job: String,
    /// Label `instance`.
    pub instance: String,
    /// The page that is scraped.
    pub url: String,
    /// Start of the last scrape, milliseconds since the Unix epoch; 0 before the first.
    pub last_scrape_ms: i64,
    /// How long it took.
    pub last_duration: Duration,
    /// Why it failed; empty when it did not.
    pub last_error: String,
    /// Distance of two scrapes.
    pub interval: Duration,
}

/// The scraper of the own page.
pub struct SelfScrape<S> {
    sink: S,
    page: Arc<dyn Fn() -> String + Send + Sync>,
    status: Arc<Mutex<TargetStatus>>,
}

impl<S: Sink> SelfScrape<S> {
    /// A scraper that reads `page` and writes to `sink`; `status` is kept up to date.
    pub fn new(sink: S, page: Arc<dyn Fn() -> String + Send + Sync>, status: Arc<Mutex<TargetStatus>>) -> Self {
        Self { sink, page, status }
    }

    /// Scrapes at every multiple of the interval until `stop` is cancelled.
    pub async fn run(self, stop: CancellationToken) {
        let (job, instance, interval) = {
            let status = lock(&self.status);
            (status.job.clone(), status.instance.clone(), status.interval)
        };
        let mut known = HashSet::new();
        loop {
            tokio::select! {
                () = tokio::time::sleep(until_next_slot(interval)) => {}
                () = stop.cancelled() => return,
            }
            let started = Instant::now();
            let timestamp_ms = now_ms();
            let scraped = Scraped::from_page(&(self.page)(), &job, &instance, &mut known, started.elapsed());
            let mut error = scraped.error.map(|error| error.to_string()).unwrap_or_default();
            let stored = self.sink.store(timestamp_ms, scraped.samples, scraped.metadata).await;
            if let Err(problem) = stored {
                tracing::warn!(problem, "the own metrics were not stored");
                error = problem;
            }
            let mut status = lock(&self.status);
            status.last_scrape_ms = timestamp_ms;
            status.last_duration = started.elapsed();
            status.last_error = error;
        }
    }
}

fn lock(status: &Mutex<TargetStatus>) -> std::sync::MutexGuard<'_, TargetStatus> {
    status.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as i64)
}

fn until_next_slot(interval: Duration) -> Duration {
    let interval_ms = interval.as_millis().max(1) as i64;
    Duration::from_millis((interval_ms - now_ms().rem_euclid(interval_ms)).unsigned_abs())
}

/// What one scrape yields.
#[derive(Debug, Default)]
pub struct Scraped {
    /// All of one timestamp.
    pub samples: Vec<(Labels, f64)>,
    /// By name of the metric.
    pub metadata: Vec<(String, Metadata)>,
    /// Why the page could not be read.
    pub error: Option<PageError>,
}

impl Scraped {
    /// Turns a page into samples; `known` holds the series of the last scrape and is brought up to date.
    #[must_use]
    pub fn from_page(text: &str, job: &str, instance: &str, known: &mut HashSet<Labels>, took: Duration) -> Self {
        let mut scraped = Self::default();
        let page = text_format::parse(text).unwrap_or_else(|error| {
            scraped.error = Some(error);
            text_format::Page::default()
        });
        let mut current = HashSet::with_capacity(page.samples.len());
        for sample in page.samples {
            let labels = with_target(&sample.labels, job, instance);
            if current.insert(labels.clone()) {
                scraped.samples.push((labels, sample.value));
            }
        }
        let added = current.iter().filter(|labels| !known.contains(*labels)).count();
        let gone = known.iter().filter(|labels| !current.contains(*labels));
        scraped.samples.extend(gone.map(|labels| (labels.clone(), stale_marker())));
        let up = if scraped.error.is_none() { 1.0 } else { 0.0 };
        for (name, value) in [
            ("up", up),
            ("scrape_duration_seconds", took.as_secs_f64()),
            ("scrape_samples_scraped", current.len() as f64),
            ("scrape_samples_post_metric_relabeling", current.len() as f64),
            ("scrape_series_added", added as f64),
        ] {
            let labels = Labels::from_sorted([("__name__", name), ("instance", instance), ("job", job)]);
            scraped.samples.push((labels, value));
        }
        *known = current;
        scraped.metadata = page.metadata;
        scraped
    }
}

/// Adds the target's labels; labels of these names that the page has move to `exported_…`.
fn with_target(labels: &Labels, job: &str, instance: &str) -> Labels {
    let mut out = labels.clone();
    for (name, value) in [("job", job), ("instance", instance)] {
        if let Some(own) = labels.get(name) {
            out = out.with(&format!("exported_{name}"), own);
        }
        out = out.with(name, value);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(scraped: &Scraped) -> Vec<String> {
        let own =
            scraped.samples.iter().filter(|(labels, _)| !labels.metric_name().unwrap_or("").starts_with("scrape_"));
        own.map(|(labels, value)| format!("{labels} {:x}", value.to_bits())).collect()
    }

    #[test]
    fn a_vanished_series_gets_a_stale_marker_once() {
        let mut known = HashSet::new();
        let mut scrape = |text: &str| printed(&Scraped::from_page(text, "j", "i", &mut known, Duration::ZERO));
        let one = 1.0_f64.to_bits();
        let up = format!(r#"{{__name__="up", instance="i", job="j"}} {one:x}"#);
        let a = format!(r#"{{__name__="a", exported_job="x", instance="i", job="j"}} {one:x}"#);
        assert_eq!(scrape("a{job=\"x\"} 1"), [a, up.clone()]);
        let stale = r#"{__name__="a", exported_job="x", instance="i", job="j"} 7ff0000000000002"#;
        assert_eq!(scrape(""), [stale.to_owned(), up.clone()]);
        assert_eq!(scrape(""), [up]);
    }

    #[test]
    fn an_unreadable_page_is_down() {
        let scraped = Scraped::from_page("a b c", "j", "i", &mut HashSet::new(), Duration::ZERO);
        assert!(scraped.error.is_some());
        assert!(scraped.samples.iter().any(|(labels, value)| labels.metric_name() == Some("up") && *value == 0.0));
    }
}
