//! The alert generator compliance cases in virtual time: the ruler's groups over PromQL in memory, their alerts through the
//! delivery queue, everything at the millisecond where it has to be.

use super::alert::Outgoing;
use alertmanager_compat::client::{DeliveryQueue, Outcome, QueueOptions};
use compat_tests::api::Answer;
use compat_tests::conformance::{
    Case, Message, Observed, Timing, cases, compare_alerts, compare_group, compare_messages, compare_series, expected,
    flapping, parse_time,
};
use model::labels::Labels;
use model::time::Timestamp;
use promql::ast::Expr;
use promql::budget::{Budget, BudgetLimits};
use promql::engine::{Engine, EngineOptions, QueryContext};
use promql::parse::ParseOptions;
use promql::testing::memory::MemorySource;
use promql::value::{QueryValue as Value, SampleValue, VectorSample};
use ruler::annotate::TemplateContext;
use ruler::driver::{Ports, SharedGroup};
use ruler::error::QueryError;
use ruler::evaluation::{Evaluation, Request};
use ruler::filter::RulesFilter;
use ruler::group::{Group, GroupEvent, GroupSettings};
use ruler::ports::{
    AppendPort, Clock, Discard, Element, EventPort, Moment, NotifyPort, Queries, QueryPort, QueryValue, RuleSample,
};
use ruler::restore::ForRestore;
use ruler::rule_file::{GroupDefaults, RuleFile};
use ruler::state::shape::GroupShape;
use ruler::state::{Departure, GroupId, GroupMemory};
use ruler::view::{AlertsView, RulesView};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

const TIMING: Timing = Timing::REAL;
/// Samples come so long before the evaluations that see them first.
const PHASE_MS: i64 = 4_321;

/// One group's world. Time passes only while the group waits; what it shows is compared each time before it does.
#[derive(Clone)]
struct World {
    case: Arc<Case>,
    group: SharedGroup,
    source: Arc<RwLock<MemorySource>>,
    state: Arc<Mutex<State>>,
}

struct State {
    now_ms: i64,
    zero_ms: i64,
    end_ms: i64,
    queue: DeliveryQueue,
    numbers: u64,
    /// While the Alertmanager accepts nothing, relative to zero.
    away_ms: Range<i64>,
    observed: Vec<Observed>,
    slots: Vec<i64>,
    problems: Vec<String>,
}

impl World {
    /// Runs `case` to its end, with an Alertmanager that accepts nothing for a while, in milliseconds after zero.
    fn run(case: Case, away_ms: Range<i64>) -> (State, Arc<Case>) {
        let text = format!("groups:\n{}", case.rules_yaml(&TIMING));
        let file = RuleFile::parse("rules.yml", &text, &ParseOptions::default()).unwrap();
        let defaults = GroupDefaults { interval_ms: TIMING.interval_ms, query_offset_ms: 0 };
        let spec = file.groups.into_iter().next().unwrap().resolve("rules.yml", defaults);
        let context = TemplateContext {
            external_labels: Labels::empty(),
            external_url: "http://hearth.example".into(),
            parse: ParseOptions::default(),
        };
        let settings = GroupSettings {
            context: Arc::new(context),
            resend_delay_ms: TIMING.resend_ms,
            repair_window_ms: 0,
            unknown_max_ms: 3_600_000,
            for_restore: ForRestore::default(),
        };
        let group = Arc::new(Mutex::new(Group::new(spec, settings)));
        let started_ms = 1_700_000_000_000;
        let wait = ruler::driver::lock(&group).wait(Timestamp(started_ms));
        let first_slot_ms = started_ms + i64::try_from(wait.as_millis()).unwrap();
        let zero_ms = first_slot_ms - PHASE_MS;
        let mut source = MemorySource::new();
        for step in 0..case.steps {
            for (labels, value) in case.samples(step) {
                let at_ms = zero_ms + i64::try_from(step).unwrap() * TIMING.step_ms;
                source.append(&Labels::from_pairs(labels).unwrap(), [(at_ms, value)]);
            }
        }
        let end_ms = zero_ms + i64::try_from(case.steps).unwrap() * TIMING.step_ms;
        let state = State {
            now_ms: started_ms,
            zero_ms,
            end_ms,
            queue: DeliveryQueue::new(QueueOptions::default()),
            numbers: 0,
            away_ms,
            observed: Vec::new(),
            slots: Vec::new(),
            problems: Vec::new(),
        };
        let world = Self {
            case: Arc::new(case),
            group,
            source: Arc::new(RwLock::new(source)),
            state: Arc::new(Mutex::new(state)),
        };
        let ports = Ports {
            queries: world.clone(),
            samples: world.clone(),
            alerts: world.clone(),
            events: world.clone(),
            clock: world.clone(),
        };
        // Nothing ever waits.
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(ports.run(&world.group));
        drop(ports);
        let World { case, state, .. } = world;
        (Arc::into_inner(state).unwrap().into_inner().unwrap(), case)
    }

