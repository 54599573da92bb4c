//! The store: the engine with its head, and blocks in an object store, as one thing that can be opened, written, read and
//! closed.
//!
//! Never reordered: blocks are stored, then a manifest names them, then readers see them, then the head lets go of what they
//! hold. Who reads pins the head before looking which blocks there are, so nothing is missed in between; what is seen twice is
//! merged.

mod admin;
mod block_cardinality;
mod block_part;
#[cfg(test)]
mod cold_tests;
#[cfg(test)]
mod deletion_tests;
mod error;
mod glance;
mod io;
mod known;
mod lookup;
mod opening;
mod options;
pub(crate) mod selection;
mod series;
mod session;
mod state;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod thinned_tests;
mod tiered;
#[cfg(test)]
mod tiered_tests;
pub(crate) mod view;

pub use error::StoreError;
pub use options::StoreOptions;
pub use series::Selection;
pub use session::{Fetching, Foreseen, StoreSession};
pub use state::{BlockGroup, StoreStats, WorkStats};

use crate::block::read::{Block, BlockCaches};
use crate::bucket::Bucket;
use crate::documents::Documents;
use crate::engine::{Engine, Kept};
use crate::lifecycle::damage::Damage;
use crate::lifecycle::deletion_jobs::DeletionJobs;
use crate::lifecycle::relief::Shortage;
use crate::lifecycle::retention::Retention;
use crate::lifecycle::worker::Worker;
use crate::manifest::{self, Manifest, ManifestChain, system_clock};
use crate::select::{SelectError, TimeRange};
use crate::tiers::day_spans::DaySpans;
use crate::tombstone::{Deletion, Since};
use crate::wal::pool::now_ms;
use block_part::Wanted;
pub(crate) use io::Io;
use known::KnownManifest;
use model::labels::Labels;
use model::matcher::Matcher;
use parking_lot::{Mutex, RwLock};
use selection::Merged;
use session::Session;
pub(crate) use state::Counters;
use std::sync::Arc;
use tiered::Tiered;
use view::BlockView;

/// An open store. A cheap handle: clones share one store, any thread may use any of them.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

/// Fields are dropped in this order: the worker first.
pub(crate) struct Inner {
    worker: Mutex<Option<Worker>>,
    pub(crate) shared: Arc<Shared>,
}

/// What readers and the lifecycle share.
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) io: Io,
    pub(crate) bucket: Bucket,
    pub(crate) chain: Arc<ManifestChain>,
    pub(crate) caches: BlockCaches,
    /// Held while blocks are merged: the stores of a process do that in turn, since it takes memory.
    pub(crate) merging: Arc<Mutex<()>>,
    pub(crate) options: StoreOptions,
    pub(crate) retention: RwLock<Arc<Retention>>,
    pub(crate) view: RwLock<Arc<BlockView>>,
    known: KnownManifest,
    pub(crate) counters: Counters,
    pub(crate) damage: Damage,
    pub(crate) shortage: Shortage,
    pub(crate) deletions: DeletionJobs,
    closed: Mutex<DaySpans>,
}

impl Store {
    /// The engine: what writes, and what only it can tell.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.inner.shared.engine
    }

    /// The newest manifest that readers follow.
    #[must_use]
    pub fn manifest(&self) -> Arc<Manifest> {
        Arc::clone(&self.inner.shared.view().manifest)
    }

    /// Documents of one kind beside the blocks; `kind` is a word.
    #[must_use]
    pub fn documents(&self, kind: &str) -> Documents {
        let Shared { bucket, options, .. } = &*self.inner.shared;
        Documents::new(bucket.clone(), &options.tenant, kind, system_clock())
    }

    /// Whose data it is.
    #[must_use]
    pub fn tenant(&self) -> &str {
        &self.inner.shared.options.tenant
    }

    /// The tenants of whom anything is in the bucket, this store's own among them if there is anything of it.
    ///
    /// # Errors
    /// The bucket cannot be listed.
    pub fn tenants_of_bucket(&self) -> Result<Vec<String>, StoreError> {
        let Shared { bucket, io, .. } = &*self.inner.shared;
        let bucket = bucket.clone();
        Ok(io.wait(async move { manifest::tenants(&bucket).await })?)
    }

    /// What expires from now on.
    pub fn set_retention(&self, retention: Retention) {
        *self.inner.shared.retention.write() = Arc::new(retention);
        self.inner.shared.refuse_what_is_not_kept();
        // Kept results may show what is hidden now.
        self.engine().head().note_all_changed();
    }

    /// Nothing older than this needs the object store to be answered, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn resident_from_ms(&self) -> i64 {
        self.inner.shared.view().newest_ms.saturating_add(1)
    }

    /// The series that satisfy all `matchers` and may have samples with `after_ms < t <= until_ms`. Without matchers, all of
    /// them.
    ///
    /// # Errors
    /// More than `series_max` series match, or a block cannot be read.
    pub fn select(
        &self,
        matchers: &[Matcher],
        after_ms: i64,
        until_ms: i64,
        series_max: usize,
    ) -> Result<Selection, SelectError> {
        let shared = &self.inner.shared;
        // The head first: what it gives up afterwards is in the blocks by then.
        let head = shared.engine.select(matchers, after_ms, until_ms, series_max)?;
        let range = TimeRange { after_ms, until_ms };
        let view = shared.view();
        let tiers = Tiered::none(&view, range);
        let wanted = Wanted { matchers, range, series_max, first: false };
        shared.merge(&view, head, tiers, &wanted, &Session::default())
    }

    /// What is stored now, to be selected from while more is stored.
    #[must_use]
    pub fn view(&self) -> StoreView {
        self.view_for(&Arc::default())
    }

    fn view_for(&self, session: &Arc<Session>) -> StoreView {
        // The head first, as always.
        let head = self.inner.shared.engine.head().view();
        let (shared, session) = (Arc::clone(&self.inner.shared), Arc::clone(session));
        StoreView { head, blocks: self.inner.shared.view(), shared, session }
    }

    /// The first `limit` series, in no particular order but the same each time, that satisfy all `matchers` and may have samples
    /// in the range that are neither deleted nor expired by class.
    ///
    /// # Errors
    /// A block cannot be read.
    pub fn select_first(&self, matchers: &[Matcher], range: TimeRange, limit: usize) -> Result<Selection, SelectError> {
        let shared = &self.inner.shared;
        let mut series_max = limit;
        loop {
            let head = shared.engine.head().select_first(matchers, range, series_max);
            let view = shared.view();
            let tiers = Tiered::known(&view, range);
            let wanted = Wanted { matchers, range, series_max, first: true };
            let mut selection = shared.merge(&view, head, tiers, &wanted, &Session::default())?;
            let found = selection.len();
            if let Selection::Merged(merged) = &mut selection {
                merged.leave_out_hidden()?;
                // Others may be in the place of those that are hidden.
                if merged.len() < limit && found >= series_max && merged.len() < found {
                    series_max = series_max.saturating_mul(2);
                    continue;
                }
                merged.truncate(limit);
            }
            return Ok(selection);
        }
    }

    /// Ends the lifecycle, takes nothing more, and leaves a snapshot for a fast start.
    ///
    /// # Errors
    /// As [`Engine::flush_and_close`].
    pub fn close(&self) -> Result<(), StoreError> {
        drop(self.inner.worker.lock().take());
        Ok(self.inner.shared.engine.flush_and_close()?)
    }
}

