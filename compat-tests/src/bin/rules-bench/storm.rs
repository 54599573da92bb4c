//! Many alerts that fire and resolve every minute: whether each of them arrives, and how much memory that takes.

use anyhow::{Context, ensure};
use compat_tests::peer::{Launch, Server};
use compat_tests::receiver::{Alert, Receiver, alerting_config};
use compat_tests::remote_write::Writer;
use compat_tests::table::{Table, short};
use compat_tests::wait::{now_ms, until_ms};
use std::path::Path;
use std::sync::{Arc, Mutex};

/// Seconds between evaluations.
const INTERVAL: i64 = 5;

/// What arrived about the alerts that began in one minute: of each instance whether it fired, and whether it ended.
type Minute = Vec<(bool, bool)>;

/// The sentence and table of the report.
pub(crate) async fn run(directory: &Path, instances: usize, minutes: u64) -> anyhow::Result<String> {
    std::fs::create_dir_all(directory)?;
    let minutes = usize::try_from(minutes)?;
    // Some seconds from now, so that the first samples are written before.
    let start_ms = now_ms() + 15_000;
    let heard = Arc::new(Mutex::new(vec![vec![(false, false); instances]; minutes]));
    let stub = stub(start_ms, Arc::clone(&heard)).await?;
    let rule = "{alert: Storm, expr: storm > 5, annotations: {summary: '{{ $labels.instance }} has {{ $value }}'}}";
    std::fs::write(
        directory.join("rules.yml"),
        format!("groups:\n- name: storm\n  interval: {INTERVAL}s\n  rules: [{rule}]\n"),
    )?;
    let alerting = alerting_config(&[&stub.address()]);
    let config = format!("self_scrape: {{enabled: false}}\nrule_files: [rules.yml]\n{alerting}");
    let capacity = format!("--alertmanager.notification-queue-capacity={}", 2 * instances);
    let server = Launch::hearth(directory, Some(&config), &[&capacity, "--log.level=warn"])?.start().await?;

    let mut table = Table::new(&["minute", "fired", "resolved", "resident MiB", "CPU seconds"]);
    let mut residents = Vec::new();
    for minute in 0..minutes {
        let began_ms = start_ms + minute as i64 * 60_000;
        until_ms(began_ms - 10_000).await;
        let cpu = server.cpu_seconds();
        // The first half of each minute above the bound, the other half below it.
        write(&server, instances, began_ms, 7.0).await?;
        until_ms(began_ms + 20_000).await;
        write(&server, instances, began_ms + 30_000, 1.0).await?;
        until_ms(began_ms + 49_000).await;
        let (fired, ended) = counts(&heard, minute);
        residents.push(server.resident_bytes().0);
        let resident = short(server.resident_bytes().0 as f64 / 1_048_576.0);
        let cpu = short(server.cpu_seconds() - cpu);
        table.row([(minute + 1).to_string(), fired.to_string(), ended.to_string(), resident, cpu]);
    }
    until_ms(now_ms() + 2 * INTERVAL * 1000).await;
    for minute in 0..minutes {
        let (fired, ended) = counts(&heard, minute);
        ensure!(
            fired == instances && ended == instances,
            "minute {minute}: {fired} fired and {ended} ended of {instances}\n{}",
            table.markdown()
        );
    }
    let (first, last) = (residents.first().context("no minute")?, residents.last().context("no minute")?);
    Ok(format!(
        "{instances} alerts fire and resolve each minute: every one arrived; resident {} MiB after the first minute, {} MiB after \
         the last, {} MiB at the peak.\n\n{}",
        first >> 20,
        last >> 20,
        server.resident_bytes().1 >> 20,
        table.markdown(),
    ))
}

fn counts(heard: &Mutex<Vec<Minute>>, minute: usize) -> (usize, usize) {
    let heard = heard.lock().expect("no handler panics");
    let of_minute = heard.get(minute).map(Vec::as_slice).unwrap_or_default();
    (of_minute.iter().filter(|(fired, _)| *fired).count(), of_minute.iter().filter(|(_, ended)| *ended).count())
}

async fn stub(start_ms: i64, heard: Arc<Mutex<Vec<Minute>>>) -> anyhow::Result<Receiver> {
    Receiver::start(move |post| {
        let Ok(alerts) = serde_json::from_str::<Vec<Alert>>(&post.body) else { return 400 };
        let mut heard = heard.lock().expect("no handler panics");
        for alert in alerts {
            let minute = usize::try_from((alert.starts_ms - start_ms).div_euclid(60_000)).unwrap_or(usize::MAX);
            let instance = alert.label("instance").parse().unwrap_or(usize::MAX);
            if let Some(said) = heard.get_mut(minute).and_then(|minute| minute.get_mut(instance)) {
                if alert.ends_ms <= post.arrived_ms { said.1 = true } else { said.0 = true }
            }
        }
        200
    })
    .await
}

async fn write(server: &Server, instances: usize, at_ms: i64, value: f64) -> anyhow::Result<()> {
    let mut writer = Writer::new(&server.url);
    for i in 0..instances {
        writer.push("storm", &[("instance", &i.to_string())], at_ms, value);
        if i % 2_000 == 1_999 {
            writer.send().await?;
        }
    }
    writer.send().await
}
