//! Recording rules over the past, against the real store.

use super::*;
use crate::rules::backfill::{Backfill, JobState, JobStatus};
use ruler::group::GroupSpec;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const MINUTE: i64 = 60_000;
const RULES: &str = "groups:\n- name: g\n  rules:\n  - record: total\n    expr: sum(input)\n  - alert: High\n    expr: total > 1\n  - \
                     record: total:max\n    expr: max_over_time(total[10m])\n    labels: {kind: peak}\n";

fn groups(rules: &str) -> Vec<GroupSpec> {
    let file = RuleFile::parse("r.yml", rules, &ParseOptions::default()).unwrap();
    let defaults = GroupDefaults { interval_ms: MINUTE, query_offset_ms: 0 };
    file.groups.into_iter().map(|group| group.resolve("r.yml", defaults)).collect()
}

/// Two series with a sample each minute for two hours, ending now; returns the first time.
async fn feed(world: &World) -> i64 {
    let first = wall_clock().0 - 120 * MINUTE;
    for job in ["a", "b"] {
        let labels = Labels::from_pairs([("__name__", "input"), ("job", job)]).unwrap();
        let sample = |i: i64| OwnSample {
            labels: labels.clone(),
            timestamp_ms: first + i * MINUTE,
            value: SampleValue::Float((i % 7) as f64),
        };
        world.ingest.write_own(&(0..120).map(sample).collect::<Vec<_>>()).await.unwrap();
    }
    first
}

async fn finished(backfill: &Backfill, id: u64) -> JobStatus {
    let patience = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        let status = backfill.jobs().into_iter().find(|job| job.id == id).unwrap();
        if !matches!(status.state, JobState::Waiting | JobState::Running) {
            return status;
        }
        assert!(std::time::Instant::now() < patience, "{status:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn start(world: &World) -> (Backfill, TaskTracker) {
    let tasks = TaskTracker::new();
    let stop = CancellationToken::new();
    (Backfill::new(world.queries.clone(), world.ingest.clone(), tasks.clone(), stop), tasks)
}

async fn value(world: &World, query: &str, at_ms: i64) -> Vec<(Labels, f64)> {
    let request = QueryRequest {
        text: query.into(),
        tenant: TenantId::anonymous(),
        window: Window::Instant(at_ms),
        timeout: None,
        lookback_ms: None,
        source_resolution: SourceResolution::default(),
        per_step_stats: false,
        explain: false,
        no_cache: true,
    };
    let QueryValue::Vector { samples, .. } = world.queries.run(request).await.unwrap().result.value else { panic!() };
    let float = |value| match value {
        SampleValue::Float(value) => value,
        SampleValue::Histogram(_) => panic!("a histogram"),
    };
    samples.into_iter().map(|VectorSample { labels, value }| (labels, float(value))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_over_the_past_store_what_they_would_have_recorded_and_read_each_other() {
    let world = World::new();
    let first = feed(&world).await;
    let (backfill, _tasks) = start(&world);
    let range = (first + 30 * MINUTE, first + 100 * MINUTE);
    let id = backfill.begin(groups(RULES), range).unwrap().id;
    let status = finished(&backfill, id).await;
    assert_eq!((status.state, status.rules, status.progress), (JobState::Done, 2, 1.0), "{status:?}");
    assert_eq!((status.samples_written, status.samples_refused), (2 * 70, 0));
    // A later slot of the second rule sees ten of the first.
    let peak = value(&world, "total:max", first + 99 * MINUTE).await;
    assert_eq!(peak.len(), 1);
    assert_eq!(peak[0].0.get("kind"), Some("peak"));
    assert_eq!(peak[0].1, 12.0);
    assert_eq!(value(&world, "count_over_time(total[2h])", first + 119 * MINUTE).await[0].1, 70.0);
    // Once more changes nothing.
    let again = backfill.begin(groups(RULES), range).unwrap().id;
    let status = finished(&backfill, again).await;
    assert_eq!((status.state, status.samples_refused), (JobState::Done, 0), "{status:?}");
    assert_eq!(value(&world, "count_over_time(total[2h])", first + 119 * MINUTE).await[0].1, 70.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_fails_says_which_rule_and_one_can_be_stopped() {
    let world = World::new();
    let first = feed(&world).await;
    let (backfill, _tasks) = start(&world);
    let twice = "groups:\n- name: g\n  rules:\n  - record: one\n    expr: input\n    labels: {job: ''}\n";
    let id = backfill.begin(groups(twice), (first, first + 10 * MINUTE)).unwrap().id;
    let status = finished(&backfill, id).await;
    assert_eq!(status.state, JobState::Failed);
    let error = status.error.unwrap();
    assert!(
        error.contains("group \"g\"") && error.contains("rule \"one\"") && error.contains("same labelset"),
        "{error}"
    );
    // Slot by slot over a thousand years.
    let long = "groups:\n- name: g\n  rules:\n  - record: one\n    expr: one offset 1m\n";
    let id = backfill.begin(groups(long), (0, i64::MAX / 2)).unwrap().id;
    assert!(backfill.cancel(id) && !backfill.cancel(99));
    assert_eq!(finished(&backfill, id).await.state, JobState::Canceled);
}
