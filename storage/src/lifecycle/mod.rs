//! The life of stored samples after the head: flushed into blocks, merged, hidden, dropped.
//!
//! What is decided is pure and apart from what is done: [`window`] says which spans become blocks, [`compaction_plan`] which
//! blocks become one, [`retention`] what expires, `tiering_plan` what becomes coarser.

mod compaction;
pub mod compaction_plan;
pub mod damage;
mod deleting;
pub mod deletion_jobs;
mod epochs;
mod expiring;
mod flush;
mod publish;
pub(crate) mod relief;
pub mod retention;
mod tiering;
mod tiering_plan;
pub mod window;
pub(crate) mod worker;

pub(crate) use compaction::{Visited, Wanted, visit_past};
#[cfg(test)]
pub(crate) use expiring::Expiring;
pub(crate) use flush::StagedBlock;
pub(crate) use publish::{Change, publish};
