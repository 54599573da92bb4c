use super::testing::{Mood, Receiver, until};
use super::*;
use crate::config::Config;
use alertmanager_compat::client::{LossReason, Lost};
use model::time::Timestamp;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

const OPTIONS: NotifierOptions =
    NotifierOptions { queue_capacity: 10_000, queue_bytes_max: 1 << 20, batch_max: 2, drain: true };

fn notifier(section: &str) -> Notifier {
    let notifier = Notifier::new(OPTIONS, Arc::new(Kept::default()));
    apply(&notifier, section);
    notifier
}

fn apply(notifier: &Notifier, section: &str) {
    let config = Config::parse(&format!("alerting: {{{section}}}")).unwrap();
    notifier.apply(&config.alerting, Labels::from_pairs([("cluster", "lab")]).unwrap(), "http://h");
}

/// `alertmanagers: […]` with one group for each address, all with the same further keys.
fn groups(addresses: &[&str], more: &str) -> String {
    let group = |address: &&str| format!("{{static_configs: [{{targets: ['{address}']}}], {more}}}");
    format!("alertmanagers: [{}]", addresses.iter().map(group).collect::<Vec<_>>().join(", "))
}

fn alert(name: &str, second: i64) -> AlertMessage {
    AlertMessage {
        labels: Labels::from_pairs([("alertname", name)]).unwrap(),
        annotations: [].into(),
        starts_at: Timestamp(0),
        ends_at: Timestamp(second * 1000),
        resolved: false,
        seq: 2,
        expr: "up".into(),
    }
}

async fn send(notifier: &Notifier, names: &[&str], second: i64) {
    static NUMBERS: AtomicU64 = AtomicU64::new(1);
    let message = |name: &&str| (NUMBERS.fetch_add(1, Ordering::Relaxed), alert(name, second));
    notifier.queue(names.iter().map(message).collect());
}

/// Remembers what it is told, and has what a test put there.
#[derive(Default)]
struct Kept {
    waiting: Mutex<Vec<(u64, AlertMessage)>>,
    settled: Mutex<Vec<u64>>,
    lost: Mutex<Vec<(String, u64, LossReason)>>,
    targets: Mutex<BTreeSet<String>>,
}

impl Keeper for Kept {
    fn set_targets(&self, urls: BTreeSet<String>) {
        *self.targets.lock().unwrap() = urls;
    }

    fn waiting(&self, _: &str) -> Vec<(u64, AlertMessage)> {
        self.waiting.lock().unwrap().clone()
    }

    fn settled(&self, _: &str, numbers: &[u64]) {
        self.settled.lock().unwrap().extend(numbers);
    }

    fn lost(&self, url: &str, lost: &[Lost]) {
        self.lost.lock().unwrap().extend(lost.iter().map(|lost| (url.to_owned(), lost.parcel.number, lost.reason)));
    }
}

