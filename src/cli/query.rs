//! `hearth query`: asks a running server and prints the answer for people or as JSON.
//!
//! A client of the HTTP API like any other; knows nothing of the server's inside but how times are written.
mod answer;
mod explanation;
mod render;

use super::asked_tenant::AskedTenant;
use crate::config::PromDuration;
use crate::http::params::parse_time;
use answer::{Answer, read_answer};
use clap::{Args, ValueEnum};
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Steps of a range query when none is given.
const STEPS: i64 = 250;

/// What `hearth query` is told.
#[derive(Debug, Clone, Args)]
pub struct QueryArguments {
    /// PromQL expression
    pub expression: String,

    /// Server to ask
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9009", env = "HEARTH_SERVER")]
    pub server: url::Url,

    /// For whom
    #[command(flatten)]
    pub asked: AskedTenant,

    /// Evaluate at this time: RFC 3339, seconds since 1970, or a duration before now such as `1h` [default: now]
    #[arg(long, value_name = "TIME", conflicts_with = "start", value_parser = parse_moment)]
    pub time: Option<Moment>,

    /// Evaluate at many times, from this one on; written as --time
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    pub start: Option<Moment>,

    /// Last time to evaluate at [default: now]
    #[arg(long, value_name = "TIME", requires = "start", value_parser = parse_moment)]
    pub end: Option<Moment>,

    /// Distance of the times [default: 250 steps, whole seconds]
    #[arg(long, value_name = "DURATION", requires = "start")]
    pub step: Option<PromDuration>,

    /// How long the server may work on the query
    #[arg(long, value_name = "DURATION", default_value = "2m")]
    pub timeout: PromDuration,

    /// Print how the query is evaluated instead of its result: what each part was expected to cost and what it took
    #[arg(long, value_name = "HOW", num_args = 0..=1, default_missing_value = "analyze", require_equals = true)]
    pub explain: Option<Explain>,

    /// Form of the answer
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: Format,
}

/// How a query is explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Explain {
    /// Evaluate it and count
    Analyze,
    /// Do not evaluate it
    Estimate,
}

/// Form of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Lines for people
    Table,
    /// The field `data` of the server's answer
    Json,
}

/// A point in time, perhaps relative to now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Milliseconds since the Unix epoch.
    At(i64),
    /// Milliseconds before now.
    Ago(i64),
}

impl Moment {
    /// In milliseconds since the Unix epoch.
    pub(crate) fn resolve(self, now_ms: i64) -> i64 {
        match self {
            Self::At(at) => at,
            Self::Ago(millis) => now_ms.saturating_sub(millis),
        }
    }
}

/// Reads a time of the command line.
pub(crate) fn parse_moment(text: &str) -> Result<Moment, String> {
    if text == "now" {
        return Ok(Moment::Ago(0));
    }
    // A bare number is a time, as everywhere in the API: only what is none can be a duration.
    if let Ok(at) = parse_time(text) {
        return Ok(Moment::At(at));
    }
    let duration: Result<PromDuration, _> = text.parse();
    duration.map(|duration| Moment::Ago(duration.as_millis())).map_err(|_| {
        "expected a time such as 2026-11-20T12:00:00Z or 1795176000, or a duration before now such as 1h".to_owned()
    })
}

