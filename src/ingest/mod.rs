//! The way in: from the bytes of a remote write request to rows in the store, and an exact account of what became of each.
//!
//! ```text
//!   body ─ decompress ─ walk (wire) ─ hash of label bytes ─▸ store.lookup ─ known ────────────▸ rows ─▸ store.append
//!                                                              │ unknown                          ▲
//!                                                              ▼                                  │
//!                                               alias of a known series? ── yes ──────────────────┤
//!                                                              │ no                               │
//!                                          parse, validate, canonical form ─▸ lookup ─▸ create ───┘
//! ```
//!
//! Cost of a sample of a known series, one sample an entry: snappy 45 ns, walk and hash 70 ns, the lookup's cache misses,
//! 10 ns of copying; no allocation. Everything per request is drawn from a pool.
//!
//! Work that may take more than half a millisecond (large bodies, many new series) runs on a pool of its own, apart from that
//! of queries, so that samples do not wait for somebody's month of data.
//!
//! Invariants: nothing is stored of a body that is no message. Of a message, what is valid is stored and what is not is
//! counted by [`Reason`], kept in the [`Ledger`] and told to the sender; nothing is acknowledged and dropped. What is asked
//! to be sent again is not counted as refused.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

pub mod appender;
mod commit;
mod engine;
#[allow(clippy::indexing_slicing, reason = "the index of a part is a remainder")]
mod generations;
pub mod inflight;
pub mod ledger;
pub mod metrics;
pub mod options;
mod others;
mod own;
mod prepare;
pub mod reason;
pub mod report;
mod route;
mod scratch;
mod told_metadata;
pub mod validate;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use appender::{AppendError, AppendErrorKind, Appender};
pub use commit::WriteRequest;
pub use inflight::InflightBytes;
pub use ledger::{Ledger, Refusal};
pub use options::IngestOptions;
pub use own::{OwnOutcome, OwnRefusal, OwnSample};
pub use reason::Reason;
pub use report::{WriteError, WriteErrorKind, WriteReport};

use crate::cluster::ring::{NodeId, Ring};
use crate::runtime::cpu::CpuPool;
use crate::runtime::local_space::LocalSpace;
use crate::runtime::memory::Memory;
use crate::wire::Limits;
use generations::Generations;
use metrics::IngestMetrics;
use model::tenant::TenantId;
use route::Route;
use scratch::Pool;
use std::sync::{Arc, OnceLock};
use storage::append::LabelHash;
use told_metadata::ToldMetadata;

/// The door for everything that is written. A cheap handle: clones share one state.
#[derive(Debug, Clone)]
pub struct Ingest {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Whose door it is.
    tenant: TenantId,
    options: IngestOptions,
    limits: Limits,
    route: Route,
    cpu: CpuPool,
    /// Hashes of label bytes that are not canonical, and the series they mean.
    aliases: Generations<LabelHash>,
    told: ToldMetadata,
    pool: Pool,
    inflight: InflightBytes,
    ledger: Ledger,
    metrics: IngestMetrics,
    /// Absent while the process is not bounded.
    memory: OnceLock<Memory>,
    /// Absent while the disk is the bound.
    space: OnceLock<LocalSpace>,
}

impl Ingest {
    /// Opens the door to `store`, that of a tenant, which belongs to the member `local` of `ring`. Long work runs on `cpu`.
    #[must_use]
    pub fn new(
        tenant: TenantId,
        options: IngestOptions,
        ring: Arc<Ring>,
        local: NodeId,
        store: Arc<dyn Appender>,
        cpu: CpuPool,
    ) -> Self {
        let inflight = InflightBytes::new(options.inflight_bytes_max);
        let inner = Inner {
            tenant,
            limits: Limits::for_decoded_bytes(options.decoded_bytes_max),
            route: Route::new(ring, local, store),
            cpu,
            aliases: Generations::new(options.alias_capacity),
            told: ToldMetadata::new(),
            pool: Pool::default(),
            metrics: IngestMetrics::new(inflight.clone()),
            inflight,
            ledger: Ledger::new(options.ledger_capacity),
            options,
            memory: OnceLock::new(),
            space: OnceLock::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Asks senders to come again while the memory of the process is full. Counts once.
    pub fn bound_by(&self, memory: Memory) {
        self.inner.memory.get_or_init(|| memory);
    }

    /// Asks senders to come again while the local space is full. Counts once.
    pub fn stored_within(&self, space: LocalSpace) {
        self.inner.space.get_or_init(|| space);
    }

    /// Whose samples it takes.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.inner.tenant
    }

    /// The options it was opened with.
    #[must_use]
    pub fn options(&self) -> &IngestOptions {
        &self.inner.options
    }

    /// The bytes of requests in work.
    #[must_use]
    pub fn inflight(&self) -> &InflightBytes {
        &self.inner.inflight
    }

    /// The last refusals.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.inner.ledger
    }

    /// What is counted.
    #[must_use]
    pub fn metrics(&self) -> &IngestMetrics {
        &self.inner.metrics
    }
}
