//! The history of a server, by Prometheus' API.

use crate::app::load::with_causes;
use crate::cli::asked_tenant::AskedTenant;
use model::labels::Labels;
use reqwest::StatusCode;
use ruler::backtest::{History, HistoryError, HistorySeries};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Larger answers are asked for in smaller pieces.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// How long to wait before a server that cannot answer now is asked again; as often as there are waits.
const RETRY_AFTER: [Duration; 3] = [Duration::from_millis(300), Duration::from_secs(1), Duration::from_secs(3)];
/// Different remarks of the server that are told.
const REMARKS_MAX: usize = 20;

/// A server that is asked.
pub(super) struct Server {
    base: String,
    timeout: Duration,
    /// Before each repetition of a question.
    waits: &'static [Duration],
    client: reqwest::Client,
    runtime: tokio::runtime::Runtime,
    remarks: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Envelope {
    status: String,
    data: Option<Data>,
    #[serde(default)]
    error: String,
    #[serde(default, rename = "errorType")]
    error_type: String,
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data {
    Vector(Vec<Series>),
    Matrix(Vec<Series>),
    Scalar(Point),
    String(serde::de::IgnoredAny),
}

#[derive(Deserialize)]
struct Point(f64, String);

/// One point of an instant query, or many.
#[derive(Deserialize)]
struct Series {
    metric: BTreeMap<String, String>,
    value: Option<Point>,
    histogram: Option<(f64, serde::de::IgnoredAny)>,
    #[serde(default)]
    values: Vec<Point>,
    #[serde(default)]
    histograms: Vec<(f64, serde::de::IgnoredAny)>,
}

/// Why there is no answer, and whether there may be one soon.
enum Failure {
    Passing(String),
    Lasting(HistoryError),
}

impl Server {
    pub(super) fn new(url: &url::Url, asked: &AskedTenant, timeout: Duration) -> Result<Self, String> {
        // The server knows the timeout and answers when it is over; the client only guards against silence.
        let patience = timeout.saturating_add(Duration::from_secs(10));
        let client = asked.in_requests(reqwest::Client::builder().timeout(patience)).build();
        let client = client.map_err(|error| format!("build the HTTP client: {}", with_causes(&error)))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("start the client: {error}"))?;
        let base = url.as_str().trim_end_matches('/').to_owned();
        Ok(Self { base, timeout, waits: &RETRY_AFTER, client, runtime, remarks: BTreeSet::new() })
    }

    /// What the server warned of.
    pub(super) fn remarks(&self) -> &BTreeSet<String> {
        &self.remarks
    }

    fn ask(&mut self, path: &str, form: &[(&str, String)]) -> Result<Vec<HistorySeries>, HistoryError> {
        let mut waits = self.waits.iter().copied();
        let envelope = loop {
            match self.runtime.block_on(self.ask_once(path, form)) {
                Ok(envelope) => break envelope,
                Err(Failure::Lasting(error)) => return Err(error),
                Err(Failure::Passing(error)) => match waits.next() {
                    // A timer is made inside of the runtime.
                    Some(wait) => self.runtime.block_on(async { tokio::time::sleep(wait).await }),
                    None => return Err(HistoryError::Failed(error)),
                },
            }
        };
        for warning in envelope.warnings {
            if self.remarks.len() < REMARKS_MAX {
                self.remarks.insert(format!("{}: {warning}", self.base));
            }
        }
        match envelope.data {
            Some(Data::Vector(series) | Data::Matrix(series)) => {
                series.into_iter().map(HistorySeries::try_from).collect()
            }
            Some(Data::Scalar(point)) => {
                let series = Series {
                    metric: BTreeMap::new(),
                    value: Some(point),
                    histogram: None,
                    values: Vec::new(),
                    histograms: Vec::new(),
                };
                Ok(vec![HistorySeries::try_from(series)?])
            }
            Some(Data::String(_)) | None => Err(foreign("no vector, matrix or scalar")),
        }
    }

    async fn ask_once(&self, path: &str, form: &[(&str, String)]) -> Result<Envelope, Failure> {
        let passing = |error: reqwest::Error| Failure::Passing(format!("ask {}: {}", self.base, with_causes(&error)));
        let mut response = self.client.post(format!("{}{path}", self.base)).form(form).send().await.map_err(passing)?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(passing)? {
            body.extend_from_slice(&part);
            if body.len() > ANSWER_BYTES_MAX {
                let problem = format!("an answer is larger than {} MiB", ANSWER_BYTES_MAX >> 20);
                return Err(Failure::Lasting(HistoryError::Refused(problem)));
            }
        }
        read(status, &body)
    }
}

fn read(status: StatusCode, body: &[u8]) -> Result<Envelope, Failure> {
    let envelope: Envelope = match serde_json::from_slice(body) {
        Ok(envelope) => envelope,
        Err(error) if status.is_success() => return Err(Failure::Lasting(foreign(&error.to_string()))),
        Err(_) => {
            let text: String = String::from_utf8_lossy(body).chars().take(200).collect();
            let problem = format!("{status}: {}", text.trim());
            return Err(match status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
                true => Failure::Passing(problem),
                false => Failure::Lasting(HistoryError::Failed(problem)),
            });
        }
    };
    if envelope.status == "success" {
        return Ok(envelope);
    }
    let error = envelope.error;
    Err(match (status, envelope.error_type.as_str()) {
        // Smaller pieces may be small enough.
        (StatusCode::UNPROCESSABLE_ENTITY | StatusCode::PAYLOAD_TOO_LARGE, _) | (_, "execution" | "timeout") => {
            Failure::Lasting(HistoryError::Refused(error))
        }
        (StatusCode::TOO_MANY_REQUESTS, _) => Failure::Passing(error),
        (status, _) if status.is_server_error() => Failure::Passing(error),
        _ => Failure::Lasting(HistoryError::Failed(error)),
    })
}

