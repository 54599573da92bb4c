//! A disk in memory that can lose power: what was not synced may be lost, whole or in part.
//!
//! Every operation that changes the disk is one step. [`SimulatedDisk::cut_power_at`] chooses the step that no longer
//! happens; from then on every operation fails. [`SimulatedDisk::restart`] then decides, by a seeded choice per 512-byte sector,
//! which unsynced writes reached the platter, and how many of the unsynced directory operations did (a prefix, as a
//! journal keeps them in order). [`Fault`]s make single operations fail while the power stays on.

use super::{Disk, DiskFile};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const SECTOR: usize = 512;

/// An operation that fails although the power is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `sync_data` fails; what it should have made durable stays in doubt.
    Sync,
    /// Writes that need new space fail: files may not grow, none may be created.
    NoSpace,
    /// Every write fails.
    Write,
    /// Every read fails.
    Read,
    /// `sync_data` waits until this is no longer set.
    Stall,
}

/// A handle to one simulated disk; clones share it.
#[derive(Clone, Default)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    files: Vec<Content>,
    /// Names now and names that survive a power cut, with the index into `files`.
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    unsynced_names: Vec<NameChange>,
    steps: u64,
    power_cut_at: Option<u64>,
    fault: Option<Fault>,
    syncs: u64,
}

#[derive(Default, Clone)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<(usize, Vec<u8>)>,
}

enum NameChange {
    Set(PathBuf, usize),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

impl SimulatedDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From the changing operation with this number on, nothing works any more. Numbers count from 0.
    pub fn cut_power_at(&self, step: u64) {
        self.lock().power_cut_at = Some(step);
    }

