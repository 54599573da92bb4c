//! Prints what came of a backtest.

use super::Outcome;
use crate::cli::store::{table, time};
use alertmanager_compat::notifications::{Route, Tally};
use model::labels::Labels;
use model::text::{format_value, quote};
use model::time::{Timestamp, format_duration};
use ruler::backtest::{Episode, RuleOutcome, Timeline, Variant};
use serde_json::{Value, json};
use std::fmt::Write;

/// Tables for people.
pub(super) fn text(outcome: &Outcome<'_>) -> String {
    let mut out = format!("{} to {} at {}\n", time(outcome.start.0), time(outcome.end.0), outcome.url);
    if !outcome.recorded.is_empty() {
        let _ = writeln!(out, "recording rules that were evaluated for the alerts: {}", outcome.recorded.join(", "));
    }
    let Some((as_written, tally)) = outcome.variants.first() else { return out };
    for rule in &as_written.rules {
        out.push('\n');
        out += &rule_text(rule);
    }
    if let (failures @ 1.., first) = &as_written.recording_failures {
        let _ = writeln!(
            out,
            "\n{failures} evaluations of recording rules failed, the first with: {}",
            first.as_deref().unwrap_or("")
        );
    }
    let _ = writeln!(out, "\n{}", notifications_text(outcome.route, *tally));
    if outcome.variants.len() > 1 {
        let _ = write!(out, "\nother values of `for`\n{}", table(&comparison(&outcome.variants), &[0, 1]));
    }
    out
}

fn rule_text(rule: &RuleOutcome) -> String {
    let RuleOutcome { file, group, rule, interval_ms, timeline } = rule;
    let (hold_ms, keep_ms) = rule.alerting().map_or((0, 0), |alerting| (alerting.hold_ms, alerting.keep_firing_ms));
    let keep = if keep_ms > 0 { format!(", keep_firing_for {}", format_duration(keep_ms)) } else { String::new() };
    let mut out = format!(
        "{file}: group {}, alert {} (for {}{keep}, every {})\n",
        quote(group),
        quote(&rule.name),
        format_duration(hold_ms),
        format_duration(*interval_ms)
    );
    let Timeline { fired, instances, fired_again, only_pending, firing_ms, sent, .. } = timeline;
    let _ = writeln!(
        out,
        "  fired {}, {instances} different {}, {fired_again} of them again; pending without firing {}; firing for {}; {sent} sent to each Alertmanager",
        times(*fired),
        if *instances == 1 { "alert" } else { "alerts" },
        times(*only_pending),
        in_seconds(*firing_ms)
    );
    if let (failures @ 1.., Some(error)) = (timeline.failures, &timeline.first_error) {
        let _ = writeln!(out, "  {failures} of {} evaluations failed, the first with: {error}", timeline.evaluations);
    }
    if timeline.episodes.is_empty() {
        return out;
    }
    let is_kept = keep_ms > 0;
    let head = ["  PENDING SINCE", "FIRING SINCE", "KEPT SINCE", "RESOLVED AT", "FIRING FOR", "VALUE", "LABELS"];
    let columns = |row: [String; 7]| {
        let cells = row.into_iter().enumerate().filter(|(column, _)| is_kept || *column != 2);
        cells.map(|(_, cell)| cell).collect::<Vec<_>>()
    };
    let mut rows = vec![columns(head.map(str::to_owned))];
    rows.extend(timeline.episodes.iter().map(|episode| columns(episode_row(episode))));
    out += &table(&rows, if is_kept { &[0, 1, 2, 3, 6] } else { &[0, 1, 2, 5] });
    if timeline.episodes_left_out > 0 {
        let _ = writeln!(out, "  and {} more", timeline.episodes_left_out);
    }
    out
}

fn episode_row(episode: &Episode) -> [String; 7] {
    let at = |at: Option<Timestamp>| at.map_or_else(|| "-".to_owned(), |at| time(at.0));
    let fired_for = match (episode.firing_since, episode.ended) {
        (Some(since), Some((end, _))) => in_seconds(end.0 - since.0),
        (Some(_), None) => "still firing".to_owned(),
        (None, Some(_)) => "never".to_owned(),
        (None, None) => "still pending".to_owned(),
    };
    [
        format!("  {}", time(episode.active_since.0)),
        at(episode.firing_since),
        at(episode.kept_since),
        at(episode.ended.map(|(at, _)| at)),
        fired_for,
        format_value(episode.value),
        without_name(&episode.labels).to_string(),
    ]
}

/// A duration for people, to the second.
fn in_seconds(ms: i64) -> String {
    format_duration((ms + 500) / 1000 * 1000)
}

fn without_name(labels: &Labels) -> Labels {
    labels.filter(|name| name != ruler::evaluation::ALERT_NAME)
}

