//! Backtests over a store in memory, and beside the ruler that runs.

use super::*;
use crate::ports::{AlertMessage, Element, QueryValue};
use crate::testing::{MINUTE, World, labels};
use crate::transition::{Cause, Phase};
use model::labels::Labels;
use promql::budget::{Budget, BudgetLimits};
use promql::engine::QueryContext;
use promql::parse::{ParseOptions, parse};
use promql::value::{QueryValue as Value, SampleValue};
use std::collections::BTreeSet;

const START: i64 = 1_000_000_000;

/// A server with some series.
#[derive(Default)]
struct Server {
    store: TestStore,
    asked: Vec<(String, i64, i64)>,
    /// Queries over more slots are refused.
    slots_max: Option<i64>,
    /// A query that touches this time is refused.
    broken_ms: Option<i64>,
}

fn engine() -> Engine {
    Engine::new(EngineOptions::default())
}

impl Server {
    /// `letters`, one per minute from START on: a digit is a value, `.` none, `s` a stale marker.
    fn write(&mut self, series: &[(&str, &str)], letters: &str) {
        for (minute, letter) in letters.chars().enumerate() {
            let at = START + minute as i64 * MINUTE;
            let value = match letter {
                '.' => continue,
                's' => model::sample::stale_marker(),
                digit => f64::from(digit.to_digit(10).unwrap()),
            };
            self.store.append(&labels(series), at, &SampleValue::Float(value)).unwrap();
        }
    }
}

impl History for Server {
    fn range(
        &mut self,
        query: &str,
        first_ms: i64,
        last_ms: i64,
        step_ms: i64,
    ) -> Result<Vec<HistorySeries>, HistoryError> {
        self.asked.push((query.to_owned(), first_ms, last_ms));
        if self.slots_max.is_some_and(|max| (last_ms - first_ms) / step_ms + 1 > max) {
            return Err(HistoryError::Refused("too many samples".to_owned()));
        }
        if self.broken_ms.is_some_and(|broken| (first_ms..=last_ms).contains(&broken)) {
            return Err(HistoryError::Refused("many-to-many".to_owned()));
        }
        let expr = parse(query, &ParseOptions::all()).map_err(|error| HistoryError::Failed(error.to_string()))?;
        let budget = Budget::new(BudgetLimits::default());
        let mut series: Vec<HistorySeries> = Vec::new();
        for at_ms in (first_ms..=last_ms).step_by(step_ms as usize) {
            let context = QueryContext::new(&self.store, &budget);
            let answer = engine().instant(&expr, at_ms, &context);
            let value = answer.map_err(|error| HistoryError::Refused(error.to_string()))?.value;
            let Value::Vector { samples, .. } = value else { continue };
            for sample in samples {
                let known = series.iter().position(|one| one.labels == sample.labels).unwrap_or_else(|| {
                    series.push(HistorySeries { labels: sample.labels.clone(), ..HistorySeries::default() });
                    series.len() - 1
                });
                match sample.value {
                    SampleValue::Float(value) => {
                        series[known].timestamps_ms.push(at_ms);
                        series[known].values.push(value);
                    }
                    SampleValue::Histogram(_) => series[known].histograms_ms.push(at_ms),
                }
            }
        }
        Ok(series)
    }

    fn instant(&mut self, query: &str, at_ms: i64) -> Result<Vec<HistorySeries>, HistoryError> {
        self.range(query, at_ms, at_ms, 1)
    }
}

fn files(rules: &str) -> Vec<(String, RuleFile)> {
    let text = format!("groups:\n- name: g\n  align_evaluation_time_on_interval: true\n  rules:\n{rules}");
    let file = RuleFile::parse("rules.yml", &text, &ParseOptions::default());
    vec![("rules.yml".to_owned(), file.unwrap_or_else(|errors| panic!("{errors:#?}")))]
}

fn options(minutes: i64) -> BacktestOptions {
    BacktestOptions {
        start: Timestamp(START),
        end: Timestamp(START + minutes * MINUTE),
        defaults: GroupDefaults { interval_ms: MINUTE, query_offset_ms: 0 },
        only: Vec::new(),
        holds_ms: Vec::new(),
        resend_delay_ms: MINUTE,
        context: (*crate::testing::settings().context).clone(),
        engine: EngineOptions::default(),
    }
}

