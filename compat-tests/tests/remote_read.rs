//! Remote read against a real Prometheus: it evaluates queries on our samples, and what we stream is byte for byte what it
//! streams of the same samples.

use anyhow::ensure;
use compat_tests::api::{Api, difference};
use compat_tests::peer::{Launch, Server};
use compat_tests::remote_read::{ResponseType, request, send};
use compat_tests::remote_write::{self, RequestBody, encode_labels};
use std::time::{SystemTime, UNIX_EPOCH};

const STEP_MS: i64 = 15_000;
/// Few enough for one chunk each.
const SAMPLES: i64 = 100;

/// A past time from which all samples are in one block of Prometheus, so that it cuts no chunk early.
fn base_ms() -> i64 {
    const BLOCK_MS: i64 = 2 * 3600 * 1000;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is after 1970").as_millis() as i64;
    now / BLOCK_MS * BLOCK_MS - BLOCK_MS + 600_000
}

/// Counters, waves, constants and jittered times: every way in which a chunk is encoded.
async fn write_series(client: &reqwest::Client, server: &Server, base_ms: i64) -> anyhow::Result<()> {
    let mut body = RequestBody::default();
    for i in 0..SAMPLES {
        let odd = [f64::NAN, f64::INFINITY, -1.5, 5e-324][i as usize % 4];
        let kinds = [
            ("wave_constant", 1.0),
            ("wave_counter_total", (i * i) as f64),
            ("wave_sine", (i as f64 / 7.0).sin() * 1e3),
            ("wave_odd", odd),
        ];
        for (name, value) in kinds {
            // Prometheus 2.42 adds a zero byte to a chunk whose bits fill its last byte; with this jitter none does.
            for (instance, jitter) in [("a:1", 0), ("b:2", i * 7919 % 11)] {
                let labels = encode_labels(&[("__name__", name), ("instance", instance), ("job", "wave")]);
                body.push(&labels, base_ms + i * STEP_MS + jitter, value);
            }
        }
    }
    let url = format!("{}/api/v1/write", server.url);
    let (status, text) = remote_write::send(client, &url, body.take_compressed()).await?;
    ensure!(status == 204, "{}: {status}: {text}", server.name);
    Ok(())
}

#[tokio::test]
async fn prometheus_answers_queries_from_what_hearth_stores() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let client = reqwest::Client::new();
    let config = "{global: {external_labels: {cluster: lab}}, self_scrape: {enabled: false}}";
    let hearth = Launch::hearth(directory.path(), Some(config), &[])?.start().await?;
    let config = format!("remote_read:\n- {{url: '{}/prometheus/api/v1/read', read_recent: true}}\n", hearth.url);
    let prometheus = Launch::prometheus(directory.path(), &config)?.start().await?;
    let base_ms = base_ms();
    write_series(&client, &hearth, base_ms).await?;
    let (ours, theirs) = (Api::new(&hearth.url), Api::new(&prometheus.url));
    // Away from the samples: 2.42 counts one at the beginning of a range, we and later versions do not.
    let (start_ms, end_ms) = (base_ms + 7_001, base_ms + SAMPLES * STEP_MS);
    for query in
        ["wave_counter_total", "rate(wave_counter_total[2m])", "max_over_time(wave_odd[1m])", "{job=~\"wa.*\"}"]
    {
        let labelled = format!("label_replace({query},\"cluster\",\"lab\",\"\",\"\")");
        let expected = ours.range(&labelled, start_ms, end_ms, 60_000).await?;
        let found = theirs.range(query, start_ms, end_ms, 60_000).await?;
        ensure!(found.len() >= 2, "{query}: {} series", found.len());
        let problem = difference(&expected, &found, 1e-9);
        ensure!(problem.is_none(), "{query}: {problem:?}");
    }
    let mine = theirs.instant("count(wave_sine{cluster=\"lab\"})", base_ms + 60_000).await?;
    ensure!(mine.values().next().is_some_and(|points| points[0].1 == 2.0), "an external label selects: {mine:?}");
    let others = theirs.instant("wave_sine{cluster=\"other\"}", base_ms + 60_000).await?;
    ensure!(others.is_empty(), "another external label does not: {others:?}");
    Ok(())
}

#[tokio::test]
async fn both_forms_are_byte_for_byte_what_prometheus_sends() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let client = reqwest::Client::new();
    let hearth = Launch::hearth(directory.path(), Some("self_scrape: {enabled: false}"), &[])?.start().await?;
    let prometheus = Launch::prometheus(directory.path(), "global: {}\n")?.start().await?;
    let base_ms = base_ms();
    for server in [&hearth, &prometheus] {
        write_series(&client, server, base_ms).await?;
    }
    let end_ms = base_ms + SAMPLES * STEP_MS;
    for form in [ResponseType::StreamedChunks, ResponseType::Samples] {
        let body = request("wave_.*", base_ms, end_ms, form);
        let ours = send(&client, &hearth.url, body.clone()).await?;
        let theirs = send(&client, &prometheus.url, body).await?;
        ensure!(ours.0 == theirs.0, "{form:?}: {} instead of {}", ours.0, theirs.0);
        let plain = |body: Vec<u8>| match form {
            ResponseType::StreamedChunks => Ok(body),
            ResponseType::Samples => snap::raw::Decoder::new().decompress_vec(&body),
        };
        let (ours, theirs) = (plain(ours.1)?, plain(theirs.1)?);
        ensure!(theirs.len() > 2000, "{form:?}: Prometheus sends {} bytes", theirs.len());
        let differs = ours.iter().zip(&theirs).position(|(a, b)| a != b);
        let lengths = (ours.len(), theirs.len());
        ensure!(ours == theirs, "{form:?}: {} and {} bytes, the first to differ is {differs:?}", lengths.0, lengths.1);
    }
    Ok(())
}
