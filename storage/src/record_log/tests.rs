//! The log on a real file system.

use super::*;
use crate::disk::RealDisk;
use crate::disk::simulated::SimulatedDisk;
use proptest::prelude::*;

const ROOMY: RecordLogOptions = RecordLogOptions { bytes_max: 1 << 20, keep_ms: i64::MAX };

fn log(directory: &Path) -> RecordLog {
    RecordLog::open(Arc::new(RealDisk), directory, ROOMY).unwrap()
}

fn append(log: &RecordLog, times: RangeInclusive<i64>) {
    let records: Vec<_> = times.map(|time| (time, time.to_string().into_bytes())).collect();
    log.append(&records).unwrap();
}

/// Times of what is read, and where to go on.
fn read(log: &RecordLog, before: Option<u64>, times: RangeInclusive<i64>, count: usize) -> (Vec<i64>, Option<u64>) {
    let mut seen = Vec::new();
    let next = log.read_back(before, times, u64::MAX, |record| {
        assert_eq!(record.payload, record.time_ms.to_string().into_bytes());
        seen.push(record.time_ms);
        if seen.len() == count { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    (seen, next.unwrap())
}

#[test]
fn records_are_read_from_the_newest_on_page_by_page_across_openings() {
    let directory = tempfile::tempdir().unwrap();
    append(&log(directory.path()), 1..=3);
    let log = log(directory.path());
    append(&log, 4..=5);
    assert_eq!(read(&log, None, 0..=9, 2), (vec![5, 4], Some(4)));
    assert_eq!(read(&log, Some(4), 0..=9, 2), (vec![3, 2], Some(2)));
    assert_eq!(read(&log, Some(2), 0..=9, 2), (vec![1], None));
    assert_eq!(read(&log, None, 2..=4, 9), (vec![4, 3, 2], None));
    append(&log, 6..=6);
    assert_eq!(read(&log, Some(4), 0..=9, 2), (vec![3, 2], Some(2)), "pages stay where they are");
}

/// The records of this log say in their payload how far they go back.
#[test]
fn records_about_several_times_are_found_by_each_of_them_and_others_are_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let open = || {
        let oldest = |time_ms: i64, payload: &[u8]| time_ms - i64::from(payload[0]);
        RecordLog::open_spanning(Arc::new(RealDisk), directory.path(), ROOMY, oldest).unwrap()
    };
    let found = |log: &RecordLog, times: RangeInclusive<i64>, bytes_max: u64| {
        let mut seen = Vec::new();
        let visit = |record: Record| {
            seen.push(record.time_ms);
            ControlFlow::Continue(())
        };
        let rest = log.read_back(None, times, bytes_max, visit).unwrap();
        (seen, rest.is_some())
    };
    open().append(&[(30, vec![20]), (40, vec![0])]).unwrap();
    let log = open();
    log.append(&[(60, vec![10]), (70, vec![15])]).unwrap();
    // With no byte to spare, a segment that is read keeps the next from being read.
    let cases = [(9..=9, &[][..], false), (5..=10, &[30], false), (35..=49, &[40], false), (45..=49, &[], false)];
    for (times, expected, rest) in cases.into_iter().chain([(52..=54, &[60][..], true), (61..=99, &[70], true)]) {
        assert_eq!(found(&log, times.clone(), 0), (expected.to_vec(), rest), "{times:?}");
    }
    assert_eq!(found(&open(), 11..=55, u64::MAX).0, [70, 60, 40, 30]);
}

#[test]
fn the_oldest_go_when_there_is_too_much_or_they_are_too_old() {
    let directory = tempfile::tempdir().unwrap();
    let options = RecordLogOptions { bytes_max: 16 << 10, keep_ms: 1_000 };
    let log = RecordLog::open(Arc::new(RealDisk), directory.path(), options).unwrap();
    for from in (0..100).map(|i| i * 10) {
        append(&log, from..=from + 9);
    }
    let (seen, _) = read(&log, None, 0..=i64::MAX, usize::MAX);
    assert!(seen.len() > 200 && seen.len() < 1_000 && seen[0] == 999, "{}", seen.len());
    assert!(log.bytes() <= options.bytes_max + (2 << 10), "{}", log.bytes());
    for time in 0..60 {
        append(&log, 1_000_000 + time..=1_000_000 + time);
    }
    let (seen, _) = read(&log, None, 0..=i64::MAX, usize::MAX);
    assert!(seen.iter().filter(|time| **time < 1_000).count() < 100, "only the segment of both is left");
}

#[test]
fn a_torn_tail_is_passed_over_and_numbers_go_on() {
    let directory = tempfile::tempdir().unwrap();
    append(&log(directory.path()), 1..=3);
    let path = segment::list(&RealDisk, directory.path()).unwrap()[0].path.clone();
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    let log = log(directory.path());
    append(&log, 4..=4);
    assert_eq!(read(&log, None, 0..=9, 9), (vec![4, 2, 1], None));
    assert_eq!(read(&log, Some(3), 0..=9, 9), (vec![2, 1], None));
}

#[test]
fn a_reader_with_a_bound_is_told_where_to_go_on() {
    let directory = tempfile::tempdir().unwrap();
    for time in 1..=4 {
        append(&log(directory.path()), time..=time);
    }
    let log = log(directory.path());
    let mut seen = Vec::new();
    let mut before = None;
    for _ in 0..10 {
        let more = log.read_back(before, 0..=9, 20, |record| {
            seen.push(record.number);
            ControlFlow::Continue(())
        });
        match more.unwrap() {
            Some(next) => before = Some(next),
            None => break,
        }
    }
    assert_eq!(seen, [4, 3, 2, 1]);
}

#[test]
fn records_that_are_too_long_are_left_out() {
    let directory = tempfile::tempdir().unwrap();
    let log = log(directory.path());
    log.append(&[(1, vec![0; RECORD_BYTES_MAX + 1]), (2, b"2".to_vec())]).unwrap();
    assert_eq!(read(&log, None, 0..=9, 9), (vec![2], None));
}

/// Segments of every format version are read for ever. Set `HEARTH_BLESS=1` to write the golden file of a new version.
#[test]
fn the_golden_file_is_what_is_written() {
    let directory = tempfile::tempdir().unwrap();
    log(directory.path()).append(&[(1_760_000_000_000, b"{\"to\":\"firing\"}".to_vec()), (-1, Vec::new())]).unwrap();
    let written = std::fs::read(&segment::list(&RealDisk, directory.path()).unwrap()[0].path).unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/record-log-v1.records");
    if std::env::var_os("HEARTH_BLESS").is_some() {
        std::fs::write(path, &written).unwrap();
    }
    assert_eq!(std::fs::read(path).unwrap(), written);
    assert_eq!(segment::decode(&written, 1).len(), 2);
}

proptest! {
    /// The power is cut between any two steps of the disk, or the process is killed: what an append returned from is there.
    #[test]
    fn what_was_appended_survives_a_power_cut(
        batches in prop::collection::vec(1i64..40, 1..30),
        step in 1u64..200,
        seed in any::<u64>(),
        kill in any::<bool>(),
    ) {
        let disk = SimulatedDisk::new();
        let directory = Path::new("/alerts/history");
        // Segments are short, so that new ones begin.
        let options = RecordLogOptions { bytes_max: 16 << 10, keep_ms: i64::MAX };
        let log = RecordLog::open(Arc::new(disk.clone()), directory, options).unwrap();
        disk.cut_power_at(disk.steps() + step);
        let (mut time, mut durable) = (0, 0);
        for batch in batches {
            let records: Vec<_> = (time + 1..=time + batch).map(|time| (time, time.to_string().into_bytes())).collect();
            time += batch;
            if log.append(&records).is_err() {
                break;
            }
            durable = time;
        }
        let after = if kill { disk.kill() } else { disk.restart(seed) };
        let log = RecordLog::open(Arc::new(after), directory, options).unwrap();
        let (seen, _) = read(&log, None, i64::MIN..=durable, usize::MAX);
        // The oldest go when there are too many.
        let expected: Vec<_> = (1..=durable).rev().take(seen.len()).collect();
        prop_assert_eq!(&seen, &expected);
        prop_assert!(seen.len() as i64 >= durable.min(300), "{} of {}", seen.len(), durable);
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut file = b"HTHRECL1\x01\0\0\0\0\0\0\0".to_vec();
        file.extend_from_slice(&bytes);
        segment::decode(&file, 1);
        segment::decode(&bytes, 1);
    }
}
