//! Watches how much room there is, in memory and on the local disk, and makes some while there is little.

use crate::query::executor::QueryExecutor;
use crate::runtime::local_space::LocalSpace;
use crate::runtime::memory::{MEASURE_EVERY, Memory, Pressure};
use crate::runtime::notices::{Notice, Notices};
use storage::store::Store;
use tokio_util::sync::CancellationToken;

/// What is bounded.
pub(super) struct Room {
    pub(super) memory: Memory,
    pub(super) space: LocalSpace,
}

/// Measures until `stop`, and lets people know of what is short. While there is little memory, lets go of kept results and of parts
/// of blocks; while there is little of either, has the head emptied.
pub(super) async fn watch(room: Room, queries: QueryExecutor, store: Store, notices: Notices, stop: CancellationToken) {
    let Room { memory, space } = room;
    let mut before = Pressure::Calm;
    let mut was_full = false;
    let mut ticks = tokio::time::interval(MEASURE_EVERY);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        memory.measure();
        let stats = store.engine().stats();
        memory.reserve_for_flush(stats.head.series);
        let is_full = space.note(store.engine().local_bytes(&stats));
        let pressure = memory.pressure();
        store.set_short_of_memory(pressure >= Pressure::High);
        store.set_short_of_space(space.is_short());
        for (notice, stands) in [
            (Notice::MemoryShort, pressure == Pressure::High),
            (Notice::MemoryFull, pressure == Pressure::Full),
            (Notice::LocalSpaceShort, space.is_short() && !is_full),
            (Notice::LocalSpaceFull, is_full),
        ] {
            notices.hold(notice, stands);
        }
        if pressure > before {
            let (used, reserved, limit) = (memory.used(), memory.reserved(), memory.limit());
            tracing::warn!(
                used,
                reserved,
                limit,
                ?pressure,
                "memory runs out: requests are turned away until there is room again"
            );
            queries.forget_results();
        } else if pressure < before && pressure == Pressure::Calm {
            tracing::info!(used = memory.used(), "there is memory again");
        }
        if is_full && !was_full {
            let (used, limit) = (space.used(), space.limit());
            tracing::error!(
                used,
                limit,
                "the local space is full: samples are refused until the object store takes what waits"
            );
        } else if was_full && !is_full {
            tracing::info!(used = space.used(), "there is local space again: samples are taken");
        }
        (before, was_full) = (pressure, is_full);
    }
}
