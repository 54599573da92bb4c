//! Postings: the series of one label pair, in ascending order of their slots.

use roaring::RoaringBitmap;

/// Up to this many scattered slots are kept as a plain list; beyond, a bitmap is smaller.
const FEW: usize = 24;
/// A bitmap looks for runs each time it has doubled, from here on.
const OPTIMIZE_FROM: u32 = 128;

/// A set of slots, sized for the two common cases: a run of neighbours (the series of a scrape target, made together) and
/// a bitmap.
#[derive(Debug, Clone)]
pub(crate) enum Postings {
    /// Slots `start..start + len`.
    Run {
        start: u32,
        len: u32,
    },
    /// In ascending order.
    Few(Vec<u32>),
    Many(Box<RoaringBitmap>),
}

impl Default for Postings {
    fn default() -> Self {
        Self::Run { start: 0, len: 0 }
    }
}

impl Postings {
    /// Adds a slot; `len` is the number of slots so far.
    pub(crate) fn insert(&mut self, slot: u32, len: u32) {
        match self {
            Self::Run { len: 0, .. } => *self = Self::Run { start: slot, len: 1 },
            Self::Run { start, len } if slot == *start + *len => *len += 1,
            Self::Run { start, len } if (*start..*start + *len).contains(&slot) => {}
            Self::Run { start, len } if *len as usize >= FEW => {
                let mut bitmap = RoaringBitmap::new();
                bitmap.insert_range(*start..*start + *len);
                bitmap.insert(slot);
                bitmap.optimize();
                *self = Self::Many(Box::new(bitmap));
            }
            Self::Run { start, len } => {
                let mut slots: Vec<u32> = (*start..*start + *len).collect();
                insert_sorted(&mut slots, slot);
                *self = Self::Few(slots);
            }
            Self::Few(slots) if slots.len() < FEW => insert_sorted(slots, slot),
            Self::Few(slots) => {
                let mut bitmap = ascending(slots.iter().copied());
                bitmap.insert(slot);
                *self = Self::Many(Box::new(bitmap));
            }
            Self::Many(bitmap) => {
                if bitmap.try_push(slot).is_err() {
                    bitmap.insert(slot);
                }
                if len >= OPTIMIZE_FROM && len.is_power_of_two() {
                    bitmap.optimize();
                }
            }
        }
    }

    /// Takes a slot out.
    pub(crate) fn remove(&mut self, slot: u32) {
        match self {
            Self::Run { start, len } => {
                let Some(at) = slot.checked_sub(*start).filter(|at| at < len) else { return };
                if at + 1 == *len {
                    *len -= 1;
                } else if at == 0 {
                    (*start, *len) = (*start + 1, *len - 1);
                } else if *len as usize <= FEW {
                    *self = Self::Few((*start..*start + *len).filter(|other| *other != slot).collect());
                } else {
                    let mut bitmap = run(*start, *len);
                    bitmap.remove(slot);
                    bitmap.optimize();
                    *self = Self::Many(Box::new(bitmap));
                }
            }
            Self::Few(slots) => {
                if let Ok(at) = slots.binary_search(&slot) {
                    slots.remove(at);
                }
                if slots.is_empty() {
                    *self = Self::default();
                }
            }
            Self::Many(bitmap) => {
                bitmap.remove(slot);
                if bitmap.len() <= FEW as u64 / 2 {
                    *self = Self::from_ascending(&bitmap.iter().collect::<Vec<_>>());
                }
            }
        }
    }

    /// Builds a set from ascending slots.
    pub(crate) fn from_ascending(slots: &[u32]) -> Self {
        match slots {
            [] => Self::default(),
            [first, .., last] if (last - first) as usize == slots.len() - 1 => {
                Self::Run { start: *first, len: slots.len() as u32 }
            }
            [one] => Self::Run { start: *one, len: 1 },
            few if few.len() <= FEW => Self::Few(few.to_vec()),
            many => {
                let mut bitmap = ascending(many.iter().copied());
                bitmap.optimize();
                Self::Many(Box::new(bitmap))
            }
        }
    }

