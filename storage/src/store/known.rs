//! The local copy of the newest manifest: what a start needs to know while the object store does not answer.
//!
//! ```text
//! <path>/manifest/t=<tenant>.<16 digits>.json.zst    as in the object store; the digits are a hash of where that is
//! ```
//! The copy is written before the head gives up what a version says is in blocks, so it is never behind what this directory
//! still has: when it cannot be written it is removed. It is behind the store at most by what others published, and by
//! the version that a crash kept from being copied, of which the log has everything.

use super::StoreError;
use crate::block::meta::path_part;
use crate::bucket::Bucket;
use crate::manifest::Manifest;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_64;

/// Directory of the copy, below that of all data.
const DIRECTORY: &str = "manifest";

/// Where the copy is.
#[derive(Debug)]
pub(crate) struct KnownManifest {
    file: PathBuf,
    tenant: String,
}

impl KnownManifest {
    /// The copy below `data` of what `bucket` says about a tenant. Nothing is read or written yet.
    pub(crate) fn new(data: &Path, bucket: &Bucket, tenant: &str) -> Self {
        let place = xxh3_64(bucket.place().as_bytes());
        let file = data.join(DIRECTORY).join(format!("t={}.{place:016x}.json.zst", path_part(tenant)));
        Self { file, tenant: tenant.to_owned() }
    }

    /// The manifest that was kept; `None` when there is none.
    ///
    /// # Errors
    /// It cannot be read, is damaged, or of a newer version.
    pub(crate) fn load(&self) -> Result<Option<Manifest>, StoreError> {
        let bytes = match std::fs::read(&self.file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io("read", &self.file)(error)),
        };
        let manifest = Manifest::decode(&self.file.display().to_string(), &bytes)?;
        Ok(Some(manifest).filter(|manifest| manifest.tenant == self.tenant))
    }

    /// Keeps a manifest in place of the one before. When that is not possible there is none afterwards, which is no error: the
    /// next start then has to wait for the object store.
    ///
    /// # Errors
    /// Neither could the new one be written nor the old one be removed.
    pub(crate) fn keep(&self, manifest: &Manifest) -> Result<(), StoreError> {
        if self.write(&manifest.encode()).is_ok() {
            return Ok(());
        }
        match std::fs::remove_file(&self.file) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(StoreError::io("remove", &self.file)(error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let directory = self.file.parent().unwrap_or(Path::new(""));
        std::fs::create_dir_all(directory)?;
        let unfinished = self.file.with_extension("tmp");
        let written = File::create(&unfinished).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
        if let Err(error) = written {
            // Space is what there may be none of.
            let _ = std::fs::remove_file(&unfinished);
            return Err(error);
        }
        std::fs::rename(&unfinished, &self.file)?;
        File::open(directory)?.sync_all()
    }
}

/// Whether nothing was ever stored below `data`.
pub(crate) fn is_new(data: &Path) -> bool {
    let is_empty = |name: &str| std::fs::read_dir(data.join(name)).map_or(true, |mut entries| entries.next().is_none());
    !data.join("identity").exists() && is_empty("wal") && is_empty("head")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(version: u64) -> Manifest {
        Manifest { version, ..Manifest::empty("a/b") }
    }

    #[test]
    fn the_last_manifest_is_kept_for_one_tenant_and_place() {
        let dir = tempfile::tempdir().unwrap();
        let known = KnownManifest::new(dir.path(), &Bucket::in_memory(), "a/b");
        assert_eq!(known.load().unwrap(), None);
        known.keep(&manifest(1)).unwrap();
        known.keep(&manifest(2)).unwrap();
        assert_eq!(known.load().unwrap(), Some(manifest(2)));
        let elsewhere = Bucket::new(crate::bucket::BucketStore::in_memory(), "elsewhere", Default::default(), 0);
        assert_eq!(KnownManifest::new(dir.path(), &elsewhere, "a/b").load().unwrap(), None);
        assert_eq!(KnownManifest::new(dir.path(), &Bucket::in_memory(), "c").load().unwrap(), None);
    }

    #[test]
    fn a_damaged_copy_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let known = KnownManifest::new(dir.path(), &Bucket::in_memory(), "a/b");
        known.keep(&manifest(1)).unwrap();
        let mut bytes = std::fs::read(&known.file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&known.file, bytes).unwrap();
        assert!(known.load().unwrap_err().to_line().contains("t=a%2Fb."));
    }

    /// A copy that is behind would hide what the head has given up.
    #[test]
    fn an_old_copy_goes_when_no_new_one_can_be_written() {
        let dir = tempfile::tempdir().unwrap();
        let known = KnownManifest::new(dir.path(), &Bucket::in_memory(), "a/b");
        known.keep(&manifest(1)).unwrap();
        std::fs::create_dir(known.file.with_extension("tmp")).unwrap();
        known.keep(&manifest(2)).unwrap();
        assert_eq!(known.load().unwrap(), None);
    }

    #[test]
    fn a_directory_is_new_until_something_was_stored() {
        let dir = tempfile::tempdir().unwrap();
        assert!(is_new(&dir.path().join("missing")) && is_new(dir.path()));
        std::fs::create_dir(dir.path().join("wal")).unwrap();
        assert!(is_new(dir.path()));
        std::fs::write(dir.path().join("wal/1"), "x").unwrap();
        assert!(!is_new(dir.path()));
    }
}
