//! When Prometheus evaluates a rule group.
//!
//! Each server spreads its groups over the interval by a hash of their own. A group that is called otherwise in Prometheus
//! than in Hearth can be given the same slots, so that both evaluate the same instants.

use xxhash_rust::xxh64::xxh64;

/// Milliseconds by which Prometheus 2.42 shifts the slots of a group against the multiples of its interval.
#[must_use]
pub fn prometheus_phase_ms(file: &str, group: &str, interval_ms: i64) -> i64 {
    // Its hash of the labels `file` and `name`; 0xff ends each text.
    let mut identity = Vec::new();
    for text in ["file", file, "name", group] {
        identity.extend_from_slice(text.as_bytes());
        identity.push(0xff);
    }
    let interval_ns = interval_ms.unsigned_abs() * 1_000_000;
    (xxh64(&identity, 0) % interval_ns).cast_signed() / 1_000_000
}

/// A name that begins with `name`, for a group of `file` that Prometheus evaluates `phase_ms` after the multiples of its
/// interval.
///
/// # Panics
/// No name has this phase: it is not below the interval.
#[must_use]
pub fn name_with_phase(file: &str, name: &str, interval_ms: i64, phase_ms: i64) -> String {
    assert!((0..interval_ms).contains(&phase_ms), "a phase is a part of the interval");
    let candidates = (0u64..).map(|i| format!("{name}-{i}"));
    let mut fitting = candidates.filter(|name| prometheus_phase_ms(file, name, interval_ms) == phase_ms);
    fitting.next().expect("hashes of enough names have every phase")
}
