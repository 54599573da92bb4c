//! More series than fit the memory that the process may use: senders are asked to come again before the limit is reached, what
//! was acknowledged stays, and a restart needs no more than the process that ran before.

use anyhow::{Context, ensure};
use compat_tests::api::Api;
use compat_tests::peer::{Launch, Server};
use compat_tests::remote_write::{RequestBody, encode_labels, send};
use std::time::{Duration, Instant};

const BASE_MS: i64 = 1_700_000_000_000;
const LIMIT: u64 = 160 << 20;
const BATCH: usize = 2_000;
/// More than fit.
const BATCHES: usize = 1_000;
/// More than fit, too.
const CHURNED_BATCHES: usize = 150;

/// Writes new series until the server has no more memory for them; returns how many it acknowledged.
async fn fill(server: &Server) -> anyhow::Result<usize> {
    let (client, url) = (reqwest::Client::new(), format!("{}/api/v1/write", server.url));
    for batch in 0..BATCHES {
        let mut body = RequestBody::default();
        for i in batch * BATCH..(batch + 1) * BATCH {
            let text = i.to_string();
            let labels = encode_labels(&[("__name__", "many"), ("i", &text), ("long", &format!("{text:0>64}"))]);
            body.push(&labels, BASE_MS, i as f64);
        }
        let (status, text) = send(&client, &url, body.take_compressed()).await?;
        if status == 503 {
            ensure!(text.contains("memory is full"), "{text}");
            return Ok(batch * BATCH);
        }
        ensure!(status == 204, "{status}: {text}");
    }
    anyhow::bail!("{BATCHES} batches were taken")
}

async fn figure(server: &Server, name: &str) -> anyhow::Result<f64> {
    let page = reqwest::get(format!("{}/metrics", server.url)).await?.text().await?;
    let line = page.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name} in {page}"))?;
    Ok(line.trim().parse()?)
}

#[tokio::test]
async fn senders_are_asked_to_come_again_before_memory_is_full() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let limit = format!("--memory.limit={LIMIT}");
    let launch = Launch::hearth(directory.path(), Some("self_scrape: {enabled: false}"), &[&limit])?;
    let server = launch.start().await?;
    let acknowledged = fill(&server).await?;
    println!("{acknowledged} series, {} MiB", server.anonymous_bytes() >> 20);
    ensure!(acknowledged > 50_000, "only {acknowledged} series fit");
    ensure!(server.anonymous_bytes() < LIMIT, "{} bytes", server.anonymous_bytes());
    ensure!(figure(&server, "hearth_memory_turned_away_total{kind=\"write\"}").await? >= 1.0, "not counted");
    ensure!(figure(&server, "hearth_memory_limit_bytes").await? == LIMIT as f64, "another limit");

    // A person's query is turned away as well, and told to come again; so is who looks up series.
    for path in [format!("query?query=count(many)&time={}", BASE_MS / 1000), "series?match[]=many".into()] {
        let answer = reqwest::get(format!("{}/api/v1/{path}", server.url)).await?;
        ensure!(answer.status() == 503 && answer.headers().contains_key("retry-after"), "{path}: {}", answer.status());
    }
    ensure!(server.terminate()?, "it did not end well");

    let server = launch.start().await?;
    println!("{} MiB after the restart", server.anonymous_bytes() >> 20);
    ensure!(server.anonymous_bytes() < LIMIT, "{} bytes to start", server.anonymous_bytes());
    server.kill()?;
    let roomy = launch.clone().with_arguments(&["--memory.limit=2000000000"]);
    let server = roomy.start().await?;
    let counted = Api::new(&server.url).instant("count(many)", BASE_MS).await?;
    ensure!(counted.values().eq([&vec![(BASE_MS, acknowledged as f64)]]), "{counted:?}, {acknowledged} acknowledged");
    ensure!(server.terminate()?, "it did not end well");
    Ok(())
}

/// Series come and go, each with a few samples: once memory is short they are written to blocks and leave, so senders go on.
#[tokio::test]
async fn a_short_memory_is_given_back_by_flushing() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let limit = format!("--memory.limit={LIMIT}");
    let launch = Launch::hearth(directory.path(), Some("self_scrape: {enabled: false}"), &[&limit])?;
    let server = launch.start().await?;
    let (client, url) = (reqwest::Client::new(), format!("{}/api/v1/write", server.url));
    let (mut refused, mut most, mut after_relief) = (0, 0, 0);
    for batch in 0..CHURNED_BATCHES {
        let mut body = RequestBody::default();
        for i in batch * BATCH..(batch + 1) * BATCH {
            let text = i.to_string();
            let labels = encode_labels(&[("__name__", "churn"), ("i", &text), ("long", &format!("{text:0>64}"))]);
            body.push(&labels, BASE_MS + batch as i64 * 5_000, i as f64);
        }
        let body = body.take_compressed();
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            let (status, text) = send(&client, &url, body.clone()).await?;
            most = most.max(server.anonymous_bytes());
            if status == 204 {
                break;
            }
            ensure!(status == 503 && text.contains("memory is full"), "{status}: {text}");
            ensure!(Instant::now() < deadline, "no memory was given back after {batch} batches");
            refused += 1;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        if after_relief == 0 && figure(&server, "hearth_flush_runs_total").await? > 0.0 {
            after_relief = batch;
        }
    }
    println!("flushed after {after_relief} batches; {refused} requests turned away; at most {} MiB", most >> 20);
    ensure!(figure(&server, "hearth_flush_runs_total").await? > 0.0, "nothing was flushed");
    ensure!(most < LIMIT, "{most} bytes");
    server.kill()?;
    let roomy = launch.clone().with_arguments(&["--memory.limit=2000000000"]);
    let server = roomy.start().await?;
    let end_ms = BASE_MS + CHURNED_BATCHES as i64 * 5_000;
    let counted = Api::new(&server.url).instant("count(count_over_time(churn[1d]))", end_ms).await?;
    let all = (CHURNED_BATCHES * BATCH) as f64;
    ensure!(counted.values().eq([&vec![(end_ms, all)]]), "{counted:?}, {all} acknowledged");
    ensure!(server.terminate()?, "it did not end well");
    Ok(())
}
