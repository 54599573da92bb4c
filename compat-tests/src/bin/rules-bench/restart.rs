//! `kill -9` with many active alerts, and how long it takes until rules are evaluated again, of Hearth alone.

use anyhow::{Context, bail, ensure};
use compat_tests::api::Api;
use compat_tests::metrics;
use compat_tests::peer::{Launch, Server};
use compat_tests::receiver::{Receiver, alerting_config};
use compat_tests::remote_write::Writer;
use compat_tests::table::short;
use compat_tests::wait::now_ms;
use std::path::Path;
use std::time::{Duration, Instant};

/// Alerts of one rule.
const PER_RULE: usize = 1_000;
/// Seconds between evaluations.
const INTERVAL: u64 = 5;

/// The sentence of the report.
pub(crate) async fn run(directory: &Path, instances: usize) -> anyhow::Result<String> {
    std::fs::create_dir_all(directory)?;
    let stub = Receiver::start(|_| 200).await?;
    std::fs::write(directory.join("rules.yml"), rules(instances))?;
    let alerting = alerting_config(&[&stub.address()]);
    let config = format!("self_scrape: {{enabled: false}}\nrule_files: [rules.yml]\n{alerting}");
    let launch = Launch::hearth(directory, Some(&config), &["--log.level=warn"])?;
    let server = launch.start().await?;
    write(&server, instances).await?;
    let since = active(&server, instances).await?;
    let bytes = server.resident_bytes().0;
    server.kill()?;

    let began = Instant::now();
    let began_ms = now_ms();
    let server = launch.start().await?;
    let ready = began.elapsed();
    let first = first_evaluation(&server, began_ms).await?;
    let after = active(&server, instances).await?;
    ensure!(after == since, "alerts were active since {since}, after the restart since {after}");
    Ok(format!(
        "`kill -9` with {instances} active alerts ({} MiB resident), rules every {INTERVAL} s: ready after {} s, the first group is \
         evaluated after {} s; all alerts are active since the time that they were before.\n",
        bytes >> 20,
        short(ready.as_secs_f64()),
        short(first),
    ))
}

/// Half of the rules hold, so that pending alerts are among them.
fn rules(instances: usize) -> String {
    let rule = |i: usize| {
        let hold = if i.is_multiple_of(2) { "0s" } else { "1h" };
        format!(
            "- name: group-{i}\n  interval: {INTERVAL}s\n  rules: [{{alert: Pressure{i}, expr: 'pressure{{part=\"{i}\"}} > 5', for: {hold}}}]\n"
        )
    };
    format!("groups:\n{}", (0..instances.div_ceil(PER_RULE)).map(rule).collect::<String>())
}

async fn write(server: &Server, instances: usize) -> anyhow::Result<()> {
    let mut writer = Writer::new(&server.url);
    let at_ms = now_ms();
    for i in 0..instances {
        writer.push("pressure", &[("part", &(i / PER_RULE).to_string()), ("instance", &i.to_string())], at_ms, 7.0);
        if i % 2_000 == 1_999 {
            writer.send().await?;
        }
    }
    writer.send().await
}

/// Waits until all alerts are active; returns the sum of the times since when.
async fn active(server: &Server, instances: usize) -> anyhow::Result<f64> {
    let api = Api::new(&server.url);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(120) {
        let states = api.instant("count(ALERTS)", now_ms()).await?;
        if states.values().flatten().next().is_some_and(|(_, count)| *count == instances as f64) {
            // What was written before the kill is seen, too; so only later samples count.
            tokio::time::sleep(Duration::from_secs(2 * INTERVAL)).await;
            let sum = format!("sum(last_over_time(ALERTS_FOR_STATE[{}s]))", INTERVAL * 3 / 2);
            let since = api.instant(&sum, now_ms()).await?;
            return Ok(since.values().flatten().next().context("no ALERTS_FOR_STATE")?.1);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("not all alerts are active after two minutes")
}

/// Seconds from `began_ms` to the first evaluation of a group.
async fn first_evaluation(server: &Server, began_ms: i64) -> anyhow::Result<f64> {
    let began_s = began_ms as f64 / 1e3;
    for _ in 0..1_000 {
        let page = metrics::page(&server.url).await?;
        let times = page.lines().filter_map(|line| {
            line.strip_prefix("hearth_rule_group_last_evaluation_timestamp_seconds{")?.rsplit(' ').next()?.parse().ok()
        });
        let first = times.filter(|time: &f64| *time >= began_s).fold(f64::INFINITY, f64::min);
        if first.is_finite() {
            return Ok(first - began_s);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    bail!("no group was evaluated")
}
