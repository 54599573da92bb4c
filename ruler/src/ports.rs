//! What a group needs from the world. The server implements these over its engine, its storage and its notifier; tests over
//! a clock that they turn themselves.

use crate::alert_instance::Annotations;
use crate::ended::EarlierSeries;
use crate::error::QueryError;
use crate::evaluation::{Evaluation, Request};
use crate::group::GroupEvent;
use crate::state::shape::GroupShape;
use crate::state::{Departure, GroupId, GroupMemory, LeftGroup};
use futures_util::future::BoxFuture;
use model::labels::Labels;
use model::matcher::Matcher;
use model::time::Timestamp;
use promql::ast::Expr;
use promql::value::SampleValue;
use std::sync::Arc;
use std::time::Duration;

/// Answers instant queries, at once and on the calling thread.
pub trait Queries {
    /// The value of `expr` at `at`.
    ///
    /// # Errors
    /// The query failed; a rule that cannot be evaluated keeps the state it has.
    fn instant(&self, expr: &Expr, at: Timestamp) -> Result<QueryValue, QueryError>;

    /// Whether series may satisfy all `matchers` and have samples after `after`: they may where it takes more than a glance to know.
    fn may_select(&self, _matchers: &[Matcher], _after: Timestamp) -> bool {
        true
    }

    /// Time since the evaluation began, where somebody measures it.
    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }
}

/// What an instant query returned.
#[derive(Debug, Clone, PartialEq)]
pub enum QueryValue {
    /// Series with distinct labels.
    Vector(Vec<Element>),
    /// A number.
    Scalar(f64),
    /// A range vector or a text, of which no rule can be made.
    Other,
}

/// One element of an instant vector.
#[derive(Debug, Clone, PartialEq)]
pub struct Element {
    /// Distinct among the elements of one vector.
    pub labels: Labels,
    /// Its value.
    pub value: SampleValue,
}

/// Evaluates a rule where CPU time may be spent.
pub trait QueryPort: Send + Sync {
    /// Lets a group evaluate one more rule at once while it is held.
    type Place: Send;

    /// Another place, if one is free: each group may evaluate one rule at any time, and more with as many places.
    fn another_place(&self) -> Option<Self::Place>;

    /// Hears from now on of samples that arrive for series which satisfy one of `selectors`. `None` where nobody can tell.
    fn watch(&self, _selectors: Vec<Vec<Matcher>>) -> Option<Box<dyn IngestWatch>> {
        None
    }

    /// As [`QueryPort::watch`], and tells apart who sends: [`IngestWatch::lacks`].
    fn watch_targets(&self, selectors: Vec<Vec<Matcher>>) -> Option<Box<dyn IngestWatch>> {
        self.watch(selectors)
    }

    /// Runs [`EarlierSeries::look_up`] at `at` on a thread of the CPU pool. Nothing where no earlier process wrote.
    ///
    /// # Errors
    /// The query failed.
    fn look_up(
        &self,
        _series: &EarlierSeries,
        _at: Timestamp,
    ) -> impl Future<Output = Result<Vec<Labels>, QueryError>> + Send {
        std::future::ready(Ok(Vec::new()))
    }

    /// Runs [`Request::evaluate`] on a thread of the CPU pool, with [`Queries`] that read what was appended before.
    fn evaluate(&self, request: Request) -> impl Future<Output = Evaluation> + Send;
}

/// Hears of samples that arrive.
pub trait IngestWatch: Send + Sync {
    /// The newest time of those that arrived.
    fn newest(&self) -> Option<Timestamp>;

    /// Returns when something has arrived since the last call, at once if that has happened already.
    fn changed(&self) -> BoxFuture<'_, ()>;

    /// Whether samples up to `at` may be on their way at `now`; of who was silent for `silence_ms` none are.
    fn lacks(&self, at: Timestamp, _now: Timestamp, _silence_ms: i64) -> bool {
        self.newest().is_none_or(|newest| newest < at)
    }
}

/// One sample that a rule produced.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleSample {
    /// Whose sample it is.
    pub labels: Labels,
    /// When: the slot minus the query offset.
    pub at: Timestamp,
    /// Any f64, or a native histogram; the stale marker is a float, whatever the series had before.
    pub value: SampleValue,
}

/// Why storage refused one sample.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Discard {
    /// Another value is stored at the same timestamp.
    #[error("duplicate sample for timestamp")]
    Duplicate,
    /// Older than what may still be written.
    #[error("too old sample")]
    TooOld,
    /// Anything else: the sample can never be stored.
    #[error("{0}")]
    Other(String),
}

/// Why samples could not be stored, and the samples.
pub type Unstored = (String, Vec<RuleSample>);

/// Stores samples.
pub trait AppendPort: Send + Sync {
    /// Stores `samples` and returns when queries see them: the index of each refused sample and why.
    ///
    /// # Errors
    /// Nothing was stored; the message says why.
    fn append(&self, samples: &[RuleSample]) -> impl Future<Output = Result<Vec<(usize, Discard)>, String>> + Send;
}

/// A firing or resolved alert on its way to the Alertmanagers.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertMessage {
    /// Name the alert, `alertname` included.
    pub labels: Labels,
    /// Say what it means.
    pub annotations: Annotations,
    /// When it began to fire.
    pub starts_at: Timestamp,
    /// When it resolved, or for a firing alert until when to believe it without hearing more.
    pub ends_at: Timestamp,
    /// Whether it resolved.
    pub resolved: bool,
    /// Counts the changes of its state; what is sent again has the number of what was sent first.
    pub seq: u64,
    /// The rule's expression, for a link to it.
    pub expr: Arc<str>,
}

/// Remembers alerts and takes them to the Alertmanagers.
pub trait NotifyPort: Send + Sync {
    /// Makes what an evaluation changed durable, then queues the alerts that leave; returns when both are done, whatever
    /// becomes of the alerts later. If nothing can be made durable, they leave all the same.
    fn send(&self, departure: Departure) -> impl Future<Output = ()> + Send;

    /// Notes that all rules of a group were evaluated in `slot`. The process may end before this is durable.
    fn evaluated(&self, group: &Arc<GroupId>, slot: Timestamp);

    /// A group begins that is configured like this: what is remembered of it.
    fn begin(&self, shape: GroupShape) -> GroupMemory;

    /// The groups that an earlier process had and that did not begin again in this one.
    fn left(&self) -> Vec<LeftGroup> {
        Vec::new()
    }

    /// A group is gone. It is remembered for a while, since it may come back.
    fn end(&self, group: &GroupId);
}

/// A moment on two clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// What the wall clock says.
    pub wall: Timestamp,
    /// Time since an arbitrary start; never goes back. Measures durations.
    pub monotonic: Duration,
}

/// Time, and the end of it.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Moment;

    /// Returns after `wait`, or at once when the group is to stop.
    fn sleep(&self, wait: Duration) -> impl Future<Output = ()> + Send;

    /// Whether the group is to stop. Once true, it stays true.
    fn is_stopped(&self) -> bool;
}

/// What takes time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timed {
    /// The evaluation of a rule, storing its samples included.
    Rule,
    /// The evaluation of a whole group at its newest slot.
    Group,
}

/// Hears what happens, to log and count it.
pub trait EventPort: Send + Sync {
    /// Something happened that an operator may want to know.
    fn event(&self, event: &GroupEvent);

    /// An evaluation took so long.
    fn took(&self, _what: Timed, _duration: Duration) {}
}
