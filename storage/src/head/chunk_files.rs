//! The chunk files of a shard: where full chunks go.
//!
//! Frames get their place at once and are written behind, some 64 KiB at a time; until then they are read from
//! memory. So appending never waits for a file, and a full disk only means that frames wait longer. Files are numbered
//! from 1; each restart begins a new one. What lies behind the last snapshot is not kept: the log brings it again.

use super::chunk_file::{ChunkFile, FILE_BYTES, FILE_HEADER, FileSummary, file_header, file_path, io_error};
use super::chunk_link::ChunkLink;
use super::error::{HeadError, Notice};
use super::floors::FlushedState;
use super::frame::Frame;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Frames are written when so many bytes wait.
const WRITE_BYTES: usize = 64 << 10;
/// A file that is appended to ends at a flush when it has so many bytes, so that the next flush can give it back.
const ENDS_AT_BYTES: u32 = 1 << 20;

/// Files to read from without the shard's lock, as they were when this was taken.
#[derive(Debug, Clone, Default)]
pub(crate) struct ChunkReader {
    files: Arc<Vec<Arc<ChunkFile>>>,
}

/// Why there is no frame under a link.
#[derive(Debug)]
pub(crate) enum Missing {
    /// Its file has been removed: the chain ends here.
    Expired,
    /// The bytes are not a frame.
    Corrupt(HeadError),
}

impl ChunkReader {
    /// The frame under a link.
    pub(crate) fn frame(&self, link: ChunkLink) -> Result<Frame<'_>, Missing> {
        let Some(first) = self.files.first() else { return Err(Missing::Expired) };
        let Some(index) = link.file().checked_sub(first.number) else { return Err(Missing::Expired) };
        let file = self.files.get(index as usize).filter(|file| file.number == link.file());
        let file = file.or_else(|| self.files.iter().find(|file| file.number == link.file()));
        let Some(file) = file else { return Err(Missing::Expired) };
        Frame::parse(link, file.map.bytes_from(link.offset())).ok_or_else(|| {
            Missing::Corrupt(HeadError::Corrupt {
                what: "no chunk with a right checksum",
                place: file.path.display().to_string(),
                offset: u64::from(link.offset()),
            })
        })
    }

    pub(crate) fn files(&self) -> &[Arc<ChunkFile>] {
        &self.files
    }
}

/// Frames that have a place and wait to be written: the end of one file.
#[derive(Debug)]
struct Waiting {
    number: u32,
    start: u32,
    bytes: Vec<u8>,
}

/// The files of one shard and what is about to be appended to them.
#[derive(Debug)]
pub(crate) struct ChunkFiles {
    dir: PathBuf,
    shard: usize,
    reader: ChunkReader,
    summaries: Vec<FileSummary>,
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    write_at: usize,
    /// The highest number that any file ever had: links to files that are gone must never lead to others.
    last_number: u32,
    /// The below-floor generation whose chunks are being appended, 0 for none.
    pub(super) generation: u64,
    /// Files of an earlier life that no snapshot has vouched for.
    found: Vec<Found>,
    write_failures: u64,
    last_failure: Option<String>,
}

#[derive(Debug)]
struct Found {
    number: u32,
    path: PathBuf,
}

impl ChunkFiles {
    /// Finds the files of one shard; they count only once a snapshot vouches for them.
    pub(crate) fn open(dir: &Path, shard: usize) -> Result<Self, HeadError> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(io_error("list", dir))? {
            let path = entry.map_err(io_error("list", dir))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let numbers = name.strip_suffix(".chunks").and_then(|stem| stem.split_once('-'));
            if let Some((of_shard, number)) = numbers
                && of_shard.parse() == Ok(shard)
                && let Ok(number) = number.parse()
            {
                found.push(Found { number, path });
            }
        }
        found.sort_by_key(|file| file.number);
        Ok(Self {
            dir: dir.to_owned(),
            shard,
            reader: ChunkReader::default(),
            summaries: Vec::new(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            write_at: WRITE_BYTES,
            last_number: 0,
            generation: 0,
            found,
            write_failures: 0,
            last_failure: None,
        })
    }

    /// Takes over the files of an earlier life as a snapshot remembers them, with the highest number that any had; what lies
    /// behind is cut off. Files that were expired since, because blocks hold all of them, are no loss.
    pub(crate) fn adopt(
        &mut self,
        mut summaries: Vec<FileSummary>,
        last_number: u32,
        flushed: &FlushedState,
    ) -> Result<Vec<Notice>, HeadError> {
        self.last_number = summaries.last().map_or(0, |summary| summary.number).max(last_number);
        let mut notices = Vec::new();
        let mut files = Vec::new();
        let all_found = std::mem::take(&mut self.found);
        for found in &all_found {
            match summaries.iter().find(|summary| summary.number == found.number) {
                Some(summary) => files.extend(ChunkFile::adopt(&found.path, self.shard, summary, &mut notices)?),
                None => {
                    std::fs::remove_file(&found.path).map_err(io_error("remove", &found.path))?;
                    let path = found.path.display();
                    notices
                        .push(Notice { message: format!("chunk file `{path}` is removed: no snapshot refers to it") });
                }
            }
        }
        summaries.retain(|summary| {
            // Whether it can be read or not: what no summary names is removed at the next start.
            if all_found.iter().any(|found| found.number == summary.number) {
                return true;
            }
            if summary.is_needed(flushed.boundary_ms, flushed.generation) {
                let path = file_path(&self.dir, self.shard, summary.number);
                notices.push(Notice {
                    message: format!("chunk file `{}` is gone: its samples are not answered", path.display()),
                });
            }
            false
        });
        self.reader = ChunkReader { files: Arc::new(files) };
        self.summaries = summaries;
        Ok(notices)
    }

