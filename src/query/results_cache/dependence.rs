//! Which times of the data the value of an expression at one step depends on.
//!
//! A step at `t` never depends on data newer than `t + ahead`, nor on those that `@` fixes beyond a known time. Expressions
//! whose value depends on the window of the query, and those that may fail for a window though they succeed for its parts,
//! depend on more than times and are left out; so is whatever looks ahead or reads more than selectors say.

use super::names::Names;
use model::labels::METRIC_NAME;
use model::matcher::MatchOp;
use promql::ast::{AtModifier, Call, DurationValue, Expr, Subquery, ValueType, VectorSelector};

/// Deeper expressions are not looked at.
const DEPTH_MAX: u32 = 100;

/// Functions of the window, or of more than the samples of their selectors.
const WINDOW_FUNCTIONS: [&str; 5] = ["start", "end", "range", "info", "start_timestamp"];
/// Functions over ranges that keep the names of their series, or return none.
const KEEP_NAMES: [&str; 3] = ["last_over_time", "first_over_time", "absent_over_time"];

/// See the head of the file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dependence {
    /// How much newer than the step the newest data are that matter to it; negative when all are older. `None` when the step's
    /// time is all that matters.
    ahead_ms: Option<i64>,
    /// The newest time of data that `@` fixes.
    fixed_until_ms: Option<i64>,
}

impl Dependence {
    /// That of an expression, whose names are removed at once or (`delayed_name_removal`) at the end; `None` when its steps cannot
    /// be kept.
    #[must_use]
    pub fn of(expr: &Expr, delayed_name_removal: bool) -> Option<Self> {
        let has_steps = matches!(expr.value_type(), ValueType::Scalar | ValueType::Vector);
        let dependence = if has_steps { of(expr, DEPTH_MAX) } else { None };
        dependence.filter(|_| !delayed_name_removal || Names::of(expr).is_some())
    }

    /// The newest step that is not affected by data from `oldest_changed_ms` on; `None` when all are.
    #[must_use]
    pub fn valid_until(self, oldest_changed_ms: i64) -> Option<i64> {
        if self.fixed_until_ms.is_some_and(|fixed_ms| fixed_ms >= oldest_changed_ms) {
            return None;
        }
        match self.ahead_ms {
            None => Some(i64::MAX),
            Some(_) if oldest_changed_ms == i64::MAX => Some(i64::MAX),
            Some(ahead_ms) => oldest_changed_ms.checked_sub(ahead_ms)?.checked_sub(1),
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            ahead_ms: self.ahead_ms.max(other.ahead_ms),
            fixed_until_ms: self.fixed_until_ms.max(other.fixed_until_ms),
        }
    }

    /// Looked at from where `offset` and `@` put it.
    fn placed(self, offset: Option<&DurationValue>, at: Option<AtModifier>) -> Option<Self> {
        let offset_ms = offset.map_or(Some(0), fixed)?;
        let ahead_ms = match self.ahead_ms {
            Some(ahead_ms) => Some(ahead_ms.checked_sub(offset_ms)?),
            None => None,
        };
        match at {
            None => Some(Self { ahead_ms, ..self }),
            Some(AtModifier::At(at_ms)) => {
                let fixed_ms = match ahead_ms {
                    Some(ahead_ms) => Some(at_ms.checked_add(ahead_ms)?),
                    None => None,
                };
                Some(Self { ahead_ms: None, fixed_until_ms: self.fixed_until_ms.max(fixed_ms) })
            }
            Some(AtModifier::Start | AtModifier::End) => None,
        }
    }
}

/// Milliseconds, unless the query's range or step decides.
fn fixed(duration: &DurationValue) -> Option<i64> {
    match duration {
        DurationValue::Fixed(ms) => Some(*ms),
        DurationValue::Expr(_) => None,
    }
}

fn of(expr: &Expr, depth: u32) -> Option<Dependence> {
    let depth = depth.checked_sub(1)?;
    match expr {
        Expr::Number(_) | Expr::String(_) => Some(Dependence::default()),
        Expr::VectorSelector(selector) => of_selector(selector),
        Expr::MatrixSelector(matrix) => {
            fixed(&matrix.range)?;
            of_selector(&matrix.selector)
        }
        Expr::Subquery(subquery) => of_subquery(subquery, depth),
        Expr::Call(call) => of_call(call, depth),
        Expr::Aggregation(_) | Expr::Binary(_) | Expr::Unary(_) | Expr::Paren(_) => of_children(expr, depth),
    }
}

fn of_children(expr: &Expr, depth: u32) -> Option<Dependence> {
    let mut all = Some(Dependence::default());
    expr.for_each_child(|child| {
        all = all.and_then(|all| Some(all.and(of(child, depth)?)));
    });
    all
}

/// The newest sample that matters is at the time of the step.
fn of_selector(selector: &VectorSelector) -> Option<Dependence> {
    if selector.anchored || selector.smoothed {
        return None;
    }
    let here = Dependence { ahead_ms: Some(0), fixed_until_ms: None };
    here.placed(selector.offset.as_ref(), selector.at)
}

