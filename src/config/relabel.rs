//! Relabelling rules as the file has them.

use super::checked::Check;
use model::relabel::{Action, RelabelConfig, RelabelError, RelabelRule};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::{Serialize, Serializer};
use std::borrow::Cow;

/// One rule, checked and compiled.
#[derive(Debug, Clone, PartialEq)]
pub struct Relabel(pub RelabelRule);

/// The rules themselves.
#[must_use]
pub fn rules(list: &[Relabel]) -> Vec<RelabelRule> {
    list.iter().map(|relabel| relabel.0.clone()).collect()
}

/// The keys of a rule. What was left out has a default; what is null is empty.
#[derive(Default, serde::Serialize, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Keys {
    /// Labels whose values are joined by the separator.
    #[serde(skip_serializing_if = "Option::is_none")]
    source_labels: Option<Vec<String>>,
    /// `;` unless something else is said.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "text")]
    separator: Option<String>,
    /// RE2 expression that must match the whole; `(.*)` unless something else is said.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "text")]
    regex: Option<String>,
    /// For `hashmod`.
    #[serde(skip_serializing_if = "Option::is_none")]
    modulus: Option<u64>,
    /// The label that is written or compared; for `replace` it may refer to groups of the expression.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "text")]
    target_label: Option<String>,
    /// What is written; `$1` unless something else is said.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "text")]
    replacement: Option<String>,
    /// `replace` (unless something else is said), `keep`, `drop`, `keepequal`, `dropequal`, `hashmod`, `labelmap`,
    /// `labeldrop`, `labelkeep`, `lowercase` or `uppercase`.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "text")]
    action: Option<String>,
}

/// A key that is there; null is the empty text.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Some(Option::<String>::deserialize(deserializer)?.unwrap_or_default()))
}

impl<'de> Deserialize<'de> for Relabel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let keys = Keys::deserialize(deserializer)?;
        let rule = keys.config().and_then(RelabelRule::new).map_err(D::Error::custom)?;
        Ok(Self(rule))
    }
}

impl Keys {
    fn config(self) -> Result<RelabelConfig, RelabelError> {
        let default = RelabelConfig::default();
        let action = match self.action {
            None => Action::Replace,
            Some(name) if name.is_empty() => return Err(RelabelError::EmptyAction),
            Some(name) => name.parse()?,
        };
        Ok(RelabelConfig {
            source_labels: self.source_labels,
            separator: self.separator.unwrap_or(default.separator),
            regex: self.regex,
            modulus: self.modulus.unwrap_or_default(),
            target_label: self.target_label.unwrap_or_default(),
            replacement: self.replacement.unwrap_or(default.replacement),
            action,
        })
    }
}

/// As Prometheus prints it: defaults of the separator, the replacement and the action are written out.
impl Serialize for Relabel {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let config = self.0.config().clone();
        let keys = Keys {
            source_labels: config.source_labels,
            separator: Some(config.separator),
            regex: config.regex,
            modulus: Some(config.modulus).filter(|modulus| *modulus != 0),
            target_label: Some(config.target_label).filter(|label| !label.is_empty()),
            replacement: Some(config.replacement),
            action: Some(config.action.to_string()),
        };
        keys.serialize(serializer)
    }
}

impl JsonSchema for Relabel {
    fn schema_name() -> Cow<'static, str> {
        "Relabel".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Keys::json_schema(generator)
    }
}

/// A rule that was read is valid.
impl Check for Relabel {
    const WHAT: &'static str = "relabeling rule";

    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}
