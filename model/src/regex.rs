//! Regular expressions as Prometheus understands them: RE2 syntax, the whole text must match, dot matches newline.
//!
//! Most patterns that people write are literals, alternations of literals or prefixes; those are recognised here so that
//! an index can answer them without running the automaton over every value.

mod dialect;
mod search;

pub use search::Search;

use regex_automata::meta;
use std::sync::Arc;

/// Why a pattern is refused, in the words of Go's `regexp` where it has some.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp: {message}")]
pub struct RegexError {
    message: String,
}

impl RegexError {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }

    /// What the automaton's compiler says about `pattern`.
    fn of_build(pattern: &str, error: &meta::BuildError) -> Self {
        use regex_syntax::ast::ErrorKind;
        let reason = match error.syntax_error() {
            None if error.size_limit().is_some() => "expression too large".to_owned(),
            None => error.to_string(),
            Some(regex_syntax::Error::Parse(error)) => match error.kind() {
                ErrorKind::GroupUnclosed => "missing closing )".into(),
                ErrorKind::GroupUnopened => "unexpected )".into(),
                ErrorKind::RepetitionMissing => "missing argument to repetition operator".into(),
                ErrorKind::RepetitionCountInvalid => "invalid repeat count".into(),
                ErrorKind::NestLimitExceeded(_) => "expression nests too deeply".into(),
                ErrorKind::GroupNameInvalid | ErrorKind::GroupNameEmpty => "invalid named capture".into(),
                ErrorKind::GroupNameDuplicate { .. } => "duplicate capture group name".into(),
                kind => kind.to_string(),
            },
            Some(regex_syntax::Error::Translate(error)) => error.kind().to_string(),
            Some(error) => error.to_string(),
        };
        Self { message: format!("{reason}: `{pattern}`") }
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
        let automaton = meta::Regex::new(&anchored).map_err(|error| RegexError::of_build(pattern, &error))?;
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
