//! A process in small that can die and start again, and the Alertmanagers that outlive it.

use alert_journal::journal::{Journal, Writer};
use alertmanager_compat::alert::PostableAlert;
use alertmanager_compat::client::{DeliveryQueue, Outcome, Parcel, QueueOptions};
use model::labels::Labels;
use model::time::Timestamp;
use promql::ast::Expr;
use promql::parse::ParseOptions;
use promql::value::SampleValue;
use ruler::annotate::TemplateContext;
use ruler::driver::Ports;
use ruler::error::QueryError;
use ruler::evaluation::{Evaluation, Request};
use ruler::group::{Group, GroupEvent, GroupSettings, GroupSpec};
use ruler::ports::{
    AlertMessage, AppendPort, Clock, Discard, Element, EventPort, Moment, NotifyPort, Queries, QueryPort, QueryValue,
    RuleSample,
};
use ruler::restore::ForRestore;
use ruler::rule_file::{GroupDefaults, RuleFile};
use ruler::schedule::Schedule;
use ruler::state::shape::GroupShape;
use ruler::state::{Departure, GroupId, GroupMemory};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use storage::disk::simulated::SimulatedDisk;

pub(crate) const TARGETS: [&str; 2] = ["http://a", "http://b"];
pub(crate) const RULES: usize = 2;
pub(crate) const INTERVAL_MS: i64 = 30_000;
const START_MS: i64 = 1_700_000_000_000;
/// After this nothing dies and every delivery succeeds, so that all that waits arrives.
const CALM_MS: i64 = 5 * 60_000;

/// When the process dies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Crash {
    /// Between any two steps that leave a trace.
    Anywhere,
    /// After so many milliseconds each time.
    Every(i64),
    /// Never, but the rules are loaded anew after so many milliseconds each time.
    Reload(i64),
}

/// Everything that happens, derived from a seed.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) seed: u64,
    pub(crate) crash: Crash,
    pub(crate) alerts: usize,
    pub(crate) length_ms: i64,
    /// While no Alertmanager accepts anything, in milliseconds after the start.
    pub(crate) away_ms: Range<i64>,
    pub(crate) timings: [(i64, i64); RULES],
}

/// Something that an Alertmanager has to hear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Transition {
    pub(crate) rule: usize,
    pub(crate) alert: usize,
    pub(crate) fired_at: i64,
    pub(crate) resolved_at: Option<i64>,
}

/// Numbers that look random.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

impl Scenario {
    pub(crate) fn random(seed: u64, crash: Crash) -> Self {
        let mut random = Random(seed);
        let holds = [0, 20_000, 60_000, 150_000];
        let keeps = [0, 0, 45_000, 90_000];
        let mut timing =
            || (holds[random.below(holds.len() as u64) as usize], keeps[random.below(keeps.len() as u64) as usize]);
        let timings = [timing(), timing()];
        Self { seed, crash, alerts: 4, length_ms: 20 * 60_000, away_ms: 0..0, timings }
    }

    /// `for` and `keep_firing_for`.
    pub(crate) fn timing(&self, rule: usize) -> (i64, i64) {
        self.timings[rule]
    }

    /// All slots of the run.
    pub(crate) fn slots(&self) -> impl Iterator<Item = i64> {
        let first = Schedule::new("r.yml", "g", INTERVAL_MS).slot_after(Timestamp(START_MS)).0;
        let end = START_MS + self.length_ms + CALM_MS;
        (first..end).step_by(INTERVAL_MS as usize)
    }

    /// Whether the rule returns the alert: in stretches of some slots. In the calm at the end nothing changes any more.
    pub(crate) fn is_present(&self, rule: usize, alert: usize, slot: i64) -> bool {
        let slot = slot.min(START_MS + self.length_ms);
        let stretch = ((slot - START_MS) / INTERVAL_MS) as u64 / (1 + alert as u64);
        Random(self.seed ^ stretch << 20 ^ (rule as u64) << 50 ^ (alert as u64) << 40).below(2) == 0
    }

    fn spec(&self) -> GroupSpec {
        let rule = |rule: usize| {
            let (hold, keep) = self.timings[rule];
            format!("  - alert: R{rule}\n    expr: r{rule}\n    for: {hold}ms\n    keep_firing_for: {keep}ms\n")
        };
        let text = format!("groups:\n- name: g\n  rules:\n{}{}", rule(0), rule(1));
        let file = RuleFile::parse("r.yml", &text, &ParseOptions::default()).expect("a valid file");
        let defaults = GroupDefaults { interval_ms: INTERVAL_MS, query_offset_ms: 0 };
        file.groups.into_iter().next().expect("one group").resolve("r.yml", defaults)
    }
}

