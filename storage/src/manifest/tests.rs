//! The chain as a whole, on stores in memory.

mod simulation;

use super::*;
use crate::block::meta::BlockMeta;
use crate::bucket::testing::FaultyStore;
use crate::bucket::{Bucket, BucketStore, RetryPolicy};
use crate::head::FlushedState;
use crate::lifecycle::{Change, Expiring, publish};
use crate::tombstone::Tombstone;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

const HOUR_MS: i64 = 3_600_000;
const TENANT: &str = "team/a";

fn block(ulid: &str, level: u8, min_ms: i64) -> BlockMeta {
    BlockMeta {
        format_version: 1,
        ulid: ulid.to_owned(),
        tenant: TENANT.to_owned(),
        level,
        resolution_ms: 0,
        min_ms,
        max_ms: min_ms + 2 * HOUR_MS - 1,
        series: 1,
        samples: 2,
        histograms: 0,
        exemplars: 0,
        files: Vec::new(),
        sources: Vec::new(),
        label_columns: Vec::new(),
        labels_overflow: false,
        thinned_ms: 0,
    }
}

/// A clock that stands still until it is moved.
fn clock() -> (Arc<AtomicI64>, Clock) {
    let now = Arc::new(AtomicI64::new(system_clock()()));
    let read = now.clone();
    (now, Arc::new(move || read.load(Ordering::Relaxed)))
}

async fn open(bucket: &Bucket) -> ManifestChain {
    ManifestChain::open(bucket.clone(), TENANT, clock().1).await.unwrap()
}

async fn add(chain: &ManifestChain, epoch: Epoch, ulid: &str) -> Result<Arc<Manifest>, ManifestError> {
    chain.commit(epoch, |manifest| manifest.replace_blocks(&[], vec![block(ulid, 0, 0)])).await
}

fn ulids(manifest: &Manifest) -> Vec<&str> {
    manifest.blocks.iter().map(|block| block.ulid.as_str()).collect()
}

#[tokio::test]
async fn what_one_process_publishes_another_sees() {
    let bucket = Bucket::in_memory();
    let (writer, reader) = (open(&bucket).await, open(&bucket).await);
    let epoch = writer.claim(Role::Writer).await.unwrap();
    let flushed = FlushedState { boundary_ms: HOUR_MS, lsn: 7, generation: 1, directory: [1; 16] };
    let publish = |manifest: &Manifest| {
        let mut next = manifest.replace_blocks(&[], vec![block("b1", 0, 0)])?;
        next.flushed = Some(flushed);
        Ok(next)
    };
    assert_eq!(writer.commit(epoch, publish).await.unwrap().version, 2);
    assert_eq!(reader.latest().version, 0);
    assert_eq!(*reader.refresh().await.unwrap(), *writer.latest());
    assert_eq!(reader.latest().flushed, Some(flushed));
    assert_eq!(ulids(&open(&bucket).await.latest()), ["b1"]);
    // Repeated, it publishes nothing.
    assert_eq!(writer.commit(epoch, publish).await.unwrap().version, 2);
}

#[tokio::test]
async fn whoever_claims_an_epoch_ends_the_one_before() {
    let bucket = Bucket::in_memory();
    let (old, new) = (open(&bucket).await, open(&bucket).await);
    let old_epoch = old.claim(Role::Writer).await.unwrap();
    let compactor = old.claim(Role::Compactor).await.unwrap();
    add(&old, old_epoch, "b1").await.unwrap();
    let new_epoch = new.claim(Role::Writer).await.unwrap();
    add(&new, new_epoch, "b2").await.unwrap();
    let error = add(&old, old_epoch, "b3").await.unwrap_err();
    assert!(matches!(error, ManifestError::Fenced { role: Role::Writer, held: 1, current: 2, .. }), "{error}");
    // The other role is not touched by this.
    let merged = old
        .commit(compactor, |manifest| manifest.replace_blocks(&["b1".into(), "b2".into()], vec![block("m", 1, 0)]))
        .await
        .unwrap();
    assert_eq!(ulids(&merged), ["m"]);
    new.refresh().await.unwrap();
    let again = add(&new, new_epoch, "b2").await.unwrap();
    assert_eq!(ulids(&again), ["m"], "a flush that is repeated late does not bring its block back");
    assert_eq!(merged.removed.iter().map(|block| block.ulid.as_str()).collect::<Vec<_>>(), ["b1", "b2"]);
}

