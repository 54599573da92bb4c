//! Documents on stores in memory.

use super::*;
use crate::bucket::testing::{Faults, FaultyStore};
use crate::bucket::{BucketStore, RetryPolicy};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

const NOW_MS: i64 = 1_760_000_000_000;

fn over(bucket: &Bucket) -> Documents {
    Documents::new(bucket.clone(), "team/a", "rules", Arc::new(|| NOW_MS))
}

async fn set(documents: &Documents, name: &str, content: &str) -> Document {
    match documents.update(name, |_| Ok::<_, Infallible>(Change::Content(content.to_owned()))).await.unwrap() {
        Updated::To(document) => document,
        other => panic!("{other:?}"),
    }
}

async fn append(documents: &Documents, name: &str, letter: char) -> Result<(), DocumentError> {
    let change = |content: Option<&str>| {
        let content = content.unwrap_or_default();
        Ok::<_, Infallible>(if content.contains(letter) {
            Change::Nothing
        } else {
            Change::Content(format!("{content}{letter}"))
        })
    };
    documents.update(name, change).await.map(drop)
}

fn contents(loaded: Vec<Result<Document, DocumentError>>) -> Vec<(String, Option<String>)> {
    loaded.into_iter().map(Result::unwrap).map(|document| (document.name, document.content)).collect()
}

#[tokio::test]
async fn what_one_process_writes_another_loads_and_only_what_is_new() {
    let bucket = Bucket::in_memory();
    let (writer, reader) = (over(&bucket), over(&bucket));
    set(&writer, "a/b", "1").await;
    set(&writer, "", "nameless").await;
    let all = contents(reader.load(&BTreeMap::new()).await.unwrap());
    assert_eq!(all, [(String::new(), Some("nameless".into())), ("a/b".into(), Some("1".into()))]);
    set(&writer, "a/b", "2").await;
    let known = BTreeMap::from([("a/b".to_owned(), 1), (String::new(), 1)]);
    assert_eq!(contents(reader.load(&known).await.unwrap()), [("a/b".into(), Some("2".into()))]);
    let known = BTreeMap::from([("a/b".to_owned(), 2), (String::new(), 1)]);
    assert_eq!(contents(reader.load(&known).await.unwrap()), []);
}

#[tokio::test]
async fn a_change_that_refuses_or_wants_nothing_writes_nothing() {
    let documents = over(&Bucket::in_memory());
    set(&documents, "a", "1").await;
    let refused = documents.update("a", |content| Err::<Change, _>(content.map(str::to_owned))).await.unwrap();
    assert_eq!(refused, Updated::Refused(Some("1".into())));
    let same = documents.update("a", |_| Ok::<_, Infallible>(Change::Nothing)).await.unwrap();
    assert!(matches!(same, Updated::Unchanged(Some(document)) if document.version == 1));
    assert_eq!(documents.newest("a").await.unwrap().map(|document| document.version), Some(1));
    assert!(matches!(
        documents.update("x", |_| Ok::<_, Infallible>(Change::Nothing)).await,
        Ok(Updated::Unchanged(None))
    ));
}

