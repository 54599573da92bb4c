//! Reads and extends the chain of a tenant.
//!
//! Versions that nobody needs any more are deleted, so "the next version does not exist" means "this is the newest" only for
//! somebody whose version is young. Whoever did not look for an hour lists the chain instead of probing it, and a commit looks once
//! more after it was made, because a process can sleep between any two of its steps.

use super::change::{self, Publication};
use super::{Conflict, Epoch, Manifest, ManifestError, Role, names};
use crate::bucket::{Bucket, BucketError, Creation};
use crate::wal::pool::now_ms;
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Says what time it is, in milliseconds since the Unix epoch.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// After so long without a look the chain is listed. Versions are deleted a day after they were followed.
const PROBED_FOR_MS: i64 = 3_600_000;
/// A hint is not worth more.
const HINT_TIMEOUT: Duration = Duration::from_secs(5);
/// A commit is tried this often against others who commit at the same time.
const COMMITS_MAX: u32 = 100;

/// The system's clock.
#[must_use]
pub fn system_clock() -> Clock {
    Arc::new(now_ms)
}

/// The manifests of one tenant. One process has one of these per tenant and shares it.
pub struct ManifestChain {
    bucket: Bucket,
    tenant: String,
    clock: Clock,
    latest: watch::Sender<Arc<Manifest>>,
    looked_ms: Mutex<i64>,
    /// The version that the chain has to have, as long as nobody looked: see [`Self::from_known`].
    unconfirmed: Mutex<Option<Arc<Manifest>>>,
    /// One change at a time: those of one process would only get in each other's way.
    changing: tokio::sync::Mutex<()>,
}

impl ManifestChain {
    /// Finds the newest manifest. Where there is none the chain is empty, which is no error.
    ///
    /// # Errors
    /// The store fails, or the manifest is damaged or too new.
    pub async fn open(bucket: Bucket, tenant: &str, clock: Clock) -> Result<Self, ManifestError> {
        let chain = Self::new(bucket, Manifest::empty(tenant), clock);
        if let Some(manifest) = chain.hinted().await? {
            chain.adopt(manifest);
            chain.probe().await?;
        } else {
            chain.resolve().await?;
        }
        Ok(chain)
    }

    /// A chain of which nothing was read yet but `known` was newest once. Whatever needs more than that reads the real chain first,
    /// so nothing is published before; it has to have `known`, or a newer version if that is gone.
    #[must_use]
    pub fn from_known(bucket: Bucket, known: Manifest, clock: Clock) -> Self {
        let chain = Self::new(bucket, known, clock);
        *chain.unconfirmed.lock() = Some(chain.latest());
        chain
    }

    fn new(bucket: Bucket, latest: Manifest, clock: Clock) -> Self {
        Self {
            bucket,
            tenant: latest.tenant.clone(),
            clock,
            latest: watch::Sender::new(Arc::new(latest)),
            looked_ms: Mutex::new(i64::MIN),
            unconfirmed: Mutex::new(None),
            changing: tokio::sync::Mutex::new(()),
        }
    }

    /// Whether the chain was read since this process began.
    #[must_use]
    pub fn is_confirmed(&self) -> bool {
        self.unconfirmed.lock().is_none()
    }

    /// The newest manifest that this process knows.
    #[must_use]
    pub fn latest(&self) -> Arc<Manifest> {
        self.latest.borrow().clone()
    }

