//! Days of churn: memory, files and blocks stop growing.

use super::fixture::{BASE_MS, HOUR, Samples, append, at, everything, open};
use std::path::Path;
use storage::bucket::Bucket;

fn files_below(dir: &Path) -> usize {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { files_below(&path) } else { 1 }).sum()
}

/// What is looked at after each simulated two hours.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    head_bytes: u64,
    series: u64,
    files: usize,
    blocks: usize,
}

#[test]
fn two_days_of_churn_leave_no_more_than_one() {
    const STABLE: usize = 60;
    const CHURN: usize = 120;
    let (dir, bucket) = (tempfile::tempdir().unwrap(), Bucket::in_memory());
    let store = open(&bucket, dir.path());
    let mut truth = Samples::new();
    let mut sizes = Vec::new();
    for window in 0..24 {
        let begin_ms = BASE_MS + window as i64 * 2 * HOUR;
        for minute in (0..120).step_by(4) {
            let now_ms = begin_ms + minute * 60_000;
            append(&store, &at(0..STABLE, now_ms), &mut truth);
            // A deployment: all of these are replaced in the next window.
            append(&store, &at(1000 + window * CHURN..1000 + (window + 1) * CHURN, now_ms), &mut truth);
        }
        store.flush(window % 12 == 11).unwrap();
        for _ in 0..3 {
            store.engine().collect_idle(begin_ms + HOUR);
        }
        let stats = store.engine().stats();
        sizes.push(Sizes {
            head_bytes: stats.head.memory.total(),
            series: stats.head.series,
            files: files_below(dir.path()),
            blocks: store.manifest().blocks.len(),
        });
    }
    sizes.iter().for_each(|sizes| println!("{sizes:?}"));
    let most =
        |of: &dyn Fn(&Sizes) -> u64, day: usize| sizes[day * 12 + 4..(day + 1) * 12].iter().map(of).max().unwrap();
    let grown = |of: &dyn Fn(&Sizes) -> u64| most(of, 1) as f64 / most(of, 0) as f64;
    assert!(grown(&|sizes| sizes.head_bytes) < 1.1 && grown(&|sizes| sizes.files as u64) < 1.25, "{sizes:#?}");
    assert!(sizes.iter().all(|sizes| sizes.series <= (STABLE + 2 * CHURN) as u64), "{sizes:#?}");
    assert!(sizes[23].blocks <= 3 && sizes.iter().all(|sizes| sizes.blocks <= 15), "{sizes:#?}");
    assert!(everything(&store).unwrap() == truth);
}
