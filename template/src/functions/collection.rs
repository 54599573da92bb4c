//! `index`, `slice` and `len`.

use crate::call::CallError;
use crate::literal::text_from_bytes;
use crate::value::{Integer, IntegerKind, List, Value};

/// `item` indexed by one index after the other: lists and texts by position, maps by key.
pub(super) fn index(item: &Value, indexes: &[Value]) -> Result<Value, CallError> {
    if item.is_nil() {
        return Err(CallError::failed("index of untyped nil"));
    }
    let mut item = item.clone();
    for index in indexes {
        if item.is_nil() {
            return Err(CallError::failed("index of nil pointer"));
        }
        item = index_once(&item, index)?;
    }
    Ok(item)
}

fn index_once(item: &Value, index: &Value) -> Result<Value, CallError> {
    match item.collection().as_ref() {
        Value::List(list) => {
            let at = position(index, list.items().len())?;
            list.items().get(at).cloned().ok_or_else(|| CallError::failed("reflect: slice index out of range"))
        }
        Value::String(text) => {
            let at = position(index, text.len())?;
            let byte =
                text.as_bytes().get(at).ok_or_else(|| CallError::failed("reflect: string index out of range"))?;
            Ok(Value::Integer(Integer::new(i64::from(*byte), IntegerKind::Uint8)))
        }
        Value::Map(map) => match index {
            Value::String(key) => Ok(map.get(key).unwrap_or(map.zero()).clone()),
            _ if index.is_nil() => Err(CallError::failed("value is nil; should be of type string")),
            _ => Err(CallError::failed(format!("value has type {}; should be string", index.type_name()))),
        },
        _ => Err(CallError::failed(format!("can't index item of type {}", item.behind_pointers().type_name()))),
    }
}

/// `item[a:b]`: a part of a list or of the bytes of a text. With a third index, which only bounds a list's capacity in Go,
/// the result is the same.
pub(super) fn slice(item: &Value, indexes: &[Value]) -> Result<Value, CallError> {
    if item.is_nil() {
        return Err(CallError::failed("slice of untyped nil"));
    }
    if indexes.len() > 3 {
        return Err(CallError::failed(format!("too many slice indexes: {}", indexes.len())));
    }
    let collection = item.collection();
    let length = match collection.as_ref() {
        Value::String(_) if indexes.len() == 3 => return Err(CallError::failed("cannot 3-index slice a string")),
        Value::String(text) => text.len(),
        Value::List(list) => list.items().len(),
        _ => {
            let type_name = item.behind_pointers().type_name();
            return Err(CallError::failed(format!("can't slice item of type {type_name}")));
        }
    };
    let mut bounds = [0, length, length];
    for (bound, index) in bounds.iter_mut().zip(indexes) {
        *bound = position(index, length)?;
    }
    let [from, to, capacity] = bounds;
    if from > to {
        return Err(CallError::failed(format!("invalid slice index: {from} > {to}")));
    }
    if to > capacity {
        return Err(CallError::failed(format!("invalid slice index: {to} > {capacity}")));
    }
    Ok(match collection.as_ref() {
        Value::String(text) => Value::from(text_from_bytes(text.as_bytes().get(from..to).unwrap_or_default())),
        Value::List(list) => {
            let part = list.items().get(from..to).unwrap_or_default();
            Value::from(List::new(list.type_name(), part.to_vec()))
        }
        _ => Value::NoValue,
    })
}

/// Entries of a list or map, bytes of a text.
pub(super) fn length(item: &Value) -> Result<i64, CallError> {
    let length = match item.collection().as_ref() {
        Value::List(list) => list.items().len(),
        Value::Map(map) => map.entries().len(),
        Value::String(text) => text.len(),
        Value::NoValue | Value::Nil => return Err(CallError::failed("len of nil pointer")),
        other => return Err(CallError::failed(format!("len of type {}", other.type_name()))),
    };
    Ok(i64::try_from(length).unwrap_or(i64::MAX))
}

/// An index as a position of at most `length`, the place behind the last item.
fn position(index: &Value, length: usize) -> Result<usize, CallError> {
    match index {
        Value::Integer(integer) => usize::try_from(integer.value())
            .ok()
            .filter(|at| *at <= length)
            .ok_or_else(|| CallError::failed(format!("index out of range: {}", integer.value()))),
        Value::NoValue | Value::Nil => Err(CallError::failed("cannot index slice/array with nil")),
        other => Err(CallError::failed(format!("cannot index slice/array with type {}", other.type_name()))),
    }
}
