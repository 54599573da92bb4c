//! One value as JSON; CSV uses the same texts without quotes.
//!
//! Numbers that readers of JSON would change are texts: NaN, infinities, and integers beyond 2⁵³.

use crate::http::json::text::push_string;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, downcast_dictionary_array};
use datafusion::arrow::datatypes::{
    DataType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::error::Result;
use std::io::Write;

/// The largest integer that every reader of JSON keeps.
const SAFE_INTEGER_MAX: i128 = 1 << 53;

/// Appends the value of a row as JSON.
pub(super) fn push_json(out: &mut Vec<u8>, array: &dyn Array, row: usize) -> Result<()> {
    if array.is_null(row) {
        out.extend_from_slice(b"null");
        return Ok(());
    }
    match array.data_type() {
        DataType::Null => out.extend_from_slice(b"null"),
        DataType::Boolean => out.extend_from_slice(if array.as_boolean().value(row) { b"true" } else { b"false" }),
        DataType::Int8 => push_integer(out, array.as_primitive::<Int8Type>().value(row).into()),
        DataType::Int16 => push_integer(out, array.as_primitive::<Int16Type>().value(row).into()),
        DataType::Int32 => push_integer(out, array.as_primitive::<Int32Type>().value(row).into()),
        DataType::Int64 => push_integer(out, array.as_primitive::<Int64Type>().value(row).into()),
        DataType::UInt8 => push_integer(out, array.as_primitive::<UInt8Type>().value(row).into()),
        DataType::UInt16 => push_integer(out, array.as_primitive::<UInt16Type>().value(row).into()),
        DataType::UInt32 => push_integer(out, array.as_primitive::<UInt32Type>().value(row).into()),
        DataType::UInt64 => push_integer(out, array.as_primitive::<UInt64Type>().value(row).into()),
        DataType::Float32 => push_float(out, array.as_primitive::<Float32Type>().value(row).into()),
        DataType::Float64 => push_float(out, array.as_primitive::<Float64Type>().value(row)),
        DataType::Utf8 => push_string(out, array.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => push_string(out, array.as_string::<i64>().value(row)),
        DataType::Utf8View => push_string(out, array.as_string_view().value(row)),
        DataType::Timestamp(unit, _) => push_time(out, array, *unit, row)?,
        DataType::Dictionary(..) => downcast_dictionary_array!(
            array => match array.key(row) {
                Some(key) => push_json(out, array.values(), key)?,
                None => out.extend_from_slice(b"null"),
            },
            _ => push_text(out, array, row)?,
        ),
        DataType::List(_) => push_list(out, &array.as_list::<i32>().value(row))?,
        DataType::LargeList(_) => push_list(out, &array.as_list::<i64>().value(row))?,
        DataType::FixedSizeList(..) => push_list(out, &array.as_fixed_size_list().value(row))?,
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns().iter();
            let names = fields.iter().map(|field| field.name());
            push_object(out, names.zip(columns).map(|(name, column)| (name.clone(), column, row)))?;
        }
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            let (keys, values) = (entries.column(0), entries.column(1));
            let formatter = ArrayFormatter::try_new(keys, &FormatOptions::default())?;
            push_object(out, (0..entries.len()).map(|entry| (formatter.value(entry).to_string(), values, entry)))?;
        }
        _ => push_text(out, array, row)?,
    }
    Ok(())
}

fn push_integer(out: &mut Vec<u8>, value: i128) {
    // Writing to a vector cannot fail.
    let _ = match value.abs() > SAFE_INTEGER_MAX {
        true => write!(out, "\"{value}\""),
        false => write!(out, "{value}"),
    };
}

fn push_float(out: &mut Vec<u8>, value: f64) {
    let text: &[u8] = match value {
        value if value.is_nan() => b"\"NaN\"",
        f64::INFINITY => b"\"+Inf\"",
        f64::NEG_INFINITY => b"\"-Inf\"",
        value => {
            // The shortest text that reads back the same; large and small ones with an exponent.
            let _ = match value != 0.0 && !(1e-7..1e21).contains(&value.abs()) {
                true => write!(out, "{value:e}"),
                false => write!(out, "{value}"),
            };
            return;
        }
    };
    out.extend_from_slice(text);
}

fn push_time(out: &mut Vec<u8>, array: &dyn Array, unit: TimeUnit, row: usize) -> Result<()> {
    let nanoseconds = match unit {
        TimeUnit::Second => i128::from(array.as_primitive::<TimestampSecondType>().value(row)) * 1_000_000_000,
        TimeUnit::Millisecond => i128::from(array.as_primitive::<TimestampMillisecondType>().value(row)) * 1_000_000,
        TimeUnit::Microsecond => i128::from(array.as_primitive::<TimestampMicrosecondType>().value(row)) * 1_000,
        TimeUnit::Nanosecond => array.as_primitive::<TimestampNanosecondType>().value(row).into(),
    };
    let Ok(time) = jiff::Timestamp::from_nanosecond(nanoseconds) else { return push_text(out, array, row) };
    let zone = if matches!(array.data_type(), DataType::Timestamp(_, Some(_))) { "Z" } else { "" };
    let text = match nanoseconds.rem_euclid(1_000_000) {
        0 => format!("{time:.3}"),
        _ => format!("{time:.9}"),
    };
    // Without a zone it is no point in time, just what a clock showed.
    let _ = write!(out, "\"{}{zone}\"", text.trim_end_matches('Z'));
    Ok(())
}

fn push_list(out: &mut Vec<u8>, items: &ArrayRef) -> Result<()> {
    out.push(b'[');
    for item in 0..items.len() {
        if item > 0 {
            out.push(b',');
        }
        push_json(out, items, item)?;
    }
    out.push(b']');
    Ok(())
}

fn push_object<'a>(out: &mut Vec<u8>, members: impl Iterator<Item = (String, &'a ArrayRef, usize)>) -> Result<()> {
    out.push(b'{');
    for (i, (name, column, row)) in members.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        push_string(out, &name);
        out.push(b':');
        push_json(out, column, row)?;
    }
    out.push(b'}');
    Ok(())
}

/// As arrow prints it.
fn push_text(out: &mut Vec<u8>, array: &dyn Array, row: usize) -> Result<()> {
    let formatter = ArrayFormatter::try_new(array, &FormatOptions::default())?;
    push_string(out, &formatter.value(row).to_string());
    Ok(())
}
