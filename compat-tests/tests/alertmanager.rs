//! Hearth and real Alertmanagers: what amtool shows there is what the rules say, through silences, restarts and logins.

use anyhow::{Context, ensure};
use compat_tests::api::Api;
use compat_tests::peer::{Launch, Server};
use compat_tests::receiver::{Alert, Receiver};
use compat_tests::remote_write::Writer;
use compat_tests::wait::{eventually, now_ms, run};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

const RULES: &str = r#"
groups:
- name: test
  interval: 1s
  rules:
  - alert: PressureHigh
    expr: pressure > 5
    labels: {severity: page}
    annotations: {summary: 'Pressure of {{ $labels.job }} is {{ $value }} "bar".'}
  - {alert: PressureHighForLong, expr: pressure > 5, for: 1h}
"#;
const EXTERNAL_URL: &str = "https://rules.example/hearth";
/// Least time between two deliveries; alerts end four times that after the slot in which they were sent.
const RESEND_MS: i64 = 2_000;
/// User `admin`, password `test`: the example of Prometheus' documentation.
const USERS: &str = "basic_auth_users: {admin: '$2b$12$hNf2lSsxfm0.i4a.1kVpSOVyBCfIB51VRjgBUyv6kdnyTlgWj81Ay'}\n";

/// An Alertmanager and how amtool reaches it.
struct Target {
    launch: Launch,
    amtool: Vec<String>,
}

impl Target {
    /// What amtool prints.
    fn amtool(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let all: Vec<_> = self.amtool.iter().map(String::as_str).chain(arguments.iter().copied()).collect();
        let (success, text) = run("amtool", &all)?;
        ensure!(success, "amtool {arguments:?}: {text}");
        Ok(text)
    }

    fn alerts(&self, more: &[&str]) -> anyhow::Result<Vec<Alert>> {
        let arguments: Vec<_> = ["alert", "query", "-o", "json"].into_iter().chain(more.iter().copied()).collect();
        let text = self.amtool(&arguments)?;
        serde_json::from_str(&text).with_context(|| text)
    }

    fn lists(&self, count: usize, more: &[&str]) -> anyhow::Result<Vec<Alert>> {
        let alerts = self.alerts(more)?;
        ensure!(alerts.len() == count, "amtool {more:?} lists {alerts:?}, expected {count}");
        Ok(alerts)
    }
}

fn alertmanager(directory: &Path, name: &str, config: &str) -> anyhow::Result<Launch> {
    let directory = directory.join(name);
    std::fs::create_dir_all(&directory)?;
    Launch::alertmanager(&directory, config)
}

fn write_file(directory: &Path, name: &str, text: &str) -> anyhow::Result<PathBuf> {
    let path = directory.join(name);
    std::fs::write(&path, text)?;
    Ok(path)
}

/// A receiver of webhooks; keeps the alerts of every notification with what it calls their status.
async fn webhook() -> anyhow::Result<(Receiver, Arc<Mutex<Vec<(String, Alert)>>>)> {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&heard);
    let receiver = Receiver::start(move |post| {
        let body: serde_json::Value = serde_json::from_str(&post.body).expect("a notification is JSON");
        for alert in body["alerts"].as_array().into_iter().flatten() {
            let status = alert["status"].as_str().unwrap_or_default().to_owned();
            let alert = serde_json::from_value(alert.clone()).expect("a notification has alerts");
            kept.lock().expect("no handler panics").push((status, alert));
        }
        200
    });
    Ok((receiver.await?, heard))
}

/// Times of the slots in which `ALERTS` said that the alert fires, ascending.
async fn firing_slots(hearth: &Server) -> anyhow::Result<Vec<i64>> {
    let query = "ALERTS{alertname=\"PressureHigh\",alertstate=\"firing\"}[5m]";
    let answer = Api::new(&hearth.url).instant(query, now_ms()).await?;
    Ok(answer.into_values().flatten().map(|(time, _)| time).collect())
}

