//! Small texts of large plans: answered or refused, soon and in little memory, and nothing goes on behind the answer.

use crate::query::error::FailureKind;
use crate::sql::tests::fixture::{Fixture, request, store};
use ::promql::budget::BudgetLimits;
use std::time::{Duration, Instant};

/// Time of one statement, its timeout included. Ample, since other tests run beside these.
const SECONDS_MAX: u64 = 90;

/// Timeout of a statement that is to be refused, which no machine is too slow for, and of one that may take its time.
const REFUSED_WITHIN: Duration = Duration::from_secs(60);
const ENDED_WITHIN: Duration = Duration::from_secs(5);

/// What the process may grow by.
const BYTES_MAX: u64 = 1 << 30;

/// Runs each text and says whether it was refused as too large to be planned.
async fn run(texts: &[(&str, String)], timeout: Duration) -> Vec<bool> {
    let limits = BudgetLimits { bytes_max: 256 << 20, ..BudgetLimits::default() };
    let mut refused = Vec::new();
    for (name, text) in texts {
        let fixture = Fixture::with_limits(store(), limits, timeout);
        let before = most_bytes();
        let started = Instant::now();
        let outcome = fixture.answer(request(text)).await;
        while !fixture.queries.active().is_empty() {
            assert!(started.elapsed() < Duration::from_secs(SECONDS_MAX), "{name} goes on");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(started.elapsed() < Duration::from_secs(SECONDS_MAX), "{name}");
        let grown = most_bytes().saturating_sub(before);
        assert!(grown < BYTES_MAX, "{name}: {grown} bytes");
        let failure = outcome.err();
        if let Some(failure) = &failure {
            let expected = [FailureKind::BadQuery, FailureKind::Execution, FailureKind::Timeout];
            assert!(expected.contains(&failure.kind()), "{name}: {failure}");
        }
        let told = failure.map(|failure| failure.to_string()).unwrap_or_default();
        refused.push(["too large to be planned", "operators", "parts"].iter().any(|reason| told.contains(reason)));
    }
    refused
}

/// All are refused, and told why.
async fn refused(texts: &[(&str, String)]) {
    let outcomes = run(texts, REFUSED_WITHIN).await;
    for ((name, _), refused) in texts.iter().zip(outcomes) {
        assert!(refused, "{name} is not refused");
    }
}

/// The most memory that this process had so far.
fn most_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// `count` queries of which each reads the one before.
fn chain(count: usize, body: impl Fn(&str) -> String, end: &str) -> String {
    let queries = (1..count).map(|i| format!(", c{i} AS ({})", body(&format!("c{}", i - 1))));
    let queries = queries.collect::<String>();
    format!("WITH c0 AS (SELECT time, value FROM up){queries} SELECT * FROM c{} {end}", count - 1)
}

fn twice(read: &str) -> String {
    format!("SELECT x.time, x.value FROM {read} x UNION ALL SELECT y.time, y.value FROM {read} y")
}

fn join(read: &str) -> String {
    format!("SELECT a.time, a.value FROM {read} a JOIN {read} b ON a.time = b.time")
}

fn sum(read: &str) -> String {
    format!("SELECT time, value + value AS value FROM {read}")
}

fn list(count: usize, item: impl Fn(usize) -> String) -> String {
    (0..count).map(item).collect::<Vec<_>>().join(",")
}

fn cube(columns: usize) -> String {
    format!("SELECT count(*) FROM up GROUP BY CUBE({})", list(columns, |i| format!("time + INTERVAL '{i} second'")))
}

fn around(open: &str, close: &str, count: usize) -> String {
    format!("SELECT {}value{} FROM up", open.repeat(count), close.repeat(count))
}

#[tokio::test]
async fn what_would_become_too_large_is_refused() {
    refused(&[
        ("queries that are read twice", chain(40, twice, "")),
        ("queries that are joined with themselves", chain(40, join, "")),
        ("the same, explained", format!("EXPLAIN {}", chain(40, twice, ""))),
        (
            "subqueries in subqueries",
            chain(40, |read| format!("SELECT * FROM {read} WHERE value IN (SELECT value FROM {read})"), ""),
        ),
        ("a cube of 24", cube(24)),
        ("a long OR", format!("SELECT * FROM up WHERE value = 1{}", " OR value = 2".repeat(10_000))),
        ("coalesce", around("coalesce(", ", 1)", 39)),
        ("nvl", around("nvl(", ", 1)", 39)),
        ("between", around("", " BETWEEN false AND true", 60)),
        ("short lists", around("", " IN (true, false)", 1_900)),
        ("like", around("", " LIKE 'a'", 10_000)),
        ("subscripts", around("", "[1]", 10_000)),
        ("a long UNION", format!("{}SELECT 1", "SELECT 1 UNION ALL ".repeat(1_000))),
        ("many columns", format!("SELECT {}", list(40_000, |i| i.to_string()))),
        ("many joins", format!("SELECT count(*) FROM {}", list(400, |i| format!("up t{i}")))),
        ("sums of sums", chain(60, sum, "WHERE value > 1")),
        ("types of types", chain(60, |read| format!("SELECT time, struct(value, value) AS value FROM {read}"), "")),
        (
            "zips of zips",
            chain(60, |read| format!("SELECT time, arrays_zip([value], [value]) AS value FROM {read}"), ""),
        ),
        ("maps of maps", chain(60, |read| format!("SELECT time, MAP {{value: value}} AS value FROM {read}"), "")),
    ])
    .await;
}

#[tokio::test]
async fn planning_what_may_be_planned_ends_and_is_not_refused() {
    let pipes = (1..61).map(|i| format!("|> EXTEND v{0} + v{0} AS v{i}", i - 1)).collect::<String>();
    let joined = (1..60).map(|i| format!("t{}.job = t{i}.job", i - 1)).collect::<Vec<_>>().join(" AND ");
    let texts = [
        ("queries that are read twice", chain(10, twice, "")),
        ("queries that are joined with themselves", chain(9, join, "")),
        ("a cube of 10", cube(10)),
        ("sums of sums", chain(60, sum, "")),
        ("sums of sums in order", chain(60, sum, "ORDER BY value")),
        ("the first of sums of sums", chain(60, sum, "ORDER BY value LIMIT 1")),
        ("joined sums of sums", chain(60, sum, "JOIN up USING (value)")),
        ("sums of sums in a list", chain(60, sum, "WHERE value IN (SELECT value FROM up)")),
        ("ranked sums of sums", chain(60, sum, "QUALIFY row_number() OVER (PARTITION BY value) = 1")),
        ("the largest of sums of sums", chain(60, sum, "").replace("SELECT * FROM", "SELECT max(value) FROM")),
        ("sums of sums in pipes", format!("SELECT value AS v0 FROM up{pipes}|> WHERE v60 > 1")),
        ("a long OR", format!("SELECT * FROM up WHERE value = 1{}", " OR value = 2".repeat(990))),
        ("CASE", around("CASE WHEN value > 1 THEN ", " END", 60)),
        ("coalesce", around("coalesce(", ", 1)", 10)),
        ("lists", around("", " IN (true, false, true, false)", 900)),
        ("a long UNION", format!("{}SELECT 1", "SELECT 1 UNION ALL ".repeat(500))),
        ("a long distinct UNION", format!("{}SELECT 1", "SELECT 1 UNION ".repeat(300))),
        ("a long list", format!("SELECT * FROM up WHERE value IN ({})", list(100_000, |i| (i % 10).to_string()))),
        ("many rows", format!("VALUES {}", list(40_000, |_| "(1)".into()))),
        ("many columns", format!("SELECT {}", list(2_000, |i| i.to_string()))),
        ("many groups", format!("SELECT 1 FROM up GROUP BY {}", list(2_000, |i| format!("value + {i}")))),
        ("many orders", format!("SELECT 1 FROM up ORDER BY {}", list(100, |i| format!("value + {i}")))),
        ("many windows", format!("SELECT {} FROM up", list(100, |i| format!("sum(value) OVER (ORDER BY time + {i})")))),
        ("many joins", format!("SELECT count(*) FROM {}", list(100, |i| format!("up t{i}")))),
        ("many ordered joins", format!("SELECT count(*) FROM {} WHERE {joined}", list(60, |i| format!("up t{i}")))),
    ];
    let outcomes = run(&texts, ENDED_WITHIN).await;
    for ((name, _), refused) in texts.iter().zip(outcomes) {
        // What doubles is told by the budget or by the count of terms, whichever comes first.
        assert!(!refused || name.contains("sums of sums"), "{name} is refused");
    }
}
