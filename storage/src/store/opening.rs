//! How a store is opened, with the object store or without it, and how it follows what is published.
//!
//! A start does not wait for an object store that does not answer: it goes on with the manifest that was newest when this
//! directory was last used, or with nothing in a directory that nobody ever used, whose head cannot be in any block. What was
//! published since is not known then, so whoever asks for samples that may be there is refused. The lifecycle reads the real
//! chain as soon as it can, and publishes nothing before.

use super::known::{KnownManifest, is_new};
use super::view::BlockView;
use super::{Counters, Inner, Io, Shared, Store, StoreError, StoreOptions};
use crate::block::read::BlockCaches;
use crate::bucket::Bucket;
use crate::engine::Engine;
use crate::error::ErrorKind;
use crate::lifecycle::damage::Damage;
use crate::lifecycle::deletion_jobs::DeletionJobs;
use crate::lifecycle::relief::Shortage;
use crate::lifecycle::worker::Worker;
use crate::manifest::{Manifest, ManifestChain, system_clock};
use crate::wal::pool::now_ms;
use crate::wal::replay::ReplayProgress;
use parking_lot::{Mutex, RwLock};
use std::sync::Arc;

/// What the stores of all tenants of a process share.
struct Common {
    bucket: Bucket,
    io: Io,
    caches: BlockCaches,
    merging: Arc<Mutex<()>>,
}

impl Store {
    /// Opens the directory, finds the blocks, and brings the head back. When the object store does not answer within
    /// [`StoreOptions::open_timeout`], with the blocks that were known when the directory was last used: see [`Self::away`].
    ///
    /// # Errors
    /// As [`Engine::open`]; or the newest manifest cannot be read; or the object store does not answer and nothing is known about
    /// it ([`StoreError::Away`]), which may be tried again.
    pub fn open(options: StoreOptions, progress: &ReplayProgress) -> Result<Self, StoreError> {
        std::fs::create_dir_all(&options.engine.path).map_err(StoreError::io("create", &options.engine.path))?;
        let bucket = Bucket::open(&options.bucket, &options.engine.path)?;
        Self::open_on(bucket, options, progress)
    }

    /// As [`Self::open`], for another tenant of this process: both have their blocks in one bucket, share the cache and the
    /// threads that wait for the bucket, and merge blocks one after the other. What `options` says about those does not count.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_beside(&self, options: StoreOptions, progress: &ReplayProgress) -> Result<Self, StoreError> {
        let Shared { bucket, io, caches, merging, .. } = &*self.inner.shared;
        let common =
            Common { bucket: bucket.clone(), io: io.clone(), caches: caches.clone(), merging: Arc::clone(merging) };
        Self::open_with(common, options, progress)
    }

    /// As [`Self::open`], with blocks in `bucket` instead of where the options say.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_on(bucket: Bucket, options: StoreOptions, progress: &ReplayProgress) -> Result<Self, StoreError> {
        let caches = BlockCaches::new(options.cache_bytes_max, options.cache_tenant_share);
        let common = Common { bucket, io: Io::start()?, caches, merging: Arc::default() };
        Self::open_with(common, options, progress)
    }

    fn open_with(common: Common, options: StoreOptions, progress: &ReplayProgress) -> Result<Self, StoreError> {
        let Common { bucket, io, caches, merging } = common;
        std::fs::create_dir_all(&options.engine.path).map_err(StoreError::io("create", &options.engine.path))?;
        let known = KnownManifest::new(&options.engine.path, &bucket, &options.tenant);
        let (chain, away) = open_chain(&io, &bucket, &options, &known)?;
        let manifest = chain.latest();
        let flushed = manifest.flushed.unwrap_or_default();
        let mut view = BlockView::new(Arc::clone(&manifest), None, &bucket, &caches)?;
        let engine = Engine::open_flushed(&options.engine, progress, &flushed)?;
        let deletions = DeletionJobs::open(&options.engine.path);
        if away.is_none() {
            deletions.follow(&manifest, now_ms());
        }
        match away {
            Some(why) => view = view.away(why),
            None => known.keep(&manifest)?,
        }
        let shared = Arc::new(Shared {
            engine,
            io,
            bucket,
            chain: Arc::new(chain),
            caches,
            merging,
            retention: RwLock::new(Arc::new(options.retention.clone())),
            options,
            view: RwLock::new(Arc::new(view)),
            known,
            counters: Counters::default(),
            damage: Damage::default(),
            shortage: Shortage::default(),
            deletions,
            closed: Mutex::default(),
        });
        shared.refuse_what_is_not_kept();
        let worker = Worker::start(Arc::clone(&shared))?;
        Ok(Self { inner: Arc::new(Inner { worker: Mutex::new(Some(worker)), shared }) })
    }

    /// Why the object store did not answer at the start, as long as it has not answered since. Until then appends are taken
    /// and recent samples are read, and nothing is flushed.
    #[must_use]
    pub fn away(&self) -> Option<Arc<str>> {
        self.inner.shared.view().away.as_ref().map(|away| Arc::clone(&away.why))
    }
}

