//! Questions to DNS servers and their answers (RFC 1035, 2782, 3596, 6891). Pure.
//!
//! Bytes of the network are never trusted: every index is checked, and names are followed through at most
//! [`POINTERS_MAX`] pointers, each of which has to point backwards.
#![warn(clippy::indexing_slicing)]

use std::net::{Ipv4Addr, Ipv6Addr};

/// Bytes of an answer over UDP that we say we take.
pub(super) const UDP_BYTES: u16 = 4_096;
/// The longest message over TCP.
pub(super) const TCP_BYTES_MAX: usize = 65_535;
const POINTERS_MAX: usize = 64;
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;
const CLASS_IN: u16 = 1;
const OPT: u16 = 41;

/// Which records are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    A,
    Ns,
    Mx,
    Aaaa,
    Srv,
}

impl Kind {
    /// From the name in a configuration, in any case.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        match name.to_ascii_uppercase().as_str() {
            "A" => Some(Self::A),
            "NS" => Some(Self::Ns),
            "MX" => Some(Self::Mx),
            "AAAA" => Some(Self::Aaaa),
            "SRV" => Some(Self::Srv),
            _ => None,
        }
    }

    fn code(self) -> u16 {
        match self {
            Self::A => 1,
            Self::Ns => 2,
            Self::Mx => 15,
            Self::Aaaa => 28,
            Self::Srv => 33,
        }
    }
}

/// One record of an answer. Names end with a dot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Record {
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    Ns(String),
    Mx(String),
    Srv { target: String, port: u16 },
}

/// What a server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) code: ResponseCode,
    /// Whether the server had more to say than the message could hold.
    pub(super) truncated: bool,
    /// Those of the kinds that we know.
    pub(super) records: Vec<Record>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ResponseCode {
    /// The name exists.
    Success,
    /// It does not.
    NoSuchName,
    /// The server cannot or will not say.
    Other(u8),
}

/// Why a message is none, or not an answer to our question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum MessageError {
    #[error("the name is too long, or has an empty part")]
    BadName,
    #[error("the answer is cut short or contradicts itself")]
    Malformed,
    #[error("the answer is to another question")]
    Unrelated,
}

/// The question for the records of `kind` that `name` has. `name` may end with a dot. With `large`, answers of
/// [`UDP_BYTES`] are welcome.
pub(super) fn question(id: u16, name: &str, kind: Kind, large: bool) -> Result<Vec<u8>, MessageError> {
    let mut message = Vec::with_capacity(64);
    let flags_recursion_desired = 0x0100_u16;
    for number in [id, flags_recursion_desired, 1, 0, 0, u16::from(large)] {
        message.extend(number.to_be_bytes());
    }
    push_name(&mut message, name)?;
    for number in [kind.code(), CLASS_IN] {
        message.extend(number.to_be_bytes());
    }
    if large {
        // The root as name, the size in place of a class, no extensions.
        message.push(0);
        for number in [OPT, UDP_BYTES, 0, 0, 0] {
            message.extend(number.to_be_bytes());
        }
    }
    Ok(message)
}

fn push_name(message: &mut Vec<u8>, name: &str) -> Result<(), MessageError> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.len() > NAME_BYTES_MAX {
        return Err(MessageError::BadName);
    }
    for part in name.split('.').filter(|_| !name.is_empty()) {
        let length = u8::try_from(part.len()).map_err(|_| MessageError::BadName)?;
        if part.is_empty() || part.len() > LABEL_BYTES_MAX {
            return Err(MessageError::BadName);
        }
        message.push(length);
        message.extend(part.as_bytes());
    }
    message.push(0);
    Ok(())
}

