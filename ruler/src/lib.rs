//! When to evaluate which rule and what follows.
//!
//! Rule files become [`group::Group`]s: state machines that are told the time and the outcome of queries and answer with
//! what to ask next, which alerts to send and which samples to store. [`driver`] turns that crank through the small traits
//! of [`ports`], which the server and the tests implement; nothing here reads a clock, a file or a socket.
#![forbid(unsafe_code)]

// Text to rules.
pub mod annotate;
pub mod rule;
pub mod rule_file;
pub mod yaml;

// What an evaluation does, from the outside in.
pub mod backfill;
pub mod dependency;
pub mod group;
pub mod repair;
pub mod rule_state;
pub mod schedule;
pub mod state;

pub mod alert_instance;
pub mod alerting;
pub mod clock_watch;
pub mod ended;
pub mod evaluation;
mod overlay;
pub mod recording;
pub mod restore;

// Who turns the crank.
pub mod driver;
pub mod ports;
pub mod reload;

// Time that only passes on paper.
pub mod backtest;
pub mod lint;
pub mod unit_test;
pub mod virtual_slot;

// What others see.
pub mod error;
pub mod filter;
pub mod stats;
pub mod transition;
pub mod view;

#[cfg(test)]
mod testing;
