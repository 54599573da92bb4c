//! The binary starts while its object store is away.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use compat_tests::api::Api;
use compat_tests::remote_write::Writer;
use percent_encoding::percent_decode_str;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

/// As much of S3 as small objects need, without signatures. Objects outlive the server.
#[derive(Clone, Default)]
struct Objects(Arc<Mutex<BTreeMap<String, Bytes>>>);

impl Objects {
    fn serve(&self, runtime: &Runtime, port: u16) -> JoinHandle<()> {
        let routes = Router::new().fallback(answer).with_state(self.clone());
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", port))).unwrap();
        runtime.spawn(async move { axum::serve(listener, routes).await.unwrap() })
    }

    fn list(&self, query: &str) -> Response {
        let prefix = query.split('&').find_map(|pair| pair.strip_prefix("prefix=")).unwrap_or_default();
        let prefix = percent_decode_str(prefix).decode_utf8_lossy().into_owned();
        let mut text = "<ListBucketResult><IsTruncated>false</IsTruncated>".to_owned();
        for (key, bytes) in self.0.lock().unwrap().iter().filter(|(key, _)| key.starts_with(&prefix)) {
            let (size, modified) = (bytes.len(), "2026-01-01T00:00:00.000Z");
            write!(text, "<Contents><Key>{key}</Key><Size>{size}</Size><LastModified>{modified}</LastModified>")
                .unwrap();
            text += "<ETag>\"e\"</ETag></Contents>";
        }
        (text + "</ListBucketResult>").into_response()
    }
}

async fn answer(State(objects): State<Objects>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let path = percent_decode_str(uri.path()).decode_utf8_lossy().into_owned();
    let key = path.trim_start_matches("/metrics").trim_start_matches('/').to_owned();
    if key.is_empty() {
        return objects.list(uri.query().unwrap_or_default());
    }
    let mut held = objects.0.lock().unwrap();
    let tag = [("etag", "\"e\""), ("last-modified", "Thu, 01 Jan 2026 00:00:00 GMT")];
    if method == Method::PUT {
        if headers.contains_key("if-none-match") && held.contains_key(&key) {
            return StatusCode::PRECONDITION_FAILED.into_response();
        }
        held.insert(key, body);
        return tag.into_response();
    }
    if method == Method::DELETE {
        held.remove(&key);
        return StatusCode::NO_CONTENT.into_response();
    }
    let Some(found) = held.get(&key) else { return StatusCode::NOT_FOUND.into_response() };
    let range = headers.get("range").and_then(|value| value.to_str().ok()?.strip_prefix("bytes=")?.split_once('-'));
    let Some((first, last)) = range else { return (tag, found.clone()).into_response() };
    let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
    let Some(part) = found.get(first..found.len().min(last + 1)) else {
        return StatusCode::RANGE_NOT_SATISFIABLE.into_response();
    };
    let content_range = format!("bytes {first}-{}/{}", first + part.len() - 1, found.len());
    (StatusCode::PARTIAL_CONTENT, tag, [("content-range", content_range)], part.to_vec()).into_response()
}

/// A running server; killed when dropped, as by a power cut.
struct Hearth {
    child: Child,
    url: String,
    api: Api,
    runtime: Arc<Runtime>,
}

impl Drop for Hearth {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Hearth {
    fn start(directory: &Path, store_port: u16, runtime: &Arc<Runtime>) -> Self {
        Self::start_with(directory, store_port, runtime, &[])
    }

    fn start_with(directory: &Path, store_port: u16, runtime: &Arc<Runtime>, flags: &[&str]) -> Self {
        let config = directory.join("hearth.yml");
        let text = format!(
            "global: {{scrape_interval: 1s}}\nobject_store: {{type: s3, retry_timeout: 1s, s3: {{bucket: metrics, \
             endpoint: 'http://127.0.0.1:{store_port}', allow_http: true, region: x, access_key_id: a, secret_access_key: b}}}}\n"
        );
        std::fs::write(&config, text).unwrap();
        let port = free_port();
        let child = Command::new(env!("CARGO_BIN_EXE_hearth"))
            .args([format!("--web.listen-address=127.0.0.1:{port}"), "--web.enable-admin-api".to_owned()])
            .arg(format!("--storage.path={}", directory.join("data").display()))
            .arg(format!("--config.file={}", config.display()))
            .args(flags)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let url = format!("http://127.0.0.1:{port}");
        Self { child, api: Api::new(&url), url, runtime: Arc::clone(runtime) }
    }

