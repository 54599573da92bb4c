//! `hearth rules backtest`: what draft alerts would have done over the history that a server has.

mod print; // the outcome, for people and as JSON
mod server; // the history

use crate::cli::asked_tenant::AskedTenant;
use crate::cli::query::{Moment, parse_moment};
use crate::config::{NameValidationScheme, PromDuration};
use crate::rules::load::{read, read_bounded};
use alertmanager_compat::notifications::{Notifications, Route, Tally};
use clap::{Args, ValueEnum};
use model::time::Timestamp;
use promql::engine::EngineOptions;
use promql::parse::ParseOptions;
use ruler::annotate::TemplateContext;
use ruler::backtest::{Backtest, BacktestOptions, Variant};
use ruler::rule_file::{GroupDefaults, ReadOptions, RuleFile};
use ruler::state::Departure;
use server::Server;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

/// What `hearth rules backtest` is told.
#[derive(Debug, Clone, Args)]
pub struct BacktestArguments {
    /// Rule files; `-` is standard input. Recording rules in them run where alerts read them
    #[arg(required = true)]
    files: Vec<PathBuf>,

    /// Alerting rule to test, as `GROUP/NAME` or `NAME`; may be given several times [default: all]
    #[arg(long, value_name = "RULE")]
    rule: Vec<String>,

    /// First time to evaluate at: RFC 3339, seconds since 1970, or a duration before now such as `30d`
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    start: Moment,

    /// Last time to evaluate at, written as --start
    #[arg(long, value_name = "TIME", value_parser = parse_moment, default_value = "now")]
    end: Moment,

    /// Distance of evaluations for groups that have no interval
    #[arg(long, value_name = "DURATION", default_value = "1m")]
    eval_interval: PromDuration,

    /// Other values of `for` to try
    #[arg(long = "for", value_name = "DURATION", value_delimiter = ',')]
    holds: Vec<PromDuration>,

    /// Labels by which Alertmanager would group alerts, `...` for all [default: one group of all alerts]
    #[arg(long, value_name = "LABEL", value_delimiter = ',')]
    group_by: Vec<String>,

    /// Alertmanager's `group_wait`
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    group_wait: PromDuration,

    /// Alertmanager's `group_interval`, a second at least
    #[arg(long, value_name = "DURATION", default_value = "5m")]
    group_interval: PromDuration,

    /// Alertmanager's `repeat_interval`
    #[arg(long, value_name = "DURATION", default_value = "4h")]
    repeat_interval: PromDuration,

    /// The receiver does not hear of resolved alerts: Alertmanager's `send_resolved: false`
    #[arg(long)]
    no_send_resolved: bool,

    /// How long the server would wait before it sends an alert again: its `--rules.alert.resend-delay`
    #[arg(long, value_name = "DURATION", default_value = "1m")]
    resend_delay: PromDuration,

    /// Server that has the samples; any server of Prometheus' API
    #[arg(long, alias = "server", value_name = "URL", default_value = "http://127.0.0.1:9009", env = "HEARTH_SERVER")]
    url: url::Url,

    /// For whom
    #[command(flatten)]
    asked: AskedTenant,

    /// How long the server may work on one query
    #[arg(long, value_name = "DURATION", default_value = "2m")]
    timeout: PromDuration,

    /// Which names metrics and labels may have: what the server's `metric_name_validation_scheme` says
    #[arg(long, value_name = "SCHEME", default_value = "utf8")]
    name_validation_scheme: NameValidationScheme,

    /// Form of the outcome
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

/// Form of the outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// Tables for people
    Text,
    /// One JSON document
    Json,
}

/// What came of a test, and under which conditions.
struct Outcome<'a> {
    start: Timestamp,
    end: Timestamp,
    url: &'a url::Url,
    route: &'a Route,
    /// `for` as in the files, then the others, each with what Alertmanager would have sent.
    variants: Vec<(Variant, Tally)>,
    /// Names of recording rules that ran.
    recorded: Vec<String>,
}

/// Leaves with 1 when there is no outcome, with 3 when some evaluations failed.
pub(super) fn run(arguments: &BacktestArguments) -> ExitCode {
    match backtest(arguments) {
        Ok((text, has_failures)) => {
            // A reader such as `head` may close the pipe early; that is its right.
            let _ = std::io::stdout().lock().write_all(text.as_bytes());
            if has_failures { ExitCode::from(3) } else { ExitCode::SUCCESS }
        }
        Err(problems) => {
            let mut errors = std::io::stderr().lock();
            for problem in problems {
                let _ = writeln!(errors, "hearth rules backtest: {problem}");
            }
            ExitCode::FAILURE
        }
    }
}

