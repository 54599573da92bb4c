//! Prometheus' query API as a client sees it, and the comparison of two answers.

use anyhow::{Context, bail};
use serde_json::Value;
use std::collections::BTreeMap;

/// A client of one server.
#[derive(Debug, Clone)]
pub struct Api {
    client: reqwest::Client,
    url: String,
}

/// The series of an answer by their labels as text; each with (timestamp in ms, value).
pub type Answer = BTreeMap<String, Vec<(i64, f64)>>;

impl Api {
    /// A client of the server at `url`.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self { client: reqwest::Client::new(), url: url.to_owned() }
    }

    /// Asks any endpoint by GET and returns `data`.
    ///
    /// # Errors
    /// The connection failed or the answer is no success.
    pub async fn get(&self, path: &str, parameters: &[(&str, &str)]) -> anyhow::Result<Value> {
        let answer = self.client.get(format!("{}{path}", self.url)).query(parameters).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        let body: Value = serde_json::from_str(&text).with_context(|| format!("{status}: {text}"))?;
        if body.get("status").and_then(Value::as_str) != Some("success") {
            bail!("{status}: {}", body.get("error").unwrap_or(&body));
        }
        Ok(body.get("data").cloned().unwrap_or(Value::Null))
    }

    /// Asks any endpoint by GET and returns how many bytes the answer has.
    ///
    /// # Errors
    /// The connection failed or the status is no success.
    pub async fn get_bytes(&self, path: &str, parameters: &[(&str, &str)]) -> anyhow::Result<usize> {
        let answer = self.client.get(format!("{}{path}", self.url)).query(parameters).send().await?;
        Ok(answer.error_for_status()?.bytes().await?.len())
    }

    /// An instant query.
    ///
    /// # Errors
    /// As [`Api::get`]; or the answer has no samples.
    pub async fn instant(&self, query: &str, at_ms: i64) -> anyhow::Result<Answer> {
        let time = seconds(at_ms);
        answer(&self.get("/api/v1/query", &[("query", query), ("time", &time), ("nocache", "1")]).await?)
    }

    /// A range query.
    ///
    /// # Errors
    /// As [`Api::get`]; or the answer has no samples.
    pub async fn range(&self, query: &str, start_ms: i64, end_ms: i64, step_ms: i64) -> anyhow::Result<Answer> {
        let (start, end, step) = (seconds(start_ms), seconds(end_ms), seconds(step_ms));
        let parameters = [("query", query), ("start", &start), ("end", &end), ("step", &step), ("nocache", "1")];
        answer(&self.get("/api/v1/query_range", &parameters).await?)
    }
}

/// Milliseconds as seconds with three decimals.
#[must_use]
pub fn seconds(ms: i64) -> String {
    format!("{:.3}", ms as f64 / 1000.0)
}

fn answer(data: &Value) -> anyhow::Result<Answer> {
    let result = data.get("result").context("the answer has no result")?;
    if matches!(data.get("resultType").and_then(Value::as_str), Some("scalar" | "string")) {
        return Ok(Answer::from([(String::new(), vec![point(result)?])]));
    }
    let series = result.as_array().context("the result is no list")?;
    series.iter().map(one_series).collect()
}

fn one_series(series: &Value) -> anyhow::Result<(String, Vec<(i64, f64)>)> {
    let labels = series.get("metric").and_then(Value::as_object).context("a series without labels")?;
    let labels: BTreeMap<_, _> = labels.iter().collect();
    let points = match (series.get("value"), series.get("values").and_then(Value::as_array)) {
        (Some(value), _) => vec![point(value)?],
        (None, Some(values)) => values.iter().map(point).collect::<Result<_, _>>()?,
        (None, None) => bail!("a series without values"),
    };
    Ok((serde_json::to_string(&labels)?, points))
}

fn point(pair: &Value) -> anyhow::Result<(i64, f64)> {
    let time = pair.get(0).and_then(Value::as_f64).context("a sample without time")?;
    let text = pair.get(1).and_then(Value::as_str).context("a sample without value")?;
    let value = match text {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        _ => text.parse().unwrap_or(f64::NAN),
    };
    Ok(((time * 1000.0).round() as i64, value))
}

/// The first difference of two answers, or `None` when they agree: the same series and timestamps, values equal within
/// `tolerance` of the larger magnitude, NaN equal to NaN.
#[must_use]
pub fn difference(ours: &Answer, theirs: &Answer, tolerance: f64) -> Option<String> {
    if let Some(labels) = theirs.keys().find(|labels| !ours.contains_key(*labels)) {
        return Some(format!("{labels} is missing ({} series, expected {})", ours.len(), theirs.len()));
    }
    if let Some(labels) = ours.keys().find(|labels| !theirs.contains_key(*labels)) {
        return Some(format!("{labels} is too many ({} series, expected {})", ours.len(), theirs.len()));
    }
    for (labels, ours) in ours {
        let theirs = theirs.get(labels).map(Vec::as_slice).unwrap_or_default();
        if ours.len() != theirs.len() {
            return Some(format!("{labels} has {} samples, expected {}", ours.len(), theirs.len()));
        }
        for ((time, value), (expected_time, expected)) in ours.iter().zip(theirs) {
            if time != expected_time {
                return Some(format!("{labels} has a sample at {time}, expected {expected_time}"));
            }
            if !close(*value, *expected, tolerance) {
                return Some(format!("{labels} at {time} is {value}, expected {expected}"));
            }
        }
    }
    None
}

/// What is left when numbers of usual size cancel out: rounding, and no answer.
const NOISE: f64 = 1e-12;

fn close(a: f64, b: f64, tolerance: f64) -> bool {
    let allowed = if tolerance == 0.0 { 0.0 } else { NOISE.max(tolerance * a.abs().max(b.abs())) };
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= allowed
}
