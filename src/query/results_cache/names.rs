//! Whether names that are removed at the end of a query (`promql-delayed-name-removal`) are the same ones whatever its window.
//!
//! An operation marks its series, and the names of marked series go at the end. Where series with and without the mark become
//! one, that which is present first in the window decides, and of a group any member that the window selects: then a name depends
//! on the window, and only evaluating all of it tells. Elsewhere labels never depend on marks, so that what is marked alike stays so.

use model::labels::{METRIC_NAME, METRIC_TYPE, METRIC_UNIT};
use promql::ast::{AggregateOp, Aggregation, Binary, BinaryOp, Call, Expr, ValueType};

/// What becomes of the names of all series of a vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// There are none, marked or not.
    None,
    /// They stay.
    Stay,
    /// They go at the end.
    Go,
}

impl Names {
    /// Those of an expression, which is no deeper than others are looked at; `None` when the window may decide.
    pub(super) fn of(expr: &Expr) -> Option<Self> {
        match expr {
            Expr::Number(_) | Expr::String(_) => Some(Self::None),
            Expr::VectorSelector(_) | Expr::MatrixSelector(_) => Some(Self::Stay),
            Expr::Subquery(subquery) => Self::of(&subquery.expr),
            Expr::Paren(paren) => Self::of(&paren.expr),
            Expr::Unary(unary) if unary.negative => Some(Self::Go),
            Expr::Unary(unary) => Self::of(&unary.expr),
            Expr::Aggregation(aggregation) => of_aggregation(aggregation),
            Expr::Binary(binary) => of_binary(binary),
            Expr::Call(call) => of_call(call),
        }
    }

    /// Those of two vectors whose series may become one.
    fn or(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Self::None, names) | (names, Self::None) => Some(names),
            (own, other) => (own == other).then_some(own),
        }
    }
}

/// Whether a label goes with the name.
fn is_reserved(label: &str) -> bool {
    matches!(label, METRIC_NAME | METRIC_TYPE | METRIC_UNIT)
}

fn of_aggregation(aggregation: &Aggregation) -> Option<Names> {
    match aggregation.op {
        AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk | AggregateOp::LimitRatio => {
            Names::of(&aggregation.expr)
        }
        AggregateOp::CountValues => Some(Names::Stay),
        _ if !aggregation.without && !aggregation.grouping.iter().any(|label| is_reserved(label)) => Some(Names::None),
        _ => Names::of(&aggregation.expr),
    }
}

fn of_binary(binary: &Binary) -> Option<Names> {
    let Binary { op, lhs, rhs, matching, return_bool, .. } = binary;
    let is_arithmetic = matches!(
        op,
        BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul | BinaryOp::Div | BinaryOp::Mod | BinaryOp::Pow | BinaryOp::Atan2
    );
    match (op, matching) {
        (BinaryOp::Or, _) => Names::of(lhs)?.or(Names::of(rhs)?),
        (BinaryOp::And | BinaryOp::Unless, _) => Names::of(lhs),
        (_, Some(_)) if *return_bool => Some(Names::Go),
        // Arithmetic removes them at once; `group_left` may add some of the other side.
        (_, Some(matching)) if is_arithmetic && !matching.include.iter().any(|label| is_reserved(label)) => {
            Some(Names::None)
        }
        (_, Some(_)) => Some(Names::Stay),
        (_, None) if is_arithmetic || *return_bool => Some(Names::Go),
        (_, None) => [lhs, rhs]
            .into_iter()
            .find(|side| side.value_type() == ValueType::Vector)
            .map_or_else(|| Some(Names::None), |vector| Names::of(vector)),
    }
}

