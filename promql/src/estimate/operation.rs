//! What operators cost: the bytes of the worst moment, and those that are left when their value is there.
//!
//! Vectors are evaluated series by series, so most operators hold nothing of their own. Follows `eval/binary`.

use super::united::United;
use super::{Cost, Guess, LABEL_BYTES, groups};
use crate::ast::{AggregateOp, BinaryOp, Cardinality};
use crate::eval::aggregate::{SEGMENT_LEAST, SEGMENTS_MAX, TASKS_PER_THREAD};
use crate::evaluator::LAYERS_MAX;
use crate::plan::{Kind, Node};

/// Bytes of a match group, of its place in a table and of the numbers of its series, labels excluded.
const GROUP_BYTES: u64 = 72;
/// Bytes of the number of a series, or of a pair of them.
const PAIR_BYTES: u64 = 8;

/// Bytes held: while a value is found, and after.
#[derive(Clone, Copy)]
struct Bytes {
    peak: u64,
    held: u64,
}

/// Anything but a selector.
pub(super) fn guess(node: &Node, inside: Vec<Guess>, own: Own) -> Guess {
    let bytes = one_after_the_other(&inside);
    let at = |n: usize| inside.get(n).map_or((0, 0), |guess| (guess.cost.series, guess.held));
    let ((left, left_held), (right, right_held)) = (at(0), at(1));
    let largest = inside.iter().enumerate().max_by_key(|(_, guess)| guess.cost.series).map_or(0, |(n, _)| n);
    let largest_series = at(largest).0;
    let origin = |n: usize| inside.get(n).and_then(|guess| guess.origin.clone());
    let (series, origin, bytes) = match &node.kind {
        Kind::Number(_) | Kind::Text(_) | Kind::Scalars { .. } | Kind::Select(_) => (0, None, bytes),
        Kind::Join { matching, .. } => {
            let (series, shared) = match matching.cardinality {
                Cardinality::ManyToOne => (left, right),
                Cardinality::OneToMany => (right, left),
                _ => (left.min(right), 0),
            };
            (series, origin(0), bytes.with_join(left.max(right), series, own.table(shared)))
        }
        Kind::Set { op: BinaryOp::Or, .. } => {
            // The left side becomes a table; then it and what it was made from are given up.
            let kept = own.table(left).saturating_add(own.presence(left));
            let kept = kept.saturating_add(right.saturating_mul(PAIR_BYTES));
            let peak = bytes.peak.max(bytes.held.saturating_add(kept));
            (left.saturating_add(right), origin(0), Bytes { peak, held: kept.saturating_add(right_held) })
        }
        Kind::Set { .. } => {
            let kept = own.presence(right).saturating_add(left.saturating_mul(PAIR_BYTES));
            let peak = bytes.peak.max(bytes.held.saturating_add(kept));
            let held = left_held.saturating_add(kept).saturating_add(labels_of_layers(left));
            (left, origin(0), Bytes { peak, held })
        }
        Kind::Aggregate(aggregate) => {
            let origin = origin(largest);
            let series = groups(aggregate, largest_series, origin.as_deref());
            let table = own.table(series);
            let worst = table.saturating_add(own.cells(aggregate.op, largest_series, series));
            let peak = bytes.peak.max(bytes.held.saturating_add(worst));
            (series, origin, Bytes { peak, held: table })
        }
        Kind::Call(call) => match call.name {
            "absent" | "vector" => (1, None, bytes),
            "scalar" | "time" | "pi" => (0, None, bytes),
            _ => (largest_series, origin(largest), bytes),
        },
        Kind::RangeCall(call) if call.name == "absent_over_time" => (1, None, bytes),
        Kind::Range(_)
        | Kind::Invariant(_)
        | Kind::Negate(_)
        | Kind::VectorScalar { .. }
        | Kind::RangeCall(_)
        | Kind::Info(_) => (largest_series, origin(largest), bytes),
    };
    let read = inside.first().map(|guess| guess.cost.samples);
    let united = united(node, inside);
    let series = if united.is_unknown() { series } else { series.min(united.series()) };
    let samples = match (&node.kind, read) {
        (Kind::Range(_), Some(read)) => read,
        _ => series.saturating_mul(own.steps),
    };
    let cost = Cost { series, samples, bytes: bytes.peak };
    Guess { cost, held: bytes.held, origin, united }
}

