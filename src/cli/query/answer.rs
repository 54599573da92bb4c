//! Reads the envelope of Prometheus' API.

use super::ClientError;
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    /// What was asked for.
    pub(super) data: Data,
    /// The same as the server wrote it, indented.
    pub(super) json: String,
    /// Warnings and infos.
    pub(super) remarks: Vec<String>,
}

/// The result by its type.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
pub(super) enum Data {
    Scalar(Point),
    String(Point),
    Vector(Vec<VectorItem>),
    Matrix(Vec<MatrixItem>),
}

/// A time in seconds and a value as text.
#[derive(Debug, PartialEq, Deserialize)]
pub(super) struct Point(pub(super) f64, pub(super) String);

/// Label values by name.
pub(super) type LabelMap = BTreeMap<String, String>;

/// One series with one value or one native histogram.
#[derive(Debug, Default, PartialEq, Deserialize)]
pub(super) struct VectorItem {
    pub(super) metric: LabelMap,
    #[serde(default)]
    pub(super) value: Option<Point>,
    #[serde(default)]
    pub(super) histogram: Option<HistogramPoint>,
}

/// A time in seconds and a native histogram.
#[derive(Debug, PartialEq, Deserialize)]
pub(super) struct HistogramPoint(pub(super) f64, pub(super) Histogram);

/// A native histogram, its numbers as text.
#[derive(Debug, PartialEq, Deserialize)]
pub(super) struct Histogram {
    pub(super) count: String,
    pub(super) sum: String,
    /// Which ends belong to a bucket (0: the upper, 1: the lower, 2: none, 3: both), its ends, its population.
    #[serde(default)]
    pub(super) buckets: Vec<(u8, String, String, String)>,
}

/// One series with many values or native histograms.
#[derive(Debug, Default, PartialEq, Deserialize)]
pub(super) struct MatrixItem {
    pub(super) metric: LabelMap,
    #[serde(default)]
    pub(super) values: Vec<Point>,
    #[serde(default)]
    pub(super) histograms: Vec<HistogramPoint>,
}

#[derive(Debug, Deserialize)]
struct Envelope {
    status: String,
    #[serde(default)]
    data: Value,
    #[serde(default)]
    error: String,
    #[serde(default)]
    warnings: Vec<String>,
    #[serde(default)]
    infos: Vec<String>,
}

/// Reads a whole answer.
pub(super) fn read_answer(status: StatusCode, body: &[u8]) -> Result<Answer, ClientError> {
    let envelope: Envelope = serde_json::from_slice(body).map_err(|error| {
        let text: String = String::from_utf8_lossy(body).chars().take(200).collect();
        if status.is_success() {
            ClientError::Foreign(error.to_string())
        } else {
            ClientError::Refused(format!("{status}: {}", text.trim()))
        }
    })?;
    if envelope.status != "success" {
        return Err(ClientError::Refused(envelope.error));
    }
    let foreign = |error: serde_json::Error| ClientError::Foreign(error.to_string());
    let mut json = serde_json::to_string_pretty(&envelope.data).map_err(foreign)?;
    json.push('\n');
    let remarks = envelope.warnings.into_iter().chain(envelope.infos).collect();
    Ok(Answer { data: serde_json::from_value(envelope.data).map_err(foreign)?, json, remarks })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_in_the_words_of_the_server() {
        let body = br#"{"status":"error","errorType":"bad_data","error":"no such thing"}"#;
        assert_eq!(read_answer(StatusCode::BAD_REQUEST, body).unwrap_err().to_string(), "no such thing");
        let error = read_answer(StatusCode::BAD_GATEWAY, b"<html>\n").unwrap_err();
        assert_eq!(error.to_string(), "502 Bad Gateway: <html>");
        assert!(
            read_answer(StatusCode::OK, b"<html>").unwrap_err().to_string().contains("not that of a Prometheus API")
        );
    }

    #[test]
    fn every_type_of_result_is_read() {
        let data = |json: &str| {
            let body = format!(r#"{{"status":"success","data":{json},"infos":["hm"]}}"#);
            let answer = read_answer(StatusCode::OK, body.as_bytes()).unwrap();
            assert_eq!(answer.remarks, ["hm"]);
            answer.data
        };
        assert_eq!(data(r#"{"resultType":"scalar","result":[1.5,"2"]}"#), Data::Scalar(Point(1.5, "2".into())));
        let vector = r#"{"resultType":"vector","result":[{"metric":{},"value":[1,"2"]}],"stats":{}}"#;
        let item = VectorItem { metric: LabelMap::new(), value: Some(Point(1.0, "2".into())), histogram: None };
        assert_eq!(data(vector), Data::Vector(vec![item]));
        let vector = r#"{"resultType":"vector","result":[{"metric":{},"histogram":[1,{"count":"2","sum":"3"}]}]}"#;
        let histogram = Histogram { count: "2".into(), sum: "3".into(), buckets: Vec::new() };
        let item = VectorItem { histogram: Some(HistogramPoint(1.0, histogram)), ..VectorItem::default() };
        assert_eq!(data(vector), Data::Vector(vec![item]));
        assert!(matches!(data(r#"{"resultType":"matrix","result":[{"metric":{}}]}"#), Data::Matrix(_)));
    }
}
