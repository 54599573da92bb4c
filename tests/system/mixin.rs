//! Rules that were made for Prometheus servers find what they look for in Hearth's own metrics.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What the published mixin for Prometheus 3.14 and its dashboards ask about rules, notifications, the search for Alertmanagers,
/// queries and the process they run in, in our words: the same metrics with the same labels, in expressions of the same shape. What
/// they ask about scraping, sending by remote write and the reload of blocks has no counterpart in Hearth.
const EXPRESSIONS: [&str; 26] = [
    r#"max_over_time(prometheus_config_last_reload_successful{job="hearth"}[5m]) == 0"#,
    r#"predict_linear(prometheus_notifications_queue_length{job="hearth"}[5m], 1800)
         > on (job, instance) group_left () min_over_time(prometheus_notifications_queue_capacity{job="hearth"}[5m])"#,
    r#"100 * rate(prometheus_notifications_errors_total{job="hearth"}[5m]) / rate(prometheus_notifications_sent_total{job="hearth"}[5m]) > 1"#,
    r#"min without (alertmanager) (rate(prometheus_notifications_errors_total{job="hearth",alertmanager!~``}[5m])
         / rate(prometheus_notifications_sent_total{job="hearth",alertmanager!~``}[5m])) * 100 > 3"#,
    r#"max_over_time(prometheus_notifications_alertmanagers_discovered{job="hearth"}[5m]) < 1"#,
    r#"increase(prometheus_notifications_dropped_total{job="hearth"}[5m]) > 0"#,
    r#"prometheus_notifications_latency_seconds{job="hearth",quantile="0.99"}"#,
    r#"increase(prometheus_sd_refresh_failures_total{job="hearth",mechanism="http"}[10m]) > 0"#,
    r#"sum by (job, instance) (prometheus_sd_discovered_targets{job="hearth",name="notify"})"#,
    r#"increase(prometheus_rule_evaluation_failures_total{job="hearth",rule_group!=""}[5m]) > 0"#,
    r#"increase(prometheus_rule_group_iterations_missed_total{job="hearth",rule_group!=""}[5m]) > 0"#,
    r#"prometheus_rule_group_last_duration_seconds{job="hearth"} > prometheus_rule_group_interval_seconds{job="hearth"}"#,
    r#"time() - prometheus_rule_group_last_evaluation_timestamp_seconds{job="hearth"} > 600"#,
    r#"rate(prometheus_rule_evaluations_total{job="hearth"}[5m]) and prometheus_rule_group_last_evaluation_samples{job="hearth"}"#,
    r#"rate(prometheus_rule_evaluation_duration_seconds_sum{job="hearth"}[5m]) / rate(prometheus_rule_evaluation_duration_seconds_count{job="hearth"}[5m])"#,
    r#"max by (quantile) (prometheus_rule_evaluation_duration_seconds{job="hearth",quantile=~"0.5|0.9|0.99"}) > 0"#,
    r#"prometheus_rule_group_duration_seconds{job="hearth",quantile=~"0.01|0.05|0.5|0.9|0.99"} > 0"#,
    r#"rate(prometheus_template_text_expansion_failures_total{job="hearth"}[5m]) / rate(prometheus_template_text_expansions_total{job="hearth"}[5m])"#,
    r#"histogram_quantile(0.9, rate(prometheus_notifications_latency_histogram_seconds_bucket{job="hearth"}[5m]))"#,
    r#"increase(prometheus_tsdb_compactions_failed_total{job="hearth"}[3h]) > 0"#,
    r#"sum without (type) (rate(prometheus_tsdb_head_samples_appended_total{job="hearth",type=~"float|histogram"}[5m])) <= 0
         and sum without (rule_group) (prometheus_rule_group_rules{job="hearth"}) > 0"#,
    r#"avg_over_time(prometheus_engine_queries{job="hearth"}[5m]) / max_over_time(prometheus_engine_queries_concurrent_max{job="hearth"}[5m]) > 0.8"#,
    r#"max by (slice) (prometheus_engine_query_duration_seconds{job="hearth",quantile="0.9"}) * 1e3"#,
    r#"rate(prometheus_engine_query_duration_seconds_count{job="hearth",slice="inner_eval"}[5m])"#,
    r#"histogram_quantile(0.9, rate(prometheus_engine_query_duration_histogram_seconds_bucket{job="hearth",slice="queue_time"}[5m]))"#,
    r#"count by (job, instance, version) (prometheus_build_info{job="hearth"})"#,
];

