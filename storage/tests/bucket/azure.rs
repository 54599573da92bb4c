//! The store tests over Azure Blob Storage.

use super::azure_server::{ACCESS_KEY, ACCOUNT, AzureServer, CONTAINER, SAS_TOKEN};
use super::cloud::bad_day;
use super::{open, options, request_failures, suite};
use bytes::Bytes;
use storage::bucket::testing::Faults;
use storage::bucket::{AzureOptions, BucketError, BucketKind, BucketOptions};

fn azure_options(server: &AzureServer) -> BucketOptions {
    let azure = AzureOptions {
        account: ACCOUNT.into(),
        container: CONTAINER.into(),
        access_key: ACCESS_KEY.into(),
        endpoint: server.endpoint(),
        allow_http: true,
        ..AzureOptions::default()
    };
    BucketOptions { azure, prefix: "some/where".into(), ..options(BucketKind::Azure) }
}

#[tokio::test(flavor = "multi_thread")]
async fn azure_with_an_access_key() {
    let server = AzureServer::start(1, false).await;
    suite::run(&open(&azure_options(&server))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn azure_with_a_shared_access_signature() {
    let server = AzureServer::start(1, false).await;
    let mut options = azure_options(&server);
    options.azure.access_key = "".into();
    options.azure.sas_token = SAS_TOKEN.into();
    suite::run(&open(&options)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn azure_on_a_bad_day() {
    let server = AzureServer::start(1, false).await;
    server.cloud.set_faults(bad_day());
    let bucket = open(&azure_options(&server));
    suite::run(&bucket).await;
    assert!(request_failures(&bucket) > 10, "nothing failed");
}

/// A batch is accepted as a whole, and some of its parts are turned away.
#[tokio::test(flavor = "multi_thread")]
async fn deletions_that_a_busy_server_turns_away_are_repeated() {
    let server = AzureServer::start(1, false).await;
    let bucket = open(&azure_options(&server));
    let keys: Vec<_> = (0..20).map(|i| format!("a/{i}")).collect();
    for key in &keys {
        bucket.put(key, Bytes::from_static(b"x")).await.unwrap();
    }
    server.cloud.set_faults(Faults { slow_down: 0.3, ..Faults::default() });
    for key in &keys {
        bucket.delete(key).await.unwrap();
    }
    server.cloud.set_faults(Faults::default());
    assert_eq!(bucket.list("a").await.unwrap(), []);
}

/// The emulator, and services of an older version, begin each list at its begin.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_begins_again_names_nothing_twice() {
    let server = AzureServer::start(3, true).await;
    let bucket = open(&azure_options(&server));
    let keys: Vec<_> = (0..20).map(|i| format!("a/{i:02}")).collect();
    for key in &keys {
        bucket.put(key, Bytes::from_static(b"x")).await.unwrap();
    }
    server.cloud.set_faults(Faults { slow_down: 0.2, ..Faults::default() });
    let before = request_failures(&bucket);
    let found: Vec<_> = bucket.list("a").await.unwrap().into_iter().map(|object| object.key).collect();
    assert_eq!(found, keys);
    assert!(request_failures(&bucket) > before, "no request failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn azure_with_a_wrong_key_is_denied_at_once() {
    let server = AzureServer::start(1, false).await;
    let mut options = azure_options(&server);
    options.azure.access_key = "d3Jvbmc=".into();
    let bucket = open(&options);
    let errors = [
        bucket.get("a").await.unwrap_err(),
        bucket.list("a").await.unwrap_err(),
        bucket.put("a", Bytes::new()).await.unwrap_err(),
        bucket.delete("a").await.unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, BucketError::Denied { .. }), "{error:?}");
    }
}

#[test]
fn credentials_of_azure_are_given_in_one_way() {
    let azure = AzureOptions {
        account: "a".into(),
        container: "c".into(),
        access_key: ACCESS_KEY.into(),
        sas_token: SAS_TOKEN.into(),
        ..AzureOptions::default()
    };
    let error = BucketOptions { azure, ..options(BucketKind::Azure) }.check().unwrap_err();
    assert!(matches!(error, BucketError::Option { option: "azure.sas_token", .. }), "{error:?}");
}
