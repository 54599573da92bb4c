//! Lists of targets as files and URLs have them. Pure.

use crate::notify::resolve::TargetGroup;
use serde::Deserialize;
use std::collections::BTreeMap;

/// More targets than anybody has Alertmanagers: what lists more is a mistake.
const TARGETS_MAX: usize = 10_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Item {
    #[serde(default)]
    targets: Option<Vec<String>>,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

/// Reads JSON; `label` is added to the labels of each group.
pub(super) fn of_json(bytes: &[u8], label: (&str, &str)) -> Result<Vec<TargetGroup>, String> {
    let items: Option<Vec<Option<Item>>> = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    groups(items, label)
}

/// Reads YAML; `label` is added to the labels of each group.
pub(super) fn of_yaml(text: &str, label: (&str, &str)) -> Result<Vec<TargetGroup>, String> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let items: Option<Vec<Option<Item>>> =
        ruler::yaml::read_one(label.1, text).map_err(|(place, message)| match place {
            Some(place) => format!("{place}: {message}"),
            None => message,
        })?;
    groups(items, label)
}

fn groups(items: Option<Vec<Option<Item>>>, (name, value): (&str, &str)) -> Result<Vec<TargetGroup>, String> {
    let mut groups = Vec::new();
    let mut targets = 0;
    for item in items.unwrap_or_default() {
        let item = item.ok_or("nil target group item found")?;
        let addresses = item.targets.unwrap_or_default();
        targets += addresses.len();
        if targets > TARGETS_MAX {
            return Err(format!("more than {TARGETS_MAX} targets"));
        }
        let mut labels = item.labels.unwrap_or_default();
        if labels.contains_key("") {
            return Err("\"\" is not a valid label name".into());
        }
        labels.insert(name.to_owned(), value.to_owned());
        groups.push(TargetGroup::of_addresses(&addresses, labels));
    }
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_and_yaml_say_the_same() {
        let json = of_json(br#"[{"targets": ["a:1", "b:2"], "labels": {"zone": "x"}}, {}]"#, ("f", "g")).unwrap();
        let yaml = of_yaml("- targets: ['a:1', 'b:2']\n  labels: {zone: x}\n- {}\n", ("f", "g")).unwrap();
        assert_eq!(json, yaml);
        assert_eq!(json[0].targets[1]["__address__"], "b:2");
        assert_eq!((json[0].labels["zone"].as_str(), json[1].labels["f"].as_str()), ("x", "g"));
        assert_eq!(of_json(b"null", ("f", "g")), Ok(Vec::new()));
        assert_eq!(of_yaml("", ("f", "g")), Ok(Vec::new()));
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for bad in ["{}", "[null]", r#"[{"target": []}]"#, r#"[{"targets": [], "labels": {"": "x"}}]"#, "["] {
            assert!(of_json(bad.as_bytes(), ("f", "g")).is_err(), "{bad}");
            assert!(of_yaml(bad, ("f", "g")).is_err(), "{bad}");
        }
        let many = format!("[{{\"targets\": [{}\"a\"]}}]", "\"a\",".repeat(TARGETS_MAX));
        assert_eq!(of_json(many.as_bytes(), ("f", "g")), Err("more than 10000 targets".into()));
    }
}
