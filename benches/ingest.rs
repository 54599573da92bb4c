//! CPU that one sample costs on its way through the door, storage included: `cargo bench --bench ingest`.
//!
//! 100,000 series of 10 labels and about 290 bytes, 2,000 to a request, every series once per round, four requests in work
//! at a time. CPU time of the whole process, not wall time, because the machine is shared and the disk is waited for.
//! `door` has a store that finds series in the engine and throws the rows away; `engine` stores them, durably.
#![allow(clippy::print_stdout, reason = "a benchmark reports")]

use hearth::cluster::ring::{NodeId, Ring};
use hearth::ingest::appender::Done;
use hearth::ingest::{AppendError, Appender, Ingest, IngestOptions, WriteRequest};
use hearth::runtime::cpu::CpuPool;
use hearth::wire::Protocol;
use hearth::wire::compression::Encoding;
use hearth::wire::prost_types::v1;
use model::metadata::Metadata;
use model::tenant::TenantId;
use prost::Message;
use std::sync::Arc;
use storage::append::{AppendOutcome, Batch, LabelHash, SeriesRef};
use storage::engine::{Engine, Options};

const SERIES: usize = 100_000;
const SERIES_PER_REQUEST: usize = 2_000;
const ROUNDS: i64 = 20;
const START_MS: i64 = 1_795_132_800_000;

/// Finds series in an engine and throws rows away.
struct NoRows(Engine);

impl Appender for NoRows {
    fn pin(&self) -> Option<storage::append::Pin> {
        None
    }

    fn lookup(&self, hashes: &[LabelHash], out: &mut [Option<SeriesRef>]) {
        self.0.lookup(hashes, out);
    }

    fn create(&self, hash: LabelHash, labels: &[(&str, &str)]) -> Result<SeriesRef, AppendError> {
        Ok(self.0.create(hash, labels)?)
    }

    fn append(&self, batch: Batch, done: Done<AppendOutcome>) {
        done(Ok(AppendOutcome { written: batch.rows.len() as u64, ..AppendOutcome::default() }));
    }

    fn put_metadata(&self, _: Vec<(String, Metadata)>, done: Done<u64>) {
        done(Ok(0));
    }
}

fn labels(index: usize) -> Vec<v1::Label> {
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
    pairs.into_iter().map(|(name, value)| v1::Label { name: name.into(), value: value.into() }).collect()
}

/// The compressed bodies of one scrape of all series.
fn round(number: i64) -> Vec<WriteRequest> {
    let series = |index: usize| v1::TimeSeries {
        labels: labels(index),
        samples: vec![v1::Sample {
            value: (index as i64 * 37 + number * (index % 9) as i64) as f64,
            timestamp: START_MS + number * 15_000 + (index / 100) as i64 % 7,
        }],
        ..Default::default()
    };
    let request = |first: usize| {
        let timeseries = (first..first + SERIES_PER_REQUEST).map(series).collect();
        let body = v1::WriteRequest { timeseries, metadata: Vec::new() }.encode_to_vec();
        WriteRequest {
            protocol: Protocol::V1,
            encoding: Encoding::Snappy,
            body: snap::raw::Encoder::new().compress_vec(&body).expect("any bytes can be compressed").into(),
            tenant: TenantId::anonymous(),
            now_ms: START_MS + ROUNDS * 15_000,
        }
    };
    (0..SERIES).step_by(SERIES_PER_REQUEST).map(request).collect()
}

/// User and system time of the process, in nanoseconds, in steps of 10 ms.
fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let (_, after_name) = text.rsplit_once(')').expect("the name is in parentheses");
    let ticks: u64 = after_name.split_whitespace().skip(11).take(2).map(|n| n.parse::<u64>().expect("a number")).sum();
    ticks * 10_000_000
}

async fn send(ingest: &Ingest, requests: Vec<WriteRequest>) {
    let mut requests = requests.into_iter();
    loop {
        let batch: Vec<_> = requests.by_ref().take(4).collect();
        if batch.is_empty() {
            return;
        }
        let writes = batch.into_iter().map(|request| ingest.write(request, ingest.inflight().begin()));
        for report in futures::future::join_all(writes).await {
            let report = report.expect("the store takes everything");
            assert!(report.refused.is_empty() && report.retry.is_none(), "{report}");
        }
    }
}

fn measure(name: &str, store: Arc<dyn Appender>) {
    let local = NodeId::new("local");
    let cpu = CpuPool::new().expect("threads can be started");
    let ingest = Ingest::new(
        TenantId::anonymous(),
        IngestOptions::default(),
        Arc::new(Ring::of_one(local.clone())),
        local,
        store,
        cpu,
    );
    let runtime = tokio::runtime::Runtime::new().expect("threads can be started");
    runtime.block_on(async {
        let mut total_ns = 0;
        for number in 0..=ROUNDS {
            let requests = round(number);
            let before = cpu_ns();
            send(&ingest, requests).await;
            let spent_ns = cpu_ns() - before;
            if number == 0 {
                println!("{name}: {} ns of CPU per new series and its sample", spent_ns / SERIES as u64);
            } else {
                total_ns += spent_ns;
            }
        }
        println!("{name}: {} ns of CPU per sample of a known series", total_ns / (SERIES as u64 * ROUNDS as u64));
    });
}

fn main() {
    for name in ["door", "engine"] {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let engine = Engine::open(&Options::new(directory.path())).expect("an empty directory can be opened");
        let store: Arc<dyn Appender> =
            if name == "door" { Arc::new(NoRows(engine.clone())) } else { Arc::new(engine.clone()) };
        measure(name, store);
    }
}
