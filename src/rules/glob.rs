//! File name patterns as Go's `filepath.Glob` reads them: `*`, `?`, `[a-z]`, `[^a-z]` and `\` in any part of a path. A `*`
//! stops at a slash and matches a leading dot.

use std::path::{Component, Path, PathBuf};

/// A pattern that is none: a `[` without its `]`, an empty range, or a `\` at the end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("syntax error in pattern")]
pub struct BadPattern;

/// One part of a path as a pattern.
#[derive(Debug, PartialEq)]
struct Pattern(Vec<Token>);

#[derive(Debug, PartialEq)]
enum Token {
    /// `*`
    Any,
    /// `?`
    One,
    Literal(char),
    /// `[…]`, with inclusive ranges.
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

/// The paths that exist and match `pattern`, sorted within each directory. What cannot be read matches nothing.
pub(crate) fn expand(pattern: &Path) -> Result<Vec<PathBuf>, BadPattern> {
    let mut paths = vec![PathBuf::new()];
    for component in pattern.components() {
        let Component::Normal(part) = component else {
            paths.iter_mut().for_each(|path| path.push(component));
            continue;
        };
        let text = part.to_string_lossy();
        if !text.contains(['*', '?', '[', '\\']) {
            paths.iter_mut().for_each(|path| path.push(part));
            continue;
        }
        let part = Pattern::parse(&text)?;
        paths = paths.iter().flat_map(|directory| children(directory, &part)).collect();
    }
    paths.retain(|path| std::fs::symlink_metadata(path).is_ok());
    Ok(paths)
}

/// The shortest path that names the same without looking at the disk, as Go's `filepath.Clean` has it.
pub(crate) fn clean(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::new();
    for component in path.components() {
        match (component, cleaned.components().next_back()) {
            (Component::CurDir, _) | (Component::ParentDir, Some(Component::RootDir)) => {}
            (Component::ParentDir, Some(Component::Normal(_))) => drop(cleaned.pop()),
            _ => cleaned.push(component),
        }
    }
    if cleaned.as_os_str().is_empty() { PathBuf::from(".") } else { cleaned }
}

fn children(directory: &Path, part: &Pattern) -> Vec<PathBuf> {
    let listed = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let Ok(entries) = std::fs::read_dir(listed) else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| part.matches(name)).collect();
    names.sort_unstable();
    names.into_iter().map(|name| directory.join(name)).collect()
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, BadPattern> {
        let mut chars = text.chars().peekable();
        let mut tokens = Vec::new();
        while let Some(c) = chars.next() {
            tokens.push(match c {
                '*' => Token::Any,
                '?' => Token::One,
                '\\' => Token::Literal(chars.next().ok_or(BadPattern)?),
                '[' => class(&mut chars)?,
                other => Token::Literal(other),
            });
        }
        Ok(Self(tokens))
    }

    /// Whether the whole of `name` matches. Only the last `*` is ever tried again, so time is the product of both lengths
    /// at most.
    fn matches(&self, name: &str) -> bool {
        let (tokens, name) = (&self.0, name.chars().collect::<Vec<_>>());
        let (mut token, mut at) = (0, 0);
        let mut retry: Option<(usize, usize)> = None;
        loop {
            match tokens.get(token) {
                Some(Token::Any) => {
                    retry = Some((token, at));
                    token += 1;
                }
                Some(one) if name.get(at).is_some_and(|c| one.matches(*c)) => {
                    token += 1;
                    at += 1;
                }
                None if at == name.len() => return true,
                _ => match &mut retry {
                    Some((star, from)) if *from < name.len() => {
                        *from += 1;
                        (token, at) = (*star + 1, *from);
                    }
                    _ => return false,
                },
            }
        }
    }
}

impl Token {
    fn matches(&self, c: char) -> bool {
        match self {
            Self::Any => false,
            Self::One => true,
            Self::Literal(literal) => *literal == c,
            Self::Class { negated, ranges } => ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated,
        }
    }
}

/// Reads `a-z0]` after its bracket.
fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Token, BadPattern> {
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        if !ranges.is_empty() && chars.next_if_eq(&']').is_some() {
            return Ok(Token::Class { negated, ranges });
        }
        let low = class_char(chars)?;
        let high = if chars.next_if_eq(&'-').is_some() { class_char(chars)? } else { low };
        ranges.push((low, high));
    }
}

fn class_char(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<char, BadPattern> {
    match chars.next() {
        None | Some('-' | ']') => Err(BadPattern),
        Some('\\') => chars.next().ok_or(BadPattern),
        Some(c) => Ok(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cases of Go's own `path/filepath` semantics that concern one part of a path.
    #[test]
    fn patterns_match_as_in_go() {
        for (pattern, name, expected) in [
            ("abc", "abc", true),
            ("*", "abc", true),
            ("*c", "abc", true),
            ("a*", "a", true),
            ("a*", "abc", true),
            ("*.yml", ".yml", true),
            ("a*b*c*d*e*", "axbxcxdxe", true),
            ("a*b?c*x", "abxbbxdbxebxczzx", true),
            ("a*b?c*x", "abxbbxdbxebxczzy", false),
            ("ab[c]", "abc", true),
            ("ab[b-d]", "abc", true),
            ("ab[e-g]", "abc", false),
            ("ab[^c]", "abc", false),
            ("ab[^e-g]", "abc", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "ab", false),
            ("a?b", "a☺b", true),
            ("a[^a]b", "a☺b", true),
            ("a???b", "a☺b", false),
            ("[\\]a]", "]", true),
            ("[\\-x]", "-", true),
            ("[x\\-]", "z", false),
            ("*x", "xxx", true),
        ] {
            assert_eq!(Pattern::parse(pattern).unwrap().matches(name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn malformed_patterns_are_refused() {
        for pattern in ["[]a]", "[-]", "[x-]", "[-x]", "[", "[^", "[^bc", "a[", "[a-b-c]", "\\"] {
            assert_eq!(Pattern::parse(pattern), Err(BadPattern), "{pattern}");
        }
    }

    #[test]
    fn expansion_walks_directories_in_order() {
        let root = tempfile::tempdir().unwrap();
        for file in ["b/2.yml", "b/1.yml", "a/3.yml", "a/x.txt", "c.yml"] {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let expand = |pattern: &str| -> Vec<String> {
            let paths = super::expand(&root.path().join(pattern)).unwrap();
            paths.iter().map(|path| path.strip_prefix(root.path()).unwrap().display().to_string()).collect()
        };
        assert_eq!(expand("*/*.yml"), ["a/3.yml", "b/1.yml", "b/2.yml"]);
        assert_eq!(expand("[bc]*"), ["b", "c.yml"]);
        assert_eq!(expand("c.yml"), ["c.yml"]);
        assert!(expand("missing.yml").is_empty() && expand("missing/*").is_empty());
    }
}