fn run(test: &Backtest, server: &mut Server) -> (Vec<Variant>, Vec<Vec<(i64, AlertMessage)>>) {
    let mut sent = vec![Vec::new(); test.options.holds_ms.len() + 1];
    let mut heard = |variant: usize, departure: &Departure| {
        sent[variant].extend(departure.messages().map(|message| (departure.slot.0, message)));
    };
    let variants = test.run(server, &mut heard, &mut |_| {}).unwrap();
    (variants, sent)
}

fn backtest(rules: &str, minutes: i64, server: &mut Server) -> Variant {
    let test = Backtest::new(&files(rules), options(minutes)).unwrap_or_else(|problems| panic!("{problems:#?}"));
    run(&test, server).0.remove(0)
}

/// Minutes of the begin, of firing and of the end of each episode.
fn episodes(timeline: &Timeline) -> Vec<(i64, Option<i64>, Option<i64>)> {
    let minute = |at: Timestamp| (at.0 - START).div_euclid(MINUTE);
    let of = |episode: &Episode| {
        let ended = episode.ended.map(|(at, _)| minute(at));
        (minute(episode.active_since), episode.firing_since.map(minute), ended)
    };
    timeline.episodes.iter().map(of).collect()
}

/// Slots of an aligned group come this much after full minutes since START.
fn phase() -> i64 {
    (-START).rem_euclid(MINUTE)
}

#[test]
fn episodes_tell_when_an_alert_was_pending_fired_was_kept_and_resolved() {
    let mut server = Server::default();
    server.write(&[("__name__", "x"), ("i", "1")], "0099990099990000090000");
    let rules = "  - alert: A\n    expr: x > 5\n    for: 2m\n    keep_firing_for: 1m\n";
    let variant = backtest(rules, 20, &mut server);
    let timeline = &variant.rules[0].timeline;
    // Active in minutes 2 to 5 and 8 to 11, kept for one more; a minute is too short to fire.
    let expected = [(2, Some(4), Some(7)), (8, Some(10), Some(13)), (17, None, Some(18))];
    assert_eq!(episodes(timeline), expected);
    assert_eq!((timeline.fired, timeline.only_pending, timeline.instances, timeline.fired_again), (2, 1, 1, 1));
    assert_eq!(timeline.firing_ms, 6 * MINUTE);
    assert_eq!(timeline.episodes[0].kept_since, Some(Timestamp(START + phase() + 6 * MINUTE)));
    assert_eq!(timeline.episodes[0].ended.unwrap().1, Cause::KeptLongEnough);
    assert_eq!((timeline.episodes[0].value, timeline.evaluations, timeline.failures), (9.0, 20, 0));
    assert_eq!(timeline.episodes[0].labels, labels(&[("alertname", "A"), ("i", "1")]));
}

#[test]
fn other_values_of_for_are_tried_on_the_same_answers() {
    let mut server = Server::default();
    server.write(&[("__name__", "x")], "0990099990099999900000");
    let rules = "  - alert: A\n    expr: x > 5\n    for: 2m\n";
    let with = BacktestOptions { holds_ms: vec![0, 4 * MINUTE, 10 * MINUTE], ..options(20) };
    let test = Backtest::new(&files(rules), with).unwrap();
    let (variants, sent) = run(&test, &mut server);
    let fired: Vec<_> = variants.iter().map(|variant| (variant.hold_ms, variant.rules[0].timeline.fired)).collect();
    assert_eq!(fired, [(None, 2), (Some(0), 3), (Some(4 * MINUTE), 1), (Some(10 * MINUTE), 0)]);
    assert_eq!(server.asked.len(), 1, "{:?}", server.asked);
    for (variant, sent) in variants.iter().zip(sent) {
        assert_eq!(variant.rules[0].timeline.sent, sent.len() as u64);
    }
}

