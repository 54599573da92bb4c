//! Tables of native histograms and of their buckets: the same of head and blocks.

use super::fixture::{Fixture, request};
use crate::query::error::QueryFailure;
use crate::sql::request::{SqlFormat, SqlRequest};
use ::promql::budget::BudgetLimits;
use ::promql::engine::QueryError;
use model::histogram::{CUSTOM_BUCKETS_SCHEMA, CounterResetHint, Histogram, Span};
use model::sample::stale_marker;
use std::path::Path;
use storage::append::{Batch, HistogramRow, LabelHash};
use storage::store::{Store, StoreOptions};
use storage::wal::replay::ReplayProgress;

fn open(dir: &Path) -> Store {
    let mut options = StoreOptions::new(dir);
    options.check_interval = std::time::Duration::from_secs(3600);
    Store::open(options, &ReplayProgress::default()).unwrap()
}

/// Adds samples of a metric and job, one a second from `first_s` on.
fn append(store: &Store, [metric, job]: [&str; 2], first_s: i64, histograms: impl IntoIterator<Item = Histogram>) {
    let labels = [("__name__", metric), ("job", job)];
    let series = store.engine().create(LabelHash::of_pairs(labels, &mut Vec::new()), &labels).unwrap();
    let rows = (first_s..).zip(histograms);
    let rows = rows.map(|(at, histogram)| HistogramRow { series, timestamp_ms: at * 1000, start_ms: 0, histogram });
    let batch = Batch { histograms: rows.collect(), ..Batch::default() };
    assert_eq!(store.engine().append_wait(batch).unwrap().rejected, []);
}

fn one_side() -> Histogram {
    Histogram {
        count: 5.0,
        sum: 7.5,
        zero_count: 2.0,
        positive_spans: vec![Span { offset: 0, length: 2 }],
        positive_buckets: vec![1.0, 2.0],
        ..Histogram::default()
    }
}

/// Of the positive buckets one is listed and empty, another one left out; the zero bucket takes half of one.
fn both_sides() -> Histogram {
    Histogram {
        schema: 0,
        count: 15.0,
        sum: -3.0,
        zero_threshold: 0.75,
        zero_count: 2.0,
        positive_spans: vec![Span { offset: 0, length: 2 }, Span { offset: 1, length: 1 }],
        positive_buckets: vec![1.0, 0.0, 3.0],
        negative_spans: vec![Span { offset: 1, length: 2 }],
        negative_buckets: vec![4.0, 5.0],
        ..Histogram::default()
    }
}

fn listed_bounds() -> Histogram {
    Histogram {
        schema: CUSTOM_BUCKETS_SCHEMA,
        count: 7.0,
        sum: 11.0,
        positive_spans: vec![Span { offset: 0, length: 3 }],
        positive_buckets: vec![1.0, 2.0, 4.0],
        custom_values: [1.0, 2.5].into(),
        ..Histogram::default()
    }
}

fn fractions() -> Histogram {
    Histogram {
        counter_reset_hint: CounterResetHint::Gauge,
        schema: 3,
        count: 1.75,
        sum: 2.0,
        positive_spans: vec![Span { offset: -8, length: 2 }],
        positive_buckets: vec![0.5, 1.25],
        ..Histogram::default()
    }
}

#[tokio::test]
async fn histograms_are_rows_with_a_list_of_buckets() {
    let dir = tempfile::tempdir().unwrap();
    let stored = open(dir.path());
    append(&stored, ["latency", "a"], 1, [one_side(), one_side()]);
    let fixture = Fixture::over_engine(stored);
    let rows = "SELECT time, metric, labels, count, sum, schema, zero_count, buckets FROM histograms WHERE time > '1970-01-01T00:00:01Z'";
    let expected = "[\"1970-01-01T00:00:02.000Z\",\"latency\",{\"job\":\"a\"},5,7.5,0,2,\
                    [{\"lower\":0,\"upper\":0,\"count\":2},{\"lower\":0.5,\"upper\":1,\"count\":1},\
                    {\"lower\":1,\"upper\":2,\"count\":2}]]";
    assert_eq!(sorted_keys(&fixture.rows(rows).await), sorted_keys(expected));
    let total = "SELECT sum(b['count']) FROM (SELECT unnest(buckets) AS b FROM histograms)";
    assert_eq!(fixture.rows(total).await, "[10]");
    let text = fixture.rows("SELECT histogram FROM histograms LIMIT 1").await;
    assert!(text.contains("count:5"), "{text}");
    assert_eq!(fixture.rows("SELECT histogram IS NOT NULL, value FROM promql('latency', 2)").await, "[true,null]");
    assert_eq!(fixture.rows("SELECT count(*) FROM latency").await, "[0]");
}