/// What one Alertmanager was posted.
#[derive(Debug, Clone, Copy)]
struct Post {
    target: &'static str,
    number: u64,
    transition: Transition,
    /// How many crashes there had been.
    crashes: usize,
}

/// The world, with at most one process in it.
#[derive(Clone)]
pub(crate) struct World {
    scenario: Arc<Scenario>,
    state: Arc<Mutex<State>>,
}

struct State {
    now_ms: i64,
    random: Random,
    disk: SimulatedDisk,
    process: Option<Process>,
    posts: Vec<Post>,
    crashes: usize,
    /// Steps that leave a trace until the process dies.
    steps_left: u64,
    dies_at_ms: i64,
    reloads_at_ms: i64,
    reloads: usize,
    power_was_cut: bool,
    attempts: u64,
}

struct Process {
    journal: Journal,
    writer: Writer,
    queues: BTreeMap<&'static str, DeliveryQueue>,
}

impl World {
    pub(crate) fn run(scenario: &Scenario) -> Self {
        let state = State {
            now_ms: START_MS,
            random: Random(scenario.seed.wrapping_mul(31)),
            disk: SimulatedDisk::new(),
            process: None,
            posts: Vec::new(),
            crashes: 0,
            steps_left: 0,
            dies_at_ms: 0,
            reloads_at_ms: i64::MAX,
            reloads: 0,
            power_was_cut: false,
            attempts: 0,
        };
        let world = Self { scenario: Arc::new(scenario.clone()), state: Arc::new(Mutex::new(state)) };
        while !world.is_over() {
            world.live_once();
        }
        world
    }

    /// What `target` heard of.
    pub(crate) fn heard(&self, target: &str) -> BTreeSet<Transition> {
        let state = self.state();
        state.posts.iter().filter(|post| post.target == target).map(|post| post.transition).collect()
    }

    /// Messages that a target heard twice, and how many crashes there were in between.
    pub(crate) fn repeated(&self) -> Vec<(&'static str, u64, usize)> {
        let mut last: BTreeMap<(&str, u64), usize> = BTreeMap::new();
        let mut repeated = Vec::new();
        for post in &self.state().posts {
            if let Some(before) = last.insert((post.target, post.number), post.crashes) {
                repeated.push((post.target, post.number, post.crashes - before));
            }
        }
        repeated
    }

    pub(crate) fn crashes(&self) -> usize {
        self.state().crashes
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while it holds it")
    }

    fn end_ms(&self) -> i64 {
        START_MS + self.scenario.length_ms + CALM_MS
    }

    fn is_calm(&self, now_ms: i64) -> bool {
        now_ms >= START_MS + self.scenario.length_ms
    }

    fn is_over(&self) -> bool {
        self.state().now_ms >= self.end_ms()
    }

    pub(crate) fn reloads(&self) -> usize {
        self.state().reloads
    }

    fn reload_after(&self, state: &mut State) {
        if let Crash::Reload(after_ms) = self.scenario.crash {
            state.reloads_at_ms = state.now_ms + after_ms;
        }
    }

    /// Whether the process lives and its rules are to be loaded anew.
    fn is_reloading(&self) -> bool {
        let state = self.state();
        state.process.is_some() && state.now_ms < self.end_ms() && state.now_ms >= state.reloads_at_ms
    }

