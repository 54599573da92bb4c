//! Series of targets, info series that describe the targets, and queries that bring both together.

use super::histograms::select;
use super::{Data, Event, event, grouping, samples};
use model::labels::Labels;
use proptest::prelude::*;

/// Name, `instance`, `job`, other labels.
type Described = (&'static str, &'static str, &'static str, &'static [(&'static str, &'static str)]);

/// Counters `c_total` and gauges `g` of some targets, and info series that come and go. No two samples have the same time,
/// so that one info series is always the newest. All have both labels of a target: whether an info series without one is found
/// depends, in Prometheus too, on what other series have.
pub(crate) fn targets() -> impl Strategy<Value = Data> {
    const SERIES: [Described; 13] = [
        ("c_total", "a", "x", &[]),
        ("c_total", "a", "y", &[("version", "own")]),
        ("c_total", "b", "x", &[]),
        ("g", "a", "x", &[("i", "0")]),
        ("g", "a", "x", &[("i", "1"), ("version", "2")]),
        ("g", "b", "y", &[("i", "0")]),
        ("g", "c", "x", &[("i", "0")]),
        ("target_info", "a", "x", &[("version", "1"), ("env", "prod")]),
        ("target_info", "a", "x", &[("version", "2")]),
        ("target_info", "a", "y", &[("version", "2"), ("env", "test")]),
        ("target_info", "b", "x", &[("env", "prod")]),
        ("build_info", "a", "x", &[("version", "1"), ("lang", "rust")]),
        ("build_info", "b", "y", &[("lang", "go")]),
    ];
    // Scrapes are missing more often than of other data: another info series is the newest then.
    let events = prop_oneof![3 => event(), 1 => Just(Event::Missing), 1 => Just(Event::Stale)];
    let scrapes = proptest::collection::vec(events.prop_map(|event| (event, 0)), 40);
    proptest::collection::vec(scrapes, SERIES.len()).prop_map(|all| {
        let series = (0..).zip(SERIES).zip(all);
        let stored = series.map(|((number, (name, instance, job, more)), events)| {
            let own = [("__name__", name), ("instance", instance), ("job", job)];
            let labels = Labels::from_pairs(own.into_iter().chain(more.iter().copied())).expect("labels");
            (labels, samples(name, &events).into_iter().map(|(time, value)| (time + number * 7, value)).collect())
        });
        stored.collect()
    })
}

/// What gets labels: series of targets, and what keeps the labels of its target.
fn base() -> BoxedStrategy<String> {
    let names =
        || select(&["c_total", "g", r#"g{i="0"}"#, r#"{__name__=~"g|target_info"}"#, r#"{__name__=~"c_total|g"}"#]);
    let modifiers = || select(&["", "", "", " offset 40s", " offset -20s", " @ 300"]);
    let stored = || (names(), modifiers()).prop_map(|(name, modifiers)| format!("{name}{modifiers}"));
    let rate = (select(&["rate", "increase", "last_over_time"]), select(&["1m", "2m30s"]), modifiers());
    prop_oneof![
        4 => stored(),
        2 => rate.prop_map(|(function, range, modifiers)| format!("{function}(c_total[{range}]{modifiers})")),
        1 => (select(&["instance", "instance, job", "job", "i"]), stored()).prop_map(|(by, v)| format!("max by ({by}) ({v})")),
        1 => stored().prop_map(|v| format!("2 * ({v})")),
        1 => (stored(), stored()).prop_map(|(a, b)| format!("({a}) and on (instance) ({b})")),
    ]
    .boxed()
}

/// A query with `info` in it.
pub(crate) fn info_query() -> BoxedStrategy<String> {
    let wanted = select(&[
        "",
        "",
        r#", {version="1"}"#,
        r#", {version!="1"}"#,
        r#", {version=~".+"}"#,
        r#", {version=~".*", env=~".*"}"#,
        r#", {env=~"p.+", version!=""}"#,
        r#", {nothing=~".+"}"#,
        r#", {__name__="build_info"}"#,
        r#", {__name__=~".+_info"}"#,
        r#", {__name__!="target_info"}"#,
        r#", {__name__!="target_info", lang=~".+"}"#,
        r#", {__name__=~".+_info", env=~".+"}"#,
    ]);
    let info = (base(), wanted).prop_map(|(base, wanted)| format!("info({base}{wanted})"));
    let around = select(&["sum by (version) (", "count by (instance, env) (", "count without (i, job) (", "abs(", ""]);
    prop_oneof![
        5 => (around, info.clone()).prop_map(|(around, info)| {
            let end = if around.is_empty() { "" } else { ")" };
            format!("{around}{info}{end}")
        }),
        1 => (grouping(), info.clone()).prop_map(|(grouping, info)| format!("max{grouping} ({info})")),
        1 => info.prop_map(|info| format!("max_over_time({info}[1m:15s])")),
    ]
    .boxed()
}
