//! Where blocks are kept, as a user says it.

use super::{BucketError, RetryPolicy};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Where blocks are kept. A change needs a restart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BucketOptions {
    /// Which kind of store; the section of the same name says more about it. `memory` forgets everything and is for tests.
    #[serde(rename = "type")]
    pub kind: BucketKind,
    /// Put before the names of all objects, so that several installations can share a bucket.
    pub prefix: String,
    /// How long one request to the store may take; large objects take several.
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub request_timeout: Duration,
    /// How long a failed request is repeated before the operation fails.
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub retry_timeout: Duration,
    /// A directory.
    pub filesystem: FilesystemOptions,
    /// Amazon S3 and everything that speaks its protocol.
    pub s3: S3Options,
    /// Google Cloud Storage.
    pub gcs: GcsOptions,
    /// Azure Blob Storage.
    pub azure: AzureOptions,
}

/// Which kind of store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BucketKind {
    /// A directory.
    Filesystem,
    /// Amazon S3 and everything that speaks its protocol.
    S3,
    /// Google Cloud Storage.
    Gcs,
    /// Azure Blob Storage.
    Azure,
    /// The memory of the process.
    Memory,
}

/// A directory.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FilesystemOptions {
    /// Its path; empty means `blocks` below `--storage.path`.
    pub directory: String,
}

/// Amazon S3 and everything that speaks its protocol.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct S3Options {
    /// Name of the bucket.
    pub bucket: String,
    /// Region of the bucket; empty means `AWS_REGION`, then `us-east-1`.
    pub region: String,
    /// URL of the service, such as `https://minio.example:9000`; empty means Amazon's for the region.
    pub endpoint: String,
    /// Whether the bucket is part of the host name (then it has to be in `endpoint`, too) instead of the path.
    pub virtual_hosted_style: bool,
    /// Whether requests may go without TLS.
    pub allow_http: bool,
    /// Key with which requests are signed. Empty: from the environment (`AWS_ACCESS_KEY_ID`), a web identity, the container or the
    /// metadata service of the instance, whichever there is first.
    pub access_key_id: String,
    /// Secret of that key. Printed as `<secret>`.
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub secret_access_key: Secret,
    /// Token of temporary credentials. Printed as `<secret>`.
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub session_token: Secret,
    /// How the service encrypts what it stores.
    pub encryption: S3Encryption,
    /// Key of the key management service, for `sse-kms`.
    pub kms_key_id: String,
}

/// How S3 encrypts what it stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum S3Encryption {
    /// As the bucket says.
    #[default]
    Default,
    /// With keys of S3.
    #[serde(rename = "sse-s3")]
    SseS3,
    /// With a key of the key management service.
    SseKms,
}

/// Google Cloud Storage.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GcsOptions {
    /// Name of the bucket.
    pub bucket: String,
    /// File with the key of a service account. Empty: from the environment (`GOOGLE_SERVICE_ACCOUNT`), the default credentials of
    /// the user or the metadata service.
    pub service_account_file: String,
    /// Whether requests go without credentials: for emulators and public buckets.
    pub anonymous: bool,
    /// URL of the service; empty means Google's.
    pub endpoint: String,
    /// Whether requests may go without TLS.
    pub allow_http: bool,
}

/// Azure Blob Storage.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AzureOptions {
    /// Name of the storage account.
    pub account: String,
    /// Name of the container.
    pub container: String,
    /// Key of the account. Without it and `sas_token`: from the environment (`AZURE_…`), a workload identity or the metadata
    /// service. Printed as `<secret>`.
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub access_key: Secret,
    /// Shared access signature that allows reading, writing, deleting and listing in the container, instead of a key. Printed as
    /// `<secret>`.
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub sas_token: Secret,
    /// URL of the service, with the account in its path where the host name has none (`http://127.0.0.1:10000/account`); empty
    /// means Microsoft's for the account.
    pub endpoint: String,
    /// Whether requests may go without TLS.
    pub allow_http: bool,
}

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether none was given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("<secret>")
    }
}

impl Default for BucketOptions {
    fn default() -> Self {
        Self {
            kind: BucketKind::Filesystem,
            prefix: String::new(),
            request_timeout: Duration::from_secs(30),
            retry_timeout: Duration::from_secs(60),
            filesystem: FilesystemOptions::default(),
            s3: S3Options::default(),
            gcs: GcsOptions::default(),
            azure: AzureOptions::default(),
        }
    }
}

