//! Departures and alerts as bytes, for whoever remembers them.
//!
//! Pure, versioned, and checked: no input makes the decoder panic or allocate more than its length warrants. Numbers are
//! LEB128 varints, signed ones in zigzag form; texts are their length and UTF-8. The layout is drawn in
//! `docs/formats/alert-journal.md`.

use super::shape::{GroupShape, RuleShape};
use super::{Change, Departure, GroupId, RuleId};
use crate::alert_instance::{AlertInstance, AlertState, Annotations};
use crate::ports::AlertMessage;
use model::labels::Labels;
use model::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The version that is written. All versions up to it are read.
pub const VERSION: u8 = 1;

/// Why bytes are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end in the middle of something.
    #[error("the record ends too early")]
    Short,
    /// A newer program wrote them.
    #[error("version {0} is not known")]
    Version(u8),
    /// A value is none that is ever written.
    #[error("invalid {0}")]
    Invalid(&'static str),
}

/// Appends `departure` to `out`.
pub fn encode_departure(departure: &Departure, out: &mut Vec<u8>) {
    out.push(VERSION);
    put_rule(out, &departure.rule);
    put_text(out, &departure.expr);
    put_signed(out, departure.slot.0);
    put_option(out, departure.last_good.map(|at| at.0));
    put_number(out, departure.changes.len() as u64);
    for change in &departure.changes {
        put_labels(out, &change.labels);
        put_option(out, change.leaves_until.map(|at| at.0));
        match &change.instance {
            None => out.push(0),
            Some(instance) => {
                out.push(1);
                put_instance(out, instance);
            }
        }
    }
}

/// Reads what [`encode_departure`] wrote.
///
/// # Errors
/// The bytes are something else.
pub fn decode_departure(bytes: &[u8]) -> Result<Departure, DecodeError> {
    let mut reader = Reader::new(bytes);
    reader.version()?;
    let rule = Arc::new(reader.rule()?);
    let expr: Arc<str> = reader.text()?.into();
    let slot = Timestamp(reader.signed()?);
    let last_good = reader.option()?.map(Timestamp);
    let changes = reader.list(|reader| {
        let labels = reader.labels()?;
        let leaves_until = reader.option()?.map(Timestamp);
        let instance = if reader.flag()? { Some(reader.instance()?) } else { None };
        Ok(Change { labels, instance, leaves_until })
    })?;
    reader.end()?;
    Ok(Departure { rule, expr, slot, last_good, changes })
}

/// Appends `message` to `out`.
pub fn encode_message(message: &AlertMessage, out: &mut Vec<u8>) {
    out.push(VERSION);
    put_labels(out, &message.labels);
    put_annotations(out, &message.annotations);
    put_signed(out, message.starts_at.0);
    put_signed(out, message.ends_at.0);
    out.push(u8::from(message.resolved));
    put_number(out, message.seq);
    put_text(out, &message.expr);
}

/// Reads what [`encode_message`] wrote.
///
/// # Errors
/// The bytes are something else.
pub fn decode_message(bytes: &[u8]) -> Result<AlertMessage, DecodeError> {
    let mut reader = Reader::new(bytes);
    reader.version()?;
    let message = AlertMessage {
        labels: reader.labels()?,
        annotations: reader.annotations()?,
        starts_at: Timestamp(reader.signed()?),
        ends_at: Timestamp(reader.signed()?),
        resolved: reader.flag()?,
        seq: reader.number()?,
        expr: reader.text()?.into(),
    };
    reader.end()?;
    Ok(message)
}

/// Appends how a group is configured.
pub fn encode_shape(shape: &GroupShape, out: &mut Vec<u8>) {
    put_group(out, &shape.id);
    put_signed(out, shape.interval_ms);
    put_signed(out, shape.query_offset_ms);
    put_number(out, shape.rules.len() as u64);
    for RuleShape { id, is_alerting, digest } in &shape.rules {
        put_rule_in_group(out, id);
        out.push(u8::from(*is_alerting));
        out.extend_from_slice(&digest.to_le_bytes());
    }
}

