//! Opens storage.

mod failing;

use super::common::store_options;
use super::plan::Plan;
use crate::config::ServeFlags;
use crate::http::state::EarlyState;
use crate::runtime::notices::{Notice, Notices};
use failing::Failing;
use model::tenant::TenantId;
use std::sync::Arc;
use std::time::{Duration, Instant};
use storage::store::{Store, StoreError};
use tokio_util::sync::CancellationToken;

/// A store of objects without which nothing can be told is asked again after this.
const OPEN_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// Whether it answers is looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Says when an object store answers that did not at the start, and whether one fails that did.
pub(super) async fn watch(store: Store, notices: Notices, stop: CancellationToken) {
    let mut was_away = notices.standing().iter().any(|standing| standing.notice == Notice::ObjectStoreAway);
    let mut failing = Failing::since(&store.requests());
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let (is_away, requests) = (store.away().is_some(), store.requests());
        if is_away {
            failing = Failing::since(&requests);
            continue;
        }
        if std::mem::take(&mut was_away) {
            notices.clear(Notice::ObjectStoreAway);
            let version = store.manifest().version;
            tracing::info!(version, "the object store answers again: everything can be queried");
        }
        notices.hold(Notice::ObjectStoreFails, failing.look(&requests, Instant::now()));
    }
}

/// Says once when another process takes over what this one does with blocks: two servers on one bucket would do so for ever.
pub(super) async fn report_takeover(store: Store, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        if let Some(how) = store.last_takeover() {
            tracing::warn!(
                how,
                tenant = store.tenant(),
                "another process works on the same blocks. Nothing is lost: the right is claimed again when it is needed. An import \
                 does this; if there was none, two servers share the storage of one tenant: see hearth_manifest_takeovers_total"
            );
            return;
        }
    }
}

/// Opens the data directory and the object store on a thread that may block, and says what it found.
pub(super) async fn open(flags: &ServeFlags, plan: &Plan, early: &EarlyState) -> Result<Store, String> {
    let options = store_options(flags, &plan.checked.config, &plan.features, &TenantId::anonymous())?;
    let store = loop {
        let (options, progress) = (options.clone(), Arc::clone(&early.replay));
        match tokio::task::spawn_blocking(move || Store::open(options, &progress)).await {
            Ok(Ok(store)) => break store,
            Ok(Err(error @ StoreError::Away { .. })) => {
                tracing::warn!(error = error.to_line(), "storage cannot be opened yet: it is tried again");
                early.notices.hold(Notice::ObjectStoreAway, true);
                tokio::time::sleep(OPEN_AGAIN_AFTER).await;
            }
            Ok(Err(error)) => return Err(format!("open storage: {}", error.to_line())),
            Err(panic) => return Err(format!("open storage: {panic}")),
        }
    };
    early.notices.hold(Notice::ObjectStoreAway, store.away().is_some());
    report_opened(&store);
    Ok(store)
}

/// Says what the start of a store found.
pub(super) fn report_opened(store: &Store) {
    let tenant = store.tenant();
    if let Some(why) = store.away() {
        tracing::warn!(
            why = &*why,
            tenant,
            "the object store does not answer: samples are taken, recent ones can be queried, and what is older as soon as it does"
        );
    }
    let (stats, blocks) = (store.engine().stats(), store.stats().blocks);
    let blocks: u64 = blocks.iter().map(|group| group.blocks).sum();
    tracing::info!(tenant, series = stats.head.series, blocks, seconds = stats.restore_seconds, "storage is open");
    for notice in &store.engine().restore_report().notices {
        tracing::warn!(tenant, notice, "storage was not left as it was written");
    }
}
