//! Lower and upper case as Go has them: one character becomes one character.

/// `text` in lower case.
pub(super) fn lower(text: &str) -> String {
    let one = |c: char| match c {
        // Rust would add the dot as a character of its own.
        'İ' => 'i',
        _ => single(c.to_lowercase()).unwrap_or(c),
    };
    text.chars().map(one).collect()
}

/// `text` in upper case. A letter without a single counterpart, such as `ß`, stays.
pub(super) fn upper(text: &str) -> String {
    let one = |c: char| match c {
        // Greek vowels with an iota below: the iota stays below.
        '\u{1f80}'..='\u{1f87}' | '\u{1f90}'..='\u{1f97}' | '\u{1fa0}'..='\u{1fa7}' => shifted(c, 8),
        '\u{1fb3}' | '\u{1fc3}' | '\u{1ff3}' => shifted(c, 9),
        _ => single(c.to_uppercase()).unwrap_or(c),
    };
    text.chars().map(one).collect()
}

fn single(mut chars: impl Iterator<Item = char>) -> Option<char> {
    let first = chars.next();
    if chars.next().is_some() { None } else { first }
}

fn shifted(c: char, by: u32) -> char {
    char::from_u32(u32::from(c) + by).unwrap_or(c)
}
