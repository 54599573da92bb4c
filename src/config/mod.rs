//! What a user can set: the YAML file and the command line flags.
//!
//! The file keeps the meaning that `prometheus.yml` gives to `global`, `rule_files` and `alerting`; what Prometheus has there and
//! Hearth does not use is a warning, unknown keys are errors, both with line and column. [`reference`] renders both kinds of
//! settings into `docs/configuration.md`.
mod alerting;
mod checked;
mod discovery;
mod environment;
mod file;
mod flags;
mod global;
mod http_client;
mod names;
mod not_used;
mod prom_duration;
pub mod reference;
pub mod relabel;
mod tenants;
mod url;

pub use alerting::{AlertingConfig, AlertmanagerConfig, AlertmanagerScheme};
pub use discovery::{DnsSdConfig, FileSdConfig, HttpSdConfig, StaticConfig};
pub use file::{Config, ConfigError, ConfigProblem, RetentionConfig, SelfScrapeConfig};
pub use flags::{LogFormat, LogLevel, RuleConfigApi, ServeFlags, Target};
pub use global::GlobalConfig;
pub use http_client::{
    Authorization, BasicAuth, Credentials, HttpClientConfig, HttpHeader, OAuth2, ProxyConfig, TlsConfig, TlsVersion,
};
pub use names::{NameEscapingScheme, NameValidationScheme};
pub use not_used::{NotUsed, NotUsedKey};
pub use prom_duration::PromDuration;
pub use storage::bucket::Secret;
pub use tenants::TenantConfig;
pub use url::SecretUrl;
