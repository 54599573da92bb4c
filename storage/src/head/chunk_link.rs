//! Names a frame in the chunk files of a shard.

/// Sequence number of the file and offset in it; [`ChunkLink::NONE`] is no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ChunkLink(pub(crate) u64);

impl ChunkLink {
    /// No frame: files count from 1 and frames start behind the file's header.
    pub(crate) const NONE: Self = Self(0);

    pub(crate) fn new(file: u32, offset: u32) -> Self {
        Self(u64::from(file) << 32 | u64::from(offset))
    }

    pub(crate) fn is_none(self) -> bool {
        self == Self::NONE
    }

    pub(crate) fn file(self) -> u32 {
        (self.0 >> 32) as u32
    }

    pub(crate) fn offset(self) -> u32 {
        self.0 as u32
    }
}
