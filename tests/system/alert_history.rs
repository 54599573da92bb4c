//! What happened to alerts is known after the process died, and what would have happened to others can be known.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A process that is killed when it goes out of scope.
struct Server {
    process: Child,
    address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    fn start(directory: &Path) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let process = Command::new(env!("CARGO_BIN_EXE_hearth"))
            .arg(format!("--web.listen-address={address}"))
            .arg(format!("--config.file={}", directory.join("hearth.yml").display()))
            .arg(format!("--storage.path={}", directory.join("data").display()))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, address }
    }

    /// The body of an answer; empty while nobody answers.
    fn get(&self, path: &str) -> String {
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(&self.address)?;
            write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer.split_once("\r\n\r\n").map_or_else(String::new, |(_, body)| body.to_owned()))
        };
        ask().unwrap_or_default()
    }

    fn wait_for(&self, path: &str, text: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let body = self.get(path);
            if body.contains(text) {
                return body;
            }
            assert!(Instant::now() < deadline, "{path}: no {text} in {body}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

#[test]
fn changes_of_alerts_outlive_a_killed_process() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    file("hearth.yml", "global: {evaluation_interval: 1s}\nrule_files: [rules.yml]\n");
    file(
        "rules.yml",
        "groups: [{name: g, rules: [{alert: Fires, expr: vector(1), for: 2s, annotations: {a: 'x {{ $value }}'}}, \
         {alert: Fails, expr: 'up[1m]'}]}]\n",
    );
    let server = Server::start(directory.path());
    let fired = server.wait_for("/api/v1/alerts/history?rule_name[]=Fires&state=firing", "held_for");
    assert!(fired.contains(r#""annotations":{"a":"x 1"},"value":"1e+00""#), "{fired}");
    server.wait_for("/api/v1/rules/history?rule_name[]=Fails", r#""health":"err""#);
    drop(server); // by SIGKILL
    let server = Server::start(directory.path());
    let all = server.wait_for("/api/v1/alerts/history?end=9999999999", r#""to":"firing""#);
    for text in [r#""from":"inactive","to":"pending","reason":"matched""#, r#""reason":"evaluation_failed","error":""#]
    {
        assert!(all.contains(text), "{text} is not in {all}");
    }
    assert!(
        server.get("/api/v1/alerts/history?match%5B%5D=%7Balertname%3D%22x%22%7D").contains(r#"{"transitions":[]}"#)
    );
}

/// A rule file is edited while no process runs: what the rules were is known, and what they wrote ends.
#[test]
fn rules_that_are_gone_after_a_restart_leave_no_series_and_their_history_stays() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    file("hearth.yml", "global: {evaluation_interval: 1s}\nrule_files: [rules.yml]\n");
    let aligned = "align_evaluation_time_on_interval: true";
    file(
        "rules.yml",
        &format!(
            "groups: [{{name: g, rules: [{{record: stays, expr: vector(1)}}, {{record: gone, expr: vector(1)}}]}}, \
             {{name: aligned, {aligned}, rules: [{{record: kept, expr: vector(1)}}, {{record: ended, expr: vector(1)}}]}}, \
             {{name: left, rules: [{{record: left, expr: vector(1)}}, {{alert: Left, expr: vector(1)}}]}}]\n"
        ),
    );
    let server = Server::start(directory.path());
    for name in ["stays", "gone", "kept", "ended", "left", "ALERTS"] {
        server.wait_for(&format!("/api/v1/query?query={name}"), r#""value""#);
    }
    // Ten evaluations are written together.
    let count = |server: &Server, name: &str| {
        server
            .get(&format!("/api/v1/rules/history?rule_name[]={name}&evaluations=1000"))
            .matches(r#""health":"ok""#)
            .count()
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    while count(&server, "stays") < 13 {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(100));
    }
    drop(server); // by SIGKILL
    file(
        "rules.yml",
        &format!(
            "groups: [{{name: g, rules: [{{record: stays, expr: vector(2)}}]}}, \
             {{name: aligned, {aligned}, rules: [{{record: kept, expr: vector(1)}}]}}]\n"
        ),
    );
    let server = Server::start(directory.path());
    for name in ["gone", "ended", "left", "ALERTS", "ALERTS_FOR_STATE"] {
        server.wait_for(&format!("/api/v1/query?query={name}"), r#""result":[]"#);
    }
    for name in ["stays", "kept"] {
        server.wait_for(&format!("/api/v1/query?query={name}"), r#""value""#);
    }
    assert!(count(&server, "stays") >= 10, "evaluations of the killed process are there");
    let history = server.get("/api/v1/rules/history");
    for text in [
        r#""rule":"stays","what":"added","definition":"expr: vector(1)\n""#,
        r#""rule":"stays","what":"changed","definition":"expr: vector(2)\n""#,
        r#""rule":"gone","what":"removed""#,
        r#""rule":"Left","what":"removed""#,
    ] {
        assert!(history.contains(text), "{text} is not in {history}");
    }
}

/// In milliseconds: seconds, or a text.
fn millis(time: &serde_json::Value) -> i64 {
    match (time.as_f64(), time.as_str()) {
        (Some(seconds), _) => (seconds * 1000.0).round() as i64,
        (None, Some(text)) => text.parse::<jiff::Timestamp>().unwrap().as_millisecond(),
        (None, None) => panic!("{time}"),
    }
}

#[test]
fn a_backtest_tells_what_the_running_server_did() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    file("hearth.yml", "global: {evaluation_interval: 1s}\nrule_files: [input.yml, rules.yml]\n");
    file("input.yml", "groups: [{name: input, rules: [{record: phase, expr: floor(vector(time() % 6))}]}]\n");
    // Two seconds later everything that is read was stored.
    file(
        "rules.yml",
        "groups: [{name: g, query_offset: 2s, rules: [{record: double, expr: 2 * phase}, \
         {alert: High, expr: phase > 2, for: 1s}, {alert: Chained, expr: double > 4 and on () phase < 5, keep_firing_for: 1s}]}]\n",
    );
    let server = Server::start(directory.path());
    let fired = |name: &str| format!("/api/v1/alerts/history?rule_name[]={name}&state=firing");
    let deadline = Instant::now() + Duration::from_secs(60);
    while server.get(&fired("Chained")).matches(r#""to":"firing""#).count() < 3 {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(100));
    }
    let history: serde_json::Value = serde_json::from_str(&server.get("/api/v1/alerts/history?limit=10000")).unwrap();
    let told = history["data"]["transitions"].as_array().unwrap_or_else(|| panic!("{history}"));
    let mut changes: Vec<(i64, String, String)> = told
        .iter()
        .map(|one| {
            let at = millis(&one["time"]);
            (at, one["labels"]["alertname"].as_str().unwrap().to_owned(), one["to"].as_str().unwrap().to_owned())
        })
        .collect();
    changes.sort();
    let last = changes.last().unwrap().0;
    let output = Command::new(env!("CARGO_BIN_EXE_hearth"))
        .args(["rules", "backtest", "--start=2m", "--output=json", "--eval-interval=1s"])
        .arg(format!("--end={}.{:03}", last / 1000, last % 1000))
        .arg(format!("--url=http://{}", server.address))
        .arg(directory.path().join("rules.yml"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let outcome: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut expected = Vec::new();
    for rule in outcome["variants"][0]["rules"].as_array().unwrap() {
        for episode in rule["episodes"].as_array().unwrap() {
            let at = |name: &str| (!episode[name].is_null()).then(|| millis(&episode[name]));
            let pending = at("pendingSince").filter(|since| at("firingSince") != Some(*since));
            for (at, to) in [(pending, "pending"), (at("firingSince"), "firing"), (at("resolvedAt"), "inactive")] {
                let name = rule["name"].as_str().unwrap().to_owned();
                expected.extend(at.map(|at| (at, name, to.to_owned())));
            }
        }
    }
    expected.sort();
    assert_eq!(changes, expected);
}
