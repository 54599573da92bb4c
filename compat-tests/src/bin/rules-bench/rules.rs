//! Rule files such as a platform team has: every group about one target, recording rules and alerts on them.

use compat_tests::load::instance;
use std::fmt::Write;

/// How many groups one file has at most.
const GROUPS_PER_FILE: usize = 1_000;

/// The files; `rules` of the ten kinds per group, in turn.
pub(crate) fn files(groups: usize, rules: usize, interval_seconds: u64, targets: usize) -> Vec<String> {
    let numbers: Vec<_> = (0..groups).collect();
    let file = |groups: &[usize]| {
        let mut text = String::from("groups:\n");
        for group in groups {
            let target = instance(group % targets);
            let _ = write!(text, "- name: group-{group:05}\n  interval: {interval_seconds}s\n  rules:\n");
            for rule in 0..rules {
                let _ = writeln!(text, "  - {}", one(*group, rule, &target));
            }
        }
        text
    };
    numbers.chunks(GROUPS_PER_FILE).map(file).collect()
}

fn one(group: usize, rule: usize, instance: &str) -> String {
    let of = format!("instance=\"{instance}\"");
    let labels = format!("labels: {{rule_group: g{group}, n: '{rule}'}}");
    let alert = |name: &str, expr: &str, hold: &str| {
        format!(
            "{{alert: {name}, expr: '{expr}', for: {hold}, {labels}, annotations: {{summary: '{{{{ $labels.instance }}}}: {{{{ $value | humanize }}}}'}}}}"
        )
    };
    match rule % 10 {
        0 => format!(
            "{{record: 'instance:requests:rate5m', expr: 'sum by (instance) (rate(http_requests_total{{{of}}}[5m]))', {labels}}}"
        ),
        1 => format!(
            "{{record: 'instance_mode:cpu:rate5m', expr: 'avg by (instance, mode) (rate(node_cpu_seconds_total{{{of}}}[5m]))', {labels}}}"
        ),
        2 => alert("RequestsHigh", &format!("instance:requests:rate5m{{rule_group=\"g{group}\"}} > 1000000"), "5m"),
        3 => alert(
            "ErrorsHigh",
            &format!(
                "sum by (instance) (rate(http_requests_total{{{of},code=~\"5..\"}}[5m])) / sum by (instance) (rate(http_requests_total{{{of}}}[5m])) > 0.9"
            ),
            "5m",
        ),
        4 => alert(
            "LatencyHigh",
            &format!(
                "histogram_quantile(0.99, sum by (instance, le) (rate(http_request_duration_seconds_bucket{{{of}}}[5m]))) > 10"
            ),
            "10m",
        ),
        5 => alert("Hot", &format!("temperature_celsius{{{of}}} > 500"), "0s"),
        6 => alert("QueueLong", &format!("queue_length{{{of}}} > 100"), "10m"),
        7 => alert("MemoryFull", &format!("process_memory_bytes{{{of},type=\"resident\"}} > 1e15"), "15m"),
        8 => alert("TargetGone", &format!("absent(build_info{{{of}}})"), "5m"),
        _ => alert("CacheCold", &format!("max_over_time(cache_hit_ratio{{{of}}}[5m]) < 0.001"), "5m"),
    }
}
