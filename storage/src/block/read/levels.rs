//! The hybrid of runs and bit-packed integers, for definition levels and dictionary ids.

use super::error::PageError;
use super::unpack::{GROUP, unpack_group};
use crate::wal::cursor::Cursor;

/// Equal integers in a row, or integers one by one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Run<'a> {
    Same { value: u32, count: usize },
    Each(&'a [u32]),
}

/// Hands the integers of `width` bits to `take`, run by run, until there were `count` of them.
pub(crate) fn decode_runs(
    bytes: &[u8],
    width: u8,
    count: usize,
    mut take: impl FnMut(Run<'_>) -> Result<(), PageError>,
) -> Result<(), PageError> {
    const ENDS_EARLY: PageError = PageError("runs of integers end early");
    if width > 32 {
        return Err(PageError("runs of integers have more than 32 bits"));
    }
    let mut cursor = Cursor::new(bytes);
    let mut wanted = count;
    let (mut group, mut values) = ([0u64; GROUP], [0u32; GROUP]);
    while wanted > 0 {
        let header = cursor.varint_usize().ok_or(ENDS_EARLY)?;
        if header & 1 == 0 {
            let value = match usize::from(width).div_ceil(8) {
                0 => 0,
                length => cursor.little_endian(length).ok_or(ENDS_EARLY)? as u32,
            };
            let now = (header >> 1).min(wanted);
            if now == 0 {
                return Err(PageError("a run of integers is empty"));
            }
            take(Run::Same { value, count: now })?;
            wanted -= now;
            continue;
        }
        let in_run = (header >> 1).checked_mul(8).filter(|n| *n > 0).ok_or(PageError("a run of integers is empty"))?;
        let now = in_run.min(wanted);
        let stored = in_run.checked_mul(usize::from(width)).ok_or(ENDS_EARLY)? / 8;
        let needed = (now * usize::from(width)).div_ceil(8);
        let mut packed = cursor.take(stored.min(cursor.remaining())).filter(|b| b.len() >= needed).ok_or(ENDS_EARLY)?;
        let mut left = now;
        while left > 0 {
            let length = (usize::from(width) * GROUP / 8).min(packed.len());
            let (these, behind) = packed.split_at(length);
            unpack_group(these, width, &mut group)?;
            packed = behind;
            for (value, wide) in values.iter_mut().zip(&group) {
                *value = *wide as u32;
            }
            let some = left.min(GROUP);
            take(Run::Each(values.get(..some).unwrap_or_default()))?;
            left -= some;
        }
        wanted -= now;
    }
    Ok(())
}

/// Which rows of a page have a value.
#[derive(Debug)]
pub(crate) enum Presence {
    All,
    None,
    Some(Bits),
}

/// One bit per row, and how many rows before each word of bits have one.
#[derive(Debug)]
pub(crate) struct Bits {
    words: Vec<u64>,
    ranks: Vec<u32>,
}

impl Presence {
    /// Reads the definition levels of a page of a flat column. No levels mean that nothing is absent.
    pub(crate) fn read(levels: &[u8], rows: usize, nulls: usize) -> Result<Self, PageError> {
        if nulls == 0 {
            return Ok(Self::All);
        }
        if nulls == rows {
            return Ok(Self::None);
        }
        let mut words = vec![0u64; rows.div_ceil(64)];
        let mut at = 0;
        decode_runs(levels, 1, rows, |run| {
            match run {
                Run::Same { value, count } => {
                    if value == 1 {
                        set_bits(&mut words, at, count);
                    }
                    at += count;
                }
                Run::Each(values) => {
                    for value in values {
                        if let Some(word) = words.get_mut(at / 64) {
                            *word |= u64::from(*value & 1) << (at % 64);
                        }
                        at += 1;
                    }
                }
            }
            Ok(())
        })?;
        let mut present = 0;
        let mut ranks = Vec::with_capacity(words.len());
        for word in &words {
            ranks.push(present);
            present += word.count_ones();
        }
        if present as usize + nulls != rows {
            return Err(PageError("the levels of the page contradict its header"));
        }
        Ok(Self::Some(Bits { words, ranks }))
    }

    /// Bytes that it takes.
    pub(crate) fn memory(&self) -> usize {
        match self {
            Self::All | Self::None => 0,
            Self::Some(bits) => bits.words.len() * 12,
        }
    }

    /// Whether a row has a value.
    pub(crate) fn has(&self, row: usize) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::Some(bits) => bits.words.get(row / 64).is_some_and(|word| word >> (row % 64) & 1 == 1),
        }
    }

    /// How many rows before `row` have a value.
    pub(crate) fn rank(&self, row: usize) -> usize {
        match self {
            Self::All => row,
            Self::None => 0,
            Self::Some(bits) => match (bits.words.get(row / 64), bits.ranks.get(row / 64)) {
                (Some(word), Some(rank)) => (*rank + (word & ((1u64 << (row % 64)) - 1)).count_ones()) as usize,
                // Behind the last word.
                _ => {
                    bits.ranks.last().map_or(0, |rank| *rank as usize)
                        + bits.words.last().map_or(0, |word| word.count_ones() as usize)
                }
            },
        }
    }
}

fn set_bits(words: &mut [u64], from: usize, count: usize) {
    let mut row = from;
    let to = from + count;
    while row < to {
        let end = (row / 64 * 64 + 64).min(to);
        let length = end - row;
        let mask = if length == 64 { u64::MAX } else { ((1 << length) - 1) << (row % 64) };
        if let Some(word) = words.get_mut(row / 64) {
            *word |= mask;
        }
        row = end;
    }
}
