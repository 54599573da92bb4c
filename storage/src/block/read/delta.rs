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
    /// Where the current block begins.
    block_at: usize,
    miniblocks: usize,
    groups_per_miniblock: usize,
    min_delta: i64,
    widths: [u8; MINIBLOCKS_MAX],
    miniblock: usize,
    /// Bits of the differences of the current run.
    width: u8,
    /// Groups of the current run that are not begun yet.
    groups_left: usize,
    /// Where the current group begins.
    packed_at: usize,
    /// Its differences, unpacked and without the block's least one, of which those from `group_at` on are not passed.
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
            block_at: 0,
            miniblocks,
            groups_per_miniblock: values / GROUP,
            min_delta: 0,
            widths: [0; MINIBLOCKS_MAX],
            miniblock: miniblocks,
            width: 0,
            groups_left: 0,
            packed_at: 0,
            group: [0; GROUP],
            group_at: GROUP,
        })
    }

    /// Goes to the last place before the number `to` from which it can go on, if there is one ahead or `to` is behind.
    pub(crate) fn approach(&mut self, bytes: &[u8], landmarks: &Landmarks, to: usize) -> Result<(), PageError> {
        let Some(place) = landmarks.before(to) else { return Ok(()) };
        let position = place.position as usize;
        if position <= self.position && self.position <= to {
            return Ok(());
        }
        (self.position, self.last, self.at) = (position, place.last, place.block_at as usize);
        (self.miniblock, self.groups_left, self.group_at) = (self.miniblocks, 0, GROUP);
        // The first number of all is in no block.
        let values = self.groups_per_miniblock * GROUP;
        let runs = position.saturating_sub(1) % (self.miniblocks * values) / values;
        if runs > 0 {
            self.load_block(bytes)?;
            let bits: usize = self.widths.iter().take(runs).map(|width| usize::from(*width)).sum();
            self.at = (self.at + bits * values / 8).min(bytes.len());
            self.miniblock = runs;
        }
        Ok(())
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
        self.at + self.groups_left * usize::from(self.width) * GROUP / 8
    }

    /// Passes `count` numbers.
    pub(crate) fn skip(&mut self, bytes: &[u8], count: usize) -> Result<(), PageError> {
        let mut wanted = self.begin(count, |_| {})?;
        while wanted > 0 {
            if self.group_at == GROUP {
                self.next_group(bytes)?;
                if wanted >= GROUP && self.width == 0 {
                    self.last = self.last.wrapping_add(self.min_delta.wrapping_mul(GROUP as i64));
                    self.pass(GROUP);
                    wanted -= GROUP;
                    continue;
                }
                self.unpack(bytes)?;
            }
            let now = wanted.min(GROUP - self.group_at);
            let deltas = self.group.get(self.group_at..self.group_at + now).unwrap_or_default();
            let sum = deltas.iter().fold(0u64, |sum, delta| sum.wrapping_add(*delta)) as i64;
            self.last = self.last.wrapping_add(sum).wrapping_add(self.min_delta.wrapping_mul(now as i64));
            self.pass(now);
            wanted -= now;
        }
        Ok(())
    }

    /// Fills `into` with the next numbers, each as `convert` gives it: unpacked, summed up and converted in one go.
    #[inline]
    pub(crate) fn fill<T: Copy>(
        &mut self,
        bytes: &[u8],
        into: &mut [T],
        convert: impl Fn(i64) -> T,
    ) -> Result<(), PageError> {
        let mut into = into.iter_mut();
        let wanted = self.begin(into.len(), |first| {
            if let Some(slot) = into.next() {
                *slot = convert(first);
            }
        })?;
        let into = into.into_slice();
        // What is left of a group that was begun.
        let begun = wanted.min(GROUP - self.group_at);
        let (some, into) = into.split_at_mut(begun);
        self.fill_part(some, &convert);
        let (groups, rest) = into.as_chunks_mut::<GROUP>();
        for group in groups {
            self.next_group(bytes)?;
            self.fill_group(bytes, group, &convert)?;
        }
        if !rest.is_empty() {
            self.next_group(bytes)?;
            self.unpack(bytes)?;
            self.fill_part(rest, &convert);
        }
        Ok(())
    }

    /// Hands over the first number if it is wanted. Returns how many are wanted still.
    #[inline]
    fn begin(&mut self, count: usize, take: impl FnOnce(i64)) -> Result<usize, PageError> {
        if count > self.count - self.position {
            return Err(ENDS_EARLY);
        }
        if count == 0 || self.position > 0 {
            return Ok(count);
        }
        take(self.last);
        self.position = 1;
        Ok(count - 1)
    }

    /// Numbers of the group that is unpacked, no more than it has left.
    #[inline]
    fn fill_part<T>(&mut self, into: &mut [T], convert: &impl Fn(i64) -> T) {
        let deltas = self.group.get(self.group_at..).unwrap_or_default();
        let mut last = self.last;
        for (number, delta) in into.iter_mut().zip(deltas) {
            last = last.wrapping_add(self.min_delta).wrapping_add(*delta as i64);
            *number = convert(last);
        }
        self.last = last;
        self.pass(into.len());
    }

    /// All numbers of the next group.
    #[inline]
    fn fill_group<T: Copy>(
        &mut self,
        bytes: &[u8],
        into: &mut [T; GROUP],
        convert: &impl Fn(i64) -> T,
    ) -> Result<(), PageError> {
        let mut last = self.last;
        if self.width == 0 && self.min_delta == 0 {
            *into = [convert(last); GROUP];
            self.pass(GROUP);
            return Ok(());
        }
        self.unpack(bytes)?;
        let mut numbers = [0i64; GROUP];
        for (number, delta) in numbers.iter_mut().zip(&self.group) {
            last = last.wrapping_add(self.min_delta.wrapping_add(*delta as i64));
            *number = last;
        }
        // A loop of its own: unlike sums, conversions are done several at once.
        for (slot, number) in into.iter_mut().zip(&numbers) {
            *slot = convert(*number);
        }
        self.last = last;
        self.pass(GROUP);
        Ok(())
    }

    #[inline]
    fn pass(&mut self, count: usize) {
        self.group_at += count;
        self.position += count;
    }

    /// Turns to the next group of differences. It has to be passed as a whole, or unpacked.
    #[inline]
    fn next_group(&mut self, bytes: &[u8]) -> Result<(), PageError> {
        if self.groups_left == 0 {
            if self.miniblock == self.miniblocks {
                self.load_block(bytes)?;
            }
            self.width = self.widths.get(self.miniblock).copied().unwrap_or(0);
            self.miniblock += 1;
            self.groups_left = self.groups_per_miniblock;
        }
        self.packed_at = self.at;
        let length = usize::from(self.width) * GROUP / 8;
        if length > bytes.len() - self.at {
            self.check_end(bytes)?;
        }
        self.at = (self.at + length).min(bytes.len());
        self.groups_left -= 1;
        self.group_at = 0;
        Ok(())
    }

    /// The last run may be cut off behind its last number.
    #[cold]
    fn check_end(&self, bytes: &[u8]) -> Result<(), PageError> {
        let complete = (bytes.len() - self.at) * 8 / usize::from(self.width.max(1));
        if complete < self.count - self.position { Err(ENDS_EARLY) } else { Ok(()) }
    }

    #[inline]
    fn unpack(&mut self, bytes: &[u8]) -> Result<(), PageError> {
        unpack_group(bytes.get(self.packed_at..).unwrap_or_default(), self.width, &mut self.group)
    }

    /// Where the block with the next number begins; `None` within a run.
    fn block_of_next(&self) -> Option<usize> {
        let between = self.group_at == GROUP && self.groups_left == 0;
        between.then_some(if self.miniblock == self.miniblocks { self.at } else { self.block_at })
    }

    fn load_block(&mut self, bytes: &[u8]) -> Result<(), PageError> {
        self.block_at = self.at;
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

/// Places in a page of packed integers from which a [`DeltaCursor`] can go on: starts of runs, at least [`APART`] numbers from each
/// other. With them, a number in the middle is reached without unpacking all before it.
#[derive(Debug)]
pub(crate) struct Landmarks {
    /// Numbers from one to the next; the first one is so many behind the first number.
    apart: usize,
    places: Box<[Landmark]>,
}

#[derive(Debug)]
struct Landmark {
    /// Numbers before it.
    position: u32,
    /// Where its block is in the page: widths of runs are told there.
    block_at: u32,
    /// The number before it.
    last: i64,
}

/// Numbers between two landmarks, unless runs are longer.
pub(crate) const APART: usize = 128;

impl Landmarks {
    /// Goes through a page once.
    pub(crate) fn of(bytes: &[u8]) -> Result<Self, PageError> {
        let mut cursor = DeltaCursor::new(bytes)?;
        let run = cursor.groups_per_miniblock * GROUP;
        let step = APART.div_ceil(run) * run;
        let mut places = Vec::with_capacity(cursor.count / step);
        cursor.skip(bytes, cursor.count.min(1))?;
        while cursor.count - cursor.position > step {
            cursor.skip(bytes, step)?;
            let block_at = cursor.block_of_next().and_then(|at| u32::try_from(at).ok());
            let (Some(block_at), Ok(position)) = (block_at, u32::try_from(cursor.position)) else { break };
            places.push(Landmark { position, block_at, last: cursor.last });
        }
        Ok(Self { apart: step, places: places.into() })
    }

    /// The last one that has no more than so many numbers before it.
    fn before(&self, numbers: usize) -> Option<&Landmark> {
        let passed = numbers.checked_sub(1)? / self.apart;
        self.places.get(passed.min(self.places.len()).checked_sub(1)?)
    }

    /// Memory of them.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.places)
    }
}
