//! Bits in the order of Prometheus' chunks, most significant first, and the ways in which it writes numbers with them.

/// A string of bits; `None` where it ends too early.
#[derive(Debug)]
pub(super) struct BitReader<'b> {
    bytes: &'b [u8],
    /// Bits that were read.
    at: usize,
}

impl<'b> BitReader<'b> {
    pub(super) fn new(bytes: &'b [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The next bits, up to 64.
    pub(super) fn bits(&mut self, count: u32) -> Option<u64> {
        let mut value = 0u64;
        let mut left = count;
        while left > 0 {
            let byte = *self.bytes.get(self.at / 8)?;
            let free = 8 - (self.at % 8) as u32;
            let taken = left.min(free);
            let piece = (u64::from(byte) >> (free - taken)) & ((1 << taken) - 1);
            value = value << taken | piece;
            self.at += taken as usize;
            left -= taken;
        }
        Some(value)
    }

    pub(super) fn bit(&mut self) -> Option<bool> {
        Some(self.bits(1)? == 1)
    }

    pub(super) fn float(&mut self) -> Option<f64> {
        self.bits(64).map(f64::from_bits)
    }

    /// Go's `binary.Uvarint`, not aligned.
    pub(super) fn uvarint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.bits(8)?;
            value |= (byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    /// Go's `binary.Varint`: zigzag.
    pub(super) fn varint(&mut self) -> Option<i64> {
        let value = self.uvarint()?;
        Some((value >> 1).cast_signed() ^ -((value & 1).cast_signed()))
    }

    /// A number in two's complement whose range is shifted by one: one more positive number than negative ones.
    pub(super) fn signed(&mut self, bits: u32) -> Option<i64> {
        let value = self.bits(bits)?;
        let is_negative = bits < 64 && value > 1 << (bits - 1);
        Some(if is_negative { value.wrapping_sub(1 << bits) } else { value }.cast_signed())
    }

    /// Prometheus' `putVarbitInt`.
    pub(super) fn varbit_int(&mut self) -> Option<i64> {
        match self.varbit_size()? {
            0 => Some(0),
            bits => self.signed(bits),
        }
    }

    /// Prometheus' `putVarbitUint`.
    pub(super) fn varbit_uint(&mut self) -> Option<u64> {
        let bits = self.varbit_size()?;
        self.bits(bits)
    }

    /// As many ones as there are smaller sizes, and a zero unless it is the largest.
    fn varbit_size(&mut self) -> Option<u32> {
        const SIZES: [u32; 9] = [0, 3, 6, 9, 12, 18, 25, 56, 64];
        let mut ones = 0;
        while ones < SIZES.len() - 1 && self.bit()? {
            ones += 1;
        }
        SIZES.get(ones).copied()
    }
}

/// A column of floats, each written as its difference from the one before.
#[derive(Debug, Clone, Copy)]
pub(super) struct XorColumn {
    last: u64,
    leading: u32,
    significant: u32,
}

impl XorColumn {
    /// After a value that was written whole.
    pub(super) fn after(value: f64) -> Self {
        Self { last: value.to_bits(), leading: 0, significant: 0 }
    }

    /// Prometheus' `xorRead`.
    pub(super) fn read(&mut self, bits: &mut BitReader<'_>) -> Option<f64> {
        if bits.bit()? {
            if bits.bit()? {
                self.leading = bits.bits(5)? as u32;
                self.significant = match bits.bits(6)? {
                    0 => 64,
                    significant => significant as u32,
                };
            }
            let trailing = 64u32.checked_sub(self.leading + self.significant)?;
            // Without significant bits there was no window yet.
            let delta = bits.bits(self.significant)?.checked_shl(trailing)?;
            self.last ^= delta;
        }
        Some(f64::from_bits(self.last))
    }
}
