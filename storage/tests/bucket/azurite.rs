//! The store tests over Microsoft's emulator of Azure, which is started by hand, with an empty container:
//!
//!     npx azurite-blob --inMemoryPersistence --blobPort 10000
//!     az storage container create --name metrics --connection-string UseDevelopmentStorage=true
//!     HEARTH_AZURITE=http://127.0.0.1:10000/devstoreaccount1 cargo test -p storage --test bucket -- --ignored azurite
//!
//! There is none for Google's XML protocol: fake-gcs-server 1.x takes no objects by it.

use super::{open, options, suite};
use storage::bucket::{AzureOptions, BucketKind, BucketOptions};

/// What every Azurite knows; Microsoft publishes both.
const ACCOUNT: &str = "devstoreaccount1";
const ACCESS_KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Azurite at the URL in HEARTH_AZURITE"]
async fn azurite() {
    let azure = AzureOptions {
        account: ACCOUNT.into(),
        container: "metrics".into(),
        access_key: ACCESS_KEY.into(),
        endpoint: std::env::var("HEARTH_AZURITE").unwrap(),
        allow_http: true,
        ..AzureOptions::default()
    };
    suite::run(&open(&BucketOptions { azure, prefix: "some/where".into(), ..options(BucketKind::Azure) })).await;
}
