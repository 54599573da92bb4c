use super::fixture::{Fixture, request};
use crate::query::error::{FailureKind, QueryFailure};
use crate::query::testing::MemoryStore;
use ::promql::budget::BudgetLimits;
use ::promql::engine::QueryError;
use futures::StreamExt;
use std::time::{Duration, Instant};

fn wide(series: usize, samples: i64) -> MemoryStore {
    let mut store = MemoryStore::default();
    for i in 0..series {
        store.add(&[("__name__", "m"), ("i", &i.to_string())], (0..samples).map(|t| (t * 1000, t as f64)));
    }
    store
}

#[tokio::test]
async fn series_and_bytes_are_bounded() {
    let limits = BudgetLimits { series_max: 100, bytes_max: 16 << 20, ..BudgetLimits::default() };
    let fixture = Fixture::with_limits(wide(101, 10), limits, Duration::from_secs(60));
    let failure = fixture.failure("SELECT count(*) FROM m").await;
    assert!(failure.to_string().contains("100 series"), "{failure}");
    let failure = fixture.failure("SELECT count(*) FROM m a JOIN m b USING (i) WHERE a.i <> '1' AND b.i <> '2'").await;
    assert!(failure.to_string().contains("100 series"), "{failure}");
    assert_eq!(fixture.rows("SELECT count(*) FROM m WHERE i <> '7'").await, "[1000]");

    let fixture = Fixture::with_limits(wide(50, 20_000), limits, Duration::from_secs(60));
    // A million rows pass, but cannot be held. Groups in the order of the rows need not be.
    assert_eq!(fixture.rows("SELECT count(*), max(value) FROM m").await, "[1000000,19999]");
    let groups = "SELECT max(c) FROM (SELECT i, time, value, count(*) AS c FROM m GROUP BY i, time, value)";
    assert_eq!(fixture.rows(groups).await, "[1]");
    for text in [
        "SELECT max(n) FROM (SELECT i, row_number() OVER (ORDER BY value, time) AS n FROM m)",
        "SELECT time, value, i FROM m ORDER BY value, time",
        "SELECT max(c) FROM (SELECT value * 1000 + CAST(i AS DOUBLE) AS g, count(*) AS c FROM m GROUP BY g)",
    ] {
        let failure = fixture.failure(text).await;
        let too_much = QueryFailure::Evaluation(QueryError::TooManyBytes { bytes_max: 16 << 20 });
        assert_eq!(failure, too_much, "{text}");
    }
    assert_eq!(fixture.queries.active().len(), 0);
}

#[tokio::test]
async fn a_long_answer_is_sent_while_it_is_computed() {
    let limits = BudgetLimits { bytes_max: 16 << 20, ..BudgetLimits::default() };
    let fixture = Fixture::with_limits(wide(50, 20_000), limits, Duration::from_secs(60));
    let mut body = fixture.sql.run(request("SELECT * FROM m")).await.unwrap().body;
    let (mut bytes, mut pieces) = (0, 0);
    while let Some(piece) = body.next().await {
        bytes += piece.unwrap().len();
        pieces += 1;
    }
    assert!(bytes > 50_000_000 && pieces > 50, "{bytes} bytes in {pieces} pieces");
}

#[tokio::test]
async fn who_goes_away_stops_the_query() {
    let fixture = Fixture::over(MemoryStore::slow());
    let running = tokio::spawn({
        let sql = fixture.sql.clone();
        async move { sql.run(request("SELECT sum(value) FROM slow")).await.map(|_| ()) }
    });
    while fixture.reads.count() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let listed: Vec<_> = fixture.queries.active().list().into_iter().map(|view| (view.query, view.state)).collect();
    assert_eq!(listed, [("SELECT sum(value) FROM slow".to_owned(), "evaluating")]);
    running.abort();
    ended(&fixture).await;
}

#[tokio::test]
async fn an_operator_can_stop_a_query() {
    let fixture = Fixture::over(MemoryStore::slow());
    let sql = fixture.sql.clone();
    let running = tokio::spawn(async move { sql.run(request("SELECT sum(value) FROM slow")).await.map(|_| ()) });
    while fixture.reads.count() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let id = fixture.queries.active().list()[0].id;
    assert!(fixture.queries.active().cancel(id));
    let failure = running.await.unwrap().unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Canceled, "{failure}");
    ended(&fixture).await;
}

#[tokio::test]
async fn a_query_ends_at_its_deadline() {
    let fixture = Fixture::over(MemoryStore::slow());
    let started = Instant::now();
    let request = crate::sql::request::SqlRequest {
        timeout: Some(Duration::from_millis(200)),
        ..request("SELECT sum(value) FROM slow")
    };
    let failure = fixture.answer(request).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Timeout, "{failure}");
    assert!(started.elapsed() < Duration::from_secs(5));
    ended(&fixture).await;
}

/// Nothing of the query is left, and soon.
async fn ended(fixture: &Fixture) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !fixture.queries.active().is_empty() {
        assert!(Instant::now() < deadline, "the query still runs");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let read = fixture.reads.count();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(fixture.reads.count(), read);
}
