use super::*;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use promql::parse::ParseOptions;
use ruler::annotate::TemplateContext;
use ruler::group::GroupSettings;
use ruler::restore::ForRestore;
use ruler::rule_file::{GroupDefaults, RuleFile};
use std::sync::{Arc, Mutex};
use std::time::Duration;

struct Fixed(Vec<SharedGroup>, SharedStats, RecentEvaluations);

impl RuleStats for Fixed {
    fn groups(&self) -> Vec<SharedGroup> {
        self.0.clone()
    }

    fn retired_stats(&self) -> SharedStats {
        self.1
    }

    fn recent(&self) -> &RecentEvaluations {
        &self.2
    }
}

#[test]
fn each_group_has_its_series_and_durations_include_groups_that_are_gone() {
    let file =
        RuleFile::parse("r.yml", "groups: [{name: a, interval: 90s}, {name: b}]", &ParseOptions::default()).unwrap();
    let defaults = GroupDefaults { interval_ms: 60_000, query_offset_ms: 0 };
    let context = TemplateContext {
        external_labels: model::labels::Labels::empty(),
        external_url: "".into(),
        parse: ParseOptions::default(),
    };
    let settings = GroupSettings {
        context: Arc::new(context),
        resend_delay_ms: 60_000,
        repair_window_ms: 600_000,
        unknown_max_ms: 3_600_000,
        for_restore: ForRestore::default(),
    };
    let groups = file.groups.into_iter().map(|group| group.resolve("r.yml", defaults));
    let groups: Vec<_> = groups.map(|spec| Arc::new(Mutex::new(Group::new(spec, settings.clone())))).collect();
    lock(&groups[1]).restored_in(Duration::from_millis(250));
    let mut retired = SharedStats { template_failures: 3, ..SharedStats::default() };
    retired.rule_durations.observe(Duration::from_millis(50));
    let mut registry = Registry::default();
    let recent = RecentEvaluations::default();
    recent.rules.observe(Duration::from_nanos(31));
    registry.register_collector(Box::new(RuleCollector::new(Fixed(groups, retired, recent))));
    let mut page = String::new();
    encode(&mut page, &registry).unwrap();
    for line in [
        "hearth_rule_evaluations_total{rule_group=\"r.yml;a\"} 0",
        "hearth_rule_group_interval_seconds{rule_group=\"r.yml;a\"} 90.0",
        "hearth_rule_group_interval_seconds{rule_group=\"r.yml;b\"} 60.0",
        "hearth_rule_group_last_restore_duration_seconds{rule_group=\"r.yml;a\"} 0.0",
        "hearth_rule_group_last_restore_duration_seconds{rule_group=\"r.yml;b\"} 0.25",
        "hearth_rule_evaluation_duration_seconds_bucket{le=\"0.1\"} 1",
        "hearth_rule_evaluation_duration_seconds_bucket{le=\"+Inf\"} 1",
        "hearth_rule_template_failures_total 3",
        "hearth_rule_evaluation_recent_duration_seconds{quantile=\"0.99\"} 3.1e-8",
        "hearth_rule_group_recent_duration_seconds{quantile=\"0.01\"} NaN",
    ] {
        assert!(page.lines().any(|found| found == line), "{line}\n{page}");
    }
}
