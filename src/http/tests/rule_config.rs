//! The rule configuration API, as clients use it: requests in the form in which mimirtool, cortextool and Grafana send them.

use super::fixture::{Answer, App, answer};
use super::header;
use crate::rules::config::{ConfiguredGroups, RuleConfig, RuleLimits};
use axum::body::Body;
use axum::extract::Request;
use futures::future::BoxFuture;
use model::tenant::TenantId;
use promql::parse::ParseOptions;
use ruler::rule_file::FileGroup;
use std::sync::Arc;
use storage::bucket::Bucket;
use storage::documents::Documents;

struct NobodyRuns;

impl ConfiguredGroups for NobodyRuns {
    fn apply(&self, _: Vec<(String, FileGroup)>) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    fn is_in_file(&self, _: &str, _: &str) -> bool {
        false
    }
}

/// Configured rules in memory.
pub(super) fn rule_config() -> RuleConfig {
    let documents = Documents::new(Bucket::in_memory(), "anonymous", "rules", Arc::new(|| 0));
    let limits = RuleLimits { groups_max: 3, rules_max: 2 };
    RuleConfig::new(TenantId::anonymous(), documents, limits, ParseOptions::default(), Arc::new(NobodyRuns))
}

async fn loaded() -> App {
    let app = App::new();
    app.rule_config.load().await.unwrap();
    app
}

async fn send(app: &App, method: &str, path: &str, body: &str) -> Answer {
    let request = Request::builder().method(method).uri(path).header("X-Scope-OrgID", "team-a");
    let request = request.header("Content-Type", "application/yaml").body(Body::from(body.to_owned()));
    answer(&app.router, request.unwrap()).await
}

const GROUP: &str = "name: My/Group\ninterval: 30s\nrules:\n- alert: Down\n  expr: up == 0\n  for: 1m\n";
const ACCEPTED: &str = r#"{"status":"success","data":null,"errorType":"","error":""}"#;

#[tokio::test]
async fn groups_go_round_below_every_prefix() {
    for prefix in [
        "/config/v1/rules",
        "/prometheus/config/v1/rules", // mimirtool, and Grafana with a data source whose URL ends in /prometheus
        "/api/prom/rules",             // cortextool with legacy routes, and Grafana with a data source of Cortex
        "/api/v1/rules",               // cortextool; the list of all namespaces is Prometheus' there
    ] {
        let app = loaded().await;
        let set = send(&app, "POST", &format!("{prefix}/My%3A%20Name%2Fspace"), GROUP).await;
        assert_eq!((set.status, set.text().as_str()), (202, ACCEPTED), "{prefix}");
        assert_eq!(header(&set.headers, "content-type"), "application/json");
        let group = format!("{prefix}/My:%20Name%2Fspace/My%2FGroup");
        let one = send(&app, "GET", &group, "").await;
        assert_eq!((one.status, one.text().as_str()), (200, GROUP), "{prefix}");
        assert_eq!(header(&one.headers, "content-type"), "application/yaml");
        let map = format!("\"My: Name/space\":\n- {}", GROUP.trim_end().replace('\n', "\n  ") + "\n");
        for path in [format!("{prefix}/My:%20Name%2Fspace"), "/config/v1/rules".to_owned()] {
            assert_eq!(send(&app, "GET", &path, "").await.text().replace('\'', "\""), map, "{path}");
        }
        let deleted = send(&app, "DELETE", &group, "").await;
        assert_eq!((deleted.status, deleted.text().as_str()), (202, ACCEPTED));
        assert_eq!(send(&app, "DELETE", &group, "").await.status, 404);
        send(&app, "POST", &format!("{prefix}/a"), GROUP).await;
        assert_eq!(send(&app, "DELETE", &format!("{prefix}/a"), "").await.status, 202);
        assert_eq!(send(&app, "DELETE", &format!("{prefix}/a"), "").await.status, 404);
    }
}

/// What Grafana and cortextool ask below the URL of a Cortex: queries, rules, no build information, the ruler.
#[tokio::test]
async fn below_api_prom_is_what_a_cortex_has_there() {
    let app = loaded().await;
    for (path, status) in [
        ("/api/prom/api/v1/query?query=1", 200),
        ("/prometheus/api/prom/api/v1/query?query=1", 200),
        ("/api/prom/api/v1/labels", 200),
        ("/api/prom/api/v1/label/job/values", 200),
        ("/api/prom/api/v1/rules", 200),
        ("/api/prom/api/v1/status/buildinfo", 404),
        ("/api/prom/api/v1/admin/tsdb/deletions", 404),
        ("/api/prom/rules", 200),
        ("/api/v1/status/buildinfo", 200),
    ] {
        let answer = send(&app, "GET", path, "").await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
    }
    let query = "query=sum(up)&time=15";
    let there = send(&app, "GET", &format!("/api/prom/api/v1/query?{query}"), "").await.text();
    assert_eq!(there, send(&app, "GET", &format!("/api/v1/query?{query}"), "").await.text());
}

