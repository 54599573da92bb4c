//! Which names metrics and labels may have, as Prometheus' configuration says it.

use super::{Config, relabel::Relabel};
use model::labels::is_legacy_label_name;
use model::regex::Regex;
use model::relabel::{Action, RelabelConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which names the configuration and the rule files may use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum NameValidationScheme {
    /// Any text.
    #[default]
    #[serde(alias = "")]
    Utf8,
    /// Letters, digits and underscores, not a digit first; colons in names of metrics.
    Legacy,
}

impl NameValidationScheme {
    /// Whether names are restricted to those that Prometheus 2 allowed.
    #[must_use]
    pub fn is_legacy(self) -> bool {
        self == Self::Legacy
    }
}

/// How names beyond the legacy ones are asked for when targets are scraped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NameEscapingScheme {
    /// As they are.
    #[serde(rename = "allow-utf-8")]
    AllowUtf8,
    /// Other characters become underscores.
    Underscores,
    /// As underscores, but dots are kept apart.
    Dots,
    /// Every other character as its number.
    Values,
}

/// What of `config` has a name that its scheme does not allow.
pub(super) fn problem(config: &Config) -> Option<String> {
    let is_legacy = config.global.metric_name_validation_scheme.is_legacy();
    let is_valid = |name: &String| if is_legacy { is_legacy_label_name(name) } else { !name.is_empty() };
    if let Some(name) = config.global.external_labels.keys().find(|name| !is_valid(name)) {
        return Some(format!("global.external_labels: {name:?} is not a valid label name"));
    }
    if !is_legacy {
        return None;
    }
    let alerting = &config.alerting;
    let of_groups = alerting.alertmanagers.iter().flat_map(|group| {
        let targets = group.relabel_configs.iter().map(|rule| ("alertmanagers.relabel_configs", rule));
        targets.chain(group.alert_relabel_configs.iter().map(|rule| ("alertmanagers.alert_relabel_configs", rule)))
    });
    let alerts = alerting.alert_relabel_configs.iter().map(|rule| ("alert_relabel_configs", rule));
    alerts.chain(of_groups).find_map(|(place, rule)| Some(format!("alerting.{place}: {}", problem_of_rule(rule)?)))
}

fn problem_of_rule(Relabel(rule): &Relabel) -> Option<String> {
    let RelabelConfig { action, target_label, replacement, .. } = rule.config();
    let (field, name, is_valid) = match action {
        Action::Replace if target_label.contains('$') => {
            ("target_label", target_label, is_legacy_template(target_label))
        }
        Action::LabelMap => ("replacement", replacement, is_legacy_template(replacement)),
        Action::Replace
        | Action::HashMod
        | Action::Lowercase
        | Action::Uppercase
        | Action::KeepEqual
        | Action::DropEqual => ("target_label", target_label, is_legacy_label_name(target_label)),
        Action::Keep | Action::Drop | Action::LabelDrop | Action::LabelKeep => return None,
    };
    (!is_valid).then(|| format!("{name:?} is invalid '{field}' for {action} action"))
}

/// A label name that may refer to groups of an expression.
fn is_legacy_template(text: &str) -> bool {
    // The same as Prometheus'. It compiles, as a test makes sure.
    let form = Regex::new(r"(?:(?:[a-zA-Z_]|\$(?:\{\w+\}|\w+))+\w*)+");
    form.is_ok_and(|form| form.is_match(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Option<String> {
        Config::parse(text).err().map(|problem| problem.message)
    }

    #[test]
    fn any_text_is_a_name_unless_the_configuration_says_legacy() {
        let labels = "external_labels: {\"a-b\": c}";
        assert_eq!(message(&format!("global: {{{labels}}}")), None);
        assert_eq!(message(&format!("global: {{metric_name_validation_scheme: utf8, {labels}}}")), None);
        assert_eq!(message(&format!("global: {{metric_name_validation_scheme: '', {labels}}}")), None);
        let legacy = message(&format!("global: {{metric_name_validation_scheme: legacy, {labels}}}"));
        assert_eq!(legacy.as_deref(), Some("global.external_labels: \"a-b\" is not a valid label name"));
        assert!(message("global: {external_labels: {\"\": c}}").is_some());
        assert!(message("global: {metric_name_validation_scheme: other}").is_some());
    }

    #[test]
    fn escaping_is_read_and_printed() {
        for scheme in ["allow-utf-8", "underscores", "dots", "values"] {
            let text = format!("global: {{metric_name_escaping_scheme: {scheme}}}");
            let printed = Config::parse(&text).unwrap().to_yaml();
            assert!(printed.contains(&format!("metric_name_escaping_scheme: {scheme}")), "{printed}");
        }
        assert!(message("global: {metric_name_escaping_scheme: other}").is_some());
    }

    #[test]
    fn legacy_names_hold_in_relabelling() {
        for (rule, is_bad) in [
            ("{target_label: 'a-b'}", true),
            ("{target_label: '${1}_b'}", false),
            ("{target_label: '$1-b'}", true),
            ("{action: labelmap, regex: 'x(.*)', replacement: 'a$1'}", false),
            ("{action: labelmap, regex: 'x(.*)', replacement: 'a.$1'}", true),
            ("{action: lowercase, source_labels: [a], target_label: 'a b'}", true),
            ("{action: hashmod, source_labels: [a], modulus: 2, target_label: 'a.b'}", true),
            ("{action: keep, source_labels: ['a.b'], regex: x}", false),
        ] {
            for place in ["alert_relabel_configs: [RULE]", "alertmanagers: [{relabel_configs: [RULE]}]"] {
                let alerting = format!("alerting: {{{}}}\n", place.replace("RULE", rule));
                assert_eq!(message(&alerting), None, "{alerting}");
                let legacy = format!("global: {{metric_name_validation_scheme: legacy}}\n{alerting}");
                assert_eq!(message(&legacy).is_some(), is_bad, "{legacy}: {:?}", message(&legacy));
            }
        }
    }
}
