//! Figures that a server tells about itself at `/metrics`.

/// The page of a server.
///
/// # Errors
/// The connection failed.
pub async fn page(url: &str) -> Result<String, reqwest::Error> {
    reqwest::get(format!("{url}/metrics")).await?.error_for_status()?.text().await
}

/// The sum of a metric over all its series, or `None` if there is none.
#[must_use]
pub fn sum(page: &str, name: &str) -> Option<f64> {
    let of_line = |line: &str| {
        let rest = line.strip_prefix(name)?;
        rest.starts_with(['{', ' ']).then(|| line.rsplit(' ').next()?.parse::<f64>().ok())?
    };
    page.lines().filter_map(of_line).fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}
