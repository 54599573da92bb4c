//! Reading YAML that people write: every node knows its place, and what nobody asked for is collected instead of being
//! refused at once, so that all mistakes of a file are reported together.

use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, de};
use serde_yaml::{Location, Spanned};
use std::collections::BTreeMap;
use std::fmt;

/// A place in a file, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line.
    pub line: u64,
    /// Column, in characters.
    pub column: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A list with the places of its items. Null items do not count, as in Go.
pub(crate) type Items<T> = Vec<Option<Spanned<T>>>;

/// A key that a map must not have.
#[derive(Debug)]
pub(crate) struct UnknownKey {
    pub(crate) at: Place,
    /// What it is, and what it might have been.
    pub(crate) message: String,
}

impl UnknownKey {
    pub(crate) fn new(key: &Spanned<String>, known: &[&str]) -> Self {
        let known: Vec<String> = known.iter().map(|known| format!("`{known}`")).collect();
        let message = format!("unknown field `{}`, expected one of {}", key.value, known.join(", "));
        Self { at: place(key.referenced), message }
    }
}

/// Declares a map of known keys. Every field is an `Option`, `None` for a key that is absent or null; `unknown` holds the
/// other keys.
macro_rules! node {
    ($(#[$meta:meta])* $visibility:vis struct $name:ident { $($key:literal => $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Default)]
        $visibility struct $name {
            $($visibility $field: Option<$type>,)*
            $visibility unknown: Vec<$crate::yaml::UnknownKey>,
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct NodeVisitor;

                impl<'de> serde::de::Visitor<'de> for NodeVisitor {
                    type Value = $name;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str(concat!("a map with some of the keys" $(, " `", $key, "`")*))
                    }

                    fn visit_unit<E>(self) -> Result<Self::Value, E> {
                        Ok($name::default())
                    }

                    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                        const KNOWN: &[&str] = &[$($key),*];
                        let mut node = $name::default();
                        while let Some(key) = map.next_key::<serde_yaml::Spanned<String>>()? {
                            match key.value.as_str() {
                                $($key => node.$field = map.next_value()?,)*
                                _ => {
                                    map.next_value::<serde::de::IgnoredAny>()?;
                                    node.unknown.push($crate::yaml::UnknownKey::new(&key, KNOWN));
                                }
                            }
                        }
                        Ok(node)
                    }
                }

                deserializer.deserialize_map(NodeVisitor)
            }
        }
    };
}
pub(crate) use node;

/// A whole number as Go reads one into an `int`: `1e3` is 1000 and `0x10` 16, what a fraction has beyond the whole is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Integer(pub(crate) i64);

impl<'de> Deserialize<'de> for Integer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IntegerVisitor;

        impl Visitor<'_> for IntegerVisitor {
            type Value = Integer;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number of 64 bits")
            }

            fn visit_i64<E>(self, value: i64) -> Result<Integer, E> {
                Ok(Integer(value))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Integer, E> {
                i64::try_from(value).map(Integer).map_err(|_| no_integer(value))
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Integer, E> {
                // The ends as floats: the lower one is a number of 64 bits, the upper one is the first that is none.
                const ENDS: std::ops::Range<f64> = i64::MIN as f64..i64::MAX as f64;
                if ENDS.contains(&value) { Ok(Integer(value as i64)) } else { Err(no_integer(value)) }
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Integer, E> {
                Err(no_integer(text))
            }
        }

        /// An error of this kind gets the place of the value, other kinds that of the key.
        fn no_integer<E: de::Error>(value: impl fmt::Display) -> E {
            E::custom(format_args!("`{value}` is no whole number of 64 bits"))
        }

        deserializer.deserialize_any(IntegerVisitor)
    }
}

/// A number as Go reads one into a `float64`: a text in quotes is none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Number(pub(crate) f64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberVisitor;

        impl Visitor<'_> for NumberVisitor {
            type Value = Number;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number")
            }

            fn visit_i64<E>(self, value: i64) -> Result<Number, E> {
                Ok(Number(value as f64))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Number, E> {
                Ok(Number(value as f64))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Number, E> {
                Ok(Number(value))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Number, E> {
                // An error of this kind gets the place of the value, other kinds that of the key.
                Err(E::custom(format_args!("`{text}` is no number")))
            }
        }

        deserializer.deserialize_any(NumberVisitor)
    }
}

/// A map of names to texts in the order of the file. A null is the empty text, as in Go.
#[derive(Debug, Default)]
pub(crate) struct Entries(pub(crate) Vec<Entry>);

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) value: String,
    pub(crate) name_at: Place,
    pub(crate) value_at: Place,
}

impl Entries {
    pub(crate) fn into_map(self) -> BTreeMap<String, String> {
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

pub(crate) fn place(location: Location) -> Place {
    Place { line: location.line(), column: location.column() }
}

/// The line of `text` at `at` with a mark below the column.
pub(crate) fn excerpt(name: &str, text: &str, at: Place) -> String {
    let number = at.line.to_string();
    let line = text.lines().nth(usize::try_from(at.line.saturating_sub(1)).unwrap_or(usize::MAX)).unwrap_or_default();
    let margin = " ".repeat(number.len());
    let column = usize::try_from(at.column.saturating_sub(1)).unwrap_or(usize::MAX);
    let before: String = line.chars().take(column).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
    format!("{margin}--> {name}:{at}\n{margin} |\n{number} | {line}\n{margin} | {before}^")
}

/// Reads the first document of `text`; the flag says whether more follow. `name` is the file, for messages. Text that is
/// refused comes back as a message, with its place unless it is no YAML at all.
pub(crate) fn read<T: de::DeserializeOwned + Default>(
    name: &str,
    text: &str,
) -> Result<(T, bool), (Option<Place>, String)> {
    match serde_yaml::from_str_with_options(text, options(text)) {
        Ok(document) => Ok((document, false)),
        Err(error) if matches!(error.without_snippet(), serde_yaml::Error::MultipleDocuments { .. }) => {
            let mut bytes = text.as_bytes();
            let mut documents = serde_yaml::read_with_options::<_, T>(&mut bytes, options(text));
            let first = documents.next().transpose().map_err(|error| describe(name, &error))?;
            Ok((first.unwrap_or_default(), true))
        }
        Err(error) => Err(describe(name, &error)),
    }
}

/// Bounds in proportion to the file, which is itself bounded: real files reach tens of thousands of rules, and aliases must
/// not blow a small file up.
#[must_use]
pub fn options(text: &str) -> serde_yaml::Options {
    serde_yaml::options! {
        budget: serde_yaml::budget! {
            max_events: 1_000 + 2 * text.len(),
            max_nodes: 1_000 + text.len(),
        },
        legacy_octal_numbers: true, // as in Go: 010 is 8
    }
}

/// The place of an error, and its message, which has an excerpt of the text below it but does not say the place once more: the
/// caller prints it in front. `name` is the file.
#[must_use]
pub fn describe(name: &str, error: &serde_yaml::Error) -> (Option<Place>, String) {
    let at = error.location().map(place);
    let rendered = error.render_with_options(serde_yaml::render_options! { source_name: Some(name) });
    let message = match at {
        Some(Place { line, column }) => {
            let rendered = rendered.strip_prefix(&format!("error: line {line} column {column}: ")).unwrap_or(&rendered);
            rendered.strip_suffix(&format!(" at line {line}, column {column}")).unwrap_or(rendered)
        }
        None => &rendered,
    };
    // The advice is for who calls the library, not for who wrote the file.
    (at, message.replace(", set DuplicateKeyPolicy in Options if acceptable", ""))
}