/// JSON with the members of objects in order.
fn sorted_keys(json: &str) -> String {
    serde_json::from_str::<serde_json::Value>(json).unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn buckets_of_histograms_are_rows_wherever_they_are_stored() {
    let dir = tempfile::tempdir().unwrap();
    let stored = open(dir.path());
    let end = || Histogram { sum: stale_marker(), ..Histogram::default() };
    append(&stored, ["latency", "a"], 1, [one_side(), both_sides(), end()]);
    append(&stored, ["latency", "b"], 1, [listed_bounds(), listed_bounds()]);
    append(&stored, ["ratio", "a"], 1, [fractions()]);
    let fixture = Fixture::over_engine(stored.clone());
    check_buckets(&fixture).await;
    stored.flush(true).unwrap();
    assert_eq!(fixture.rows("SELECT sum(histograms) FROM blocks").await, "[6]");
    check_buckets(&fixture).await;
    append(&stored, ["latency", "a"], 4, [both_sides()]);
    let count = "SELECT count(*), sum(count) FROM hist_buckets WHERE labels['job'] = 'a' AND metric = 'latency'";
    assert_eq!(fixture.rows(count).await, "[13,35]");
}

async fn check_buckets(fixture: &Fixture) {
    let columns = "time metric labels fingerprint schema negative bucket lower upper count";
    assert_eq!(fixture.columns("SELECT * FROM hist_buckets LIMIT 0").await, columns);
    let shown = async |condition: &str| {
        let columns = "schema, negative, bucket, round(lower, 6), round(upper, 6), count";
        fixture.rows(&format!("SELECT {columns} FROM hist_buckets WHERE {condition} ORDER BY lower")).await
    };
    let both_sides = "[0,true,2,-4,-2,5] [0,true,1,-2,-1,4] [0,false,null,-0.75,0.75,2] [0,false,0,0.75,1,1] \
                      [0,false,3,4,8,3]";
    assert_eq!(shown("labels['job'] = 'a' AND time = '1970-01-01T00:00:02Z'").await, both_sides);
    let listed_bounds = "[-53,false,0,\"-Inf\",1,1] [-53,false,1,1,2.5,2] [-53,false,2,2.5,\"+Inf\",4]";
    assert_eq!(shown("labels['job'] = 'b' AND time < '1970-01-01T00:00:02Z'").await, listed_bounds);
    let fractions = "[3,false,-8,0.458502,0.5,0.5] [3,false,-7,0.5,0.545254,1.25]";
    assert_eq!(shown("metric = 'ratio'").await, fractions);

    // The end of a series is no sample and has no buckets.
    let counts = "SELECT count(*) FROM histograms h LEFT JOIN \
                  (SELECT fingerprint, time, sum(count) AS n FROM hist_buckets GROUP BY fingerprint, time) b \
                  ON b.fingerprint = h.fingerprint AND b.time = h.time WHERE h.count = b.n";
    assert_eq!(fixture.rows(counts).await, "[5]");
    assert_eq!(fixture.rows("SELECT count(*) FROM histograms").await, "[5]");
    let listed = "SELECT fingerprint, time, b['lower'], b['upper'], b['count'] \
                  FROM (SELECT fingerprint, time, unnest(buckets) AS b FROM histograms) \
                  WHERE b['count'] <> 0 ORDER BY fingerprint, time, b['lower']";
    let rows = "SELECT fingerprint, time, lower, upper, count FROM hist_buckets ORDER BY fingerprint, time, lower";
    assert_eq!(fixture.rows(rows).await, fixture.rows(listed).await);
    let counted = "SELECT value FROM promql('sum(histogram_count(latency))', 2)";
    let summed = "SELECT sum(count) FROM hist_buckets WHERE metric = 'latency' AND time = '1970-01-01T00:00:02Z'";
    assert_eq!(fixture.rows(summed).await, fixture.rows(counted).await);
}

#[tokio::test]
async fn the_end_of_a_series_of_histograms_is_a_row_when_it_is_included() {
    let dir = tempfile::tempdir().unwrap();
    let stored = open(dir.path());
    let end = Histogram { sum: stale_marker(), ..Histogram::default() };
    append(&stored, ["latency", "a"], 1, [one_side(), end, one_side()]);
    let fixture = Fixture::over_engine(stored);
    let lines = async |text: &str| {
        let asked = SqlRequest { include_stale: true, format: SqlFormat::Csv, ..request(text) };
        let answer = String::from_utf8(fixture.answer(asked).await.unwrap()).unwrap();
        answer.lines().skip(1).collect::<Vec<_>>().join(" ")
    };
    let totals = "SELECT count, sum, schema, zero_threshold, zero_count, histogram IS NULL, array_length(buckets), \
                  labels['job'] FROM histograms ORDER BY time";
    assert_eq!(lines(totals).await, "5,7.5,0,0,2,false,3,a ,,,,,true,,a 5,7.5,0,0,2,false,3,a");
    assert_eq!(lines("SELECT count(*), count(count), count(buckets) FROM histograms").await, "3,2,2");
    assert_eq!(lines("SELECT count(*), count(count) FROM hist_buckets").await, "6,6");
}

#[tokio::test]
async fn conditions_on_buckets_reach_the_scan_and_their_order_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let stored = open(dir.path());
    append(&stored, ["latency", "a"], 1, [one_side(), one_side()]);
    append(&stored, ["latency", "b"], 1, [one_side()]);
    let fixture = Fixture::over_engine(stored);
    for table in ["histograms", "hist_buckets"] {
        let plan = async |text: &str| fixture.plan(&format!("EXPLAIN FORMAT INDENT {text}")).await;
        let text = format!(
            "SELECT count FROM {table} \
             WHERE metric = 'latency' AND labels['job'] = 'a' AND time > '1970-01-01T00:00:01Z'"
        );
        let selected = plan(&text).await;
        let scan = "StoreScan: latency{job=\"a\"}, time=[1970-01-01T00:00:01.001Z, ..], series=1, columns=[count]";
        assert!(selected.contains(scan) && !selected.contains("FilterExec"), "{table}: {selected}");
        let text =
            format!("SELECT count - lag(count) OVER (PARTITION BY fingerprint ORDER BY time) AS rise FROM {table}");
        let sorted = plan(&text).await;
        assert!(!sorted.contains("SortExec"), "{table}: {sorted}");
    }
    let rises = "SELECT sum(rise) FROM (SELECT sum - lag(sum) OVER (PARTITION BY fingerprint ORDER BY time) AS rise \
                 FROM histograms)";
    assert_eq!(fixture.rows(rises).await, "[0]");
}

