//! The load of `compat-tests/src/load.rs` as columns: the same kinds in the same numbers, with the same changes from scrape to
//! scrape.

use std::ops::Range;
use std::sync::Arc;

const START_MS: i64 = 1_790_035_200_000;
const INTERVAL_MS: i64 = 30_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Requests,
    CpuSeconds,
    Bytes,
    Bucket,
    Memory,
    Temperature,
    Queue,
    Ratio,
    Constant,
}

/// One series with all of its samples.
pub(crate) struct Series {
    pub(crate) kind: Kind,
    /// The same for the series of one target while it lives.
    pub(crate) life: usize,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) times: Arc<Vec<i64>>,
    pub(crate) values: Vec<f64>,
}

impl Kind {
    pub(crate) const ALL: [Self; 9] = [
        Self::Requests,
        Self::CpuSeconds,
        Self::Bytes,
        Self::Bucket,
        Self::Memory,
        Self::Temperature,
        Self::Queue,
        Self::Ratio,
        Self::Constant,
    ];

    /// Bits that a sample has given those before it in the same series, on average: what no coder of a series can go below.
    pub(crate) fn bits(self) -> f64 {
        match self {
            Self::Requests => 40f64.log2(),
            Self::CpuSeconds => 1500f64.log2(),
            Self::Bytes => 3e6f64.log2(),
            // The n-th bucket rises by the sum of n independent rises.
            Self::Bucket => {
                let one: Vec<f64> = (0..6).map(|rise| if rise == 0 { 13.0 / 18.0 } else { 1.0 / 18.0 }).collect();
                let mut sum = vec![1.0];
                let entropies = (0..9).map(|_| {
                    let mut next = vec![0.0; sum.len() + 5];
                    for (a, p) in sum.iter().enumerate() {
                        one.iter().enumerate().for_each(|(b, q)| next[a + b] += p * q);
                    }
                    sum = next;
                    entropy(&sum)
                });
                entropies.sum::<f64>() / 9.0
            }
            // Nothing in one of three, and one of 200 steps is nothing.
            Self::Memory => {
                let nothing = 1.0 / 3.0 + 2.0 / 600.0;
                let mut chances = vec![2.0 / 600.0; 199];
                chances.push(nothing);
                entropy(&chances)
            }
            Self::Temperature => 2001f64.log2(),
            Self::Queue => 30f64.log2(),
            Self::Ratio => 53.0,
            Self::Constant => 0.0,
        }
    }

    fn start(self, random: &mut Random) -> f64 {
        match self {
            Self::Memory => 4096.0 * (random.below(100_000) as f64 + 1_000.0),
            Self::Temperature => 20.0 + random.below(60_000) as f64 / 1000.0,
            Self::Bytes => (1_u64 << 34) as f64 + random.below(1 << 40) as f64,
            Self::Requests => 100_000.0 + random.below(1_000_000) as f64,
            Self::CpuSeconds => 100_000.0 + random.below(1_000_000) as f64 / 100.0,
            Self::Bucket => 100_000.0,
            _ => 0.0,
        }
    }

    /// Moves a value to the next scrape; `below` is how much the bucket below rose.
    fn step(self, value: &mut f64, below: &mut f64, random: &mut Random) {
        match self {
            Self::Requests => *value += random.below(40) as f64,
            Self::CpuSeconds => *value = ((*value + random.below(1500) as f64 / 100.0) * 100.0).round() / 100.0,
            Self::Bytes => *value += random.below(3_000_000) as f64,
            Self::Bucket => {
                *below += if random.below(3) == 0 { random.below(6) as f64 } else { 0.0 };
                *value += *below;
            }
            Self::Memory => {
                if random.below(3) > 0 {
                    *value = (*value + 4096.0 * (random.below(200) as f64 - 100.0)).max(4096.0);
                }
            }
            Self::Temperature => {
                *value = ((*value + (random.below(2001) as f64 - 1000.0) / 1000.0) * 1000.0).round() / 1000.0;
            }
            Self::Ratio => *value = random.below(1 << 53) as f64 / (1_u64 << 53) as f64,
            Self::Queue => *value = random.below(30) as f64,
            Self::Constant => *value = 1.0,
        }
    }
}

