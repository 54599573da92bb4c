//! Literals as DataFusion's rewrites leave them.

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;

/// Whether values of the type are texts.
pub(super) fn is_text(kind: &DataType) -> bool {
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => is_text(values),
        _ => false,
    }
}

/// Whether values of the type are points in time that no millisecond is lost in.
pub(super) fn is_fine_time(kind: &DataType) -> bool {
    matches!(kind, DataType::Timestamp(TimeUnit::Millisecond | TimeUnit::Microsecond | TimeUnit::Nanosecond, _))
}

/// A text that is not NULL.
pub(super) fn text_of(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Literal(value, _) => text(value),
        Expr::Cast(cast) if is_text(cast.field.data_type()) => text_of(&cast.expr),
        _ => None,
    }
}

fn text(value: &ScalarValue) -> Option<String> {
    match value {
        ScalarValue::Utf8(text) | ScalarValue::LargeUtf8(text) | ScalarValue::Utf8View(text) => text.clone(),
        ScalarValue::Dictionary(_, inner) => text(inner),
        _ => None,
    }
}

/// A point in time that is not NULL, in nanoseconds since the Unix epoch.
pub(super) fn time_ns_of(expr: &Expr) -> Option<i128> {
    let Expr::Literal(value, _) = expr else { return None };
    let (number, factor) = match value {
        ScalarValue::TimestampSecond(number, _) => (number, 1_000_000_000),
        ScalarValue::TimestampMillisecond(number, _) => (number, 1_000_000),
        ScalarValue::TimestampMicrosecond(number, _) => (number, 1_000),
        ScalarValue::TimestampNanosecond(number, _) => (number, 1),
        _ => return None,
    };
    number.map(|number| i128::from(number) * factor)
}
