use super::fixture::{Fixture, request};
use crate::sql::request::{SqlFormat, SqlRequest};
use storage::append::LabelHash;
use storage::store::{Store, StoreOptions};
use storage::wal::replay::ReplayProgress;

#[tokio::test]
async fn a_metric_is_a_table_with_a_column_per_label() {
    let fixture = Fixture::new();
    assert_eq!(fixture.columns("SELECT * FROM up LIMIT 0").await, "time value instance job fingerprint");
    let up = "SELECT time, value, job FROM up WHERE time <= '1970-01-01T00:00:30Z' ORDER BY job, time";
    let expected = "[\"1970-01-01T00:00:00.000Z\",1,\"a\"] [\"1970-01-01T00:00:15.000Z\",1,\"a\"] \
                    [\"1970-01-01T00:00:30.000Z\",1,\"a\"] [\"1970-01-01T00:00:00.000Z\",0,\"b\"] \
                    [\"1970-01-01T00:00:15.000Z\",0,\"b\"] [\"1970-01-01T00:00:30.000Z\",0,\"b\"] \
                    [\"1970-01-01T00:00:00.000Z\",1,\"c\"] [\"1970-01-01T00:00:30.000Z\",2,\"c\"]";
    assert_eq!(fixture.rows(up).await, expected);
    assert_eq!(fixture.rows("SELECT count(*), avg(value) FROM metrics.up WHERE job = 'a'").await, "[41,1]");
    assert_eq!(
        fixture.rows("SELECT job, count(*) FROM up GROUP BY job ORDER BY job").await,
        r#"["a",41] ["b",41] ["c",2]"#
    );
    assert_eq!(fixture.rows("SELECT DISTINCT job FROM up WHERE instance IS NULL").await, r#"["c"]"#);
    let unknown = fixture.failure("SELECT * FROM down").await.to_string();
    assert!(unknown.contains("table 'down' not found"), "{unknown}");
}

#[tokio::test]
async fn names_that_are_no_identifiers_work_in_quotes() {
    let fixture = Fixture::new();
    assert_eq!(fixture.columns("SELECT * FROM \"Odd.Name\"").await, "time value Value label_time fingerprint");
    let rows =
        fixture.rows("SELECT \"Value\", label_time, value FROM metrics.\"Odd.Name\" WHERE \"label_time\" = 't'").await;
    assert_eq!(rows, r#"["v","t","NaN"]"#);
    assert_eq!(fixture.rows("SELECT count(*) FROM ALERTS").await, "[3]");
}

#[tokio::test]
async fn all_samples_are_one_table() {
    let fixture = Fixture::new();
    assert_eq!(fixture.columns("SELECT * FROM samples LIMIT 1").await, "time metric value labels fingerprint");
    let by_metric =
        "SELECT metric, count(*) FROM samples WHERE metric IN ('up', 'requests_total') GROUP BY 1 ORDER BY 1";
    assert_eq!(fixture.rows(by_metric).await, r#"["requests_total",82] ["up",84]"#);
    let last = "SELECT labels, value FROM samples WHERE metric = 'requests_total' AND labels['code'] = '500' \
                ORDER BY time DESC LIMIT 1";
    assert_eq!(fixture.rows(last).await, r#"[{"code":"500","job":"a"},40]"#);
    assert_eq!(fixture.rows("SELECT count(DISTINCT fingerprint) FROM samples").await, "[7]");
    assert_eq!(
        fixture
            .rows("SELECT count(*) FROM samples s JOIN up u ON s.fingerprint = u.fingerprint AND s.time = u.time")
            .await,
        "[84]"
    );
}

#[tokio::test]
async fn series_metadata_exemplars_and_blocks_are_tables() {
    let fixture = Fixture::new();
    let series = "SELECT labels['job'], type, first_time, last_time FROM series WHERE metric = 'up' ORDER BY 1 LIMIT 1";
    let expected = r#"["a","gauge","1970-01-01T00:00:00.000Z","1970-01-01T00:10:00.000Z"]"#;
    assert_eq!(fixture.rows(series).await, expected);
    assert_eq!(fixture.rows("SELECT count(*) FROM series").await, "[7]");
    let metadata = "SELECT metric, type, help FROM metadata WHERE type = 'counter'";
    assert_eq!(fixture.rows(metadata).await, r#"["requests_total","counter","How often."]"#);
    let exemplars = "SELECT time, value, exemplar_labels['trace_id'] FROM exemplars WHERE labels['code'] = '200'";
    assert_eq!(fixture.rows(exemplars).await, r#"["1970-01-01T00:00:01.500Z",0.25,"t1"]"#);
    assert_eq!(fixture.rows("SELECT level, samples, bytes FROM blocks").await, "[1,960,1234]");
    assert_eq!(fixture.rows("SELECT count(*) FROM histograms").await, "[0]");
}

#[tokio::test]
async fn alerts_are_spells() {
    let fixture = Fixture::new();
    let alerts =
        "SELECT alertname, alertstate, labels['job'], started_at, ended_at, samples FROM alerts ORDER BY started_at";
    let expected = "[\"Down\",\"firing\",\"b\",\"1970-01-01T00:01:00.000Z\",\"1970-01-01T00:01:30.000Z\",2] \
                    [\"Down\",\"firing\",\"b\",\"1970-01-01T00:07:30.000Z\",\"1970-01-01T00:07:30.000Z\",1]";
    assert_eq!(fixture.rows(alerts).await, expected);
    assert_eq!(fixture.rows("SELECT count(*) FROM alerts WHERE alertstate = 'pending'").await, "[0]");
}

#[tokio::test]
async fn tables_can_be_listed_and_described() {
    let fixture = Fixture::new();
    let tables = fixture.rows("SHOW TABLES").await;
    for name in ["\"metrics\",\"up\"", "\"metrics\",\"Odd.Name\"", "\"public\",\"samples\""] {
        assert!(tables.contains(name), "{name}: {tables}");
    }
    let columns = fixture.rows("DESCRIBE up").await;
    assert!(columns.contains("\"instance\""), "{columns}");
    let columns = fixture.rows("SHOW COLUMNS FROM up").await;
    assert!(columns.contains("\"instance\""), "{columns}");
}

#[tokio::test]
async fn the_request_bounds_time_where_the_statement_does_not() {
    let fixture = Fixture::new();
    let bounded = |text: &str| SqlRequest {
        start_ms: Some(30_000),
        end_ms: Some(60_000),
        format: SqlFormat::Csv,
        ..request(text)
    };
    let count = async |text: &str| {
        let answer = String::from_utf8(fixture.answer(bounded(text)).await.unwrap()).unwrap();
        answer.lines().nth(1).unwrap().to_owned()
    };
    assert_eq!(count("SELECT count(*) FROM up WHERE job = 'a'").await, "3");
    assert_eq!(count("SELECT count(*) FROM up WHERE job = 'a' AND time >= '1970-01-01T00:00:00Z'").await, "5");
    assert_eq!(count("SELECT count(*) FROM samples WHERE metric = 'up' AND labels['job'] = 'c'").await, "1");
}

/// The end of a series is a row without a value, and counts as one.
#[tokio::test]
async fn stale_markers_are_rows_without_a_value_when_they_are_included() {
    let fixture = Fixture::new();
    let rows = async |text: &str, include_stale| {
        let answer = fixture.answer(SqlRequest { include_stale, ..request(text) }).await.unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
        answer["data"]["rows"].to_string()
    };
    for table in ["up", "metrics.up", "samples"] {
        let named = if table == "samples" { "metric = 'up' AND labels['job']" } else { "job" };
        let text = format!("SELECT CAST(time AS BIGINT) AS ms, value FROM {table} WHERE {named} = 'c' ORDER BY ms");
        assert_eq!(rows(&text, false).await, "[[0,1],[30000,2]]", "{table}");
        assert_eq!(rows(&text, true).await, "[[0,1],[15000,null],[30000,2]]", "{table}");
        let text = format!("SELECT CAST(time AS BIGINT) FROM {table} WHERE value IS NULL");
        assert_eq!(rows(&text, false).await, "[]", "{table}");
        assert!(rows(&text, true).await.contains("[15000]"), "{table}");
    }
    let counted = "SELECT job, count(*), count(value), avg(value) FROM up WHERE job <> 'b' GROUP BY job ORDER BY job";
    assert_eq!(rows(counted, true).await, r#"[["a",41,41,1],["c",3,2,1.5]]"#);
    assert_eq!(rows("SELECT count(*), count(value) FROM \"Odd.Name\"", true).await, "[[1,1]]");
    for text in [
        "SELECT count(*), count(ended_at), sum(samples) FROM alerts",
        "SELECT count(*), max(last_time) FROM series",
        "SELECT count(*) FROM promql('up', 20)",
    ] {
        assert_eq!(rows(text, true).await, rows(text, false).await, "{text}");
    }
}

#[tokio::test]
async fn windows_see_the_previous_sample_without_a_sort() {
    let fixture = Fixture::new();
    let increase = "SELECT sum(rise) FROM (SELECT value - lag(value) OVER (PARTITION BY fingerprint ORDER BY time) AS rise \
                    FROM requests_total)";
    assert_eq!(fixture.rows(increase).await, "[640]");
    let plan = fixture.plan(&format!("EXPLAIN FORMAT INDENT {increase}")).await;
    assert!(!plan.contains("SortExec"), "{plan}");
    let plan = fixture
        .plan("EXPLAIN FORMAT INDENT SELECT code, job, time, value FROM requests_total ORDER BY code, job, time")
        .await;
    assert!(!plan.contains("SortExec"), "{plan}");
}

/// Batches are cut at 8192 rows, series are longer and shorter than that.
#[tokio::test]
async fn long_and_short_series_arrive_whole() {
    let mut store = crate::query::testing::MemoryStore::default();
    for (series, length) in [20_000, 1, 8192, 8191, 100, 0, 16_385].into_iter().enumerate() {
        let labels = [("__name__", "m"), ("i", &*series.to_string())];
        store.add(&labels, (0..length).map(|i| (i, (series * 100_000) as f64 + i as f64)));
    }
    let fixture = Fixture::over(store);
    let expected = [20_000u64, 1, 8192, 8191, 100, 0, 16_385].iter().enumerate();
    let rows = expected
        .filter(|(_, n)| **n > 0)
        .map(|(i, n)| format!("[\"{i}\",{n},{}]", (i as u64 * 100_000) * n + n * (n - 1) / 2));
    let rows: Vec<String> = rows.collect();
    assert_eq!(fixture.rows("SELECT i, count(*), sum(value) FROM m GROUP BY i ORDER BY i").await, rows.join(" "));
    assert_eq!(fixture.rows("SELECT count(*) FROM (SELECT time FROM m LIMIT 10001)").await, "[10001]");
    assert_eq!(fixture.rows("SELECT count(*) FROM m WHERE value % 2 = 1 LIMIT 3").await, "[26433]");
}

/// A table for each resolution; together its buckets hold what the samples of their time are.
#[tokio::test(flavor = "multi_thread")]
async fn buckets_of_old_samples_are_tables() {
    const MINUTE: i64 = 60_000;
    let dir = tempfile::tempdir().unwrap();
    let mut options = StoreOptions::new(dir.path());
    options.check_interval = std::time::Duration::from_secs(3600);
    let store = Store::open(options, &ReplayProgress::default()).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let base_ms = (now.as_millis() as i64 / (1440 * MINUTE) - 12) * 1440 * MINUTE;
    let labels = [("__name__", "m"), ("job", "a")];
    let series = store.engine().create(LabelHash::of_pairs(labels, &mut Vec::new()), &labels).unwrap();
    let mut rows = storage::append::Rows::default();
    for scrape in 0..3 * 720 + 30 {
        rows.push(series, base_ms + scrape * 2 * MINUTE, (scrape * 7 % 1000) as f64);
    }
    store.engine().append_wait(rows).unwrap();
    let raw_keep = std::time::Duration::from_secs(20 * 86_400);
    store.set_retention(storage::lifecycle::retention::Retention {
        tiers: Some(storage::tiers::policy::TierPolicy { raw_keep, ..Default::default() }),
        ..Default::default()
    });
    store.flush(true).unwrap();
    let labels = [("__name__", "m"), ("job", "new")];
    let series = store.engine().create(LabelHash::of_pairs(labels, &mut Vec::new()), &labels).unwrap();
    let mut rows = storage::append::Rows::default();
    rows.push(series, now.as_millis() as i64, 1.0);
    store.engine().append_wait(rows).unwrap();
    let fixture = Fixture::over_engine(store);
    let tables = fixture.rows("SHOW TABLES").await;
    assert!(tables.contains("buckets_5m") && tables.contains("buckets_1h"), "{tables}");
    for (table, length) in [("buckets_5m", "5 minutes"), ("buckets_1h", "1 hour")] {
        let of_samples = format!(
            "SELECT count(*), sum(value), min(value), max(value) FROM m \
             WHERE time > (SELECT min(time) - INTERVAL '{length}' FROM {table}) AND time <= (SELECT max(time) FROM {table})"
        );
        let of_buckets = format!(
            "SELECT sum(count), sum(sum), min(min), max(max) FROM {table} WHERE metric = 'm' AND labels['job'] = 'a'"
        );
        let expected = fixture.rows(&of_samples).await;
        assert!(!expected.starts_with("[0,"), "{expected}");
        assert_eq!(fixture.rows(&of_buckets).await, expected);
        // Series of days without such buckets are not looked at.
        let plan = fixture.plan(&format!("EXPLAIN SELECT count(*) FROM {table}")).await;
        assert!(plan.contains("series=1,"), "{plan}");
    }
    let hour = "SELECT count, first, last, CAST(last_time AS BIGINT) - CAST(first_time AS BIGINT), resets, changes, stale_end FROM buckets_1h \
                ORDER BY time LIMIT 1 OFFSET 1";
    assert_eq!(fixture.rows(hour).await, "[30,7,210,3480000,0,29,false]");
    let unknown = fixture.failure("SELECT * FROM buckets_7m").await.to_string();
    assert!(unknown.contains("not found"), "{unknown}");
}
