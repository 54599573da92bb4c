//! Checks of values that one field alone cannot make, as soon as they are read, so that an error has its place in the file.

use super::Secret;
use super::url::SecretUrl;
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use std::fmt;
use std::marker::PhantomData;
use std::path::PathBuf;

/// A value that can contradict itself.
pub(super) trait Check {
    /// What an empty item of a list of these is called.
    const WHAT: &'static str;

    /// Says what is wrong.
    fn check(&self) -> Result<(), String>;
}

/// Reads a list whose items are checked one by one. A null list is empty; a null item is an error.
pub(super) fn list<'de, D: Deserializer<'de>, T: Deserialize<'de> + Check>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    struct Items<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de> + Check> Visitor<'de> for Items<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(Vec::new())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
            let mut list = Vec::new();
            while let Some(item) = items.next_element::<Item<T>>()? {
                list.push(item.0);
            }
            Ok(list)
        }
    }

    deserializer.deserialize_seq(Items(PhantomData))
}

/// Reads a list of texts. A null list is empty; a null item is the empty text in Go, which names nothing.
pub(super) fn without_nulls<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let texts = Option::<Vec<Option<String>>>::deserialize(deserializer)?;
    Ok(texts.into_iter().flatten().flatten().collect())
}

/// Reads a value that null leaves as it is.
pub(super) fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Reads the path of a file. The empty text and null are none: templates of configurations write that.
pub(super) fn file<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    let file = Option::<PathBuf>::deserialize(deserializer)?;
    Ok(file.filter(|file| !file.as_os_str().is_empty()))
}

/// As [`file`], what must not be printed.
pub(super) fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    let secret = Option::<Secret>::deserialize(deserializer)?;
    Ok(secret.filter(|secret| !secret.is_empty()))
}

/// As [`file`], a URL.
pub(super) fn url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SecretUrl>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.filter(|text| !text.is_empty()).map(|text| SecretUrl::parse(&text)).transpose()
}

/// Reads a section that is checked as a whole. A null section counts as left out.
pub(super) fn section<'de, D: Deserializer<'de>, T: Deserialize<'de> + Check>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let section = Option::<Item<T>>::deserialize(deserializer)?;
    Ok(section.map(|item| item.0))
}

/// As [`section`], for one that has a default.
pub(super) fn section_or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Check + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    section(deserializer).map(Option::unwrap_or_default)
}

struct Item<T>(T);

impl<'de, T: Deserialize<'de> + Check> Deserialize<'de> for Item<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let item = Option::<T>::deserialize(deserializer)?;
        let item = item.ok_or_else(|| D::Error::custom(format_args!("empty or null {}", T::WHAT)))?;
        item.check().map_err(D::Error::custom)?;
        Ok(Self(item))
    }
}