    /// Gives a frame its place; the caller says what it links to.
    pub(crate) fn append(&mut self, frame: &Frame<'_>) -> ChunkLink {
        let place = self.place_for(frame.payload.len());
        let Some(waiting) = self.waiting.back_mut() else { unreachable!("a place is in a file that waits") };
        let before = waiting.bytes.len();
        frame.write(place, &mut waiting.bytes);
        self.waiting_bytes += waiting.bytes.len() - before;
        if let Some(summary) = self.summaries.last_mut() {
            summary.end = waiting.start + waiting.bytes.len() as u32;
            summary.first_ms = summary.first_ms.min(frame.first_ms);
            summary.last_ms = summary.last_ms.max(frame.last_ms);
            summary.generation = summary.generation.max(self.generation);
        }
        place
    }

    fn place_for(&mut self, payload: usize) -> ChunkLink {
        const FIELDS_MAX: usize = 64;
        let end = self.waiting.back().map(|waiting| (waiting.number, waiting.start as usize + waiting.bytes.len()));
        match end {
            Some((number, end)) if end + payload + FIELDS_MAX <= FILE_BYTES as usize => {
                ChunkLink::new(number, end as u32)
            }
            _ => self.begin_file(),
        }
    }

    /// Files that no snapshot has vouched for by now never will be: the log brings again whatever they hold.
    fn begin_file(&mut self) -> ChunkLink {
        let newest_found = self.found.last().map_or(0, |file| file.number);
        for found in self.found.drain(..) {
            let _ = std::fs::remove_file(found.path);
        }
        let number = self.last_number.max(newest_found) + 1;
        self.last_number = number;
        self.summaries.push(FileSummary::new(number));
        let mut bytes = file_header(self.shard, number);
        bytes.reserve(WRITE_BYTES + 4096);
        self.waiting_bytes += bytes.len();
        self.waiting.push_back(Waiting { number, start: 0, bytes });
        ChunkLink::new(number, FILE_HEADER)
    }

    /// Writes what waits when it is worth a call. A failure is counted and remembered; the frames stay readable and are
    /// tried again when as many more wait.
    pub(crate) fn write_if_due(&mut self) {
        if self.waiting_bytes >= self.write_at && self.write().is_err() {
            self.write_at = self.waiting_bytes + WRITE_BYTES;
        }
    }

    /// Writes everything that waits.
    pub(crate) fn write(&mut self) -> Result<(), HeadError> {
        let written = self.write_waiting();
        match &written {
            Ok(()) => (self.write_at, self.last_failure) = (WRITE_BYTES, None),
            Err(error) => {
                self.write_failures += 1;
                let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
                self.last_failure = Some(format!("{error}: {cause}"));
            }
        }
        written
    }

    fn write_waiting(&mut self) -> Result<(), HeadError> {
        while let Some(waiting) = self.waiting.front_mut() {
            let file = match self.reader.files.last().filter(|file| file.number == waiting.number) {
                Some(file) => Arc::clone(file),
                None => create_next(&self.dir, self.shard, waiting.number, &mut self.reader)?,
            };
            if !waiting.bytes.is_empty() {
                file.append(&waiting.bytes, waiting.start)?;
                self.waiting_bytes -= waiting.bytes.len();
                waiting.start += waiting.bytes.len() as u32;
                waiting.bytes.clear();
            }
            if self.waiting.len() == 1 {
                break;
            }
            file.close();
            self.waiting.pop_front();
        }
        Ok(())
    }

    /// Whether the frame under a link still waits in memory.
    #[inline]
    pub(crate) fn waits(&self, link: ChunkLink) -> bool {
        self.waiting.front().is_some_and(|waiting| link >= ChunkLink::new(waiting.number, waiting.start))
    }

