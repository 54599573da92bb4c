//! Opens the storage engine.

use crate::app::load::with_causes;
use crate::config::ServeFlags;
use std::sync::Arc;
use storage::engine::{Engine, Options};
use storage::wal::replay::ReplayProgress;

/// Opens the data directory on a thread that may block, and says what it found.
pub(super) async fn open(flags: &ServeFlags, progress: Arc<ReplayProgress>) -> Result<Engine, String> {
    let mut options = Options::new(&flags.storage_path);
    options.snapshot_interval = flags.snapshot_interval.as_std();
    options.exemplars_max = flags.exemplars_max;
    let opened = tokio::task::spawn_blocking(move || Engine::open_observed(&options, &progress)).await;
    let engine = match opened {
        Ok(opened) => opened.map_err(|error| format!("open storage: {}", with_causes(&error)))?,
        Err(panic) => return Err(format!("open storage: {panic}")),
    };
    let stats = engine.stats();
    tracing::info!(series = stats.head.series, seconds = stats.restore_seconds, "storage is open");
    for notice in &engine.restore_report().notices {
        tracing::warn!(notice, "storage was not left as it was written");
    }
    Ok(engine)
}
