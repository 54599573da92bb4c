//! The YAML of a rule file, with the place of everything that a check may have to point at.

use super::{FILE_BYTES_MAX, Place, Problem};
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde_yaml::{Location, Spanned};
use std::collections::BTreeMap;
use std::fmt;

/// A list with the places of its items. A null list is empty, and null items do not count, as in Go.
pub(super) type Items<T> = Option<Vec<Option<Spanned<T>>>>;

/// The whole file; an empty one has no groups.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Document {
    pub(super) groups: Items<GroupNode>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct GroupNode {
    pub(super) name: Option<Spanned<String>>,
    pub(super) interval: Option<Spanned<String>>,
    pub(super) query_offset: Option<Spanned<String>>,
    pub(super) limit: Option<i64>,
    pub(super) limit_mode: Option<Spanned<String>>,
    pub(super) on_error: Option<Spanned<String>>,
    pub(super) labels: Option<Entries>,
    pub(super) rules: Items<RuleNode>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RuleNode {
    pub(super) record: Option<Spanned<String>>,
    pub(super) alert: Option<Spanned<String>>,
    pub(super) expr: Option<Spanned<String>>,
    #[serde(rename = "for")]
    pub(super) hold: Option<Spanned<String>>,
    pub(super) keep_firing_for: Option<Spanned<String>>,
    pub(super) labels: Option<Entries>,
    pub(super) annotations: Option<Entries>,
}

/// A map of names to texts in the order of the file. A null is the empty text, as in Go.
#[derive(Debug, Default)]
pub(super) struct Entries(pub(super) Vec<Entry>);

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) value: String,
    pub(super) name_at: Place,
    pub(super) value_at: Place,
}

impl Entries {
    pub(super) fn into_map(self) -> BTreeMap<String, String> {
        self.0.into_iter().map(|entry| (entry.name, entry.value)).collect()
    }
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor;

        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of names to texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some((name, value)) = map.next_entry::<Spanned<String>, Option<Spanned<String>>>()? {
                    let name_at = place(name.referenced);
                    let value_at = value.as_ref().map_or(name_at, |value| place(value.referenced));
                    let value = value.map_or_else(String::new, |value| value.value);
                    entries.push(Entry { name: name.value, value, name_at, value_at });
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(EntriesVisitor)
    }
}

pub(super) fn place(location: Location) -> Place {
    Place { line: location.line(), column: location.column() }
}

/// Reads the first document of `text`; the flag says whether more follow.
pub(super) fn read<D: DeserializeOwned + Default>(
    file: &str,
    text: &str,
) -> Result<(D, bool), (Option<Place>, Problem)> {
    if text.len() > FILE_BYTES_MAX {
        return Err((None, Problem::TooLarge(text.len())));
    }
    match serde_yaml::from_str_with_options(text, options(text)) {
        Ok(document) => Ok((document, false)),
        Err(error) if matches!(error.without_snippet(), serde_yaml::Error::MultipleDocuments { .. }) => {
            let mut bytes = text.as_bytes();
            let mut documents = serde_yaml::read_with_options::<_, D>(&mut bytes, options(text));
            let first = documents.next().transpose().map_err(|error| describe(file, &error))?;
            Ok((first.unwrap_or_default(), true))
        }
        Err(error) => Err(describe(file, &error)),
    }
}

/// Bounds in proportion to the file, which is itself bounded: real files reach tens of thousands of rules, and aliases must
/// not blow a small file up.
fn options(text: &str) -> serde_yaml::Options {
    serde_yaml::options! {
        budget: serde_yaml::budget! {
            max_events: 1_000 + 2 * text.len(),
            max_nodes: 1_000 + text.len(),
        },
    }
}

/// The message without its place, which the caller prints in front, and an excerpt of the text below it.
fn describe(file: &str, error: &serde_yaml::Error) -> (Option<Place>, Problem) {
    let at = error.location().map(place);
    let rendered = error.render_with_options(serde_yaml::render_options! { source_name: Some(file) });
    let message = match at {
        Some(Place { line, column }) => {
            let rendered = rendered.strip_prefix(&format!("error: line {line} column {column}: ")).unwrap_or(&rendered);
            rendered.strip_suffix(&format!(" at line {line}, column {column}")).unwrap_or(rendered)
        }
        None => &rendered,
    };
    (at, Problem::Yaml(message.to_owned()))
}
