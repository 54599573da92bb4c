//! Undoes the compression of a request body, within a bound.
//!
//! Invariant: no more memory is taken than the bound, and a declared length is believed only as far as the compressed bytes
//! could possibly expand to it.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

use zstd::zstd_safe::{self, DCtx, DParameter, InBuffer, OutBuffer, ResetDirective};

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Snappy's block format.
    Snappy,
    /// Zstandard frames.
    Zstd,
}

/// Why a body cannot be decompressed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompressionError {
    /// Not in the format that the header names.
    #[error("the body is not in {format} format: {reason}")]
    Corrupt {
        /// Which format was expected.
        format: &'static str,
        /// Why it is not.
        reason: String,
    },
    /// Larger than the receiver takes.
    #[error("the body has more than {bytes_max} bytes after decompression")]
    TooLarge {
        /// The bound.
        bytes_max: usize,
    },
}

/// Three compressed bytes of snappy stand for at most 64.
const SNAPPY_EXPANSION_MAX: usize = 22;

/// How many bytes the body declares to have after decompression; `None` when it does not say.
///
/// # Errors
/// The declaration is unreadable, impossible or above `bytes_max`.
pub fn declared_len(
    encoding: Encoding,
    compressed: &[u8],
    bytes_max: usize,
) -> Result<Option<usize>, CompressionError> {
    let declared = match encoding {
        Encoding::Snappy => {
            let length = snap::raw::decompress_len(compressed).map_err(|error| corrupt(encoding, error.to_string()))?;
            if compressed.is_empty() || length > compressed.len().saturating_mul(SNAPPY_EXPANSION_MAX) {
                let reason = format!("{} bytes cannot hold {length}", compressed.len());
                return Err(corrupt(encoding, reason));
            }
            Some(length as u64)
        }
        Encoding::Zstd => zstd_safe::get_frame_content_size(compressed)
            .map_err(|_| corrupt(encoding, "the frame header is broken".into()))?,
    };
    match declared {
        Some(length) if length > bytes_max as u64 => Err(CompressionError::TooLarge { bytes_max }),
        Some(length) => Ok(Some(length as usize)),
        None => Ok(None),
    }
}

fn corrupt(encoding: Encoding, reason: String) -> CompressionError {
    let format = match encoding {
        Encoding::Snappy => "snappy block",
        Encoding::Zstd => "zstd",
    };
    CompressionError::Corrupt { format, reason }
}

/// Decompresses bodies one after the other, using its buffer again.
#[derive(Default)]
pub struct Decompressor {
    /// Grows to the largest body; only its beginning is current.
    buffer: Vec<u8>,
    zstd: Option<DCtx<'static>>,
}

impl std::fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decompressor").field("capacity", &self.buffer.capacity()).finish_non_exhaustive()
    }
}

impl Decompressor {
    /// Decompresses a body and returns its length; [`Decompressor::bytes`] returns the bytes.
    ///
    /// # Errors
    /// The body is not of that encoding or has more than `bytes_max` bytes.
    pub fn decompress(
        &mut self,
        encoding: Encoding,
        compressed: &[u8],
        bytes_max: usize,
    ) -> Result<usize, CompressionError> {
        let declared = declared_len(encoding, compressed, bytes_max)?;
        match (encoding, declared) {
            (Encoding::Snappy, declared) => self.snappy(compressed, declared.unwrap_or(0)),
            (Encoding::Zstd, Some(length)) => match self.zstd_at_once(compressed, length) {
                Some(written) => Ok(written),
                // Several frames, or a declaration that is not true: read on piece by piece.
                None => self.zstd_stream(compressed, bytes_max),
            },
            (Encoding::Zstd, None) => self.zstd_stream(compressed, bytes_max),
        }
    }

    /// The first `length` bytes of what was decompressed last.
    #[must_use]
    pub fn bytes(&self, length: usize) -> &[u8] {
        self.buffer.get(..length).unwrap_or_default()
    }

    /// Bytes of memory that the buffer holds on to.
    #[must_use]
    pub fn capacity_bytes(&self) -> usize {
        self.buffer.capacity()
    }

    /// Returns `length` bytes to write to; what was there is lost.
    fn room(&mut self, length: usize) -> &mut [u8] {
        if self.buffer.len() < length {
            // Fresh pages instead of copying what nobody reads.
            self.buffer = vec![0; length];
        }
        self.buffer.get_mut(..length).unwrap_or_default()
    }

    /// Returns `length` bytes to write to; what was there stays.
    fn more_room(&mut self, length: usize) -> &mut [u8] {
        if self.buffer.len() < length {
            self.buffer.reserve_exact(length - self.buffer.len());
            self.buffer.resize(length, 0);
        }
        self.buffer.get_mut(..length).unwrap_or_default()
    }

    fn snappy(&mut self, compressed: &[u8], declared: usize) -> Result<usize, CompressionError> {
        snap::raw::Decoder::new()
            .decompress(compressed, self.room(declared))
            .map_err(|error| corrupt(Encoding::Snappy, error.to_string()))
    }

    fn zstd_at_once(&mut self, compressed: &[u8], declared: usize) -> Option<usize> {
        let mut context = self.zstd.take().or_else(DCtx::try_create)?;
        let outcome = context.decompress(self.room(declared), compressed);
        self.zstd = Some(context);
        outcome.ok()
    }

    fn zstd_stream(&mut self, compressed: &[u8], bytes_max: usize) -> Result<usize, CompressionError> {
        const FIRST_ROOM: usize = 1 << 18;
        let failed = |code| corrupt(Encoding::Zstd, zstd_safe::get_error_name(code).to_owned());
        let mut context = match self.zstd.take().or_else(DCtx::try_create) {
            Some(context) => context,
            None => return Err(corrupt(Encoding::Zstd, "no memory for a decoder".into())),
        };
        context.reset(ResetDirective::SessionOnly).map_err(failed)?;
        // The window is memory that the sender chooses: no more of it than of the body, or the 8 MiB that every decoder
        // ought to support.
        let window_log = bytes_max.max(1).ilog2() + u32::from(!bytes_max.is_power_of_two());
        context.set_parameter(DParameter::WindowLogMax(window_log.clamp(23, 27))).map_err(failed)?;

        let mut input = InBuffer::around(compressed);
        let mut written = 0;
        let mut room = FIRST_ROOM.min(bytes_max);
        loop {
            let mut output = OutBuffer::around_pos(self.more_room(room), written);
            let left_of_frame = context.decompress_stream(&mut output, &mut input).map_err(failed)?;
            let progress = output.pos() > written;
            written = output.pos();
            let consumed = input.pos() == compressed.len();
            if consumed && left_of_frame == 0 {
                self.zstd = Some(context);
                return Ok(written);
            } else if written == room && room < bytes_max {
                room = (room * 2).min(bytes_max);
            } else if written == room && left_of_frame > 0 {
                return Err(CompressionError::TooLarge { bytes_max });
            } else if consumed && !progress {
                return Err(corrupt(Encoding::Zstd, "the last frame is cut off".into()));
            }
        }
    }
}

#[cfg(test)]
mod tests;
