use super::*;
use crate::query::executor::tests::executor_logging;
use crate::query::testing::{Lines, MemoryStore};
use promql::engine::QueryError;
use std::time::Duration;

/// Whoever reads slowly, fails or goes away leaves one line and is counted once.
#[tokio::test]
async fn reads_are_counted_once_and_logged_when_they_took_long() {
    let (lines, _guard) = Lines::begin();
    let tenant = TenantId::anonymous();
    for log_slower_than in [Duration::from_secs(3600), Duration::ZERO] {
        let executor = executor_logging(MemoryStore::default(), log_slower_than);
        let reading = executor.open_reading("SELECT 1", &tenant).await.unwrap();
        reading.end(None);
        reading.end(Some(&QueryError::TimedOut.into()));
        drop(reading);
        executor.open_reading("SELECT 2", &tenant).await.unwrap().end(Some(&QueryError::TimedOut.into()));
        drop(executor.open_reading(&"€".repeat(5_000), &tenant).await.unwrap());
        for outcome in ["success", "timeout", "canceled"] {
            assert_eq!(executor.shared.metrics.counted("interactive", outcome), 1, "{outcome}");
        }
    }
    let told = lines.told();
    let [first, second, third] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!((&first["message"], &first["query"]), (&"slow query".into(), &"SELECT 1".into()));
    assert_eq!((&second["query"], &second["message"]), (&"SELECT 2".into(), &"slow query without an answer".into()));
    assert_eq!(second["error"], QueryError::TimedOut.to_string());
    assert_eq!(third["error"], "its client went away");
    assert!(
        third["query"].as_str().is_some_and(|query| query.len() < 5_000 && query.contains("… (cut off")),
        "{third}"
    );
}
