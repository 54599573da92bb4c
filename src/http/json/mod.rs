//! Answers as JSON, written straight from columns into bytes.
//!
//! [`stream`] cuts a document into chunks so that an answer of any size is never held twice; what has one piece after the
//! other is a [`stream::Document`].
pub mod histogram;
pub mod number;
pub mod parts;
pub mod query_result;
pub mod stream;
pub mod text;
mod timestamp_texts;