    /// How many changing operations there were.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.lock().steps
    }

    /// How often data was synced.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// Lets operations of one kind fail from now on, or none.
    pub fn set_fault(&self, fault: Option<Fault>) {
        self.lock().fault = fault;
    }

    /// Whether the power is off.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.lock().is_off()
    }

    /// Changes a stored byte behind everyone's back, as failing media do; ends of files are ignored.
    pub fn flip(&self, path: &Path, offset: usize, mask: u8) {
        let mut state = self.lock();
        let Some(index) = state.names.get(path).copied() else { return };
        let Some(content) = state.files.get_mut(index) else { return };
        for bytes in [&mut content.now, &mut content.durable] {
            if let Some(byte) = bytes.get_mut(offset) {
                *byte ^= mask;
            }
        }
    }

    /// All bytes of a file as they are now.
    #[must_use]
    pub fn bytes(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.lock();
        state.names.get(path).and_then(|index| state.files.get(*index)).map(|content| content.now.clone())
    }

    /// The disk as the next process finds it: power on, and of what was not synced an arbitrary part.
    #[must_use]
    pub fn restart(&self, seed: u64) -> Self {
        let mut state = self.lock();
        let mut random = Random(seed | 1);
        let kept = random.below(state.unsynced_names.len() as u64 + 1) as usize;
        let changes: Vec<NameChange> = state.unsynced_names.drain(..).take(kept).collect();
        let mut names = state.durable_names.clone();
        for change in changes {
            apply(&mut names, change);
        }
        let files = state.files.iter().map(|content| content.after_power_cut(&mut random)).collect();
        let next = State { files, durable_names: names.clone(), names, ..State::default() };
        Self { state: Arc::new(Mutex::new(next)) }
    }

    /// The disk as the next process finds it after this one was killed: nothing is lost, and nothing more durable than it was.
    #[must_use]
    pub fn kill(&self) -> Self {
        let mut state = self.lock();
        let mut next = std::mem::take(&mut *state);
        // Whoever still holds the old handle finds the power off.
        state.power_cut_at = Some(0);
        (next.power_cut_at, next.fault) = (None, None);
        Self { state: Arc::new(Mutex::new(next)) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content {
    fn after_power_cut(&self, random: &mut Random) -> Self {
        let mut bytes = self.durable.clone();
        for (offset, written) in &self.unsynced {
            let mut at = 0;
            while at < written.len() {
                let length = (SECTOR - (offset + at) % SECTOR).min(written.len() - at);
                if random.below(2) == 1 {
                    put(&mut bytes, offset + at, written.get(at..at + length).unwrap_or_default());
                }
                at += length;
            }
        }
        Self { now: bytes.clone(), durable: bytes, unsynced: Vec::new() }
    }
}

fn put(bytes: &mut Vec<u8>, offset: usize, written: &[u8]) {
    let end = offset + written.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    if let Some(target) = bytes.get_mut(offset..end) {
        target.copy_from_slice(written);
    }
}

fn apply(names: &mut BTreeMap<PathBuf, usize>, change: NameChange) {
    match change {
        NameChange::Set(path, index) => {
            names.insert(path, index);
        }
        NameChange::Rename(from, to) => {
            if let Some(index) = names.remove(&from) {
                names.insert(to, index);
            }
        }
        NameChange::Remove(path) => {
            names.remove(&path);
        }
    }
}

impl State {
    fn is_off(&self) -> bool {
        self.power_cut_at.is_some_and(|at| self.steps >= at)
    }

    fn step(&mut self) -> io::Result<()> {
        if self.is_off() {
            return Err(io::Error::other("the power is off"));
        }
        self.steps += 1;
        Ok(())
    }

    fn fails(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        if self.is_off() {
            return Err(io::Error::other("the power is off"));
        }
        self.names.get(path).copied().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }
}

impl Disk for SimulatedDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.lock();
        if state.fails(Fault::NoSpace) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.step()?;
        let index = state.files.len();
        state.files.push(Content::default());
        state.names.insert(path.to_owned(), index);
        state.unsynced_names.push(NameChange::Set(path.to_owned(), index));
        Ok(Box::new(SimulatedFile { disk: self.clone(), index }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let index = self.lock().find(path)?;
        Ok(Box::new(SimulatedFile { disk: self.clone(), index }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.find(from)?;
        state.step()?;
        apply(&mut state.names, NameChange::Rename(from.to_owned(), to.to_owned()));
        state.unsynced_names.push(NameChange::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.find(path)?;
        state.step()?;
        state.names.remove(path);
        state.unsynced_names.push(NameChange::Remove(path.to_owned()));
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.lock();
        let inside = state.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.filter_map(|path| path.file_name()?.to_str().map(str::to_owned)).collect())
    }

    fn create_dir_all(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    /// Makes the names of the whole disk durable, as one journal commit does.
    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.step()?;
        if state.fails(Fault::Sync) {
            return Err(io::Error::other("simulated failure of fsync"));
        }
        let changes = std::mem::take(&mut state.unsynced_names);
        for change in changes {
            apply(&mut state.durable_names, change);
        }
        Ok(())
    }
}

struct SimulatedFile {
    disk: SimulatedDisk,
    index: usize,
}

impl SimulatedFile {
    fn with<R>(&self, state: &mut State, work: impl FnOnce(&mut Content) -> R) -> R {
        // After a kill the files belong to the next process.
        work(state.files.get_mut(self.index).unwrap_or(&mut Content::default()))
    }
}

impl DiskFile for SimulatedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.lock();
        if state.is_off() || state.fails(Fault::Read) {
            return Err(io::Error::other("simulated failure of a read"));
        }
        self.with(&mut state, |content| {
            let start = (offset as usize).min(content.now.len());
            let length = buffer.len().min(content.now.len() - start);
            let (target, source) = (buffer.get_mut(..length), content.now.get(start..start + length));
            if let (Some(target), Some(source)) = (target, source) {
                target.copy_from_slice(source);
            }
            Ok(length)
        })
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.lock();
        let grows = self.with(&mut state, |content| offset as usize + bytes.len() > content.now.len());
        if grows && state.fails(Fault::NoSpace) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if state.fails(Fault::Write) {
            return Err(io::Error::other("simulated failure of a write"));
        }
        state.step()?;
        self.with(&mut state, |content| {
            put(&mut content.now, offset as usize, bytes);
            content.unsynced.push((offset as usize, bytes.to_vec()));
        });
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        while self.disk.lock().fails(Fault::Stall) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let mut state = self.disk.lock();
        state.step()?;
        if state.fails(Fault::Sync) {
            return Err(io::Error::other("simulated failure of fdatasync"));
        }
        state.syncs += 1;
        self.with(&mut state, |content| {
            for (offset, written) in std::mem::take(&mut content.unsynced) {
                put(&mut content.durable, offset, &written);
            }
        });
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let mut state = self.disk.lock();
        self.with(&mut state, |content| Ok(content.now.len() as u64))
    }
}

/// Xorshift: the same choices for the same seed, everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) % bound
    }
}
