//! The queries that run, in a small file: when the process dies, the next one knows what it was working on.
//!
//! The file is `queries.active` below the data directory: a header and [`SLOTS`] places of [`SLOT_BYTES`] each. A query is
//! written to a free place when it begins and the place is emptied when it ends, one write each and no sync: what the
//! system has taken survives the end of the process, and power loss needs no culprit. Light queries are not written. Layout:
//! `docs/formats/queries-active.md`. Whatever cannot be written is not in the file; queries do not fail for it.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

use model::tenant::TenantId;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use xxhash_rust::xxh3::xxh3_64;

/// Bytes of a place, and of the header.
const SLOT_BYTES: usize = 1024;
/// Queries that have a place at once; others are not written.
const SLOTS: u16 = 256;
const HEADER: [u8; 16] = *b"HEARTH-QUERIES\x01\0";
/// Checksum, time, length of the tenant's name, length of the text.
const FIXED_BYTES: usize = 8 + 8 + 2 + 2;

/// A query that was running when the process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interrupted {
    /// Its text, cut off when it was long.
    pub text: String,
    /// Whose data it read.
    pub tenant: String,
    /// When it arrived, in milliseconds since the Unix epoch.
    pub started_ms: i64,
}

/// See the head of the file. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Journal {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    file: File,
    free: Mutex<Vec<u16>>,
    failed: AtomicBool,
}

impl Journal {
    /// Begins an empty journal at `path` and returns what an earlier process left there, oldest first.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn open(path: &Path) -> io::Result<(Self, Vec<Interrupted>)> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        let interrupted = read(&file)?;
        file.set_len(0)?;
        file.set_len((usize::from(SLOTS) + 1) as u64 * SLOT_BYTES as u64)?;
        file.write_all_at(&HEADER, 0)?;
        let free = Mutex::new((0..SLOTS).rev().collect());
        Ok((Self { shared: Arc::new(Shared { file, free, failed: AtomicBool::new(false) }) }, interrupted))
    }

    /// Writes a query that begins; it is in the file until the entry is dropped. `None` when there is no place.
    #[must_use]
    pub fn enter(&self, text: &str, tenant: &TenantId, started_ms: i64) -> Option<JournalEntry> {
        let slot = self.shared.free().pop()?;
        let entry = JournalEntry { shared: Arc::clone(&self.shared), slot };
        let mut bytes = [0; SLOT_BYTES];
        let length = encode(text, tenant.as_str(), started_ms, &mut bytes);
        self.shared.write(slot, bytes.get(..length).unwrap_or_default());
        Some(entry)
    }
}

impl Shared {
    fn free(&self) -> MutexGuard<'_, Vec<u16>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, slot: u16, bytes: &[u8]) {
        if let Err(error) = self.file.write_all_at(bytes, place(slot))
            && !self.failed.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(%error, "running queries cannot be written to their journal");
        }
    }
}

fn place(slot: u16) -> u64 {
    (u64::from(slot) + 1) * SLOT_BYTES as u64
}

/// A query's place in the file, emptied when dropped.
#[derive(Debug)]
pub struct JournalEntry {
    shared: Arc<Shared>,
    slot: u16,
}

impl Drop for JournalEntry {
    fn drop(&mut self) {
        // A checksum of zero over lengths of zero is none.
        self.shared.write(self.slot, &[0; FIXED_BYTES]);
        self.shared.free().push(self.slot);
    }
}

/// Fills a place and returns how much of it is used.
fn encode(text: &str, tenant: &str, started_ms: i64, out: &mut [u8; SLOT_BYTES]) -> usize {
    let tenant = &tenant[..tenant.floor_char_boundary(128)];
    let text = &text[..text.floor_char_boundary(SLOT_BYTES - FIXED_BYTES - tenant.len())];
    let mut content = Vec::with_capacity(SLOT_BYTES);
    content.extend_from_slice(&started_ms.to_le_bytes());
    content.extend_from_slice(&(tenant.len() as u16).to_le_bytes());
    content.extend_from_slice(&(text.len() as u16).to_le_bytes());
    content.extend_from_slice(tenant.as_bytes());
    content.extend_from_slice(text.as_bytes());
    let all = xxh3_64(&content).to_le_bytes().into_iter().chain(content.iter().copied());
    out.iter_mut().zip(all).for_each(|(place, byte)| *place = byte);
    content.len() + 8
}

