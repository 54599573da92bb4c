//! Finds Alertmanagers and goes on looking: DNS, files, HTTP. Lists in the configuration need no looking for.

mod check;
mod dns;
mod dns_message;
mod files;
mod list;
mod metrics;
mod resolv_conf;

use super::client::HttpClient;
use super::post::body;
use super::resolve::TargetGroup;
use crate::app::load::with_causes;
use crate::config::{AlertmanagerConfig, DnsSdConfig, FileSdConfig, HttpSdConfig};
pub use check::{CheckedLists, check_lists};
use dns::DnsDiscovery;
use files::FileDiscovery;
pub(super) use metrics::Counters;
pub use metrics::DiscoveryStats;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Method, StatusCode};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The longest list that is read.
const LIST_BYTES_MAX: u64 = 16 << 20;

/// A place to look at.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Source {
    Dns(DnsSdConfig),
    File(FileSdConfig),
    Http(Box<HttpSdConfig>),
}

impl Source {
    /// All places that `config` says.
    pub(super) fn of(config: &AlertmanagerConfig) -> Vec<Self> {
        let dns = config.dns_sd_configs.iter().cloned().map(Self::Dns);
        let files = config.file_sd_configs.iter().cloned().map(Self::File);
        let http = config.http_sd_configs.iter().map(|config| Self::Http(Box::new(config.clone())));
        dns.chain(files).chain(http).collect()
    }

    /// Looks again and again until `stop`, and tells `changed` whenever something else is found than `known`.
    pub(super) async fn watch(
        self,
        mut known: Vec<TargetGroup>,
        stop: CancellationToken,
        counters: Arc<Counters>,
        changed: impl Fn(Vec<TargetGroup>) + Send,
    ) {
        let (interval, mut place) = self.open(&counters);
        loop {
            let found = tokio::select! {
                found = place.refresh(&counters) => found,
                () = stop.cancelled() => return,
            };
            if let Some(found) = found.filter(|found| *found != known) {
                known.clone_from(&found);
                changed(found);
            }
            if stop.run_until_cancelled(tokio::time::sleep(interval)).await.is_none() {
                return;
            }
        }
    }

    fn open(self, counters: &Arc<Counters>) -> (Duration, Place) {
        match self {
            Self::Dns(config) => {
                let interval = config.refresh_interval.as_std();
                (interval, Place::Dns(Box::new(DnsDiscovery::new(config, counters.clone()))))
            }
            Self::File(config) => {
                let interval = files::LOOK_EVERY.min(config.refresh_interval.as_std());
                (interval, Place::File(FileDiscovery::new(config, counters.clone())))
            }
            Self::Http(config) => {
                let client = HttpClient::for_questions(config.http_client());
                (config.refresh_interval.as_std(), Place::Http(Box::new((*config, client))))
            }
        }
    }
}

enum Place {
    Dns(Box<DnsDiscovery>),
    File(FileDiscovery),
    Http(Box<(HttpSdConfig, HttpClient)>),
}

impl Place {
    /// All that is found now; `None` when nothing new is known.
    async fn refresh(&mut self, counters: &Counters) -> Option<Vec<TargetGroup>> {
        match self {
            Self::Dns(dns) => Some(dns.refresh().await),
            Self::File(files) => {
                let mut looking = files.clone();
                let work = move || {
                    let found = looking.refresh();
                    (looking, found)
                };
                let (after, found) = tokio::task::spawn_blocking(work).await.ok()?;
                *files = after;
                Some(found)
            }
            Self::Http(http) => {
                let (config, client) = &**http;
                match fetch(config, client).await {
                    Ok(found) => Some(found),
                    Err(problem) => {
                        counters.http_failed();
                        let url = &config.url;
                        tracing::warn!(url, problem, "a list of Alertmanagers cannot be read; those found before stay");
                        None
                    }
                }
            }
        }
    }
}

async fn fetch(config: &HttpSdConfig, client: &HttpClient) -> Result<Vec<TargetGroup>, String> {
    let interval = config.refresh_interval.as_std();
    let request = client.request(Method::GET, &config.url).await?;
    let request = request
        .timeout(interval)
        .header(ACCEPT, "application/json")
        .header("X-Prometheus-Refresh-Interval-Seconds", interval.as_secs_f64().to_string());
    let answer = request.send().await.map_err(|error| with_causes(&error))?;
    client.note(answer.status()).await;
    if answer.status() != StatusCode::OK {
        return Err(format!("server returned HTTP status {}", answer.status()));
    }
    let kind = answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !is_json(kind) {
        return Err(format!("unsupported content type {kind:?}"));
    }
    let bytes = body(answer, LIST_BYTES_MAX as usize + 1).await?;
    if bytes.len() as u64 > LIST_BYTES_MAX {
        return Err(format!("longer than {LIST_BYTES_MAX} bytes"));
    }
    list::of_json(&bytes, ("__meta_url", &config.url))
}

fn is_json(content_type: &str) -> bool {
    let lower = content_type.trim().to_ascii_lowercase();
    let Some(rest) = lower.strip_prefix("application/json") else { return false };
    let charset = rest.strip_prefix(';').map(str::trim_start);
    rest.is_empty() || matches!(charset, Some("charset=utf-8" | "charset=\"utf-8\""))
}

/// What is in a file, which must not be longer than `bytes_max`. Blocks.
pub(super) fn read_bounded(path: &Path, bytes_max: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(std::io::Error::other(format!("longer than {bytes_max} bytes")));
    }
    Ok(bytes)
}

async fn read_text(path: &Path) -> Result<String, String> {
    let file = path.to_owned();
    let read = tokio::task::spawn_blocking(move || read_bounded(&file, LIST_BYTES_MAX)).await;
    let bytes = read.map_err(|error| error.to_string())?.map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_is_a_list() {
        for (kind, expected) in [
            ("application/json", true),
            ("application/JSON; charset=UTF-8", true),
            ("application/json; charset=\"utf-8\"", true),
            ("application/jsonp", false),
            ("text/plain", false),
            ("", false),
        ] {
            assert_eq!(is_json(kind), expected, "{kind}");
        }
    }
}
