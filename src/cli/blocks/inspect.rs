//! `hearth blocks inspect`.

use super::find;
use crate::cli::store::{StoreArguments, size, table, time};
use std::process::ExitCode;
use storage::block::meta::{BlockMeta, resolution_name};
use storage::offline::FileColumns;

pub(super) fn run(store: &StoreArguments, ulid: &str, top: usize) -> Result<(String, ExitCode), String> {
    let store = store.open()?;
    let manifest = store.manifest();
    let block = find(&manifest, ulid)?;
    let columns = store.columns(block).map_err(|error| error.to_line())?;
    let metrics = store.metrics(block).map_err(|error| error.to_line())?;
    let mut text = summary(block);
    text.push_str(&files(block, &columns));
    for file in &columns {
        text.push_str(&columns_of(file));
    }
    let mut rows = vec![["metric", "series"].map(str::to_owned).to_vec()];
    rows.extend(metrics.iter().take(top).map(|(metric, series)| vec![metric.clone(), series.to_string()]));
    let more = metrics.len().saturating_sub(top);
    let more = if more > 0 { format!("and {more} more metrics\n") } else { String::new() };
    Ok((format!("{text}\n{}{more}", table(&rows, &[0])), ExitCode::SUCCESS))
}

fn summary(block: &BlockMeta) -> String {
    let origins = if block.sources.is_empty() { "itself".to_owned() } else { block.sources.join(" ") };
    let rows = [
        ("block", block.ulid.clone()),
        ("path", block.prefix()),
        ("tenant", block.tenant.clone()),
        ("level", block.level.to_string()),
        ("resolution", resolution_name(block.resolution_ms)),
        ("first sample", time(block.min_ms)),
        ("last sample", time(block.max_ms)),
        ("series", block.series.to_string()),
        ("samples", block.samples.to_string()),
        ("histograms", block.histograms.to_string()),
        ("exemplars", block.exemplars.to_string()),
        ("label columns", block.label_columns.len().to_string()),
        ("made from", origins),
    ];
    table(&rows.map(|(name, value)| vec![name.to_owned(), value]), &[0, 1])
}

fn files(block: &BlockMeta, columns: &[FileColumns]) -> String {
    let mut rows = vec![["file", "rows", "row groups", "size", "crc32"].map(str::to_owned).to_vec()];
    for file in &block.files {
        let groups = columns.iter().find(|columns| columns.name == file.name).map_or(0, |columns| columns.row_groups);
        let sum = format!("{:08x}", file.crc32);
        rows.push(vec![file.name.clone(), file.rows.to_string(), groups.to_string(), size(file.bytes), sum]);
    }
    format!("\n{}", table(&rows, &[0]))
}

fn columns_of(file: &FileColumns) -> String {
    let mut rows = vec![[file.name.as_str(), "size", "encoded", "bytes/row"].map(str::to_owned).to_vec()];
    for column in &file.columns {
        let each = format!("{:.3}", column.compressed_bytes as f64 / file.rows.max(1) as f64);
        rows.push(vec![column.name.clone(), size(column.compressed_bytes), size(column.encoded_bytes), each]);
    }
    format!("\n{}", table(&rows, &[0]))
}
