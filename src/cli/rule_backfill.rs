//! `hearth rules backfill`: asks a running server to evaluate recording rules over the past, and waits until it has.

use super::asked_tenant::AskedTenant;
use crate::cli::query::{Moment, parse_moment};
use crate::config::PromDuration;
use clap::Args;
use promql::parse::ParseOptions;
use ruler::rule_file::RuleFile;
use serde::Deserialize;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How often the server is asked how far it is.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// How long it may take to answer that.
const PATIENCE: Duration = Duration::from_secs(60);

/// What `hearth rules backfill` is told.
#[derive(Debug, Clone, Args)]
pub struct BackfillArguments {
    /// Rule files; their alerting rules are left out
    #[arg(required = true)]
    files: Vec<PathBuf>,

    /// First time to evaluate at: RFC 3339, seconds since 1970, or a duration before now such as `30d`
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    start: Moment,

    /// Last time to evaluate at, written as --start
    #[arg(long, value_name = "TIME", value_parser = parse_moment, default_value = "3h")]
    end: Moment,

    /// Distance of evaluations for groups that have no interval
    #[arg(long, value_name = "DURATION", default_value = "1m")]
    eval_interval: PromDuration,

    /// Server that has the samples and gets the results; it needs --web.enable-admin-api
    #[arg(long, alias = "server", value_name = "URL", default_value = "http://127.0.0.1:9009", env = "HEARTH_SERVER")]
    url: url::Url,

    /// For whom
    #[command(flatten)]
    asked: AskedTenant,
}

/// Why nothing came of it.
#[derive(Debug, thiserror::Error)]
enum BackfillError {
    #[error("read {}", file.display())]
    Read { file: PathBuf, source: std::io::Error },
    #[error("{0}")]
    Invalid(String),
    #[error("cannot reach {server}")]
    Unreachable { server: String, source: reqwest::Error },
    #[error("{0}")]
    Refused(String),
    #[error("{}: {error}", file.display())]
    Failed { file: PathBuf, error: String },
    #[error("start the client")]
    Start(#[from] std::io::Error),
    #[error("build the HTTP client")]
    Client(#[source] reqwest::Error),
}

/// The server's envelope.
#[derive(Deserialize)]
struct Answer {
    data: Option<Job>,
    error: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Job {
    id: u64,
    state: String,
    rules: usize,
    progress: f64,
    samples_written: u64,
    samples_refused: u64,
    slots_over_limit: u64,
    error: Option<String>,
}

/// Sends each file and waits for it; says on standard error what went wrong.
pub(super) fn run(arguments: &BackfillArguments) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ran = runtime.map_err(BackfillError::from).and_then(|runtime| runtime.block_on(backfill(arguments)));
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            crate::cli::complain("hearth rules backfill", &error);
            ExitCode::FAILURE
        }
    }
}

async fn backfill(arguments: &BackfillArguments) -> Result<(), BackfillError> {
    // All files are read before any is sent: a mistake in the last one is no reason to begin.
    let files: Vec<(&Path, String)> = arguments
        .files
        .iter()
        .map(|file| Ok((file.as_path(), checked(file)?)))
        .collect::<Result<_, BackfillError>>()?;
    let client = reqwest::Client::builder().timeout(PATIENCE);
    let client = arguments.asked.in_requests(client).build().map_err(BackfillError::Client)?;
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
    let seconds = |millis: i64| model::time::Timestamp(millis).to_string();
    for (file, text) in files {
        let mut url = address(&arguments.url, "");
        url.query_pairs_mut()
            .append_pair("file", &file.display().to_string())
            .append_pair("start", &seconds(arguments.start.resolve(now_ms)))
            .append_pair("end", &seconds(arguments.end.resolve(now_ms)))
            .append_pair("eval_interval", &format!("{}ms", arguments.eval_interval.as_millis()));
        let mut job = ask(client.post(url).body(text), &arguments.url).await?;
        while matches!(job.state.as_str(), "waiting" | "running") {
            show(file, &job);
            tokio::time::sleep(ASK_EVERY).await;
            job = ask(client.get(address(&arguments.url, &format!("/{}", job.id))), &arguments.url).await?;
        }
        report(file, &job)?;
    }
    Ok(())
}

fn checked(file: &Path) -> Result<String, BackfillError> {
    let text = crate::rules::load::read(file);
    let text = text.map_err(|source| BackfillError::Read { file: file.to_owned(), source })?;
    RuleFile::parse(&file.display().to_string(), &text, &ParseOptions::all()).map_err(|errors| {
        BackfillError::Invalid(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    })?;
    Ok(text)
}

fn address(server: &url::Url, below: &str) -> url::Url {
    let mut url = server.clone();
    url.set_path(&format!("{}/api/v1/admin/rules/backfill{below}", server.path().trim_end_matches('/')));
    url
}

async fn ask(request: reqwest::RequestBuilder, server: &url::Url) -> Result<Job, BackfillError> {
    let unreachable = |source| BackfillError::Unreachable { server: server.to_string(), source };
    let response = request.send().await.map_err(unreachable)?;
    let status = response.status();
    let body = response.bytes().await.map_err(unreachable)?;
    match serde_json::from_slice::<Answer>(&body) {
        Ok(Answer { data: Some(job), .. }) => Ok(job),
        Ok(Answer { error: Some(error), .. }) => Err(BackfillError::Refused(error)),
        _ => Err(BackfillError::Refused(format!("the server answered {status}"))),
    }
}

/// On a terminal, how far it is.
fn show(file: &Path, job: &Job) {
    let mut errors = std::io::stderr().lock();
    if errors.is_terminal() {
        let _ = write!(errors, "\r{}: {:.0} %, {} samples", file.display(), job.progress * 100.0, job.samples_written);
    }
}

fn report(file: &Path, job: &Job) -> Result<(), BackfillError> {
    if std::io::stderr().is_terminal() {
        let _ = write!(std::io::stderr(), "\r");
    }
    let mut line = format!("{}: {} rules, {} samples stored", file.display(), job.rules, job.samples_written);
    if job.samples_refused > 0 {
        line +=
            &format!(", {} refused (another value is stored at their time, or they are too old)", job.samples_refused);
    }
    if job.slots_over_limit > 0 {
        line += &format!(", nothing of {} evaluations with more series than their limit", job.slots_over_limit);
    }
    let _ = writeln!(std::io::stdout(), "{line}");
    match job.state.as_str() {
        "done" => Ok(()),
        state => {
            let error = job.error.clone().unwrap_or_else(|| format!("the job was {state}"));
            Err(BackfillError::Failed { file: file.to_owned(), error })
        }
    }
}
