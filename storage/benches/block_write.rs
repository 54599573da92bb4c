//! Writing blocks of the fleet mix: CPU time and bytes per sample.
#![allow(missing_docs, clippy::print_stdout)]

mod fleet;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use model::metadata::MetricType;
use std::path::Path;
use storage::append::LabelHash;
use storage::block::meta::{BlockMeta, ulid};
use storage::block::order;
use storage::block::timeline::{GroupKey, TimelinePlanner};
use storage::block::writer::{BlockSpec, BlockWriter, Floats, Histograms, Layout, SeriesInput};

type LabelPairs = [(&'static str, String); 10];

/// Series in block order and their samples.
struct Content {
    series: Vec<(usize, LabelPairs, LabelHash)>,
    times: Vec<Vec<i64>>,
    values: Vec<Vec<f64>>,
}

impl Content {
    fn new(targets: usize, ticks: usize, jitter: bool) -> Self {
        let count = targets * fleet::SERIES_PER_TARGET;
        let hashes = fleet::hashes(count).into_iter().enumerate();
        let mut series: Vec<_> = hashes.map(|(n, hash)| (n, fleet::labels(n), hash)).collect();
        series.sort_by(|(_, a, _), (_, b, _)| {
            order::compare(a.iter().map(|(n, v)| (*n, v.as_str())), b.iter().map(|(n, v)| (*n, v.as_str())))
        });
        let time = |target: usize, tick: usize| match jitter {
            true => fleet::timestamp_ms(target * fleet::SERIES_PER_TARGET, tick),
            false => fleet::START_MS + tick as i64 * fleet::INTERVAL_MS + (target as i64 * 37) % fleet::INTERVAL_MS,
        };
        let times = (0..targets).map(|target| (0..ticks).map(|tick| time(target, tick)).collect()).collect();
        let values = (0..count).map(|n| (0..ticks).map(|tick| fleet::value(n, tick)).collect()).collect();
        Self { series, times, values }
    }

    fn samples(&self) -> usize {
        self.values.iter().map(Vec::len).sum()
    }

    fn write(&self, dir: &Path, level: u8) -> BlockMeta {
        let mut planner = TimelinePlanner::default();
        let mut choices = Vec::with_capacity(self.series.len());
        for (n, labels, _) in &self.series {
            let target = n / fleet::SERIES_PER_TARGET;
            let group = GroupKey { job: &labels[5].1, instance: &labels[4].1 };
            choices.push(planner.add(group, &self.times[target], Some(target as u64)));
        }
        let spec = BlockSpec {
            ulid: ulid(1, 1),
            tenant: "anonymous".into(),
            level,
            resolution_ms: 0,
            thinned_ms: 0,
            sources: Vec::new(),
            label_names: fleet::labels(0).iter().map(|(name, _)| (*name).to_owned()).collect(),
            layout: Layout::of_level(level),
        };
        let mut writer = BlockWriter::create(dir, spec, planner.finish().expect("few rows")).expect("room");
        for ((n, labels, hash), choice) in self.series.iter().zip(choices) {
            let target = n / fleet::SERIES_PER_TARGET;
            let floats = Floats {
                timestamps_ms: &self.times[target],
                values: &self.values[*n],
                starts_ms: &[],
                timeline: Some(choice),
                token: Some(target as u64),
            };
            let labels = labels.each_ref().map(|(name, value)| (*name, value.as_str()));
            let metric_type = MetricType::Counter;
            let histograms = Histograms::default();
            let input = SeriesInput { labels: &labels, hash: *hash, metric_type, floats, histograms, exemplars: &[] };
            writer.push(&input).expect("room");
        }
        writer.finish().expect("room")
    }
}

fn block(criterion: &mut Criterion<fleet::cpu_time::CpuTime>) {
    let mut group = criterion.benchmark_group("block");
    group.sample_size(10).warm_up_time(std::time::Duration::from_millis(200));
    group.measurement_time(std::time::Duration::from_secs(2));
    let cases = [
        ("2 h aligned", 40, 480, false, 0),
        ("2 h ±3 ms", 40, 480, true, 0),
        ("2 h ±3 ms, level 1", 40, 480, true, 1),
        ("24 h aligned", 10, 5_760, false, 1),
        ("24 h ±3 ms", 10, 5_760, true, 1),
    ];
    for (name, targets, ticks, jitter, level) in cases {
        let content = Content::new(targets, ticks, jitter);
        let dir = tempfile::tempdir().expect("a directory");
        let meta = content.write(dir.path(), level);
        let samples = content.samples() as f64;
        println!("{name}: {:.3} bytes per sample", meta.bytes() as f64 / samples);
        for file in &meta.files {
            println!(
                "    {}: {:.4} bytes per sample, {:.2} per series, footer {}",
                file.name,
                file.bytes as f64 / samples,
                file.bytes as f64 / meta.series as f64,
                file.footer_bytes
            );
        }
        group.throughput(Throughput::Elements(content.samples() as u64));
        group.bench_function(name, |bencher| bencher.iter(|| content.write(dir.path(), level)));
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(fleet::cpu_time::CpuTime);
    targets = block
}
criterion_main!(benches);