/// Whether `receiver` knows of each of `names` that it ends at `second`.
fn has(receiver: &Receiver, names: &[&str], second: i64) -> bool {
    let end = format!("1970-01-01T00:00:{second:02}.000Z");
    let alerts = receiver.alerts();
    names.iter().all(|name| alerts.iter().any(|(known, until)| known == name && *until == end))
}

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_receiver_in_trouble_delays_no_other_and_gets_everything_once_it_is_well() {
    let good = Receiver::start(Mood::Good).await;
    let troubled = [
        Receiver::start(Mood::Blackhole).await,
        Receiver::start(Mood::Slow(Duration::from_secs(30))).await,
        Receiver::start(Mood::Says("429 Too Many Requests\r\nRetry-After: 1")).await,
        Receiver::start(Mood::Says("500 Internal Server Error")).await,
        Receiver::start(Mood::HalfClosed).await,
    ];
    let tls = Receiver::start_tls(Mood::Plain, false).await;
    let mut section = groups(&[&good.address], "");
    let addresses: Vec<_> = troubled.iter().map(|receiver| receiver.address.as_str()).collect();
    let others = groups(&addresses, "timeout: 300ms");
    let encrypted = groups(&[&tls.address], "scheme: https, timeout: 300ms, tls_config: {insecure_skip_verify: true}");
    for more in [others, encrypted] {
        let inner = more.trim_start_matches("alertmanagers: [");
        section = format!("{}, {inner}", section.trim_end_matches(']'));
    }
    let notifier = notifier(&section);
    send(&notifier, &NAMES, 1).await;
    until("the good one has all", || has(&good, &NAMES, 1)).await;
    send(&notifier, &NAMES[..2], 2).await;
    until("the good one has the news", || has(&good, &NAMES[..2], 2)).await;
    let failing = |notifier: &Notifier| notifier.stats().iter().filter(|target| target.queue.failed > 0).count();
    until("all others failed", || failing(&notifier) == 6).await;
    for receiver in troubled.iter().chain([&tls]) {
        assert!(receiver.alerts().is_empty(), "{}", receiver.address);
        receiver.set(Mood::Good);
    }
    for receiver in troubled.iter().chain([&tls]) {
        until("it recovered", || has(receiver, &NAMES[..2], 2) && has(receiver, &NAMES[2..], 1)).await;
        assert!(!has(receiver, &NAMES[..1], 1), "old news were superseded");
    }
    for target in notifier.stats() {
        let queue = target.queue;
        assert_eq!((queue.waiting, queue.dropped, queue.refused), (0, 0, 0), "{}", target.url);
    }
    notifier.shutdown().await;
}

#[tokio::test]
async fn batches_are_as_small_as_asked_and_carry_the_external_labels() {
    let receiver = Receiver::start(Mood::Good).await;
    let notifier = notifier(&groups(&[&receiver.address], "path_prefix: /am/"));
    send(&notifier, &NAMES, 1).await;
    until("all arrived", || has(&receiver, &NAMES, 1)).await;
    let received = receiver.received();
    assert!(received.iter().all(|request| request.alerts().len() <= 2));
    assert_eq!(received[0].line, "POST /am/api/v2/alerts HTTP/1.1");
    assert_eq!(received[0].header("content-type"), Some("application/json"));
    assert_eq!(received[0].alerts()[0]["labels"]["cluster"], "lab");
    assert_eq!(received[0].alerts()[0]["generatorURL"], "http://h/graph?g0.expr=up&g0.tab=1");
    notifier.shutdown().await;
}

#[tokio::test]
async fn each_group_gets_what_its_rules_let_through() {
    let (all, some) = (Receiver::start(Mood::Good).await, Receiver::start(Mood::Good).await);
    let some_rules = "alert_relabel_configs: [{source_labels: [alertname], regex: '[ab]', action: keep}, {regex: cluster, action: labeldrop}]";
    let one = groups(&[&some.address], some_rules);
    let section = format!(
        "alert_relabel_configs: [{{source_labels: [alertname], regex: e, action: drop}}], {}, {}",
        groups(&[&all.address], "").trim_end_matches(']'),
        one.trim_start_matches("alertmanagers: [")
    );
    let notifier = notifier(&section);
    send(&notifier, &NAMES, 1).await;
    until("both have theirs", || has(&all, &NAMES[..4], 1) && has(&some, &NAMES[..2], 1)).await;
    notifier.shutdown().await;
    assert_eq!((all.alerts().len(), some.alerts().len()), (4, 2));
    assert!(some.received()[0].alerts()[0]["labels"].get("cluster").is_none());
}

