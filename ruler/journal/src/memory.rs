//! Everything that the journal knows: the alerts of every rule, and what waits for every Alertmanager.
//!
//! Pure: moved by [`Record`]s, those of the log as well as those of the running process, so that both come to the same.
//! Invariants: a message is kept as long as somebody waits for it; what is gone from the configuration is forgotten
//! [`GONE_KEPT_MS`] later, so that everything has a bound.

use crate::record::{self, Record};
use hashbrown::{HashMap, HashSet};
use model::labels::Labels;
use model::time::Timestamp;
use ruler::alert_instance::{AlertInstance, RESOLVED_RETENTION_MS};
use ruler::ports::AlertMessage;
use ruler::state::shape::GroupShape;
use ruler::state::{Change, Departure, GroupId, GroupMemory, LeftGroup, RuleId, RuleMemory};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How long rules and Alertmanagers are remembered that are gone from the configuration, in milliseconds.
pub const GONE_KEPT_MS: i64 = 2 * RESOLVED_RETENTION_MS;

/// Alerts in one frame of a state, so that no frame grows beyond what can be read back.
const ALERTS_PER_FRAME: usize = 4_096;

/// What is known.
#[derive(Debug, Default)]
pub struct Memory {
    groups: HashMap<Arc<GroupId>, Group>,
    /// By number. What nobody waits for is not kept.
    messages: BTreeMap<u64, Message>,
    /// By URL, those included that are gone and to which something is still to be told.
    targets: BTreeMap<String, Target>,
    /// The last number that was given.
    numbers: u64,
}

#[derive(Debug, Default)]
struct Group {
    last_slot: Option<Timestamp>,
    /// Since when no such group runs.
    gone_since: Option<Timestamp>,
    /// How it was configured last; `None`: a version that did not remember that wrote the rest.
    shape: Option<Arc<GroupShape>>,
    /// Whether it was taken out of the configuration while a process ran.
    was_ended: bool,
    /// Whether it is of an earlier process and did not begin in this one.
    is_left: bool,
    rules: HashMap<Arc<RuleId>, Rule>,
}

#[derive(Debug, Default)]
struct Rule {
    last_good: Option<Timestamp>,
    gone_since: Option<Timestamp>,
    alerts: BTreeMap<Labels, AlertInstance>,
}

#[derive(Debug)]
struct Message {
    message: AlertMessage,
    /// How many targets wait for it.
    targets: usize,
}

#[derive(Debug, Default)]
struct Target {
    /// Whether alerts leave for it.
    current: bool,
    gone_since: Option<Timestamp>,
    waiting: BTreeSet<u64>,
}

impl Memory {
    /// Follows one record.
    pub fn apply(&mut self, record: Record) {
        match record {
            Record::Targets(urls) => self.set_targets(&urls.into_iter().collect(), None),
            Record::Departure { first_number, departure } => {
                self.depart(first_number, &departure);
            }
            Record::Evaluated { group, slot } => {
                self.evaluated(&Arc::new(group), slot);
            }
            Record::Settled { target, numbers } => {
                self.settled(&target, &numbers);
            }
            Record::Message { number, message } => {
                self.messages.entry(number).or_insert(Message { message, targets: 0 });
            }
            Record::Waiting { target, numbers } => self.waits(&target, &numbers),
            Record::Begun(shape) => {
                let group = self.groups.entry(shape.id.clone()).or_default();
                (group.shape, group.was_ended) = (Some(Arc::new(shape)), false);
            }
            Record::Ended(group) => {
                if let Some(group) = self.groups.get_mut(&group) {
                    group.was_ended = true;
                }
            }
            Record::Numbers(last) => self.numbers = self.numbers.max(last),
        }
    }

    /// The number of the next message.
    #[must_use]
    pub fn next_number(&self) -> u64 {
        self.numbers.saturating_add(1)
    }

    /// Takes in what an evaluation brought; returns the messages with their numbers.
    pub fn depart(&mut self, first_number: u64, departure: &Departure) -> Vec<(u64, AlertMessage)> {
        let rule = self.rule(&departure.rule);
        rule.last_good = rule.last_good.max(departure.last_good);
        for change in &departure.changes {
            match &change.instance {
                Some(instance) => rule.alerts.insert(change.labels.clone(), instance.clone()),
                None => rule.alerts.remove(&change.labels),
            };
        }
        let messages: Vec<(u64, AlertMessage)> = (first_number..).zip(departure.messages()).collect();
        let Some((last, _)) = messages.last() else { return messages };
        self.numbers = self.numbers.max(*last);
        let mut targets = 0;
        for target in self.targets.values_mut().filter(|target| target.current) {
            target.waiting.extend(first_number..=*last);
            targets += 1;
        }
        if targets > 0 {
            let kept =
                messages.iter().map(|(number, message)| (*number, Message { message: message.clone(), targets }));
            self.messages.extend(kept);
        }
        messages
    }

