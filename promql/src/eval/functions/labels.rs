//! `label_replace` and `label_join`: they change labels and leave values alone.

use crate::eval::exec::{Exec, Worker};
use crate::eval::names::{OnEqual, settle};
use crate::eval::row::Row;
use crate::eval::vector::{SeriesVector, Vector};
use crate::query_error::QueryError;
use model::labels::{Labels, METRIC_NAME, METRIC_TYPE, METRIC_UNIT};
use model::regex::Regex;
use std::sync::Arc;

/// `label_replace(inner, target, replacement, source, pattern)`; arguments as bytes of PromQL strings.
pub(crate) fn replace<'q>(
    inner: Vector<'q>,
    [target, replacement, source, pattern]: [&[u8]; 4],
    steps: usize,
    exec: &Exec<'q>,
) -> Result<Vector<'q>, QueryError> {
    // Put into a group as text, as Prometheus does: a quotation that does not end takes the bracket along, and is refused.
    let regex = std::str::from_utf8(pattern).ok().and_then(|pattern| Regex::new(&format!("^(?s:{pattern})$")).ok());
    let regex = regex.ok_or_else(|| QueryError::LabelReplacePattern(String::from_utf8_lossy(pattern).into_owned()))?;
    let target = label_name(target, "destination label name in label_replace(): ")?;
    let change = Change::Replace {
        regex,
        source: String::from_utf8_lossy(source).into_owned(),
        template: Template::parse(&String::from_utf8_lossy(replacement)),
    };
    settle(Arc::new(Relabeled { inner, target, change }), steps, OnEqual::Merge, exec)
}

/// `label_join(inner, target, separator, sources…)`; arguments as bytes of PromQL strings.
pub(crate) fn join<'q>(
    inner: Vector<'q>,
    target: &[u8],
    separator: &[u8],
    sources: &[&[u8]],
    steps: usize,
    exec: &Exec<'q>,
) -> Result<Vector<'q>, QueryError> {
    let sources = sources
        .iter()
        .map(|source| label_name(source, "source label name in label_join(): "))
        .collect::<Result<_, _>>()?;
    let target = label_name(target, "destination label name in label_join(): ")?;
    let change = Change::Join { separator: String::from_utf8_lossy(separator).into_owned(), sources };
    settle(Arc::new(Relabeled { inner, target, change }), steps, OnEqual::Merge, exec)
}

/// Any text that is not empty may name a label.
fn label_name(name: &[u8], role: &'static str) -> Result<String, QueryError> {
    match std::str::from_utf8(name) {
        Ok(name) if !name.is_empty() => Ok(name.to_owned()),
        _ => Err(QueryError::LabelName { role, name: String::from_utf8_lossy(name).into_owned() }),
    }
}

enum Change {
    Replace { regex: Regex, source: String, template: Template },
    Join { separator: String, sources: Vec<String> },
}

impl Change {
    /// The new value of the target; `None` leaves it as it is.
    fn value(&self, labels: &Labels) -> Option<String> {
        match self {
            Self::Replace { regex, source, template } => {
                let text = labels.get(source).unwrap_or_default();
                if !regex.is_match(text) {
                    return None;
                }
                let automaton = regex.automaton();
                let mut captures = automaton.create_captures();
                automaton.captures(text, &mut captures);
                Some(template.expand(|group| {
                    let span = match group {
                        Group::Number(number) => captures.get_group(*number),
                        Group::Name(name) => captures.get_group_by_name(name),
                    };
                    text.get(span?.range())
                }))
            }
            Self::Join { separator, sources } => {
                let values: Vec<&str> = sources.iter().map(|name| labels.get(name).unwrap_or_default()).collect();
                Some(values.join(separator))
            }
        }
    }
}

/// A vector with one label changed.
struct Relabeled<'q> {
    inner: Vector<'q>,
    target: String,
    change: Change,
}

