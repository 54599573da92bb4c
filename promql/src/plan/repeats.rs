//! Aggregations that stand in a plan more than once: the first is evaluated, the others read its table again.
//!
//! Pure. Two parts are the same when everything but their place in the query is equal: what they do, what is inside them,
//! and the times they are evaluated at. In the order of [`parts`](super::walk::parts) what is inside a part follows it, so
//! the first of equal parts is never inside one that is not evaluated. `limit_ratio` gives no table and is always evaluated.

use super::walk::{Part, Placed};
use super::{Kind, Node, RangeNode, RangeSource, Selector};
use crate::ast::{AggregateOp, Expr, VectorMatching};
use hashbrown::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// The repeated aggregations of one plan.
#[derive(Debug, Default)]
pub(crate) struct Repeats {
    by_ordinal: HashMap<u32, Repeat>,
}

/// One of several equal aggregations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Repeat {
    /// The ordinal of the one that is evaluated.
    pub(crate) first: u32,
    /// How many there are after it.
    pub(crate) others: usize,
}

impl Repeats {
    /// Whether the plan of a query may have any; a look at its text is cheaper than one at its plan.
    pub(crate) fn are_possible(expr: &Expr) -> bool {
        expr.nodes().filter(|node| matches!(node, Expr::Aggregation(_))).nth(1).is_some()
    }

