//! From flags and files to values: the configuration, its rules, the features of the language.

use crate::config::{Config, ServeFlags};
use crate::rules::load::{LoadOptions, Loaded, load, load_pack};
use crate::runtime::memory::Memory;
use model::tenant::TenantId;
use promql::engine::EngineOptions;
use promql::parse::ParseOptions;
use ruler::rule_file::GroupDefaults;
use std::collections::BTreeSet;
use std::path::Path;
pub use storage::error::with_causes;

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

/// The tenants that a configuration says something about; `anonymous` always.
#[must_use]
pub fn tenants(config: &Config) -> BTreeSet<TenantId> {
    let named = config.tenants.keys().filter_map(|name| name.parse().ok());
    named.chain([TenantId::anonymous()]).collect()
}

/// The rules that a configuration gives to a tenant; without a file `anonymous` has the pack.
///
/// # Errors
/// A rule file is not valid; the text names every problem.
pub fn rules(config: &Config, file: Option<&Path>, parse: &ParseOptions, tenant: &TenantId) -> Result<Loaded, String> {
    let options = LoadOptions {
        defaults: group_defaults(config),
        parse: parse.clone(),
        legacy_names: legacy_names(config),
        tenant: tenant.clone(),
    };
    let common = config.rule_files.iter().filter(|_| tenant.is_anonymous());
    let own = config.tenants.get(tenant.as_str()).into_iter().flat_map(|own| &own.rule_files);
    let patterns: Vec<String> = common.chain(own).cloned().collect();
    let loaded = match file {
        Some(file) => load(&patterns, file.parent().unwrap_or(Path::new("")), &options),
        None if tenant.is_anonymous() => load_pack(&options),
        None => Ok(Loaded::default()),
    };
    loaded.map_err(|error| error.to_string())
}

/// Whether names are restricted to those that Prometheus 2 allowed.
#[must_use]
pub fn legacy_names(config: &Config) -> bool {
    config.global.metric_name_validation_scheme.is_legacy()
}

/// What holds for rule groups that do not say it themselves.
#[must_use]
pub fn group_defaults(config: &Config) -> GroupDefaults {
    GroupDefaults {
        interval_ms: config.global.evaluation_interval.as_millis(),
        query_offset_ms: config.global.rule_query_offset.as_millis(),
    }
}

/// The bound of the process' memory.
#[must_use]
pub fn memory(flags: &ServeFlags) -> Memory {
    memory_limit(flags.memory_limit)
}

/// The bound that somebody asked for; 0 asks for one that fits the machine.
#[must_use]
pub fn memory_limit(bytes: u64) -> Memory {
    match bytes {
        0 => Memory::of_machine(),
        limit => Memory::new(limit),
    }
}

/// Which parts of the language and the engine `--enable-feature` switches on.
#[derive(Debug, Clone, Default)]
pub struct Features {
    /// For the parser.
    pub parse: ParseOptions,
    /// For the engine: see [`EngineOptions`].
    pub delayed_name_removal: bool,
    /// For the engine.
    pub start_timestamps: bool,
    /// For the engine.
    pub type_and_unit_labels: bool,
    /// Rules of a group that have nothing to do with each other run at once.
    pub concurrent_rule_eval: bool,
    /// What is wrong with the names that were given; the process starts all the same, as Prometheus does.
    pub warnings: Vec<String>,
}

/// Switches a feature on.
type Enable = fn(&mut Features);

/// The features by the names that Prometheus 3.14 has for them.
const FEATURES: [(&str, Enable); 7] = [
    ("promql-experimental-functions", |features| features.parse.experimental_functions = true),
    ("promql-delayed-name-removal", |features| features.delayed_name_removal = true),
    ("promql-extended-range-selectors", |features| features.parse.extended_range_selectors = true),
    ("promql-binop-fill-modifiers", |features| features.parse.fill_modifiers = true),
    ("use-start-timestamps", |features| features.start_timestamps = true),
    ("type-and-unit-labels", |features| features.type_and_unit_labels = true),
    ("concurrent-rule-eval", |features| features.concurrent_rule_eval = true),
];

/// Names that switched something on in earlier versions of Prometheus and now always have it.
const ALWAYS_ON: [&str; 3] = ["promql-duration-expr", "native-histograms", "ooo-native-histograms"];

impl Features {
    /// Reads the names that Prometheus uses.
    #[must_use]
    pub fn from_names(names: &[String]) -> Self {
        let mut features = Self::default();
        for name in names.iter().map(|name| name.trim()) {
            if let Some((_, enable)) = FEATURES.iter().find(|(known, _)| *known == name) {
                enable(&mut features);
            } else if ALWAYS_ON.contains(&name) {
                features.warnings.push(format!("--enable-feature={name} does nothing: it is always enabled"));
            } else {
                features.warnings.push(format!("unknown option for --enable-feature: {name:?}"));
            }
        }
        features
    }

    /// The engine's options as the features have them.
    #[must_use]
    pub fn engine_options(&self) -> EngineOptions {
        EngineOptions {
            delayed_name_removal: self.delayed_name_removal,
            start_timestamps: self.start_timestamps,
            type_and_unit_labels: self.type_and_unit_labels,
            ..EngineOptions::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args, Command};

    fn features(names: &[&str]) -> Features {
        Features::from_names(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn everything_experimental_is_off_until_it_is_switched_on() {
        let none = features(&[]);
        assert_eq!((none.parse.clone(), none.engine_options()), (ParseOptions::default(), EngineOptions::default()));
        let names: Vec<&str> = FEATURES.iter().map(|(name, _)| *name).collect();
        let all = features(&names);
        assert_eq!(all.parse, ParseOptions::all());
        let on = all.engine_options();
        assert!(
            on.delayed_name_removal
                && on.start_timestamps
                && on.type_and_unit_labels
                && all.concurrent_rule_eval
                && all.warnings.is_empty()
        );
    }

    #[test]
    fn names_that_mean_nothing_cause_warnings() {
        let odd = features(&["promql-duration-expr", "agent-of-change"]);
        assert_eq!(odd.warnings.len(), 2);
        assert!(odd.warnings[0].contains("always enabled") && odd.warnings[1].contains("agent-of-change"));
        assert_eq!(odd.parse, ParseOptions::default());
    }

    #[test]
    fn the_flag_says_every_name() {
        let command = ServeFlags::augment_args(Command::new("hearth"));
        let flag = command.get_arguments().find(|argument| argument.get_long() == Some("enable-feature")).unwrap();
        let help = flag.get_help().unwrap().to_string();
        for (name, _) in FEATURES {
            assert!(help.contains(name), "{name} is missing in {help}");
        }
    }
}