/// The newest step inside is at the time of the step outside, or a little before.
fn of_subquery(subquery: &Subquery, depth: u32) -> Option<Dependence> {
    fixed(&subquery.range)?;
    subquery.step.as_ref().map_or(Some(0), fixed)?;
    of(&subquery.expr, depth)?.placed(subquery.offset.as_ref(), subquery.at)
}

fn of_call(call: &Call, depth: u32) -> Option<Dependence> {
    let name = call.function.name;
    if WINDOW_FUNCTIONS.contains(&name) || name == "step" {
        return None;
    }
    // Dropping the names of a range's series is an error when two become alike anywhere in the window.
    if !KEEP_NAMES.contains(&name) && call.args.iter().any(|arg| may_mix_names(arg, depth)) {
        return None;
    }
    let mut all = Dependence::default();
    for arg in &call.args {
        all = all.and(of(arg, depth)?);
    }
    Some(all)
}

/// Whether a range may have series that differ in nothing but their name.
fn may_mix_names(range: &Expr, depth: u32) -> bool {
    let Some(depth) = depth.checked_sub(1) else { return true };
    let has_many = |selector: &VectorSelector| {
        let names_one = |op, name: &str, value: &str| op == MatchOp::Equal && name == METRIC_NAME && !value.is_empty();
        !selector.matchers.iter().any(|matcher| names_one(matcher.op(), matcher.name(), matcher.value()))
    };
    match range {
        Expr::MatrixSelector(matrix) => has_many(&matrix.selector),
        Expr::Paren(paren) => may_mix_names(&paren.expr, depth),
        Expr::Subquery(subquery) => match &*subquery.expr {
            Expr::VectorSelector(selector) => has_many(selector),
            Expr::Aggregation(aggregation) => {
                !aggregation.without && aggregation.grouping.iter().any(|name| name == METRIC_NAME)
            }
            Expr::Call(call) => {
                !call.args.iter().any(|arg| arg.value_type() == ValueType::Matrix)
                    || KEEP_NAMES.contains(&call.function.name)
            }
            _ => true,
        },
        // No range: names that are dropped elsewhere are compared step by step.
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use promql::parse::{ParseOptions, parse};

    fn dependence(query: &str) -> Option<(Option<i64>, Option<i64>)> {
        let expr = parse(query, &ParseOptions::all()).unwrap_or_else(|error| panic!("{query}: {error}"));
        Dependence::of(&expr, false).map(|found| (found.ahead_ms, found.fixed_until_ms))
    }

    #[test]
    fn the_newest_data_that_matter_are_known() {
        for (query, expected) in [
            ("up", (Some(0), None)),
            ("time()", (None, None)),
            ("up offset 5m", (Some(-300_000), None)),
            ("up offset -5m", (Some(300_000), None)),
            ("rate(up[5m]) + up offset -1m", (Some(60_000), None)),
            ("sum(rate(up[5m] offset 1h))", (Some(-3_600_000), None)),
            ("up @ 100", (None, Some(100_000))),
            ("up @ 100 offset 10s", (None, Some(90_000))),
            ("up and up @ 100 offset -10s", (Some(0), Some(110_000))),
            ("max_over_time(rate(up[1m] offset -2m)[1h:1m] offset 1m)", (Some(60_000), None)),
            ("max_over_time(rate(up[1m] offset -2m)[1h:1m] @ 500)", (None, Some(620_000))),
            ("vector(time()) + 1", (None, None)),
        ] {
            assert_eq!(dependence(query), Some(expected), "{query}");
        }
    }

    #[test]
    fn what_depends_on_the_window_or_may_fail_for_it_is_left_out() {
        for query in [
            "up @ start()",
            "sum(up) / up @ end()",
            "rate({__name__=~\"a|b\"}[5m])",
            "max_over_time({job=\"a\"}[5m:1m])",
            "max_over_time((a or b)[5m:1m])",
            "up[5m]",
            "rate(up[5m:step()])",
            "up offset (range() / 2)",
            "rate(up[5m] smoothed)",
            "end() - start()",
        ] {
            assert_eq!(dependence(query), None, "{query}");
        }
        let deep = "-".repeat(150) + "up";
        assert_eq!(dependence(&deep), None);
        for query in ["last_over_time({job=\"a\"}[5m])", "rate({__name__=\"a\"}[5m])", "max_over_time(sum(up)[5m:])"] {
            assert!(dependence(query).is_some(), "{query}");
        }
    }

    #[test]
    fn steps_are_valid_until_the_data_before_them_change() {
        let valid = |query: &str, changed_ms| {
            Dependence::of(&parse(query, &ParseOptions::all()).unwrap(), false).unwrap().valid_until(changed_ms)
        };
        assert_eq!(valid("up", 1000), Some(999));
        assert_eq!(valid("up offset 5s", 1000), Some(5999));
        assert_eq!(valid("up offset -5s", 1000), Some(-4001));
        assert_eq!(valid("up", i64::MAX), Some(i64::MAX));
        assert_eq!(valid("up", i64::MIN), None);
        assert_eq!(valid("time()", i64::MIN), Some(i64::MAX));
        assert_eq!((valid("up @ 1", 1000), valid("up @ 1", 1001)), (None, Some(i64::MAX)));
    }
}
