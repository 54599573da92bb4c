//! The last exemplars, in memory: a ring in the order of arrival, and the exemplars of each series in the order of time.
//!
//! What the log brings again and what senders repeat is there once. When the ring is full, the one that came first goes,
//! whatever its timestamp is.

use crate::append::{ExemplarRow, SeriesRef};
use crate::wal::histograms::{push_exemplar, read_exemplars};
use hashbrown::{HashMap, HashSet};
use model::exemplar::Exemplar;
use parking_lot::RwLock;
use std::collections::VecDeque;

/// All exemplars. Any thread may read; the log's order decides what is written.
#[derive(Debug)]
pub(crate) struct ExemplarStore {
    capacity: usize,
    ring: RwLock<Ring>,
}

#[derive(Debug, Default)]
struct Ring {
    /// In the order of arrival from `oldest` on, around the end.
    rows: Vec<ExemplarRow>,
    /// Of each row, the how-many-eth it was to come.
    arrivals: Vec<u64>,
    arrived: u64,
    /// Rows that had come by this count and are older than this time are in blocks.
    flushed: Flushed,
    /// The row that goes next, once the ring is full.
    oldest: usize,
    /// Places in `rows` in ascending order of timestamps.
    by_series: HashMap<SeriesRef, VecDeque<u32>>,
}

/// What of the exemplars is in blocks, or is to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flushed {
    arrived: u64,
    boundary_ms: i64,
}

impl Default for Flushed {
    fn default() -> Self {
        Self { arrived: 0, boundary_ms: i64::MIN }
    }
}

impl Flushed {
    fn holds(&self, arrival: u64, timestamp_ms: i64) -> bool {
        arrival <= self.arrived && timestamp_ms < self.boundary_ms
    }
}

impl ExemplarStore {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity: capacity.min(u32::MAX as usize), ring: RwLock::default() }
    }

    /// How many exemplars are kept; none at all if this is 0.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many exemplars there are.
    pub(crate) fn len(&self) -> usize {
        self.ring.read().rows.len()
    }

    /// Keeps an exemplar, unless its series has the same one.
    pub(crate) fn insert(&self, row: ExemplarRow) {
        if self.capacity > 0 {
            let mut ring = self.ring.write();
            ring.arrived += 1;
            let arrival = ring.arrived;
            ring.insert(row, self.capacity, arrival);
        }
    }

    /// The series that have exemplars.
    pub(crate) fn series(&self) -> Vec<SeriesRef> {
        self.ring.read().by_series.keys().copied().collect()
    }

    /// The exemplars of a series with `start_ms <= t <= end_ms`, in the order of time.
    pub(crate) fn of_series(&self, series: SeriesRef, start_ms: i64, end_ms: i64) -> Vec<Exemplar> {
        let ring = self.ring.read();
        let places = ring.by_series.get(&series).into_iter().flatten();
        let exemplars = places.filter_map(|place| ring.rows.get(*place as usize)).map(|row| &row.exemplar);
        exemplars.filter(|exemplar| (start_ms..=end_ms).contains(&exemplar.timestamp_ms)).cloned().collect()
    }

    /// What a flush of all that is older than `boundary_ms` covers now.
    pub(crate) fn begin_flush(&self, boundary_ms: i64) -> Flushed {
        Flushed { arrived: self.ring.read().arrived, boundary_ms }
    }

    /// The exemplars that a flush covers and none before it did.
    pub(crate) fn to_flush(&self, flush: Flushed) -> Vec<ExemplarRow> {
        let ring = self.ring.read();
        let rows = ring.rows.iter().zip(&ring.arrivals);
        let wanted = rows.filter(|(row, arrival)| {
            let timestamp_ms = row.exemplar.timestamp_ms;
            flush.holds(**arrival, timestamp_ms) && !ring.flushed.holds(**arrival, timestamp_ms)
        });
        wanted.map(|(row, _)| row.clone()).collect()
    }

    /// What a flush covers is in blocks.
    pub(crate) fn finish_flush(&self, flush: Flushed) {
        self.ring.write().flushed = flush;
    }

    /// The series that have exemplars which are in no block.
    pub(crate) fn series_to_flush(&self) -> HashSet<SeriesRef> {
        let ring = self.ring.read();
        let rows = ring.rows.iter().zip(&ring.arrivals);
        let kept = rows.filter(|(row, arrival)| !ring.flushed.holds(**arrival, row.exemplar.timestamp_ms));
        kept.map(|(row, _)| row.series).collect()
    }

    /// Forgets the exemplars of some series.
    pub(crate) fn forget_series(&self, gone: &HashSet<SeriesRef>) {
        let mut ring = self.ring.write();
        if !gone.iter().any(|series| ring.by_series.contains_key(series)) {
            return;
        }
        let before = std::mem::take(&mut *ring);
        (ring.arrived, ring.flushed) = (before.arrived, before.flushed);
        let mut rows: Vec<_> = before.rows.into_iter().zip(before.arrivals).collect();
        rows.sort_by_key(|(_, arrival)| *arrival);
        for (row, arrival) in rows.into_iter().filter(|(row, _)| !gone.contains(&row.series)) {
            ring.insert(row, self.capacity, arrival);
        }
    }

    /// Everything in the order of arrival, in the form of an exemplar record.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let ring = self.ring.read();
        let (newer, older) = ring.rows.split_at(ring.oldest.min(ring.rows.len()));
        let (mut out, mut before_ms) = (Vec::new(), 0);
        for row in older.iter().chain(newer) {
            push_exemplar(&mut out, before_ms, row);
            before_ms = row.exemplar.timestamp_ms;
        }
        out
    }

    /// Puts back what [`ExemplarStore::to_bytes`] gave. Returns `None` where the bytes are malformed.
    pub(crate) fn restore(&self, bytes: &[u8]) -> Option<()> {
        *self.ring.write() = Ring::default();
        read_exemplars(bytes, |row| self.insert(row))
    }
}

