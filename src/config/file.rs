//! The YAML file.
//!
//! Invariant: a [`Config`] that [`Config::load`] returned is valid as a whole; a running process replaces one by another,
//! never parts of it.

use super::alerting::AlertingConfig;
use super::not_used::{self, NotUsed, NotUsedKey};
use super::{GlobalConfig, PromDuration, TenantConfig, checked, environment, names, tenants};
use ruler::yaml::Place;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use storage::bucket::BucketOptions;
use storage::tiers::policy::TierPolicy;

/// Settings that can change while Hearth runs, by `SIGHUP` or `POST /-/reload`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Defaults for everything below.
    pub global: GlobalConfig,
    /// Rule files to load: paths with `*`, `?` and `[…]` in any part, relative to the directory of this file.
    #[serde(deserialize_with = "checked::without_nulls")]
    pub rule_files: Vec<String>,
    /// Where alerts go.
    pub alerting: AlertingConfig,
    /// How Hearth collects its own metrics.
    pub self_scrape: SelfScrapeConfig,
    /// Where blocks are kept. A change needs a restart.
    pub object_store: BucketOptions,
    /// Series that are kept for a shorter time than the rest; the first entry whose selector names a series decides.
    pub retention: Vec<RetentionConfig>,
    /// How old samples become buckets, which take less room and are kept for longer. `{}` means the defaults. Without this
    /// section no buckets are made, and samples are kept as the flags `storage.retention.*` say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tiers: Option<TierPolicy>,
    /// What holds for single tenants instead, by their names. It counts with `--tenants.enabled`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tenants: BTreeMap<String, TenantConfig>,
    /// Hearth scrapes nothing but itself: leave scraping to Prometheus or an agent, with its `remote_write` to here.
    #[serde(skip_serializing)]
    pub scrape_configs: NotUsed,
    /// Hearth scrapes nothing but itself: leave scraping to Prometheus or an agent, with its `remote_write` to here.
    #[serde(skip_serializing)]
    pub scrape_config_files: NotUsed,
    /// Hearth sends samples nowhere: let those who send to it send to the others, too.
    #[serde(skip_serializing)]
    pub remote_write: NotUsed,
    /// Queries read what Hearth has stored: what others have comes in by `hearth import` and by being sent here.
    #[serde(skip_serializing)]
    pub remote_read: NotUsed,
    /// How samples and exemplars are kept is said by the flags `--storage.…` and the sections `object_store`, `retention` and
    /// `tiers`.
    #[serde(skip_serializing)]
    pub storage: NotUsed,
    /// Hearth sends no traces.
    #[serde(skip_serializing)]
    pub tracing: NotUsed,
    /// Hearth takes samples by remote write, not by OTLP: let a collector translate, with its `remote_write` to here.
    #[serde(skip_serializing)]
    pub otlp: NotUsed,
    /// It is about Go's garbage collector, which Hearth has not; memory is bounded by the flag `--memory.limit`.
    #[serde(skip_serializing)]
    pub runtime: NotUsed,
    /// What of the file is not used.
    #[serde(skip)]
    pub not_used: Vec<NotUsedKey>,
}

/// How long some series are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetentionConfig {
    /// A selector such as `{job="debug"}`.
    #[serde(rename = "match")]
    pub matches: String,
    /// How long their samples are kept.
    pub keep: PromDuration,
}

/// How Hearth collects its own metrics.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SelfScrapeConfig {
    /// Whether it does; its metrics remain at `/metrics` either way.
    pub enabled: bool,
    /// Value of the label `job`.
    pub job: String,
}

impl Default for SelfScrapeConfig {
    fn default() -> Self {
        Self { enabled: true, job: "hearth".into() }
    }
}

/// Why a file is no configuration: every problem that was found.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("read configuration file {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The text is not a configuration.
    #[error("{}{problem}", path.display())]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it, and where.
        problem: ConfigProblem,
    },
}

/// What is wrong with a text, and where.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// Line and column, both from 1, when the place is known.
    pub place: Option<(u64, u64)>,
    /// What is wrong there.
    pub message: String,
}

impl std::fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some((line, column)) = self.place {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.message)
    }
}

impl Config {
    /// Reads and checks a file. Relative paths of credentials and targets become relative to its directory, and variables of
    /// the environment in external labels are replaced.
    ///
    /// # Errors
    /// The file cannot be read, is no YAML, has an unknown key, or a value is not allowed.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text =
            crate::rules::load::read(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let mut config = Self::parse_named(&path.to_string_lossy(), &text)
            .map_err(|problem| ConfigError::Invalid { path: path.to_owned(), problem })?;
        config.alerting.set_directory(path.parent().unwrap_or(Path::new("")));
        for (label, value) in &mut config.global.external_labels {
            let (expanded, unknown) = environment::expand(value, environment::variable);
            *value = expanded;
            for variable in unknown {
                tracing::warn!(
                    label,
                    variable,
                    "an external label names a variable of the environment that is not set"
                );
            }
        }
        Ok(config)
    }

