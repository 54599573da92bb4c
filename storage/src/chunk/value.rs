//! Encodes values: one code per value, from the value before it and a state of four bytes.
//!
//! | code | is |
//! |---|---|
//! | `0` | the same bits as the value before |
//! | `10` + width bits | zig-zag delta of mantissas in the current width |
//! | `110` + 6 bits width−1 + delta | the same, and a new width |
//! | `1110 000` + 6 bits divisor + 6 bits width−1 + delta | a new divisor |
//! | `1110 001` | the stale marker |
//! | `1110 010` + 7 bits n−1 | the next n rows of the timeline have no sample; a value follows |
//! | `1111 0` + bits | XOR with the value before, in the current window |
//! | `1111 1` + 5 bits leading zeros + 6 bits length−1 + bits | the same, and a new window |
//!
//! A delta is taken from the mantissa nearest to the value before, whichever way that was coded. The value before the
//! first of a chunk is 0.0.

use super::bits::{Code, zigzag};
use super::divisor::Divisor;
use model::sample::STALE_MARKER_BITS;

pub(super) const CONTROL_DIVISOR: u64 = 0;
pub(super) const CONTROL_STALE: u64 = 1;
pub(super) const CONTROL_GAP: u64 = 2;
pub(super) const CONTROL_BITS: u32 = 3;

/// How many bits a code with a new width has more than one in the current width.
const NEW_WIDTH_COST: u32 = 7;
/// Deltas up to this many bits are not worth the change to a power of two.
const BINARY_PAYS_FROM: u32 = 14;

/// What coding the next value depends on besides the value before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ValueState {
    pub(super) divisor: Divisor,
    /// Bits of a delta; 0 before the first one.
    pub(super) width: u8,
    /// Leading zeros of the XOR window.
    pub(super) xor_lead: u8,
    /// Bits of the XOR window; 0 before the first one.
    pub(super) xor_len: u8,
}

impl ValueState {
    /// The four bytes as they are kept in a snapshot.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 4] {
        [self.divisor.index(), self.width, self.xor_lead, self.xor_len]
    }

    /// The inverse of [`ValueState::to_bytes`]; `None` when no encoder comes to such a state.
    #[must_use]
    pub fn from_bytes([divisor, width, xor_lead, xor_len]: [u8; 4]) -> Option<Self> {
        let divisor = Divisor::from_index(divisor)?;
        (width <= 64 && xor_lead <= 31 && xor_len <= 64 - xor_lead).then_some(Self {
            divisor,
            width,
            xor_lead,
            xor_len,
        })
    }
}

/// Encodes the first value of a chunk and starts `state` anew. `before` is the series' previous value, in whichever
/// chunk, and only helps to choose a divisor.
pub fn encode_first(state: &mut ValueState, before: Option<u64>, bits: u64) -> Code {
    *state = ValueState::default();
    let value = f64::from_bits(bits);
    match first_divisor(before.map(f64::from_bits), value) {
        Some((divisor, mantissa)) if divisor != Divisor::ONE && mantissa != 0 => {
            state.divisor = divisor;
            divisor_code(state, zigzag(mantissa))
        }
        _ => encode(state, 0, bits),
    }
}

fn first_divisor(before: Option<f64>, value: f64) -> Option<(Divisor, i64)> {
    let Some(before) = before else { return Divisor::shortest_decimal(value) };
    if let Some(binary) = Divisor::common_binary(before, value)
        && let Some(mantissa) = binary.exact(value)
    {
        return Some((binary, mantissa));
    }
    let shortest = Divisor::shortest_decimal(value)?;
    match Divisor::shortest_decimal(before) {
        Some((earlier, _)) if earlier.index() > shortest.0.index() => {
            Some(earlier.exact(value).map_or(shortest, |mantissa| (earlier, mantissa)))
        }
        _ => Some(shortest),
    }
}

