//! OpenMetrics text, which `hearth import` and `promtool tsdb create-blocks-from openmetrics` read.

use super::{ExportError, Sink};
use crate::lifecycle::Visited;
use model::labels::{Labels, METRIC_NAME, is_legacy_label_name, is_legacy_metric_name};
use model::metadata::MetricType;
use model::number::push_value;
use model::sample::is_stale_marker;
use std::io::{BufWriter, Write};

pub(super) struct OpenMetricsSink<W: Write> {
    output: BufWriter<W>,
    line: Vec<u8>,
    /// The family that was named last.
    family: String,
}

impl<W: Write> OpenMetricsSink<W> {
    pub(super) fn new(output: W) -> Self {
        Self { output: BufWriter::with_capacity(256 << 10, output), line: Vec::new(), family: String::new() }
    }

    /// Says the type of a family before its first series.
    fn name_family(&mut self, metric: &str, metric_type: MetricType) -> Result<(), ExportError> {
        let family = family(metric, metric_type);
        if metric_type == MetricType::Unknown || !is_legacy_metric_name(family) || family == self.family {
            return Ok(());
        }
        family.clone_into(&mut self.family);
        Ok(writeln!(self.output, "# TYPE {family} {metric_type}")?)
    }
}

/// The name of the family that a metric belongs to.
fn family(metric: &str, metric_type: MetricType) -> &str {
    let suffixes: &[&str] = match metric_type {
        MetricType::Counter => &["_total", "_created"],
        MetricType::Histogram | MetricType::GaugeHistogram | MetricType::Summary => {
            &["_bucket", "_count", "_sum", "_created"]
        }
        MetricType::Info => &["_info"],
        _ => &[],
    };
    suffixes.iter().find_map(|suffix| metric.strip_suffix(suffix)).unwrap_or(metric)
}

impl<W: Write> Sink for OpenMetricsSink<W> {
    fn series(&mut self, series: &Visited) -> Result<u64, ExportError> {
        let floats = &series.floats;
        if floats.values.iter().all(|value| is_stale_marker(*value)) {
            return Ok(0);
        }
        self.name_family(series.labels.metric_name().unwrap_or_default(), series.metric_type)?;
        let name = series_text(&series.labels);
        let mut written = 0;
        for (at_ms, value) in floats.timestamps_ms.iter().zip(&floats.values) {
            if is_stale_marker(*value) {
                continue;
            }
            self.line.clear();
            self.line.extend_from_slice(name.as_bytes());
            self.line.push(b' ');
            push_value(&mut self.line, *value);
            push_seconds(&mut self.line, *at_ms);
            self.output.write_all(&self.line)?;
            written += 1;
        }
        Ok(written)
    }

    fn finish(&mut self) -> Result<(), ExportError> {
        self.output.write_all(b"# EOF\n")?;
        Ok(self.output.flush()?)
    }
}

/// ` 12.345` and the end of the line.
fn push_seconds(out: &mut Vec<u8>, at_ms: i64) {
    let (sign, ms) = (if at_ms < 0 { "-" } else { "" }, at_ms.unsigned_abs());
    let text = match ms % 1000 {
        0 => format!(" {sign}{}\n", ms / 1000),
        fraction => format!(" {sign}{}.{fraction:03}\n", ms / 1000),
    };
    out.extend_from_slice(text.as_bytes());
}

/// `name{a="b"}`; names that need it are quoted, as OpenMetrics 2 and Prometheus 3 do.
fn series_text(labels: &Labels) -> String {
    let metric = labels.metric_name().unwrap_or_default();
    let mut parts = Vec::new();
    let plain = is_legacy_metric_name(metric);
    if !plain {
        parts.push(quote(metric));
    }
    for (name, value) in labels.iter().filter(|(name, _)| *name != METRIC_NAME) {
        let name = if is_legacy_label_name(name) { name.to_owned() } else { quote(name) };
        parts.push(format!("{name}={}", quote(value)));
    }
    let metric = if plain { metric } else { "" };
    if parts.is_empty() { metric.to_owned() } else { format!("{metric}{{{}}}", parts.join(",")) }
}

fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}
