//! Native histograms in a circle: written to Hearth, federated from it by Prometheus, written back by Prometheus. Both then
//! answer the same.

use anyhow::{bail, ensure};
use compat_tests::api::{Api, difference};
use compat_tests::peer::{Launch, Server};
use compat_tests::remote_write::{RequestBody, encode_labels, send};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is after 1970").as_millis() as i64
}

/// Prometheus that federates every second and writes what it finds back, marked by a label.
async fn prometheus(hearth: &Server, directory: &Path) -> anyhow::Result<Server> {
    let config = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s, external_labels: {{via: prometheus}}}}\n\
         scrape_configs:\n\
         - job_name: federate\n\
         \x20 honor_labels: true\n\
         \x20 metrics_path: /federate\n\
         \x20 params: {{'match[]': ['latency_seconds{{via=\"\"}}']}}\n\
         \x20 static_configs: [{{targets: ['{}']}}]\n\
         remote_write:\n\
         - {{url: '{}/api/v1/write', send_native_histograms: true, queue_config: {{batch_send_deadline: 1s}}}}\n",
        hearth.url.trim_start_matches("http://"),
        hearth.url,
    );
    Launch::prometheus(directory, &config)?.with_arguments(&["--enable-feature=native-histograms"]).start().await
}

#[tokio::test]
async fn histograms_go_round_through_prometheus_and_both_agree() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let hearth = Launch::hearth(directory.path(), Some("self_scrape: {enabled: false}"), &[])?.start().await?;
    let prometheus = prometheus(&hearth, directory.path()).await?;
    let client = reqwest::Client::new();
    let url = format!("{}/api/v1/write", hearth.url);
    // Half a minute, a sample a second, on its first millisecond; buckets come and grow.
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut observations = 0;
    while Instant::now() < deadline {
        observations += 1;
        let timestamp_ms = now_ms() / 1000 * 1000;
        let mut body = RequestBody::default();
        for job in ["a", "b"] {
            let labels = encode_labels(&[("__name__", "latency_seconds"), ("job", job)]);
            let populations: Vec<u64> = (0..3 + observations / 8).map(|bucket| observations * (bucket + 1)).collect();
            body.push_histogram(&labels, timestamp_ms, observations as f64 * 1.5, &populations);
            body.push_exemplar(&labels, timestamp_ms, 0.5, ("trace_id", &format!("{job}-{observations}")));
        }
        let (status, text) = send(&client, &url, body.take_compressed()).await?;
        ensure!(status == 204, "{status}: {text}");
        tokio::time::sleep(Duration::from_millis((1_000 - now_ms() % 1_000) as u64)).await;
    }
    let end_ms = now_ms() / 1000 * 1000 - 5_500;
    let (ours, theirs) = (Api::new(&hearth.url), Api::new(&prometheus.url));
    let deadline = Instant::now() + Duration::from_secs(20);
    for function in ["histogram_count(%)", "histogram_sum(%)", "histogram_count(rate(%[10s]))", "histogram_sum(sum(%))"]
    {
        let query = |selector: &str| format!("sum without (via) ({})", function.replace('%', selector));
        loop {
            let a = ours.instant(&query("latency_seconds{via=\"prometheus\"}"), end_ms).await?;
            let b = theirs.instant(&query("latency_seconds"), end_ms).await?;
            ensure!(!b.is_empty(), "Prometheus federates no histograms");
            match difference(&a, &b, 1e-9) {
                None => break,
                Some(problem) if Instant::now() > deadline => bail!("{function}: {problem}"),
                Some(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }
    let parameters = [("query", "latency_seconds{job=\"a\"}"), ("start", "0"), ("end", "9999999999")];
    let exemplars = ours.get("/api/v1/query_exemplars", &parameters).await?;
    let found = exemplars[0]["exemplars"].as_array().map_or(0, Vec::len);
    ensure!(found as u64 == observations, "{found} of {observations} exemplars: {exemplars}");
    Ok(())
}
