//! What Prometheus' functions take, and who answers them.

use super::{QueryFn, functions};
use crate::call::{CallError, FunctionNames, Functions, Signature, Type};
use crate::value::Value;
use model::regex::{RegexError, Search};
use std::sync::{Mutex, PoisonError};

pub(super) const FUNCTION_NAMES: FunctionNames<'static> = FunctionNames::new(&[
    "args",
    "externalURL",
    "first",
    "graphLink",
    "humanize",
    "humanize1024",
    "humanizeDuration",
    "humanizePercentage",
    "humanizeTimestamp",
    "label",
    "match",
    "now",
    "parseDuration",
    "pathPrefix",
    "query",
    "reReplaceAll",
    "safeHtml",
    "sortByLabel",
    "stripDomain",
    "stripPort",
    "strvalue",
    "tableLink",
    "title",
    "toDuration",
    "toLower",
    "toTime",
    "toUpper",
    "urlQueryEscape",
    "value",
]);

/// The type of what `query` returns, and of its items.
pub(super) const RESULT_TYPE: &str = "template.queryResult";
pub(super) const SAMPLE_TYPE: &str = "*template.sample";

/// Steps of a query: no template asks more than a thousand.
const QUERY_COST: u32 = 1_000;
/// Steps of compiling an expression and running it over 64 bytes.
const REGEX_COST: u32 = 64;
/// Longest regular expression, in bytes.
const REGEX_BYTES_MAX: usize = 4_096;
/// Longest text that `reReplaceAll` makes, in bytes.
const REPLACED_BYTES_MAX: usize = 1 << 20;

const RESULT: Type = Type::Named(RESULT_TYPE);
const SAMPLE: Type = Type::Named(SAMPLE_TYPE);

/// The expressions that a template used last: compiling one takes longer than all else in most expansions.
#[derive(Debug, Default)]
pub(super) struct RegexCache {
    /// The one used last at the end; at most [`REGEXES_MAX`].
    known: Mutex<Vec<(String, Search)>>,
}

/// How many expressions a template keeps.
const REGEXES_MAX: usize = 4;

impl RegexCache {
    fn get(&self, pattern: &str) -> Result<Search, RegexError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = match known.iter().position(|(text, _)| text == pattern) {
            Some(index) => known.remove(index),
            None => (pattern.to_owned(), Search::new(pattern)?),
        };
        let search = entry.1.clone();
        if known.len() >= REGEXES_MAX {
            known.remove(0);
        }
        known.push(entry);
        Ok(search)
    }
}

/// One expansion's surroundings.
pub(super) struct Environment<'a> {
    pub(super) query: &'a QueryFn<'a>,
    pub(super) external_url: &'a str,
    pub(super) now_ms: i64,
    pub(super) regexes: &'a RegexCache,
}

impl Environment<'_> {
    fn regex(&self, pattern: &str) -> Result<Search, CallError> {
        if pattern.len() > REGEX_BYTES_MAX {
            return Err(CallError::failed(format!("regular expression is longer than {REGEX_BYTES_MAX} bytes")));
        }
        self.regexes.get(pattern).map_err(|error| CallError::failed(error.to_string()))
    }

    fn replace_all(&self, pattern: &str, replacement: &str, text: &str) -> Result<Value, CallError> {
        let regex = self.regex(pattern).map_err(|error| match error {
            CallError::Failed(message) => CallError::failed(format!("regexp: Compile(`{pattern}`): {message}")),
            CallError::TooLong => error,
        })?;
        regex.replace_all(text, replacement, REPLACED_BYTES_MAX).map(Value::from).ok_or(CallError::TooLong)
    }

    /// Functions of texts; `None` when `name` is none of them.
    fn call_on_texts(&self, name: &str, arguments: &[Value]) -> Option<Result<Value, CallError>> {
        let text = |index: usize| arguments.get(index).and_then(Value::as_text).unwrap_or_default();
        let first = text(0);
        Some(match name {
            "query" => (self.query)(first).map(functions::query_result).map_err(CallError::Failed),
            "reReplaceAll" => self.replace_all(first, text(1), text(2)),
            "match" => self.regex(first).map(|regex| Value::Bool(regex.is_match(text(1)))),
            "parseDuration" => functions::parse_duration(first),
            "graphLink" => Ok(Value::from(crate::functions::graph_link(first))),
            "tableLink" => Ok(Value::from(crate::functions::table_link(first))),
            "safeHtml" => Ok(Value::from(first)),
            "stripPort" => Ok(Value::from(super::net::strip_port(first))),
            "stripDomain" => Ok(Value::from(super::net::strip_domain(first))),
            "title" => Ok(Value::from(super::title::title(first))),
            "toLower" => Ok(Value::from(super::title::lower(first))),
            "toUpper" => Ok(Value::from(super::title::upper(first))),
            "urlQueryEscape" => Ok(Value::from(functions::url_query_escape(first))),
            _ => return None,
        })
    }
}

impl Functions for Environment<'_> {
    fn signature(&self, name: &str) -> Option<Signature> {
        Some(match name {
            "query" => Signature::fixed(&[Type::String]).costing(QUERY_COST),
            "reReplaceAll" => Signature::fixed(&[Type::String, Type::String, Type::String]).costing(REGEX_COST),
            "match" => Signature::fixed(&[Type::String, Type::String]).costing(REGEX_COST),
            "first" => Signature::fixed(&[RESULT]),
            "label" => Signature::fixed(&[Type::String, SAMPLE]),
            "value" | "strvalue" => Signature::fixed(&[SAMPLE]),
            "sortByLabel" => Signature::fixed(&[Type::String, RESULT]).costing(8),
            "args" => Signature::variadic(&[], Type::Any),
            "humanize" | "humanize1024" | "humanizeDuration" | "humanizePercentage" | "humanizeTimestamp"
            | "toTime" | "toDuration" => Signature::fixed(&[Type::Any]),
            "externalURL" | "now" | "pathPrefix" => Signature::fixed(&[]),
            "graphLink" | "parseDuration" | "safeHtml" | "stripDomain" | "stripPort" | "tableLink" | "title"
            | "toLower" | "toUpper" | "urlQueryEscape" => Signature::fixed(&[Type::String]),
            _ => return None,
        })
    }

    fn call(&self, name: &str, arguments: &[Value]) -> Result<Value, CallError> {
        if let Some(result) = self.call_on_texts(name, arguments) {
            return result;
        }
        let value = |index: usize| arguments.get(index).unwrap_or(&Value::NoValue);
        match name {
            "first" => functions::first(value(0)),
            "label" => functions::label(value(0), value(1)),
            "value" => functions::value(value(0)),
            "strvalue" => functions::label(&Value::from("__value__"), value(0)),
            "sortByLabel" => functions::sort_by_label(value(0), value(1)),
            "args" => Ok(functions::args(arguments)),
            "humanize" => super::humanize::si(value(0)),
            "humanize1024" => super::humanize::binary(value(0)),
            "humanizeDuration" => super::humanize::duration(value(0)),
            "humanizePercentage" => super::humanize::percentage(value(0)),
            "humanizeTimestamp" => super::humanize::timestamp(value(0)),
            "toTime" => super::humanize::to_time(value(0)),
            "toDuration" => super::humanize::to_duration(value(0)),
            "now" => Ok(Value::Float(self.now_ms as f64 / 1000.0)),
            "externalURL" => Ok(Value::from(self.external_url)),
            "pathPrefix" => Ok(Value::from(super::net::url_path(self.external_url))),
            _ => Err(CallError::failed(format!("no function {name}"))),
        }
    }
}
