//! Rule groups with fixed content, never evaluated.

use crate::http::state::RulesSource;
use model::labels::Labels;
use promql::parse::ParseOptions;
use ruler::annotate::TemplateContext;
use ruler::driver::SharedGroup;
use ruler::group::{Group, GroupSettings};
use ruler::restore::ForRestore;
use ruler::rule_file::{GroupDefaults, RuleFile};
use std::sync::{Arc, Mutex};

const FILE: &str = "
groups:
- name: recording
  interval: 30s
  rules:
  - {record: 'job:up:sum', expr: 'sum by (job) (up)'}
- name: alerting
  rules:
  - {alert: Down, expr: up == 0, for: 5m, labels: {severity: page}, annotations: {summary: it is down}}
";

pub(super) struct FixedRules {
    groups: Vec<SharedGroup>,
}

impl FixedRules {
    pub(super) fn new() -> Self {
        let file = RuleFile::parse("rules.yml", FILE, &ParseOptions::default()).expect("the file is valid");
        let defaults = GroupDefaults { interval_ms: 60_000, query_offset_ms: 0 };
        let parse = ParseOptions::default();
        let context = TemplateContext { external_labels: Labels::empty(), external_url: "".into(), parse };
        let settings = GroupSettings {
            context: Arc::new(context),
            resend_delay_ms: 60_000,
            repair_window_ms: 600_000,
            unknown_max_ms: 3_600_000,
            for_restore: ForRestore::default(),
        };
        let group = |spec| Arc::new(Mutex::new(Group::new(spec, settings.clone())));
        let specs = file.groups.into_iter().map(|group| group.resolve("rules.yml", defaults));
        Self { groups: specs.map(group).collect() }
    }
}

impl RulesSource for FixedRules {
    fn groups(&self) -> Vec<SharedGroup> {
        self.groups.clone()
    }
}
