//! A deterministic fleet: targets of 100 series each, scraped at an interval with jitter, some replaced over time.
//!
//! Per target: 45 counters (requests, CPU seconds, bytes), 27 histogram buckets, 22 gauges, 6 constants; about ten labels and
//! 280 bytes a sample before compression. Every value is a function of seed, series and scrape, so two runs send the same.

use crate::random::Random;
use crate::remote_write::{RequestBody, encode_labels};

/// Series per target.
pub const SERIES_PER_TARGET: usize = 100;

/// What to generate.
#[derive(Debug, Clone)]
pub struct Fleet {
    /// How many targets report at any time.
    pub targets: usize,
    /// Distance of two scrapes.
    pub interval_ms: i64,
    /// Time of the first scrape, milliseconds since the Unix epoch.
    pub start_ms: i64,
    /// How many scrapes.
    pub scrapes: usize,
    /// Each scrape moves by up to this much.
    pub jitter_ms: i64,
    /// After how many scrapes a tenth of the targets is replaced by new ones; 0 means never.
    pub churn_every: usize,
    /// Chooses the values.
    pub seed: u64,
}

impl Fleet {
    /// How many samples all scrapes have together.
    #[must_use]
    pub fn samples(&self) -> usize {
        self.targets * SERIES_PER_TARGET * self.scrapes
    }

    /// Time of the last scrape without jitter.
    #[must_use]
    pub fn end_ms(&self) -> i64 {
        self.start_ms + (self.scrapes as i64 - 1) * self.interval_ms
    }

    /// The part of the fleet that one of `parts` senders reports.
    #[must_use]
    pub fn part(&self, part: usize, parts: usize) -> Sender {
        let targets = (0..self.targets).filter(|t| t % parts == part).map(|t| Target::new(self, t, 0)).collect();
        Sender { fleet: self.clone(), targets, scrape: 0, next: 0, sample_requests: 2_000 / SERIES_PER_TARGET }
    }
}

/// One sender's share of the fleet, in order of time.
#[derive(Debug)]
pub struct Sender {
    fleet: Fleet,
    targets: Vec<Target>,
    scrape: usize,
    next: usize,
    sample_requests: usize,
}

impl Sender {
    /// The next request of 2,000 samples (fewer at the end of a scrape) and how many it has, or `None` at the end.
    pub fn next_request(&mut self, body: &mut RequestBody) -> Option<(Vec<u8>, usize)> {
        if self.targets.is_empty() {
            return None;
        }
        if self.next == self.targets.len() {
            self.next = 0;
            self.scrape += 1;
            self.churn();
        }
        if self.scrape == self.fleet.scrapes {
            return None;
        }
        let end = (self.next + self.sample_requests).min(self.targets.len());
        for target in self.targets.get_mut(self.next..end).unwrap_or_default() {
            target.scrape(&self.fleet, self.scrape, body);
        }
        self.next = end;
        let samples = body.samples();
        Some((body.take_compressed(), samples))
    }

    /// Which scrape the next request belongs to.
    #[must_use]
    pub fn scrape(&self) -> usize {
        self.scrape + usize::from(self.next == self.targets.len())
    }

    fn churn(&mut self) {
        let every = self.fleet.churn_every;
        if every == 0 || !self.scrape.is_multiple_of(every) {
            return;
        }
        let generation = self.scrape / every;
        for target in &mut self.targets {
            if target.index % 10 == generation % 10 {
                *target = Target::new(&self.fleet, target.index, generation);
            }
        }
    }
}

#[derive(Debug)]
struct Target {
    index: usize,
    labels: Vec<Vec<u8>>,
    kinds: Vec<Kind>,
    values: Vec<f64>,
    random: Random,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// Rises by a few.
    Requests,
    /// Rises by fractions.
    CpuSeconds,
    /// Rises by many.
    Bytes,
    /// Rises with, and never more than, the next bucket.
    Bucket,
    /// Multiples of 4096.
    Memory,
    /// Three decimals.
    Temperature,
    /// Fifteen digits.
    Ratio,
    /// Small whole numbers.
    Queue,
    /// Stays.
    Constant,
}

