//! Bytes that are not what was written.

use super::{SEGMENT_BYTES, TestLog, open, read, scrape, segment_path};
use crate::append::{Rows, SeriesRef};
use crate::disk::Disk;
use crate::disk::simulated::SimulatedDisk;
use crate::wal::record;
use crate::wal::segment::SEGMENT_HEADER_BYTES;
use std::collections::HashSet;
use std::path::Path;

/// Rows of one small record.
const SMALL: usize = 5;

fn small(round: u32) -> Rows {
    scrape(round, SMALL as u32)
}

fn filled(rounds: u32, rows: impl Fn(u32) -> Rows) -> TestLog {
    let disk = SimulatedDisk::new();
    let (mut log, _, _) = open(&disk, 0).expect("an empty disk");
    (0..rounds).for_each(|round| log.append(rows(round)));
    log
}

/// Where each record of the first segment starts, and where the last one ends.
fn record_offsets(disk: &SimulatedDisk) -> Vec<usize> {
    let bytes = disk.bytes(&segment_path(1)).expect("the first segment");
    let mut offsets = vec![SEGMENT_HEADER_BYTES];
    while let Ok(record) = record::parse(1, &bytes[offsets[offsets.len() - 1]..]) {
        offsets.push(offsets[offsets.len() - 1] + record.stored_bytes());
    }
    offsets
}

fn overwrite(disk: &SimulatedDisk, path: &Path, at: usize, bytes: &[u8]) {
    disk.open(path).expect("exists").write_all_at(bytes, at as u64).expect("no fault is set");
}

/// A crash may leave any prefix of the last record, over zeros or over the bytes of a former life.
#[test]
fn a_tail_torn_at_any_byte_is_dropped_and_the_log_goes_on() {
    let whole = filled(4, small);
    let offsets = record_offsets(&whole.disk);
    let (start, end) = (offsets[3], offsets[4]);
    for cut in start..end - 1 {
        for filler in [0x00, 0xa5] {
            let disk = whole.disk.restart(1);
            let tail = disk.bytes(&segment_path(1)).expect("the first segment")[cut..end].to_vec();
            let torn: Vec<u8> = tail.iter().map(|_| filler).collect();
            overwrite(&disk, &segment_path(1), cut, &torn);
            let padding_only = tail.iter().all(|byte| *byte == filler);
            let (mut log, told, report) = open(&disk, 0).expect("readable");
            if told.samples.len() == 4 * SMALL {
                // Only padding, or bytes that happen to be the filler, were overwritten.
                assert!(cut > end - 8 || padding_only, "cut at {cut}");
                continue;
            }
            assert_eq!(told.samples, whole.durable.samples[..3 * SMALL], "cut at {cut}");
            assert_eq!(report.damage, [], "cut at {cut}");
            log.append(small(9));
            let (told, report) = read(&disk, 0);
            assert_eq!(told.samples[3 * SMALL..], log.durable.samples, "cut at {cut}");
            assert_eq!((report.damage_count, report.torn_tail), (0, None), "cut at {cut}");
        }
    }
}

#[test]
fn a_torn_tail_is_told_from_a_clean_end() {
    let log = filled(4, small);
    assert_eq!(read(&log.disk, 0).1.torn_tail, None);
    let last = record_offsets(&log.disk)[3];
    log.disk.flip(&segment_path(1), last + 30, 1);
    let report = read(&log.disk, 0).1;
    assert_eq!(report.torn_tail, Some((segment_path(1), last as u64)));
}

/// A flipped bit anywhere never yields a wrong sample, never loses another segment, and is reported unless it hit the last
/// batch, which could as well have been torn.
#[test]
fn a_flipped_bit_anywhere_costs_no_more_than_its_segment_and_never_a_wrong_sample() {
    let whole = filled(4, small);
    let written: HashSet<_> = whole.durable.samples.iter().copied().collect();
    let end = record_offsets(&whole.disk)[4];
    let last_batch = record_offsets(&whole.disk)[3];
    for at in 0..end {
        let disk = whole.disk.restart(1);
        // Another segment behind it, so that both cases of "newest" are met.
        let (mut second, _, _) = open(&disk, 0).expect("readable");
        if at % 2 == 0 {
            second.append(scrape(50, 20));
        }
        disk.flip(&segment_path(1), at, 1 << (at % 8));
        let (mut third, told, report) = open(&disk, 0).expect("readable");
        let from_second = told.samples.iter().filter(|(_, timestamp, _)| *timestamp == 750_000).count();
        assert_eq!(from_second, second.durable.samples.len(), "byte {at}");
        let first: Vec<_> = told.samples.iter().filter(|(_, timestamp, _)| *timestamp < 750_000).copied().collect();
        assert!(first.iter().all(|sample| written.contains(sample)), "byte {at}: a wrong sample");
        let lost = whole.durable.samples.len() - first.len();
        if lost > 0 && !(at >= last_batch && second.durable.samples.is_empty()) {
            assert!(report.damage_count > 0, "byte {at}: {lost} samples lost without a word");
        }
        // And the log goes on, with numbers that no later reader mistakes for a gap.
        third.append(scrape(60, 20));
        assert_eq!(read(&disk, 0).0.samples.len(), told.samples.len() + 20, "byte {at}");
    }
}

