//! Framing of one log record: header, checksum, compression. Byte layout: `docs/formats/wal.md`.
//!
//! The checksum starts from the sequence number of the segment, so that what a recycled segment still holds from its
//! former life can never be taken for a record of this one.
#![warn(clippy::indexing_slicing)]

use super::cursor::Cursor;

/// Bytes of a record before its payload.
pub const HEADER_BYTES: usize = 24;
/// Where in a record its number is.
pub const LSN_OFFSET: usize = 16;
/// Records start at multiples of this.
pub const ALIGNMENT: usize = 8;
/// The largest payload, stored and unpacked.
pub const PAYLOAD_BYTES_MAX: usize = 4 << 20;
/// Value of the shard field of records that concern all shards.
pub const ALL_SHARDS: u16 = u16::MAX;

const LZ4: u8 = 0x01;
const BATCH_START: u8 = 0x02;
const RESTART: u8 = 0x04;
const STARTS: u8 = 0x08;
const KNOWN_FLAGS: u8 = LZ4 | BATCH_START | RESTART | STARTS;
/// Payloads below this are not worth an attempt to compress.
const COMPRESS_BYTES_MIN: usize = 64;

/// What a record holds. Numbers that are not listed here are reserved in `docs/formats/wal.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordType {
    /// New series: reference and labels.
    Series = 1,
    /// Samples of known series, columnar.
    Samples = 2,
    /// Native histograms of known series.
    Histograms = 4,
    /// Exemplars of known series.
    Exemplars = 5,
    /// Type, help and unit of metrics.
    Metadata = 6,
    /// A snapshot was published.
    Checkpoint = 8,
    /// Series left the head; their references may be those of others from now on.
    Gone = 10,
}

impl RecordType {
    fn from_number(number: u8) -> Option<Self> {
        let all = [
            Self::Series,
            Self::Samples,
            Self::Histograms,
            Self::Exemplars,
            Self::Metadata,
            Self::Checkpoint,
            Self::Gone,
        ];
        all.into_iter().find(|kind| *kind as u8 == number)
    }
}

/// The properties of a record besides its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHead {
    /// What the payload is.
    pub record_type: RecordType,
    /// Position in the log: one more than that of the record before, across segments and restarts.
    pub lsn: u64,
    /// Everything before this record was durable when it was written.
    pub batch_start: bool,
    /// The coding state of sample records starts afresh here.
    pub restart: bool,
    /// The samples have start timestamps.
    pub starts: bool,
}

/// One verified record.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Its properties.
    pub head: RecordHead,
    packed: bool,
    stored: &'a [u8],
}

/// Why a position of a segment holds no record that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Zeros: nothing was ever written here.
    #[error("no record")]
    Blank,
    /// The bytes are not a whole record of this segment; `lsn` is what they claim to be.
    #[error("checksum mismatch")]
    Mismatch {
        /// Position in the log that the damaged header claims.
        lsn: u64,
    },
    /// A whole record, but of a type, tenant or flag that this version does not know.
    #[error("record of a newer version")]
    Unknown,
}

/// Appends one record. The payload is compressed when that makes it smaller.
///
/// # Panics
/// If the payload exceeds [`PAYLOAD_BYTES_MAX`].
pub fn push(out: &mut Vec<u8>, segment: u64, head: RecordHead, payload: &[u8]) {
    assert!(payload.len() <= PAYLOAD_BYTES_MAX, "payload of {} bytes", payload.len());
    let start = out.len();
    let set = [(head.batch_start, BATCH_START), (head.restart, RESTART), (head.starts, STARTS)];
    let mut flags = set.iter().filter(|(set, _)| *set).fold(0, |flags, (_, flag)| flags | flag);
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&[head.record_type as u8, 0]);
    out.extend_from_slice(&0u32.to_le_bytes());
    out.extend_from_slice(&ALL_SHARDS.to_le_bytes());
    out.extend_from_slice(&head.lsn.to_le_bytes());
    if push_compressed(out, payload) {
        flags |= LZ4;
    } else {
        out.extend_from_slice(payload);
    }
    let length = (out.len() - start - HEADER_BYTES) as u32;
    let record = out.get_mut(start..).unwrap_or_default();
    put(record, 0, &length.to_le_bytes());
    put(record, 9, &[flags]);
    let checksum = checksum(segment, record);
    put(record, 4, &checksum.to_le_bytes());
    out.resize(start + stored_bytes(length as usize), 0);
}

fn push_compressed(out: &mut Vec<u8>, payload: &[u8]) -> bool {
    if payload.len() < COMPRESS_BYTES_MIN {
        return false;
    }
    let start = out.len();
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    let room = lz4_flex::block::get_maximum_output_size(payload.len());
    out.resize(start + 4 + room, 0);
    let packed = lz4_flex::block::compress_into(payload, out.get_mut(start + 4..).unwrap_or_default());
    match packed {
        Ok(length) if length + 4 < payload.len() => {
            out.truncate(start + 4 + length);
            true
        }
        _ => {
            out.truncate(start);
            false
        }
    }
}

fn put(record: &mut [u8], offset: usize, bytes: &[u8]) {
    if let Some(target) = record.get_mut(offset..offset + bytes.len()) {
        target.copy_from_slice(bytes);
    }
}

/// Over the sequence number, the length field, and everything after the checksum field; `record` ends with the payload.
fn checksum(segment: u64, record: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&segment.to_le_bytes());
    hasher.update(record.get(..4).unwrap_or_default());
    hasher.update(record.get(8..).unwrap_or_default());
    hasher.finalize()
}

