//! Configured rules over a store in memory, without anybody who evaluates them.

use super::*;
use futures::FutureExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use storage::bucket::testing::FaultyStore;
use storage::bucket::{Bucket, BucketStore, RetryPolicy};

/// Notes what should run.
#[derive(Default)]
struct Running {
    keys: Mutex<Vec<String>>,
    applied: AtomicUsize,
    legacy_names: std::sync::atomic::AtomicBool,
}

impl ConfiguredGroups for Running {
    fn apply(&self, groups: Vec<(String, FileGroup)>) -> BoxFuture<'_, ()> {
        let keys = groups.iter().map(|(name, group)| format!("{name};{}:{}", group.name, group.rules.len()));
        *self.keys.lock().unwrap() = keys.collect();
        self.applied.fetch_add(1, Ordering::SeqCst);
        Box::pin(async {})
    }

    fn is_in_file(&self, file: &str, group: &str) -> bool {
        (file, group) == ("/etc/rules.yml", "g")
    }

    fn legacy_names(&self) -> bool {
        self.legacy_names.load(Ordering::SeqCst)
    }
}

struct Process {
    config: RuleConfig,
    running: Arc<Running>,
}

impl Process {
    fn over(bucket: Bucket, limits: RuleLimits) -> Self {
        let running = Arc::new(Running::default());
        let documents = Documents::new(bucket, "anonymous", "rules", Arc::new(|| 0));
        let config =
            RuleConfig::new(TenantId::anonymous(), documents, limits, ParseOptions::default(), running.clone());
        Self { config, running }
    }

    async fn set(&self, namespace: &str, group: &str) -> Result<(), String> {
        let yaml = format!("name: {group}\nrules: [{{record: r, expr: up}}]\n");
        self.config.set(namespace, &yaml).await.map_err(|error| error.to_string())
    }

