//! What a hundred thousand firing alerts cost: to make them durable, and to have them back after a restart.
#![allow(missing_docs, reason = "criterion's macro makes a public function")]
#![allow(clippy::unwrap_used, reason = "a bench that fails has nothing to measure")]

use alert_journal::journal::{Journal, Writer};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use model::labels::Labels;
use model::time::Timestamp;
use ruler::alert_instance::{AlertInstance, AlertState};
use ruler::state::shape::{GroupShape, RuleShape};
use ruler::state::{Change, Departure, GroupId, RuleId};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use storage::disk::RealDisk;

const ALERTS: usize = 100_000;
const TARGET: &str = "http://am:9093/api/v2/alerts";

fn open(directory: &Path) -> (Journal, Writer) {
    let (journal, writer, _) = Journal::open(Arc::new(RealDisk), directory, || Timestamp(0));
    journal.set_targets(&[TARGET.to_owned()].into());
    (journal, writer)
}

fn change(id: usize) -> Change {
    let at = Timestamp(1);
    let mut instance = AlertInstance::new(at, 1.0, Arc::from([(Arc::from("summary"), Arc::from("Down."))]));
    instance.state = AlertState::Firing { fired_at: at, keep_firing_since: None };
    instance.last_sent_at = Some(at);
    let labels = Labels::from_pairs([("alertname", "A"), ("id", &id.to_string())]).unwrap();
    Change { labels, instance: Some(instance), leaves_until: Some(Timestamp(240_001)) }
}

fn departure(rule: &Arc<RuleId>) -> Departure {
    let at = Timestamp(1);
    let changes = (0..ALERTS).map(change).collect();
    Departure { rule: rule.clone(), expr: "up == 0".into(), slot: at, last_good: Some(at), changes }
}

fn restart(criterion: &mut Criterion) {
    let group = Arc::new(GroupId { file: "r.yml".into(), name: "g".into() });
    let rule = Arc::new(RuleId { group: group.clone(), name: "A".into(), labels: [].into(), nth: 0 });
    let departure = departure(&rule);
    let rules = vec![RuleShape { id: rule, is_alerting: true, digest: 1 }];
    let shape = GroupShape { id: group, interval_ms: 60_000, query_offset_ms: 0, rules };
    let mut benches = criterion.benchmark_group("journal of 100,000 alerts");
    benches.throughput(Throughput::Elements(ALERTS as u64)).sample_size(10);
    benches.bench_function("commit and sync", |bencher| {
        let setup = || {
            let directory = tempfile::tempdir().unwrap();
            let journal = open(directory.path());
            (directory, journal)
        };
        let commit = |(directory, (journal, mut writer)): (tempfile::TempDir, (Journal, Writer))| {
            let commit = journal.commit(&departure);
            writer.turn(Duration::ZERO);
            (commit, directory)
        };
        bencher.iter_batched(setup, commit, BatchSize::PerIteration);
    });
    let directory = tempfile::tempdir().unwrap();
    let (journal, mut writer) = open(directory.path());
    drop(journal.commit(&departure));
    writer.turn(Duration::ZERO);
    drop((journal, writer));
    benches.bench_function("open, begin a segment, hand to the group", |bencher| {
        bencher.iter(|| {
            let (journal, writer) = open(directory.path());
            let memory = journal.begin(shape.clone());
            assert_eq!(memory.rules.values().map(|rule| rule.alerts.len()).sum::<usize>(), ALERTS);
            writer
        });
    });
    benches.finish();
}

criterion_group!(benches, restart);
criterion_main!(benches);