#[tokio::test]
async fn changes_that_make_no_sense_any_more_are_refused() {
    let bucket = Bucket::in_memory();
    let chain = open(&bucket).await;
    let writer = chain.claim(Role::Writer).await.unwrap();
    let compactor = chain.claim(Role::Compactor).await.unwrap();
    let flush = |epoch, boundary_ms, lsn| {
        chain.commit(epoch, move |manifest| {
            Ok(Manifest {
                flushed: Some(FlushedState { boundary_ms, lsn, generation: 0, directory: [1; 16] }),
                ..manifest.clone()
            })
        })
    };
    flush(writer, 10, 10).await.unwrap();
    for (epoch, boundary_ms, lsn) in [(writer, 9, 11), (writer, 11, 9), (compactor, 11, 11)] {
        let error = flush(epoch, boundary_ms, lsn).await.unwrap_err();
        assert!(matches!(error, ManifestError::Conflict(Conflict::Flushed { .. })), "{error}");
    }
    let gone = chain.commit(compactor, |manifest| manifest.replace_blocks(&["x".into()], Vec::new())).await;
    assert!(matches!(gone, Err(ManifestError::Conflict(Conflict::BlockGone { .. }))));
    add(&chain, writer, "b1").await.unwrap();
    let other = |manifest: &Manifest| manifest.replace_blocks(&[], vec![block("b1", 0, 1)]);
    let exists = chain.commit(writer, other).await;
    assert!(matches!(exists, Err(ManifestError::Conflict(Conflict::BlockExists { .. }))));
}

/// What came later is told apart as long as a deletion is pending that it was there before or after.
#[tokio::test]
async fn a_deletion_concerns_the_blocks_that_were_there() {
    let chain = open(&Bucket::in_memory()).await;
    let writer = chain.claim(Role::Writer).await.unwrap();
    let compactor = chain.claim(Role::Compactor).await.unwrap();
    let change = |change: Change| {
        let chain = &chain;
        async move { publish(chain, compactor, &[], &change).await }
    };
    let asked = |id: &str| {
        let (id, matchers) = (id.to_owned(), Vec::new());
        let asked = Tombstone { id, matchers, min_ms: 0, max_ms: 9, created_ms: 0, up_to_version: None };
        Change { tombstones: vec![asked], ..Change::default() }
    };
    let done = |id: &str| Change { done_tombstones: vec![id.to_owned()], ..Change::default() };
    add(&chain, writer, "b1").await.unwrap();
    change(asked("t1")).await.unwrap();
    let base = add(&chain, writer, "b2").await.unwrap().version;
    change(asked("t2")).await.unwrap();
    let manifest = add(&chain, writer, "b3").await.unwrap();
    let up_to: Vec<u64> = manifest.tombstones.iter().filter_map(|tombstone| tombstone.up_to_version).collect();
    assert_eq!(up_to, [base - 2, base]);
    assert_eq!(manifest.added, [("b2".to_owned(), base), ("b3".to_owned(), base + 2)].into());
    let merge = |version| Change { remove: vec!["b1".into()], deleted_up_to: Some(version), ..Change::default() };
    let stale = change(merge(base)).await.unwrap_err();
    assert!(matches!(stale, ManifestError::Conflict(Conflict::Deleted)), "{stale}");
    change(merge(base + 1)).await.unwrap();
    assert_eq!(change(done("t1")).await.unwrap().added, [("b3".to_owned(), base + 2)].into());
    assert!(change(done("t2")).await.unwrap().added.is_empty());
}

