//! Label names in URLs: names beyond `[a-zA-Z0-9_]` travel as `U__` and escapes, such as `U__http_2e_status_code`.
//!
//! Format ("values escaping"): <https://prometheus.io/docs/instrumenting/escaping_schemes/>.

const PREFIX: &str = "U__";

/// Digits of the largest code point.
const HEX_DIGITS_MAX: usize = 6;

/// The name that `escaped` stands for; a text that is not validly escaped stands for itself.
#[must_use]
pub fn unescape(escaped: &str) -> String {
    escaped.strip_prefix(PREFIX).and_then(decode).unwrap_or_else(|| escaped.to_owned())
}

fn decode(mut rest: &str) -> Option<String> {
    let mut name = String::with_capacity(rest.len());
    while let Some((plain, escape)) = rest.split_once('_') {
        name.push_str(plain);
        // `__` is an underscore, `_2e_` a code point.
        let (code, after) = escape.split_once('_')?;
        name.push(if code.is_empty() { '_' } else { code_point(code)? });
        rest = after;
    }
    name.push_str(rest);
    Some(name)
}

fn code_point(digits: &str) -> Option<char> {
    let valid = digits.len() <= HEX_DIGITS_MAX && digits.bytes().all(|b| b.is_ascii_hexdigit());
    let code = valid.then(|| u32::from_str_radix(digits, 16).ok())??;
    char::from_u32(code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escapes_become_characters() {
        let cases = [
            ("U__http_2e_status_5f_code", "http.status_code"),
            ("U__http_2e_status__code", "http.status_code"),
            ("U___c3b6_", "\u{c3b6}"),
            ("U__a_1F525_", "a🔥"),
            ("U__", ""),
            ("U__no", "no"),
        ];
        for (escaped, name) in cases {
            assert_eq!(unescape(escaped), name, "{escaped}");
        }
    }

    #[test]
    fn what_is_not_escaped_stands_for_itself() {
        for text in
            ["job", "__name__", "U_a", "U__a_", "U__a_2e", "U__a_xyz_", "U__a_0000041_", "U__a_d800_", "U__a_+41_"]
        {
            assert_eq!(unescape(text), text);
        }
    }

    proptest! {
        #[test]
        fn any_name_survives_the_way(name in ".{1,20}") {
            let mut escaped = PREFIX.to_owned();
            for c in name.chars() {
                match c {
                    '_' => escaped.push_str("__"),
                    c if c.is_ascii_alphanumeric() => escaped.push(c),
                    c => escaped.push_str(&format!("_{:x}_", c as u32)),
                }
            }
            prop_assert_eq!(unescape(&escaped), name);
        }
    }
}
