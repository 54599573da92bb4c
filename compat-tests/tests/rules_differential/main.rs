//! The same rules over the same samples in Debian's Prometheus and in Hearth: recorded series, `ALERTS`, `ALERTS_FOR_STATE` and
//! the alerts that reach an Alertmanager agree, slot by slot.
//!
//! Both spread groups over the interval by hashes of their own; Prometheus' groups get names that give them Hearth's slots.
//! A run in which one of them missed a slot, on a machine that is too busy, proves nothing and is repeated. Further rounds
//! have samples at random; `HEARTH_DIFFERENTIAL_ROUNDS` says how many there are (default 1, a minute each).

mod data;

use anyhow::{Context, bail, ensure};
use compat_tests::api::{Answer, Api, difference};
use compat_tests::metrics;
use compat_tests::peer::{Launch, Server};
use compat_tests::receiver::{Inbox, Message};
use compat_tests::slots::name_with_phase;
use compat_tests::wait::{eventually, now_ms, until_ms};
use std::collections::BTreeMap;
use std::path::Path;

const RULES: &str = include_str!("rules.yml");
const RESEND_MS: i64 = 3_000;
const EXTERNAL_URL: &str = "http://rules.example:9090";
const EXTERNAL_LABELS: &str = "external_labels: {cluster: lab, replica: r1, severity: none}";
/// Belongs to the section `alerting`.
const RELABELLING: &str = "  alert_relabel_configs:
  - {source_labels: [alertname], regex: KeptShort|AnyShare.*, action: drop}
  - {source_labels: [alertname, job], regex: 'Never;.*', action: drop}
  - {regex: replica, action: labeldrop}
  - {source_labels: [job, instance], separator: '@', target_label: place}
  - {source_labels: [instance], regex: '([^:]+):(\\d+)', target_label: port, replacement: '$2 of ${1}'}
  - {source_labels: [severity], regex: page, target_label: team, replacement: oncall}
  - {source_labels: [instance, alertname], modulus: 8, target_label: shard, action: hashmod}
  - {source_labels: [job], target_label: upper, action: uppercase}
  - {regex: 'sev(.*)', replacement: 'old_sev${1}', action: labelmap}
";
/// Rules that fail for a while. Prometheus falls silent about their alerts meanwhile, Hearth keeps them alive.
const FAILING: [&str; 2] = ["Collides", "OwnerNotAlways"];

/// One server with everything that it said.
struct Side {
    server: Server,
    inbox: Inbox,
}

/// Names and intervals of the groups in [`RULES`].
fn groups() -> Vec<(&'static str, i64)> {
    let mut lines = RULES.lines();
    let mut groups = Vec::new();
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix("- name: ") {
            let interval = lines.next().and_then(|line| line.trim().strip_prefix("interval: ")?.strip_suffix('s'));
            groups.push((name, 1000 * interval.and_then(|text| text.parse::<i64>().ok()).expect("an interval")));
        }
    }
    groups
}

fn config(inbox: &Inbox, more: &str) -> String {
    format!(
        "global: {{evaluation_interval: 1m, {EXTERNAL_LABELS}}}\nrule_files: [rules.yml]\n{more}{}{RELABELLING}",
        inbox.config()
    )
}

async fn start_hearth(directory: &Path) -> anyhow::Result<Side> {
    let inbox = Inbox::start().await?;
    std::fs::write(directory.join("rules.yml"), RULES)?;
    let config = config(&inbox, "self_scrape: {enabled: false}\n");
    let arguments = [format!("--web.external-url={EXTERNAL_URL}"), format!("--rules.alert.resend-delay={RESEND_MS}ms")];
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let server = Launch::hearth(directory, Some(&config), &arguments)?.start().await?;
    Ok(Side { server, inbox })
}

/// How far the slots of each group are from the multiples of its interval, as Hearth shows it.
async fn phases(hearth: &Side) -> anyhow::Result<Vec<i64>> {
    let api = Api::new(&hearth.server.url);
    let mut phases = Vec::new();
    for (name, interval_ms) in groups() {
        let query = format!("slot:{name}[1m]");
        let (api, query) = (&api, &query);
        let slot_ms = eventually(20, || async move {
            let answer = api.instant(query, now_ms()).await?;
            answer.values().flatten().next().map(|(time, _)| *time).context("the group was not yet evaluated")
        });
        phases.push(slot_ms.await?.rem_euclid(interval_ms));
    }
    Ok(phases)
}

