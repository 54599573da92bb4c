//! Loads servers and asks them, and keeps what it cost.

use anyhow::{Context, bail};
use compat_tests::api::{Answer, Api, difference};
use compat_tests::drive::{flush, restart, settle};
use compat_tests::load::Fleet;
use compat_tests::peer::{Launch, Server, disk_bytes};
use compat_tests::questions::{self, Ask, Query};
use compat_tests::remote_write::{self, RequestBody};
use std::path::Path;
use std::time::{Duration, Instant};

/// What one server cost.
#[derive(Debug)]
pub(crate) struct Measured {
    /// Which server.
    pub(crate) name: &'static str,
    /// Few series, many samples.
    pub(crate) warm: Load,
    /// Many series, few samples.
    pub(crate) cold: Option<Load>,
    /// Seconds from start after `kill -9` to the first correct answer.
    pub(crate) restart: Option<f64>,
    /// In the order of the list of queries.
    pub(crate) queries: Vec<Asked>,
}

/// What loading cost.
#[derive(Debug)]
pub(crate) struct Load {
    /// Samples that were acknowledged.
    pub(crate) samples: usize,
    /// From the first request to the last answer.
    pub(crate) wall_seconds: f64,
    /// User and system time of the server, until it was idle again.
    pub(crate) cpu_seconds: f64,
    /// Resident memory before, when idle afterwards, and at its peak.
    pub(crate) resident_bytes: [u64; 3],
    /// Below its data directory when idle afterwards.
    pub(crate) disk_bytes: u64,
    /// As `disk_bytes`, without logs.
    pub(crate) final_bytes: u64,
    /// What blocks are and took, when they were asked for.
    pub(crate) blocks: Option<Blocks>,
    /// Median and 99th percentile of the time to an answer, in milliseconds.
    pub(crate) request_ms: [f64; 2],
}

impl Load {
    /// CPU microseconds per sample.
    pub(crate) fn cpu_micros_per_sample(&self) -> f64 {
        self.cpu_seconds * 1e6 / self.samples as f64
    }
}

/// What one query cost.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// Time to the first answer after the restart, in milliseconds.
    pub(crate) first_ms: f64,
    /// Median time to the whole answer in milliseconds.
    pub(crate) median_ms: f64,
    /// CPU milliseconds of the server per query.
    pub(crate) cpu_ms: f64,
    /// How the answer differs from Prometheus'.
    pub(crate) difference: Option<String>,
}

/// Starts a server on an empty directory, sends the whole fleet, waits until it is idle, and stops it.
pub(crate) async fn load(
    launch: &Launch,
    fleet: &Fleet,
    connections: usize,
    directory: &Path,
    blocks: bool,
) -> anyhow::Result<Load> {
    let server = launch.start().await?;
    settle(&server).await;
    let (before, _) = server.resident_bytes();
    let cpu_before = server.cpu_seconds();
    let started = Instant::now();
    let senders =
        (0..connections).map(|part| tokio::spawn(send_part(server.url.clone(), fleet.part(part, connections))));
    let mut latencies = Vec::new();
    let mut samples = 0;
    for sender in senders.collect::<Vec<_>>() {
        let (sent, times) = sender.await??;
        samples += sent;
        latencies.extend(times);
    }
    let wall_seconds = started.elapsed().as_secs_f64();
    if samples != fleet.samples() {
        bail!("{}: {samples} of {} samples were acknowledged", server.name, fleet.samples());
    }
    settle(&server).await;
    let cpu_seconds = server.cpu_seconds() - cpu_before;
    let (after, peak) = server.resident_bytes();
    latencies.sort_by(f64::total_cmp);
    let at = |q: f64| latencies.get(((latencies.len() as f64 * q) as usize).min(latencies.len() - 1)).copied();
    let request_ms = [at(0.5).unwrap_or(0.0), at(0.99).unwrap_or(0.0)];
    // Killed, not stopped: the restart that follows has to recover. VictoriaMetrics has no log and writes what it holds every
    // five seconds, so it gets the time to do so.
    tokio::time::sleep(Duration::from_secs(12)).await;
    let blocks = match blocks && server.name == "Hearth" {
        true => Some(Blocks::write(&server).await?),
        false => None,
    };
    server.kill()?;
    Ok(Load {
        samples,
        wall_seconds,
        cpu_seconds,
        resident_bytes: [before, after, peak],
        disk_bytes: disk_bytes(directory),
        final_bytes: blocks.as_ref().map_or_else(|| final_bytes(launch.name, directory), |blocks| blocks.bytes),
        blocks,
        request_ms,
    })
}

/// Blocks, and what it took to make them.
#[derive(Debug)]
pub(crate) struct Blocks {
    /// Of the blocks that the manifest names. Those that were merged away stay for some minutes.
    pub(crate) bytes: u64,
    /// Seconds by the clock and samples of all flushes: most happen while samples come.
    pub(crate) flushes: [f64; 2],
    /// The same of merges.
    pub(crate) merges: [f64; 2],
}

