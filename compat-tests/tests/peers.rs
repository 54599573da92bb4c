//! Hearth among real programs: Prometheus writes into it, Alertmanager hears from it, promtool and amtool agree.

use anyhow::{Context, bail, ensure};
use compat_tests::api::{Api, difference};
use compat_tests::peer::{Launch, Server};
use compat_tests::queries;
use compat_tests::remote_write::{RequestBody, encode_labels, send};
use compat_tests::wait::{eventually, now_ms, until_ms};
use std::path::Path;
use std::process::Command;

/// Duration of the range queries.
const RANGE_MS: i64 = 21_000;
/// How far before the end an expression reads at most: a range query, over a subquery of 20 s and its step, over a window of 21 s
/// with an offset of 7 s; and a spare second.
const REACH_MS: i64 = RANGE_MS + 20_000 + 5_000 + 21_000 + 7_000 + 1_000;

fn output(program: &str, arguments: &[&str], input: Option<&Path>) -> anyhow::Result<(bool, String)> {
    let mut command = Command::new(program);
    command.args(arguments);
    if let Some(path) = input {
        command.stdin(std::fs::File::open(path)?);
    }
    let output = command.output().with_context(|| format!("run {program}"))?;
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    Ok((output.status.success(), text))
}

/// Prometheus scraping itself, a node exporter and Hearth every second, and writing all of it to Hearth.
async fn prometheus_writing_to(hearth: &Server, node: &Server, directory: &Path) -> anyhow::Result<Server> {
    let address = |server: &Server| server.url.trim_start_matches("http://").to_owned();
    let draft = Launch::prometheus(directory, "")?;
    let config = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
         scrape_configs:\n\
         - {{job_name: prometheus, static_configs: [{{targets: ['{}']}}]}}\n\
         - {{job_name: node, static_configs: [{{targets: ['{}']}}]}}\n\
         - {{job_name: hearth, static_configs: [{{targets: ['{}']}}]}}\n\
         remote_write:\n\
         - {{url: '{}/api/v1/write', queue_config: {{batch_send_deadline: 1s}}}}\n",
        draft.url().trim_start_matches("http://"),
        address(node),
        address(hearth),
        hearth.url,
    );
    std::fs::write(directory.join("prometheus.yml"), config)?;
    draft.start().await
}

#[tokio::test]
async fn prometheus_writes_and_every_query_agrees_with_it() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let hearth = Launch::hearth(directory.path(), Some("self_scrape: {enabled: false}"), &[])?.start().await?;
    let node = Launch::node_exporter(directory.path())?.start().await?;
    let prometheus = prometheus_writing_to(&hearth, &node, directory.path()).await?;
    let (ours, theirs) = (Api::new(&hearth.url), Api::new(&prometheus.url));
    let first_ms = eventually(30, || async {
        let now_ms = now_ms();
        let scraped = theirs.instant("count(up == 1) == 3", now_ms).await?;
        ensure!(scraped.values().flatten().count() == 1, "not all targets are scraped: {scraped:?}");
        Ok(now_ms)
    })
    .await?;
    // No window of the list reaches back to the first scrape: towards the beginning of a counter 2.42 extrapolates otherwise
    // than 3.x. And the last scrapes have arrived here.
    until_ms(first_ms + REACH_MS + 6_000).await;
    let end_ms = off_the_grid(&theirs, now_ms() - 6_000).await?;
    eventually(20, || async {
        let query = "count(up)";
        let (a, b) = (ours.instant(query, end_ms).await?, theirs.instant(query, end_ms).await?);
        difference(&a, &b, 0.0).map_or(Ok(()), |problem| bail!("{problem}"))
    })
    .await?;

    let mut problems = Vec::new();
    let mut list = queries::all();
    let seed = end_ms.cast_unsigned();
    list.extend(queries::generated(seed, 300));
    for query in &list {
        let pair = (ours.instant(query, end_ms).await, theirs.instant(query, end_ms).await);
        problems.extend(compare(query, "instant", pair));
        if query.starts_with('"') {
            continue;
        }
        let start_ms = end_ms - RANGE_MS;
        let pair =
            (ours.range(query, start_ms, end_ms, 7_000).await, theirs.range(query, start_ms, end_ms, 7_000).await);
        problems.extend(compare(query, "range", pair));
    }
    let counts = format!("{} of {} queries differ, seed {seed}", problems.len(), list.len());
    ensure!(problems.is_empty(), "{counts}:\n{}", problems.join("\n"));
    check_promtool(&hearth, directory.path()).await
}

