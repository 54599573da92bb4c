//! Label sets: what names a series.
//!
//! A [`Labels`] is immutable and cheap to clone: one shared allocation holds every name and value.
//! Invariants: names strictly ascend by bytes, no name and no value is empty (an empty value means "label absent").

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// The label that holds the name of the metric.
pub const METRIC_NAME: &str = "__name__";
/// Label that carries a metric's type when type-and-unit labels are in use.
pub const METRIC_TYPE: &str = "__type__";
/// Label that carries a metric's unit when type-and-unit labels are in use.
pub const METRIC_UNIT: &str = "__unit__";

/// A sorted set of labels.
///
/// Layout of the shared text, repeated per string, name before value: a length, then the bytes. A length below 127 is
/// one byte; a longer one is the byte 127 and four bytes of seven bits each, least significant first. Every length byte is
/// ASCII, so the whole is valid UTF-8 and borrowing a string from it costs no check of its content.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Labels {
    packed: Arc<str>,
}

/// Why a list of pairs is no label set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelsError {
    /// The name occurs twice.
    #[error("label name {0:?} is not unique")]
    DuplicateName(String),
    /// A name is the empty string.
    #[error("label name is empty")]
    EmptyName,
    /// One string is longer than the packed form can say (256 MiB).
    #[error("label of {0} bytes is too long")]
    TooLong(usize),
}

const LONG: u8 = 127;
const LENGTH_MAX: usize = (1 << 28) - 1;

impl Labels {
    /// The set without labels.
    #[must_use]
    pub fn empty() -> Self {
        Self { packed: Arc::from("") }
    }

    /// Builds a set from pairs in any order; pairs with an empty value are left out.
    ///
    /// # Errors
    /// An empty or repeated name, or a string above 256 MiB.
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, LabelsError> {
        let mut pairs: Vec<(N, V)> = pairs.into_iter().collect();
        pairs.sort_by(|a, b| a.0.as_ref().cmp(b.0.as_ref()));
        for pair in pairs.windows(2) {
            if let [a, b] = pair
                && a.0.as_ref() == b.0.as_ref()
            {
                return Err(LabelsError::DuplicateName(a.0.as_ref().to_owned()));
            }
        }
        for (name, value) in &pairs {
            if name.as_ref().is_empty() {
                return Err(LabelsError::EmptyName);
            }
            let longest = name.as_ref().len().max(value.as_ref().len());
            if longest > LENGTH_MAX {
                return Err(LabelsError::TooLong(longest));
            }
        }
        Ok(Self::from_sorted(pairs.iter().map(|(n, v)| (n.as_ref(), v.as_ref()))))
    }

    /// Builds a set from pairs whose names already strictly ascend; pairs with an empty value are left out.
    ///
    /// # Panics
    /// If a string exceeds 256 MiB. In debug builds also if the names do not ascend.
    #[must_use]
    pub fn from_sorted<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut packed = String::with_capacity(256);
        let mut previous: &str = "";
        for (name, value) in pairs {
            debug_assert!(previous < name, "label names must strictly ascend: {previous:?}, {name:?}");
            previous = name;
            if !value.is_empty() {
                push_packed(&mut packed, name);
                push_packed(&mut packed, value);
            }
        }
        Self { packed: Arc::from(packed) }
    }

    /// The pairs in ascending order of names.
    #[must_use]
    pub fn iter(&self) -> LabelsIter<'_> {
        LabelsIter { rest: &self.packed }
    }

    /// The value of `name`, or `None` when the label is absent.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().take_while(|(n, _)| *n <= name).find(|(n, _)| *n == name).map(|(_, v)| v)
    }

    /// The name of the metric, or `None` when it was dropped.
    #[must_use]
    pub fn metric_name(&self) -> Option<&str> {
        self.get(METRIC_NAME)
    }

    /// How many labels there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there is no label.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.packed.is_empty()
    }

    /// The labels for which `keep` holds.
    #[must_use]
    pub fn filter(&self, mut keep: impl FnMut(&str) -> bool) -> Self {
        Self::from_sorted(self.iter().filter(|(name, _)| keep(name)))
    }

    /// The set without the metric's name, type and unit ("dropping the name").
    #[must_use]
    pub fn without_metric_name(&self) -> Self {
        self.filter(|name| !matches!(name, METRIC_NAME | METRIC_TYPE | METRIC_UNIT))
    }

    /// The set with `name` set to `value`; an empty value removes the label.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        let before = self.iter().filter(|(n, _)| *n < name);
        let after = self.iter().filter(|(n, _)| *n > name);
        Self::from_sorted(before.chain([(name, value)]).chain(after))
    }

    /// Bytes of memory that the shared text takes.
    #[must_use]
    pub fn packed_len(&self) -> usize {
        self.packed.len()
    }

    /// Bytes of memory that the set takes if nobody else shares its text: the handle, the counts of those who share, the text.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        size_of::<Self>() + 2 * size_of::<usize>() + self.packed.len()
    }
}

