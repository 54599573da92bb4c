//! DELTA_BINARY_PACKED, written for series side by side and for the compression that follows.
//!
//! Differences are packed in blocks of [`BLOCK`], each with a base that is subtracted from all of them, and in runs of [`RUN`],
//! each with a width of its own. The encoding leaves both to the writer, and readers add what was subtracted with wrapping:
//!
//! * Where one series follows another, the difference can be far below all others. As a base it would widen the whole block; a
//!   base above it leaves one run with 64 bits, most of them zero.
//! * With the same base for many blocks and a width that divides a byte, equal differences are equal bytes, whose frequencies
//!   the compression makes use of. Without, they are as random as bits can be, but fewer.
//!
//! Pure: which of the two forms is better is for the caller to try.

use crate::wal::cursor::{push_varint, zigzag};

/// Differences of a block.
pub(crate) const BLOCK: usize = RUN * RUNS;
/// Differences of one width.
const RUN: usize = 32;
const RUNS: usize = 8;
/// Widest differences that are aligned to bytes.
const ALIGNED_MAX: u8 = 8;
/// What a difference of 64 bits takes after compression, in bits: most of them are zero.
const COMPRESSED: u8 = 24;

/// How differences are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// In as few bits as possible.
    Tight,
    /// So that equal ones are equal bytes, where they are small.
    Aligned,
}

/// The integers of a page, in order.
#[derive(Debug, Default)]
pub(crate) struct Integers {
    values: Vec<i64>,
    /// Of the blocks that are complete.
    shapes: Vec<Shape>,
    bytes: usize,
}

/// What a block of differences is like.
#[derive(Debug, Clone, Copy)]
struct Shape {
    /// Which takes the fewest bits.
    base: i64,
    widths: [u8; RUNS],
    /// Least and greatest of the differences that are small, if the block consists of such, but for some runs.
    small: Option<(i64, i64)>,
    /// Whether there are other runs: another series begins, mostly.
    has_outliers: bool,
}

impl Integers {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// Bytes that the complete blocks take in the form that takes more.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many more complete a block.
    pub(crate) fn missing(&self) -> usize {
        self.shapes.len() * BLOCK + BLOCK + 1 - self.values.len()
    }

    /// Appends no more than are [`missing`](Self::missing).
    pub(crate) fn extend(&mut self, values: &[i64]) {
        self.values.extend_from_slice(values);
        if self.missing() == 0 {
            let shape = Shape::of(&self.differences(self.shapes.len()), RUNS);
            self.bytes += shape.bytes();
            self.shapes.push(shape);
        }
    }

    /// The differences of a block; behind the last one zero.
    fn differences(&self, block: usize) -> [i64; BLOCK] {
        let values = self.values.get(block * BLOCK..).unwrap_or_default();
        let mut differences = [0; BLOCK];
        for (difference, pair) in differences.iter_mut().zip(values.windows(2)) {
            if let [before, value] = pair {
                *difference = value.wrapping_sub(*before);
            }
        }
        differences
    }

    /// Completes the page: its two forms are [`encode`](Self::encode)d next.
    pub(crate) fn finish(&mut self) {
        let rest = self.values.len().saturating_sub(1) - self.shapes.len() * BLOCK;
        if rest > 0 {
            let mut differences = self.differences(self.shapes.len());
            let (known, missing) = differences.split_at_mut(rest);
            // As if the last run went on, so that it is no wider.
            let last = known.last().copied().unwrap_or(0);
            missing.fill(last);
            self.shapes.push(Shape::of(&differences, rest.div_ceil(RUN)));
        }
    }

    /// Whether the aligned form differs from the tight one.
    pub(crate) fn has_small(&self) -> bool {
        self.shapes.iter().any(|shape| shape.small.is_some_and(|(least, greatest)| least < greatest))
    }

    /// The page's values as they are stored.
    pub(crate) fn encode(&self, form: Form, out: &mut Vec<u8>) {
        out.clear();
        for number in [BLOCK, RUNS, self.values.len()] {
            push_varint(out, number as u64);
        }
        push_varint(out, zigzag(self.values.first().copied().unwrap_or(0)));
        let mut rest = &self.shapes[..];
        let mut block = 0;
        while let Some(first) = rest.first() {
            let stretch = if form == Form::Aligned { stretch(rest) } else { None };
            let count = stretch.map_or(1, |stretch| stretch.blocks);
            let (these, behind) = rest.split_at(count);
            for shape in these {
                let (base, width) = stretch.map_or((first.base, None), |s| (s.base, Some(s.width)));
                self.encode_block(block, shape, base, width, out);
                block += 1;
            }
            rest = behind;
        }
    }