/// By the handler, wherever it is reached; what only that place has keeps its name.
#[tokio::test]
async fn requests_in_cortex_place_are_counted_by_what_they_ask() {
    let app = loaded().await;
    for path in ["/api/prom/api/v1/label/job/values", "/api/v1/label/job/values", "/api/prom/rules"] {
        send(&app, "GET", path, "").await;
    }
    let text = send(&app, "GET", "/metrics", "").await.text();
    for line in [
        "hearth_http_requests_total{handler=\"/api/v1/label/{name}/values\",code=\"200\"} 2",
        "hearth_http_requests_total{handler=\"/api/prom/rules\",code=\"200\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_told_in_the_words_that_clients_look_for() {
    let app = loaded().await;
    let none = send(&app, "GET", "/config/v1/rules", "").await;
    assert_eq!((none.status, none.text().trim()), (200, "{}"));
    let namespace = send(&app, "GET", "/prometheus/config/v1/rules/x", "").await;
    assert_eq!((namespace.status, namespace.text().as_str()), (404, "no rule groups found\n"));
    let group = send(&app, "GET", "/config/v1/rules/x/y", "").await;
    assert_eq!((group.status, group.text().as_str()), (404, "group does not exist\n"));
}

/// The YAML that Grafana makes of what its editor knows, and what it does not take.
#[tokio::test]
async fn bodies_are_checked_as_rule_files_are() {
    let app = loaded().await;
    let grafana = "name: g\ninterval: 1m\nrules:\n    - alert: A\n      expr: up == 0\n      for: 5m\n      keep_firing_for: 0s\n      \
                   annotations:\n        summary: '{{ $labels.job }}'\n      labels:\n        severity: \"1\"\n";
    assert_eq!(send(&app, "POST", "/config/v1/rules/Folder", grafana).await.status, 202);
    let read = send(&app, "GET", "/config/v1/rules/Folder/g", "").await.text();
    assert!(read.contains("severity: \"1\"") && read.contains("keep_firing_for: 0s"), "{read}");
    for (body, problem) in [
        (
            "name: g\nrules: [{record: r, expr: 'sum('}]",
            "ns: 2:27: group \"g\", rule 1, \"r\": could not parse expression",
        ),
        ("rules: []", "Groupname must not be empty"),
        ("groups: []", "groups"),
        ("name: g\nrules: [{record: r, expr: up, for: 1m}]", "invalid field 'for' in recording rule"),
        ("name: g\nrules: [{record: a, expr: up}, {record: b, expr: up}, {record: c, expr: up}]", "limit: 2 actual: 3"),
        ("\u{7}", "ns: "),
    ] {
        let refused = send(&app, "POST", "/config/v1/rules/ns", body).await;
        assert_eq!(refused.status, 400, "{body}");
        assert!(refused.text().contains(problem), "{body}: {}", refused.text());
    }
    let long = send(&app, "POST", &format!("/config/v1/rules/{}", "x".repeat(300)), GROUP).await;
    assert!(long.status == 400 && long.text().contains("too long"), "{}", long.text());
}

#[tokio::test]
async fn operators_see_and_remove_everything() {
    let app = loaded().await;
    send(&app, "POST", "/config/v1/rules/a", GROUP).await;
    let all = send(&app, "GET", "/ruler/rule_groups", "").await.text();
    assert!(all.starts_with("anonymous:\n  a:\n  - name: My/Group\n"), "{all}");
    assert_eq!(send(&app, "POST", "/ruler/delete_tenant_config", "").await.status, 200);
    assert_eq!(send(&app, "GET", "/config/v1/rules", "").await.text().trim(), "{}");
}

#[tokio::test]
async fn before_the_store_was_read_nobody_is_told_that_there_are_no_rules() {
    let app = App::new();
    let early = send(&app, "GET", "/config/v1/rules", "").await;
    assert_eq!((early.status, header(&early.headers, "retry-after").as_str()), (503, "1"));
}
