use super::*;
use crate::rules::rule_history::RuleHistory;
use model::labels::Labels;
use model::sample::is_stale_marker;
use model::time::Timestamp;
use promql::parse::ParseOptions;
use promql::value::SampleValue;
use ruler::alert_instance::{AlertInstance, AlertState};
use ruler::annotate::TemplateContext;
use ruler::ended::EarlierSeries;
use ruler::error::QueryError;
use ruler::evaluation::{Evaluation, Request};
use ruler::ports::{AlertMessage, Discard, Element, Queries, QueryValue, RuleSample};
use ruler::restore::ForRestore;
use ruler::rule_file::{GroupDefaults, RuleFile};
use ruler::state::shape::GroupShape;
use ruler::state::{Departure, GroupId, GroupMemory, LeftGroup, RuleId, RuleMemory};
use std::time::Duration;

/// A world in which every query returns one element, and which remembers what was stored and sent.
#[derive(Clone, Default)]
struct World {
    stored: Arc<Mutex<Vec<RuleSample>>>,
    sent: Arc<Mutex<Vec<AlertMessage>>>,
    /// What groups that begin remember.
    memory: Arc<Mutex<GroupMemory>>,
    ended: Arc<Mutex<Vec<GroupId>>>,
    /// What an earlier process had.
    left: Arc<Mutex<Vec<LeftGroup>>>,
    /// How often the store cannot be asked what was written.
    refusals: Arc<Mutex<usize>>,
    /// Evaluations wait until this is cancelled, if there is one.
    gate: Option<CancellationToken>,
}

struct One;

impl Queries for One {
    fn instant(&self, _: &promql::ast::Expr, _: Timestamp) -> Result<QueryValue, QueryError> {
        Ok(QueryValue::Vector(vec![Element { labels: Labels::empty(), value: SampleValue::Float(1.0) }]))
    }
}

impl QueryPort for World {
    type Place = ();

    fn another_place(&self) -> Option<()> {
        None
    }

    async fn look_up(&self, series: &EarlierSeries, _: Timestamp) -> Result<Vec<Labels>, QueryError> {
        let mut refusals = self.refusals.lock().unwrap();
        if *refusals > 0 {
            *refusals -= 1;
            return Err(QueryError::Unavailable("storage is away".into()));
        }
        Ok(vec![Labels::from_pairs([("__name__", series.name.as_str())]).unwrap()])
    }

    async fn evaluate(&self, request: Request) -> Evaluation {
        if let Some(gate) = &self.gate {
            gate.cancelled().await;
        }
        request.evaluate(&One)
    }
}

impl AppendPort for World {
    async fn append(&self, samples: &[RuleSample]) -> Result<Vec<(usize, Discard)>, String> {
        self.stored.lock().unwrap().extend_from_slice(samples);
        Ok(Vec::new())
    }
}

impl NotifyPort for World {
    async fn send(&self, departure: Departure) {
        self.sent.lock().unwrap().extend(departure.messages());
    }

    fn evaluated(&self, _: &Arc<GroupId>, _: Timestamp) {}

    fn begin(&self, shape: GroupShape) -> GroupMemory {
        let memory = self.memory.lock().unwrap().clone();
        let is_of_another = memory.shape.as_ref().is_some_and(|known| known.id != shape.id);
        if is_of_another { GroupMemory::default() } else { memory }
    }

    fn left(&self) -> Vec<LeftGroup> {
        std::mem::take(&mut self.left.lock().unwrap())
    }

    fn end(&self, group: &GroupId) {
        self.ended.lock().unwrap().push(group.clone());
    }
}

impl World {
    fn manager(&self) -> RuleManager<Self, Self, Self> {
        RuleManager::new(self.clone(), self.clone(), self.clone())
    }

    fn stored(&self) -> Vec<RuleSample> {
        self.stored.lock().unwrap().clone()
    }