    /// A process from its start to its death, or to the end of the world.
    fn live_once(&self) {
        let group = {
            let mut state = self.state();
            let calm = self.is_calm(state.now_ms);
            let (steps, every) = match self.scenario.crash {
                // A group that never finished a slot does not know that it missed one.
                Crash::Anywhere if state.now_ms == START_MS => (30 + state.random.below(60), i64::MAX),
                Crash::Anywhere if !calm => (1 + state.random.below(60), i64::MAX),
                Crash::Every(every) if !calm => (u64::MAX, every),
                Crash::Anywhere | Crash::Every(_) | Crash::Reload(_) => (u64::MAX, i64::MAX),
            };
            state.steps_left = steps;
            state.dies_at_ms = state.now_ms.saturating_add(every);
            let clock = self.clone();
            let disk = Arc::new(state.disk.clone());
            let now_ms = state.now_ms;
            // The journal asks for the time while the state is locked.
            let (journal, writer, opened) = Journal::open(disk, Path::new("/alerts"), move || Timestamp(now_ms));
            drop(clock);
            let damaged = opened.troubles.iter().any(|trouble| trouble.to_string().contains("damaged"));
            // Of what was not synced a cut of the power may leave the end without the beginning.
            assert!(!damaged || state.power_was_cut, "{:?}", opened.troubles);
            journal.set_targets(&TARGETS.iter().map(|url| (*url).to_owned()).collect());
            let mut process = Process { journal, writer, queues: BTreeMap::new() };
            for url in TARGETS {
                let options = QueueOptions { batch_max: 5, ..QueueOptions::default() };
                let mut queue = DeliveryQueue::new(options);
                queue.push(process.journal.waiting(url).into_iter().map(parcel));
                process.queues.insert(url, queue);
            }
            let mut group = Group::new(self.scenario.spec(), settings(context()));
            let memory = process.journal.begin(group.shape());
            group.restore(memory, &std::collections::BTreeSet::new());
            state.process = Some(process);
            Arc::new(Mutex::new(group))
        };
        let ports = Ports {
            queries: self.clone(),
            samples: self.clone(),
            alerts: self.clone(),
            events: self.clone(),
            clock: self.clone(),
        };
        self.reload_after(&mut self.state());
        block_on(ports.run(&group));
        let mut group = group;
        while self.is_reloading() {
            let mut next = Group::new(self.scenario.spec(), settings(context()));
            let mut state = self.state();
            if let Some(process) = &state.process {
                let _ = process.journal.begin(next.shape());
            }
            state.reloads += 1;
            self.reload_after(&mut state);
            drop(state);
            next.copy_state(&ruler::driver::lock(&group));
            group = Arc::new(Mutex::new(next));
            block_on(ports.run(&group));
        }
        let mut state = self.state();
        if state.process.take().is_none() {
            state.crashes += 1;
            let seed = state.random.below(u64::MAX);
            // The process was killed, or the power was cut.
            state.power_was_cut = seed % 2 == 1;
            state.disk = if state.power_was_cut { state.disk.restart(seed) } else { state.disk.kill() };
        }
    }
}

impl State {
    /// Something that leaves a trace is about to happen. Whether the process lives to do it.
    fn step(&mut self) -> bool {
        self.steps_left = self.steps_left.saturating_sub(1);
        if self.steps_left == 0 {
            self.process = None;
        }
        self.process.is_some()
    }

    /// Lets the writer write, interrupted after some of its steps if that is to be.
    fn write(&mut self) -> bool {
        if !self.step() {
            return false;
        }
        let Some(process) = &mut self.process else { return false };
        if self.steps_left < 4 {
            self.disk.cut_power_at(self.disk.steps() + self.steps_left - 1);
            process.writer.turn(Duration::ZERO);
            self.process = None;
            return false;
        }
        process.writer.turn(Duration::ZERO);
        true
    }

    /// Tries to deliver what waits for every target, once each.
    fn deliver(&mut self, calm: bool, away_ms: &Range<i64>) {
        for url in TARGETS {
            // Every call is beyond the longest wait after a failure.
            self.attempts += 1;
            let now = Duration::from_secs(self.attempts * 60);
            let now_ms = self.now_ms;
            if !self.step() {
                return;
            }
            let Some(process) = &mut self.process else { return };
            let Some(queue) = process.queues.get_mut(url) else { return };
            let Ok(batch) = queue.next_batch(now, now_ms) else { continue };
            let is_away = away_ms.contains(&(now_ms - START_MS));
            let arrives = !is_away && (calm || self.random.chance(70));
            let numbers = process.journal.waiting(url);
            if arrives {
                for alert in &batch.alerts {
                    let transition = transition(alert, &numbers);
                    let (number, transition) = transition;
                    self.posts.push(Post { target: url, number, transition, crashes: self.crashes });
                }
            }
            // The process may die when the alerts have arrived and it does not know it.
            if !self.step() {
                return;
            }
            let Some(process) = &mut self.process else { return };
            let Some(queue) = process.queues.get_mut(url) else { return };
            let outcome = if arrives { Outcome::Accepted } else { Outcome::Unavailable { retry_after: None } };
            queue.handle_outcome(&batch, outcome, now);
            let settled = queue.take_settled();
            process.journal.settled(url, &settled);
            if !self.write() {
                return;
            }
        }
    }
}

fn context() -> TemplateContext {
    TemplateContext { external_labels: Labels::empty(), external_url: "".into(), parse: ParseOptions::default() }
}

fn settings(context: TemplateContext) -> GroupSettings {
    GroupSettings {
        context: Arc::new(context),
        resend_delay_ms: 60_000,
        repair_window_ms: 600_000,
        unknown_max_ms: 3_600_000,
        for_restore: ForRestore::default(),
    }
}

fn parcel((number, message): (u64, AlertMessage)) -> Parcel {
    let alert = PostableAlert {
        labels: message.labels,
        annotations: [].into(),
        starts_at_ms: message.starts_at.0,
        ends_at_ms: message.ends_at.0,
        generator_url: "".into(),
    };
    Parcel { number, resolved: message.resolved, alert }
}

