//! Character classes of RE2: `[a-z]`, `\d`, `[[:alpha:]]`, `\p{Greek}`.
//!
//! `\d`, `\s`, `\w` and the POSIX classes know ASCII only. When case is ignored, a set is folded before it is negated.

use super::RegexError;
use super::cursor::{Cursor, escape};
use super::parser::{INVALID_RANGE, TOO_LARGE};
use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, HirKind};

const MISSING_BRACKET: &str = "missing closing ]";

/// Ranges that the items of one class may have together; a class of that many single characters is fine.
const ITEM_RANGES_MAX: usize = 250_000;

/// The set of code points from `low` to `high`. Surrogates are no characters and never match.
pub(super) fn range(low: u32, high: u32) -> ClassUnicode {
    let low = if (0xd800..0xe000).contains(&low) { 0xe000 } else { low };
    let high = if (0xd800..0xe000).contains(&high) { 0xd7ff } else { high };
    match (char::from_u32(low), char::from_u32(high)) {
        (Some(low), Some(high)) if low <= high => ClassUnicode::new([ClassUnicodeRange::new(low, high)]),
        _ => ClassUnicode::empty(),
    }
}

/// Adds the other cases of all letters.
pub(super) fn fold(mut class: ClassUnicode) -> ClassUnicode {
    // Fails only without Unicode tables; then letters fold to themselves.
    let _ = class.try_case_fold_simple();
    class
}

fn ascii(ranges: &[(u8, u8)]) -> ClassUnicode {
    ClassUnicode::new(ranges.iter().map(|(low, high)| ClassUnicodeRange::new(char::from(*low), char::from(*high))))
}

/// A set, folded and negated as asked.
fn finish(class: ClassUnicode, fold_case: bool, negated: bool) -> ClassUnicode {
    let mut class = if fold_case { fold(class) } else { class };
    if negated {
        class.negate();
    }
    class
}

/// `\d`, `\D`, `\s`, `\S`, `\w`, `\W` if one comes next.
pub(super) fn perl(cursor: &mut Cursor<'_>, fold_case: bool) -> Option<ClassUnicode> {
    let letter = cursor.rest.strip_prefix('\\')?.chars().next()?;
    let class = match letter.to_ascii_lowercase() {
        'd' => ascii(&[(b'0', b'9')]),
        's' => ascii(&[(b'\t', b'\n'), (0x0c, b'\r'), (b' ', b' ')]),
        'w' => ascii(&[(b'0', b'9'), (b'A', b'Z'), (b'_', b'_'), (b'a', b'z')]),
        _ => return None,
    };
    cursor.advance(2);
    Some(finish(class, fold_case, letter.is_ascii_uppercase()))
}

/// `\pL`, `\p{Greek}`, `\P{…}`, `\p{^…}` if one comes next.
pub(super) fn unicode(cursor: &mut Cursor<'_>, fold_case: bool) -> Result<Option<ClassUnicode>, RegexError> {
    let text = cursor.rest;
    if !text.starts_with("\\p") && !text.starts_with("\\P") {
        return Ok(None);
    }
    let mut negated = text.starts_with("\\P");
    let length = match text[2..].chars().next() {
        Some('{') => text.find('}').ok_or_else(|| cursor.error(INVALID_RANGE, text))? + 1,
        Some(c) => 2 + c.len_utf8(),
        None => return Err(cursor.error(INVALID_RANGE, text)),
    };
    let whole = &text[..length];
    let braced = whole[2..].strip_prefix('{').and_then(|name| name.strip_suffix('}'));
    let mut name = braced.unwrap_or(&whole[2..]);
    if let Some(rest) = name.strip_prefix('^') {
        negated = !negated;
        name = rest;
    }
    let class = unicode_table(name).ok_or_else(|| cursor.error(INVALID_RANGE, whole))?;
    cursor.advance(length);
    Ok(Some(finish(class, fold_case, negated)))
}

/// Scripts whose names are as long as their codes, which others are not called by.
const SCRIPTS_OF_FOUR_LETTERS: [&str; 9] = ["ahom", "cham", "kawi", "lisu", "miao", "modi", "newa", "thai", "toto"];

/// The characters of a general category or script. Case, blanks, `_` and `-` do not matter.
fn unicode_table(name: &str) -> Option<ClassUnicode> {
    let plain: String = name.chars().filter(|c| !"_- ".contains(*c)).map(|c| c.to_ascii_lowercase()).collect();
    // The engine would skip an `is` before the name.
    if plain.is_empty() || plain.starts_with("is") || !plain.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let is_code = plain.len() == 4 && !SCRIPTS_OF_FOUR_LETTERS.contains(&plain.as_str());
    let properties: &[&str] = if is_code { &["gc"] } else { &["gc", "sc"] };
    properties.iter().find_map(|property| {
        let hir = regex_syntax::parse(&format!("\\p{{{property}={name}}}")).ok()?;
        match hir.into_kind() {
            HirKind::Class(Class::Unicode(class)) => Some(class),
            HirKind::Literal(literal) => {
                let c = std::str::from_utf8(&literal.0).ok()?.chars().next()?;
                Some(ClassUnicode::new([ClassUnicodeRange::new(c, c)]))
            }
            _ => None,
        }
    })
}

