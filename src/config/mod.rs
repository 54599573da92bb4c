//! What a user can set: the YAML file and the command line flags.
//!
//! The file keeps the meaning that `prometheus.yml` gives to `global`, `rule_files` and `alerting`; unknown keys are errors
//! with line and column. [`reference`] renders both kinds of settings into `docs/configuration.md`.
mod file;
mod flags;
mod prom_duration;
pub mod reference;

pub use file::{
    AlertingConfig, AlertmanagerConfig, AlertmanagerScheme, BasicAuth, Config, ConfigError, ConfigProblem,
    GlobalConfig, RetentionConfig, SelfScrapeConfig, StaticConfig,
};
pub use flags::{LogFormat, LogLevel, RuleConfigApi, ServeFlags, Target};
pub use prom_duration::PromDuration;