/// No tier has what others publish of a day while its samples are about to go.
#[tokio::test]
async fn samples_go_if_no_others_of_their_days_came_meanwhile() {
    let chain = open(&Bucket::in_memory()).await;
    let writer = chain.claim(Role::Writer).await.unwrap();
    let compactor = chain.claim(Role::Compactor).await.unwrap();
    let expire = |decided: Arc<Manifest>, ulid: &'static str| {
        let expiring = Expiring::of(decided.blocks.iter().filter(|block| block.ulid == ulid), &decided);
        let change = Change { remove: vec![ulid.to_owned()], expiring, ..Change::default() };
        let chain = &chain;
        async move { publish(chain, compactor, &[], &change).await }
    };
    let decided = add(&chain, writer, "b1").await.unwrap();
    add(&chain, writer, "b2").await.unwrap();
    let late = expire(decided, "b1").await.unwrap_err();
    assert!(matches!(late, ManifestError::Conflict(Conflict::Late)), "{late}");
    let (decided, other) = (chain.latest(), block("b3", 0, 50 * HOUR_MS));
    chain.commit(writer, |manifest| manifest.replace_blocks(&[], vec![other.clone()])).await.unwrap();
    assert_eq!(ulids(&expire(decided, "b1").await.unwrap()), ["b2", "b3"]);
}

#[tokio::test]
async fn the_newest_version_is_found_whatever_the_hint_says() {
    let bucket = Bucket::in_memory();
    let chain = open(&bucket).await;
    let epoch = chain.claim(Role::Writer).await.unwrap();
    for ulid in ["b1", "b2", "b3"] {
        add(&chain, epoch, ulid).await.unwrap();
    }
    let hint = names::latest(TENANT);
    for text in ["1", "4", "99", "x", ""] {
        bucket.put(&hint, Bytes::from_static(text.as_bytes())).await.unwrap();
        assert_eq!(open(&bucket).await.latest().version, 4, "{text:?}");
    }
    bucket.delete(&hint).await.unwrap();
    bucket.delete(&names::version(TENANT, 1)).await.unwrap();
    assert_eq!(open(&bucket).await.latest().version, 4);
}