/// A store as it is at one moment: all that was appended before, and nothing that is appended later.
pub struct StoreView {
    head: crate::head::View,
    blocks: Arc<BlockView>,
    shared: Arc<Shared>,
    session: Arc<Session>,
}

impl StoreView {
    /// As [`Store::select`].
    ///
    /// # Errors
    /// As [`Store::select`].
    pub fn select(
        &self,
        matchers: &[Matcher],
        after_ms: i64,
        until_ms: i64,
        series_max: usize,
    ) -> Result<Selection, SelectError> {
        let head = self.head.select(matchers, after_ms, until_ms, series_max)?;
        let range = TimeRange { after_ms, until_ms };
        let tiers = Tiered::none(&self.blocks, range);
        let wanted = Wanted { matchers, range, series_max, first: false };
        self.shared.merge(&self.blocks, head, tiers, &wanted, &self.session)
    }
}

impl Shared {
    pub(crate) fn view(&self) -> Arc<BlockView> {
        Arc::clone(&self.view.read())
    }

    pub(crate) fn retention(&self) -> Arc<Retention> {
        Arc::clone(&self.retention.read())
    }

    /// Tells the engine what would expire at once: after the retention or the blocks have changed.
    fn refuse_what_is_not_kept(&self) {
        self.engine.set_kept(|| {
            let mut expired = self.view().tiers.expired.clone();
            expired.add_all(&self.closed.lock());
            Kept { retention: self.retention(), expired }
        });
    }

    /// Days whose floats are refused, beside those of which only tiers are left: they are about to expire.
    pub(crate) fn closed_days(&self) -> DaySpans {
        self.closed.lock().clone()
    }

    /// Closes these and no others.
    pub(crate) fn close_days(&self, days: DaySpans) {
        *self.closed.lock() = days;
        self.refuse_what_is_not_kept();
    }

    fn merge(
        &self,
        view: &BlockView,
        head: crate::select::Selection,
        (blocks, tiers): (Vec<Block>, Tiered),
        wanted: &Wanted<'_>,
        session: &Session,
    ) -> Result<Selection, SelectError> {
        view.check(wanted.range)?;
        let (retention, range) = (self.retention(), wanted.range);
        let first_ms = range.after_ms.saturating_add(1);
        let matters = |deletion: &&Deletion| {
            deletion.overlaps(first_ms, range.until_ms) && (!blocks.is_empty() || deletion.concerns(Since::NOW))
        };
        let deletions: Vec<_> = view.deletions.iter().filter(matters).cloned().collect();
        let now_ms = now_ms();
        let hides = !deletions.is_empty() || retention.hides_by_class(first_ms, now_ms);
        if blocks.is_empty() && !hides && tiers.coverage().is_none() {
            return Ok(Selection::Head(head));
        }
        let since = if hides { blocks.iter().map(|block| view.since(block)).collect() } else { Vec::new() };
        let mut merged = Merged::new((&self.io, &self.engine), head, blocks, tiers, wanted, session)?;
        if hides {
            let hide = |labels: &Labels, since| retention.hidden_by_class(labels, &deletions, since, now_ms);
            merged.hide(since, &hide)?;
        }
        Ok(Selection::Merged(Box::new(merged)))
    }
}
