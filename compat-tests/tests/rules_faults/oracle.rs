//! What has to arrive at an Alertmanager, worked out from the samples alone.
//!
//! Every instance has episodes in which its value is above the rules' bound. Where the server was away, a slot may be evaluated
//! later than it should; so each time that an alert may name is a window, which is a single slot for an undisturbed server.

use anyhow::{Context, ensure};
use compat_tests::api::Api;
use compat_tests::random::Random;
use compat_tests::receiver::Message;
use compat_tests::remote_write::Writer;
use compat_tests::wait::{eventually, now_ms};
use std::collections::{BTreeMap, BTreeSet};

/// Distance of the slots of the group.
pub(crate) const INTERVAL_MS: i64 = 1_000;
/// Its first rule, which shows where the slots are.
pub(crate) const SLOT_RULE: &str = "{record: 'slot:one', expr: vector(1)}";

/// An alerting rule of the group, over `pressure > 5`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rule {
    pub(crate) name: &'static str,
    /// `for`, a multiple of the interval.
    pub(crate) hold_ms: i64,
    /// `keep_firing_for`, a multiple of the interval.
    pub(crate) keep_ms: i64,
}

/// `--rules.alert.resend-delay` of the server.
pub(crate) const RESEND_MS: i64 = 2_000;
/// How long after its slot an Alertmanager believes a firing alert.
const BELIEVED_MS: i64 = 4 * RESEND_MS;
/// On a machine that is too busy to start the server in this time, alerts expire and episodes run into each other.
const AWAY_MAX_MS: i64 = 5_000;

pub(crate) const RULES: [Rule; 4] = [
    Rule { name: "Zero", hold_ms: 0, keep_ms: 0 },
    Rule { name: "Held", hold_ms: 6_000, keep_ms: 0 },
    Rule { name: "Kept", hold_ms: 0, keep_ms: 4_000 },
    Rule { name: "HeldAndKept", hold_ms: 3_000, keep_ms: 3_000 },
];

impl Rule {
    /// As it stands in a rule file.
    pub(crate) fn yaml(self, annotation: &str) -> String {
        let (hold, keep) = (self.hold_ms / 1000, self.keep_ms / 1000);
        let keep = if keep == 0 { String::new() } else { format!(", keep_firing_for: {keep}s") };
        format!(
            "{{alert: {}, expr: pressure > 5, for: {hold}s{keep}, annotations: {{text: '{annotation}'}}}}",
            self.name
        )
    }
}

/// The times in which one instance is above the bound: from the first sample above it to the first below.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Episode {
    from_ms: i64,
    to_ms: i64,
}

/// The instances with their episodes, and how far they were told to the server.
pub(crate) struct Script {
    start_ms: i64,
    instances: Vec<Vec<Episode>>,
    written_to_ms: i64,
}

impl Script {
    /// Episodes at random from `start_ms`, for `seconds`; the samples are once a second.
    pub(crate) fn new(random: &mut Random, instances: usize, start_ms: i64, seconds: i64) -> Self {
        let end_ms = start_ms + seconds * 1000;
        let mut one = |_| {
            let mut episodes = Vec::new();
            let mut from_ms = start_ms + 1000 * random.below(10) as i64;
            loop {
                let to_ms = from_ms + 1000 * (1 + random.below(18) as i64);
                if to_ms > end_ms {
                    return episodes;
                }
                episodes.push(Episode { from_ms, to_ms });
                // Far enough from the next that no delay makes one of two.
                from_ms = to_ms + 1000 * (14 + random.below(8) as i64);
            }
        };
        let instances = (0..instances).map(&mut one).collect();
        Self { start_ms, instances, written_to_ms: start_ms }
    }

    /// When the last episode ends.
    pub(crate) fn end_ms(&self) -> i64 {
        self.instances.iter().flatten().map(|episode| episode.to_ms).max().unwrap_or(self.start_ms)
    }

    /// Writes the samples before `to_ms` that were not yet written.
    pub(crate) async fn write(&mut self, url: &str, to_ms: i64) -> anyhow::Result<()> {
        let mut writer = Writer::new(url);
        let mut at_ms = self.written_to_ms;
        while at_ms < to_ms {
            for (i, episodes) in self.instances.iter().enumerate() {
                let above = episodes.iter().any(|episode| (episode.from_ms..episode.to_ms).contains(&at_ms));
                writer.push("pressure", &[("instance", &i.to_string())], at_ms, if above { 7.0 } else { 1.0 });
            }
            at_ms += 1000;
        }
        writer.send().await?;
        self.written_to_ms = at_ms;
        Ok(())
    }
}

/// How far the slots of the group are from the multiples of the interval.
pub(crate) async fn phase_ms(url: &str) -> anyhow::Result<i64> {
    let api = Api::new(url);
    eventually(20, || async {
        let answer = api.instant("slot:one[1m]", now_ms()).await?;
        let slot = answer.values().flatten().next().context("no slot was evaluated yet")?.0;
        Ok(slot.rem_euclid(INTERVAL_MS))
    })
    .await
}

