//! Numbers for people: with prefixes, as durations, as times.

use crate::call::CallError;
use crate::format::{FloatVerb, format_float};
use crate::literal::parse_float;
use crate::time::Time;
use crate::value::{IntegerKind, Value};

const LARGE: [&str; 8] = ["k", "M", "G", "T", "P", "E", "Z", "Y"];
const SMALL: [&str; 8] = ["m", "u", "n", "p", "f", "a", "z", "y"];
const BINARY: [&str; 8] = ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"];

/// Numbers, texts of numbers and durations (in seconds) as floats.
fn float(value: &Value) -> Result<f64, CallError> {
    match value {
        Value::Float(float) => Ok(*float),
        Value::String(text) => parse_float(text).map_err(|error| {
            CallError::failed(format!("strconv.ParseFloat: parsing {}: {error}", model::text::quote(text)))
        }),
        Value::Integer(integer) => match integer.kind() {
            IntegerKind::Int | IntegerKind::Int64 | IntegerKind::Uint64 => Ok(integer.value() as f64),
            IntegerKind::Duration => Ok(integer.value() as f64 / 1e9),
            IntegerKind::Uint8 | IntegerKind::Month | IntegerKind::Weekday => Err(not_a_number(&value.type_name())),
        },
        Value::NoValue | Value::Nil => Err(not_a_number("<nil>")),
        _ => Err(not_a_number(&value.type_name())),
    }
}

fn not_a_number(type_name: &str) -> CallError {
    CallError::failed(format!("can't convert {type_name} to float"))
}

/// Four significant digits.
fn short(value: f64) -> String {
    format_float(value, FloatVerb::General(false), Some(4))
}

/// Divides by `base` while that leaves as much, and names how often.
fn scaled_down(mut value: f64, base: f64, prefixes: [&'static str; 8]) -> (f64, &'static str) {
    let mut shown = "";
    for prefix in prefixes {
        if value.abs() < base {
            break;
        }
        shown = prefix;
        value /= base;
    }
    (value, shown)
}

/// Multiplies by a thousand until one is reached, and names how often.
fn scaled_up(mut value: f64) -> (f64, &'static str) {
    let mut shown = "";
    for prefix in SMALL {
        if value.abs() >= 1.0 {
            break;
        }
        shown = prefix;
        value *= 1000.0;
    }
    (value, shown)
}

/// `1.235M`, `120m`
pub(super) fn si(value: &Value) -> Result<Value, CallError> {
    let value = float(value)?;
    if value == 0.0 || !value.is_finite() {
        return Ok(Value::from(short(value)));
    }
    let (value, prefix) = if value.abs() >= 1.0 { scaled_down(value, 1000.0, LARGE) } else { scaled_up(value) };
    Ok(Value::from(short(value) + prefix))
}

/// `1.177Mi`
pub(super) fn binary(value: &Value) -> Result<Value, CallError> {
    let value = float(value)?;
    if value.abs() <= 1.0 || !value.is_finite() {
        return Ok(Value::from(short(value)));
    }
    let (value, prefix) = scaled_down(value, 1024.0, BINARY);
    Ok(Value::from(short(value) + prefix))
}

/// Seconds as `1d 2h 3m 4s`, below a minute as `12.35s` or `100ms`.
pub(super) fn duration(value: &Value) -> Result<Value, CallError> {
    let value = float(value)?;
    if !value.is_finite() {
        return Ok(Value::from(short(value)));
    }
    if value == 0.0 {
        return Ok(Value::from(short(value) + "s"));
    }
    if value.abs() < 1.0 {
        let (value, prefix) = scaled_up(value);
        return Ok(Value::from(format!("{}{prefix}s", short(value))));
    }
    let sign = if value < 0.0 { "-" } else { "" };
    let whole = value.abs() as i64;
    let (days, hours, minutes, seconds) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60, whole % 60);
    Ok(Value::from(match (days, hours, minutes) {
        (0, 0, 0) => format!("{sign}{}s", short(value.abs())),
        (0, 0, _) => format!("{sign}{minutes}m {seconds}s"),
        (0, _, _) => format!("{sign}{hours}h {minutes}m {seconds}s"),
        (_, _, _) => format!("{sign}{days}d {hours}h {minutes}m {seconds}s"),
    }))
}

/// A ratio as `12.35%`
pub(super) fn percentage(value: &Value) -> Result<Value, CallError> {
    Ok(Value::from(short(float(value)? * 100.0) + "%"))
}

/// Unix seconds as `2015-06-23 13:19:44.128 +0000 UTC`
pub(super) fn timestamp(value: &Value) -> Result<Value, CallError> {
    let value = float(value)?;
    if !value.is_finite() {
        return Ok(Value::from(short(value)));
    }
    Ok(Value::from(time(value)?.to_string()))
}

/// Unix seconds as a time, for its methods.
pub(super) fn to_time(value: &Value) -> Result<Value, CallError> {
    let value = float(value)?;
    if !value.is_finite() {
        return Err(CallError::failed("value is NaN or Inf"));
    }
    Ok(Value::Time(time(value)?).pointer())
}

/// Whole milliseconds, cut toward the epoch, of a time that 64-bit nanoseconds can hold.
fn time(seconds: f64) -> Result<Time, CallError> {
    let nanos = seconds * 1e9;
    if nanos.abs() > i64::MAX as f64 {
        let shown = format_float(seconds, FloatVerb::General(false), None);
        let problem = "cannot be represented as a nanoseconds timestamp since it overflows int64";
        return Err(CallError::failed(format!("{shown} {problem}")));
    }
    Ok(Time::from_unix_millis(nanos as i64 / 1_000_000))
}

/// Seconds as a duration, for its methods.
pub(super) fn to_duration(value: &Value) -> Result<Value, CallError> {
    Ok(Value::duration((float(value)? * 1e9) as i64).pointer())
}
