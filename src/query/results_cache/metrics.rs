//! What the cache of results tells about itself.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Counters of the cache; a clone counts on the same ones.
#[derive(Debug, Clone, Default)]
pub struct CacheMetrics {
    hits: Counter,
    misses: Counter,
    bypasses: Counter,
    entries: Gauge,
    bytes: Gauge,
}

impl CacheMetrics {
    /// Makes the metrics part of a registry.
    pub fn register(&self, registry: &mut Registry) {
        let hits = "Range queries of which at least a part was answered from the cache of results";
        registry.register("hearth_query_results_cache_hits", hits, self.hits.clone());
        let misses = "Range queries that could have been answered from the cache of results and were not";
        registry.register("hearth_query_results_cache_misses", misses, self.misses.clone());
        let bypasses = "Range queries whose results cannot be kept, or were asked for without the cache";
        registry.register("hearth_query_results_cache_bypasses", bypasses, self.bypasses.clone());
        registry.register("hearth_query_results_cache_entries", "Queries with kept results", self.entries.clone());
        registry.register("hearth_query_results_cache_bytes", "Bytes of kept results, about", self.bytes.clone());
    }

    pub(super) fn count(&self, hit: bool) {
        if hit {
            self.hits.inc()
        } else {
            self.misses.inc()
        };
    }

    /// Counts a query that went past the cache.
    pub fn count_bypass(&self) {
        self.bypasses.inc();
    }

    pub(super) fn size(&self, entries: u64, bytes: u64) {
        self.entries.set(entries.cast_signed());
        self.bytes.set(bytes.cast_signed());
    }
}
