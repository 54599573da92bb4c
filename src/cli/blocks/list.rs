//! `hearth blocks list`.

use crate::cli::store::{StoreArguments, size, table, time};
use std::process::ExitCode;
use storage::block::meta::{BlockMeta, resolution_name};

pub(super) fn run(store: &StoreArguments, json: bool) -> Result<(String, ExitCode), String> {
    let manifest = store.open()?.manifest();
    if json {
        let blocks: Vec<_> = manifest.blocks.iter().map(as_json).collect();
        let text = serde_json::to_string_pretty(&blocks).map_err(|error| error.to_string())?;
        return Ok((text + "\n", ExitCode::SUCCESS));
    }
    if manifest.blocks.is_empty() {
        return Ok(("(no blocks)\n".to_owned(), ExitCode::SUCCESS));
    }
    let head = ["block", "level", "res", "first sample", "last sample", "series", "samples", "size", "bytes/sample"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(manifest.blocks.iter().map(row));
    let sum = |of: fn(&BlockMeta) -> u64| manifest.blocks.iter().map(of).sum::<u64>();
    let (samples, bytes) = (sum(samples), sum(BlockMeta::bytes));
    let total = format!("{} blocks, {samples} samples, {}", manifest.blocks.len(), size(bytes));
    Ok((format!("{}{total}, {} bytes/sample\n", table(&rows, &[0, 2]), each(bytes, samples)), ExitCode::SUCCESS))
}

fn row(block: &BlockMeta) -> Vec<String> {
    let samples = samples(block);
    vec![
        block.ulid.clone(),
        block.level.to_string(),
        resolution_name(block.resolution_ms),
        time(block.min_ms),
        time(block.max_ms),
        block.series.to_string(),
        samples.to_string(),
        size(block.bytes()),
        each(block.bytes(), samples),
    ]
}

/// Float samples and native histograms.
fn samples(block: &BlockMeta) -> u64 {
    block.samples + block.histograms
}

fn each(bytes: u64, samples: u64) -> String {
    if samples == 0 { "-".to_owned() } else { format!("{:.3}", bytes as f64 / samples as f64) }
}

/// As `meta.json` has it, and what is computed from that.
fn as_json(block: &BlockMeta) -> serde_json::Value {
    let mut json = serde_json::to_value(block).unwrap_or_default();
    if let Some(object) = json.as_object_mut() {
        object.insert("prefix".to_owned(), block.prefix().into());
        object.insert("bytes".to_owned(), block.bytes().into());
    }
    json
}
