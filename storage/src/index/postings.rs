//! Postings: the series of one label pair, in ascending order of their slots.

use roaring::RoaringBitmap;

/// Up to this many are kept as a plain list; beyond, a bitmap is smaller.
const FEW: usize = 32;
/// A bitmap looks for runs each time it has doubled, from here on.
const OPTIMIZE_FROM: u32 = 256;

/// A set of slots, sized for the common case of labels that few series have.
#[derive(Debug, Clone)]
pub(crate) enum Postings {
    One(u32),
    Few(Vec<u32>),
    Many(Box<RoaringBitmap>),
}

impl Default for Postings {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Postings {
    /// Adds a slot; `len` is the number of slots so far.
    pub(crate) fn insert(&mut self, slot: u32, len: u32) {
        match self {
            Self::Few(none) if none.is_empty() => *self = Self::One(slot),
            Self::One(first) => *self = Self::Few(ascending(*first, slot)),
            Self::Few(slots) if slots.len() < FEW => {
                if let Err(at) = slots.binary_search(&slot) {
                    slots.insert(at, slot);
                }
            }
            Self::Few(slots) => {
                let mut bitmap: RoaringBitmap = slots.iter().copied().collect();
                bitmap.insert(slot);
                *self = Self::Many(Box::new(bitmap));
            }
            Self::Many(bitmap) => {
                bitmap.insert(slot);
                if len >= OPTIMIZE_FROM && len.is_power_of_two() {
                    bitmap.optimize();
                }
            }
        }
    }

    /// Builds a set from ascending slots.
    pub(crate) fn from_ascending(slots: &[u32]) -> Self {
        match slots {
            [one] => Self::One(*one),
            few if few.len() <= FEW => Self::Few(few.to_vec()),
            many => {
                let mut bitmap: RoaringBitmap = many.iter().copied().collect();
                bitmap.optimize();
                Self::Many(Box::new(bitmap))
            }
        }
    }

    /// As a bitmap of its own.
    pub(crate) fn to_bitmap(&self) -> RoaringBitmap {
        match self {
            Self::One(slot) => RoaringBitmap::from_iter([*slot]),
            Self::Few(slots) => slots.iter().copied().collect(),
            Self::Many(bitmap) => RoaringBitmap::clone(bitmap),
        }
    }

    /// Whether any slot of `set` satisfies `wanted` and is in here.
    pub(crate) fn any_in(&self, set: Option<&RoaringBitmap>, wanted: impl Fn(u32) -> bool) -> bool {
        let fits = |slot: u32| set.is_none_or(|set| set.contains(slot)) && wanted(slot);
        match (self, set) {
            (Self::One(slot), _) => fits(*slot),
            (Self::Few(slots), _) => slots.iter().any(|slot| fits(*slot)),
            (Self::Many(bitmap), Some(set)) if set.is_disjoint(bitmap) => false,
            (Self::Many(bitmap), Some(set)) if set.len() < bitmap.len() => {
                set.iter().any(|slot| bitmap.contains(slot) && wanted(slot))
            }
            (Self::Many(bitmap), _) => bitmap.iter().any(fits),
        }
    }

    /// Keeps in `set` what is in here.
    pub(crate) fn intersect_into(&self, set: &mut RoaringBitmap) {
        match self {
            Self::Many(bitmap) => *set &= &**bitmap,
            Self::One(slot) => *set = RoaringBitmap::from_iter([*slot].into_iter().filter(|slot| set.contains(*slot))),
            Self::Few(slots) => *set = slots.iter().copied().filter(|slot| set.contains(*slot)).collect(),
        }
    }

    /// Takes out of `set` what is in here.
    pub(crate) fn subtract_from(&self, set: &mut RoaringBitmap) {
        match self {
            Self::Many(bitmap) => *set -= &**bitmap,
            Self::One(slot) => {
                set.remove(*slot);
            }
            Self::Few(slots) => slots.iter().for_each(|slot| {
                set.remove(*slot);
            }),
        }
    }

    /// Bytes on the heap.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::One(_) => 0,
            Self::Few(slots) => slots.capacity() * size_of::<u32>(),
            Self::Many(bitmap) => bitmap_bytes(bitmap) + size_of::<RoaringBitmap>(),
        }
    }
}

/// Bytes on the heap of a bitmap.
pub(crate) fn bitmap_bytes(bitmap: &RoaringBitmap) -> usize {
    const CONTAINER: u64 = 48;
    let statistics = bitmap.statistics();
    (u64::from(statistics.n_containers) * CONTAINER
        + statistics.n_bytes_array_containers
        + statistics.n_bytes_run_containers
        + statistics.n_bytes_bitset_containers) as usize
}

fn ascending(a: u32, b: u32) -> Vec<u32> {
    match a.cmp(&b) {
        std::cmp::Ordering::Less => vec![a, b],
        std::cmp::Ordering::Equal => vec![a],
        std::cmp::Ordering::Greater => vec![b, a],
    }
}

/// The union of many sets; each slot is in one of them at most, as the pairs of one name are.
pub(crate) fn union<'a>(sets: impl Iterator<Item = &'a Postings>) -> RoaringBitmap {
    let mut loose = Vec::new();
    let mut all = RoaringBitmap::new();
    for set in sets {
        match set {
            Postings::One(slot) => loose.push(*slot),
            Postings::Few(slots) => loose.extend_from_slice(slots),
            Postings::Many(bitmap) => all |= &**bitmap,
        }
    }
    loose.sort_unstable();
    let loose: RoaringBitmap = loose.into_iter().collect();
    if all.is_empty() { loose } else { all | loose }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn postings(slots: &BTreeSet<u32>) -> Postings {
        let mut set = Postings::default();
        for (i, slot) in slots.iter().enumerate() {
            set.insert(*slot, i as u32);
        }
        set
    }

    proptest! {
        #[test]
        fn sets_of_all_sizes_behave_alike(a in proptest::collection::btree_set(0u32..600, 1..400), b in proptest::collection::btree_set(0u32..600, 1..60), floor in 0u32..600) {
            let (pa, pb) = (postings(&a), postings(&b));
            let list: Vec<u32> = a.iter().copied().collect();
            prop_assert_eq!(Postings::from_ascending(&list).to_bitmap(), pa.to_bitmap());
            let mut both = pa.to_bitmap();
            pb.intersect_into(&mut both);
            prop_assert_eq!(both.iter().collect::<BTreeSet<_>>(), &a & &b);
            let mut less = pa.to_bitmap();
            pb.subtract_from(&mut less);
            prop_assert_eq!(less.iter().collect::<BTreeSet<_>>(), &a - &b);
            prop_assert_eq!(union([&pa, &pb].into_iter()).iter().collect::<BTreeSet<_>>(), &a | &b);
            prop_assert_eq!(pa.any_in(Some(&pb.to_bitmap()), |slot| slot >= floor), (&a & &b).range(floor..).next().is_some());
            prop_assert_eq!(pa.any_in(None, |slot| slot >= floor), a.range(floor..).next().is_some());
        }
    }
}
