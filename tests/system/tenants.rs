//! Tenants that share a process have nothing else in common.

use super::outage::free_port;
use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use compat_tests::remote_write::{RequestBody, encode_labels};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

const DAY: i64 = 86_400_000;

/// Tenants and names of alerts.
type Heard = Arc<Mutex<BTreeSet<(String, String)>>>;

/// A server with tenancy; killed when dropped, as by a power cut.
struct Hearth {
    child: Child,
    url: String,
    runtime: Runtime,
    client: reqwest::Client,
}

impl Drop for Hearth {
    fn drop(&mut self) {
        // One that has ended cannot be killed.
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }
}

struct Place {
    directory: TempDir,
    config: PathBuf,
}

impl Place {
    fn new(config: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let place = Self { config: directory.path().join("hearth.yml"), directory };
        place.configure(config);
        place
    }

    fn configure(&self, text: &str) {
        std::fs::write(&self.config, text).unwrap();
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn start(&self, flags: &[&str]) -> Hearth {
        let port = free_port();
        let child = Command::new(env!("CARGO_BIN_EXE_hearth"))
            .args([format!("--web.listen-address=127.0.0.1:{port}"), "--web.enable-admin-api".to_owned()])
            .arg(format!("--storage.path={}", self.data().display()))
            .arg(format!("--config.file={}", self.config.display()))
            .args(flags)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (url, runtime) = (format!("http://127.0.0.1:{port}"), Runtime::new().unwrap());
        let hearth = Hearth { child, url, runtime, client: reqwest::Client::new() };
        hearth.until("it is ready", || hearth.ask(None, "/-/ready").is_some_and(|(status, _)| status == 200));
        hearth
    }
}

impl Hearth {
    /// Ends it as an operator does.
    fn stop(mut self) {
        let asked = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(asked.success());
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }

    fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !is_so() {
            assert!(Instant::now() < deadline, "never: {what}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn send(&self, request: reqwest::RequestBuilder, tenant: Option<&str>) -> Option<(u16, String)> {
        let request = match tenant {
            Some(tenant) => request.header("X-Scope-OrgID", tenant),
            None => request,
        };
        self.runtime.block_on(async {
            let answer = request.send().await.ok()?;
            Some((answer.status().as_u16(), answer.text().await.ok()?))
        })
    }

    fn ask(&self, tenant: Option<&str>, path: &str) -> Option<(u16, String)> {
        self.send(self.client.get(format!("{}{path}", self.url)), tenant)
    }

    fn post(&self, tenant: &str, path: &str, body: impl Into<reqwest::Body>) -> (u16, String) {
        self.send(self.client.post(format!("{}{path}", self.url)).body(body), Some(tenant)).unwrap()
    }

    /// Status and text of the answer to one sample.
    fn written(&self, tenant: &str, job: &str, timestamp_ms: i64, value: f64) -> (u16, String) {
        let mut body = RequestBody::default();
        body.push(&encode_labels(&[("__name__", "m"), ("job", job)]), timestamp_ms, value);
        let request = self.client.post(format!("{}/api/v1/write", self.url)).header("Content-Encoding", "snappy");
        let request = request.header("Content-Type", "application/x-protobuf").body(body.take_compressed());
        self.send(request, Some(tenant)).unwrap()
    }

    fn write(&self, tenant: &str, job: &str, timestamp_ms: i64, value: f64) {
        assert_eq!(self.written(tenant, job, timestamp_ms, value), (204, String::new()));
    }

    fn flush(&self, tenant: &str) {
        let (status, text) = self.post(tenant, "/api/v1/admin/tsdb/flush?wait=true&compact=true", "");
        assert!((200..300).contains(&status), "{text}");
    }

    fn data(&self, tenant: &str, path: &str) -> Value {
        let (status, text) = self.ask(Some(tenant), path).unwrap();
        assert_eq!(status, 200, "{text}");
        let answer: Value = serde_json::from_str(&text).unwrap();
        answer.pointer("/data").cloned().unwrap()
    }

    /// The values of a metric at a time, in order.
    fn values(&self, tenant: &str, query: &str, timestamp_ms: i64) -> Vec<String> {
        let data = self.data(tenant, &format!("/api/v1/query?query={query}&time={}", timestamp_ms / 1000));
        let result = data.pointer("/result").and_then(Value::as_array).unwrap();
        let mut values: Vec<String> =
            result.iter().map(|one| one.pointer("/value/1").and_then(Value::as_str).unwrap().to_owned()).collect();
        values.sort();
        values
    }

    fn metrics(&self) -> String {
        self.ask(None, "/metrics").unwrap().1
    }
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

fn exists(path: &Path) -> bool {
    path.try_exists().unwrap()
}

#[test]
fn tenants_see_only_what_is_theirs_also_after_a_kill() {
    let place = Place::new("global: {scrape_interval: 1s}\n");
    let hearth = place.start(&["--tenants.enabled"]);
    let at = now_ms() / 1000 * 1000;
    assert_eq!(hearth.ask(None, "/api/v1/query?query=up").unwrap(), (401, "no org id\n".into()));
    assert_eq!(hearth.ask(Some("a|b"), "/api/v1/query?query=up").unwrap().0, 400);
    for (tenant, value) in [("team-a", 1.0), ("team.b", 2.0), ("c!*'()", 3.0)] {
        hearth.write(tenant, "x", at, value);
    }
    let check = |hearth: &Hearth| {
        assert_eq!(hearth.values("team-a", "m", at), ["1"]);
        assert_eq!(hearth.values("team.b", "m", at), ["2"]);
        assert_eq!(hearth.values("c!*'()", "m", at), ["3"]);
        assert!(hearth.values("team-d", "m", at).is_empty());
        assert_eq!(hearth.data("team-a", "/api/v1/labels"), serde_json::json!(["__name__", "job"]));
        assert!(hearth.values("anonymous", "m", at).is_empty());
        assert_ne!(hearth.values("anonymous", "count({job=\"hearth\"})", now_ms()), ["0"; 0], "the own metrics");
    };
    hearth.until("the own metrics are there", || !hearth.values("anonymous", "up", now_ms()).is_empty());
    check(&hearth);
    let page = hearth.metrics();
    assert!(page.contains("hearth_head_series{tenant=\"team-a\"} 1.0\n"), "{page}");
    assert_eq!(page.matches("# TYPE hearth_head_series gauge").count(), 1);
    drop(hearth);

    // Killed: the log of each has everything, and nobody has to ask for a tenant before its data is there.
    let hearth = place.start(&["--tenants.enabled"]);
    hearth.until("tenants are open", || hearth.metrics().contains("hearth_head_series{tenant=\"team.b\"} 1.0\n"));
    check(&hearth);
    hearth.flush("team-a");
    check(&hearth);
    let blocks = |tenant: &str| place.data().join("blocks").join(format!("t={tenant}")).join("res=raw");
    assert!(exists(&blocks("team-a")) && !exists(&blocks("team.b")));
    let (status, text) = hearth.post("team.b", "/api/v1/admin/tsdb/delete_series?match[]=m", "");
    assert_eq!(status, 204, "{text}");
    assert!(hearth.values("team.b", "m", at).is_empty());
    assert_eq!(hearth.values("team-a", "m", at), ["1"]);
    let sql = |tenant: &str| {
        let form = [("query", "SELECT value FROM samples WHERE metric = 'm'"), ("format", "csv")];
        hearth.send(hearth.client.post(format!("{}/api/v1/sql", hearth.url)).form(&form), Some(tenant)).unwrap()
    };
    assert_eq!(sql("team-a"), (200, "value\r\n1\r\n".into()));
    assert_eq!(sql("team.b"), (200, "value\r\n".into()));
    drop(hearth);

    // Without tenancy the data of anonymous is there, and that of others is left alone.
    let hearth = place.start(&[]);
    let (status, text) = hearth.ask(Some("team-a"), "/api/v1/query?query=m").unwrap();
    assert_eq!(status, 200);
    assert!(text.contains("\"result\":[]"), "the header is ignored: {text}");
    assert!(!hearth.metrics().contains("tenant=\""));
}

#[test]
fn each_tenant_keeps_its_samples_as_long_as_its_configuration_says() {
    let place = Place::new(
        "tenants:\n  short: {retention_time: 2d}\n  classes: {retention: [{match: '{job=\"debug\"}', keep: 2d}]}\n",
    );
    let hearth = place.start(&["--tenants.enabled", "--storage.retention.time=30d"]);
    let old = (now_ms() - 5 * DAY) / 1000 * 1000;
    for (tenant, job, is_kept) in [
        ("long", "debug", true),
        ("long", "other", true),
        ("classes", "debug", false),
        ("classes", "other", true),
        ("short", "other", false),
    ] {
        let (status, text) = hearth.written(tenant, job, old, 1.0);
        assert_eq!((status, text.contains("too_old")), if is_kept { (204, false) } else { (400, true) }, "{text}");
        hearth.flush(tenant);
    }
    assert_eq!(hearth.values("long", "m", old), ["1", "1"]);
    assert_eq!(hearth.values("classes", "m", old), ["1"]);

    // A new configuration counts at once, for those that are open.
    place.configure("tenants:\n  long: {retention_time: 1d}\n");
    let (status, text) = hearth.post("long", "/-/reload", "");
    assert_eq!(status, 200, "{text}");
    hearth.until("what expired is gone", || hearth.values("long", "m", old).is_empty());
    hearth.write("short", "other", old, 3.0);
    assert_eq!(hearth.values("short", "m", old), ["3"], "it is as the others again");
    place.configure("tenants:\n  a/b: {}\n");
    let (status, text) = hearth.post("long", "/-/reload", "");
    assert_eq!((status, text.contains("unsupported character '/'")), (500, true), "{text}");
}

#[test]
fn rules_and_alerts_are_of_a_tenant_and_alertmanagers_hear_whose() {
    let runtime = Runtime::new().unwrap();
    let heard = Heard::default();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let routes = Router::new().fallback(hear).with_state(Arc::clone(&heard));
    runtime.spawn(async move { axum::serve(listener, routes).await.unwrap() });
    let place = Place::new(&format!(
        "global: {{evaluation_interval: 1s}}\nalerting: {{alertmanagers: [{{static_configs: [{{targets: ['{address}']}}]}}]}}\n\
         tenants: {{filed: {{rule_files: [filed.yml]}}}}\n"
    ));
    let file = "groups: [{name: g, rules: [{alert: OfFile, expr: vector(1)}, {record: r, expr: vector(7)}]}]\n";
    std::fs::write(place.directory.path().join("filed.yml"), file).unwrap();
    let hearth = place.start(&["--tenants.enabled"]);
    let group = "name: g\nrules: [{alert: Down, expr: m == 1}]\n";
    for tenant in ["team-a", "team-b"] {
        assert_eq!(hearth.post(tenant, "/config/v1/rules/ns", group).0, 202);
    }
    hearth.write("team-a", "x", now_ms(), 1.0);
    hearth.until("both alerts were heard", || heard.lock().unwrap().len() >= 2);
    // A rule of the third, which has no such samples, has been evaluated meanwhile.
    hearth.until("a rule that does not fire was evaluated", || {
        let group = hearth.data("team-b", "/api/v1/rules");
        let evaluated = group.pointer("/groups/0/rules/0/lastEvaluation").and_then(Value::as_str);
        evaluated.is_some_and(|at| !at.starts_with("0001"))
    });
    let expected = [("filed", "OfFile"), ("team-a", "Down")].map(|(tenant, alert)| (tenant.into(), alert.into()));
    assert_eq!(*heard.lock().unwrap(), BTreeSet::from(expected));
    let alerts = |tenant: &str| hearth.data(tenant, "/api/v1/alerts").pointer("/alerts/0").is_some();
    assert_eq!(["team-a", "team-b", "filed"].map(alerts), [true, false, true]);
    hearth.until("the rule has recorded", || hearth.values("filed", "r", now_ms()) == ["7"]);
    assert!(hearth.values("anonymous", "r", now_ms()).is_empty());
    drop(hearth);

    let hearth = place.start(&["--tenants.enabled"]);
    hearth.until("rules by API are there again", || {
        hearth.data("team-b", "/api/v1/rules").pointer("/groups/0/rules/0/name").is_some_and(|name| name == "Down")
    });
    hearth.stop();
    let hearth = place.start(&["--tenants.enabled"]);
    assert_eq!(hearth.values("filed", "count(last_over_time(r[1h]))", now_ms()), ["1"], "the stop lost nothing");
}

async fn hear(State(heard): State<Heard>, headers: HeaderMap, body: String) {
    let tenant = headers.get("X-Scope-OrgID").map_or("", |value| value.to_str().unwrap());
    let alerts: Vec<Value> = serde_json::from_str(&body).unwrap();
    for alert in alerts {
        let name = alert.pointer("/labels/alertname").and_then(Value::as_str).unwrap();
        heard.lock().unwrap().insert((tenant.to_owned(), name.to_owned()));
    }
}

#[test]
fn there_are_no_more_tenants_than_allowed() {
    let place = Place::new("{}");
    let hearth = place.start(&["--tenants.enabled", "--tenants.max=2"]);
    hearth.write("a", "x", now_ms(), 1.0);
    let (status, text) = hearth.written("b", "x", now_ms(), 1.0);
    assert_eq!((status, text.contains("--tenants.max")), (503, true), "{text}");
    hearth.write("a", "x", now_ms() + 1, 1.0);
}