/// A process that is killed when it goes out of scope.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A process that scrapes itself every second, with rules, one of which fails, and an Alertmanager that nobody runs.
fn start(directory: &Path) -> (Server, String) {
    let file = |name: &str, text: &str| std::fs::write(directory.join(name), text).unwrap();
    file(
        "hearth.yml",
        "global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [rules.yml]\n\
         alerting: {alertmanagers: [{static_configs: [{targets: ['127.0.0.1:9']}]}]}\n",
    );
    file(
        "rules.yml",
        "groups: [{name: g, rules: [{alert: A, expr: vector(1), annotations: {a: '{{ $value }}'}}, {record: r, expr: 'up[1m]'}]}]\n",
    );
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let server = Command::new(env!("CARGO_BIN_EXE_hearth"))
        .arg(format!("--web.listen-address={address}"))
        .arg(format!("--config.file={}", directory.join("hearth.yml").display()))
        .arg(format!("--storage.path={}", directory.join("data").display()))
        .arg("--web.prometheus-metric-names")
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    (Server(server), format!("http://{address}"))
}

fn query(url: &str, expression: &str) -> (bool, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_hearth")).args(["query", expression, "--server", url]).output().unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (output.status.success(), text)
}

/// The selectors of all expressions: a name, and the matchers behind it.
fn selectors() -> BTreeSet<&'static str> {
    let mut selectors = BTreeSet::new();
    for expression in EXPRESSIONS {
        for (start, _) in expression.match_indices("prometheus_") {
            let rest = &expression[start..];
            let end = rest.find('}').map_or(rest.len(), |brace| brace + 1);
            selectors.insert(&rest[..end]);
        }
    }
    selectors
}

#[test]
fn rules_made_for_prometheus_find_every_series() {
    let directory = tempfile::tempdir().unwrap();
    let (_server, url) = start(directory.path());
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut missing = selectors();
    assert!(missing.len() > 20, "{missing:?}");
    while !missing.is_empty() {
        assert!(Instant::now() < deadline, "no series for {missing:#?}");
        missing.retain(|selector| !query(&url, &format!("count({selector})")).1.contains("{}"));
        std::thread::sleep(Duration::from_millis(200));
    }
    for expression in EXPRESSIONS {
        let (good, text) = query(&url, expression);
        assert!(good, "{expression}: {text}");
    }
    // Quantiles are those of what happened. No Alertmanager accepted anything, which takes no time at all.
    for (count, expression) in [
        (3, r#"prometheus_rule_evaluation_duration_seconds{job="hearth"} > 0"#),
        (5, r#"prometheus_rule_group_duration_seconds{job="hearth"} > 0"#),
        (6, r#"prometheus_engine_query_duration_seconds{job="hearth"} > 0"#),
        (3, r#"prometheus_notifications_latency_seconds{job="hearth"} != prometheus_notifications_latency_seconds"#),
    ] {
        while !query(&url, &format!("count({expression}) == {count}")).1.contains("{}") {
            assert!(Instant::now() < deadline, "not {count}: {expression}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
    // Without this bucket `histogram_quantile` is NaN.
    let buckets = |le: &str| format!(r#"count by (__name__) ({{__name__=~".+_bucket",job="hearth"{le}}})"#);
    let (good, text) = query(&url, &format!("count({})", buckets("")));
    assert!(good && text.contains("{}"), "{text}");
    let (good, text) = query(&url, &format!("{} unless {}", buckets(""), buckets(r#",le="+Inf""#)));
    assert!(good && !text.contains("_bucket"), "without +Inf: {text}");
}
