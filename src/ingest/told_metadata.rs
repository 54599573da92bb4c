//! Metadata that is worth telling the store: valid, and not told before.
//!
//! Senders repeat what they know about every metric each minute (1.0) or with every series of every request (2.0).

use super::generations::Generations;
use crate::wire::table::RawMetadata;
use crate::wire::{Protocol, WriteTable};
use model::metadata::{Metadata, MetricType};
use xxhash_rust::xxh3::Xxh3;

/// How many distinct statements are remembered.
const CAPACITY: usize = 1 << 16;

/// What the store was told already.
#[derive(Debug)]
pub(super) struct ToldMetadata {
    statements: Generations<()>,
}

/// What a request says that is new.
#[derive(Debug, Default)]
pub(super) struct NewMetadata {
    pub(super) entries: Vec<(String, Metadata)>,
    /// Of each entry, to remember it once the store has it.
    hashes: Vec<u128>,
    /// Entries that are no metadata.
    pub(super) invalid: u64,
}

impl ToldMetadata {
    pub(super) fn new() -> Self {
        Self { statements: Generations::new(CAPACITY) }
    }

    pub(super) fn select(&self, protocol: Protocol, body: &[u8], table: &WriteTable) -> NewMetadata {
        let mut new = NewMetadata::default();
        for raw in table.metadata(body) {
            let hash = statement_hash(protocol, &raw);
            if self.statements.get(hash).is_some() {
                continue;
            }
            match parse(protocol, &raw) {
                Some(entry) => {
                    new.entries.push(entry);
                    new.hashes.push(hash);
                }
                None => new.invalid += 1,
            }
        }
        new
    }

    /// Remembers what the store was told.
    pub(super) fn remember(&self, hashes: &[u128]) {
        for hash in hashes {
            self.statements.insert(*hash, ());
        }
    }
}

impl NewMetadata {
    /// Hands out the entries and the hashes to remember.
    pub(super) fn into_parts(self) -> (Vec<(String, Metadata)>, Vec<u128>) {
        (self.entries, self.hashes)
    }
}

fn statement_hash(protocol: Protocol, raw: &RawMetadata<'_>) -> u128 {
    let mut hasher = Xxh3::new();
    hasher.update(&[protocol as u8, raw.metric_type as u8]);
    for text in [raw.name, raw.help, raw.unit] {
        hasher.update(&text.len().to_le_bytes());
        hasher.update(text);
    }
    hasher.digest128()
}

fn parse(protocol: Protocol, raw: &RawMetadata<'_>) -> Option<(String, Metadata)> {
    let name = str::from_utf8(raw.name).ok()?;
    let name = match protocol {
        Protocol::V1 => name,
        Protocol::V2 => family_name(name, raw.metric_type),
    };
    let help = str::from_utf8(raw.help).ok()?.to_owned();
    let unit = str::from_utf8(raw.unit).ok()?.to_owned();
    let metadata = Metadata { metric_type: raw.metric_type, help, unit };
    (!name.is_empty()).then(|| (name.to_owned(), metadata))
}

/// The name under which a series' metric is known: without the suffix of its part, for types that have several parts.
fn family_name(series_name: &str, metric_type: MetricType) -> &str {
    let suffixes: &[&str] = match metric_type {
        MetricType::Histogram => &["_bucket", "_sum", "_count"],
        MetricType::GaugeHistogram => &["_bucket", "_gsum", "_gcount"],
        MetricType::Summary => &["_sum", "_count"],
        _ => &[],
    };
    suffixes.iter().find_map(|suffix| series_name.strip_suffix(suffix)).unwrap_or(series_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_histogram_share_its_metadata_and_counters_keep_their_name() {
        assert_eq!(family_name("latency_seconds_bucket", MetricType::Histogram), "latency_seconds");
        assert_eq!(family_name("latency_seconds_count", MetricType::Summary), "latency_seconds");
        assert_eq!(family_name("requests_total", MetricType::Counter), "requests_total");
        assert_eq!(family_name("open_count", MetricType::Gauge), "open_count");
    }

    #[test]
    fn statements_of_other_fields_have_other_hashes() {
        let raw = |name: &'static str, help: &'static str| RawMetadata {
            name: name.as_bytes(),
            metric_type: MetricType::Gauge,
            help: help.as_bytes(),
            unit: b"",
        };
        let hash = |raw| statement_hash(Protocol::V1, &raw);
        assert_ne!(hash(raw("ab", "c")), hash(raw("a", "bc")));
        assert_eq!(hash(raw("a", "b")), hash(raw("a", "b")));
    }
}
