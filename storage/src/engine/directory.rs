//! The data directory: who holds it and what identifies it.
//!
//! ```text
//! <path>/lock        held by the one process that has the directory open
//! <path>/identity    format version and epoch of the directory
//! <path>/wal/        segments of the log
//! <path>/head/       snapshots, and what the head keeps in files
//! ```

use crate::disk::Disk;
use crate::error::Error;
use crate::wal::segment::{Epoch, SegmentHeader, SegmentName};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

/// The version of the directory as a whole; the only one so far.
const VERSION: u32 = 1;

/// An open data directory. The lock ends with the value, or with the process.
pub(super) struct Directory {
    pub(super) epoch: Epoch,
    pub(super) wal: PathBuf,
    pub(super) head: PathBuf,
    _lock: File,
}

impl Directory {
    /// Makes the directory unless it exists, takes the lock and reads the identity.
    pub(super) fn open(disk: &Arc<dyn Disk>, path: &Path) -> Result<Self, Error> {
        let (wal, head) = (path.join("wal"), path.join("head"));
        // The lock is a matter of this machine's processes, so it is taken on the real disk whatever `disk` is.
        std::fs::create_dir_all(path).map_err(Error::io("create", path))?;
        let lock = take_lock(&path.join("lock"))?;
        for dir in [path, &wal, &head] {
            disk.create_dir_all(dir).map_err(Error::io("create", dir))?;
        }
        disk.sync_dir(path).map_err(Error::io("sync", path))?;
        let epoch = read_identity(disk, path, &wal)?;
        Ok(Self { epoch, wal, head, _lock: lock })
    }
}

fn take_lock(path: &Path) -> Result<File, Error> {
    let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    let mut file = options.map_err(Error::io("open", path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Only a hint for the message; the lock itself is what counts.
            let _ = file.read_to_string(&mut holder);
            return Err(Error::Locked { path: path.to_owned(), holder: holder.trim().to_owned() });
        }
        Err(TryLockError::Error(error)) => return Err(Error::io("lock", path)(error)),
    }
    let note = format!("process {}\n", std::process::id());
    // Only a hint, too: a full disk must not keep anyone from reading.
    let _ = file.set_len(0).and_then(|()| file.write_all(note.as_bytes()));
    Ok(file)
}

/// The epoch of the directory: made when there is none, taken from the log if only the file is gone.
fn read_identity(disk: &Arc<dyn Disk>, path: &Path, wal: &Path) -> Result<Epoch, Error> {
    let file = path.join("identity");
    match disk.open(&file) {
        Ok(opened) => {
            let mut bytes = [0; 256];
            let read = opened.read_at(&mut bytes, 0).map_err(Error::io("read", &file))?;
            let text = bytes.get(..read).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default();
            parse_identity(text, &file)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let epoch = match epoch_of_log(disk, wal)? {
                Some(epoch) => epoch,
                None => *Uuid::new_v4().as_bytes(),
            };
            store_identity(disk, path, &file, epoch).map_err(Error::io("write", &file))?;
            Ok(epoch)
        }
        Err(error) => Err(Error::io("open", &file)(error)),
    }
}

fn print_identity(epoch: Epoch) -> String {
    let line = format!("hearth storage version {VERSION} epoch {}", Uuid::from_bytes(epoch).simple());
    let checksum = crc32fast::hash(line.as_bytes());
    format!("{line} crc {checksum:08x}\n")
}

