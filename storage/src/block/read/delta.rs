//! DELTA_BINARY_PACKED: integers as differences in blocks of bit-packed runs.
//!
//! A [`DeltaCursor`] goes forward only and keeps its place, so that the rows of one series after the other are decoded without
//! decoding any twice, and without a buffer as large as the page.

use super::error::PageError;
use super::unpack::{GROUP, unpack_group};
use crate::wal::cursor::{Cursor, unzigzag};

const ENDS_EARLY: PageError = PageError("packed integers end early");
const BAD_HEADER: PageError = PageError("packed integers have a header that cannot be");

/// Runs of one block; writers make four.
const MINIBLOCKS_MAX: usize = 64;

/// A place in a page of packed integers. Every call gets the bytes of the same page.
#[derive(Debug)]
pub(crate) struct DeltaCursor {
    count: usize,
    /// Numbers passed.
    position: usize,
    /// The number before `position`; the first one while nothing is passed.
    last: i64,
    /// Where the next bytes are.
    at: usize,
    miniblocks: usize,
    groups_per_miniblock: usize,
    min_delta: i64,
    widths: [u8; MINIBLOCKS_MAX],
    miniblock: usize,
    /// Groups of the current run that are not unpacked yet.
    groups_left: usize,
    /// Differences, unpacked, of which those from `group_at` on are not passed.
    group: [u64; GROUP],
    group_at: usize,
}

impl DeltaCursor {
    /// Reads the header of a page's integers.
    pub(crate) fn new(bytes: &[u8]) -> Result<Self, PageError> {
        let mut cursor = Cursor::new(bytes);
        let block = cursor.varint_usize().ok_or(ENDS_EARLY)?;
        let miniblocks = cursor.varint_usize().ok_or(ENDS_EARLY)?;
        let count = cursor.varint_usize().ok_or(ENDS_EARLY)?;
        let first = cursor.varint().map(unzigzag).ok_or(ENDS_EARLY)?;
        if miniblocks == 0 || miniblocks > MINIBLOCKS_MAX || block > 1 << 20 {
            return Err(BAD_HEADER);
        }
        let values = block / miniblocks;
        if values == 0 || values % GROUP != 0 || values * miniblocks != block {
            return Err(BAD_HEADER);
        }
        Ok(Self {
            count,
            position: 0,
            last: first,
            at: bytes.len() - cursor.remaining(),
            miniblocks,
            groups_per_miniblock: values / GROUP,
            min_delta: 0,
            widths: [0; MINIBLOCKS_MAX],
            miniblock: miniblocks,
            groups_left: 0,
            group: [0; GROUP],
            group_at: GROUP,
        })
    }

    /// How many numbers there are.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// How many numbers are passed.
    pub(crate) fn position(&self) -> usize {
        self.position
    }

    /// Where the packed integers end, once all are passed; text follows them in some encodings.
    pub(crate) fn end(&self) -> usize {
        // Writers pack the runs of the last block that have no numbers with no bytes.
        let width = self.miniblock.checked_sub(1).and_then(|current| self.widths.get(current)).copied().unwrap_or(0);
        self.at + self.groups_left * usize::from(width) * GROUP / 8
    }

    /// Passes `count` numbers.
    pub(crate) fn skip(&mut self, bytes: &[u8], count: usize) -> Result<(), PageError> {
        self.advance(bytes, count, |_| {})
    }

    /// Hands the next `count` numbers to `take`, a few at a time.
    #[inline]
    pub(crate) fn advance(
        &mut self,
        bytes: &[u8],
        count: usize,
        mut take: impl FnMut(&[i64]),
    ) -> Result<(), PageError> {
        if count > self.count - self.position {
            return Err(ENDS_EARLY);
        }
        let mut wanted = count;
        if wanted > 0 && self.position == 0 {
            take(&[self.last]);
            self.position = 1;
            wanted -= 1;
        }
        let mut numbers = [0i64; GROUP];
        while wanted > 0 {
            if self.group_at == GROUP {
                self.load_group(bytes)?;
            }
            let now = wanted.min(GROUP - self.group_at);
            let mut last = self.last;
            if now == GROUP {
                for (number, delta) in numbers.iter_mut().zip(&self.group) {
                    last = last.wrapping_add(*delta as i64);
                    *number = last;
                }
                take(&numbers);
            } else {
                let deltas = self.group.get(self.group_at..self.group_at + now).unwrap_or_default();
                for (number, delta) in numbers.iter_mut().zip(deltas) {
                    last = last.wrapping_add(*delta as i64);
                    *number = last;
                }
                take(numbers.get(..now).unwrap_or_default());
            }
            self.last = last;
            self.group_at += now;
            self.position += now;
            wanted -= now;
        }
        Ok(())
    }

    /// Unpacks the next group of differences, with the block's least one added.
    fn load_group(&mut self, bytes: &[u8]) -> Result<(), PageError> {
        if self.groups_left == 0 {
            if self.miniblock == self.miniblocks {
                self.load_block(bytes)?;
            }
            self.miniblock += 1;
            self.groups_left = self.groups_per_miniblock;
        }
        let width = self.widths.get(self.miniblock - 1).copied().unwrap_or(0);
        let length = usize::from(width) * GROUP / 8;
        let packed = bytes.get(self.at..).ok_or(ENDS_EARLY)?;
        // The last run may be cut off behind its last number.
        if packed.len() < length && packed.len() * 8 / usize::from(width.max(1)) < self.count - self.position {
            return Err(ENDS_EARLY);
        }
        unpack_group(packed.get(..length).unwrap_or(packed), width, self.min_delta as u64, &mut self.group)?;
        self.at = (self.at + length).min(bytes.len());
        self.groups_left -= 1;
        self.group_at = 0;
        Ok(())
    }

    fn load_block(&mut self, bytes: &[u8]) -> Result<(), PageError> {
        let mut cursor = Cursor::new(bytes.get(self.at..).ok_or(ENDS_EARLY)?);
        let length = cursor.remaining();
        self.min_delta = cursor.varint().map(unzigzag).ok_or(ENDS_EARLY)?;
        let widths = cursor.take(self.miniblocks).ok_or(ENDS_EARLY)?;
        for (into, width) in self.widths.iter_mut().zip(widths) {
            *into = *width;
        }
        self.at += length - cursor.remaining();
        self.miniblock = 0;
        Ok(())
    }
}
