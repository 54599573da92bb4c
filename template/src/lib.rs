//! Go's text/template: the language of alert annotations, labels and notifications.
//!
//! Text goes through `lexer` (tokens), `parser` (trees; all that can be refused when a rule is loaded is refused here) and
//! `evaluate` (text, or an error with its place). `functions` holds what every template may call, `format` Go's `printf`,
//! `time` its times, `value` the values that hosts pass in. [`prometheus`] is the dialect of alerting rules.
//!
//! Nothing here waits, reads a clock or touches the world: queries and the time are the host's, given at each execution.
#![forbid(unsafe_code)]

mod ast;
mod call;
mod error;
mod evaluate;
mod format;
mod functions;
mod lexer;
mod limits;
mod literal;
mod parser;
pub mod prometheus;
mod template;
mod time;
mod token;
mod value;

pub use call::{CallError, FunctionNames, Functions, NoFunctions, Signature, Type};
pub use error::{Error, ErrorKind};
pub use limits::Limits;
pub use template::{MissingKey, Options, Template};
pub use time::Time;
pub use value::{Function, Integer, IntegerKind, List, Map, Object, Value};