const CHAIN: &str = "
  - record: job:x:max
    expr: max by (job) (x)
  - alert: High
    expr: job:x:max > 5
    for: 3m
    keep_firing_for: 2m
  - alert: Direct
    expr: x > 7
    labels: {severity: '{{ if gt $value 8.0 }}page{{ else }}ticket{{ end }}'}
    annotations: {summary: '{{ with query \"x\" }}some{{ end }}'}
  - alert: Flow
    expr: avg_over_time(job:x:max[5m]) > 4 and on (job) count by (job) (x) > 1
    for: 1m
  - alert: Smooth
    expr: max_over_time((job:x:max * 2)[3m:1m]) > scalar(count(x)) * 5
  - alert: Many
    expr: count(ALERTS{alertstate='firing'}) > 2
  - alert: Quiet
    expr: absent(job:x:max{job='b'})
    for: 2m
";

/// What the ruler that runs did, with the same data: what changed, and what was sent.
type Told = (BTreeSet<(i64, Labels, &'static str)>, Vec<(i64, Labels, i64, i64, bool)>);

fn ruler(rules: &str, server: &Server, minutes: i64) -> Told {
    let (_, file) = files(rules).remove(0);
    let spec = file.groups[0].clone().resolve("rules.yml", options(0).defaults);
    let settings = GroupSettings { repair_window_ms: 0, ..crate::testing::settings() };
    let world = World::at(START - 1);
    for text in spec.rules.iter().map(|rule| rule.query.text().to_string()).chain(["x".to_owned()]) {
        let expr = parse(&text, &ParseOptions::all()).unwrap();
        let stored = server.store.clone();
        world.answer(&text, move |at, own| {
            // What senders wrote and what the rules wrote are series of one store.
            let mut store = stored.clone();
            for (labels, samples) in own {
                for (at, value) in samples {
                    store.append(labels, *at, value).unwrap();
                }
            }
            let budget = Budget::new(BudgetLimits::default());
            match engine().instant(&expr, at.0, &QueryContext::new(&store, &budget)).unwrap().value {
                Value::Vector { samples, .. } => Ok(QueryValue::Vector(
                    samples.into_iter().map(|one| Element { labels: one.labels, value: one.value }).collect(),
                )),
                other => panic!("{other:?}"),
            }
        });
    }
    let group = Arc::new(std::sync::Mutex::new(Group::new(spec, settings)));
    world.run(&group, minutes * MINUTE + 1);
    let mut changes = BTreeSet::new();
    for event in world.take_news() {
        if let GroupEvent::AlertsChanged { slot, transitions, .. } = event {
            changes.extend(transitions.iter().map(|one| (slot.0, one.labels.clone(), one.to.name())));
        }
    }
    let sent = world.take_sent().into_iter();
    (changes, sent.map(|(at, one)| (at, one.labels, one.starts_at.0, one.ends_at.0, one.resolved)).collect())
}

#[test]
fn the_timeline_is_that_of_the_ruler_that_runs() {
    let mut seed = 7u32;
    let mut next = move || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 16) % 1000
    };
    let mut all = 0;
    for round in 0..12 {
        let mut server = Server::default();
        let minutes = 90;
        for (job, instance) in [("a", "1"), ("a", "2"), ("b", "3")] {
            // Values that stay for a while, with gaps and ends.
            let mut letter = '0';
            let letters: String = (0..minutes)
                .map(|_| {
                    if next() < 250 {
                        letter = ['0', '3', '6', '8', '9', '.', 's'][next() as usize % 7];
                    }
                    letter
                })
                .collect();
            server.write(&[("__name__", "x"), ("i", instance), ("job", job)], &letters);
        }
        let test = Backtest::new(&files(CHAIN), options(minutes)).unwrap();
        let (variants, sent) = run(&test, &mut server);
        let mut changes = BTreeSet::new();
        for episode in variants[0].rules.iter().flat_map(|rule| &rule.timeline.episodes) {
            let mut change = |at: Timestamp, to: Phase| {
                changes.insert((at.0, episode.labels.clone(), to.name()));
            };
            if episode.firing_since != Some(episode.active_since) {
                change(episode.active_since, Phase::Pending);
            }
            episode.firing_since.iter().for_each(|at| change(*at, Phase::Firing));
            episode.ended.iter().for_each(|(at, _)| change(*at, Phase::Inactive));
        }
        let mut sent: Vec<_> = sent[0]
            .iter()
            .map(|(at, one)| (*at, one.labels.clone(), one.starts_at.0, one.ends_at.0, one.resolved))
            .collect();
        let (expected_changes, mut expected_sent) = ruler(CHAIN, &server, minutes);
        assert_eq!(changes, expected_changes, "round {round}");
        sent.sort();
        expected_sent.sort();
        assert_eq!(sent, expected_sent, "round {round}");
        assert!(variants[0].rules.iter().all(|rule| rule.timeline.failures == 0), "{variants:#?}");
        all += changes.len();
    }
    assert!(all > 500, "{all}");
}

