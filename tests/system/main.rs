//! The system as a whole: the binary, its commands and its generated pages.

#![allow(clippy::unwrap_used, reason = "a test that panics fails, as it should")]

mod alert_history;
mod binary;
mod blocks;
mod mixin;
mod outage;
mod pages;
mod suite_on_blocks;
mod tenants;

/// What the twin of PromQL asks, to be asked of stores.
#[allow(dead_code, unused_imports, reason = "its own tests use more of it")]
#[path = "../../promql/tests/twin"]
mod twin {
    pub(crate) mod generate;
}