    fn encode_block(&self, block: usize, shape: &Shape, base: i64, aligned: Option<u8>, out: &mut Vec<u8>) {
        let differences = self.differences(block);
        let left = self.values.len() - 1 - block * BLOCK;
        push_varint(out, zigzag(base));
        let widths_at = out.len();
        out.resize(widths_at + RUNS, 0);
        for (run, differences) in differences.as_chunks::<RUN>().0.iter().enumerate() {
            let known = left.saturating_sub(run * RUN).min(RUN);
            if known == 0 {
                break;
            }
            let mut packed = [0u64; RUN];
            for (packed, difference) in packed.iter_mut().zip(differences).take(known) {
                *packed = difference.wrapping_sub(base) as u64;
            }
            let needed = bits(packed.iter().fold(0, |bits, packed| bits | packed));
            let typical = shape.widths.iter().copied().min().unwrap_or(0);
            let width = match aligned {
                Some(width) if needed <= width => {
                    if needed == 0 {
                        0
                    } else {
                        width
                    }
                }
                _ if needed > typical + 8 => needed.next_multiple_of(8),
                _ => needed,
            };
            if let Some(slot) = out.get_mut(widths_at + run) {
                *slot = width;
            }
            pack(&packed, width, out);
        }
    }
}

/// Blocks in a row that are aligned in the same way.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    blocks: usize,
    base: i64,
    width: u8,
}

/// What blocks begin with, up to one in which another series begins; `None` if the first one is not of small differences.
fn stretch(shapes: &[Shape]) -> Option<Stretch> {
    let (mut least, mut greatest) = shapes.first()?.small?;
    let mut blocks = 0;
    for shape in shapes {
        let Some((low, high)) = shape.small else { break };
        let (low, high) = (low.min(least), high.max(greatest));
        if width_of(low, high) > ALIGNED_MAX {
            break;
        }
        (least, greatest) = (low, high);
        blocks += 1;
        if shape.has_outliers {
            break;
        }
    }
    Some(Stretch { blocks, base: least, width: width_of(least, greatest).next_power_of_two() })
}

impl Shape {
    /// Of differences of which only so many runs count.
    fn of(differences: &[i64; BLOCK], runs: usize) -> Self {
        let mut bounds = [(0, 0); RUNS];
        for (bounds, run) in bounds.iter_mut().zip(differences.as_chunks::<RUN>().0) {
            *bounds = run.iter().fold((i64::MAX, i64::MIN), |(low, high), d| (low.min(*d), high.max(*d)));
        }
        let bounds = bounds.get(..runs).unwrap_or(&bounds);
        let width = |base: i64, (low, high): (i64, i64)| if low < base { 64 } else { width_of(base, high) };
        let cost_of = |width: u8| u32::from(if width == 64 { COMPRESSED } else { width });
        let cost = |base: i64| bounds.iter().map(|bounds| cost_of(width(base, *bounds))).sum::<u32>();
        let base = bounds.iter().map(|(low, _)| *low).min_by_key(|base| (cost(*base), *base)).unwrap_or(0);
        let mut widths = [0; RUNS];
        widths.iter_mut().zip(bounds).for_each(|(slot, bounds)| *slot = width(base, *bounds));
        let (mut few, mut small) = (0, (i64::MAX, i64::MIN));
        for ((low, high), _) in bounds.iter().zip(&widths).filter(|(_, width)| **width <= ALIGNED_MAX) {
            small = (small.0.min(*low), small.1.max(*high));
            few += 1;
        }
        Self { base, widths, small: (few * 2 > runs).then_some(small), has_outliers: few < runs }
    }

    fn bytes(&self) -> usize {
        let aligned = self.small.map_or(0, |(low, high)| width_of(low, high).next_power_of_two());
        let aligned = if self.small.is_some_and(|(low, high)| low == high) { 0 } else { aligned };
        let run = |width: &u8| usize::from((*width).max(aligned)) * RUN / 8;
        RUNS + 4 + self.widths.iter().map(run).sum::<usize>()
    }
}

/// Bits of the difference of two numbers of which the first is not greater.
fn width_of(low: i64, high: i64) -> u8 {
    bits(high.wrapping_sub(low) as u64)
}

fn bits(number: u64) -> u8 {
    (u64::BITS - number.leading_zeros()) as u8
}

/// Appends numbers of `width` bits, the least significant bit first.
fn pack(numbers: &[u64; RUN], width: u8, out: &mut Vec<u8>) {
    let width = u32::from(width);
    if width == 0 {
        return;
    }
    if width == 8 {
        out.extend(numbers.iter().map(|number| *number as u8));
        return;
    }
    let (mut word, mut filled) = (0u64, 0u32);
    for number in numbers {
        word |= number << filled;
        filled += width;
        if filled >= u64::BITS {
            out.extend_from_slice(&word.to_le_bytes());
            filled -= u64::BITS;
            // What did not fit; nothing if it ended with the word.
            word = number.checked_shr(width - filled).unwrap_or(0);
        }
    }
    let rest = word.to_le_bytes();
    out.extend_from_slice(rest.get(..filled.div_ceil(8) as usize).unwrap_or_default());
}

#[cfg(test)]
mod tests;
