//! What was observed against what is expected. Every function returns what differs, one line each.

use super::Timing;
use super::cases::Case;
use super::oracle::{ActiveAlert, Message, Snapshot, Texts};
use crate::api::Answer;
use serde_json::Value;
use std::collections::BTreeSet;

/// A message that arrived.
#[derive(Debug, Clone)]
pub struct Observed {
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// The alert as it was posted.
    pub alert: Value,
}

/// RFC 3339 as milliseconds since the Unix epoch.
#[must_use]
pub fn parse_time(text: &str) -> Option<i64> {
    text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond)
}

fn texts(value: Option<&Value>) -> Texts {
    let object = value.and_then(Value::as_object).into_iter().flatten();
    object.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
}

fn time(value: &Value, key: &str) -> i64 {
    value.get(key).and_then(Value::as_str).and_then(parse_time).unwrap_or(i64::MIN)
}

/// Messages about the alerts of one case. `tolerance_ms` is how far evaluations may be from where they are expected, `late_ms`
/// how long a message may take.
#[must_use]
pub fn compare_messages(
    expected: &[Message],
    observed: &[Observed],
    zero_ms: i64,
    tolerance_ms: i64,
    late_ms: i64,
) -> Vec<String> {
    let mut problems = Vec::new();
    let mut left: Vec<&Observed> = observed.iter().collect();
    for message in expected {
        let due_ms = zero_ms + message.slot_ms;
        let in_time = |at_ms: i64| (-tolerance_ms..=tolerance_ms + late_ms).contains(&(at_ms - due_ms));
        let of_alert = |observed: &&Observed| texts(observed.alert.get("labels")) == message.labels;
        let Some(index) = left.iter().position(|observed| of_alert(observed) && in_time(observed.at_ms)) else {
            problems.push(format!("{due_ms}: no message about {:?}, resolved: {}", message.labels, message.resolved));
            continue;
        };
        let Observed { at_ms, alert } = left.remove(index);
        let mut differs = |what: &str, expected: &dyn std::fmt::Debug, got: &dyn std::fmt::Debug| {
            problems.push(format!("{at_ms}: {what} of {:?} is {got:?}, expected {expected:?}", message.labels));
        };
        let annotations = texts(alert.get("annotations"));
        if annotations != message.annotations {
            differs("annotations", &message.annotations, &annotations);
        }
        for (key, expected_ms) in [("startsAt", message.starts_at_ms), ("endsAt", message.ends_at_ms)] {
            let got_ms = time(alert, key);
            if got_ms.abs_diff(zero_ms + expected_ms) > tolerance_ms.unsigned_abs() {
                differs(key, &(zero_ms + expected_ms), &got_ms);
            }
        }
        let link = alert.get("generatorURL").and_then(Value::as_str).unwrap_or_default();
        let parsed = url::Url::parse(link);
        let has_query =
            parsed.is_ok_and(|link| link.query_pairs().any(|(name, value)| name == "g0.expr" && !value.is_empty()));
        if !has_query {
            differs("generatorURL", &"a link to the expression", &link);
        }
    }
    for Observed { at_ms, alert } in left {
        problems.push(format!("{at_ms}: a message that nobody expects: {alert}"));
    }
    problems
}

fn is_alert(alert: &ActiveAlert, json: &Value, zero_ms: i64, tolerance_ms: i64) -> bool {
    let state = if alert.firing { "firing" } else { "pending" };
    let value = json.get("value").and_then(Value::as_str).and_then(|text| text.parse::<f64>().ok());
    texts(json.get("labels")) == alert.labels
        && texts(json.get("annotations")) == alert.annotations
        && json.get("state").and_then(Value::as_str) == Some(state)
        && value == Some(alert.value)
        && time(json, "activeAt").abs_diff(zero_ms + alert.active_at_ms) <= tolerance_ms.unsigned_abs()
}

fn same_alerts(expected: &[ActiveAlert], json: Option<&Value>, zero_ms: i64, tolerance_ms: i64) -> bool {
    let got = json.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    got.len() == expected.len()
        && expected.iter().all(|alert| got.iter().any(|json| is_alert(alert, json, zero_ms, tolerance_ms)))
}

