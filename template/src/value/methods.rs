//! Methods of values: those of Go's `time.Time`, `time.Duration`, `time.Month` and `time.Weekday`, and the host's.

use super::{Integer, IntegerKind, Value};
use crate::call::{CallError, Signature, Type};
use crate::time::{Time, clamp_nanos};

const NO_ARGUMENTS: Signature = Signature::fixed(&[]);
const ONE_DURATION: Signature = Signature::fixed(&[Type::Duration]);
const ONE_TIME: Signature = Signature::fixed(&[Type::Named("time.Time")]);

/// What the method `name` of `value`, which is no pointer, takes.
pub(crate) fn method_signature(value: &Value, name: &str) -> Option<Signature> {
    match value {
        Value::Object(object) => object.method(name),
        Value::Time(_) => time_signature(name),
        Value::Integer(integer) => match integer.kind() {
            IntegerKind::Duration => duration_signature(name),
            IntegerKind::Month | IntegerKind::Weekday if name == "String" => Some(NO_ARGUMENTS),
            _ => None,
        },
        _ => None,
    }
}

/// Calls the method `name` of `value` with arguments that fit its signature.
pub(crate) fn call_method(value: &Value, name: &str, arguments: &[Value]) -> Result<Value, CallError> {
    let result = match value {
        Value::Object(object) => return object.call(name, arguments),
        Value::Time(time) => call_time(time, name, arguments),
        Value::Integer(integer) => call_integer(*integer, name, arguments),
        _ => None,
    };
    result.ok_or_else(|| CallError::failed(format!("no method {name}")))
}

fn time_signature(name: &str) -> Option<Signature> {
    Some(match name {
        "String" | "Unix" | "UnixMilli" | "UnixMicro" | "UnixNano" | "Year" | "Month" | "Day" | "Weekday"
        | "YearDay" | "Hour" | "Minute" | "Second" | "Nanosecond" | "IsZero" | "UTC" | "Local" => NO_ARGUMENTS,
        "Format" => Signature::fixed(&[Type::String]),
        "Add" | "Round" | "Truncate" => ONE_DURATION,
        "AddDate" => Signature::fixed(&[Type::Int, Type::Int, Type::Int]),
        "Sub" | "Before" | "After" | "Equal" | "Compare" => ONE_TIME,
        _ => return None,
    })
}

fn call_time(time: &Time, name: &str, arguments: &[Value]) -> Option<Value> {
    let civil = || time.civil();
    let int64 = |value: i128| Value::Integer(Integer::new(clamp_nanos(value), IntegerKind::Int64));
    Some(match name {
        "String" => Value::from(time.to_string()),
        "Format" => Value::from(time.format(arguments.first()?.as_text()?)),
        "Unix" => int64(i128::from(time.unix_seconds())),
        "UnixMilli" => int64(time.unix_nanos().div_euclid(1_000_000)),
        "UnixMicro" => int64(time.unix_nanos().div_euclid(1_000)),
        "UnixNano" => int64(time.unix_nanos()),
        "Year" => Value::int(civil().year),
        "Month" => Value::Integer(Integer::new(civil().month, IntegerKind::Month)),
        "Day" => Value::int(civil().day),
        "Weekday" => Value::Integer(Integer::new(civil().weekday, IntegerKind::Weekday)),
        "YearDay" => Value::int(civil().day_of_year),
        "Hour" => Value::int(civil().hour),
        "Minute" => Value::int(civil().minute),
        "Second" => Value::int(civil().second),
        "Nanosecond" => Value::int(i64::from(time.subsecond_nanos())),
        "IsZero" => Value::Bool(time.is_zero()),
        // The host's zone is of no concern here: what runs in a data centre runs in UTC.
        "UTC" | "Local" => Value::Time(time.clone().in_utc()),
        "Add" => Value::Time(time.add_nanos(integer(arguments, 0)?)),
        "Round" => Value::Time(time.round(integer(arguments, 0)?, true)),
        "Truncate" => Value::Time(time.round(integer(arguments, 0)?, false)),
        "AddDate" => Value::Time(time.add_date(integer(arguments, 0)?, integer(arguments, 1)?, integer(arguments, 2)?)),
        "Sub" => Value::duration(time.nanos_since(other_time(arguments)?)),
        "Before" => Value::Bool(time.unix_nanos() < other_time(arguments)?.unix_nanos()),
        "After" => Value::Bool(time.unix_nanos() > other_time(arguments)?.unix_nanos()),
        "Equal" => Value::Bool(time == other_time(arguments)?),
        "Compare" => Value::int(time.unix_nanos().cmp(&other_time(arguments)?.unix_nanos()) as i64),
        _ => return None,
    })
}

fn duration_signature(name: &str) -> Option<Signature> {
    Some(match name {
        "String" | "Nanoseconds" | "Microseconds" | "Milliseconds" | "Seconds" | "Minutes" | "Hours" | "Abs" => {
            NO_ARGUMENTS
        }
        "Round" | "Truncate" => ONE_DURATION,
        _ => return None,
    })
}

fn call_integer(integer_value: Integer, name: &str, arguments: &[Value]) -> Option<Value> {
    if name == "String" {
        return integer_value.text().map(Value::from);
    }
    let nanos = integer_value.bits().cast_signed();
    let int64 = |value: i64| Value::Integer(Integer::new(value, IntegerKind::Int64));
    // In Go the whole units are added to the rest, which keeps more digits than one division would.
    let in_units = |unit: i64| Value::Float((nanos / unit) as f64 + (nanos % unit) as f64 / unit as f64);
    Some(match name {
        "Nanoseconds" => int64(nanos),
        "Microseconds" => int64(nanos / 1_000),
        "Milliseconds" => int64(nanos / 1_000_000),
        "Seconds" => in_units(1_000_000_000),
        "Minutes" => in_units(60 * 1_000_000_000),
        "Hours" => in_units(3600 * 1_000_000_000),
        "Abs" => Value::duration(nanos.checked_abs().unwrap_or(i64::MAX)),
        "Truncate" => Value::duration(truncated(nanos, integer(arguments, 0)?)),
        "Round" => Value::duration(rounded(nanos, integer(arguments, 0)?)),
        _ => return None,
    })
}

/// Toward zero to a multiple of `unit`; unchanged when that is not positive.
fn truncated(nanos: i64, unit: i64) -> i64 {
    if unit <= 0 { nanos } else { nanos - nanos % unit }
}

/// To the nearest multiple of `unit`, halves away from zero.
fn rounded(nanos: i64, unit: i64) -> i64 {
    if unit <= 0 {
        return nanos;
    }
    let remainder = i128::from(nanos % unit);
    let down = i128::from(nanos) - remainder;
    let away = remainder.abs() * 2 >= i128::from(unit);
    clamp_nanos(if away { down + i128::from(unit) * remainder.signum() } else { down })
}

fn integer(arguments: &[Value], index: usize) -> Option<i64> {
    match arguments.get(index)? {
        Value::Integer(integer) => Some(integer.bits().cast_signed()),
        _ => None,
    }
}

fn other_time(arguments: &[Value]) -> Option<&Time> {
    match arguments.first()? {
        Value::Time(time) => Some(time),
        _ => None,
    }
}