#[tokio::test]
async fn what_waits_outlives_reloads_and_gaps_in_discovery() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("am.json");
    let receiver = Receiver::start(Mood::Says("503 Service Unavailable")).await;
    let list = format!("[{{\"targets\": [\"{}\"]}}]", receiver.address);
    let found =
        format!("alertmanagers: [{{file_sd_configs: [{{files: ['{}'], refresh_interval: 10ms}}]}}]", file.display());
    std::fs::write(&file, &list).unwrap();
    let notifier = notifier(&found);
    until("it is found", || notifier.active().len() == 1).await;
    send(&notifier, &NAMES, 1).await;
    // Another timeout, and rules: the group is a new one, its target is not.
    let changed = found.replace(
        "alertmanagers: [{",
        "alertmanagers: [{timeout: 5s, relabel_configs: [{target_label: x, replacement: y}], ",
    );
    apply(&notifier, &changed);
    assert_eq!(notifier.active().len(), 1, "what was found stays known");
    assert_eq!(notifier.stats()[0].queue.waiting, 5);
    std::fs::write(&file, "[]").unwrap();
    until("it is gone", || notifier.active().is_empty()).await;
    receiver.set(Mood::Good);
    std::fs::write(&file, &list).unwrap();
    until("it got what waited", || has(&receiver, &NAMES, 1)).await;
    apply(&notifier, "alertmanagers: []");
    assert!(notifier.active().is_empty());
    notifier.shutdown().await;
}

#[tokio::test]
async fn dropped_targets_are_listed_as_such() {
    let rules = "relabel_configs: [{source_labels: [__address__], regex: 'a.*', action: drop}]";
    let notifier = notifier(&format!("alertmanagers: [{{static_configs: [{{targets: ['a:1', 'b:1']}}], {rules}}}]"));
    assert_eq!(notifier.active(), ["http://b:1/api/v2/alerts"]);
    assert_eq!(notifier.dropped(), ["http://a:1/api/v2/alerts"]);
    assert_eq!(notifier.discovered(), [2]);
    notifier.shutdown().await;
}

#[tokio::test]
async fn alerts_that_wait_leave_when_the_process_stops_unless_that_is_not_wanted() {
    for (drain, left) in [(true, 5), (false, 0)] {
        let receiver = Receiver::start(Mood::Says("503 Service Unavailable")).await;
        let notifier = Notifier::new(NotifierOptions { drain, ..OPTIONS }, Arc::new(Kept::default()));
        apply(&notifier, &groups(&[&receiver.address], ""));
        send(&notifier, &NAMES, 1).await;
        until("it failed", || notifier.stats()[0].queue.failed > 0).await;
        receiver.set(Mood::Good);
        notifier.shutdown().await;
        assert_eq!(receiver.alerts().len(), left, "drain: {drain}");
    }
}

/// A redirect that repeats the request is followed; one that would turn it into a question is not taken for success.
#[tokio::test]
async fn redirects_are_followed_only_with_the_alerts() {
    let target = Receiver::start(Mood::Good).await;
    for (status, follows) in [("307 Temporary Redirect", true), ("302 Found", false)] {
        let lines: &'static str = format!("{status}\r\nLocation: http://{}/moved", target.address).leak();
        let receiver = Receiver::start(Mood::Says(lines)).await;
        let notifier = notifier(&groups(&[&receiver.address], ""));
        send(&notifier, &["x"], 1).await;
        until("an attempt was made", || notifier.stats()[0].queue.sent + notifier.stats()[0].queue.failed > 0).await;
        assert_eq!(notifier.stats()[0].queue.sent, u64::from(follows), "{status}");
        apply(&notifier, "alertmanagers: []");
        notifier.shutdown().await;
    }
    assert_eq!(target.received()[0].line, "POST /moved HTTP/1.1");
    assert_eq!(target.received().len(), 1);
}

/// What an earlier process could not deliver is delivered, and whoever kept it learns what became of each message.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_kept_is_delivered_and_every_message_is_settled_once() {
    let receiver = Receiver::start(Mood::Good).await;
    let kept = Arc::new(Kept::default());
    kept.waiting.lock().unwrap().extend([(7, alert("a", 1)), (8, alert("secret", 1))]);
    let notifier = Notifier::new(OPTIONS, kept.clone());
    let drop_secret = "alert_relabel_configs: [{source_labels: [alertname], regex: secret, action: drop}]";
    apply(&notifier, &groups(&[&receiver.address], drop_secret));
    assert_eq!(kept.targets.lock().unwrap().len(), 1);
    notifier.queue(vec![(9, alert("b", 2)), (10, alert("secret", 2))]);
    until("all is settled", || kept.settled.lock().unwrap().len() == 4).await;
    let mut settled = kept.settled.lock().unwrap().clone();
    settled.sort_unstable();
    assert_eq!(settled, [7, 8, 9, 10]);
    assert!(has(&receiver, &["a"], 1) && has(&receiver, &["b"], 2) && receiver.alerts().len() == 2);
    notifier.shutdown().await;
}

