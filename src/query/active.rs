//! The queries in flight: who runs what since when, and a way to stop one.

use super::journal::{Interrupted, Journal, JournalEntry};
use model::tenant::TenantId;
use promql::budget::Budget;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// All queries that are waiting or being evaluated. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct ActiveQueries {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    last_id: AtomicU64,
    by_id: Mutex<BTreeMap<u64, Arc<Entry>>>,
    /// Where they are written down, and what was found there.
    journal: OnceLock<(Journal, Vec<Interrupted>)>,
}

#[derive(Debug)]
struct Entry {
    text: String,
    tenant: TenantId,
    started: jiff::Timestamp,
    clock: Instant,
    evaluating: AtomicBool,
    budget: Arc<Budget>,
    stop: CancellationToken,
}

/// One query as others see it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ActiveQueryView {
    /// Names the query for cancelling; never used twice by one process.
    pub id: u64,
    /// Its text.
    pub query: String,
    /// Whose data it reads.
    pub tenant: String,
    /// `queued` or `evaluating`.
    pub state: &'static str,
    /// When it arrived, as RFC 3339 in UTC.
    pub start: String,
    /// Seconds since then.
    pub elapsed_seconds: f64,
    /// Series that its selectors have matched so far.
    pub series: usize,
    /// The most samples that it has held at once so far.
    pub peak_samples: usize,
    /// The most bytes that it has held at once so far.
    pub peak_bytes: usize,
}

impl ActiveQueries {
    /// Writes queries down from now on; `interrupted` are those that an earlier process left. Counts once.
    pub fn keep_journal(&self, journal: Journal, interrupted: Vec<Interrupted>) {
        for query in &interrupted {
            let started = jiff::Timestamp::from_millisecond(query.started_ms).unwrap_or_default();
            let age = jiff::Timestamp::now().duration_since(started).as_secs_f64();
            let (text, tenant) = (&query.text, &query.tenant);
            let message = "this query was running when the process ended";
            tracing::warn!(query = text, tenant, %started, seconds_ago = age, message);
        }
        // Set once, when the process starts.
        let _ = self.shared.journal.set((journal, interrupted));
    }

    /// The queries that were running when the process before this one ended without ending them.
    #[must_use]
    pub fn interrupted(&self) -> &[Interrupted] {
        self.shared.journal.get().map_or(&[], |(_, interrupted)| interrupted)
    }

    /// Adds a query; it is in the list until the registration is dropped.
    #[must_use]
    pub fn register(&self, text: &str, tenant: &TenantId, budget: Arc<Budget>) -> Registration {
        let id = self.shared.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let entry = Arc::new(Entry {
            text: text.to_owned(),
            tenant: tenant.clone(),
            started: jiff::Timestamp::now(),
            clock: Instant::now(),
            evaluating: AtomicBool::new(false),
            budget,
            stop: CancellationToken::new(),
        });
        lock(&self.shared).insert(id, Arc::clone(&entry));
        Registration { shared: Arc::clone(&self.shared), id, entry, written: None }
    }

    /// The queries in order of arrival.
    #[must_use]
    pub fn list(&self) -> Vec<ActiveQueryView> {
        let entries: Vec<_> = lock(&self.shared).iter().map(|(id, entry)| (*id, Arc::clone(entry))).collect();
        entries.into_iter().map(|(id, entry)| entry.view(id)).collect()
    }

    /// Stops a query; returns whether there was one of that number.
    pub fn cancel(&self, id: u64) -> bool {
        let entry = lock(&self.shared).get(&id).cloned();
        entry.inspect(|entry| entry.cancel()).is_some()
    }

    /// Stops all queries: the process ends.
    pub fn cancel_all(&self) {
        for entry in lock(&self.shared).values() {
            entry.cancel();
        }
    }

    /// How many queries are waiting or being evaluated.
    #[must_use]
    pub fn len(&self) -> usize {
        lock(&self.shared).len()
    }

