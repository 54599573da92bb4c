//! `eq`, `ne`, `lt`, `le`, `gt`, `ge` by Go's rules: no conversion, save that integers of all types compare.

use crate::call::CallError;
use crate::format;
use crate::value::{Object, Value};
use std::sync::Arc;

/// Kinds of which two values must be alike to be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bool,
    Integer,
    Float,
    Text,
    /// A time is a structure.
    Structure,
    Pointer,
    List,
    Map,
    Function,
    Nil,
}

fn kind(value: &Value) -> Kind {
    match value {
        Value::NoValue | Value::Nil => Kind::Nil,
        Value::Bool(_) => Kind::Bool,
        Value::Integer(_) => Kind::Integer,
        Value::Float(_) => Kind::Float,
        Value::String(_) => Kind::Text,
        Value::List(_) => Kind::List,
        Value::Map(_) => Kind::Map,
        Value::Time(_) => Kind::Structure,
        Value::Object(object) => object.underlying().map_or(Kind::Structure, |value| kind(&value)),
        Value::Function(_) => Kind::Function,
        Value::Pointer(_) => Kind::Pointer,
    }
}

impl Kind {
    fn is_basic(self) -> bool {
        matches!(self, Self::Bool | Self::Integer | Self::Float | Self::Text)
    }
}

/// Whether `first` equals one of `others`.
pub(super) fn eq(first: &Value, others: &[Value]) -> Result<bool, CallError> {
    if others.is_empty() {
        return Err(CallError::failed("missing argument for comparison"));
    }
    for other in others {
        if equal(first, other)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn equal(a: &Value, b: &Value) -> Result<bool, CallError> {
    match (a, b) {
        _ if a.is_nil() || b.is_nil() => Ok(a.is_nil() && b.is_nil()),
        (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
        (Value::Integer(a), Value::Integer(b)) => Ok(a.value() == b.value()),
        (Value::Float(a), Value::Float(b)) => Ok(a == b),
        (Value::String(a), Value::String(b)) => Ok(a == b),
        (Value::Pointer(a), Value::Pointer(b)) => Ok(Arc::ptr_eq(a, b)),
        (Value::Time(a), Value::Time(b)) => Ok(a == b),
        _ if kind(a).is_basic() || kind(b).is_basic() => Err(incompatible(a, b)),
        _ if kind(a) != kind(b) => {
            let (first, second) = (text(a, 's'), text(b, 'v'));
            let message = format!("non-comparable types {first}: {}, {}: {second}", a.type_name(), b.type_name());
            Err(CallError::failed(message))
        }
        (Value::Object(a), Value::Object(b)) if a.underlying().is_none() => {
            if a.type_name() != b.type_name() {
                return Ok(false);
            }
            structures_are_equal(a.as_ref(), b.as_ref())
        }
        (Value::Object(_), Value::Time(_)) | (Value::Time(_), Value::Object(_)) => Ok(false),
        _ => Err(CallError::failed(format!("non-comparable type {}: {}", text(b, 's'), b.type_name()))),
    }
}

/// Field by field.
fn structures_are_equal(a: &dyn Object, b: &dyn Object) -> Result<bool, CallError> {
    for ((_, a), (_, b)) in a.fields().iter().zip(b.fields()) {
        if !equal(a, &b)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn text(value: &Value, verb: char) -> String {
    format::text(value, verb, 4096).unwrap_or_default()
}

fn incompatible(a: &Value, b: &Value) -> CallError {
    CallError::failed(format!("incompatible types for comparison: {} and {}", a.type_name(), b.type_name()))
}

pub(super) fn lt(a: &Value, b: &Value) -> Result<bool, CallError> {
    let invalid = || CallError::failed("invalid type for comparison");
    if !kind(a).is_basic() || !kind(b).is_basic() {
        return Err(invalid());
    }
    match (a, b) {
        (Value::Integer(a), Value::Integer(b)) => Ok(a.value() < b.value()),
        (Value::Float(a), Value::Float(b)) => Ok(a < b),
        (Value::String(a), Value::String(b)) => Ok(a < b),
        (Value::Bool(_), Value::Bool(_)) => Err(invalid()),
        _ => Err(incompatible(a, b)),
    }
}

/// `a < b` or `a == b`; both are false for NaN.
pub(super) fn le(a: &Value, b: &Value) -> Result<bool, CallError> {
    Ok(lt(a, b)? || equal(a, b)?)
}
