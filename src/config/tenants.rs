//! What the configuration says about single tenants.

use super::{PromDuration, RetentionConfig};
use model::tenant::TenantId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use storage::tiers::policy::TierPolicy;

/// What holds for one tenant instead of what holds for all. What is not said is as for all.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TenantConfig {
    /// How long its samples are kept, at least, instead of `--storage.retention.time`; `0s` for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention_time: Option<PromDuration>,
    /// Bytes that its blocks may take, instead of `--storage.retention.size`. 0: no bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention_size: Option<u64>,
    /// Its series that are kept for a shorter time, instead of the section `retention`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<Vec<RetentionConfig>>,
    /// How old samples of it become buckets, instead of the section `tiers`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tiers: Option<TierPolicy>,
    /// Its rule files, as `rule_files` are those of the tenant `anonymous`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rule_files: Vec<String>,
}

/// What is wrong with the section `tenants`.
pub(super) fn problem(tenants: &BTreeMap<String, TenantConfig>) -> Option<String> {
    tenants.iter().find_map(|(name, tenant)| {
        if let Err(error) = name.parse::<TenantId>() {
            return Some(format!("tenants: {error}"));
        }
        let tiers = tenant.tiers.as_ref().map(TierPolicy::check);
        tiers.and_then(Result::err).map(|error| format!("tenants.{name}.tiers: {error}"))
    })
}
