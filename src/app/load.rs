//! From flags and files to values: the configuration, its rules, the features of the language.

use crate::config::{Config, ServeFlags};
use crate::rules::load::{LoadOptions, Loaded, load, load_embedded};
use promql::parse::ParseOptions;
use ruler::rule_file::GroupDefaults;
use std::error::Error;
use std::fmt::Write;
use std::path::Path;

/// The configuration that the flags name, or the default one.
///
/// # Errors
/// The file is not valid; the text names every cause.
pub fn config(flags: &ServeFlags) -> Result<Config, String> {
    match &flags.config_file {
        Some(file) => Config::load(file).map_err(|error| with_causes(&error)),
        None => Ok(Config::default()),
    }
}

/// The rules of a configuration; without a file the embedded ones.
///
/// # Errors
/// A rule file is not valid; the text names every problem.
pub fn rules(config: &Config, file: Option<&Path>, parse: &ParseOptions) -> Result<Loaded, String> {
    let defaults = GroupDefaults {
        interval_ms: config.global.evaluation_interval.as_millis(),
        query_offset_ms: config.global.rule_query_offset.as_millis(),
    };
    let options = LoadOptions { defaults, parse: parse.clone() };
    let loaded = match file {
        Some(file) => load(&config.rule_files, file.parent().unwrap_or(Path::new("")), &options),
        None => load_embedded(&options),
    };
    loaded.map_err(|error| error.to_string())
}

/// Which parts of the language and the engine `--enable-feature` switches on.
#[derive(Debug, Clone)]
pub struct Features {
    /// For the parser.
    pub parse: ParseOptions,
    /// For the engine.
    pub delayed_name_removal: bool,
}

impl Features {
    /// Reads the names that Prometheus uses.
    ///
    /// # Errors
    /// A name that is not known.
    pub fn from_names(names: &[String]) -> Result<Self, String> {
        let mut features = Self { parse: ParseOptions::default(), delayed_name_removal: false };
        for name in names {
            match name.as_str() {
                "promql-experimental-functions" => features.parse.experimental_functions = true,
                "promql-extended-range-selectors" => features.parse.extended_range_selectors = true,
                "promql-binop-fill-modifiers" => features.parse.fill_modifiers = true,
                "promql-delayed-name-removal" => features.delayed_name_removal = true,
                other => return Err(format!("--enable-feature: unknown feature {other:?}")),
            }
        }
        Ok(features)
    }
}

/// An error and what caused it, in one line.
#[must_use]
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a string cannot fail.
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}