/// `[:alpha:]` if it comes next; only inside brackets.
fn posix(cursor: &mut Cursor<'_>, fold_case: bool) -> Result<Option<ClassUnicode>, RegexError> {
    let Some(rest) = cursor.rest.strip_prefix("[:").filter(|_| !cursor.no_posix_class) else { return Ok(None) };
    let Some(end) = rest.find(":]") else {
        cursor.no_posix_class = true;
        return Ok(None);
    };
    let (name, whole) = (&rest[..end], &cursor.rest[..end + 4]);
    let (negated, name) = name.strip_prefix('^').map_or((false, name), |name| (true, name));
    let class = match name {
        "alnum" => ascii(&[(b'0', b'9'), (b'A', b'Z'), (b'a', b'z')]),
        "alpha" => ascii(&[(b'A', b'Z'), (b'a', b'z')]),
        "ascii" => ascii(&[(0, 0x7f)]),
        "blank" => ascii(&[(b'\t', b'\t'), (b' ', b' ')]),
        "cntrl" => ascii(&[(0, 0x1f), (0x7f, 0x7f)]),
        "digit" => ascii(&[(b'0', b'9')]),
        "graph" => ascii(&[(b'!', b'~')]),
        "lower" => ascii(&[(b'a', b'z')]),
        "print" => ascii(&[(b' ', b'~')]),
        "punct" => ascii(&[(b'!', b'/'), (b':', b'@'), (b'[', b'`'), (b'{', b'~')]),
        "space" => ascii(&[(b'\t', b'\r'), (b' ', b' ')]),
        "upper" => ascii(&[(b'A', b'Z')]),
        "word" => ascii(&[(b'0', b'9'), (b'A', b'Z'), (b'_', b'_'), (b'a', b'z')]),
        "xdigit" => ascii(&[(b'0', b'9'), (b'A', b'F'), (b'a', b'f')]),
        _ => return Err(cursor.error(INVALID_RANGE, whole)),
    };
    cursor.advance(end + 4);
    Ok(Some(finish(class, fold_case, negated)))
}

/// Reads a class in brackets; the cursor stands at the opening one.
pub(super) fn bracketed(cursor: &mut Cursor<'_>, fold_case: bool) -> Result<ClassUnicode, RegexError> {
    let whole = cursor.rest;
    cursor.advance(1);
    let negated = cursor.accept('^');
    let mut items: Vec<ClassUnicodeRange> = Vec::new();
    let mut first = true;
    while first || !cursor.rest.starts_with(']') {
        first = false;
        if items.len() > ITEM_RANGES_MAX.max(whole.len()) {
            return Err(cursor.error(TOO_LARGE, whole));
        }
        if let Some(named) = named_item(cursor, fold_case)? {
            items.extend_from_slice(named.ranges());
            continue;
        }
        let start = cursor.rest;
        let low = class_char(cursor, whole)?;
        let mut high = low;
        if cursor.rest.starts_with('-') && cursor.rest.len() >= 2 && !cursor.rest.starts_with("-]") {
            cursor.advance(1);
            high = class_char(cursor, whole)?;
            if high < low {
                let part = &start[..start.len() - cursor.rest.len()];
                return Err(cursor.error(INVALID_RANGE, part));
            }
        }
        items.extend_from_slice(range(low, high).ranges());
    }
    cursor.advance(1);
    // Named items were folded before they were negated; folding those again changes nothing.
    Ok(finish(ClassUnicode::new(items), fold_case, negated))
}

fn named_item(cursor: &mut Cursor<'_>, fold_case: bool) -> Result<Option<ClassUnicode>, RegexError> {
    if let Some(class) = posix(cursor, fold_case)? {
        return Ok(Some(class));
    }
    if let Some(class) = unicode(cursor, fold_case)? {
        return Ok(Some(class));
    }
    Ok(perl(cursor, fold_case))
}

/// One character or escape inside brackets.
fn class_char(cursor: &mut Cursor<'_>, whole: &str) -> Result<u32, RegexError> {
    if cursor.rest.starts_with('\\') {
        return escape(cursor);
    }
    match cursor.next() {
        Some(c) => Ok(c as u32),
        None => Err(cursor.error(MISSING_BRACKET, whole)),
    }
}
