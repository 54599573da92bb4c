//! Cells: where the bits of open chunks are kept, 28 bytes at a time.
//!
//! An open chunk is a chain of cells; when it is cut, the chain goes back to the free list as a whole. Short pieces of one
//! size keep the memory of a million growing streams tight, without an allocator.

use super::paged::Paged;

/// No cell: the end of a chain.
pub(crate) const NO_CELL: u32 = u32::MAX;
/// Words of payload in a cell.
pub(crate) const CELL_WORDS: usize = 7;
/// 128 KiB of cells.
pub(crate) const CELLS_PAGE: usize = 4096;

/// Cells of one chain worth warming: what most open chunks have.
const WARM_DEPTH: usize = 8;

/// Seven words of payload and the next cell of the chain.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(32))]
pub(crate) struct Cell {
    pub(crate) words: [u32; CELL_WORDS],
    pub(crate) next: u32,
}

const _: () = assert!(size_of::<Cell>() == 32);

/// All cells of a shard.
#[derive(Debug)]
pub(crate) struct Cells {
    pub(crate) slab: Paged<Cell, CELLS_PAGE>,
    free: u32,
    free_count: usize,
}

impl Default for Cells {
    fn default() -> Self {
        Self { slab: Paged::default(), free: NO_CELL, free_count: 0 }
    }
}

/// The chain of one open chunk; all but the last cell are full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) head: u32,
    pub(crate) tail: u32,
    /// Words in the last cell.
    pub(crate) tail_words: u8,
}

impl Chain {
    pub(crate) const EMPTY: Self = Self { head: NO_CELL, tail: NO_CELL, tail_words: 0 };
}

impl Cells {
    /// Appends one word to a chain.
    #[inline]
    pub(crate) fn push(&mut self, chain: &mut Chain, word: u32) {
        if chain.tail == NO_CELL || usize::from(chain.tail_words) == CELL_WORDS {
            self.extend(chain);
        }
        self.slab.get_mut(chain.tail as usize).words[usize::from(chain.tail_words)] = word;
        chain.tail_words += 1;
    }

    fn extend(&mut self, chain: &mut Chain) {
        let cell = self.allocate();
        if chain.tail == NO_CELL {
            chain.head = cell;
        } else {
            self.slab.get_mut(chain.tail as usize).next = cell;
        }
        chain.tail = cell;
        chain.tail_words = 0;
    }

    fn allocate(&mut self) -> u32 {
        let fresh = Cell { words: [0; CELL_WORDS], next: NO_CELL };
        if self.free == NO_CELL {
            let at = u32::try_from(self.slab.len()).expect("a shard's cells are fewer than 2^32: 128 GiB");
            self.slab.push(fresh);
            return at;
        }
        let at = self.free;
        let cell = self.slab.get_mut(at as usize);
        self.free = std::mem::replace(cell, fresh).next;
        self.free_count -= 1;
        at
    }

    /// Gives the cells of a chain back.
    pub(crate) fn release(&mut self, chain: &mut Chain) {
        if chain.tail == NO_CELL {
            return;
        }
        self.free_count += self.chain_len(chain);
        self.slab.get_mut(chain.tail as usize).next = self.free;
        self.free = chain.head;
        *chain = Chain::EMPTY;
    }

    fn chain_len(&self, chain: &Chain) -> usize {
        let (mut at, mut count) = (chain.head, 1);
        while at != chain.tail {
            at = self.slab.get(at as usize).next;
            count += 1;
        }
        count
    }

    /// Appends the bytes of a chain to `out`.
    pub(crate) fn copy_to(&self, chain: &Chain, out: &mut Vec<u8>) {
        let mut at = chain.head;
        while at != NO_CELL {
            let cell = self.slab.get(at as usize);
            let last = at == chain.tail;
            let words = if last { usize::from(chain.tail_words) } else { CELL_WORDS };
            let mut bytes = [0; 4 * CELL_WORDS];
            for (bytes, word) in bytes.chunks_exact_mut(4).zip(cell.words) {
                bytes.copy_from_slice(&word.to_le_bytes());
            }
            out.extend_from_slice(bytes.get(..4 * words).unwrap_or_default());
            at = if last { NO_CELL } else { cell.next };
        }
    }

    /// Brings the first cells of some chains, given by their heads, into the caches, all chains at once: the cells of one are
    /// found one after the other, each by a miss, but the misses of many chains overlap.
    pub(crate) fn warm(&self, heads: &mut [u32]) {
        for _ in 0..WARM_DEPTH {
            let mut ended = true;
            for at in heads.iter_mut().filter(|at| **at != NO_CELL) {
                *at = self.slab.get(*at as usize).next;
                ended &= *at == NO_CELL;
            }
            if ended {
                return;
            }
        }
    }

    /// Cells in use.
    pub(crate) fn used(&self) -> usize {
        self.slab.len() - self.free_count
    }

    /// The head and length of the free list, for a snapshot.
    pub(crate) fn free_list(&self) -> (u32, usize) {
        (self.free, self.free_count)
    }

    /// Puts cells back as a snapshot holds them.
    pub(crate) fn restore(slab: Paged<Cell, CELLS_PAGE>, free: u32, free_count: usize) -> Self {
        Self { slab, free, free_count }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_grow_interleaved_and_their_cells_are_used_again() {
        let mut cells = Cells::default();
        let mut chains = [Chain::EMPTY; 3];
        for word in 0..50u32 {
            for (i, chain) in chains.iter_mut().enumerate() {
                cells.push(chain, word * 10 + i as u32);
            }
        }
        for (i, chain) in chains.iter_mut().enumerate() {
            let mut bytes = Vec::new();
            cells.copy_to(chain, &mut bytes);
            let words: Vec<u32> = bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
            assert_eq!(words, (0..50).map(|w| w * 10 + i as u32).collect::<Vec<_>>());
            cells.release(chain);
        }
        assert_eq!(cells.used(), 0);
        let before = cells.slab.len();
        let mut again = Chain::EMPTY;
        (0..150).for_each(|word| cells.push(&mut again, word));
        assert_eq!((cells.slab.len(), cells.used()), (before, 22));
    }
}
