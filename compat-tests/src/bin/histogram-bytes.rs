//! Disk bytes that a native histogram takes in Hearth and in Prometheus: `cargo run -p compat-tests --bin histogram-bytes`.
//!
//! A hundred series, 600 samples each, 15 s apart: latencies of a log-normal distribution, about 50 new observations per
//! sample, some 20 populated buckets. Whole chunks only, without indexes. Prometheus' bytes are those of the chunk
//! files of a block that its snapshot API makes.
#![allow(clippy::print_stdout, reason = "it reports")]

use anyhow::{Context, ensure};
use compat_tests::peer::{Launch, disk_bytes};
use compat_tests::remote_write::{RequestBody, encode_labels, send_accepted};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

const SERIES: usize = 100;
const SAMPLES: usize = 600;
const STEP_MS: i64 = 15_000;
/// Samples of a full chunk in Hearth; the rest waits in memory.
const CUT: usize = SAMPLES / 128 * 128;

/// One process that observes latencies.
struct Source {
    random: u64,
    populations: Vec<u64>,
    sum: f64,
}

impl Source {
    fn uniform(&mut self) -> f64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.random >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    fn observe(&mut self) {
        let count = 30 + (self.uniform() * 40.0) as usize;
        for _ in 0..count {
            let normal = (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos();
            let latency = (3.0 + normal * 0.8).exp();
            self.sum += latency;
            // Schema 1: two buckets to each power of two.
            let bucket = (latency.log2() * 2.0).ceil().max(0.0) as usize;
            self.populations.resize(self.populations.len().max(bucket + 1), 0);
            self.populations[bucket] += 1;
        }
    }
}

async fn fill(url: &str) -> anyhow::Result<()> {
    let client = reqwest::Client::new();
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as i64;
    let source = |n| Source { random: n as u64 * 7919 + 1, populations: Vec::new(), sum: 0.0 };
    let mut sources: Vec<Source> = (0..SERIES).map(source).collect();
    for round in 0..SAMPLES {
        let mut body = RequestBody::default();
        for (n, source) in sources.iter_mut().enumerate() {
            source.observe();
            let instance = format!("10.0.0.{n}:9100");
            let labels = encode_labels(&[("__name__", "latency_seconds"), ("instance", &instance)]);
            let timestamp_ms = now_ms - (SAMPLES - round) as i64 * STEP_MS;
            body.push_histogram(&labels, timestamp_ms, source.sum, &source.populations);
        }
        send_accepted(&client, &format!("{url}/api/v1/write"), body.take_compressed()).await?;
    }
    Ok(())
}

/// Bytes of the chunk files of the newest block below a directory.
fn chunk_bytes(snapshots: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for snapshot in std::fs::read_dir(snapshots)? {
        for block in std::fs::read_dir(snapshot?.path())? {
            for file in std::fs::read_dir(block?.path().join("chunks"))? {
                bytes += file?.metadata()?.len();
            }
        }
    }
    Ok(bytes)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let hearth = Launch::hearth(directory.path(), Some("self_scrape: {enabled: false}"), &[])?.start().await?;
    fill(&hearth.url).await?;
    let page = reqwest::get(format!("{}/metrics", hearth.url)).await?.text().await?;
    let figure = |name: &str| -> anyhow::Result<f64> {
        let line = page.lines().find_map(|line| line.strip_prefix(name)).context("no such metric")?;
        Ok(line.trim().parse()?)
    };
    let ours = figure("hearth_head_chunk_file_bytes ")? / (SERIES * CUT) as f64;
    let log = figure("hearth_wal_written_bytes_total ")? / (SERIES * SAMPLES) as f64;
    drop(hearth);

    let arguments = ["--enable-feature=native-histograms", "--web.enable-admin-api"];
    let prometheus = Launch::prometheus(directory.path(), "global: {}")?.with_arguments(&arguments).start().await?;
    fill(&prometheus.url).await?;
    let client = reqwest::Client::new();
    let answer = client.post(format!("{}/api/v1/admin/tsdb/snapshot", prometheus.url)).send().await?;
    ensure!(answer.status().is_success(), "{}", answer.text().await?);
    let theirs = chunk_bytes(&directory.path().join("prometheus/snapshots"))? as f64 / (SERIES * SAMPLES) as f64;
    let their_log = disk_bytes(&directory.path().join("prometheus/wal")) as f64 / (SERIES * SAMPLES) as f64;
    println!("bytes per native histogram   Hearth  Prometheus");
    println!("in chunks                    {ours:6.1}  {theirs:10.1}");
    println!("in the write-ahead log       {log:6.1}  {their_log:10.1}");
    Ok(())
}