/// The group of `case` in `data` of `/api/v1/rules`, asked at `now_ms`.
#[must_use]
pub fn compare_group(
    case: &Case,
    timing: &Timing,
    snapshot: &Snapshot,
    data: &Value,
    zero_ms: i64,
    now_ms: i64,
    tolerance_ms: i64,
) -> Vec<String> {
    let groups = data.get("groups").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let name = |group: &&Value| group.get("name").and_then(Value::as_str) == Some(case.name);
    let Some(group) = groups.iter().find(name) else { return vec![format!("{now_ms}: no group {}", case.name)] };
    let mut problems = Vec::new();
    let mut check = |good: bool, what: &str, json: &Value| {
        if !good {
            problems.push(format!("{now_ms}: {}: {what} is not as expected: {json}", case.name));
        }
    };
    let is_seconds = |json: Option<&Value>, ms: i64| json.and_then(Value::as_f64) == Some(ms as f64 / 1000.0);
    let recent = |json: &Value| {
        let age_ms = now_ms - time(json, "lastEvaluation");
        (0..=timing.interval_ms + 5_000).contains(&age_ms)
    };
    check(is_seconds(group.get("interval"), timing.interval_ms), "interval", group);
    check(recent(group), "lastEvaluation", group);
    let rules = group.get("rules").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    check(rules.len() == case.rules.len(), "number of rules", group);
    for ((rule, json), alerts) in case.rules.iter().zip(rules).zip(&snapshot.rules) {
        let is = |key: &str, text: &str| json.get(key).and_then(Value::as_str) == Some(text);
        check(is("name", rule.alert), "name", json);
        check(is("query", &rule.query), "query", json);
        check(is_seconds(json.get("duration"), rule.hold_steps * timing.step_ms), "duration", json);
        let labels = rule.labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        check(texts(json.get("labels")) == labels, "labels", json);
        check(texts(json.get("annotations")) == Case::raw_texts(&rule.annotations), "annotations", json);
        check(is("health", "ok"), "health", json);
        check(json.get("lastError").is_none_or(|error| error == ""), "lastError", json);
        check(is("type", "alerting"), "type", json);
        check(recent(json), "lastEvaluation", json);
        let state = match alerts.as_slice() {
            [] => "inactive",
            some if some.iter().any(|alert| alert.firing) => "firing",
            _ => "pending",
        };
        check(is("state", state), state, json);
        check(same_alerts(alerts, json.get("alerts"), zero_ms, tolerance_ms), "alerts", json);
    }
    problems
}

/// The alerts of one case in `data` of `/api/v1/alerts`.
#[must_use]
pub fn compare_alerts(case: &Case, snapshot: &Snapshot, data: &Value, zero_ms: i64, tolerance_ms: i64) -> Vec<String> {
    let all = data.get("alerts").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let of_case =
        all.iter().filter(|json| texts(json.get("labels")).get("rulegroup").is_some_and(|name| name == case.name));
    let of_case = Value::Array(of_case.cloned().collect());
    let expected: Vec<_> = snapshot.rules.iter().flatten().cloned().collect();
    if same_alerts(&expected, Some(&of_case), zero_ms, tolerance_ms) {
        return Vec::new();
    }
    vec![format!("{}: {}: alerts are {of_case}, expected {expected:?}", zero_ms + snapshot.slot_ms, case.name)]
}

/// The answer to `ALERTS{rulegroup="…"}` of one case.
#[must_use]
pub fn compare_series(case: &Case, snapshot: &Snapshot, answer: &Answer) -> Vec<String> {
    let of = |alert: &ActiveAlert| {
        let mut labels = alert.labels.clone();
        labels.insert("__name__".into(), "ALERTS".into());
        labels.insert("alertstate".into(), if alert.firing { "firing" } else { "pending" }.into());
        serde_json::to_string(&labels).unwrap_or_default()
    };
    let expected: BTreeSet<String> = snapshot.rules.iter().flatten().map(of).collect();
    let ones = answer.iter().filter(|(_, points)| points.iter().all(|(_, value)| *value == 1.0));
    let got: BTreeSet<String> = ones.map(|(labels, _)| labels.clone()).collect();
    if got == expected && got.len() == answer.len() {
        return Vec::new();
    }
    vec![format!("{}: after {} ms ALERTS is {answer:?}, expected {expected:?}", case.name, snapshot.slot_ms)]
}
