//! A strictly ascending list of timestamps in little memory.

/// Timestamps in milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Times {
    /// Equidistant.
    Regular { first: i64, step: i64, len: usize },
    /// Distances from the first one.
    Offsets { first: i64, offsets: Vec<u32> },
    /// What spans more than 49 days.
    Wide(Vec<i64>),
}

/// Rows of timestamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rows<'a> {
    /// As many as there are timestamps, the first of them given.
    Consecutive(u32),
    Listed(&'a [u32]),
}

impl<'a> Rows<'a> {
    /// `count` of them from the `from`-th on.
    pub(crate) fn part(self, from: usize, count: usize) -> Self {
        match self {
            Self::Consecutive(first) => Self::Consecutive(first + from as u32),
            Self::Listed(rows) => Self::Listed(rows.get(from..from + count).unwrap_or_default()),
        }
    }

    /// The `at`-th one.
    pub(crate) fn row(self, at: usize) -> u32 {
        match self {
            Self::Consecutive(first) => first + at as u32,
            Self::Listed(rows) => rows.get(at).copied().unwrap_or(u32::MAX),
        }
    }
}

impl Times {
    pub(crate) fn new(timestamps_ms: &[i64]) -> Self {
        let (Some(&first), Some(&last)) = (timestamps_ms.first(), timestamps_ms.last()) else {
            return Self::Wide(Vec::new());
        };
        let len = timestamps_ms.len();
        if let Some(step) = step(timestamps_ms) {
            return Self::Regular { first, step, len };
        }
        match last.checked_sub(first) {
            Some(span) if span <= i64::from(u32::MAX) => {
                let offsets = timestamps_ms.iter().map(|at| at.wrapping_sub(first) as u32).collect();
                Self::Offsets { first, offsets }
            }
            _ => Self::Wide(timestamps_ms.to_vec()),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Regular { len, .. } => *len,
            Self::Offsets { offsets, .. } => offsets.len(),
            Self::Wide(times) => times.len(),
        }
    }

    /// Bytes that it takes.
    pub(crate) fn bytes(&self) -> u64 {
        let own = size_of::<Self>();
        let listed = match self {
            Self::Regular { .. } => 0,
            Self::Offsets { offsets, .. } => size_of_val(offsets.as_slice()),
            Self::Wide(times) => size_of_val(times.as_slice()),
        };
        (own + listed) as u64
    }

    fn get(&self, at: usize) -> Option<i64> {
        match self {
            Self::Regular { first, step, len } => (at < *len).then(|| first + step * at as i64),
            Self::Offsets { first, offsets } => offsets.get(at).map(|offset| first + i64::from(*offset)),
            Self::Wide(times) => times.get(at).copied(),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = i64> {
        (0..self.len()).map_while(|at| self.get(at))
    }

    /// Whether the timestamps from `at` on begin with these.
    fn continues_with(&self, at: usize, timestamps_ms: &[i64]) -> bool {
        let end = at + timestamps_ms.len();
        match self {
            Self::Regular { first, step, len } => {
                let from = (*first).wrapping_add(step.wrapping_mul(at as i64));
                let expected = (0..).map(|n| from.wrapping_add(step.wrapping_mul(n)));
                end <= *len && timestamps_ms.iter().zip(expected).fold(true, |same, (a, b)| same & (*a == b))
            }
            Self::Offsets { first, offsets } => offsets.get(at..end).is_some_and(|offsets| {
                let pairs = offsets.iter().zip(timestamps_ms);
                pairs.fold(true, |same, (offset, at)| same & (first.wrapping_add(i64::from(*offset)) == *at))
            }),
            Self::Wide(times) => times.get(at..end).is_some_and(|times| times == timestamps_ms),
        }
    }

    pub(crate) fn equals(&self, timestamps_ms: &[i64]) -> bool {
        self.len() == timestamps_ms.len() && self.continues_with(0, timestamps_ms)
    }

    /// How many timestamps come before this one.
    fn count_before(&self, time_ms: i64) -> usize {
        match self {
            Self::Regular { first, .. } if time_ms <= *first => 0,
            Self::Regular { first, step, len } => usize::try_from(
                (i128::from(time_ms) - i128::from(*first)).unsigned_abs().div_ceil(step.unsigned_abs().into()),
            )
            .map_or(*len, |before| before.min(*len)),
            Self::Offsets { first, offsets } => {
                offsets.partition_point(|offset| first.wrapping_add(i64::from(*offset)) < time_ms)
            }
            Self::Wide(times) => times.partition_point(|at| *at < time_ms),
        }
    }

    /// How many of these are in the list.
    pub(crate) fn count_shared(&self, timestamps_ms: &[i64]) -> usize {
        let Some(first) = timestamps_ms.first() else { return 0 };
        let mut at = self.count_before(*first);
        let mut shared = 0;
        for time in timestamps_ms {
            while self.get(at).is_some_and(|known| known < *time) {
                at += 1;
            }
            match self.get(at) {
                Some(known) => shared += usize::from(known == *time),
                None => break,
            }
        }
        shared
    }

    /// Makes the list the union of both.
    pub(crate) fn insert_all(&mut self, timestamps_ms: &[i64]) {
        let mut union = Vec::with_capacity(self.len() + timestamps_ms.len());
        let mut rest = timestamps_ms.iter().copied().peekable();
        for known in self.iter() {
            while let Some(time) = rest.next_if(|time| *time <= known) {
                if time < known {
                    union.push(time);
                }
            }
            union.push(known);
        }
        union.extend(rest);
        *self = Self::new(&union);
    }

    /// The rows of some timestamps, the list beginning with row `start`. `None` if one is not in the list.
    pub(crate) fn locate<'a>(&self, start: u32, timestamps_ms: &[i64], into: &'a mut Vec<u32>) -> Option<Rows<'a>> {
        let first = self.count_before(*timestamps_ms.first()?);
        if self.continues_with(first, timestamps_ms) {
            return Some(Rows::Consecutive(start + first as u32));
        }
        into.clear();
        let mut at = first;
        for time in timestamps_ms {
            while self.get(at)? < *time {
                at += 1;
            }
            if self.get(at)? != *time {
                return None;
            }
            into.push(start + at as u32);
        }
        Some(Rows::Listed(into))
    }
}

