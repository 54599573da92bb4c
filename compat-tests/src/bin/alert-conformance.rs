//! The alert generator compliance cases against the real binary in real time: samples by remote write, a receiver that
//! records what it is sent, and the API asked all the while. Takes about forty minutes; `--speed 5` takes eight.
//!
//! Ends with code 1 if anything was not as it has to be, and names it.
#![allow(clippy::print_stdout)]

use anyhow::{Context, bail};
use clap::Parser;
use compat_tests::api::Api;
use compat_tests::conformance::{
    Case, Expected, Observed, Timing, cases, compare_alerts, compare_group, compare_messages, compare_series, expected,
    parse_time,
};
use compat_tests::peer::Launch;
use compat_tests::remote_write::{self, RequestBody, encode_labels};
use serde_json::Value;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Hearth against the alert generator compliance cases.
#[derive(Debug, Parser)]
struct Options {
    /// How many times faster than the rules say; what is repeated for fifteen minutes is so at any speed
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(i64).range(1..=30))]
    speed: i64,
}

/// How far an evaluation may be from where it is expected, beyond the rounding of what the API says.
const TOLERANCE_MS: i64 = 500;

type Received = Arc<Mutex<Vec<Observed>>>;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let directory = tempfile::tempdir()?;
    let problems = run(directory.path(), &Timing::accelerated(options.speed)).await?;
    problems.iter().for_each(|problem| println!("{problem}"));
    if !problems.is_empty() {
        bail!("{} things are not as they have to be", problems.len());
    }
    println!("All cases passed.");
    Ok(())
}

async fn run(directory: &Path, timing: &Timing) -> anyhow::Result<Vec<String>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let received = Received::default();
    tokio::spawn(receive(listener, received.clone()));

    let cases = cases();
    let rules: String = cases.iter().map(|case| case.rules_yaml(timing)).collect();
    std::fs::write(directory.join("rules.yml"), format!("groups:\n{rules}"))?;
    let config = format!(
        "rule_files: [rules.yml]\nalerting: {{alertmanagers: [{{static_configs: [{{targets: ['{address}']}}]}}]}}\n"
    );
    let resend = format!("--rules.alert.resend-delay={}ms", timing.resend_ms);
    let lookback = format!("--query.lookback-delta={}ms", timing.lookback_ms);
    let server = Launch::hearth(directory, Some(&config), &[&resend, &lookback])?.start().await?;
    let api = Api::new(&server.url);

    let slots = learn_slots(&api, &cases, timing).await?;
    let zero_ms = choose_zero(&slots, timing);
    // All are watched until the last one ends: what comes later than it has to is noticed too.
    let steps = cases.iter().map(|case| case.steps).max().unwrap_or_default();
    let expected = expectations(&cases, timing, &slots, zero_ms, steps);
    let minutes = steps as i64 * timing.step_ms / 60_000;
    println!("{} groups, {steps} samples of each series, about {minutes} minutes.", cases.len());

    let writing = write_samples(&server.url, &cases, timing, zero_ms, steps);
    let watching = watch(&api, &cases, timing, &expected, zero_ms, steps);
    let (written, watched) = tokio::join!(writing, watching);
    written?;
    let (polls, mut problems) = watched?;
    let received = received.lock().map_err(|_| anyhow::anyhow!("the receiver panicked"))?.clone();
    // An interval and ten seconds, as the specification has it.
    let late_ms = timing.interval_ms + timing.interval_ms / 3;
    for (case, expected) in cases.iter().zip(&expected) {
        let of_case = |observed: &&Observed| {
            observed.alert.pointer("/labels/rulegroup").and_then(Value::as_str) == Some(case.name)
        };
        let observed: Vec<_> = received.iter().filter(of_case).cloned().collect();
        let found = compare_messages(&expected.messages, &observed, zero_ms, TOLERANCE_MS, late_ms);
        let count = found.len();
        println!("{}: {} of {} messages, {count} problems.", case.name, observed.len(), expected.messages.len());
        problems.extend(found);
    }
    println!("The API was asked {polls} times about each group.");
    Ok(problems)
}

/// When the next evaluation of each group is, in milliseconds since the Unix epoch.
async fn learn_slots(api: &Api, cases: &[Case], timing: &Timing) -> anyhow::Result<Vec<i64>> {
    for _ in 0..3 {
        tokio::time::sleep(millis(timing.interval_ms)).await;
        let data = api.get("/api/v1/rules", &[]).await?;
        let groups = data.get("groups").and_then(Value::as_array).context("no groups")?;
        let of_case = |case: &Case| {
            let group = groups.iter().find(|group| group.get("name").and_then(Value::as_str) == Some(case.name))?;
            let last_ms = parse_time(group.get("lastEvaluation")?.as_str()?)?;
            (last_ms > 0).then_some(last_ms + timing.interval_ms)
        };
        if let Some(slots) = cases.iter().map(of_case).collect() {
            return Ok(slots);
        }
    }
    bail!("not all groups were evaluated within three intervals")
}

