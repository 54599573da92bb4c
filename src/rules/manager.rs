//! The groups that run: one task each, replaced as a whole by a reload, joined at the end.
//!
//! Invariants: at most one task evaluates a group; a group that replaces another begins when that one has stopped and its
//! state is taken over; one reload happens at a time.

use super::clock::{TaskClock, wall_clock};
use super::event_log::EventLog;
use super::history::AlertHistory;
use ruler::driver::{Ports, SharedGroup, lock};
use ruler::group::{Group, GroupEvent, GroupSettings, GroupSpec};
use ruler::ports::{AppendPort, EventPort, NotifyPort, QueryPort};
use ruler::reload::{Farewell, ReloadPlan, plan};
use ruler::stats::SharedStats;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

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
    history: OnceLock<AlertHistory>,
    reloading: tokio::sync::Mutex<()>,
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

    /// Keeps a history of what happens to alerts from now on, of groups that begin.
    pub fn keep_history(&self, history: AlertHistory) {
        // There is one for the life of the process.
        let _ = self.shared.history.set(history);
    }

    /// What groups counted that no longer run.
    #[must_use]
    pub fn retired_stats(&self) -> SharedStats {
        *self.shared.retired()
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
            history: OnceLock::new(),
            reloading: tokio::sync::Mutex::default(),
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
        let starts = starting.into_iter().map(|(spec, replaced)| self.start(spec, &settings, replaced));
        let ends = ending.into_iter().map(|running| self.end(running));
        futures::future::join(futures::future::join_all(starts), futures::future::join_all(ends)).await;
    }

    /// Stops all groups for good; returns when their tasks have ended. Their series get no stale markers: the process may
    /// be back soon.
    pub async fn shutdown(&self) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    async fn start(&self, spec: GroupSpec, settings: &GroupSettings, replaced: Option<Running>) {
        let mut group = Group::new(spec, settings.clone());
        if let Some(Running { stopped, .. }) = &replaced {
            stopped.cancelled().await;
        }
        let began = Instant::now();
        let memory = self.shared.alerts.begin(group.id(), &group.rule_ids());
        match replaced {
            Some(Running { group: old, .. }) => group.copy_state(&lock(&old)),
            None => {
                group.restore(memory);
                group.restored_in(began.elapsed());
            }
        }
        self.spawn(group);
    }

    fn spawn(&self, group: Group) {
        let shared = &self.shared;
        let (stop, stopped) = (shared.stop.child_token(), CancellationToken::new());
        let ports = Ports {
            queries: shared.queries.clone(),
            samples: shared.samples.clone(),
            alerts: shared.alerts.clone(),
            events: EventLog::new(group.spec(), shared.history.get().cloned()),
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
        let (key, farewell, log) = {
            let group = lock(&running.group);
            self.shared.retired().add(&group.stats().shared);
            self.shared.alerts.end(group.id());
            (key(group.spec()), Farewell::of(&group, wall_clock()), EventLog::new(group.spec(), None))
        };
        self.shared.running().remove(&key);
        let manager = self.clone();
        self.shared.tasks.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(farewell.wait) => {}
                () = manager.shared.stop.cancelled() => return,
            }
            let markers = farewell.markers(&manager.groups());
            if !markers.is_empty()
                && let Err(error) = manager.shared.samples.append(&markers).await
            {
                log.event(&GroupEvent::FarewellFailed { error });
            }
        });
    }
}

impl<Q, A, N> Shared<Q, A, N> {
    fn running(&self) -> MutexGuard<'_, BTreeMap<(String, String), Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn retired(&self) -> MutexGuard<'_, SharedStats> {
        self.retired.lock().unwrap_or_else(PoisonError::into_inner)
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
