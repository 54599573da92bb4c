//! The columnar form of sample records. Byte layout: `docs/formats/wal.md`.
//!
//! Both sides keep one [`Base`] per series: the bits of its last value and the series that followed it last time. A
//! sender repeats its series in one order, so references cost next to nothing after the first round, and values are
//! stored as difference from the last one: of integers, of thousandths, or as XOR of the bits, whichever is exact.
//! Invariant: encoder and decoder change their state by the same rules in the same order.

mod decode;
mod encode;

pub(crate) use decode::decode_value;
pub use decode::{DecodeError, SampleDecoder, row_count};
pub use encode::SampleEncoder;
pub(crate) use encode::{encode_value, push_starts};

/// What is known of one series since the coding state was started afresh.
#[derive(Debug, Clone, Copy, Default)]
struct Base {
    bits: u64,
    next: u32,
    /// The entry counts only when this is the generation of the state.
    generation: u32,
}

/// The coding state of one log: shared by the rules of both sides.
#[derive(Debug)]
struct State {
    bases: Vec<Base>,
    generation: u32,
    last_series: u32,
    last_timestamp: i64,
    /// Entries in use since the last restart.
    series_count: usize,
}

impl State {
    fn new() -> Self {
        Self { bases: Vec::new(), generation: 1, last_series: 0, last_timestamp: 0, series_count: 0 }
    }

    fn restart(&mut self) {
        self.last_series = 0;
        self.last_timestamp = 0;
        self.series_count = 0;
        self.generation = self.generation.wrapping_add(1);
        if self.generation == 0 {
            self.bases.fill(Base::default());
            self.generation = 1;
        }
    }

    /// The entry of a series, made afresh if it was not used since the restart.
    #[inline]
    fn base(&mut self, series: u32) -> &mut Base {
        let index = series as usize;
        if index >= self.bases.len() {
            self.bases.resize((index + 1).next_multiple_of(1024), Base::default());
        }
        let base = self.bases.get_mut(index).expect("the table was just made to hold it");
        if base.generation != self.generation {
            *base = Base { bits: 0, next: 0, generation: self.generation };
            self.series_count += 1;
        }
        base
    }
}

/// Code 0: the bits did not change.
const SAME: u8 = 0;
/// Codes 1 to 4: difference of integers in so many bytes.
const INTEGER: u8 = 0;
/// Codes 5 to 8: difference of thousandths in 1 to 4 bytes.
const THOUSANDTHS: u8 = 4;
/// Codes 9 to 11: the 8, 7 or 6 low bytes of the XOR.
const XOR_8: u8 = 9;
const XOR_7: u8 = 10;
const XOR_6: u8 = 11;
/// Codes 12 to 15: 1 to 4 bytes of the XOR from the second highest byte down.
const XOR_HIGH: u8 = 11;

/// Integers and thousandths up to this magnitude are exact in an f64.
const EXACT_MAX: u64 = 1 << 53;

/// The value as an integer, if it is one bit for bit.
#[inline]
fn integer(value: f64) -> Option<i64> {
    let whole = value as i64;
    ((whole as f64).to_bits() == value.to_bits() && whole.unsigned_abs() < EXACT_MAX).then_some(whole)
}

/// The value in thousandths, if it is the f64 nearest to such a decimal.
#[inline]
fn thousandths(value: f64) -> Option<i64> {
    let scaled = to_thousandths(value);
    (from_thousandths(scaled).to_bits() == value.to_bits() && scaled.unsigned_abs() < EXACT_MAX).then_some(scaled)
}

#[inline]
fn to_thousandths(value: f64) -> i64 {
    (value * 1000.0).round_ties_even() as i64
}

#[inline]
fn from_thousandths(scaled: i64) -> f64 {
    scaled as f64 / 1000.0
}

#[cfg(test)]
mod tests;
