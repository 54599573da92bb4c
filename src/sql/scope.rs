//! What the parts of one statement share: its budget and place, the sources it reads, and the bounds it was given.

use super::engine::SqlSources;
use super::failure::external;
use crate::query::error::QueryFailure;
use crate::query::executor::{LocalQueries, Pieces};
use datafusion::error::Result;
use promql::parse::ParseOptions;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

/// One statement in flight.
pub(super) struct Scope {
    pub(super) pieces: Pieces,
    pub(super) sources: SqlSources,
    /// Which parts of PromQL are enabled.
    pub(super) parse: ParseOptions,
    /// Bounds on time for tables on which the statement sets none; both inclusive.
    pub(super) bounds: Bounds,
    /// Whether tables of samples have rows for stale markers.
    pub(super) include_stale: bool,
    /// When the statement arrived, milliseconds since the Unix epoch.
    pub(super) now_ms: i64,
    /// Names of metrics, when the statement lists tables.
    pub(super) metric_names: OnceLock<Vec<String>>,
    /// Labels that the results of PromQL expressions may have, by the text of the expression.
    pub(super) promql_labels: OnceLock<BTreeMap<String, Vec<String>>>,
}

/// A range of time; `None` means no bound. Both ends inclusive, milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) start_ms: Option<i64>,
    pub(super) end_ms: Option<i64>,
}

impl Scope {
    /// Runs `work` on the CPU pool.
    pub(super) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&LocalQueries<'_>, &Self) -> Result<T, QueryFailure> + Send + 'static,
    ) -> Result<T> {
        let scope = Arc::clone(self);
        let outcome = self.pieces.run(move |local| work(local, &scope)).await;
        outcome.and_then(|outcome| outcome).map_err(external)
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("bounds", &self.bounds).finish_non_exhaustive()
    }
}
