//! What happened to alerts is known after the process died.

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
