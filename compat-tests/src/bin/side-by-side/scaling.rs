//! How much faster Hearth answers with all cores than with one.

use anyhow::{Context, ensure};
use compat_tests::api::Api;
use compat_tests::drive::{restart, settle};
use compat_tests::load::Fleet;
use compat_tests::peer::{Launch, Server};
use compat_tests::questions::{self, Query};
use compat_tests::table::{Table, short};
use std::time::Instant;

/// Queries that take less on one core are not worth a second one.
const HEAVY_MS: f64 = 10.0;

/// A table of the queries that take a while: their medians in milliseconds with one core and with all.
///
/// The program that asks has the other cores meanwhile, and shares all of them when the server has all.
pub(crate) async fn table(launch: &Launch, fleet: &Fleet, rounds: usize) -> anyhow::Result<String> {
    let (server, _) = restart(launch, fleet).await?;
    settle(&server).await;
    let api = Api::new(&server.url);
    let all = format!("0-{}", std::thread::available_parallelism().map_or(1, usize::from) - 1);
    let mut table = Table::new(&["query, median ms", "one core", "all cores", "times as fast"]);
    let (mut logarithms, mut count) = (0.0, 0);
    for query in questions::list(fleet) {
        pin(&server, "0")?;
        if median_ms(&api, &query, 1).await? < HEAVY_MS {
            continue;
        }
        let one = median_ms(&api, &query, rounds).await?;
        pin(&server, &all)?;
        let many = median_ms(&api, &query, rounds).await?;
        if one < HEAVY_MS {
            continue;
        }
        table.row([query.name.into(), short(one), short(many), short(one / many)]);
        logarithms += (one / many).ln();
        count += 1;
    }
    if count == 0 {
        return Ok(format!("No query takes {HEAVY_MS} ms on one core.\n"));
    }
    let mean = (logarithms / f64::from(count)).exp();
    Ok(format!("{}\nIn the geometric mean {} times as fast.\n", table.markdown(), short(mean)))
}

/// Lets all threads of the server run on some processors only.
fn pin(server: &Server, processors: &str) -> anyhow::Result<()> {
    let pid = server.pid().to_string();
    let output = std::process::Command::new("taskset").args(["-a", "-p", "-c", processors, &pid]).output();
    let output = output.context("taskset")?;
    ensure!(output.status.success(), "taskset: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

async fn median_ms(api: &Api, query: &Query, rounds: usize) -> anyhow::Result<f64> {
    let (path, parameters) = query.request();
    let parameters: Vec<_> = parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut times = Vec::new();
    for _ in 0..=rounds {
        let started = Instant::now();
        api.get_bytes(path, &parameters).await.with_context(|| query.name.to_owned())?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    // The first one fills caches.
    times.remove(0);
    times.sort_by(f64::total_cmp);
    Ok(times.get(times.len() / 2).copied().unwrap_or(f64::NAN))
}