/// Of operands: each is evaluated while those before it are held.
fn one_after_the_other(inside: &[Guess]) -> Bytes {
    inside.iter().fold(Bytes { peak: 0, held: 0 }, |Bytes { peak, held }, guess| Bytes {
        peak: peak.max(held.saturating_add(guess.cost.bytes)),
        held: held.saturating_add(guess.held),
    })
}

impl Bytes {
    /// Matches the series of both sides, of which the larger has `matched`, to `pairs`; `shared` bytes hold values that
    /// many pairs need.
    fn with_join(self, matched: u64, pairs: u64, shared: u64) -> Self {
        let kept = pairs.saturating_mul(PAIR_BYTES).saturating_add(shared);
        let held = self.held.saturating_add(kept);
        let groups = matched.saturating_mul(LABEL_BYTES + GROUP_BYTES);
        Self { peak: self.peak.max(held.saturating_add(groups)), held: held.saturating_add(labels_of_layers(pairs)) }
    }
}

/// Labels that are kept of some of many operators upon each other, for each of them.
fn labels_of_layers(series: u64) -> u64 {
    series.saturating_mul(LABEL_BYTES / LAYERS_MAX as u64)
}

/// What holds series itself.
#[derive(Clone, Copy)]
pub(super) struct Own {
    pub(super) steps: u64,
    /// How many evaluate.
    pub(super) threads: u64,
}

impl Own {
    /// A table has a value and a bit for each step, and labels.
    fn table(self, series: u64) -> u64 {
        let samples = series.saturating_mul(self.steps);
        samples.saturating_mul(8).saturating_add(samples / 8).saturating_add(series.saturating_mul(LABEL_BYTES))
    }

    /// What folding into `groups` groups holds beside a row for each: cells for each step of the groups that are not done. Groups
    /// that are cut into segments are not before the end, others with the task that they are part of.
    fn cells(self, op: AggregateOp, series: u64, groups: u64) -> u64 {
        let each: u64 = match op {
            AggregateOp::Avg => 32,
            AggregateOp::Stddev | AggregateOp::Stdvar => 24,
            AggregateOp::Sum => 16,
            AggregateOp::Count | AggregateOp::Group | AggregateOp::Max | AggregateOp::Min => 8,
            _ => return 0,
        };
        const ROW: u64 = 8;
        let size = series.div_ceil(groups.max(1));
        let (cells, bytes) = if size > SEGMENT_LEAST as u64 {
            let segments = (size / SEGMENT_LEAST as u64 + 1).min(SEGMENTS_MAX as u64);
            (groups.saturating_mul(segments), each)
        } else {
            let of_task = (SEGMENT_LEAST as u64).max(series / (self.threads * TASKS_PER_THREAD as u64));
            (of_task.saturating_mul(self.threads).min(series) / size.max(1), each - ROW)
        };
        cells.saturating_mul(self.steps).saturating_mul(bytes)
    }

    /// At which steps each group is present: a bit for each, and labels.
    fn presence(self, series: u64) -> u64 {
        let bits = series.saturating_mul(self.steps) / 8;
        bits.saturating_add(series.saturating_mul(LABEL_BYTES + 2 * PAIR_BYTES))
    }
}

/// Where the series come from, if they are all of operands.
fn united(node: &Node, inside: Vec<Guess>) -> United {
    let mut operands = inside.into_iter().map(|guess| guess.united);
    let (left, right) = (operands.next().unwrap_or_default(), operands.next().unwrap_or_default());
    match &node.kind {
        Kind::Set { op: BinaryOp::Or, .. } => left.or(right),
        Kind::Set { .. } => left,
        _ => United::default(),
    }
}
