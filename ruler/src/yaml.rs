//! Reading YAML that people write: every node knows its place, and what nobody asked for is collected instead of being
//! refused at once, so that all mistakes of a file are reported together.

mod mend;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, de};
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

/// A value with the place where it is written, or where its alias is.
#[derive(Debug, Clone)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Its place in the file.
    pub at: Place,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Spanned<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = serde_yaml::Spanned::<T>::deserialize(deserializer)?;
        Ok(Self { value: spanned.value, at: mend::origin(spanned.referenced) })
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
        Self { at: key.at, message }
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
                        while let Some(key) = map.next_key::<$crate::yaml::Spanned<String>>()? {
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
                    let name_at = name.at;
                    let value_at = value.as_ref().map_or(name_at, |value| value.at);
                    let value = value.map_or_else(String::new, |value| value.value);
                    entries.push(Entry { name: name.value, value, name_at, value_at });
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(EntriesVisitor)
    }
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

/// Text that is refused, as a message with an excerpt, and its place unless it is no YAML at all.
pub type Refused = (Option<Place>, String);

/// Reads the only document of `text`. `name` is the file, for messages.
///
/// # Errors
/// No YAML, several documents, or not a `T`.
pub fn read_one<T: de::DeserializeOwned>(name: &str, text: &str) -> Result<T, Refused> {
    read_mended(name, text, |text| serde_yaml::from_str_with_options(text, options(text)))
}

/// Reads the first document of `text`; the flag says whether more follow. `name` is the file, for messages.
pub(crate) fn read<T: de::DeserializeOwned + Default>(name: &str, text: &str) -> Result<(T, bool), Refused> {
    read_mended(name, text, |text| match serde_yaml::from_str_with_options(text, options(text)) {
        Err(error) if matches!(error.without_snippet(), serde_yaml::Error::MultipleDocuments { .. }) => {
            let mut bytes = text.as_bytes();
            let mut documents = serde_yaml::read_with_options::<_, T>(&mut bytes, options(text));
            Ok((documents.next().transpose()?.unwrap_or_default(), true))
        }
        document => Ok((document?, false)),
    })
}

/// Reads `text`, and once more when it has what only Go's library takes.
fn read_mended<T>(name: &str, text: &str, read: impl Fn(&str) -> Result<T, serde_yaml::Error>) -> Result<T, Refused> {
    let error = match read(text) {
        Ok(document) => return Ok(document),
        Err(error) => error,
    };
    let refused = |(at, message): (Place, String)| (Some(at), format!("{message}\n{}", excerpt(name, text, at)));
    let Some(mended) = mend::mend(text, &error).map_err(refused)? else { return Err(describe(name, &error)) };
    mend::shifted(mended.shifts, || {
        read(&mended.text).map_err(|error| match error.location() {
            // An excerpt of the library would show the text as it was mended.
            Some(location) => {
                refused((mend::origin(location), message(&error.without_snippet().to_string(), location)))
            }
            None => describe(name, &error),
        })
    })
}

/// Bounds in proportion to the file, which is itself bounded: real files reach tens of thousands of rules, and aliases must
/// not blow a small file up.
fn options(text: &str) -> serde_yaml::Options {
    serde_yaml::options! {
        // A number may be `.inf` where it is a float; whole numbers refuse it themselves.
        non_finite_float_policy: serde_yaml::options::NonFiniteFloatPolicy::PassThrough,
        budget: serde_yaml::budget! {
            max_events: 1_000 + 2 * text.len(),
            max_nodes: 1_000 + text.len(),
        },
        legacy_octal_numbers: true, // as in Go: 010 is 8
    }
}

/// The place of an error, and its message, which has an excerpt of the text below it but does not say the place once more: the
/// caller prints it in front. `name` is the file.
fn describe(name: &str, error: &serde_yaml::Error) -> Refused {
    let rendered = error.render_with_options(serde_yaml::render_options! { source_name: Some(name) });
    match error.location() {
        Some(location) => (Some(mend::origin(location)), message(&rendered, location)),
        None => (None, message(&rendered, serde_yaml::Location::UNKNOWN)),
    }
}

/// What the library says, without the place of the error and without the advice that is for who calls the library, not for who
/// wrote the file.
fn message(rendered: &str, at: serde_yaml::Location) -> String {
    let (line, column) = (at.line(), at.column());
    let rendered = rendered.strip_prefix(&format!("error: line {line} column {column}: ")).unwrap_or(rendered);
    let rendered = rendered.strip_suffix(&format!(" at line {line}, column {column}")).unwrap_or(rendered);
    rendered.replace(", set DuplicateKeyPolicy in Options if acceptable", "")
}
