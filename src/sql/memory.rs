//! DataFusion's memory, charged to the budget of the query. Nothing is spilled to disk: what does not fit fails.

use super::failure::external_query;
use datafusion::error::Result;
use datafusion::execution::memory_pool::{MemoryLimit, MemoryPool, MemoryReservation};
use promql::budget::Budget;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The pool of one query.
#[derive(Debug)]
pub(super) struct BudgetPool {
    budget: Arc<Budget>,
    reserved: AtomicUsize,
}

impl BudgetPool {
    pub(super) fn new(budget: Arc<Budget>) -> Self {
        Self { budget, reserved: AtomicUsize::new(0) }
    }
}

impl MemoryPool for BudgetPool {
    fn name(&self) -> &str {
        "query budget"
    }

    fn grow(&self, _reservation: &MemoryReservation, additional: usize) {
        self.reserved.fetch_add(additional, Ordering::Relaxed);
        // For what has been allocated already; the next attempt to grow is told that it is too much.
        let _ = self.budget.hold(0, additional);
    }

    fn shrink(&self, _reservation: &MemoryReservation, shrink: usize) {
        self.reserved.fetch_sub(shrink, Ordering::Relaxed);
        self.budget.release(0, shrink);
    }

    fn try_grow(&self, _reservation: &MemoryReservation, additional: usize) -> Result<()> {
        self.budget.check().map_err(external_query)?;
        self.budget.hold(0, additional).map_err(|error| {
            self.budget.release(0, additional);
            external_query(error)
        })?;
        self.reserved.fetch_add(additional, Ordering::Relaxed);
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.reserved.load(Ordering::Relaxed)
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.budget.limits().bytes_max)
    }
}

impl fmt::Display for BudgetPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("query budget")
    }
}

/// Bytes that are held until this is dropped.
#[derive(Debug)]
pub(super) struct HeldBytes {
    budget: Arc<Budget>,
    bytes: usize,
}

impl HeldBytes {
    /// Charges `bytes`.
    pub(super) fn hold(budget: &Arc<Budget>, bytes: usize) -> Result<Self, promql::engine::QueryError> {
        // Made first, so that a refused charge is given back too.
        let held = Self { budget: Arc::clone(budget), bytes };
        budget.hold(0, bytes)?;
        Ok(held)
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        self.budget.release(0, self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::execution::memory_pool::MemoryConsumer;
    use promql::budget::BudgetLimits;

    #[test]
    fn what_operators_reserve_is_charged_and_given_back() {
        let budget = Arc::new(Budget::new(BudgetLimits { bytes_max: 1000, ..BudgetLimits::default() }));
        let pool: Arc<dyn MemoryPool> = Arc::new(BudgetPool::new(Arc::clone(&budget)));
        let reservation = MemoryConsumer::new("test").register(&pool);
        reservation.try_grow(600).unwrap();
        assert!(reservation.try_grow(600).is_err());
        assert!(HeldBytes::hold(&budget, 500).is_err());
        drop(HeldBytes::hold(&budget, 300).unwrap());
        reservation.try_grow(400).unwrap();
        drop(reservation);
        assert_eq!(pool.reserved(), 0);
        assert!(budget.hold(0, 1000).is_ok());
    }
}
