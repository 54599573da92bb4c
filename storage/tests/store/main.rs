//! The store of head and blocks against stores of objects that fail, lose and damage, next to other writers, and over days.

#![allow(clippy::unwrap_used, reason = "a test that panics fails, as it should")]

mod away;
mod bad_days;
mod crashes;
mod damage;
mod fixture;
mod full;
mod plateau;
mod two_writers;