    fn ask(&self, expr: &Expr, at_ms: i64) -> Result<Value, QueryError> {
        let source = self.source.read().unwrap();
        let budget = Budget::new(BudgetLimits::default());
        let engine = Engine::new(EngineOptions::default());
        let answer = engine.instant(expr, at_ms, &QueryContext::new(&*source, &budget));
        answer.map(|result| result.value).map_err(|error| QueryError::Invalid(error.to_string()))
    }

    /// Compares what the API would show just before `until_ms` with what it has to show.
    fn look(&self, until_ms: i64) {
        let (zero_ms, slots) = {
            let state = self.state.lock().unwrap();
            (state.zero_ms, state.slots.clone())
        };
        let expected = expected(&self.case, &TIMING, &slots);
        let Some(snapshot) = expected.snapshots.last() else { return };
        let now_ms = until_ms - 1;
        let groups = [self.group.clone()];
        let rules = RulesView::of(&groups, &RulesFilter::default()).unwrap();
        let rules = serde_json::to_value(rules).unwrap();
        let alerts = serde_json::to_value(AlertsView::of(&groups)).unwrap();
        let query = format!("ALERTS{{rulegroup=\"{}\"}}", self.case.name);
        let query = ruler::rule::Query::parse(&query, &ParseOptions::default()).unwrap();
        let Value::Vector { samples, .. } = self.ask(query.expr(), now_ms).unwrap() else { panic!("a vector") };
        let series: Answer = samples.into_iter().map(point).collect();
        let mut problems = compare_group(&self.case, &TIMING, snapshot, &rules, zero_ms, now_ms, 0);
        problems.extend(compare_alerts(&self.case, snapshot, &alerts, zero_ms, 0));
        problems.extend(compare_series(&self.case, snapshot, &series));
        self.state.lock().unwrap().problems.extend(problems);
    }
}

fn point(sample: VectorSample) -> (String, Vec<(i64, f64)>) {
    let SampleValue::Float(value) = sample.value else { panic!("ALERTS is a float") };
    let labels: std::collections::BTreeMap<_, _> = sample.labels.iter().collect();
    (serde_json::to_string(&labels).unwrap(), vec![(0, value)])
}

impl State {
    /// Delivers what waits, as the task of a target does. When to try again, if the Alertmanager was away.
    fn deliver(&mut self) -> Option<i64> {
        let (at_ms, at) = (self.now_ms, Duration::from_millis(self.now_ms.unsigned_abs()));
        loop {
            let batch = match self.queue.next_batch(at, at_ms) {
                Ok(batch) => batch,
                Err(again) => return again.map(|again| i64::try_from(again.as_millis()).unwrap()),
            };
            if self.away_ms.contains(&(at_ms - self.zero_ms)) {
                self.queue.handle_outcome(&batch, Outcome::Unavailable { retry_after: None }, at);
                continue;
            }
            let alerts = serde_json::to_value(&batch.alerts).unwrap();
            let alerts = alerts.as_array().unwrap().iter().cloned();
            self.observed.extend(alerts.map(|alert| Observed { at_ms, alert }));
            self.queue.handle_outcome(&batch, Outcome::Accepted, at);
        }
    }

