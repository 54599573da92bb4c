//! What one query may use, and whether it should stop.
//!
//! The engine knows no clock: whoever runs a query watches the deadline and the client, and calls [`Budget::expire`] or
//! [`Budget::cancel`] from any thread. The evaluator looks at the signal once per series, so a stopped query ends within
//! the time that one series takes. Invariant: what was charged is released when its holder is dropped; peaks only grow.

use crate::query_error::QueryError;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

/// Upper bounds of one query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BudgetLimits {
    /// Samples held in memory at once: results, intermediate results and the samples of the series being read.
    pub samples_max: usize,
    /// Bytes held at once by results and intermediate results, labels included.
    pub bytes_max: usize,
    /// Series that all selectors of the query may touch together.
    pub series_max: usize,
}

impl Default for BudgetLimits {
    /// Prometheus' 50 million samples; no bound on bytes and series.
    fn default() -> Self {
        Self { samples_max: 50_000_000, bytes_max: usize::MAX, series_max: usize::MAX }
    }
}

/// Bytes that many queries hold together, in addition to the bound of each.
#[derive(Debug)]
pub struct SharedBytes {
    held: AtomicUsize,
    bytes_max: usize,
}

impl SharedBytes {
    /// Nothing is held yet.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self { held: AtomicUsize::new(0), bytes_max }
    }

    /// How many bytes are held now.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// The bound.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    fn add(&self, bytes: usize) -> usize {
        self.held.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes)
    }

    fn release(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }
}

const RUNNING: u8 = 0;
const CANCELED: u8 = 1;
const EXPIRED: u8 = 2;

/// The account of one query, shared between the query and whoever may stop it.
#[derive(Debug, Default)]
pub struct Budget {
    limits: BudgetLimits,
    /// Shared with the budgets of what is done for the same query besides.
    signal: Arc<AtomicU8>,
    samples: AtomicUsize,
    samples_peak: AtomicUsize,
    bytes: AtomicUsize,
    bytes_peak: AtomicUsize,
    series: AtomicUsize,
    /// What other queries draw on, too.
    shared: Option<Arc<SharedBytes>>,
}

impl Budget {
    /// An account on which nothing is charged yet.
    #[must_use]
    pub fn new(limits: BudgetLimits) -> Self {
        Self::draw_on(limits, None)
    }

    /// As [`Budget::new`]; bytes are also drawn from what is bounded for many queries together.
    #[must_use]
    pub fn sharing(limits: BudgetLimits, shared: Arc<SharedBytes>) -> Self {
        Self::draw_on(limits, Some(shared))
    }

    fn draw_on(limits: BudgetLimits, shared: Option<Arc<SharedBytes>>) -> Self {
        let zero = AtomicUsize::default;
        Self {
            limits,
            signal: Arc::new(AtomicU8::new(RUNNING)),
            samples: zero(),
            samples_peak: zero(),
            bytes: zero(),
            bytes_peak: zero(),
            series: zero(),
            shared,
        }
    }

    /// An account of its own for work that is done for the same query and stops with it.
    pub(crate) fn besides(&self, limits: BudgetLimits) -> Self {
        let mut own = Self::new(limits);
        own.signal = Arc::clone(&self.signal);
        own
    }

    /// Stops the query: its client went away or an operator said so.
    pub fn cancel(&self) {
        self.stop(CANCELED);
    }

    /// Stops the query: its time is over.
    pub fn expire(&self) {
        self.stop(EXPIRED);
    }

