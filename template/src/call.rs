//! How functions and methods describe themselves, and how the evaluator reaches those of the host.

use crate::value::Value;
use std::fmt;

/// Functions that a host offers to its templates, beside the built-in ones.
///
/// Names are known when a template is loaded ([`FunctionNames`]); the implementations, which may hold a query engine or
/// a clock, are given at each execution.
pub trait Functions {
    /// What the function `name` takes; `None` when there is no such function.
    fn signature(&self, name: &str) -> Option<Signature>;

    /// Calls `name` with arguments that fit its signature.
    ///
    /// # Errors
    /// What the function itself objects to.
    fn call(&self, name: &str, arguments: &[Value]) -> Result<Value, CallError>;
}

/// A host without functions of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoFunctions;

impl Functions for NoFunctions {
    fn signature(&self, _: &str) -> Option<Signature> {
        None
    }

    fn call(&self, name: &str, _: &[Value]) -> Result<Value, CallError> {
        Err(CallError::failed(format!("no function {name}")))
    }
}

/// The names of a host's functions: what a template may call beside the built-in functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FunctionNames<'a>(&'a [&'a str]);

impl<'a> FunctionNames<'a> {
    /// The built-in functions only.
    pub const NONE: FunctionNames<'static> = FunctionNames(&[]);

    /// The built-in functions and these.
    #[must_use]
    pub const fn new(names: &'a [&'a str]) -> Self {
        Self(names)
    }

    /// The names beside the built-in ones.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> {
        self.0.iter().copied()
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.0.contains(&name)
    }
}

/// What a parameter accepts, by Go's rules of assignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// Everything.
    Any,
    /// `bool`
    Bool,
    /// `int`; other integer types are refused, as Go does.
    Int,
    /// `float64`; integer literals become floats, integer values are refused.
    Float,
    /// `string`
    String,
    /// `time.Duration`; integer literals become nanoseconds.
    Duration,
    /// A value whose [`type_name`](Value::type_name) is this.
    Named(&'static str),
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "interface {}",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Float => "float64",
            Self::String => "string",
            Self::Duration => "time.Duration",
            Self::Named(name) => name,
        })
    }
}

/// Parameters of a function, and what a call of it costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature {
    pub(crate) parameters: &'static [Type],
    pub(crate) rest: Option<Type>,
    pub(crate) cost: u32,
}

impl Signature {
    /// Exactly these parameters.
    #[must_use]
    pub const fn fixed(parameters: &'static [Type]) -> Self {
        Self { parameters, rest: None, cost: 1 }
    }

    /// These parameters, then any number of `rest`.
    #[must_use]
    pub const fn variadic(parameters: &'static [Type], rest: Type) -> Self {
        Self { parameters, rest: Some(rest), cost: 1 }
    }

    /// Steps that a call takes of [`Limits::steps`](crate::Limits), times one for each 64 bytes of its arguments.
    #[must_use]
    pub const fn costing(self, steps: u32) -> Self {
        Self { cost: steps, ..self }
    }

    /// The type of the argument at `index`, or `None` when there may be no such argument.
    pub(crate) fn parameter(&self, index: usize) -> Option<Type> {
        self.parameters.get(index).copied().or(self.rest)
    }
}

/// Why a function refused its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallError {
    /// The function's own objection.
    Failed(String),
    /// The text it computed would exceed [`Limits::output_bytes`](crate::Limits).
    TooLong,
}

impl CallError {
    /// An objection in the function's own words.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }
}

/// Writing into a bounded text fails for one reason only.
impl From<fmt::Error> for CallError {
    fn from(_: fmt::Error) -> Self {
        Self::TooLong
    }
}
