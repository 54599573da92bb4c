//! Conditions of SQL as matchers and ranges of time.
//!
//! A label that a series does not have is NULL in SQL and the empty text for a matcher, so most conditions come with a
//! matcher that the label exists. Invariant: a condition that is taken over is taken over exactly; what cannot be is left to
//! DataFusion.
mod literal;
mod pattern;

use super::scope::Bounds;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use literal::{text_of, time_ns_of};
use model::matcher::{MatchOp, Matcher};
use promql::source::{Foreseen, SelectRequest};

/// What a column of a table is to a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Role {
    /// The value of a label, NULL when there is none.
    Label(String),
    /// All labels as a map, the name of the metric excluded.
    Labels,
    /// The time of samples, in milliseconds.
    Time,
    /// Something that the store cannot select by.
    Other,
}

/// A condition that a store can check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    /// All must hold.
    Matchers(Vec<Matcher>),
    /// The time lies in it.
    Time(Bounds),
}

/// What a store is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Selector {
    pub(super) matchers: Vec<Matcher>,
    pub(super) bounds: Bounds,
}

impl Selector {
    /// Narrows the selection down to what satisfies `condition` too.
    pub(super) fn narrow(&mut self, condition: Condition) {
        match condition {
            Condition::Matchers(matchers) => {
                for matcher in matchers {
                    if !self.matchers.contains(&matcher) {
                        self.matchers.push(matcher);
                    }
                }
            }
            Condition::Time(bounds) => {
                self.bounds.start_ms = self.bounds.start_ms.max(bounds.start_ms);
                self.bounds.end_ms = [self.bounds.end_ms, bounds.end_ms].into_iter().flatten().min();
            }
        }
    }

    /// Takes the bounds of the request where the statement set none.
    pub(super) fn or_bounds(mut self, bounds: Bounds) -> Self {
        self.bounds.start_ms = self.bounds.start_ms.or(bounds.start_ms);
        self.bounds.end_ms = self.bounds.end_ms.or(bounds.end_ms);
        self
    }

    /// Exclusive start.
    pub(super) fn after_ms(&self) -> i64 {
        self.bounds.start_ms.map_or(i64::MIN, |start| start.saturating_sub(1))
    }

    /// Inclusive end.
    pub(super) fn until_ms(&self) -> i64 {
        self.bounds.end_ms.unwrap_or(i64::MAX)
    }

    /// The request to a store.
    pub(super) fn request(&self, series_max: usize) -> SelectRequest<'_> {
        let (after_ms, until_ms) = (self.after_ms(), self.until_ms());
        SelectRequest { matchers: &self.matchers, after_ms, until_ms, series_max }
    }

    /// The same, to be told beforehand.
    pub(super) fn foreseen(&self, series_max: usize) -> Foreseen {
        let (after_ms, until_ms) = (self.after_ms(), self.until_ms());
        Foreseen { matchers: self.matchers.clone(), after_ms, until_ms, series_max, buckets: None }
    }
}

/// The condition that `expr` is, when a store can check it exactly.
pub(super) fn condition(expr: &Expr, role: &dyn Fn(&str) -> Role) -> Option<Condition> {
    let matchers = |matchers: Option<Vec<Matcher>>| matchers.map(Condition::Matchers);
    match expr {
        Expr::IsNull(inner) => matchers(Some(vec![Matcher::equal(label(inner, role)?, "")])),
        Expr::IsNotNull(inner) => matchers(Some(vec![exists(&label(inner, role)?)])),
        Expr::InList(list) if list.negated => {
            let name = label(&list.expr, role)?;
            let values: Option<Vec<String>> = list.list.iter().map(text_of).collect();
            let mut all = vec![exists(&name)];
            for value in values? {
                all.push(Matcher::new(&name, MatchOp::NotEqual, value).ok()?);
            }
            matchers(Some(all))
        }
        Expr::InList(_) => matchers(one_of(expr, role)),
        Expr::Like(like) => matchers(pattern::like(like, &label(&like.expr, role)?)),
        Expr::Between(between) if !between.negated => {
            if !is_time(&between.expr, role) {
                return None;
            }
            let low = bounds(Operator::GtEq, time_ns_of(&between.low)?)?;
            let high = bounds(Operator::LtEq, time_ns_of(&between.high)?)?;
            Some(Condition::Time(Bounds { start_ms: low.start_ms, end_ms: high.end_ms }))
        }
        Expr::BinaryExpr(binary) => match binary.op {
            Operator::Or => matchers(one_of(expr, role)),
            Operator::RegexMatch | Operator::RegexNotMatch => {
                let name = label(&binary.left, role)?;
                matchers(pattern::regex(&text_of(&binary.right)?, binary.op == Operator::RegexNotMatch, &name))
            }
            _ => comparison(binary, role),
        },
        _ => None,
    }
}

