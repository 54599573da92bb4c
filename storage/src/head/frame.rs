//! Frames: what a chunk file is made of. Byte layout: `docs/formats/head-chunk-file.md`.

use super::chunk_link::ChunkLink;
use super::varint;
use crate::chunk::bits::{unzigzag, zigzag};

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameKind {
    /// A chunk whose timestamps are rows of a timeline segment.
    Shared,
    /// A chunk with timestamps of its own.
    Own,
    /// A chunk with timestamps of its own that may overlap others of its series.
    OutOfOrder,
    /// A timeline segment.
    Segment,
    /// Native histograms, which may overlap others of their series.
    Histograms,
    /// Start timestamps of float samples.
    Starts,
}

impl FrameKind {
    const ALL: [Self; 6] = [Self::Shared, Self::Own, Self::OutOfOrder, Self::Segment, Self::Histograms, Self::Starts];

    fn code(self) -> u8 {
        match self {
            Self::Shared => 1,
            Self::Own => 2,
            Self::OutOfOrder => 3,
            Self::Segment => 4,
            Self::Histograms => 5,
            Self::Starts => 6,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }
}

/// One frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) kind: FrameKind,
    /// Samples in a chunk, rows in a segment, runs and points of start timestamps.
    pub(crate) count: u8,
    /// Slot of the series; of a segment, the number of its timeline.
    pub(crate) owner: u32,
    pub(crate) first_ms: i64,
    pub(crate) last_ms: i64,
    /// The chunk of the same series that was cut before this one.
    pub(crate) previous: ChunkLink,
    /// The segment that a shared chunk refers to.
    pub(crate) segment: ChunkLink,
    pub(crate) payload: &'a [u8],
}

/// Checksum, length of the body, kind, count.
pub(crate) const FRAME_HEADER: usize = 8;

impl<'a> Frame<'a> {
    /// Appends the frame, which will lie at `at`. Links point to frames written before.
    pub(crate) fn write(&self, at: ChunkLink, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; FRAME_HEADER]);
        varint::push(out, u64::from(self.owner));
        varint::push(out, zigzag(self.first_ms));
        varint::push(out, self.last_ms.wrapping_sub(self.first_ms) as u64);
        if self.kind != FrameKind::Segment {
            push_link(out, at, self.previous);
        }
        if self.kind == FrameKind::Shared {
            push_link(out, at, self.segment);
        }
        out.extend_from_slice(self.payload);
        let body =
            u16::try_from(out.len() - start - FRAME_HEADER).expect("whoever cuts chunks keeps them below 64 KiB");
        let [low, high] = body.to_le_bytes();
        out[start + 4..start + FRAME_HEADER].copy_from_slice(&[low, high, self.kind.code(), self.count]);
        let checksum = crc32fast::hash(&out[start + 4..]);
        out[start..start + 4].copy_from_slice(&checksum.to_le_bytes());
    }

    /// Reads the frame at the front of `bytes`, which lies at `at`; `None` when there is none with a right checksum.
    pub(crate) fn parse(at: ChunkLink, bytes: &'a [u8]) -> Option<Self> {
        let whole = bytes.get(..frame_len(bytes)?)?;
        let (checksum, checked) = whole.split_first_chunk::<4>()?;
        if crc32fast::hash(checked) != u32::from_le_bytes(*checksum) {
            return None;
        }
        let kind = FrameKind::from_code(*checked.get(2)?)?;
        let count = *checked.get(3)?;
        let mut rest = checked.get(4..)?;
        let owner = varint::take_u32(&mut rest)?;
        let first_ms = unzigzag(varint::take(&mut rest)?);
        let last_ms = first_ms.wrapping_add(varint::take(&mut rest)? as i64);
        let previous = if kind == FrameKind::Segment { ChunkLink::NONE } else { take_link(&mut rest, at)? };
        let segment = if kind == FrameKind::Shared { take_link(&mut rest, at)? } else { ChunkLink::NONE };
        Some(Self { kind, count, owner, first_ms, last_ms, previous, segment, payload: rest })
    }
}

/// Bytes of the frame at the front of `bytes`, from its header alone.
pub(crate) fn frame_len(bytes: &[u8]) -> Option<usize> {
    let length = bytes.get(4..6)?.try_into().ok()?;
    Some(FRAME_HEADER + usize::from(u16::from_le_bytes(length)))
}

/// A link is 0 for none; else 1 + how many files back, then the distance back within the same file or the offset in
/// an earlier one.
fn push_link(out: &mut Vec<u8>, at: ChunkLink, link: ChunkLink) {
    if link.is_none() {
        return varint::push(out, 0);
    }
    let files_back = at.file() - link.file();
    varint::push(out, u64::from(files_back) + 1);
    let offset = if files_back == 0 { at.offset() - link.offset() } else { link.offset() };
    varint::push(out, u64::from(offset));
}

fn take_link(bytes: &mut &[u8], at: ChunkLink) -> Option<ChunkLink> {
    let files_back = match varint::take_u32(bytes)? {
        0 => return Some(ChunkLink::NONE),
        more => more - 1,
    };
    let offset = varint::take_u32(bytes)?;
    if files_back == 0 {
        let back = at.offset().checked_sub(offset).filter(|_| offset > 0)?;
        return Some(ChunkLink::new(at.file(), back));
    }
    Some(ChunkLink::new(at.file().checked_sub(files_back)?, offset))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn link_before(file: u32, offset: u32) -> impl Strategy<Value = ChunkLink> {
        prop_oneof![
            Just(ChunkLink::NONE),
            (64..offset).prop_map(move |at| ChunkLink::new(file, at)),
            (1..file, 64u32..1 << 26).prop_map(|(file, at)| ChunkLink::new(file, at)),
        ]
    }

    fn any_frame() -> impl Strategy<Value = (Frame<'static>, Vec<u8>)> {
        let links = (link_before(9, 5_000), link_before(9, 5_000));
        let payload = proptest::collection::vec(any::<u8>(), 0..300);
        (0..FrameKind::ALL.len(), any::<u8>(), any::<u32>(), any::<i64>(), any::<i64>(), links, payload).prop_map(
            |(kind, count, owner, a, b, (previous, segment), payload)| {
                let kind = FrameKind::ALL[kind];
                let previous = if kind == FrameKind::Segment { ChunkLink::NONE } else { previous };
                let segment = if kind == FrameKind::Shared { segment } else { ChunkLink::NONE };
                let (first_ms, last_ms) = (a.min(b), a.max(b));
                (Frame { kind, count, owner, first_ms, last_ms, previous, segment, payload: &[] }, payload)
            },
        )
    }

    proptest! {
        #[test]
        fn frames_come_back_and_any_flipped_bit_is_noticed((frame, payload) in any_frame(), behind: Vec<u8>, flip: u16) {
            let frame = Frame { payload: &payload, ..frame };
            let at = ChunkLink::new(9, 5_000);
            let mut bytes = Vec::new();
            frame.write(at, &mut bytes);
            let len = bytes.len();
            prop_assert_eq!(frame_len(&bytes), Some(len));
            bytes.extend_from_slice(&behind);
            prop_assert_eq!(Frame::parse(at, &bytes), Some(frame));
            let flip = usize::from(flip) % (len * 8);
            bytes[flip / 8] ^= 1 << (flip % 8);
            prop_assert_eq!(Frame::parse(at, &bytes), None);
        }

        #[test]
        fn any_bytes_are_parsed_or_refused(bytes: Vec<u8>) {
            let _ = Frame::parse(ChunkLink::new(1, 64), &bytes);
        }
    }
}
