//! The functions that every template may call.
//!
//! `and` and `or` stop at the first argument that decides them and `call` calls a value: these the evaluator carries out.

mod collection;
mod comparison;
mod escape;

pub(crate) use escape::{graph_link, push_query_escaped, table_link};

use crate::call::{CallError, Signature, Type};
use crate::format;
use crate::limits::Bounded;
use crate::value::Value;

/// A built-in function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Builtin {
    And,
    Call,
    Eq,
    Ge,
    Gt,
    Html,
    Index,
    Js,
    Le,
    Len,
    Lt,
    Ne,
    Not,
    Or,
    Print,
    Printf,
    Println,
    Slice,
    UrlQuery,
}

pub(crate) fn is_builtin(name: &str) -> bool {
    Builtin::of(name).is_some()
}

impl Builtin {
    pub(crate) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "and" => Self::And,
            "call" => Self::Call,
            "eq" => Self::Eq,
            "ge" => Self::Ge,
            "gt" => Self::Gt,
            "html" => Self::Html,
            "index" => Self::Index,
            "js" => Self::Js,
            "le" => Self::Le,
            "len" => Self::Len,
            "lt" => Self::Lt,
            "ne" => Self::Ne,
            "not" => Self::Not,
            "or" => Self::Or,
            "print" => Self::Print,
            "printf" => Self::Printf,
            "println" => Self::Println,
            "slice" => Self::Slice,
            "urlquery" => Self::UrlQuery,
            _ => return None,
        })
    }

    pub(crate) fn signature(self) -> Signature {
        match self {
            Self::And | Self::Call | Self::Eq | Self::Index | Self::Or | Self::Slice => {
                Signature::variadic(&[Type::Any], Type::Any)
            }
            Self::Ge | Self::Gt | Self::Le | Self::Lt | Self::Ne => Signature::fixed(&[Type::Any, Type::Any]),
            Self::Len | Self::Not => Signature::fixed(&[Type::Any]),
            Self::Html | Self::Js | Self::Print | Self::Println | Self::UrlQuery => Signature::variadic(&[], Type::Any),
            Self::Printf => Signature::variadic(&[Type::String], Type::Any),
        }
    }

    /// Calls the function with arguments that fit its signature; texts may have `bytes_max` bytes.
    pub(crate) fn call(self, arguments: &[Value], bytes_max: usize) -> Result<Value, CallError> {
        let no_value = Value::NoValue;
        let first = arguments.first().unwrap_or(&no_value);
        let second = arguments.get(1).unwrap_or(&no_value);
        let rest = arguments.get(1..).unwrap_or_default();
        let mut out = Bounded::new(bytes_max);
        match self {
            Self::And => return Ok(arguments.iter().find(|a| !a.is_true()).unwrap_or(last(arguments)).clone()),
            Self::Or => return Ok(arguments.iter().find(|a| a.is_true()).unwrap_or(last(arguments)).clone()),
            Self::Not => return Ok(Value::Bool(!first.is_true())),
            Self::Eq => return comparison::eq(first, rest).map(Value::Bool),
            Self::Ne => return comparison::eq(first, rest).map(|equal| Value::Bool(!equal)),
            Self::Lt => return comparison::lt(first, second).map(Value::Bool),
            Self::Le => return comparison::le(first, second).map(Value::Bool),
            Self::Gt => return comparison::le(first, second).map(|le| Value::Bool(!le)),
            Self::Ge => return comparison::lt(first, second).map(|lt| Value::Bool(!lt)),
            Self::Index => return collection::index(first, rest),
            Self::Slice => return collection::slice(first, rest),
            Self::Len => return collection::length(first).map(Value::int),
            Self::Call => return Err(CallError::failed("call of nil")),
            Self::Print => format::print(&mut out, arguments)?,
            Self::Println => format::println(&mut out, arguments)?,
            Self::Printf => format::printf(&mut out, first.as_text().unwrap_or_default(), rest)?,
            Self::Html => escape::html(&mut out, &escape::argument_text(arguments, bytes_max)?)?,
            Self::Js => escape::js(&mut out, &escape::argument_text(arguments, bytes_max)?)?,
            Self::UrlQuery => escape::push_query_escaped(&mut out, &escape::argument_text(arguments, bytes_max)?)?,
        }
        Ok(Value::from(out.into_text()))
    }
}

fn last(arguments: &[Value]) -> &Value {
    arguments.last().unwrap_or(&Value::NoValue)
}
