//! Our own metrics once more under the names of Prometheus, so that rules and dashboards that were made for Prometheus
//! servers find them.
//!
//! Only what means the same has a second name; nothing is invented. Works on the text of `/metrics`, behind everything that
//! counts.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

/// One metric of Prometheus and what it is made of.
struct Alias {
    name: &'static str,
    /// Labels of ours that are left out, and one that is added, such as `type="float"`.
    labels: Labels,
    /// Families of ours; samples with equal labels are added up. Never empty.
    from: &'static [&'static str],
    form: Form,
}

#[derive(Clone, Copy, PartialEq)]
enum Labels {
    Same,
    /// All samples become one, whatever their labels.
    None,
    /// This one, before those that are there.
    With(&'static str),
    /// Each of these of ours is the one beside it in Prometheus; samples that have none of them are left out.
    Instead(&'static [(&'static str, &'static str)]),
}

#[derive(Clone, Copy, PartialEq)]
enum Form {
    Same,
    /// Sum and count of a histogram, and the quantiles of a gauge.
    Summary,
}

const fn same(name: &'static str, from: &'static [&'static str]) -> Alias {
    Alias { name, labels: Labels::Same, from, form: Form::Same }
}

const fn total(name: &'static str, from: &'static [&'static str]) -> Alias {
    Alias { name, labels: Labels::None, from, form: Form::Same }
}

const fn with(name: &'static str, label: &'static str, from: &'static [&'static str]) -> Alias {
    Alias { name, labels: Labels::With(label), from, form: Form::Same }
}

/// Of a histogram and the gauge that has its quantiles.
const fn summary(name: &'static str, from: &'static [&'static str; 2]) -> Alias {
    Alias { name, labels: Labels::Same, from, form: Form::Summary }
}

/// Stages of a query. Prometheus selects series in one of its own before it evaluates; here that is a part of the evaluation.
const SLICES: Labels =
    Labels::Instead(&[("stage=\"queue\"", "slice=\"queue_time\""), ("stage=\"evaluation\"", "slice=\"inner_eval\"")]);

const ALIASES: &[Alias] = &[
    // Rules.
    same("prometheus_rule_evaluations_total", &["hearth_rule_evaluations_total"]),
    same("prometheus_rule_evaluation_failures_total", &["hearth_rule_evaluation_failures_total"]),
    same("prometheus_rule_evaluation_duration_histogram_seconds", &["hearth_rule_evaluation_duration_seconds"]),
    summary(
        "prometheus_rule_evaluation_duration_seconds",
        &["hearth_rule_evaluation_duration_seconds", "hearth_rule_evaluation_recent_duration_seconds"],
    ),
    same("prometheus_rule_group_duration_histogram_seconds", &["hearth_rule_group_duration_seconds"]),
    summary(
        "prometheus_rule_group_duration_seconds",
        &["hearth_rule_group_duration_seconds", "hearth_rule_group_recent_duration_seconds"],
    ),
    same("prometheus_rule_group_iterations_total", &["hearth_rule_group_iterations_total"]),
    same("prometheus_rule_group_iterations_missed_total", &["hearth_rule_group_iterations_missed_total"]),
    same("prometheus_rule_group_interval_seconds", &["hearth_rule_group_interval_seconds"]),
    same(
        "prometheus_rule_group_last_evaluation_timestamp_seconds",
        &["hearth_rule_group_last_evaluation_timestamp_seconds"],
    ),
    same("prometheus_rule_group_last_duration_seconds", &["hearth_rule_group_last_duration_seconds"]),
    same("prometheus_rule_group_last_rule_duration_sum_seconds", &["hearth_rule_group_last_rule_duration_sum_seconds"]),
    same("prometheus_rule_group_last_restore_duration_seconds", &["hearth_rule_group_last_restore_duration_seconds"]),
    same("prometheus_rule_group_last_evaluation_samples", &["hearth_rule_group_last_evaluation_samples"]),
    same("prometheus_rule_group_rules", &["hearth_rule_group_rules"]),
    same("prometheus_template_text_expansions_total", &["hearth_rule_template_expansions_total"]),
    same("prometheus_template_text_expansion_failures_total", &["hearth_rule_template_failures_total"]),
    // Notifications.
    same("prometheus_notifications_sent_total", &["hearth_notifications_sent_total"]),
    same("prometheus_notifications_errors_total", &["hearth_notifications_errors_total"]),
    same("prometheus_notifications_dropped_total", &["hearth_notifications_dropped_total"]),
    same("prometheus_notifications_queue_length", &["hearth_notifications_queue_length"]),
    same("prometheus_notifications_queue_capacity", &["hearth_notifications_queue_capacity"]),
    same("prometheus_notifications_alertmanagers_discovered", &["hearth_notifications_alertmanagers_discovered"]),
    same("prometheus_sd_dns_lookups_total", &["hearth_sd_dns_lookups_total"]),
    same("prometheus_sd_dns_lookup_failures_total", &["hearth_sd_dns_lookup_failures_total"]),
    same("prometheus_sd_file_read_errors_total", &["hearth_sd_file_read_errors_total"]),
    same("prometheus_sd_http_failures_total", &["hearth_sd_http_failures_total"]),
    // DNS counts its failures by name and files by file, there as here.
    with("prometheus_sd_refresh_failures_total", "mechanism=\"http\"", &["hearth_sd_http_failures_total"]),
    with("prometheus_sd_discovered_targets", "name=\"notify\"", &["hearth_sd_discovered_targets"]),
    same("prometheus_notifications_latency_histogram_seconds", &["hearth_notifications_latency_seconds"]),
    summary(
        "prometheus_notifications_latency_seconds",
        &["hearth_notifications_latency_seconds", "hearth_notifications_recent_latency_seconds"],
    ),
    // The process.
    same("prometheus_build_info", &["hearth_build_info"]),
    same("prometheus_config_last_reload_successful", &["hearth_config_last_reload_successful"]),
    same(
        "prometheus_config_last_reload_success_timestamp_seconds",
        &["hearth_config_last_reload_success_timestamp_seconds"],
    ),
    same("prometheus_http_requests_total", &["hearth_http_requests_total"]),
    same("prometheus_http_request_duration_seconds", &["hearth_http_request_duration_seconds"]),
    same("prometheus_engine_queries", &["hearth_queries_evaluating", "hearth_queries_waiting"]),
    same("prometheus_engine_queries_concurrent_max", &["hearth_queries_evaluating_max"]),
    Alias {
        labels: SLICES,
        ..same("prometheus_engine_query_duration_histogram_seconds", &["hearth_query_duration_seconds"])
    },
    Alias {
        labels: SLICES,
        ..summary(
            "prometheus_engine_query_duration_seconds",
            &["hearth_query_duration_seconds", "hearth_query_recent_duration_seconds"],
        )
    },
    same("prometheus_engine_query_samples_total", &["hearth_query_samples_total"]),
    same("prometheus_engine_query_samples_read_total", &["hearth_query_samples_read_total"]),
    // Storage.
    same("prometheus_tsdb_head_series", &["hearth_head_series"]),
    same("prometheus_tsdb_head_series_created_total", &["hearth_head_series_created_total"]),
    same("prometheus_tsdb_head_min_time_seconds", &["hearth_head_min_time_seconds"]),
    same("prometheus_tsdb_head_max_time_seconds", &["hearth_head_max_time_seconds"]),
    with(
        "prometheus_tsdb_head_samples_appended_total",
        "type=\"float\"",
        &["hearth_head_samples_in_order_total", "hearth_head_samples_out_of_order_total"],
    ),
    with(
        "prometheus_tsdb_head_samples_appended_total",
        "type=\"histogram\"",
        &["hearth_head_histograms_in_order_total", "hearth_head_histograms_out_of_order_total"],
    ),
    with(
        "prometheus_tsdb_head_out_of_order_samples_appended_total",
        "type=\"float\"",
        &["hearth_head_samples_out_of_order_total"],
    ),
    with(
        "prometheus_tsdb_head_out_of_order_samples_appended_total",
        "type=\"histogram\"",
        &["hearth_head_histograms_out_of_order_total"],
    ),
    same("prometheus_tsdb_exemplar_exemplars_in_storage", &["hearth_head_exemplars"]),
    same("prometheus_tsdb_compactions_total", &["hearth_compaction_runs_total", "hearth_flush_runs_total"]),
    same(
        "prometheus_tsdb_compactions_failed_total",
        &["hearth_compaction_failures_total", "hearth_flush_failures_total"],
    ),
    total("prometheus_tsdb_blocks_loaded", &["hearth_blocks"]),
    total("prometheus_tsdb_storage_blocks_bytes", &["hearth_block_bytes"]),
];

/// A family of the page.
#[derive(Default)]
struct Family<'a> {
    help: &'a str,
    kind: &'a str,
    samples: Vec<Sample<'a>>,
}

/// `name` is the family's, `suffix` what follows it (`_sum`), `labels` the text between the braces.
struct Sample<'a> {
    suffix: &'a str,
    labels: &'a str,
    value: &'a str,
}

/// The page `text`, in the format of `/metrics`, with what has a name in Prometheus once more under that name.
#[must_use]
pub fn with_prometheus_names(mut text: String) -> String {
    let mut more = String::with_capacity(text.len() / 2);
    let families = families(&text);
    let mut previous = "";
    for alias in ALIASES {
        // Writing to a string cannot fail.
        let _ = write_alias(&mut more, alias, previous == alias.name, &families);
        previous = alias.name;
    }
    text.push_str(&more);
    text
}

fn families(text: &str) -> BTreeMap<&str, Family<'_>> {
    let mut families: BTreeMap<&str, Family<'_>> = BTreeMap::new();
    let mut current = "";
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            families.entry(name).or_default().help = help;
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            families.entry(name).or_default().kind = kind;
            current = name;
        } else if let (Some(family), Some(sample)) = (families.get_mut(current), sample(current, line)) {
            family.samples.push(sample);
        }
    }
    families
}

