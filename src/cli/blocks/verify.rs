//! `hearth blocks verify`.

use super::find;
use crate::app::load::with_causes;
use crate::cli::progress::Progress;
use crate::cli::store::{StoreArguments, size};
use std::fmt::Write;
use std::process::ExitCode;
use storage::block::meta::BlockMeta;
use storage::import::Watch;

pub(super) fn run(store: &StoreArguments, ulids: &[String]) -> Result<(String, ExitCode), String> {
    let store = store.open()?;
    let manifest = store.manifest();
    let blocks: Vec<&BlockMeta> = match ulids {
        [] => manifest.blocks.iter().collect(),
        ulids => ulids.iter().map(|ulid| find(&manifest, ulid)).collect::<Result<_, _>>()?,
    };
    let (mut text, mut damaged) = (String::new(), 0u64);
    let progress = Progress::new();
    progress.begin("verify", blocks.iter().map(|block| block.bytes()).sum());
    for block in &blocks {
        // One that cannot be read does not keep the others from being checked. Writing to a string cannot fail.
        match store.verify(block) {
            Ok(found) if found.problems.is_empty() => {
                let (rows, bytes) = (found.rows, size(found.bytes));
                let _ = writeln!(text, "{}  good: {} files, {bytes}, {rows} rows", block.ulid, found.files);
            }
            Ok(found) => {
                damaged += 1;
                for problem in &found.problems {
                    let _ = writeln!(text, "{}  DAMAGED: {}", block.ulid, with_causes(problem));
                }
            }
            Err(error) => {
                damaged += 1;
                let _ = writeln!(text, "{}  UNREADABLE: {}", block.ulid, with_causes(&error));
            }
        }
        progress.advance(block.bytes());
    }
    progress.finish();
    let _ = writeln!(text, "{} blocks checked, {damaged} not good", blocks.len());
    Ok((text, if damaged > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }))
}
