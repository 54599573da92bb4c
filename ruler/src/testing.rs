//! A world for tests: a clock that jumps, a store in memory, queries by script, and a record of what left.

use crate::alerting::{ALERT_STATE, ALERTS};
use crate::annotate::TemplateContext;
use crate::driver::{Ports, SharedGroup};
use crate::error::QueryError;
use crate::evaluation::{Evaluation, Request};
use crate::group::{Group, GroupEvent, GroupSettings, GroupSpec};
use crate::ports::{
    AlertMessage, AppendPort, Clock, Discard, Element, EventPort, IngestWatch, Moment, NotifyPort, Queries, QueryPort,
    QueryValue, RuleSample,
};
use crate::restore::ForRestore;
use crate::rule::Query;
use crate::rule_file::{GroupDefaults, RuleFile};
use crate::state::shape::GroupShape;
use crate::state::{Departure, GroupId, GroupMemory};
use futures_util::future::BoxFuture;
use model::labels::Labels;
use model::matcher::Matcher;
use model::sample::is_stale_marker;
use model::time::Timestamp;
use promql::ast::Expr;
use promql::parse::ParseOptions;
use promql::value::SampleValue;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

pub(crate) const SECOND: i64 = 1_000;
pub(crate) const MINUTE: i64 = 60 * SECOND;

type Answer = Box<dyn FnMut(Timestamp, &Store) -> Result<QueryValue, QueryError> + Send>;
pub(crate) type Store = BTreeMap<Labels, BTreeMap<i64, SampleValue>>;
pub(crate) type WorldPorts = Ports<World, World, World, World, World>;

/// Handles of one world.
#[derive(Clone, Default)]
pub(crate) struct World {
    state: Arc<Mutex<WorldState>>,
    /// When the last query was asked.
    asked_ms: Arc<AtomicI64>,
}

#[derive(Default)]
struct WorldState {
    now_ms: i64,
    /// By how much the wall clock was set.
    set_by_ms: i64,
    stop_at_ms: i64,
    store: Store,
    answers: BTreeMap<String, Answer>,
    sent: Vec<(i64, AlertMessage)>,
    events: Vec<GroupEvent>,
    /// Events for those who keep a history.
    news: Vec<GroupEvent>,
    /// What happened in which order: `query`, `send`, `append`.
    log: Vec<String>,
    append_error: Option<String>,
    /// How long each query takes.
    query_ms: i64,
    /// Whether rules of a group run at once.
    is_concurrent: bool,
    /// When which sample arrives: its own time, by that of its arrival.
    arrivals: BTreeMap<i64, i64>,
}

/// Polls a future whose waiting is done by turning the clock, so that it is always ready.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
    }
}

pub(crate) fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::from_pairs(pairs.iter().copied()).expect("valid labels")
}

pub(crate) fn vector(elements: &[(&[(&str, &str)], f64)]) -> QueryValue {
    let element =
        |(pairs, value): &(&[(&str, &str)], f64)| Element { labels: labels(pairs), value: SampleValue::Float(*value) };
    QueryValue::Vector(elements.iter().map(element).collect())
}

/// Settings as the server has them by default.
pub(crate) fn settings() -> GroupSettings {
    let context = TemplateContext {
        external_labels: labels(&[("cluster", "lab")]),
        external_url: "http://hearth.example/base".into(),
        parse: ParseOptions::default(),
    };
    GroupSettings {
        context: Arc::new(context),
        resend_delay_ms: MINUTE,
        repair_window_ms: 10 * MINUTE,
        unknown_max_ms: 60 * MINUTE,
        for_restore: ForRestore::default(),
    }
}

/// The groups of a rule file; the interval is one minute unless the file says otherwise.
pub(crate) fn specs(text: &str) -> Vec<GroupSpec> {
    let file = RuleFile::parse("rules.yml", text, &ParseOptions::default());
    let file = file.unwrap_or_else(|errors| panic!("{errors:#?}"));
    let defaults = GroupDefaults { interval_ms: MINUTE, query_offset_ms: 0 };
    file.groups.into_iter().map(|group| group.resolve("rules.yml", defaults)).collect()
}

/// The only group of a rule file.
pub(crate) fn spec(text: &str) -> GroupSpec {
    let mut specs = specs(text);
    assert_eq!(specs.len(), 1);
    specs.remove(0)
}

