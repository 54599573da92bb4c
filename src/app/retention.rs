//! What expires, from flags and configuration.

use crate::config::{Config, RetentionConfig, ServeFlags, TenantConfig};
use model::tenant::TenantId;
use promql::parse::{ParseOptions, parse_selector};
use storage::lifecycle::retention::{Retention, RetentionClass};

/// What the flags, the sections `retention` and `tiers`, and that of a tenant say.
///
/// # Errors
/// As of [`classes`].
pub fn retention(
    flags: &ServeFlags,
    config: &Config,
    tenant: &TenantId,
    parse: &ParseOptions,
) -> Result<Retention, String> {
    let own = config.tenants.get(tenant.as_str()).filter(|_| flags.tenants_enabled);
    let keep_ms = own.and_then(|own| own.retention_time).unwrap_or(flags.retention_time).as_millis();
    let bytes_max = own.and_then(|own| own.retention_size).unwrap_or(flags.retention_size);
    Ok(Retention {
        keep_ms: (keep_ms > 0).then_some(keep_ms),
        bytes_max: (bytes_max > 0).then_some(bytes_max),
        classes: classes(config, own.map(|own| (tenant.as_str(), own)), parse)?,
        tiers: own.and_then(|own| own.tiers.clone()).or_else(|| config.tiers.clone()),
    })
}

/// What the section `retention` says, or that of a tenant, of whom name and section are given, if it says something.
///
/// # Errors
/// A selector is none, or would mean every series.
pub fn classes(
    config: &Config,
    own: Option<(&str, &TenantConfig)>,
    parse: &ParseOptions,
) -> Result<Vec<RetentionClass>, String> {
    let own = own.and_then(|(tenant, own)| Some((format!("tenants.{tenant}.retention"), own.retention.as_ref()?)));
    let (section, entries) = own.unwrap_or_else(|| ("retention".to_owned(), &config.retention));
    let class = |(at, class): (usize, &RetentionConfig)| {
        let place = format!("{section}[{at}]");
        let matchers = parse_selector(&class.matches, parse).map_err(|error| format!("{place}.match: {error}"))?;
        if matchers.iter().all(|matcher| matcher.matches("")) {
            return Err(format!("{place}.match: it must contain at least one non-empty matcher"));
        }
        let keep_ms = class.keep.as_millis();
        if keep_ms <= 0 {
            return Err(format!("{place}.keep: it must be longer than nothing"));
        }
        Ok(RetentionClass { name: class.matches.clone(), matchers, keep_ms })
    };
    entries.iter().enumerate().map(class).collect()
}

/// What the flags say, for people.
pub fn describe(flags: &ServeFlags) -> String {
    let mut parts = Vec::new();
    if flags.retention_time.as_millis() > 0 {
        parts.push(flags.retention_time.to_string());
    }
    if flags.retention_size > 0 {
        parts.push(format!("{} bytes", flags.retention_size));
    }
    if parts.is_empty() { "unlimited".to_owned() } else { parts.join(" or ") }
}
