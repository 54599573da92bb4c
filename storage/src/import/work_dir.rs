//! A directory for what an import or a check needs for a while; it goes with its owner, even with one that was killed.

use super::ImportError;
use crate::block::meta::ulid;
use crate::wal::pool::now_ms;
use std::fs::File;
use std::path::{Path, PathBuf};

const LOCK: &str = "lock";

/// See the head of the file.
#[derive(Debug)]
pub struct WorkDir {
    path: PathBuf,
    /// Locked as long as the directory is in use.
    _lock: File,
}

impl WorkDir {
    /// Makes a directory below `data`, and removes those whose owners are gone.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn create(data: &Path) -> Result<Self, ImportError> {
        let parent = data.join("work");
        std::fs::create_dir_all(&parent).map_err(ImportError::io("create", &parent))?;
        sweep(&parent).map_err(ImportError::io("read", &parent))?;
        let path = parent.join(ulid(now_ms().unsigned_abs(), rand::random()));
        std::fs::create_dir(&path).map_err(ImportError::io("create", &path))?;
        let name = path.join(LOCK);
        let lock =
            File::create(&name).and_then(|lock| lock.lock().map(|()| lock)).map_err(ImportError::io("lock", &name))?;
        Ok(Self { path, _lock: lock })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        // What stays is swept by the next one.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

fn sweep(parent: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(parent)? {
        let path = entry?.path();
        // Without a lock it is being made right now.
        let Ok(lock) = File::open(path.join(LOCK)) else { continue };
        if lock.try_lock().is_ok() {
            let _ = std::fs::remove_dir_all(&path);
        }
    }
    Ok(())
}
