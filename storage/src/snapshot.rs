//! Snapshots: the head and the metadata in one file, so that the log before it need not be replayed.
//!
//! A snapshot is written beside the others, synced, and renamed: a name without `.tmp` is a whole snapshot. It consists of
//! sections, each with the position of the log up to which it holds everything; sections need not agree in it, because
//! replay looks at each one's own. The newest two are kept, and the log since the older one: a damaged section is taken
//! from the other. Byte layout: `docs/formats/snapshot.md`.

pub mod blocks;
pub mod file;
pub mod name;
