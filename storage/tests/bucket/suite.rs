//! What every bucket must do.

use bytes::Bytes;
use std::path::Path;
use storage::bucket::{Bucket, BucketError, Creation, Operation};

/// Everything, on an empty bucket.
pub(crate) async fn run(bucket: &Bucket) {
    objects_are_written_read_and_removed(bucket).await;
    ranges_come_in_the_order_asked_for(bucket).await;
    an_object_is_created_once(bucket).await;
    of_many_creators_one_wins(bucket).await;
    lists_are_whole_and_sorted(bucket).await;
    files_of_every_size_arrive(bucket).await;
    requests_are_counted(bucket);
}

async fn objects_are_written_read_and_removed(bucket: &Bucket) {
    let key = "t=a%2Fb/res=raw/date=2026-09-21/block=0/ser ies.parquet";
    assert!(bucket.get(key).await.unwrap_err().is_not_found());
    assert!(bucket.size(key).await.unwrap_err().is_not_found());
    for text in ["first", "", "second"] {
        bucket.put(key, Bytes::from_static(text.as_bytes())).await.unwrap();
        assert_eq!(bucket.get(key).await.unwrap(), text);
        assert_eq!(bucket.size(key).await.unwrap(), text.len() as u64);
    }
    bucket.delete(key).await.unwrap();
    bucket.delete(key).await.unwrap();
    assert!(bucket.get(key).await.unwrap_err().is_not_found());
    for invalid in ["/a", "a//b", "../a", "a/"] {
        assert!(matches!(bucket.get(invalid).await, Err(BucketError::Key { .. } | BucketError::NotFound { .. })));
    }
}

async fn ranges_come_in_the_order_asked_for(bucket: &Bucket) {
    let bytes: Vec<u8> = (0..100_000u32).map(|i| (i * 7 % 251) as u8).collect();
    bucket.put("ranges", bytes.clone().into()).await.unwrap();
    let asked = [99_990..100_000, 0..1, 500..70_000, 7..7, 3..4, 0..100_000];
    let answers = bucket.get_ranges("ranges", &asked).await.unwrap();
    for (range, answer) in asked.iter().zip(&answers) {
        assert_eq!(answer, &bytes[range.start as usize..range.end as usize], "{range:?}");
    }
    let many: Vec<_> = (0..200).map(|i| i * 500..i * 500 + 3).collect();
    assert_eq!(bucket.get_ranges("ranges", &many).await.unwrap().len(), 200);
    for beyond in [99_999..100_001, 100_000..100_001, 200_000..200_010] {
        let error = bucket.get_ranges("ranges", &[0..1, beyond]).await.unwrap_err();
        assert!(matches!(error, BucketError::Truncated { bytes: 100_000, .. }), "{error:?}");
    }
    let missing = bucket.get_ranges("none", &[0..1, 1..2]).await.unwrap_err();
    assert!(missing.is_not_found(), "{missing:?}");
}

async fn an_object_is_created_once(bucket: &Bucket) {
    let create = |text: &'static str| bucket.put_if_absent("once", Bytes::from_static(text.as_bytes()));
    assert_eq!(create("mine").await.unwrap(), Creation::Created);
    assert_eq!(create("other").await.unwrap(), Creation::Exists);
    assert_eq!(create("mine").await.unwrap(), Creation::Created, "the same bytes are what was asked for");
    assert_eq!(bucket.get("once").await.unwrap(), "mine");
}

async fn of_many_creators_one_wins(bucket: &Bucket) {
    for round in 0..4 {
        let creators = (0..16).map(|creator| {
            let bucket = bucket.clone();
            tokio::spawn(async move {
                bucket.put_if_absent(&format!("race/{round}"), Bytes::from(format!("creator {creator}"))).await.unwrap()
            })
        });
        let outcomes: Vec<_> = futures::future::join_all(creators).await.into_iter().map(Result::unwrap).collect();
        let winners: Vec<_> = (0..16).filter(|creator| outcomes[*creator] == Creation::Created).collect();
        assert_eq!(winners.len(), 1, "{winners:?}");
        assert_eq!(bucket.get(&format!("race/{round}")).await.unwrap(), format!("creator {}", winners[0]));
    }
}

async fn lists_are_whole_and_sorted(bucket: &Bucket) {
    let mut expected = Vec::new();
    for i in 0..10 {
        for key in [format!("list/a/{i}"), format!("list/a-{i}/x"), format!("list/b/{i}")] {
            bucket.put(&key, Bytes::from(vec![0; i])).await.unwrap();
            expected.push((key, i as u64));
        }
    }
    expected.sort();
    let list = async |prefix: &str| -> Vec<(String, u64)> {
        bucket.list(prefix).await.unwrap().into_iter().map(|object| (object.key, object.bytes)).collect()
    };
    assert_eq!(list("list").await, expected);
    let below: Vec<_> = expected.into_iter().filter(|(key, _)| key.starts_with("list/a/")).collect();
    assert_eq!(list("list/a").await, below);
    assert_eq!(list("list/a/").await, below);
    assert_eq!(list("list/none").await, []);
    let all = bucket.list("").await.unwrap();
    assert!(all.len() > 30);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    assert!(all.iter().all(|object| (now - object.modified_ms).abs() < 600_000), "{all:?}");
}

async fn files_of_every_size_arrive(bucket: &Bucket) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    for bytes in [0, 1, 16 << 20, (16 << 20) + 1, 24 << 20] {
        let content: Vec<u8> = (0..bytes as u32).map(|i| (i ^ (i >> 11)) as u8).collect();
        std::fs::write(&file, &content).unwrap();
        for attempt in 0..2 {
            assert_eq!(bucket.upload_file("up/load", &file).await.unwrap(), bytes, "attempt {attempt}");
        }
        let stored = bucket.get("up/load").await.unwrap();
        assert!(stored == content, "{bytes} bytes differ");
    }
    let missing = bucket.upload_file("up/load", &directory.path().join("missing")).await.unwrap_err();
    assert!(matches!(missing, BucketError::File { .. }), "{missing:?}");
}

/// What a process that was killed leaves in the directory is hidden from lists and swept when it is old.
pub(crate) async fn leftovers_of_crashes_are_removed(bucket: &Bucket, root: &Path) {
    std::fs::create_dir_all(root.join("t=x/deep")).unwrap();
    std::fs::write(root.join("t=x/deep/series.parquet#0"), "half").unwrap();
    std::fs::write(root.join("t=x/deep/whole"), "whole").unwrap();
    let keys: Vec<_> = bucket.list("t=x").await.unwrap().into_iter().map(|object| object.key).collect();
    assert_eq!(keys, ["t=x/deep/whole"]);
    assert_eq!(bucket.remove_unfinished("t=x", 1_000).await.unwrap(), 0);
    assert_eq!(bucket.remove_unfinished("t=x", i64::MAX).await.unwrap(), 1);
    assert_eq!(bucket.remove_unfinished("t=none", i64::MAX).await.unwrap(), 0);
    assert_eq!(bucket.get("t=x/deep/whole").await.unwrap(), "whole");
}

fn requests_are_counted(bucket: &Bucket) {
    let snapshot = bucket.metrics();
    for operation in &snapshot.operations {
        assert!(operation.requests > 0, "{}", operation.operation);
        assert_eq!(operation.seconds_buckets.iter().sum::<u64>(), operation.requests);
        match operation.operation {
            Operation::GetRange => assert!(operation.failures > 0, "{operation:?}"),
            // Begun again when the answer to the last request was lost.
            Operation::Upload => {}
            _ => assert_eq!(operation.failures, 0, "{operation:?}"),
        }
    }
}