/// Why there is nothing to print.
#[derive(Debug, thiserror::Error)]
enum ClientError {
    #[error("cannot reach {server}")]
    Unreachable { server: String, source: reqwest::Error },
    #[error("the answer broke off")]
    BrokenOff(#[source] reqwest::Error),
    #[error("{0}")]
    Refused(String),
    #[error("the answer is not that of a Prometheus API: {0}")]
    Foreign(String),
    #[error("start the client")]
    Start(#[from] std::io::Error),
    #[error("build the HTTP client")]
    Client(#[source] reqwest::Error),
}

/// Asks and prints; says on standard error what went wrong.
pub fn run(arguments: &QueryArguments) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let asked = runtime.map_err(ClientError::from).and_then(|runtime| runtime.block_on(ask(arguments)));
    let answer = match asked {
        Ok(answer) => answer,
        Err(error) => {
            super::complain("hearth query", &error);
            return ExitCode::FAILURE;
        }
    };
    let mut errors = std::io::stderr().lock();
    for remark in &answer.remarks {
        let _ = writeln!(errors, "{remark}");
    }
    let text = match arguments.format {
        Format::Table => {
            let plan = answer.explanation.iter().map(explanation::Explanation::table);
            plan.chain(answer.data.iter().filter(|_| answer.explanation.is_none()).map(render::table)).collect()
        }
        Format::Json => answer.json,
    };
    // A reader such as `head` may close the pipe early; that is its right.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

async fn ask(arguments: &QueryArguments) -> Result<Answer, ClientError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (path, form) = request(arguments, now.as_millis() as i64);
    // The server knows the timeout and answers when it is over; the client only guards against silence.
    let patience = arguments.timeout.as_std().saturating_add(Duration::from_secs(10));
    let client = reqwest::Client::builder().timeout(patience);
    let client = arguments.asked.in_requests(client).build().map_err(ClientError::Client)?;
    let base = arguments.server.as_str().trim_end_matches('/');
    let response = client.post(format!("{base}{path}")).form(&form).send().await;
    let response = response.map_err(|source| ClientError::Unreachable { server: base.to_owned(), source })?;
    let status = response.status();
    let body = response.bytes().await.map_err(ClientError::BrokenOff)?;
    read_answer(status, &body)
}

/// The path and the form of the request.
fn request(arguments: &QueryArguments, now_ms: i64) -> (&'static str, Vec<(&'static str, String)>) {
    let seconds = |millis: i64| model::time::Timestamp(millis).to_string();
    let mut form = vec![("query", arguments.expression.clone()), ("timeout", seconds(arguments.timeout.as_millis()))];
    match arguments.explain {
        Some(Explain::Analyze) => form.push(("explain", "analyze".into())),
        Some(Explain::Estimate) => form.push(("explain", "estimate".into())),
        None => {}
    }
    let Some(start) = arguments.start else {
        form.push(("time", seconds(arguments.time.unwrap_or(Moment::Ago(0)).resolve(now_ms))));
        return ("/api/v1/query", form);
    };
    let start_ms = start.resolve(now_ms);
    let end_ms = arguments.end.unwrap_or(Moment::Ago(0)).resolve(now_ms);
    let step_ms = arguments.step.map_or_else(|| default_step_ms(start_ms, end_ms), PromDuration::as_millis);
    form.extend([("start", seconds(start_ms)), ("end", seconds(end_ms)), ("step", seconds(step_ms))]);
    ("/api/v1/query_range", form)
}

fn default_step_ms(start_ms: i64, end_ms: i64) -> i64 {
    end_ms.saturating_sub(start_ms).max(0) / STEPS / 1000 * 1000 + 1000
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        query: QueryArguments,
    }

    fn sent(arguments: &[&str]) -> (&'static str, String) {
        let cli = Cli::try_parse_from(["query"].iter().chain(arguments)).unwrap();
        let (path, form) = request(&cli.query, 1_000_000_000);
        let text: Vec<_> = form.iter().skip(2).map(|(name, value)| format!("{name}={value}")).collect();
        (path, text.join(" "))
    }

    #[test]
    fn without_times_it_is_an_instant_query_now() {
        assert_eq!(sent(&["up"]), ("/api/v1/query", "time=1000000".into()));
        assert_eq!(sent(&["up", "--time", "30s"]), ("/api/v1/query", "time=999970".into()));
    }

    #[test]
    fn a_start_makes_it_a_range_query() {
        let (path, form) = sent(&["up", "--start", "1h"]);
        assert_eq!((path, form.as_str()), ("/api/v1/query_range", "start=996400 end=1000000 step=15"));
        let (_, form) = sent(&["up", "--start=1970-01-01T00:01:00Z", "--end=120.5", "--step", "1m"]);
        assert_eq!(form, "start=60 end=120.500 step=60");
    }

    #[test]
    fn contradictions_are_refused() {
        for arguments in
            [vec!["up", "--end", "1h"], vec!["up", "--time", "1h", "--start", "2h"], vec!["up", "--time", "soon"]]
        {
            assert!(Cli::try_parse_from(["query"].iter().chain(&arguments)).is_err(), "{arguments:?}");
        }
    }
}
