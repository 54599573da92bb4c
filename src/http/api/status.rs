//! `/api/v1/status/*`: what runs here, with which settings, and how much it holds.

use crate::http::envelope::success_value;
use crate::http::error::ApiError;
use crate::http::params::{Params, parse_integer};
use crate::http::state::{AppState, EarlyState};
use crate::query::store::HeadSummary;
use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use storage::block::meta::resolution_name;
use storage::select::{Cardinality, Count};
use storage::store::{BlockGroup, StoreStats};

/// The Prometheus whose API and language this is. Grafana and other clients choose by it what they may ask for, so it is
/// what `version` says; our own is `applicationVersion`. See `docs/decisions/buildinfo-version.md`.
const PROMETHEUS_VERSION: &str = "3.14.0";

/// Lines of a cardinality table unless the client says otherwise, and at most.
const TABLE_LINES: usize = 10;
const TABLE_LINES_MAX: usize = 10_000;

/// What a server whose rules Grafana may edit says of itself, by Mimir's name.
const FEATURES: [(&str, &str); 1] = [("ruler_config_api", "true")];

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct BuildInfo {
    version: &'static str,
    revision: &'static str,
    branch: &'static str,
    build_user: &'static str,
    build_date: &'static str,
    go_version: &'static str,
    application: &'static str,
    application_version: &'static str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    features: BTreeMap<&'static str, &'static str>,
}

/// What was built.
pub async fn build_info(State(state): State<AppState>) -> Response {
    let features: &[_] = if state.process.announces_rule_config { &FEATURES } else { &[] };
    success_value(&BuildInfo {
        version: PROMETHEUS_VERSION,
        revision: option_env!("HEARTH_REVISION").unwrap_or(""),
        branch: "",
        build_user: "",
        build_date: "",
        go_version: "",
        application: "Hearth",
        application_version: env!("CARGO_PKG_VERSION"),
        features: features.iter().copied().collect(),
    })
}

/// Fields and names are Prometheus'; those of Go's runtime say what comes closest here.
#[derive(Debug, Serialize)]
struct RuntimeInfo {
    #[serde(rename = "startTime")]
    start_time: String,
    #[serde(rename = "CWD")]
    working_directory: String,
    hostname: String,
    #[serde(rename = "serverTime")]
    server_time: String,
    #[serde(rename = "reloadConfigSuccess")]
    reload_config_success: bool,
    #[serde(rename = "lastConfigTime")]
    last_config_time: String,
    #[serde(rename = "corruptionCount")]
    corruption_count: u64,
    /// Tasks.
    #[serde(rename = "goroutineCount")]
    tasks: usize,
    /// Threads that wait for the network.
    #[serde(rename = "GOMAXPROCS")]
    worker_threads: usize,
    #[serde(rename = "GOMEMLIMIT")]
    memory_limit: i64,
    #[serde(rename = "GOGC")]
    gogc: &'static str,
    #[serde(rename = "GODEBUG")]
    godebug: &'static str,
    #[serde(rename = "storageRetention")]
    storage_retention: String,
}

/// What runs.
pub async fn runtime_info(State(state): State<AppState>) -> Response {
    let (process, reload) = (&state.process, state.reload.status());
    let runtime = tokio::runtime::Handle::current();
    success_value(&RuntimeInfo {
        start_time: process.started.to_string(),
        working_directory: process.working_directory.display().to_string(),
        hostname: process.hostname.clone(),
        server_time: jiff::Timestamp::now().to_string(),
        reload_config_success: reload.successful,
        last_config_time: reload.last_success.to_string(),
        corruption_count: 0,
        tasks: runtime.metrics().num_alive_tasks(),
        worker_threads: runtime.metrics().num_workers(),
        memory_limit: i64::MAX,
        gogc: "",
        godebug: "",
        storage_retention: process.storage_retention.clone(),
    })
}

/// The configuration in force, secrets redacted.
pub async fn config(State(state): State<AppState>) -> Response {
    success_value(&json!({"yaml": state.config.load().to_yaml()}))
}

/// The flags in force.
pub async fn flags(State(state): State<AppState>) -> Response {
    success_value(&state.process.flags)
}

