//! Resident bytes per active series: a million series of ten labels, after 60 and after 120 samples each. And how long it
//! takes to write their snapshots and to start from them.
//!
//! Run with `cargo bench -p storage --bench head_memory`; the number of series may follow `--`.
#![allow(missing_docs, clippy::print_stdout)]

mod fleet;

use fleet::cpu_time::thread_ns;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::time::Instant;
use storage::append::Rows;
use storage::head::{FlushedState, Head, HeadOptions};

fn main() {
    let count = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(1_000_000);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (head, _) = Head::open(HeadOptions { shards: 2, ..HeadOptions::new(dir.path()) }).expect("a fresh head");
    let mut rows = Rows::default();
    let empty = fleet::resident_bytes();
    let started = thread_ns();
    let series = fleet::create(&head, count);
    let per_series = |what: &str| {
        let bytes = fleet::resident_bytes().saturating_sub(empty + series.len() * 4);
        println!("{what}: {} resident bytes per series", bytes / count);
    };
    println!("{count} series, {} ns of CPU each, generated labels included", (thread_ns() - started) as usize / count);
    per_series("no samples");
    let mut spent = Vec::new();
    for tick in 0..120 {
        spent.push(fleet::scrape(&head, &series, tick, &mut rows) as usize / count);
        if tick % 20 == 19 {
            spent.sort_unstable();
            let (least, median) = (spent[0], spent[spent.len() / 2]);
            per_series(&format!("{} samples, {least} ns of CPU each at least, median {median}", tick + 1));
            spent.clear();
        }
        if tick == 59 || tick == 119 {
            parts(&head, count);
        }
    }
    let snapshots = write_snapshots(&head, dir.path());
    drop(head);
    restart(dir.path(), &snapshots, count);
}

fn write_snapshots(head: &Head, dir: &Path) -> Vec<PathBuf> {
    let started = Instant::now();
    let write = |shard: usize| {
        let path = dir.join(format!("{shard}.snapshot"));
        let mut file = BufWriter::new(File::create(&path).expect("a new file"));
        let frozen_at = Instant::now();
        let frozen = head.freeze_shard(shard).expect("not under way");
        println!("shard frozen in {:.2?}", frozen_at.elapsed());
        frozen.write(&mut file).expect("room");
        path
    };
    let paths: Vec<PathBuf> = (0..head.shards()).map(write).collect();
    let bytes: u64 = paths.iter().map(|path| std::fs::metadata(path).expect("written").len()).sum();
    println!("snapshots of {bytes} bytes in {:.2?}", started.elapsed());
    paths
}

fn restart(dir: &Path, snapshots: &[PathBuf], count: usize) {
    let started = Instant::now();
    let (head, _) = Head::open(HeadOptions::new(dir)).expect("a stored head");
    let read = |shard: usize| {
        let cpu = thread_ns();
        let mut file = File::open(&snapshots[shard]).expect("written");
        head.read_shard_snapshot(shard, &mut file, &FlushedState::default()).expect("whole");
        (thread_ns() - cpu) / 1_000_000
    };
    let spent: Vec<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..snapshots.len()).map(|shard| scope.spawn(move || read(shard))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    println!("restored in {:.2?}, CPU ms by shard {spent:?}", started.elapsed());
    parts(&head, count);
}

fn parts(head: &Head, count: usize) {
    let memory = head.stats().memory;
    let each = |bytes: u64| bytes as f64 / count as f64;
    println!(
        "  slots {:.0} cells {:.0} hash index {:.1} label sets {:.1} pairs {:.1} postings {:.1} timelines {:.1}: {:.0}",
        each(memory.slots),
        each(memory.cells),
        each(memory.hash_index),
        each(memory.label_sets),
        each(memory.label_pairs),
        each(memory.postings),
        each(memory.timelines),
        each(memory.total()),
    );
}
