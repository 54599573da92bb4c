//! What a `prometheus.yml` has and Hearth does not use: taken, so that the whole file can be given as it is, and named in a
//! warning with its place.
//!
//! Such a key is a field like every other, of type [`NotUsed`]; its comment says what to do instead, for the page of settings
//! and for the warning. What stands below the key is not looked at, beyond being YAML: Prometheus checks it.

use super::reference;
use ruler::yaml::{Place, Spanned};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use std::fmt;

/// The value of a key that Prometheus knows and Hearth does not use: any YAML, of which nothing is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NotUsed;

impl<'de> Deserialize<'de> for NotUsed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

impl schemars::JsonSchema for NotUsed {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        reference::NOT_USED.into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"title": reference::NOT_USED})
    }
}

/// A key of a file that is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotUsedKey {
    /// Where it is written.
    pub at: Place,
    /// Its path, such as `global.scrape_timeout`.
    pub key: String,
    /// Why it is not used, and what to do.
    pub advice: String,
}

impl fmt::Display for NotUsedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} is not used: {}", self.at, self.key, self.advice)
    }
}

/// The keys of `text`, a valid configuration, that are not used, in the order of the file.
pub(super) fn keys(text: &str) -> Vec<NotUsedKey> {
    // It was read before, so it can be read again; were it not, the warnings are what is missing.
    let keys = ruler::yaml::read_one::<Keys>("", text).unwrap_or_default();
    let mut advices = reference::not_used();
    let key = |(at, key): (Place, String)| advices.remove(&key).map(|advice| NotUsedKey { at, key, advice });
    keys.0.into_iter().filter_map(key).collect()
}

/// The keys of the file and of its section `global`, with their places.
#[derive(Default)]
struct Keys(Vec<(Place, String)>);

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeysVisitor;

        impl<'de> Visitor<'de> for KeysVisitor {
            type Value = Keys;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a section")
            }

            fn visit_unit<E>(self) -> Result<Keys, E> {
                Ok(Keys::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
                let mut keys = Vec::new();
                while let Some(key) = map.next_key::<Spanned<String>>()? {
                    if key.value == "global" {
                        let below: Option<Keys> = map.next_value()?;
                        let below = below.unwrap_or_default().0.into_iter();
                        keys.extend(below.map(|(at, name)| (at, format!("global.{name}"))));
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                    keys.push((key.at, key.value));
                }
                Ok(Keys(keys))
            }
        }

        deserializer.deserialize_map(KeysVisitor)
    }
}

#[cfg(test)]
mod tests;