impl Default for Labels {
    fn default() -> Self {
        Self::empty()
    }
}

fn push_packed(out: &mut String, text: &str) {
    let length = text.len();
    if length < usize::from(LONG) {
        out.push(char::from(length as u8));
    } else {
        assert!(length <= LENGTH_MAX, "label of {length} bytes");
        out.push(char::from(LONG));
        for shift in [0, 7, 14, 21] {
            out.push(char::from(((length >> shift) & 0x7f) as u8));
        }
    }
    out.push_str(text);
}

/// Iterates over the pairs of a [`Labels`].
#[derive(Debug, Clone)]
pub struct LabelsIter<'a> {
    rest: &'a str,
}

impl<'a> LabelsIter<'a> {
    fn next_text(&mut self) -> Option<&'a str> {
        let bytes = self.rest.as_bytes();
        let first = *bytes.first()?;
        let (length, start) = if first < LONG {
            (usize::from(first), 1)
        } else {
            let digits = bytes.get(1..5)?;
            let length = digits.iter().rev().fold(0, |n, digit| (n << 7) | usize::from(*digit));
            (length, 5)
        };
        let text = self.rest.get(start..start + length)?;
        self.rest = self.rest.get(start + length..)?;
        Some(text)
    }
}

impl<'a> Iterator for LabelsIter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let name = self.next_text()?;
        Some((name, self.next_text()?))
    }
}

impl<'a> IntoIterator for &'a Labels {
    type Item = (&'a str, &'a str);
    type IntoIter = LabelsIter<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// By pairs: name, then value, then the next pair; a prefix comes first. The order in which Prometheus sorts series.
impl Ord for Labels {
    fn cmp(&self, other: &Self) -> Ordering {
        self.iter().cmp(other.iter())
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// As Prometheus prints a series: `name{a="1", b="2"}` without blanks after the commas being significant.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, (name, value)) in self.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            if is_legacy_label_name(name) {
                write!(f, "{name}=")?;
            } else {
                write!(f, "{}=", crate::text::quote(name))?;
            }
            f.write_str(&crate::text::quote(value))?;
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whether `name` needs no quotes as a label name: `[a-zA-Z_][a-zA-Z0-9_]*`.
#[must_use]
pub fn is_legacy_label_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Whether `name` needs no quotes as a metric name: like a label name, and colons are allowed.
#[must_use]
pub fn is_legacy_metric_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_' || b == b':')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        Labels::from_pairs(pairs.iter().copied()).expect("valid pairs")
    }

    #[test]
    fn pairs_come_back_sorted_and_without_empty_values() {
        let set = labels(&[("b", "2"), ("a", "1"), ("c", "")]);
        assert_eq!(set.iter().collect::<Vec<_>>(), [("a", "1"), ("b", "2")]);
        assert_eq!((set.get("b"), set.get("c"), set.len()), (Some("2"), None, 2));
    }

    #[test]
    fn repeated_names_are_refused() {
        let error = Labels::from_pairs([("a", "1"), ("a", "2")]).unwrap_err();
        assert_eq!(error, LabelsError::DuplicateName("a".into()));
    }

    #[test]
    fn display_quotes_values_and_foreign_names() {
        let set = labels(&[("__name__", "up"), ("a.b", "x\"y\n")]);
        assert_eq!(set.to_string(), r#"{__name__="up", "a.b"="x\"y\n"}"#);
    }

    #[test]
    fn with_replaces_adds_and_removes() {
        let set = labels(&[("b", "2")]);
        assert_eq!(set.with("a", "1").with("b", ""), labels(&[("a", "1")]));
    }

    proptest! {
        #[test]
        fn round_trip_of_any_map(map: std::collections::BTreeMap<String, String>, long in 0usize..400) {
            let mut map = map;
            map.remove("");
            map.insert("long".into(), "x".repeat(long * 50));
            let set = Labels::from_pairs(&map).expect("keys of a map are unique");
            let expected: Vec<_> =
                map.iter().filter(|(_, v)| !v.is_empty()).map(|(n, v)| (n.as_str(), v.as_str())).collect();
            prop_assert_eq!(set.iter().collect::<Vec<_>>(), expected);
        }
    }
}
