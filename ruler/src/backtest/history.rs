//! What is asked of the stored history, in pieces of bounded size.

use crate::error::QueryError;
use crate::ports::Element;
use model::labels::Labels;
use promql::value::SampleValue;
use std::sync::Arc;

/// Answers queries over what is stored.
pub trait History {
    /// The values of `query` at `first_ms`, `first_ms + step_ms` … up to `last_ms`.
    ///
    /// # Errors
    /// See [`HistoryError`].
    fn range(
        &mut self,
        query: &str,
        first_ms: i64,
        last_ms: i64,
        step_ms: i64,
    ) -> Result<Vec<HistorySeries>, HistoryError>;

    /// The values of `query` at `at_ms`.
    ///
    /// # Errors
    /// See [`HistoryError`].
    fn instant(&mut self, query: &str, at_ms: i64) -> Result<Vec<HistorySeries>, HistoryError>;
}

/// One series of an answer. Timestamps are in milliseconds and ascend.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HistorySeries {
    /// Whose values they are.
    pub labels: Labels,
    /// When there are numbers.
    pub timestamps_ms: Vec<i64>,
    /// One for each time.
    pub values: Vec<f64>,
    /// When there are native histograms, of which an answer in JSON does not say everything.
    pub histograms_ms: Vec<i64>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// The query cannot be evaluated there, or its answer is too large: in one slot of many, perhaps.
    #[error("{0}")]
    Refused(String),
    /// Nothing can be asked.
    #[error("{0}")]
    Failed(String),
}

/// What one expression returned in one slot.
pub(super) type Answer = Result<Arc<Answered>, QueryError>;

/// The elements of an answer.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Answered {
    /// Native histograms have the value 0, as alerts say it.
    pub(super) elements: Vec<Element>,
    pub(super) has_histograms: bool,
}

/// The answers to one expression, slot by slot in ascending order.
#[derive(Debug)]
pub(super) struct Feed {
    text: Arc<str>,
    slot_by_slot: bool,
    slots_max: i64,
    /// Slots of the next piece.
    slots: i64,
    piece: Option<Piece>,
}

#[derive(Debug)]
struct Piece {
    first_ms: i64,
    last_ms: i64,
    answer: Result<Vec<HistorySeries>, String>,
}

impl Feed {
    pub(super) fn new(text: Arc<str>, slot_by_slot: bool, slots_max: i64) -> Self {
        Self { text, slot_by_slot, slots_max, slots: slots_max, piece: None }
    }

    /// The answer at `at_ms`; the last that is asked for is at `end_ms`.
    pub(super) fn at(
        &mut self,
        history: &mut dyn History,
        at_ms: i64,
        end_ms: i64,
        step_ms: i64,
    ) -> Result<Answer, HistoryError> {
        let is_known = self.piece.as_ref().is_some_and(|piece| (piece.first_ms..=piece.last_ms).contains(&at_ms));
        if !is_known {
            self.piece = None;
            self.piece = Some(self.ask(history, at_ms, end_ms, step_ms)?);
        }
        let answer = self.piece.as_ref().map(|piece| &piece.answer);
        Ok(match answer {
            Some(Ok(series)) => Ok(Arc::new(Answered::at(series, at_ms))),
            Some(Err(error)) => Err(QueryError::Invalid(error.clone())),
            None => Ok(Arc::default()),
        })
    }

    fn ask(&mut self, history: &mut dyn History, at_ms: i64, end_ms: i64, step_ms: i64) -> Result<Piece, HistoryError> {
        if self.slot_by_slot {
            let answer = refused(history.instant(&self.text, at_ms))?;
            return Ok(Piece { first_ms: at_ms, last_ms: at_ms, answer });
        }
        let left = end_ms.saturating_sub(at_ms).max(0) / step_ms + 1;
        loop {
            let slots = self.slots.clamp(1, left);
            let last_ms = at_ms + (slots - 1) * step_ms;
            match refused(history.range(&self.text, at_ms, last_ms, step_ms))? {
                Err(_) if slots > 1 => self.slots = slots / 2,
                answer => {
                    self.slots = if answer.is_ok() { (self.slots * 2).min(self.slots_max) } else { 1 };
                    return Ok(Piece { first_ms: at_ms, last_ms, answer });
                }
            }
        }
    }
}

fn refused<T>(answer: Result<T, HistoryError>) -> Result<Result<T, String>, HistoryError> {
    match answer {
        Ok(answer) => Ok(Ok(answer)),
        Err(HistoryError::Refused(why)) => Ok(Err(why)),
        Err(failed @ HistoryError::Failed(_)) => Err(failed),
    }
}

impl Answered {
    pub(super) fn at(series: &[HistorySeries], at_ms: i64) -> Self {
        let mut answered = Self::default();
        for one in series {
            let number = one.timestamps_ms.binary_search(&at_ms).ok().and_then(|index| one.values.get(index));
            let is_histogram = one.histograms_ms.binary_search(&at_ms).is_ok();
            answered.has_histograms |= is_histogram;
            if let Some(value) = number.copied().or(is_histogram.then_some(0.0)) {
                answered.elements.push(Element { labels: one.labels.clone(), value: SampleValue::Float(value) });
            }
        }
        answered
    }
}