async fn start_prometheus(directory: &Path, phases: &[i64]) -> anyhow::Result<Side> {
    let inbox = Inbox::start().await?;
    let file = directory.join("rules.yml");
    let path = file.to_str().context("a path in UTF-8")?;
    let mut rules = RULES.to_owned();
    for ((name, interval_ms), phase_ms) in groups().into_iter().zip(phases) {
        let other = name_with_phase(path, name, interval_ms, *phase_ms);
        rules = rules.replace(&format!("- name: {name}\n"), &format!("- name: {other}\n"));
    }
    std::fs::write(&file, rules)?;
    let arguments = [format!("--web.external-url={EXTERNAL_URL}"), format!("--rules.alert.resend-delay={RESEND_MS}ms")];
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let launch = Launch::prometheus(directory, &config(&inbox, ""))?.with_arguments(&arguments);
    Ok(Side { server: launch.start().await?, inbox })
}

/// A millisecond of each second that is far from every slot.
fn far_from_slots(phases: &[i64]) -> i64 {
    let distance = |a: i64, b: i64| (a - b).rem_euclid(1000).min((b - a).rem_euclid(1000));
    let nearest = |ms: &i64| phases.iter().map(|phase| distance(*ms, *phase)).min();
    (0..1000).max_by_key(nearest).expect("a second has milliseconds")
}

