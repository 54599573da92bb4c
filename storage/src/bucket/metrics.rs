//! How requests to a store are counted.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What is asked of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// A whole object is read.
    Get,
    /// A range of an object is read.
    GetRange,
    /// The size of an object is asked for.
    Head,
    /// An object is created or overwritten.
    Put,
    /// An object is created.
    PutIfAbsent,
    /// A large object is begun, one part of it is written, or it is finished.
    Upload,
    /// Objects are listed.
    List,
    /// An object is removed.
    Delete,
}

impl Operation {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 8] =
        [Self::Get, Self::GetRange, Self::Head, Self::Put, Self::PutIfAbsent, Self::Upload, Self::List, Self::Delete];

    /// As the value of a label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::GetRange => "get_range",
            Self::Head => "head",
            Self::Put => "put",
            Self::PutIfAbsent => "put_if_absent",
            Self::Upload => "upload",
            Self::List => "list",
            Self::Delete => "delete",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Inclusive upper bounds of the buckets of request durations, in seconds; a last bucket has no bound.
pub const SECONDS_BOUNDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

const BUCKETS: usize = SECONDS_BOUNDS.len() + 1;

/// What was asked of a store since it was opened.
#[derive(Debug, Clone, PartialEq)]
pub struct BucketSnapshot {
    /// One entry for each of [`Operation::ALL`].
    pub operations: Vec<OperationSnapshot>,
}

/// Requests of one kind. Only ever grows.
#[derive(Debug, Clone, PartialEq)]
pub struct OperationSnapshot {
    /// Which kind.
    pub operation: Operation,
    /// Requests, repeated ones included.
    pub requests: u64,
    /// Requests that failed; asking for an object that does not exist is none.
    pub request_failures: u64,
    /// Operations that failed although they were repeated.
    pub failures: u64,
    /// Bytes of content that were read or written by successful requests.
    pub bytes: u64,
    /// Time spent, in seconds.
    pub seconds_sum: f64,
    /// Requests by duration, one count for each of [`SECONDS_BOUNDS`] and one for longer ones; not cumulative.
    pub seconds_buckets: [u64; BUCKETS],
}

#[derive(Default)]
pub(super) struct Metrics {
    operations: [Counters; Operation::ALL.len()],
}

#[derive(Default)]
struct Counters {
    requests: AtomicU64,
    request_failures: AtomicU64,
    failures: AtomicU64,
    bytes: AtomicU64,
    microseconds: AtomicU64,
    buckets: [AtomicU64; BUCKETS],
}

impl Metrics {
    pub(super) fn request(&self, operation: Operation, taken: Duration, bytes: u64, succeeded: bool) {
        let Some(counters) = self.operations.get(operation as usize) else { return };
        add(&counters.requests, 1);
        add(&counters.request_failures, u64::from(!succeeded));
        add(&counters.bytes, bytes);
        add(&counters.microseconds, u64::try_from(taken.as_micros()).unwrap_or(u64::MAX));
        let bucket = SECONDS_BOUNDS.partition_point(|bound| *bound < taken.as_secs_f64());
        if let Some(bucket) = counters.buckets.get(bucket) {
            add(bucket, 1);
        }
    }

    pub(super) fn failure(&self, operation: Operation) {
        if let Some(counters) = self.operations.get(operation as usize) {
            add(&counters.failures, 1);
        }
    }

    pub(super) fn snapshot(&self) -> BucketSnapshot {
        let operations = Operation::ALL.iter().zip(&self.operations).map(|(operation, counters)| OperationSnapshot {
            operation: *operation,
            requests: load(&counters.requests),
            request_failures: load(&counters.request_failures),
            failures: load(&counters.failures),
            bytes: load(&counters.bytes),
            seconds_sum: load(&counters.microseconds) as f64 / 1e6,
            seconds_buckets: std::array::from_fn(|i| counters.buckets.get(i).map_or(0, load)),
        });
        BucketSnapshot { operations: operations.collect() }
    }
}

fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