/// Reads the answer to `question`.
pub(super) fn answer(question: &[u8], message: &[u8]) -> Result<Answer, MessageError> {
    let mut reader = Reader { message, at: 0 };
    let mut asked = Reader { message: question, at: 0 };
    let (id, flags) = (reader.u16()?, reader.u16()?);
    let is_answer = flags & 0x8000 != 0;
    let (questions, answers) = (reader.u16()?, reader.u16()?);
    let asked_id = asked.u16()?;
    if id != asked_id || !is_answer {
        return Err(MessageError::Unrelated);
    }
    reader.at = 12;
    asked.at = 12;
    let code = match flags & 0x000f {
        0 => ResponseCode::Success,
        3 => ResponseCode::NoSuchName,
        other => ResponseCode::Other(other as u8),
    };
    let truncated = flags & 0x0200 != 0;
    for _ in 0..questions {
        let same = reader.name()?.eq_ignore_ascii_case(&asked.name()?);
        if !same || reader.u16()? != asked.u16()? || reader.u16()? != asked.u16()? {
            return Err(MessageError::Unrelated);
        }
    }
    let mut records = Vec::new();
    for _ in 0..answers {
        match reader.record() {
            Ok(record) => records.extend(record),
            // The caller asks again anyway.
            Err(_) if truncated => break,
            Err(error) => return Err(error),
        }
    }
    Ok(Answer { code, truncated, records })
}

struct Reader<'m> {
    message: &'m [u8],
    at: usize,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], MessageError> {
        let end = self.at + N;
        let bytes = self.message.get(self.at..end).and_then(|bytes| bytes.try_into().ok());
        self.at = end;
        bytes.ok_or(MessageError::Malformed)
    }

    fn u16(&mut self) -> Result<u16, MessageError> {
        self.take().map(u16::from_be_bytes)
    }

    /// A name with a dot at its end. Bytes that are no text are replaced.
    fn name(&mut self) -> Result<String, MessageError> {
        let mut name = Vec::new();
        let (mut at, mut end, mut pointers) = (self.at, None, 0);
        loop {
            let length = *self.message.get(at).ok_or(MessageError::Malformed)?;
            match length >> 6 {
                0 if length == 0 => {
                    self.at = end.unwrap_or(at + 1);
                    break;
                }
                0 => {
                    let part = self.message.get(at + 1..at + 1 + usize::from(length)).ok_or(MessageError::Malformed)?;
                    name.extend_from_slice(part);
                    name.push(b'.');
                    at += 1 + usize::from(length);
                }
                3 => {
                    let low = *self.message.get(at + 1).ok_or(MessageError::Malformed)?;
                    let to = (usize::from(length & 0x3f) << 8) | usize::from(low);
                    end.get_or_insert(at + 2);
                    pointers += 1;
                    if to >= at || pointers > POINTERS_MAX {
                        return Err(MessageError::Malformed);
                    }
                    at = to;
                }
                _ => return Err(MessageError::Malformed),
            }
            if name.len() > NAME_BYTES_MAX + 2 {
                return Err(MessageError::Malformed);
            }
        }
        if name.is_empty() {
            name.push(b'.');
        }
        Ok(String::from_utf8_lossy(&name).into_owned())
    }

    /// The next record; none if it is of a kind that we do not know, such as an alias on the way.
    fn record(&mut self) -> Result<Option<Record>, MessageError> {
        self.name()?;
        let (kind, class) = (self.u16()?, self.u16()?);
        let _seconds_to_live: [u8; 4] = self.take()?;
        let length = usize::from(self.u16()?);
        let end = self.at + length;
        if self.message.len() < end {
            return Err(MessageError::Malformed);
        }
        let record = if class == CLASS_IN { self.data(kind)? } else { None };
        if record.is_some() && self.at != end {
            return Err(MessageError::Malformed);
        }
        self.at = end;
        Ok(record)
    }

    fn data(&mut self, kind: u16) -> Result<Option<Record>, MessageError> {
        let record = match kind {
            1 => Record::A(Ipv4Addr::from(self.take::<4>()?)),
            28 => Record::Aaaa(Ipv6Addr::from(self.take::<16>()?)),
            2 => Record::Ns(self.name()?),
            15 => {
                let _preference = self.u16()?;
                Record::Mx(self.name()?)
            }
            33 => {
                let _priority_and_weight: [u8; 4] = self.take()?;
                let port = self.u16()?;
                Record::Srv { target: self.name()?, port }
            }
            _ => return Ok(None),
        };
        Ok(Some(record))
    }
}

#[cfg(test)]
pub(super) mod tests;