/// A time from which samples come right in the middle of the longest pause between evaluations.
fn choose_zero(slots: &[i64], timing: &Timing) -> i64 {
    let mut phases: Vec<i64> = slots.iter().map(|slot| slot.rem_euclid(timing.step_ms)).collect();
    phases.sort_unstable();
    let first = phases.first().copied().unwrap_or_default() + timing.step_ms;
    let next = phases.iter().copied().skip(1).chain([first]);
    let pauses = phases.iter().copied().zip(next).map(|(from, to)| (to - from, from));
    let (pause, from) = pauses.max().unwrap_or((timing.step_ms, 0));
    let now = now_ms();
    now - now.rem_euclid(timing.step_ms) + timing.step_ms + from + pause / 2
}

fn expectations(cases: &[Case], timing: &Timing, slots: &[i64], zero_ms: i64, steps: usize) -> Vec<Expected> {
    let of_case = |(case, slot): (&Case, &i64)| {
        let first = (slot - zero_ms).rem_euclid(timing.interval_ms);
        let end = steps as i64 * timing.step_ms;
        let slots: Vec<i64> = (0..).map(|n| first + n * timing.interval_ms).take_while(|slot| *slot < end).collect();
        expected(case, timing, &slots)
    };
    cases.iter().zip(slots).map(of_case).collect()
}

async fn write_samples(url: &str, cases: &[Case], timing: &Timing, zero_ms: i64, steps: usize) -> anyhow::Result<()> {
    let client = reqwest::Client::new();
    let url = format!("{url}/api/v1/write");
    let mut body = RequestBody::default();
    for step in 0..steps {
        let at_ms = zero_ms + step as i64 * timing.step_ms;
        sleep_until(at_ms).await;
        for (labels, value) in cases.iter().flat_map(|case| case.samples(step)) {
            body.push(&encode_labels(&labels), at_ms, value);
        }
        remote_write::send_accepted(&client, &url, body.take_compressed()).await?;
    }
    Ok(())
}

/// Asks the API all the while, but not around evaluations; returns how often, and what was wrong.
async fn watch(
    api: &Api,
    cases: &[Case],
    timing: &Timing,
    expected: &[Expected],
    zero_ms: i64,
    steps: usize,
) -> anyhow::Result<(usize, Vec<String>)> {
    let end_ms = zero_ms + steps as i64 * timing.step_ms;
    let (mut polls, mut problems) = (0, Vec::new());
    // A fraction of the interval that meets every moment of it in the course of time.
    let every = millis(timing.interval_ms / 7 + 13);
    let settled_ms = (timing.interval_ms / 10).min(1_000);
    while now_ms() < end_ms {
        tokio::time::sleep(every).await;
        let rules = api.get("/api/v1/rules", &[]).await?;
        let alerts = api.get("/api/v1/alerts", &[]).await?;
        let mut series = Vec::new();
        for case in cases {
            let query = format!("ALERTS{{rulegroup=\"{}\"}}", case.name);
            series.push(api.instant(&query, now_ms()).await?);
        }
        let now = now_ms();
        for ((case, expected), series) in cases.iter().zip(expected).zip(&series) {
            let after = |slot_ms: i64| now - zero_ms - slot_ms;
            let Some(snapshot) = expected.snapshots.iter().rev().find(|snapshot| after(snapshot.slot_ms) >= 0) else {
                continue;
            };
            let quiet = settled_ms * 2..timing.interval_ms - settled_ms;
            if !quiet.contains(&after(snapshot.slot_ms)) {
                continue;
            }
            problems.extend(compare_group(case, timing, snapshot, &rules, zero_ms, now, TOLERANCE_MS));
            problems.extend(compare_alerts(case, snapshot, &alerts, zero_ms, TOLERANCE_MS));
            problems.extend(compare_series(case, snapshot, series));
        }
        polls += 1;
    }
    Ok((polls, problems))
}

async fn receive(listener: TcpListener, received: Received) {
    while let Ok((connection, _)) = listener.accept().await {
        let received = received.clone();
        tokio::spawn(async move { serve(connection, &received).await });
    }
}

/// Takes every request as an Alertmanager does.
async fn serve(connection: TcpStream, received: &Received) -> anyhow::Result<()> {
    let mut connection = BufReader::new(connection);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if connection.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        connection.read_exact(&mut body).await?;
        let at_ms = now_ms();
        let alerts: Vec<Value> = serde_json::from_slice(&body)?;
        let observed = alerts.into_iter().map(|alert| Observed { at_ms, alert });
        if let Ok(mut received) = received.lock() {
            received.extend(observed);
        }
        connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await?;
    }
}

fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}

fn millis(ms: i64) -> Duration {
    Duration::from_millis(ms.max(0).unsigned_abs())
}

async fn sleep_until(at_ms: i64) {
    tokio::time::sleep(millis(at_ms - now_ms())).await;
}
