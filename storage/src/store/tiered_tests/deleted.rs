//! Days of which all samples are deleted have not expired: what is sent for them afterwards counts.

use super::*;

fn delete_all(store: &Store, range: TimeRange) {
    let all: Vec<_> = (0..SERIES).map(|number| vec![Matcher::equal("n", number.to_string())]).collect();
    store.delete_series(&all, range.after_ms + 1, range.until_ms).unwrap();
}

/// What is not in `range`.
fn without(truth: &mut [SampleColumns], range: TimeRange) {
    for columns in truth {
        let all: Vec<_> = columns.timestamps_ms.drain(..).zip(columns.values.drain(..)).collect();
        let kept = all.into_iter().filter(|(at, _)| *at <= range.after_ms || *at > range.until_ms);
        kept.for_each(|(at, value)| columns.push(at, value));
    }
}

/// Stores a sample of what was deleted.
fn correct(store: &Store, truth: &mut [SampleColumns], at_ms: i64) {
    let mut rows = Rows::default();
    rows.push(series(store, 1), at_ms, 41.0);
    assert_eq!(store.engine().append_wait(rows).unwrap().rejected, []);
    let columns = &mut truth[1];
    if let Err(place) = columns.timestamps_ms.binary_search(&at_ms) {
        columns.timestamps_ms.insert(place, at_ms);
        columns.values.insert(place, 41.0);
    }
}

/// Before and after the deletion is carried out: of a day, of its first moment, of two days.
#[test]
fn a_day_that_was_deleted_takes_what_puts_it_right() {
    for (first_ms, last_ms) in [(0, DAY), (-1, DAY - 1), (-1, 0), (0, 2 * DAY)] {
        let dir = tempfile::tempdir().unwrap();
        let (store, base_ms) = (open(dir.path()), base_ms());
        let mut truth = fill(&store, base_ms, 7);
        live(&store, 30);
        let deleted = TimeRange { after_ms: base_ms + DAY + first_ms, until_ms: base_ms + DAY + last_ms };
        delete_all(&store, deleted);
        without(&mut truth, deleted);
        correct(&store, &mut truth, deleted.until_ms);
        store.clean_tombstones().unwrap();
        assert_eq!(store.stats().tombstones, 0);
        correct(&store, &mut truth, deleted.after_ms + 1);
        live(&store, 30);
        check(&store, &truth, base_ms);
        live(&store, 5);
        check(&store, &truth, base_ms);
    }
}