    /// Lets time pass, in which is tried again what failed.
    fn pass(&mut self, until_ms: i64) {
        while let Some(again_ms) = self.deliver()
            && again_ms < until_ms
        {
            self.now_ms = again_ms;
        }
        self.now_ms = until_ms;
    }
}

impl Queries for World {
    fn instant(&self, expr: &Expr, at: Timestamp) -> Result<QueryValue, QueryError> {
        Ok(match self.ask(expr, at.0)? {
            Value::Vector { samples, .. } => {
                let element = |VectorSample { labels, value }| Element { labels, value };
                QueryValue::Vector(samples.into_iter().map(element).collect())
            }
            Value::Scalar { value, .. } => QueryValue::Scalar(value),
            Value::String { .. } | Value::Matrix(_) => QueryValue::Other,
        })
    }
}

impl QueryPort for World {
    type Place = ();

    fn another_place(&self) -> Option<()> {
        None
    }

    async fn evaluate(&self, request: Request) -> Evaluation {
        let mut state = self.state.lock().unwrap();
        let slot_ms = request.slot.0 - state.zero_ms;
        if state.slots.last() != Some(&slot_ms) {
            state.slots.push(slot_ms);
        }
        drop(state);
        request.evaluate(self)
    }
}

impl AppendPort for World {
    async fn append(&self, samples: &[RuleSample]) -> Result<Vec<(usize, Discard)>, String> {
        let mut source = self.source.write().unwrap();
        for RuleSample { labels, at, value } in samples {
            let SampleValue::Float(value) = value else { panic!("{labels} has a histogram") };
            source.append(labels, [(at.0, *value)]);
        }
        Ok(Vec::new())
    }
}

impl NotifyPort for World {
    async fn send(&self, departure: Departure) {
        let outgoing = Outgoing { external_url: "http://hearth.example".into(), ..Outgoing::default() };
        let mut state = self.state.lock().unwrap();
        for alert in departure.messages() {
            state.numbers += 1;
            let parcel = outgoing.prepare(state.numbers, alert);
            state.queue.push(parcel);
        }
        state.deliver();
    }

    fn evaluated(&self, _: &Arc<GroupId>, _: Timestamp) {}

    fn begin(&self, _: GroupShape) -> GroupMemory {
        GroupMemory::default()
    }

    fn end(&self, _: &GroupId) {}
}

impl EventPort for World {
    fn event(&self, event: &GroupEvent) {
        if !matches!(event, GroupEvent::AlertsChanged { .. } | GroupEvent::Evaluated { .. }) {
            self.state.lock().unwrap().problems.push(format!("{event:?}"));
        }
    }
}

impl Clock for World {
    fn now(&self) -> Moment {
        let now_ms = self.state.lock().unwrap().now_ms;
        Moment { wall: Timestamp(now_ms), monotonic: Duration::from_millis(now_ms.unsigned_abs()) }
    }

    async fn sleep(&self, wait: Duration) {
        let until_ms = self.state.lock().unwrap().now_ms + i64::try_from(wait.as_millis()).unwrap();
        self.look(until_ms);
        self.state.lock().unwrap().pass(until_ms);
    }

    fn is_stopped(&self) -> bool {
        let state = self.state.lock().unwrap();
        state.now_ms >= state.end_ms
    }
}

