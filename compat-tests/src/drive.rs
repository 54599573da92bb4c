//! What measuring programs do with a server that holds a fleet.

use crate::api::Api;
use crate::load::{Fleet, SERIES_PER_TARGET};
use crate::peer::{Launch, Server};
use anyhow::{bail, ensure};
use std::time::{Duration, Instant};

/// Waits until the server used less than 3 % of a core for two seconds, at most a minute.
pub async fn settle(server: &Server) {
    for _ in 0..30 {
        let before = server.cpu_seconds();
        tokio::time::sleep(Duration::from_secs(2)).await;
        if server.cpu_seconds() - before < 0.06 {
            return;
        }
    }
}

/// Starts the server on data that it has; returns it and the seconds until it counted all series of the fleet.
///
/// # Errors
/// It cannot be started, or does not count right within two minutes.
pub async fn restart(launch: &Launch, fleet: &Fleet) -> anyhow::Result<(Server, f64)> {
    let started = Instant::now();
    let server = launch.spawn()?;
    let api = Api::new(launch.url());
    let expected = (fleet.targets * SERIES_PER_TARGET) as f64;
    while started.elapsed() < Duration::from_secs(120) {
        let answer = api.instant("count({__name__!=\"\",cluster!=\"\"})", fleet.end_ms()).await;
        let count = answer.ok().and_then(|a| a.values().next().and_then(|points| points.first().map(|p| p.1)));
        if count.is_some_and(|count| count >= expected) {
            return Ok((server, started.elapsed().as_secs_f64()));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    bail!("{}: no correct answer two minutes after the restart: {}", launch.name, launch.log_tail())
}

/// Has Hearth write everything to blocks and, when `compact`, merge those of each day.
///
/// # Errors
/// It does not.
pub async fn flush(server: &Server, compact: bool) -> anyhow::Result<()> {
    let url = format!("{}/api/v1/admin/tsdb/flush?wait=true&compact={compact}", server.url);
    let answer = reqwest::Client::new().post(url).send().await?;
    ensure!(answer.status().is_success(), "{}: {}", answer.status(), answer.text().await?);
    Ok(())
}