fn parse_identity(text: &str, path: &Path) -> Result<Epoch, Error> {
    let damaged = |what| Error::Damaged { path: path.to_owned(), offset: 0, what };
    let (line, checksum) = text.trim_end().rsplit_once(" crc ").ok_or_else(|| damaged("not an identity"))?;
    if u32::from_str_radix(checksum, 16) != Ok(crc32fast::hash(line.as_bytes())) {
        return Err(damaged("wrong checksum; remove the file to take the identity from the log"));
    }
    let words: Vec<&str> = line.split(' ').collect();
    let ["hearth", "storage", "version", version, rest @ ..] = words.as_slice() else {
        return Err(damaged("not an identity"));
    };
    match (version.parse(), rest) {
        (Ok(VERSION), ["epoch", epoch]) => {
            Ok(*Uuid::try_parse(epoch).map_err(|_| damaged("not an identity"))?.as_bytes())
        }
        (Ok(found), _) if found != VERSION => {
            Err(Error::UnknownVersion { path: path.to_owned(), found, known: VERSION })
        }
        _ => Err(damaged("not an identity")),
    }
}

fn store_identity(disk: &Arc<dyn Disk>, dir: &Path, file: &Path, epoch: Epoch) -> std::io::Result<()> {
    let temporary = file.with_extension("tmp");
    let written = disk.create(&temporary)?;
    written.write_all_at(print_identity(epoch).as_bytes(), 0)?;
    written.sync_data()?;
    disk.rename(&temporary, file)?;
    disk.sync_dir(dir)
}

/// The epoch that the newest whole segment header names.
fn epoch_of_log(disk: &Arc<dyn Disk>, wal: &Path) -> Result<Option<Epoch>, Error> {
    let mut names = disk.list(wal).map_err(Error::io("list", wal))?;
    names.retain(|name| matches!(SegmentName::parse(name), Some(SegmentName::Live(_))));
    names.sort_unstable();
    for name in names.iter().rev() {
        let path = wal.join(name);
        let file = disk.open(&path).map_err(Error::io("open", &path))?;
        let mut bytes = [0; crate::wal::segment::SEGMENT_HEADER_BYTES];
        file.read_at(&mut bytes, 0).map_err(Error::io("read", &path))?;
        if let Ok(header) = SegmentHeader::from_bytes(&bytes) {
            return Ok(Some(header.epoch));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::simulated::SimulatedDisk;

    fn open(path: &Path) -> Result<Directory, Error> {
        Directory::open(&(Arc::new(crate::disk::RealDisk) as Arc<dyn Disk>), path)
    }

    #[test]
    fn a_directory_is_open_once_and_keeps_its_epoch() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let first = open(dir.path()).expect("a new directory");
        let error = open(dir.path()).map(|_| ()).expect_err("held");
        assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
        let epoch = first.epoch;
        drop(first);
        assert_eq!(open(dir.path()).expect("released").epoch, epoch);
    }

    #[test]
    fn a_lost_identity_is_taken_from_the_log() {
        let disk = SimulatedDisk::new();
        let header = SegmentHeader { sequence: 4, epoch: [5; 16], created_ms: 0 };
        let file = disk.create(&Path::new("/d/wal").join(SegmentName::Live(4).to_string())).expect("no fault is set");
        file.write_all_at(&header.to_bytes(), 0).expect("no fault is set");
        let disk: Arc<dyn Disk> = Arc::new(disk);
        let (dir, wal) = (Path::new("/d"), Path::new("/d/wal"));
        assert_eq!(read_identity(&disk, dir, wal).expect("readable"), [5; 16]);
        assert_eq!(read_identity(&disk, dir, wal).expect("stored meanwhile"), [5; 16]);
    }

    #[test]
    fn a_damaged_or_newer_identity_is_refused() {
        let path = Path::new("identity");
        let text = print_identity([1; 16]);
        assert_eq!(parse_identity(&text, path).expect("own text"), [1; 16]);
        assert!(matches!(parse_identity(&text.replace("epoch 0", "epoch 1"), path), Err(Error::Damaged { .. })));
        let line = "hearth storage version 2 layout x";
        let newer = format!("{line} crc {:08x}", crc32fast::hash(line.as_bytes()));
        assert!(matches!(parse_identity(&newer, path), Err(Error::UnknownVersion { found: 2, .. })));
    }
}
