//! Go's replacement templates: `$1`, `${1}`, `$name` and `${name}` stand for what a group matched, `$$` for a dollar sign.

/// Appends `template`, filled in from the groups, to `out`; none as soon as `out` exceeds `bytes_max`.
///
/// Of a name the longest is taken: `$1x` is the group `1x`. A group that does not exist or took no part is empty; of
/// several with one name, the first that took part counts.
pub(super) fn expand<'t>(
    out: &mut String,
    template: &str,
    names: &[Option<String>],
    group: impl Fn(usize) -> Option<&'t str>,
    bytes_max: usize,
) -> Option<()> {
    let named = |name: &str| (0..names.len()).filter(|index| names[*index].as_deref() == Some(name)).find_map(&group);
    let mut rest = template;
    while let Some((literal, after)) = rest.split_once('$') {
        out.push_str(literal);
        rest = after;
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((reference, after)) = reference(after) {
            let text = match reference {
                Reference::Number(index) => group(index),
                Reference::Name(name) => named(name),
            };
            out.push_str(text.unwrap_or_default());
            rest = after;
        } else {
            out.push('$');
        }
        if out.len() > bytes_max {
            return None;
        }
    }
    out.push_str(rest);
    (out.len() <= bytes_max).then_some(())
}

/// What follows a dollar sign.
enum Reference<'a> {
    Number(usize),
    Name(&'a str),
}

/// Reads `1`, `name`, `{1}` or `{name}`; returns the text behind it.
fn reference(text: &str) -> Option<(Reference<'_>, &str)> {
    let (braced, inner) = text.strip_prefix('{').map_or((false, text), |inner| (true, inner));
    let end = inner.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(inner.len());
    let (name, mut rest) = inner.split_at(end);
    if name.is_empty() {
        return None;
    }
    if braced {
        rest = rest.strip_prefix('}')?;
    }
    let is_number = name.bytes().all(|byte| byte.is_ascii_digit()) && (name == "0" || !name.starts_with('0'));
    // Numbers beyond any group, however long, stand for a group that does not exist.
    let number = is_number.then(|| Reference::Number(name.parse().unwrap_or(usize::MAX)));
    Some((number.unwrap_or(Reference::Name(name)), rest))
}
