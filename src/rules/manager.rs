//! The groups that run: one task each, replaced as a whole by a reload, joined at the end.
//!
//! Invariants: at most one task evaluates a group; a group that replaces another begins when that one has stopped and its
//! state is taken over; one reload happens at a time.

use super::clock::{TaskClock, wall_clock};
use super::event_log::{EventLog, Histories, RecentEvaluations};
use super::rule_history::{RuleEvent, RuleEventKind};
use model::time::Timestamp;
use ruler::driver::{Ports, SharedGroup, lock};
use ruler::ended::{Unclaimed, shared_names};
use ruler::error::QueryError;
use ruler::group::{Group, GroupSettings, GroupSpec};
use ruler::ports::{AppendPort, NotifyPort, QueryPort};
use ruler::reload::{Farewell, ReloadPlan, plan};
use ruler::state::RuleId;
use ruler::state::shape::{GroupShape, RuleChange};
use ruler::stats::SharedStats;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How often it is waited for rules that might write what seems to have ended, and for a store that knows it.
const WAITS_MAX: usize = 10;

/// Runs groups over the ports of the process. Cheap to clone.
pub struct RuleManager<Q, A, N> {
    shared: Arc<Shared<Q, A, N>>,
}

struct Shared<Q, A, N> {
    queries: Q,
    samples: A,
    alerts: N,
    /// By key: in ascending order of file and name.
    running: Mutex<BTreeMap<(String, String), Running>>,
    /// What groups that are gone had counted.
    retired: Mutex<SharedStats>,
    recent: RecentEvaluations,
    histories: OnceLock<Histories>,
    /// When the first groups began.
    began: OnceLock<Timestamp>,
    reloading: tokio::sync::Mutex<()>,
    /// Cancelled when all configured groups are known and have begun: before, what a group no longer has may be in another one.
    all_known: CancellationToken,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// A group and its task.
#[derive(Clone)]
struct Running {
    group: SharedGroup,
    /// Tells the task to stop.
    stop: CancellationToken,
    /// Says that it has.
    stopped: CancellationToken,
}

impl<Q, A, N> Clone for RuleManager<Q, A, N> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<Q, A, N> RuleManager<Q, A, N> {
    /// All groups that run, in ascending order of file and name.
    #[must_use]
    pub fn groups(&self) -> Vec<SharedGroup> {
        self.shared.running().values().map(|running| running.group.clone()).collect()
    }

    /// Keeps it from now on what happens to alerts and rules, of groups that begin.
    pub fn keep_histories(&self, histories: Histories) {
        // They are the same for the life of the process.
        let _ = self.shared.histories.set(histories);
    }

    /// What groups counted that no longer run.
    #[must_use]
    pub fn retired_stats(&self) -> SharedStats {
        *self.shared.retired()
    }