#[tokio::test]
async fn whoever_keeps_messages_learns_which_were_lost_and_why() {
    let receiver = Receiver::start(Mood::Says("503 Service Unavailable")).await;
    let kept = Arc::new(Kept::default());
    let notifier = Notifier::new(NotifierOptions { queue_capacity: 1, ..OPTIONS }, kept.clone());
    apply(&notifier, &groups(&[&receiver.address], ""));
    notifier.queue(vec![(1, alert("a", 1)), (2, alert("b", 1))]);
    receiver.set(Mood::Says("400 Bad Request"));
    until("the other was refused", || kept.lost.lock().unwrap().len() == 2).await;
    let url = format!("http://{}/api/v2/alerts", receiver.address);
    let expected = [(url.clone(), 1, LossReason::TooManyAlerts), (url, 2, LossReason::Refused)];
    assert_eq!(*kept.lost.lock().unwrap(), expected);
    notifier.shutdown().await;
}

/// A search that fails is seen in the figures, not only in the log.
#[tokio::test]
async fn searches_that_fail_are_counted() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("am.json");
    std::fs::write(&file, "no list").unwrap();
    let receiver = Receiver::start(Mood::Says("503 Service Unavailable")).await;
    let text = format!(
        "alertmanagers: [{{file_sd_configs: [{{files: ['{}']}}], http_sd_configs: [{{url: 'http://{}/list'}}]}}]",
        file.display(),
        receiver.address
    );
    let notifier = notifier(&text);
    let failed = DiscoveryStats { file_read_errors: 1, http_failures: 1, ..DiscoveryStats::default() };
    until("both failed", || notifier.discovery_stats() == failed).await;
    assert_eq!(notifier.discovered(), [0]);
    notifier.shutdown().await;
}

/// What a URL lists is found and relabelled by where it was listed, and stays when the URL fails.
#[tokio::test]
async fn a_url_lists_alertmanagers_and_its_failures_lose_none() {
    let target = Receiver::start(Mood::Good).await;
    let list = format!(
        r#"[{{"targets": ["{}"], "labels": {{"zone": "a"}}}}, {{"targets": ["gone:1"], "labels": {{"zone": "b"}}}}]"#,
        target.address
    );
    let lists = Receiver::answering(list.leak()).await;
    let url = format!("http://{}/list", lists.address);
    let search = format!("{{url: '{url}', refresh_interval: 250ms, basic_auth: {{username: u, password: hunter2}}}}");
    let rules = format!(
        "[{{source_labels: [zone], regex: b, action: drop}}, \
         {{source_labels: [__meta_url], regex: '{url}', target_label: __alerts_path__, replacement: /listed}}]"
    );
    let notifier = notifier(&format!("alertmanagers: [{{http_sd_configs: [{search}], relabel_configs: {rules}}}]"));
    until("it is found", || notifier.active().len() == 1).await;
    assert_eq!(notifier.dropped(), ["http://gone:1/api/v2/alerts"]);
    assert_eq!(notifier.discovered(), [2]);
    let question = lists.received().remove(0);
    assert_eq!(question.line, "GET /list HTTP/1.1");
    assert_eq!(question.header("accept"), Some("application/json"));
    assert_eq!(question.header("x-prometheus-refresh-interval-seconds"), Some("0.25"));
    assert_eq!(question.header("authorization"), Some("Basic dTpodW50ZXIy"));
    lists.set(Mood::Says("503 Service Unavailable"));
    until("it failed again and again", || notifier.discovery_stats().http_failures >= 2).await;
    send(&notifier, &["a"], 1).await;
    until("what was found before stays", || has(&target, &["a"], 1)).await;
    assert_eq!(target.received()[0].line, "POST /listed HTTP/1.1");
    notifier.shutdown().await;
}
