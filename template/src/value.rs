//! What templates compute with: a small model of Go's values.
//!
//! Values are cheap to clone; lists, maps and objects are shared and never change. Each knows the name of its Go type,
//! because that shows in `%T`, in `%#v` and in error messages.

mod methods;

pub(crate) use methods::{call_method, method_signature};

use crate::call::{CallError, Signature};
use crate::time::{GoDuration, Time};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// A value of a template.
#[derive(Debug, Clone)]
pub enum Value {
    /// The absence of a value, printed `<no value>`: what a template got that was invoked without an argument.
    NoValue,
    /// `nil` inside a list or a map of any type, printed `<nil>`.
    Nil,
    /// `bool`
    Bool(bool),
    /// Any of Go's integer types.
    Integer(Integer),
    /// `float64`
    Float(f64),
    /// `string`; always UTF-8.
    String(Arc<str>),
    /// A slice.
    List(Arc<List>),
    /// A map with texts for keys.
    Map(Arc<Map>),
    /// `time.Time`
    Time(Time),
    /// A structure of the host.
    Object(Arc<dyn Object>),
    /// A function of the host, for `call`.
    Function(Arc<Function>),
    /// A pointer: its type has a star, it is true, and it equals only itself. Otherwise as what it points to.
    Pointer(Arc<Value>),
}

/// A structure of the host, with fields and methods; or one of its lists or maps, if that has methods.
pub trait Object: fmt::Debug + Send + Sync {
    /// The name of the type, as in `template.Alert`.
    fn type_name(&self) -> &str;

    /// The fields in the order of their declaration, for printing.
    fn fields(&self) -> Vec<(&str, Value)> {
        Vec::new()
    }

    /// The field `name`.
    fn field(&self, name: &str) -> Option<Value> {
        self.fields().into_iter().find_map(|(field, value)| (field == name).then_some(value))
    }

    /// What the method `name` takes; `None` when there is no such method. Methods hide fields of the same name.
    fn method(&self, name: &str) -> Option<Signature> {
        let _ = name;
        None
    }

    /// Calls the method `name` with arguments that fit its signature.
    ///
    /// # Errors
    /// What the method itself objects to.
    fn call(&self, name: &str, arguments: &[Value]) -> Result<Value, CallError> {
        let _ = arguments;
        Err(CallError::failed(format!("no method {name}")))
    }

    /// The list or map that the object is, for `range`, `index`, `len`, truth and printing; `None` for a structure.
    fn underlying(&self) -> Option<Value> {
        None
    }

    /// How the object prints, if it has its own idea of that.
    fn text(&self) -> Option<String> {
        None
    }
}

/// A function as a value.
pub struct Function {
    /// The name of the type, as in `func(string) string`.
    pub type_name: &'static str,
    /// What it takes.
    pub signature: Signature,
    /// What it does; the arguments fit the signature.
    #[allow(clippy::type_complexity, reason = "a plain closure type, used once")]
    pub body: Box<dyn Fn(&[Value]) -> Result<Value, CallError> + Send + Sync>,
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.type_name)
    }
}

/// Which of Go's integer types a whole number has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntegerKind {
    /// `int`
    Int,
    /// `int64`
    Int64,
    /// `uint8`, a byte of a text.
    Uint8,
    /// `uint64`
    Uint64,
    /// `time.Month`, from 1.
    Month,
    /// `time.Weekday`, from Sunday, which is 0.
    Weekday,
    /// `time.Duration`, in nanoseconds.
    Duration,
}

/// A whole number that fits its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Integer {
    bits: u64,
    kind: IntegerKind,
}

impl Integer {
    /// A number of a signed type, or one that is not negative of an unsigned type.
    #[must_use]
    pub fn new(value: i64, kind: IntegerKind) -> Self {
        Self { bits: value.cast_unsigned(), kind }
    }

    /// A number of type `uint64`.
    #[must_use]
    pub fn unsigned(value: u64) -> Self {
        Self { bits: value, kind: IntegerKind::Uint64 }
    }

    /// The type.
    #[must_use]
    pub fn kind(self) -> IntegerKind {
        self.kind
    }

