//! Type, help and unit of metrics, as senders tell them.
//!
//! Senders repeat what they know every minute; only news is logged. A metric keeps the last few distinct entries, because
//! several targets may describe it differently. The store is bounded in bytes: when it is full, unknown metrics are refused.

use crate::wal::payload;
use model::metadata::Metadata;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Distinct entries that one metric keeps; the one that was news first goes first.
const ENTRIES_PER_METRIC_MAX: usize = 8;
/// What an entry costs besides its text: map node, vector, strings.
const ENTRY_OVERHEAD: usize = 160;

/// All known metadata. Any thread may read; the log's order decides what is written.
#[derive(Debug)]
pub(crate) struct MetadataStore {
    bytes_max: usize,
    state: RwLock<State>,
    refused: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    metrics: BTreeMap<String, Vec<Metadata>>,
    bytes: usize,
}

/// Whether an entry is worth logging.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    /// It is known already.
    Known,
    /// It would be stored.
    New,
    /// There is no room for it.
    Refused,
}

fn size(metric: &str, metadata: &Metadata) -> usize {
    ENTRY_OVERHEAD + metric.len() + metadata.help.len() + metadata.unit.len()
}

impl MetadataStore {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, state: RwLock::default(), refused: AtomicU64::new(0) }
    }

    /// What storing an entry would come to.
    pub(crate) fn judge(&self, metric: &str, metadata: &Metadata) -> News {
        let state = self.state.read();
        match state.metrics.get(metric) {
            Some(entries) if entries.contains(metadata) => News::Known,
            _ if state.bytes + size(metric, metadata) > self.bytes_max => News::Refused,
            _ => News::New,
        }
    }

    /// Stores an entry unless it is known or there is no room.
    pub(crate) fn insert(&self, metric: &str, metadata: Metadata) -> News {
        let news = self.judge(metric, &metadata);
        match news {
            News::Known => {}
            News::Refused => self.count_refused(1),
            News::New => {
                let mut state = self.state.write();
                state.bytes += size(metric, &metadata);
                let mut freed = 0;
                let entries = state.metrics.entry(metric.to_owned()).or_default();
                if entries.len() == ENTRIES_PER_METRIC_MAX {
                    freed = size(metric, &entries.remove(0));
                }
                entries.push(metadata);
                state.bytes -= freed;
            }
        }
        news
    }

    pub(crate) fn count_refused(&self, count: u64) {
        self.refused.fetch_add(count, Relaxed);
    }

    /// Entries of one metric or of all, newest first: at most `limit` metrics, in ascending order, with at most
    /// `limit_per_metric` entries each.
    pub(crate) fn list(
        &self,
        metric: Option<&str>,
        limit: usize,
        limit_per_metric: usize,
    ) -> Vec<(String, Vec<Metadata>)> {
        let state = self.state.read();
        let some = |(name, entries): (&String, &Vec<Metadata>)| {
            (name.clone(), entries.iter().rev().take(limit_per_metric).cloned().collect())
        };
        match metric {
            Some(metric) => state.metrics.get_key_value(metric).into_iter().take(limit).map(some).collect(),
            None => state.metrics.iter().take(limit).map(some).collect(),
        }
    }

    /// Metrics known, bytes of memory, entries refused since the process started.
    pub(crate) fn figures(&self) -> (u64, u64, u64) {
        let state = self.state.read();
        (state.metrics.len() as u64, state.bytes as u64, self.refused.load(Relaxed))
    }

    /// Everything, in the form of a metadata record.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let state = self.state.read();
        let mut out = Vec::with_capacity(state.bytes);
        for (metric, entries) in &state.metrics {
            entries.iter().for_each(|metadata| payload::push_metadata(&mut out, metric, metadata));
        }
        out
    }

    /// Puts back what [`MetadataStore::to_bytes`] gave. Returns `None` where the bytes are malformed.
    pub(crate) fn restore(&self, bytes: &[u8]) -> Option<()> {
        payload::read_metadata(bytes, |metric, metadata| {
            self.insert(metric, metadata);
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn help(text: &str) -> Metadata {
        Metadata { help: text.to_owned(), ..Metadata::default() }
    }

    #[test]
    fn only_news_is_worth_logging() {
        let store = MetadataStore::new(10_000);
        assert_eq!(store.judge("up", &help("a")), News::New);
        assert_eq!(store.insert("up", help("a")), News::New);
        assert_eq!(store.judge("up", &help("a")), News::Known);
        assert_eq!(store.judge("up", &help("b")), News::New);
    }

    #[test]
    fn a_metric_keeps_its_newest_entries() {
        let store = MetadataStore::new(100_000);
        for n in 0..20 {
            store.insert("up", help(&n.to_string()));
        }
        let listed = store.list(Some("up"), 10, 3);
        assert_eq!(listed, [("up".to_owned(), vec![help("19"), help("18"), help("17")])]);
        assert_eq!(store.list(None, 10, 100)[0].1.len(), ENTRIES_PER_METRIC_MAX);
    }

    #[test]
    fn limits_bound_the_list() {
        let store = MetadataStore::new(100_000);
        for metric in ["c", "a", "b"] {
            store.insert(metric, help("x"));
        }
        let names = |limit| store.list(None, limit, 1).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names(2), ["a", "b"]);
        assert_eq!(names(usize::MAX), ["a", "b", "c"]);
        assert_eq!(store.list(Some("zzz"), 1, 1), []);
    }

    #[test]
    fn a_full_store_refuses_and_counts() {
        let store = MetadataStore::new(1000);
        let stored = (0..20).filter(|n| store.insert(&n.to_string(), help("x")) == News::New).count();
        assert_eq!(store.figures().2, 20 - stored as u64);
        assert!(stored < 10 && store.figures().1 <= 1000);
    }

    #[test]
    fn everything_comes_back_from_bytes() {
        let store = MetadataStore::new(100_000);
        for n in 0..30 {
            store.insert(&(n % 7).to_string(), help(&n.to_string()));
        }
        let restored = MetadataStore::new(100_000);
        restored.restore(&store.to_bytes()).expect("own bytes");
        assert_eq!(restored.list(None, 100, 100), store.list(None, 100, 100));
        assert_eq!(restored.figures(), store.figures());
    }
}
