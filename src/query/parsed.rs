//! Queries that were parsed lately: dashboards and scripts ask the same texts again and again.
//!
//! Two generations: what is asked for moves to the young one; when that is full, the old one is forgotten and the young one
//! becomes old. Whatever was asked for within the last generation is kept, nothing is ever sorted, and both together hold a
//! bounded number of bytes.

use model::matcher::Matcher;
use promql::ast::Expr;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of one generation, as [`weight`] counts them.
const GENERATION_BYTES: usize = 2 << 20;

/// See the head of the file.
#[derive(Debug)]
pub(super) struct ParsedQueries {
    generations: Mutex<Generations>,
    generation_bytes: usize,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Box<str>, Kept>,
    old: HashMap<Box<str>, Kept>,
    young_bytes: usize,
}

#[derive(Debug)]
struct Kept {
    expr: Arc<Expr>,
    /// What [`weight`] says of it.
    bytes: usize,
}

impl Default for ParsedQueries {
    fn default() -> Self {
        Self::with_generation_bytes(GENERATION_BYTES)
    }
}

impl ParsedQueries {
    fn with_generation_bytes(generation_bytes: usize) -> Self {
        Self { generations: Mutex::default(), generation_bytes }
    }

    /// What `text` means, if it was asked for lately.
    pub(super) fn get(&self, text: &str) -> Option<Arc<Expr>> {
        let mut generations = self.lock();
        if let Some(kept) = generations.young.get(text) {
            return Some(Arc::clone(&kept.expr));
        }
        let (text, kept) = generations.old.remove_entry(text)?;
        let expr = Arc::clone(&kept.expr);
        generations.keep(text, kept, self.generation_bytes);
        Some(expr)
    }

    /// Keeps what `text` means, unless that alone would take up much of the place.
    pub(super) fn keep(&self, text: &str, expr: &Arc<Expr>) {
        // Before others are kept waiting.
        let bytes = weight(text, expr);
        // One text must not drive out all others.
        if bytes > self.generation_bytes / 8 {
            return;
        }
        let (text, kept) = (text.into(), Kept { expr: Arc::clone(expr), bytes });
        self.lock().keep(text, kept, self.generation_bytes);
    }

    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    fn keep(&mut self, text: Box<str>, kept: Kept, bytes_max: usize) {
        if self.young_bytes + kept.bytes > bytes_max {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += kept.bytes;
        self.young.insert(text, kept);
    }
}

/// About the bytes that an expression and its text take; without end if it has regular expressions: what their engines remember
/// of the values that they saw grows on each thread.
fn weight(text: &str, expr: &Expr) -> usize {
    let mut matchers = expr.selectors().flat_map(|selector| &selector.matchers);
    if matchers.any(|matcher| matcher.regex().is_some()) {
        return usize::MAX;
    }
    // The text as key, and as the names and values in the nodes.
    let texts = 2 * text.len();
    texts + expr.nodes().count() * size_of::<Expr>() + text.matches('=').count() * size_of::<Matcher>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use promql::parse::{ParseOptions, parse};

    fn expr(text: &str) -> Arc<Expr> {
        Arc::new(parse(text, &ParseOptions::default()).unwrap())
    }

    #[test]
    fn what_is_asked_again_is_the_same_expression() {
        let parsed = ParsedQueries::default();
        assert_eq!(parsed.get("up"), None);
        let up = expr("up");
        parsed.keep("up", &up);
        assert!(Arc::ptr_eq(&parsed.get("up").unwrap(), &up));
        assert_eq!(parsed.get("up "), None);
    }

    #[test]
    fn what_nobody_asks_for_is_forgotten_and_bytes_are_bounded() {
        let bytes_max = 100_000;
        let parsed = ParsedQueries::with_generation_bytes(bytes_max);
        let texts: Vec<String> = (0..2000).map(|n| format!("rate(requests_total{{job=\"{n}\"}}[5m])")).collect();
        parsed.keep("up", &expr("up"));
        for text in &texts {
            parsed.keep(text, &expr(text));
            assert!(parsed.get("up").is_some(), "asked for all the time");
            let generations = parsed.lock();
            let all = generations.young.iter().chain(&generations.old);
            let bytes: usize = all.map(|(text, kept)| weight(text, &kept.expr)).sum();
            assert!(bytes <= 2 * bytes_max, "{bytes}");
        }
        assert_eq!(parsed.get(&texts[0]), None);
        assert!(parsed.get(&texts[1999]).is_some());
    }

    #[test]
    fn regular_expressions_and_what_takes_up_much_are_not_kept() {
        let parsed = ParsedQueries::with_generation_bytes(100_000);
        let long = ["up"; 500].join(" + ");
        for text in ["up{job=~\"a.*\"}", &long] {
            parsed.keep(text, &expr(text));
            assert_eq!(parsed.get(text), None);
        }
    }
}
