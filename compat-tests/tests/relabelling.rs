//! The same relabelling rules in Debian's Prometheus and in Hearth: the URLs of Alertmanagers that come of them are the same.
//!
//! Values have no line breaks: since Prometheus 3.0, and so in Hearth, a dot matches them, before that it did not.
//! Each set of rules has an Alertmanager of its own, and a last rule writes all labels into its path.

use anyhow::Context;
use compat_tests::api::Api;
use compat_tests::peer::Launch;
use serde_json::Value;
use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// Rules between the labels below and the path, one set a line.
const RULES: [&str; 45] = [
    "",
    "{source_labels: [a, b], target_label: t}",
    "{source_labels: [a, b], separator: '', target_label: t}",
    "{source_labels: [a, nothing, b], separator: '--', target_label: t}",
    "{source_labels: [a], regex: '(f)(o+)', target_label: t, replacement: '$2-${1}x$0'}",
    "{source_labels: [a], regex: '(f)(o+)', target_label: t, replacement: '$1x'}",
    "{source_labels: [a], regex: 'o+', target_label: t, replacement: never}",
    "{source_labels: [a], regex: 'f.*', target_label: t, replacement: always}",
    "{source_labels: [a], regex: '(?i)FOO', target_label: t, replacement: folded}",
    "{source_labels: [a], regex: '(?P<name>f)oo', target_label: t, replacement: '${name}!$name'}",
    "{source_labels: [a], regex: 'foo', target_label: a, replacement: ''}",
    "{source_labels: [a], target_label: b, replacement: '$$1'}",
    "{source_labels: [a], target_label: t, replacement: '$9'}",
    "{target_label: t, replacement: constant}",
    "{regex: '.+', target_label: t, replacement: 'nothing is no match'}",
    "{regex: '', target_label: t, replacement: 'nothing matches nothing'}",
    "{source_labels: [nothing], target_label: a}",
    "{source_labels: [n], regex: '(.*)', target_label: '${1}', replacement: 'named by a value'}",
    "{source_labels: [n], regex: '(.*)', target_label: 'x_${1}', replacement: '$1'}",
    "{source_labels: [a], regex: foo, action: keep}",
    "{source_labels: [a], regex: fo, action: keep}",
    "{source_labels: [a, b], regex: 'foo;.*', action: drop}",
    "{source_labels: [a], regex: bar, action: drop}",
    "{source_labels: [nothing], regex: '', action: keep}",
    "{source_labels: [a], target_label: same, action: keepequal}",
    "{source_labels: [b], target_label: same, action: keepequal}",
    "{source_labels: [a], target_label: same, action: dropequal}",
    "{source_labels: [b], target_label: same, action: dropequal}",
    "{source_labels: [nothing], target_label: nothing, action: dropequal}",
    "{source_labels: [a, b], modulus: 1000003, target_label: t, action: hashmod}",
    "{source_labels: [a], modulus: 18446744073709551615, target_label: t, action: hashmod}",
    "{modulus: 97, target_label: t, action: hashmod}",
    "{source_labels: [u], modulus: 1, target_label: t, action: HashMod}",
    "{regex: 'm_(.+)', action: labelmap}",
    "{regex: 'm_(.+)', replacement: 'x_$1', action: labelmap}",
    "{regex: '._(.+)', replacement: 't', action: labelmap}",
    "{regex: 'm_.*', action: labeldrop}",
    "{regex: '__.*|m_a|a', action: labelkeep}",
    "{source_labels: [u], target_label: t, action: lowercase}",
    "{source_labels: [u], target_label: t, action: uppercase}",
    "{source_labels: [nothing], target_label: a, action: uppercase}",
    "{source_labels: [a], target_label: t}, {source_labels: [t], regex: foo, action: drop}",
    "{target_label: m_a, replacement: '3'}, {regex: 'm_(.+)', replacement: 't', action: labelmap}",
    "{source_labels: [__address__], regex: '(.*):1', target_label: __address__, replacement: '$1:2'}",
    "{target_label: __scheme__, replacement: https}, {source_labels: [__alerts_path__, __scheme__], target_label: t}",
];

const LABELS: &str = "{a: foo, b: 'bar baz', same: foo, m_a: '1', m_b: '2', n: t, u: 'Straße ΣΑΣ İ ᾳ'}";
const SHOWN: &str = "[a, b, same, m_a, m_b, n, u, t, x_a, x_b, x_t]";

fn section() -> String {
    let mut text = String::from("alerting:\n  alertmanagers:\n");
    for (number, rules) in RULES.iter().enumerate() {
        let comma = if rules.is_empty() { "" } else { ", " };
        let _ = writeln!(
            text,
            "  - path_prefix: '/p//{number}/'\n    static_configs: [{{targets: ['h{number}:1'], labels: {LABELS}}}]\n    \
             relabel_configs: [{rules}{comma}{{source_labels: {SHOWN}, separator: '|', target_label: __alerts_path__, replacement: '/{number}/$1'}}]"
        );
    }
    text
}

/// URLs in ascending order: those that alerts go to, and those that were dropped.
async fn urls(url: &str) -> anyhow::Result<[Vec<String>; 2]> {
    let api = Api::new(url);
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let data = api.get("/api/v1/alertmanagers", &[]).await?;
        let of = |key: &str| -> Vec<String> {
            let list = data.get(key).and_then(Value::as_array).into_iter().flatten();
            let mut urls: Vec<_> = list.filter_map(|item| Some(item.get("url")?.as_str()?.to_owned())).collect();
            urls.sort_unstable();
            urls
        };
        let both = [of("activeAlertmanagers"), of("droppedAlertmanagers")];
        if both.iter().map(Vec::len).sum::<usize>() == RULES.len() {
            return Ok(both);
        }
        anyhow::ensure!(Instant::now() < deadline, "not all targets are known: {both:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn rules_mean_what_they_mean_in_prometheus() -> anyhow::Result<()> {
    if !Path::new("/usr/bin/prometheus").exists() {
        anyhow::ensure!(std::env::var_os("CI").is_none(), "prometheus is not installed");
        eprintln!("SKIPPED: prometheus is not installed");
        return Ok(());
    }
    let directory = tempfile::tempdir()?;
    let config = section();
    let hearth = Launch::hearth(directory.path(), Some(&config), &[])?.start().await.context("Hearth")?;
    let prometheus = Launch::prometheus(directory.path(), &config)?.start().await.context("Prometheus")?;
    let [active, dropped] = urls(&hearth.url).await?;
    let [their_active, their_dropped] = urls(&prometheus.url).await?;
    assert_eq!(active, their_active);
    assert_eq!(dropped, their_dropped);
    assert!(dropped.len() >= 6, "{dropped:?}");
    Ok(())
}
