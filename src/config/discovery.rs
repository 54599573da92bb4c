//! Where Alertmanagers are found: lists, DNS, files, HTTP.

use super::PromDuration;
use super::checked::Check;
use super::http_client::{join, with_http_client};
use reqwest::Url;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Targets by address.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StaticConfig {
    /// `host:port` of each.
    pub targets: Vec<String>,
    /// Labels of all of them, for relabelling.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// Targets by the records of names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DnsSdConfig {
    /// Names to ask for. Those without a dot at the end are tried with the search list of `/etc/resolv.conf`.
    pub names: Vec<String>,
    /// `SRV`, `A`, `AAAA`, `MX` or `NS`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Port of the targets; SRV records have their own.
    pub port: u16,
    /// How often to ask.
    pub refresh_interval: PromDuration,
}

impl Default for DnsSdConfig {
    fn default() -> Self {
        Self { names: Vec::new(), kind: "SRV".into(), port: 0, refresh_interval: PromDuration::from_secs(30) }
    }
}

/// Targets by files that list them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FileSdConfig {
    /// JSON or YAML files; `*` in the last part stands for any text.
    pub files: Vec<PathBuf>,
    /// How often to read them even if no change was noticed. Changes are noticed within seconds.
    pub refresh_interval: PromDuration,
}

impl Default for FileSdConfig {
    fn default() -> Self {
        Self { files: Vec::new(), refresh_interval: PromDuration::from_secs(300) }
    }
}

with_http_client! {
    /// Targets by a URL that lists them as JSON.
    HttpSdConfig {
        /// Whom to ask.
        url: String = String::new(),
        /// How often to ask, and how long an answer may take.
        refresh_interval: PromDuration = PromDuration::from_secs(60),
    }
}

impl FileSdConfig {
    pub(super) fn set_directory(&mut self, directory: &Path) {
        self.files.iter_mut().for_each(|file| join(directory, file));
    }
}

impl HttpSdConfig {
    pub(super) fn set_directory(&mut self, directory: &Path) {
        self.join_http_client(directory);
    }
}

fn check_interval(interval: PromDuration) -> Result<(), String> {
    if interval.as_millis() == 0 {
        return Err("refresh_interval: must be greater than 0".into());
    }
    Ok(())
}

impl Check for StaticConfig {
    const WHAT: &'static str = "section in static_configs";

    fn check(&self) -> Result<(), String> {
        if self.labels.keys().any(String::is_empty) {
            return Err("\"\" is not a valid label name".into());
        }
        Ok(())
    }
}

impl Check for DnsSdConfig {
    const WHAT: &'static str = "section in dns_sd_configs";

    fn check(&self) -> Result<(), String> {
        if self.names.is_empty() {
            return Err("DNS-SD config must contain at least one SRV record name".into());
        }
        match self.kind.to_ascii_uppercase().as_str() {
            "SRV" => {}
            "A" | "AAAA" | "MX" | "NS" if self.port != 0 => {}
            "A" | "AAAA" | "MX" | "NS" => {
                return Err("a port is required in DNS-SD configs for all record types except SRV".into());
            }
            _ => return Err(format!("invalid DNS-SD records type {}", self.kind)),
        }
        check_interval(self.refresh_interval)
    }
}

impl Check for FileSdConfig {
    const WHAT: &'static str = "section in file_sd_configs";

    fn check(&self) -> Result<(), String> {
        if self.files.is_empty() {
            return Err("file service discovery config must contain at least one path name".into());
        }
        for file in &self.files {
            let known = file
                .extension()
                .and_then(|e| e.to_str())
                .is_some_and(|extension| ["json", "yml", "yaml", "JSON", "YML", "YAML"].contains(&extension));
            let stars = file.to_str().is_some_and(|text| {
                let (before, last) = text.rsplit_once('/').unwrap_or(("", text));
                !before.contains('*') && last.matches('*').count() <= 1
            });
            if !(known && stars) {
                return Err(format!("path name {:?} is not valid for file discovery", file.display().to_string()));
            }
        }
        check_interval(self.refresh_interval)
    }
}

impl Check for HttpSdConfig {
    const WHAT: &'static str = "section in http_sd_configs";

    fn check(&self) -> Result<(), String> {
        if self.url.is_empty() {
            return Err("URL is missing".into());
        }
        let url = Url::parse(&self.url).map_err(|error| format!("url: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err("URL scheme must be 'http' or 'https'".into());
        }
        check_interval(self.refresh_interval)?;
        self.check_http_client()
    }
}
