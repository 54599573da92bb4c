//! Names of snapshot files.

use std::fmt;

/// What a file in the snapshots' directory is, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotName {
    /// A whole snapshot.
    Whole(u64),
    /// Set aside for a human.
    Damaged(u64),
    /// Was being written when the process ended.
    Unfinished(u64),
}

impl SnapshotName {
    /// Reads a file name; `None` for files that are none of ours.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let number = |text: &str| if text.len() == 20 { text.parse().ok() } else { None };
        if let Some(rest) = name.strip_prefix("damaged-snapshot-") {
            return rest.strip_suffix(".snap").and_then(number).map(Self::Damaged);
        }
        let rest = name.strip_prefix("snapshot-")?;
        match rest.strip_suffix(".snap.tmp") {
            Some(unfinished) => number(unfinished).map(Self::Unfinished),
            None => rest.strip_suffix(".snap").and_then(number).map(Self::Whole),
        }
    }
}

/// The file name, with the number at full width so that names sort as numbers do.
impl fmt::Display for SnapshotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(number) => write!(f, "snapshot-{number:020}.snap"),
            Self::Damaged(number) => write!(f, "damaged-snapshot-{number:020}.snap"),
            Self::Unfinished(number) => write!(f, "snapshot-{number:020}.snap.tmp"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_and_foreign_names_are_left_alone() {
        for name in [SnapshotName::Whole(3), SnapshotName::Damaged(4), SnapshotName::Unfinished(u64::MAX)] {
            assert_eq!(SnapshotName::parse(&name.to_string()), Some(name));
        }
        for name in ["snapshot-3.snap", "head.meta", "0-1.chunks", "snapshot-00000000000000000003.snap.bak"] {
            assert_eq!(SnapshotName::parse(name), None, "{name}");
        }
    }
}
