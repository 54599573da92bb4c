//! Hearth's own metrics as Prometheus' text format 0.0.4.
//!
//! The registry prints OpenMetrics, which names a counter's family without `_total` and has lines that the older format
//! has no room for. Every scraper reads 0.0.4, so this one form is what `/metrics` serves; nothing is negotiated.
//! Format: <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use crate::telemetry::prometheus_names::with_prometheus_names;
use prometheus_client::registry::Registry;
use std::fmt::{self, Write as _};

/// Media type of the text format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The page: all metrics of a registry and, if `prometheus_names`, what Prometheus has a name for under that name too.
///
/// # Errors
/// A metric fails to print itself.
pub fn page(registry: &Registry, prometheus_names: bool) -> Result<String, fmt::Error> {
    let page = encode(registry)?;
    Ok(if prometheus_names { with_prometheus_names(page) } else { page })
}

/// Prints all metrics of a registry.
///
/// # Errors
/// A metric fails to print itself.
pub fn encode(registry: &Registry) -> Result<String, fmt::Error> {
    let mut openmetrics = String::with_capacity(64 << 10);
    prometheus_client::encoding::text::encode_registry(&mut openmetrics, registry)?;
    let mut out = String::with_capacity(openmetrics.len() + openmetrics.len() / 8);
    let mut help = None;
    for line in openmetrics.lines() {
        if let Some(text) = line.strip_prefix("# HELP ") {
            help = text.split_once(' ');
        } else if let Some(text) = line.strip_prefix("# TYPE ") {
            if let Some((name, kind)) = text.split_once(' ') {
                write_family(&mut out, name, kind, help.take().map(|(_, help)| help))?;
            }
        } else if !line.starts_with('#') {
            out.push_str(without_exemplar(line));
            out.push('\n');
        }
    }
    Ok(out)
}

fn write_family(out: &mut String, name: &str, kind: &str, help: Option<&str>) -> fmt::Result {
    let (suffix, kind) = match kind {
        "counter" => ("_total", "counter"),
        "info" => ("_info", "gauge"),
        "gauge" | "histogram" => ("", kind),
        // The registry knows no summaries: what has quantiles says that its type is unknown.
        _ => ("", "summary"),
    };
    if let Some(help) = help {
        writeln!(out, "# HELP {name}{suffix} {}", help.replace('\\', "\\\\"))?;
    }
    writeln!(out, "# TYPE {name}{suffix} {kind}")
}

/// Cuts ` # {…} …` off a sample; a quoted label value may contain the same bytes.
fn without_exemplar(line: &str) -> &str {
    let mut quoted = false;
    let mut escaped = false;
    for (at, byte) in line.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'#' if !quoted => return line.get(..at).unwrap_or(line).trim_end(),
            _ => {}
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::recent::{Recent, RecentCollector};
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::exemplar::CounterWithExemplar;
    use prometheus_client::metrics::family::Family;
    use prometheus_client::metrics::gauge::Gauge;
    use prometheus_client::metrics::histogram::Histogram;
    use prometheus_client::metrics::info::Info;
    use prometheus_client::registry::Unit;

    #[test]
    fn every_kind_of_metric_becomes_text() {
        let mut registry = Registry::default();
        let requests = Family::<[(String, String); 1], Counter>::default();
        requests.get_or_create(&[("path".into(), "a # \"b\"".into())]).inc_by(3);
        registry.register("requests", "Requests with a \\", requests);
        let traced = CounterWithExemplar::<[(String, String); 1]>::default();
        traced.inc_by(2, Some([("trace".into(), "x".into())]), None);
        registry.register("traced", "Traced", traced);
        registry.register_with_unit("heap", "Heap", Unit::Bytes, Gauge::<i64>::default());
        let seconds = Histogram::new([0.5]);
        seconds.observe(0.25);
        registry.register("seconds", "Durations", seconds);
        registry.register_collector(Box::new(RecentCollector {
            name: "lately",
            help: "Of late",
            quantiles: &["0.5"],
            parts: vec![(None, Recent::default())],
        }));
        registry.register("build", "Version", Info::new([("version", "1")]));
        let text = encode(&registry).unwrap();
        let expected = r#"# HELP requests_total Requests with a \\.
# TYPE requests_total counter
requests_total{path="a # \"b\""} 3
# HELP traced_total Traced.
# TYPE traced_total counter
traced_total 2
# HELP heap_bytes Heap.
# TYPE heap_bytes gauge
heap_bytes 0
# HELP seconds Durations.
# TYPE seconds histogram
seconds_sum 0.25
seconds_count 1
seconds_bucket{le="0.5"} 1
seconds_bucket{le="+Inf"} 1
# HELP build_info Version.
# TYPE build_info gauge
build_info{version="1"} 1
# HELP lately Of late
# TYPE lately summary
lately{quantile="0.5"} NaN
"#;
        assert_eq!(text, expected);
    }
}
