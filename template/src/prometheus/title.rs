//! Upper case, lower case and the beginnings of words.

/// Upper case letter by letter, as Go maps them: letters whose upper case is more than one letter stay.
pub(super) fn upper(text: &str) -> String {
    text.chars().map(upper_letter).collect()
}

fn upper_letter(c: char) -> char {
    // Letters with an iota below have an upper case of their own, which the full mapping takes apart.
    let with_iota = match c {
        '\u{1f80}'..='\u{1f87}' | '\u{1f90}'..='\u{1f97}' | '\u{1fa0}'..='\u{1fa7}' => Some(8),
        '\u{1fb3}' | '\u{1fc3}' | '\u{1ff3}' => Some(9),
        _ => None,
    };
    if let Some(upper) = with_iota.and_then(|distance| char::from_u32(u32::from(c) + distance)) {
        return upper;
    }
    single(c.to_uppercase()).unwrap_or(c)
}

/// Lower case letter by letter, as Go maps them.
pub(super) fn lower(text: &str) -> String {
    text.chars().map(|c| c.to_lowercase().next().unwrap_or(c)).collect()
}

fn single(mut mapped: impl Iterator<Item = char>) -> Option<char> {
    let first = mapped.next()?;
    mapped.next().is_none().then_some(first)
}

/// The first letter of every word in title case; all else stays.
///
/// Words are those of Unicode's annex 29, nearly: letters, digits, underscores and marks belong together, and one of
/// `'.:` and their like between them divides nothing.
pub(super) fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut inside_word = false;
    let mut after_joiner = false;
    for c in text.chars() {
        let joins = is_joiner(c);
        if after_joiner && joins {
            inside_word = false;
        }
        if is_cased(c) {
            if inside_word {
                out.push(c)
            } else {
                push_title(&mut out, c)
            }
            inside_word = true;
        } else {
            out.push(c);
            inside_word &= joins || is_word_part(c);
        }
        after_joiner = joins;
    }
    out
}

fn is_cased(c: char) -> bool {
    c.is_lowercase() || c.is_uppercase() || is_digraph(c)
}

fn is_joiner(c: char) -> bool {
    matches!(
        c,
        '\'' | '.'
            | ':'
            | '\u{b7}'
            | '\u{387}'
            | '\u{55f}'
            | '\u{5f4}'
            | '\u{2018}'
            | '\u{2019}'
            | '\u{2024}'
            | '\u{2027}'
            | '\u{fe13}'
            | '\u{fe52}'
            | '\u{fe55}'
            | '\u{ff07}'
            | '\u{ff0e}'
            | '\u{ff1a}'
    )
}

fn is_word_part(c: char) -> bool {
    let mark = matches!(c, '\u{300}'..='\u{36f}' | '\u{200d}' | '\u{20d0}'..='\u{20ff}' | '\u{fe00}'..='\u{fe0f}' | '\u{fe20}'..='\u{fe2f}');
    c == '_' || c.is_alphanumeric() || mark
}

/// Two letters in one character: upper, title and lower case follow each other.
fn is_digraph(c: char) -> bool {
    matches!(c, '\u{1c4}'..='\u{1cc}' | '\u{1f1}'..='\u{1f3}')
}

fn push_title(out: &mut String, c: char) {
    if is_digraph(c) {
        let base = if c < '\u{1f1}' { 0x1c4 } else { 0x1f1 };
        let offset = u32::from(c) - base;
        out.extend(char::from_u32(base + offset / 3 * 3 + 1));
    } else if matches!(c, '\u{10d0}'..='\u{10ff}') {
        out.push(c); // Georgian has capitals but no titles.
    } else {
        let mut upper = c.to_uppercase();
        out.extend(upper.next());
        out.extend(upper.flat_map(char::to_lowercase));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_begin_with_a_capital_and_keep_the_rest() {
        for (text, expected) in [
            ("aa bb CC", "Aa Bb CC"),
            ("hello-world foo_bar", "Hello-World Foo_bar"),
            ("it's a.b c:d e..f", "It's A.b C:d E..F"),
            ("3foo", "3Foo"),
            ("straße éa", "Straße Éa"),
            ("ßa ﬁx ǆx", "Ssa Fix ǅx"),
        ] {
            assert_eq!(title(text), expected, "{text}");
        }
    }

    #[test]
    fn letters_map_one_to_one() {
        assert_eq!(upper("aß\u{1f80}é"), "Aß\u{1f88}É");
        assert_eq!(lower("AİÉ"), "aié");
    }
}
