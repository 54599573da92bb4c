//! Imports beside a server, exports beside damage.

use super::*;
use crate::store::StoreError;
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
