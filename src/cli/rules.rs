//! `hearth rules`: what can be done with rule files without a server that runs them.

mod backtest;
mod check;
mod lint;
mod test;

use super::rule_backfill::{self, BackfillArguments};
use clap::Subcommand;
use std::process::ExitCode;

/// What `hearth rules` is told.
#[derive(Debug, Clone, Subcommand)]
pub enum RulesCommand {
    /// Check rule files and name every problem with file, line and column
    Check(check::CheckArguments),
    /// Find what is valid in rule files and yet probably a mistake
    Lint(lint::LintArguments),
    /// Run unit tests of rules, in the format of `promtool test rules`
    Test(test::TestArguments),
    /// Evaluate alerting rules over the history of a server and print what their alerts would have done
    Backtest(backtest::BacktestArguments),
    /// Evaluate recording rules over time that has passed, on a running server
    Backfill(BackfillArguments),
    /// Print the rules that watch Hearth itself, as the binary has them
    PrintPack,
}

/// Runs a command.
pub(super) fn run(command: &RulesCommand) -> ExitCode {
    match command {
        RulesCommand::Check(arguments) => check::run(arguments),
        RulesCommand::Lint(arguments) => lint::run(arguments),
        RulesCommand::Test(arguments) => test::run(arguments),
        RulesCommand::Backtest(arguments) => backtest::run(arguments),
        RulesCommand::Backfill(arguments) => rule_backfill::run(arguments),
        RulesCommand::PrintPack => {
            super::store::finish("rules print-pack", Ok((crate::rules::load::PACK.to_owned(), ExitCode::SUCCESS)))
        }
    }
}