fn comparison(binary: &BinaryExpr, role: &dyn Fn(&str) -> Role) -> Option<Condition> {
    let BinaryExpr { left, op, right } = binary;
    let (column, op, other) = match (is_literal(left), is_literal(right)) {
        (false, true) => (left, *op, right),
        (true, false) => (right, op.swap()?, left),
        _ => return None,
    };
    if is_time(column, role) {
        return bounds(op, time_ns_of(other)?).map(Condition::Time);
    }
    let name = label(column, role)?;
    let value = text_of(other)?;
    let matchers = match op {
        Operator::Eq => equal(&name, &[value])?,
        Operator::NotEq => vec![exists(&name), Matcher::new(&name, MatchOp::NotEqual, value).ok()?],
        _ => return None,
    };
    Some(Condition::Matchers(matchers))
}

/// `label = a OR label IN (b, c)`: DataFusion writes short lists so.
fn one_of(expr: &Expr, role: &dyn Fn(&str) -> Role) -> Option<Vec<Matcher>> {
    let mut name: Option<String> = None;
    let mut values = Vec::new();
    let mut pending = vec![expr];
    while let Some(expr) = pending.pop() {
        let (column, found) = match expr {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
                pending.extend([&**right, &**left]);
                continue;
            }
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => match is_literal(left) {
                true => (right, vec![text_of(left)?]),
                false => (left, vec![text_of(right)?]),
            },
            Expr::InList(list) if !list.negated => {
                (&list.expr, list.list.iter().map(text_of).collect::<Option<Vec<_>>>()?)
            }
            _ => return None,
        };
        let column = label(column, role)?;
        if *name.get_or_insert_with(|| column.clone()) != column {
            return None;
        }
        values.extend(found);
    }
    equal(&name?, &values)
}

/// The label has one of the values. No label is the empty text, so that one is never found.
fn equal(name: &str, values: &[String]) -> Option<Vec<Matcher>> {
    let mut values: Vec<&str> = values.iter().map(String::as_str).filter(|value| !value.is_empty()).collect();
    values.sort_unstable();
    values.dedup();
    match values.as_slice() {
        [] => Some(vec![exists(name), Matcher::equal(name, "")]),
        [value] => Some(vec![Matcher::equal(name, *value)]),
        values => {
            let escaped: Vec<String> = values.iter().map(|value| pattern::escape(value)).collect();
            Some(vec![Matcher::new(name, MatchOp::Regex, escaped.join("|")).ok()?])
        }
    }
}

/// The label exists.
fn exists(name: &str) -> Matcher {
    let matcher = Matcher::new(name, MatchOp::NotEqual, "");
    matcher.unwrap_or_else(|_| unreachable!("no expression is compiled"))
}

fn is_literal(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(..) => true,
        Expr::Cast(cast) => is_literal(&cast.expr),
        _ => false,
    }
}

/// The label that a column, or a member of the map of labels, stands for.
fn label(expr: &Expr, role: &dyn Fn(&str) -> Role) -> Option<String> {
    match expr {
        Expr::Column(column) => match role(&column.name) {
            Role::Label(name) => Some(name),
            _ => None,
        },
        Expr::Cast(cast) if literal::is_text(cast.field.data_type()) => label(&cast.expr, role),
        Expr::ScalarFunction(call) if call.func.name() == "get_field" => match call.args.as_slice() {
            [Expr::Column(column), key] if role(&column.name) == Role::Labels => {
                // The name of the metric is no member.
                text_of(key).filter(|name| name != model::labels::METRIC_NAME)
            }
            _ => None,
        },
        _ => None,
    }
}

/// Whether the expression is the time of samples, perhaps with a finer unit.
fn is_time(expr: &Expr, role: &dyn Fn(&str) -> Role) -> bool {
    match expr {
        Expr::Column(column) => role(&column.name) == Role::Time,
        Expr::Cast(cast) => literal::is_fine_time(cast.field.data_type()) && is_time(&cast.expr, role),
        _ => false,
    }
}

/// The whole milliseconds `t` for which `t op time_ns` holds.
fn bounds(op: Operator, time_ns: i128) -> Option<Bounds> {
    const NS_PER_MS: i128 = 1_000_000;
    let floor = time_ns.div_euclid(NS_PER_MS);
    let whole = time_ns.rem_euclid(NS_PER_MS) == 0;
    let saturated = |ms: i128| i64::try_from(ms).unwrap_or(if ms < 0 { i64::MIN } else { i64::MAX });
    let from = |ms: i128| Bounds { start_ms: Some(saturated(ms)), end_ms: None };
    let to = |ms: i128| Bounds { start_ms: None, end_ms: Some(saturated(ms)) };
    Some(match op {
        Operator::GtEq if whole => from(floor),
        Operator::GtEq | Operator::Gt => from(floor + 1),
        Operator::LtEq => to(floor),
        Operator::Lt if whole => to(floor - 1),
        Operator::Lt => to(floor),
        Operator::Eq if whole => Bounds { start_ms: Some(saturated(floor)), end_ms: Some(saturated(floor)) },
        // Between two milliseconds is no sample.
        Operator::Eq => Bounds { start_ms: Some(0), end_ms: Some(-1) },
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
