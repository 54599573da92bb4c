//! Which values an expression can have, as far as its text tells: a closed interval that holds all that are numbers.

use promql::ast::{AggregateOp, Aggregation, Binary, BinaryOp, Call, Expr};

/// `low <= value <= high` for every value but NaN; empty when `low > high`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bounds {
    pub(super) low: f64,
    pub(super) high: f64,
}

const ANY: Bounds = Bounds { low: f64::NEG_INFINITY, high: f64::INFINITY };
const NOT_NEGATIVE: Bounds = Bounds { low: 0.0, high: f64::INFINITY };

impl Bounds {
    fn new(low: f64, high: f64) -> Self {
        if low.is_nan() || high.is_nan() { ANY } else { Self { low, high } }
    }

    fn exactly(value: f64) -> Self {
        Self::new(value, value)
    }

    fn within(self, other: Self) -> Self {
        Self::new(self.low.max(other.low), self.high.min(other.high))
    }

    fn around(self, other: Self) -> Self {
        Self::new(self.low.min(other.low), self.high.max(other.high))
    }

    pub(super) fn is_empty(self) -> bool {
        self.low > self.high
    }

    /// No value of `self` compares like this with any value of `other`.
    pub(super) fn never(self, op: BinaryOp, other: Self) -> bool {
        match op {
            BinaryOp::Greater => self.high <= other.low,
            BinaryOp::GreaterOrEqual => self.high < other.low,
            BinaryOp::Less => self.low >= other.high,
            BinaryOp::LessOrEqual => self.low > other.high,
            BinaryOp::Equal => self.high < other.low || self.low > other.high,
            BinaryOp::NotEqual => self.low == self.high && other.low == other.high && self.low == other.low,
            _ => false,
        }
    }

    /// Every value of `self` but NaN compares like this with every value of `other`.
    pub(super) fn always(self, op: BinaryOp, other: Self) -> bool {
        match op {
            BinaryOp::Greater => self.low > other.high,
            BinaryOp::GreaterOrEqual => self.low >= other.high,
            BinaryOp::Less => self.high < other.low,
            BinaryOp::LessOrEqual => self.high <= other.low,
            BinaryOp::NotEqual => self.high < other.low || self.low > other.high,
            BinaryOp::Equal => self.low == self.high && other.low == other.high && self.low == other.low,
            _ => false,
        }
    }

    /// The values that are left where `self` compares like this with `other`.
    fn filtered(self, op: BinaryOp, other: Self) -> Self {
        match op {
            BinaryOp::Greater | BinaryOp::GreaterOrEqual => Self::new(self.low.max(other.low), self.high),
            BinaryOp::Less | BinaryOp::LessOrEqual => Self::new(self.low, self.high.min(other.high)),
            BinaryOp::Equal => self.within(other),
            _ => self,
        }
    }
}

pub(super) fn is_comparison(op: BinaryOp) -> bool {
    matches!(
        op,
        BinaryOp::Equal
            | BinaryOp::NotEqual
            | BinaryOp::Less
            | BinaryOp::LessOrEqual
            | BinaryOp::Greater
            | BinaryOp::GreaterOrEqual
    )
}

/// The values of `expr`.
pub(super) fn bounds(expr: &Expr) -> Bounds {
    match expr {
        Expr::Number(number) => Bounds::exactly(number.value),
        Expr::Paren(paren) => bounds(&paren.expr),
        Expr::Unary(unary) => {
            let inner = bounds(&unary.expr);
            if unary.negative { Bounds::new(-inner.high, -inner.low) } else { inner }
        }
        Expr::VectorSelector(selector) => match selector.name.as_deref() {
            Some("up") => Bounds::new(0.0, 1.0),
            Some("ALERTS") => Bounds::exactly(1.0),
            _ => ANY,
        },
        Expr::Aggregation(aggregation) => of_aggregation(aggregation),
        Expr::Call(call) => of_call(call),
        Expr::Binary(binary) => of_binary(binary),
        Expr::String(_) | Expr::MatrixSelector(_) | Expr::Subquery(_) => ANY,
    }
}

fn of_aggregation(aggregation: &Aggregation) -> Bounds {
    let inner = bounds(&aggregation.expr);
    match aggregation.op {
        AggregateOp::Count | AggregateOp::CountValues => Bounds::new(1.0, f64::INFINITY),
        AggregateOp::Group => Bounds::exactly(1.0),
        AggregateOp::Stddev | AggregateOp::Stdvar => NOT_NEGATIVE,
        AggregateOp::Sum if inner.low >= 0.0 => Bounds::new(inner.low, f64::INFINITY),
        AggregateOp::Sum if inner.high <= 0.0 => Bounds::new(f64::NEG_INFINITY, inner.high),
        AggregateOp::Sum | AggregateOp::Quantile => ANY,
        _ => inner,
    }
}