    /// Waits until a sample of the series `name` is stored for which `wanted` holds.
    async fn until_stored(&self, name: &str, wanted: impl Fn(f64) -> bool) {
        let found = || {
            let mut stored = self.stored().into_iter();
            stored.any(|sample| sample.labels.metric_name() == Some(name) && wanted(float(&sample)))
        };
        tokio::time::timeout(Duration::from_secs(10), async {
            while !found() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .unwrap_or_else(|_| panic!("{name} was not stored"));
    }
}

fn float(sample: &RuleSample) -> f64 {
    match sample.value {
        SampleValue::Float(value) => value,
        SampleValue::Histogram(_) => panic!("every query returns floats"),
    }
}

fn specs(text: &str) -> Vec<GroupSpec> {
    let file = RuleFile::parse("r.yml", text, &ParseOptions::default()).unwrap();
    let defaults = GroupDefaults { interval_ms: 50, query_offset_ms: 0 };
    file.groups.into_iter().map(|group| group.resolve("r.yml", defaults)).collect()
}

fn settings() -> GroupSettings {
    let context =
        TemplateContext { external_labels: Labels::empty(), external_url: "".into(), parse: ParseOptions::default() };
    GroupSettings {
        context: Arc::new(context),
        resend_delay_ms: 60_000,
        repair_window_ms: 600_000,
        unknown_max_ms: 3_600_000,
        for_restore: ForRestore::default(),
    }
}

fn names<Q, A, N>(manager: &RuleManager<Q, A, N>) -> Vec<String> {
    manager.groups().iter().map(|group| lock(group).spec().name.clone()).collect()
}

#[tokio::test]
async fn groups_run_until_they_are_told_to_stop() {
    let world = World::default();
    let manager = world.manager();
    let text = "groups: [{name: b, rules: [{alert: A, expr: up}]}, {name: a, rules: [{record: r, expr: up}]}]";
    manager.apply(specs(text), settings()).await;
    assert_eq!(names(&manager), ["a", "b"]);
    world.until_stored("r", |value| value == 1.0).await;
    world.until_stored("ALERTS", |value| value == 1.0).await;
    assert_eq!(world.sent.lock().unwrap().len(), 1);
    manager.shutdown().await;
    let stored = world.stored().len();
    tokio::time::sleep(Duration::from_millis(120)).await;
    let after = world.stored();
    assert_eq!(after.len(), stored, "nothing runs any more");
    assert!(!after.iter().any(|sample| is_stale_marker(float(sample))), "the process may be back soon");
}

#[tokio::test]
async fn a_reload_keeps_unchanged_groups_and_the_state_of_changed_ones() {
    let world = World::default();
    let manager = world.manager();
    let text = |extra: &str| {
        format!(
            "groups: [{{name: same, rules: [{{record: r, expr: up}}]}}, {{name: changed, rules: [{{alert: A, expr: up}}{extra}]}}]"
        )
    };
    manager.apply(specs(&text("")), settings()).await;
    world.until_stored("ALERTS", |value| value == 1.0).await;
    let before = manager.groups();
    manager.apply(specs(&text(", {record: s, expr: up}")), settings()).await;
    let after = manager.groups();
    assert!(Arc::ptr_eq(&before[1], &after[1]) && !Arc::ptr_eq(&before[0], &after[0]));
    world.until_stored("s", |value| value == 1.0).await;
    assert_eq!(world.sent.lock().unwrap().len(), 1, "the alert went on firing and was not sent anew");
    manager.shutdown().await;
}

#[tokio::test]
async fn series_of_a_removed_group_end_after_two_intervals_unless_another_group_writes_them() {
    let world = World::default();
    let manager = world.manager();
    manager
        .apply(specs("groups: [{name: g, rules: [{record: moved, expr: up}, {record: gone, expr: up}]}]"), settings())
        .await;
    manager.end_left().await;
    world.until_stored("gone", |value| value == 1.0).await;
    manager.apply(specs("groups: [{name: h, rules: [{record: moved, expr: up}]}]"), settings()).await;
    assert_eq!(names(&manager), ["h"]);
    assert!(manager.retired_stats().rule_durations.count >= 2);
    world.until_stored("gone", is_stale_marker).await;
    let stored = world.stored();
    let ended = stored.iter().filter(|sample| is_stale_marker(float(sample)));
    assert_eq!(ended.map(|sample| sample.labels.metric_name()).collect::<Vec<_>>(), [Some("gone")]);
    manager.shutdown().await;
}

#[tokio::test]
async fn a_reload_waits_for_the_rule_that_is_being_evaluated_and_new_groups_do_not() {
    let gate = CancellationToken::new();
    let world = World { gate: Some(gate.clone()), ..World::default() };
    let manager = world.manager();
    manager
        .apply(specs("groups: [{name: slow, rules: [{record: r, expr: up}, {record: never, expr: up}]}]"), settings())
        .await;
    while lock(&manager.groups()[0]).stats().evaluations == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let reload = tokio::spawn({
        let manager = manager.clone();
        async move { manager.apply(specs("groups: [{name: new, rules: []}]"), settings()).await }
    });
    while !names(&manager).contains(&"new".to_owned()) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!reload.is_finished());
    gate.cancel();
    reload.await.unwrap();
    assert_eq!(names(&manager), ["new"]);
    let stored = world.stored();
    let values: Vec<_> = stored.iter().filter_map(|sample| sample.labels.metric_name()).collect();
    assert_eq!(values, ["r"], "the rule was finished and no other begun");
    manager.shutdown().await;
}

#[tokio::test]
async fn after_the_shutdown_nothing_starts() {
    let manager = World::default().manager();
    manager.shutdown().await;
    manager.apply(specs("groups: [{name: g}]"), settings()).await;
    assert!(manager.groups().is_empty());
}

#[tokio::test]
async fn a_group_that_begins_continues_with_the_alerts_that_are_remembered_of_it() {
    let world = World::default();
    let text = "groups: [{name: g, rules: [{alert: A, expr: up}]}]";
    let manager = world.manager();
    let spec = specs(text).remove(0);
    let mut instance = AlertInstance::new(Timestamp(1_000), 1.0, Arc::from([]));
    instance.state = AlertState::Firing { fired_at: Timestamp(2_000), keep_firing_since: None };
    let labels = Labels::from_pairs([("alertname", "A")]).unwrap();
    let alerts = vec![(labels, instance)];
    let rules = [(RuleId::all_of(&spec).remove(0), RuleMemory { last_good: None, alerts })];
    *world.memory.lock().unwrap() = GroupMemory { rules: rules.into_iter().collect(), ..GroupMemory::default() };
    manager.apply(vec![spec], settings()).await;
    world.until_stored("ALERTS_FOR_STATE", |value| value == 1.0).await;
    let sent = world.sent.lock().unwrap().first().map(|alert| alert.starts_at);
    assert_eq!(sent, Some(Timestamp(2_000)), "it fires since then");
    manager.apply(Vec::new(), settings()).await;
    assert_eq!(*world.ended.lock().unwrap(), [GroupId { file: "r.yml".into(), name: "g".into() }]);
    manager.shutdown().await;
}

/// A group of an earlier process that recorded these names.
fn left(group: &str, records: &[&str]) -> LeftGroup {
    let rules: Vec<String> = records.iter().map(|name| format!("{{record: {name}, expr: up}}")).collect();
    let spec = specs(&format!("groups: [{{name: {group}, rules: [{}]}}]", rules.join(", "))).remove(0);
    let shape = Arc::new(GroupShape::of(&spec, Arc::new(GroupId::of(&spec)), &RuleId::all_of(&spec)));
    let memory = GroupMemory { last_slot: Some(Timestamp(0)), ..GroupMemory::default() };
    LeftGroup { shape, did_run: true, memory }
}

fn rule_history() -> (tempfile::TempDir, RuleHistory) {
    let directory = tempfile::tempdir().unwrap();
    let options = storage::record_log::RecordLogOptions { bytes_max: 1 << 20, keep_ms: i64::MAX };
    let history = RuleHistory::open(directory.path(), options).unwrap();
    (directory, history)
}

/// What happened to rules, newest first.
fn told(history: &RuleHistory) -> Vec<String> {
    history.close();
    let (changes, _) = history.changes(&ruler::filter::RulesFilter::default(), i64::MIN..=i64::MAX, 10).unwrap();
    changes.iter().map(|entry| format!("{} {} {}", entry.group, entry.rule, entry.what)).collect()
}

#[tokio::test]
async fn series_of_groups_that_were_taken_away_while_no_process_ran_end_unless_another_group_writes_them() {
    let (_directory, history) = rule_history();
    let world = World::default();
    world.left.lock().unwrap().push(left("old", &["gone", "moved"]));
    let manager = world.manager();
    manager.keep_histories(Histories { alerts: None, rules: Some(history.clone()) });
    manager.apply(specs("groups: [{name: new, rules: [{record: moved, expr: up}]}]"), settings()).await;
    manager.end_left().await;
    world.until_stored("gone", is_stale_marker).await;
    let ended: Vec<_> = world.stored().into_iter().filter(|sample| is_stale_marker(float(sample))).collect();
    assert_eq!(ended.iter().map(|sample| sample.labels.metric_name()).collect::<Vec<_>>(), [Some("gone")]);
    assert_eq!(world.ended.lock().unwrap().len(), 1, "the next process does not do it again");
    manager.shutdown().await;
    let mut told = told(&history);
    told.sort();
    assert_eq!(told, ["new moved added", "old gone removed", "old moved removed"]);
}

#[tokio::test]
async fn the_last_word_about_a_group_that_comes_back_is_that_it_was_added() {
    for (was_ended, expected) in [(false, &["g s added"][..]), (true, &["g s added", "g r added"])] {
        let (_directory, history) = rule_history();
        let world = World::default();
        let LeftGroup { shape, memory, .. } = left("g", &["r"]);
        *world.memory.lock().unwrap() = GroupMemory { shape: Some(shape), was_ended, ..memory };
        let manager = world.manager();
        manager.keep_histories(Histories { alerts: None, rules: Some(history.clone()) });
        let text = "groups: [{name: g, rules: [{record: r, expr: up}, {record: s, expr: up}]}]";
        manager.apply(specs(text), settings()).await;
        manager.shutdown().await;
        assert_eq!(told(&history), expected);
    }
}

/// The group that had them still runs, and begins before the one that has them now.
#[tokio::test]
async fn series_of_rules_that_moved_between_groups_while_no_process_ran_do_not_end() {
    let world = World::default();
    let LeftGroup { shape, memory, .. } = left("a", &["stays", "moved", "gone"]);
    let alerts = |name: &str| {
        let mut instance = AlertInstance::new(Timestamp(1_000), 1.0, Arc::from([]));
        instance.state = AlertState::Firing { fired_at: Timestamp(2_000), keep_firing_since: None };
        let alerts = vec![(Labels::from_pairs([("alertname", name)]).unwrap(), instance)];
        RuleMemory { last_good: Some(Timestamp(0)), alerts }
    };
    let gone = vec![alerts("Moved"), alerts("Gone")];
    *world.memory.lock().unwrap() = GroupMemory { shape: Some(shape), gone, ..memory };
    *world.refusals.lock().unwrap() = 3;
    let manager = world.manager();
    let text = "groups: [{name: a, rules: [{record: stays, expr: up}]}, \
                {name: b, interval: 150ms, rules: [{record: moved, expr: up}, {alert: Moved, expr: up}]}]";
    manager.apply(specs(text), settings()).await;
    manager.end_left().await;
    world.until_stored("gone", is_stale_marker).await;
    let ended = world.stored().into_iter().filter(|sample| is_stale_marker(float(sample)));
    let name = |labels: &Labels, name: &str| labels.get(name).unwrap_or_default().to_owned();
    let mut ended: Vec<[String; 2]> =
        ended.map(|sample| ["__name__", "alertname"].map(|label| name(&sample.labels, label))).collect();
    ended.sort_unstable();
    assert_eq!(ended, [["ALERTS", "Gone"], ["ALERTS_FOR_STATE", "Gone"], ["gone", ""]]);
    manager.shutdown().await;
}

/// As while the object store is away that has the groups that come by API.
#[tokio::test]
async fn nothing_is_ended_before_all_groups_are_known() {
    let world = World::default();
    let LeftGroup { shape, memory, .. } = left("a", &["stays", "moved", "gone"]);
    *world.memory.lock().unwrap() = GroupMemory { shape: Some(shape), ..memory };
    let manager = world.manager();
    let in_files = "groups: [{name: a, rules: [{record: stays, expr: up}]}";
    manager.apply(specs(&format!("{in_files}]")), settings()).await;
    let ended =
        || -> Vec<RuleSample> { world.stored().into_iter().filter(|sample| is_stale_marker(float(sample))).collect() };
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert!(ended().is_empty(), "two intervals are over, but nobody knows where the rules are");
    let by_api = "{name: b, rules: [{record: moved, expr: up}]}";
    manager.apply(specs(&format!("{in_files}, {by_api}]")), settings()).await;
    manager.end_left().await;
    world.until_stored("gone", is_stale_marker).await;
    assert_eq!(ended().iter().map(|sample| sample.labels.metric_name()).collect::<Vec<_>>(), [Some("gone")]);
    manager.shutdown().await;
}

/// As long as one of the rules fails nobody knows what it writes.
#[tokio::test]
async fn nothing_is_ended_before_the_rules_that_may_write_it_were_evaluated() {
    let gate = CancellationToken::new();
    let world = World { gate: Some(gate.clone()), ..World::default() };
    world.left.lock().unwrap().push(left("old", &["gone", "moved"]));
    let manager = world.manager();
    manager.apply(specs("groups: [{name: new, rules: [{record: moved, expr: up}]}]"), settings()).await;
    manager.end_left().await;
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert!(world.stored().is_empty());
    gate.cancel();
    world.until_stored("gone", is_stale_marker).await;
    assert!(
        !world
            .stored()
            .iter()
            .any(|sample| sample.labels.metric_name() == Some("moved") && is_stale_marker(float(sample)))
    );
    manager.shutdown().await;
}