#[tokio::test]
async fn a_process_that_slept_while_its_version_was_deleted_publishes_nothing() {
    let bucket = Bucket::in_memory();
    let (sleeper, other) = (open(&bucket).await, open(&bucket).await);
    let old = sleeper.claim(Role::Writer).await.unwrap();
    let new = other.claim(Role::Writer).await.unwrap();
    for ulid in ["b1", "b2", "b3", "b4"] {
        add(&other, new, ulid).await.unwrap();
    }
    for version in 1..=4 {
        bucket.delete(&names::version(TENANT, version)).await.unwrap();
    }
    // Version 2 is free again, and the sleeper knows version 1.
    let error = add(&sleeper, old, "zombie").await.unwrap_err();
    assert!(matches!(error, ManifestError::Fenced { .. }), "{error}");
    assert_eq!(ulids(&open(&bucket).await.latest()), ["b1", "b2", "b3", "b4"]);
    assert!(bucket.get(&names::version(TENANT, 2)).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn damaged_and_newer_manifests_are_named() {
    let bucket = Bucket::in_memory();
    let key = names::version(TENANT, 1);
    let open = || ManifestChain::open(bucket.clone(), TENANT, system_clock());
    let manifest = Manifest { version: 1, ..Manifest::empty(TENANT) };
    let bytes = manifest.encode();
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x20;
        bucket.put(&key, damaged.into()).await.unwrap();
        match open().await {
            // A bit of the frame's header may say nothing.
            Ok(chain) => assert_eq!(*chain.latest(), manifest, "byte {at}"),
            Err(error) => {
                assert!(matches!(error, ManifestError::Damaged { .. }), "byte {at}: {error}");
                assert!(error.to_string().contains(&key), "{error}");
            }
        }
    }
    for cut in 0..bytes.len() {
        assert!(Manifest::decode(&key, &bytes[..cut]).is_err(), "{cut}");
    }
    let newer = Manifest { format_version: FORMAT_VERSION + 1, ..manifest.clone() };
    bucket.put(&key, newer.encode().into()).await.unwrap();
    assert!(matches!(open().await.unwrap_err(), ManifestError::Newer { found: 3, known: FORMAT_VERSION, .. }));
    let moved = Manifest { version: 3, ..manifest };
    bucket.put(&key, moved.encode().into()).await.unwrap();
    let error = open().await.unwrap_err();
    assert!(error.to_string().contains("version 3 of tenant team/a"), "{error}");
}

#[tokio::test]
async fn an_outage_of_the_store_is_an_error_and_passes() {
    let store = FaultyStore::new(BucketStore::in_memory(), 1);
    let policy = RetryPolicy { deadline: Duration::from_millis(150), ..RetryPolicy::default() };
    let chain = open(&Bucket::new(store.store(), "", policy, 1)).await;
    let epoch = chain.claim(Role::Writer).await.unwrap();
    store.set_outage(true);
    assert!(matches!(add(&chain, epoch, "b1").await, Err(ManifestError::Bucket(_))));
    assert!(chain.refresh().await.is_err());
    store.set_outage(false);
    assert_eq!(ulids(&add(&chain, epoch, "b1").await.unwrap()), ["b1"]);
}

#[tokio::test]
async fn garbage_is_collected_when_nobody_can_need_it_any_more() {
    let bucket = Bucket::in_memory();
    let (now, clock) = clock();
    let chain = ManifestChain::open(bucket.clone(), TENANT, clock).await.unwrap();
    let collect = async |now: &AtomicI64| {
        collect_garbage(&chain, now.load(Ordering::Relaxed), GarbageOptions::default()).await.unwrap()
    };
    let (kept, replaced, orphan) = ("1".repeat(26), "2".repeat(26), "3".repeat(26));
    for ulid in [&kept, &replaced, &orphan] {
        let key = format!("{}series.parquet", block(ulid, 0, 0).prefix());
        bucket.put(&key, Bytes::from_static(b"rows")).await.unwrap();
    }
    bucket.put("t=team%2Fa/notes.txt", Bytes::from_static(b"mine")).await.unwrap();
    // Without a manifest nothing is garbage, however old.
    now.fetch_add(100 * HOUR_MS, Ordering::Relaxed);
    assert_eq!(collect(&now).await, Collected::default());
    now.fetch_sub(100 * HOUR_MS, Ordering::Relaxed);

    let epoch = chain.claim(Role::Compactor).await.unwrap();
    add(&chain, epoch, &replaced).await.unwrap();
    chain
        .commit(epoch, |manifest| manifest.replace_blocks(std::slice::from_ref(&replaced), vec![block(&kept, 1, 0)]))
        .await
        .unwrap();
    assert_eq!(collect(&now).await, Collected::default());
    now.fetch_add(HOUR_MS, Ordering::Relaxed);
    assert_eq!(collect(&now).await, Collected { removed_files: 1, bytes: 4, ..Collected::default() });
    assert_eq!(collect(&now).await, Collected::default());
    now.fetch_add(24 * HOUR_MS, Ordering::Relaxed);
    let collected = collect(&now).await;
    assert_eq!((collected.orphan_files, collected.versions), (1, 1));
    let left: Vec<_> = bucket.list("").await.unwrap().into_iter().map(|object| object.key).collect();
    let expected = [
        names::version(TENANT, 2),
        names::version(TENANT, 3),
        names::latest(TENANT),
        "t=team%2Fa/notes.txt".to_owned(),
        format!("{}series.parquet", block(&kept, 0, 0).prefix()),
    ];
    assert_eq!(left, expected);
}
