//! URLs that may have a password in them.

use reqwest::Url;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::{Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;

/// A URL whose password is printed as `xxxxx`.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(pub Url);

impl SecretUrl {
    /// Reads it.
    pub(super) fn parse<E: Error>(text: &str) -> Result<Self, E> {
        Url::parse(text).map(Self).map_err(|error| E::custom(format_args!("not a URL: {error}")))
    }

    fn redacted(&self) -> Url {
        let mut url = self.0.clone();
        if url.password().is_some() {
            // Fails for URLs without a host, which have no password.
            let _ = url.set_password(Some("xxxxx"));
        }
        url
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.redacted(), f)
    }
}

impl Serialize for SecretUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.redacted().as_str())
    }
}

impl<'de> Deserialize<'de> for SecretUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?)
    }
}

impl JsonSchema for SecretUrl {
    fn schema_name() -> Cow<'static, str> {
        "url".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({"type": "string"})
    }
}
