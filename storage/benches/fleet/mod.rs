//! A made-up fleet: label sets and samples of a realistic mix, the same in every run, computed from numbers alone so that
//! generating costs no memory.
#![allow(dead_code)] // each bench uses a part

pub(crate) mod cpu_time;
pub(crate) mod scraped;

use storage::append::{LabelHash, Rows, SeriesRef};
use storage::head::Head;

/// Series of one scrape target.
pub(crate) const SERIES_PER_TARGET: usize = 100;
/// When the first scrape happens: at the start of a chunk window.
pub(crate) const START_MS: i64 = 1_790_001_000_000;
/// Between scrapes.
pub(crate) const INTERVAL_MS: i64 = 15_000;

/// A number that looks random.
pub(crate) fn mix(a: u64, b: u64) -> u64 {
    let mut z = a.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ b.wrapping_mul(0xd1b5_4a32_d192_ed03);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// The ten labels of a series, in ascending order of names.
pub(crate) fn labels(series: usize) -> [(&'static str, String); 10] {
    let (target, metric) = (series / SERIES_PER_TARGET, series % SERIES_PER_TARGET);
    let service = target % 40;
    let (family, variant) = (metric / 4, metric % 4);
    [
        ("__name__", format!("service_{}_{family}_total", ["http", "grpc", "queue", "runtime", "node"][family % 5])),
        ("cluster", format!("prod-{}", target % 3)),
        ("code", ["200", "404", "500", "503"][variant].to_owned()),
        ("container", format!("service-{service:03}")),
        ("instance", format!("10.{}.{}.{}:9100", target >> 16, target >> 8 & 255, target & 255)),
        ("job", format!("team-{}/service-{service:03}", service % 7)),
        ("namespace", format!("team-{}", service % 7)),
        ("node", format!("ip-10-0-{}-{}.internal", (target / 20) >> 8, (target / 20) & 255)),
        ("path", format!("/api/v1/resource-{}", metric % 25)),
        (
            "pod",
            format!(
                "service-{service:03}-{:08x}-{:05x}",
                mix(service as u64, 1) as u32,
                mix(target as u64, 2) & 0xf_ffff
            ),
        ),
    ]
}

/// Makes `count` series.
pub(crate) fn create(head: &Head, count: usize) -> Vec<SeriesRef> {
    let mut scratch = Vec::new();
    let mut create = |n: usize| {
        let labels = labels(n);
        let pairs = labels.each_ref().map(|(name, value)| (*name, value.as_str()));
        let hash = LabelHash::of_pairs(pairs, &mut scratch);
        head.create(hash, &pairs, |_| {}).expect("room").0
    };
    (0..count).map(&mut create).collect()
}

/// The hash of each series.
pub(crate) fn hashes(count: usize) -> Vec<LabelHash> {
    let mut scratch = Vec::new();
    (0..count)
        .map(|n| LabelHash::of_pairs(labels(n).each_ref().map(|(name, value)| (*name, value.as_str())), &mut scratch))
        .collect()
}

/// When the target of a series is scraped, with ±3 ms of jitter.
pub(crate) fn timestamp_ms(series: usize, tick: usize) -> i64 {
    let target = (series / SERIES_PER_TARGET) as u64;
    let offset = (mix(target, 3) % INTERVAL_MS as u64) as i64;
    START_MS + offset + tick as i64 * INTERVAL_MS + (mix(target, tick as u64 + 7) % 7) as i64 - 3
}

/// Integer counters, slow ones, bytes, CPU seconds, gauges with two or three decimals, ratios of 15 digits, memory sizes,
/// constants, histogram buckets.
pub(crate) fn value(series: usize, tick: usize) -> f64 {
    let (id, t) = (series as u64, tick as u64);
    let noise = |range: u64| mix(id, t + 100) % range;
    let steps = |rate: u64| t * rate + noise(rate.max(1));
    match id % 100 {
        0..12 => (1_000 + id % 5_000 + steps(40 + id % 300)) as f64,
        12..27 => (500 + id % 1_000 + t / (5 + id % 20)) as f64,
        27..33 => (1_000_000 + steps(150_000 + id % 90_000)) as f64,
        33..41 => (id % 900_000 + steps(250 + id % 900)) as f64 / 100.0,
        41..46 => (20_000 + noise(2_000)) as f64 / 1_000.0,
        46..50 => (noise(1 << 50) | 1) as f64 / (1u64 << 50) as f64,
        50..55 => ((40_000 + noise(900)) * 4096) as f64,
        55..73 => (id % 64) as f64,
        73..98 => (id % 700 + if noise(3) == 0 { steps(3) } else { t * 3 }) as f64,
        _ => 1.0,
    }
}

/// Appends one scrape of all series in requests of 2,000 samples; returns the CPU nanoseconds of appending alone.
pub(crate) fn scrape(head: &Head, series: &[SeriesRef], tick: usize, rows: &mut Rows) -> u64 {
    let mut spent = 0;
    for (n, chunk) in series.chunks(2_000).enumerate() {
        fill(chunk, n * 2_000, tick, rows);
        let started = cpu_time::thread_ns();
        assert_eq!(head.append(rows).written, chunk.len() as u64);
        spent += cpu_time::thread_ns() - started;
    }
    spent
}

/// The samples of consecutive series at one tick.
pub(crate) fn fill(series: &[SeriesRef], first: usize, tick: usize, rows: &mut Rows) {
    rows.series.clear();
    rows.timestamps_ms.clear();
    rows.values.clear();
    for (i, &at) in series.iter().enumerate() {
        rows.push(at, timestamp_ms(first + i, tick), value(first + i, tick));
    }
}

/// Resident bytes of this process.
pub(crate) fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: usize = statm.split(' ').nth(1).and_then(|field| field.parse().ok()).expect("two fields");
    pages * 4096
}
