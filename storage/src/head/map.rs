//! Memory maps of chunk files: the one place in the head with `unsafe`.
//!
//! A chunk file grows by `pwrite` behind the bytes that were published before; published bytes are never written again. The
//! map covers the whole capacity from the start and hands out published bytes only.
#![allow(unsafe_code)]

use memmap2::{MmapOptions, MmapRaw};
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

/// A read-only map of a file that only grows.
#[derive(Debug)]
pub(crate) struct PublishedMap {
    map: MmapRaw,
    published: AtomicU32,
}

impl PublishedMap {
    /// Maps `capacity` bytes, of which the first `published` are in the file.
    pub(crate) fn new(file: &File, capacity: u32, published: u32) -> io::Result<Self> {
        assert!(published <= capacity, "only what is mapped can be published");
        let map = MmapOptions::new().len(capacity as usize).map_raw_read_only(file)?;
        Ok(Self { map, published: AtomicU32::new(published) })
    }

    /// Declares that the first `published` bytes are in the file and final.
    pub(crate) fn publish(&self, published: u32) {
        assert!(published as usize <= self.map.len(), "only what is mapped can be published");
        self.published.fetch_max(published, Ordering::Release);
    }

    /// How many bytes are published.
    pub(crate) fn published(&self) -> u32 {
        self.published.load(Ordering::Acquire)
    }

    /// The published bytes from `offset` on; none when there are none.
    pub(crate) fn bytes_from(&self, offset: u32) -> &[u8] {
        let published = self.published();
        if offset >= published {
            return &[];
        }
        // SAFETY: `offset..published` lies inside the map, because `published` never exceeds its length (asserted where it
        // is set). The bytes lie inside the file: whoever publishes them has written them before. Nobody writes them while
        // the slice lives: the process appends behind `published` only and keeps the directory for itself, as
        // every user of a map must assume. The slice borrows `self`, which owns the map.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().add(offset as usize), (published - offset) as usize) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn bytes_appear_when_published() {
        let mut file = tempfile::tempfile().unwrap();
        file.set_len(8192).unwrap();
        let map = PublishedMap::new(&file, 8192, 0).unwrap();
        file.write_all(b"hearth").unwrap();
        assert_eq!(map.bytes_from(0), b"");
        map.publish(6);
        assert_eq!((map.bytes_from(2), map.bytes_from(6)), (&b"arth"[..], &b""[..]));
    }
}
