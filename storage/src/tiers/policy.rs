//! Which tiers there are and how long samples and each of them are kept.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How old data becomes coarser.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TierPolicy {
    /// How long samples are kept as they came.
    ///
    /// Afterwards queries are answered from tiers: exactly where step, range and start are multiples of a tier's resolution
    /// and the function allows it, else approximately and with a warning. Native histograms are thinned for the finest tier, so
    /// that the same answers stay exact, and kept for as long as the coarsest. Since 0.1.
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub raw_keep: Duration,
    /// The tiers, finest first. Without any, data is gone when `raw_keep` is over. Since 0.1.
    pub tiers: Vec<TierOptions>,
}

/// One tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TierOptions {
    /// The length of its buckets: whole seconds, a divisor of 24 h and of the next tier's resolution.
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub resolution: Duration,
    /// How long its buckets are kept, at least as long as what is finer.
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub keep: Duration,
}

const DAY: Duration = Duration::from_secs(24 * 3600);
const MINUTE: Duration = Duration::from_secs(60);

impl Default for TierPolicy {
    /// Samples for a week, 5 m for a month, 1 h for a year.
    fn default() -> Self {
        let tier = |resolution: Duration, days| TierOptions { resolution, keep: DAY * days };
        Self { raw_keep: DAY * 7, tiers: vec![tier(MINUTE * 5, 30), tier(MINUTE * 60, 365)] }
    }
}

/// Why a policy is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// The resolution is no whole number of seconds that divides a day.
    #[error("resolution {0:?} must be whole seconds and divide 24h")]
    Resolution(Duration),
    /// Coarse buckets could not be made of finer ones.
    #[error("resolution {0:?} must be a larger multiple of the finer resolution {1:?}")]
    Multiple(Duration, Duration),
    /// A tier would be gone before what it is made of.
    #[error("the tier of {0:?} must be kept at least as long as finer data")]
    Keep(Duration),
}

impl TierPolicy {
    /// Refuses what cannot work.
    ///
    /// # Errors
    /// See [`PolicyError`].
    pub fn check(&self) -> Result<(), PolicyError> {
        let mut finer: Option<TierOptions> = None;
        for tier in &self.tiers {
            let resolution = tier.resolution;
            let divides_day =
                resolution.subsec_nanos() == 0 && DAY.as_secs().checked_rem(resolution.as_secs()) == Some(0);
            if !divides_day {
                return Err(PolicyError::Resolution(resolution));
            }
            if let Some(finer) = finer.map(|finer| finer.resolution)
                && (finer >= resolution || !resolution.as_secs().is_multiple_of(finer.as_secs()))
            {
                return Err(PolicyError::Multiple(resolution, finer));
            }
            if tier.keep < finer.map_or(self.raw_keep, |finer| finer.keep) {
                return Err(PolicyError::Keep(resolution));
            }
            finer = Some(*tier);
        }
        Ok(())
    }
}

impl TierOptions {
    /// The length of its buckets in milliseconds.
    #[must_use]
    pub fn resolution_ms(&self) -> i64 {
        i64::try_from(self.resolution.as_millis()).unwrap_or(i64::MAX)
    }
}

/// Durations as Prometheus writes them.
mod duration {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        serializer.serialize_str(&model::time::format_duration(millis))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let millis = model::time::parse_duration(&String::deserialize(deserializer)?).map_err(D::Error::custom)?;
        Ok(Duration::from_millis(millis.unsigned_abs()))
    }

    pub(super) fn schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "title": "duration"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(json: &str) -> TierPolicy {
        serde_json::from_str(json).expect("a policy")
    }

    #[test]
    fn the_default_is_a_week_a_month_and_a_year() {
        let default = TierPolicy::default();
        assert_eq!(default.check(), Ok(()));
        let text = r#"{"raw_keep":"1w","tiers":[{"resolution":"5m","keep":"30d"},{"resolution":"1h","keep":"1y"}]}"#;
        assert_eq!(serde_json::to_string(&default).expect("JSON"), text);
        assert_eq!(policy(text), default);
        assert_eq!(policy("{}"), default);
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let seconds = Duration::from_secs;
        for (tiers, error) in [
            (r#"[{"resolution":"7m","keep":"30d"}]"#, PolicyError::Resolution(seconds(420))),
            (r#"[{"resolution":"0s","keep":"30d"}]"#, PolicyError::Resolution(seconds(0))),
            (r#"[{"resolution":"5m","keep":"1d"}]"#, PolicyError::Keep(seconds(300))),
            (
                r#"[{"resolution":"1h","keep":"30d"},{"resolution":"5m","keep":"60d"}]"#,
                PolicyError::Multiple(seconds(300), seconds(3600)),
            ),
            (
                r#"[{"resolution":"10m","keep":"30d"},{"resolution":"15m","keep":"60d"}]"#,
                PolicyError::Multiple(seconds(900), seconds(600)),
            ),
        ] {
            assert_eq!(policy(&format!(r#"{{"tiers":{tiers}}}"#)).check(), Err(error));
        }
        assert!(serde_json::from_str::<TierPolicy>(r#"{"keep_raw":"1d"}"#).is_err());
    }
}
