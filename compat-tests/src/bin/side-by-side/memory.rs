//! How much memory one large query takes.

use anyhow::Context;
use compat_tests::api::{Api, seconds};
use compat_tests::drive::{restart, settle};
use compat_tests::load::Fleet;
use compat_tests::peer::Launch;
use std::path::Path;

/// Queries over every series of the fleet, in 1,440 steps: a day at a step of a minute.
pub(crate) const QUERIES: [&str; 3] = [
    r#"{__name__!="",cluster!=""}"#,
    r#"rate({__name__!="",cluster!=""}[5m])"#,
    r#"sum by (job) (max_over_time({__name__!="",cluster!=""}[5m]))"#,
];

/// Bytes by which the resident memory of each server rose while it answered, in the order of names and of [`QUERIES`].
///
/// A server is started anew for each query: what earlier ones left behind would hide the rise.
pub(crate) async fn measure(
    names: &[&str],
    root: &Path,
    fleet: &Fleet,
    launch: impl Fn(&str, &Path) -> anyhow::Result<Launch>,
) -> anyhow::Result<Vec<Vec<u64>>> {
    let end_ms = fleet.end_ms();
    let step_ms = ((end_ms - fleet.start_ms) / 1440 / fleet.interval_ms).max(1) * fleet.interval_ms;
    let (start, end, step) = (seconds(end_ms - 1439 * step_ms), seconds(end_ms), seconds(step_ms));
    let mut rises = Vec::new();
    for name in names {
        let mut of_server = Vec::new();
        for query in QUERIES {
            let (server, _) = restart(&launch(name, &root.join(name))?, fleet).await?;
            settle(&server).await;
            server.reset_peak()?;
            let (before, _) = server.resident_bytes();
            let parameters = [
                ("query", query),
                ("start", &start),
                ("end", &end),
                ("step", &step),
                ("nocache", "1"),
                ("timeout", "5m"),
            ];
            Api::new(&server.url).get_bytes("/api/v1/query_range", &parameters).await.context(query)?;
            of_server.push(server.resident_bytes().1.saturating_sub(before));
            server.kill()?;
        }
        rises.push(of_server);
    }
    Ok(rises)
}