#[test]
fn every_case_comes_out_as_the_specification_has_it() {
    for case in cases() {
        let (state, case) = World::run(case, 0..0);
        let expected = expected(&case, &TIMING, &state.slots);
        let mut problems = state.problems;
        problems.extend(compare_messages(&expected.messages, &state.observed, state.zero_ms, 0, 0));
        assert!(problems.is_empty(), "{}: {:#?}", case.name, problems.iter().take(5).collect::<Vec<_>>());
        let sent = expected.messages.len();
        let least = if case.name.starts_with("PendingAndResolved") { 0 } else { 10 };
        assert!(sent >= least && state.slots.len() >= 20, "{}: {sent} messages", case.name);
    }
}

/// Start and end of what an alert did, in milliseconds after zero: `None` while it fires. In the order of the messages, without
/// repetitions.
type Transitions = BTreeMap<String, Vec<(i64, Option<i64>)>>;

fn transitions(messages: impl Iterator<Item = (String, i64, Option<i64>)>) -> Transitions {
    let mut all = Transitions::new();
    for (labels, starts_ms, ends_ms) in messages {
        let told = all.entry(labels).or_default();
        if told.last() != Some(&(starts_ms, ends_ms)) {
            told.push((starts_ms, ends_ms));
        }
    }
    all
}

fn expected_transitions(messages: &[Message]) -> Transitions {
    transitions(messages.iter().map(|message| {
        let labels = serde_json::to_string(&message.labels).unwrap();
        (labels, message.starts_at_ms, message.resolved.then_some(message.ends_at_ms))
    }))
}

/// As an Alertmanager reads it: what ends in the past has resolved.
fn observed_transitions(state: &State) -> Transitions {
    transitions(state.observed.iter().map(|Observed { at_ms, alert }| {
        let time = |key: &str| parse_time(alert[key].as_str().unwrap()).unwrap();
        let labels: BTreeMap<String, String> = serde_json::from_value(alert["labels"].clone()).unwrap();
        let ends_ms = (time("endsAt") <= *at_ms).then(|| time("endsAt") - state.zero_ms);
        (serde_json::to_string(&labels).unwrap(), time("startsAt") - state.zero_ms, ends_ms)
    }))
}

/// Whatever happens in the ten minutes that an Alertmanager is away, it hears every transition once it is back, in order, and
/// from then on what the specification has it hear.
#[test]
fn a_receiver_that_is_away_for_ten_minutes_misses_no_transition() {
    const MINUTE_MS: i64 = 60_000;
    for case in cases().into_iter().chain([flapping()]) {
        let steps = i64::try_from(case.steps).unwrap();
        let name = case.name;
        let find = || cases().into_iter().chain([flapping()]).find(|case| case.name == name).unwrap();
        for away_from_ms in (0..steps * TIMING.step_ms - 11 * MINUTE_MS).step_by(150_000) {
            let away_ms = away_from_ms..away_from_ms + 10 * MINUTE_MS;
            let (state, case) = World::run(find(), away_ms.clone());
            let expected = expected(&case, &TIMING, &state.slots);
            assert_eq!(observed_transitions(&state), expected_transitions(&expected.messages), "{name} {away_ms:?}");
            let stats = state.queue.stats();
            assert_eq!((stats.dropped, stats.refused, stats.waiting), (0, 0, 0), "{name} {away_ms:?}");
            // The longest wait after a failure.
            let back_ms = away_ms.end + 30_000;
            let is_later = |at_ms: i64| at_ms >= back_ms;
            let messages: Vec<_> = expected.messages.into_iter().filter(|m| is_later(m.slot_ms)).collect();
            let zero_ms = state.zero_ms;
            let observed: Vec<_> = state.observed.into_iter().filter(|o| is_later(o.at_ms - zero_ms)).collect();
            let problems = compare_messages(&messages, &observed, zero_ms, 0, 0);
            assert!(problems.is_empty(), "{name} {away_ms:?}: {:#?}", problems.iter().take(5).collect::<Vec<_>>());
        }
    }
}