#[test]
fn recording_rules_begin_as_much_earlier_as_alerts_look_back() {
    let mut server = Server::default();
    server.write(&[("__name__", "x")], &"1".repeat(120));
    let rules = "  - record: a\n    expr: x\n  - record: b\n    expr: sum_over_time(a[30m])\n  - record: unused\n    expr: x\n  - alert: A\n    expr: b offset 10m >= 30\n";
    let late = BacktestOptions { start: Timestamp(START + 60 * MINUTE), ..options(70) };
    let test = Backtest::new(&files(rules), late).unwrap();
    assert_eq!(test.helpers().map(|rule| rule.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    let (variants, _) = run(&test, &mut server);
    assert_eq!(episodes(&variants[0].rules[0].timeline), [(60, Some(60), None)]);
}

#[test]
fn a_refused_answer_is_asked_for_in_smaller_pieces() {
    let mut server = Server { slots_max: Some(7), ..Server::default() };
    server.write(&[("__name__", "x")], &format!("{}{}", "0".repeat(30), "9".repeat(60)));
    let variant = backtest("  - alert: A\n    expr: x > 5\n", 59, &mut server);
    assert_eq!(episodes(&variant.rules[0].timeline), [(30, Some(30), None)]);
    assert_eq!(variant.rules[0].timeline.failures, 0);
}

#[test]
fn a_slot_that_cannot_be_evaluated_fails_alone_and_changes_nothing() {
    let mut server = Server { broken_ms: Some(START + phase() + 10 * MINUTE), ..Server::default() };
    server.write(&[("__name__", "x")], &"9".repeat(60));
    let variant = backtest("  - alert: A\n    expr: x > 5\n", 40, &mut server);
    let timeline = &variant.rules[0].timeline;
    assert_eq!(episodes(timeline), [(0, Some(0), None)]);
    assert_eq!((timeline.failures, timeline.evaluations), (1, 40));
    assert_eq!(timeline.first_error.as_deref(), Some("many-to-many"));
}

#[test]
fn alerts_of_other_rules_are_seen_beside_those_of_the_file() {
    let mut server = Server::default();
    let alert = |name| [("__name__", "ALERTS"), ("alertname", name), ("alertstate", "firing")];
    // `A` has fired before as it was then; it is what the file says that counts.
    server.write(&alert("A"), &"1".repeat(30));
    server.write(&alert("B"), &"1".repeat(30));
    server.write(&[("__name__", "x")], &format!("{}{}", "0".repeat(10), "9".repeat(20)));
    let rules = "  - alert: A\n    expr: x > 5\n  - alert: Both\n    expr: count(ALERTS{alertstate='firing',alertname!='Both'}) >= 2\n";
    let variant = backtest(rules, 25, &mut server);
    assert_eq!(episodes(&variant.rules[1].timeline), [(10, Some(10), None)]);
}

#[test]
fn labels_may_ask_queries_of_the_history() {
    let mut server = Server::default();
    server.write(&[("__name__", "x")], "99999");
    let rules = "  - alert: A\n    expr: x > 5\n    labels: {n: '{{ query \"count(x)\" | first | value }}'}\n";
    let variant = backtest(rules, 3, &mut server);
    assert_eq!(variant.rules[0].timeline.episodes[0].labels, labels(&[("alertname", "A"), ("n", "1")]));
}

#[test]
fn rules_are_chosen_by_group_and_name() {
    let rules = "  - alert: A\n    expr: x\n  - alert: B\n    expr: x\n  - record: r\n    expr: x\n";
    let of = |only: &[&str]| {
        let only = only.iter().map(|text| (*text).to_owned()).collect();
        Backtest::new(&files(rules), BacktestOptions { only, ..options(1) })
            .map(|test| test.groups[0].rules.iter().map(|rule| rule.name.clone()).collect::<Vec<_>>().join(","))
            .map_err(|problems| problems.join("\n"))
    };
    assert_eq!(of(&[]), Ok("A,B".to_owned()));
    assert_eq!(of(&["g/B"]), Ok("B".to_owned()));
    assert_eq!(of(&["A", "g/B"]), Ok("A,B".to_owned()));
    assert_eq!(of(&["h/B"]), Err("no alerting rule is \"h/B\"".to_owned()));
    assert_eq!(of(&["r"]), Err("no alerting rule is \"r\"".to_owned()));
}

#[test]
fn what_cannot_be_tested_is_named_with_its_place() {
    let problems = |rules: &str| Backtest::new(&files(rules), options(1)).unwrap_err().join("\n");
    let record = "  - record: r\n    expr: x\n";
    assert_eq!(
        problems(&format!("{record}  - alert: A\n    expr: max_over_time((r / y)[5m:1m]) > 1\n")),
        "rules.yml: 8:11: group \"g\", rule 2, \"A\": `y` stands in one subquery with results of these rules"
    );
    assert_eq!(problems(record), "there is no alerting rule");
    let test =
        Backtest::new(&files(&format!("{record}  - alert: A\n    expr: '{{a=\"b\"}} > r'\n")), options(1)).unwrap();
    let remark = "`{a=\"b\"}` sees the stored series only, not what these rules record";
    assert_eq!(test.remarks(), [format!("rules.yml: 8:11: group \"g\", rule 2, \"A\": {remark}")]);
}

#[test]
fn a_query_is_split_into_what_history_answers_and_what_is_left() {
    let rules = "  - record: r\n    expr: x\n  - alert: A\n    expr: x\n";
    let files = files(rules);
    let mut outputs = Outputs::default();
    for rule in &files[0].1.groups[0].rules {
        outputs.number(output(rule));
    }
    for (text, asked, local) in [
        ("x > 5", "x > 5", ""),
        ("r > 5", "", "r > 5"),
        ("sum(rate(y[5m])) / sum(r)", "sum(rate(y[5m]))", "{__backtest__=\"0\"} / sum(r)"),
        ("r > scalar(y) + scalar(y)", "y", "r > scalar({__backtest__=\"0\"}) + scalar({__backtest__=\"0\"})"),
        ("topk(scalar(y), r)", "y", "topk(scalar({__backtest__=\"0\"}), r)"),
        ("y @ end() > 1 or r", "y @ end() > 1 (slot by slot)", "{__backtest__=\"0\"} or r"),
        ("ALERTS", "ALERTS{alertname!=\"A\"}", "(ALERTS or {__backtest__=\"0\"})"),
        ("ALERTS{alertname=\"A\"}", "", "ALERTS{alertname=\"A\"}"),
        ("ALERTS{alertname=\"B\"}", "ALERTS{alertname=\"B\"}", ""),
        ("vector(1)", "", "vector(1)"),
        ("-(r)", "", "-(r)"),
        (
            "absent(r{job=\"b\"}) unless on () (y offset 5m)",
            "(y offset 5m)",
            "absent(r{job=\"b\"}) unless on () {__backtest__=\"0\"}",
        ),
    ] {
        let expr = parse(text, &ParseOptions::all()).unwrap();
        let plan = QueryPlan::new(&expr, &outputs, 300_000).unwrap_or_else(|problem| panic!("{text}: {problem}"));
        let suffix = |slot_by_slot: bool| if slot_by_slot { " (slot by slot)" } else { "" };
        let got: Vec<String> =
            plan.asked.iter().map(|one| format!("{}{}", one.text, suffix(one.slot_by_slot))).collect();
        assert_eq!(got.join("; "), asked, "{text}");
        assert_eq!(plan.local.map(|local| local.to_string()).unwrap_or_default(), local, "{text}");
    }
    let deep = format!("{}r{}", "(".repeat(190), ")".repeat(190));
    let expr = parse(&deep, &ParseOptions::all()).unwrap();
    assert!(QueryPlan::new(&expr, &outputs, 300_000).is_ok());
}
