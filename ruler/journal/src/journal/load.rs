//! Finds the last segment and reads it. Never fails: what cannot be read is told.

use super::Problem;
use crate::memory::Memory;
use crate::segment::{self, Ending};
use std::path::{Path, PathBuf};
use storage::disk::Disk;

/// The name of a segment whose state is not whole yet.
pub(super) const UNFINISHED: &str = "next.unfinished";
/// What a damaged segment is renamed to.
pub(super) const DAMAGED: &str = "damaged";
const EXTENSION: &str = "journal";

/// What the opening of a journal came to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Opened {
    /// Alerts that are remembered.
    pub alerts: usize,
    /// Messages that wait for an Alertmanager.
    pub messages: usize,
    /// What did not go as it should.
    pub troubles: Vec<Trouble>,
}

/// Something that an operator may want to know about a journal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The last frame was being written when the process or the machine ended; it was promised to nobody.
    #[error("{}: the last frame, at offset {offset}, is not whole and was left out", file.display())]
    Torn {
        /// Which file.
        file: PathBuf,
        /// Where the frame begins.
        offset: u64,
    },
    /// Bytes are not what was written. What is behind them is not used; the file is kept under another name.
    #[error("{}: damaged at offset {offset}: {reason}; what is behind it is not used", file.display())]
    Damaged {
        /// Which file.
        file: PathBuf,
        /// Where the first bad frame begins.
        offset: u64,
        /// What is wrong.
        reason: String,
    },
    /// A file cannot be read.
    #[error("{}: {reason}", file.display())]
    Read {
        /// Which file.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// Nothing can be made durable for now.
    #[error("{0}")]
    Write(Problem),
}

pub(super) struct Loaded {
    pub(super) memory: Memory,
    pub(super) troubles: Vec<Trouble>,
    /// The file to put aside.
    pub(super) damaged: Option<PathBuf>,
    pub(super) last_segment: u64,
}

pub(super) fn file_name(number: u64) -> String {
    format!("{number:010}.{EXTENSION}")
}

pub(super) fn segment_number(name: &str) -> Option<u64> {
    let number = name.strip_suffix(EXTENSION)?.strip_suffix('.')?;
    number.bytes().all(|byte| byte.is_ascii_digit()).then(|| number.parse().ok())?
}

/// Every segment begins with the whole state, so the last one that has a beginning is enough.
pub(super) fn load(disk: &dyn Disk, directory: &Path) -> Loaded {
    let mut loaded = Loaded { memory: Memory::default(), troubles: Vec::new(), damaged: None, last_segment: 0 };
    let mut numbers: Vec<u64> = match disk.list(directory) {
        Ok(names) => names.iter().filter_map(|name| segment_number(name)).collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            loaded.troubles.push(Trouble::Read { file: directory.to_owned(), reason: error.to_string() });
            Vec::new()
        }
    };
    numbers.sort_unstable();
    loaded.last_segment = numbers.last().copied().unwrap_or(0);
    for number in numbers.into_iter().rev() {
        let file = directory.join(file_name(number));
        let mut memory = Memory::default();
        let ending = segment::read(disk, &file, |record| memory.apply(record));
        loaded.memory = memory;
        match ending {
            Ok(Ending::Whole) => return loaded,
            Ok(Ending::Torn { offset }) => {
                loaded.troubles.push(Trouble::Torn { file, offset });
                return loaded;
            }
            Ok(Ending::Damaged { offset, reason }) => {
                loaded.troubles.push(Trouble::Damaged { file: file.clone(), offset, reason });
                loaded.damaged.get_or_insert(file);
                // Without its beginning it says nothing; an older one may still be there.
                if offset >= segment::HEADER_BYTES as u64 {
                    return loaded;
                }
            }
            Err(error) => {
                loaded.troubles.push(Trouble::Read { file: file.clone(), reason: error.to_string() });
                loaded.damaged.get_or_insert(file);
            }
        }
    }
    loaded
}
