//! Every kind of store must behave the same: in memory, in a directory, over S3 as two servers speak it, and over the protocols of
//! Google Cloud Storage and Azure Blob Storage; servers of our own have good and bad days.

#![allow(clippy::unwrap_used, reason = "a test that panics fails, as it should")]

mod azure;
mod azure_server;
mod azurite;
mod cloud;
mod gcs;
mod gcs_server;
mod golden;
mod http;
mod moto;
mod s3_server;
mod service_account;
mod suite;

use s3_server::{ACCESS_KEY, BUCKET, S3Server, SECRET_KEY};
use std::path::Path;
use std::time::Duration;
use storage::bucket::testing::FaultyStore;
use storage::bucket::{Bucket, BucketKind, BucketOptions, BucketStore, RetryPolicy, S3Options};

fn options(kind: BucketKind) -> BucketOptions {
    BucketOptions { kind, ..BucketOptions::default() }
}

fn s3_options(endpoint: &str) -> BucketOptions {
    let s3 = S3Options {
        bucket: BUCKET.into(),
        region: "eu-central-1".into(),
        endpoint: endpoint.into(),
        allow_http: true,
        access_key_id: ACCESS_KEY.into(),
        secret_access_key: SECRET_KEY.into(),
        ..S3Options::default()
    };
    BucketOptions { s3, prefix: "some/where".into(), ..options(BucketKind::S3) }
}

fn open(options: &BucketOptions) -> Bucket {
    Bucket::open(options, Path::new("/nonexistent")).unwrap()
}

/// How many requests failed so far, and were perhaps repeated.
fn request_failures(bucket: &Bucket) -> u64 {
    bucket.metrics().operations.iter().map(|operation| operation.request_failures).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn memory() {
    suite::run(&open(&options(BucketKind::Memory))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn directory() {
    let data = tempfile::tempdir().unwrap();
    let bucket = Bucket::open(&options(BucketKind::Filesystem), data.path()).unwrap();
    suite::run(&bucket).await;
    suite::leftovers_of_crashes_are_removed(&bucket, &data.path().join("blocks")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s3() {
    let server = S3Server::start(1).await;
    suite::run(&open(&s3_options(&server.endpoint()))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_on_a_bad_day() {
    let server = S3Server::start(1).await;
    server.cloud.set_faults(cloud::bad_day());
    let bucket = open(&s3_options(&server.endpoint()));
    suite::run(&bucket).await;
    assert!(request_failures(&bucket) > 10, "nothing failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_on_a_bad_day() {
    for seed in 0..3 {
        println!("seed {seed}");
        let store = FaultyStore::new(BucketStore::in_memory(), seed);
        store.set_faults(cloud::bad_day());
        let policy = RetryPolicy { pause_min: Duration::from_millis(2), ..RetryPolicy::default() };
        suite::run(&Bucket::new(store.store(), "a/b", policy, seed)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_with_wrong_keys_is_denied_at_once() {
    let server = S3Server::start(1).await;
    let mut options = s3_options(&server.endpoint());
    options.s3.secret_access_key = "wrong".into();
    let error = open(&options).get("a").await.unwrap_err();
    assert!(matches!(error, storage::bucket::BucketError::Denied { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_tried_until_the_deadline() {
    let mut options = s3_options("http://127.0.0.1:9");
    options.retry_timeout = Duration::from_millis(500);
    let bucket = open(&options);
    let error = bucket.get("a").await.unwrap_err();
    assert!(matches!(error, storage::bucket::BucketError::Unavailable { attempts: 2.., .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn moto() {
    let Some(server) = moto::Moto::start().await else { return };
    let endpoint = server.endpoint();
    suite::run(&open(&s3_options(&endpoint))).await;
}