/// Encodes a value that follows `last` in its chunk.
#[inline]
pub fn encode(state: &mut ValueState, last: u64, bits: u64) -> Code {
    if bits == last {
        return Code::new(0b0, 1);
    }
    if bits == STALE_MARKER_BITS {
        return control(CONTROL_STALE);
    }
    let value = f64::from_bits(bits);
    match state.divisor.exact(value) {
        Some(mantissa) => {
            let reference = state.divisor.nearest(f64::from_bits(last));
            let delta = zigzag(mantissa.wrapping_sub(reference));
            let (needed, width) = (significant_bits(delta), u32::from(state.width));
            if needed <= width && width <= needed + NEW_WIDTH_COST {
                return Code::new(0b01, 2).then(delta, width);
            }
            encode_wider(state, f64::from_bits(last), value, delta)
        }
        None => encode_otherwise(state, last, bits),
    }
}

/// The code that says that the next `rows` (1…128) rows of the timeline have no sample.
#[must_use]
pub fn gap_code(rows: usize) -> Code {
    debug_assert!((1..=128).contains(&rows), "a gap of {rows} rows does not fit a chunk");
    control(CONTROL_GAP).then(rows as u64 - 1, 7)
}

fn control(kind: u64) -> Code {
    Code::new(0b0111, 4).then(kind, CONTROL_BITS)
}

fn significant_bits(unsigned: u64) -> u32 {
    (64 - unsigned.leading_zeros()).max(1)
}

/// The delta does not fit the current width, or a narrower one pays at once: a new width, or the power of two that the
/// values have in common.
fn encode_wider(state: &mut ValueState, last: f64, value: f64, delta: u64) -> Code {
    let needed = significant_bits(delta);
    if needed > BINARY_PAYS_FROM
        && state.divisor == Divisor::ONE
        && let Some(divisor) = Divisor::common_binary(last, value)
        && let Some(mantissa) = divisor.exact(value)
    {
        state.divisor = divisor;
        return divisor_code(state, zigzag(mantissa.wrapping_sub(divisor.nearest(last))));
    }
    state.width = needed as u8;
    Code::new(0b011, 3).then(u64::from(needed - 1), 6).then(delta, needed)
}

/// The current divisor has no exact mantissa: another one, or the raw bits.
#[cold]
fn encode_otherwise(state: &mut ValueState, last: u64, bits: u64) -> Code {
    let mut raw_state = *state;
    let raw = xor_code(&mut raw_state, last ^ bits);
    if let Some((divisor, mantissa)) = Divisor::shortest_decimal(f64::from_bits(bits)) {
        let delta = zigzag(mantissa.wrapping_sub(divisor.nearest(f64::from_bits(last))));
        let mut decimal_state = ValueState { divisor, ..*state };
        let decimal = divisor_code(&mut decimal_state, delta);
        if decimal.len <= raw.len {
            *state = decimal_state;
            return decimal;
        }
    }
    *state = raw_state;
    raw
}

fn divisor_code(state: &mut ValueState, delta: u64) -> Code {
    let needed = significant_bits(delta);
    state.width = needed as u8;
    control(CONTROL_DIVISOR)
        .then(u64::from(state.divisor.index()), 6)
        .then(u64::from(needed - 1), 6)
        .then(delta, needed)
}

fn xor_code(state: &mut ValueState, xor: u64) -> Code {
    const NEW_WINDOW_COST: u32 = 11;
    let lead = xor.leading_zeros().min(31);
    let trail = xor.trailing_zeros();
    let needed = 64 - lead - trail;
    let (window_lead, window_len) = (u32::from(state.xor_lead), u32::from(state.xor_len));
    if window_len > 0 {
        let window_trail = 64 - window_lead - window_len;
        if lead >= window_lead && trail >= window_trail && window_len <= needed + NEW_WINDOW_COST {
            return Code::new(0b0_1111, 5).then(xor >> window_trail, window_len);
        }
    }
    state.xor_lead = lead as u8;
    state.xor_len = needed as u8;
    Code::new(0b1_1111, 5).then(u64::from(lead), 5).then(u64::from(needed - 1), 6).then(xor >> trail, needed)
}
