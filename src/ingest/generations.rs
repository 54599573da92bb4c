//! A bounded memory of what was met lately: two generations, of which the older is dropped when the younger is full.
//!
//! Holds at most `capacity` entries and forgets nothing that was met within the last `capacity / 2` distinct ones.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Mutex, PoisonError};

/// How many parts with a lock each.
const PARTS: usize = 16;

/// Maps 128-bit hashes to small values.
#[derive(Debug)]
pub(super) struct Generations<V> {
    parts: Vec<Mutex<Part<V>>>,
    part_capacity: usize,
}

type Map<V> = HashMap<u128, V, BuildHasherDefault<LowBits>>;

#[derive(Debug)]
struct Part<V> {
    young: Map<V>,
    old: Map<V>,
}

impl<V: Copy> Generations<V> {
    pub(super) fn new(capacity: usize) -> Self {
        let part = || Mutex::new(Part { young: Map::default(), old: Map::default() });
        Self { parts: (0..PARTS).map(|_| part()).collect(), part_capacity: (capacity / PARTS / 2).max(1) }
    }

    pub(super) fn get(&self, hash: u128) -> Option<V> {
        let mut part = self.part(hash);
        if let Some(value) = part.young.get(&hash) {
            return Some(*value);
        }
        let value = part.old.remove(&hash)?;
        part.insert(hash, value, self.part_capacity);
        Some(value)
    }

    pub(super) fn insert(&self, hash: u128, value: V) {
        self.part(hash).insert(hash, value, self.part_capacity);
    }

    fn part(&self, hash: u128) -> std::sync::MutexGuard<'_, Part<V>> {
        let index = (hash >> 64) as usize % PARTS;
        // The maps are whole after every statement, so a panic elsewhere does no harm.
        self.parts[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V> Part<V> {
    fn insert(&mut self, hash: u128, value: V, capacity: usize) {
        if self.young.len() >= capacity && !self.young.contains_key(&hash) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(hash, value);
    }
}

/// The keys are hashes already.
#[derive(Debug, Default)]
struct LowBits(u64);

impl Hasher for LowBits {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, value: u128) {
        self.0 = value as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_rest_is_forgotten() {
        let memory = Generations::new(64 * PARTS);
        memory.insert(0, 7u32);
        for n in 1..100_000u128 {
            memory.insert(n << 64 | n, 1);
            if n % 16 == 0 {
                assert_eq!(memory.get(0), Some(7), "after {n}");
            }
        }
        let held: usize =
            memory.parts.iter().map(|part| part.lock().unwrap()).map(|p| p.young.len() + p.old.len()).sum();
        assert!(held <= 64 * PARTS, "{held} entries");
        assert_eq!(memory.get(1 << 64 | 1), None);
    }
}