/// A time near `near_ms` that no sample can have: all scrapes happen at a few fixed milliseconds of each second, and every
/// range of the list has whole seconds.
async fn off_the_grid(api: &Api, near_ms: i64) -> anyhow::Result<i64> {
    let times = api.instant("timestamp(up) * 1000", near_ms).await?;
    let taken: Vec<_> = times.values().flatten().map(|(_, ms)| (*ms as i64).rem_euclid(1000)).collect();
    let far = |candidate: &i64| taken.iter().all(|t| (t - candidate).abs().min(1000 - (t - candidate).abs()) > 20);
    // Steps of subqueries are whole seconds of the epoch, so those are taken too.
    let millis = (100..900).find(far).context("no free millisecond")?;
    Ok(near_ms.div_euclid(1000) * 1000 + millis)
}

type Pair = (anyhow::Result<compat_tests::api::Answer>, anyhow::Result<compat_tests::api::Answer>);

fn compare(query: &str, kind: &str, (ours, theirs): Pair) -> Option<String> {
    let problem = match (ours, theirs) {
        (Ok(ours), Ok(theirs)) => difference(&ours, &theirs, 1e-9)?,
        (Err(_), Err(_)) => return None,
        (Err(error), Ok(_)) => format!("refused: {error}"),
        (Ok(_), Err(error)) => format!("accepted, expected {error}"),
    };
    Some(format!("{kind} {query}: {problem}"))
}

async fn check_promtool(hearth: &Server, directory: &Path) -> anyhow::Result<()> {
    let (success, text) = output("promtool", &["query", "instant", &hearth.url, "up"], None)?;
    ensure!(success && text.contains("job=\"node\""), "promtool query: {text}");
    let page = directory.join("metrics.txt");
    std::fs::write(&page, reqwest::get(format!("{}/metrics", hearth.url)).await?.text().await?)?;
    let (success, text) = output("promtool", &["check", "metrics"], Some(&page))?;
    ensure!(success && text.trim().is_empty(), "promtool check metrics: {text}");
    for path in ["healthy", "ready"] {
        let (success, text) = output("promtool", &["check", path, "--url", &hearth.url], None)?;
        // 2.42 has these checks only in later packages; where it does, they must pass.
        ensure!(success || text.contains("expected command"), "promtool check {path}: {text}");
    }
    Ok(())
}

#[tokio::test]
async fn a_rule_fires_and_resolves_at_a_real_alertmanager() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let alertmanager_config = "route: {receiver: none, group_wait: 1s}\nreceivers: [{name: none}]\n";
    let alertmanager = Launch::alertmanager(directory.path(), alertmanager_config)?.start().await?;
    std::fs::write(
        directory.path().join("rules.yml"),
        "groups:\n- name: test\n  interval: 1s\n  rules:\n\
         \x20 - {record: 'job:pressure:max', expr: max by (job) (pressure)}\n\
         \x20 - alert: PressureHigh\n    expr: job:pressure:max > 5\n    for: 2s\n\
         \x20   labels: {severity: page}\n    annotations: {summary: 'Pressure of {{ $labels.job }} is {{ $value }}.'}\n",
    )?;
    let config = format!(
        "rule_files: [rules.yml]\nglobal: {{external_labels: {{cluster: lab}}}}\n\
         alerting: {{alertmanagers: [{{static_configs: [{{targets: ['{}']}}]}}]}}\n",
        alertmanager.url.trim_start_matches("http://"),
    );
    let hearth = Launch::hearth(directory.path(), Some(&config), &["--rules.alert.resend-delay=1s"])?.start().await?;
    let client = reqwest::Client::new();
    let write = |value: f64| {
        let (client, url) = (client.clone(), format!("{}/api/v1/write", hearth.url));
        async move {
            let mut body = RequestBody::default();
            body.push(&encode_labels(&[("__name__", "pressure"), ("job", "boiler")]), now_ms(), value);
            let (status, text) = send(&client, &url, body.take_compressed()).await?;
            ensure!(status == 204, "{status}: {text}");
            Ok(())
        }
    };
    let listed = || output("amtool", &["--alertmanager.url", &alertmanager.url, "alert", "query", "-o", "json"], None);

    eventually(30, || async {
        write(7.0).await?;
        let (_, text) = listed()?;
        let complete = ["PressureHigh", "boiler", "page", "lab", "Pressure of boiler is 7."]
            .iter()
            .all(|part| text.contains(part));
        ensure!(complete, "amtool does not list the alert: {text}");
        Ok(())
    })
    .await?;
    let rules = Api::new(&hearth.url).get("/api/v1/rules", &[]).await?;
    ensure!(rules.to_string().contains("\"state\":\"firing\""), "{rules}");
    let (success, text) = output("promtool", &["query", "instant", &hearth.url, "ALERTS"], None)?;
    ensure!(success && text.contains("alertstate=\"firing\""), "{text}");

    eventually(30, || async {
        write(1.0).await?;
        let (_, text) = listed()?;
        ensure!(text.trim() == "[]", "amtool still lists the alert: {text}");
        Ok(())
    })
    .await?;
    ensure!(hearth.terminate()?, "Hearth did not end well");
    Ok(())
}
