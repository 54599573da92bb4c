//! Hearth's own metrics as Prometheus' text format 0.0.4.
//!
//! The registry prints OpenMetrics, which names a counter's family without `_total` and has lines that the older format
//! has no room for. Every scraper reads 0.0.4, so this one form is what `/metrics` serves; nothing is negotiated.
//! Format: <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use crate::telemetry::prometheus_names::with_prometheus_names;
use crate::telemetry::registries::Registries;
use model::tenant::TenantId;
use prometheus_client::registry::Registry;
use std::collections::HashMap;
use std::fmt::{self, Write as _};

/// Media type of the text format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The page: all metrics of the process and, if `prometheus_names`, what Prometheus has a name for under that name too.
///
/// # Errors
/// A metric fails to print itself.
pub fn page(registries: &Registries, prometheus_names: bool) -> Result<String, fmt::Error> {
    let mut families = Families::default();
    for (registry, tenant) in registries.all() {
        families.add(&registry, tenant.as_ref())?;
    }
    let page = families.print();
    Ok(if prometheus_names { with_prometheus_names(page) } else { page })
}

/// Families of several registries, each once.
#[derive(Default)]
struct Families {
    /// Head and samples, in the order of their first appearance.
    printed: Vec<(String, String)>,
    by_name: HashMap<String, usize>,
}

impl Families {
    /// Adds all metrics of a registry, those of a tenant with its name as a label.
    fn add(&mut self, registry: &Registry, tenant: Option<&TenantId>) -> Result<(), fmt::Error> {
        let mut openmetrics = String::with_capacity(64 << 10);
        prometheus_client::encoding::text::encode_registry(&mut openmetrics, registry)?;
        // Names of tenants have nothing to escape.
        let label = tenant.map(|tenant| format!("tenant=\"{tenant}\""));
        let (mut help, mut family) = (None, None);
        for line in openmetrics.lines() {
            if let Some(text) = line.strip_prefix("# HELP ") {
                help = text.split_once(' ');
            } else if let Some(text) = line.strip_prefix("# TYPE ") {
                let Some((name, kind)) = text.split_once(' ') else { continue };
                family = Some(self.family(name, kind, help.take().map(|(_, help)| help))?);
            } else if !line.starts_with('#') {
                let Some((_, samples)) = family.and_then(|family| self.printed.get_mut(family)) else { continue };
                push_sample(samples, without_exemplar(line), label.as_deref());
            }
        }
        Ok(())
    }

    fn family(&mut self, name: &str, kind: &str, help: Option<&str>) -> Result<usize, fmt::Error> {
        if let Some(known) = self.by_name.get(name) {
            return Ok(*known);
        }
        let mut head = String::new();
        write_family(&mut head, name, kind, help)?;
        self.by_name.insert(name.to_owned(), self.printed.len());
        self.printed.push((head, String::new()));
        Ok(self.printed.len() - 1)
    }

    fn print(self) -> String {
        let bytes = self.printed.iter().map(|(head, samples)| head.len() + samples.len()).sum();
        let mut page = String::with_capacity(bytes);
        for (head, samples) in self.printed {
            page.push_str(&head);
            page.push_str(&samples);
        }
        page
    }
}

/// Writes a sample, with one more label if there is one.
fn push_sample(out: &mut String, line: &str, label: Option<&str>) {
    let place = line.find(['{', ' ']).filter(|_| label.is_some());
    match (label, place.map(|at| line.split_at(at))) {
        (Some(label), Some((name, rest))) => {
            out.push_str(name);
            out.push('{');
            out.push_str(label);
            match rest.strip_prefix('{') {
                Some(labels) if labels.starts_with('}') => out.push_str(labels),
                Some(labels) => {
                    out.push(',');
                    out.push_str(labels);
                }
                None => {
                    out.push('}');
                    out.push_str(rest);
                }
            }
        }
        _ => out.push_str(line),
    }
    out.push('\n');
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
        let text = page(&Registries::of(registry), false).unwrap();
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

    #[test]
    fn what_is_of_a_tenant_says_so_and_a_family_is_there_once() {
        let registry = |value: u64| {
            let mut registry = Registry::default();
            let series = Family::<[(String, String); 1], Counter>::default();
            series.get_or_create(&[("a".into(), "{ \"".into())]).inc_by(value);
            registry.register("writes", "Writes", series);
            let gauge = Gauge::<i64>::default();
            gauge.set(7);
            registry.register("size", "Size", gauge);
            registry
        };
        let mut process = Registry::default();
        process.register("up", "Up", Gauge::<i64>::default());
        let registries = Registries::of(process);
        for (tenant, value) in [("team-a", 1), ("team-b", 2)] {
            registries.set_tenant(&tenant.parse().unwrap(), registry(value), true);
        }
        let expected = r#"# HELP up Up.
# TYPE up gauge
up 0
# HELP writes_total Writes.
# TYPE writes_total counter
writes_total{tenant="team-a",a="{ \""} 1
writes_total{tenant="team-b",a="{ \""} 2
# HELP size Size.
# TYPE size gauge
size{tenant="team-a"} 7
size{tenant="team-b"} 7
"#;
        assert_eq!(page(&registries, false).unwrap(), expected);
    }
}