/// Which transition an alert is about, as the journal knows what waits.
fn transition(alert: &PostableAlert, waiting: &[(u64, AlertMessage)]) -> (u64, Transition) {
    let is_it = |message: &AlertMessage| {
        message.labels == alert.labels
            && message.starts_at.0 == alert.starts_at_ms
            // One that is told late is given a later end.
            && (message.ends_at.0 == alert.ends_at_ms || !message.resolved && message.ends_at.0 < alert.ends_at_ms)
    };
    let (number, message) =
        waiting.iter().find(|(_, message)| is_it(message)).expect("nothing is sent that is not kept");
    let label = |name: &str| message.labels.get(name).expect("all have it").to_owned();
    let rule = label("alertname").trim_start_matches('R').parse().expect("a number");
    let transition = Transition {
        rule,
        alert: label("id").parse().expect("a number"),
        fired_at: message.starts_at.0,
        resolved_at: message.resolved.then_some(message.ends_at.0),
    };
    (*number, transition)
}

fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
    }
}

impl Queries for World {
    fn instant(&self, expr: &Expr, at: Timestamp) -> Result<QueryValue, QueryError> {
        let rule = expr.to_string().trim_start_matches('r').parse().expect("a number");
        let present = (0..self.scenario.alerts).filter(|alert| self.scenario.is_present(rule, *alert, at.0));
        let element = |alert: usize| Element {
            labels: Labels::from_pairs([("id", alert.to_string())]).expect("valid labels"),
            value: SampleValue::Float(1.0),
        };
        Ok(QueryValue::Vector(present.map(element).collect()))
    }
}

impl QueryPort for World {
    type Place = ();

    fn another_place(&self) -> Option<()> {
        None
    }

    async fn evaluate(&self, request: Request) -> Evaluation {
        request.evaluate(self)
    }
}

impl AppendPort for World {
    async fn append(&self, _: &[RuleSample]) -> Result<Vec<(usize, Discard)>, String> {
        // A store has its own proofs; what matters here is that the process may die before it was asked.
        if self.state().step() { Ok(Vec::new()) } else { Err("the process is dead".into()) }
    }
}

impl NotifyPort for World {
    async fn send(&self, departure: Departure) {
        let mut state = self.state();
        if !state.step() {
            return;
        }
        let Some(process) = &mut state.process else { return };
        let mut commit = process.journal.commit(&departure);
        if !state.write() {
            return;
        }
        assert_eq!(commit.durable.try_recv(), Ok(Ok(())));
        let Some(process) = &mut state.process else { return };
        let messages: Vec<Parcel> = commit.messages.into_iter().map(parcel).collect();
        for (url, queue) in &mut process.queues {
            queue.push(messages.clone());
            process.journal.settled(url, &queue.take_settled());
        }
    }

    fn evaluated(&self, group: &Arc<GroupId>, slot: Timestamp) {
        let mut state = self.state();
        if !state.step() {
            return;
        }
        if let Some(process) = &state.process {
            process.journal.evaluated(group, slot);
        }
        state.write();
    }

    fn begin(&self, _: GroupShape) -> GroupMemory {
        GroupMemory::default()
    }

    fn end(&self, _: &GroupId) {}
}

impl EventPort for World {
    fn event(&self, event: &GroupEvent) {
        let expected = matches!(
            event,
            GroupEvent::IterationsMissed { .. }
                | GroupEvent::RuleFailed { .. }
                | GroupEvent::FarewellFailed { .. }
                | GroupEvent::AlertsChanged { .. }
                | GroupEvent::Evaluated { .. }
        );
        assert!(expected, "{event:?}");
    }
}

impl Clock for World {
    fn now(&self) -> Moment {
        let now_ms = self.state().now_ms;
        Moment { wall: Timestamp(now_ms), monotonic: Duration::from_millis(now_ms.unsigned_abs()) }
    }

    async fn sleep(&self, wait: Duration) {
        let mut state = self.state();
        let calm = self.is_calm(state.now_ms);
        // Deliveries go on between the slots.
        for _ in 0..8 {
            state.deliver(calm, &self.scenario.away_ms);
        }
        let until = state.now_ms + i64::try_from(wait.as_millis()).expect("short waits");
        state.now_ms = until.min(state.dies_at_ms).min(state.reloads_at_ms).min(self.end_ms());
        if state.now_ms >= state.dies_at_ms {
            state.process = None;
        }
    }

    fn is_stopped(&self) -> bool {
        let state = self.state();
        state.process.is_none() || state.now_ms >= self.end_ms().min(state.reloads_at_ms)
    }
}
