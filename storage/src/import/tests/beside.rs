//! Imports beside a server, exports beside damage.

use super::*;
use crate::lifecycle::retention::RetentionClass;
use crate::store::StoreError;
use crate::wal::pool::now_ms;
use model::matcher::{MatchOp, Matcher};

type Ask<'a> = &'a dyn Fn(&Store) -> Result<(), StoreError>;

/// What a server is asked after an import that ran beside it is done, although the right to compact was taken over.
#[test]
fn a_server_beside_an_import_does_what_it_is_asked_next() {
    let (data, spool) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = Store::open(StoreOptions::new(data.path()), &Default::default()).unwrap();
    let delete = |server: &Store, a: &str| {
        let matcher = Matcher::new("a", MatchOp::Equal, a).unwrap();
        server.delete_series(&[vec![matcher]], 0, DAY)
    };
    // Until then it claims nothing.
    delete(&server, "0").unwrap();
    let asks: [(&str, Ask<'_>); 4] = [
        ("delete", &|server| delete(server, "1")),
        ("merge", &|server| server.flush(true)),
        ("delete again", &|server| delete(server, "2")),
        ("clean", &Store::clean_tombstones),
    ];
    for (n, (name, ask)) in asks.into_iter().enumerate() {
        let source = spooled(spool.path(), &three_days(), 1000, n as u128);
        let store = block_store(data.path());
        run(&store, &source, store.work_dir().unwrap().path(), options(), &()).unwrap();
        ask(&server).unwrap_or_else(|error| panic!("{name}: {}", error.to_line()));
        assert_eq!(server.stats().takeovers, n as u64 + 1, "{name}");
    }
    assert!(server.last_takeover().unwrap().contains("another process took over as compactor"));
}

/// What others have is given out, the damaged ones are named.
#[test]
fn an_export_goes_on_past_a_damaged_block() {
    let (data, spool) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = block_store(data.path());
    let source = spooled(spool.path(), &three_days(), 1000, 1);
    run(&store, &source, store.work_dir().unwrap().path(), options(), &()).unwrap();
    let whole = exported(&store, ExportFormat::Csv);
    let days = |text: &str| {
        let mut lines = [0; 3];
        for line in text.lines().skip(1) {
            let (at_ms, _) = line.split_once(',').unwrap();
            lines[(at_ms.parse::<i64>().unwrap() / DAY) as usize] += 1;
        }
        lines
    };
    let [first, damaged, last] = days(&whole);
    let manifest = store.manifest();
    let ulid = manifest.blocks[1].ulid.clone();
    let directory = data.path().join("blocks").join(manifest.blocks[1].prefix());
    for name in ["samples.parquet", "series.parquet"] {
        let path = directory.join(name);
        let good = std::fs::read(&path).unwrap();
        for (what, bad) in [("emptied", Vec::new()), ("zeros", vec![0; good.len()])] {
            std::fs::write(&path, bad).unwrap();
            let file = tempfile::NamedTempFile::new().unwrap();
            let output = Box::new(file.reopen().unwrap());
            let (store, retention) = (block_store(data.path()), Retention::default());
            let report = export(&store, &[], TimeRange::ALL, &retention, ExportFormat::Csv, output).unwrap();
            let named: Vec<_> = report.damaged.iter().map(|block| block.ulid.as_str()).collect();
            assert_eq!(named, [ulid.as_str()], "{name} {what}");
            let found = days(&std::fs::read_to_string(file.path()).unwrap());
            assert!((found[0], found[2]) == (first, last) && found[1] < damaged, "{name} {what}: {found:?}");
        }
        std::fs::write(&path, &good).unwrap();
    }
    assert_eq!(exported(&block_store(data.path()), ExportFormat::Csv), whole);
}

/// As queries do, before any block is written anew.
#[test]
fn an_export_leaves_out_what_has_expired_by_class() {
    let (data, spool) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = block_store(data.path());
    let source = spooled(spool.path(), &three_days(), 1000, 1);
    run(&store, &source, store.work_dir().unwrap().path(), options(), &()).unwrap();
    let before_ms = DAY + DAY / 2 + 60_000;
    let matchers = vec![Matcher::new("a", MatchOp::Regex, "1|3").unwrap()];
    let keep_ms = now_ms() - before_ms;
    let classes = vec![RetentionClass { name: "{a=~\"1|3\"}".to_owned(), matchers, keep_ms }];
    let file = tempfile::NamedTempFile::new().unwrap();
    let retention = Retention { classes, ..Retention::default() };
    let output = Box::new(file.reopen().unwrap());
    let report = export(&store, &[], TimeRange::ALL, &retention, ExportFormat::Csv, output).unwrap();
    let kept = |line: &&str| {
        let (at_ms, rest) = line.split_once(',').unwrap();
        // A second passes for the export, and no sample is as near.
        at_ms.parse::<i64>().unwrap() >= before_ms + 1000 || !(rest.contains("\"1\"") || rest.contains("\"3\""))
    };
    let whole = exported(&store, ExportFormat::Csv);
    let expected: Vec<&str> = whole.lines().skip(1).filter(kept).collect();
    let found = std::fs::read_to_string(file.path()).unwrap();
    assert!(found.lines().skip(1).eq(expected.iter().copied()), "{} lines", found.lines().count());
    assert_eq!(report.samples, expected.len() as u64);
    assert!((200..350).contains(&expected.len()), "{}", expected.len());
}
