use super::*;
use crate::query::admission::AdmissionOptions;
use crate::query::metrics::QueryMetrics;
use crate::query::request::QueryOptions;
use crate::query::testing::MemoryStore;
use crate::runtime::cpu::CpuPool;
use promql::budget::BudgetLimits;
use promql::engine::{Engine, QueryError};
use promql::parse::ParseOptions;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What this thread logs.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn executor(log_slower_than: Duration) -> QueryExecutor {
    let options = QueryOptions {
        parse: ParseOptions::default(),
        limits: BudgetLimits::default(),
        timeout: Duration::from_secs(60),
        admission: AdmissionOptions { interactive_max: 1, rules_max: 1, waiting_max: 4 },
        log_slower_than,
    };
    let pool = CpuPool::with_size(1, 2).unwrap();
    QueryExecutor::new(options, Engine::default(), Arc::new(MemoryStore::default()), pool, QueryMetrics::default())
}

/// Whoever reads slowly, fails or goes away leaves one line and is counted once.
#[tokio::test]
async fn reads_are_counted_once_and_logged_when_they_took_long() {
    let lines = Lines::default();
    let writer = lines.clone();
    let layer = tracing_subscriber::fmt().json().flatten_event(true).with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(layer);
    let tenant = TenantId::anonymous();
    for executor in [executor(Duration::from_secs(3600)), executor(Duration::ZERO)] {
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
    let text = String::from_utf8(lines.0.lock().unwrap_or_else(PoisonError::into_inner).clone()).unwrap();
    let told: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
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