/// Reads what [`encode_shape`] wrote.
///
/// # Errors
/// The bytes are something else.
pub fn decode_shape(bytes: &[u8]) -> Result<GroupShape, DecodeError> {
    let mut reader = Reader::new(bytes);
    let id = Arc::new(reader.group()?);
    let (interval_ms, query_offset_ms) = (reader.signed()?, reader.signed()?);
    if interval_ms < 1 {
        return Err(DecodeError::Invalid("interval of a group"));
    }
    let rules = reader.list(|reader| {
        let (rule, is_alerting) = (Arc::new(reader.rule_in_group(id.clone())?), reader.flag()?);
        let digest = reader.take(8)?.try_into().map_err(|_| DecodeError::Short)?;
        Ok(RuleShape { id: rule, is_alerting, digest: u64::from_le_bytes(digest) })
    })?;
    reader.end()?;
    Ok(GroupShape { id, interval_ms, query_offset_ms, rules })
}

const PENDING: u8 = 0;
const FIRING: u8 = 1;
const RESOLVED: u8 = 2;

fn put_instance(out: &mut Vec<u8>, instance: &AlertInstance) {
    match instance.state {
        AlertState::Pending => out.push(PENDING),
        AlertState::Firing { fired_at, keep_firing_since } => {
            out.push(FIRING);
            put_signed(out, fired_at.0);
            put_option(out, keep_firing_since.map(|at| at.0));
        }
        AlertState::Resolved { fired_at, resolved_at } => {
            out.push(RESOLVED);
            put_signed(out, fired_at.0);
            put_signed(out, resolved_at.0);
        }
    }
    put_signed(out, instance.active_at.0);
    out.extend_from_slice(&instance.value.to_bits().to_le_bytes());
    put_annotations(out, &instance.annotations);
    put_option(out, instance.last_sent_at.map(|at| at.0));
    put_number(out, instance.seq);
}

/// Appends the name of a group.
pub fn put_group(out: &mut Vec<u8>, group: &GroupId) {
    put_text(out, &group.file);
    put_text(out, &group.name);
}

fn put_rule(out: &mut Vec<u8>, rule: &RuleId) {
    put_group(out, &rule.group);
    put_rule_in_group(out, rule);
}

/// Appends a rule without its group.
pub fn put_rule_in_group(out: &mut Vec<u8>, rule: &RuleId) {
    put_text(out, &rule.name);
    put_number(out, rule.labels.len() as u64);
    for (name, value) in &rule.labels {
        put_text(out, name);
        put_text(out, value);
    }
    put_number(out, u64::from(rule.nth));
}

fn put_labels(out: &mut Vec<u8>, labels: &Labels) {
    put_number(out, labels.len() as u64);
    for (name, value) in labels {
        put_text(out, name);
        put_text(out, value);
    }
}

fn put_annotations(out: &mut Vec<u8>, annotations: &Annotations) {
    put_number(out, annotations.len() as u64);
    for (name, text) in annotations.iter() {
        put_text(out, name);
        put_text(out, text);
    }
}

