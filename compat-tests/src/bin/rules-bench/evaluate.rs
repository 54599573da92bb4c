//! One server under a steady load, without and with rules.

use crate::{Arguments, latency, rules};
use anyhow::{Context, bail};
use compat_tests::load::{Fleet, SERIES_PER_TARGET, Sender};
use compat_tests::metrics;
use compat_tests::peer::{Launch, Server};
use compat_tests::receiver::alerting_config;
use compat_tests::remote_write::{self, RequestBody};
use compat_tests::wait::{now_ms, until_ms};
use std::path::Path;
use std::time::{Duration, Instant};

/// Distance of two scrapes of the load.
const SCRAPE_MS: i64 = 15_000;
/// Samples that are there before the load begins: what `[5m]` looks at.
const HISTORY_SCRAPES: i64 = 20;

/// What was measured.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) evaluations: f64,
    pub(crate) failures: f64,
    pub(crate) missed: f64,
    /// CPU seconds that the rules took in the window.
    cpu_seconds: f64,
    pub(crate) idle_cores: f64,
    pub(crate) busy_cores: f64,
    pub(crate) peak_bytes: u64,
    pub(crate) reload_seconds: f64,
    pub(crate) listing_seconds: f64,
    pub(crate) listing_bytes: usize,
    /// Ascending.
    pub(crate) delays_ms: Vec<f64>,
    /// Of the rule that is evaluated when samples arrive, ascending; empty where there is no such thing.
    pub(crate) early_delays_ms: Vec<f64>,
}

impl Measured {
    /// CPU microseconds per evaluation of a rule.
    pub(crate) fn micros_per_evaluation(&self) -> f64 {
        self.cpu_seconds * 1e6 / self.evaluations
    }
}

pub(crate) async fn run(name: &str, directory: &Path, arguments: &Arguments) -> anyhow::Result<Measured> {
    std::fs::create_dir_all(directory)?;
    let stub = latency::Stub::start().await?;
    let config = |rule_files: &str| {
        let alerting = alerting_config(&[&stub.address()]);
        let own = if name == "hearth" { "self_scrape: {enabled: false}\n" } else { "" };
        format!("{own}global: {{scrape_interval: 1h}}\nrule_files: [{rule_files}]\n{alerting}")
    };
    let launch = match name {
        "hearth" => Launch::hearth(directory, Some(&config("")), &["--log.level=warn"])?,
        _ => Launch::prometheus(directory, &config(""))?,
    };
    let server = launch.start().await?;
    let _load = load(&server, arguments.series).await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let idle_cores = cores_over(&server, arguments.idle).await;

    let targets = arguments.series / SERIES_PER_TARGET;
    for (i, text) in rules::files(arguments.groups, arguments.rules, arguments.interval, targets).iter().enumerate() {
        std::fs::write(directory.join(format!("rules-{i:02}.yml")), text)?;
    }
    std::fs::write(directory.join("latency.yml"), latency::RULES)?;
    let on_ingest_trials = if name == "hearth" { arguments.on_ingest } else { 0 };
    if on_ingest_trials > 0 {
        std::fs::write(directory.join("rules-on-ingest.yml"), latency::RULES_ON_INGEST)?;
    }
    let reload_seconds = reload(&server, directory, &config("'*-*.yml', latency.yml"), arguments.groups).await?;
    tokio::time::sleep(Duration::from_secs(arguments.interval)).await;

    let before = Counted::read(&server).await?;
    let (cpu, began) = (server.cpu_seconds(), Instant::now());
    tokio::time::sleep(Duration::from_secs(arguments.window)).await;
    let (cpu, seconds) = (server.cpu_seconds() - cpu, began.elapsed().as_secs_f64());
    let after = Counted::read(&server).await?;

    let mut listings = Vec::new();
    for _ in 0..5 {
        let began = Instant::now();
        let answer = reqwest::get(format!("{}/api/v1/rules", server.url)).await?.error_for_status()?;
        listings.push((began.elapsed().as_secs_f64(), answer.bytes().await?.len(), began.elapsed().as_secs_f64()));
    }
    listings.sort_by(|a, b| a.2.total_cmp(&b.2));
    let (_, listing_bytes, listing_seconds) = listings[2];
    let delays_ms = stub.delays_ms(&server.url, latency::EVERY_SECOND, arguments.alerts).await?;
    let early_delays_ms = stub.delays_ms(&server.url, latency::ON_INGEST, on_ingest_trials).await?;
    Ok(Measured {
        evaluations: after.evaluations - before.evaluations,
        failures: after.failures - before.failures,
        missed: after.missed - before.missed,
        cpu_seconds: cpu - idle_cores * seconds,
        idle_cores,
        busy_cores: cpu / seconds,
        peak_bytes: server.resident_bytes().1,
        reload_seconds,
        listing_seconds,
        listing_bytes,
        delays_ms,
        early_delays_ms,
    })
}

