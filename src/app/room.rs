//! Watches how much room there is, in memory and on the local disk, and makes some while there is little.

use super::tenants::Tenants;
use crate::runtime::memory::{MEASURE_EVERY, Pressure};
use crate::runtime::notices::Notice;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Measures until `stop`, and lets people know of what is short. While there is little memory, lets go of kept results and of parts
/// of blocks; while there is little of either, has the heads of all tenants emptied.
pub(super) async fn watch(tenants: Arc<Tenants>, stop: CancellationToken) {
    let (memory, space) = (tenants.common().memory.clone(), tenants.common().space.clone());
    let notices = tenants.common().early.notices.clone();
    let mut before = Pressure::Calm;
    let mut was_full = false;
    let mut ticks = tokio::time::interval(MEASURE_EVERY);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        memory.measure();
        let all = tenants.all();
        let (mut series, mut local_bytes) = (0, 0);
        for tenant in &all {
            let stats = tenant.store().engine().stats();
            series += stats.head.series;
            local_bytes += tenant.store().engine().local_bytes(&stats);
        }
        memory.reserve_for_flush(series);
        let is_full = space.note(local_bytes);
        let pressure = memory.pressure();
        for tenant in &all {
            tenant.store().set_short_of_memory(pressure >= Pressure::High);
            tenant.store().set_short_of_space(space.is_short());
        }
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
            all.iter().for_each(|tenant| tenant.queries().forget_results());
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
