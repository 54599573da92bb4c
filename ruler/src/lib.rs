//! When to evaluate which rule and what follows.
//!
//! Rule files become [`group::Group`]s: state machines that are told the time and the outcome of queries and answer with
//! what to ask next, which alerts to send and which samples to store. [`driver`] turns that crank through the small traits
//! of [`ports`], which the server and the tests implement; nothing here reads a clock, a file or a socket.
#![forbid(unsafe_code)]

pub mod annotate;
pub mod rule;
pub mod rule_file; // text to rules

pub mod alert_instance;
pub mod alerting;
pub mod evaluation;
pub mod group; // what an evaluation does
mod overlay;
pub mod recording;
pub mod rule_state;
pub mod schedule;

pub mod driver; // who turns the crank
pub mod ports;
pub mod reload;

pub mod error; // what others see
pub mod filter;
pub mod stats;
pub mod view;

#[cfg(test)]
mod testing;