    /// The number.
    #[must_use]
    pub fn value(self) -> i128 {
        if self.is_signed() { i128::from(self.bits.cast_signed()) } else { i128::from(self.bits) }
    }

    pub(crate) fn is_signed(self) -> bool {
        !matches!(self.kind, IntegerKind::Uint8 | IntegerKind::Uint64)
    }

    /// The 64 bits that hold the number.
    pub(crate) fn bits(self) -> u64 {
        self.bits
    }

    /// How types with names of their own print.
    pub(crate) fn text(self) -> Option<String> {
        let signed = self.bits.cast_signed();
        match self.kind {
            IntegerKind::Int | IntegerKind::Int64 | IntegerKind::Uint8 | IntegerKind::Uint64 => None,
            IntegerKind::Month => Some(crate::time::month_text(signed)),
            IntegerKind::Weekday => Some(crate::time::weekday_text(signed)),
            IntegerKind::Duration => Some(GoDuration(signed).to_string()),
        }
    }

    fn type_name(self) -> &'static str {
        match self.kind {
            IntegerKind::Int => "int",
            IntegerKind::Int64 => "int64",
            IntegerKind::Uint8 => "uint8",
            IntegerKind::Uint64 => "uint64",
            IntegerKind::Month => "time.Month",
            IntegerKind::Weekday => "time.Weekday",
            IntegerKind::Duration => "time.Duration",
        }
    }
}

/// A slice with the name of its type.
#[derive(Debug)]
pub struct List {
    type_name: &'static str,
    items: Vec<Value>,
    depth: u32,
}

impl List {
    /// A list of the Go type `type_name`, such as `[]string`.
    #[must_use]
    pub fn new(type_name: &'static str, items: Vec<Value>) -> Self {
        let depth = depth_above(items.iter());
        Self { type_name, items, depth }
    }

    /// The items.
    #[must_use]
    pub fn items(&self) -> &[Value] {
        &self.items
    }

    /// The name of the type.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        self.type_name
    }
}

/// A map from texts, in ascending order of keys, with the name of its type and what a missing key stands for.
#[derive(Debug)]
pub struct Map {
    type_name: &'static str,
    entries: Vec<(Arc<str>, Value)>,
    zero: Value,
    depth: u32,
}

impl Map {
    /// `map[string]string`: a missing key is the empty text. Of entries with equal keys the last counts.
    pub fn of_texts<K: AsRef<str>, V: AsRef<str>>(entries: impl IntoIterator<Item = (K, V)>) -> Self {
        let entries = entries.into_iter().map(|(k, v)| (Arc::from(k.as_ref()), Value::from(v.as_ref()))).collect();
        Self::new("map[string]string", entries, Value::from(""))
    }

    /// `map[string]interface {}`: a missing key is nil. Of entries with equal keys the last counts.
    #[must_use]
    pub fn of_any(entries: Vec<(Arc<str>, Value)>) -> Self {
        Self::new("map[string]interface {}", entries, Value::Nil)
    }

    /// A map of the Go type `type_name` whose missing keys are `zero`. Of entries with equal keys the last counts.
    #[must_use]
    pub fn new(type_name: &'static str, mut entries: Vec<(Arc<str>, Value)>, zero: Value) -> Self {
        entries.reverse();
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        entries.dedup_by(|later, first| later.0 == first.0);
        let depth = depth_above(entries.iter().map(|(_, value)| value));
        Self { type_name, entries, zero, depth }
    }

    /// The entries in ascending order of keys.
    #[must_use]
    pub fn entries(&self) -> &[(Arc<str>, Value)] {
        &self.entries
    }

    /// The value of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        let index = self.entries.binary_search_by(|(k, _)| k.as_ref().cmp(key)).ok()?;
        self.entries.get(index).map(|(_, value)| value)
    }

    /// The value of keys that are missing.
    #[must_use]
    pub fn zero(&self) -> &Value {
        &self.zero
    }

    /// The name of the type.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        self.type_name
    }
}

fn depth_above<'v>(children: impl Iterator<Item = &'v Value>) -> u32 {
    children.map(Value::depth).max().unwrap_or(0).saturating_add(1)
}

