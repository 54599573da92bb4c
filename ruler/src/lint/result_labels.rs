//! Which labels the results of an expression can have.

use model::matcher::MatchOp;
use promql::ast::{AggregateOp, Aggregation, Binary, BinaryOp, Call, Cardinality, Expr, ValueType, VectorSelector};
use std::collections::BTreeSet;

/// A set of label names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LabelNames {
    /// These at most.
    Only(BTreeSet<String>),
    /// Any but these.
    AllBut(BTreeSet<String>),
}

impl LabelNames {
    pub(super) fn may_contain(&self, name: &str) -> bool {
        match self {
            Self::Only(names) => names.contains(name),
            Self::AllBut(names) => !names.contains(name),
        }
    }

    fn none() -> Self {
        Self::Only(BTreeSet::new())
    }

    fn with(mut self, name: &str) -> Self {
        match &mut self {
            Self::Only(names) => _ = names.insert(name.to_owned()),
            Self::AllBut(names) => _ = names.remove(name),
        }
        self
    }

    fn without(mut self, name: &str) -> Self {
        match &mut self {
            Self::Only(names) => _ = names.remove(name),
            Self::AllBut(names) => _ = names.insert(name.to_owned()),
        }
        self
    }

    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Only(a), Self::Only(b)) => Self::Only(&a | &b),
            (Self::AllBut(a), Self::AllBut(b)) => Self::AllBut(&a & &b),
            (Self::Only(only), Self::AllBut(all_but)) | (Self::AllBut(all_but), Self::Only(only)) => {
                Self::AllBut(&all_but - &only)
            }
        }
    }

    fn among(&self, names: &[String]) -> Self {
        Self::Only(names.iter().filter(|name| self.may_contain(name)).cloned().collect())
    }
}

/// The labels of the results of `expr`.
pub(super) fn result_labels(expr: &Expr) -> LabelNames {
    match expr {
        Expr::Number(_) | Expr::String(_) => LabelNames::none(),
        Expr::VectorSelector(selector) => of_selector(selector),
        Expr::MatrixSelector(matrix) => of_selector(&matrix.selector),
        Expr::Subquery(subquery) => result_labels(&subquery.expr),
        Expr::Paren(paren) => result_labels(&paren.expr),
        Expr::Unary(unary) => result_labels(&unary.expr),
        Expr::Aggregation(aggregation) => of_aggregation(aggregation),
        Expr::Call(call) => of_call(call),
        Expr::Binary(binary) => of_binary(binary),
    }
}

/// All but those that a matcher wants to be absent.
fn of_selector(selector: &VectorSelector) -> LabelNames {
    let absent =
        selector.matchers.iter().filter(|matcher| matcher.op() == MatchOp::Equal && matcher.value().is_empty());
    LabelNames::AllBut(absent.map(|matcher| matcher.name().to_owned()).collect())
}

fn of_aggregation(aggregation: &Aggregation) -> LabelNames {
    let inner = result_labels(&aggregation.expr);
    match aggregation.op {
        AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk | AggregateOp::LimitRatio => return inner,
        _ => {}
    }
    let grouped = if aggregation.without {
        aggregation.grouping.iter().fold(inner, |labels, name| labels.without(name)).without("__name__")
    } else {
        inner.among(&aggregation.grouping)
    };
    match aggregation.param.as_deref() {
        Some(Expr::String(label)) if aggregation.op == AggregateOp::CountValues => {
            grouped.with(&String::from_utf8_lossy(&label.value))
        }
        _ => grouped,
    }
}

fn of_call(call: &Call) -> LabelNames {
    let text = |position: usize| match call.args.get(position) {
        Some(Expr::String(text)) => String::from_utf8_lossy(&text.value).into_owned(),
        _ => String::new(),
    };
    let series =
        call.args.iter().find(|argument| matches!(argument.value_type(), ValueType::Vector | ValueType::Matrix));
    let inner = series.map_or_else(LabelNames::none, result_labels);
    match call.function.name {
        "label_replace" | "label_join" => inner.with(&text(1)),
        "absent" | "absent_over_time" => {
            let selector = series.and_then(|series| match series {
                Expr::VectorSelector(selector) => Some(selector),
                Expr::MatrixSelector(matrix) => Some(&matrix.selector),
                _ => None,
            });
            let equal = selector.into_iter().flat_map(|selector| &selector.matchers);
            let equal = equal.filter(|matcher| matcher.op() == MatchOp::Equal && matcher.name() != "__name__");
            LabelNames::Only(equal.map(|matcher| matcher.name().to_owned()).collect())
        }
        "histogram_quantile" => inner.without("le"),
        "scalar" => LabelNames::none(),
        "info" => LabelNames::AllBut(BTreeSet::new()),
        _ => inner,
    }
}

fn of_binary(binary: &Binary) -> LabelNames {
    let (left, right) = (result_labels(&binary.lhs), result_labels(&binary.rhs));
    let Some(matching) = &binary.matching else {
        return if binary.lhs.value_type() == ValueType::Vector { left } else { right };
    };
    match (binary.op, matching.cardinality) {
        (BinaryOp::And | BinaryOp::Unless, _) => left,
        (BinaryOp::Or, _) => left.or(right),
        (_, Cardinality::ManyToOne) => matching.include.iter().fold(left, |labels, name| labels.with(name)),
        (_, Cardinality::OneToMany) => matching.include.iter().fold(right, |labels, name| labels.with(name)),
        _ if matching.fill_left.is_some() || matching.fill_right.is_some() => left.or(right),
        _ if matching.on => left.among(&matching.labels),
        _ => matching.labels.iter().fold(left, |labels, name| labels.without(name)),
    }
}
