//! Power cuts at every step of the disk.

use super::{TestLog, Told, open, read, scrape};
use crate::append::SeriesRef;
use crate::disk::simulated::SimulatedDisk;

/// One life of a log: scrapes, new series, and now and then a snapshot that covers everything. Ends when the power does.
/// Returns every sample that was handed to the log, from the ones that `before` holds on.
fn live(log: &mut TestLog, rounds: std::ops::Range<u32>, attempted: &mut Vec<(u32, i64, u64)>, covered: &mut Covered) {
    for round in rounds {
        if round % 5 == 0 {
            log.queue.push_series(SeriesRef(round), &[("__name__", "m"), ("n", &round.to_string())]);
        }
        for part in 0..2 {
            let rows = scrape(round * 2 + part, 220);
            attempted.extend(super::listed(&rows));
            log.push(rows);
        }
        log.write();
        if round % 7 == 6 && !log.disk.is_off() && log.writer.failure().is_none() {
            *covered =
                Covered { lsn: log.durable.last_lsn, samples: covered.before + log.durable.samples.len(), ..*covered };
            log.pool.release(covered.lsn);
        }
        if log.disk.is_off() {
            return;
        }
    }
}

/// What snapshots hold.
#[derive(Debug, Clone, Copy, Default)]
struct Covered {
    lsn: u64,
    /// How many of all samples.
    samples: usize,
    /// Samples durable in former lives.
    before: usize,
}

/// Cuts the power at `step`, restarts, checks, goes on, and checks again.
fn cut_power_at(step: u64, seed: u64) -> bool {
    let disk = SimulatedDisk::new();
    let Ok((mut log, _, _)) = open(&disk, 0) else { panic!("an empty disk opens") };
    disk.cut_power_at(step);
    let (mut attempted, mut covered) = (Vec::new(), Covered::default());
    live(&mut log, 0..60, &mut attempted, &mut covered);
    let reached = disk.is_off();
    let disk = disk.restart(seed);
    let case = format!("power cut at step {step}, seed {seed}");

    let (mut log2, told, report) = open(&disk, covered.lsn).expect("readable");
    assert_eq!(report.damage, [], "{case}");
    let mut all = log.durable.samples[..covered.samples].to_vec();
    all.extend(&told.samples);
    assert!(all.starts_with(&log.durable.samples), "{case}: an acknowledged sample is missing");
    assert!(attempted.starts_with(&all), "{case}: a sample came twice, in another order or from nowhere");

    covered.before = all.len();
    let mut attempted = all.clone();
    live(&mut log2, 100..120, &mut attempted, &mut covered);
    all.append(&mut log2.durable.samples);
    assert_eq!(attempted, all, "{case}: the second life does not end");
    let (told, report): (Told, _) = read(&disk, covered.lsn);
    assert_eq!(report.damage, [], "{case}");
    assert_eq!(told.samples, all[covered.samples..], "{case}");
    reached
}

/// Between any two steps of the disk the power may go: every acknowledged sample is there, none twice, and the log goes on.
#[test]
fn a_power_cut_at_any_step_loses_nothing_acknowledged() {
    let mut step = 0;
    while cut_power_at(step, step.wrapping_mul(0x9e37_79b9_7f4a_7c15)) {
        step += 1;
    }
    assert!(step > 100, "only {step} steps");
}

/// A killed process may leave records that were written and not synced. The next one reads them, builds on them, and must
/// not lose them when the power goes later.
#[test]
fn what_a_killed_process_left_unsynced_is_made_durable() {
    for step in 20..60 {
        let disk = SimulatedDisk::new();
        let (mut log, _, _) = open(&disk, 0).expect("an empty disk");
        disk.cut_power_at(step);
        let mut covered = Covered::default();
        live(&mut log, 0..60, &mut Vec::new(), &mut covered);
        let disk = disk.kill();
        let (mut log, told, _) = open(&disk, covered.lsn).expect("readable");
        log.append(scrape(900, 10));
        let disk = disk.restart(step * 31);
        let (after, report) = read(&disk, covered.lsn);
        assert_eq!(report.damage, [], "step {step}");
        assert!(after.samples.starts_with(&told.samples), "step {step}");
        assert!(after.samples.ends_with(&log.durable.samples), "step {step}");
    }
}
