//! `hearth blocks duckdb`: views over exactly the files that queries read, as SQL for DuckDB.
//!
//! A pattern such as `*/samples.parquet` also matches blocks that were merged into others and are not deleted yet, and shows
//! their samples twice. The names, columns and values of the views are those of `docs/sql.md`.

use crate::cli::store::StoreArguments;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::ExitCode;
use storage::block::meta::{BlockMeta, resolution_name};
use storage::block::schema::{
    EXEMPLARS_FILE, HIST_BUCKETS_FILE, HISTOGRAMS_FILE, SAMPLES_FILE, SERIES_FILE, TIMELINES_FILE,
};
use storage::manifest::Manifest;

/// What follows from the series and the timeline of a row.
const ROW: &str = "t.timestamp AS time, s.metric, s.labels, s.fingerprint";

pub(super) fn run(store: &StoreArguments) -> Result<(String, ExitCode), String> {
    let manifest = store.open()?.manifest();
    let root = store.url()?.ok_or("blocks in the memory of a process cannot be read by another one")?;
    Ok((views(&manifest, &root), ExitCode::SUCCESS))
}

/// The statements. `root` is what is put before the names of objects.
fn views(manifest: &Manifest, root: &str) -> String {
    let mut by_resolution: BTreeMap<u64, Vec<&BlockMeta>> = BTreeMap::new();
    for block in &manifest.blocks {
        by_resolution.entry(block.resolution_ms).or_default().push(block);
    }
    let blocks = manifest.blocks.len();
    let mut out =
        format!("-- The {blocks} blocks that queries read as of version {} of the manifest.\n", manifest.version);
    out.push_str("-- Blocks that are replaced stay for an hour: make these views anew after that.\n");
    if !manifest.tombstones.is_empty() {
        let pending = manifest.tombstones.len();
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(out, "-- {pending} deletions are not carried out yet: what they hide is in these views.");
    }
    for (resolution_ms, blocks) in by_resolution {
        let mut views = Views { out: &mut out, root, name: resolution_name(resolution_ms), blocks };
        match resolution_ms {
            0 => views.raw(),
            _ => views.buckets(resolution_ms),
        }
    }
    out
}

/// The views over the blocks of one resolution.
struct Views<'a> {
    out: &'a mut String,
    root: &'a str,
    name: String,
    blocks: Vec<&'a BlockMeta>,
}