    /// Finds them among all parts of a plan. What is inside a repeated one is not looked at: it is not evaluated.
    pub(crate) fn find(placed: &[Placed<'_>]) -> Self {
        if placed.iter().filter(|placed| gives_table(placed.part)).nth(1).is_none() {
            return Self::default();
        }
        let identities = identities(placed);
        let mut others: HashMap<usize, Vec<u32>> = HashMap::new();
        let mut rest = placed.iter().zip(identities).enumerate().peekable();
        while let Some((at, (part, first))) = rest.next() {
            if first != at && gives_table(part.part) {
                others.entry(first).or_default().push(part.part.ordinal());
                while rest.next_if(|(_, (inside, _))| inside.depth > part.depth).is_some() {}
            }
        }
        let mut by_ordinal = HashMap::new();
        for (first, others) in others {
            let first = placed[first].part.ordinal();
            let repeat = Repeat { first, others: others.len() };
            by_ordinal.extend(others.into_iter().chain([first]).map(|ordinal| (ordinal, repeat)));
        }
        Self { by_ordinal }
    }

    /// The aggregation as one of several, if it is.
    pub(crate) fn of(&self, ordinal: u32) -> Option<Repeat> {
        self.by_ordinal.get(&ordinal).copied()
    }

    /// Whether an equal aggregation stands before it.
    pub(crate) fn is_shared(&self, ordinal: u32) -> bool {
        self.of(ordinal).is_some_and(|repeat| repeat.first != ordinal)
    }
}

/// Whether a part is an aggregation that is evaluated once however often it stands in a plan.
pub(crate) fn gives_table(part: Part<'_>) -> bool {
    let Part::Node(Node { kind: Kind::Aggregate(aggregate), .. }) = part else { return false };
    aggregate.op != AggregateOp::LimitRatio
}

/// For each part the place of the first one that is the same as it, its own if there is none before it. Takes time in
/// proportion to the plan, however deep it is.
pub(crate) fn identities(placed: &[Placed<'_>]) -> Vec<usize> {
    let mut identities = vec![0; placed.len()];
    let mut alike: HashMap<u64, Vec<usize>> = HashMap::new();
    let mut inside: Vec<Vec<usize>> = vec![Vec::new(); placed.len()];
    let mut waiting: Vec<Vec<usize>> = Vec::new();
    // What is inside a part comes after it, so it is known when the part is looked at; the last one of equal parts is met first.
    for (at, part) in placed.iter().enumerate().rev() {
        waiting.resize_with(waiting.len().max(part.depth + 2), Vec::new);
        inside[at] = std::mem::take(&mut waiting[part.depth + 1]);
        let mut hasher = DefaultHasher::new();
        (hash_alone(part.part), &inside[at]).hash(&mut hasher);
        let known = alike.entry(hasher.finish()).or_default();
        let same = |other: &&usize| {
            let other = **other;
            placed[other].steps == part.steps
                && inside[other] == inside[at]
                && same_part_alone(placed[other].part, part.part)
        };
        let identity = known.iter().find(same).copied();
        identities[at] = identity.unwrap_or_else(|| {
            known.push(at);
            at
        });
        waiting[part.depth].push(identities[at]);
    }
    // By the last of them so far; by the first from here on.
    let mut first: HashMap<usize, usize> = HashMap::new();
    identities.iter().enumerate().map(|(at, last)| *first.entry(*last).or_insert(at)).collect()
}

fn same_part_alone(a: Part<'_>, b: Part<'_>) -> bool {
    match (a, b) {
        (Part::Node(a), Part::Node(b)) => same_alone(&a.kind, &b.kind),
        (Part::Range(a), Part::Range(b)) => same_range_alone(a, b),
        _ => false,
    }
}

/// Enough of a part, what is inside it excluded, to tell most from each other.
fn hash_alone(part: Part<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    match part {
        Part::Range(range) => {
            range.range_ms.hash(&mut hasher);
            if let RangeSource::Selector(selector) = &range.source {
                hash_selector(selector, &mut hasher);
            }
        }
        Part::Node(node) => match &node.kind {
            Kind::Number(value) => value.to_bits().hash(&mut hasher),
            Kind::Text(text) => text.hash(&mut hasher),
            Kind::Select(selector) => hash_selector(selector, &mut hasher),
            Kind::Scalars { op, .. } | Kind::VectorScalar { op, .. } | Kind::Join { op, .. } | Kind::Set { op, .. } => {
                op.hash(&mut hasher);
            }
            Kind::Aggregate(aggregate) => (aggregate.op, &aggregate.grouping).hash(&mut hasher),
            Kind::RangeCall(call) => call.name.hash(&mut hasher),
            Kind::Call(call) => call.name.hash(&mut hasher),
            Kind::Range(_) | Kind::Invariant(_) | Kind::Negate(_) | Kind::Info(_) => {}
        },
    }
    hasher.finish()
}

fn hash_selector(selector: &Selector, hasher: &mut DefaultHasher) {
    for matcher in &selector.matchers {
        (matcher.op(), matcher.name(), matcher.value()).hash(hasher);
    }
}

/// Whether two parts do the same with what is inside them.
fn same_alone(a: &Kind, b: &Kind) -> bool {
    match (a, b) {
        (Kind::Number(a), Kind::Number(b)) => a.to_bits() == b.to_bits(),
        (Kind::Text(a), Kind::Text(b)) => a == b,
        (Kind::Select(a), Kind::Select(b)) => a == b,
        (Kind::Range(_), Kind::Range(_))
        | (Kind::Invariant(_), Kind::Invariant(_))
        | (Kind::Negate(_), Kind::Negate(_)) => true,
        (Kind::Scalars { op: a, .. }, Kind::Scalars { op: b, .. }) => a == b,
        (
            Kind::VectorScalar { op, scalar_first, return_bool, .. },
            Kind::VectorScalar { op: b_op, scalar_first: b_scalar_first, return_bool: b_return_bool, .. },
        ) => op == b_op && scalar_first == b_scalar_first && return_bool == b_return_bool,
        (
            Kind::Join { op, matching, return_bool, .. },
            Kind::Join { op: b_op, matching: b_matching, return_bool: b_return_bool, .. },
        ) => op == b_op && return_bool == b_return_bool && same_matching(matching, b_matching),
        (Kind::Set { op, matching, .. }, Kind::Set { op: b_op, matching: b_matching, .. }) => {
            op == b_op && same_matching(matching, b_matching)
        }
        (Kind::Aggregate(a), Kind::Aggregate(b)) => a.op == b.op && a.without == b.without && a.grouping == b.grouping,
        (Kind::RangeCall(a), Kind::RangeCall(b)) => a.name == b.name,
        (Kind::Call(a), Kind::Call(b)) => a.name == b.name,
        (Kind::Info(a), Kind::Info(b)) => a.when == b.when && a.selector == b.selector,
        _ => false,
    }
}

/// Zeros that are filled in have a sign, which divisions see.
fn same_matching(a: &VectorMatching, b: &VectorMatching) -> bool {
    let fills =
        |matching: &VectorMatching| [matching.fill_left, matching.fill_right].map(|fill| fill.map(f64::to_bits));
    a == b && fills(a) == fills(b)
}

fn same_range_alone(a: &RangeNode, b: &RangeNode) -> bool {
    a.range_ms == b.range_ms
        && match (&a.source, &b.source) {
            (RangeSource::Selector(a), RangeSource::Selector(b)) => a == b,
            (
                RangeSource::Subquery { step_ms, when, .. },
                RangeSource::Subquery { step_ms: b_step_ms, when: b_when, .. },
            ) => step_ms == b_step_ms && when == b_when,
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::steps::Steps;
    use crate::plan::walk::parts;
    use crate::plan::{Bounds, plan};
    use crate::{ParseOptions, parse};

    /// The texts of the aggregations that stand for an earlier one.
    fn shared(query: &str) -> Vec<&str> {
        let expr = parse(query, &ParseOptions::all()).unwrap_or_else(|error| panic!("{query}: {error}"));
        let plan = plan(&expr, Bounds { start_ms: 0, end_ms: 600_000, step_ms: 60_000 }).expect("a plan");
        let placed = parts(&plan, Steps::range(0, 600_000, 60_000), 60_000);
        let repeats = Repeats::find(&placed);
        let shared = placed.iter().filter(|placed| repeats.is_shared(placed.part.ordinal()));
        shared.map(|placed| &query[placed.part.span().start as usize..placed.part.span().end as usize]).collect()
    }

    #[test]
    fn equal_aggregations_are_found_whatever_their_place() {
        assert_eq!(shared("sum(rate(a[5m])) / (sum(rate(a[5m])) + sum(rate(b[5m])))"), ["sum(rate(a[5m]))"]);
        assert_eq!(shared("sum by (x, y) (a) + 2 * sum by (y, x) ((a))"), ["sum by (y, x) ((a))"]);
        assert_eq!(shared("max(a) + max(a) + max(a)"), ["max(a)", "max(a)"]);
        assert_eq!(shared("topk(2, a) - topk(2, a @ 5) or topk(2, a)"), ["topk(2, a)"]);
        assert_eq!(shared("sum(a @ 5) + sum(a @ 5)"), ["sum(a @ 5)"]);
    }

    #[test]
    fn equal_parts_are_known_by_the_first_of_them() {
        let expr = parse("a or (b or a) or sum(a) or a offset 1m", &ParseOptions::all()).expect("a query");
        let plan = plan(&expr, Bounds { start_ms: 0, end_ms: 0, step_ms: 0 }).expect("a plan");
        let placed = parts(&plan, Steps::instant(0), 60_000);
        // or, or, or, a, or, b, a, sum, a, a offset 1m
        assert_eq!(identities(&placed), [0, 1, 2, 3, 4, 5, 3, 7, 3, 9]);
    }

    /// Of aggregations inside aggregations the outer ones are shared, and the inner ones where they stand alone.
    #[test]
    fn what_is_inside_a_shared_aggregation_needs_no_sharing() {
        assert_eq!(shared("max(sum(a)) + max(sum(a)) + sum(a)"), ["max(sum(a))", "sum(a)"]);
        assert_eq!(shared("sum(a) + max(sum(a))"), ["sum(a)"]);
    }

    #[test]
    fn whatever_may_give_another_result_is_another_aggregation() {
        for query in [
            "sum(a) + avg(a)",
            "sum by (x) (a) + on (x) sum without (x) (a)",
            "sum by (x) (a) + on (x) sum by (x, y) (a)",
            "sum(a) + sum(a offset 1m)",
            "sum(a{x=\"1\"}) + sum(a{x=~\"1\"})",
            "sum(rate(a[5m])) + sum(rate(a[6m]))",
            "sum(rate(a[5m])) + sum(increase(a[5m]))",
            "sum(rate(a[5m])) + sum(rate(a[5m] anchored))",
            "quantile(0.5, a) + quantile(0.6, a)",
            "count_values(\"x\", a) + on () count_values(\"y\", a)",
            "sum(a > 1) + sum(a > bool 1)",
            "sum(a - 1) + sum(1 - a)",
            "sum(a + on (x) b) + sum(a + on (y) b)",
            "sum(a / fill(0) b) + sum(a / fill(-0) b)",
            "sum(a and b) + sum(a and on (x) b)",
            "sum(clamp(a, 1, 2)) + sum(clamp(a, 1, 3))",
            "sum(a) + max_over_time(sum(a)[10m:1m])",
            "max_over_time(sum(a)[5m:1m]) + max_over_time(sum(a)[6m:1m])",
            "sum(max_over_time(a[5m:1m])) + sum(max_over_time(a[5m:2m]))",
            "limit_ratio(0.5, a) + limit_ratio(0.5, a)",
            "histogram_count(sum(h)) + histogram_quantile(0.5, sum(h))",
        ] {
            assert_eq!(shared(query), Vec::<&str>::new(), "{query}");
        }
    }
}