async fn set_pressure(hearth: &Server, value: f64) -> anyhow::Result<()> {
    let mut writer = Writer::new(&hearth.url);
    writer.push("pressure", &[("job", "boiler"), ("instance", "a:1")], now_ms(), value);
    writer.send().await
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// An alert as Hearth is to tell it to an Alertmanager.
fn check_alert(alert: &Alert, first_slot_ms: i64) -> anyhow::Result<()> {
    let labels = [
        ("alertname", "PressureHigh"),
        ("cluster", "lab"),
        ("instance", "a:1"),
        ("job", "boiler"),
        ("severity", "page"),
    ];
    ensure!(alert.labels == map(&labels), "labels {:?}", alert.labels);
    let annotations = map(&[("summary", "Pressure of boiler is 7 \"bar\".")]);
    ensure!(alert.annotations == annotations, "annotations {:?}", alert.annotations);
    let url = url::Url::parse(&alert.generator_url)?;
    ensure!(alert.generator_url.starts_with(&format!("{EXTERNAL_URL}/graph?")), "{url}");
    let pairs: Vec<_> = url.query_pairs().into_owned().collect();
    let expected = [("g0.expr", "pressure > 5"), ("g0.tab", "1")];
    ensure!(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).eq(expected), "{url}");
    ensure!(alert.starts_ms == first_slot_ms, "starts at {}, fires since {first_slot_ms}", alert.starts_ms);
    let sent_ms = alert.ends_ms - 4 * RESEND_MS;
    ensure!((sent_ms - first_slot_ms) % 1000 == 0, "sent at {sent_ms}, which is no slot");
    ensure!((0..RESEND_MS + 5_000).contains(&(now_ms() - sent_ms)), "sent at {sent_ms}, it is {}", now_ms());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_amtool_shows_at_each_alertmanager_is_what_the_rules_say() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let (hook, heard) = webhook().await?;
    let with_hook = format!(
        "route: {{receiver: hook, group_wait: 0s, group_interval: 1s, repeat_interval: 1h}}\n\
         receivers: [{{name: hook, webhook_configs: [{{url: 'http://{}', send_resolved: true}}]}}]\n",
        hook.address(),
    );
    let [plain, guarded, encrypted] = targets(directory.path(), &with_hook)?;
    let _plain_server = plain.launch.spawn()?;
    let guarded_server = guarded.launch.spawn()?;
    let _encrypted_server = encrypted.launch.spawn()?;
    for target in [&plain, &guarded, &encrypted] {
        eventually(30, || async { target.lists(0, &[]) }).await?;
    }
    let hearth = start_hearth(directory.path(), [&plain, &guarded, &encrypted]).await?;
    set_pressure(&hearth, 7.0).await?;

    // All have it, and nothing else; what is pending is nobody's business.
    eventually(30, || async {
        let slots = firing_slots(&hearth).await?;
        let first = slots.first().context("ALERTS does not say that it fires")?;
        for target in [&plain, &guarded, &encrypted] {
            check_alert(&target.lists(1, &[])?[0], *first)?;
        }
        Ok(())
    })
    .await?;

    // A silence of one of them hides it there, for as long as it lasts.
    let silence =
        plain.amtool(&["silence", "add", "alertname=PressureHigh", "--comment=test", "--author=me", "-d", "1h"])?;
    eventually(10, || async { plain.lists(0, &[]) }).await?;
    tokio::time::sleep(std::time::Duration::from_millis(2 * RESEND_MS.unsigned_abs())).await;
    plain.lists(0, &[])?;
    plain.lists(1, &["--silenced"])?;
    guarded.lists(1, &[])?;
    plain.amtool(&["silence", "expire", silence.trim()])?;
    eventually(10, || async { plain.lists(1, &[]) }).await?;

    // One that was gone and forgot everything hears it again; meanwhile the other one is kept informed.
    guarded_server.kill()?;
    let before = plain.lists(1, &[])?[0].ends_ms;
    eventually(20, || async {
        let ends_ms = plain.lists(1, &[])?[0].ends_ms;
        ensure!(ends_ms >= before + 2 * RESEND_MS, "{ends_ms} is not much later than {before}");
        Ok(())
    })
    .await?;
    let _guarded_server = guarded.launch.spawn()?;
    eventually(40, || async {
        let slots = firing_slots(&hearth).await?;
        check_alert(&guarded.lists(1, &[])?[0], *slots.first().context("it no longer fires")?)
    })
    .await?;

    // The end arrives everywhere, and at whom the Alertmanager tells.
    set_pressure(&hearth, 1.0).await?;
    for target in [&plain, &guarded, &encrypted] {
        eventually(20, || async { target.lists(0, &[]) }).await?;
    }
    let slots = firing_slots(&hearth).await?;
    eventually(20, || async {
        let heard = heard.lock().expect("no handler panics").clone();
        let (status, last) = heard.last().context("nothing was heard")?;
        ensure!(heard[0].0 == "firing" && status == "resolved", "{heard:?}");
        ensure!(last.starts_ms == slots[0], "started at {}, fired since {}", last.starts_ms, slots[0]);
        let end = slots.last().map(|slot| slot + 1000);
        ensure!(Some(last.ends_ms) == end, "ended at {}, last fired in the slot before {end:?}", last.ends_ms);
        Ok(())
    })
    .await?;
    ensure!(hearth.terminate()?, "Hearth did not end well");
    Ok(())
}