    fn query(&self, query: &str, time: &str) -> Result<usize, String> {
        let parameters = [("query", query), ("time", time)];
        let data =
            self.runtime.block_on(self.api.get("/api/v1/query", &parameters)).map_err(|error| error.to_string())?;
        Ok(data.pointer("/result").and_then(|result| result.as_array()).map_or(0, Vec::len))
    }

    /// Waits until an answer satisfies `wanted`, and says the last one when none does.
    fn until(&self, query: &str, time: &str, wanted: impl Fn(&Result<usize, String>) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let found = self.query(query, time);
            if wanted(&found) {
                return;
            }
            assert!(Instant::now() < deadline, "{query} at {time}: {found:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until it serves requests and the store has answered it.
    fn until_store_known(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.says("hearth_object_store_known 1") {
            assert!(Instant::now() < deadline, "the store is never known");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether a line of `/metrics` begins with `line`.
    fn says(&self, line: &str) -> bool {
        let page = async { reqwest::get(format!("{}/metrics", self.url)).await?.text().await };
        self.runtime.block_on(page).is_ok_and(|text| text.lines().any(|found| found.starts_with(line)))
    }

    /// What a query is refused with: status, `Retry-After`, error type and text.
    fn refusal(&self, path: &str) -> (u16, Option<String>, String) {
        self.runtime.block_on(async {
            let answer = reqwest::get(format!("{}{path}", self.url)).await.unwrap();
            let after = answer.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
            (answer.status().as_u16(), after, answer.text().await.unwrap())
        })
    }

    /// Everything that reads blocks says that the store is away, and for how long not to ask.
    fn refuses_all(&self, at: &str, why: &str) {
        let ago = at.parse::<i64>().unwrap() - 300;
        let paths = [
            format!("/api/v1/query?query=up&time={at}"),
            format!("/api/v1/query?query=count(up)&time={at}"),
            format!("/api/v1/query_range?query=up&start={at}&end={at}&step=1"),
            format!("/api/v1/series?match[]=up&start={ago}&end={at}"),
            format!("/api/v1/series?match[]=up&start={ago}&end={at}&limit=1"),
            format!("/api/v1/labels?match[]=up&start={ago}&end={at}"),
            format!("/api/v1/label/job/values?match[]=up&start={ago}&end={at}"),
        ];
        for path in paths {
            let (status, after, text) = self.refusal(&path);
            assert_eq!((status, after.as_deref()), (503, Some("1")), "{path}: {text}");
            assert!(text.contains(r#""errorType":"unavailable""#) && text.contains(why), "{path}: {text}");
        }
    }

    fn post(&self, path: &str) {
        let url = format!("{}/api/v1/admin/tsdb/{path}", self.url);
        let answer = self.runtime.block_on(reqwest::Client::new().post(url).send()).unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
    }

    /// Whether `/api/v1/notifications` has one whose text begins like this.
    fn notifies(&self, beginning: &str) -> bool {
        let listed = self.get("/api/v1/notifications");
        let mut texts = listed.as_array().unwrap().iter().map(|one| one["text"].as_str().unwrap());
        texts.any(|text| text.starts_with(beginning))
    }

    fn until_notified(&self, beginning: &str) {
        self.until_notifies(beginning, true);
    }

    fn until_notified_no_more(&self, beginning: &str) {
        self.until_notifies(beginning, false);
    }

    fn until_notifies(&self, beginning: &str, wanted: bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.notifies(beginning) != wanted {
            assert!(Instant::now() < deadline, "{beginning}: never {wanted}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The status of a reload.
    fn reload(&self) -> u16 {
        let request = reqwest::Client::new().post(format!("{}/-/reload", self.url));
        self.runtime.block_on(request.send()).unwrap().status().as_u16()
    }

    fn get(&self, path: &str) -> Value {
        self.runtime.block_on(self.api.get(path, &[])).unwrap()
    }
}

pub(super) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Runs a server until the store at `store_port` has a block; returns the time that it reaches to, which is past: the next server
/// scrapes nothing before it.
fn write_block(directory: &Path, store_port: u16, objects: &Objects, runtime: &Arc<Runtime>) -> String {
    let hearth = Hearth::start(directory, store_port, runtime);
    hearth.until("up", "", |found| found == &Ok(1));
    let flushed_at = jiff::Timestamp::now().as_second() + 1;
    hearth.post("flush?wait=true");
    assert!(objects.0.lock().unwrap().keys().any(|key| key.ends_with("samples.parquet")));
    drop(hearth);
    while jiff::Timestamp::now().as_second() <= flushed_at {
        std::thread::sleep(Duration::from_millis(20));
    }
    flushed_at.to_string()
}

/// Killed, and started anew while the store is away: what is recent is answered, what is in blocks is refused with the reason, and
/// everything is answered when the store is back.
#[test]
fn a_restart_during_an_outage_goes_on() {
    storage::bucket::install_tls_provider();
    let (directory, runtime) = (tempfile::tempdir().unwrap(), Arc::new(Runtime::new().unwrap()));
    let (objects, store_port) = (Objects::default(), free_port());
    let store = objects.serve(&runtime, store_port);
    let flushed_at = write_block(directory.path(), store_port, &objects, &runtime);
    store.abort();
    let _ = runtime.block_on(store);

    let hearth = Hearth::start(directory.path(), store_port, &runtime);
    hearth.until("last_over_time(up[1s])", "", |found| found == &Ok(1));
    hearth.refuses_all(&flushed_at, "the object store has not answered since the start");
    let (status, after, text) = hearth.refusal("/federate?match[]=up");
    assert_eq!((status, after.as_deref()), (503, Some("1")), "{text}");
    assert!(hearth.says("hearth_object_store_known 0"));
    assert!(hearth.notifies("The object store has not answered") && !hearth.notifies("Hearth is starting"));
    let store = objects.serve(&runtime, store_port);
    hearth.until("up", &flushed_at, |found| found == &Ok(1));
    assert!(hearth.says("hearth_object_store_known 1"));
    hearth.until_notified_no_more("The object store has not answered");
    hearth.post("flush?wait=true");

    // Deleted: hidden at once, gone when asked for, and whoever asked can see what became of it.
    let number = |value: &Value, path: &str| value.pointer(path).and_then(Value::as_u64);
    assert!(number(&hearth.get("/api/v1/status/tsdb"), "/blockStats/numBlocks") > Some(0));
    hearth.post("delete_series?match[]=up");
    hearth.post("clean_tombstones");
    let jobs = hearth.get("/api/v1/admin/tsdb/deletions");
    assert_eq!(jobs.pointer("/0/state").and_then(Value::as_str), Some("done"), "{jobs}");
    assert_eq!(jobs.pointer("/0/match").and_then(Value::as_str), Some("{__name__=\"up\"}"), "{jobs}");
    assert!(number(&jobs, "/0/samplesReclaimed") > Some(0), "{jobs}");
    assert_eq!(hearth.query("up", &flushed_at), Ok(0));
    store.abort();
}

/// The store goes away while the server runs: what is recent is answered; what is in blocks is refused as something that may be had later, and
/// the object that could not be read is named. People are told while it lasts.
#[test]
fn an_outage_is_no_failure_of_the_server() {
    storage::bucket::install_tls_provider();
    let (directory, runtime) = (tempfile::tempdir().unwrap(), Arc::new(Runtime::new().unwrap()));
    let (objects, store_port) = (Objects::default(), free_port());
    let store = objects.serve(&runtime, store_port);
    let flushed_at = write_block(directory.path(), store_port, &objects, &runtime);
    // With cold caches: nothing is asked before the store is gone.
    let hearth = Hearth::start(directory.path(), store_port, &runtime);
    hearth.until_store_known();
    store.abort();
    let _ = runtime.block_on(store);
    hearth.refuses_all(&flushed_at, "read object `");
    hearth.until_notified("Requests to the object store fail");
    hearth.until("last_over_time(up[1s])", "", |found| found == &Ok(1));
    let store = objects.serve(&runtime, store_port);
    hearth.until("up", &flushed_at, |found| found == &Ok(1));
    hearth.until_notified_no_more("Requests to the object store fail");
    store.abort();
}

/// A reload that fails is told until one succeeds.
#[test]
fn a_failed_reload_is_told_until_one_succeeds() {
    const FAILED: &str = "Configuration reload has failed.";
    storage::bucket::install_tls_provider();
    let (directory, runtime) = (tempfile::tempdir().unwrap(), Arc::new(Runtime::new().unwrap()));
    let (objects, store_port) = (Objects::default(), free_port());
    let store = objects.serve(&runtime, store_port);
    let hearth = Hearth::start(directory.path(), store_port, &runtime);
    hearth.until("vector(1)", "", |found| found == &Ok(1));
    let config = directory.path().join("hearth.yml");
    let good = std::fs::read_to_string(&config).unwrap();
    std::fs::write(directory.path().join("rules.yml"), "groups: [{name: g, rules: [{record: r}]}]\n").unwrap();
    for bad in ["nonsense: 1\n".to_owned(), format!("{good}rule_files: [rules.yml]\n")] {
        std::fs::write(&config, bad).unwrap();
        assert_eq!((hearth.reload(), hearth.notifies(FAILED)), (500, true));
        std::fs::write(&config, &good).unwrap();
        assert_eq!((hearth.reload(), hearth.notifies(FAILED)), (200, false));
    }
    store.abort();
}

/// The first start of all, without the store: what was never seen cannot be told from what is not there, and is said to be unknown.
#[test]
fn a_first_start_without_the_store_says_what_it_does_not_know() {
    storage::bucket::install_tls_provider();
    let (directory, runtime) = (tempfile::tempdir().unwrap(), Arc::new(Runtime::new().unwrap()));
    let (objects, store_port) = (Objects::default(), free_port());
    let hearth = Hearth::start(directory.path(), store_port, &runtime);
    hearth.until("last_over_time(up[1s])", "", |found| found == &Ok(1));
    let now = jiff::Timestamp::now().as_second().to_string();
    hearth.refuses_all(&now, "which is not known until it answers");
    let store = objects.serve(&runtime, store_port);
    hearth.until("up", "", |found| found == &Ok(1));
    store.abort();
}

/// The store is away for so long that the local space which is allowed is full: from then on writes are refused with the reason,
/// and once the store takes what waits they are accepted again. Nothing that was acknowledged is missing.
#[test]
fn an_outage_that_outlasts_the_local_space_refuses_writes_and_says_so() {
    const SERIES: usize = 500;
    const STEP_MS: i64 = 1000;
    storage::bucket::install_tls_provider();
    let (directory, runtime) = (tempfile::tempdir().unwrap(), Arc::new(Runtime::new().unwrap()));
    let (objects, store_port) = (Objects::default(), free_port());
    // One segment of the log and two megabytes of chunks.
    let limit = format!("--storage.local.size={}", 66 << 20);
    let hearth = Hearth::start_with(directory.path(), store_port, &runtime, &[&limit]);
    hearth.until("vector(1)", "", |found| found == &Ok(1));
    let start_ms = jiff::Timestamp::now().as_millisecond() - 7_200_000;
    let instances: Vec<_> = (0..SERIES).map(|n| n.to_string()).collect();
    let mut writer = Writer::new(&hearth.url);
    let mut send = |scrape: usize| {
        for (n, instance) in instances.iter().enumerate() {
            // As good as random, so that it takes eight bytes.
            let value = f64::from_bits(
                0x3ff0_0000_0000_0000 | ((n + scrape * SERIES) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 12,
            );
            writer.push("filler", &[("instance", instance)], start_ms + scrape as i64 * STEP_MS, value);
        }
        runtime.block_on(writer.send()).map_err(|error| format!("{error:#}"))
    };
    let (mut written, mut refusal) = (0, None);
    while refusal.is_none() && written < 3000 {
        match send(written) {
            Ok(()) => written += 1,
            Err(error) => refusal = Some(error),
        }
    }
    let refusal = refusal.expect("never refused");
    assert!(refusal.contains("503") && refusal.contains("--storage.local.size"), "{refusal}");
    assert!(hearth.notifies("Local space is full"));
    assert!(hearth.says("hearth_local_space_limit_bytes 69206016"));

    let store = objects.serve(&runtime, store_port);
    let deadline = Instant::now() + Duration::from_secs(90);
    while let Err(error) = send(written) {
        assert!(Instant::now() < deadline, "{error}");
        std::thread::sleep(Duration::from_millis(200));
    }
    hearth.until_notified_no_more("Local space is full");
    let at = format!("{}", (start_ms + written as i64 * STEP_MS) as f64 / 1e3);
    let all = format!("count(count_over_time(filler[3h]) == {}) == {SERIES}", written + 1);
    hearth.until(&all, &at, |found| found == &Ok(1));
    store.abort();
}