/// Bytes that a record with this stored payload takes in the segment.
#[must_use]
pub fn stored_bytes(payload: usize) -> usize {
    (HEADER_BYTES + payload).next_multiple_of(ALIGNMENT)
}

/// How many bytes the record at the front of `bytes` claims to take, or `None` if that is no possible size.
#[must_use]
pub fn claimed_bytes(bytes: &[u8]) -> Option<usize> {
    let payload = Cursor::new(bytes).u32()? as usize;
    (1..=PAYLOAD_BYTES_MAX).contains(&payload).then(|| stored_bytes(payload))
}

/// Verifies the record at the front of `bytes`, which may go on behind it.
///
/// # Errors
/// There is no whole record, or one of a newer version.
pub fn parse(segment: u64, bytes: &[u8]) -> Result<Record<'_>, RecordError> {
    let header = bytes.get(..HEADER_BYTES).ok_or(RecordError::Blank)?;
    let mut cursor = Cursor::new(header);
    let fields = (|| Some((cursor.u32()?, cursor.u32()?, cursor.u8()?, cursor.u8()?, cursor.u32()?, cursor.u16()?)))();
    let (length, stored_checksum, number, flags, tenant, shard) = fields.ok_or(RecordError::Blank)?;
    let lsn = cursor.u64().ok_or(RecordError::Blank)?;
    if length == 0 && lsn == 0 {
        return Err(RecordError::Blank);
    }
    let end = HEADER_BYTES + length as usize;
    let record = bytes.get(..end).filter(|_| claimed_bytes(bytes).is_some()).ok_or(RecordError::Mismatch { lsn })?;
    if checksum(segment, record) != stored_checksum {
        return Err(RecordError::Mismatch { lsn });
    }
    let record_type = RecordType::from_number(number).ok_or(RecordError::Unknown)?;
    if flags & !KNOWN_FLAGS != 0 || tenant != 0 || shard != ALL_SHARDS {
        return Err(RecordError::Unknown);
    }
    let has = |flag| flags & flag != 0;
    let (batch_start, restart, starts) = (has(BATCH_START), has(RESTART), has(STARTS));
    let head = RecordHead { record_type, lsn, batch_start, restart, starts };
    Ok(Record { head, packed: flags & LZ4 != 0, stored: record.get(HEADER_BYTES..).unwrap_or_default() })
}

impl<'a> Record<'a> {
    /// The payload, unpacked into `scratch` when it was compressed; `None` when it cannot be unpacked.
    #[must_use]
    pub fn payload<'s>(&self, scratch: &'s mut Vec<u8>) -> Option<&'s [u8]>
    where
        'a: 's,
    {
        if !self.packed {
            return Some(self.stored);
        }
        let mut cursor = Cursor::new(self.stored);
        let length = cursor.u32()? as usize;
        if length > PAYLOAD_BYTES_MAX {
            return None;
        }
        scratch.resize(length, 0);
        let unpacked = lz4_flex::block::decompress_into(self.stored.get(4..)?, scratch).ok()?;
        scratch.get(..unpacked).filter(|bytes| bytes.len() == length)
    }

    /// Bytes that the record takes in its segment.
    #[must_use]
    pub fn stored_bytes(&self) -> usize {
        stored_bytes(self.stored.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn head(lsn: u64) -> RecordHead {
        RecordHead {
            record_type: RecordType::Samples,
            lsn,
            batch_start: true,
            restart: false,
            starts: lsn.is_multiple_of(2),
        }
    }

    fn framed(segment: u64, lsn: u64, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        push(&mut out, segment, head(lsn), payload);
        out
    }

    proptest! {
        #[test]
        fn records_come_back(segment: u64, lsn: u64, payload in prop::collection::vec(any::<u8>(), 1..300), repeat in 1usize..20) {
            let payload = payload.repeat(repeat);
            let bytes = framed(segment, lsn, &payload);
            prop_assert_eq!(bytes.len() % ALIGNMENT, 0);
            let record = parse(segment, &bytes).expect("own record");
            prop_assert_eq!(record.head, head(lsn));
            prop_assert_eq!(record.stored_bytes(), bytes.len());
            let mut scratch = Vec::new();
            prop_assert_eq!(record.payload(&mut scratch), Some(payload.as_slice()));
        }

        #[test]
        fn a_flipped_bit_anywhere_before_the_padding_is_noticed(payload in prop::collection::vec(any::<u8>(), 1..100), at: prop::sample::Index, bit in 0u8..8) {
            let mut bytes = framed(7, 9, &payload);
            let end = HEADER_BYTES + Cursor::new(&bytes).u32().expect("length") as usize;
            bytes[at.index(end)] ^= 1 << bit;
            prop_assert!(parse(7, &bytes).is_err());
        }

        #[test]
        fn any_bytes_are_refused_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(parse(1, &bytes).is_err());
        }
    }

    /// A record of a former life never validates, whichever numbers the two lives have below 2³².
    #[test]
    fn a_record_is_valid_in_its_own_segment_only() {
        let bytes = framed(5, 1, b"payload");
        for segment in (0..5).chain(6..2000) {
            assert_eq!(parse(segment, &bytes).unwrap_err(), RecordError::Mismatch { lsn: 1 });
        }
    }

    #[test]
    fn a_record_cut_at_any_byte_is_refused() {
        let bytes = framed(5, 1, b"some payload");
        for length in 0..HEADER_BYTES + b"some payload".len() {
            assert!(parse(5, &bytes[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn zeros_are_blank() {
        assert_eq!(parse(5, &[0; 64]).unwrap_err(), RecordError::Blank);
    }
}
