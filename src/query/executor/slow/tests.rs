use super::*;
use crate::query::executor::QueryExecutor;
use crate::query::executor::tests::{SLOW, executor_logging, request, until};
use crate::query::testing::{Lines, MemoryStore};

/// Whoever goes away must not make the query that drove him away invisible.
#[tokio::test]
async fn a_query_whose_client_goes_away_is_logged_and_counted() {
    let (lines, _guard) = Lines::begin();
    let store = MemoryStore::slow();
    let reads = store.reads.clone();
    let executor = executor_logging(store, Duration::ZERO);
    let running = tokio::spawn({
        let executor = executor.clone();
        async move { executor.run(request(SLOW)).await }
    });
    until(|| reads.count() > 3).await;
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    let told = lines.told();
    let [line] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(line["query"], SLOW);
    assert_eq!(line["time"], "1970-01-01T00:00:05Z");
    assert_eq!(line["error"], "nobody waits for it any more: its client went away");
    assert!(line["series"].as_u64().unwrap() > 0 && line["seconds"].as_f64().unwrap() > 0.0, "{line}");
    assert_eq!(counted(&executor, "canceled"), 1);
}

#[tokio::test]
async fn a_line_has_plain_times_and_no_more_than_the_beginning_of_a_text() {
    let (lines, _guard) = Lines::begin();
    let executor = executor_logging(MemoryStore::default(), Duration::ZERO);
    let window = Window::Range { start_ms: 4000, end_ms: 9999, step_ms: 1500 };
    let text = format!("up + {}1", " ".repeat(1 << 19));
    executor.run(QueryRequest { window, ..request(&text) }).await.unwrap();
    executor.run(request("up{x=\"")).await.unwrap_err();
    let told = lines.told();
    let [long, refused] = told.as_slice() else { panic!("{} lines", told.len()) };
    let query = long["query"].as_str().unwrap();
    assert!(query.len() < TEXT_BYTES_MAX + 64 && query.ends_with("… (cut off, 524294 bytes in all)"), "{query}");
    let times = ["start", "end", "step"].map(|field| long[field].to_string());
    assert_eq!(times, [r#""1970-01-01T00:00:04Z""#, r#""1970-01-01T00:00:09.999Z""#, "1.5"]);
    assert!(long.get("time").is_none() && refused.get("start").is_none());
    assert!(refused["error"].as_str().unwrap().contains("parse error"), "{refused}");
    assert_eq!(
        (counted(&executor, "success"), counted(&executor, "bad_query"), counted(&executor, "canceled")),
        (1, 1, 0)
    );
}

/// How many queries ended so.
fn counted(executor: &QueryExecutor, outcome: &'static str) -> u64 {
    executor.shared.metrics.counted("interactive", outcome)
}

#[test]
fn a_text_is_cut_between_two_characters() {
    assert_eq!(cut("up"), "up");
    let text = "é".repeat(3000);
    assert_eq!(cut(&text[..TEXT_BYTES_MAX]), &text[..TEXT_BYTES_MAX]);
    assert!(cut(&text[..TEXT_BYTES_MAX + 2]).starts_with(&text[..TEXT_BYTES_MAX]));
    assert!(cut(&format!("x{text}")).contains("é… (cut off, 6001 bytes"));
}
