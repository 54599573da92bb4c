//! What became of deletions: a record for whoever asked for them, kept below the directory of all data.
//!
//! What counts is the tombstone in the manifest: this only remembers who asked for what and what was done about it, so a
//! record that cannot be written is no failure of the deletion.

use crate::block::meta::BlockMeta;
use crate::manifest::Manifest;
use crate::tombstone::{StoredMatcher, Tombstone};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Name of the record, below the directory of all data.
const FILE: &str = "deletions.json";
const FORMAT_VERSION: u32 = 1;
/// Jobs that are remembered after they are done.
const DONE_MAX: usize = 1000;

/// How far a deletion is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeletionState {
    /// Hidden, and still stored.
    Pending,
    /// Nothing of it is in any block that is used.
    Done,
}

/// A deletion and what was done about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletionJob {
    /// As of its tombstone.
    pub id: String,
    /// Which series: all must hold.
    pub matchers: Vec<StoredMatcher>,
    /// First time, inclusive, milliseconds since the Unix epoch.
    pub min_ms: i64,
    /// Last time, inclusive.
    pub max_ms: i64,
    /// When it was asked for.
    pub created_ms: i64,
    /// How far it is.
    pub state: DeletionState,
    /// When it was done.
    pub finished_ms: Option<i64>,
    /// Blocks that were written anew because of it.
    pub blocks_rewritten: u64,
    /// Bytes that these are smaller.
    pub bytes_reclaimed: u64,
    /// Series that these no longer have, each block counted by itself.
    pub series_reclaimed: u64,
    /// Float samples and histograms that these no longer have.
    pub samples_reclaimed: u64,
    /// Why it could not be carried out everywhere when that was tried last.
    pub failure: Option<String>,
}

impl DeletionJob {
    fn of(tombstone: &Tombstone) -> Self {
        Self {
            id: tombstone.id.clone(),
            matchers: tombstone.matchers.clone(),
            min_ms: tombstone.min_ms,
            max_ms: tombstone.max_ms,
            created_ms: tombstone.created_ms,
            state: DeletionState::Pending,
            finished_ms: None,
            blocks_rewritten: 0,
            bytes_reclaimed: 0,
            series_reclaimed: 0,
            samples_reclaimed: 0,
            failure: None,
        }
    }

    fn finish(&mut self, now_ms: i64) {
        self.state = DeletionState::Done;
        self.finished_ms = Some(now_ms);
        self.failure = None;
    }
}

#[derive(Serialize, Deserialize)]
struct Stored {
    format_version: u32,
    jobs: Vec<DeletionJob>,
}

/// All jobs that are remembered.
#[derive(Debug)]
pub(crate) struct DeletionJobs {
    file: PathBuf,
    /// By id, which sorts by time.
    jobs: Mutex<BTreeMap<String, DeletionJob>>,
}

impl DeletionJobs {
    /// The jobs below `data`. A record that cannot be read counts as none: tombstones of the manifest are added as they are met.
    pub(crate) fn open(data: &Path) -> Self {
        let file = data.join(FILE);
        let stored = std::fs::read(&file).ok().and_then(|bytes| serde_json::from_slice::<Stored>(&bytes).ok());
        let jobs = stored.filter(|stored| stored.format_version == FORMAT_VERSION).map(|stored| stored.jobs);
        let jobs = jobs.into_iter().flatten().map(|job| (job.id.clone(), job)).collect();
        Self { file, jobs: Mutex::new(jobs) }
    }

    /// All jobs, the newest first.
    pub(crate) fn list(&self) -> Vec<DeletionJob> {
        self.jobs.lock().values().rev().cloned().collect()
    }