fn of_call(call: &Call) -> Bounds {
    let first = || call.args.first().map_or(ANY, bounds);
    let number = |position: usize| match call.args.get(position) {
        Some(argument) => bounds(argument),
        None => ANY,
    };
    match call.function.name {
        "absent" | "absent_over_time" | "present_over_time" => Bounds::exactly(1.0),
        "count_over_time" => Bounds::new(1.0, f64::INFINITY),
        "rate" | "irate" | "increase" | "changes" | "resets" | "stddev_over_time" | "stdvar_over_time" | "abs"
        | "sqrt" | "histogram_count" | "histogram_stddev" | "histogram_stdvar" => NOT_NEGATIVE,
        "histogram_fraction" => Bounds::new(0.0, 1.0),
        "sgn" => Bounds::new(-1.0, 1.0),
        "minute" => Bounds::new(0.0, 59.0),
        "hour" => Bounds::new(0.0, 23.0),
        "day_of_week" => Bounds::new(0.0, 6.0),
        "day_of_month" => Bounds::new(1.0, 31.0),
        "day_of_year" => Bounds::new(1.0, 366.0),
        "days_in_month" => Bounds::new(28.0, 31.0),
        "month" => Bounds::new(1.0, 12.0),
        "vector" | "scalar" | "sort" | "sort_desc" | "sort_by_label" | "sort_by_label_desc" | "label_replace"
        | "label_join" => first(),
        "clamp_min" => Bounds::new(first().low.max(number(1).low), f64::INFINITY),
        "clamp_max" => Bounds::new(f64::NEG_INFINITY, first().high.min(number(1).high)),
        "clamp" => Bounds::new(number(1).low, number(2).high),
        _ => ANY,
    }
}

fn of_binary(binary: &Binary) -> Bounds {
    let (left, right) = (bounds(&binary.lhs), bounds(&binary.rhs));
    if is_comparison(binary.op) {
        return match (binary.return_bool, left.never(binary.op, right)) {
            (true, true) => Bounds::exactly(0.0),
            (true, false) if left.always(binary.op, right) => Bounds::exactly(1.0),
            (true, false) => Bounds::new(0.0, 1.0),
            // A scalar on the left: the values of the vector are what is returned.
            (false, _) if matches!(&*binary.lhs, Expr::Number(_)) => right.filtered(mirrored(binary.op), left),
            (false, _) => left.filtered(binary.op, right),
        };
    }
    match binary.op {
        BinaryOp::And | BinaryOp::Unless => left,
        BinaryOp::Or => left.around(right),
        BinaryOp::Add => Bounds::new(left.low + right.low, left.high + right.high),
        BinaryOp::Sub => Bounds::new(left.low - right.high, left.high - right.low),
        BinaryOp::Mul => corners(left, right, |a, b| if a == 0.0 || b == 0.0 { 0.0 } else { a * b }),
        BinaryOp::Div if right.low > 0.0 || right.high < 0.0 => {
            corners(left, right, |a, b| if b.is_infinite() { 0.0 } else { a / b })
        }
        // Whatever is not negative stays so, or becomes NaN or infinite.
        BinaryOp::Div if left.low >= 0.0 && right.low >= 0.0 => NOT_NEGATIVE,
        _ => ANY,
    }
}

fn corners(left: Bounds, right: Bounds, op: fn(f64, f64) -> f64) -> Bounds {
    let products = [(left.low, right.low), (left.low, right.high), (left.high, right.low), (left.high, right.high)];
    let products = products.map(|(a, b)| op(a, b));
    if products.iter().any(|product| product.is_nan()) {
        return ANY;
    }
    let fold = |start: f64, pick: fn(f64, f64) -> f64| products.iter().copied().fold(start, pick);
    Bounds::new(fold(f64::INFINITY, f64::min), fold(f64::NEG_INFINITY, f64::max))
}

/// The operator with its sides exchanged.
pub(super) fn mirrored(op: BinaryOp) -> BinaryOp {
    match op {
        BinaryOp::Less => BinaryOp::Greater,
        BinaryOp::LessOrEqual => BinaryOp::GreaterOrEqual,
        BinaryOp::Greater => BinaryOp::Less,
        BinaryOp::GreaterOrEqual => BinaryOp::LessOrEqual,
        op => op,
    }
}