impl Ring {
    fn insert(&mut self, row: ExemplarRow, capacity: usize, arrival: u64) {
        let timestamp_ms = row.exemplar.timestamp_ms;
        if let Some(places) = self.by_series.get(&row.series) {
            let (start, end) = self.places_of(places, timestamp_ms);
            let mut there = places.range(start..end).filter_map(|place| self.rows.get(*place as usize));
            if there.any(|stored| stored.exemplar.repeats(&row.exemplar)) {
                return;
            }
        }
        let series = row.series;
        let place = if self.rows.len() < capacity {
            self.rows.push(row);
            self.arrivals.push(arrival);
            self.rows.len() - 1
        } else {
            let place = self.oldest;
            self.oldest = (place + 1) % capacity;
            self.forget(place);
            if let (Some(slot), Some(held)) = (self.rows.get_mut(place), self.arrivals.get_mut(place)) {
                (*slot, *held) = (row, arrival);
            }
            place
        };
        let places = self.by_series.get(&series);
        let at = places.map_or(0, |places| self.places_of(places, timestamp_ms).1);
        self.by_series.entry(series).or_default().insert(at, place as u32);
    }

    /// Takes a row out of its series.
    fn forget(&mut self, place: usize) {
        let Some(series) = self.rows.get(place).map(|row| row.series) else { return };
        if let Some(places) = self.by_series.get_mut(&series) {
            if let Some(at) = places.iter().position(|held| *held as usize == place) {
                places.remove(at);
            }
            if places.is_empty() {
                self.by_series.remove(&series);
            }
        }
    }

    /// Where in `places` those with a timestamp begin and end.
    fn places_of(&self, places: &VecDeque<u32>, timestamp_ms: i64) -> (usize, usize) {
        let time = |place: &u32| self.rows.get(*place as usize).map_or(i64::MIN, |row| row.exemplar.timestamp_ms);
        let start = places.partition_point(|place| time(place) < timestamp_ms);
        (start, places.partition_point(|place| time(place) <= timestamp_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::labels::Labels;

    fn row(series: u32, timestamp_ms: i64, value: f64) -> ExemplarRow {
        let labels = Labels::from_pairs([("trace_id", "abc")]).expect("one label");
        ExemplarRow { series: SeriesRef(series), exemplar: Exemplar { labels, value, timestamp_ms } }
    }

    fn held(store: &ExemplarStore, series: u32) -> Vec<(i64, f64)> {
        let exemplars = store.of_series(SeriesRef(series), i64::MIN, i64::MAX);
        exemplars.iter().map(|exemplar| (exemplar.timestamp_ms, exemplar.value)).collect()
    }

    #[test]
    fn exemplars_are_listed_in_order_of_time_and_each_once() {
        let store = ExemplarStore::new(10);
        for (timestamp_ms, value) in [(5, 1.0), (3, 2.0), (5, 1.0), (5, 7.0), (4, 3.0), (3, 2.0)] {
            store.insert(row(1, timestamp_ms, value));
        }
        assert_eq!(held(&store, 1), [(3, 2.0), (4, 3.0), (5, 1.0), (5, 7.0)]);
        assert_eq!(store.of_series(SeriesRef(1), 4, 4).len(), 1);
        assert!(held(&store, 2).is_empty());
    }

    #[test]
    fn the_first_that_came_makes_room_and_a_restart_changes_nothing() {
        let store = ExemplarStore::new(3);
        for n in 0..8 {
            store.insert(row(n % 2, 100 - i64::from(n), f64::from(n)));
        }
        let all = |store: &ExemplarStore| (held(store, 0), held(store, 1), store.len());
        assert_eq!(all(&store), (vec![(94, 6.0)], vec![(93, 7.0), (95, 5.0)], 3));
        let restored = ExemplarStore::new(3);
        restored.restore(&store.to_bytes()).expect("own bytes");
        assert_eq!(all(&restored), all(&store));
        for store in [&store, &restored] {
            store.insert(row(0, 1, 8.0));
        }
        assert_eq!(all(&restored), all(&store), "the same one went");
        let smaller = ExemplarStore::new(1);
        smaller.restore(&store.to_bytes()).expect("own bytes");
        assert_eq!(all(&smaller), (vec![(1, 8.0)], vec![], 1));
    }
}
