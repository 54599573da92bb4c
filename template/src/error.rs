//! What can go wrong with a template, with its place.

use std::fmt;

/// Which part of a template's life failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The text is no template: refuse it when it is loaded.
    Syntax,
    /// This execution failed; another with other data may succeed.
    Execution,
    /// The execution would exceed a [`Limits`](crate::Limits) bound.
    Limit,
}

/// A template that cannot be loaded or executed. Prints as Go's text/template does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    pub(crate) kind: ErrorKind,
    pub(crate) template: String,
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) message: String,
}

impl Error {
    /// Which part failed.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Name under which the text was loaded.
    #[must_use]
    pub fn template(&self) -> &str {
        &self.template
    }

    /// Line of the text, from 1; 0 when the error has no place.
    #[must_use]
    pub fn line(&self) -> u32 {
        self.line
    }

    /// Bytes before the place in its line, from 0 (as Go counts).
    #[must_use]
    pub fn column(&self) -> u32 {
        self.column
    }

    /// What is wrong, without the place.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, template, line, column, message } = self;
        match kind {
            _ if *line == 0 => write!(f, "template: {template}: {message}"),
            ErrorKind::Syntax => write!(f, "template: {template}:{line}: {message}"),
            ErrorKind::Execution | ErrorKind::Limit => write!(f, "template: {template}:{line}:{column}: {message}"),
        }
    }
}

impl std::error::Error for Error {}

/// Line (from 1) and column (bytes, from 0) of byte `position` in `text`.
pub(crate) fn line_and_column(text: &str, position: usize) -> (u32, u32) {
    let before = text.as_bytes().get(..position).unwrap_or(text.as_bytes());
    let line = 1 + before.iter().filter(|b| **b == b'\n').count();
    let column = before.iter().rev().take_while(|b| **b != b'\n').count();
    (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
}