    /// Reads and checks a text.
    ///
    /// # Errors
    /// No YAML, an unknown key, or a value that is not allowed.
    pub fn parse(text: &str) -> Result<Self, ConfigProblem> {
        Self::parse_named("<text>", text)
    }

    /// As [`Config::parse`], with the name of the text for excerpts in messages.
    fn parse_named(name: &str, text: &str) -> Result<Self, ConfigProblem> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let mut config: Self = ruler::yaml::read_one(name, text).map_err(|(place, message)| ConfigProblem {
            place: place.map(|Place { line, column }| (line, column)),
            message,
        })?;
        config.not_used = not_used::keys(text);
        config.check().map_err(|message| ConfigProblem { place: None, message })?;
        Ok(config)
    }

    /// What of `file`, which this was read from, is not used: one line each.
    pub fn warnings(&self, file: &Path) -> impl Iterator<Item = String> {
        self.not_used.iter().map(move |key| format!("{}:{key}", file.display()))
    }

    /// The configuration as YAML, secrets redacted.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        serde_yaml::to_string(self).unwrap_or_else(|error| format!("# cannot be printed: {error}\n"))
    }

    fn check(&self) -> Result<(), String> {
        if let Some(problem) = names::problem(self) {
            return Err(problem);
        }
        self.object_store.check().map_err(|error| error.to_string())?;
        if let Some(tiers) = &self.tiers {
            tiers.check().map_err(|error| format!("tiers: {error}"))?;
        }
        tenants::problem(&self.tenants).map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_in_prometheus_words_is_understood() {
        let config = Config::parse(
            "global:\n  evaluation_interval: 30s\n  external_labels: {cluster: lab}\nrule_files: [rules/*.yml]\n\
             alerting:\n  alertmanagers:\n  - static_configs:\n    - targets: [\"127.0.0.1:9093\"]\n",
        )
        .unwrap();
        assert_eq!(config.global.evaluation_interval, PromDuration::from_secs(30));
        assert_eq!(config.alerting.alertmanagers[0].static_configs[0].targets, ["127.0.0.1:9093"]);
    }

    #[test]
    fn external_labels_of_a_file_have_variables_of_the_environment() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "global: {external_labels: {path: \"a${PATH}\", none: \"$HEARTH_IS_NOT_SET.x\", money: \"5$$\"}}";
        std::fs::write(file.path(), text).unwrap();
        let labels = Config::load(file.path()).unwrap().global.external_labels;
        let path = format!("a{}", std::env::var("PATH").unwrap());
        let expected = [("path", path.as_str()), ("none", ".x"), ("money", "5$")];
        assert_eq!(labels, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    }

    #[test]
    fn unknown_keys_are_errors_with_their_place() {
        let problem = Config::parse("global:\n  evaluation_intervall: 30s\n").unwrap_err();
        assert_eq!(problem.place, Some((2, 3)));
        assert!(problem.message.starts_with("unknown field"), "{problem}");
        assert!(problem.message.contains("evaluation_intervall"), "{problem}");
    }

    #[test]
    fn a_key_that_comes_twice_is_an_error_without_advice_to_programmers() {
        let problem = Config::parse("global: {}\nglobal: {}\n").unwrap_err();
        assert!(problem.message.contains("duplicate") && !problem.message.contains("DuplicateKeyPolicy"), "{problem}");
    }

    #[test]
    fn values_that_make_no_sense_are_refused() {
        for text in [
            "global: {evaluation_interval: 1x}",
            "object_store: {type: s3}",
            "object_store: {type: s3, s3: {bucket: b, endpoint: \"http://a:1\"}}",
            "object_store: {type: s3, s3: {bucket: b, access_key_id: a}}",
            "object_store: {type: s3, s3: {bucket: b, encryption: sse-kms}}",
            "object_store: {type: gcs, gcs: {bucket: b, key: c}}",
            "object_store: {type: azure, azure: {account: a}}",
            "object_store: {request_timeout: 0s}",
            "tiers: {tiers: [{resolution: 7m, keep: 30d}]}",
            "tiers: {raw: 7d}",
            "tenants: {a/b: {}}",
            "tenants: {a: {tiers: {tiers: [{resolution: 7m, keep: 30d}]}}}",
            "tenants: {a: {retention_tme: 3d}}",
            "object_store: {prefix: \"a//b\"}",
        ] {
            assert!(Config::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_empty_file_means_the_defaults_and_they_print_and_parse_again() {
        let config = Config::parse("\n").unwrap();
        assert_eq!(config, Config::default());
        assert_eq!(Config::parse(&config.to_yaml()).unwrap(), config);
    }

    #[test]
    fn secrets_are_not_printed() {
        let text = "object_store: {type: s3, s3: {bucket: b, access_key_id: a, secret_access_key: hunter2}}";
        let config = Config::parse(text).unwrap();
        let printed = format!("{} {config:?}", config.to_yaml());
        assert!(printed.contains("<secret>") && !printed.contains("hunter2"), "{printed}");
    }
}