    /// Notes that all rules of a group were evaluated. Whether that is the first that is known of it.
    pub fn evaluated(&mut self, group: &Arc<GroupId>, slot: Timestamp) -> bool {
        self.groups.entry(group.clone()).or_default().last_slot.replace(slot).is_none()
    }

    /// Forgets that `target` waits for these messages. Returns those for which it did.
    pub fn settled(&mut self, target: &str, numbers: &[u64]) -> Vec<u64> {
        let Some(target) = self.targets.get_mut(target) else { return Vec::new() };
        let mut settled: Vec<u64> = numbers.iter().copied().filter(|number| target.waiting.remove(number)).collect();
        settled.sort_unstable();
        for number in &settled {
            release(&mut self.messages, *number);
        }
        settled
    }

    fn waits(&mut self, url: &str, numbers: &[u64]) {
        let target = self.targets.entry(url.to_owned()).or_default();
        for number in numbers {
            if let Some(message) = self.messages.get_mut(number)
                && target.waiting.insert(*number)
            {
                message.targets += 1;
            }
        }
    }

    /// From now on alerts leave for these targets. Others are remembered for a while, since they may come back.
    pub fn set_targets(&mut self, urls: &BTreeSet<String>, now: Option<Timestamp>) {
        for url in urls {
            self.targets.entry(url.clone()).or_default();
        }
        for (url, target) in &mut self.targets {
            let current = urls.contains(url);
            if current {
                target.gone_since = None;
            } else if target.current {
                target.gone_since = now;
            }
            target.current = current;
        }
    }

    /// The Alertmanagers for which alerts leave.
    #[must_use]
    pub fn targets(&self) -> BTreeSet<String> {
        self.targets.iter().filter(|(_, target)| target.current).map(|(url, _)| url.clone()).collect()
    }

    /// What waits for a target, oldest first.
    #[must_use]
    pub fn waiting(&self, url: &str) -> Vec<(u64, AlertMessage)> {
        let numbers = self.targets.get(url).into_iter().flat_map(|target| &target.waiting);
        numbers.filter_map(|number| Some((*number, self.messages.get(number)?.message.clone()))).collect()
    }

    /// A group begins at `now` that is configured like this: what is known of its rules, and of others that it had in an earlier
    /// process. Those are gone. The flag says whether anything about its configuration is new.
    pub fn begin(&mut self, shape: GroupShape, now: Timestamp) -> (GroupMemory, bool) {
        let known = self.groups.entry(shape.id.clone()).or_default();
        known.gone_since = None;
        let was_left = std::mem::take(&mut known.is_left);
        for rule in known.rules.values_mut() {
            rule.gone_since = rule.gone_since.or(Some(now));
        }
        let was_ended = std::mem::take(&mut known.was_ended);
        let (last_slot, before) = (known.last_slot, known.shape.clone());
        let mut memory = GroupMemory { last_slot, shape: before, was_ended, ..GroupMemory::default() };
        for id in shape.rules.iter().map(|rule| &rule.id) {
            let Some(rule) = known.rules.get_mut(id) else { continue };
            rule.gone_since = None;
            memory.rules.insert(id.clone(), rule.memory());
        }
        if was_left {
            memory.gone = known.gone();
        }
        let is_new = was_ended || known.shape.as_deref() != Some(&shape);
        if is_new {
            known.shape = Some(Arc::new(shape));
        }
        (memory, is_new)
    }

    /// The groups of an earlier process that did not begin in this one.
    #[must_use]
    pub fn left(&self) -> Vec<LeftGroup> {
        let left = self.groups.values().filter(|group| group.is_left).filter_map(|group| {
            let shape = group.shape.clone()?;
            let memory = GroupMemory { last_slot: group.last_slot, gone: group.gone(), ..GroupMemory::default() };
            Some(LeftGroup { shape, did_run: !group.was_ended, memory })
        });
        left.collect()
    }

    /// A group is gone. Whether that is new.
    pub fn end(&mut self, group: &GroupId, now: Timestamp) -> bool {
        match self.groups.get_mut(group) {
            None => false,
            Some(group) => {
                group.end(now);
                group.is_left = false;
                !std::mem::replace(&mut group.was_ended, true)
            }
        }
    }

    /// Everything counts as gone since `now` that does not begin again: a process starts. What was gone before, since it was
    /// evaluated last: when it was taken away nobody remembers, and it is not to be ended again in every process.
    pub fn start(&mut self, now: Timestamp) {
        for group in self.groups.values_mut() {
            let since = if group.was_ended { group.last_known().min(now) } else { now };
            group.gone_since = Some(since);
            group.is_left = true;
            group.rules.values_mut().for_each(|rule| rule.gone_since = Some(since));
        }
        self.targets.values_mut().for_each(|target| {
            target.current = false;
            target.gone_since = Some(now);
        });
        // Whoever waits for them is not in the log: it ended between the two.
        self.messages.retain(|_, message| message.targets > 0);
    }

