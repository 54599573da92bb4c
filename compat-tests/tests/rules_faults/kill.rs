//! `kill -9`, again and again, at random moments. `HEARTH_RULE_KILL_ROUNDS` sets how often (default 10), `HEARTH_SEED` the
//! moments and the samples.

use crate::oracle::{INTERVAL_MS, RESEND_MS, RULES, SLOT_RULE, Script, Slots, phase_ms, problems};
use anyhow::{Context, ensure};
use compat_tests::peer::Launch;
use compat_tests::random::Random;
use compat_tests::receiver::Inbox;
use compat_tests::wait::{now_ms, until_ms};
use std::time::Duration;

/// A slot that was due at most this long before a kill may not have been finished; one that is due at most this long after
/// the server is ready may have been missed.
const MARGIN_MS: i64 = 500;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_loses_no_alert_and_no_hold_begins_anew() -> anyhow::Result<()> {
    compat_tests::stall::undisturbed(under_kills).await
}

async fn under_kills() -> anyhow::Result<()> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let rounds = number("HEARTH_RULE_KILL_ROUNDS").unwrap_or(10);
    let seed = number("HEARTH_SEED").unwrap_or_else(|| now_ms().unsigned_abs());
    eprintln!("seed {seed}");
    let mut random = Random::new(seed);
    let inbox = Inbox::start().await?;
    let directory = tempfile::tempdir()?;
    let rules: Vec<_> = RULES.iter().map(|rule| format!("  - {}\n", rule.yaml("{{ $value }}"))).collect();
    let rules = format!("groups:\n- name: test\n  interval: 1s\n  rules:\n  - {SLOT_RULE}\n{}", rules.concat());
    std::fs::write(directory.path().join("rules.yml"), rules)?;
    let config = format!("self_scrape: {{enabled: false}}\nrule_files: [rules.yml]\n{}", inbox.config());
    let launch =
        Launch::hearth(directory.path(), Some(&config), &[&format!("--rules.alert.resend-delay={RESEND_MS}ms")])?;

    let mut server = launch.start().await?;
    let mut slots = Slots { phase_ms: phase_ms(&server.url).await?, away: Vec::new() };
    let start_ms = (now_ms() / INTERVAL_MS + 2) * INTERVAL_MS + (slots.phase_ms + INTERVAL_MS / 2) % INTERVAL_MS;
    let seconds = 20 + 3 * rounds as i64;
    let mut script = Script::new(&mut random, 20, start_ms, seconds);
    let (mut killed, end_ms) = (0, script.end_ms() + 8_000);
    while now_ms() < end_ms {
        script.write(&server.url, now_ms() + 60_000).await?;
        if killed >= rounds {
            until_ms(end_ms.min(now_ms() + 10_000)).await;
            continue;
        }
        tokio::time::sleep(Duration::from_millis(100 + random.below(5_000))).await;
        let from_ms = now_ms() - MARGIN_MS;
        server.kill()?;
        killed += 1;
        server = launch.start().await.with_context(|| format!("after kill {killed}"))?;
        slots.away.push((from_ms, now_ms() + MARGIN_MS));
    }
    let messages = inbox.messages();
    let problems = problems(&messages, &script, &slots);
    let longest_ms = slots.away.iter().map(|(from, to)| to - from).max().unwrap_or(0);
    let (count, messages_count) = (problems.len(), messages.len());
    eprintln!("{killed} kills, away for {longest_ms} ms at most, {messages_count} messages, {count} problems");
    let shown = problems.len().min(40);
    ensure!(problems.is_empty(), "seed {seed}, {} problems:\n{}", problems.len(), problems[..shown].join("\n"));
    ensure!(messages.len() > 100, "only {} messages", messages.len());
    ensure!(server.terminate()?, "it did not end well; its log:\n{}", launch.log_tail());
    Ok(())
}
