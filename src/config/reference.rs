//! Renders `docs/configuration.md` from the declarations of flags and file, so that the page cannot fall behind.

use super::Config;
use schemars::Schema;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;

/// The type of keys that are taken and not used.
pub(super) const NOT_USED: &str = "not used";

/// The whole page.
#[must_use]
pub fn markdown(command: &clap::Command) -> String {
    let mut page = String::from(
        "# Configuration\n\nGenerated from the declarations in the code by `cargo xtask docs`; a test fails when it is out of date. Durations are\n\
         written as Prometheus writes them: `1h30m`, `15s`, `100ms`.\n\n## Flags\n\nA change needs a restart.\n\n\
         | flag | default | environment | meaning |\n|---|---|---|---|\n",
    );
    for argument in
        command.get_arguments().filter(|a| a.get_long().is_some_and(|name| name != "help" && name != "version"))
    {
        push_flag(&mut page, argument);
    }
    page.push_str(
        "\n## File\n\nGiven by `--config.file`; `hearth config check FILE` checks one. `SIGHUP` and `POST /-/reload` load it again: when it or one\n\
         of its rule files is invalid, everything stays as it was. A whole `prometheus.yml` is taken as it is: what of it is not used (the\n\
         type says so) is named in warnings. Other unknown keys are errors.\n\n| key | type | default | meaning |\n|---|---|---|---|\n",
    );
    let schema = schemars::schema_for!(Config);
    let defaults = serde_json::to_value(Config::default()).unwrap_or(Value::Null);
    push_object(&mut page, &schema, schema.as_value(), "", Some(&defaults));
    page
}

/// The keys of the file that are taken and not used, by their paths, with what the page says about them.
pub(super) fn not_used() -> BTreeMap<String, String> {
    let schema = schemars::schema_for!(Config);
    let mut keys = BTreeMap::new();
    collect_not_used(&schema, schema.as_value(), "", &mut keys);
    keys
}

fn collect_not_used(root: &Schema, object: &Value, path: &str, keys: &mut BTreeMap<String, String>) {
    for (name, property) in object.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let key = format!("{path}{name}");
        let target = resolve(root, property);
        if title(target) == Some(NOT_USED) {
            keys.insert(key, meaning(property, target).replace('`', ""));
        } else {
            collect_not_used(root, target, &format!("{key}."), keys);
        }
    }
}

fn push_flag(page: &mut String, argument: &clap::Arg) {
    let name = argument.get_long().unwrap_or_default();
    let value =
        argument.get_value_names().and_then(|names| names.first()).filter(|_| argument.get_action().takes_values());
    let default: Vec<_> = argument.get_default_values().iter().map(|v| v.to_string_lossy()).collect();
    let default = if argument.get_action().takes_values() { default.join(",") } else { "off".into() };
    let environment = argument.get_env().map(|name| format!("`{}`", name.to_string_lossy())).unwrap_or_default();
    let help = argument.get_help().map(ToString::to_string).unwrap_or_default().replace('\n', " ").replace('|', "\\|");
    let value = value.map(|name| format!(" {name}")).unwrap_or_default();
    let default = if default.is_empty() { String::new() } else { format!("`{default}`") };
    let _ = writeln!(page, "| `--{name}{value}` | {default} | {environment} | {help} |");
}

fn push_object(page: &mut String, root: &Schema, object: &Value, path: &str, defaults: Option<&Value>) {
    let Some(properties) = object.get("properties").and_then(Value::as_object) else { return };
    for (name, property) in properties {
        let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let target = resolve(root, property);
        let default = defaults.and_then(|d| d.get(name));
        let meaning = meaning(property, target).replace('|', "\\|");
        let items = target.get("items").map(|items| resolve(root, items));
        let values = target.get("additionalProperties").filter(|values| values.is_object()).map(|v| resolve(root, v));
        let inner = items.or(values).unwrap_or(target);
        let is_object = inner.get("properties").is_some();
        let shown = default.filter(|_| !is_object).map(|d| format!("`{d}`")).unwrap_or_default();
        let _ = writeln!(page, "| `{key}` | {} | {shown} | {meaning} |", type_name(target, items));
        if is_object {
            let key = match (items, values) {
                (Some(_), _) => format!("{key}[]"),
                (None, Some(_)) => format!("{key}.*"),
                (None, None) => key,
            };
            let element = element_defaults(name);
            let inner_defaults = if items.or(values).is_some() { element.as_ref() } else { default };
            push_object(page, root, inner, &key, inner_defaults);
        }
    }
}

/// The defaults of an element of the list `name`, if it has any.
fn element_defaults(name: &str) -> Option<Value> {
    let defaults = match name {
        "alertmanagers" => serde_json::to_value(super::AlertmanagerConfig::default()),
        "dns_sd_configs" => serde_json::to_value(super::DnsSdConfig::default()),
        "file_sd_configs" => serde_json::to_value(super::FileSdConfig::default()),
        "http_sd_configs" => serde_json::to_value(super::HttpSdConfig::default()),
        _ => return None,
    };
    defaults.ok()
}

/// Follows `$ref` and the `anyOf` that stands for an option.
fn resolve<'a>(root: &'a Schema, schema: &'a Value) -> &'a Value {
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let target = reference.strip_prefix('#').and_then(|pointer| root.as_value().pointer(pointer));
        return target.unwrap_or(schema);
    }
    match schema.get("anyOf").and_then(Value::as_array).and_then(|choices| choices.first()) {
        Some(choice) => resolve(root, choice),
        None => schema,
    }
}

/// What the comment of a property says, in one line.
fn meaning(property: &Value, target: &Value) -> String {
    let meaning = property.get("description").or_else(|| target.get("description")).and_then(Value::as_str);
    meaning.unwrap_or_default().replace('\n', " ")
}

fn title(schema: &Value) -> Option<&str> {
    schema.get("title").and_then(Value::as_str)
}

fn type_name(schema: &Value, items: Option<&Value>) -> String {
    if let Some(items) = items {
        return format!("list of {}", type_name(items, None));
    }
    if let Some(choices) = schema.get("oneOf").and_then(Value::as_array) {
        let names: Vec<_> = choices.iter().filter_map(|c| c.get("const")).map(|c| format!("`{c}`")).collect();
        return names.join(" or ");
    }
    if let Some(name @ ("duration" | NOT_USED)) = title(schema) {
        return name.into();
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("object") if schema.get("properties").is_none() => {
            let is_map = |values: &Value| values.get("$ref").is_some();
            let values = schema.get("additionalProperties").filter(|values| is_map(values));
            values.map_or("map of strings", |_| "map of sections").into()
        }
        Some("object") => "section".into(),
        Some(name) => name.into(),
        None => "string".into(),
    }
}