impl Target {
    fn new(fleet: &Fleet, index: usize, generation: usize) -> Self {
        let mut target = Self {
            index,
            labels: Vec::with_capacity(SERIES_PER_TARGET),
            kinds: Vec::with_capacity(SERIES_PER_TARGET),
            values: Vec::with_capacity(SERIES_PER_TARGET),
            random: Random::new(fleet.seed ^ ((index as u64) << 20) ^ generation as u64),
        };
        let place = Place::new(index, generation);
        for (name, extra, kind) in series_of_target() {
            target.labels.push(place.labels(name, &extra));
            target.kinds.push(kind);
            let start = match kind {
                Kind::Memory => 4096.0 * (target.random.below(100_000) as f64 + 1_000.0),
                Kind::Temperature => 20.0 + target.random.below(60_000) as f64 / 1000.0,
                // Far from zero: how far `rate` extrapolates towards a counter's start differs between versions of Prometheus.
                Kind::Bytes => (1_u64 << 34) as f64 + target.random.below(1 << 40) as f64,
                Kind::Requests => 100_000.0 + target.random.below(1_000_000) as f64,
                Kind::CpuSeconds => 100_000.0 + target.random.below(1_000_000) as f64 / 100.0,
                Kind::Bucket => 100_000.0,
                _ => 0.0,
            };
            target.values.push(start);
        }
        target
    }

    fn scrape(&mut self, fleet: &Fleet, scrape: usize, body: &mut RequestBody) {
        let jitter = self.random.below(2 * fleet.jitter_ms.unsigned_abs() + 1) as i64 - fleet.jitter_ms;
        // Targets are spread over the interval, as a scraper spreads them, but for its first and last tenth of a second:
        // whoever asks at a multiple of the interval meets no sample exactly at the end of a range.
        let offset = (self.index as i64 * 7919) % (fleet.interval_ms - 200) + 100;
        let time = fleet.start_ms + scrape as i64 * fleet.interval_ms + offset + jitter - fleet.interval_ms;
        let mut below = 0.0;
        for ((kind, value), labels) in self.kinds.iter().zip(&mut self.values).zip(&self.labels) {
            if !matches!(kind, Kind::Bucket) {
                below = 0.0;
            }
            step(*kind, value, &mut below, &mut self.random);
            body.push(labels, time, *value);
        }
    }
}

/// Moves one value to the next scrape. `below` carries how much the buckets below this one rose.
fn step(kind: Kind, value: &mut f64, below: &mut f64, random: &mut Random) {
    match kind {
        Kind::Requests => *value += random.below(40) as f64,
        Kind::CpuSeconds => *value = ((*value + random.below(1500) as f64 / 100.0) * 100.0).round() / 100.0,
        Kind::Bytes => *value += random.below(3_000_000) as f64,
        Kind::Bucket => {
            *below += if random.below(3) == 0 { random.below(6) as f64 } else { 0.0 };
            *value += *below;
        }
        Kind::Memory => {
            if random.below(3) > 0 {
                *value = (*value + 4096.0 * (random.below(200) as f64 - 100.0)).max(4096.0);
            }
        }
        Kind::Temperature => {
            *value = ((*value + (random.below(2001) as f64 - 1000.0) / 1000.0) * 1000.0).round() / 1000.0
        }
        Kind::Ratio => *value = random.below(1 << 53) as f64 / (1_u64 << 53) as f64,
        Kind::Queue => *value = random.below(30) as f64,
        Kind::Constant => *value = 1.0,
    }
}

/// The label `instance` of a target by its number.
#[must_use]
pub fn instance(index: usize) -> String {
    format!("10.{}.{}.{}:8080", index / 62_500, (index / 250) % 250, index % 250 + 1)
}

/// Labels that all series of one target share.
struct Place {
    instance: String,
    job: String,
    pod: String,
    node: String,
    namespace: String,
    zone: String,
}

