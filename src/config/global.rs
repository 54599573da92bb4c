//! The section `global`: defaults for everything, with the keys that Prometheus has there.

use super::not_used::NotUsed;
use super::{NameEscapingScheme, NameValidationScheme, PromDuration};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;

const EVALUATION_INTERVAL: PromDuration = PromDuration::from_secs(60);
const SCRAPE_INTERVAL: PromDuration = PromDuration::from_secs(15);

/// Defaults for everything.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GlobalConfig {
    /// How often rule groups are evaluated that do not say it themselves. `0s` means the default, as in Prometheus.
    #[serde(deserialize_with = "evaluation_interval")]
    pub evaluation_interval: PromDuration,
    /// How far rule evaluation looks into the past, for groups that do not say it themselves.
    #[serde(deserialize_with = "or_zero")]
    pub rule_query_offset: PromDuration,
    /// How often Hearth collects its own metrics. `0s` means the default.
    #[serde(deserialize_with = "scrape_interval")]
    pub scrape_interval: PromDuration,
    /// Labels added to alerts that leave this process, where they are absent, and to federated series. `$NAME` and `${NAME}`
    /// in their values stand for variables of the environment, `$$` for a dollar sign.
    #[serde(deserialize_with = "texts")]
    pub external_labels: BTreeMap<String, String>,
    /// `utf8`: names of metrics and labels may be any text. `legacy`: only letters, digits and underscores, in this file and
    /// for rules, in files and by API.
    #[serde(deserialize_with = "or_default")]
    pub metric_name_validation_scheme: NameValidationScheme,
    /// How names beyond the legacy ones are asked for when targets are scraped. Read as in Prometheus; Hearth scrapes
    /// nothing but itself, whose names are legacy ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric_name_escaping_scheme: Option<NameEscapingScheme>,
    /// Hearth scrapes nothing but itself.
    #[serde(skip_serializing)]
    pub scrape_timeout: NotUsed,
    /// Hearth scrapes nothing but itself.
    #[serde(skip_serializing)]
    pub scrape_protocols: NotUsed,
    /// Slow queries are in the log of the process: see the flag `--query.log-slower-than`.
    #[serde(skip_serializing)]
    pub query_log_file: NotUsed,
    /// Hearth scrapes nothing but itself.
    #[serde(skip_serializing)]
    pub scrape_failure_log_file: NotUsed,
    /// Hearth scrapes nothing but itself; what one remote-write request may bring is bounded by the flag
    /// `--remote-write.max-decoded-bytes`.
    #[serde(skip_serializing)]
    pub body_size_limit: NotUsed,
    /// Hearth scrapes nothing but itself.
    #[serde(skip_serializing)]
    pub sample_limit: NotUsed,
    /// Hearth scrapes nothing but itself.
    #[serde(skip_serializing)]
    pub target_limit: NotUsed,
    /// Hearth scrapes nothing but itself.
    #[serde(skip_serializing)]
    pub label_limit: NotUsed,
    /// Hearth scrapes nothing but itself.
    #[serde(skip_serializing)]
    pub label_name_length_limit: NotUsed,
    /// Hearth scrapes nothing but itself.
    #[serde(skip_serializing)]
    pub label_value_length_limit: NotUsed,
    /// Hearth scrapes nothing but itself.
    #[serde(skip_serializing)]
    pub keep_dropped_targets: NotUsed,
    /// Hearth scrapes nothing but itself; native histograms are stored when they are sent.
    #[serde(skip_serializing)]
    pub scrape_native_histograms: NotUsed,
    /// Histograms are stored as they are sent: let the sender convert them.
    #[serde(skip_serializing)]
    pub convert_classic_histograms_to_nhcb: NotUsed,
    /// Histograms are stored as they are sent: let the sender scrape both.
    #[serde(skip_serializing)]
    pub always_scrape_classic_histograms: NotUsed,
    /// Hearth scrapes nothing but itself.
    #[serde(skip_serializing)]
    pub extra_scrape_metrics: NotUsed,
}

impl Default for GlobalConfig {
    fn default() -> Self {
        Self {
            evaluation_interval: EVALUATION_INTERVAL,
            rule_query_offset: PromDuration::from_secs(0),
            scrape_interval: SCRAPE_INTERVAL,
            external_labels: BTreeMap::new(),
            metric_name_validation_scheme: NameValidationScheme::default(),
            metric_name_escaping_scheme: None,
            scrape_timeout: NotUsed,
            scrape_protocols: NotUsed,
            query_log_file: NotUsed,
            scrape_failure_log_file: NotUsed,
            body_size_limit: NotUsed,
            sample_limit: NotUsed,
            target_limit: NotUsed,
            label_limit: NotUsed,
            label_name_length_limit: NotUsed,
            label_value_length_limit: NotUsed,
            keep_dropped_targets: NotUsed,
            scrape_native_histograms: NotUsed,
            convert_classic_histograms_to_nhcb: NotUsed,
            always_scrape_classic_histograms: NotUsed,
            extra_scrape_metrics: NotUsed,
        }
    }
}

/// Nothing and zero mean the default, as in Prometheus.
fn evaluation_interval<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PromDuration, D::Error> {
    or_zero(deserializer).map(|interval| if interval.as_millis() == 0 { EVALUATION_INTERVAL } else { interval })
}

/// Nothing and zero mean the default, as in Prometheus, whose default is another one.
fn scrape_interval<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PromDuration, D::Error> {
    or_zero(deserializer).map(|interval| if interval.as_millis() == 0 { SCRAPE_INTERVAL } else { interval })
}

/// A map whose keys may be without a value, which is the empty text in Go.
fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    let texts = Option::<BTreeMap<String, Option<String>>>::deserialize(deserializer)?.unwrap_or_default();
    Ok(texts.into_iter().map(|(name, text)| (name, text.unwrap_or_default())).collect())
}

fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

fn or_zero<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PromDuration, D::Error> {
    let duration = Option::<PromDuration>::deserialize(deserializer)?;
    Ok(duration.unwrap_or(PromDuration::from_secs(0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn intervals_of_zero_or_without_a_value_mean_the_defaults() {
        for zero in ["0s", "0", "", "~", "\"0\""] {
            let text =
                format!("global: {{evaluation_interval: {zero}, scrape_interval: {zero}, rule_query_offset: {zero}}}");
            assert_eq!(Config::parse(&text).unwrap().global, GlobalConfig::default(), "{text}");
        }
        let config = Config::parse("global:\n  evaluation_interval:\n  external_labels:\n").unwrap();
        assert_eq!(config.global, GlobalConfig::default());
    }

    /// As Go reads it: nothing is the empty text, and what has a default gets it.
    #[test]
    fn keys_without_a_value_are_read_as_in_prometheus() {
        for text in [
            "global:\nrule_files:\nalerting:\n",
            "global: {metric_name_validation_scheme: , metric_name_escaping_scheme: , scrape_timeout: }",
            "alerting:\n  alertmanagers:\n  alert_relabel_configs:\nobject_store:\nretention:\nself_scrape:\ntiers:\n",
        ] {
            assert_eq!(
                Config::parse(text).unwrap(),
                Config { not_used: Config::parse(text).unwrap().not_used, ..Config::default() },
                "{text}"
            );
        }
        let config = Config::parse("global: {external_labels: {a: , b: ~, c: d}}\nrule_files: [a, ~]\n").unwrap();
        let labels = [("a", ""), ("b", ""), ("c", "d")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(config.global.external_labels, labels.into());
        assert_eq!(config.rule_files, ["a"], "no name is no file");
    }
}
