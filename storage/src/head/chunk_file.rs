//! One chunk file: append-only, mapped for reading. Byte layout: `docs/formats/head-chunk-file.md`.

use super::error::{HeadError, Notice};
use super::map::PublishedMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Capacity of a file.
pub(crate) const FILE_BYTES: u32 = 64 << 20;
/// Bytes of the file header; the first frame follows.
pub(crate) const FILE_HEADER: u32 = 64;
const MAGIC: &[u8; 8] = b"HrthHdCk";
/// The version that is written. Version 1 has no frames of native histograms.
const VERSION: u32 = 2;

/// One file that exists.
#[derive(Debug)]
pub(crate) struct ChunkFile {
    pub(crate) number: u32,
    pub(crate) path: PathBuf,
    file: File,
    pub(crate) map: PublishedMap,
    synced: AtomicU32,
    remove: AtomicBool,
}

impl ChunkFile {
    /// Makes the file, with its full length and no blocks.
    pub(crate) fn create(dir: &Path, shard: usize, number: u32) -> Result<Arc<Self>, HeadError> {
        let path = file_path(dir, shard, number);
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(true);
        let file = options.open(&path).map_err(io_error("create", &path))?;
        file.set_len(u64::from(FILE_BYTES)).map_err(io_error("extend", &path))?;
        let map = PublishedMap::new(&file, FILE_BYTES, 0).map_err(io_error("map", &path))?;
        let (synced, remove) = (AtomicU32::new(0), AtomicBool::new(false));
        Ok(Arc::new(Self { number, path, file, map, synced, remove }))
    }

    /// Takes over a file of an earlier life, of which a snapshot knows so much; what lies behind is cut off. `None` when the
    /// file is not what its name says.
    pub(crate) fn adopt(
        path: &Path,
        shard: usize,
        summary: &FileSummary,
        notices: &mut Vec<Notice>,
    ) -> Result<Option<Arc<Self>>, HeadError> {
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(io_error("open", path))?;
        let length = file.metadata().map_err(io_error("inspect", path))?.len();
        if let Err(error) = check_header(&file, path, shard, summary.number) {
            notices.push(Notice { message: format!("{error}: the file is left alone, its samples are not answered") });
            return Ok(None);
        }
        let end = u64::from(summary.end);
        if length > end {
            if behind_is_used(&file, summary.end) {
                notices.push(Notice {
                    message: format!(
                        "chunk file `{}` is cut to the {end} bytes that the snapshot knows; the log brings the rest again",
                        path.display(),
                    ),
                });
            }
            file.set_len(end).map_err(io_error("truncate", path))?;
        } else if length < end {
            notices.push(Notice {
                message: format!(
                    "chunk file `{}` ends at byte {length} although {end} were written: the samples behind are lost",
                    path.display(),
                ),
            });
        }
        let published = summary.end.min(length as u32);
        let map = PublishedMap::new(&file, published, published).map_err(io_error("map", path))?;
        let (synced, remove) = (AtomicU32::new(published), AtomicBool::new(false));
        Ok(Some(Arc::new(Self { number: summary.number, path: path.to_owned(), file, map, synced, remove })))
    }

    /// Writes bytes behind those published before, and publishes them.
    pub(crate) fn append(&self, bytes: &[u8], at: u32) -> Result<(), HeadError> {
        before_write().map_err(io_error("write", &self.path))?;
        self.file.write_all_at(bytes, u64::from(at)).map_err(io_error("write", &self.path))?;
        self.map.publish(at + bytes.len() as u32);
        Ok(())
    }

    /// Gives back the length that is not needed: nothing will be appended any more.
    pub(crate) fn close(&self) {
        let _ = self.file.set_len(u64::from(self.map.published()));
    }

    /// Has the file removed when its last reader is done.
    pub(crate) fn remove_after_use(&self) {
        self.remove.store(true, Ordering::Relaxed);
    }

    /// Makes everything published durable.
    pub(crate) fn sync(&self) -> Result<(), HeadError> {
        let published = self.map.published();
        if self.synced.load(Ordering::Acquire) < published {
            self.file.sync_data().map_err(io_error("sync", &self.path))?;
            self.synced.fetch_max(published, Ordering::AcqRel);
        }
        Ok(())
    }
}

/// The last reader of a removed file takes its name off the disk.
impl Drop for ChunkFile {
    fn drop(&mut self) {
        if self.remove.load(Ordering::Relaxed) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// What a snapshot remembers of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileSummary {
    pub(crate) number: u32,
    /// Bytes that count.
    pub(crate) end: u32,
    /// Timestamps of its chunks.
    pub(crate) first_ms: i64,
    pub(crate) last_ms: i64,
    /// The newest below-floor generation that has chunks in it, 0 for none.
    pub(crate) generation: u64,
}

impl FileSummary {
    pub(crate) fn new(number: u32) -> Self {
        Self { number, end: FILE_HEADER, first_ms: i64::MAX, last_ms: i64::MIN, generation: 0 }
    }

    /// Whether it has samples from `before_ms` on, or of a below-floor generation after `generation`.
    pub(crate) fn is_needed(&self, before_ms: i64, generation: u64) -> bool {
        self.last_ms >= before_ms || self.generation > generation
    }
}

pub(crate) fn file_path(dir: &Path, shard: usize, number: u32) -> PathBuf {
    dir.join(format!("{shard:03}-{number:08}.chunks"))
}

pub(crate) fn file_header(shard: usize, number: u32) -> Vec<u8> {
    header_of_version(VERSION, shard, number)
}

fn header_of_version(version: u32, shard: usize, number: u32) -> Vec<u8> {
    let mut header = Vec::with_capacity(FILE_HEADER as usize);
    header.extend_from_slice(MAGIC);
    for field in [version, shard as u32, number] {
        header.extend_from_slice(&field.to_le_bytes());
    }
    header.extend_from_slice(&crc32fast::hash(&header).to_le_bytes());
    header.resize(FILE_HEADER as usize, 0);
    header
}

fn check_header(file: &File, path: &Path, shard: usize, number: u32) -> Result<(), HeadError> {
    let corrupt = |what| HeadError::Corrupt { what, place: path.display().to_string(), offset: 0 };
    let mut header = [0; FILE_HEADER as usize];
    file.read_exact_at(&mut header, 0).map_err(|_| corrupt("no whole file header"))?;
    if header.get(..8) != Some(MAGIC) {
        return Err(corrupt("not a head-chunk file"));
    }
    let found = u32::from_le_bytes([header[8], header[9], header[10], header[11]]);
    if found > VERSION {
        return Err(HeadError::NewerFormat { place: path.display().to_string(), found, known: VERSION });
    }
    if header.as_slice() != header_of_version(found, shard, number) {
        return Err(corrupt("a file header of another shard or file, or a damaged one"));
    }
    Ok(())
}

/// Whether frames follow what a snapshot knows; else it is only the unused rest of the file.
fn behind_is_used(file: &File, end: u32) -> bool {
    let mut next = [0; 8];
    file.read_exact_at(&mut next, u64::from(end)).is_ok() && next != [0; 8]
}

/// A place where tests make a file operation fail.
fn before_write() -> io::Result<()> {
    fail::fail_point!("head-chunk-write", |_| Err(io::Error::from(io::ErrorKind::StorageFull)));
    Ok(())
}

pub(crate) fn io_error(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> HeadError {
    move |source| HeadError::Io { step, path: path.to_owned(), source }
}
