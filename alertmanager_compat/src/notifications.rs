//! How many notifications an Alertmanager sends for alerts that reach it: one route, one integration, in time that passes on paper.
//!
//! Follows Alertmanager 0.34: alerts with equal `group_by` labels form a group. A new group waits for `group_wait`, unless an alert
//! that began longer ago is among it, then looks every `group_interval`. What it finds is sent when an alert fires that the last
//! notification did not have, when one resolved since, when all have, or when the last notification is older than
//! `repeat_interval`. Silences, inhibition and what fails on the way are left out.

use model::labels::Labels;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A group that has become empty is forgotten so much later at the latest, in milliseconds.
const MAINTENANCE_MS: i64 = 30_000;

/// The settings of a route. Times in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Labels by which alerts are grouped; `None`: by all, each alert for itself (`...`).
    pub group_by: Option<Vec<String>>,
    /// How long the first notification of a group waits for further alerts.
    pub group_wait_ms: i64,
    /// How long changes of a group wait for further ones; at least a second.
    pub group_interval_ms: i64,
    /// After how long a notification is repeated though nothing changed.
    pub repeat_interval_ms: i64,
    /// Whether the receiver hears of alerts that resolved.
    pub send_resolved: bool,
}

impl Default for Route {
    /// As Alertmanager has them: all alerts are one group.
    fn default() -> Self {
        Self {
            group_by: Some(Vec::new()),
            group_wait_ms: 30_000,
            group_interval_ms: 5 * 60_000,
            repeat_interval_ms: 4 * 3_600_000,
            send_resolved: true,
        }
    }
}

/// What was sent so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Because an alert began to fire.
    pub firing: u64,
    /// Because alerts resolved.
    pub resolved: u64,
    /// Because nothing had changed for `repeat_interval`.
    pub repeated: u64,
}

impl Tally {
    /// All of them.
    #[must_use]
    pub fn total(self) -> u64 {
        self.firing + self.resolved + self.repeated
    }
}

/// An Alertmanager with one route.
#[derive(Debug)]
pub struct Notifications {
    route: Route,
    /// Labels have numbers, so that sets of them are small.
    numbers: HashMap<Labels, u64>,
    groups: BTreeMap<Labels, Group>,
    /// When which group looks next.
    due: BTreeSet<(i64, Labels)>,
    /// What was last sent of each group; outlives the group.
    log: BTreeMap<Labels, Entry>,
    tally: Tally,
}

#[derive(Debug)]
struct Group {
    /// Until when to believe each alert, by its number.
    ends_ms: BTreeMap<u64, i64>,
    next_ms: i64,
    has_flushed: bool,
    empty_since: Option<i64>,
}

#[derive(Debug, Default)]
struct Entry {
    at_ms: i64,
    firing: BTreeSet<u64>,
    resolved: BTreeSet<u64>,
}

impl Notifications {
    /// One that has heard of nothing.
    #[must_use]
    pub fn new(route: Route) -> Self {
        let (numbers, groups, due) = (HashMap::new(), BTreeMap::new(), BTreeSet::new());
        Self { route, numbers, groups, due, log: BTreeMap::new(), tally: Tally::default() }
    }

    /// An alert arrives at `now_ms`, which never goes back; it resolves at `ends_ms`, which may be past.
    pub fn receive(&mut self, now_ms: i64, labels: &Labels, starts_ms: i64, ends_ms: i64) {
        self.advance(now_ms);
        let key = match &self.route.group_by {
            Some(names) => labels.filter(|name| names.iter().any(|by| by == name)),
            None => labels.clone(),
        };
        let number = self.numbers.len() as u64;
        let number = *self.numbers.entry(labels.clone()).or_insert(number);
        let is_over = |group: &Group| group.empty_since.is_some_and(|since| now_ms - since >= MAINTENANCE_MS);
        if self.groups.get(&key).is_some_and(is_over) {
            self.remove(&key);
        }
        let wait_ms = self.route.group_wait_ms;
        let group = self.groups.entry(key.clone()).or_insert_with(|| {
            let next_ms = now_ms.saturating_add(wait_ms);
            self.due.insert((next_ms, key.clone()));
            Group { ends_ms: BTreeMap::new(), next_ms, has_flushed: false, empty_since: None }
        });
        group.empty_since = None;
        group.ends_ms.insert(number, ends_ms);
        if !group.has_flushed && starts_ms.saturating_add(wait_ms) < now_ms {
            self.due.remove(&(group.next_ms, key.clone()));
            group.next_ms = now_ms;
            self.due.insert((now_ms, key));
        }
    }