fn sample<'a>(family: &str, line: &'a str) -> Option<Sample<'a>> {
    let (series, value) = line.rsplit_once(' ')?;
    let rest = series.strip_prefix(family)?;
    match rest.split_once('{') {
        Some((suffix, labels)) => Some(Sample { suffix, labels: labels.strip_suffix('}')?, value }),
        None => Some(Sample { suffix: rest, labels: "", value }),
    }
}

fn write_alias(
    out: &mut String,
    alias: &Alias,
    is_continued: bool,
    families: &BTreeMap<&str, Family<'_>>,
) -> fmt::Result {
    let found = || alias.from.iter().filter_map(|name| families.get(name));
    let Some(first) = found().next() else { return Ok(()) };
    if !is_continued {
        let kind = if alias.form == Form::Summary { "summary" } else { first.kind };
        writeln!(out, "# HELP {} {}\n# TYPE {} {kind}", alias.name, first.help, alias.name)?;
    }
    let samples = found().flat_map(|family| &family.samples);
    let mut samples = samples.filter(|sample| alias.form == Form::Same || sample.suffix != "_bucket");
    if alias.from.len() == 1 && alias.labels != Labels::None {
        return samples.try_for_each(|sample| write_sample(out, alias, sample.suffix, sample.labels, sample.value));
    }
    let mut sums: BTreeMap<(&str, &str), f64> = BTreeMap::new();
    for Sample { suffix, labels, value } in samples {
        let labels = if alias.labels == Labels::None { "" } else { labels };
        *sums.entry((suffix, labels)).or_default() += value.parse::<f64>().unwrap_or(0.0);
    }
    sums.iter().try_for_each(|((suffix, labels), value)| write_sample(out, alias, suffix, labels, &value.to_string()))
}

