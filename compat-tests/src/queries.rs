//! Expressions over the metrics that Prometheus, the node exporter and Hearth expose, covering every operator, function and
//! aggregation that Prometheus 2.42 has.
//!
//! Not in the list, because 3.x decided otherwise: ranges that end exactly on a sample (2.x counts both ends), `holt_winters`
//! (renamed), regular expressions over values with newlines, metric names after `atan2` (2.x keeps them).

const GAUGE: &str = "node_memory_MemFree_bytes";
const GAUGES: &str = "process_resident_memory_bytes";
const COUNTER: &str = "process_cpu_seconds_total";
const COUNTERS: &str = "node_cpu_seconds_total";
const BUCKETS: &str = "prometheus_http_request_duration_seconds_bucket";

/// All expressions.
#[must_use]
pub fn all() -> Vec<String> {
    let mut list = selectors();
    list.extend(over_time());
    list.extend(functions());
    list.extend(aggregations());
    list.extend(operators());
    list
}

/// Random expressions of random parts, the same for the same seed. What is compared or ranked is as it was scraped: where
/// values were rounded, the last bit would decide.
#[must_use]
pub fn generated(seed: u64, count: usize) -> Vec<String> {
    let mut random = Random { state: seed, in_subquery: false };
    (0..count).map(|_| random.vector(3)).collect()
}

