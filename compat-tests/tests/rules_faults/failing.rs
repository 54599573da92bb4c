//! A rule whose query fails for a while: its firing alerts are neither resolved nor left to expire.

use anyhow::{Context, ensure};
use compat_tests::api::Api;
use compat_tests::peer::{Launch, Server};
use compat_tests::receiver::{Inbox, Message};
use compat_tests::remote_write::{Writer, stale_marker};
use compat_tests::wait::{eventually, now_ms};
use std::time::Duration;

/// How long the query fails: several times as long as an Alertmanager believes an alert that it no longer hears of.
const OUTAGE: Duration = Duration::from_secs(12);

async fn push(server: &Server, series: impl Iterator<Item = (&'static str, String)>, value: f64) -> anyhow::Result<()> {
    let mut writer = Writer::new(&server.url);
    for (name, label) in series {
        writer.push(name, &[("job", "boiler"), ("of", &label)], now_ms(), value);
    }
    writer.send().await
}

fn of_rule(inbox: &Inbox, name: &str) -> Vec<Message> {
    inbox.messages().into_iter().filter(|message| message.alert.label("alertname") == name).collect()
}

async fn health(server: &Server, name: &str) -> anyhow::Result<String> {
    let listed = Api::new(&server.url).get("/api/v1/rules", &[]).await?;
    let rules = listed["groups"].as_array().into_iter().flatten().filter_map(|group| group["rules"].as_array());
    let rule = rules.flatten().find(|rule| rule["name"] == name).context("the rule is not listed")?;
    Ok(rule["health"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_that_fails_for_a_while_resolves_no_alert() -> anyhow::Result<()> {
    let inbox = Inbox::start().await?;
    let directory = tempfile::tempdir()?;
    std::fs::write(
        directory.path().join("rules.yml"),
        "groups:\n- name: test\n  interval: 1s\n  rules:\n\
         \x20 - {alert: TwoMatch, expr: 'pressure * on (job) group_left () owner > 5'}\n\
         \x20 - {alert: TooMany, expr: 'sort({__name__=~\"pressure|filler\"}) > 5'}\n",
    )?;
    let config = format!("self_scrape: {{enabled: false}}\nrule_files: [rules.yml]\n{}", inbox.config());
    let arguments = ["--rules.alert.resend-delay=1s", "--query.max-samples=100"];
    let server = Launch::hearth(directory.path(), Some(&config), &arguments)?.start().await?;
    let one = |name: &'static str, label: &str| std::iter::once((name, label.to_owned()));
    push(&server, one("pressure", "a").chain(one("owner", "red")), 7.0).await?;
    for name in ["TwoMatch", "TooMany"] {
        eventually(20, || async { of_rule(&inbox, name).pop().context("it does not fire") }).await?;
    }

    // A second owner, so that the match is not unique; and more series than one query may hold.
    let filler = || (0..200).map(|i| ("filler", i.to_string()));
    push(&server, one("owner", "blue").chain(filler()), 1.0).await?;
    for name in ["TwoMatch", "TooMany"] {
        eventually(20, || async {
            let health = health(&server, name).await?;
            ensure!(health == "err", "health of {name} is {health}");
            Ok(())
        })
        .await?;
    }
    tokio::time::sleep(OUTAGE).await;
    for name in ["TwoMatch", "TooMany"] {
        let messages = of_rule(&inbox, name);
        let starts = messages[0].alert.starts_ms;
        ensure!(messages.iter().all(|m| m.alert.starts_ms == starts && !m.is_resolved()), "{name}: {messages:?}");
        for (earlier, later) in messages.iter().zip(&messages[1..]) {
            let (until, next) = (earlier.alert.ends_ms, later.arrived_ms);
            ensure!(next <= until, "{name} is believed until {until}, but only heard of again at {next}");
        }
        let until = messages.last().map(|message| message.alert.ends_ms);
        ensure!(until > Some(now_ms()), "{name} is believed until {until:?}, it is {}", now_ms());
    }

    // The query works again, the alerts are still the same ones, and they end when the condition does.
    push(&server, one("owner", "blue").chain(filler()), stale_marker()).await?;
    for name in ["TwoMatch", "TooMany"] {
        eventually(20, || async {
            let health = health(&server, name).await?;
            ensure!(health == "ok", "health of {name} is {health}");
            Ok(())
        })
        .await?;
    }
    push(&server, one("pressure", "a").chain(one("owner", "red")), 1.0).await?;
    for name in ["TwoMatch", "TooMany"] {
        let end = eventually(20, || async {
            of_rule(&inbox, name).into_iter().find(Message::is_resolved).context("it does not end")
        });
        let (first, end) = (of_rule(&inbox, name)[0].alert.starts_ms, end.await?);
        ensure!(end.alert.starts_ms == first, "{name}: began at {first}, ended as one of {}", end.alert.starts_ms);
    }
    Ok(())
}
