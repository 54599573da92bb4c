//! Resident bytes per active series: a million series of ten labels, after 60 and after 120 samples each.
//!
//! Run with `cargo bench -p storage --bench head_memory`; the number of series may follow `--`.
#![allow(missing_docs, clippy::print_stdout)]

mod fleet;

use fleet::cpu_time::thread_ns;
use std::time::Instant;
use storage::append::Rows;
use storage::head::{Head, HeadOptions};

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
    let started = Instant::now();
    let mut bytes = 0;
    for shard in 0..head.shards() {
        let mut sink = CountBytes(0);
        let frozen = Instant::now();
        let shard = head.freeze_shard(shard).expect("not under way");
        println!("shard frozen in {:.2?}", frozen.elapsed());
        shard.write(&mut sink).expect("a sink");
        bytes += sink.0;
    }
    println!("snapshot of {bytes} bytes, {} per series, in {:.2?}", bytes / count, started.elapsed());
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

struct CountBytes(usize);

impl std::io::Write for CountBytes {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