impl SeriesVector for Relabeled<'_> {
    fn len(&self) -> usize {
        self.inner.len()
    }

    fn labels(&self, index: usize) -> Labels {
        let labels = self.inner.labels(index);
        match self.change.value(&labels) {
            Some(value) => labels.with(&self.target, &value),
            None => labels,
        }
    }

    fn prefetch(&self, indices: &[usize]) {
        self.inner.prefetch(indices);
    }

    /// Writing the name says that it is wanted.
    fn drops_name(&self, index: usize) -> bool {
        let drops = self.inner.drops_name(index);
        if drops && self.target == METRIC_NAME {
            return self.change.value(&self.inner.labels(index)).is_none();
        }
        drops
    }

    fn has_one_name(&self) -> bool {
        let target_is_reserved = [METRIC_NAME, METRIC_TYPE, METRIC_UNIT].contains(&self.target.as_str());
        !target_is_reserved && self.inner.has_one_name()
    }

    fn may_have_histograms(&self, index: usize) -> bool {
        self.inner.may_have_histograms(index)
    }

    fn row(&self, index: usize, worker: &mut Worker<'_, '_>, out: &mut Row) -> Result<(), QueryError> {
        self.inner.row(index, worker, out)
    }
}

/// A replacement with references to groups: `$1`, `${1}`, `$name`, `${name}`, `$$` for a dollar sign.
#[derive(Debug, PartialEq, Eq)]
struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Reference(Group),
}

#[derive(Debug, PartialEq, Eq)]
enum Group {
    Number(usize),
    Name(String),
}

impl Template {
    /// Any text is a template: a dollar sign that begins no reference is kept.
    fn parse(text: &str) -> Self {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            literal.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                literal.push('$');
                rest = after;
            } else if let Some((reference, after)) = reference(rest) {
                if !literal.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut literal)));
                }
                parts.push(Part::Reference(reference));
                rest = after;
            } else {
                literal.push('$');
            }
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Self { parts }
    }

    /// The text with what `group` returns for each reference.
    fn expand<'t>(&self, group: impl Fn(&Group) -> Option<&'t str>) -> String {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(literal) => out.push_str(literal),
                Part::Reference(reference) => out.push_str(group(reference).unwrap_or_default()),
            }
        }
        out
    }
}

/// The reference that `text`, which follows a dollar sign, begins with: the longest name, or one in braces.
fn reference(text: &str) -> Option<(Group, &str)> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let (name, rest) = match text.strip_prefix('{') {
        Some(inside) => {
            let end = inside.find(|c: char| !is_word(c)).unwrap_or(inside.len());
            (&inside[..end], inside[end..].strip_prefix('}')?)
        }
        None => text.split_at(text.find(|c: char| !is_word(c)).unwrap_or(text.len())),
    };
    if name.is_empty() {
        return None;
    }
    // A number too large to be a group refers to nothing, as a name that no group has.
    let is_number = name.bytes().all(|byte| byte.is_ascii_digit());
    let number = if is_number { name.parse().ok() } else { None };
    Some((number.map_or_else(|| Group::Name(name.to_owned()), Group::Number), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(template: &str, pattern: &str, text: &str) -> String {
        let change = Change::Replace {
            regex: Regex::new(pattern).expect("a pattern"),
            source: "source".into(),
            template: Template::parse(template),
        };
        change.value(&Labels::from_sorted([("source", text)])).expect("the pattern matches")
    }

    #[test]
    fn references_are_expanded_as_go_does() {
        let cases = [
            ("$1-value-$2", "a-value-b"),
            ("${1}x", "ax"),
            ("$1x", ""),
            ("$2$$1", "b$1"),
            ("$", "$"),
            ("$-", "$-"),
            ("${1", "${1"),
            ("${}", "${}"),
            ("$3|$99999999999999999999", "|"),
            ("$rest", "b"),
            ("$0", "a-b"),
        ];
        for (template, expected) in cases {
            assert_eq!(expand(template, "(.*)-(?P<rest>.*)", "a-b"), expected, "{template}");
        }
    }
}
