//! Patterns of SQL as regular expressions of matchers.

use super::exists;
use datafusion::logical_expr::Like;
use model::matcher::{MatchOp, Matcher};

/// Longest pattern that is taken over.
const PATTERN_BYTES_MAX: usize = 4096;

/// `label LIKE 'pattern'`, unless it ignores case: what is the same letter then is a matter of taste.
pub(super) fn like(like: &Like, name: &str) -> Option<Vec<Matcher>> {
    let pattern = super::text_of(&like.pattern)?;
    if like.case_insensitive || like.escape_char.is_some_and(|escape| escape != '\\') {
        return None;
    }
    anchored(&like_as_regex(&pattern)?, like.negated, name)
}

/// `label ~ 'pattern'`, when the pattern means the same in both languages.
pub(super) fn regex(pattern: &str, negated: bool, name: &str) -> Option<Vec<Matcher>> {
    means_the_same(pattern).then_some(())?;
    // Matchers look at the whole value, and their dot is any character; the operator finds a match anywhere, and its dot is
    // no line feed.
    anchored(&format!("(?s:.*)(?-s:{pattern})(?s:.*)"), negated, name)
}

fn anchored(pattern: &str, negated: bool, name: &str) -> Option<Vec<Matcher>> {
    let op = if negated { MatchOp::NotRegex } else { MatchOp::Regex };
    (pattern.len() <= PATTERN_BYTES_MAX).then_some(())?;
    Some(vec![Matcher::new(name, op, pattern).ok()?, exists(name)])
}

/// `%` is any text, `_` any character, a backslash takes the meaning from what follows.
fn like_as_regex(pattern: &str) -> Option<String> {
    let mut out = String::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '%' => out.push_str(".*"),
            '_' => out.push('.'),
            '\\' => out.push_str(&escape(chars.next()?.encode_utf8(&mut [0; 4]))),
            c => out.push_str(&escape(c.encode_utf8(&mut [0; 4]))),
        }
    }
    Some(out)
}

/// The expression that matches just `text`.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// Whether the pattern is made of what RE2 and the operator understand alike: classes such as `\d` and `\b` are Unicode's
/// here and ASCII's there, flags differ, and so do set operations in brackets.
fn means_the_same(pattern: &str) -> bool {
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        let fine = match c {
            '\\' => matches!(
                chars.next(),
                Some('.' | '\\' | '+' | '*' | '?' | '(' | ')' | '|' | '[' | ']' | '{' | '}' | '^' | '$' | '/' | '-')
            ),
            '(' => chars.peek() != Some(&'?'),
            '[' => chars.peek() != Some(&'[') && chars.peek() != Some(&':'),
            '&' | '~' => chars.peek() != Some(&c),
            '-' => chars.peek() != Some(&'-'),
            '{' => chars.peek().is_some_and(char::is_ascii_digit),
            c => c.is_ascii_graphic() || c == ' ',
        };
        if !fine {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn like_patterns_are_expressions() {
        for (pattern, expected) in
            [("a%", "a.*"), ("%.b_", r".*\.b."), (r"50\%", "50%"), (r"a\_b", "a_b"), ("a|b", r"a\|b")]
        {
            assert_eq!(like_as_regex(pattern).as_deref(), Some(expected), "{pattern}");
        }
        assert_eq!(like_as_regex("a\\"), None);
    }

    #[test]
    fn expressions_with_two_meanings_stay_outside() {
        for pattern in ["abc", "a.*b", "^node-[0-9]+$", r"10\.0\.", "a|b", "x{2,3}", "(a|b)c?"] {
            assert!(means_the_same(pattern), "{pattern}");
        }
        for pattern in [r"\d", r"\bfoo", "(?i)a", r"\p{L}", "[[:alpha:]]", "[a&&b]", "ä", r"a\", "x{,3}", "[a--b]"] {
            assert!(!means_the_same(pattern), "{pattern}");
        }
    }
}
