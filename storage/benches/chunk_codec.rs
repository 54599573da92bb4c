//! The chunk codec by kind of series: nanoseconds and bytes per sample.
#![allow(missing_docs, clippy::print_stdout)]

mod fleet;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use storage::chunk::bits::BitBuffer;
use storage::chunk::decode::{Decoded, Times};
use storage::chunk::value::{ValueState, encode, encode_first};

const SAMPLES: usize = 120;
/// A series of each kind of the fleet, with its name.
const KINDS: [(&str, usize); 9] = [
    ("integer counter", 5),
    ("slow counter", 15),
    ("byte counter", 28),
    ("cpu seconds", 35),
    ("3-decimal gauge", 42),
    ("15-digit ratio", 47),
    ("memory gauge", 51),
    ("constant", 60),
    ("histogram bucket", 80),
];

fn values(series: usize) -> Vec<u64> {
    (0..SAMPLES).map(|tick| fleet::value(series, tick).to_bits()).collect()
}

fn encoded(values: &[u64]) -> Vec<u8> {
    let mut state = ValueState::default();
    let mut buffer = BitBuffer::default();
    let mut last = None;
    for &bits in values {
        let code = match last {
            None => encode_first(&mut state, None, bits),
            Some(last) => encode(&mut state, last, bits),
        };
        buffer.push(code);
        last = Some(bits);
    }
    buffer.finish()
}

fn codec(criterion: &mut Criterion<fleet::cpu_time::CpuTime>) {
    let times: Vec<i64> = (0..SAMPLES as i64).map(|i| i * 15_000).collect();
    let mut group = criterion.benchmark_group("chunk");
    group.throughput(Throughput::Elements(SAMPLES as u64));
    group.sample_size(20).warm_up_time(std::time::Duration::from_millis(200));
    group.measurement_time(std::time::Duration::from_millis(500));
    for (name, series) in KINDS {
        let values = values(series);
        let bytes = encoded(&values);
        println!("{name}: {:.2} bytes per sample", bytes.len() as f64 / SAMPLES as f64);
        group.bench_function(format!("encode/{name}"), |bencher| bencher.iter(|| encoded(black_box(&values))));
        let mut decoded = Decoded::default();
        group.bench_function(format!("decode/{name}"), |bencher| {
            bencher.iter(|| decoded.decode(black_box(&bytes), SAMPLES, Times::Shared(&times)));
        });
    }
    group.finish();
}

fn mix(criterion: &mut Criterion<fleet::cpu_time::CpuTime>) {
    let chunks: Vec<Vec<u8>> = (0..1_000).map(|series| encoded(&values(series * 7))).collect();
    let total: usize = chunks.iter().map(Vec::len).sum();
    println!("fleet mix: {:.3} bytes per sample", total as f64 / (chunks.len() * SAMPLES) as f64);
    let times: Vec<i64> = (0..SAMPLES as i64).map(|i| i * 15_000).collect();
    let mut group = criterion.benchmark_group("chunk");
    group.throughput(Throughput::Elements((chunks.len() * SAMPLES) as u64));
    group.sample_size(20).warm_up_time(std::time::Duration::from_millis(200));
    group.measurement_time(std::time::Duration::from_secs(1));
    let mut decoded = Decoded::default();
    group.bench_function("decode/fleet mix", |bencher| {
        bencher.iter(|| {
            chunks.iter().for_each(|chunk| decoded.decode(chunk, SAMPLES, Times::Shared(&times)).expect("ours"));
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(fleet::cpu_time::CpuTime);
    targets = codec, mix
}
criterion_main!(benches);