fn of_call(call: &Call) -> Option<Names> {
    let first = || call.args.first().and_then(Names::of);
    match call.function.name {
        "vector" => Some(Names::None),
        "absent" | "absent_over_time" => Some(Names::Stay),
        "last_over_time" | "first_over_time" | "sort" | "sort_desc" | "sort_by_label" | "sort_by_label_desc" => first(),
        "label_replace" | "label_join" => {
            // A name that is written stays, one that is not goes with the mark.
            let writes_other = matches!(call.args.get(1), Some(Expr::String(target))
                if !std::str::from_utf8(&target.value).is_ok_and(is_reserved));
            first().filter(|names| writes_other || *names == Names::Stay)
        }
        // What it adds comes from series that the window selects.
        "info" => None,
        _ if call.function.returns == ValueType::Scalar => Some(Names::None),
        _ => Some(Names::Go),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::labels::Labels;
    use promql::budget::Budget;
    use promql::functions::FUNCTIONS;
    use promql::parse::{ParseOptions, parse};
    use promql::testing::memory::MemorySource;
    use promql::value::QueryValue;
    use promql::{Engine, EngineOptions, QueryContext};

    fn names(query: &str) -> Option<Names> {
        Names::of(&parse(query, &ParseOptions::all()).unwrap_or_else(|error| panic!("{query}: {error}")))
    }

    #[test]
    fn what_is_marked_alike_is_known() {
        for (query, expected) in [
            ("a", Some(Names::Stay)),
            ("-a", Some(Names::Go)),
            ("a > 1", Some(Names::Stay)),
            ("1 < bool a", Some(Names::Go)),
            ("a * b", Some(Names::None)),
            ("a * on (x) group_left (__name__) b", Some(Names::Stay)),
            ("a > bool b", Some(Names::Go)),
            ("rate(a[5m]) > b", Some(Names::Stay)),
            ("a or b", Some(Names::Stay)),
            ("rate(a[5m]) or -b or vector(0)", Some(Names::Go)),
            ("a or rate(a[5m])", None),
            ("a unless (a or rate(a[5m]))", Some(Names::Stay)),
            ("(a or rate(a[5m])) unless a", None),
            ("sum by (x) (a or rate(a[5m]))", Some(Names::None)),
            ("sum by (x, __name__) (a or rate(a[5m]))", None),
            ("sum without (x) (rate(a[5m]))", Some(Names::Go)),
            ("topk(1, rate(a[5m]))", Some(Names::Go)),
            ("count_values(\"__name__\", a)", Some(Names::Stay)),
            ("last_over_time(rate(a[5m])[5m:1m])", Some(Names::Go)),
            ("max_over_time((a or rate(a[5m]))[5m:1m])", Some(Names::Go)),
            ("label_replace(a, \"__name__\", \"b\", \"\", \"\")", Some(Names::Stay)),
            ("label_replace(-a, \"__name__\", \"b\", \"\", \"\")", None),
            ("label_replace(-a, \"x\", \"b\", \"\", \"\")", Some(Names::Go)),
            ("info(a)", None),
        ] {
            assert_eq!(names(query), expected, "{query}");
        }
    }

    /// What is said of each function is what the engine does.
    #[test]
    fn functions_do_what_is_known_of_them() {
        let engine = Engine::new(EngineOptions { delayed_name_removal: true, ..EngineOptions::default() });
        let mut source = MemorySource::new();
        let labels = Labels::from_pairs([("__name__", "m"), ("le", "1")]).expect("labels");
        source.append(&labels, (0..60).map(|i| (i * 10_000, i as f64)));
        let mut answers = 0;
        let known = |name: &str| name != "info";
        for function in FUNCTIONS.iter().filter(|of| of.returns == ValueType::Vector && known(of.name)) {
            let arguments = function.args.iter().enumerate().map(|(at, of)| match of {
                ValueType::Vector => "m",
                ValueType::Matrix => "m[5m]",
                ValueType::Scalar if at == 2 => "0.5",
                ValueType::Scalar => "0.9",
                ValueType::String => "\"x\"",
            });
            let query = format!("{}({})", function.name, arguments.collect::<Vec<_>>().join(", "));
            let names = names(&query).unwrap_or_else(|| panic!("{query} is known"));
            let expr = parse(&query, &ParseOptions::all()).expect("a query");
            let budget = Budget::default();
            let result = engine.range(&expr, 300_000, 400_000, 10_000, &QueryContext::new(&source, &budget));
            let Ok(QueryValue::Matrix(series)) = result.map(|result| result.value) else { panic!("{query}") };
            for series in series.iter().filter(|_| !function.name.starts_with("absent")) {
                assert_eq!(series.labels.metric_name().is_some(), names == Names::Stay, "{query}");
                answers += 1;
            }
        }
        assert!(answers > 60, "{answers}");
    }
}
