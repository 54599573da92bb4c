//! What became of the alerts of one rule.

use crate::alert_instance::AlertState;
use crate::state::{Change, Departure};
use crate::transition::{Cause, Phase, Transition};
use hashbrown::HashMap;
use model::labels::Labels;
use model::time::Timestamp;

/// Episodes of one rule that are kept one by one; more are only counted.
const EPISODES_MAX: usize = 100_000;

/// One time an alert was pending, then perhaps firing.
#[derive(Debug, Clone, PartialEq)]
pub struct Episode {
    /// Which alert.
    pub labels: Labels,
    /// The slot in which the expression began to return it.
    pub active_since: Timestamp,
    /// The slot in which it began to fire.
    pub firing_since: Option<Timestamp>,
    /// The slot since which only `keep_firing_for` kept it firing, before it ended or until the end of the test.
    pub kept_since: Option<Timestamp>,
    /// The slot in which it ended, and why; `None`: it had not at the end of the test.
    pub ended: Option<(Timestamp, Cause)>,
    /// The value when it began to fire; if it never did, when it became pending.
    pub value: f64,
    /// The value when it was last returned.
    pub last_value: f64,
}

/// The alerts of one rule over time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Timeline {
    /// In ascending order of their begin, then of labels; at most 100,000.
    pub episodes: Vec<Episode>,
    /// How many more there were.
    pub episodes_left_out: u64,
    /// How often an alert began to fire.
    pub fired: u64,
    /// How often an alert was pending and never fired.
    pub only_pending: u64,
    /// How many different alerts fired.
    pub instances: u64,
    /// How often an alert fired that had fired before.
    pub fired_again: u64,
    /// How long alerts fired, all of them added up, in milliseconds.
    pub firing_ms: i64,
    /// Firing and resolved alerts that would have left for each Alertmanager, repetitions included.
    pub sent: u64,
    /// Evaluations between start and end.
    pub evaluations: u64,
    /// How many of them failed: alerts stay as they are in such a slot.
    pub failures: u64,
    /// Why the first of them did.
    pub first_error: Option<String>,
}

/// A timeline that is being written.
#[derive(Debug, Default)]
pub(super) struct Writer {
    open: HashMap<Labels, Episode>,
    fired: HashMap<Labels, u64>,
    timeline: Timeline,
}

impl Writer {
    pub(super) fn evaluated(&mut self) {
        self.timeline.evaluations += 1;
    }

    pub(super) fn failed(&mut self, error: &dyn std::fmt::Display) {
        self.timeline.failures += 1;
        self.timeline.first_error.get_or_insert_with(|| error.to_string());
    }

    pub(super) fn changed(&mut self, slot: Timestamp, transition: &Transition) {
        let Transition { labels, value, active_at, to, cause, .. } = transition;
        if *to == Phase::Inactive {
            if let Some(mut episode) = self.open.remove(labels) {
                episode.ended = Some((slot, *cause));
                episode.last_value = *value;
                self.close(episode, slot);
            }
            return;
        }
        let episode = self.open.entry(labels.clone()).or_insert_with(|| Episode {
            labels: labels.clone(),
            active_since: *active_at,
            firing_since: None,
            kept_since: None,
            ended: None,
            value: *value,
            last_value: *value,
        });
        if *to == Phase::Firing {
            episode.firing_since = Some(slot);
            episode.value = *value;
            let before = self.fired.entry(labels.clone()).or_default();
            self.timeline.fired += 1;
            self.timeline.fired_again += u64::from(*before > 0);
            self.timeline.instances += u64::from(*before == 0);
            *before += 1;
        }
    }

    /// Hears of what leaves; the transitions of the slot were told before.
    pub(super) fn departed(&mut self, departure: &Departure) {
        for Change { labels, instance, leaves_until } in &departure.changes {
            self.timeline.sent += u64::from(leaves_until.is_some());
            if let (Some(instance), Some(episode)) = (instance, self.open.get_mut(labels)) {
                episode.last_value = instance.value;
                episode.kept_since = match instance.state {
                    AlertState::Firing { keep_firing_since, .. } => keep_firing_since,
                    AlertState::Pending | AlertState::Resolved { .. } => None,
                };
            }
        }
    }

    fn close(&mut self, episode: Episode, end: Timestamp) {
        match episode.firing_since {
            Some(since) => self.timeline.firing_ms += end.0.saturating_sub(since.0),
            None => self.timeline.only_pending += 1,
        }
        if self.timeline.episodes.len() < EPISODES_MAX {
            self.timeline.episodes.push(episode);
        } else {
            self.timeline.episodes_left_out += 1;
        }
    }

    /// The timeline of a test that ended at `end`.
    pub(super) fn finish(mut self, end: Timestamp) -> Timeline {
        let mut open: Vec<Episode> = std::mem::take(&mut self.open).into_values().collect();
        open.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
        for episode in open {
            self.close(episode, end);
        }
        let mut timeline = self.timeline;
        timeline.episodes.sort_by(|a, b| (a.active_since, &a.labels).cmp(&(b.active_since, &b.labels)));
        timeline
    }
}