fn entropy(chances: &[f64]) -> f64 {
    -chances.iter().map(|chance| chance * chance.log2()).sum::<f64>()
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((u128::from(z ^ (z >> 31)) * u128::from(end)) >> 64) as u64
    }
}

/// So many targets of 100 series, scraped so many times. Every 40 scrapes a tenth of them is replaced by others, if wanted.
pub(crate) fn fleet(targets: usize, scrapes: usize, churn: bool) -> Vec<Series> {
    const CHURN_EVERY: usize = 40;
    let mut all = Vec::new();
    for target in 0..targets {
        let is_replaced = |generation: &usize| churn && generation % 10 == target % 10;
        let mut generations = vec![0];
        generations.extend((1..scrapes.div_ceil(CHURN_EVERY)).filter(is_replaced));
        for (n, generation) in generations.iter().enumerate() {
            let end = generations.get(n + 1).map_or(scrapes, |next| next * CHURN_EVERY);
            scrape(target, *generation, generation * CHURN_EVERY..end, &mut all);
        }
    }
    all
}

/// Appends the series of one target while it lives.
fn scrape(target: usize, generation: usize, scrapes: Range<usize>, all: &mut Vec<Series>) {
    let mut random = Random((target as u64) << 20 ^ generation as u64 ^ 1);
    let first = all.len();
    for (name, extra, kind) in series_of_target() {
        let labels = labels(target, generation, name, extra);
        let values = Vec::with_capacity(scrapes.len());
        all.push(Series { kind, life: target << 16 | generation, labels, times: Arc::default(), values });
    }
    let of_target = &mut all[first..];
    let mut values: Vec<f64> = of_target.iter().map(|series| series.kind.start(&mut random)).collect();
    let mut times = Vec::with_capacity(scrapes.len());
    let offset = (target as i64 * 7919) % (INTERVAL_MS - 200) + 100;
    for scrape in scrapes {
        times.push(START_MS + scrape as i64 * INTERVAL_MS + offset + random.below(7) as i64 - 3);
        let mut below = 0.0;
        for (series, value) in of_target.iter_mut().zip(&mut values) {
            if series.kind != Kind::Bucket {
                below = 0.0;
            }
            series.kind.step(value, &mut below, &mut random);
            series.values.push(*value);
        }
    }
    let times = Arc::new(times);
    of_target.iter_mut().for_each(|series| series.times = Arc::clone(&times));
}

fn labels(target: usize, generation: usize, name: &str, extra: Vec<(&'static str, String)>) -> Vec<(String, String)> {
    let service = target % 40;
    let mut labels: Vec<(String, String)> = vec![
        ("__name__".into(), name.into()),
        ("cluster".into(), "production-eu-central-1".into()),
        ("instance".into(), format!("10.{}.{}.{}:8080", target / 62_500, (target / 250) % 250, target % 250 + 1)),
        ("job".into(), format!("service-{service:03}")),
        ("namespace".into(), format!("team-{:02}", service % 12)),
        ("node".into(), format!("node-{:04}.eu-central-1.compute.internal", target % 250)),
        ("pod".into(), format!("service-{service:03}-{:08x}-{:05}", 0x5eed_usize * (generation + 1), target / 40)),
        ("zone".into(), format!("eu-central-1{}", ["a", "b", "c"][target % 3])),
    ];
    labels.extend(extra.into_iter().map(|(name, value)| (name.to_owned(), value)));
    labels.sort_unstable();
    labels
}

type SeriesOfTarget = (&'static str, Vec<(&'static str, String)>, Kind);

fn series_of_target() -> Vec<SeriesOfTarget> {
    let mut out: Vec<SeriesOfTarget> = Vec::new();
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
