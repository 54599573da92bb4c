//! `kill -9` of the real binary while alerts fire and resolve, in front of a receiver that is often away: every transition of
//! an undisturbed run arrives, with the times of an undisturbed run. `HEARTH_ALERT_KILL_ROUNDS` sets how often it is killed
//! (default 8).

use anyhow::{Context, ensure};
use compat_tests::peer::Launch;
use compat_tests::receiver::{Inbox, Message};
use compat_tests::wait::{eventually, now_ms};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

const ALERTS: i64 = 6;
const PERIOD_MS: i64 = 16_000;
const FOR_MS: i64 = 2_000;
const INTERVAL_MS: i64 = 1_000;

/// Each alert is there for one half of a period, and is late by as many seconds as its number says.
fn rules() -> String {
    let mut text = "groups:\n- name: g\n  interval: 1s\n  rules:\n".to_owned();
    for alert in 0..ALERTS {
        let expr = format!("(vector(time()) - {alert}) % 16 < 8");
        let _ = write!(text, "  - alert: A{alert}\n    expr: {expr}\n    for: 2s\n");
    }
    text
}

fn is_present(alert: i64, slot_ms: i64) -> bool {
    (slot_ms - alert * 1_000).rem_euclid(PERIOD_MS) < PERIOD_MS / 2
}

/// Alert, since when it fires, and when it resolved if it did.
type Transition = (i64, i64, Option<i64>);

/// What fires in the slots from `first_ms` to `end_ms`, if its period began there, too.
fn expected(first_ms: i64, end_ms: i64) -> BTreeSet<Transition> {
    let mut transitions = BTreeSet::new();
    for alert in 0..ALERTS {
        let slots = (first_ms..end_ms).step_by(INTERVAL_MS as usize);
        let mut since = None;
        let mut was_absent = false;
        for slot in slots {
            match (is_present(alert, slot), since) {
                (true, None) if was_absent => since = Some(slot),
                (true, Some(since)) if slot - since == FOR_MS => {
                    transitions.insert((alert, slot, None));
                }
                (false, Some(active_at)) => {
                    transitions.insert((alert, active_at + FOR_MS, Some(slot)));
                    since = None;
                }
                _ => {}
            }
            was_absent |= !is_present(alert, slot);
        }
    }
    transitions
}

fn heard(messages: &[Message]) -> anyhow::Result<BTreeSet<Transition>> {
    let transition = |message: &Message| {
        let alert = message.alert.label("alertname").trim_start_matches('A').parse()?;
        // A firing alert ends minutes after it was sent, however late it arrives.
        let resolved = message.alert.ends_ms - message.alert.starts_ms < PERIOD_MS;
        Ok((alert, message.alert.starts_ms, resolved.then_some(message.alert.ends_ms)))
    };
    messages.iter().map(transition).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_transition_of_an_alert_is_lost_by_kill_9() -> anyhow::Result<()> {
    let rounds: u64 = std::env::var("HEARTH_ALERT_KILL_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(8);
    let directory = tempfile::tempdir()?;
    std::fs::write(directory.path().join("rules.yml"), rules())?;
    let inbox = Inbox::start().await?;
    let config = format!("self_scrape: {{enabled: false}}\nrule_files: [rules.yml]\n{}", inbox.config());
    let launch = Launch::hearth(directory.path(), Some(&config), &[])?;
    for round in 0..rounds {
        // The receiver is away in every other round.
        inbox.answer_with(if round % 2 == 0 { 200 } else { 503 });
        let server = launch.start().await.with_context(|| format!("round {round}"))?;
        // Moments spread over the slots, the same in every run.
        tokio::time::sleep(Duration::from_millis(1_500 + (round * 379) % 2_300)).await;
        server.kill()?;
    }
    inbox.answer_with(200);
    let server = launch.start().await?;
    // Beyond the longest wait of a delivery.
    let until = now_ms();
    let first = eventually(60, || async {
        let messages = inbox.messages();
        let first = messages.iter().map(|message| message.alert.starts_ms).min().context("nothing arrived")?;
        let newest = messages.iter().map(|message| message.alert.starts_ms).max().context("nothing arrived")?;
        ensure!(newest > until, "it goes on to fire after the last start");
        Ok(first)
    })
    .await?;
    let wanted = expected(first, until);
    ensure!(wanted.len() > 4, "too little happened to prove anything: {wanted:?}");
    let problem = eventually(40, || async {
        let heard = heard(&inbox.messages())?;
        let lost: Vec<_> = wanted.difference(&heard).collect();
        ensure!(lost.is_empty(), "never heard of {lost:?}");
        let range = first + PERIOD_MS..until;
        let invented: Vec<_> =
            heard.iter().filter(|it| range.contains(&it.2.unwrap_or(it.1)) && !wanted.contains(it)).collect();
        ensure!(invented.is_empty(), "heard of {invented:?}, which did not happen");
        Ok(())
    })
    .await;
    problem.with_context(|| launch.log_tail())?;
    println!("{rounds} kills, {} transitions, none lost", wanted.len());
    ensure!(server.terminate()?, "an orderly end");
    Ok(())
}
