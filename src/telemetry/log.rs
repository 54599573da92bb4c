//! The log: one line per event on standard error, as logfmt or JSON.

use crate::config::{LogFormat, LogLevel};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

/// Starts the log of the process. Call it once; a second call changes nothing.
pub fn init(level: LogLevel, format: LogFormat) {
    let level = match level {
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    };
    // Libraries speak up only when something is wrong, whatever our own level is.
    let filter = Targets::new().with_default(LevelFilter::WARN.min(level)).with_target("hearth", level);
    let registry = tracing_subscriber::registry().with(filter);
    let started = match format {
        LogFormat::Logfmt => {
            let layer = tracing_logfmt::builder().with_span_name(false).layer().with_writer(std::io::stderr);
            registry.with(layer).try_init()
        }
        LogFormat::Json => {
            let layer = tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(std::io::stderr);
            registry.with(layer).try_init()
        }
    };
    drop(started);
}
