//! Evaluations of the rules of one group as a record: `docs/formats/record-log.md`.
//!
//! Times and samples are differences, which are small; an error is written once however many evaluations it ended.

use super::cut_to;
use crate::rules::history::pen::Noted;
use model::time::Timestamp;
use ruler::state::codec::{self, DecodeError, Reader};
use ruler::state::{GroupId, RuleId};
use ruler::transition::PastEvaluation;
use std::sync::Arc;
use std::time::Duration;
use storage::record_log::{RECORD_BYTES_MAX, Record};

/// The version that is written. All versions up to it are read.
const VERSION: u8 = 2;
/// This one does not say how far it goes back.
const WITHOUT_SPAN: u8 = 1;
/// Rules in one record, so that none is too long.
const RULES_MAX: usize = 500;
/// Longer errors are cut.
const ERROR_BYTES_MAX: usize = 1_000;

/// Evaluations by rule, oldest first.
pub(super) type ByRule = Vec<(Arc<RuleId>, Vec<PastEvaluation>)>;

/// How evaluations of the rules of one group went.
pub(super) struct Told(pub(super) Arc<[(Arc<RuleId>, Vec<PastEvaluation>)]>);

impl Noted for Told {
    fn len(&self) -> usize {
        self.0.len().div_ceil(RULES_MAX)
    }

    /// Bytes in memory, about: one record may have five hundred rules.
    fn weight(&self) -> usize {
        let evaluations = self.0.iter().flat_map(|(_, evaluations)| evaluations);
        let bytes = |past: &PastEvaluation| size_of_val(past) + past.error.as_ref().map_or(0, |error| error.len());
        size_of_val(&*self.0) + evaluations.map(bytes).sum::<usize>()
    }

    fn encode(&self, out: &mut Vec<(i64, Vec<u8>)>) {
        self.0.chunks(RULES_MAX).for_each(|rules| put(rules, out));
    }

    fn oldest(time_ms: i64, payload: &[u8]) -> i64 {
        oldest(time_ms, payload).unwrap_or(time_ms)
    }
}

/// When the oldest evaluation in a record began.
fn oldest(time_ms: i64, payload: &[u8]) -> Result<i64, DecodeError> {
    let mut reader = Reader::new(payload);
    if reader.byte()? == WITHOUT_SPAN {
        let rules = read(payload, |_| true)?;
        let first = rules.iter().flat_map(|(_, evaluations)| evaluations).map(|past| past.at.0).min();
        return Ok(first.map_or(time_ms, |first| first.min(time_ms)));
    }
    Ok(time_ms.saturating_sub_unsigned(reader.number()?))
}

/// As one record, or as more if that is too long: errors that all differ take much more than the rest.
fn put(rules: &[(Arc<RuleId>, Vec<PastEvaluation>)], out: &mut Vec<(i64, Vec<u8>)>) {
    let newest = rules.iter().filter_map(|(_, evaluations)| evaluations.last()).map(|past| past.at.0).max();
    let oldest = rules.iter().flat_map(|(_, evaluations)| evaluations).map(|past| past.at.0).min();
    let (Some(newest), Some(oldest), Some((first, _))) = (newest, oldest, rules.first()) else { return };
    let bytes = record(&first.group, newest.abs_diff(oldest), rules);
    if bytes.len() > RECORD_BYTES_MAX && rules.len() > 1 {
        let (one, other) = rules.split_at(rules.len() / 2);
        put(one, out);
        put(other, out);
    } else {
        out.push((newest, bytes));
    }
}

/// `span_ms`: how much older than the newest the oldest evaluation is.
fn record(group: &GroupId, span_ms: u64, rules: &[(Arc<RuleId>, Vec<PastEvaluation>)]) -> Vec<u8> {
    let mut out = vec![VERSION];
    codec::put_number(&mut out, span_ms);
    codec::put_group(&mut out, group);
    codec::put_number(&mut out, rules.len() as u64);
    for (id, evaluations) in rules {
        codec::put_rule_in_group(&mut out, id);
        let errors = errors(evaluations);
        codec::put_number(&mut out, errors.len() as u64);
        errors.iter().for_each(|error| codec::put_text(&mut out, error));
        codec::put_number(&mut out, evaluations.len() as u64);
        let (mut before, mut distance, mut samples) = (0i64, 0i64, 0i64);
        for past in evaluations {
            let since = past.at.0.saturating_sub(before);
            codec::put_signed(&mut out, since.saturating_sub(distance));
            (before, distance) = (past.at.0, since);
            codec::put_number(&mut out, u64::try_from(past.took.as_micros()).unwrap_or(u64::MAX));
            codec::put_signed(&mut out, i64::from(past.samples) - samples);
            samples = i64::from(past.samples);
            let error = past.error.as_deref().map(cut);
            let place = error.and_then(|error| errors.iter().position(|known| *known == error));
            codec::put_number(&mut out, place.map_or(0, |place| place as u64 + 1));
        }
    }
    out
}

/// The different errors of a rule.
fn errors(evaluations: &[PastEvaluation]) -> Vec<&str> {
    let mut errors: Vec<&str> = Vec::new();
    for error in evaluations.iter().filter_map(|past| past.error.as_deref()).map(cut) {
        if !errors.contains(&error) {
            errors.push(error);
        }
    }
    errors
}

fn cut(text: &str) -> &str {
    cut_to(text, ERROR_BYTES_MAX)
}

/// The evaluations in a record of a group that is wanted; none in what this program did not write.
pub(super) fn decode(record: &Record, is_wanted: impl Fn(&GroupId) -> bool) -> ByRule {
    read(&record.payload, is_wanted).unwrap_or_default()
}

fn read(bytes: &[u8], is_wanted: impl Fn(&GroupId) -> bool) -> Result<ByRule, DecodeError> {
    let mut reader = Reader::new(bytes);
    match reader.byte()? {
        VERSION => {
            reader.number()?;
        }
        WITHOUT_SPAN => {}
        other => return Err(DecodeError::Version(other)),
    }
    let group = reader.group()?;
    if !is_wanted(&group) {
        return Ok(Vec::new());
    }
    let group = Arc::new(group);
    reader.list(|reader| {
        let id = Arc::new(reader.rule_in_group(group.clone())?);
        let errors: Vec<Arc<str>> = reader.list(|reader| reader.text().map(Arc::from))?;
        let (mut before, mut distance, mut samples) = (0i64, 0i64, 0i64);
        let evaluations = reader.list(|reader| {
            distance = distance.wrapping_add(reader.signed()?);
            before = before.wrapping_add(distance);
            let took = Duration::from_micros(reader.number()?);
            samples = samples.wrapping_add(reader.signed()?);
            let error = match usize::try_from(reader.number()?).unwrap_or(usize::MAX) {
                0 => None,
                place => Some(errors.get(place - 1).cloned().ok_or(DecodeError::Invalid("error"))?),
            };
            let samples = u32::try_from(samples).map_err(|_| DecodeError::Invalid("samples"))?;
            Ok(PastEvaluation { at: Timestamp(before), took, samples, error })
        })?;
        Ok((id, evaluations))
    })
}