/// How far the replay of the log has come, in numbers of segments; answered before the process is ready.
pub async fn wal_replay(State(early): State<EarlyState>) -> Response {
    let (min, max, current) = early.replay.get();
    success_value(&json!({"min": min, "max": max, "current": current}))
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct StoreView {
    head_stats: HeadView,
    series_count_by_metric_name: Vec<CountView>,
    label_value_count_by_label_name: Vec<CountView>,
    memory_in_bytes_by_label_name: Vec<CountView>,
    series_count_by_label_value_pair: Vec<CountView>,
    /// Ours: what Prometheus' page does not show.
    #[serde(skip_serializing_if = "Option::is_none")]
    block_stats: Option<BlocksView>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct BlocksView {
    num_blocks: u64,
    num_bytes: u64,
    num_samples: u64,
    groups: Vec<BlockGroupView>,
    damaged_blocks: Vec<DamagedView>,
    /// Days of which blocks wait to be merged.
    days_to_merge: u64,
    pending_deletions: u64,
    /// Why the object store did not answer since the start.
    object_store_away: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct BlockGroupView {
    resolution: String,
    level: u8,
    num_blocks: u64,
    num_bytes: u64,
    num_samples: u64,
    /// A series counts in each block that has it.
    num_series: u64,
    max_series_of_block: u64,
    min_time: i64,
    max_time: i64,
}

#[derive(Debug, Serialize)]
struct DamagedView {
    ulid: String,
    reason: String,
}

/// A line of a table.
#[derive(Debug, Serialize)]
pub(super) struct CountView {
    name: String,
    value: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct HeadView {
    num_series: u64,
    num_label_pairs: u64,
    chunk_count: u64,
    min_time: i64,
    max_time: i64,
}

/// What the series of the head are made of, and how much is in blocks.
///
/// # Errors
/// `limit` is wrong.
pub async fn tsdb(State(state): State<AppState>, params: Params) -> Result<Response, ApiError> {
    let lines = table_lines(params.get("limit"))?;
    let store = Arc::clone(&state.store);
    let look = move || (store.head_summary(), store.cardinality(lines), store.block_summary());
    let (head, tables, blocks) = state.queries.run_lookup(look).await?;
    Ok(success_value(&StoreView::of(head, tables, blocks)))
}

/// How many lines of each table `limit` asks for.
pub(super) fn table_lines(text: &str) -> Result<usize, ApiError> {
    if text.is_empty() {
        return Ok(TABLE_LINES);
    }
    let number = parse_integer(text).ok().and_then(|number| usize::try_from(number).ok());
    match number {
        None | Some(0) => Err(ApiError::bad_data("limit must be a positive number")),
        Some(lines) if lines > TABLE_LINES_MAX => {
            Err(ApiError::bad_data(format_args!("limit must not exceed {TABLE_LINES_MAX}")))
        }
        Some(lines) => Ok(lines),
    }
}

impl StoreView {
    fn of(head: HeadSummary, tables: Cardinality, blocks: Option<StoreStats>) -> Self {
        Self {
            head_stats: HeadView {
                num_series: head.series,
                num_label_pairs: tables.label_pairs,
                chunk_count: head.chunks,
                // An empty head reaches from the end of time to its beginning, as in Prometheus.
                min_time: head.time_range_ms.map_or(i64::MAX, |(oldest, _)| oldest),
                max_time: head.time_range_ms.map_or(i64::MIN, |(_, newest)| newest),
            },
            series_count_by_metric_name: counts(tables.series_by_metric_name),
            label_value_count_by_label_name: counts(tables.values_by_label_name),
            memory_in_bytes_by_label_name: counts(tables.bytes_by_label_name),
            series_count_by_label_value_pair: counts(tables.series_by_label_pair),
            block_stats: blocks.map(BlocksView::of),
        }
    }
}

impl BlocksView {
    fn of(stats: StoreStats) -> Self {
        let sum = |figure: fn(&BlockGroup) -> u64| stats.blocks.iter().map(figure).sum();
        let group = |group: &BlockGroup| BlockGroupView {
            resolution: resolution_name(group.resolution_ms),
            level: group.level,
            num_blocks: group.blocks,
            num_bytes: group.bytes,
            num_samples: group.samples,
            num_series: group.series,
            max_series_of_block: group.series_max,
            min_time: group.min_ms,
            max_time: group.max_ms,
        };
        Self {
            num_blocks: sum(|group| group.blocks),
            num_bytes: sum(|group| group.bytes),
            num_samples: sum(|group| group.samples),
            groups: stats.blocks.iter().map(group).collect(),
            damaged_blocks: stats
                .damaged
                .into_iter()
                .map(|block| DamagedView { ulid: block.ulid, reason: block.why })
                .collect(),
            days_to_merge: stats.compaction_backlog,
            pending_deletions: stats.tombstones,
            object_store_away: stats.away.map(|why| why.to_string()),
        }
    }
}

/// A table.
pub(super) fn counts(table: Vec<Count>) -> Vec<CountView> {
    table.into_iter().map(|Count { name, value }| CountView { name, value }).collect()
}
