use crate::query::testing::MemoryStore;
use crate::sql::tests::fixture::Fixture;

/// Series of three jobs, of which one has no zone, with gaps, stale markers and values that are no numbers.
fn store() -> MemoryStore {
    let mut store = MemoryStore::default();
    for series in 0..400i64 {
        let (job, instance, zone) = (format!("j{}", series % 3), format!("i{series}"), format!("z{}", series % 2));
        let mut labels = vec![("__name__", "m"), ("instance", &*instance), ("job", &*job)];
        if series % 3 > 0 {
            labels.push(("zone", &*zone));
        }
        let value = |at: i64| match (series + at) % 17 {
            0 => model::sample::stale_marker(),
            1 => f64::NAN,
            n => n as f64 / 8.0,
        };
        store.add(&labels, (0..60).filter(|at| (at + series) % 5 > 0).map(|at| (at * 15_000, value(at))));
    }
    store
}

#[tokio::test]
async fn groups_by_runs_are_those_that_texts_make() {
    let fixture = Fixture::over(store());
    for (keys, texts) in [
        ("job", "CAST(job AS VARCHAR)"),
        ("zone", "CAST(zone AS VARCHAR)"),
        ("zone, job", "CAST(zone AS VARCHAR), CAST(job AS VARCHAR)"),
        ("instance", "CAST(instance AS VARCHAR)"),
        ("job, date_bin(INTERVAL '5 minutes', time)", "CAST(job AS VARCHAR), date_bin(INTERVAL '5 minutes', time)"),
        ("date_bin(INTERVAL '2 minutes', time), zone", "date_bin(INTERVAL '2 minutes', time), CAST(zone AS VARCHAR)"),
    ] {
        let statement = |keys: &str| {
            let order =
                (1..=keys.matches(", ").count().min(1) + 1).map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
            format!(
                "SELECT {keys}, count(*), count(value), sum(value), min(value), max(value), avg(value) \
                 FROM m WHERE NOT isnan(value) GROUP BY {keys} ORDER BY {order}"
            )
        };
        let expected = fixture.rows(&statement(texts)).await;
        assert!(expected.len() > 60, "{expected}");
        assert_eq!(fixture.rows(&statement(keys)).await, expected, "{keys}");
    }
    let plan = fixture.plan("EXPLAIN FORMAT INDENT SELECT job, max(value) FROM m GROUP BY job").await;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    assert!(cores == 1 || plan.contains("RunAggregate: gby=[job@"), "{plan}");
}

#[tokio::test]
async fn groups_that_are_too_many_are_refused() {
    let limits = promql::budget::BudgetLimits { bytes_max: 200_000, ..promql::budget::BudgetLimits::default() };
    let fixture = Fixture::with_limits(store(), limits, std::time::Duration::from_secs(60));
    let failure = fixture.failure("SELECT instance, time, max(value) FROM m GROUP BY 1, 2").await;
    assert!(failure.to_string().contains("bytes"), "{failure}");
}
