//! One file of the journal: a header, then frames with a checksum each.
//!
//! Reading stops at the first frame that is not whole. If nothing follows it, the process or the machine ended while it was
//! written, and it was promised to nobody; if another frame follows, the file is damaged and what is behind is not used.

use crate::record::{self, Record};
use std::io;
use std::path::Path;
use storage::crc32c::crc32c;
use storage::disk::{Disk, DiskFile};

/// The first bytes of every segment.
pub const MAGIC: [u8; 8] = *b"HRTHALRT";
/// The version that is written. All versions from 1 on are read: version 2 has more kinds of records.
pub const VERSION: u32 = 2;
/// Bytes of the header: magic, version, checksum of both.
pub const HEADER_BYTES: usize = 16;
/// Bytes before the payload of a frame: the checksum of length and payload, and the length.
pub const FRAME_HEADER_BYTES: usize = 8;

/// The header of a segment.
#[must_use]
pub fn header() -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    let checksum = crc32c(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Appends a frame. A payload of 4 GiB or more is not written and `false` returned.
#[must_use]
pub fn put_frame(out: &mut Vec<u8>, payload: &[u8]) -> bool {
    let Ok(length) = u32::try_from(payload.len()) else { return false };
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(payload);
    if let Some((sum, checked)) = out.get_mut(at..).and_then(<[u8]>::split_first_chunk_mut::<4>) {
        *sum = crc32c(checked).to_le_bytes();
    }
    true
}

/// How the reading of a segment ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// At the end of the file.
    Whole,
    /// In a frame that was never finished.
    Torn {
        /// Where it begins.
        offset: u64,
    },
    /// In bytes that were changed after they were written, or that a newer program wrote.
    Damaged {
        /// Where they begin.
        offset: u64,
        /// What is wrong.
        reason: String,
    },
}

/// Reads a segment from its beginning, and calls `each` with every record up to its end or the first bad frame.
///
/// # Errors
/// The file cannot be opened or read.
pub fn read(disk: &dyn Disk, path: &Path, mut each: impl FnMut(Record)) -> io::Result<Ending> {
    let file = disk.open(path)?;
    let length = file.len()?;
    let mut start = [0; HEADER_BYTES];
    let read = file.read_at(&mut start, 0)?;
    if let Err(reason) = check_header(start.get(..read).unwrap_or_default()) {
        return Ok(Ending::Damaged { offset: 0, reason });
    }
    let mut offset = HEADER_BYTES as u64;
    let mut bytes = Vec::new();
    while offset < length {
        let next = match frame(&*file, offset, length, &mut bytes)? {
            Frame::Good { next } => next,
            Frame::Bad { reason, next } => {
                let follows = match next {
                    Some(next) if next < length => frame(&*file, next, length, &mut bytes)?.is_good(),
                    _ => false,
                };
                return Ok(if follows { Ending::Damaged { offset, reason } } else { Ending::Torn { offset } });
            }
        };
        match record::decode(bytes.get(4..).unwrap_or_default()) {
            Ok(record) => each(record),
            Err(error) => return Ok(Ending::Damaged { offset, reason: error.to_string() }),
        }
        offset = next;
    }
    Ok(Ending::Whole)
}

fn check_header(bytes: &[u8]) -> Result<(), String> {
    let known = bytes.split_at_checked(MAGIC.len() + 4);
    let (Some((checked, sum)), true) = (known, bytes.len() == HEADER_BYTES) else {
        return Err("the header is not whole".into());
    };
    if !checked.starts_with(&MAGIC) {
        return Err("it is no segment of an alert journal".into());
    }
    if sum != crc32c(checked).to_le_bytes() {
        return Err("the checksum of the header is wrong".into());
    }
    match checked.split_at(MAGIC.len()).1 {
        version if (1..=VERSION).any(|known| version == known.to_le_bytes()) => Ok(()),
        version => Err(format!("version {version:?} is not known")),
    }
}

enum Frame {
    /// The payload was read; the next frame begins there.
    Good { next: u64 },
    /// It is not whole; where the next would begin if its length is right.
    Bad { reason: String, next: Option<u64> },
}

impl Frame {
    fn is_good(&self) -> bool {
        matches!(self, Self::Good { .. })
    }
}

/// Reads length and payload of the frame at `offset` into `bytes`. Nothing is allocated that the file does not have.
fn frame(file: &dyn DiskFile, offset: u64, file_length: u64, bytes: &mut Vec<u8>) -> io::Result<Frame> {
    let mut header = [0; FRAME_HEADER_BYTES];
    let bad = |reason: &str, next| Ok(Frame::Bad { reason: reason.to_owned(), next });
    if file.read_at(&mut header, offset)? < FRAME_HEADER_BYTES {
        return bad("the frame is not whole", None);
    }
    let [a, b, c, d, e, f, g, h] = header;
    let (sum, length) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
    let next = offset + FRAME_HEADER_BYTES as u64 + u64::from(length);
    if next > file_length {
        return bad("the frame is not whole", None);
    }
    bytes.clear();
    bytes.resize(length as usize + 4, 0);
    if file.read_at(bytes, offset + 4)? < bytes.len() {
        return bad("the frame is not whole", None);
    }
    if crc32c(bytes) != sum {
        return bad("the checksum of the frame is wrong", Some(next));
    }
    Ok(Frame::Good { next })
}
