//! Alerts between two slots: they may come and begin to fire, nothing else.

use super::{RuleAlerts, Told, Tracked};
use crate::alert_instance::{AlertInstance, AlertState, Timing};
use crate::evaluation::SeenAlert;
use crate::state::Change;
use crate::transition::Transition;
use model::time::Timestamp;
use std::collections::btree_map::Entry;

impl RuleAlerts {
    /// Takes in what the expression returned at `now`, between two slots: new alerts are pending, pending ones that were held long
    /// enough fire. What is not returned stays as it is until the next slot, and so does what fires. Returns what changed; alerts
    /// that begin to fire leave at once and are believed for `lasting_ms`. Nothing happens if there would be more than `limit` active
    /// alerts (0 means any number).
    pub fn advance_early(
        &mut self,
        now: Timestamp,
        seen: Vec<SeenAlert>,
        timing: Timing,
        lasting_ms: i64,
        limit: u64,
    ) -> Vec<Change> {
        let is_new =
            |alert: &&SeenAlert| self.tracked.get(&alert.labels).is_none_or(|known| !known.instance.is_active());
        let active = self.active().count() + seen.iter().filter(is_new).count();
        if limit > 0 && u64::try_from(active).is_ok_and(|active| active > limit) {
            return Vec::new();
        }
        let mut changes = Vec::new();
        for SeenAlert { labels, value, annotations } in seen {
            let tracked = match self.tracked.entry(labels.clone()) {
                Entry::Occupied(known) => {
                    let known = known.into_mut();
                    match known.instance.state {
                        AlertState::Firing { .. } => continue,
                        AlertState::Pending => {}
                        AlertState::Resolved { .. } => {
                            known.instance.observe(now, value, annotations);
                            known.series = None;
                        }
                    }
                    known
                }
                Entry::Vacant(vacant) => {
                    let instance = AlertInstance::new(now, value, annotations);
                    vacant.insert(Tracked { instance, returned_in: 0, series: None, told: None })
                }
            };
            tracked.instance.advance(now, true, timing);
            let fires = matches!(tracked.instance.state, AlertState::Firing { .. });
            let leaves_until = fires.then(|| Timestamp(now.0.saturating_add(lasting_ms)));
            if fires {
                tracked.instance.last_sent_at = Some(now);
            }
            let current = Told::of(&tracked.instance);
            if tracked.told != Some(current) {
                let before = tracked.told.replace(current).map(|told| told.state);
                self.transitions.extend(Transition::between(before, &labels, &tracked.instance));
                changes.push(Change { labels, instance: Some(tracked.instance.clone()), leaves_until });
            }
        }
        changes
    }
}
