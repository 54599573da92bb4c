//! `hearth sql`: runs a statement on a running server and prints the rows.
//!
//! A client of the HTTP API like any other. Every form but the table is printed as it arrives.
mod table;

use super::asked_tenant::AskedTenant;
use super::query::Moment;
use super::query::parse_moment;
use crate::config::PromDuration;
use clap::{Args, ValueEnum};
use futures::StreamExt;
use reqwest::Response;
use serde::Deserialize;
use std::io::{IsTerminal, Read, Write};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What `hearth sql` is told.
#[derive(Debug, Clone, Args)]
pub struct SqlArguments {
    /// Statement, such as "SELECT * FROM up LIMIT 5"; `-` reads it from standard input
    pub statement: String,

    /// Server to ask
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9009", env = "HEARTH_SERVER")]
    pub server: url::Url,

    /// For whom
    #[command(flatten)]
    pub asked: AskedTenant,

    /// Oldest samples of tables on whose time the statement sets no bound: RFC 3339, seconds since 1970, or a duration before
    /// now such as `1h`
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    pub start: Option<Moment>,

    /// Newest samples of such tables; written as --start
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    pub end: Option<Moment>,

    /// Show stale markers, the ends of series, as rows without a value
    #[arg(long)]
    pub include_stale: bool,

    /// How long the server may work on the statement
    #[arg(long, value_name = "DURATION", default_value = "2m")]
    pub timeout: PromDuration,

    /// Form of the answer
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: SqlOutput,
}

/// Form of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SqlOutput {
    /// Aligned columns for people
    Table,
    /// The server's answer
    Json,
    /// Comma-separated values with a header
    Csv,
    /// Arrow's IPC stream, for other programs
    Arrow,
}

/// Why there is nothing to print.
#[derive(Debug, thiserror::Error)]
enum ClientError {
    #[error("read the statement")]
    Input(#[source] std::io::Error),
    #[error("Arrow is no text: send it to a file or another program")]
    Terminal,
    #[error("cannot reach {server}")]
    Unreachable { server: String, source: reqwest::Error },
    #[error("the answer broke off")]
    BrokenOff(#[source] reqwest::Error),
    #[error("{0}")]
    Refused(String),
    #[error("the answer is not that of Hearth")]
    Foreign(#[source] serde_json::Error),
    #[error("start the client")]
    Start(#[from] std::io::Error),
    #[error("build the HTTP client")]
    Client(#[source] reqwest::Error),
}

/// Asks and prints; says on standard error what went wrong.
pub fn run(arguments: &SqlArguments) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map_err(ClientError::from).and_then(|runtime| runtime.block_on(ask(arguments)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            super::complain("hearth sql", &error);
            ExitCode::FAILURE
        }
    }
}

async fn ask(arguments: &SqlArguments) -> Result<(), ClientError> {
    if arguments.format == SqlOutput::Arrow && std::io::stdout().is_terminal() {
        return Err(ClientError::Terminal);
    }
    let statement = match arguments.statement.as_str() {
        "-" => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map_err(ClientError::Input)?;
            text
        }
        text => text.to_owned(),
    };
    // The server knows the timeout and answers when it is over; the client only guards against silence.
    let patience = arguments.timeout.as_std().saturating_add(Duration::from_secs(10));
    let client = reqwest::Client::builder().read_timeout(patience);
    let client = arguments.asked.in_requests(client).build().map_err(ClientError::Client)?;
    let base = arguments.server.as_str().trim_end_matches('/');
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let form = form(arguments, statement, now.as_millis() as i64);
    let response = client.post(format!("{base}/api/v1/sql")).form(&form).send().await;
    let response = response.map_err(|source| ClientError::Unreachable { server: base.to_owned(), source })?;
    if !response.status().is_success() {
        return Err(refusal(response).await);
    }
    match arguments.format {
        SqlOutput::Table => {
            let body = response.bytes().await.map_err(ClientError::BrokenOff)?;
            let rows: Answer = serde_json::from_slice(&body).map_err(ClientError::Foreign)?;
            print(table::table(&rows.data).as_bytes());
        }
        SqlOutput::Json | SqlOutput::Csv | SqlOutput::Arrow => {
            let mut body = response.bytes_stream();
            while let Some(bytes) = body.next().await {
                if !print(&bytes.map_err(ClientError::BrokenOff)?) {
                    return Ok(());
                }
            }
            if arguments.format == SqlOutput::Json {
                print(b"\n");
            }
        }
    }
    Ok(())
}

/// Whether anybody still reads: a reader such as `head` may close the pipe early; that is its right.
fn print(bytes: &[u8]) -> bool {
    std::io::stdout().lock().write_all(bytes).is_ok()
}

fn form(arguments: &SqlArguments, statement: String, now_ms: i64) -> Vec<(&'static str, String)> {
    let seconds = |millis: i64| model::time::Timestamp(millis).to_string();
    let format = match arguments.format {
        SqlOutput::Table | SqlOutput::Json => "json",
        SqlOutput::Csv => "csv",
        SqlOutput::Arrow => "arrow",
    };
    let mut form =
        vec![("query", statement), ("format", format.to_owned()), ("timeout", seconds(arguments.timeout.as_millis()))];
    for (name, moment) in [("start", arguments.start), ("end", arguments.end)] {
        form.extend(moment.map(|moment| (name, seconds(moment.resolve(now_ms)))));
    }
    form.extend(arguments.include_stale.then(|| ("include_stale", "true".to_owned())));
    form
}

async fn refusal(response: Response) -> ClientError {
    #[derive(Deserialize)]
    struct Envelope {
        error: String,
    }
    let status = response.status();
    let body = response.bytes().await.unwrap_or_default();
    match serde_json::from_slice::<Envelope>(&body) {
        Ok(envelope) => ClientError::Refused(envelope.error),
        Err(_) => {
            let text: String = String::from_utf8_lossy(&body).chars().take(200).collect();
            ClientError::Refused(format!("{status}: {}", text.trim()))
        }
    }
}

#[derive(Debug, Deserialize)]
struct Answer {
    data: Rows,
}

/// Rows as the server writes them.
#[derive(Debug, Deserialize)]
struct Rows {
    columns: Vec<Column>,
    rows: Vec<Vec<serde_json::Value>>,
}

#[derive(Debug, Deserialize)]
struct Column {
    name: String,
    #[serde(rename = "type")]
    kind: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        sql: SqlArguments,
    }

    #[test]
    fn what_is_sent_follows_from_the_arguments() {
        let sent = |arguments: &[&str]| {
            let cli = Cli::try_parse_from(["sql"].iter().chain(arguments)).unwrap();
            let form = form(&cli.sql, cli.sql.statement.clone(), 1_000_000_000);
            form.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(sent(&["SELECT 1"]), "query=SELECT 1 format=json timeout=120");
        let arguments = ["x", "--start", "1h", "--end=now", "--format=csv", "--timeout=5s", "--include-stale"];
        assert_eq!(sent(&arguments), "query=x format=csv timeout=5 start=996400 end=1000000 include_stale=true");
    }
}
