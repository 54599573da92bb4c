//! `kill -9` of the real binary under load, again and again, while its head is flushed to blocks and these are merged: every
//! acknowledged sample is there afterwards, bit for bit, and none twice. `HEARTH_KILL_ROUNDS` sets how often (default 50).

use anyhow::{Context, ensure};
use compat_tests::api::Api;
use compat_tests::peer::Launch;
use compat_tests::remote_write::{RequestBody, encode_labels, send};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SERIES: usize = 400;
const SENDERS: usize = 4;
const BASE_MS: i64 = 1_700_000_000_000;

/// Acknowledged samples of one series: time and value.
type Acknowledged = BTreeMap<i64, f64>;

/// A value that is its own proof: all 64 bits depend on series and time, and it is no NaN.
fn value_of(series: usize, step: i64) -> f64 {
    let mixed = (series as u64 ^ ((step as u64) << 20)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    match step % 3 {
        0 => f64::from_bits(mixed & !(1 << 62)),
        1 => (mixed >> 40) as f64 / 100.0,
        _ => step as f64,
    }
}

fn label_bytes(series: usize) -> Vec<u8> {
    encode_labels(&[("__name__", "durable"), ("instance", &format!("i{}", series % 20)), ("n", &series.to_string())])
}

/// Sends steps of its share of the series until the server goes away; keeps what was acknowledged.
async fn send_until_killed(url: String, sender: usize, mut step: i64, kept: Arc<Mutex<Vec<Acknowledged>>>) -> i64 {
    let client = reqwest::Client::new();
    let labels: Vec<_> = (0..SERIES).map(label_bytes).collect();
    let mut body = RequestBody::default();
    loop {
        let mine = (0..SERIES).filter(|series| series % SENDERS == sender);
        for series in mine.clone() {
            body.push(&labels[series], BASE_MS + step * 1000, value_of(series, step));
        }
        let answer = send(&client, &url, body.take_compressed()).await;
        if !matches!(answer, Ok((200..300, _))) {
            return step + 1;
        }
        let mut kept = kept.lock().expect("no sender panics");
        for series in mine {
            kept[series].insert(BASE_MS + step * 1000, value_of(series, step));
        }
        step += 1;
    }
}

/// Flushes and merges without a pause until the server goes away; returns how often that was done.
async fn flush_until_killed(url: String) -> u64 {
    let client = reqwest::Client::new();
    let mut done = 0;
    loop {
        match client.post(&url).send().await {
            Ok(answer) if answer.status().is_success() => done += 1,
            // A server that starts is not ready yet.
            Ok(_) => {}
            Err(_) => return done,
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn check(api: &Api, kept: &[Acknowledged], from_step: i64, to_step: i64) -> anyhow::Result<usize> {
    let span_s = to_step - from_step + 1;
    let query = format!("durable[{span_s}s]");
    let stored = api.instant(&query, BASE_MS + to_step * 1000).await?;
    let mut found = 0;
    for (series, acknowledged) in kept.iter().enumerate().filter(|(_, acknowledged)| !acknowledged.is_empty()) {
        let labels = format!(r#"{{"__name__":"durable","instance":"i{}","n":"{series}"}}"#, series % 20);
        let points = stored.get(&labels).with_context(|| format!("{labels} is gone"))?;
        ensure!(points.windows(2).all(|pair| pair[0].0 < pair[1].0), "{labels} has a sample twice");
        let points: BTreeMap<_, _> = points.iter().copied().collect();
        for (time, value) in acknowledged.range(BASE_MS + from_step * 1000..) {
            let at = points.get(time).with_context(|| format!("{labels} lost its sample at {time}"))?;
            ensure!(at.to_bits() == value.to_bits(), "{labels} at {time} is {at}, acknowledged {value}");
            found += 1;
        }
    }
    Ok(found)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_sample_is_lost_by_kill_9() -> anyhow::Result<()> {
    let rounds: u64 = std::env::var("HEARTH_KILL_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(50);
    let directory = tempfile::tempdir()?;
    let config = "self_scrape: {enabled: false}";
    // Snapshots so often that kills meet them too.
    let launch =
        Launch::hearth(directory.path(), Some(config), &["--storage.snapshot-interval=1s", "--web.enable-admin-api"])?;
    let kept = Arc::new(Mutex::new(vec![Acknowledged::new(); SERIES]));
    let (mut first_step, mut next_step, mut found, mut flushes) = (0, 0, 0, 0);
    for round in 0..rounds {
        let server = launch.start().await.with_context(|| format!("round {round}"))?;
        let url = format!("{}/api/v1/write", server.url);
        let senders: Vec<_> = (0..SENDERS)
            .map(|s| tokio::spawn(send_until_killed(url.clone(), s, next_step, Arc::clone(&kept))))
            .collect();
        let flush = format!("{}/api/v1/admin/tsdb/flush?wait=true&compact={}", server.url, round % 2 == 0);
        let flusher = tokio::spawn(flush_until_killed(flush));
        // Moments spread over start, snapshot and steady state, the same in every run.
        tokio::time::sleep(Duration::from_millis(50 + (round * 379) % 1700)).await;
        server.kill()?;
        for sender in senders {
            next_step = next_step.max(sender.await?);
        }
        flushes += flusher.await?;
        let server = launch.start().await.with_context(|| format!("after round {round}"))?;
        let snapshot = kept.lock().expect("no sender panics").clone();
        let checked = check(&Api::new(&server.url), &snapshot, first_step, next_step).await;
        found = checked.with_context(|| format!("after round {round}"))?;
        // Older rounds stay in the check until the answer would become large.
        if next_step - first_step > 300 {
            first_step = next_step;
            kept.lock().expect("no sender panics").iter_mut().for_each(BTreeMap::clear);
        }
        ensure!(server.terminate()?, "round {round}: did not end well");
    }
    println!(
        "{rounds} rounds, {next_step} steps, {flushes} flushes, the last check found {found} acknowledged samples"
    );
    ensure!(next_step > rounds as i64, "hardly anything was sent");
    ensure!(flushes > rounds / 2, "hardly anything was flushed: {flushes}");
    Ok(())
}

/// A query that sorts a day of seconds for each minute of a month: long enough to be killed in.
const LONG_QUERY: &str = "quantile_over_time(0.5, vector(1)[1d:1s])";

#[tokio::test]
async fn queries_that_ran_when_the_process_was_killed_are_named_afterwards() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let launch =
        Launch::hearth(directory.path(), Some("self_scrape: {enabled: false}"), &["--query.max-samples=500000000"])?;
    let server = launch.start().await?;
    let api = Api::new(&server.url);
    let query = tokio::spawn({
        let api = api.clone();
        async move { api.range(LONG_QUERY, BASE_MS, BASE_MS + 10_000 * 60_000, 60_000).await }
    });
    let listed = || async {
        let listed = api.get("/api/v1/status/active_queries", &[]).await?;
        ensure!(listed["queries"].to_string().contains(LONG_QUERY), "{listed}");
        ensure!(listed.get("lastCrash").is_none(), "{listed}");
        anyhow::Ok(())
    };
    while listed().await.is_err() {
        ensure!(!query.is_finished(), "the query ended before it was listed");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.kill()?;
    ensure!(query.await?.is_err(), "the query cannot have ended");

    let server = launch.start().await?;
    let after = Api::new(&server.url).get("/api/v1/status/active_queries", &[]).await?;
    ensure!(after["queries"] == serde_json::json!([]), "{after}");
    ensure!(after["lastCrash"]["queries"][0]["query"] == LONG_QUERY, "{after}");
    ensure!(launch.log_tail().contains("this query was running when the process ended"), "{}", launch.log_tail());
    ensure!(server.terminate()?, "did not end well");
    let server = launch.start().await?;
    let after = Api::new(&server.url).get("/api/v1/status/active_queries", &[]).await?;
    ensure!(after.get("lastCrash").is_none(), "{after}");
    ensure!(server.terminate()?, "did not end well");
    Ok(())
}