impl Place {
    fn new(index: usize, generation: usize) -> Self {
        let (service, replica) = (index % 40, index / 40);
        Self {
            instance: instance(index),
            job: format!("service-{service:03}"),
            pod: format!("service-{service:03}-{:08x}-{replica:05}", 0x5eed_u64 * (generation as u64 + 1)),
            node: format!("node-{:04}.eu-central-1.compute.internal", index % 250),
            namespace: format!("team-{:02}", service % 12),
            zone: format!("eu-central-1{}", ["a", "b", "c"].get(index % 3).unwrap_or(&"a")),
        }
    }

    fn labels(&self, name: &str, extra: &[(&str, String)]) -> Vec<u8> {
        let mut pairs: Vec<(&str, &str)> = vec![
            ("__name__", name),
            ("cluster", "production-eu-central-1"),
            ("instance", &self.instance),
            ("job", &self.job),
            ("namespace", &self.namespace),
            ("node", &self.node),
            ("pod", &self.pod),
            ("zone", &self.zone),
        ];
        pairs.extend(extra.iter().map(|(name, value)| (*name, value.as_str())));
        pairs.sort_unstable();
        encode_labels(&pairs)
    }
}

type SeriesOfTarget = (&'static str, Vec<(&'static str, String)>, Kind);

fn series_of_target() -> Vec<SeriesOfTarget> {
    let mut out: Vec<SeriesOfTarget> = Vec::with_capacity(SERIES_PER_TARGET);
    for code in ["200", "204", "404", "500", "503"] {
        for method in ["GET", "POST"] {
            for path in ["/api/orders", "/api/users"] {
                let extra = vec![("code", code.into()), ("method", method.into()), ("path", path.into())];
                out.push(("http_requests_total", extra, Kind::Requests));
            }
        }
    }
    for cpu in 0..4 {
        for mode in ["idle", "iowait", "system", "user"] {
            let extra = vec![("cpu", cpu.to_string()), ("mode", mode.into())];
            out.push(("node_cpu_seconds_total", extra, Kind::CpuSeconds));
        }
    }
    for device in 0..9 {
        out.push(("network_receive_bytes_total", vec![("device", format!("eth{device}"))], Kind::Bytes));
    }
    for path in ["/api/carts", "/api/orders", "/api/users"] {
        for le in ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "+Inf"] {
            let extra = vec![("le", le.into()), ("path", path.into())];
            out.push(("http_request_duration_seconds_bucket", extra, Kind::Bucket));
        }
    }
    for kind in ["heap", "mapped", "resident", "stack", "virtual", "cache"] {
        out.push(("process_memory_bytes", vec![("type", kind.into())], Kind::Memory));
    }
    for sensor in 0..6 {
        out.push(("temperature_celsius", vec![("sensor", format!("s{sensor}"))], Kind::Temperature));
    }
    for queue in 0..8 {
        out.push(("queue_length", vec![("queue", format!("q{queue}"))], Kind::Queue));
    }
    for part in 0..2 {
        out.push(("cache_hit_ratio", vec![("part", part.to_string())], Kind::Ratio));
    }
    for version in 0..6 {
        out.push(("build_info", vec![("version", format!("1.{version}.0"))], Kind::Constant));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_has_a_hundred_series_and_two_runs_send_the_same() {
        assert_eq!(series_of_target().len(), SERIES_PER_TARGET);
        let fleet = Fleet {
            targets: 30,
            interval_ms: 15_000,
            start_ms: 1_700_000_000_000,
            scrapes: 3,
            jitter_ms: 3,
            churn_every: 2,
            seed: 1,
        };
        let run = || {
            let mut body = RequestBody::default();
            let mut sent = 0;
            let mut bytes = Vec::new();
            for part in 0..2 {
                let mut sender = fleet.part(part, 2);
                while let Some((request, samples)) = sender.next_request(&mut body) {
                    sent += samples;
                    bytes.extend(request);
                }
            }
            (sent, bytes)
        };
        let (first, second) = (run(), run());
        assert_eq!(first.0, fleet.samples());
        assert!(first == second);
    }
}