fn read(file: &File) -> io::Result<Vec<Interrupted>> {
    let mut header = HEADER;
    match file.read_exact_at(&mut header, 0) {
        Ok(()) if header == HEADER => {}
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error),
        Ok(()) | Err(_) => return Ok(Vec::new()),
    }
    let mut found = Vec::new();
    let mut bytes = [0; SLOT_BYTES];
    for slot in 0..SLOTS {
        match file.read_exact_at(&mut bytes, place(slot)) {
            Ok(()) => found.extend(decode(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error),
        }
    }
    found.sort_by_key(|query| query.started_ms);
    Ok(found)
}

/// The query in a place; `None` when it is empty or was not written whole.
fn decode(bytes: &[u8]) -> Option<Interrupted> {
    let (checksum, content) = bytes.split_first_chunk::<8>()?;
    let (started_ms, rest) = content.split_first_chunk::<8>()?;
    let (tenant_len, rest) = rest.split_first_chunk::<2>()?;
    let (text_len, rest) = rest.split_first_chunk::<2>()?;
    let [tenant_len, text_len] = [tenant_len, text_len].map(|length| usize::from(u16::from_le_bytes(*length)));
    let used = content.get(..FIXED_BYTES - 8 + tenant_len + text_len)?;
    if xxh3_64(used) != u64::from_le_bytes(*checksum) {
        return None;
    }
    let (tenant, rest) = rest.split_at_checked(tenant_len)?;
    let owned = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let text = owned(rest.get(..text_len)?);
    Some(Interrupted { text, tenant: owned(tenant), started_ms: i64::from_le_bytes(*started_ms) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(found: &[Interrupted]) -> Vec<&str> {
        found.iter().map(|query| query.text.as_str()).collect()
    }

    #[test]
    fn what_was_running_is_found_by_the_next_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("queries.active");
        let (journal, found) = Journal::open(&path).unwrap();
        assert_eq!(found, []);
        let tenant = TenantId::anonymous();
        let long = "ä".repeat(5000);
        let held = [("up", 2000), ("down", 1000), (&long, 3000)].map(|(text, at)| journal.enter(text, &tenant, at));
        drop(journal.enter("ended", &tenant, 0));
        // As a killed process does it: the entries are never dropped.
        std::mem::forget((journal, held));

        let (journal, found) = Journal::open(&path).unwrap();
        assert_eq!(texts(&found[..2]), ["down", "up"]);
        assert_eq!((found[0].tenant.as_str(), found[0].started_ms), ("anonymous", 1000));
        assert!(long.starts_with(&found[2].text) && found[2].text.len() > 900);
        drop(journal);
        let (_, found) = Journal::open(&path).unwrap();
        assert_eq!(found, [], "they are told once");
    }

    #[test]
    fn places_are_bounded_and_used_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("queries.active");
        let (journal, _) = Journal::open(&path).unwrap();
        let mut held: Vec<_> = (0..SLOTS).map(|n| journal.enter(&n.to_string(), &TenantId::anonymous(), 0)).collect();
        assert!(held.iter().all(Option::is_some));
        assert!(journal.enter("one more", &TenantId::anonymous(), 0).is_none());
        held.pop();
        assert!(journal.enter("one more", &TenantId::anonymous(), 0).is_some());
        assert_eq!(std::fs::metadata(&path).unwrap().len(), (u64::from(SLOTS) + 1) * SLOT_BYTES as u64);
    }

    #[test]
    fn damage_is_no_query() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("queries.active");
        let (journal, _) = Journal::open(&path).unwrap();
        std::mem::forget([1, 2].map(|n| journal.enter(&format!("query {n}"), &TenantId::anonymous(), n)));
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[SLOT_BYTES + FIXED_BYTES + 12] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(texts(&Journal::open(&path).unwrap().1), ["query 2"]);
        for garbage in [b"".to_vec(), b"HEARTH".to_vec(), vec![0xff; 5000], bytes[..SLOT_BYTES + 10].to_vec()] {
            std::fs::write(&path, garbage).unwrap();
            assert_eq!(Journal::open(&path).unwrap().1, []);
        }
    }
}
