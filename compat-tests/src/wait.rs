//! Waiting for something to become true, and running tools.

use anyhow::Context;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch.
///
/// # Panics
/// The clock is before 1970.
#[must_use]
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is after 1970").as_millis() as i64
}

/// Returns when the clock shows `at_ms`.
pub async fn until_ms(at_ms: i64) {
    tokio::time::sleep(Duration::from_millis(at_ms.saturating_sub(now_ms()).max(0).unsigned_abs())).await;
}

/// Asks until `check` has an answer.
///
/// # Errors
/// The last problem of `check`, when it has no answer after `seconds`.
pub async fn eventually<T, F>(seconds: u64, check: impl Fn() -> F) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<T>>,
{
    let deadline = Instant::now() + Duration::from_secs(seconds);
    loop {
        match check().await {
            Ok(answer) => return Ok(answer),
            Err(problem) if Instant::now() > deadline => return Err(problem),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Runs a program to its end; returns whether it succeeded and all that it printed.
///
/// # Errors
/// It is not installed.
pub fn run(program: &str, arguments: &[&str]) -> anyhow::Result<(bool, String)> {
    let output = Command::new(program).args(arguments).output().with_context(|| format!("run {program}"))?;
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    Ok((output.status.success(), text))
}
