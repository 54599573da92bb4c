//! Variables of the environment in external labels: `$NAME`, `${NAME}`, and `$$` for a dollar sign, as in Prometheus 3.
//!
//! Pure but for [`variable`], the only place that reads the environment for the configuration file.

/// The value of a variable; `None` when it is not set, is empty, or is no text.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Replaces the variables of `text` by what `lookup` says of them; those of which it says nothing become empty and are
/// returned as well.
///
/// A name is letters, digits and underscores, or anything between braces, or one of `*#$@!?-` and a digit. A dollar sign
/// before anything else stays; braces that are empty or not closed are left out together with it.
pub(super) fn expand(text: &str, lookup: impl Fn(&str) -> Option<String>) -> (String, Vec<String>) {
    let (mut expanded, mut unknown) = (String::with_capacity(text.len()), Vec::new());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let (name, length) = name(after);
        rest = after.get(length..).unwrap_or_default();
        match name {
            "$" => expanded.push('$'),
            "" if length == 0 => expanded.push('$'),
            "" => {}
            name => match lookup(name) {
                Some(value) => expanded.push_str(&value),
                None => unknown.push(name.to_owned()),
            },
        }
    }
    expanded.push_str(rest);
    (expanded, unknown)
}

/// The name that `text`, which follows a dollar sign, begins with, and how many bytes it takes with its braces.
fn name(text: &str) -> (&str, usize) {
    if let Some(braced) = text.strip_prefix('{') {
        return match braced.split_once('}') {
            Some((name, _)) => (name, name.len() + 2),
            None => ("", 1),
        };
    }
    if text.starts_with(|first: char| "*#$@!?-".contains(first) || first.is_ascii_digit()) {
        return (text.get(..1).unwrap_or_default(), 1);
    }
    let end = text.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(text.len());
    (text.get(..end).unwrap_or_default(), end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> String {
        let lookup = |name: &str| match name {
            "A" => Some("a".to_owned()),
            "LONG_1" => Some("$A".to_owned()),
            "with space" => Some("s".to_owned()),
            _ => None,
        };
        expand(text, lookup).0
    }

    /// What Go's `os.Expand` makes of each.
    #[test]
    fn variables_are_replaced_as_in_prometheus() {
        for (text, expected) in [
            ("plain", "plain"),
            ("$A", "a"),
            ("${A}", "a"),
            ("x${A}y$A.z", "xaya.z"),
            ("$LONG_1$A", "$Aa"),
            ("${with space}", "s"),
            ("$$A", "$A"),
            ("100$", "100$"),
            ("$ A", "$ A"),
            ("$.A", "$.A"),
            ("$é", "$é"),
            ("${}x", "x"),
            ("${A", "A"),
            ("$1x", "x"),
            ("$Ax", ""),
            ("${A}}", "a}"),
        ] {
            assert_eq!(expanded(text), expected, "{text}");
        }
    }

    #[test]
    fn variables_that_are_not_there_are_told() {
        assert_eq!(expand("$B-${C}", |_| None), ("-".to_owned(), vec!["B".to_owned(), "C".to_owned()]));
    }
}
