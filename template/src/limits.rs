//! Bounds of one execution: no template, however written, runs on, recurses without end or fills the memory.

use std::fmt;

/// How much one execution may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Levels of nested control structures, parentheses and template invocations. A level costs up to 1 KiB of the
    /// native stack in a debug build: a test holds the default in a thread of 1 MiB.
    pub depth: u32,
    /// Bytes of output, and of any single text computed on the way.
    pub output_bytes: usize,
    /// Nodes visited and functions called; long arguments count more than short ones.
    pub steps: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { depth: 500, output_bytes: 4 << 20, steps: 1_000_000 }
    }
}

/// Which bound an execution ran into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exceeded {
    Depth(u32),
    OutputBytes(usize),
    Steps(u64),
    ValueDepth(u32),
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Depth(max) => write!(f, "exceeded maximum template depth ({max})"),
            Self::OutputBytes(max) => write!(f, "exceeded maximum output of {max} bytes"),
            Self::Steps(max) => write!(f, "exceeded maximum of {max} steps"),
            Self::ValueDepth(max) => write!(f, "exceeded maximum nesting of lists and maps ({max})"),
        }
    }
}

/// Text that refuses to grow beyond its limit: [`fmt::Error`] means exactly that.
#[derive(Debug)]
pub(crate) struct Bounded {
    text: String,
    limit: usize,
}

impl Bounded {
    pub(crate) fn new(limit: usize) -> Self {
        Self { text: String::new(), limit }
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }

    /// Writes `count` times the character `with`.
    pub(crate) fn pad(&mut self, with: char, count: usize) -> fmt::Result {
        if self.text.len().saturating_add(count) > self.limit {
            return Err(fmt::Error);
        }
        self.text.extend(std::iter::repeat_n(with, count));
        Ok(())
    }
}

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.text.len() + text.len() > self.limit {
            return Err(fmt::Error);
        }
        self.text.push_str(text);
        Ok(())
    }
}