pub(crate) fn group(text: &str) -> SharedGroup {
    Arc::new(Mutex::new(Group::new(spec(text), settings())))
}

impl World {
    /// A world in which it is `now_ms`.
    pub(crate) fn at(now_ms: i64) -> Self {
        let world = Self::default();
        world.with(|state| state.now_ms = now_ms);
        world
    }

    fn with<T>(&self, work: impl FnOnce(&mut WorldState) -> T) -> T {
        work(&mut self.state.lock().expect("no test panics while holding the world"))
    }

    /// Answers `expr` from now on.
    pub(crate) fn answer(
        &self,
        expr: &str,
        answer: impl FnMut(Timestamp, &Store) -> Result<QueryValue, QueryError> + Send + 'static,
    ) {
        let options = ParseOptions { experimental_functions: true, ..ParseOptions::default() };
        let query = Query::parse(expr, &options).expect("a valid expression");
        self.with(|state| state.answers.insert(query.expr().to_string(), Box::new(answer)));
    }

    /// Answers `expr` by script: one letter per time that is asked for, `.` for nothing, `!` for a failure, `x` for one element
    /// without labels; the last letter stays.
    pub(crate) fn script(&self, expr: &str, letters: &str) {
        let mut letters: Vec<char> = letters.chars().rev().collect();
        let mut known = BTreeMap::new();
        self.answer(expr, move |at, _| {
            let next = || if letters.len() > 1 { letters.pop() } else { letters.last().copied() };
            match *known.entry(at.0).or_insert_with(next) {
                Some('.') => Ok(QueryValue::Vector(Vec::new())),
                Some('!') => Err(QueryError::Unavailable("storage is away".into())),
                _ => Ok(vector(&[(&[], 1.0)])),
            }
        });
    }

    /// Answers what a group asks after a restart: the times of the newest samples of the series of `name`, five minutes back.
    pub(crate) fn answer_newest_times(&self, name: &'static str) {
        self.answer_newest_times_with(name, &[]);
    }

    /// The same for the series that have `pairs`, too.
    pub(crate) fn answer_newest_times_with(&self, name: &'static str, pairs: &'static [(&'static str, &'static str)]) {
        let matchers: String = pairs.iter().map(|(name, value)| format!(",{name}=\"{value}\"")).collect();
        self.answer(&format!("timestamp({{__name__=\"{name}\"{matchers}}})"), move |at, store| {
            let has = |labels: &Labels| pairs.iter().all(|(name, value)| labels.get(name) == Some(value));
            let elements = latest(store, at, |labels| labels.metric_name() == Some(name) && has(labels));
            let times = elements.into_iter().filter_map(|element| {
                let newest = *store.get(&element.labels)?.range(..=at.0).next_back()?.0;
                let value = SampleValue::Float(newest as f64 / 1000.0);
                let labels = element.labels.without_metric_name();
                (newest > at.0 - 5 * MINUTE).then_some(Element { labels, value })
            });
            Ok(QueryValue::Vector(times.collect()))
        });
    }

    pub(crate) fn fail_appends(&self, error: Option<&str>) {
        self.with(|state| state.append_error = error.map(str::to_owned));
    }

    pub(crate) fn slow_queries(&self, query_ms: i64) {
        self.with(|state| state.query_ms = query_ms);
    }

    /// A sample of the time `at_ms` arrives later.
    pub(crate) fn arrives(&self, arrival_ms: i64, at_ms: i64) {
        self.with(|state| state.arrivals.insert(arrival_ms, at_ms));
    }

    /// Lets the rules of a group run at once.
    pub(crate) fn run_at_once(&self) {
        self.with(|state| state.is_concurrent = true);
    }

    /// What time it is, for answers, which are given while the world is locked.
    pub(crate) fn asked_ms(&self) -> i64 {
        self.asked_ms.load(Ordering::Relaxed)
    }

    /// All samples of one series.
    pub(crate) fn series_of(&self, labels: &Labels) -> BTreeMap<i64, SampleValue> {
        self.with(|state| state.store.get(labels).cloned().unwrap_or_default())
    }