#[tokio::test]
async fn a_bounded_number_of_versions_stays() {
    let bucket = Bucket::in_memory();
    let documents = over(&bucket);
    for version in 1..=25 {
        assert_eq!(set(&documents, "a", &version.to_string()).await.version, version);
    }
    let versions = documents.versions("a").await.unwrap();
    assert_eq!(versions, (16..=25).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_removed_document_goes_on_counting_and_is_forgotten_after_a_week() {
    let bucket = Bucket::in_memory();
    let now = Arc::new(AtomicI64::new(NOW_MS));
    let read = now.clone();
    let documents = Documents::new(bucket.clone(), "t", "rules", Arc::new(move || read.load(Ordering::Relaxed)));
    set(&documents, "a", "1").await;
    documents.update("a", |_| Ok::<_, Infallible>(Change::Remove)).await.unwrap();
    assert_eq!(contents(documents.load(&BTreeMap::new()).await.unwrap()), [("a".into(), None)]);
    assert_eq!(set(&documents, "a", "again").await.version, 3);
    documents.update("a", |_| Ok::<_, Infallible>(Change::Remove)).await.unwrap();
    now.fetch_add(REMOVED_FOR_MS + 1, Ordering::Relaxed);
    assert_eq!(contents(documents.load(&BTreeMap::new()).await.unwrap()), []);
    assert!(bucket.list("").await.unwrap().is_empty());
}

/// A writer that was stopped between reading and writing for so long that the number it wants to create was pruned.
#[tokio::test]
async fn a_version_that_is_created_in_a_gap_does_not_count() {
    let documents = over(&Bucket::in_memory());
    let read = set(&documents, "a", "1").await;
    for version in 2..=30 {
        set(&documents, "a", &version.to_string()).await;
    }
    let late = Document::after(Some(&read), "a", Some("late".into()), NOW_MS, "late".into());
    assert!(!documents.publish(&late).await.unwrap());
    assert_eq!(documents.newest("a").await.unwrap().and_then(|document| document.content), Some("30".into()));
    assert!(!documents.versions("a").await.unwrap().contains(&2));
}

#[tokio::test]
async fn a_damaged_document_does_not_hide_the_others() {
    let bucket = Bucket::in_memory();
    let documents = over(&bucket);
    set(&documents, "a", "1").await;
    bucket.put("t=team%2Fa/rules/b/00000000000000000001.doc.json.zst", Bytes::from_static(b"x")).await.unwrap();
    let loaded = documents.load(&BTreeMap::new()).await.unwrap();
    assert!(loaded[0].is_ok());
    assert_eq!(loaded[1].as_ref().unwrap_err().kind(), ErrorKind::Corrupt);
    let newer = Document { format_version: 2, ..set(&documents, "c", "1").await };
    bucket.put("t=team%2Fa/rules/c/00000000000000000002.doc.json.zst", newer.encode().into()).await.unwrap();
    assert!(matches!(documents.newest("c").await, Err(DocumentError::Newer { found: 2, known: 1, .. })));
}

/// Six writers behind bad networks each append their letter to one document.
#[tokio::test]
async fn no_change_of_several_writers_is_lost() {
    for seed in 0..20 {
        let store = BucketStore::in_memory();
        let faults =
            Faults { slow_down: 0.1, lost_answer: 0.1, delay_max: Duration::from_millis(2), ..Faults::default() };
        let policy = RetryPolicy {
            pause_min: Duration::from_millis(1),
            pause_max: Duration::from_millis(4),
            ..RetryPolicy::default()
        };
        let writers = ('a'..='f').zip(seed * 100..).map(|(letter, seed)| {
            let faulty = FaultyStore::new(store.clone(), seed);
            faulty.set_faults(faults);
            let documents = over(&Bucket::new(faulty.store(), "", policy, seed));
            async move { while append(&documents, "shared", letter).await.is_err() {} }
        });
        futures::future::join_all(writers).await;
        let reader = over(&Bucket::new(store, "", RetryPolicy::default(), 0));
        let mut letters: Vec<char> = reader.newest("shared").await.unwrap().unwrap().content.unwrap().chars().collect();
        letters.sort_unstable();
        assert_eq!(letters, ['a', 'b', 'c', 'd', 'e', 'f'], "seed {seed}");
    }
}

/// Documents of every format version are read for ever. Set `HEARTH_BLESS=1` to write the golden file of a new version.
#[test]
fn the_golden_file_is_what_is_written() {
    let document = Document {
        format_version: 1,
        name: "team/a".into(),
        version: 3,
        commit_id: "0123456789abcdef0123456789abcdef".into(),
        parent_id: "fedcba9876543210fedcba9876543210".into(),
        written_ms: NOW_MS,
        content: Some("{\"groups\":[]}".into()),
    };
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/document-v1.doc.json.zst");
    if std::env::var_os("HEARTH_BLESS").is_some() {
        std::fs::write(path, document.encode()).unwrap();
    }
    let bytes = std::fs::read(path).unwrap();
    assert_eq!(Document::decode("golden", &bytes).unwrap(), document);
    assert_eq!(document.encode(), bytes);
}
