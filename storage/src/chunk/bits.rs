//! Bits in streams, least significant first: codes, the unfinished word at a stream's end, and a reader.

/// Up to 96 bits to be appended to a stream; bit 0 goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Code {
    /// The bits; those at and above `len` are zero.
    pub bits: u128,
    /// How many there are.
    pub len: u32,
}

impl Code {
    /// A code of one field.
    #[must_use]
    pub const fn new(bits: u64, len: u32) -> Self {
        Self { bits: bits as u128, len }
    }

    /// This code followed by a field of `len` bits.
    #[must_use]
    pub const fn then(self, bits: u64, len: u32) -> Self {
        Self { bits: self.bits | (bits as u128) << self.len, len: self.len + len }
    }
}

/// The end of a stream that does not fill a 32-bit word yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tail {
    /// The bits; those at and above `len` are zero.
    pub word: u32,
    /// How many there are: fewer than 32.
    pub len: u8,
}

impl Tail {
    /// Appends `code` if no word becomes full by that; returns whether it did.
    #[inline]
    pub fn push_within(&mut self, code: Code) -> bool {
        let len = u32::from(self.len) + code.len;
        if len < 32 {
            self.word |= (code.bits as u32) << self.len;
            self.len = len as u8;
        }
        len < 32
    }

    /// Appends `code` and hands each word that became full to `emit`.
    #[inline]
    pub fn push(&mut self, code: Code, mut emit: impl FnMut(u32)) {
        let mut len = u32::from(self.len) + code.len;
        if len < 64 {
            let mut bits = u64::from(self.word) | (code.bits as u64) << self.len;
            if len >= 32 {
                emit(bits as u32);
                bits >>= 32;
                len -= 32;
            }
            self.word = bits as u32;
        } else {
            let mut bits = u128::from(self.word) | code.bits << self.len;
            while len >= 32 {
                emit(bits as u32);
                bits >>= 32;
                len -= 32;
            }
            self.word = bits as u32;
        }
        self.len = len as u8;
    }
}

/// A stream in memory of its own.
#[derive(Debug, Clone, Default)]
pub struct BitBuffer {
    bytes: Vec<u8>,
    tail: Tail,
}

impl BitBuffer {
    /// Appends a code.
    pub fn push(&mut self, code: Code) {
        let bytes = &mut self.bytes;
        self.tail.push(code, |word| bytes.extend_from_slice(&word.to_le_bytes()));
    }

    /// The bytes so far, the last one filled up with zeros.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        push_tail(&mut self.bytes, self.tail);
        self.bytes
    }
}

/// Appends the bytes of a stream's unfinished word, the last one filled up with zeros.
pub fn push_tail(bytes: &mut Vec<u8>, tail: Tail) {
    let whole = usize::from(tail.len).div_ceil(8);
    bytes.extend(tail.word.to_le_bytes().iter().take(whole));
}

/// Reads a stream. Past its end it reads zeros; [`BitReader::overrun`] tells.
#[derive(Debug, Clone)]
pub struct BitReader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> BitReader<'a> {
    /// A reader at the first bit.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// The next 57 bits at least.
    #[inline]
    #[must_use]
    pub fn peek(&self) -> u64 {
        let at = self.position >> 3;
        let word = match self.bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()) {
            Some(bytes) => u64::from_le_bytes(bytes),
            None => self.peek_near_end(at),
        };
        word >> (self.position & 7)
    }

    #[cold]
    fn peek_near_end(&self, at: usize) -> u64 {
        let rest = self.bytes.get(at..).unwrap_or_default();
        rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
    }

    /// Moves on by `len` bits.
    #[inline]
    pub fn skip(&mut self, len: u32) {
        self.position += len as usize;
    }

    /// Reads a field of up to 64 bits.
    #[inline]
    pub fn read(&mut self, len: u32) -> u64 {
        debug_assert!(len <= 64, "a field has at most 64 bits");
        if len <= 56 {
            let field = self.peek() & mask(len);
            self.skip(len);
            field
        } else {
            let low = self.read(32);
            low | self.read(len - 32) << 32
        }
    }

    /// Whether more bits were read than there are.
    #[must_use]
    pub fn overrun(&self) -> bool {
        self.position > self.bytes.len() * 8
    }
}

/// The low `len` bits, `len` up to 64.
#[inline]
#[must_use]
pub const fn mask(len: u32) -> u64 {
    if len >= 64 { u64::MAX } else { (1 << len) - 1 }
}

/// Signed to unsigned such that small magnitudes stay small.
#[inline]
#[must_use]
pub const fn zigzag(signed: i64) -> u64 {
    ((signed << 1) ^ (signed >> 63)) as u64
}

/// The inverse of [`zigzag`].
#[inline]
#[must_use]
pub const fn unzigzag(unsigned: u64) -> i64 {
    (unsigned >> 1) as i64 ^ -((unsigned & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn fields_of_any_width_come_back(fields: Vec<(u64, u8)>) {
            let mut buffer = BitBuffer::default();
            for &(bits, len) in &fields {
                let len = u32::from(len % 65);
                buffer.push(Code::new(bits & mask(len), len));
            }
            let bytes = buffer.finish();
            let mut reader = BitReader::new(&bytes);
            for &(bits, len) in &fields {
                let len = u32::from(len % 65);
                prop_assert_eq!(reader.read(len), bits & mask(len));
            }
            prop_assert!(!reader.overrun());
        }

        #[test]
        fn zigzag_is_undone(signed: i64) {
            prop_assert_eq!(unzigzag(zigzag(signed)), signed);
        }
    }

    #[test]
    fn reading_past_the_end_gives_zeros_and_is_noticed() {
        let mut reader = BitReader::new(&[0xff]);
        assert_eq!(reader.read(12), 0xff);
        assert!(reader.overrun());
    }
}
