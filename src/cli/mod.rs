//! shim
pub mod query;
