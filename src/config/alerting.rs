//! Where alerts go.

use super::PromDuration;
use super::checked::{self, Check};
use super::discovery::{DnsSdConfig, FileSdConfig, HttpSdConfig, StaticConfig};
use super::http_client::with_http_client;
use super::relabel::Relabel;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Where alerts go.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AlertingConfig {
    /// Rules that rewrite or drop alerts before they go anywhere, after the external labels were added.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "checked::list")]
    pub alert_relabel_configs: Vec<Relabel>,
    /// Groups of Alertmanagers; every alert goes to every one of them.
    #[serde(deserialize_with = "checked::list")]
    pub alertmanagers: Vec<AlertmanagerConfig>,
}

with_http_client! {
    /// A group of Alertmanagers that are reached alike.
    AlertmanagerConfig {
        /// `http` or `https`.
        scheme: AlertmanagerScheme = AlertmanagerScheme::Http,
        /// Put before `/api/v2/alerts`.
        #[serde(deserialize_with = "checked::or_default")]
        path_prefix: String = String::new(),
        /// How long one delivery may take.
        timeout: PromDuration = PromDuration::from_secs(10),
        /// Version of Alertmanager's API; only `v2` exists.
        api_version: String = "v2".into(),
        /// Targets by address.
        #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "checked::list")]
        static_configs: Vec<StaticConfig> = Vec::new(),
        /// Targets by the records of names.
        #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "checked::list")]
        dns_sd_configs: Vec<DnsSdConfig> = Vec::new(),
        /// Targets by files that list them.
        #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "checked::list")]
        file_sd_configs: Vec<FileSdConfig> = Vec::new(),
        /// Targets by URLs that list them.
        #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "checked::list")]
        http_sd_configs: Vec<HttpSdConfig> = Vec::new(),
        /// Rules that rewrite or drop targets: `__address__`, `__scheme__` and `__alerts_path__` make the URL.
        #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "checked::list")]
        relabel_configs: Vec<Relabel> = Vec::new(),
        /// Rules that rewrite or drop alerts on their way to these Alertmanagers.
        #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "checked::list")]
        alert_relabel_configs: Vec<Relabel> = Vec::new(),
    }
}

/// How to talk to an Alertmanager.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AlertmanagerScheme {
    /// Without encryption.
    Http,
    /// With TLS.
    Https,
}

impl AlertmanagerScheme {
    /// As in a URL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

impl AlertingConfig {
    /// Makes relative paths relative to `directory`.
    pub(super) fn set_directory(&mut self, directory: &Path) {
        for group in &mut self.alertmanagers {
            group.join_http_client(directory);
            group.file_sd_configs.iter_mut().for_each(|config| config.set_directory(directory));
            group.http_sd_configs.iter_mut().for_each(|config| config.set_directory(directory));
        }
    }
}

impl Check for AlertmanagerConfig {
    const WHAT: &'static str = "section in alertmanagers";

    fn check(&self) -> Result<(), String> {
        if self.api_version != "v2" {
            return Err(format!("expected Alertmanager api version to be one of [v2] but got {}", self.api_version));
        }
        if self.timeout.as_millis() == 0 {
            return Err("timeout: must be greater than 0".into());
        }
        // Rules may put together an address from what is none.
        if self.relabel_configs.is_empty() {
            let targets = self.static_configs.iter().flat_map(|group| &group.targets);
            for target in targets {
                if target.is_empty() || target.contains('/') {
                    return Err(format!("{target:?} is not a valid hostname"));
                }
            }
        }
        self.check_http_client()
    }
}

#[cfg(test)]
mod tests;
