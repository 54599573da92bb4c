//! What expires, from flags and configuration.

use crate::config::{Config, ServeFlags};
use promql::parse::{ParseOptions, parse_selector};
use storage::lifecycle::retention::{Retention, RetentionClass};

/// What the flags and the section `retention` say.
///
/// # Errors
/// A selector is none, or would mean every series.
pub fn retention(flags: &ServeFlags, config: &Config, parse: &ParseOptions) -> Result<Retention, String> {
    let class = |(at, class): (usize, &crate::config::RetentionConfig)| {
        let place = format!("retention[{at}]");
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
    let classes = config.retention.iter().enumerate().map(class).collect::<Result<_, _>>()?;
    let keep_ms = flags.retention_time.as_millis();
    Ok(Retention {
        keep_ms: (keep_ms > 0).then_some(keep_ms),
        bytes_max: (flags.retention_size > 0).then_some(flags.retention_size),
        classes,
        tiers: config.tiers.clone(),
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
