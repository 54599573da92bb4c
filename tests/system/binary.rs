//! The binary as a user meets it: commands, exit codes, start and end.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn hearth(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hearth")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn write(directory: &Path, name: &str, content: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, content).unwrap();
    path.display().to_string()
}

#[test]
fn a_mistake_in_the_configuration_is_named_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let file = write(directory.path(), "hearth.yml", "global:\n  evaluation_intervall: 1m\n");
    for arguments in [vec!["config", "check", &file], vec!["--config.check", "--config.file", &file]] {
        let output = hearth(&arguments);
        assert_eq!(output.status.code(), Some(1));
        let problem = text(&output.stderr);
        assert!(problem.contains("hearth.yml:2:3: ") && problem.contains("evaluation_intervall"), "{problem}");
    }
}

#[test]
fn a_configuration_is_checked_together_with_its_rules() {
    let directory = tempfile::tempdir().unwrap();
    let rule = "groups: [{name: g, rules: [{record: r, expr: 'sum(up'}]}]\n";
    write(directory.path(), "rules.yml", rule);
    let file = write(directory.path(), "hearth.yml", "rule_files: ['*.yml.off', 'rules.yml']\n");
    let output = hearth(&["config", "check", &file]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("could not parse expression"), "{}", text(&output.stderr));
    write(directory.path(), "rules.yml", &rule.replace("sum(up", "sum(up)"));
    let output = hearth(&["config", "check", &file]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("matches no file"), "{}", text(&output.stdout));
    std::fs::remove_file(directory.path().join("rules.yml")).unwrap();
    let output = hearth(&["config", "check", &file]);
    assert_eq!(output.status.code(), Some(1), "what is named is to be there");
    assert!(text(&output.stderr).contains("\"rules.yml\" does not point to an existing file"), "{output:?}");
}

#[test]
fn a_whole_prometheus_yml_is_valid_and_what_is_not_used_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let configuration = "global: {scrape_interval: 15s}\nscrape_configs:\n- job_name: a\n";
    let file = write(directory.path(), "prometheus.yml", configuration);
    for arguments in [vec!["config", "check", &file], vec!["--config.check", "--config.file", &file]] {
        let output = hearth(&arguments);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let said = text(&output.stdout);
        assert!(said.starts_with(&format!("warning: {file}:2:1: scrape_configs is not used: ")), "{said}");
        assert!(said.contains("valid, 0 rule groups"), "{said}");
    }
}

#[test]
fn rule_files_are_checked_one_by_one() {
    let directory = tempfile::tempdir().unwrap();
    let good = write(directory.path(), "good.yml", "groups: [{name: g, rules: [{record: r, expr: up}]}]\n");
    let bad = write(directory.path(), "bad.yml", "groups: [{name: g, rules: [{alert: a}]}]\n");
    assert_eq!(hearth(&["rules", "check", &good]).status.code(), Some(0));
    let output = hearth(&["rules", "check", &good, &bad]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("field 'expr' must be set in rule"), "{}", text(&output.stderr));
}

#[test]
fn lints_find_what_is_valid_and_probably_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let rules = "groups:\n- name: g\n  rules:\n  - {alert: A, expr: 'count(up) == 0', for: 1m}\n";
    let file = write(directory.path(), "rules.yml", rules);
    let output = hearth(&["rules", "lint", &file]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    assert!(
        text(&output.stdout).contains("rules.yml:4:22: never-true: A: `count(up) == 0`"),
        "{}",
        text(&output.stdout)
    );
    assert_eq!(hearth(&["rules", "lint", "--disable=never-true", &file]).status.code(), Some(0));
    assert!(text(&hearth(&["rules", "lint", "--list"]).stdout).contains("missing-label"));
}

/// The rules that watch Hearth do what their unit tests say.
#[test]
fn the_pack_passes_its_unit_tests() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/rules/pack_tests.yml");
    let output = hearth(&["rules", "test", &tests.display().to_string()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

/// The names of metrics in the pack, without the endings of sums and counts.
fn metrics_of_the_pack() -> std::collections::BTreeSet<String> {
    let pack = text(&hearth(&["rules", "print-pack"]).stdout);
    let words = pack.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
    let own = words.filter(|word| word.starts_with("hearth_"));
    let family = |name: &str| ["_sum", "_count"].iter().find_map(|end| name.strip_suffix(end).map(str::to_owned));
    own.map(|name| family(name).unwrap_or_else(|| name.to_owned())).collect()
}

#[test]
fn completions_exist_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = hearth(&["completions", shell]);
        assert!(output.status.success() && text(&output.stdout).contains("hearth"), "{shell}");
    }
}

/// Whether `/metrics` of the server says that there is a metric of this name.
fn is_declared(address: &str, name: &str) -> bool {
    use std::io::Write;
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    page.contains(&format!("# TYPE {name} "))
}

/// A newcomer's first minute: without any flag but the places, data and a firing alert appear by themselves, the command
/// line finds them, and the process ends well when told to.
#[test]
fn it_runs_on_embedded_defaults_and_ends_well() {
    let directory = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let mut server = Command::new(env!("CARGO_BIN_EXE_hearth"))
        .args([format!("--web.listen-address={address}"), format!("--storage.path={}", directory.path().display())])
        .arg("--enable-feature=magic") // unknown ones are only warned of, as Prometheus does
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let url = format!("http://{address}");
    let ask = |query: &str| text(&hearth(&["query", query, "--server", &url]).stdout);
    let deadline = Instant::now() + Duration::from_secs(60);
    while !(ask("up").contains("job=\"hearth\"") && ask("ALERTS").contains("alertstate=\"firing\"")) {
        assert!(Instant::now() < deadline, "no data after a minute: {}", ask("up"));
        std::thread::sleep(Duration::from_millis(200));
    }
    let metrics = metrics_of_the_pack();
    assert!(metrics.len() > 20, "{metrics:?}");
    let missing = metrics.iter().filter(|name| !is_declared(&address, name)).collect::<Vec<_>>();
    assert!(missing.is_empty(), "the pack names metrics that do not exist: {missing:?}");
    let mut notices = std::net::TcpStream::connect(&address).unwrap();
    std::io::Write::write_all(&mut notices, b"GET /api/v1/notifications/live HTTP/1.0\r\n\r\n").unwrap();
    let mut head = [0; 12];
    notices.read_exact(&mut head).unwrap();
    assert_eq!(text(&head), "HTTP/1.0 200");
    let told = Command::new("kill").arg(server.id().to_string()).status().unwrap();
    assert!(told.success());
    let status = server.wait().unwrap();
    let mut log = String::new();
    server.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert_eq!(status.code(), Some(0), "{log}");
    let mut told = String::new();
    notices.read_to_string(&mut told).unwrap();
    assert!(told.contains("Hearth is shutting down."), "{told}");
    assert!(!log.contains("connections are cut"), "{log}");
    assert!(log.contains("Hearth is ready"), "{log}");
    assert!(log.contains("unknown option for --enable-feature") && log.contains("magic"), "{log}");
}
