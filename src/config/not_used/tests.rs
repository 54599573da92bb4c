use super::*;
use crate::config::{Config, PromDuration};

/// A file as Prometheus users have them, with all sections and all keys of `global` that Prometheus 3.14 knows.
const WHOLE: &str = "\
# my global config
global:
  scrape_interval: 15s
  scrape_timeout: 10s
  scrape_protocols: [OpenMetricsText1.0.0, PrometheusText0.0.4]
  evaluation_interval: 30s
  rule_query_offset: 5s
  query_log_file: query.log
  scrape_failure_log_file: failures.log
  external_labels: {cluster: lab, replica: 1}
  body_size_limit: 15MB
  sample_limit: 1500
  target_limit: 30
  label_limit: 30
  label_name_length_limit: 200
  label_value_length_limit: 200
  keep_dropped_targets: 10
  metric_name_validation_scheme: legacy
  metric_name_escaping_scheme: underscores
  scrape_native_histograms: true
  convert_classic_histograms_to_nhcb: false
  always_scrape_classic_histograms: true
  extra_scrape_metrics: true
runtime:
  gogc: 42
alerting:
  alertmanagers:
  - static_configs:
    - targets:
      - alertmanager:9093
rule_files:
  # - first.yml
  - 'rules/*.yml'
scrape_config_files:
  - 'scrape/*.yml'
scrape_configs:
  # The job name is added as a label.
  - job_name: \"prometheus\"
    honor_timestamps: &yes true
    static_configs:
      - targets: [\"localhost:9090\"]
    metric_relabel_configs: &drop
      - {source_labels: [__name__], regex: 'go_(.+)', action: drop}
  - job_name: pods
    honor_labels: *yes
    metric_relabel_configs: *drop
    kubernetes_sd_configs: [{role: pod}]
    basic_auth: {username: u, password: p}
remote_write:
  - url: http://other:9090/api/v1/write
    queue_config: {capacity: 10000}
remote_read: [{url: 'http://other:9090/api/v1/read'}]
storage:
  tsdb: {out_of_order_time_window: 30m}
  exemplars: {max_exemplars: 100}
tracing: {endpoint: 'localhost:4317', sampling_fraction: 1.0}
otlp: {promote_resource_attributes: [k8s.pod.name]}
";

#[test]
fn a_whole_prometheus_yml_is_taken_and_means_what_it_means() {
    let config = Config::parse(WHOLE).unwrap();
    let global = &config.global;
    assert_eq!(global.scrape_interval, PromDuration::from_secs(15));
    assert_eq!(global.evaluation_interval, PromDuration::from_secs(30));
    assert_eq!(global.rule_query_offset, PromDuration::from_secs(5));
    assert!(global.metric_name_validation_scheme.is_legacy());
    let labels = [("cluster", "lab"), ("replica", "1")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(global.external_labels, labels.into());
    assert_eq!(config.rule_files, ["rules/*.yml"]);
    assert_eq!(config.alerting.alertmanagers[0].static_configs[0].targets, ["alertmanager:9093"]);
}

#[test]
fn every_key_that_is_not_used_is_named_once_with_its_place_and_what_to_do() {
    let keys = Config::parse(WHOLE).unwrap().not_used;
    let lines: Vec<String> = keys.iter().map(ToString::to_string).collect();
    let (global, sections): (Vec<&String>, Vec<&String>) = lines.iter().partition(|line| line.contains(": global."));
    let named = |lines: &[&String]| -> Vec<String> {
        lines.iter().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect()
    };
    assert_eq!(
        named(&sections),
        [
            "24:1: runtime",
            "34:1: scrape_config_files",
            "36:1: scrape_configs",
            "49:1: remote_write",
            "52:1: remote_read",
            "53:1: storage",
            "56:1: tracing",
            "57:1: otlp",
        ]
    );
    assert_eq!(
        named(&global)[..3],
        ["4:3: global.scrape_timeout", "5:3: global.scrape_protocols", "8:3: global.query_log_file"]
    );
    assert_eq!(global.len(), 15);
    assert_eq!(
        *sections[2],
        "36:1: scrape_configs is not used: Hearth scrapes nothing but itself: leave scraping to Prometheus or an agent, with \
         its remote_write to here."
    );
    assert_eq!(keys.len(), reference::not_used().len(), "the test has every key");
}

/// What is not used is neither printed nor read back.
#[test]
fn what_is_not_used_is_not_part_of_the_configuration_that_is_printed() {
    let printed = Config::parse(WHOLE).unwrap().to_yaml();
    assert!(!printed.contains("scrape_configs") && !printed.contains("scrape_timeout"), "{printed}");
    let again = Config::parse(&printed).unwrap();
    assert!(again.not_used.is_empty());
    assert_eq!(again.to_yaml(), printed);
}

#[test]
fn sections_that_are_empty_or_of_another_form_are_taken_as_well() {
    for text in ["scrape_configs:\n", "scrape_configs: []\n", "storage: {}\n", "tracing: 5\n"] {
        assert_eq!(Config::parse(text).unwrap().not_used.len(), 1, "{text}");
    }
}

/// The YAML of Go, which the scanner takes only after these places were changed.
#[test]
fn places_behind_an_escaped_single_quote_or_a_lone_dash_are_those_of_the_file() {
    let config = Config::parse(r#"global: {external_labels: {a: "it\'s", b: -}, scrape_timeout: 5s}"#).unwrap();
    let labels = [("a", "it's"), ("b", "-")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(config.global.external_labels, labels.into());
    assert_eq!(config.not_used[0].at, Place { line: 1, column: 47 });
    let problem = Config::parse(r#"global: {external_labels: {a: "it\'s", b: -}, other: 5s}"#).unwrap_err();
    assert_eq!(problem.place, Some((1, 47)), "{problem}");
}

#[test]
fn a_name_that_prometheus_does_not_know_either_is_an_error_with_its_place() {
    for (text, place) in [
        ("rule_files: []\nscrape_config: []\n", (2, 1)),
        ("global:\n  scrape_timeouts: 5s\n", (2, 3)),
        ("alerting:\n  alertmanager: []\n", (2, 3)),
    ] {
        let problem = Config::parse(text).unwrap_err();
        assert_eq!((problem.place, problem.message.starts_with("unknown field")), (Some(place), true), "{problem}");
    }
}

/// Thousands of jobs with many rules each exceed the bounds that hold for a text of unknown size.
#[test]
fn a_file_with_many_jobs_is_taken() {
    let job = "- job_name: j\n  static_configs: [{targets: [a, b, c, d, e, f, g, h]}]\n";
    let text = format!("scrape_configs:\n{}rule_files: [a.yml]\n", job.repeat(30_000));
    let config = Config::parse(&text).unwrap();
    assert_eq!((config.rule_files.len(), config.not_used.len()), (1, 1));
}
