//! What a frame of the journal says, as bytes.

use model::time::Timestamp;
use ruler::ports::AlertMessage;
use ruler::state::codec::{self, DecodeError, Reader};
use ruler::state::shape::GroupShape;
use ruler::state::{Departure, GroupId};

/// One frame. Together, in their order, the frames of a segment are everything that is known.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// From now on alerts leave for the Alertmanagers with these URLs.
    Targets(Vec<String>),
    /// What an evaluation changed. The alerts that leave have this number and the following ones, and wait for all targets.
    Departure {
        /// The number of the first message.
        first_number: u64,
        /// What the evaluation brought.
        departure: Departure,
    },
    /// All rules of a group were evaluated in this slot.
    Evaluated {
        /// Which group.
        group: GroupId,
        /// When.
        slot: Timestamp,
    },
    /// These messages need not be delivered to this target any more.
    Settled {
        /// Its URL.
        target: String,
        /// In ascending order.
        numbers: Vec<u64>,
    },
    /// A message that somebody waits for; part of the state with which a segment begins.
    Message {
        /// Its number.
        number: u64,
        /// What it says.
        message: AlertMessage,
    },
    /// The messages that wait for a target; part of the state with which a segment begins.
    Waiting {
        /// Its URL.
        target: String,
        /// In ascending order.
        numbers: Vec<u64>,
    },
    /// A group begins that is configured like this.
    Begun(GroupShape),
    /// A group was taken out of the configuration.
    Ended(GroupId),
    /// No message up to this number is to be given again; part of the state with which a segment begins.
    Numbers(u64),
}

const TARGETS: u8 = 1;
const DEPARTURE: u8 = 2;
const EVALUATED: u8 = 3;
const SETTLED: u8 = 4;
const MESSAGE: u8 = 5;
const WAITING: u8 = 6;
const NUMBERS: u8 = 7;
const BEGUN: u8 = 8;
const ENDED: u8 = 9;

/// Appends a departure, as [`Record::Departure`] is.
pub fn encode_departure(first_number: u64, departure: &Departure, out: &mut Vec<u8>) {
    out.push(DEPARTURE);
    codec::put_number(out, first_number);
    codec::encode_departure(departure, out);
}

/// Appends a message, as [`Record::Message`] is.
pub fn encode_message(number: u64, message: &AlertMessage, out: &mut Vec<u8>) {
    out.push(MESSAGE);
    codec::put_number(out, number);
    codec::encode_message(message, out);
}

/// Appends how a group is configured, as [`Record::Begun`] is.
pub fn encode_begun(shape: &GroupShape, out: &mut Vec<u8>) {
    out.push(BEGUN);
    codec::encode_shape(shape, out);
}

/// Appends the payload of a frame.
pub fn encode(record: &Record, out: &mut Vec<u8>) {
    match record {
        Record::Targets(urls) => {
            out.push(TARGETS);
            codec::put_number(out, urls.len() as u64);
            urls.iter().for_each(|url| codec::put_text(out, url));
        }
        Record::Departure { first_number, departure } => encode_departure(*first_number, departure, out),
        Record::Evaluated { group, slot } => {
            out.push(EVALUATED);
            codec::put_group(out, group);
            codec::put_signed(out, slot.0);
        }
        Record::Settled { target, numbers } => put_numbers(out, SETTLED, target, numbers),
        Record::Message { number, message } => encode_message(*number, message, out),
        Record::Waiting { target, numbers } => put_numbers(out, WAITING, target, numbers),
        Record::Begun(shape) => encode_begun(shape, out),
        Record::Ended(group) => {
            out.push(ENDED);
            codec::put_group(out, group);
        }
        Record::Numbers(last) => {
            out.push(NUMBERS);
            codec::put_number(out, *last);
        }
    }
}

/// Reads the payload of a frame.
///
/// # Errors
/// It is none.
pub fn decode(bytes: &[u8]) -> Result<Record, DecodeError> {
    let mut reader = Reader::new(bytes);
    let record = match reader.byte()? {
        TARGETS => Record::Targets(reader.list(|reader| reader.text().map(str::to_owned))?),
        DEPARTURE => {
            let first_number = message_number(&mut reader)?;
            return Ok(Record::Departure { first_number, departure: codec::decode_departure(reader.rest())? });
        }
        EVALUATED => Record::Evaluated { group: reader.group()?, slot: Timestamp(reader.signed()?) },
        SETTLED => {
            let (target, numbers) = numbers(&mut reader)?;
            Record::Settled { target, numbers }
        }
        MESSAGE => {
            let number = message_number(&mut reader)?;
            return Ok(Record::Message { number, message: codec::decode_message(reader.rest())? });
        }
        WAITING => {
            let (target, numbers) = numbers(&mut reader)?;
            Record::Waiting { target, numbers }
        }
        BEGUN => return Ok(Record::Begun(codec::decode_shape(reader.rest())?)),
        ENDED => Record::Ended(reader.group()?),
        NUMBERS => Record::Numbers(message_number(&mut reader)?),
        _ => return Err(DecodeError::Invalid("kind of a record")),
    };
    reader.end()?;
    Ok(record)
}

/// Ascending numbers, each as its distance from the one before.
fn put_numbers(out: &mut Vec<u8>, kind: u8, target: &str, numbers: &[u64]) {
    out.push(kind);
    codec::put_text(out, target);
    codec::put_number(out, numbers.len() as u64);
    let mut before = 0;
    for number in numbers {
        codec::put_number(out, number.wrapping_sub(before));
        before = *number;
    }
}

/// Half of all numbers will never be given: counting on from any of the others does not overflow.
fn message_number(reader: &mut Reader<'_>) -> Result<u64, DecodeError> {
    let number = reader.number()?;
    if number > u64::MAX / 2 { Err(DecodeError::Invalid("number of a message")) } else { Ok(number) }
}

fn numbers(reader: &mut Reader<'_>) -> Result<(String, Vec<u64>), DecodeError> {
    let target = reader.text()?.to_owned();
    let mut before = 0u64;
    let numbers = reader.list(|reader| {
        before = before.wrapping_add(reader.number()?);
        Ok(before)
    })?;
    Ok((target, numbers))
}
