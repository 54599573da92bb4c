//! One bound for the memory of the process: who may still take some, and who is sent away before the system kills us all.
//!
//! What counts is what the allocator holds in memory, measured a few times a second, for that is what the system sees; chunk
//! files are mapped and the system takes them back when it needs to, so they do not count. Below [`Pressure::High`] nobody notices. From there on no new
//! query of a person begins, kept results and parts of blocks are dropped, merges wait and the head is emptied into blocks; at [`Pressure::Full`] samples are refused
//! as unavailable too, so that senders keep them and come again. Rules go on until their own budgets end them: an alert is
//! the last thing to go. What all queries together may hold is bounded from the start ([`Memory::queries`]).

use promql::budget::SharedBytes;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How often memory is measured. At a gigabyte a second, the fastest that this process can fill, it can pass a mark by a tenth of
/// that before anybody notices; the bound leaves more than that to the rest of the machine.
pub const MEASURE_EVERY: Duration = Duration::from_millis(100);

/// Of the machine or the control group, what is taken when nobody says how much.
const SHARE_PERCENT: u64 = 80;
/// Of the limit, what all queries may hold together.
const QUERIES_PERCENT: u64 = 40;
/// And rules besides, so that no dashboard takes what an alert needs.
const RULES_PERCENT: u64 = 10;
/// Of the limit, what the inputs of one merge of blocks may take.
const MERGES_PERCENT: u64 = 10;
/// The marks, in percent of the limit.
const HIGH_PERCENT: u64 = 80;
const FULL_PERCENT: u64 = 92;
/// What writing a series of the head to a block takes while it is done: its labels, sorted. Measured with 270,000 series of 100
/// bytes of labels (`compat-tests/tests/memory.rs`): 118 to 195.
const FLUSH_BYTES_PER_SERIES: u64 = 200;

/// How much room there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// Enough.
    Calm,
    /// Little: whoever can do without, does.
    High,
    /// None: whoever can come again, is asked to.
    Full,
}

/// The memory of the process. A cheap handle: clones share the measurement.
#[derive(Debug, Clone)]
pub struct Memory {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    limit: u64,
    used: AtomicU64,
    /// Room that must be left for emptying the head.
    reserved: AtomicU64,
    shed_writes: AtomicU64,
    shed_queries: AtomicU64,
    queries: Arc<SharedBytes>,
    rules: Arc<SharedBytes>,
}

/// There is no room now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "memory is full: {used} bytes are in use and {reserved} reserved for writing the head to blocks, together {allowed} may be of {limit}"
)]
pub struct MemoryFull {
    /// Bytes in use.
    pub used: u64,
    /// Bytes that must stay free for emptying the head.
    pub reserved: u64,
    /// What both may be before this is refused.
    pub allowed: u64,
    /// The bound of the process.
    pub limit: u64,
}