    /// The frame under a link, waiting or written.
    pub(crate) fn frame(&self, link: ChunkLink) -> Result<Frame<'_>, Missing> {
        let holder =
            self.waiting.iter().find(|waiting| waiting.number == link.file() && link.offset() >= waiting.start);
        match holder {
            Some(waiting) => {
                let bytes = waiting.bytes.get((link.offset() - waiting.start) as usize..).unwrap_or_default();
                Ok(Frame::parse(link, bytes).expect("a frame in memory is as it was encoded"))
            }
            None => self.reader.frame(link),
        }
    }

    pub(crate) fn reader(&self) -> ChunkReader {
        self.reader.clone()
    }

    pub(crate) fn last_number(&self) -> u32 {
        self.last_number
    }

    pub(crate) fn summaries(&self) -> &[FileSummary] {
        &self.summaries
    }

    /// Forgets the files all of whose samples are older than `before_ms` and of no below-floor generation after
    /// `generation`; they vanish with their last reader. What stays and is large enough is not appended to any more.
    /// Returns the bytes that this frees.
    pub(crate) fn expire(&mut self, before_ms: i64, generation: u64) -> u64 {
        let expired = self.summaries.iter().take_while(|summary| !summary.is_needed(before_ms, generation)).count();
        let gone: Vec<FileSummary> = self.summaries.drain(..expired).collect();
        if let Some(newest_gone) = gone.last() {
            self.forget(newest_gone.number);
        }
        if !self.waiting.is_empty() && self.summaries.last().is_some_and(|summary| summary.end >= ENDS_AT_BYTES) {
            self.begin_file();
        }
        gone.iter().map(|summary| u64::from(summary.end)).sum()
    }

    /// Has no file up to `number` any more, nor what waits to be written to one.
    fn forget(&mut self, number: u32) {
        while let Some(waiting) = self.waiting.pop_front_if(|waiting| waiting.number <= number) {
            self.waiting_bytes -= waiting.bytes.len();
        }
        self.write_at = self.write_at.min(self.waiting_bytes + WRITE_BYTES);
        if self.waiting.is_empty() {
            self.last_failure = None;
        }
        let mut kept = Vec::clone(&self.reader.files);
        kept.retain(|file| {
            if file.number <= number {
                file.remove_after_use();
            }
            file.number > number
        });
        self.reader = ChunkReader { files: Arc::new(kept) };
    }

    /// Bytes in files and waiting to be there.
    pub(crate) fn sizes(&self) -> (u64, usize) {
        let all: u64 = self.summaries.iter().map(|summary| u64::from(summary.end)).sum();
        (all - self.waiting_bytes as u64, self.waiting_bytes)
    }

    pub(crate) fn failures(&self) -> (u64, Option<&str>) {
        (self.write_failures, self.last_failure.as_deref())
    }
}

fn create_next(dir: &Path, shard: usize, number: u32, reader: &mut ChunkReader) -> Result<Arc<ChunkFile>, HeadError> {
    let made = ChunkFile::create(dir, shard, number)?;
    let mut files = Vec::clone(&reader.files);
    files.push(Arc::clone(&made));
    reader.files = Arc::new(files);
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::super::frame::FrameKind;
    use super::*;

    fn append(files: &mut ChunkFiles, at_ms: i64, bytes: usize) -> ChunkLink {
        let payload = vec![7; bytes];
        let (previous, segment) = (ChunkLink::NONE, ChunkLink::NONE);
        let (first_ms, last_ms, payload) = (at_ms, at_ms, &payload[..]);
        let kind = FrameKind::Own;
        files.append(&Frame { kind, count: 1, owner: 0, first_ms, last_ms, previous, segment, payload })
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(dir).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// What is written to all the time is given back too, at this flush or at the next.
    #[test]
    fn the_file_that_is_appended_to_is_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = ChunkFiles::open(dir.path(), 3).unwrap();
        let old = append(&mut files, 10, 100);
        for _ in 0..=ENDS_AT_BYTES >> 15 {
            append(&mut files, 10, 1 << 15);
        }
        files.write().unwrap();
        let waiting = append(&mut files, 20, 100);
        assert_eq!(files.expire(10, 0), 0);
        let recent = append(&mut files, 30, 100);
        files.write().unwrap();
        assert_eq!(names(dir.path()), ["003-00000001.chunks", "003-00000002.chunks"]);
        assert!(files.frame(old).is_ok() && files.frame(waiting).is_ok());
        assert!(std::fs::metadata(dir.path().join("003-00000001.chunks")).unwrap().len() < u64::from(FILE_BYTES));

        assert!(files.expire(21, 0) > u64::from(ENDS_AT_BYTES));
        assert_eq!(names(dir.path()), ["003-00000002.chunks"]);
        assert!(matches!(files.frame(waiting), Err(Missing::Expired)) && files.frame(recent).is_ok());

        // All of it, some written and some not, which failed before.
        let unwritten = append(&mut files, 31, 100);
        (files.write_at, files.last_failure) = (100 * WRITE_BYTES, Some("full".to_owned()));
        assert!(files.expire(32, 0) > 0);
        assert_eq!((files.write_at, files.failures().1), (WRITE_BYTES, None));
        assert!(matches!(files.frame(unwritten), Err(Missing::Expired)));
        assert_eq!((names(dir.path()).len(), files.sizes(), files.summaries().len()), (0, (0, 0), 0));
        let next = append(&mut files, 40, 100);
        files.write().unwrap();
        assert!(files.frame(next).is_ok() && !files.waits(next));
        assert_eq!((names(dir.path()), next.file()), (vec!["003-00000003.chunks".to_owned()], 3));
    }
}
