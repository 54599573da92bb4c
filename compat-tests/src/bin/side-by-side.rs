//! Drives Hearth, VictoriaMetrics and Prometheus with the same samples and queries and prints what each costs.
//!
//! Servers are loaded one after the other, each alone; queries ask all of them in turn, so that a drift of the machine's speed
//! meets all alike. CPU seconds are those of the server process; the generator's own are not counted.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "the report is this program's purpose")]

#[path = "side-by-side/alerts.rs"]
mod alerts;
#[path = "side-by-side/measure.rs"]
mod measure;
#[path = "side-by-side/memory.rs"]
mod memory;
#[path = "side-by-side/report.rs"]
mod report;
#[path = "side-by-side/scaling.rs"]
mod scaling;

use clap::Parser;
use compat_tests::load::Fleet;
use compat_tests::peer::Launch;
use std::path::PathBuf;

/// Hearth, VictoriaMetrics and Prometheus side by side on this machine
#[derive(Debug, Parser)]
struct Arguments {
    /// Series that report at any time
    #[arg(long, default_value_t = 100_000)]
    series: usize,
    /// Seconds between two scrapes
    #[arg(long, default_value_t = 15)]
    interval: i64,
    /// How many scrapes to send
    #[arg(long, default_value_t = 120)]
    scrapes: usize,
    /// How many milliseconds a scrape may be off its time; 0 for scrapes on the dot
    #[arg(long, default_value_t = 3)]
    jitter_ms: i64,
    /// Series of the cold load: all new, few samples each; 0 leaves it out
    #[arg(long, default_value_t = 500_000)]
    new_series: usize,
    /// How often each query is asked
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// How often the way from a sample to its alert is timed; 0 leaves it out
    #[arg(long, default_value_t = 60)]
    alerts: usize,
    /// Connections that send at once
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Have Hearth write everything to blocks before it is asked, as it does with what is older than two hours
    #[arg(long)]
    blocks: bool,
    /// Take the peak of memory of queries over every series, each asked of a server that has just started
    #[arg(long)]
    memory: bool,
    /// Compare Hearth on one core with Hearth on all of them
    #[arg(long)]
    scaling: bool,
    /// Leave one out: hearth, victoria-metrics or prometheus
    #[arg(long, value_delimiter = ',')]
    without: Vec<String>,
    /// Where to keep data while it runs [default: a temporary directory]
    #[arg(long)]
    directory: Option<PathBuf>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let temporary = tempfile::tempdir()?;
    let root = arguments.directory.clone().unwrap_or_else(|| temporary.path().to_owned());
    let warm = fleet(arguments.series, arguments.interval, arguments.scrapes, arguments.jitter_ms);
    let cold = fleet(arguments.new_series, 15, 10, arguments.jitter_ms);

    let mut results = Vec::new();
    for name in ["hearth", "victoria-metrics", "prometheus"] {
        if arguments.without.iter().any(|w| w == name) {
            continue;
        }
        let launch = |set: &str| launch(name, &root.join(set).join(name));
        let cold_load = match arguments.new_series {
            0 => None,
            _ => Some(
                measure::load(&launch("cold")?, &cold, arguments.connections, &root.join("cold").join(name), false)
                    .await?,
            ),
        };
        let warm_load = measure::load(
            &launch("warm")?,
            &warm,
            arguments.connections,
            &root.join("warm").join(name),
            arguments.blocks,
        )
        .await?;
        eprintln!("{name}: loaded, {:.2} CPU µs/sample", warm_load.cpu_micros_per_sample());
        results.push(measure::Measured { name, warm: warm_load, cold: cold_load, restart: None, queries: Vec::new() });
    }
    measure::restart_and_query(&mut results, &root.join("warm"), &warm, arguments.rounds, launch).await?;
    println!("{}", report::markdown(&results, &warm, &cold));
    if arguments.memory {
        let names: Vec<_> = results.iter().map(|r| r.name).collect();
        println!("{}", report::memory(&names, &memory::measure(&names, &root.join("warm"), &warm, launch).await?));
    }
    if arguments.scaling {
        let launch = launch("hearth", &root.join("warm").join("hearth"))?;
        println!("{}", scaling::table(&launch, &warm, arguments.rounds).await?);
    }
    if arguments.alerts > 0 {
        let delays = alerts::delays_ms(&root.join("alerts"), arguments.alerts).await?;
        println!("{}", report::alert_delays(&delays));
    }
    Ok(())
}

fn fleet(series: usize, interval_s: i64, scrapes: usize, jitter_ms: i64) -> Fleet {
    Fleet {
        targets: series / compat_tests::load::SERIES_PER_TARGET,
        interval_ms: interval_s * 1000,
        // The last scrape is at a fixed time, so that two runs ask the same questions.
        start_ms: 1_795_168_800_000 - (scrapes as i64 - 1) * interval_s * 1000,
        scrapes,
        jitter_ms,
        churn_every: 40,
        seed: 1,
    }
}

fn launch(name: &str, directory: &std::path::Path) -> anyhow::Result<Launch> {
    std::fs::create_dir_all(directory)?;
    match name {
        "hearth" => Launch::hearth(directory, Some("self_scrape: {enabled: false}\n"), &["--web.enable-admin-api"]),
        "victoria-metrics" => Launch::victoria_metrics(directory),
        _ => Launch::prometheus(directory, "global: {scrape_interval: 1h}\n"),
    }
}