    /// Whether there is no query.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, BTreeMap<u64, Arc<Entry>>> {
    shared.by_id.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Entry {
    fn cancel(&self) {
        self.budget.cancel();
        self.stop.cancel();
    }

    fn view(&self, id: u64) -> ActiveQueryView {
        ActiveQueryView {
            id,
            query: self.text.clone(),
            tenant: self.tenant.to_string(),
            state: if self.evaluating.load(Ordering::Relaxed) { "evaluating" } else { "queued" },
            start: self.started.to_string(),
            elapsed_seconds: self.clock.elapsed().as_secs_f64(),
            series: self.budget.series(),
            peak_samples: self.budget.samples_peak(),
            peak_bytes: self.budget.bytes_peak(),
        }
    }
}

/// A place in the list, held by whoever works on the query.
#[derive(Debug)]
pub struct Registration {
    shared: Arc<Shared>,
    id: u64,
    entry: Arc<Entry>,
    written: Option<JournalEntry>,
}

impl Registration {
    /// Cancelled when somebody stops the query; its budget is cancelled then too.
    #[must_use]
    pub fn stop(&self) -> &CancellationToken {
        &self.entry.stop
    }

    /// Writes the query to the journal, if there is one, until it ends.
    pub fn write_down(&mut self) {
        let Entry { text, tenant, started, .. } = &*self.entry;
        let journal = self.shared.journal.get();
        self.written = journal.and_then(|(journal, _)| journal.enter(text, tenant, started.as_millisecond()));
    }

    /// The query left the queue.
    pub fn begin_evaluation(&self) {
        self.entry.evaluating.store(true, Ordering::Relaxed);
    }

    /// Time since the query arrived.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.entry.clock.elapsed()
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        lock(&self.shared).remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use promql::budget::BudgetLimits;
    use promql::engine::QueryError;

    #[test]
    fn a_query_is_listed_until_its_registration_is_dropped() {
        let active = ActiveQueries::default();
        let budget = Arc::new(Budget::new(BudgetLimits::default()));
        let first = active.register("up", &TenantId::anonymous(), Arc::clone(&budget));
        let second = active.register("down", &TenantId::anonymous(), budget);
        second.begin_evaluation();
        let seen: Vec<_> = active.list().into_iter().map(|view| (view.id, view.query, view.state)).collect();
        assert_eq!(seen, [(1, "up".to_owned(), "queued"), (2, "down".to_owned(), "evaluating")]);
        drop((first, second));
        assert!(active.is_empty());
    }

    #[test]
    fn what_was_written_down_is_found_by_the_next_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("queries.active");
        let active = ActiveQueries::default();
        let (journal, interrupted) = Journal::open(&path).unwrap();
        active.keep_journal(journal, interrupted);
        let mut held = ["light", "heavy", "ended"]
            .map(|text| active.register(text, &TenantId::anonymous(), Arc::new(Budget::new(BudgetLimits::default()))));
        held[1].write_down();
        held[2].write_down();
        let [light, heavy, ended] = held;
        drop(ended);
        // As a killed process does it: the entries are never dropped.
        std::mem::forget((light, heavy));
        let found: Vec<_> = Journal::open(&path).unwrap().1.into_iter().map(|query| query.text).collect();
        assert_eq!(found, ["heavy"]);
    }

    #[test]
    fn cancelling_reaches_the_budget_and_the_waiter_of_that_query_alone() {
        let active = ActiveQueries::default();
        let budgets = [0, 1].map(|_| Arc::new(Budget::new(BudgetLimits::default())));
        let held = budgets.each_ref().map(|budget| active.register("up", &TenantId::anonymous(), Arc::clone(budget)));
        assert!(active.cancel(2));
        assert!(!active.cancel(3));
        assert_eq!(budgets[0].check(), Ok(()));
        assert_eq!(budgets[1].check(), Err(QueryError::Canceled));
        assert_eq!(held.each_ref().map(|registration| registration.stop().is_cancelled()), [false, true]);
    }
}