    /// How long evaluations took of late.
    #[must_use]
    pub fn recent(&self) -> &RecentEvaluations {
        &self.shared.recent
    }
}

impl<Q, A, N> RuleManager<Q, A, N>
where
    Q: QueryPort + Clone + 'static,
    A: AppendPort + Clone + 'static,
    N: NotifyPort + Clone + 'static,
{
    /// A manager without groups.
    #[must_use]
    pub fn new(queries: Q, samples: A, alerts: N) -> Self {
        let shared = Shared {
            queries,
            samples,
            alerts,
            running: Mutex::default(),
            retired: Mutex::default(),
            recent: RecentEvaluations::default(),
            histories: OnceLock::new(),
            began: OnceLock::new(),
            reloading: tokio::sync::Mutex::default(),
            all_known: CancellationToken::new(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Makes `specs`, whose keys are unique, the groups that run. Groups that did not change go on undisturbed, new ones
    /// begin at once. Returns when those that changed or are gone have finished the rule they were evaluating.
    pub async fn apply(&self, specs: Vec<GroupSpec>, settings: GroupSettings) {
        let shared = &self.shared;
        let _one_at_a_time = shared.reloading.lock().await;
        if shared.stop.is_cancelled() {
            return;
        }
        let began = *shared.began.get_or_init(wall_clock);
        let shared_names = shared_names(&specs);
        let ReloadPlan { start, stop, .. } = shared.plan(specs, &settings);
        let ending = stop.iter().filter_map(|spec| shared.begin_stop(spec));
        let ending: Vec<Running> = ending.collect();
        let starting: Vec<(GroupSpec, Option<Running>)> = start
            .into_iter()
            .map(|spec| {
                let replaced = shared.begin_stop(&spec);
                (spec, replaced)
            })
            .collect();
        let starts =
            starting.into_iter().map(|(spec, replaced)| self.start(spec, &settings, &shared_names, replaced, began));
        let ends = ending.into_iter().map(|running| self.end(running));
        let (unclaimed, _) =
            futures::future::join(futures::future::join_all(starts), futures::future::join_all(ends)).await;
        Farewell::join(unclaimed).into_iter().for_each(|farewell| self.say(farewell));
    }

    /// Ends what groups wrote that an earlier process had and that did not begin in this one; to be called when all that are
    /// configured have begun. Nothing ends before, not even what rules wrote that are gone from a group that began.
    pub async fn end_left(&self) {
        let shared = &self.shared;
        shared.all_known.cancel();
        let _not_while_reloading = shared.reloading.lock().await;
        let began = *shared.began.get_or_init(wall_clock);
        let left = shared.alerts.left();
        for group in &left {
            shared.alerts.end(&group.shape.id);
            if group.did_run {
                let nothing = GroupShape { rules: Vec::new(), ..GroupShape::clone(&group.shape) };
                shared.note_changes(&nothing, Some(&group.shape), |_| None);
            }
        }
        let farewells = left.into_iter().map(|group| Farewell::of_left(group, began));
        Farewell::join(farewells).into_iter().for_each(|farewell| self.say(farewell));
    }

    /// Stops all groups for good; returns when their tasks have ended. Their series get no stale markers: the process may
    /// be back soon.
    pub async fn shutdown(&self) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    /// Returns what is to be said of series that an earlier process wrote for the group and that none of its rules claims.
    async fn start(
        &self,
        spec: GroupSpec,
        settings: &GroupSettings,
        shared_names: &BTreeSet<String>,
        replaced: Option<Running>,
        process_began: Timestamp,
    ) -> Farewell {
        let mut group = Group::new(spec, settings.clone());
        if let Some(Running { stopped, .. }) = &replaced {
            stopped.cancelled().await;
        }
        let began = Instant::now();
        let shape = group.shape();
        let memory = self.shared.alerts.begin(shape.clone());
        let definitions: HashMap<_, _> = group.rules().iter().map(|state| (&state.id, &state.rule)).collect();
        let before = memory.shape.as_deref().filter(|_| !memory.was_ended);
        self.shared.note_changes(&shape, before, |id| definitions.get(id).map(|rule| rule.definition()));
        let unclaimed = match replaced {
            Some(Running { group: old, .. }) => {
                group.copy_state(&lock(&old));
                Unclaimed::default()
            }
            None => {
                let unclaimed = group.restore(memory, shared_names);
                group.restored_in(began.elapsed());
                unclaimed
            }
        };
        let farewell = Farewell::of_unclaimed(unclaimed, group.spec(), process_began);
        self.spawn(group);
        farewell
    }

    fn spawn(&self, group: Group) {
        let shared = &self.shared;
        let (stop, stopped) = (shared.stop.child_token(), CancellationToken::new());
        let ports = Ports {
            queries: shared.queries.clone(),
            samples: shared.samples.clone(),
            alerts: shared.alerts.clone(),
            events: EventLog::new(
                group.id().clone(),
                shared.histories.get().cloned().unwrap_or_default(),
                shared.recent.clone(),
            ),
            clock: TaskClock::new(stop.clone()),
        };
        let key = key(group.spec());
        let group = Arc::new(Mutex::new(group));
        let running = Running { group: Arc::clone(&group), stop, stopped: stopped.clone() };
        shared.running().insert(key, running);
        shared.tasks.spawn(async move {
            let _when_ended = stopped.drop_guard();
            ports.run(&group).await;
        });
    }

    /// Removes a group for good. Its series end after a while, unless another group writes them by then.
    async fn end(&self, running: Running) {
        running.stopped.cancelled().await;
        let (key, farewell) = {
            let group = lock(&running.group);
            self.shared.retired().add(&group.stats().shared);
            self.shared.alerts.end(group.id());
            let shape = group.shape();
            let nothing = GroupShape { rules: Vec::new(), ..shape.clone() };
            self.shared.note_changes(&nothing, Some(&shape), |_| None);
            (key(group.spec()), Farewell::of(&group, wall_clock()))
        };
        self.shared.running().remove(&key);
        self.say(farewell);
    }

    /// Stores the markers of series that ended, when it is known which did.
    fn say(&self, farewell: Farewell) {
        let (manager, stop) = (self.clone(), self.shared.stop.clone());
        self.shared.tasks.spawn(async move {
            // If the process ends before, the next one says it of groups that are gone. Of rules that are gone from a group
            // nobody does: queries see their series until the lookback is over.
            stop.run_until_cancelled(manager.say_at_last(farewell)).await;
        });
    }

    async fn say_at_last(&self, mut farewell: Farewell) {
        self.shared.all_known.cancelled().await;
        let mut wait = farewell.wait;
        for waits in 1..=WAITS_MAX {
            tokio::time::sleep(wait).await;
            let is_last = waits == WAITS_MAX;
            if let Some(longer) = farewell.waits_for(&self.groups())
                && !is_last
            {
                wait = wait.max(longer);
                continue;
            }
            match self.look_up(&mut farewell).await {
                None => break,
                Some(error) if is_last => {
                    tracing::warn!(%error, "what rules wrote that are gone is not known: some series get no stale marker");
                }
                Some(_) => {}
            }
        }
        let markers = farewell.markers(&self.groups());
        if !markers.is_empty()
            && let Err(error) = self.shared.samples.append(&markers).await
        {
            tracing::warn!(error, "stale markers of series that ended were not stored");
        }
    }

    /// Asks the store what was written, one by one: there may be very many, and nobody waits. Keeps those of which it could not be
    /// asked, and returns why.
    async fn look_up(&self, farewell: &mut Farewell) -> Option<QueryError> {
        let mut failed = None;
        for series in std::mem::take(&mut farewell.earlier) {
            match self.shared.queries.look_up(&series, farewell.at).await {
                Ok(found) => farewell.learn(found),
                Err(error) => {
                    farewell.earlier.push(series);
                    failed = Some(error);
                }
            }
        }
        failed
    }
}

impl<Q, A, N> Shared<Q, A, N> {
    fn running(&self) -> MutexGuard<'_, BTreeMap<(String, String), Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn retired(&self) -> MutexGuard<'_, SharedStats> {
        self.retired.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what became of the rules of a group that was configured as `before`; `definition` is what a rule is now.
    fn note_changes(
        &self,
        now: &GroupShape,
        before: Option<&GroupShape>,
        definition: impl Fn(&Arc<RuleId>) -> Option<String>,
    ) {
        let Some(history) = self.histories.get().and_then(|histories| histories.rules.as_ref()) else { return };
        let at_ms = wall_clock().0;
        for (rule, change) in now.changes_since(before) {
            let text = if change == RuleChange::Removed { None } else { definition(&rule) };
            let what = RuleEventKind::Configured(change, text);
            history.note(RuleEvent { at_ms, group: now.id.clone(), rule: Some(rule), what });
        }
    }

    fn plan(&self, specs: Vec<GroupSpec>, settings: &GroupSettings) -> ReloadPlan {
        let running: Vec<(GroupSpec, GroupSettings)> = self
            .running()
            .values()
            .map(|running| {
                let group = lock(&running.group);
                (group.spec().clone(), group.settings().clone())
            })
            .collect();
        plan(running, specs, settings)
    }

    /// Tells the group of this file and name to stop, if it runs.
    fn begin_stop(&self, spec: &GroupSpec) -> Option<Running> {
        let running = self.running().get(&key(spec)).cloned()?;
        running.stop.cancel();
        Some(running)
    }
}

fn key(spec: &GroupSpec) -> (String, String) {
    (spec.file.clone(), spec.name.clone())
}

#[cfg(test)]
mod tests;
