//! Bits in the order of Prometheus' chunks: most significant first, and the ways in which it writes numbers with them.

/// A growing string of bits.
#[derive(Debug, Default)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    /// Bits of the last byte that are still free.
    free: u32,
}

impl BitWriter {
    /// Begins with whole bytes.
    pub(super) fn with_header(header: &[u8]) -> Self {
        Self { bytes: header.to_vec(), free: 0 }
    }

    /// Bytes so far.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes, the last one filled with zeros.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Writes the lowest `count` bits, at most 64.
    pub(super) fn bits(&mut self, value: u64, count: u32) {
        let mut left = count;
        while left > 0 {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let taken = left.min(self.free);
            let piece = (value >> (left - taken)) as u8 & (0xff >> (8 - taken));
            if let Some(last) = self.bytes.last_mut() {
                *last |= piece << (self.free - taken);
            }
            self.free -= taken;
            left -= taken;
        }
    }

    pub(super) fn bit(&mut self, bit: bool) {
        self.bits(u64::from(bit), 1);
    }

    pub(super) fn byte(&mut self, byte: u8) {
        self.bits(u64::from(byte), 8);
    }

    pub(super) fn float(&mut self, value: f64) {
        self.bits(value.to_bits(), 64);
    }

    /// Go's `binary.PutUvarint`, not aligned.
    pub(super) fn uvarint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.byte(value as u8 | 0x80);
            value >>= 7;
        }
        self.byte(value as u8);
    }

    /// Go's `binary.PutVarint`: zigzag.
    pub(super) fn varint(&mut self, value: i64) {
        self.uvarint(((value << 1) ^ (value >> 63)).cast_unsigned());
    }

    /// Prometheus' `putVarbitInt`.
    pub(super) fn varbit_int(&mut self, value: i64) {
        let size = VARBIT_SIZES.into_iter().find(|size| fits(value, *size));
        self.varbit(value.cast_unsigned(), if value == 0 { Some(0) } else { size });
    }

    /// Prometheus' `putVarbitUint`.
    pub(super) fn varbit_uint(&mut self, value: u64) {
        let size = VARBIT_SIZES.into_iter().find(|size| value < 1 << size);
        self.varbit(value, if value == 0 { Some(0) } else { size });
    }

    /// As many ones as there are smaller sizes, a zero unless it is the largest, the number.
    fn varbit(&mut self, value: u64, size: Option<u32>) {
        let Some(size) = size else {
            self.byte(0xff);
            return self.bits(value, 64);
        };
        let ones = VARBIT_SIZES.iter().filter(|smaller| **smaller < size).count() as u32 + u32::from(size > 0);
        self.bits((1 << (ones + 1)) - 2, ones + 1);
        self.bits(value, size);
    }
}

/// Sizes in bits of the numbers that `putVarbitInt` writes, between nothing and all 64.
const VARBIT_SIZES: [u32; 7] = [3, 6, 9, 12, 18, 25, 56];

/// Prometheus' `bitRange`: one more positive number than negative ones.
pub(super) fn fits(value: i64, bits: u32) -> bool {
    let half = 1i64 << (bits - 1);
    1 - half <= value && value <= half
}

/// A column of floats, each written as its difference from the one before.
#[derive(Debug, Clone, Copy)]
pub(super) struct XorColumn {
    last: f64,
    /// Zeros around the last difference that was written with its own bounds.
    window: Option<(u32, u32)>,
}

impl XorColumn {
    /// After a value that was written whole.
    pub(super) fn after(value: f64) -> Self {
        Self { last: value, window: None }
    }

    /// Prometheus' `xorWrite`.
    pub(super) fn write(&mut self, value: f64, out: &mut BitWriter) {
        let delta = value.to_bits() ^ self.last.to_bits();
        self.last = value;
        if delta == 0 {
            return out.bit(false);
        }
        out.bit(true);
        let (leading, trailing) = (delta.leading_zeros().min(31), delta.trailing_zeros());
        if let Some((l, t)) = self.window
            && leading >= l
            && trailing >= t
        {
            out.bit(false);
            return out.bits(delta >> t, 64 - l - t);
        }
        self.window = Some((leading, trailing));
        let significant = 64 - leading - trailing;
        out.bit(true);
        out.bits(u64::from(leading), 5);
        // 64 does not fit six bits and is written as 0.
        out.bits(u64::from(significant), 6);
        out.bits(delta >> trailing, significant);
    }
}
