//! Reading and writing the few primitives that log records and snapshots are made of.
#![warn(clippy::indexing_slicing)]

/// Reads primitives from the front of foreign bytes; every method returns `None` where they end early.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// How many bytes are left.
    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.rest.split_at_checked(length)?;
        self.rest = tail;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A number of `length` bytes, at most 8, least significant first.
    #[inline]
    pub(crate) fn little_endian(&mut self, length: usize) -> Option<u64> {
        if let Some(eight) = self.rest.first_chunk::<8>() {
            self.rest = self.rest.get(length..)?;
            let unwanted = 64 - 8 * length as u32;
            return Some(u64::from_le_bytes(*eight) << unwanted >> unwanted);
        }
        let bytes = self.take(length)?;
        Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// A base-128 number, least significant group first, of at most ten bytes; what exceeds 64 bits is `None`.
    #[inline]
    pub(crate) fn varint(&mut self) -> Option<u64> {
        if let Some((first, tail)) = self.rest.split_first()
            && *first < 0x80
        {
            self.rest = tail;
            return Some(u64::from(*first));
        }
        self.long_varint()
    }

    fn long_varint(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let group = u64::from(byte & 0x7f);
            if shift == 63 && group > 1 {
                return None;
            }
            number |= group << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    pub(crate) fn varint_usize(&mut self) -> Option<usize> {
        self.varint().and_then(|number| usize::try_from(number).ok())
    }

    /// A length and that many bytes of UTF-8.
    pub(crate) fn text(&mut self) -> Option<&'a str> {
        let length = self.varint_usize()?;
        std::str::from_utf8(self.take(length)?).ok()
    }
}

/// Appends a base-128 number.
#[inline]
pub(crate) fn push_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Appends a length and the text.
pub(crate) fn push_text(out: &mut Vec<u8>, text: &str) {
    push_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// Maps small differences of either sign to small numbers: 0, -1, 1, -2, … become 0, 1, 2, 3, …
#[inline]
pub(crate) fn zigzag(difference: i64) -> u64 {
    ((difference << 1) ^ (difference >> 63)) as u64
}

/// Undoes [`zigzag`].
#[inline]
pub(crate) fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_and_differences_come_back(number: u64, difference: i64) {
            let mut bytes = Vec::new();
            push_varint(&mut bytes, number);
            push_varint(&mut bytes, zigzag(difference));
            let mut cursor = Cursor::new(&bytes);
            prop_assert_eq!(cursor.varint(), Some(number));
            prop_assert_eq!(cursor.varint().map(unzigzag), Some(difference));
            prop_assert!(cursor.is_empty());
        }
    }

    #[test]
    fn numbers_that_end_early_or_exceed_64_bits_are_refused() {
        assert_eq!(Cursor::new(&[0x80]).varint(), None);
        assert_eq!(Cursor::new(&[0xff; 11]).varint(), None);
        let largest = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(Cursor::new(&largest).varint(), Some(u64::MAX));
        assert_eq!(Cursor::new(&[5, b'a']).text(), None);
        assert_eq!(Cursor::new(&[1, 0xff]).text(), None);
    }
}