    /// Follows a manifest: what it has is pending, what it has no more is done.
    pub(crate) fn follow(&self, manifest: &Manifest, now_ms: i64) {
        self.change(|jobs| {
            let mut changed = false;
            for tombstone in &manifest.tombstones {
                changed |= !jobs.contains_key(&tombstone.id);
                jobs.entry(tombstone.id.clone()).or_insert_with(|| DeletionJob::of(tombstone));
            }
            for job in jobs.values_mut().filter(|job| job.state == DeletionState::Pending) {
                if !manifest.tombstones.iter().any(|tombstone| tombstone.id == job.id) {
                    job.finish(now_ms);
                    changed = true;
                }
            }
            changed
        });
    }

    /// A block was written anew because of a deletion; `after` is `None` when nothing was left of it.
    pub(crate) fn rewrote(&self, id: &str, before: &BlockMeta, after: Option<&BlockMeta>) {
        let less = |figure: fn(&BlockMeta) -> u64| figure(before).saturating_sub(after.map_or(0, figure));
        self.change(|jobs| {
            let Some(job) = jobs.get_mut(id) else { return false };
            job.blocks_rewritten += 1;
            job.bytes_reclaimed += less(BlockMeta::bytes);
            job.series_reclaimed += less(|meta| meta.series);
            job.samples_reclaimed += less(|meta| meta.samples + meta.histograms);
            true
        });
    }

    /// Notes why a deletion could not be carried out everywhere, or that nothing was in its way.
    pub(crate) fn note_failure(&self, id: &str, failure: Option<String>) {
        self.change(|jobs| {
            let Some(job) = jobs.get_mut(id).filter(|job| job.failure != failure) else { return false };
            job.failure = failure;
            true
        });
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, DeletionJob>) -> bool) {
        let mut jobs = self.jobs.lock();
        if !change(&mut jobs) {
            return;
        }
        let done: Vec<_> = jobs.values().filter(|job| job.state == DeletionState::Done).map(|job| &job.id).collect();
        let forgotten: Vec<String> =
            done.iter().take(done.len().saturating_sub(DONE_MAX)).map(|id| (*id).clone()).collect();
        forgotten.iter().for_each(|id| drop(jobs.remove(id)));
        let stored = Stored { format_version: FORMAT_VERSION, jobs: jobs.values().cloned().collect() };
        // Written anew with the next change.
        let _ = self.store(&stored);
    }

    fn store(&self, stored: &Stored) -> io::Result<()> {
        let unfinished = self.file.with_extension("tmp");
        let mut file = File::create(&unfinished)?;
        file.write_all(&serde_json::to_vec(stored)?)?;
        file.sync_all()?;
        std::fs::rename(&unfinished, &self.file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tombstone(n: i64) -> Tombstone {
        let matchers = vec![StoredMatcher { name: "job".into(), op: "=".into(), value: "a".into() }];
        Tombstone { id: format!("{n:026}"), matchers, min_ms: 1, max_ms: 2, created_ms: n, up_to_version: None }
    }

    fn manifest(tombstones: &[i64]) -> Manifest {
        Manifest { tombstones: tombstones.iter().copied().map(tombstone).collect(), ..Manifest::empty("t") }
    }

    #[test]
    fn jobs_survive_and_are_done_when_their_tombstone_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let jobs = DeletionJobs::open(dir.path());
        jobs.follow(&manifest(&[1, 2]), 10);
        jobs.note_failure(&tombstone(1).id, Some("damaged".into()));
        let jobs = DeletionJobs::open(dir.path());
        jobs.follow(&manifest(&[1]), 20);
        let states: Vec<_> =
            jobs.list().into_iter().map(|job| (job.created_ms, job.finished_ms, job.failure)).collect();
        assert_eq!(states, [(2, Some(20), None), (1, None, Some("damaged".to_owned()))]);
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let jobs = DeletionJobs::open(dir.path());
        jobs.follow(&manifest(&(0..1100).collect::<Vec<_>>()), 10);
        jobs.follow(&manifest(&[0]), 20);
        let left = jobs.list();
        assert_eq!((left.len(), left.last().unwrap().created_ms), (DONE_MAX + 1, 0), "what is pending stays");
    }
}
