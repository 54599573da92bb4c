//! The dot of a rule's template.

use super::AlertTemplateData;
use crate::value::{Map, Object, Value};
use model::labels::Labels;
use std::sync::Arc;

/// Prints as Go prints the type without a name that Prometheus uses.
const ROOT_TYPE: &str =
    "struct { Labels map[string]string; ExternalLabels map[string]string; ExternalURL string; Value interface {} }";

#[derive(Debug)]
pub(super) struct RootData {
    labels: Value,
    external_labels: Value,
    external_url: Value,
    value: Value,
}

impl RootData {
    pub(super) fn new(data: &AlertTemplateData) -> Self {
        Self {
            labels: label_map(data.labels.clone()),
            external_labels: label_map(data.external_labels.clone()),
            external_url: Value::String(Arc::clone(&data.external_url)),
            value: data.value.clone(),
        }
    }
}

impl Object for RootData {
    fn type_name(&self) -> &str {
        ROOT_TYPE
    }

    fn fields(&self) -> Vec<(&str, Value)> {
        let names = ["Labels", "ExternalLabels", "ExternalURL", "Value"];
        names.iter().filter_map(|name| Some((*name, self.field(name)?))).collect()
    }

    fn field(&self, name: &str) -> Option<Value> {
        let field = match name {
            "Labels" => &self.labels,
            "ExternalLabels" => &self.external_labels,
            "ExternalURL" => &self.external_url,
            "Value" => &self.value,
            _ => return None,
        };
        Some(field.clone())
    }
}

/// Labels as a map of texts, in which a missing label is empty.
pub(super) fn label_map(labels: Labels) -> Value {
    Value::object(LabelMap(labels))
}

/// Becomes a real map only for templates that do more than to look up a label.
#[derive(Debug)]
struct LabelMap(Labels);

impl Object for LabelMap {
    fn type_name(&self) -> &str {
        "map[string]string"
    }

    fn field(&self, name: &str) -> Option<Value> {
        Some(Value::from(self.0.get(name).unwrap_or_default()))
    }

    fn underlying(&self) -> Option<Value> {
        Some(Value::from(Map::of_texts(self.0.iter())))
    }
}
