//! What it costs to turn a remote write body into columns, per sample: `cargo bench --bench decode`.
//!
//! Bodies as the usual sender has them: 2,000 series of about 10 labels and 278 bytes, one sample each. Divide the time per
//! iteration by 2,000, or read the rate: one element is one sample.

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime};
use hearth::wire::compression::{Decompressor, Encoding};
use hearth::wire::prost_types::{v1, v2};
use hearth::wire::{Limits, Protocol, WriteTable, decode, decode_with};
use prost::Message;
use std::collections::HashMap;
use std::hint::black_box;
use storage::append::LabelHash;

const SERIES: usize = 2_000;
const BYTES_MAX: usize = 32 << 20;

type Pairs = Vec<(String, String)>;

/// Labels of container metrics: one name, one target, some that vary from series to series.
fn series_labels(index: usize) -> Pairs {
    let node = index / 400;
    let pairs = [
        ("__name__", format!("container_network_receive_bytes_{}_total", index % 20)),
        ("cluster", "eu-west-1".into()),
        ("container", format!("service-{:03}", index % 40)),
        ("id", format!("pod{:08x}", index * 2_654_435_761 % (1 << 32))),
        ("instance", format!("10.12.{node}.17:9100")),
        ("interface", format!("eth{}", index % 4)),
        ("job", "cadvisor".into()),
        ("namespace", format!("team-{:02}", index % 30)),
        ("node", format!("ip-10-12-{node}-17")),
        ("pod", format!("service-{:03}-7d9f8b6c54-{:05x}", index % 40, index * 40_503 % (1 << 20))),
    ];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn sample(index: usize) -> (f64, i64) {
    ((index * 7_919) as f64 / 8.0, 1_795_168_800_000 + (index % 7) as i64)
}

fn body_v1() -> Vec<u8> {
    let series = |index| {
        let label = |(name, value): (String, String)| v1::Label { name: name.into(), value: value.into() };
        let (value, timestamp) = sample(index);
        v1::TimeSeries {
            labels: series_labels(index).into_iter().map(label).collect(),
            samples: vec![v1::Sample { value, timestamp }],
            ..Default::default()
        }
    };
    v1::WriteRequest { timeseries: (0..SERIES).map(series).collect(), metadata: Vec::new() }.encode_to_vec()
}

fn body_v2() -> Vec<u8> {
    let mut symbols = vec![Vec::new()];
    let mut index_of: HashMap<String, u32> = HashMap::new();
    let mut timeseries = Vec::new();
    for index in 0..SERIES {
        let mut labels_refs = Vec::new();
        for text in series_labels(index).into_iter().flat_map(|(name, value)| [name, value]) {
            labels_refs.push(*index_of.entry(text).or_insert_with_key(|text| {
                symbols.push(text.clone().into_bytes());
                symbols.len() as u32 - 1
            }));
        }
        let (value, timestamp) = sample(index);
        let samples = vec![v2::Sample { value, timestamp, start_timestamp: 0 }];
        timeseries.push(v2::TimeSeries { labels_refs, samples, ..Default::default() });
    }
    v2::Request { symbols, timeseries }.encode_to_vec()
}

fn decompression(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, body: &[u8]) {
    let mut decompressor = Decompressor::default();
    let snappy = snap::raw::Encoder::new().compress_vec(body).expect("any bytes can be compressed");
    let zstd = zstd::bulk::compress(body, 1).expect("any bytes can be compressed");
    for (encoding, compressed) in [(Encoding::Snappy, snappy), (Encoding::Zstd, zstd)] {
        let label = format!("{name} {encoding:?} {} of {} B", compressed.len() / SERIES, body.len() / SERIES);
        group.bench_function(label, |bencher| {
            bencher.iter(|| decompressor.decompress(encoding, black_box(&compressed), BYTES_MAX));
        });
    }
}

fn walking(group: &mut BenchmarkGroup<'_, WallTime>, protocol: Protocol, body: &[u8]) {
    let limits = Limits::for_decoded_bytes(BYTES_MAX);
    let mut table = WriteTable::default();
    let name = protocol.version();
    group.bench_function(format!("{name} walk"), |bencher| {
        let length = |bytes: &[u8]| LabelHash(bytes.len() as u128);
        bencher.iter(|| decode_with(protocol, black_box(body), &limits, &mut table, length));
    });
    group.bench_function(format!("{name} walk and hash"), |bencher| {
        bencher.iter(|| decode(protocol, black_box(body), &limits, &mut table));
    });
    group.bench_function(format!("{name} labels of new series"), |bencher| {
        let mut pairs = Vec::new();
        bencher.iter(|| (0..SERIES).try_for_each(|entry| table.labels_of(black_box(body), entry, &mut pairs)));
    });
}

fn decoding(criterion: &mut Criterion) {
    let (one, two) = (body_v1(), body_v2());
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(SERIES as u64));
    decompression(&mut group, "1.0", &one);
    decompression(&mut group, "2.0", &two);
    walking(&mut group, Protocol::V1, &one);
    walking(&mut group, Protocol::V2, &two);
    group.bench_function("1.0 prost", |bencher| bencher.iter(|| v1::WriteRequest::decode(black_box(&one[..]))));
    group.bench_function("2.0 prost", |bencher| bencher.iter(|| v2::Request::decode(black_box(&two[..]))));
    group.finish();
}

criterion_group!(benches, decoding);
criterion_main!(benches);