/// One that tells a webhook, one with a path prefix and a login, one with encryption and a login.
fn targets(directory: &Path, with_hook: &str) -> anyhow::Result<[Target; 3]> {
    let at = |launch: &Launch, prefix: &str| format!("--alertmanager.url={}{prefix}", launch.url());
    let launch = alertmanager(directory, "plain", with_hook)?;
    let amtool = vec![at(&launch, "")];
    let plain = Target { launch, amtool };

    let silent = "route: {receiver: none}\nreceivers: [{name: none}]\n";
    let login = "basic_auth: {username: admin, password: test}\n";
    let users = write_file(directory, "users.yml", USERS)?;
    let arguments = ["--web.route-prefix=/am".to_owned(), format!("--web.config.file={}", users.display())];
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let launch = alertmanager(directory, "guarded", silent)?.with_arguments(&arguments);
    let config = write_file(directory, "login.yml", login)?;
    let amtool = vec![at(&launch, "/am"), format!("--http.config.file={}", config.display())];
    let guarded = Target { launch, amtool };

    certificates(directory)?;
    let web = format!("tls_server_config: {{cert_file: server.pem, key_file: server.key}}\n{USERS}");
    let web = write_file(directory, "web.yml", &web)?;
    let launch = alertmanager(directory, "encrypted", silent)?
        .with_arguments(&[&format!("--web.config.file={}", web.display())]);
    let authority = directory.join("ca.pem");
    let config =
        write_file(directory, "encrypted.yml", &format!("{login}tls_config: {{ca_file: {}}}\n", authority.display()))?;
    let amtool =
        vec![at(&launch, "").replace("http://", "https://"), format!("--http.config.file={}", config.display())];
    Ok([plain, guarded, Target { launch, amtool }])
}

/// An authority `ca.pem` and a server's certificate of it for the loopback address.
fn certificates(directory: &Path) -> anyhow::Result<()> {
    let extensions = write_file(directory, "server.ext", "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")?;
    let path = |name: &str| directory.join(name).display().to_string();
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    let (ca, ca_key, request) = (path("ca.pem"), path("ca.key"), path("server.csr"));
    let (server, server_key, extensions) = (path("server.pem"), path("server.key"), extensions.display().to_string());
    let ends = ["-days", "2"];
    let authority = [&["req", "-x509", "-subj", "/CN=test", "-keyout", &ca_key, "-out", &ca], &key[..], &ends].concat();
    let asked = [&["req", "-subj", "/CN=server", "-keyout", &server_key, "-out", &request], &key[..]].concat();
    let signed = ["x509", "-req", "-in", &request, "-CA", &ca, "-CAkey", &ca_key, "-CAcreateserial", "-out", &server];
    let signed = [&signed[..], &["-extfile", &extensions], &ends].concat();
    for arguments in [authority, asked, signed] {
        let (success, text) = run("openssl", &arguments)?;
        ensure!(success, "openssl {arguments:?}: {text}");
    }
    Ok(())
}

async fn start_hearth(directory: &Path, targets: [&Target; 3]) -> anyhow::Result<Server> {
    let [plain, guarded, encrypted] = targets.map(|target| {
        format!("static_configs: [{{targets: ['{}']}}]", target.launch.url().trim_start_matches("http://"))
    });
    let login = "basic_auth: {username: admin, password: test}";
    write_file(directory, "rules.yml", RULES)?;
    let config = format!(
        "rule_files: [rules.yml]\nglobal: {{external_labels: {{cluster: lab}}}}\nself_scrape: {{enabled: false}}\n\
         alerting:\n  alertmanagers:\n\
         \x20 - {{{plain}}}\n\
         \x20 - {{path_prefix: /am, {login}, {guarded}}}\n\
         \x20 - {{scheme: https, tls_config: {{ca_file: ca.pem}}, {login}, {encrypted}}}\n",
    );
    let resend = format!("--rules.alert.resend-delay={RESEND_MS}ms");
    let external = format!("--web.external-url={EXTERNAL_URL}");
    Launch::hearth(directory, Some(&config), &[&resend, &external])?.start().await
}
