//! One delivery over HTTP.

use super::target::Target;
use alertmanager_compat::client::Batch;

/// Posts `batch`.
///
/// # Errors
/// It was not accepted; the text says why.
pub(super) async fn post(client: &reqwest::Client, target: &Target, batch: &Batch) -> Result<(), String> {
    let request = client.post(target.url()).timeout(target.timeout).json(&batch.alerts);
    let request = match &target.basic_auth {
        Some(auth) => request.basic_auth(&auth.username, Some(&auth.password)),
        None => request,
    };
    let answer = request.send().await.map_err(|error| crate::app::load::with_causes(&error))?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let text = answer.text().await.unwrap_or_default();
    Err(format!("{status}: {}", text.chars().take(500).collect::<String>()))
}
