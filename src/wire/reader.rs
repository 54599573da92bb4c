//! Reads protobuf from borrowed bytes: varints, keys, delimited messages, and what is unknown, skipped.
//!
//! Invariants: no read passes the end of the current message, and every refusal says where. Nesting of unknown groups is
//! bounded as in the decoders that others use, so that the same bodies are accepted.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

use super::table::Span;

/// Where a body stops being a message, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("byte {at} of the uncompressed message: {kind}")]
pub struct WireError {
    /// Offset in the uncompressed body.
    pub at: usize,
    /// What is wrong there.
    pub kind: WireErrorKind,
}

/// What can be wrong with a protobuf message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireErrorKind {
    /// The message ends inside a field.
    #[error("the message ends inside a field")]
    Truncated,
    /// More than ten bytes, or more than 64 bits.
    #[error("a variable-length integer is too long")]
    Varint,
    /// Field number 0, a field number beyond 29 bits, or a wire type that does not exist.
    #[error("this is no field key")]
    Key,
    /// A known field comes with a wire type that its kind does not have.
    #[error("field {0} has the wrong wire type")]
    WireType(u32),
    /// An end of a group that was not begun.
    #[error("a group ends that was not begun")]
    EndGroup,
    /// Groups nested deeper than 100 levels.
    #[error("groups are nested too deeply")]
    TooDeep,
    /// More than the limit of the receiver.
    #[error("more than {limit} {what} in one request")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many are allowed.
        limit: usize,
    },
}

/// How deep messages and groups may nest.
const DEPTH_MAX: u8 = 100;

/// Wire types of protobuf.
pub(super) const VARINT: u32 = 0;
pub(super) const FIXED64: u32 = 1;
pub(super) const DELIMITED: u32 = 2;
const START_GROUP: u32 = 3;
const END_GROUP: u32 = 4;
const FIXED32: u32 = 5;

/// A field key: field number and wire type, as they are packed on the wire.
pub(super) const fn key(field: u32, wire_type: u32) -> u32 {
    field << 3 | wire_type
}

/// Reads one message: the bytes of `body` from `pos` to `end`.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    body: &'a [u8],
    pos: usize,
    end: usize,
    /// How many levels of nesting are left.
    depth: u8,
}

impl<'a> Reader<'a> {
    /// Reads the whole body as one message.
    pub(super) fn new(body: &'a [u8]) -> Self {
        Self { body, pos: 0, end: body.len(), depth: DEPTH_MAX }
    }

