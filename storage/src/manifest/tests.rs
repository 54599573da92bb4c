//! The chain on stores that fail.
