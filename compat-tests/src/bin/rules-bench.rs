//! What rules cost and how late alerts are: many groups over a steady load, in Hearth and in Debian's Prometheus.
//!
//! Servers run one after the other. CPU seconds are those of the server process, less what it used for the same load without
//! rules; the load and the receivers of alerts run in this program and are not counted.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "the report is this program's purpose")]

#[path = "rules-bench/evaluate.rs"]
mod evaluate;
#[path = "rules-bench/latency.rs"]
mod latency;
#[path = "rules-bench/restart.rs"]
mod restart;
#[path = "rules-bench/rules.rs"]
mod rules;
#[path = "rules-bench/storm.rs"]
mod storm;

use clap::Parser;
use compat_tests::table::{Table, machine, short};
use std::path::PathBuf;

/// Rules and alerts of Hearth and Prometheus, measured on this machine
#[derive(Debug, Parser)]
struct Arguments {
    /// What to do: evaluate, restart, storm
    #[arg(long, value_delimiter = ',', default_value = "evaluate,restart,storm")]
    parts: Vec<String>,
    /// Leave one out: hearth or prometheus
    #[arg(long, value_delimiter = ',')]
    without: Vec<String>,
    /// Groups of rules
    #[arg(long, default_value_t = 10_000)]
    groups: usize,
    /// Rules of each group
    #[arg(long, default_value_t = 10)]
    rules: usize,
    /// Seconds between two evaluations of a group
    #[arg(long, default_value_t = 60)]
    interval: u64,
    /// Series of the load, sent every 15 seconds
    #[arg(long, default_value_t = 100_000)]
    series: usize,
    /// Seconds over which evaluations are measured, after one interval to warm up
    #[arg(long, default_value_t = 60)]
    window: u64,
    /// Seconds over which the load alone is measured
    #[arg(long, default_value_t = 30)]
    idle: u64,
    /// How often the way from a sample to its alert is timed
    #[arg(long, default_value_t = 60)]
    alerts: usize,
    /// How often that is timed for a rule with `evaluate: on_ingest`, in Hearth alone; 0: not at all
    #[arg(long, default_value_t = 100)]
    on_ingest: usize,
    /// Alerts that are active when the process is killed, or fire and resolve in the storm
    #[arg(long, default_value_t = 100_000)]
    instances: usize,
    /// Minutes of the storm
    #[arg(long, default_value_t = 3)]
    minutes: u64,
    /// Where to keep data while it runs [default: a temporary directory]
    #[arg(long)]
    directory: Option<PathBuf>,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let temporary = tempfile::tempdir()?;
    let root = arguments.directory.clone().unwrap_or_else(|| temporary.path().to_owned());
    let wanted = |part: &str| arguments.parts.iter().any(|wanted| wanted == part);
    println!("{}\n", machine(&["prometheus"]));
    if wanted("evaluate") {
        let mut measured = Vec::new();
        for name in ["hearth", "prometheus"] {
            if !arguments.without.iter().any(|without| without == name) {
                measured.push((name, evaluate::run(name, &root.join(name), &arguments).await?));
            }
        }
        println!("{}", report(&measured, &arguments));
    }
    if wanted("restart") {
        println!("{}", restart::run(&root.join("restart"), arguments.instances).await?);
    }
    if wanted("storm") {
        println!("{}", storm::run(&root.join("storm"), arguments.instances, arguments.minutes).await?);
    }
    Ok(())
}

fn report(measured: &[(&str, evaluate::Measured)], arguments: &Arguments) -> String {
    let Arguments { groups, rules, interval, series, .. } = arguments;
    let titles: Vec<_> = std::iter::once("").chain(measured.iter().map(|(name, _)| *name)).collect();
    let mut table = Table::new(&titles);
    let mut row = |name: &str, of: &dyn Fn(&evaluate::Measured) -> f64| {
        let cell = |value: f64| if value.is_nan() { "–".into() } else { short(value) };
        let cells = measured.iter().map(|(_, measured)| cell(of(measured)));
        table.row(std::iter::once(name.to_owned()).chain(cells));
    };
    row("evaluations of rules in the window", &|m| m.evaluations);
    row("evaluations that failed", &|m| m.failures);
    row("slots missed", &|m| m.missed);
    row("CPU µs per evaluation of a rule", &evaluate::Measured::micros_per_evaluation);
    row("CPU cores, load without rules", &|m| m.idle_cores);
    row("CPU cores, load and rules", &|m| m.busy_cores);
    row("resident MiB at its peak", &|m| m.peak_bytes as f64 / 1_048_576.0);
    row("seconds to load the rules", &|m| m.reload_seconds);
    row("seconds for /api/v1/rules, median of five", &|m| m.listing_seconds);
    row("its MiB", &|m| m.listing_bytes as f64 / 1_048_576.0);
    row("sample to alert, rules every second, ms, median", &|m| latency::quantile(&m.delays_ms, 50));
    row("sample to alert, rules every second, ms, 99 %", &|m| latency::quantile(&m.delays_ms, 99));
    row("sample to alert, `evaluate: on_ingest`, ms, median", &|m| latency::quantile(&m.early_delays_ms, 50));
    row("sample to alert, `evaluate: on_ingest`, ms, 99 %", &|m| latency::quantile(&m.early_delays_ms, 99));
    let mut out = format!(
        "{groups} groups of {rules} rules, every {interval} s, over {series} series that are sent every 15 s.\n\n{}",
        table.markdown(),
    );
    if let [(_, ours), (_, theirs)] = measured {
        let ratio = ours.micros_per_evaluation() / theirs.micros_per_evaluation();
        out.push_str(&format!("\nAn evaluation costs {} of what it costs Prometheus.\n", short(ratio)));
    }
    out
}
