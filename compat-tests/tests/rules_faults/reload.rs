//! One reload after the other, each with other rules around those that are watched. `HEARTH_RELOADS` sets how many (default
//! 1,000).

use crate::oracle::{INTERVAL_MS, RESEND_MS, RULES, SLOT_RULE, Script, Slots, phase_ms, problems};
use anyhow::ensure;
use compat_tests::api::Api;
use compat_tests::peer::Launch;
use compat_tests::random::Random;
use compat_tests::receiver::Inbox;
use compat_tests::wait::{now_ms, until_ms};

/// A reload begins this long after the one before, if that has ended.
const PACE_MS: i64 = 35;

/// Rule files of this state of things: the watched rules with other neighbours, in another order, with another text.
fn rules(reload: usize, random: &mut Random) -> String {
    let mut watched: Vec<_> = RULES.iter().map(|rule| rule.yaml(&format!("text {reload}"))).collect();
    for _ in 0..random.below(4) {
        watched.rotate_left(1);
        watched.insert(0, format!("{{record: 'other:{reload}', expr: 'pressure + {}'}}", watched.len()));
    }
    watched.insert(0, SLOT_RULE.to_owned());
    let lines: Vec<_> = watched.iter().map(|rule| format!("  - {rule}\n")).collect();
    let limit = if reload.is_multiple_of(3) { "  limit: 1000\n" } else { "" };
    let other = match reload % 4 {
        0 => String::new(),
        n => format!("- name: other-{n}\n  interval: 1s\n  rules: [{{alert: Other, expr: vector({reload}) > 1e9}}]\n"),
    };
    format!("groups:\n{other}- name: test\n  interval: 1s\n{limit}  rules:\n{}", lines.concat())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reloads_lose_no_alert_no_slot_and_no_hold_begins_anew() -> anyhow::Result<()> {
    compat_tests::stall::undisturbed(under_reloads).await
}

async fn under_reloads() -> anyhow::Result<()> {
    let reloads = std::env::var("HEARTH_RELOADS").ok().and_then(|text| text.parse::<usize>().ok()).unwrap_or(1_000);
    let mut random = Random::new(reloads as u64);
    let inbox = Inbox::start().await?;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("rules.yml");
    std::fs::write(&file, rules(0, &mut random))?;
    let config = format!("self_scrape: {{enabled: false}}\nrule_files: [rules.yml]\n{}", inbox.config());
    let launch =
        Launch::hearth(directory.path(), Some(&config), &[&format!("--rules.alert.resend-delay={RESEND_MS}ms")])?;
    let server = launch.start().await?;
    let slots = Slots { phase_ms: phase_ms(&server.url).await?, away: Vec::new() };
    let start_ms = (now_ms() / INTERVAL_MS + 2) * INTERVAL_MS + (slots.phase_ms + INTERVAL_MS / 2) % INTERVAL_MS;
    let mut script = Script::new(&mut random, 20, start_ms, 4 + PACE_MS * reloads as i64 / 1000);
    let (client, url) = (reqwest::Client::new(), format!("{}/-/reload", server.url));
    let mut slowest_ms = 0;
    for reload in 1..=reloads {
        script.write(&server.url, now_ms() + 60_000).await?;
        let began_ms = now_ms();
        std::fs::write(&file, rules(reload, &mut random))?;
        let answer = client.post(&url).send().await?;
        ensure!(answer.status().is_success(), "reload {reload}: {}", answer.text().await?);
        slowest_ms = slowest_ms.max(now_ms() - began_ms);
        until_ms(began_ms + PACE_MS).await;
    }
    let end_ms = script.end_ms() + 8_000;
    until_ms(end_ms).await;
    let samples = Api::new(&server.url).instant("slot:one[10m]", end_ms).await?;
    let times: Vec<_> = samples.values().flatten().map(|(time, _)| *time).filter(|time| *time >= start_ms).collect();
    let gaps: Vec<_> = times.windows(2).filter(|pair| pair[1] - pair[0] != INTERVAL_MS).collect();
    let messages = inbox.messages();
    let problems = problems(&messages, &script, &slots);
    eprintln!(
        "{reloads} reloads, the slowest {slowest_ms} ms, {} slots, {} messages, {} problems",
        times.len(),
        messages.len(),
        problems.len()
    );
    let shown = problems.len().min(40);
    ensure!(problems.is_empty(), "gaps {gaps:?}, {} problems:\n{}", problems.len(), problems[..shown].join("\n"));
    ensure!(gaps.is_empty(), "slots were lost: {gaps:?}");
    ensure!(messages.len() > 50, "only {} messages", messages.len());
    Ok(())
}