    pub(crate) fn set_clock(&self, now_ms: i64) {
        self.with(|state| state.now_ms = now_ms);
    }

    /// Sets the wall clock while no time passes.
    pub(crate) fn step_clock(&self, by_ms: i64) {
        self.with(|state| {
            state.set_by_ms += by_ms;
            state.now_ms += by_ms;
        });
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.with(|state| state.now_ms)
    }

    pub(crate) fn ports(&self) -> WorldPorts {
        Ports {
            queries: self.clone(),
            samples: self.clone(),
            alerts: self.clone(),
            events: self.clone(),
            clock: self.clone(),
        }
    }

    /// Runs the group until `duration_ms` have passed.
    pub(crate) fn run(&self, group: &SharedGroup, duration_ms: i64) {
        self.with(|state| state.stop_at_ms = state.now_ms + duration_ms);
        block_on(self.ports().run(group));
    }

    pub(crate) fn take_sent(&self) -> Vec<(i64, AlertMessage)> {
        self.with(|state| std::mem::take(&mut state.sent))
    }

    pub(crate) fn take_news(&self) -> Vec<GroupEvent> {
        self.with(|state| std::mem::take(&mut state.news))
    }

    pub(crate) fn take_events(&self) -> Vec<GroupEvent> {
        self.with(|state| std::mem::take(&mut state.events))
    }

    pub(crate) fn take_log(&self) -> Vec<String> {
        self.with(|state| std::mem::take(&mut state.log))
    }

    /// The samples of a series of floats, oldest first; `None` is a stale marker.
    pub(crate) fn samples(&self, pairs: &[(&str, &str)]) -> Vec<(i64, Option<f64>)> {
        let float = |value| match value {
            SampleValue::Float(value) => value,
            SampleValue::Histogram(_) => panic!("{pairs:?} has a histogram"),
        };
        self.values(pairs).into_iter().map(|(at, value)| (at, value.map(float))).collect()
    }

    /// The samples of one series, oldest first; `None` is a stale marker.
    pub(crate) fn values(&self, pairs: &[(&str, &str)]) -> Vec<(i64, Option<SampleValue>)> {
        self.with(|state| {
            let samples = state.store.get(&labels(pairs)).into_iter().flatten();
            samples.map(|(at, value)| (*at, (!ends(value)).then(|| value.clone()))).collect()
        })
    }

    /// All series that have samples.
    pub(crate) fn series(&self) -> Vec<Labels> {
        self.with(|state| state.store.keys().cloned().collect())
    }
}

/// The newest sample of every series that satisfies `keep`, without those that ended.
pub(crate) fn latest(store: &Store, at: Timestamp, keep: impl Fn(&Labels) -> bool) -> Vec<Element> {
    let matching = store.iter().filter(|(labels, _)| keep(labels));
    let newest = matching.filter_map(|(labels, samples)| {
        let (_, value) = samples.range(..=at.0).next_back()?;
        Some(Element { labels: labels.clone(), value: value.clone() })
    });
    newest.filter(|element| !ends(&element.value)).collect()
}

/// Whether storage would take one for a repetition of the other.
fn same(a: &SampleValue, b: &SampleValue) -> bool {
    match (a, b) {
        (SampleValue::Float(a), SampleValue::Float(b)) => a.to_bits() == b.to_bits(),
        (SampleValue::Histogram(a), SampleValue::Histogram(b)) => a.is_same_data(b),
        (SampleValue::Float(_), SampleValue::Histogram(_)) | (SampleValue::Histogram(_), SampleValue::Float(_)) => {
            false
        }
    }
}

/// Whether it is a stale marker.
pub(crate) fn ends(value: &SampleValue) -> bool {
    matches!(value, SampleValue::Float(value) if is_stale_marker(*value))
}

/// `ALERTS` in `state`.
pub(crate) fn alerts_in(store: &Store, at: Timestamp, state: &str) -> Vec<Element> {
    latest(store, at, |labels| labels.metric_name() == Some(ALERTS) && labels.get(ALERT_STATE) == Some(state))
}

