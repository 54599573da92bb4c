//! Copies the files of a block from the object store.

use super::BlockStore;
use crate::block::meta::BlockMeta;
use crate::block::schema::META_FILE;
use crate::bucket::BucketError;
use crate::import::ImportError;
use crate::store::StoreError;
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// Bytes that are in memory at once.
const PIECE_BYTES: u64 = 8 << 20;

impl BlockStore {
    /// Copies a block as it is; a file that is not there is left out, for the check to name.
    pub(super) fn download(&self, meta: &BlockMeta, into: &Path) -> Result<(), ImportError> {
        let names = meta.files.iter().map(|file| file.name.as_str()).chain([META_FILE]);
        for name in names {
            let key = format!("{}{name}", meta.prefix());
            // Its real size: that it has another one is what the check should find.
            let bytes = match self.io.wait(self.bucket.size(&key)) {
                Ok(bytes) => bytes,
                Err(BucketError::NotFound { .. }) => continue,
                Err(error) => return Err(StoreError::from(error).into()),
            };
            let path = into.join(name);
            let mut file = File::create(&path).map_err(ImportError::io("create", &path))?;
            for start in (0..bytes).step_by(PIECE_BYTES as usize) {
                let range = start..bytes.min(start + PIECE_BYTES);
                let pieces = self.io.wait(self.bucket.get_ranges(&key, &[range])).map_err(StoreError::from)?;
                for piece in pieces {
                    file.write_all(&piece).map_err(ImportError::io("write", &path))?;
                }
            }
        }
        Ok(())
    }
}