    /// The set that a bitmap holds.
    pub(crate) fn from_bitmap(mut bitmap: RoaringBitmap) -> Self {
        match (bitmap.min(), bitmap.max()) {
            (Some(start), Some(last)) if u64::from(last - start) + 1 == bitmap.len() => {
                Self::Run { start, len: last - start + 1 }
            }
            (None, _) => Self::default(),
            _ => {
                bitmap.optimize();
                Self::Many(Box::new(bitmap))
            }
        }
    }

    /// How many slots there are.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Run { len, .. } => u64::from(*len),
            Self::Few(slots) => slots.len() as u64,
            Self::Many(bitmap) => bitmap.len(),
        }
    }

    /// How many slots are in both sets, without making a third one.
    pub(crate) fn common(&self, other: &Self) -> u64 {
        match (self, other) {
            (Self::Run { start: a, len: a_len }, Self::Run { start: b, len: b_len }) => {
                u64::from((a + a_len).min(b + b_len).saturating_sub(*a.max(b)))
            }
            (Self::Run { start, len }, Self::Few(slots)) | (Self::Few(slots), Self::Run { start, len }) => {
                let place = |slot: u32| slots.partition_point(|known| *known < slot);
                (place(start + len) - place(*start)) as u64
            }
            (Self::Run { start, len }, Self::Many(bitmap)) | (Self::Many(bitmap), Self::Run { start, len }) => {
                bitmap.range_cardinality(*start..*start + *len)
            }
            (Self::Few(few), Self::Few(slots)) => {
                few.iter().filter(|slot| slots.binary_search(slot).is_ok()).count() as u64
            }
            (Self::Few(few), Self::Many(bitmap)) | (Self::Many(bitmap), Self::Few(few)) => {
                few.iter().filter(|slot| bitmap.contains(**slot)).count() as u64
            }
            (Self::Many(a), Self::Many(b)) => a.intersection_len(b),
        }
    }

    /// As a bitmap of its own.
    pub(crate) fn to_bitmap(&self) -> RoaringBitmap {
        match self {
            Self::Run { start, len } => run(*start, *len),
            Self::Few(slots) => ascending(slots.iter().copied()),
            Self::Many(bitmap) => RoaringBitmap::clone(bitmap),
        }
    }

    /// Whether any slot of `set` satisfies `wanted` and is in here.
    pub(crate) fn any_in(&self, set: Option<&RoaringBitmap>, wanted: impl Fn(u32) -> bool) -> bool {
        let fits = |slot: u32| set.is_none_or(|set| set.contains(slot)) && wanted(slot);
        match (self, set) {
            (Self::Run { start, len }, Some(set)) => set.range(*start..*start + *len).any(wanted),
            (Self::Run { start, len }, None) => (*start..*start + *len).any(wanted),
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
            Self::Run { start, len } => *set &= run(*start, *len),
            Self::Few(slots) => *set = ascending(slots.iter().copied().filter(|slot| set.contains(*slot))),
        }
    }

    /// Takes out of `set` what is in here.
    pub(crate) fn subtract_from(&self, set: &mut RoaringBitmap) {
        match self {
            Self::Many(bitmap) => *set -= &**bitmap,
            Self::Run { start, len } => {
                set.remove_range(*start..*start + *len);
            }
            Self::Few(slots) => slots.iter().for_each(|slot| {
                set.remove(*slot);
            }),
        }
    }

    /// Bytes on the heap.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Run { .. } => 0,
            Self::Few(slots) => slots.capacity() * size_of::<u32>(),
            Self::Many(bitmap) => bitmap_bytes(bitmap) + size_of::<RoaringBitmap>(),
        }
    }
}

