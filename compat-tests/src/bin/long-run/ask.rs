//! Queries over all of the time.

use anyhow::Context;
use compat_tests::api::{Api, seconds};
use compat_tests::load::Fleet;
use compat_tests::peer::Server;
use compat_tests::table::{Table, short};
use std::time::Instant;

/// Of the hundred series of a target, and of many.
const QUERIES: [&str; 7] = [
    r#"max_over_time({__name__!="",instance="10.0.0.1:8080"}[1h])"#,
    r#"rate({__name__!="",instance="10.0.0.1:8080"}[1h])"#,
    r#"avg_over_time({__name__!="",instance="10.0.0.1:8080"}[1h])"#,
    r#"{__name__!="",instance="10.0.0.1:8080"}"#,
    r#"sum by (code) (rate(http_requests_total{instance=~"10.0.0.[1-5]:8080"}[1h]))"#,
    r#"histogram_quantile(0.99, sum by (le) (rate(http_request_duration_seconds_bucket{instance=~"10.0.0.[1-4]:8080"}[1h])))"#,
    "sum by (job) (rate(http_requests_total[1h]))",
];

const HOUR_MS: i64 = 3_600_000;

/// Asks each of them over all full hours of the fleet, in steps of an hour.
pub(crate) async fn table(server: &Server, fleet: &Fleet, rounds: usize) -> anyhow::Result<String> {
    let api = Api::new(&server.url);
    let end_ms = fleet.end_ms() / HOUR_MS * HOUR_MS;
    let hours = (end_ms - fleet.start_ms) / HOUR_MS - 1;
    let (start, end) = (seconds(end_ms - hours * HOUR_MS), seconds(end_ms));
    let mut table = Table::new(&[&format!("query over {hours} hours, step 1h"), "first, ms", "median, ms", "kB"]);
    for query in QUERIES {
        let parameters = [("query", query), ("start", &start), ("end", &end), ("step", "3600"), ("nocache", "1")];
        let mut times = Vec::new();
        let mut bytes = 0;
        for _ in 0..=rounds {
            let began = Instant::now();
            bytes = api.get_bytes("/api/v1/query_range", &parameters).await.context(query)?;
            times.push(began.elapsed().as_secs_f64() * 1e3);
        }
        let first = times.remove(0);
        times.sort_by(f64::total_cmp);
        let median = times.get(times.len() / 2).copied().unwrap_or(f64::NAN);
        let query = format!("`{}`", query.replace('|', "\\|"));
        table.row([query, short(first), short(median), short(bytes as f64 / 1e3)]);
    }
    Ok(table.markdown())
}
