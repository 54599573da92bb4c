//! Sends Hearth days of samples as fast as it takes them, and prints how memory and disk grow, how long a restart after
//! `kill -9` takes, and what queries over all of the time cost.
//!
//! Samples carry the times that they would have had, the last one now: windows close, blocks are written and merged and, with
//! `--tiers`, become coarser as they would over those days.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "the report is this program's purpose")]

#[path = "long-run/ask.rs"]
mod ask;
#[path = "long-run/send.rs"]
mod send;

use anyhow::ensure;
use clap::Parser;
use compat_tests::drive::{flush, restart};
use compat_tests::load::{Fleet, SERIES_PER_TARGET};
use compat_tests::metrics;
use compat_tests::peer::{Launch, Server, disk_bytes};
use compat_tests::table::{Table, machine, short};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Days of samples for Hearth, and what they cost
#[derive(Debug, Parser)]
struct Arguments {
    /// Series that report at any time
    #[arg(long, default_value_t = 1_000_000)]
    series: usize,
    /// Seconds between two scrapes
    #[arg(long, default_value_t = 60)]
    interval: i64,
    /// How many days
    #[arg(long, default_value_t = 2)]
    days: i64,
    /// After how many hours a tenth of the targets is replaced by new ones; 0 means never
    #[arg(long, default_value_t = 0)]
    churn_hours: i64,
    /// Hours between two rows of the table
    #[arg(long, default_value_t = 2)]
    report_hours: i64,
    /// Wait before each row until nothing is left to flush or to merge: over those hours there would be time for it
    #[arg(long)]
    settle: bool,
    /// Connections that send at once
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Have what is older than a week become coarser, as `tiers: {}` does
    #[arg(long)]
    tiers: bool,
    /// How often each query is asked; 0 leaves them out
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Where to keep data while it runs [default: a temporary directory]
    #[arg(long)]
    directory: Option<PathBuf>,
    /// More arguments for Hearth
    #[arg(last = true)]
    more: Vec<String>,
}

const DAY_MS: i64 = 86_400_000;
const MEBIBYTE: f64 = 1_048_576.0;
/// So often in a row, at intervals of two seconds, hardly any CPU is used: the server looks every ten what is due.
const QUIET: usize = 7;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let temporary = tempfile::tempdir()?;
    let root = arguments.directory.clone().unwrap_or_else(|| temporary.path().to_owned());
    std::fs::create_dir_all(&root)?;
    let fleet = fleet(&arguments);
    let tiers = if arguments.tiers { "tiers: {}\n" } else { "" };
    let mut more = vec!["--web.enable-admin-api"];
    more.extend(arguments.more.iter().map(String::as_str));
    let launch = Launch::hearth(&root, Some(&format!("self_scrape: {{enabled: false}}\n{tiers}")), &more)?;
    println!("{}\n", machine(&[]));
    println!(
        "{} series every {} s for {} days: {} samples.\n",
        fleet.targets * SERIES_PER_TARGET,
        arguments.interval,
        arguments.days,
        fleet.samples()
    );

    let server = launch.start().await?;
    grow(&server, &fleet, &arguments, &root).await?;
    server.kill()?;
    let (server, seconds) = restart(&launch, &fleet).await?;
    println!("From start after kill -9 to the first correct answer: {} s.\n", short(seconds));
    if arguments.tiers {
        println!("{}", coarser(&server).await?);
    }
    if arguments.rounds > 0 {
        println!("{}", ask::table(&server, &fleet, arguments.rounds).await?);
    }
    server.kill()
}

/// The fleet whose last scrape is at the last full minute.
fn fleet(arguments: &Arguments) -> Fleet {
    let interval_ms = arguments.interval * 1000;
    let scrapes = (arguments.days * DAY_MS / interval_ms) as usize;
    let end_ms = jiff::Timestamp::now().as_millisecond() / 60_000 * 60_000;
    Fleet {
        targets: arguments.series / SERIES_PER_TARGET,
        interval_ms,
        start_ms: end_ms - (scrapes as i64 - 1) * interval_ms,
        scrapes,
        jitter_ms: 3,
        churn_every: (arguments.churn_hours * 3_600_000 / interval_ms) as usize,
        seed: 1,
    }
}

/// Sends everything, and prints a row after each part of it.
async fn grow(server: &Server, fleet: &Fleet, arguments: &Arguments, root: &Path) -> anyhow::Result<()> {
    let mut table = Table::new(&[
        "hours",
        "resident MiB",
        "at its peak",
        "that no file backs",
        "series in the head",
        "blocks",
        "B/sample in them",
        "disk MiB",
        "CPU µs/sample",
    ]);
    let mut senders = send::Senders::new(server, fleet, arguments.connections);
    let scrapes = ((arguments.report_hours * 3_600_000 / fleet.interval_ms) as usize).max(1);
    let mut until = 0;
    while until < fleet.scrapes {
        until = (until + scrapes).min(fleet.scrapes);
        server.reset_peak()?;
        let cpu_before = server.cpu_seconds();
        let samples = senders.send_until(until).await?;
        if arguments.settle {
            quiet(server).await?;
        }
        let cpu_micros = (server.cpu_seconds() - cpu_before) * 1e6 / samples as f64;
        let page = metrics::page(&server.url).await?;
        let figure = |name: &str| metrics::sum(&page, name).unwrap_or(0.0);
        let (resident, peak) = server.resident_bytes();
        let hours = until as f64 * fleet.interval_ms as f64 / 3_600_000.0;
        eprintln!("{hours:.1} h: {} MiB, {} at its peak", resident >> 20, peak >> 20);
        table.row([
            short(hours),
            short(resident as f64 / MEBIBYTE),
            short(peak as f64 / MEBIBYTE),
            short(server.anonymous_bytes() as f64 / MEBIBYTE),
            format!("{}", figure("hearth_head_series")),
            short(figure("hearth_blocks")),
            short(figure("hearth_block_bytes") / figure("hearth_block_samples")),
            short(disk_bytes(root) as f64 / MEBIBYTE),
            short(cpu_micros),
        ]);
    }
    println!("{}", table.markdown());
    Ok(())
}

/// Waits until the server has nothing to do, for a quarter of an hour at most.
async fn quiet(server: &Server) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut quiet = 0;
    while quiet < QUIET && began.elapsed() < Duration::from_secs(900) {
        let before = server.cpu_seconds();
        tokio::time::sleep(Duration::from_secs(2)).await;
        quiet = if server.cpu_seconds() - before < 0.2 { quiet + 1 } else { 0 };
    }
    ensure!(quiet == QUIET, "the server was never at rest");
    Ok(())
}

/// Waits until nothing more becomes coarser, and says how much is kept at which resolution.
async fn coarser(server: &Server) -> anyhow::Result<String> {
    flush(server, true).await?;
    quiet(server).await?;
    let page = metrics::page(&server.url).await?;
    let mut table = Table::new(&["resolution", "blocks", "MiB"]);
    for resolution in ["raw", "5m", "1h"] {
        let of = |name: &str| {
            let lines = page.lines().filter(|line| line.starts_with(&format!("{name}{{resolution=\"{resolution}\"")));
            lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>()
        };
        table.row([resolution.into(), short(of("hearth_blocks")), short(of("hearth_block_bytes") / MEBIBYTE)]);
    }
    Ok(table.markdown())
}
