//! The command line: what a user can tell `hearth` to do.
mod asked_tenant;
pub mod blocks;
mod check;
pub mod import;
mod progress;
pub mod query;
mod rule_backfill;
pub mod rules;
pub mod sql;
pub mod store;

use crate::config::ServeFlags;
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Runs what the command line says.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        None => serve(cli.serve),
        Some(Command::Serve(flags)) => serve(*flags),
        Some(Command::Query(arguments)) => crate::cli::query::run(&arguments),
        Some(Command::Sql(arguments)) => crate::cli::sql::run(&arguments),
        Some(Command::Blocks { command }) => blocks::run(&command),
        Some(Command::Import(arguments)) => import::run(&arguments),
        Some(Command::Rules { command }) => rules::run(&command),
        Some(Command::Config { command: ConfigCommand::Check { file } }) => check::config(&file),
        Some(Command::Completions { shell }) => {
            clap_complete::generate(shell, &mut Cli::command(), "hearth", &mut std::io::stdout());
            ExitCode::SUCCESS
        }
    }
}

/// The flags of `hearth serve`, for the reference page.
#[must_use]
pub fn serve_command() -> clap::Command {
    Cli::command()
}

/// A Prometheus-compatible metrics backend in one process.
///
/// Without a command it serves: senders write to http://127.0.0.1:9009/api/v1/write, Prometheus' HTTP API and Grafana read from
/// http://127.0.0.1:9009, data is kept below ./data. A flag belongs before or after `serve`, all have defaults.
#[derive(Debug, Parser)]
#[command(name = "hearth", version, args_conflicts_with_subcommands = true, max_term_width = 120)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeFlags,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Take samples, answer queries, evaluate rules (what `hearth` alone does)
    Serve(Box<ServeFlags>),
    /// Ask a running server and print the answer
    Query(crate::cli::query::QueryArguments),
    /// Run a statement of SQL on a running server and print the rows
    Sql(crate::cli::sql::SqlArguments),
    /// List, inspect, verify and export blocks, whether a server runs or not
    Blocks {
        #[command(subcommand)]
        command: blocks::BlocksCommand,
    },
    /// Bring samples of Prometheus, OpenMetrics text or Parquet files into blocks, whether a server runs or not
    Import(import::ImportArguments),
    /// Check, test and try out rules
    Rules {
        #[command(subcommand)]
        command: rules::RulesCommand,
    },
    /// Work with configuration files
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Print a completion script for a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Check a configuration file and the rule files it names
    Check {
        /// File to check
        file: PathBuf,
    },
}

fn serve(flags: ServeFlags) -> ExitCode {
    if flags.config_check {
        return match &flags.config_file {
            Some(file) => check::config(file),
            None => check::nothing_to_check(),
        };
    }
    crate::app::run(flags)
}

/// Says on standard error why `command` failed, with all causes in one line.
fn complain(command: &str, error: &dyn std::error::Error) {
    let _ = writeln!(std::io::stderr(), "{command}: {}", crate::app::load::with_causes(error));
}