impl Blocks {
    /// Has everything written to blocks and merged.
    async fn write(server: &Server) -> anyhow::Result<Self> {
        flush(server, true).await?;
        let page = reqwest::get(format!("{}/metrics", server.url)).await?.text().await?;
        let sum = |name: &str| -> f64 {
            let lines = page.lines().filter(|line| line.starts_with(name));
            lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
        };
        let work = |kind: &str| ["seconds", "samples"].map(|what| sum(&format!("hearth_{kind}_{what}_total ")));
        Ok(Self { bytes: sum("hearth_block_bytes{") as u64, flushes: work("flush"), merges: work("compaction") })
    }
}

/// What stays on disk for good: logs are written over.
fn final_bytes(name: &str, directory: &Path) -> u64 {
    match name {
        "Prometheus" => disk_bytes(directory) - disk_bytes(&directory.join("prometheus").join("wal")),
        _ => disk_bytes(directory),
    }
}

async fn send_part(url: String, mut sender: compat_tests::load::Sender) -> anyhow::Result<(usize, Vec<f64>)> {
    let client = reqwest::Client::new();
    let url = format!("{url}/api/v1/write");
    let mut body = RequestBody::default();
    let (mut sent, mut latencies) = (0, Vec::new());
    while let Some((request, samples)) = sender.next_request(&mut body) {
        let started = Instant::now();
        remote_write::send_accepted(&client, &url, request).await?;
        latencies.push(started.elapsed().as_secs_f64() * 1000.0);
        sent += samples;
    }
    Ok((sent, latencies))
}

/// Starts every server on its killed data, takes the time to the first correct answer, then asks all queries in turn.
pub(crate) async fn restart_and_query(
    results: &mut [Measured],
    root: &Path,
    fleet: &Fleet,
    rounds: usize,
    launch: impl Fn(&str, &Path) -> anyhow::Result<Launch>,
) -> anyhow::Result<()> {
    let mut servers = Vec::new();
    for result in results.iter_mut() {
        let launch = launch(result.name, &root.join(result.name))?;
        let (server, seconds) = restart(&launch, fleet).await?;
        result.restart = Some(seconds);
        servers.push(server);
    }
    for server in &servers {
        settle(server).await;
    }
    // One client for each, so that connections stay open, as those of a dashboard do.
    let servers: Vec<_> = servers.into_iter().map(|server| (Api::new(&server.url), server)).collect();
    for query in questions::list(fleet) {
        ask_all(results, &servers, &query, rounds).await?;
    }
    Ok(())
}

async fn ask_all(
    results: &mut [Measured],
    servers: &[(Api, Server)],
    query: &Query,
    rounds: usize,
) -> anyhow::Result<()> {
    let mut times = vec![Vec::new(); servers.len()];
    let mut cpu = vec![0.0; servers.len()];
    let mut first = vec![0.0; servers.len()];
    for round in 0..=rounds {
        for (i, (api, server)) in servers.iter().enumerate() {
            let cpu_before = server.cpu_seconds();
            let started = Instant::now();
            let (path, parameters) = query.request();
            let parameters: Vec<_> = parameters.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            api.get_bytes(path, &parameters).await.with_context(|| format!("{}: {}", server.name, query.name))?;
            if round == 0 {
                first[i] = started.elapsed().as_secs_f64() * 1000.0;
            } else {
                times[i].push(started.elapsed().as_secs_f64() * 1000.0);
                cpu[i] += (server.cpu_seconds() - cpu_before) * 1000.0;
            }
        }
    }
    let mut answers: Vec<Option<Answer>> = Vec::new();
    for (api, _) in servers {
        answers.push(answer(query, api).await?);
    }
    let reference = results.iter().position(|r| r.name == "prometheus").and_then(|i| answers.get(i).cloned().flatten());
    let costs = cpu.iter().zip(&first).zip(&answers);
    for ((result, times), ((cpu, first), answer)) in results.iter_mut().zip(&mut times).zip(costs) {
        times.sort_by(f64::total_cmp);
        let difference = match (answer, &reference) {
            (Some(ours), Some(theirs)) => difference(ours, theirs, 1e-6),
            _ => None,
        };
        let median_ms = times.get(times.len() / 2).copied().unwrap_or(f64::NAN);
        result.queries.push(Asked { first_ms: *first, median_ms, cpu_ms: cpu / rounds as f64, difference });
    }
    Ok(())
}

/// The whole answer, for queries that return samples.
async fn answer(query: &Query, api: &Api) -> anyhow::Result<Option<Answer>> {
    Ok(match &query.ask {
        Ask::Instant { at_ms } => Some(api.instant(&query.text, *at_ms).await?),
        Ask::Range { start_ms, end_ms, step_ms } => Some(api.range(&query.text, *start_ms, *end_ms, *step_ms).await?),
        Ask::Metadata { .. } => None,
    })
}