/// The distance of all neighbours, if it is the same; of a single timestamp any would do.
fn step(timestamps_ms: &[i64]) -> Option<i64> {
    let (first, last) = (*timestamps_ms.first()?, *timestamps_ms.last()?);
    last.checked_sub(first)?;
    let step = timestamps_ms.get(1).map_or(1, |second| second - first);
    let same = timestamps_ms.windows(2).fold(true, |same, pair| match pair {
        [a, b] => same & (b.wrapping_sub(*a) == step),
        _ => same,
    });
    same.then_some(step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_times() -> impl Strategy<Value = Vec<i64>> {
        let irregular = prop::collection::btree_set(0i64..200, 1..40).prop_map(|set| set.into_iter().collect());
        let regular = (0i64..100, 1i64..9, 1usize..40)
            .prop_map(|(first, step, len)| (0..len as i64).map(|n| first + n * step).collect());
        let wide = prop::collection::btree_set(any::<i64>(), 1..10).prop_map(|set| set.into_iter().collect());
        prop_oneof![3 => irregular, 3 => regular, 1 => wide]
    }

    proptest! {
        #[test]
        fn the_union_holds_both_and_finds_them(a in any_times(), b in any_times()) {
            let mut times = Times::new(&a);
            prop_assert!(times.equals(&a));
            prop_assert_eq!(times.count_shared(&b), b.iter().filter(|time| a.contains(time)).count());
            times.insert_all(&b);
            let expected: std::collections::BTreeSet<i64> = a.iter().chain(&b).copied().collect();
            prop_assert_eq!(times.iter().collect::<Vec<_>>(), expected.iter().copied().collect::<Vec<_>>());
            let mut rows = Vec::new();
            for list in [&a, &b] {
                let positions: Vec<u32> = list.iter().map(|time| 7 + expected.iter().position(|t| t == time).unwrap() as u32).collect();
                let found = match times.locate(7, list, &mut rows).unwrap() {
                    Rows::Consecutive(first) => (first..first + list.len() as u32).collect(),
                    Rows::Listed(rows) => rows.to_vec(),
                };
                prop_assert_eq!(found, positions);
            }
        }

        #[test]
        fn what_is_not_there_is_not_found(a in any_times(), time: i64) {
            let times = Times::new(&a);
            let found = times.locate(0, &[time], &mut Vec::new()).is_some();
            prop_assert_eq!(found, a.contains(&time));
        }
    }

    #[test]
    fn equidistant_timestamps_take_no_memory() {
        let times: Vec<i64> = (0..100).map(|n| n * 15_000).collect();
        assert_eq!(Times::new(&times), Times::Regular { first: 0, step: 15_000, len: 100 });
    }
}
