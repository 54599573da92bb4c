//! The store tests over Google Cloud Storage.

use super::cloud::bad_day;
use super::gcs_server::{BUCKET, GcsServer};
use super::service_account::ServiceAccount;
use super::{open, options, request_failures, suite};
use storage::bucket::{BucketError, BucketKind, BucketOptions, GcsOptions};

/// With the credentials of an account, or without any.
fn gcs_options(server: &GcsServer, account: Option<&ServiceAccount>) -> BucketOptions {
    let gcs = GcsOptions {
        bucket: BUCKET.into(),
        service_account_file: account.map(|account| account.file().display().to_string()).unwrap_or_default(),
        anonymous: account.is_none(),
        endpoint: server.endpoint(),
        allow_http: true,
    };
    BucketOptions { gcs, prefix: "some/where".into(), ..options(BucketKind::Gcs) }
}

#[tokio::test(flavor = "multi_thread")]
async fn gcs_with_a_service_account() {
    let (server, account) = (GcsServer::start(1, false).await, ServiceAccount::write());
    suite::run(&open(&gcs_options(&server, Some(&account)))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gcs_without_credentials() {
    let server = GcsServer::start(1, true).await;
    suite::run(&open(&gcs_options(&server, None))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gcs_on_a_bad_day() {
    let (server, account) = (GcsServer::start(1, false).await, ServiceAccount::write());
    server.cloud.set_faults(bad_day());
    let bucket = open(&gcs_options(&server, Some(&account)));
    suite::run(&bucket).await;
    assert!(request_failures(&bucket) > 10, "nothing failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn gcs_without_the_credentials_that_it_wants_is_denied_at_once() {
    let server = GcsServer::start(1, false).await;
    let bucket = open(&gcs_options(&server, None));
    for error in [bucket.get("a").await.unwrap_err(), bucket.list("a").await.unwrap_err()] {
        assert!(matches!(error, BucketError::Denied { .. }), "{error:?}");
    }
}

#[test]
fn credentials_of_gcs_are_given_in_one_way() {
    let gcs = GcsOptions {
        bucket: "b".into(),
        anonymous: true,
        service_account_file: "key.json".into(),
        ..GcsOptions::default()
    };
    let error = BucketOptions { gcs, ..options(BucketKind::Gcs) }.check().unwrap_err();
    assert!(matches!(error, BucketError::Option { option: "gcs.anonymous", .. }), "{error:?}");
}
