//! `hearth rules lint`: finds what is valid and yet probably a mistake, with `--url` also what only the data tell.

use crate::cli::asked_tenant::AskedTenant;
use crate::config::NameValidationScheme;
use crate::rules::load::read;
use clap::Args;
use promql::parse::ParseOptions;
use ruler::lint::{Facts, Lint, lint};
use ruler::rule_file::{ReadOptions, RuleFile};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How far back selectors are looked for in the data.
const LOOK_BACK_SECS: u64 = 24 * 60 * 60;
/// How long one question to the server may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What `hearth rules lint` is told.
#[derive(Debug, Clone, Args)]
pub struct LintArguments {
    /// Files to look at
    #[arg(required_unless_present = "list")]
    pub files: Vec<PathBuf>,

    /// Server whose data and metadata are asked: selectors that match nothing in the last day, functions on the wrong type
    #[arg(long, value_name = "URL", env = "HEARTH_SERVER")]
    pub url: Option<url::Url>,

    /// For whom
    #[command(flatten)]
    pub asked: AskedTenant,

    /// Lints to leave out, by name; in a file, `# hearth-lint: ignore NAME` does it for the rule that it is in or above
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = parse_lint)]
    pub disable: Vec<Lint>,

    /// Which names metrics and labels may have: what the server's `metric_name_validation_scheme` says
    #[arg(long, value_name = "SCHEME", default_value = "utf8")]
    pub name_validation_scheme: NameValidationScheme,

    /// Print the names of all lints with what they find
    #[arg(long)]
    pub list: bool,
}

fn parse_lint(name: &str) -> Result<Lint, String> {
    let known = || Lint::ALL.map(Lint::name).join(", ");
    Lint::from_name(name).ok_or_else(|| format!("there is no lint of that name; there are {}", known()))
}

/// Leaves with 1 when a file is not valid or the server cannot be asked, with 3 when something was found.
pub(super) fn run(arguments: &LintArguments) -> ExitCode {
    let mut out = std::io::stdout();
    if arguments.list {
        for lint in Lint::ALL {
            let _ = writeln!(out, "{:<20} {}", lint.name(), lint.explanation());
        }
        return ExitCode::SUCCESS;
    }
    let server = match arguments.url.as_ref().map(|url| Server::reach(url, &arguments.asked)).transpose() {
        Ok(server) => server,
        Err(problem) => {
            let _ = writeln!(std::io::stderr(), "hearth rules lint: {problem}");
            return ExitCode::FAILURE;
        }
    };
    let disabled: BTreeSet<Lint> = arguments.disable.iter().copied().collect();
    let facts = server.as_ref().map(|server| server as &dyn Facts);
    let scheme = arguments.name_validation_scheme;
    let (mut found, mut invalid) = (false, false);
    for path in &arguments.files {
        let name = path.display().to_string();
        let parsed = read(path).map_err(|error| format!("{name}: {error}")).and_then(|text| {
            let (parse, legacy_names) = (ParseOptions::all(), scheme.is_legacy());
            let options = ReadOptions { parse: &parse, ignore_unknown_fields: false, legacy_names };
            let file = RuleFile::read(&name, &text, &options);
            let file = file.map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
            Ok((file?, text))
        });
        match parsed {
            Err(problem) => {
                invalid = true;
                let _ = writeln!(std::io::stderr(), "{problem}");
            }
            Ok((file, text)) => {
                for finding in lint(&file, &text, &disabled, facts) {
                    found = true;
                    let (at, lint, rule) = (finding.at, finding.lint.name(), &finding.rule);
                    let _ = writeln!(out, "{name}:{at}: {lint}: {rule}: {}", finding.message);
                }
            }
        }
    }
    match (invalid, found) {
        (true, _) => ExitCode::FAILURE,
        (false, true) => ExitCode::from(3),
        (false, false) => ExitCode::SUCCESS,
    }
}

/// A server of Prometheus' API.
struct Server {
    base: String,
    client: reqwest::Client,
    runtime: tokio::runtime::Runtime,
    types: BTreeMap<String, String>,
}

impl Server {
    /// Reads the metadata, which also shows whether anybody answers.
    fn reach(url: &url::Url, asked: &AskedTenant) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("start the client: {error}"))?;
        let client = asked.in_requests(reqwest::Client::builder().timeout(PATIENCE)).build();
        let client = client.map_err(|error| format!("build the HTTP client: {error}"))?;
        let base = url.as_str().trim_end_matches('/').to_owned();
        let mut server = Self { base, client, runtime, types: BTreeMap::new() };
        let metadata = server.ask("/api/v1/metadata", &[("limit_per_metric", "1".to_owned())])?;
        let metrics = metadata.as_object().into_iter().flatten();
        let types = metrics
            .filter_map(|(metric, entries)| Some((metric.clone(), entries.get(0)?.get("type")?.as_str()?.to_owned())));
        server.types = types.collect();
        Ok(server)
    }

    /// The field `data` of an answer.
    fn ask(&self, path: &str, parameters: &[(&str, String)]) -> Result<Value, String> {
        let request = self.client.get(format!("{}{path}", self.base)).query(parameters);
        let answer = self.runtime.block_on(async { request.send().await?.json::<Value>().await });
        let mut answer =
            answer.map_err(|error| format!("ask {}: {}", self.base, crate::app::load::with_causes(&error)))?;
        match answer.get_mut("data") {
            Some(data) => Ok(data.take()),
            None => Err(format!("ask {}: {answer}", self.base)),
        }
    }
}

impl Facts for Server {
    fn has_data(&self, selector: &str) -> Option<bool> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let parameters = [
            ("match[]", selector.to_owned()),
            ("start", now.saturating_sub(LOOK_BACK_SECS).to_string()),
            ("end", now.to_string()),
            ("limit", "1".to_owned()),
        ];
        let series = self.ask("/api/v1/series", &parameters).ok()?;
        series.as_array().map(|series| !series.is_empty())
    }

    fn metric_type(&self, metric: &str) -> Option<String> {
        // OpenMetrics names the family without the ending of its counters.
        let family = metric.strip_suffix("_total").unwrap_or(metric);
        self.types.get(metric).or_else(|| self.types.get(family)).cloned()
    }
}