/// Appends a text.
pub fn put_text(out: &mut Vec<u8>, text: &str) {
    put_number(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

fn put_option(out: &mut Vec<u8>, value: Option<i64>) {
    match value {
        None => out.push(0),
        Some(value) => {
            out.push(1);
            put_signed(out, value);
        }
    }
}

/// Appends a signed number.
pub fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_number(out, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

/// Appends a number.
pub fn put_number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Reads values one after the other.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// From the first of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// All bytes that were not read yet.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    /// Something is.
    pub fn end(&self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::Invalid("end of the record")) }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(DecodeError::Short)?;
        self.rest = rest;
        Ok(taken)
    }

    /// One byte.
    ///
    /// # Errors
    /// None is left.
    pub fn byte(&mut self) -> Result<u8, DecodeError> {
        let (byte, rest) = self.rest.split_first().ok_or(DecodeError::Short)?;
        self.rest = rest;
        Ok(*byte)
    }

    fn flag(&mut self) -> Result<bool, DecodeError> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Invalid("flag")),
        }
    }

    fn version(&mut self) -> Result<(), DecodeError> {
        match self.byte()? {
            VERSION => Ok(()),
            other => Err(DecodeError::Version(other)),
        }
    }

    /// A number.
    ///
    /// # Errors
    /// The bytes end, or it is none of 64 bits.
    pub fn number(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(DecodeError::Invalid("number"));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::Invalid("number"))
    }

    /// A signed number.
    ///
    /// # Errors
    /// As [`Reader::number`].
    pub fn signed(&mut self) -> Result<i64, DecodeError> {
        let value = self.number()?;
        Ok((value >> 1).cast_signed() ^ -((value & 1).cast_signed()))
    }

    fn option(&mut self) -> Result<Option<i64>, DecodeError> {
        if self.flag()? { self.signed().map(Some) } else { Ok(None) }
    }

    /// A text.
    ///
    /// # Errors
    /// The bytes end, or are no UTF-8.
    pub fn text(&mut self) -> Result<&'a str, DecodeError> {
        let length = usize::try_from(self.number()?).map_err(|_| DecodeError::Short)?;
        std::str::from_utf8(self.take(length)?).map_err(|_| DecodeError::Invalid("text"))
    }

    /// As many items as a number in front says. Every item has at least one byte, which bounds what is allocated.
    ///
    /// # Errors
    /// The first of an item.
    pub fn list<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let count = usize::try_from(self.number()?).map_err(|_| DecodeError::Short)?;
        if count > self.rest.len() {
            return Err(DecodeError::Short);
        }
        let mut items = Vec::with_capacity(count.min(1 << 12));
        for _ in 0..count {
            items.push(item(self)?);
        }
        Ok(items)
    }

    fn pairs(&mut self) -> Result<Vec<(&'a str, &'a str)>, DecodeError> {
        self.list(|reader| Ok((reader.text()?, reader.text()?)))
    }

    /// The name of a group.
    ///
    /// # Errors
    /// As [`Reader::text`].
    pub fn group(&mut self) -> Result<GroupId, DecodeError> {
        Ok(GroupId { file: self.text()?.to_owned(), name: self.text()?.to_owned() })
    }

    fn rule(&mut self) -> Result<RuleId, DecodeError> {
        let group = Arc::new(self.group()?);
        self.rule_in_group(group)
    }

    /// What [`put_rule_in_group`] wrote of a rule of `group`.
    ///
    /// # Errors
    /// The bytes are something else.
    pub fn rule_in_group(&mut self, group: Arc<GroupId>) -> Result<RuleId, DecodeError> {
        let name = self.text()?.to_owned();
        let labels: BTreeMap<String, String> =
            self.pairs()?.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let nth = u32::try_from(self.number()?).map_err(|_| DecodeError::Invalid("number of a rule"))?;
        Ok(RuleId { group, name, labels, nth })
    }

    fn labels(&mut self) -> Result<Labels, DecodeError> {
        Labels::from_pairs(self.pairs()?).map_err(|_| DecodeError::Invalid("labels"))
    }

    fn annotations(&mut self) -> Result<Annotations, DecodeError> {
        Ok(self.pairs()?.into_iter().map(|(name, text)| (Arc::from(name), Arc::from(text))).collect())
    }

    fn instance(&mut self) -> Result<AlertInstance, DecodeError> {
        let state = match self.byte()? {
            PENDING => AlertState::Pending,
            FIRING => AlertState::Firing {
                fired_at: Timestamp(self.signed()?),
                keep_firing_since: self.option()?.map(Timestamp),
            },
            RESOLVED => {
                AlertState::Resolved { fired_at: Timestamp(self.signed()?), resolved_at: Timestamp(self.signed()?) }
            }
            _ => return Err(DecodeError::Invalid("state of an alert")),
        };
        let active_at = Timestamp(self.signed()?);
        let bits = self.take(8)?.try_into().map_err(|_| DecodeError::Short)?;
        Ok(AlertInstance {
            state,
            active_at,
            value: f64::from_bits(u64::from_le_bytes(bits)),
            annotations: self.annotations()?,
            last_sent_at: self.option()?.map(Timestamp),
            seq: self.number()?,
        })
    }
}

#[cfg(test)]
mod tests;
