//! `hearth blocks`: lists, inspects, verifies and exports blocks without a running server.

mod duckdb;
mod export;
mod inspect;
mod list;
mod verify;

use super::store::{StoreArguments, finish};
use clap::Subcommand;
use std::process::ExitCode;
use storage::block::meta::BlockMeta;
use storage::manifest::Manifest;

/// What `hearth blocks` is told.
#[derive(Debug, Clone, Subcommand)]
pub enum BlocksCommand {
    /// List the blocks that queries use
    List {
        /// Where it is.
        #[command(flatten)]
        store: StoreArguments,
        /// Print everything that is known about each block, as JSON
        #[arg(long)]
        json: bool,
    },
    /// Print views for DuckDB over exactly the files that queries read
    Duckdb {
        /// Where it is.
        #[command(flatten)]
        store: StoreArguments,
    },
    /// Show the files and columns of a block, and its largest metrics
    Inspect {
        /// Block, as `list` names it; its first characters are enough
        ulid: String,
        /// Where it is.
        #[command(flatten)]
        store: StoreArguments,
        /// How many metrics to show
        #[arg(long, value_name = "N", default_value_t = 20)]
        top: usize,
    },
    /// Check every byte and every row of blocks; leaves with 1 when something is damaged
    Verify {
        /// Blocks to check [default: all]
        ulids: Vec<String>,
        /// Where it is.
        #[command(flatten)]
        store: StoreArguments,
    },
    /// Write the samples of blocks as Parquet, OpenMetrics or CSV
    Export(export::ExportArguments),
}

/// Runs a command.
pub(super) fn run(command: &BlocksCommand) -> ExitCode {
    match command {
        BlocksCommand::List { store, json } => finish("blocks list", list::run(store, *json)),
        BlocksCommand::Duckdb { store } => finish("blocks duckdb", duckdb::run(store)),
        BlocksCommand::Inspect { ulid, store, top } => finish("blocks inspect", inspect::run(store, ulid, *top)),
        BlocksCommand::Verify { ulids, store } => finish("blocks verify", verify::run(store, ulids)),
        BlocksCommand::Export(arguments) => finish("blocks export", export::run(arguments)),
    }
}

/// The block whose ULID begins like this.
fn find<'m>(manifest: &'m Manifest, beginning: &str) -> Result<&'m BlockMeta, String> {
    let beginning = beginning.to_ascii_uppercase();
    let mut found = manifest.blocks.iter().filter(|block| block.ulid.starts_with(&beginning));
    match (found.next(), found.next()) {
        (Some(block), None) => Ok(block),
        (None, _) => Err(format!("there is no block {beginning}")),
        (Some(_), Some(_)) => Err(format!("{beginning} is the beginning of several blocks")),
    }
}