    /// Lets time pass until just before `now_ms`: what arrives then is there when groups look.
    pub fn advance(&mut self, now_ms: i64) {
        while self.due.first().is_some_and(|(at_ms, _)| *at_ms < now_ms) {
            let Some((at_ms, key)) = self.due.pop_first() else { return };
            self.flush(at_ms, &key);
        }
    }

    /// What was sent so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.tally
    }

    fn flush(&mut self, at_ms: i64, key: &Labels) {
        let Some(group) = self.groups.get_mut(key) else { return };
        if group.empty_since.is_some_and(|since| at_ms - since >= MAINTENANCE_MS) {
            self.groups.remove(key);
            return;
        }
        group.has_flushed = true;
        group.next_ms = at_ms.saturating_add(self.route.group_interval_ms.max(1000));
        self.due.insert((group.next_ms, key.clone()));
        let (mut firing, mut resolved) = (BTreeSet::new(), BTreeSet::new());
        for (number, ends_ms) in &group.ends_ms {
            if *ends_ms <= at_ms {
                resolved.insert(*number)
            } else {
                firing.insert(*number)
            };
        }
        group.ends_ms.retain(|number, _| firing.contains(number));
        if group.ends_ms.is_empty() {
            group.empty_since.get_or_insert(at_ms);
        }
        if firing.is_empty() && resolved.is_empty() {
            return;
        }
        let last = self.log.get(key);
        let known =
            |of: fn(&Entry) -> &BTreeSet<u64>, all: &BTreeSet<u64>| last.is_some_and(|last| all.is_subset(of(last)));
        let had_firing = last.is_some_and(|last| !last.firing.is_empty());
        let is_old = last.is_none_or(|last| last.at_ms < at_ms.saturating_sub(self.route.repeat_interval_ms));
        let count = if !firing.is_empty() && !known(|last| &last.firing, &firing) {
            &mut self.tally.firing
        } else if firing.is_empty() {
            if !had_firing {
                return;
            }
            if self.route.send_resolved { &mut self.tally.resolved } else { &mut 0 }
        } else if self.route.send_resolved && !known(|last| &last.resolved, &resolved) {
            &mut self.tally.resolved
        } else if is_old {
            &mut self.tally.repeated
        } else {
            return;
        };
        *count += 1;
        self.log.insert(key.clone(), Entry { at_ms, firing, resolved });
    }

    fn remove(&mut self, key: &Labels) {
        if let Some(group) = self.groups.remove(key) {
            self.due.remove(&(group.next_ms, key.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;
    const HOUR: i64 = 60 * MINUTE;
    const START: i64 = 1_000_000_000;

    struct World(Notifications);

    impl World {
        fn new(route: Route) -> Self {
            Self(Notifications::new(route))
        }

        /// An alert that fires from one minute to another, sent every minute, and once when it resolved.
        fn fires(&mut self, alerts: &[(&str, i64, i64)]) {
            let last = alerts.iter().map(|(_, _, until)| *until).max().unwrap_or_default();
            for minute in 0..=last {
                let now = START + minute * MINUTE;
                for (labels, from, until) in alerts.iter().filter(|(_, from, until)| (*from..=*until).contains(&minute))
                {
                    let pairs = labels.split(',').filter_map(|pair| pair.split_once('='));
                    let labels = Labels::from_pairs(pairs).expect("distinct");
                    let ends = if minute == *until { now } else { now + 4 * MINUTE };
                    self.0.receive(now, &labels, START + from * MINUTE, ends);
                }
            }
        }

        fn after(&mut self, minutes: i64) -> (u64, u64, u64) {
            self.0.advance(START + minutes * MINUTE);
            let Tally { firing, resolved, repeated } = self.0.tally();
            (firing, resolved, repeated)
        }
    }

    #[test]
    fn an_alert_is_notified_when_it_begins_and_when_it_ends() {
        let mut world = World::new(Route::default());
        world.fires(&[("a=1", 0, 12)]);
        assert_eq!(world.after(60), (1, 1, 0));
    }

    #[test]
    fn alerts_that_begin_within_the_group_wait_or_interval_are_one_notification() {
        let mut world = World::new(Route::default());
        // The second arrives after the wait, the third with it within one interval.
        world.fires(&[("a=1", 0, 30), ("a=2", 1, 30), ("a=3", 2, 30)]);
        assert_eq!(world.after(60), (2, 1, 0));
        let by = Route { group_by: Some(vec!["a".into()]), ..Route::default() };
        let mut world = World::new(by);
        world.fires(&[("a=1,b=1", 0, 30), ("a=1,b=2", 0, 30), ("a=2,b=1", 0, 30)]);
        assert_eq!(world.after(60), (2, 2, 0));
        let mut world = World::new(Route { group_by: None, ..Route::default() });
        world.fires(&[("a=1,b=1", 0, 30), ("a=1,b=2", 0, 30), ("a=2,b=1", 0, 30)]);
        assert_eq!(world.after(60), (3, 3, 0));
    }

    #[test]
    fn an_alert_that_goes_within_the_wait_is_not_notified() {
        let mut world = World::new(Route { group_wait_ms: 2 * MINUTE, ..Route::default() });
        world.fires(&[("a=1", 0, 1)]);
        assert_eq!(world.after(60), (0, 0, 0));
    }

    #[test]
    fn what_lasts_is_repeated() {
        let mut world = World::new(Route::default());
        world.fires(&[("a=1", 0, 13 * 60)]);
        // The first that is later than four hours after the one before comes four hours and five minutes later.
        assert_eq!(world.after(14 * 60), (1, 1, 3));
        let often = Route { repeat_interval_ms: HOUR, ..Route::default() };
        let mut world = World::new(often);
        world.fires(&[("a=1", 0, 3 * 60)]);
        assert_eq!(world.after(4 * 60), (1, 1, 2));
    }

    #[test]
    fn an_alert_that_flaps_within_an_interval_is_told_once() {
        let mut world = World::new(Route::default());
        // Gone and back between two looks of the group.
        world.fires(&[("a=1", 0, 2), ("a=1", 3, 30)]);
        assert_eq!(world.after(60), (1, 1, 0));
    }

    #[test]
    fn a_receiver_that_does_not_want_to_hear_of_the_end_hears_of_the_next_begin() {
        let mut world = World::new(Route { send_resolved: false, ..Route::default() });
        world.fires(&[("a=1", 0, 12), ("a=1", 40, 50)]);
        assert_eq!(world.after(90), (2, 0, 0));
    }

    #[test]
    fn an_alert_that_is_no_longer_sent_resolves_when_it_is_no_longer_to_be_believed() {
        let mut world = World::new(Route::default());
        let labels = Labels::from_pairs([("a", "1")]).expect("distinct");
        world.0.receive(START, &labels, START, START + 4 * MINUTE);
        assert_eq!(world.after(3), (1, 0, 0));
        assert_eq!(world.after(60), (1, 1, 0));
    }

    #[test]
    fn an_old_alert_does_not_wait() {
        let mut world = World::new(Route::default());
        let labels = Labels::from_pairs([("a", "1")]).expect("distinct");
        world.0.receive(START, &labels, START - HOUR, START + 4 * MINUTE);
        world.0.advance(START + 1);
        assert_eq!(world.0.tally().total(), 1);
    }
}