/// A bitmap of slots in ascending order.
pub(crate) fn ascending(slots: impl Iterator<Item = u32>) -> RoaringBitmap {
    RoaringBitmap::from_sorted_iter(slots).expect("slots ascend")
}

fn run(start: u32, len: u32) -> RoaringBitmap {
    let mut bitmap = RoaringBitmap::new();
    bitmap.insert_range(start..start + len);
    bitmap
}

fn insert_sorted(slots: &mut Vec<u32>, slot: u32) {
    if let Err(at) = slots.binary_search(&slot) {
        slots.insert(at, slot);
    }
}

/// Bytes on the heap of a bitmap.
fn bitmap_bytes(bitmap: &RoaringBitmap) -> usize {
    const CONTAINER: u64 = 48;
    let statistics = bitmap.statistics();
    (u64::from(statistics.n_containers) * CONTAINER
        + statistics.n_bytes_array_containers
        + statistics.n_bytes_run_containers
        + statistics.n_bytes_bitset_containers) as usize
}

/// The union of many sets; each slot is in one of them at most, as the pairs of one name are.
pub(crate) fn union<'a>(sets: impl Iterator<Item = &'a Postings>) -> RoaringBitmap {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    let mut all = RoaringBitmap::new();
    for set in sets {
        match set {
            Postings::Run { start, len } => runs.push((*start, *len)),
            Postings::Few(slots) => runs.extend(slots.iter().map(|slot| (*slot, 1))),
            Postings::Many(bitmap) => all |= &**bitmap,
        }
    }
    runs.sort_unstable();
    let mut others = RoaringBitmap::new();
    for (start, len) in runs {
        others.insert_range(start..start + len);
    }
    if all.is_empty() { others } else { all | others }
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

    fn any_set() -> impl Strategy<Value = BTreeSet<u32>> {
        prop_oneof![
            proptest::collection::btree_set(0u32..600, 0..400),
            proptest::collection::btree_set(0u32..600, 0..40),
            (0u32..600, 0u32..100).prop_map(|(start, len)| (start..start + len).collect()),
            (0u32..600, 1u32..100, 0u32..600)
                .prop_map(|(start, len, other)| (start..start + len).chain([other]).collect()),
        ]
    }

    proptest! {
        #[test]
        fn sets_of_all_sizes_behave_alike(a in any_set(), b in any_set(), floor in 0u32..600) {
            let (pa, pb) = (postings(&a), postings(&b));
            let list: Vec<u32> = a.iter().copied().collect();
            prop_assert_eq!(Postings::from_ascending(&list).to_bitmap(), pa.to_bitmap());
            prop_assert_eq!(pa.len(), a.len() as u64);
            prop_assert_eq!(pa.common(&pb), (&a & &b).len() as u64);
            let mut both = pa.to_bitmap();
            pb.intersect_into(&mut both);
            prop_assert_eq!(both.iter().collect::<BTreeSet<_>>(), &a & &b);
            let mut less = pa.to_bitmap();
            pb.subtract_from(&mut less);
            prop_assert_eq!(less.iter().collect::<BTreeSet<_>>(), &a - &b);
            prop_assert_eq!(union([&pa, &pb].into_iter()).iter().collect::<BTreeSet<_>>(), &a | &b);
            prop_assert_eq!(pa.any_in(Some(&pb.to_bitmap()), |slot| slot >= floor), (&a & &b).range(floor..).next().is_some());
            let mut fewer = pa.clone();
            b.iter().for_each(|slot| fewer.remove(*slot));
            prop_assert_eq!(fewer.to_bitmap().iter().collect::<BTreeSet<_>>(), &a - &b);
            b.iter().for_each(|slot| { let len = fewer.len() as u32; fewer.insert(*slot, len) });
            prop_assert_eq!(fewer.to_bitmap().iter().collect::<BTreeSet<_>>(), &a | &b);
            prop_assert_eq!(pa.any_in(None, |slot| slot >= floor), a.range(floor..).next().is_some());
        }
    }
}
