//! Opens storage.

use super::parts::Plan;
use crate::config::ServeFlags;
use std::sync::Arc;
use storage::store::{Store, StoreOptions};
use storage::wal::replay::ReplayProgress;

/// Opens the data directory and the object store on a thread that may block, and says what it found.
pub(super) async fn open(flags: &ServeFlags, plan: &Plan, progress: Arc<ReplayProgress>) -> Result<Store, String> {
    let mut options = StoreOptions::new(&flags.storage_path);
    options.engine.snapshot_interval = flags.snapshot_interval.as_std();
    options.engine.exemplars_max = flags.exemplars_max;
    options.bucket = plan.config().object_store.clone();
    options.cache_bytes_max = flags.block_cache_bytes;
    options.flush_lag = flags.flush_lag.as_std();
    options.retention = plan.retention().clone();
    let opened = tokio::task::spawn_blocking(move || Store::open(options, &progress)).await;
    let store = match opened {
        Ok(opened) => opened.map_err(|error| format!("open storage: {}", error.to_line()))?,
        Err(panic) => return Err(format!("open storage: {panic}")),
    };
    let (stats, blocks) = (store.engine().stats(), store.stats().blocks);
    let blocks: u64 = blocks.iter().map(|group| group.blocks).sum();
    tracing::info!(series = stats.head.series, blocks, seconds = stats.restore_seconds, "storage is open");
    for notice in &store.engine().restore_report().notices {
        tracing::warn!(notice, "storage was not left as it was written");
    }
    Ok(store)
}