impl Views<'_> {
    fn raw(&mut self) {
        if !self.files(SERIES_FILE, "series") || !self.files(TIMELINES_FILE, "timelines") {
            return;
        }
        let name = &self.name;
        self.view(
            "series",
            &format!(
                "SELECT metric, any_value(labels) AS labels, fingerprint, any_value(type) AS type,\n  \
                 min(min_ts) AS first_time, max(max_ts) AS last_time\n\
                 FROM files_{name}_series GROUP BY metric, fingerprint, fingerprint_high"
            ),
        );
        if self.files(SAMPLES_FILE, "samples") {
            let value = number("value", "");
            // A stale marker has neither mantissa nor raw value.
            let from = self.joined("samples");
            self.view(
                "samples",
                &format!("SELECT {ROW},\n  {value}\n{from}\nWHERE v.mantissa IS NOT NULL OR v.raw IS NOT NULL"),
            );
        }
        if self.files(HISTOGRAMS_FILE, "histograms") {
            let numbers = ["count", "sum", "zero_count"].map(|name| number(name, &format!("{name}_"))).join(",\n  ");
            let from = self.joined("histograms");
            self.view(
                "histograms",
                &format!(
                    "SELECT {ROW},\n  {numbers},\n  v.schema, v.zero_threshold, v.custom_bounds\n{from}\n\
                     WHERE v.sum_mantissa IS NOT NULL OR v.sum_raw IS NOT NULL"
                ),
            );
        }
        if self.files(HIST_BUCKETS_FILE, "hist_buckets") {
            let (count, from) = (number("count", ""), self.joined("hist_buckets"));
            self.view("hist_buckets", &format!("SELECT {ROW},\n  v.negative, v.bucket, {count}\n{from}"));
        }
        if self.files(EXEMPLARS_FILE, "exemplars") {
            let name = &self.name;
            self.view(
                "exemplars",
                &format!(
                    "SELECT v.timestamp AS time, s.metric, s.labels, s.fingerprint, v.value, v.labels AS exemplar_labels\n\
                     FROM files_{name}_exemplars v JOIN files_{name}_series s USING (block, series_id)"
                ),
            );
        }
    }

    fn buckets(&mut self, resolution_ms: u64) {
        let all = [(SERIES_FILE, "series"), (TIMELINES_FILE, "timelines"), (SAMPLES_FILE, "samples")];
        if !all.into_iter().all(|(first, kind)| self.files(first, kind)) {
            return;
        }
        // What the NULL of a number means: `docs/formats/block.md`.
        let of = |name: &str| format!("v.{name}_mantissa / v.{name}_divisor, v.{name}_raw");
        let [first, last, sum, min, max] = ["first", "last", "sum", "min", "max"].map(of);
        let reset_sum = of("reset_sum");
        let time = |column: &str| format!("t.timestamp + to_milliseconds(v.{column}::BIGINT - {resolution_ms})");
        let (first_time, last_time, from) = (time("first_off_ms"), time("last_off_ms"), self.joined("samples"));
        self.view(
            &format!("buckets_{}", self.name),
            &format!(
                "SELECT {ROW},\n  v.count, coalesce({sum}, {first}) AS sum,\n  \
                 coalesce({min}, {first}) AS min,\n  coalesce({max}, {last}, {first}) AS max,\n  \
                 coalesce({first}) AS first, coalesce({last}, {first}) AS last,\n  \
                 {first_time} AS first_time, {last_time} AS last_time,\n  \
                 v.resets, coalesce({reset_sum}, 0) AS reset_sum, v.changes, v.stale_end\n{from}\nWHERE v.count > 0"
            ),
        );
    }

    /// The view of all files of a kind, if there are any.
    fn files(&mut self, first: &str, kind: &str) -> bool {
        let root = escaped(self.root);
        let mut paths = Vec::new();
        for block in &self.blocks {
            let prefix = block.prefix();
            paths.extend(block.files_of(first).map(|file| format!("  '{root}{}{}'", escaped(&prefix), file.name)));
        }
        if paths.is_empty() {
            return false;
        }
        let name = format!("files_{}_{kind}", self.name);
        let paths = paths.join(",\n");
        // Blocks have columns for the labels that they have.
        let select =
            format!("SELECT * FROM read_parquet([\n{paths}\n], hive_partitioning = true, union_by_name = true)");
        self.view(&name, &select);
        true
    }

    /// Rows `v` of a kind with their time `t` and their series `s`.
    fn joined(&self, kind: &str) -> String {
        let name = &self.name;
        format!(
            "FROM files_{name}_{kind} v JOIN files_{name}_timelines t USING (block, ts_row)\n\
             JOIN files_{name}_series s USING (block, series_id)"
        )
    }

    fn view(&mut self, name: &str, select: &str) {
        let _ = writeln!(self.out, "\nCREATE OR REPLACE VIEW {name} AS\n{select};");
    }
}

/// A number of three columns, whose names begin with `prefix`.
fn number(name: &str, prefix: &str) -> String {
    format!("coalesce(v.{prefix}mantissa / v.{prefix}divisor, v.{prefix}raw) AS {name}")
}

/// A part of a path within quotes, where nothing stands for anything else.
fn escaped(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for character in path.chars() {
        match character {
            '\'' => out.push_str("''"),
            '[' | '*' | '?' => out.extend(['[', character, ']']),
            _ => out.push(character),
        }
    }
    out
}

#[cfg(test)]
mod tests;