/// Slots, and when the server could not evaluate them.
pub(crate) struct Slots {
    pub(crate) phase_ms: i64,
    /// Ascending.
    pub(crate) away: Vec<(i64, i64)>,
}

impl Slots {
    /// Whether the server was away for so long, about that episode, that nothing follows from what arrives.
    fn hide(&self, episode: Episode) -> bool {
        let about = (episode.from_ms, episode.to_ms + BELIEVED_MS);
        self.away.iter().any(|(from, to)| to - from > AWAY_MAX_MS && *from < about.1 && about.0 < *to)
    }

    fn from(&self, ms: i64) -> i64 {
        ms + (self.phase_ms - ms).rem_euclid(INTERVAL_MS)
    }

    /// When the work of this slot may be done at the latest.
    fn late(&self, slot_ms: i64) -> i64 {
        let mut late = slot_ms;
        for (from, to) in &self.away {
            if (*from..=*to).contains(&late) {
                late = self.from(*to);
            }
        }
        late
    }
}

/// Every difference between what arrived and what the script says, once everything that follows from it had time to arrive.
pub(crate) fn problems(messages: &[Message], script: &Script, slots: &Slots) -> Vec<String> {
    let mut heard: BTreeMap<(String, String), Vec<&Message>> = BTreeMap::new();
    for message in messages {
        let label = |name: &str| message.alert.label(name).to_owned();
        heard.entry((label("alertname"), label("instance"))).or_default().push(message);
    }
    let mut problems = Vec::new();
    for rule in RULES {
        for (i, episodes) in script.instances.iter().enumerate() {
            let mut heard = heard.remove(&(rule.name.to_owned(), i.to_string())).unwrap_or_default();
            for (n, episode) in episodes.iter().enumerate() {
                if slots.hide(*episode) {
                    let next = episodes.get(n + 1).map_or(i64::MAX, |next| next.from_ms);
                    heard.retain(|message| !(episode.from_ms..next).contains(&message.alert.starts_ms));
                    continue;
                }
                let problem = check_episode(rule, *episode, slots, &mut heard);
                problems.extend(problem.err().map(|problem| {
                    let at = |ms: i64| (ms - script.start_ms) as f64 / 1e3;
                    let (from, to) = (at(episode.from_ms), at(episode.to_ms));
                    format!("{} of instance {i} from {from} to {to}: {problem}", rule.name)
                }));
            }
            let unexpected =
                heard.iter().map(|message| format!("{} of instance {i}: unexpected {message:?}", rule.name));
            problems.extend(unexpected);
        }
    }
    problems.extend(heard.keys().map(|alert| format!("{alert:?}: no such alert can fire")));
    problems
}

/// Takes the messages of one episode out of `heard`, which are those of one alert.
fn check_episode(rule: Rule, episode: Episode, slots: &Slots, heard: &mut Vec<&Message>) -> anyhow::Result<()> {
    let (active, active_late) = (slots.from(episode.from_ms), slots.late(slots.from(episode.from_ms)));
    let (gone, gone_late) = (slots.from(episode.to_ms), slots.late(slots.from(episode.to_ms)));
    let (fires, fires_late) = (active + rule.hold_ms, slots.late(active_late + rule.hold_ms));
    let (resolves, resolves_late) = (gone + rule.keep_ms, slots.late(gone_late + rule.keep_ms));
    let (mine, others): (Vec<_>, Vec<_>) =
        heard.iter().partition(|message| (fires..=fires_late).contains(&message.alert.starts_ms));
    *heard = others;
    let starts: BTreeSet<_> = mine.iter().map(|message| message.alert.starts_ms).collect();
    ensure!(starts.len() <= 1, "it began {} times: {starts:?}", starts.len());
    if fires >= gone_late {
        ensure!(mine.is_empty(), "it fired, though it never held for long enough: {mine:?}");
        return Ok(());
    }
    if mine.is_empty() {
        ensure!(fires_late >= gone, "it never fired, expected between {fires} and {fires_late}");
        return Ok(());
    }
    let (ended, firing): (Vec<&Message>, Vec<_>) = mine.iter().partition(|message| message.is_resolved());
    ensure!(!ended.is_empty(), "no end arrived, expected between {resolves} and {resolves_late}");
    for message in &ended {
        let ends = message.alert.ends_ms;
        ensure!(
            (resolves..=resolves_late).contains(&ends),
            "it ended at {ends}, expected {resolves} to {resolves_late}"
        );
    }
    for (earlier, later) in firing.iter().zip(firing.iter().skip(1)) {
        // The server says it again as soon as it can, if it was away when it should have.
        let again = slots.late(earlier.alert.ends_ms - BELIEVED_MS + RESEND_MS + INTERVAL_MS) + INTERVAL_MS;
        let (until, next) = (earlier.alert.ends_ms, later.arrived_ms);
        ensure!(next <= until.max(again), "believed until {until}, heard of again only at {next}");
    }
    Ok(())
}