    /// Reads the message at `span`, which is `levels` below the top of the body.
    pub(super) fn at(body: &'a [u8], span: Span, levels: u8) -> Self {
        let end = (span.end as usize).min(body.len());
        Self { body, pos: (span.start as usize).min(end), end, depth: DEPTH_MAX - levels }
    }

    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.pos >= self.end
    }

    #[inline(always)]
    pub(super) fn pos(&self) -> usize {
        self.pos
    }

    pub(super) fn body(&self) -> &'a [u8] {
        self.body
    }

    /// The bytes that are left of the message.
    #[inline(always)]
    pub(super) fn rest(&self) -> &'a [u8] {
        self.body.get(self.pos..self.end).unwrap_or_default()
    }

    /// This reader `count` bytes further on; at most to the end of the message.
    #[inline(always)]
    pub(super) fn after(&self, count: usize) -> Self {
        Self { pos: (self.pos + count).min(self.end), ..*self }
    }

    /// The place of what is left of the message.
    #[inline(always)]
    pub(super) fn span(&self) -> Span {
        Span { start: self.pos as u32, end: self.end as u32 }
    }

    #[cold]
    pub(super) fn error(&self, kind: WireErrorKind) -> WireError {
        WireError { at: self.pos, kind }
    }

    #[inline(always)]
    pub(super) fn varint(&mut self) -> Result<u64, WireError> {
        match self.body.get(self.pos) {
            Some(&byte) if byte < 0x80 && self.pos < self.end => {
                self.pos += 1;
                Ok(u64::from(byte))
            }
            _ => self.long_varint(),
        }
    }

    /// Up to eight bytes at once: finds the first byte without the continuation bit and squeezes the groups of seven bits.
    #[inline]
    pub(super) fn long_varint(&mut self) -> Result<u64, WireError> {
        let Some(word) = self.body.get(self.pos..).and_then(|rest| rest.first_chunk::<8>()) else {
            return self.bytewise_varint();
        };
        let word = u64::from_le_bytes(*word);
        let stops = !word & 0x8080_8080_8080_8080;
        let bits = (stops.trailing_zeros() + 1) & !7;
        let length = bits as usize / 8;
        if stops == 0 || self.pos + length > self.end {
            return self.bytewise_varint();
        }
        self.pos += length;
        let word = word & (u64::MAX >> (64 - bits)) & 0x7f7f_7f7f_7f7f_7f7f;
        let pairs = (word & 0x7f00_7f00_7f00_7f00) >> 1 | (word & 0x007f_007f_007f_007f);
        let quads = (pairs & 0xffff_0000_ffff_0000) >> 2 | (pairs & 0x0000_ffff_0000_ffff);
        Ok((quads >> 32) << 28 | (quads & 0xffff_ffff))
    }

    #[cold]
    fn bytewise_varint(&mut self) -> Result<u64, WireError> {
        let mut value = 0u64;
        for index in 0..10 {
            let byte = match self.body.get(self.pos + index) {
                Some(&byte) if self.pos + index < self.end => byte,
                _ => return Err(self.error(WireErrorKind::Truncated)),
            };
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                if index == 9 && byte > 1 {
                    break;
                }
                self.pos += index + 1;
                return Ok(value);
            }
        }
        Err(self.error(WireErrorKind::Varint))
    }

    /// The next field key, as [`key`] packs it: field number at least 1, wire type at most 5.
    #[inline(always)]
    pub(super) fn key(&mut self) -> Result<u32, WireError> {
        let start = *self;
        match u32::try_from(self.varint()?) {
            Ok(key) if key >= 8 && key & 7 <= FIXED32 => Ok(key),
            _ => Err(start.error(WireErrorKind::Key)),
        }
    }

    #[inline(always)]
    pub(super) fn fixed64(&mut self) -> Result<u64, WireError> {
        match self.rest().first_chunk::<8>() {
            Some(bytes) => {
                self.pos += 8;
                Ok(u64::from_le_bytes(*bytes))
            }
            None => Err(self.error(WireErrorKind::Truncated)),
        }
    }

    /// Reads a length and returns a reader of so many bytes; this one goes on behind them.
    #[inline(always)]
    pub(super) fn delimited(&mut self) -> Result<Self, WireError> {
        let length = self.varint()?;
        if length > (self.end - self.pos) as u64 {
            return Err(self.error(WireErrorKind::Truncated));
        }
        let end = self.pos + length as usize;
        let inner = Self { body: self.body, pos: self.pos, end, depth: self.depth.saturating_sub(1) };
        self.pos = end;
        Ok(inner)
    }

    /// Goes over the fields with key 0x0a that come next: the labels of a series of version 1.0.
    #[inline(always)]
    pub(super) fn pass_over_labels(&mut self) -> Result<(), WireError> {
        while let Some(&0x0a) = self.body.get(self.pos)
            && self.pos < self.end
        {
            self.pos += 1;
            self.delimited()?;
        }
        Ok(())
    }

    /// Goes over the value of a field that nobody asked for; `known` are the field numbers of this message, which must not
    /// come with a wire type that their kind does not have.
    #[cold]
    pub(super) fn skip(&mut self, key: u32, known: impl FnOnce(u32) -> bool) -> Result<(), WireError> {
        if known(key >> 3) {
            return Err(self.error(WireErrorKind::WireType(key >> 3)));
        }
        self.skip_value(key, self.depth)
    }

    fn skip_value(&mut self, key: u32, depth: u8) -> Result<(), WireError> {
        if depth == 0 {
            return Err(self.error(WireErrorKind::TooDeep));
        }
        let length = match key & 7 {
            VARINT => return self.varint().map(drop),
            FIXED64 => 8,
            DELIMITED => self.varint()?,
            START_GROUP => return self.skip_group(key >> 3, depth),
            END_GROUP => return Err(self.error(WireErrorKind::EndGroup)),
            _ => 4,
        };
        if length > (self.end - self.pos) as u64 {
            return Err(self.error(WireErrorKind::Truncated));
        }
        self.pos += length as usize;
        Ok(())
    }

    fn skip_group(&mut self, field: u32, depth: u8) -> Result<(), WireError> {
        loop {
            let inner = self.key()?;
            if inner & 7 != END_GROUP {
                self.skip_value(inner, depth - 1)?;
            } else if inner >> 3 == field {
                return Ok(());
            } else {
                return Err(self.error(WireErrorKind::EndGroup));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn varints_are_read_as_the_generated_decoder_reads_them(bytes: Vec<u8>, tail: [u8; 3], high: bool) {
            // Half of the cases are forced to be long runs of continuation bytes.
            let mut bytes = bytes;
            bytes.truncate(12);
            if high {
                bytes.iter_mut().for_each(|byte| *byte |= 0x80);
                bytes.extend(tail);
            }
            let mut oracle = bytes.as_slice();
            let expected = prost::encoding::decode_varint(&mut oracle).ok();
            let mut reader = Reader::new(&bytes);
            let found = reader.varint().ok();
            prop_assert_eq!(found, expected);
            if expected.is_some() {
                prop_assert_eq!(reader.pos(), bytes.len() - oracle.len());
            }
        }
    }

    #[test]
    fn a_varint_does_not_leave_its_message() {
        let body = [0x80, 0x80, 0x01, 0, 0, 0, 0, 0, 0];
        let mut reader = Reader { end: 2, ..Reader::new(&body) };
        assert_eq!(reader.varint().unwrap_err(), WireError { at: 0, kind: WireErrorKind::Truncated });
    }
}