    /// The first reason to stop counts.
    fn stop(&self, reason: u8) {
        let _ = self.signal.compare_exchange(RUNNING, reason, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Whether the query may go on.
    ///
    /// # Errors
    /// It was cancelled or its time is over.
    pub fn check(&self) -> Result<(), QueryError> {
        match self.signal.load(Ordering::Relaxed) {
            RUNNING => Ok(()),
            CANCELED => Err(QueryError::Canceled),
            _ => Err(QueryError::TimedOut),
        }
    }

    /// The bounds.
    #[must_use]
    pub fn limits(&self) -> BudgetLimits {
        self.limits
    }

    /// The most samples held at once so far.
    #[must_use]
    pub fn samples_peak(&self) -> usize {
        self.samples_peak.load(Ordering::Relaxed)
    }

    /// The bytes held now.
    #[must_use]
    pub fn bytes_held(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The most bytes held at once so far.
    #[must_use]
    pub fn bytes_peak(&self) -> usize {
        self.bytes_peak.load(Ordering::Relaxed)
    }

    /// Series touched so far.
    #[must_use]
    pub fn series(&self) -> usize {
        self.series.load(Ordering::Relaxed)
    }

    /// Series that may still be selected.
    #[must_use]
    pub fn series_left(&self) -> usize {
        self.limits.series_max.saturating_sub(self.series())
    }

    /// Counts selected series.
    ///
    /// # Errors
    /// More than the query may touch.
    pub fn touch_series(&self, count: usize) -> Result<(), QueryError> {
        let total = self.series.fetch_add(count, Ordering::Relaxed).saturating_add(count);
        if total > self.limits.series_max {
            return Err(QueryError::TooManySeries { series_max: self.limits.series_max });
        }
        Ok(())
    }

    /// Charges what is held until the query ends, or until it is given back by [`Budget::release`]; a refused charge counts
    /// as held too.
    ///
    /// # Errors
    /// More than the query may hold.
    pub fn hold(&self, samples: usize, bytes: usize) -> Result<(), QueryError> {
        let samples = self.charge_samples(samples);
        let bytes = self.charge_bytes(bytes);
        samples.and(bytes)
    }

    /// Gives back what [`Budget::hold`] charged.
    pub fn release(&self, samples: usize, bytes: usize) {
        self.samples.fetch_sub(samples, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(shared) = &self.shared {
            shared.release(bytes);
        }
    }

    fn charge_samples(&self, count: usize) -> Result<(), QueryError> {
        let held = self.samples.fetch_add(count, Ordering::Relaxed).saturating_add(count);
        self.samples_peak.fetch_max(held, Ordering::Relaxed);
        let samples_max = self.limits.samples_max;
        if held > samples_max { Err(QueryError::TooManySamples { samples_max }) } else { Ok(()) }
    }

    fn charge_bytes(&self, count: usize) -> Result<(), QueryError> {
        let held = self.bytes.fetch_add(count, Ordering::Relaxed).saturating_add(count);
        self.bytes_peak.fetch_max(held, Ordering::Relaxed);
        // Charged even when it is refused: whoever is refused releases it.
        let held_by_all = self.shared.as_ref().map(|shared| (shared.add(count), shared.bytes_max));
        if held > self.limits.bytes_max {
            return Err(QueryError::TooManyBytes { bytes_max: self.limits.bytes_max });
        }
        match held_by_all {
            Some((held, bytes_max)) if held > bytes_max => Err(QueryError::NoMemory { held, bytes_max }),
            _ => Ok(()),
        }
    }
}

impl Drop for Budget {
    /// What was held until the end of the query is free again.
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            shared.release(*self.bytes.get_mut());
        }
    }
}

/// Bytes that are charged at once by those who take little at a time: threads that charge one budget often wait for each
/// other.
pub(crate) const BYTES_AT_ONCE: usize = 1 << 16;

/// Samples and bytes that something holds; released when dropped.
#[derive(Debug)]
pub(crate) struct Charge<'b> {
    budget: &'b Budget,
    samples: usize,
    bytes: usize,
}

impl<'b> Charge<'b> {
    /// Holds nothing yet.
    pub(crate) fn none(budget: &'b Budget) -> Self {
        Self { budget, samples: 0, bytes: 0 }
    }

    /// Adds to what is held.
    pub(crate) fn add(&mut self, samples: usize, bytes: usize) -> Result<(), QueryError> {
        // Counted first, so that a refused charge is released too.
        self.samples += samples;
        self.bytes += bytes;
        let samples = self.budget.charge_samples(samples);
        let bytes = self.budget.charge_bytes(bytes);
        samples.and(bytes)
    }

    /// Takes over what `other` holds.
    pub(crate) fn absorb(&mut self, mut other: Self) {
        self.samples += std::mem::take(&mut other.samples);
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Makes the samples held at least `samples`.
    pub(crate) fn raise_samples_to(&mut self, samples: usize) -> Result<(), QueryError> {
        if samples > self.samples { self.add(samples - self.samples, 0) } else { Ok(()) }
    }

    /// Makes the bytes held about `bytes`, if they are less: what they lack is charged in lots.
    pub(crate) fn raise_bytes_to(&mut self, bytes: usize) -> Result<(), QueryError> {
        let lacking = bytes.saturating_sub(self.bytes);
        if lacking >= BYTES_AT_ONCE { self.add(0, lacking) } else { Ok(()) }
    }

    /// Replaces some of what is held, samples and bytes, by something else.
    pub(crate) fn exchange(&mut self, before: (usize, usize), after: (usize, usize)) -> Result<(), QueryError> {
        if before == after {
            return Ok(());
        }
        self.give_back(before.0, before.1);
        self.add(after.0, after.1)
    }

    /// Gives back some of what is held.
    pub(crate) fn give_back(&mut self, samples: usize, bytes: usize) {
        assert!(samples <= self.samples && bytes <= self.bytes, "no more is given back than is held");
        self.samples -= samples;
        self.bytes -= bytes;
        self.budget.release(samples, bytes);
    }
}

impl Drop for Charge<'_> {
    fn drop(&mut self) {
        self.budget.release(self.samples, self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_reason_to_stop_counts() {
        let budget = Budget::default();
        assert_eq!(budget.check(), Ok(()));
        budget.expire();
        budget.cancel();
        assert_eq!(budget.check(), Err(QueryError::TimedOut));
    }

    #[test]
    fn refused_charge_is_released_and_the_peak_stays() {
        let budget = Budget::new(BudgetLimits { samples_max: 10, ..BudgetLimits::default() });
        let mut charge = Charge::none(&budget);
        assert_eq!(charge.add(10, 80), Ok(()));
        assert_eq!(charge.add(1, 8), Err(QueryError::TooManySamples { samples_max: 10 }));
        drop(charge);
        assert_eq!(Charge::none(&budget).add(10, 0), Ok(()));
        assert_eq!((budget.samples_peak(), budget.bytes_peak()), (11, 88));
    }

    #[test]
    fn queries_that_share_a_bound_give_back_what_they_held() {
        let shared = Arc::new(SharedBytes::new(100));
        let budgets = [0, 1].map(|_| Budget::sharing(BudgetLimits::default(), Arc::clone(&shared)));
        assert_eq!(budgets[0].hold(1, 60), Ok(()));
        let mut charge = Charge::none(&budgets[1]);
        assert_eq!(charge.add(1, 50), Err(QueryError::NoMemory { held: 110, bytes_max: 100 }));
        drop(charge);
        assert_eq!(shared.held(), 60);
        drop(budgets);
        assert_eq!(shared.held(), 0);
    }
}
