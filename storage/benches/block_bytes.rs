//! Where the bytes of a block are: by column, by kind of series, and the least that any coder of differences could do.
//!
//! The load is that of `compat-tests`' `side-by-side`: 100 series per target of nine kinds, every 30 s with ±3 ms of jitter, for
//! a day. `cargo bench -p storage --bench block_bytes -- [TARGETS [SCRAPES]] [churn]`; with `churn`, a tenth of the targets is
//! replaced every 20 minutes, as there.
#![allow(missing_docs, clippy::print_stdout)]

mod fleet;

use fleet::cpu_time;
use fleet::scraped::{self, Kind, Series};
use hashbrown::HashMap;
use model::metadata::MetricType;
use parquet::file::reader::{FileReader, SerializedFileReader};
use std::fs::File;
use std::path::Path;
use storage::append::LabelHash;
use storage::block::meta::{BlockMeta, ulid};
use storage::block::order;
use storage::block::timeline::{GroupKey, TimelinePlanner};
use storage::block::writer::{BlockSpec, BlockWriter, Floats, Histograms, Layout, SeriesInput};

fn main() {
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let targets = numbers.first().copied().unwrap_or(20);
    let scrapes = numbers.get(1).copied().unwrap_or(2_880);
    let churn = std::env::args().any(|word| word == "churn");
    let fleet = scraped::fleet(targets, scrapes, churn);
    println!("{} series at a time, {} in all, {scrapes} scrapes; bytes per sample", targets * 100, fleet.len());
    for level in [0, 1] {
        println!("level {level}");
        let dir = tempfile::tempdir().expect("a directory");
        let all: Vec<&Series> = fleet.iter().collect();
        let (meta, ns) = write(dir.path(), &all, level);
        println!("  {:26} {:.4}  {ns:.1} ns of CPU per sample to write", "all files", per_sample(meta.bytes(), &meta));
        for file in &meta.files {
            println!("  {:26} {:.4}", file.name, per_sample(file.bytes, &meta));
            if file.name.ends_with(".parquet") {
                print_columns(&dir.path().join(&file.name), &meta);
            }
        }
    }
    println!("{:14} {:>8} {:>8} {:>8}  samples.parquet, least", "kind", "series", "level 0", "level 1");
    let mut least_of_all = 0.0;
    for kind in Kind::ALL {
        let of_kind: Vec<&Series> = fleet.iter().filter(|series| series.kind == kind).collect();
        let bytes = [0, 1].map(|level| {
            let dir = tempfile::tempdir().expect("a directory");
            let (meta, _) = write(dir.path(), &of_kind, level);
            per_sample(meta.file("samples.parquet").expect("samples").bytes, &meta)
        });
        let least = kind.bits() / 8.0;
        let samples = |all: &[&Series]| all.iter().map(|series| series.values.len()).sum::<usize>() as f64;
        least_of_all += least * samples(&of_kind) / samples(&fleet.iter().collect::<Vec<_>>());
        println!("{:14} {:8} {:8.4} {:8.4}  {least:.4}", format!("{kind:?}"), of_kind.len(), bytes[0], bytes[1]);
    }
    println!("{:14} {:>8} {:>8} {:>8}  {least_of_all:.4}", "all", fleet.len(), "", "");
}

fn per_sample(bytes: u64, meta: &BlockMeta) -> f64 {
    bytes as f64 / meta.samples as f64
}

/// Compressed bytes of the columns of a file that have some, the largest first; what is left is the footer.
fn print_columns(path: &Path, meta: &BlockMeta) {
    let reader = SerializedFileReader::new(File::open(path).expect("a file")).expect("Parquet");
    let mut columns: HashMap<String, (i64, i64)> = HashMap::new();
    for column in reader.metadata().row_groups().iter().flat_map(|group| group.columns()) {
        let (stored, plain) = columns.entry(column.column_path().string()).or_default();
        *stored += column.compressed_size();
        *plain += column.uncompressed_size();
    }
    let mut columns: Vec<_> = columns.into_iter().collect();
    columns.sort_by_key(|(_, (stored, _))| -stored);
    let bytes: i64 = columns.iter().map(|(_, (stored, _))| stored).sum();
    for (name, (stored, plain)) in columns.iter().filter(|(_, (stored, _))| *stored as f64 > meta.samples as f64 / 2e3)
    {
        let (stored, plain) = (per_sample(*stored as u64, meta), per_sample(*plain as u64, meta));
        println!("    {name:24} {stored:.4}  before compression {plain:.4}");
    }
    let length = std::fs::metadata(path).expect("a file").len();
    println!("    {:24} {:.4}", "footer and page index", per_sample(length - bytes as u64, meta));
}

/// Writes a block of some series; returns the CPU time too, in nanoseconds per sample.
fn write(dir: &Path, series: &[&Series], level: u8) -> (BlockMeta, f64) {
    let pairs = |series: &'_ Series| -> Vec<(String, String)> { series.labels.clone() };
    let mut inputs: Vec<(Vec<(String, String)>, &Series)> = series.iter().map(|s| (pairs(s), *s)).collect();
    fn texts(labels: &[(String, String)]) -> Vec<(&str, &str)> {
        labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }
    inputs.sort_by(|(a, _), (b, _)| order::compare(texts(a).into_iter(), texts(b).into_iter()));
    let started = cpu_time::thread_ns();
    let mut planner = TimelinePlanner::default();
    let mut choices = Vec::new();
    let mut names: Vec<String> = Vec::new();
    for (labels, series) in &inputs {
        let of = |name: &str| labels.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value.as_str());
        let group = GroupKey { job: of("job"), instance: of("instance") };
        choices.push(planner.add(group, &series.times, Some(series.life as u64)));
        names.extend(labels.iter().map(|(name, _)| name.clone()));
        names.sort_unstable();
        names.dedup();
    }
    let spec = BlockSpec {
        ulid: ulid(1, 1),
        tenant: "anonymous".into(),
        level,
        resolution_ms: 0,
        thinned_ms: 0,
        sources: Vec::new(),
        label_names: names.into_iter().filter(|name| name != "__name__").collect(),
        layout: Layout::of_level(level),
    };
    let mut writer = BlockWriter::create(dir, spec, planner.finish().expect("few rows")).expect("room");
    let mut scratch = Vec::new();
    for ((labels, series), choice) in inputs.iter().zip(choices) {
        let labels = texts(labels);
        let floats = Floats {
            timestamps_ms: &series.times,
            values: &series.values,
            starts_ms: &[],
            timeline: Some(choice),
            token: Some(series.life as u64),
        };
        let input = SeriesInput {
            labels: &labels,
            hash: LabelHash::of_pairs(labels.iter().copied(), &mut scratch),
            metric_type: MetricType::Unknown,
            floats,
            histograms: Histograms::default(),
            exemplars: &[],
        };
        writer.push(&input).expect("room");
    }
    let meta = writer.finish().expect("room");
    let spent = cpu_time::thread_ns() - started;
    let samples = meta.samples as f64;
    (meta, spent as f64 / samples)
}
