//! The store as one query reads it: its budget pays for the memory, and what it will select is fetched beforehand.

use super::{EngineStore, selected};
use model::bucket::BucketUse;
use model::matcher::Matcher;
use promql::budget::Budget;
use promql::engine::QueryError;
use promql::source::{Fetching, Foreseen, SelectRequest, SeriesSet, SeriesSource, SourceError};
use std::sync::Arc;
use storage::account::{Account, MemoryAccount, Refused};
use storage::select::TimeRange;
use storage::store::{self, StoreSession, StoreView};

/// What one query reads from.
pub(super) struct QuerySession {
    session: StoreSession,
    store: EngineStore,
}

impl QuerySession {
    pub(super) fn new(store: &EngineStore, budget: &Arc<Budget>) -> Self {
        Self { session: store.store.session(account(budget)), store: store.clone() }
    }

    /// Nobody pays.
    pub(super) fn unpaid(store: &EngineStore) -> Self {
        Self { session: store.store.session(Account::default()), store: store.clone() }
    }
}

impl SeriesSource for QuerySession {
    fn view(&self) -> Option<Box<dyn SeriesSource>> {
        let (session, store) = (self.session.clone(), self.store.clone());
        Some(Box::new(Viewed { view: self.session.view(), session, store }))
    }

    fn may_wait(&self, after_ms: i64) -> bool {
        self.store.may_wait(after_ms)
    }

    fn prepare(&self, selections: &[Foreseen]) -> Option<Fetching> {
        prepare(&self.session, selections)
    }

    fn series_bound(&self, matchers: &[Matcher], after_ms: i64, until_ms: i64) -> usize {
        series_bound(&self.session, &self.store, matchers, TimeRange { after_ms, until_ms })
    }

    fn select(&self, request: &SelectRequest<'_>) -> Result<Box<dyn SeriesSet>, SourceError> {
        select(&self.session.view(), request)
    }

    fn select_with_buckets(
        &self,
        request: &SelectRequest<'_>,
        buckets: &BucketUse,
    ) -> Result<Box<dyn SeriesSet>, SourceError> {
        select_with_buckets(&self.session.view(), request, buckets)
    }
}

/// The series as they were at one moment.
struct Viewed {
    view: StoreView,
    session: StoreSession,
    store: EngineStore,
}

impl SeriesSource for Viewed {
    fn may_wait(&self, after_ms: i64) -> bool {
        self.store.may_wait(after_ms)
    }

    fn prepare(&self, selections: &[Foreseen]) -> Option<Fetching> {
        prepare(&self.session, selections)
    }

    fn series_bound(&self, matchers: &[Matcher], after_ms: i64, until_ms: i64) -> usize {
        series_bound(&self.session, &self.store, matchers, TimeRange { after_ms, until_ms })
    }

    fn select(&self, request: &SelectRequest<'_>) -> Result<Box<dyn SeriesSet>, SourceError> {
        select(&self.view, request)
    }

    fn select_with_buckets(
        &self,
        request: &SelectRequest<'_>,
        buckets: &BucketUse,
    ) -> Result<Box<dyn SeriesSet>, SourceError> {
        select_with_buckets(&self.view, request, buckets)
    }
}

fn select(view: &StoreView, request: &SelectRequest<'_>) -> Result<Box<dyn SeriesSet>, SourceError> {
    let SelectRequest { matchers, after_ms, until_ms, series_max } = *request;
    selected(view.select(matchers, after_ms, until_ms, series_max))
}

fn select_with_buckets(
    view: &StoreView,
    request: &SelectRequest<'_>,
    buckets: &BucketUse,
) -> Result<Box<dyn SeriesSet>, SourceError> {
    let SelectRequest { matchers, after_ms, until_ms, series_max } = *request;
    selected(view.select_with_buckets(matchers, TimeRange { after_ms, until_ms }, series_max, buckets))
}

/// What was got ready of blocks is known exactly.
fn series_bound(session: &StoreSession, store: &EngineStore, matchers: &[Matcher], range: TimeRange) -> usize {
    match session.prepared_series(matchers).filter(|_| store.may_wait(range.after_ms)) {
        Some(in_blocks) => store.store.engine().head().series_bound(matchers, range).saturating_add(in_blocks),
        None => store.series_bound(matchers, range.after_ms, range.until_ms),
    }
}

fn prepare(session: &StoreSession, selections: &[Foreseen]) -> Option<Fetching> {
    let foreseen = |selection: &Foreseen| store::Foreseen {
        matchers: selection.matchers.clone(),
        range: TimeRange { after_ms: selection.after_ms, until_ms: selection.until_ms },
        series_max: selection.series_max,
        buckets: selection.buckets,
    };
    let rest = session.prepare(&selections.iter().map(foreseen).collect::<Vec<_>>())?;
    Some(Box::new(move || rest.wait()))
}

#[derive(Debug)]
struct QueryAccount(Arc<Budget>);

impl MemoryAccount for QueryAccount {
    fn hold(&self, bytes: usize) -> Result<(), Refused> {
        self.0.hold(0, bytes).map_err(|error| {
            self.0.release(0, bytes);
            Refused(Arc::new(error))
        })
    }

    fn release(&self, bytes: usize) {
        self.0.release(0, bytes);
    }
}

/// The budget of a query, as storage charges it.
pub(super) fn account(budget: &Arc<Budget>) -> Account {
    Account::of(Arc::new(QueryAccount(Arc::clone(budget))))
}

/// What the budget said.
pub(super) fn refusal(refused: &Refused) -> SourceError {
    match refused.0.downcast_ref::<QueryError>() {
        Some(QueryError::TooManyBytes { bytes_max }) => SourceError::TooManyBytes { bytes_max: *bytes_max },
        Some(QueryError::NoMemory { held, bytes_max }) => SourceError::NoMemory { held: *held, bytes_max: *bytes_max },
        _ => SourceError::Failed(refused.to_string()),
    }
}

#[cfg(test)]
mod tests;
