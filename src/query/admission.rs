//! How many queries are evaluated at once. Others wait, in order of arrival, until their deadline.
//!
//! Rules have places of their own: dashboards must not keep alerts from firing. So have queries that look at next to nothing:
//! who asks for one number does not wait for those who ask for millions.

use super::error::QueryFailure;
use super::metrics::QueryMetrics;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryClass {
    /// A person, a dashboard, a script.
    Interactive,
    /// The same, for so little that it is answered at once.
    Light,
    /// The evaluation of a rule.
    Rule,
}

/// Bounds of the classes.
#[derive(Debug, Clone, Copy)]
pub struct AdmissionOptions {
    /// How many interactive queries are evaluated at once; as many light ones besides.
    pub interactive_max: usize,
    /// How many rules are evaluated at once.
    pub rules_max: usize,
    /// How many queries of a class may wait; more are refused.
    pub waiting_max: usize,
}

/// The gate in front of the evaluator.
#[derive(Debug)]
pub struct Admission {
    interactive: Gate,
    light: Gate,
    rules: Gate,
    waiting_max: usize,
}

#[derive(Debug)]
struct Gate {
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// A place; free again when dropped.
#[derive(Debug)]
pub struct Place {
    _permit: OwnedSemaphorePermit,
}

impl Admission {
    /// A gate with all places free.
    #[must_use]
    pub fn new(options: AdmissionOptions) -> Self {
        let gate = |places: usize| Gate {
            places: Arc::new(Semaphore::new(places.clamp(1, Semaphore::MAX_PERMITS))),
            waiting: AtomicUsize::new(0),
        };
        Self {
            interactive: gate(options.interactive_max),
            light: gate(options.interactive_max),
            rules: gate(options.rules_max),
            waiting_max: options.waiting_max,
        }
    }

    /// Waits for a place.
    ///
    /// # Errors
    /// Too many wait already, the deadline passed, or `stop` was cancelled.
    pub async fn enter(
        &self,
        class: QueryClass,
        deadline: Instant,
        stop: &CancellationToken,
        metrics: &QueryMetrics,
    ) -> Result<Place, QueryFailure> {
        let gate = match class {
            QueryClass::Interactive => &self.interactive,
            QueryClass::Light => &self.light,
            QueryClass::Rule => &self.rules,
        };
        if deadline <= Instant::now() {
            return Err(QueryFailure::TimedOutInQueue);
        }
        if let Ok(permit) = Arc::clone(&gate.places).try_acquire_owned() {
            return Ok(Place { _permit: permit });
        }
        let waiting = gate.waiting.fetch_add(1, Ordering::Relaxed);
        let _leave = Leave { gate, metrics };
        metrics.waiting.inc();
        if waiting >= self.waiting_max {
            return Err(QueryFailure::QueueFull { waiting });
        }
        tokio::select! {
            permit = Arc::clone(&gate.places).acquire_owned() => match permit {
                Ok(permit) => Ok(Place { _permit: permit }),
                Err(_closed) => Err(QueryFailure::CanceledInQueue),
            },
            () = stop.cancelled() => Err(QueryFailure::CanceledInQueue),
            () = tokio::time::sleep_until(deadline) => Err(QueryFailure::TimedOutInQueue),
        }
    }
}

/// Counts a waiter out, however it ends.
struct Leave<'a> {
    gate: &'a Gate,
    metrics: &'a QueryMetrics,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.gate.waiting.fetch_sub(1, Ordering::Relaxed);
        self.metrics.waiting.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn gate(places: usize, waiting_max: usize) -> Admission {
        Admission::new(AdmissionOptions { interactive_max: places, rules_max: places, waiting_max })
    }

    async fn enter(admission: &Admission, class: QueryClass, stop: &CancellationToken) -> Result<Place, QueryFailure> {
        let deadline = Instant::now() + Duration::from_millis(50);
        admission.enter(class, deadline, stop, &QueryMetrics::default()).await
    }

    #[tokio::test]
    async fn one_waits_until_a_place_is_free_or_its_time_is_over() {
        let admission = gate(1, 8);
        let stop = CancellationToken::new();
        let held = enter(&admission, QueryClass::Interactive, &stop).await.unwrap();
        let late = enter(&admission, QueryClass::Interactive, &stop).await.unwrap_err();
        assert_eq!(late, QueryFailure::TimedOutInQueue);
        let (next, ()) = tokio::join!(enter(&admission, QueryClass::Interactive, &stop), async { drop(held) });
        assert!(next.is_ok());
    }

    #[tokio::test]
    async fn rules_and_light_queries_do_not_wait_for_dashboards() {
        let admission = gate(1, 8);
        let stop = CancellationToken::new();
        let _dashboard = enter(&admission, QueryClass::Interactive, &stop).await.unwrap();
        assert!(enter(&admission, QueryClass::Rule, &stop).await.is_ok());
        assert!(enter(&admission, QueryClass::Light, &stop).await.is_ok());
    }

    #[tokio::test]
    async fn the_queue_is_bounded_and_a_waiter_can_be_stopped() {
        let admission = gate(1, 1);
        let stop = CancellationToken::new();
        let _held = enter(&admission, QueryClass::Interactive, &stop).await.unwrap();
        let (first, second, ()) = tokio::join!(
            enter(&admission, QueryClass::Interactive, &stop),
            enter(&admission, QueryClass::Interactive, &stop),
            async { stop.cancel() }
        );
        assert_eq!(first.unwrap_err(), QueryFailure::CanceledInQueue);
        assert_eq!(second.unwrap_err(), QueryFailure::QueueFull { waiting: 1 });
        let again = CancellationToken::new();
        assert_eq!(
            enter(&admission, QueryClass::Interactive, &again).await.unwrap_err(),
            QueryFailure::TimedOutInQueue
        );
    }
}
