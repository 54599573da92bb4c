//! Functions over query results, and small ones over texts.

use super::Sample;
use super::data::label_map;
use super::environment::{RESULT_TYPE, SAMPLE_TYPE};
use crate::call::CallError;
use crate::value::{List, Map, Object, Value};
use std::sync::Arc;

/// One series of a query's answer, as templates see it.
#[derive(Debug)]
struct SampleObject {
    labels: Value,
    value: Value,
}

impl Object for SampleObject {
    fn type_name(&self) -> &str {
        SAMPLE_TYPE.trim_start_matches('*')
    }

    fn fields(&self) -> Vec<(&str, Value)> {
        vec![("Labels", self.labels.clone()), ("Value", self.value.clone())]
    }

    fn field(&self, name: &str) -> Option<Value> {
        match name {
            "Labels" => Some(self.labels.clone()),
            "Value" => Some(self.value.clone()),
            _ => None,
        }
    }
}

pub(super) fn query_result(samples: Vec<Sample>) -> Value {
    let object = |sample: Sample| {
        Value::object(SampleObject { labels: label_map(sample.labels), value: sample.value }).pointer()
    };
    Value::from(List::new(RESULT_TYPE, samples.into_iter().map(object).collect()))
}

pub(super) fn first(result: &Value) -> Result<Value, CallError> {
    let first = items(result).first().cloned();
    first.ok_or_else(|| CallError::failed("first() called on vector with no elements"))
}

/// The label of a sample; absent ones are empty.
pub(super) fn label(name: &Value, sample: &Value) -> Result<Value, CallError> {
    Ok(Value::String(label_text(name.as_text().unwrap_or_default(), sample)))
}

fn label_text(name: &str, sample: &Value) -> Arc<str> {
    let text = match field(sample, "Labels") {
        Some(Value::Object(labels)) => labels.field(name),
        _ => None,
    };
    match text {
        Some(Value::String(text)) => text,
        _ => Arc::from(""),
    }
}

pub(super) fn value(sample: &Value) -> Result<Value, CallError> {
    field(sample, "Value").ok_or_else(|| CallError::failed("not a sample"))
}

fn field(sample: &Value, name: &str) -> Option<Value> {
    match sample.behind_pointers() {
        Value::Object(object) => object.field(name),
        _ => None,
    }
}

/// Ascending by the label's value; equal ones keep their order.
pub(super) fn sort_by_label(name: &Value, result: &Value) -> Result<Value, CallError> {
    let name = name.as_text().unwrap_or_default();
    let mut sorted = items(result).to_vec();
    sorted.sort_by_cached_key(|sample| label_text(name, sample));
    Ok(Value::from(List::new(RESULT_TYPE, sorted)))
}

fn items(result: &Value) -> &[Value] {
    match result {
        Value::List(list) => list.items(),
        _ => &[],
    }
}

/// The arguments under the names `arg0`, `arg1` and so on, to pass several to a template.
pub(super) fn args(arguments: &[Value]) -> Value {
    let named = arguments.iter().enumerate().map(|(i, value)| (Arc::from(format!("arg{i}")), value.clone()));
    Value::from(Map::of_any(named.collect()))
}

/// Prometheus' notation of durations, with an optional minus, as seconds.
pub(super) fn parse_duration(text: &str) -> Result<Value, CallError> {
    let (sign, unsigned) = text.strip_prefix('-').map_or((1.0, text), |rest| (-1.0, rest));
    let millis = model::time::parse_duration(unsigned).map_err(|error| CallError::failed(error.to_string()))?;
    Ok(Value::Float(sign * (millis as f64 * 1e6) / 1e9))
}

pub(super) fn url_query_escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // Writing to a text of the heap cannot fail.
    let _ = crate::functions::push_query_escaped(&mut out, text);
    out
}