    fn keys(&self) -> Vec<String> {
        self.running.keys.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn what_is_stored_runs_here_at_once_and_elsewhere_after_the_next_load() {
    let bucket = Bucket::in_memory();
    let (here, there) =
        (Process::over(bucket.clone(), RuleLimits::default()), Process::over(bucket, RuleLimits::default()));
    here.set("b", "1").await.unwrap();
    here.set("a/b", "1").await.unwrap();
    here.set("b", "2").await.unwrap();
    assert_eq!(here.keys(), ["a/b;1:1", "b;1:1", "b;2:1"]);
    there.config.load().await.unwrap();
    assert_eq!(there.keys(), here.keys());
    there.config.remove("b", "1").await.unwrap();
    there.config.remove_namespace("a/b").await.unwrap();
    here.config.load().await.unwrap();
    assert_eq!(here.keys(), ["b;2:1"]);
    let applied = here.running.applied.load(Ordering::SeqCst);
    here.config.load().await.unwrap();
    here.set("b", "2").await.unwrap();
    assert_eq!(here.running.applied.load(Ordering::SeqCst), applied, "nothing changed");
}

#[tokio::test]
async fn two_processes_that_change_one_namespace_lose_nothing() {
    let bucket = Bucket::in_memory();
    let processes = [(); 2].map(|()| Process::over(bucket.clone(), RuleLimits::default()));
    let names: Vec<(usize, String)> = (0..20).map(|i| (i % 2, format!("g{i:02}"))).collect();
    let writes = names.iter().map(|(process, name)| processes[*process].set("shared", name));
    futures::future::join_all(writes).await.into_iter().for_each(|written| written.unwrap());
    processes[0].config.load().await.unwrap();
    let mut keys = processes[0].keys();
    keys.sort_unstable();
    assert_eq!(keys, names.iter().map(|(_, name)| format!("shared;{name}:1")).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_is_invalid_or_too_much_is_refused_and_nothing_changes() {
    let process = Process::over(Bucket::in_memory(), RuleLimits { groups_max: 2, rules_max: 1 });
    process.config.load().await.unwrap();
    process.set("a", "1").await.unwrap();
    process.set("b", "1").await.unwrap();
    assert_eq!(process.set("b", "2").await.unwrap_err(), "per-user rule groups limit (limit: 2 actual: 3) exceeded");
    process.set("b", "1").await.unwrap();
    let two = "name: g\nrules: [{record: r, expr: up}, {record: s, expr: up}]";
    let error = process.config.set("a", two).await.unwrap_err();
    assert_eq!(error.to_string(), "per-user rules per rule group limit (limit: 1 actual: 2) exceeded");
    let error = process.config.set("a", "name: g\nrules: [{record: r, expr: 'sum('}]").await.unwrap_err();
    assert!(error.to_string().starts_with("a: 2:27: group \"g\", rule 1, \"r\": could not parse"), "{error}");
    assert_eq!(process.set("/etc/rules.yml", "g").await.unwrap_err(), "a rule file has this group");
    for error in [process.config.remove("a", "x").await, process.config.remove_namespace("x").await] {
        assert_eq!(error.unwrap_err().kind(), RuleConfigErrorKind::NotFound);
    }
    assert_eq!(process.keys(), ["a;1:1", "b;1:1"]);
    process.config.remove_all().await.unwrap();
    assert!(process.keys().is_empty());
}

#[tokio::test]
async fn an_unreachable_store_stops_nothing_that_runs() {
    let faulty = FaultyStore::new(BucketStore::in_memory(), 1);
    let policy = RetryPolicy {
        deadline: Duration::from_millis(10),
        pause_min: Duration::from_millis(1),
        ..RetryPolicy::default()
    };
    let process = Process::over(Bucket::new(faulty.store(), "", policy, 1), RuleLimits::default());
    faulty.set_outage(true);
    assert_eq!(process.config.load().await.unwrap_err().kind(), RuleConfigErrorKind::Unavailable);
    let error = process.config.list(None).unwrap_err();
    assert_eq!(error.kind(), RuleConfigErrorKind::Unavailable, "an empty answer would be a lie: {error}");
    faulty.set_outage(false);
    process.config.load().await.unwrap();
    process.set("a", "1").await.unwrap();
    faulty.set_outage(true);
    assert!(process.config.load().await.is_err() && process.set("a", "2").await.is_err());
    assert_eq!(process.keys(), ["a;1:1"]);
    assert!(process.config.list(None).unwrap().contains("name: \"1\""));
}

/// Otherwise what the others have would count as taken away while no process ran.
#[tokio::test]
async fn while_a_namespace_cannot_be_read_it_is_not_known_what_groups_there_are() {
    let bucket = Bucket::in_memory();
    let documents = Documents::new(bucket.clone(), "anonymous", "rules", Arc::new(|| 0));
    let write = |content: &str| Ok::<_, ()>(Change::Content(content.to_owned()));
    documents.update("a", |_| write("no JSON")).await.unwrap();
    let process = Process::over(bucket, RuleLimits::default());
    let is_whole = || process.config.until_whole().now_or_never().is_some();
    process.set("b", "1").await.unwrap();
    assert!(!is_whole(), "nobody looked what others there are");
    process.config.load().await.unwrap();
    assert!(!is_whole());
    let content = r#"{"groups":[{"name":"g","rules":[{"record":"r","expr":"up"}]}]}"#;
    documents.update("a", |_| write(content)).await.unwrap();
    process.config.load().await.unwrap();
    assert_eq!(process.keys(), ["a;g:1", "b;1:1"]);
    assert!(is_whole());
}

#[tokio::test]
async fn a_group_that_cannot_run_here_can_still_be_read_and_removed() {
    let bucket = Bucket::in_memory();
    let documents = Documents::new(bucket.clone(), "anonymous", "rules", Arc::new(|| 0));
    let content = r#"{"groups":[{"name":"g","rules":[{"record":"r","expr":"not_a_function(up)"}]}]}"#;
    let write = |_: Option<&str>| Ok::<_, ()>(Change::Content(content.to_owned()));
    documents.update("a", write).await.unwrap();
    let process = Process::over(bucket, RuleLimits::default());
    process.config.load().await.unwrap();
    assert!(process.keys().is_empty());
    assert!(process.config.group("a", "g").unwrap().contains("not_a_function"));
    process.config.remove("a", "g").await.unwrap();
    assert_eq!(process.config.list(None).unwrap().trim(), "{}");
}

#[tokio::test]
async fn names_are_those_that_the_configuration_allows_and_what_is_stored_goes_on() {
    let bucket = Bucket::in_memory();
    let process = Process::over(bucket.clone(), RuleLimits::default());
    let group = |name: &str| format!("name: {name}\nrules: [{{record: a.b, expr: up}}]\n");
    process.config.set("ns", &group("before")).await.unwrap();
    process.running.legacy_names.store(true, Ordering::SeqCst);
    let refused = process.config.set("ns", &group("after")).await.unwrap_err().to_string();
    assert!(refused.contains("invalid recording rule name: a.b"), "{refused}");
    let next = Process::over(bucket, RuleLimits::default());
    next.running.legacy_names.store(true, Ordering::SeqCst);
    next.config.load().await.unwrap();
    assert_eq!(next.keys(), ["ns;before:1"]);
}