impl Shared {
    /// Lets readers see what the newest manifest names.
    ///
    /// # Errors
    /// A tombstone is none, or the local copy of the manifest is out of date and cannot be removed.
    pub(crate) fn follow(&self) -> Result<(), StoreError> {
        let (before, manifest) = (self.view(), self.chain.latest());
        let returned = before.away.is_some() && self.chain.is_confirmed();
        if before.manifest.version == manifest.version && !returned {
            return Ok(());
        }
        self.known.keep(&manifest)?;
        let view = BlockView::new(Arc::clone(&manifest), Some(&before), &self.bucket, &self.caches)?;
        *self.view.write() = Arc::new(view);
        self.refuse_what_is_not_kept();
        self.deletions.follow(&manifest, now_ms());
        if returned {
            let own = |flushed: &crate::head::FlushedState| flushed.directory == self.engine.directory();
            if let Some(flushed) = manifest.flushed.filter(own) {
                self.engine.head().pass_flushed(&flushed);
            }
            // What was deleted meanwhile is hidden from now on.
            self.engine.head().note_all_changed();
        }
        Ok(())
    }
}

/// The chain, or what is known about it and why it is not more.
fn open_chain(
    io: &Io,
    bucket: &Bucket,
    options: &StoreOptions,
    known: &KnownManifest,
) -> Result<(ManifestChain, Option<Arc<str>>), StoreError> {
    let patience = options.open_timeout;
    let (tenant, of) = (options.tenant.clone(), bucket.clone());
    let asked = async move { tokio::time::timeout(patience, ManifestChain::open(of, &tenant, system_clock())).await };
    let (why, may_be_new) = match io.wait(asked) {
        Ok(Ok(chain)) => return Ok((chain, None)),
        Ok(Err(error)) if error.kind() != ErrorKind::Unavailable => return Err(error.into()),
        // What a store refuses is more likely a mistake in the configuration than an outage.
        Ok(Err(error)) => (StoreError::from(error.clone()).to_line(), error.is_outage()),
        Err(_) => (format!("no answer within {patience:?}"), true),
    };
    let manifest = match known.load() {
        Ok(Some(manifest)) => manifest,
        Ok(None) if may_be_new && is_new(&options.engine.path) => {
            // The directory will look used at the next start, and this one is the first.
            let manifest = Manifest { created_ms: now_ms(), ..Manifest::empty(&options.tenant) };
            known.keep(&manifest)?;
            manifest
        }
        Ok(None) => return Err(StoreError::Away { why }),
        Err(error) => return Err(StoreError::Away { why: format!("{why}; {}", error.to_line()) }),
    };
    Ok((ManifestChain::from_known(bucket.clone(), manifest, system_clock()), Some(why.into())))
}