fn backtest(arguments: &BacktestArguments) -> Result<(String, bool), Vec<String>> {
    let mut errors = std::io::stderr();
    let files = load(&arguments.files, arguments.name_validation_scheme)?;
    let route = route(arguments)?;
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
    let (start, end) = (arguments.start.resolve(now_ms), arguments.end.resolve(now_ms));
    let (start, end) = (Timestamp(start), Timestamp(end));
    let context = TemplateContext {
        external_labels: model::labels::Labels::empty(),
        external_url: "".into(),
        parse: ParseOptions::all(),
    };
    let options = BacktestOptions {
        start,
        end,
        defaults: GroupDefaults { interval_ms: arguments.eval_interval.as_millis().max(1), query_offset_ms: 0 },
        only: arguments.rule.clone(),
        holds_ms: arguments.holds.iter().map(|hold| hold.as_millis()).collect(),
        resend_delay_ms: arguments.resend_delay.as_millis(),
        context,
        engine: EngineOptions::default(),
    };
    let test = Backtest::new(&files, options)?;
    for remark in test.remarks() {
        let _ = writeln!(errors, "{remark}");
    }
    let server = Server::new(&arguments.url, &arguments.asked, arguments.timeout.as_std());
    let mut server = server.map_err(|problem| vec![problem])?;
    let mut receivers: Vec<Notifications> =
        (0..=arguments.holds.len()).map(|_| Notifications::new(route.clone())).collect();
    let mut heard = |variant: usize, departure: &Departure| {
        if let Some(receiver) = receivers.get_mut(variant) {
            for message in departure.messages() {
                receiver.receive(departure.slot.0, &message.labels, message.starts_at.0, message.ends_at.0);
            }
        }
    };
    let ran = test.run(&mut server, &mut heard, &mut progress());
    clear();
    for remark in server.remarks() {
        let _ = writeln!(errors, "{remark}");
    }
    let variants = ran.map_err(|error| vec![error.to_string()])?;
    let mut recorded: Vec<String> = test.helpers().map(|rule| rule.name.clone()).collect();
    recorded.sort_unstable();
    recorded.dedup();
    let tallies = receivers.into_iter().map(|mut receiver| {
        receiver.advance(end.0.saturating_add(1));
        receiver.tally()
    });
    let variants: Vec<(Variant, Tally)> = variants.into_iter().zip(tallies).collect();
    let has_failures = variants.iter().any(|(variant, _)| {
        variant.recording_failures.0 > 0 || variant.rules.iter().any(|rule| rule.timeline.failures > 0)
    });
    let outcome = Outcome { start, end, url: &arguments.url, route: &route, variants, recorded };
    let text = match arguments.output {
        Output::Text => print::text(&outcome),
        Output::Json => print::json(&outcome),
    };
    Ok((text, has_failures))
}

/// All files, or every problem of all of them.
fn load(paths: &[PathBuf], scheme: NameValidationScheme) -> Result<Vec<(String, RuleFile)>, Vec<String>> {
    let (parse, legacy_names) = (ParseOptions::all(), scheme.is_legacy());
    let options = ReadOptions { parse: &parse, ignore_unknown_fields: false, legacy_names };
    let (mut files, mut problems) = (Vec::new(), Vec::new());
    for path in paths {
        let (name, text) = match path == Path::new("-") {
            true => ("standard input".to_owned(), read_bounded(std::io::stdin().lock())),
            false => (path.display().to_string(), read(path)),
        };
        match text {
            Ok(text) => match RuleFile::read(&name, &text, &options) {
                Ok(file) => files.push((name, file)),
                Err(errors) => problems.extend(errors.iter().map(ToString::to_string)),
            },
            Err(error) => problems.push(format!("{name}: {error}")),
        }
    }
    if problems.is_empty() { Ok(files) } else { Err(problems) }
}

fn route(arguments: &BacktestArguments) -> Result<Route, Vec<String>> {
    let is_by_all = arguments.group_by.iter().any(|label| label == "...");
    if is_by_all && arguments.group_by.len() > 1 {
        return Err(vec!["--group-by: `...` stands alone".to_owned()]);
    }
    if arguments.group_interval.as_millis() < 1000 {
        return Err(vec!["--group-interval is a second at least".to_owned()]);
    }
    Ok(Route {
        group_by: (!is_by_all).then(|| arguments.group_by.clone()),
        group_wait_ms: arguments.group_wait.as_millis(),
        group_interval_ms: arguments.group_interval.as_millis(),
        repeat_interval_ms: arguments.repeat_interval.as_millis(),
        send_resolved: !arguments.no_send_resolved,
    })
}

/// On a terminal, how far it is.
fn progress() -> impl FnMut(f64) {
    let is_shown = std::io::stderr().is_terminal();
    let mut shown = None;
    move |part: f64| {
        let percent = (part * 100.0) as i64;
        if is_shown && shown.replace(percent) != Some(percent) {
            let _ = write!(std::io::stderr(), "\r{percent} %");
        }
    }
}

fn clear() {
    if std::io::stderr().is_terminal() {
        let _ = write!(std::io::stderr(), "\r      \r");
    }
}
