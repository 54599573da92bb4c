//! Which rules a reader of the HTTP API wants to see.

use crate::rule::Rule;
use model::matcher::Matcher;
use promql::parse::{ParseOptions, parse_selector};
use std::collections::{BTreeMap, BTreeSet};

/// The parameters of `GET /api/v1/rules`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RulesFilter {
    /// Only alerting or only recording rules.
    pub kind: Option<KindFilter>,
    /// Only rules with one of these names; empty means all.
    pub rule_names: BTreeSet<String>,
    /// Only groups with one of these names; empty means all.
    pub group_names: BTreeSet<String>,
    /// Only groups of these files; empty means all.
    pub files: BTreeSet<String>,
    /// Only rules whose configured labels satisfy all matchers of one of these; empty means all.
    pub selectors: Vec<Vec<Matcher>>,
    /// Only alerting rules whose gravest alert is in this state (`unknown`, `inactive`, `pending`, `firing`); as in Cortex.
    pub state: Option<&'static str>,
    /// Only rules whose last evaluation went like this (`unknown`, `ok`, `err`); as in Cortex.
    pub health: Option<&'static str>,
    /// Leave the alerts out.
    pub exclude_alerts: bool,
    /// One page of the groups.
    pub page: Option<Page>,
}

/// A kind of rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KindFilter {
    /// `type=alert`
    Alerting,
    /// `type=record`
    Recording,
}

/// A page of groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Most groups on the page; at least 1.
    pub groups_max: usize,
    /// Where the page begins: what the page before named as the next; `None` for the first.
    pub token: Option<String>,
}

/// A parameter that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// A parameter with a fixed set of values.
    #[error("invalid parameter \"{name}\": {problem}")]
    Parameter {
        /// Which one.
        name: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A selector in `match[]`.
    #[error("{0}")]
    Selector(String),
}

fn invalid(name: &'static str, problem: impl Into<String>) -> FilterError {
    FilterError::Parameter { name, problem: problem.into() }
}

impl RulesFilter {
    /// Reads the parameters: `url` are those of the URL, `form` those of the body, in their order.
    ///
    /// # Errors
    /// The first parameter that cannot be understood, in Prometheus' order.
    pub fn from_parameters(url: &[(String, String)], form: &[(String, String)]) -> Result<Self, FilterError> {
        let all = |name: &'static str| {
            form.iter().chain(url).filter(move |(key, _)| key == name).map(|(_, value)| value.clone())
        };
        let first = |name: &str| url.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str());
        Ok(Self {
            selectors: selectors(all("match[]"))?,
            rule_names: all("rule_name[]").collect(),
            group_names: all("rule_group[]").collect(),
            files: all("file[]").collect(),
            kind: kind(first("type"))?,
            state: one_of("state", first("state"), &["unknown", "inactive", "pending", "firing"])?,
            health: one_of("health", first("health"), &["unknown", "ok", "err"])?,
            exclude_alerts: boolean("exclude_alerts", first("exclude_alerts"))?,
            page: page(first("group_limit"), first("group_next_token"))?,
        })
    }

    /// Whether the groups of `file` with this name may be shown.
    #[must_use]
    pub fn admits_group(&self, file: &str, name: &str) -> bool {
        let admits = |set: &BTreeSet<String>, value| set.is_empty() || set.contains(value);
        admits(&self.group_names, name) && admits(&self.files, file)
    }

    /// Whether a rule whose alerts are in `state` (`None` for a recording rule) and whose last evaluation was `health` is
    /// to be shown.
    #[must_use]
    pub fn admits_outcome(&self, state: Option<&str>, health: &str) -> bool {
        self.state.is_none_or(|wanted| state == Some(wanted)) && self.health.is_none_or(|wanted| health == wanted)
    }

    /// Whether `rule` is to be shown.
    #[must_use]
    pub fn admits_rule(&self, rule: &Rule) -> bool {
        let kind = if rule.alerting().is_some() { KindFilter::Alerting } else { KindFilter::Recording };
        self.kind.is_none_or(|wanted| wanted == kind) && self.admits_named(&rule.name, &rule.labels)
    }

    /// Whether rules of this name and these labels may be shown.
    #[must_use]
    pub fn admits_named(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        let label = |name: &str| labels.get(name).map_or("", String::as_str);
        let selected = |matchers: &Vec<Matcher>| matchers.iter().all(|matcher| matcher.matches(label(matcher.name())));
        (self.rule_names.is_empty() || self.rule_names.contains(name))
            && (self.selectors.is_empty() || self.selectors.iter().any(selected))
    }
}

/// Each selector must have a matcher that does not match the empty text.
fn selectors(texts: impl Iterator<Item = String>) -> Result<Vec<Vec<Matcher>>, FilterError> {
    let selector = |text: String| {
        let matchers = parse_selector(&text, &ParseOptions::default())
            .map_err(|error| FilterError::Selector(error.to_string()))?;
        if matchers.iter().all(|matcher| matcher.matches("")) {
            return Err(FilterError::Selector("match[] must contain at least one non-empty matcher".into()));
        }
        Ok(matchers)
    };
    texts.map(selector).collect()
}

fn kind(text: &str) -> Result<Option<KindFilter>, FilterError> {
    match text.to_lowercase().as_str() {
        "" => Ok(None),
        "alert" => Ok(Some(KindFilter::Alerting)),
        "record" => Ok(Some(KindFilter::Recording)),
        other => Err(invalid("type", format!("not supported value {}", model::text::quote(other)))),
    }
}

/// The value among `known`, in any case; absent means any.
fn one_of(name: &'static str, text: &str, known: &[&'static str]) -> Result<Option<&'static str>, FilterError> {
    if text.is_empty() {
        return Ok(None);
    }
    match known.iter().find(|known| known.eq_ignore_ascii_case(text)) {
        Some(known) => Ok(Some(known)),
        None => Err(invalid(name, format!("not supported value {}", model::text::quote(text)))),
    }
}

/// A boolean as Go's `strconv.ParseBool` reads it; absent means no.
fn boolean(name: &'static str, text: &str) -> Result<bool, FilterError> {
    let text = text.to_lowercase();
    match text.as_str() {
        "" | "0" | "f" | "false" => Ok(false),
        "1" | "t" | "true" => Ok(true),
        _ => {
            let quoted = model::text::quote(&text);
            let problem = format!("error converting {name}: strconv.ParseBool: parsing {quoted}: invalid syntax");
            Err(invalid(name, problem))
        }
    }
}

fn page(limit: &str, token: &str) -> Result<Option<Page>, FilterError> {
    let (limit_name, token_name) = ("group_limit", "group_next_token");
    if limit.is_empty() {
        if !token.is_empty() {
            return Err(invalid(token_name, "group_limit needs to be present in order to paginate over the groups"));
        }
        return Ok(None);
    }
    let number: i32 = limit.parse().map_err(|error: std::num::ParseIntError| {
        use std::num::IntErrorKind::{NegOverflow, PosOverflow};
        let why = match error.kind() {
            PosOverflow | NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        let quoted = model::text::quote(limit);
        invalid(
            limit_name,
            format!("group_limit needs to be a valid number: strconv.ParseInt: parsing {quoted}: {why}"),
        )
    })?;
    let groups_max = usize::try_from(number).ok().filter(|groups| *groups > 0);
    let groups_max = groups_max.ok_or_else(|| invalid(limit_name, "group_limit needs to be greater than 0"))?;
    let token = Some(token.to_owned()).filter(|token| !token.is_empty());
    Ok(Some(Page { groups_max, token }))
}

#[cfg(test)]
mod tests;