/// Batches are cut inside a series, and what is read of one is charged.
#[tokio::test]
async fn long_series_of_histograms_arrive_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let stored = open(dir.path());
    append(&stored, ["latency", "a"], 1, (0..6000).map(|_| one_side()));
    append(&stored, ["latency", "b"], 1, (0..3000).map(|_| both_sides()));
    let within = |bytes_max, series_max| {
        let limits = BudgetLimits { bytes_max, series_max, ..BudgetLimits::default() };
        Fixture::over_engine_within(stored.clone(), limits)
    };
    let fixture = within(16 << 20, 2);
    let counted = "SELECT labels['job'], count(*), sum(count) FROM hist_buckets GROUP BY 1 ORDER BY 1";
    assert_eq!(fixture.rows(counted).await, r#"["a",18000,30000] ["b",15000,45000]"#);
    let counted = "SELECT labels['job'], count(*), sum(count) FROM histograms GROUP BY 1 ORDER BY 1";
    assert_eq!(fixture.rows(counted).await, r#"["a",6000,30000] ["b",3000,45000]"#);
    assert_eq!(fixture.rows("SELECT count(*) FROM (SELECT count FROM hist_buckets LIMIT 8193)").await, "[8193]");
    for table in ["histograms", "hist_buckets"] {
        let text = format!("SELECT count(*) FROM {table}");
        let failure = within(512 << 10, 2).failure(&text).await;
        let too_much = QueryError::TooManyBytes { bytes_max: 512 << 10 };
        assert!(matches!(&failure, QueryFailure::Evaluation(error) if *error == too_much), "{table}: {failure}");
        let failure = within(16 << 20, 1).failure(&text).await;
        assert!(failure.to_string().contains("1 series"), "{table}: {failure}");
    }
}