impl Queries for World {
    fn instant(&self, expr: &Expr, at: Timestamp) -> Result<QueryValue, QueryError> {
        self.with(|state| {
            let text = expr.to_string();
            state.log.push(format!("query {text}"));
            state.now_ms += state.query_ms;
            self.asked_ms.store(state.now_ms, Ordering::Relaxed);
            let answer = state.answers.get_mut(&text);
            answer.unwrap_or_else(|| panic!("no answer to {text}"))(at, &state.store)
        })
    }

    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.with(|state| state.now_ms.unsigned_abs()))
    }
}

impl QueryPort for World {
    type Place = ();

    fn another_place(&self) -> Option<()> {
        self.with(|state| state.is_concurrent).then_some(())
    }

    fn watch(&self, _: Vec<Vec<Matcher>>) -> Option<Box<dyn IngestWatch>> {
        Some(Box::new(WorldWatch { world: self.clone(), heard: AtomicI64::new(i64::MIN) }))
    }

    async fn evaluate(&self, request: Request) -> Evaluation {
        request.evaluate(self)
    }
}

/// Hears of arrivals.
struct WorldWatch {
    world: World,
    heard: AtomicI64,
}

impl IngestWatch for WorldWatch {
    fn newest(&self) -> Option<Timestamp> {
        self.world.with(|state| state.arrivals.range(..=state.now_ms).map(|(_, at)| Timestamp(*at)).max())
    }

    fn changed(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::poll_fn(|_| {
            let last =
                self.world.with(|state| state.arrivals.range(..=state.now_ms).next_back().map(|(arrival, _)| *arrival));
            let last = last.unwrap_or(i64::MIN);
            if self.heard.swap(last, Ordering::Relaxed) < last { Poll::Ready(()) } else { Poll::Pending }
        }))
    }
}

impl AppendPort for World {
    async fn append(&self, samples: &[RuleSample]) -> Result<Vec<(usize, Discard)>, String> {
        self.with(|state| {
            state.log.push("append".into());
            if let Some(error) = &state.append_error {
                return Err(error.clone());
            }
            let mut discarded = Vec::new();
            for (row, RuleSample { labels, at, value }) in samples.iter().cloned().enumerate() {
                if matches!(&value, SampleValue::Histogram(histogram) if histogram.count < 0.0) {
                    discarded.push((row, Discard::Other("negative".into())));
                    continue;
                }
                let stored = state.store.entry(labels).or_default().entry(at.0).or_insert_with(|| value.clone());
                if !same(stored, &value) {
                    discarded.push((row, Discard::Duplicate));
                }
            }
            Ok(discarded)
        })
    }
}

impl NotifyPort for World {
    async fn send(&self, departure: Departure) {
        let alerts: Vec<AlertMessage> = departure.messages().collect();
        if alerts.is_empty() {
            return;
        }
        self.with(|state| {
            state.log.push("send".into());
            let now_ms = state.now_ms;
            state.sent.extend(alerts.into_iter().map(|alert| (now_ms, alert)));
        });
    }

    fn evaluated(&self, _: &Arc<GroupId>, _: Timestamp) {}

    fn begin(&self, _: GroupShape) -> GroupMemory {
        GroupMemory::default()
    }

    fn end(&self, _: &GroupId) {}
}

impl EventPort for World {
    fn event(&self, event: &GroupEvent) {
        self.with(|state| match event {
            GroupEvent::AlertsChanged { .. } | GroupEvent::HealthChanged { .. } => state.news.push(event.clone()),
            GroupEvent::Evaluated { .. } => {}
            _ => state.events.push(event.clone()),
        });
    }
}

impl Clock for World {
    fn now(&self) -> Moment {
        let (now_ms, set_by_ms) = self.with(|state| (state.now_ms, state.set_by_ms));
        let monotonic = Duration::from_millis((now_ms - set_by_ms).unsigned_abs());
        Moment { wall: Timestamp(now_ms), monotonic }
    }

    async fn sleep(&self, wait: Duration) {
        self.with(|state| {
            let until = state.now_ms + i64::try_from(wait.as_millis()).expect("short waits");
            let arrival = state.arrivals.range(state.now_ms + 1..).next().map_or(i64::MAX, |(arrival, _)| *arrival);
            let until = until.min(arrival);
            state.now_ms = until.min(state.stop_at_ms);
        });
    }

    fn is_stopped(&self) -> bool {
        self.with(|state| state.now_ms >= state.stop_at_ms)
    }
}
