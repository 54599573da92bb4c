//! Opens the store that the options name.

use super::options::{AzureOptions, BucketKind, BucketOptions, GcsOptions, S3Encryption, S3Options};
use super::store::{BucketStore, Connector};
use super::{Bucket, BucketError};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::{ClientOptions, RetryConfig};
use std::path::Path;
use std::sync::Arc;

impl Bucket {
    /// Opens a bucket. `data` is the directory of all data, below which a directory store is by default.
    ///
    /// Nothing is asked of a remote store yet: whether it can be reached shows with the first operation.
    ///
    /// # Errors
    /// An option cannot work, or the directory cannot be made.
    pub fn open(options: &BucketOptions, data: &Path) -> Result<Self, BucketError> {
        options.check()?;
        let store = match options.kind {
            BucketKind::Memory => BucketStore::in_memory(),
            BucketKind::Filesystem => BucketStore::filesystem(&options.directory(data))?,
            BucketKind::S3 => open_s3(&options.s3, options)?,
            BucketKind::Gcs => open_gcs(&options.gcs, options)?,
            BucketKind::Azure => open_azure(&options.azure, options)?,
        };
        Ok(Self::new(store, &options.prefix, options.retry_policy(), rand::random()))
    }
}

fn open_s3(s3: &S3Options, options: &BucketOptions) -> Result<BucketStore, BucketError> {
    // Keys of the file and tokens of the environment must not be mixed.
    let mut builder = if s3.access_key_id.is_empty() {
        AmazonS3Builder::from_env()
    } else {
        AmazonS3Builder::new()
            .with_access_key_id(&s3.access_key_id)
            .with_secret_access_key(s3.secret_access_key.expose())
    };
    if !s3.session_token.is_empty() {
        builder = builder.with_token(s3.session_token.expose());
    }
    if !s3.region.is_empty() {
        builder = builder.with_region(&s3.region);
    }
    if !s3.endpoint.is_empty() {
        // The second one is what the environment may have set; it would win.
        builder = builder.with_endpoint(&s3.endpoint).with_config(AmazonS3ConfigKey::S3Endpoint, &s3.endpoint);
    }
    builder = match s3.encryption {
        S3Encryption::Default => builder,
        S3Encryption::SseS3 => {
            builder.with_config("server_side_encryption".parse().map_err(refused("s3.encryption"))?, "AES256")
        }
        S3Encryption::SseKms => builder.with_sse_kms_encryption(&s3.kms_key_id),
    };
    let store = builder
        .with_bucket_name(&s3.bucket)
        .with_virtual_hosted_style_request(s3.virtual_hosted_style)
        .with_client_options(client_options(options, s3.allow_http))
        .with_allow_http(s3.allow_http)
        .with_retry(no_retries())
        // Deleting many at once is what fewer of the compatible services have.
        .with_disable_bulk_delete(true)
        .with_http_connector(Connector)
        .build()
        .map_err(refused("s3"))?;
    Ok(BucketStore::new(Arc::new(store)))
}

fn open_gcs(gcs: &GcsOptions, options: &BucketOptions) -> Result<BucketStore, BucketError> {
    // Credentials of the file and of the environment must not be mixed.
    let mut builder = if gcs.anonymous {
        GoogleCloudStorageBuilder::new().with_bearer_token("").with_skip_signature(true)
    } else if gcs.service_account_file.is_empty() {
        GoogleCloudStorageBuilder::from_env()
    } else {
        GoogleCloudStorageBuilder::new().with_service_account_path(&gcs.service_account_file)
    };
    if !gcs.endpoint.is_empty() {
        builder = builder.with_base_url(&gcs.endpoint);
    }
    let store = builder
        .with_bucket_name(&gcs.bucket)
        .with_client_options(client_options(options, gcs.allow_http))
        .with_retry(no_retries())
        .with_http_connector(Connector)
        .build()
        .map_err(refused("gcs"))?;
    Ok(BucketStore::new(Arc::new(store)))
}

fn open_azure(azure: &AzureOptions, options: &BucketOptions) -> Result<BucketStore, BucketError> {
    // Credentials of the file and of the environment must not be mixed.
    let mut builder = if !azure.access_key.is_empty() {
        MicrosoftAzureBuilder::new().with_access_key(azure.access_key.expose())
    } else if !azure.sas_token.is_empty() {
        MicrosoftAzureBuilder::new().with_config(AzureConfigKey::SasKey, azure.sas_token.expose())
    } else {
        MicrosoftAzureBuilder::from_env()
    };
    if !azure.endpoint.is_empty() {
        builder = builder.with_endpoint(azure.endpoint.clone());
    }
    let store = builder
        .with_account(&azure.account)
        .with_container_name(&azure.container)
        .with_client_options(client_options(options, azure.allow_http))
        .with_allow_http(azure.allow_http)
        .with_retry(no_retries())
        .with_http_connector(Connector)
        .build()
        .map_err(refused("azure"))?;
    Ok(BucketStore::new(Arc::new(store)))
}

fn client_options(options: &BucketOptions, allow_http: bool) -> ClientOptions {
    ClientOptions::new()
        .with_allow_http(allow_http)
        .with_timeout(options.request_timeout)
        .with_user_agent(object_store::HeaderValue::from_static(concat!("Hearth/", env!("CARGO_PKG_VERSION"))))
}

/// Requests are repeated by [`Bucket`], in the same way for every kind of store.
fn no_retries() -> RetryConfig {
    RetryConfig { max_retries: 0, ..RetryConfig::default() }
}

fn refused(option: &'static str) -> impl FnOnce(object_store::Error) -> BucketError {
    move |error| BucketError::Option { option, why: error.to_string() }
}