/// Ends when it is dropped.
struct Load(tokio::task::AbortHandle);

impl Drop for Load {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Writes what has happened already, then goes on as time does.
async fn load(server: &Server, series: usize) -> anyhow::Result<Load> {
    let fleet = Fleet {
        targets: series / SERIES_PER_TARGET,
        interval_ms: SCRAPE_MS,
        start_ms: now_ms() - HISTORY_SCRAPES * SCRAPE_MS,
        scrapes: 1_000_000,
        jitter_ms: 3,
        churn_every: 0,
        seed: 1,
    };
    let requests = fleet.targets.div_ceil(2_000 / SERIES_PER_TARGET) as i64;
    let mut sender = fleet.part(0, 1);
    let url = format!("{}/api/v1/write", server.url);
    let mut body = RequestBody::default();
    for _ in 0..requests * HISTORY_SCRAPES {
        send_next(&url, &reqwest::Client::new(), &mut sender, &mut body).await?;
    }
    let task = tokio::spawn(async move {
        let client = reqwest::Client::new();
        let begin_ms = now_ms();
        for request in 0.. {
            until_ms(begin_ms + request * SCRAPE_MS / requests).await;
            if let Err(problem) = send_next(&url, &client, &mut sender, &mut body).await {
                // The servers end before the load does.
                eprintln!("load: {problem:#}");
                return;
            }
        }
    });
    Ok(Load(task.abort_handle()))
}

async fn send_next(
    url: &str,
    client: &reqwest::Client,
    sender: &mut Sender,
    body: &mut RequestBody,
) -> anyhow::Result<()> {
    let (request, _) = sender.next_request(body).context("the load has an end")?;
    remote_write::send_accepted(client, url, request).await
}

async fn cores_over(server: &Server, seconds: u64) -> f64 {
    let (cpu, began) = (server.cpu_seconds(), Instant::now());
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    (server.cpu_seconds() - cpu) / began.elapsed().as_secs_f64()
}

/// Returns how long it takes until the groups run.
async fn reload(server: &Server, directory: &Path, config: &str, groups: usize) -> anyhow::Result<f64> {
    let file = if server.name == "Hearth" { "hearth.yml" } else { "prometheus.yml" };
    std::fs::write(directory.join(file), config)?;
    let began = Instant::now();
    server.signal("HUP")?;
    let name = format!("{}_rule_group_rules", server.name.to_lowercase());
    while began.elapsed() < Duration::from_secs(120) {
        let page = metrics::page(&server.url).await?;
        if page.lines().filter(|line| line.starts_with(&name)).count() > groups {
            return Ok(began.elapsed().as_secs_f64());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    bail!("{} does not load the rules", server.name)
}

struct Counted {
    evaluations: f64,
    failures: f64,
    missed: f64,
}

impl Counted {
    async fn read(server: &Server) -> anyhow::Result<Self> {
        let page = metrics::page(&server.url).await?;
        let sum = |name: &str| {
            let name = format!("{}_rule_{name}_total", server.name.to_lowercase());
            metrics::sum(&page, &name).with_context(|| format!("{name} is missing"))
        };
        Ok(Self {
            evaluations: sum("evaluations")?,
            failures: sum("evaluation_failures")?,
            missed: sum("group_iterations_missed")?,
        })
    }
}