impl BucketOptions {
    /// Refuses values that cannot work.
    ///
    /// # Errors
    /// [`BucketError::Option`] with the first of them.
    pub fn check(&self) -> Result<(), BucketError> {
        if self.request_timeout.is_zero() {
            return refuse("request_timeout", "must be greater than 0");
        }
        if self.retry_timeout.is_zero() {
            return refuse("retry_timeout", "must be greater than 0");
        }
        if object_store::path::Path::parse(&self.prefix).is_err() {
            return refuse("prefix", "must be parts of a path, joined by single slashes");
        }
        match self.kind {
            BucketKind::Filesystem | BucketKind::Memory => Ok(()),
            BucketKind::S3 => self.s3.check(),
            BucketKind::Gcs => self.gcs.check(),
            BucketKind::Azure => self.azure.check(),
        }
    }

    /// What other programs put before the names of objects: an absolute path, or `s3://bucket/`, `gs://bucket/`,
    /// `az://container/`, with the prefix; ends in a slash. `data` is the directory of all data. `None` for a store that is
    /// in the memory of this process.
    ///
    /// # Errors
    /// The directory is not there.
    pub fn url(&self, data: &Path) -> Result<Option<String>, BucketError> {
        let root = match self.kind {
            BucketKind::Memory => return Ok(None),
            BucketKind::Filesystem => {
                let directory = self.directory(data);
                let found = directory.canonicalize();
                let failed = |source| BucketError::File { step: "find", path: directory, source: Arc::new(source) };
                found.map_err(failed)?.display().to_string()
            }
            BucketKind::S3 => format!("s3://{}", self.s3.bucket),
            BucketKind::Gcs => format!("gs://{}", self.gcs.bucket),
            BucketKind::Azure => format!("az://{}", self.azure.container),
        };
        let parts = [root.as_str(), self.prefix.trim_matches('/')];
        Ok(Some(parts.into_iter().filter(|part| !part.is_empty()).map(|part| format!("{part}/")).collect()))
    }

    /// Where a directory store is; `data` is the directory of all data, below which it is by default.
    pub(super) fn directory(&self, data: &Path) -> PathBuf {
        match self.filesystem.directory.as_str() {
            "" => data.join("blocks"),
            directory => directory.into(),
        }
    }

    /// How requests are repeated.
    pub(super) fn retry_policy(&self) -> RetryPolicy {
        RetryPolicy { attempt_timeout: self.request_timeout, deadline: self.retry_timeout, ..RetryPolicy::default() }
    }
}

impl S3Options {
    fn check(&self) -> Result<(), BucketError> {
        if self.bucket.is_empty() {
            return refuse("s3.bucket", "must be given");
        }
        if self.access_key_id.is_empty() != self.secret_access_key.is_empty() {
            return refuse("s3.secret_access_key", "must be given together with access_key_id");
        }
        if self.kms_key_id.is_empty() == (self.encryption == S3Encryption::SseKms) {
            return refuse("s3.kms_key_id", "must be given for sse-kms and for nothing else");
        }
        check_endpoint("s3.endpoint", &self.endpoint, self.allow_http)
    }
}

impl GcsOptions {
    fn check(&self) -> Result<(), BucketError> {
        if self.bucket.is_empty() {
            return refuse("gcs.bucket", "must be given");
        }
        if self.anonymous && !self.service_account_file.is_empty() {
            return refuse("gcs.anonymous", "must not be given together with service_account_file");
        }
        check_endpoint("gcs.endpoint", &self.endpoint, self.allow_http)
    }
}

impl AzureOptions {
    fn check(&self) -> Result<(), BucketError> {
        if self.account.is_empty() {
            return refuse("azure.account", "must be given");
        }
        if self.container.is_empty() {
            return refuse("azure.container", "must be given");
        }
        if !self.access_key.is_empty() && !self.sas_token.is_empty() {
            return refuse("azure.sas_token", "must not be given together with access_key");
        }
        check_endpoint("azure.endpoint", &self.endpoint, self.allow_http)
    }
}

fn check_endpoint(option: &'static str, endpoint: &str, allow_http: bool) -> Result<(), BucketError> {
    if endpoint.is_empty() || endpoint.starts_with("https://") || (allow_http && endpoint.starts_with("http://")) {
        return Ok(());
    }
    refuse(option, "must begin with https://, or with http:// when allow_http is set")
}

fn refuse(option: &'static str, why: &str) -> Result<(), BucketError> {
    Err(BucketError::Option { option, why: why.to_owned() })
}

/// Durations as Prometheus writes them.
mod duration {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use std::time::Duration;

    pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        serializer.serialize_str(&model::time::format_duration(millis))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let millis = model::time::parse_duration(&String::deserialize(deserializer)?).map_err(D::Error::custom)?;
        Ok(Duration::from_millis(millis.unsigned_abs()))
    }

    pub(super) fn schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "title": "duration"})
    }
}