fn write_sample(out: &mut String, alias: &Alias, suffix: &str, labels: &str, value: &str) -> fmt::Result {
    let labels = match alias.labels {
        Labels::Instead(pairs) => {
            let Some((ours, theirs)) = pairs.iter().find(|(ours, _)| labels.contains(ours)) else { return Ok(()) };
            Cow::Owned(labels.replacen(ours, theirs, 1))
        }
        _ => Cow::Borrowed(labels),
    };
    write!(out, "{}{suffix}", alias.name)?;
    match alias.labels {
        Labels::With(label) if labels.is_empty() => write!(out, "{{{label}}}")?,
        Labels::With(label) => write!(out, "{{{label},{labels}}}")?,
        _ if labels.is_empty() => {}
        _ => write!(out, "{{{labels}}}")?,
    }
    writeln!(out, " {value}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added(page: &str) -> String {
        with_prometheus_names(page.to_owned()).strip_prefix(page).unwrap().to_owned()
    }

    #[test]
    fn a_family_appears_again_with_its_help_and_labels() {
        let page = "# HELP hearth_rule_group_rules Rules.\n# TYPE hearth_rule_group_rules gauge\n\
                    hearth_rule_group_rules{rule_group=\"a b{;\\\"x\"} 3\n";
        assert_eq!(added(page), page.replace("hearth_", "prometheus_"));
        assert_eq!(added("# TYPE hearth_own gauge\nhearth_own 1\n"), "", "what Prometheus does not have has one name");
    }

    #[test]
    fn a_histogram_is_a_histogram_and_with_its_quantiles_a_summary() {
        let page = "# TYPE hearth_rule_group_duration_seconds histogram\nhearth_rule_group_duration_seconds_sum 0.5\n\
                    hearth_rule_group_duration_seconds_count 2\nhearth_rule_group_duration_seconds_bucket{le=\"+Inf\"} 2\n\
                    # TYPE hearth_rule_group_recent_duration_seconds gauge\n\
                    hearth_rule_group_recent_duration_seconds{quantile=\"0.01\"} NaN\n\
                    hearth_rule_group_recent_duration_seconds{quantile=\"0.5\"} 0.25\n";
        let summary = "# HELP prometheus_rule_group_duration_seconds \n# TYPE prometheus_rule_group_duration_seconds summary\n\
                       prometheus_rule_group_duration_seconds{quantile=\"0.01\"} NaN\n\
                       prometheus_rule_group_duration_seconds{quantile=\"0.5\"} 0.25\n\
                       prometheus_rule_group_duration_seconds_count 2\nprometheus_rule_group_duration_seconds_sum 0.5\n";
        let histogram = "prometheus_rule_group_duration_histogram_seconds_bucket{le=\"+Inf\"} 2\n";
        let added = added(page);
        assert!(added.contains(summary) && added.contains(histogram), "{added}");
    }

    #[test]
    fn stages_of_queries_are_slices_and_have_quantiles() {
        let page = "# TYPE hearth_query_duration_seconds histogram\n\
                    hearth_query_duration_seconds_sum{stage=\"queue\"} 0.5\n\
                    hearth_query_duration_seconds_count{stage=\"queue\"} 2\n\
                    hearth_query_duration_seconds_bucket{le=\"+Inf\",stage=\"queue\"} 2\n\
                    hearth_query_duration_seconds_count{stage=\"other\"} 2\n\
                    # TYPE hearth_query_recent_duration_seconds gauge\n\
                    hearth_query_recent_duration_seconds{stage=\"evaluation\",quantile=\"0.9\"} 0.25\n";
        let added = added(page);
        for line in [
            "# TYPE prometheus_engine_query_duration_seconds summary",
            "prometheus_engine_query_duration_seconds{slice=\"inner_eval\",quantile=\"0.9\"} 0.25",
            "prometheus_engine_query_duration_seconds_count{slice=\"queue_time\"} 2",
            "prometheus_engine_query_duration_histogram_seconds_bucket{le=\"+Inf\",slice=\"queue_time\"} 2",
        ] {
            assert!(added.lines().any(|found| found == line), "{line} is not in\n{added}");
        }
        assert!(!added.contains("other") && !added.contains("stage"), "{added}");
    }

    #[test]
    fn parts_are_added_up_label_by_label() {
        let page = "# TYPE hearth_head_samples_in_order_total counter\nhearth_head_samples_in_order_total 5\n\
                    # TYPE hearth_head_samples_out_of_order_total counter\nhearth_head_samples_out_of_order_total 2\n\
                    # TYPE hearth_head_histograms_in_order_total counter\nhearth_head_histograms_in_order_total 1\n\
                    # TYPE hearth_blocks gauge\nhearth_blocks{level=\"0\"} 2\nhearth_blocks{level=\"1\"} 3\n";
        let added = added(page);
        for line in [
            "prometheus_tsdb_head_samples_appended_total{type=\"float\"} 7",
            "prometheus_tsdb_head_samples_appended_total{type=\"histogram\"} 1",
            "prometheus_tsdb_head_out_of_order_samples_appended_total{type=\"float\"} 2",
            "prometheus_tsdb_blocks_loaded 5",
        ] {
            assert!(added.lines().any(|found| found == line), "{line} is not in\n{added}");
        }
        assert_eq!(added.matches("# TYPE prometheus_tsdb_head_samples_appended_total").count(), 1, "{added}");
    }
}
