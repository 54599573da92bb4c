//! What expires, from flags and configuration.

use crate::config::{Config, RetentionConfig, ServeFlags};
use model::tenant::TenantId;
use promql::parse::{ParseOptions, parse_selector};
use storage::lifecycle::retention::{Retention, RetentionClass};

/// What the flags, the sections `retention` and `tiers`, and that of a tenant say.
///
/// # Errors
/// A selector is none, or would mean every series.
pub fn retention(
    flags: &ServeFlags,
    config: &Config,
    tenant: &TenantId,
    parse: &ParseOptions,
) -> Result<Retention, String> {
    let own = config.tenants.get(tenant.as_str()).filter(|_| flags.tenants_enabled).cloned().unwrap_or_default();
    let (section, entries) = match &own.retention {
        Some(entries) => (format!("tenants.{tenant}.retention"), entries),
        None => ("retention".to_owned(), &config.retention),
    };
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
    let classes = entries.iter().enumerate().map(class).collect::<Result<_, _>>()?;
    let keep_ms = own.retention_time.unwrap_or(flags.retention_time).as_millis();
    let bytes_max = own.retention_size.unwrap_or(flags.retention_size);
    Ok(Retention {
        keep_ms: (keep_ms > 0).then_some(keep_ms),
        bytes_max: (bytes_max > 0).then_some(bytes_max),
        classes,
        tiers: own.tiers.or_else(|| config.tiers.clone()),
    })
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
