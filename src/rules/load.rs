//! Finds, reads and checks the rule files of a configuration.
//!
//! All or nothing: one bad file and no group is returned, so that a bad reload leaves the old rules running.

use super::glob;
use model::tenant::TenantId;
use promql::parse::ParseOptions;
use ruler::group::GroupSpec;
use ruler::rule_file::{FILE_BYTES_MAX, GroupDefaults, ReadOptions, RuleFile, RuleFileError};
use std::collections::HashSet;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The rules that watch Hearth itself. They run when no configuration file is given, and where one asks for them.
pub const PACK: &str = include_str!("pack.yml");
/// The name under which they appear, and by which `rule_files` asks for them.
pub const PACK_NAME: &str = "builtin";

/// What is needed to load rule files.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// What the configuration says about groups that do not say it themselves.
    pub defaults: GroupDefaults,
    /// Which parts of PromQL are enabled.
    pub parse: ParseOptions,
    /// Whether names are restricted to those that Prometheus 2 allowed.
    pub legacy_names: bool,
    /// Whose rules they are.
    pub tenant: TenantId,
}

/// Groups that may run.
#[derive(Debug, Default, PartialEq)]
pub struct Loaded {
    /// In the order of patterns, paths and groups in a file; keys are unique.
    pub groups: Vec<GroupSpec>,
    /// What an operator should know, such as a pattern that matches no file.
    pub warnings: Vec<String>,
}

/// Why rules cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A pattern is none.
    #[error("rule_files: {}: {source}", pattern.display())]
    Pattern {
        /// Which one.
        pattern: PathBuf,
        /// Why.
        source: glob::BadPattern,
    },
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Files are no rule files: every problem of every file.
    #[error("{}", join(.0))]
    Invalid(Vec<RuleFileError>),
}

fn join(errors: &[RuleFileError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Loads the files that match `patterns`, and [`PACK`] for [`PACK_NAME`]; relative ones begin in `directory`, where the configuration file is. A file that
/// several patterns or links reach is loaded once.
///
/// # Errors
/// A pattern is malformed, or a file cannot be read or is not valid.
pub fn load(patterns: &[String], directory: &Path, options: &LoadOptions) -> Result<Loaded, LoadError> {
    let mut loaded = Loaded::default();
    let mut errors = Vec::new();
    let mut seen = HashSet::new();
    for pattern in patterns {
        if pattern == PACK_NAME {
            if seen.insert(PathBuf::from(PACK_NAME)) {
                add(&mut loaded, PACK_NAME, PACK, options).unwrap_or_else(|problems| errors.extend(problems));
            }
            continue;
        }
        let pattern = directory.join(pattern);
        let paths = glob::expand(&pattern);
        let paths = paths.map_err(|source| LoadError::Pattern { pattern: pattern.clone(), source })?;
        if paths.is_empty() {
            loaded.warnings.push(format!("rule_files: {} matches no file", pattern.display()));
        }
        for path in paths {
            let canonical = path.canonicalize().map_err(|source| LoadError::Read { path: path.clone(), source })?;
            if !seen.insert(canonical) {
                continue;
            }
            let text = read(&path).map_err(|source| LoadError::Read { path: path.clone(), source })?;
            match add(&mut loaded, &path.display().to_string(), &text, options) {
                Ok(()) => {}
                Err(problems) => errors.extend(problems),
            }
        }
    }
    if errors.is_empty() { Ok(loaded) } else { Err(LoadError::Invalid(errors)) }
}

/// The rules that run when no configuration file is given.
///
/// # Errors
/// None, as a test makes sure.
pub fn load_pack(options: &LoadOptions) -> Result<Loaded, LoadError> {
    load(&[PACK_NAME.to_owned()], Path::new(""), options)
}

fn add(loaded: &mut Loaded, file: &str, text: &str, options: &LoadOptions) -> Result<(), Vec<RuleFileError>> {
    let LoadOptions { parse, legacy_names, tenant, .. } = options;
    let read = ReadOptions { parse, ignore_unknown_fields: false, legacy_names: *legacy_names };
    let rules = RuleFile::read(file, text, &read)?;
    if rules.has_ignored_documents {
        loaded.warnings.push(format!("{file}: only the first YAML document of a rule file is read"));
    }
    let foreign = rules.groups.iter().filter_map(|group| group.foreign_tenant(file, tenant.as_str()));
    let foreign: Vec<RuleFileError> = foreign.collect();
    if !foreign.is_empty() {
        return Err(foreign);
    }
    loaded.groups.extend(rules.groups.into_iter().map(|group| group.resolve(file, options.defaults)));
    Ok(())
}

/// Reads a text file of bounded size.
pub(crate) fn read(path: &Path) -> std::io::Result<String> {
    read_bounded(std::fs::File::open(path)?)
}

/// Reads a text of bounded size.
pub(crate) fn read_bounded(from: impl Read) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    from.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(std::io::Error::other(format!("longer than {FILE_BYTES_MAX} bytes")));
    }
    decode(bytes).map_err(|problem| std::io::Error::new(std::io::ErrorKind::InvalidData, problem))
}

/// The text of a YAML file: UTF-8, or UTF-16 if it begins with the mark of that, as editors on Windows write it and Go reads it.
pub(crate) fn decode(bytes: Vec<u8>) -> Result<String, &'static str> {
    let units: fn([u8; 2]) -> u16 = match bytes.as_slice() {
        [0xff, 0xfe, ..] => u16::from_le_bytes,
        [0xfe, 0xff, ..] => u16::from_be_bytes,
        _ => return String::from_utf8(bytes).map_err(|_| "the file is no valid UTF-8"),
    };
    let (pairs, rest) = bytes[2..].as_chunks::<2>();
    let text = char::decode_utf16(pairs.iter().map(|pair| units(*pair))).collect::<Result<String, _>>();
    text.ok().filter(|_| rest.is_empty()).ok_or("the file is no valid UTF-16")
}

#[cfg(test)]
mod tests;