fn foreign(problem: &str) -> HistoryError {
    HistoryError::Failed(format!("the answer is not that of a Prometheus API: {problem}"))
}

impl TryFrom<Series> for HistorySeries {
    type Error = HistoryError;

    fn try_from(series: Series) -> Result<Self, HistoryError> {
        let millis = |seconds: f64| (seconds * 1000.0).round() as i64;
        let labels = Labels::from_pairs(&series.metric).map_err(|error| foreign(&error.to_string()))?;
        let mut read = Self { labels, ..Self::default() };
        for Point(at, value) in series.value.into_iter().chain(series.values) {
            let value = value.parse().map_err(|_| foreign(&format!("{value:?} is no number")))?;
            read.timestamps_ms.push(millis(at));
            read.values.push(value);
        }
        read.histograms_ms.extend(series.histogram.iter().chain(&series.histograms).map(|(at, _)| millis(*at)));
        Ok(read)
    }
}

fn seconds(millis: i64) -> String {
    model::time::Timestamp(millis).to_string()
}

impl History for Server {
    fn range(
        &mut self,
        query: &str,
        first_ms: i64,
        last_ms: i64,
        step_ms: i64,
    ) -> Result<Vec<HistorySeries>, HistoryError> {
        let form = [
            ("query", query.to_owned()),
            ("start", seconds(first_ms)),
            ("end", seconds(last_ms)),
            ("step", seconds(step_ms)),
            ("timeout", format!("{}ms", self.timeout.as_millis())),
        ];
        self.ask("/api/v1/query_range", &form)
    }

    fn instant(&mut self, query: &str, at_ms: i64) -> Result<Vec<HistorySeries>, HistoryError> {
        let form = [
            ("query", query.to_owned()),
            ("time", seconds(at_ms)),
            ("timeout", format!("{}ms", self.timeout.as_millis())),
        ];
        self.ask("/api/v1/query", &form)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(body: &str) -> Vec<HistorySeries> {
        let Ok(envelope) = read(StatusCode::OK, body.as_bytes()) else { panic!("{body}") };
        match envelope.data {
            Some(Data::Vector(series) | Data::Matrix(series)) => {
                series.into_iter().map(|series| HistorySeries::try_from(series).unwrap()).collect()
            }
            _ => panic!("{body}"),
        }
    }

    #[test]
    fn numbers_and_native_histograms_of_ranges_and_instants_are_read() {
        let range = r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"a":"b"},
            "values":[[1.5,"2"],[61.501,"+Inf"]],"histograms":[[121.5,{"count":"1","sum":"2"}]]}]}}"#;
        let series = answered(range).remove(0);
        assert_eq!(series.labels.to_string(), r#"{a="b"}"#);
        assert_eq!((series.timestamps_ms, series.values), (vec![1_500, 61_501], vec![2.0, f64::INFINITY]));
        assert_eq!(series.histograms_ms, [121_500]);
        let instant =
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"NaN"]}]}}"#;
        let series = answered(instant).remove(0);
        assert!(series.values[0].is_nan() && series.timestamps_ms == [1_000]);
    }

    #[test]
    fn a_server_that_is_not_there_is_asked_again_and_then_named() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let url = format!("http://{free}").parse().unwrap();
        let mut server = Server::new(&url, &AskedTenant::default(), Duration::from_secs(1)).unwrap();
        const SOON: &[Duration] = &[Duration::from_millis(1)];
        server.waits = SOON;
        let error = server.instant("up", 0).unwrap_err().to_string();
        assert!(error.contains(&format!("ask http://{free}: ")), "{error}");
    }

    #[test]
    fn what_is_too_large_can_be_asked_in_pieces_and_what_is_wrong_ends_the_test() {
        let failure = |status: u16, body: &str| match read(StatusCode::from_u16(status).unwrap(), body.as_bytes()) {
            Err(Failure::Lasting(HistoryError::Refused(error))) => format!("pieces: {error}"),
            Err(Failure::Lasting(HistoryError::Failed(error))) => format!("end: {error}"),
            Err(Failure::Passing(error)) => format!("again: {error}"),
            Ok(_) => "answered".to_owned(),
        };
        let error = |kind: &str| format!(r#"{{"status":"error","errorType":"{kind}","error":"why"}}"#);
        assert_eq!(failure(422, &error("execution")), "pieces: why");
        assert_eq!(failure(503, &error("timeout")), "pieces: why");
        assert_eq!(failure(503, &error("unavailable")), "again: why");
        assert_eq!(failure(429, &error("")), "again: why");
        assert_eq!(failure(400, &error("bad_data")), "end: why");
        assert_eq!(failure(502, "<html>"), "again: 502 Bad Gateway: <html>");
        assert!(failure(200, "<html>").starts_with("end: the answer is not that of a Prometheus API"));
    }
}