async fn missed_slots(side: &Side) -> anyhow::Result<f64> {
    let page = metrics::page(&side.server.url).await?;
    let prefix = side.server.name.to_lowercase();
    metrics::sum(&page, &format!("{prefix}_rule_group_iterations_missed_total")).context("missed slots are not counted")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_and_alerts_are_those_of_prometheus_slot_by_slot() -> anyhow::Result<()> {
    let rounds = std::env::var("HEARTH_DIFFERENTIAL_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    for round in 0..rounds {
        round_agrees(round).await.with_context(|| format!("round {round}"))?;
    }
    Ok(())
}

async fn round_agrees(round: u64) -> anyhow::Result<()> {
    for attempt in 1..=4 {
        let (missed, problems) = run(round).await?;
        eprintln!("round {round}, attempt {attempt}: {missed} slots missed, {} differences", problems.len());
        if problems.is_empty() {
            return Ok(());
        }
        ensure!(missed > 0.0, "{} differences:\n{}", problems.len(), problems.join("\n"));
    }
    bail!("slots were missed in every run: the machine is too busy for this test")
}

/// One run: slots that were missed, and every difference.
async fn run(round: u64) -> anyhow::Result<(f64, Vec<String>)> {
    let directory = tempfile::tempdir()?;
    let [ours_at, theirs_at] = ["hearth", "prometheus"].map(|name| directory.path().join(name));
    for directory in [&ours_at, &theirs_at] {
        std::fs::create_dir_all(directory)?;
    }
    let ours = start_hearth(&ours_at).await?;
    let phases = phases(&ours).await?;
    let theirs = start_prometheus(&theirs_at, &phases).await?;
    // Prometheus writes no `ALERTS` in the first two slots after its start.
    until_ms(now_ms() + 8_000).await;
    let before = missed_slots(&ours).await? + missed_slots(&theirs).await?;
    let start_ms = (now_ms() / 1000 + 2) * 1000 + far_from_slots(&phases);
    for side in [&ours, &theirs] {
        data::write(&side.server.url, start_ms, round).await.context(side.server.name)?;
    }
    let end_ms = start_ms + data::STEPS * 1000;
    until_ms(end_ms + 2_000).await;

    let mut problems = series_differences(&ours, &theirs, start_ms, end_ms).await?;
    problems.extend(active_alert_differences(&ours, &theirs).await?);
    problems.extend(listed_rule_differences(&ours, &theirs).await?);
    let missed = missed_slots(&ours).await? + missed_slots(&theirs).await? - before;
    problems.extend(message_differences(&ours, &theirs, start_ms, end_ms)?);
    Ok((missed, problems))
}

/// Compares every recorded series: its samples with their times, and what an instant query sees between the slots, which
/// stale markers decide.
async fn series_differences(ours: &Side, theirs: &Side, start_ms: i64, end_ms: i64) -> anyhow::Result<Vec<String>> {
    let (our_api, their_api) = (Api::new(&ours.server.url), Api::new(&theirs.server.url));
    let mut problems = Vec::new();
    let mut compared = 0;
    for name in written_names() {
        let seconds = (end_ms - start_ms) / 1000;
        let samples = format!("{{__name__=\"{name}\"}}[{seconds}s]");
        let pair = (our_api.instant(&samples, end_ms).await?, their_api.instant(&samples, end_ms).await?);
        compared += pair.1.values().map(Vec::len).sum::<usize>();
        problems.extend(explain(&format!("samples of {name}"), &pair.0, &pair.1, start_ms));
        let selector = format!("{{__name__=\"{name}\"}}");
        let ours = our_api.range(&selector, start_ms, end_ms, 1000).await?;
        let theirs = their_api.range(&selector, start_ms, end_ms, 1000).await?;
        problems.extend(explain(&format!("what is seen of {name}"), &ours, &theirs, start_ms));
    }
    eprintln!("{compared} samples of rules compared");
    ensure!(compared > 2_000, "only {compared} samples to compare");
    Ok(problems)
}

fn written_names() -> Vec<&'static str> {
    let recorded = RULES.lines().filter_map(|line| line.split_once("record: '")?.1.split('\'').next());
    let mut names: Vec<_> = recorded.chain(["ALERTS", "ALERTS_FOR_STATE"]).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Each series that differs, with its seconds since the start.
fn explain(what: &str, ours: &Answer, theirs: &Answer, start_ms: i64) -> Vec<String> {
    let mut problems = Vec::new();
    for labels in ours.keys().chain(theirs.keys().filter(|labels| !ours.contains_key(*labels))) {
        let only = |answer: &Answer| answer.get(labels).map(|points| (labels.clone(), points.clone()));
        let (ours, theirs): (Answer, Answer) = (only(ours).into_iter().collect(), only(theirs).into_iter().collect());
        if let Some(problem) = difference(&ours, &theirs, 1e-9) {
            let points = |answer: &Answer| {
                let points = answer.values().flatten();
                points.map(|(ms, v)| format!("{:.3}={v}", (ms - start_ms) as f64 / 1e3)).collect::<Vec<_>>().join(" ")
            };
            problems.push(format!("{what}: {problem}\n  ours:   {}\n  theirs: {}", points(&ours), points(&theirs)));
        }
    }
    problems
}

/// Compares `/api/v1/alerts`, when nothing has changed for a while.
async fn active_alert_differences(ours: &Side, theirs: &Side) -> anyhow::Result<Vec<String>> {
    let active = |side: &Side| {
        let api = Api::new(&side.server.url);
        async move {
            let answer = api.get("/api/v1/alerts", &[]).await?;
            let alerts = answer["alerts"].as_array().context("no list of alerts")?;
            let of_alert = |alert: &serde_json::Value| {
                let active_at = alert["activeAt"].as_str().and_then(|time| time.parse::<jiff::Timestamp>().ok());
                let active_ms = active_at.context("no activeAt")?.as_millisecond();
                let parts = (&alert["state"], &alert["value"], &alert["annotations"], active_ms);
                Ok((alert["labels"].to_string(), format!("{parts:?}")))
            };
            alerts.iter().map(of_alert).collect::<anyhow::Result<BTreeMap<_, _>>>()
        }
    };
    let (ours, theirs) = (active(ours).await?, active(theirs).await?);
    ensure!(!theirs.is_empty(), "hardly any alert is active: {theirs:?}");
    let labels = ours.keys().chain(theirs.keys().filter(|labels| !ours.contains_key(*labels)));
    let differing = labels.filter(|labels| ours.get(*labels) != theirs.get(*labels));
    Ok(differing
        .map(|labels| format!("active {labels}\n  ours:   {:?}\n  theirs: {:?}", ours.get(labels), theirs.get(labels)))
        .collect())
}

/// Compares what `/api/v1/rules` says about each rule, but for times.
async fn listed_rule_differences(ours: &Side, theirs: &Side) -> anyhow::Result<Vec<String>> {
    const FIELDS: [&str; 9] =
        ["type", "name", "query", "state", "duration", "keepFiringFor", "labels", "annotations", "health"];
    let mut listed = Vec::new();
    for side in [ours, theirs] {
        let answer = Api::new(&side.server.url).get("/api/v1/rules", &[]).await?;
        let mut rules = BTreeMap::new();
        for group in answer["groups"].as_array().context("no list of groups")? {
            let name = group["name"].as_str().unwrap_or_default().split('-').next().unwrap_or_default();
            let about_group = format!("{} {}", group["interval"], group["limit"]);
            for (i, rule) in group["rules"].as_array().context("no list of rules")?.iter().enumerate() {
                // Without labels 2.42 leaves the field out.
                let fields = FIELDS.map(|field| format!("{field} {}", rule[field]).replace("labels {}", "labels null"));
                rules.insert((name.to_owned(), i), format!("{about_group} {}", fields.join(", ")));
            }
        }
        listed.push(rules);
    }
    let [ours, theirs] = listed.as_slice() else { bail!("two lists of rules") };
    ensure!(ours.len() == theirs.len(), "{} rules are listed, expected {}", ours.len(), theirs.len());
    let differing = theirs.iter().filter(|(place, rule)| ours.get(*place) != Some(rule));
    Ok(differing.map(|(place, rule)| format!("rule\n  ours:   {:?}\n  theirs: {rule:?}", ours.get(place))).collect())
}

/// What was said about one alert at one time, and how often.
type Said = BTreeMap<(String, i64), BTreeMap<String, usize>>;

/// By labels and start: every distinct message with the times since the start of the samples.
fn said(messages: Vec<Message>, start_ms: i64, end_ms: i64) -> anyhow::Result<Said> {
    let mut said = Said::new();
    for Message { alert, arrived_ms } in messages {
        // What was sent in the last moments may not have arrived yet.
        if alert.starts_ms < start_ms || arrived_ms > end_ms {
            continue;
        }
        let url = url::Url::parse(&alert.generator_url)?;
        let expression = url.query_pairs().find(|(name, _)| name == "g0.expr").context("no expression in the URL")?.1;
        let link =
            format!("{}{} {expression} {}", url.origin().ascii_serialization(), url.path(), url.query_pairs().count());
        let ends = (alert.ends_ms - start_ms) as f64 / 1e3;
        let text = format!("ends {ends:.3}, {:?}, {link}", alert.annotations);
        let labels = format!("{:?}", alert.labels);
        *said.entry((labels, alert.starts_ms)).or_default().entry(text).or_default() += 1;
    }
    Ok(said)
}

fn message_differences(ours: &Side, theirs: &Side, start_ms: i64, end_ms: i64) -> anyhow::Result<Vec<String>> {
    let ours = said(ours.inbox.messages(), start_ms, end_ms)?;
    let theirs = said(theirs.inbox.messages(), start_ms, end_ms)?;
    eprintln!("{} alerts compared", theirs.len());
    ensure!(theirs.len() > 40, "only {} alerts to compare", theirs.len());
    let mut problems = Vec::new();
    for key in ours.keys().chain(theirs.keys().filter(|key| !ours.contains_key(*key))) {
        let (labels, starts_ms) = key;
        let (a, b) = (ours.get(key), theirs.get(key));
        let silent = FAILING.iter().any(|name| labels.contains(name));
        // What is said meanwhile moves what is said afterwards, but there is the same alert in both.
        let agree = if silent { a.is_some() == b.is_some() } else { a == b };
        if !agree {
            let list = |said: Option<&BTreeMap<String, usize>>| {
                let lines = said.into_iter().flatten().map(|(text, count)| format!("    {count} × {text}"));
                lines.collect::<Vec<_>>().join("\n")
            };
            let starts = (starts_ms - start_ms) as f64 / 1e3;
            problems.push(format!("alert {labels} of {starts:.3}\n  ours:\n{}\n  theirs:\n{}", list(a), list(b)));
        }
    }
    Ok(problems)
}
