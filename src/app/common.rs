//! What the tenants of a process have in common.

use super::load;
use super::plan::Plan;
use super::retention;
use crate::config::{Config, ServeFlags};
use crate::http::state::{EarlyState, ProcessInfo};
use crate::runtime::cpu::CpuPool;
use crate::runtime::local_space::LocalSpace;
use crate::runtime::memory::Memory;
use crate::telemetry::local_space::LocalSpaceCollector;
use crate::telemetry::memory::MemoryCollector;
use crate::telemetry::process::ProcessCollector;
use arc_swap::ArcSwap;
use model::tenant::TenantId;
use prometheus_client::registry::Registry;
use promql::engine::EngineOptions;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use storage::block::meta::path_part;
use storage::store::StoreOptions;

/// Below the directory of all data, where tenants other than `anonymous` have theirs.
pub(super) const TENANTS: &str = "tenants";

/// Bytes of a segment of the log of such a tenant: two are prepared for each, however little it sends.
const TENANT_SEGMENT_BYTES: u64 = 16 << 20;

/// What the tenants of a process have in common.
pub(super) struct Common {
    pub(super) flags: ServeFlags,
    pub(super) features: load::Features,
    pub(super) early: EarlyState,
    /// The configuration in force.
    pub(super) config: Arc<ArcSwap<Config>>,
    pub(super) process: ProcessInfo,
    /// For queries.
    pub(super) pool: CpuPool,
    /// For samples.
    pub(super) ingest_pool: CpuPool,
    pub(super) memory: Memory,
    pub(super) space: LocalSpace,
    /// How expressions are evaluated.
    pub(super) engine: EngineOptions,
}

impl Common {
    /// Starts what there is one of.
    ///
    /// # Errors
    /// The system refuses threads.
    pub(super) fn start(flags: &ServeFlags, plan: &Plan, early: EarlyState) -> Result<Self, String> {
        let no_threads = |error: &dyn std::fmt::Display| format!("cannot start threads: {error}");
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let engine = EngineOptions {
            lookback_ms: flags.query_lookback.as_millis(),
            subquery_step_ms: plan.checked.config.global.evaluation_interval.as_millis(),
            ..plan.features.engine_options()
        };
        Ok(Self {
            flags: flags.clone(),
            features: plan.features.clone(),
            early,
            config: Arc::new(ArcSwap::from_pointee(plan.checked.config.clone())),
            process: process_info(flags),
            pool: CpuPool::new().map_err(|error| no_threads(&error))?,
            ingest_pool: CpuPool::with_size(1, cores).map_err(|error| no_threads(&error))?,
            memory: load::memory(flags),
            space: LocalSpace::new(flags.local_size),
            engine,
        })
    }

    /// Registers the metrics of all this.
    pub(super) fn register(&self, registry: &mut Registry) {
        self.early.request_metrics.register(registry);
        registry.register_collector(Box::new(ProcessCollector::new()));
        registry.register_collector(Box::new(MemoryCollector::new(self.memory.clone())));
        registry.register_collector(Box::new(LocalSpaceCollector::new(self.space.clone())));
    }

    /// Where a tenant has its data.
    pub(super) fn directory(&self, tenant: &TenantId) -> PathBuf {
        directory(&self.flags, tenant)
    }

    /// How the store of a tenant is opened.
    ///
    /// # Errors
    /// What the configuration says about retention is not valid.
    pub(super) fn store_options(&self, tenant: &TenantId) -> Result<StoreOptions, String> {
        store_options(&self.flags, &self.config.load(), &self.features, tenant)
    }
}

fn directory(flags: &ServeFlags, tenant: &TenantId) -> PathBuf {
    if tenant.is_anonymous() {
        return flags.storage_path.clone();
    }
    flags.storage_path.join(TENANTS).join(path_part(tenant.as_str()))
}

/// How the store of a tenant is opened.
///
/// # Errors
/// What the configuration says about retention is not valid.
pub(super) fn store_options(
    flags: &ServeFlags,
    config: &Config,
    features: &load::Features,
    tenant: &TenantId,
) -> Result<StoreOptions, String> {
    let mut options = StoreOptions::new(directory(flags, tenant));
    options.tenant = tenant.to_string();
    options.engine.snapshot_interval = flags.snapshot_interval.as_std();
    options.engine.exemplars_max = flags.exemplars_max;
    if !tenant.is_anonymous() {
        options.engine.segment_bytes = TENANT_SEGMENT_BYTES;
    }
    options.bucket = config.object_store.clone();
    options.cache_bytes_max = flags.block_cache_bytes;
    if flags.tenants_enabled {
        options.cache_tenant_share = f64::from(flags.tenants_cache_share) / 100.0;
    }
    options.merge_bytes_max = load::memory(flags).merges();
    options.flush_lag = flags.flush_lag.as_std();
    options.retention = retention::retention(flags, config, tenant, &features.parse)?;
    Ok(options)
}

fn process_info(flags: &ServeFlags) -> ProcessInfo {
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    ProcessInfo {
        started: jiff::Timestamp::now(),
        flags: flag_values(),
        external_url: flags.external_url(),
        working_directory: std::env::current_dir().unwrap_or_default(),
        hostname: hostname.trim().to_owned(),
        storage_retention: retention::describe(flags),
        lookback: flags.query_lookback.as_std(),
        announces_rule_config: flags.rules_config_api == crate::config::RuleConfigApi::Announced,
    }
}

/// The flags in force, as the command line and the environment set them.
fn flag_values() -> BTreeMap<String, String> {
    let command = crate::cli::serve_command();
    let matches = command.clone().get_matches();
    let inner = matches.subcommand().map_or(&matches, |(_, inner)| inner);
    let values = |id: &str| {
        let raw = inner.try_get_raw(id).ok().flatten().into_iter().flatten();
        raw.map(|value| value.to_string_lossy().into_owned()).collect::<Vec<_>>().join(",")
    };
    let flags = command.get_arguments().filter_map(|a| Some((a.get_long()?.to_owned(), values(a.get_id().as_str()))));
    flags.collect()
}
