//! One alert: inactive, pending, firing, resolved.
//!
//! ```text
//!            returned                held for `for`                gone, `keep_firing_for` over
//! inactive ───────────▶ pending ───────────────────▶ firing ─────────────────────────────────▶ resolved
//!    ▲                   │    ▲                       │                                         │    │
//!    │       gone        │    └─── `for` was raised ──┘            returned: a new alert        │    │
//!    └───────────────────┘    ▲─────────────────────────────────────────────────────────────────┘    │
//!    └──────────────────────────────────────── fifteen minutes later ────────────────────────────────┘
//! ```
//!
//! An inactive alert has no instance. A resolved one is kept and sent again for fifteen minutes, so that an Alertmanager
//! that was down or restarted learns of it. Time is the slot of the evaluation, never the clock.

use model::time::Timestamp;
use std::sync::Arc;

/// How long a resolved alert is kept and sent again, in milliseconds.
pub const RESOLVED_RETENTION_MS: i64 = 15 * 60 * 1000;

/// Expanded annotations in ascending order of names. Values may be empty.
pub type Annotations = Arc<[(Arc<str>, Arc<str>)]>;

/// Where an alert stands. Instances of inactive alerts do not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlertState {
    /// Returned, but not yet for the whole of `for`. Never sent.
    Pending,
    /// Held for `for`.
    Firing {
        /// The slot in which it began to fire.
        fired_at: Timestamp,
        /// The first slot in which the expression no longer returned it, while `keep_firing_for` lasts.
        keep_firing_since: Option<Timestamp>,
    },
    /// Fired and went away.
    Resolved {
        /// The slot in which it began to fire.
        fired_at: Timestamp,
        /// The slot in which it stopped.
        resolved_at: Timestamp,
    },
}

/// The durations of a rule that govern its alerts, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// `for`: how long an alert is returned before it fires.
    pub hold_ms: i64,
    /// `keep_firing_for`: how long it fires on after it was last returned.
    pub keep_firing_ms: i64,
}

/// What [`AlertInstance::advance`] came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Pending or firing.
    Active,
    /// Kept only to be sent again.
    Resolved,
    /// To be dropped without a word.
    Forgotten,
}

/// One alert of one rule; its labels are the key under which the rule keeps it.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertInstance {
    /// Where it stands.
    pub state: AlertState,
    /// The slot in which it was first returned.
    pub active_at: Timestamp,
    /// The value when it was last returned; 0 for a native histogram.
    pub value: f64,
    /// The annotations when it was last returned.
    pub annotations: Annotations,
    /// The slot in which it was last sent.
    pub last_sent_at: Option<Timestamp>,
    /// Counts the changes between pending, firing and resolved, from 1; starts again when it is forgotten.
    pub seq: u64,
}

impl AlertInstance {
    /// An alert that is returned for the first time.
    #[must_use]
    pub fn new(now: Timestamp, value: f64, annotations: Annotations) -> Self {
        Self { state: AlertState::Pending, active_at: now, value, annotations, last_sent_at: None, seq: 1 }
    }

    /// Notes that the expression returned it at `now`. A resolved alert that comes back is a new alert.
    pub fn observe(&mut self, now: Timestamp, value: f64, annotations: Annotations) {
        match &mut self.state {
            AlertState::Resolved { .. } => *self = Self { seq: self.seq + 1, ..Self::new(now, value, annotations) },
            AlertState::Pending => (self.value, self.annotations) = (value, annotations),
            AlertState::Firing { keep_firing_since, .. } => {
                *keep_firing_since = None;
                (self.value, self.annotations) = (value, annotations);
            }
        }
    }

    /// Moves it to `now`; `returned` says whether the expression returned it, which [`AlertInstance::observe`] was told.
    pub fn advance(&mut self, now: Timestamp, returned: bool, timing: Timing) -> Fate {
        if !returned {
            match self.state {
                AlertState::Pending => return Fate::Forgotten,
                AlertState::Resolved { resolved_at, .. } if elapsed(resolved_at, now) > RESOLVED_RETENTION_MS => {
                    return Fate::Forgotten;
                }
                AlertState::Resolved { .. } => return Fate::Resolved,
                AlertState::Firing { fired_at, keep_firing_since } => {
                    let since = keep_firing_since.unwrap_or(now);
                    if elapsed(since, now) >= timing.keep_firing_ms {
                        self.state = AlertState::Resolved { fired_at, resolved_at: now };
                        self.seq += 1;
                        return Fate::Resolved;
                    }
                    self.state = AlertState::Firing { fired_at, keep_firing_since: Some(since) };
                }
            }
        }
        self.hold(now, timing.hold_ms);
        Fate::Active
    }

    /// Fires what has been held long enough; takes back what no longer has, after a reload that raised `for`.
    fn hold(&mut self, now: Timestamp, hold_ms: i64) {
        let held = elapsed(self.active_at, now) >= hold_ms;
        match self.state {
            AlertState::Pending if held => {
                self.state = AlertState::Firing { fired_at: now, keep_firing_since: None };
                self.seq += 1;
            }
            AlertState::Firing { .. } if !held => {
                self.state = AlertState::Pending;
                self.last_sent_at = None;
                self.seq += 1;
            }
            AlertState::Pending | AlertState::Firing { .. } | AlertState::Resolved { .. } => {}
        }
    }

    /// Whether the Alertmanagers are to hear of it at `now`: at once when it fires or resolves, then again whenever more
    /// than `resend_delay_ms` passed since.
    #[must_use]
    pub fn needs_sending(&self, now: Timestamp, resend_delay_ms: i64) -> bool {
        let Some(sent) = self.last_sent_at else { return self.state != AlertState::Pending };
        match self.state {
            AlertState::Pending => false,
            AlertState::Resolved { resolved_at, .. } if resolved_at > sent => true,
            // Sent in the future: the clock was set back.
            AlertState::Firing { .. } | AlertState::Resolved { .. } => {
                elapsed(sent, now) > resend_delay_ms || sent > now
            }
        }
    }

    /// Whether it is pending or firing.
    #[must_use]
    pub fn is_active(&self) -> bool {
        !matches!(self.state, AlertState::Resolved { .. })
    }
}

fn elapsed(since: Timestamp, now: Timestamp) -> i64 {
    now.0.saturating_sub(since.0)
}

#[cfg(test)]
mod tests;