    /// Follows the newest manifest.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<Manifest>> {
        self.latest.subscribe()
    }

    /// Whose data.
    #[must_use]
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// Where the objects are.
    #[must_use]
    pub fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    /// Looks for versions that others published. Costs one request when there is none.
    ///
    /// # Errors
    /// The store fails, or a manifest is damaged or too new.
    pub async fn refresh(&self) -> Result<Arc<Manifest>, ManifestError> {
        if self.is_stale() {
            self.resolve().await?
        } else {
            self.probe().await?
        }
        Ok(self.latest())
    }

    /// Claims the right to publish in a role. Whoever held it before is refused from now on.
    ///
    /// # Errors
    /// As of [`Self::commit`].
    pub async fn claim(&self, role: Role) -> Result<Epoch, ManifestError> {
        let _changing = self.changing.lock().await;
        self.refresh().await?;
        for _ in 0..COMMITS_MAX {
            let (manifest, epoch) = change::claim(&self.latest(), role, self.publication());
            if self.publish(manifest).await? {
                return Ok(epoch);
            }
        }
        Err(ManifestError::Contended { attempts: COMMITS_MAX })
    }

    /// Publishes a change: `change` is given the newest manifest and returns what shall be true instead.
    ///
    /// It is called again whenever somebody else published in between, and should return the manifest as it is when there is
    /// nothing left to do; then nothing is published. After an error of the store the change may be published all the same;
    /// calling this again settles it, provided that the change finds its own work done ([`Manifest::replace_blocks`] does).
    ///
    /// # Errors
    /// The epoch is over ([`ManifestError::Fenced`]), the change makes no sense any more, or the store fails.
    pub async fn commit(
        &self,
        epoch: Epoch,
        mut change: impl FnMut(&Manifest) -> Result<Manifest, Conflict>,
    ) -> Result<Arc<Manifest>, ManifestError> {
        let _changing = self.changing.lock().await;
        if self.is_stale() {
            self.resolve().await?;
        }
        for _ in 0..COMMITS_MAX {
            let current = self.latest();
            change::check_epoch(&current, epoch)?;
            let wanted = change(&current)?;
            let Some(next) = change::next(&current, epoch, wanted, self.publication())? else {
                return Ok(current);
            };
            if self.publish(next).await? {
                return Ok(self.latest());
            }
        }
        Err(ManifestError::Contended { attempts: COMMITS_MAX })
    }

    /// Creates the object of a version; `false` when somebody else was faster, whose version is the latest then.
    async fn publish(&self, manifest: Manifest) -> Result<bool, ManifestError> {
        let key = names::version(&self.tenant, manifest.version);
        let creation = self.bucket.put_if_absent(&key, Bytes::from(manifest.encode())).await;
        match creation {
            Ok(Creation::Created) => {}
            Ok(Creation::Exists) => {
                self.resolve_or_probe().await?;
                return Ok(false);
            }
            Err(error) => {
                // It may exist now: what is known is not enough to decide anything on.
                *self.looked_ms.lock() = i64::MIN;
                return Err(error.into());
            }
        }
        let versions = self.versions().await?;
        if versions.last().is_some_and(|newest| *newest > manifest.version) && !self.is_followed(&manifest).await? {
            // The real one of this number was deleted while this process slept.
            self.bucket.delete(&key).await?;
            self.resolve().await?;
            return Ok(false);
        }
        let hint = Bytes::from(manifest.version.to_string());
        self.adopt(manifest);
        // Whoever finds no hint or an old one finds the newest version all the same.
        let _ = tokio::time::timeout(HINT_TIMEOUT, self.bucket.put(&names::latest(&self.tenant), hint)).await;
        Ok(true)
    }

    /// Whether the next version was built on this one.
    async fn is_followed(&self, manifest: &Manifest) -> Result<bool, ManifestError> {
        Ok(self.read(manifest.version + 1).await?.is_some_and(|next| next.parent_id == manifest.commit_id))
    }

    async fn resolve_or_probe(&self) -> Result<(), ManifestError> {
        if self.is_stale() { self.resolve().await } else { self.probe().await }
    }

    /// Reads on from the version that is known until there is no next one.
    async fn probe(&self) -> Result<(), ManifestError> {
        let now_ms = (self.clock)();
        while let Some(manifest) = self.read(self.latest().version + 1).await? {
            let latest = self.latest();
            if latest.version + 1 == manifest.version && latest.commit_id != manifest.parent_id {
                let object = names::version(&self.tenant, manifest.version);
                let what = "it does not continue the version before".to_owned();
                return Err(ManifestError::Damaged { object, what });
            }
            self.adopt(manifest);
        }
        *self.looked_ms.lock() = now_ms;
        Ok(())
    }

    /// Finds the newest version by a list.
    async fn resolve(&self) -> Result<(), ManifestError> {
        let now_ms = (self.clock)();
        loop {
            let versions = self.versions().await?;
            self.check_known(&versions).await?;
            let Some(newest) = versions.last().copied() else { break };
            // One that vanishes between list and read was deleted because there are newer ones.
            if let Some(manifest) = self.read(newest).await? {
                self.adopt(manifest);
                break;
            }
        }
        *self.unconfirmed.lock() = None;
        *self.looked_ms.lock() = now_ms;
        self.probe().await
    }

    /// Fails when the chain is not the one that was known before.
    async fn check_known(&self, versions: &[u64]) -> Result<(), ManifestError> {
        let Some(known) = self.unconfirmed.lock().clone() else { return Ok(()) };
        let newest = versions.last().copied().unwrap_or(0);
        let diverged = || ManifestError::Diverged { tenant: self.tenant.clone(), known: known.version, newest };
        if newest < known.version {
            return Err(diverged());
        }
        if versions.contains(&known.version)
            && let Some(there) = self.read(known.version).await?
            && there.commit_id != known.commit_id
        {
            return Err(diverged());
        }
        Ok(())
    }

    fn is_stale(&self) -> bool {
        let looked_ms = *self.looked_ms.lock();
        let passed_ms = (self.clock)().saturating_sub(looked_ms);
        !(0..PROBED_FOR_MS).contains(&passed_ms)
    }

    /// Numbers of all versions in the store, ascending.
    async fn versions(&self) -> Result<Vec<u64>, ManifestError> {
        let objects = self.bucket.list(&names::directory(&self.tenant)).await?;
        Ok(objects.iter().filter_map(|object| names::parse_version(&object.key)).collect())
    }

    async fn hinted(&self) -> Result<Option<Manifest>, ManifestError> {
        let bytes = match self.bucket.get(&names::latest(&self.tenant)).await {
            Ok(bytes) => bytes,
            Err(BucketError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let version = std::str::from_utf8(&bytes).ok().and_then(|text| text.trim().parse().ok());
        match version {
            Some(version) => self.read(version).await,
            None => Ok(None),
        }
    }

    /// The manifest of a version, or `None` when there is no such object.
    async fn read(&self, version: u64) -> Result<Option<Manifest>, ManifestError> {
        let key = names::version(&self.tenant, version);
        let bytes = match self.bucket.get(&key).await {
            Ok(bytes) => bytes,
            Err(BucketError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let manifest = Manifest::decode(&key, &bytes)?;
        if (manifest.version, manifest.tenant.as_str()) != (version, self.tenant.as_str()) {
            let what = format!("it says it is version {} of tenant {}", manifest.version, manifest.tenant);
            return Err(ManifestError::Damaged { object: key, what });
        }
        Ok(Some(manifest))
    }

    fn adopt(&self, manifest: Manifest) {
        self.latest.send_if_modified(|latest| {
            let is_newer = manifest.version > latest.version;
            if is_newer {
                *latest = Arc::new(manifest);
            }
            is_newer
        });
    }

    fn publication(&self) -> Publication {
        Publication { now_ms: (self.clock)(), commit_id: uuid::Uuid::new_v4().simple().to_string() }
    }
}

impl std::fmt::Debug for ManifestChain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ManifestChain").field("tenant", &self.tenant).finish_non_exhaustive()
    }
}