/// Behind a damaged record what can be decoded is: other types at once, samples from the next start of the coding on.
#[test]
fn what_lies_behind_damage_is_read() {
    let disk = SimulatedDisk::new();
    let (mut log, _, _) = open(&disk, 0).expect("an empty disk");
    (0..3).for_each(|round| log.append(small(round)));
    log.queue.push_series(SeriesRef(77), &[("__name__", "late")]);
    log.append(small(3));
    let offsets = record_offsets(&disk);
    disk.flip(&segment_path(1), offsets[1] + 30, 1);
    let (told, report) = read(&disk, 0);
    assert_eq!(told.series.len(), 1);
    assert_eq!(told.samples, log.durable.samples[..SMALL]);
    assert_eq!((report.damage_count, report.records_lost, report.samples_lost), (1, 1, 2 * SMALL as u64));
    assert_eq!((report.damage[0].path.clone(), report.damage[0].offset), (segment_path(1), offsets[2] as u64));
}

/// Zeroed pages look like the end of the log; the numbers of later records tell that they are not.
#[test]
fn zeros_in_the_middle_are_damage() {
    let log = filled(200, |round| scrape(round, 200));
    let bytes = vec![0; 8192];
    overwrite(&log.disk, &segment_path(1), 16 << 10, &bytes);
    let (told, report) = read(&log.disk, 0);
    assert!(report.damage_count > 0 && report.records_lost > 0, "{report:?}");
    let second = told.samples.iter().filter(|sample| !log.durable.samples[..1000].contains(sample)).count();
    assert!(second > 10_000, "{second} samples");
    assert!(log.durable.samples.ends_with(&told.samples[told.samples.len() - 5000..]));
}

#[test]
fn a_lost_segment_is_reported_and_the_others_are_read() {
    let log = filled(400, |round| scrape(round, 200));
    log.disk.remove(&segment_path(2)).expect("exists");
    let (told, report) = read(&log.disk, 0);
    assert!(told.samples.starts_with(&log.durable.samples[..1000]));
    assert!(log.durable.samples.ends_with(&told.samples[told.samples.len() - 1000..]));
    assert_eq!(report.damage_count, 1);
    assert_eq!(report.damage[0].path, segment_path(1));
    let (_, _, again) = open(&log.disk, log.durable.last_lsn).expect("readable");
    assert_eq!(again.damage, [], "below what snapshots cover nothing is missed");
}

/// A damaged segment is set aside, not recycled, once a snapshot covers it.
#[test]
fn a_damaged_segment_is_kept_for_a_human() {
    let log = filled(6, small);
    log.disk.flip(&segment_path(1), record_offsets(&log.disk)[1] + 30, 1);
    let (mut log, _, report) = open(&log.disk, 0).expect("readable");
    assert_eq!(report.damage_count, 1);
    log.append(small(9));
    log.pool.release(log.durable.last_lsn - 1);
    (0..300).for_each(|round| log.append(scrape(round, 300)));
    let names = log.disk.list(Path::new(super::DIR)).expect("no fault is set");
    assert!(names.contains(&"damaged-00000000000000000001.wal".to_owned()), "{names:?}");
    assert_eq!(
        log.disk.bytes(&Path::new(super::DIR).join("damaged-00000000000000000001.wal")).map(|b| b.len()),
        Some(SEGMENT_BYTES as usize)
    );
}

/// Bytes of any kind in place of the log: no panic, no endless search.
#[test]
fn noise_in_place_of_records_is_survived() {
    for seed in 1..20u64 {
        let log = filled(3, small);
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let noise: Vec<u8> = (0..SEGMENT_BYTES as usize - SEGMENT_HEADER_BYTES)
            .map(|_| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                (random >> 32) as u8
            })
            .collect();
        overwrite(&log.disk, &segment_path(1), SEGMENT_HEADER_BYTES, &noise);
        assert_eq!(read(&log.disk, 0).0.samples, []);
    }
}
