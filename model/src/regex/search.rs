//! Expressions that are looked for anywhere in a text, and replaced: Go's `regexp.MatchString` and `ReplaceAllString`.

use super::expand::expand;
use super::{RegexError, build, parser};
use regex_automata::meta;

/// An expression that may match anywhere in a text; the dot does not match a newline. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Search {
    automaton: meta::Regex,
    capture_names: Vec<Option<String>>,
}

impl Search {
    /// Compiles `pattern`.
    ///
    /// # Errors
    /// Not RE2 syntax, or the automaton would exceed its memory limit.
    pub fn new(pattern: &str) -> Result<Self, RegexError> {
        let parsed = parser::parse(pattern, parser::Dot::NotNewline)?;
        Ok(Self { automaton: build(&parsed.hir, pattern)?, capture_names: parsed.capture_names })
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
            let group = |index| captures.get_group(index).and_then(|span| text.get(span.range()));
            expand(&mut out, replacement, &self.capture_names, group, bytes_max)?;
            copied = whole.end();
        }
        out.push_str(text.get(copied..).unwrap_or_default());
        (out.len() <= bytes_max).then_some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_anywhere_and_the_dot_stops_at_lines() {
        for (pattern, text, expected) in [
            ("b", "abc", true),
            ("^b", "abc", false),
            ("a.c", "a\nc", false),
            ("(?s)a.c", "a\nc", true),
            (r"\bb", "éb", true),
            (r"(?m)^b$", "a\nb", true),
            (r"a#b c", "a#b c", true),
        ] {
            assert_eq!(Search::new(pattern).expect(pattern).is_match(text), expected, "{pattern} {text}");
        }
    }

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