    /// Forgets what is gone for long.
    pub fn expire(&mut self, now: Timestamp) {
        let is_over =
            |since: Option<Timestamp>| since.is_some_and(|since| now.0.saturating_sub(since.0) > GONE_KEPT_MS);
        self.groups.retain(|_, group| {
            group.rules.retain(|_, rule| !is_over(rule.gone_since));
            !(is_over(group.gone_since) && group.rules.is_empty())
        });
        let over: Vec<String> = self
            .targets
            .iter()
            .filter(|(_, target)| is_over(target.gone_since) || (!target.current && target.waiting.is_empty()))
            .map(|(url, _)| url.clone())
            .collect();
        for url in over {
            for number in self.targets.remove(&url).into_iter().flat_map(|target| target.waiting) {
                release(&mut self.messages, number);
            }
        }
    }

    /// Alerts that are remembered.
    #[must_use]
    pub fn alert_count(&self) -> usize {
        self.groups.values().flat_map(|group| group.rules.values()).map(|rule| rule.alerts.len()).sum()
    }

    /// Messages that somebody waits for.
    #[must_use]
    pub fn message_count(&self) -> usize {
        self.messages.len()
    }

    /// Calls `frame` with the payload of each record that together make the whole state.
    pub fn frames(&self, mut frame: impl FnMut(&[u8])) {
        let mut bytes = Vec::new();
        let mut put = |encode: &dyn Fn(&mut Vec<u8>)| {
            bytes.clear();
            encode(&mut bytes);
            frame(&bytes);
        };
        let encoded = |record: Record| move |out: &mut Vec<u8>| record::encode(&record, out);
        put(&encoded(Record::Numbers(self.numbers)));
        for (group, known) in &self.groups {
            for (id, rule) in &known.rules {
                let alerts: Vec<_> = rule.alerts.iter().collect();
                for alerts in alerts.chunks(ALERTS_PER_FRAME) {
                    let departure = state_of(id, rule, alerts);
                    put(&|out| record::encode_departure(0, &departure, out));
                }
            }
            if let Some(shape) = &known.shape {
                put(&|out| record::encode_begun(shape, out));
            }
            if known.was_ended {
                put(&encoded(Record::Ended(GroupId::clone(group))));
            }
            if let Some(slot) = known.last_slot {
                put(&encoded(Record::Evaluated { group: GroupId::clone(group), slot }));
            }
        }
        for (number, message) in &self.messages {
            put(&|out| record::encode_message(*number, &message.message, out));
        }
        for (url, target) in self.targets.iter().filter(|(_, target)| !target.waiting.is_empty()) {
            let numbers = target.waiting.iter().copied().collect();
            put(&encoded(Record::Waiting { target: url.clone(), numbers }));
        }
        put(&encoded(Record::Targets(self.targets().into_iter().collect())));
    }

    fn rule(&mut self, id: &Arc<RuleId>) -> &mut Rule {
        self.groups.entry(id.group.clone()).or_default().rules.entry(id.clone()).or_default()
    }
}

impl Group {
    fn end(&mut self, now: Timestamp) {
        self.gone_since = Some(now);
        for rule in self.rules.values_mut() {
            rule.gone_since = rule.gone_since.or(Some(now));
        }
    }

    /// The newest slot of which something is known.
    fn last_known(&self) -> Timestamp {
        let slots = self.rules.values().filter_map(|rule| rule.last_good).chain(self.last_slot);
        slots.max().unwrap_or_default()
    }

    /// What is known of alerting rules that are gone and that the group had to the last.
    fn gone(&self) -> Vec<RuleMemory> {
        let last: Option<HashSet<&Arc<RuleId>>> =
            self.shape.as_ref().map(|shape| shape.rules.iter().map(|rule| &rule.id).collect());
        let had = |id: &Arc<RuleId>| last.as_ref().is_none_or(|last| last.contains(id));
        let gone = self.rules.iter().filter(|(id, rule)| rule.gone_since.is_some() && had(id));
        gone.map(|(_, rule)| rule.memory()).collect()
    }
}

impl Rule {
    fn memory(&self) -> RuleMemory {
        let alerts = self.alerts.iter().map(|(labels, instance)| (labels.clone(), instance.clone())).collect();
        RuleMemory { last_good: self.last_good, alerts }
    }
}

/// The alerts of a rule as if one evaluation had brought them all, of which nothing leaves.
fn state_of(id: &Arc<RuleId>, rule: &Rule, alerts: &[(&Labels, &AlertInstance)]) -> Departure {
    let change = |(labels, instance): &(&Labels, &AlertInstance)| Change {
        labels: Labels::clone(labels),
        instance: Some(AlertInstance::clone(instance)),
        leaves_until: None,
    };
    Departure {
        rule: id.clone(),
        expr: "".into(),
        slot: rule.last_good.unwrap_or_default(),
        last_good: rule.last_good,
        changes: alerts.iter().map(change).collect(),
    }
}

fn release(messages: &mut BTreeMap<u64, Message>, number: u64) {
    if let Some(message) = messages.get_mut(&number) {
        message.targets = message.targets.saturating_sub(1);
        if message.targets == 0 {
            messages.remove(&number);
        }
    }
}
