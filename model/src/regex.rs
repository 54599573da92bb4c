//! Regular expressions as Prometheus understands them: RE2 syntax, the whole text must match, dot matches newline.
//!
//! Most patterns that people write are literals, alternations of literals, or a literal with `.*` around it. Those are
//! recognised here, so that an index can answer them without running the automaton over every value.

mod class;
mod cursor;
mod expand;
mod parser;
mod search;
mod shape;

pub use search::Search;

use regex_automata::meta;
use regex_syntax::hir::{Hir, Look};
use shape::Shortcut;
use std::sync::Arc;

/// The memory that the automaton of one expression may take, in bytes.
const AUTOMATON_BYTES_MAX: usize = 10 << 20;

/// Why a pattern is refused, in the words of Go's regular expressions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp: {reason}: `{part}`")]
pub struct RegexError {
    reason: &'static str,
    part: String,
}

/// A compiled, fully anchored expression. Cheap to clone.
#[derive(Clone)]
pub struct Regex {
    shape: Arc<Shape>,
}

struct Shape {
    automaton: meta::Regex,
    capture_names: Vec<Option<String>>,
    literals: Option<Vec<String>>,
    prefix: String,
    shortcut: Option<Shortcut>,
}

/// What it matches as far as known; the automaton would fill pages.
impl std::fmt::Debug for Regex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Shape { literals, prefix, .. } = &*self.shape;
        f.debug_struct("Regex").field("literals", literals).field("prefix", prefix).finish_non_exhaustive()
    }
}

impl Regex {
    /// Compiles `pattern`.
    ///
    /// # Errors
    /// Not RE2 syntax, or the automaton would exceed its memory limit.
    pub fn new(pattern: &str) -> Result<Self, RegexError> {
        let parsed = parser::parse(pattern, parser::Dot::AnyCharacter)?;
        // Folded letters have several spellings; looking each up is no gain over the automaton.
        let literals = if parsed.folds_case { None } else { shape::literals(&parsed.hir) };
        let prefix = shape::prefix(&parsed.hir);
        let shortcut = shape::shortcut(&parsed.hir);
        let anchored = Hir::concat(vec![Hir::look(Look::Start), parsed.hir, Hir::look(Look::End)]);
        let automaton = build(&anchored, pattern)?;
        let capture_names = parsed.capture_names;
        Ok(Self { shape: Arc::new(Shape { automaton, capture_names, literals, prefix, shortcut }) })
    }

    /// Whether the whole of `text` matches.
    #[must_use]
    pub fn is_match(&self, text: &str) -> bool {
        if let Some(shortcut) = &self.shape.shortcut {
            return shortcut.is_match(text);
        }
        match &self.shape.literals {
            Some(literals) => literals.binary_search_by(|literal| literal.as_str().cmp(text)).is_ok(),
            None => self.shape.automaton.is_match(text),
        }
    }

    /// The complete set of texts that match, sorted and unique, when the expression is a literal, an alternation of
    /// literals, or expands to few of them. Never for expressions that ignore case.
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

    /// The names of all groups by their number; the first is the whole match, which has none. Unlike in the engine, a
    /// name may occur twice.
    #[must_use]
    pub fn capture_names(&self) -> &[Option<String>] {
        &self.shape.capture_names
    }

    /// Fills in `template` from the groups that `text` matches; none when the whole of it does not match.
    ///
    /// As in Go, `$1`, `${1}`, `$name` and `${name}` stand for groups, the longest name being taken, and `$$` for a dollar
    /// sign. A group that does not exist or took no part is empty.
    #[must_use]
    pub fn expand(&self, text: &str, template: &str) -> Option<String> {
        self.expand_bounded(text, template, usize::MAX)
    }

    /// As [`Regex::expand`]; none also when the result would have more than `bytes_max` bytes.
    #[must_use]
    pub fn expand_bounded(&self, text: &str, template: &str, bytes_max: usize) -> Option<String> {
        let mut captures = self.shape.automaton.create_captures();
        self.shape.automaton.captures(text, &mut captures);
        if !captures.is_match() {
            return None;
        }
        let group = |index| captures.get_group(index).and_then(|span| text.get(span.range()));
        let mut out = String::new();
        expand::expand(&mut out, template, &self.shape.capture_names, group, bytes_max)?;
        Some(out)
    }
}

/// Compiles what was parsed from `pattern`. States are determined when a text first needs them: most queries ask for a few dozen
/// texts, and to determine all states beforehand takes longer than such a query.
fn build(hir: &Hir, pattern: &str) -> Result<meta::Regex, RegexError> {
    meta::Builder::new()
        .configure(meta::Config::new().nfa_size_limit(Some(AUTOMATON_BYTES_MAX)).dfa(false))
        .build_from_hir(hir)
        .map_err(|_| RegexError { reason: "expression too large", part: pattern.to_owned() })
}

#[cfg(test)]
mod tests;