/// Choices that a seed decides.
struct Random {
    state: u64,
    in_subquery: bool,
}

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) as usize % bound
    }

    fn pick<'a>(&mut self, texts: &[&'a str]) -> &'a str {
        texts[self.below(texts.len())]
    }

    fn selector(&mut self) -> String {
        let name = self.pick(&[GAUGE, GAUGES, COUNTER, COUNTERS, "up", "scrape_samples_scraped", "go_goroutines"]);
        let matchers = self.pick(&["", "", "", r#"{job="node"}"#, r#"{instance=~".+"}"#, r#"{job!~"h.*"}"#]);
        let modifiers = self.pick(&["", "", "", " offset 5s", " offset 12s", " @ end()"]);
        format!("{name}{matchers}{modifiers}")
    }

    fn window(&mut self) -> String {
        let name = self.pick(&[GAUGE, GAUGES, COUNTER, COUNTERS, "scrape_samples_scraped"]);
        let range = self.pick(&["5s", "9s", "15s", "21s"]);
        format!("{name}[{range}]{}", self.pick(&["", "", " offset 7s"]))
    }

    fn grouping(&mut self) -> &'static str {
        self.pick(&["", " by (job)", " by (mode)", " by (job, cpu)", " without (cpu)", " without (instance, mode)"])
    }

    fn vector(&mut self, depth: usize) -> String {
        if depth == 0 {
            return self.selector();
        }
        match self.below(12) {
            0 => self.selector(),
            1 | 2 => {
                let functions = [
                    "rate",
                    "increase",
                    "delta",
                    "irate",
                    "deriv",
                    "avg_over_time",
                    "sum_over_time",
                    "max_over_time",
                    "last_over_time",
                    "stddev_over_time",
                    "count_over_time",
                    "changes",
                    "resets",
                ];
                format!("{}({})", self.pick(&functions), self.window())
            }
            3 => {
                let function = self.pick(&["max_over_time", "avg_over_time", "sum_over_time", "last_over_time"]);
                // Within another subquery, steps would lie exactly at the start of ranges: 2.42 counts them, 3.x does not.
                if std::mem::replace(&mut self.in_subquery, true) {
                    return self.selector();
                }
                let (inner, range) = (self.vector(depth - 1), self.pick(&["10s:2s", "20s:3s", "15s:5s"]));
                self.in_subquery = false;
                format!("{function}(({inner})[{range}])")
            }
            4 | 5 => {
                // Not stddev and stdvar: of infinite values, which a power makes, they are 0 in 2.42 and NaN since 3.0.
                let function = self.pick(&["sum", "avg", "count", "min", "max", "group"]);
                format!("{function}{} ({})", self.grouping(), self.vector(depth - 1))
            }
            6 => format!("quantile{} (0.{}, {})", self.grouping(), 1 + self.below(9), self.vector(depth - 1)),
            7 => {
                let function = self.pick(&["abs", "ceil", "sqrt", "ln", "-", "exp", "sgn", "timestamp"]);
                format!("{function}({})", self.vector(depth - 1))
            }
            8 => {
                let operator = self.pick(&["+", "-", "*", "/", "^"]);
                format!("({}) {operator} {}", self.vector(depth - 1), self.pick(&["2", "0.5", "-3", "1e3"]))
            }
            9 => {
                let operator = self.pick(&[">", "<=", "!=", "== bool", "> bool"]);
                format!("{} {operator} {}", self.selector(), self.pick(&["0", "1", "250", "1e7"]))
            }
            10 => {
                let operator = self.pick(&["and", "or", "unless"]);
                let on = self.pick(&["", " on (job)", " on (instance)", " ignoring (mode, cpu)"]);
                format!("({}) {operator}{on} ({})", self.vector(depth - 1), self.vector(depth - 1))
            }
            _ => {
                let operator = self.pick(&["+", "-", "*", "/"]);
                let function = self.pick(&["sum", "max", "count"]);
                let (left, right) = (self.vector(depth - 1), self.vector(depth - 1));
                format!("({left}) {operator} on (job) group_left () {function} by (job) ({right})")
            }
        }
    }
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

fn selectors() -> Vec<String> {
    let mut list = strings(&[
        "up",
        "42",
        "-1.5e3",
        "\"text\"",
        "1 + 2 * 3 ^ 2 % 5",
        r#"up{job="node"}"#,
        r#"up{job!="node"}"#,
        r#"up{job=~"no.*|prom.+"}"#,
        r#"up{job!~"no.*"}"#,
        r#"up{nothing=""}"#,
        r#"{__name__=~"scrape_.*",job="node"}"#,
        r#"{job="node",__name__=~"node_cpu.*",mode=~"idle|user"}"#,
        "up offset 5s",
        "up offset -3s",
        "rate(process_cpu_seconds_total[10s] offset 5s)",
        "up @ end()",
        "up @ start()",
        "rate(process_cpu_seconds_total[10s] @ end())",
        "nothing_of_the_kind",
        "absent(nothing_of_the_kind{a=\"b\"})",
        "absent(up)",
        "absent_over_time(nothing_of_the_kind{a=\"b\",c=~\"d\"}[10s])",
        "absent_over_time(up[10s])",
    ]);
    list.push(format!("{COUNTERS}{{mode=\"idle\",cpu=\"0\"}}"));
    list
}

fn over_time() -> Vec<String> {
    let mut list = Vec::new();
    for function in ["avg", "min", "max", "sum", "count", "last", "present", "stddev", "stdvar"] {
        list.push(format!("{function}_over_time({GAUGE}[13s])"));
        list.push(format!("{function}_over_time({COUNTERS}{{mode=\"idle\"}}[8s])"));
    }
    for function in ["rate", "increase", "irate", "delta", "idelta", "deriv", "resets", "changes"] {
        list.push(format!("{function}({COUNTER}[15s])"));
        list.push(format!("{function}({COUNTERS}[9s])"));
    }
    for q in ["0", "0.3", "0.5", "0.99", "1", "-1", "2"] {
        list.push(format!("quantile_over_time({q}, {GAUGE}[17s])"));
    }
    list.push(format!("predict_linear({GAUGE}[20s], 60)"));
    list.push(format!("predict_linear({GAUGES}[20s], -60)"));
    list.push(format!("rate({COUNTER}[15s:3s])"));
    list.push(format!("max_over_time(rate({COUNTERS}{{mode=\"user\"}}[5s])[20s:2s])"));
    list.push(format!("avg_over_time(sum by (job) ({GAUGES})[20s:5s] offset 3s)"));
    list.push(format!("sum_over_time(({GAUGE} > bool 0)[12s:4s])"));
    list
}

fn functions() -> Vec<String> {
    let mut list = Vec::new();
    for function in ["abs", "ceil", "floor", "exp", "ln", "log2", "log10", "sqrt", "sgn", "round", "deg", "rad"] {
        list.push(format!("{function}(scrape_duration_seconds)"));
    }
    for function in ["sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh"] {
        list.push(format!("{function}(scrape_duration_seconds)"));
    }
    for function in ["day_of_month", "day_of_week", "day_of_year", "days_in_month", "hour", "minute", "month", "year"] {
        list.push(format!("{function}()"));
        list.push(format!("{function}(process_start_time_seconds)"));
    }
    list.extend(strings(&[
        "time()",
        "pi()",
        "vector(7)",
        "scalar(up{job=\"node\"})",
        "scalar(up)",
        "timestamp(up)",
        "timestamp(up offset 5s)",
        "time() - process_start_time_seconds",
        "clamp(scrape_samples_scraped, 10, 300)",
        "clamp_min(scrape_samples_scraped, 200)",
        "clamp_max(scrape_samples_scraped, 200)",
        "round(scrape_samples_scraped, 50)",
        "round(scrape_duration_seconds, 0.001)",
        "sort(scrape_samples_scraped)",
        "sort_desc(scrape_samples_scraped)",
        r#"label_replace(up, "host", "$1", "instance", "(.*):.*")"#,
        r#"label_replace(up, "host", "none", "instance", "x.*")"#,
        r#"label_replace(up, "job", "", "job", "node")"#,
        r#"label_join(up, "both", "-", "job", "instance")"#,
        r#"label_join(up, "job", "", "nothing")"#,
    ]));
    for q in ["0.5", "0.9", "0.99", "0", "1", "-1", "2"] {
        list.push(format!("histogram_quantile({q}, {BUCKETS})"));
        list.push(format!("histogram_quantile({q}, sum by (le, handler) (rate({BUCKETS}[20s])))"));
    }
    list
}

fn aggregations() -> Vec<String> {
    let mut list = Vec::new();
    for function in ["sum", "avg", "count", "min", "max", "group", "stddev", "stdvar"] {
        list.push(format!("{function}({COUNTERS})"));
        list.push(format!("{function} by (mode) ({COUNTERS})"));
        list.push(format!("{function} without (cpu, instance) (rate({COUNTERS}[10s]))"));
    }
    list.extend(strings(&[
        "topk(3, node_cpu_seconds_total)",
        "bottomk(2, node_cpu_seconds_total{mode=\"user\"})",
        "topk by (cpu) (1, node_cpu_seconds_total)",
        "topk(0, up)",
        "quantile(0.7, node_cpu_seconds_total)",
        "quantile by (mode) (0.5, node_cpu_seconds_total)",
        "quantile(-1, up)",
        "count_values(\"value\", up)",
        "count_values by (job) (\"version\", scrape_samples_scraped)",
        "sum by (nothing) (up)",
        "sum without () (up)",
        "count(count by (__name__) ({__name__!=\"\"}))",
        "sum(sum by (mode) (rate(node_cpu_seconds_total[10s])))",
    ]));
    list
}

fn operators() -> Vec<String> {
    let mut list = Vec::new();
    for operator in ["+", "-", "*", "/", "%", "^"] {
        list.push(format!("scrape_samples_scraped {operator} 3"));
        list.push(format!("7 {operator} scrape_duration_seconds"));
        list.push(format!("scrape_samples_scraped {operator} scrape_duration_seconds"));
    }
    for operator in ["==", "!=", "<", "<=", ">", ">="] {
        list.push(format!("scrape_samples_scraped {operator} 300"));
        list.push(format!("scrape_samples_scraped {operator} bool 300"));
        list.push(format!("300 {operator} scrape_samples_scraped"));
        list.push(format!("scrape_samples_scraped {operator} scrape_samples_post_metric_relabeling"));
        list.push(format!("3 {operator} bool 4"));
    }
    list.extend(strings(&[
        "up and on (job) scrape_samples_scraped > 200",
        "up or nothing_of_the_kind",
        "nothing_of_the_kind or up",
        "up unless on (job) up{job=\"node\"}",
        "up and up{job=\"node\"}",
        "up or on (job) scrape_duration_seconds",
        "up * on (instance) group_left (version) prometheus_build_info",
        "prometheus_build_info * on (instance) group_right (revision) up",
        "up * ignoring (job) scrape_duration_seconds",
        "-up",
        "+up",
        "-(up + 1)",
        "-2 ^ 2",
        "2 ^ 3 ^ 2",
        "(1 - avg by (instance) (rate(node_cpu_seconds_total{mode=\"idle\"}[20s]))) * 100",
        "sum(rate(prometheus_http_requests_total{code=~\"2..\"}[20s])) / sum(rate(prometheus_http_requests_total[20s]))",
        "node_memory_MemFree_bytes / node_memory_MemTotal_bytes",
        "1 / 0",
        "0 / 0",
        "1 atan2 2",
        "sum(up) atan2 2",
        "3 atan2 sum(scrape_duration_seconds)",
        "sum(up) atan2 sum(scrape_duration_seconds)",
        "-1 / 0",
        "up / 0",
        "up % 0",
    ]));
    list
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_list_is_long_and_without_repetition() {
        let list = super::all();
        let unique: std::collections::BTreeSet<_> = list.iter().collect();
        assert!(unique.len() >= 150 && unique.len() == list.len(), "{} of {}", unique.len(), list.len());
    }
}
