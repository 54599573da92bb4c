//! Expressions that are looked for anywhere in a text, and replaced: Go's `regexp.MatchString` and `ReplaceAllString`.

use super::{RegexError, dialect};
use regex_automata::meta;
use regex_automata::util::captures::Captures;

/// An expression that may match anywhere in a text; the dot does not match a newline. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Search {
    automaton: meta::Regex,
}

impl Search {
    /// Compiles `pattern`.
    ///
    /// # Errors
    /// Not RE2 syntax, or the automaton would exceed its memory limit.
    pub fn new(pattern: &str) -> Result<Self, RegexError> {
        let translated = dialect::translate(pattern)?;
        let automaton = meta::Regex::new(&translated).map_err(|error| RegexError::of_build(pattern, &error))?;
        Ok(Self { automaton })
    }

    /// Whether the expression matches somewhere in `text`.
    #[must_use]
    pub fn is_match(&self, text: &str) -> bool {
        self.automaton.is_match(text)
    }

    /// `text` with every match replaced; `$1`, `${1}`, `$name` and `${name}` in `replacement` stand for what a group
    /// matched, `$$` for a dollar sign. `None` when the result would have more than `bytes_max` bytes.
    #[must_use]
    pub fn replace_all(&self, text: &str, replacement: &str, bytes_max: usize) -> Option<String> {
        let mut out = String::new();
        let mut copied = 0;
        for captures in self.automaton.captures_iter(text) {
            let Some(whole) = captures.get_match() else { continue };
            out.push_str(text.get(copied..whole.start()).unwrap_or_default());
            expand(&mut out, text, &captures, replacement, bytes_max)?;
            copied = whole.end();
            if out.len() > bytes_max {
                return None;
            }
        }
        out.push_str(text.get(copied..).unwrap_or_default());
        (out.len() <= bytes_max).then_some(out)
    }
}

fn expand(out: &mut String, text: &str, captures: &Captures, replacement: &str, bytes_max: usize) -> Option<()> {
    let mut rest = replacement;
    while let Some((literal, after)) = rest.split_once('$') {
        out.push_str(literal);
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = group_name(after) {
            let span = match name.parse() {
                Ok(index) => captures.get_group(index),
                Err(_) => captures.get_group_by_name(name),
            };
            out.push_str(span.and_then(|span| text.get(span.range())).unwrap_or_default());
            rest = after;
        } else {
            out.push('$');
            rest = after;
        }
        if out.len() > bytes_max {
            return None;
        }
    }
    out.push_str(rest);
    Some(())
}

/// The name or number behind a dollar sign, as long as possible or in braces, and what follows it.
fn group_name(text: &str) -> Option<(&str, &str)> {
    let is_name = |c: char| c == '_' || c.is_alphanumeric();
    let unbraced = text.strip_prefix('{').unwrap_or(text);
    let end = unbraced.find(|c: char| !is_name(c)).unwrap_or(unbraced.len());
    let (name, after) = unbraced.split_at(end);
    let after = if unbraced.len() < text.len() { after.strip_prefix('}')? } else { after };
    (!name.is_empty()).then_some((name, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_expanded_as_in_go() {
        let cases = [
            ("(a)b", "x$1", "ab", "xa"),
            ("(a)(b)", "$2$1", "abab", "baba"),
            ("(a)", "${1}x", "a", "ax"),
            ("(a)", "$1x", "a", ""),
            ("(?P<name>a)", "<$name>", "aa", "<a><a>"),
            ("a", "$$1", "a", "$1"),
            ("a", "$", "a", "$"),
            ("a", "${1", "a", "${1"),
            ("a", "$9", "a", ""),
            ("a*", "x", "baaac", "xbxcx"),
            ("(.*):(.*)", "$1", "localhost:9090", "localhost"),
            ("", "-", "aé", "-a-é-"),
        ];
        for (pattern, replacement, text, expected) in cases {
            let search = Search::new(pattern).expect("valid");
            assert_eq!(
                search.replace_all(text, replacement, 1000).as_deref(),
                Some(expected),
                "{pattern} {replacement}"
            );
        }
    }

    #[test]
    fn results_beyond_the_limit_are_refused() {
        let search = Search::new("").expect("valid");
        assert_eq!(search.replace_all(&"a".repeat(1000), &"b".repeat(1000), 5000), None);
    }
}
