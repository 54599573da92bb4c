mod planning;

use super::fixture::{Fixture, request};
use crate::query::error::FailureKind;
use crate::query::testing::MemoryStore;
use ::promql::budget::BudgetLimits;
use std::time::{Duration, Instant};

#[tokio::test]
async fn nothing_outside_the_store_is_reachable() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("out.csv");
    let target = target.display();
    let fixture = Fixture::new();
    for text in [
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM \"/etc/passwd\"",
        "SELECT * FROM 'file:///etc/passwd'",
        "SELECT * FROM \"file:///etc/hosts\"",
        "SELECT * FROM 's3://bucket/x.parquet'",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_parquet('/etc/passwd')",
        "SELECT * FROM parquet_metadata('/etc/passwd')",
        "SELECT read_file('/etc/passwd')",
        "SELECT load_extension('x')",
        &format!("COPY (SELECT 1) TO '{target}'"),
        &format!("COPY up TO '{target}' STORED AS CSV"),
        &format!("EXPLAIN ANALYZE COPY (SELECT 1) TO '{target}'"),
        "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'",
        "CREATE TABLE x AS SELECT 1",
        "CREATE VIEW v AS SELECT 1",
        "CREATE FUNCTION f() RETURNS INT RETURN 1",
        "CREATE DATABASE d",
        "CREATE SCHEMA s",
        "DROP TABLE up",
        "INSERT INTO up SELECT * FROM up",
        "INSERT INTO samples VALUES (now(), 'x', 1, NULL, 1)",
        "WITH x AS (SELECT 1) INSERT INTO up SELECT * FROM x",
        "SELECT 1 INTO x",
        "UPDATE up SET value = 1",
        "DELETE FROM up",
        "TRUNCATE TABLE up",
        "SET datafusion.execution.batch_size = 1",
        "SET datafusion.runtime.memory_limit = '100G'",
        "RESET datafusion.execution.batch_size",
        "PREPARE p AS SELECT 1",
        "EXECUTE p",
        "SELECT 1; DROP TABLE up",
        "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT count(*) FROM r",
        "SELECT repeat('x', 1000000000)",
        "SELECT lpad('x', 1000000000)",
        "SELECT array_repeat(1, 1000000000)",
        "SELECT array_resize([1], 1000000000)",
        "SELECT range(0, 1000000000)",
        "SHOW CREATE TABLE up; SELECT 1",
    ] {
        let failure = fixture.failure(text).await;
        assert_eq!(failure.kind(), FailureKind::BadQuery, "{text}: {failure}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    // Settings can be looked at, and say nothing about the machine but its number of cores.
    let settings = fixture.rows("SHOW ALL").await;
    assert!(!settings.contains("/tmp") && !settings.contains(env!("CARGO_MANIFEST_DIR")), "{settings}");
}

#[tokio::test]
async fn errors_say_where() {
    let fixture = Fixture::new();
    let failure = fixture.failure("SELECT *\nFROM up WHER job = 'a'").await.to_string();
    assert!(failure.contains("Line: 2"), "{failure}");
    let failure = fixture.failure("SELECT value,\n  nothing FROM up").await.to_string();
    assert!(failure.contains("nothing") && failure.contains("line 2, column 3"), "{failure}");
    let failure = fixture.failure("SELECT * FROM up JOIN down USING (job)").await.to_string();
    assert!(failure.contains("'down' not found"), "{failure}");
    assert_eq!(fixture.failure("SELECT 1 / 0").await.kind(), FailureKind::Execution);
    assert_eq!(fixture.failure("SELECT CAST('x' AS INT)").await.kind(), FailureKind::Execution);
}

#[tokio::test]
async fn regular_expressions_that_cannot_be_used_are_faults_of_the_statement() {
    let fixture = Fixture::new();
    for (pattern, told) in
        [("((a|b|ab)*){1000}{1000}", "too big"), ("[[:alpha:]]{5000}{5000}", "too big"), ("(", "unclosed group")]
    {
        for operator in ["~", "!~", "~*"] {
            let failure = fixture.failure(&format!("SELECT * FROM up WHERE job {operator} '{pattern}'")).await;
            let shown: String = pattern.chars().take(20).collect();
            assert_eq!(failure.kind(), FailureKind::BadQuery, "{operator} {shown}: {failure}");
            let failure = failure.to_string();
            assert!(failure.contains(told) && !failure.contains("bug"), "{operator} {shown}: {failure}");
        }
    }
}

#[tokio::test]
async fn deep_and_long_texts_end_with_an_answer() {
    let fixture = Fixture::new();
    let nested =
        |open: &str, close: &str, count: usize| format!("SELECT {}1{}", open.repeat(count), close.repeat(count));
    for text in [
        nested("(", ")", 10_000),
        nested("NOT ", "", 10_000),
        nested("- ", "", 10_000),
        nested("abs(", ")", 10_000),
        nested("[", "]", 10_000),
        nested("CASE WHEN true THEN ", " END", 10_000),
        nested("CAST(", " AS INT)", 10_000),
        format!("SELECT {}1", "1 + ".repeat(100_000)),
        format!("{}SELECT 1", "SELECT 1 UNION ALL ".repeat(10_000)),
        format!("SELECT * FROM {}up{}", "(SELECT * FROM ".repeat(10_000), ")".repeat(10_000)),
        format!("SELECT * FROM up {}", "JOIN up USING (job) ".repeat(5_000)),
        format!("SELECT [{}]", "1,".repeat(50_000)),
        format!("SELECT '{}'", "x".repeat(1 << 20)),
    ] {
        let shown: String = text.chars().take(40).collect();
        assert_eq!(fixture.failure(&text).await.kind(), FailureKind::BadQuery, "{shown}");
    }
}

/// What is just within the bounds works, soon and without a deep stack.
#[tokio::test]
async fn the_longest_chains_are_answered() {
    let fixture = Fixture::new();
    let sum = format!("SELECT 1{}", " + 1".repeat(1_900));
    assert_eq!(fixture.rows(&sum).await, "[1901]");
    let or = format!("SELECT count(*) FROM up WHERE value = 5{}", " OR value = 1".repeat(900));
    assert_eq!(fixture.rows(&or).await, "[42]");
    let list: Vec<String> = (0..5_000).map(|i| format!("'v{i}'")).collect();
    let list = format!("SELECT count(*) FROM up WHERE job IN ('a', {})", list.join(", "));
    assert_eq!(fixture.rows(&list).await, "[41]");
}

/// Lists of many lists of many numbers, in many rows.
fn of_lists(open: &str, close: &str) -> String {
    format!("SELECT {open}{}w{close} FROM ({})", "w, ".repeat(399), of_lists_once(open, close))
}

fn of_lists_once(open: &str, close: &str) -> String {
    format!("SELECT {open}{}value{close} AS w FROM generate_series(1, 8192)", "value, ".repeat(399))
}

#[tokio::test]
async fn functions_do_not_blow_up_texts() {
    let fixture = Fixture::new();
    let long = "a".repeat(50_000);
    for text in [
        format!("SELECT replace('{long}', 'a', '{long}')"),
        format!("SELECT regexp_replace('{long}', 'a', '{long}', 'g')"),
        format!("SELECT concat_ws('{long}', {}'x')", "'x', ".repeat(20_000)),
        of_lists("[", "]"),
        of_lists("ARRAY[", "]"),
        of_lists("make_array(", ")"),
        format!("SELECT w {} FROM ({})", "|| w ".repeat(200), of_lists_once("[", "]")),
    ] {
        let shown: String = text.chars().take(40).collect();
        let failure = fixture.failure(&text).await;
        assert!(failure.to_string().contains("could be larger"), "{shown}: {failure}");
    }
    assert_eq!(
        fixture.rows("SELECT replace('a-b', '-', '_'), regexp_replace('x:9090', ':[0-9]+$', '')").await,
        r#"["a_b","x"]"#
    );
}

#[tokio::test]
async fn joins_of_much_with_much_stop_at_the_deadline() {
    let limits = BudgetLimits { bytes_max: 256 << 20, ..BudgetLimits::default() };
    let fixture = Fixture::with_limits(MemoryStore::default(), limits, Duration::from_millis(500));
    for text in [
        "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b",
        "SELECT count(*) FROM generate_series(1, 1000000) a(x) JOIN generate_series(1, 1000000) b(x) ON a.x < b.x + sin(a.x)",
        "SELECT sum(value) FROM generate_series(1, 1000000000000)",
    ] {
        let started = Instant::now();
        let failure = fixture.failure(text).await;
        assert!(matches!(failure.kind(), FailureKind::Timeout | FailureKind::Execution), "{text}: {failure}");
        assert!(started.elapsed() < Duration::from_secs(3), "{text}: {:?}", started.elapsed());
    }
    // The threads are free again.
    let deadline = Instant::now() + Duration::from_secs(20);
    while !fixture.queries.active().is_empty() {
        assert!(Instant::now() < deadline, "a query still runs");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(fixture.answer(request("SELECT 1")).await.is_ok());
}
