//! Whether the object store fails, from the figures of its metrics, look by look. Pure.

use std::time::{Duration, Instant};
use storage::bucket::{BucketSnapshot, Operation};

/// When nothing failed for so long and something else works, what failed is not asked for any more.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(5 * 60);

/// Whether reading fails, and whether writing does: it is repeated in vain, and did not succeed since.
#[derive(Debug)]
pub(super) struct Failing {
    reading: Kind,
    writing: Kind,
}

#[derive(Debug, Default)]
struct Kind {
    seen: Figures,
    failed_at: Option<Instant>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Figures {
    succeeded: u64,
    /// Not the requests: those are repeated for a while before anybody hears of it.
    failures: u64,
}

impl Failing {
    /// What fails from these figures on.
    pub(super) fn since(requests: &BucketSnapshot) -> Self {
        let [reading, writing] = figures(requests).map(|seen| Kind { seen, failed_at: None });
        Self { reading, writing }
    }

    /// Takes in the figures of now. Whether something fails.
    pub(super) fn look(&mut self, requests: &BucketSnapshot, now: Instant) -> bool {
        let [reading, writing] = figures(requests);
        let works = [self.reading.look(reading, now), self.writing.look(writing, now)].contains(&true);
        [&mut self.reading, &mut self.writing].into_iter().any(|kind| {
            kind.failed_at = kind.failed_at.filter(|at| !works || now.duration_since(*at) < FORGOTTEN_AFTER);
            kind.failed_at.is_some()
        })
    }
}

impl Kind {
    /// Whether something succeeded.
    fn look(&mut self, now_seen: Figures, now: Instant) -> bool {
        let failed = now_seen.failures > self.seen.failures;
        let succeeded = now_seen.succeeded > self.seen.succeeded;
        self.seen = now_seen;
        match (failed, succeeded) {
            (true, false) => self.failed_at = Some(now),
            (false, true) => self.failed_at = None,
            // Some of it fails: that is no news.
            (true, true) => self.failed_at = self.failed_at.map(|_| now),
            (false, false) => {}
        }
        succeeded
    }
}

/// Of what reads and of what writes.
fn figures(requests: &BucketSnapshot) -> [Figures; 2] {
    let mut kinds = [Figures::default(); 2];
    let [reading, writing] = &mut kinds;
    for operation in &requests.operations {
        let kind = match operation.operation {
            Operation::Get | Operation::GetRange | Operation::Head | Operation::List => &mut *reading,
            Operation::Put | Operation::PutIfAbsent | Operation::Upload | Operation::Delete => &mut *writing,
        };
        kind.succeeded += operation.requests.saturating_sub(operation.request_failures);
        kind.failures += operation.failures;
    }
    kinds
}

#[cfg(test)]
mod tests {
    use super::*;
    use storage::bucket::{OperationSnapshot, SECONDS_BOUNDS};

    /// What succeeded and what failed.
    type Counts = (u64, u64);

    /// Of reading and of writing, so far.
    fn requests(reading: Counts, writing: Counts) -> BucketSnapshot {
        let operation = |operation, (succeeded, failures): Counts| OperationSnapshot {
            operation,
            requests: succeeded + 3 * failures,
            request_failures: 3 * failures,
            failures,
            bytes: 0,
            seconds_sum: 0.0,
            seconds_buckets: [0; SECONDS_BOUNDS.len() + 1],
        };
        BucketSnapshot { operations: vec![operation(Operation::GetRange, reading), operation(Operation::Put, writing)] }
    }

    /// Looks at one pair of figures a minute after the other.
    fn looks(figures: &[(Counts, Counts)]) -> Vec<bool> {
        let (first, begun) = (figures[0], Instant::now());
        let mut failing = Failing::since(&requests(first.0, first.1));
        let minutes = figures.iter().zip(0..);
        minutes
            .map(|(figures, minute)| {
                failing.look(&requests(figures.0, figures.1), begun + Duration::from_secs(60 * minute))
            })
            .collect()
    }

    #[test]
    fn what_failed_fails_until_it_succeeds() {
        let figures = [((9, 9), (9, 9)), ((9, 9), (9, 10)), ((9, 9), (9, 10)), ((9, 9), (10, 10))];
        assert_eq!(looks(&figures), [false, true, true, false], "what failed before is no news");
        let figures = [((0, 0), (0, 0)), ((0, 1), (5, 0)), ((0, 1), (9, 0)), ((1, 1), (9, 0))];
        assert_eq!(looks(&figures), [false, true, true, false], "that writing works is no sign that reading does");
        let figures = [((0, 0), (0, 0)), ((5, 1), (0, 0)), ((5, 2), (0, 0)), ((6, 3), (0, 0)), ((7, 3), (0, 0))];
        assert_eq!(
            looks(&figures),
            [false, false, true, true, false],
            "some of it failing is no outage, nor the end of one"
        );
    }

    #[test]
    fn what_nobody_asks_for_any_more_is_forgotten_when_something_works() {
        let quiet = |written: u64| ((0, 1), (written, 0));
        let figures = [((0, 0), (0, 0)), quiet(0), quiet(1), quiet(1), quiet(1), quiet(1), quiet(1), quiet(2)];
        assert_eq!(looks(&figures), [false, true, true, true, true, true, true, false]);
    }
}