impl Value {
    /// A value of type `int`.
    #[must_use]
    pub fn int(value: i64) -> Self {
        Self::Integer(Integer::new(value, IntegerKind::Int))
    }

    /// A value of type `time.Duration`.
    #[must_use]
    pub fn duration(nanoseconds: i64) -> Self {
        Self::Integer(Integer::new(nanoseconds, IntegerKind::Duration))
    }

    /// A list of type `[]string`.
    pub fn texts<T: AsRef<str>>(items: impl IntoIterator<Item = T>) -> Self {
        let items = items.into_iter().map(|item| Self::from(item.as_ref())).collect();
        Self::List(Arc::new(List::new("[]string", items)))
    }

    /// An object of the host.
    pub fn object(object: impl Object + 'static) -> Self {
        Self::Object(Arc::new(object))
    }

    /// A pointer to this value.
    #[must_use]
    pub fn pointer(self) -> Self {
        Self::Pointer(Arc::new(self))
    }

    /// The text, if the value is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The name of the value's Go type.
    #[must_use]
    pub fn type_name(&self) -> Cow<'_, str> {
        Cow::Borrowed(match self {
            Self::NoValue | Self::Nil => "interface {}",
            Self::Bool(_) => "bool",
            Self::Integer(integer) => integer.type_name(),
            Self::Float(_) => "float64",
            Self::String(_) => "string",
            Self::List(list) => list.type_name(),
            Self::Map(map) => map.type_name(),
            Self::Time(_) => "time.Time",
            Self::Object(object) => object.type_name(),
            Self::Function(function) => function.type_name,
            Self::Pointer(target) => return Cow::Owned(format!("*{}", target.type_name())),
        })
    }

    /// Whether `if` takes the value for true: not the zero of its type.
    #[must_use]
    pub fn is_true(&self) -> bool {
        match self {
            Self::NoValue | Self::Nil => false,
            Self::Bool(truth) => *truth,
            Self::Integer(integer) => integer.bits != 0,
            Self::Float(float) => *float != 0.0,
            Self::String(text) => !text.is_empty(),
            Self::List(list) => !list.items.is_empty(),
            Self::Map(map) => !map.entries.is_empty(),
            Self::Object(object) => object.underlying().is_none_or(|value| value.is_true()),
            Self::Time(_) | Self::Function(_) | Self::Pointer(_) => true,
        }
    }

    pub(crate) fn is_nil(&self) -> bool {
        matches!(self, Self::NoValue | Self::Nil)
    }

    /// The value behind all pointers.
    pub(crate) fn behind_pointers(&self) -> &Self {
        let mut value = self;
        while let Self::Pointer(target) = value {
            value = target;
        }
        value
    }

    /// The value behind all pointers; of an object that is a list or a map, that list or map.
    pub(crate) fn collection(&self) -> Cow<'_, Self> {
        let value = self.behind_pointers();
        match value {
            Self::Object(object) => object.underlying().map_or(Cow::Borrowed(value), Cow::Owned),
            _ => Cow::Borrowed(value),
        }
    }

    /// Levels of lists and maps.
    pub(crate) fn depth(&self) -> u32 {
        match self {
            Self::List(list) => list.depth,
            Self::Map(map) => map.depth,
            Self::Pointer(target) => target.depth().saturating_add(1),
            _ => 0,
        }
    }

    /// What a function may have to read of the value, in units of 64 bytes or of items.
    pub(crate) fn weight(&self) -> u64 {
        let units = match self.behind_pointers() {
            Self::String(text) => text.len() / 64,
            Self::List(list) => list.items.len(),
            Self::Map(map) => map.entries.len(),
            _ => 0,
        };
        units as u64
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::String(Arc::from(value))
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::String(Arc::from(value))
    }
}

impl From<Map> for Value {
    fn from(value: Map) -> Self {
        Self::Map(Arc::new(value))
    }
}

impl From<List> for Value {
    fn from(value: List) -> Self {
        Self::List(Arc::new(value))
    }
}

impl From<Time> for Value {
    fn from(value: Time) -> Self {
        Self::Time(value)
    }
}
