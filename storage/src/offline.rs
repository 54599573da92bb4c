//! The blocks of one tenant without a running store: what the command line lists, checks, gives out and adds.
//!
//! A server may work on the same blocks meanwhile: everything goes through the chain of manifests, and files that are read stay for
//! an hour after their block left it.

mod download;
mod inspect;

pub use inspect::{ColumnSize, FileColumns};

use crate::block::meta::BlockMeta;
use crate::block::read::{Block, BlockCaches};
use crate::block::verify::{self, Verification};
use crate::bucket::{Bucket, BucketOptions};
use crate::import::ImportError;
use crate::import::work_dir::WorkDir;
use crate::manifest::{Manifest, ManifestChain, system_clock};
use crate::store::view::BlockView;
use crate::store::{Io, StoreError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of memory for parts of blocks.
const CACHE_BYTES: u64 = 64 << 20;

/// The blocks of one tenant.
pub struct BlockStore {
    io: Io,
    bucket: Bucket,
    chain: ManifestChain,
    caches: BlockCaches,
    data: PathBuf,
    tenant: String,
}

impl BlockStore {
    /// Finds the blocks. `data` is the directory of all data, for what is needed for a while, and for blocks unless they are
    /// elsewhere.
    ///
    /// # Errors
    /// The object store cannot be reached, or its newest manifest cannot be read.
    pub fn open(options: &BucketOptions, data: &Path, tenant: &str) -> Result<Self, StoreError> {
        let io = Io::start()?;
        let bucket = Bucket::open(options, data)?;
        let chain = io.wait(ManifestChain::open(bucket.clone(), tenant, system_clock()))?;
        let caches = BlockCaches::new(CACHE_BYTES, 1.0);
        Ok(Self { io, bucket, chain, caches, data: data.to_owned(), tenant: tenant.to_owned() })
    }

    /// The same of blocks that are there: nothing is made.
    ///
    /// # Errors
    /// The directory of blocks does not exist, or as of [`Self::open`].
    pub fn open_existing(options: &BucketOptions, data: &Path, tenant: &str) -> Result<Self, StoreError> {
        options.url(data)?;
        Self::open(options, data, tenant)
    }

    /// Whose blocks.
    #[must_use]
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// What is known to be there.
    #[must_use]
    pub fn manifest(&self) -> Arc<Manifest> {
        self.chain.latest()
    }

    /// Looks what is there now.
    ///
    /// # Errors
    /// The object store cannot be reached, or its newest manifest cannot be read.
    pub fn refresh(&self) -> Result<Arc<Manifest>, StoreError> {
        Ok(self.io.wait(self.chain.refresh())?)
    }

    /// Checks every byte and every row of a block. Of a remote one, a local copy is made for that.
    ///
    /// # Errors
    /// Files cannot be read, or copied. Damage is no error but a problem.
    pub fn verify(&self, meta: &BlockMeta) -> Result<Verification, ImportError> {
        if let Some(directory) = self.bucket.local_path(&meta.prefix()) {
            return Ok(verify::verify(&directory, Some(meta)).map_err(StoreError::from)?);
        }
        let copy = WorkDir::create(&self.data)?;
        self.download(meta, copy.path())?;
        Ok(verify::verify(copy.path(), Some(meta)).map_err(StoreError::from)?)
    }

    /// How many series each metric has in a block, the largest first.
    ///
    /// # Errors
    /// The block cannot be read.
    pub fn metrics(&self, meta: &BlockMeta) -> Result<Vec<(String, u64)>, StoreError> {
        let block = Block::new(&self.bucket, Arc::new(meta.clone()), &self.caches)?;
        let mut found = self.io.wait(block.series_by_value(model::labels::METRIC_NAME))?;
        found.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        Ok(found)
    }

    /// A directory for what is needed for a while.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn work_dir(&self) -> Result<WorkDir, ImportError> {
        WorkDir::create(&self.data)
    }

    pub(crate) fn chain(&self) -> &ManifestChain {
        &self.chain
    }

    pub(crate) fn io(&self) -> &Io {
        &self.io
    }

    /// The blocks of the newest manifest, ready to be read.
    pub(crate) fn view(&self) -> Result<BlockView, StoreError> {
        BlockView::new(self.refresh()?, None, &self.bucket, &self.caches)
    }
}

impl std::fmt::Debug for BlockStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlockStore").field("tenant", &self.tenant).finish_non_exhaustive()
    }
}
