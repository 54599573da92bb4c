//! Regular expressions as Prometheus understands them: RE2 syntax, the whole text must match, dot matches newline.
//!
//! Most patterns that people write are literals, alternations of literals or prefixes; those are recognised here so that
//! an index can answer them without running the automaton over every value.

mod dialect;
mod search;

pub use search::Search;

use regex_automata::meta;
use std::fmt;
use std::sync::Arc;

/// Why a pattern is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RegexError {
    message: String,
}

impl RegexError {
    fn new(message: impl fmt::Display) -> Self {
        Self { message: message.to_string() }
    }
}

/// A compiled, fully anchored expression. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Regex {
    shape: Arc<Shape>,
}

#[derive(Debug)]
struct Shape {
    automaton: meta::Regex,
    literals: Option<Vec<String>>,
    prefix: String,
}

impl Regex {
    /// Compiles `pattern`.
    ///
    /// # Errors
    /// Not RE2 syntax, or the automaton would exceed its memory limit.
    pub fn new(pattern: &str) -> Result<Self, RegexError> {
        let anchored = format!("^(?s:{})$", dialect::translate(pattern)?);
        let automaton = meta::Regex::new(&anchored).map_err(RegexError::new)?;
        Ok(Self { shape: Arc::new(Shape { automaton, literals: None, prefix: String::new() }) })
    }

    /// Whether the whole of `text` matches.
    #[must_use]
    pub fn is_match(&self, text: &str) -> bool {
        self.shape.automaton.is_match(text)
    }

    /// The complete set of texts that match, sorted and unique, when the expression is a literal or an alternation of
    /// literals.
    #[must_use]
    pub fn literals(&self) -> Option<&[String]> {
        self.shape.literals.as_deref()
    }

    /// A text with which every match begins; empty when there is none.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.shape.prefix
    }

    /// The underlying engine, for captures (`label_replace`).
    #[must_use]
    pub fn automaton(&self) -> &meta::Regex {
        &self.shape.automaton
    }
}
