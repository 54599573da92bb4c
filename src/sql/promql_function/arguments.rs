//! The arguments of the function: an expression, times, a step.

use crate::http::params::{parse_duration_param, parse_time};
use crate::query::request::Window;
use datafusion::arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::Expr;

const USAGE: &str = "promql takes an expression as text, and then nothing, a time, or a start, an end and a step";

const DAY_NS: i128 = 86_400_000_000_000;

/// The expression and when to evaluate it.
pub(super) fn read(arguments: &[Expr], now_ms: i64) -> Result<(String, Window)> {
    let values = arguments.iter().map(value).collect::<Result<Vec<_>>>()?;
    let refused = |reason: &str| Err(DataFusionError::Plan(format!("promql: {reason}")));
    let window = match values.get(1..).unwrap_or_default() {
        [] => Window::Instant(now_ms),
        [at] => Window::Instant(time_ms(at)?),
        [start, end, step] => {
            let (start_ms, end_ms, step_ms) = (time_ms(start)?, time_ms(end)?, step_ms(step)?);
            if end_ms < start_ms {
                return refused("the end is before the start");
            }
            if step_ms <= 0 {
                return refused("the step is less than a millisecond");
            }
            Window::Range { start_ms, end_ms, step_ms }
        }
        _ => return refused(USAGE),
    };
    match values.first() {
        Some(ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text))) => Ok((text.clone(), window)),
        _ => refused(USAGE),
    }
}

fn value(argument: &Expr) -> Result<ScalarValue> {
    match argument {
        Expr::Literal(value, _) => Ok(value.clone()),
        other => Err(DataFusionError::Plan(format!("promql: {other} is no constant"))),
    }
}

/// A point in time: a timestamp, a date, or as in the HTTP API a text or a number of seconds.
fn time_ms(value: &ScalarValue) -> Result<i64> {
    let refused = || DataFusionError::Plan(format!("promql: {value} is no time"));
    match value {
        ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)) => {
            parse_time(text).map_err(|error| DataFusionError::Plan(format!("promql: {error}")))
        }
        ScalarValue::Int64(Some(seconds)) => seconds.checked_mul(1000).ok_or_else(refused),
        ScalarValue::Float64(Some(seconds)) => Ok((seconds * 1000.0).round() as i64),
        other => match other.cast_to(&DataType::Timestamp(TimeUnit::Millisecond, None)) {
            Ok(ScalarValue::TimestampMillisecond(Some(ms), _)) => Ok(ms),
            _ => Err(refused()),
        },
    }
}

/// A length of time: an interval, or as in the HTTP API a text or a number of seconds.
fn step_ms(value: &ScalarValue) -> Result<i64> {
    let refused = || DataFusionError::Plan(format!("promql: {value} is no step"));
    match value {
        ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)) => parse_duration_param(text)
            .map(|step| step.as_millis())
            .map_err(|error| DataFusionError::Plan(format!("promql: {error}"))),
        ScalarValue::Int64(Some(seconds)) => seconds.checked_mul(1000).ok_or_else(refused),
        ScalarValue::Float64(Some(seconds)) => Ok((seconds * 1000.0).round() as i64),
        other => match other.cast_to(&DataType::Interval(IntervalUnit::MonthDayNano)) {
            Ok(ScalarValue::IntervalMonthDayNano(Some(step))) if step.months == 0 => {
                let ns = i128::from(step.days) * DAY_NS + i128::from(step.nanoseconds);
                i64::try_from(ns / 1_000_000).map_err(|_| refused())
            }
            _ => Err(refused()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::prelude::lit;

    #[test]
    fn times_and_steps_are_written_in_several_ways() {
        let timestamp = Expr::Literal(ScalarValue::TimestampNanosecond(Some(5_000_000_000), None), None);
        let range = Window::Range { start_ms: 5_000, end_ms: 60_500, step_ms: 60_000 };
        for (start, end, step) in [
            (timestamp.clone(), lit(60.5), lit("1m")),
            (lit(5i64), lit("1970-01-01T00:01:00.5Z"), lit(60i64)),
            (lit("5"), lit("60.5"), Expr::Literal(ScalarValue::new_interval_dt(0, 60_000), None)),
        ] {
            let window = read(&[lit("up"), start, end, step], 7).unwrap().1;
            assert_eq!(window, range);
        }
        assert_eq!(read(&[lit("up")], 7).unwrap(), ("up".into(), Window::Instant(7)));
        assert_eq!(read(&[lit("up"), timestamp], 7).unwrap().1, Window::Instant(5_000));
        for wrong in [
            vec![],
            vec![lit(1i64)],
            vec![lit("up"), lit(1i64), lit(2i64)],
            vec![lit("up"), lit(2i64), lit(1i64), lit(1i64)],
            vec![lit("up"), lit(1i64), lit(2i64), lit(0i64)],
            vec![lit("up"), lit("soon")],
            vec![datafusion::prelude::col("a")],
        ] {
            assert!(read(&wrong, 7).is_err(), "{wrong:?}");
        }
    }
}