fn times(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

fn notifications_text(route: &Route, tally: Tally) -> String {
    let by = route.group_by.as_ref().map_or_else(|| "...".to_owned(), |labels| labels.join(", "));
    format!(
        "notifications of an Alertmanager (group_by [{by}], group_wait {}, group_interval {}, repeat_interval {}): {}, of which {} for new alerts, {} for resolved ones, {} repeated",
        format_duration(route.group_wait_ms),
        format_duration(route.group_interval_ms),
        format_duration(route.repeat_interval_ms),
        tally.total(),
        tally.firing,
        tally.resolved,
        tally.repeated
    )
}

/// One row per value of `for` and rule, and the notifications of all rules together.
fn comparison(variants: &[(Variant, Tally)]) -> Vec<Vec<String>> {
    let head = ["  FOR", "ALERT", "FIRED", "DIFFERENT", "AGAIN", "ONLY PENDING", "FIRING FOR", "SENT", "NOTIFICATIONS"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for (variant, tally) in variants {
        for (number, rule) in variant.rules.iter().enumerate() {
            let timeline = &rule.timeline;
            let hold = variant.hold_ms.map_or_else(|| "as written".to_owned(), format_duration);
            rows.push(vec![
                format!("  {hold}"),
                rule.rule.name.clone(),
                timeline.fired.to_string(),
                timeline.instances.to_string(),
                timeline.fired_again.to_string(),
                timeline.only_pending.to_string(),
                in_seconds(timeline.firing_ms),
                timeline.sent.to_string(),
                if number == 0 { tally.total().to_string() } else { String::new() },
            ]);
        }
    }
    rows
}

/// One document.
pub(super) fn json(outcome: &Outcome<'_>) -> String {
    let route = outcome.route;
    let document = json!({
        "start": seconds(outcome.start),
        "end": seconds(outcome.end),
        "url": outcome.url.as_str(),
        "recordingRules": outcome.recorded,
        "route": {
            "groupBy": route.group_by.clone().unwrap_or_else(|| vec!["...".to_owned()]),
            "groupWait": format_duration(route.group_wait_ms),
            "groupInterval": format_duration(route.group_interval_ms),
            "repeatInterval": format_duration(route.repeat_interval_ms),
            "sendResolved": route.send_resolved,
        },
        "variants": outcome.variants.iter().map(variant_json).collect::<Vec<_>>(),
    });
    format!("{document:#}\n")
}

fn variant_json((variant, tally): &(Variant, Tally)) -> Value {
    let rules = variant.rules.iter().map(|rule| {
        let timeline = &rule.timeline;
        let alerting = rule.rule.alerting();
        json!({
            "file": rule.file,
            "group": rule.group,
            "name": rule.rule.name,
            "for": format_duration(alerting.map_or(0, |alerting| alerting.hold_ms)),
            "keepFiringFor": format_duration(alerting.map_or(0, |alerting| alerting.keep_firing_ms)),
            "interval": format_duration(rule.interval_ms),
            "fired": timeline.fired,
            "instances": timeline.instances,
            "firedAgain": timeline.fired_again,
            "onlyPending": timeline.only_pending,
            "firingSeconds": timeline.firing_ms as f64 / 1000.0,
            "sent": timeline.sent,
            "evaluations": timeline.evaluations,
            "failures": timeline.failures,
            "firstError": timeline.first_error,
            "episodes": timeline.episodes.iter().map(episode_json).collect::<Vec<_>>(),
            "episodesLeftOut": timeline.episodes_left_out,
        })
    });
    json!({
        "for": variant.hold_ms.map(format_duration),
        "rules": rules.collect::<Vec<_>>(),
        "recordingFailures": variant.recording_failures.0,
        "firstRecordingError": variant.recording_failures.1,
        "notifications": {
            "total": tally.total(),
            "firing": tally.firing,
            "resolved": tally.resolved,
            "repeated": tally.repeated,
        },
    })
}

fn episode_json(episode: &Episode) -> Value {
    let labels: serde_json::Map<String, Value> =
        episode.labels.iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    json!({
        "labels": labels,
        "pendingSince": seconds(episode.active_since),
        "firingSince": episode.firing_since.map(seconds),
        "keptSince": episode.kept_since.map(seconds),
        "resolvedAt": episode.ended.map(|(at, _)| seconds(at)),
        "cause": episode.ended.map(|(_, cause)| cause.name()),
        // As text, as everywhere in the API: JSON has no NaN.
        "value": format_value(episode.value),
        "lastValue": format_value(episode.last_value),
    })
}

fn seconds(at: Timestamp) -> f64 {
    at.0 as f64 / 1000.0
}
