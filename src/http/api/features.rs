//! `/api/v1/features`: which features of Prometheus 3.14 there are and whether they are on, by its names.

use crate::http::envelope::success_value;
use crate::http::state::AppState;
use axum::extract::State;
use axum::response::Response;
use promql::ast::AggregateOp;
use promql::functions::FUNCTIONS;
use promql::{EngineOptions, ParseOptions};
use std::collections::BTreeMap;

/// Names and whether they are on, by category.
type Features = BTreeMap<&'static str, BTreeMap<&'static str, bool>>;

const KEYWORDS: [&str; 8] = ["bool", "by", "group_left", "group_right", "ignoring", "offset", "on", "without"];
const OPERATORS: [&str; 21] = [
    "!=", "!~", "%", "*", "+", "-", "/", "<", "</", "<=", "==", "=~", ">", ">/", ">=", "@", "^", "and", "atan2", "or",
    "unless",
];

/// All of them.
pub async fn features(State(state): State<AppState>) -> Response {
    let queries = &state.queries;
    let flag = |name: &str| state.process.flags.get(name).map_or("", String::as_str);
    let mut features = of_the_language(&queries.options().parse, queries.engine_options());
    features.extend(of_the_server(state.admin.is_some(), flag));
    success_value(&features)
}

fn of_the_language(parse: &ParseOptions, engine: &EngineOptions) -> Features {
    let experimental = parse.experimental_functions;
    let mut promql: BTreeMap<_, _> = KEYWORDS.map(|name| (name, true)).into();
    promql.extend(["anchored", "smoothed"].map(|name| (name, parse.extended_range_selectors)));
    promql.extend(["fill", "fill_left", "fill_right"].map(|name| (name, parse.fill_modifiers)));
    promql.extend([
        ("at_modifier", true),
        ("delayed_name_removal", engine.delayed_name_removal),
        ("duration_expr", parse.duration_expressions),
        ("negative_offset", true),
        ("per_query_lookback_delta", true),
        ("per_step_stats", true),
        ("subqueries", true),
        ("type_and_unit_labels", engine.type_and_unit_labels),
    ]);
    let mut operators: BTreeMap<_, _> = OPERATORS.map(|name| (name, true)).into();
    operators.extend(AggregateOp::ALL.map(|op| (op.as_str(), experimental || !op.is_experimental())));
    let functions = FUNCTIONS.iter().map(|function| (function.name, experimental || !function.experimental));
    Features::from([
        ("promql", promql),
        ("promql_functions", functions.collect()),
        ("promql_operators", operators),
        ("templating_functions", template::prometheus::function_names().iter().map(|name| (name, true)).collect()),
    ])
}

/// `admin`: whether operators may change samples; `flag` tells the value of a flag of the command line.
fn of_the_server<'f>(admin: bool, flag: impl Fn(&str) -> &'f str) -> Features {
    let on = |names: &[&'static str]| names.iter().map(|name| (*name, true)).collect::<BTreeMap<_, _>>();
    let mut api = on(&[
        "exclude_alerts",
        "label_values_match",
        "lifecycle",
        "query_stats",
        "query_warnings",
        "remote_write_receiver",
        "search",
        "search_fuzz_alg_jarowinkler",
        "search_fuzz_alg_subsequence",
        "time_range_labels",
        "time_range_series",
    ]);
    api.insert("admin", admin);
    api.extend(["openapi_3.1", "openapi_3.2", "otlp_write_receiver"].map(|name| (name, false)));
    let mut rules = on(&["keep_firing_for", "query_offset"]);
    rules.insert(
        "concurrent_rule_eval",
        flag("enable-feature").split(',').any(|name| name.trim() == "concurrent-rule-eval"),
    );
    let mut tsdb = on(&["isolation", "native_histograms", "st_storage"]);
    tsdb.insert("exemplar_storage", flag("storage.exemplars.max") != "0");
    Features::from([
        ("api", api),
        ("prometheus", BTreeMap::from([("agent_mode", false), ("server_mode", true)])),
        ("rules", rules),
        ("service_discovery_providers", on(&["dns", "file", "http"])),
        ("tsdb", tsdb),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_behind_a_flag_is_on_with_it_alone() {
        let off = of_the_language(&ParseOptions::default(), &EngineOptions::default());
        let on = of_the_language(
            &ParseOptions::all(),
            &EngineOptions { delayed_name_removal: true, type_and_unit_labels: true, ..EngineOptions::default() },
        );
        let differ: Vec<_> = off
            .iter()
            .flat_map(|(category, names)| names.iter().map(move |(name, is_on)| (*category, *name, *is_on)))
            .filter(|(category, name, is_on)| on[category][name] != *is_on)
            .collect();
        assert!(differ.iter().all(|(_, _, is_on)| !is_on));
        let count = |wanted: &str| differ.iter().filter(|(category, ..)| *category == wanted).count();
        assert_eq!((count("promql"), count("promql_functions"), count("promql_operators")), (7, 17, 2));
        assert_eq!(off["promql_operators"].len(), 35);
        assert!(off["promql"]["duration_expr"] && off["templating_functions"]["humanize"]);
    }

    #[test]
    fn flags_of_the_server_are_told() {
        let flags = |name: &str| match name {
            "enable-feature" => "promql-experimental-functions, concurrent-rule-eval",
            "storage.exemplars.max" => "0",
            _ => "",
        };
        let features = of_the_server(true, flags);
        assert!(features["api"]["admin"] && features["rules"]["concurrent_rule_eval"]);
        assert!(!features["tsdb"]["exemplar_storage"] && !of_the_server(false, |_| "")["api"]["admin"]);
    }
}
