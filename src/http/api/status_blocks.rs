//! `/api/v1/status/tsdb/blocks`: the blocks that queries read, as Prometheus lists its own, and what the series of one are made of.

use super::status::{CountView, counts, table_lines};
use crate::http::envelope::success_value;
use crate::http::error::{ApiError, ErrorType};
use crate::http::params::Params;
use crate::http::state::AppState;
use crate::query::error::QueryFailure;
use axum::extract::{Path, State};
use axum::response::Response;
use serde::Serialize;
use std::sync::Arc;
use storage::block::meta::{BlockMeta, resolution_name};

/// Fields of Prometheus' `meta.json`, and ours behind them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct BlockView {
    ulid: String,
    min_time: i64,
    /// Exclusive, as in Prometheus.
    max_time: i64,
    stats: BlockStats,
    compaction: Compaction,
    version: u32,
    resolution: String,
    num_bytes: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct BlockStats {
    num_samples: u64,
    num_float_samples: u64,
    num_histogram_samples: u64,
    num_series: u64,
}

#[derive(Debug, Serialize)]
struct Compaction {
    /// 1 as flushed, as in Prometheus.
    level: u32,
    /// The blocks, as they were flushed or imported, that it was made from.
    sources: Vec<String>,
}

impl BlockView {
    fn of(meta: BlockMeta) -> Self {
        Self {
            min_time: meta.min_ms,
            max_time: meta.max_ms.saturating_add(1),
            stats: BlockStats {
                num_samples: meta.samples + meta.histograms,
                num_float_samples: meta.samples,
                num_histogram_samples: meta.histograms,
                num_series: meta.series,
            },
            compaction: Compaction {
                level: u32::from(meta.level) + 1,
                sources: meta.origins().map(str::to_owned).collect(),
            },
            version: meta.format_version,
            resolution: resolution_name(meta.resolution_ms),
            num_bytes: meta.bytes(),
            ulid: meta.ulid,
        }
    }
}

#[derive(Debug, Serialize)]
struct ListView {
    blocks: Vec<BlockView>,
}

/// All blocks.
///
/// # Errors
/// None but a panic.
pub async fn list(State(state): State<AppState>) -> Result<Response, ApiError> {
    let store = Arc::clone(&state.store);
    // There may be many thousands.
    let list = move || {
        let blocks = store.blocks().into_iter().map(BlockView::of).collect();
        success_value(&ListView { blocks })
    };
    Ok(state.queries.run_lookup(list).await?)
}

/// The tables of `status/tsdb`, of one block.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CardinalityView {
    series_count_by_metric_name: Vec<CountView>,
    label_value_count_by_label_name: Vec<CountView>,
    bytes_by_label_name: Vec<CountView>,
    series_count_by_label_value_pair: Vec<CountView>,
}

/// What the series of a block are made of.
///
/// # Errors
/// There is no such block, it cannot be read, or `limit` is wrong.
pub async fn block(
    State(state): State<AppState>,
    Path(ulid): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let lines = table_lines(params.get("limit"))?;
    let store = Arc::clone(&state.store);
    let unknown = ApiError::new(ErrorType::NotFound, format!("there is no block {ulid}"));
    let account = state.queries.lookup_account();
    // Blocks may have to be fetched.
    let look = move || store.block_cardinality(&ulid, lines, &account);
    let found = state.queries.run_store_lookup(i64::MIN, look).await?.map_err(QueryFailure::from)?;
    let tables = found.ok_or(unknown)?;
    Ok(success_value(&CardinalityView {
        series_count_by_metric_name: counts(tables.series_by_metric_name),
        label_value_count_by_label_name: counts(tables.values_by_label_name),
        bytes_by_label_name: counts(tables.bytes_by_label_name),
        series_count_by_label_value_pair: counts(tables.series_by_label_pair),
    }))
}
