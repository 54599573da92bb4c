//! The command line flags of `hearth serve`, in Prometheus' habits. What a flag sets needs a restart to change.

use super::PromDuration;
use clap::{Args, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Flags of `hearth serve`.
#[derive(Debug, Clone, Args)]
pub struct ServeFlags {
    /// YAML file with rules, Alertmanagers and external labels; without it Hearth runs on embedded defaults
    #[arg(long = "config.file", value_name = "FILE", env = "HEARTH_CONFIG_FILE")]
    pub config_file: Option<PathBuf>,

    /// Check the configuration and its rule files, print the result and exit
    #[arg(long = "config.check")]
    pub config_check: bool,

    /// Address to serve the HTTP API and remote write on
    #[arg(
        long = "web.listen-address",
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:9009",
        env = "HEARTH_LISTEN_ADDRESS"
    )]
    pub listen_address: SocketAddr,

    /// URL under which others reach this process: alerts link to it, and everything is served below its path, too, unless that begins like a path of ours [default: http://<listen address>]
    #[arg(long = "web.external-url", value_name = "URL")]
    pub external_url: Option<url::Url>,

    /// Regular expression of origins that browsers may call the API from; the whole origin must match
    #[arg(long = "web.cors.origin", value_name = "REGEX", default_value = ".*")]
    pub cors_origin: String,

    /// How long requests in flight may take to finish when the process is told to stop
    #[arg(long = "web.drain-timeout", value_name = "DURATION", default_value = "30s")]
    pub drain_timeout: PromDuration,

    /// Show metrics under the names that Prometheus servers have for the same, too, for rules and dashboards made for these
    #[arg(long = "web.prometheus-metric-names")]
    pub prometheus_metric_names: bool,

    /// How many clients may follow what people must know about the process, at /api/v1/notifications/live; others are told to ask
    /// for the list
    #[arg(long = "web.max-notifications-subscribers", value_name = "N", default_value_t = 16)]
    pub notifications_subscribers_max: usize,

    /// Directory of all data
    #[arg(long = "storage.path", value_name = "DIR", default_value = "./data", env = "HEARTH_STORAGE_PATH")]
    pub storage_path: PathBuf,

    /// Every request says in the header X-Scope-OrgID for which tenant it is, and each tenant has samples, queries, rules and alerts of
    /// its own. Without it everything belongs to the tenant anonymous and the header is ignored
    #[arg(long = "tenants.enabled", env = "HEARTH_TENANTS_ENABLED")]
    pub tenants_enabled: bool,

    /// How many tenants there may be; requests of more are refused
    #[arg(long = "tenants.max", value_name = "N", default_value_t = 100)]
    pub tenants_max: usize,

    /// Percent of --storage.block-cache-bytes that one tenant may have, with --tenants.enabled
    #[arg(long = "tenants.block-cache-share", value_name = "PERCENT", default_value_t = 50, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub tenants_cache_share: u8,

    /// How often the head is written to a snapshot, so that the write-ahead log stays short
    #[arg(long = "storage.snapshot-interval", value_name = "DURATION", default_value = "10m")]
    pub snapshot_interval: PromDuration,

    /// How long samples are kept, at least; 0 for ever
    #[arg(long = "storage.retention.time", value_name = "DURATION", default_value = "0s")]
    pub retention_time: PromDuration,

    /// Bytes that all blocks may take; the oldest go first. 0: no bound
    #[arg(long = "storage.retention.size", value_name = "BYTES", default_value_t = 0)]
    pub retention_size: u64,

    /// Bytes on the local disk that samples may take before they are in blocks (log, snapshot, chunk files); above, writes are refused
    /// as unavailable until the object store takes some. 0: the disk is the bound
    #[arg(long = "storage.local.size", value_name = "BYTES", default_value_t = 0)]
    pub local_size: u64,

    /// Memory for parts of blocks that are kept for the next query, in bytes
    #[arg(long = "storage.block-cache-bytes", value_name = "BYTES", default_value_t = 256 << 20)]
    pub block_cache_bytes: u64,

    /// How long after its end a window of two hours is written to blocks; samples that come later end in blocks of their own
    #[arg(long = "storage.flush-lag", value_name = "DURATION", default_value = "15m")]
    pub flush_lag: PromDuration,

    /// Let operators flush, delete, clean and copy stored samples below /api/v1/admin/tsdb
    #[arg(long = "web.enable-admin-api")]
    pub enable_admin_api: bool,

    /// How many exemplars are kept, in memory; the first that came goes first. With 0 exemplars are refused
    #[arg(long = "storage.exemplars.max", value_name = "N", default_value_t = 100_000)]
    pub exemplars_max: usize,

    /// Largest request body that remote write takes, in bytes after decompression
    #[arg(long = "remote-write.max-decoded-bytes", value_name = "BYTES", default_value_t = 32 << 20)]
    pub write_decoded_bytes_max: usize,

    /// Bytes of remote-write requests that may be in work at once; more are answered 503 and retried by the sender
    #[arg(long = "remote-write.max-inflight-bytes", value_name = "BYTES", default_value_t = 256 << 20)]
    pub write_inflight_bytes_max: usize,

    /// Memory that the process may use, in bytes; queries and then samples are turned away before it is full. 0: 80 % of
    /// the machine, or of the control group
    #[arg(
        long = "memory.limit",
        value_name = "BYTES",
        default_value_t = 0,
        env = "HEARTH_MEMORY_LIMIT",
        overrides_with = "memory_limit"
    )]
    pub memory_limit: u64,

    /// Longest time a query may take
    #[arg(long = "query.timeout", value_name = "DURATION", default_value = "2m")]
    pub query_timeout: PromDuration,

    /// How many queries may be evaluated at once; others wait
    #[arg(long = "query.max-concurrency", value_name = "N", default_value_t = 20)]
    pub query_concurrency_max: usize,

    /// How many samples one query may hold in memory at once
    #[arg(long = "query.max-samples", value_name = "N", default_value_t = 50_000_000)]
    pub query_samples_max: usize,

    /// How many bytes of samples and results one query may hold in memory at once. Its regular expressions may take up to
    /// a quarter of that besides, and 64 MiB at most
    #[arg(long = "query.max-bytes", value_name = "BYTES", default_value_t = 1 << 30)]
    pub query_bytes_max: usize,

    /// How many series one query may touch
    #[arg(long = "query.max-series", value_name = "N", default_value_t = 5_000_000)]
    pub query_series_max: usize,

    /// How far back an instant selector looks for the newest sample
    #[arg(long = "query.lookback-delta", value_name = "DURATION", default_value = "5m")]
    pub query_lookback: PromDuration,

    /// Bytes that kept results of range queries may take, about; 0 keeps none
    #[arg(long = "query.results-cache-bytes", value_name = "BYTES", default_value_t = 64 << 20)]
    pub query_results_cache_bytes: u64,

    /// Queries that take longer are written to the log
    #[arg(long = "query.log-slower-than", value_name = "DURATION", default_value = "10s")]
    pub query_slow: PromDuration,

    /// Least time between two deliveries of an alert that stays the same
    #[arg(long = "rules.alert.resend-delay", value_name = "DURATION", default_value = "1m")]
    pub resend_delay: PromDuration,

    /// How long ago another server may have seen an alert whose hold (for) is continued from the series ALERTS_FOR_STATE
    #[arg(long = "rules.alert.for-outage-tolerance", value_name = "DURATION", default_value = "1h")]
    pub for_outage_tolerance: PromDuration,

    /// Least time between such a continuation and firing; alerts with a shorter hold (for) start anew
    #[arg(long = "rules.alert.for-grace-period", value_name = "DURATION", default_value = "10m")]
    pub for_grace_period: PromDuration,

    /// How long firing alerts are sent on while their rule cannot be evaluated, unless its group says on_error: resolve
    #[arg(long = "rules.alert.on-error-max", value_name = "DURATION", default_value = "1h")]
    pub on_error_max: PromDuration,

    /// Whether rule groups may be read and changed below /config/v1/rules, as mimirtool, cortextool and Grafana do
    #[arg(long = "rules.config-api", value_name = "WHEN", default_value = "on", env = "HEARTH_RULES_CONFIG_API")]
    pub rules_config_api: RuleConfigApi,

    /// Bytes that the history of alerts may take below the data directory; the oldest changes go first. 0 keeps none
    #[arg(long = "alerts.history.size", value_name = "BYTES", default_value_t = 256 << 20)]
    pub alert_history_bytes: u64,

    /// How long changes of alerts are kept in the history, about
    #[arg(long = "alerts.history.time", value_name = "DURATION", default_value = "90d")]
    pub alert_history_time: PromDuration,

    /// Bytes that the history of rules may take below the data directory: how every evaluation went, about ten bytes each, and in a
    /// quarter of it what changed about rules. The oldest goes first. 0 keeps none
    #[arg(long = "rules.history.size", value_name = "BYTES", default_value_t = 256 << 20)]
    pub rule_history_bytes: u64,

    /// How long the history of rules goes back, about
    #[arg(long = "rules.history.time", value_name = "DURATION", default_value = "30d")]
    pub rule_history_time: PromDuration,

    /// How many rule groups the configuration API takes; 0: any number
    #[arg(long = "rules.config-api.max-groups", value_name = "N", default_value_t = 20_000)]
    pub rules_config_groups_max: usize,

    /// How many rules one group of the configuration API may have; 0: any number
    #[arg(long = "rules.config-api.max-rules-per-group", value_name = "N", default_value_t = 2_000)]
    pub rules_config_rules_max: usize,

    /// How many rules may be evaluated at once beside the first of each group, with the feature concurrent-rule-eval
    #[arg(long = "rules.max-concurrent-evals", value_name = "N", default_value_t = 4)]
    pub rules_concurrent_max: usize,

    /// How far back evaluations of rules that were missed or failed are made up for, at their own times. `0s`: not at all
    #[arg(long = "rules.repair-window", value_name = "DURATION", default_value = "10m")]
    pub rules_repair_window: PromDuration,

    /// How many alerts may wait for each Alertmanager, each with all that happened to it; beyond that those are dropped
    /// that wait longest
    #[arg(long = "alertmanager.notification-queue-capacity", value_name = "N", default_value_t = 10_000)]
    pub notification_queue_capacity: usize,

    /// How many bytes may wait for each Alertmanager; beyond that the oldest transitions are dropped, first those of alerts
    /// that changed most often
    #[arg(long = "alertmanager.notification-queue-bytes", value_name = "BYTES", default_value_t = 64 << 20)]
    pub notification_queue_bytes: usize,

    /// How many alerts one request to an Alertmanager carries at most
    #[arg(long = "alertmanager.notification-batch-size", value_name = "N", default_value_t = 256)]
    pub notification_batch_size: usize,

    /// Whether alerts that wait are sent when the process stops; if not, they are sent after the next start
    #[arg(
        long = "alertmanager.drain-notification-queue-on-shutdown",
        value_name = "BOOL",
        default_value_t = true,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        action = clap::ArgAction::Set
    )]
    pub drain_notification_queue: bool,

    /// Features to switch on, by Prometheus' names, separated by commas: promql-experimental-functions,
    /// promql-delayed-name-removal, promql-extended-range-selectors, promql-binop-fill-modifiers, use-start-timestamps,
    /// type-and-unit-labels, concurrent-rule-eval; other names only cause a warning
    #[arg(long = "enable-feature", value_name = "NAME", value_delimiter = ',')]
    pub enable_feature: Vec<String>,

    /// Which parts of Hearth this process runs
    #[arg(long = "target", value_name = "PART", value_delimiter = ',', default_value = "all")]
    pub target: Vec<Target>,

    /// Least severity of messages in the log
    #[arg(long = "log.level", value_name = "LEVEL", default_value = "info", env = "HEARTH_LOG_LEVEL")]
    pub log_level: LogLevel,

    /// Form of the log
    #[arg(long = "log.format", value_name = "FORMAT", default_value = "logfmt", env = "HEARTH_LOG_FORMAT")]
    pub log_format: LogFormat,
}

/// A part of Hearth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// Everything
    All,
}

/// Whether rules may be configured by API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RuleConfigApi {
    /// No
    Off,
    /// Yes
    On,
    /// Yes, and status/buildinfo says so: Grafana then takes Hearth for Mimir and edits its rules
    Announced,
}

/// Severity of a log message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Everything, for developers
    Debug,
    /// What happens
    Info,
    /// What may need attention
    Warn,
    /// What failed
    Error,
}

/// Form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// key=value pairs
    Logfmt,
    /// One JSON object a line
    Json,
}

impl ServeFlags {
    /// The URL under which others reach this process, without a slash at its end.
    #[must_use]
    pub fn external_url(&self) -> String {
        match &self.external_url {
            Some(url) => url.as_str().trim_end_matches('/').to_owned(),
            None => format!("http://{}", self.listen_address),
        }
    }
}