impl Memory {
    /// A bound of `limit` bytes.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        let share = |percent| usize::try_from(limit / 100 * percent).unwrap_or(usize::MAX);
        Self {
            inner: Arc::new(Inner {
                limit,
                used: AtomicU64::new(0),
                reserved: AtomicU64::new(0),
                shed_writes: AtomicU64::new(0),
                shed_queries: AtomicU64::new(0),
                queries: Arc::new(SharedBytes::new(share(QUERIES_PERCENT))),
                rules: Arc::new(SharedBytes::new(share(RULES_PERCENT))),
            }),
        }
    }

    /// A bound that fits this machine: a share of it, or of the control group that the process is in.
    #[must_use]
    pub fn of_machine() -> Self {
        Self::new(available_bytes(Path::new("/")).unwrap_or(u64::MAX) / 100 * SHARE_PERCENT)
    }

    /// The bound, in bytes.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.inner.limit
    }

    /// Bytes in use when they were last measured.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.inner.used.load(Ordering::Relaxed)
    }

    /// Bytes that count as used, so that there is room for emptying the head.
    #[must_use]
    pub fn reserved(&self) -> u64 {
        self.inner.reserved.load(Ordering::Relaxed)
    }

    /// What all queries hold together, but for those of rules.
    #[must_use]
    pub fn queries(&self) -> &Arc<SharedBytes> {
        &self.inner.queries
    }

    /// What all rules hold together while they are evaluated.
    #[must_use]
    pub fn rules(&self) -> &Arc<SharedBytes> {
        &self.inner.rules
    }

    /// Bytes that the inputs of one merge of blocks may take.
    #[must_use]
    pub fn merges(&self) -> u64 {
        self.limit() / 100 * MERGES_PERCENT
    }

    /// Requests that were turned away for lack of memory: writes, queries.
    #[must_use]
    pub fn turned_away(&self) -> (u64, u64) {
        let Inner { shed_writes, shed_queries, .. } = &*self.inner;
        (shed_writes.load(Ordering::Relaxed), shed_queries.load(Ordering::Relaxed))
    }

    /// Notes what is in use.
    pub fn note(&self, used: u64) {
        self.inner.used.store(used, Ordering::Relaxed);
    }

    /// Leaves room for emptying a head of so many series, which is what gives memory back.
    pub fn reserve_for_flush(&self, series: u64) {
        self.inner.reserved.store(series.saturating_mul(FLUSH_BYTES_PER_SERIES), Ordering::Relaxed);
    }

    /// Measures what the allocator holds, what it has not yet given back to the system included.
    pub fn measure(&self) {
        use tikv_jemalloc_ctl::{epoch, stats};
        if epoch::advance().is_ok()
            && let Ok(resident) = stats::resident::read()
        {
            self.note(resident as u64);
        }
    }

    /// How much room there is.
    #[must_use]
    pub fn pressure(&self) -> Pressure {
        let used = self.used().saturating_add(self.reserved());
        match () {
            () if used >= self.begins(Pressure::Full) => Pressure::Full,
            () if used >= self.begins(Pressure::High) => Pressure::High,
            () => Pressure::Calm,
        }
    }

    /// Bytes from which on there is this pressure.
    fn begins(&self, pressure: Pressure) -> u64 {
        let percent = match pressure {
            Pressure::Calm => 0,
            Pressure::High => HIGH_PERCENT,
            Pressure::Full => FULL_PERCENT,
        };
        self.limit() / 100 * percent
    }

    /// Whether samples may be taken.
    ///
    /// # Errors
    /// They are better kept by their sender for now.
    pub fn admit_write(&self) -> Result<(), MemoryFull> {
        self.admit(Pressure::Full, &self.inner.shed_writes)
    }

    /// Whether a query of a person may begin.
    ///
    /// # Errors
    /// It had better wait.
    pub fn admit_query(&self) -> Result<(), MemoryFull> {
        self.admit(Pressure::High, &self.inner.shed_queries)
    }

    fn admit(&self, refused_from: Pressure, turned_away: &AtomicU64) -> Result<(), MemoryFull> {
        if self.pressure() < refused_from {
            return Ok(());
        }
        turned_away.fetch_add(1, Ordering::Relaxed);
        let (used, reserved, allowed, limit) = (self.used(), self.reserved(), self.begins(refused_from), self.limit());
        Err(MemoryFull { used, reserved, allowed, limit })
    }
}

/// Bytes of memory that this process can have: those of the machine, or fewer where its control group says so.
fn available_bytes(root: &Path) -> Option<u64> {
    let machine = machine_bytes(&std::fs::read_to_string(root.join("proc/meminfo")).ok()?);
    let groups = std::fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let limits = limit_files(&groups).into_iter().filter_map(|file| {
        let text = std::fs::read_to_string(root.join(file)).ok()?;
        text.trim().parse::<u64>().ok()
    });
    machine.into_iter().chain(limits).min()
}

fn machine_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// The files that may hold a limit, of the control group and of all above it, relative to `/`.
fn limit_files(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (base, file) = match controllers {
            "" => ("sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let path = Path::new(path.trim_start_matches('/'));
        files.extend(path.ancestors().map(|group| Path::new(base).join(group).join(file)));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_turned_away_before_samples() {
        let memory = Memory::new(1000);
        let admitted = |used| {
            memory.note(used);
            (memory.admit_query().is_ok(), memory.admit_write().is_ok())
        };
        assert_eq!(admitted(799), (true, true));
        assert_eq!(admitted(800), (false, true));
        assert_eq!(admitted(920), (false, false));
        assert_eq!(admitted(100), (true, true));
        assert_eq!(memory.turned_away(), (1, 2));
        memory.reserve_for_flush(4);
        assert_eq!(admitted(119), (false, true), "room for emptying the head is not there to be filled");
        assert_eq!(admitted(120), (false, false));
        let refused = memory.admit_query().unwrap_err().to_string();
        let figures =
            "120 bytes are in use and 800 reserved for writing the head to blocks, together 800 may be of 1000";
        assert_eq!(refused, format!("memory is full: {figures}"));
    }

    #[test]
    fn the_smallest_bound_above_the_process_counts() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("proc/meminfo", "MemTotal:       1000 kB\nMemFree: 1 kB\n");
        assert_eq!(available_bytes(dir.path()), Some(1_024_000));
        write("proc/self/cgroup", "0::/user/hearth.service\n");
        write("sys/fs/cgroup/user/hearth.service/memory.max", "max\n");
        write("sys/fs/cgroup/user/memory.max", "500000\n");
        assert_eq!(available_bytes(dir.path()), Some(500_000));
        write("proc/self/cgroup", "5:cpu:/x\n4:blkio,memory:/x\n");
        write("sys/fs/cgroup/memory/x/memory.limit_in_bytes", "400000\n");
        write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(available_bytes(dir.path()), Some(400_000));
    }

    #[test]
    fn this_machine_has_memory() {
        assert!(Memory::of_machine().limit() > 1 << 20);
    }
}
